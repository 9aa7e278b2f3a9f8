//! A credential that the service rejects (401), or that needs more scopes (403): what is asked for, and what follows.
//!
//! Refuses to know credentials: the caller looks for another one.

use bytes::Bytes;

use super::{Again, Driver, Next, Prompt, Purpose, State};
use crate::error::{Error, Kind, Remedy};
use crate::protocol::Moment;
use crate::protocol::exchange::status::{Failing, failure_of};
use crate::protocol::exchange::{Cause, Key};
use crate::protocol::http::{Challenge, CredentialUse, Head};

impl Driver {
    /// The token of a login goes along.
    pub fn signed_by_login(&mut self) {
        self.key = Key::Login;
    }

    /// A 401 and a 403 prove that nothing ran.
    pub(super) fn challenged_by(&mut self, head: Head, body: Bytes) -> Next {
        self.sent = None;
        self.state = State::Challenged { head, body };
        Next::Challenge
    }

    /// Says whether a person may be asked to log in for this message.
    pub fn may_ask(&self) -> bool {
        matches!(self.purpose, Purpose::Request(_))
            && self.resuming.is_none()
            && self.terms.login == Prompt::Allowed
    }

    /// Says whether it must be answered at once, with or without a login.
    pub fn is_urgent(&self) -> bool {
        self.terms.login == Prompt::Forbidden
    }

    /// Returns why the credential was rejected.
    pub fn challenge(&self) -> Challenge {
        match &self.state {
            State::Challenged { head, .. } => head.challenge(),
            _ => Challenge::default(),
        }
    }

    /// Takes what follows a challenge.
    pub fn challenged(&mut self, again: Again, moment: Moment) -> Next {
        let State::Challenged { head, body } = std::mem::replace(&mut self.state, State::Between) else {
            return Next::Admit;
        };
        match again {
            Again::Yes(key) => {
                self.key = key;
                Next::Admit
            }
            Again::No if self.key == Key::Login => self.failing(&head, &body, Key::Login, moment),
            Again::No => self.failing(&head, &body, Key::Sent, moment),
            Again::NoKey => self.failing(&head, &body, Key::Missing, moment),
            Again::Unknown(why) => self.not_looked_up(&head, &body, &why, moment),
            Again::LoggedOut(_) if self.resuming.is_some() || self.purpose == Purpose::Listen => {
                self.failing(&head, &body, Key::Missing, moment)
            }
            Again::LoggedOut(error) => {
                let is_of_other = error.details().http_status.is_some();
                let error = if is_of_other { error } else { error.http_status(head.status) };
                self.fail(error, self.unanswered(), Cause::Permanent)
            }
        }
    }

    /// The credential was rejected, and whether there is another one is not known.
    fn not_looked_up(&mut self, head: &Head, body: &Bytes, why: &Error, moment: Moment) -> Next {
        if self.resuming.is_some() || self.purpose == Purpose::Listen {
            return self.failing(head, body, Key::Sent, moment);
        }
        let failing = Failing { head, body, wall: moment.wall, place: &self.terms.place, key: Key::Sent };
        let error = failure_of(&failing).error;
        let (said, error) = match why.kind() {
            // No key was sent, for there is none.
            Kind::AuthRequired if self.call.signing.credential == CredentialUse::Optional => {
                let said = format!("{} wants a key (HTTP {})", self.terms.place, head.status);
                (said, error.with_kind(Kind::AuthRequired))
            }
            _ => (format!("{}; looking for another key failed", error.message()), error),
        };
        let said = format!("{said}: {}", why.message());
        let remedy = why.next_step().cloned().unwrap_or(Remedy::ReplaceKey);
        self.fail(error.with_message(said).remedy(remedy), self.unanswered(), Cause::Permanent)
    }
}
