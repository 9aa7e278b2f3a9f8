//! The end of a driver: the request is sent again, or reported as failed.
//!
//! Refuses to send again what may have run, unless its class allows it (section 6.3).

use std::time::Duration;

use super::super::under_way::{Asker, Entry, Own, Request, Sending, reissue_after};
use super::super::{Heard, Out};
use super::Legacy;
use super::session::Phase;
use crate::error::{Error, Executed, Kind};
use crate::protocol::driver::{Cause, Failure, Outcome, Prompt};
use crate::protocol::request::Class;

impl Legacy {
    /// The driver of a request has ended without a response.
    pub(super) fn request_ended(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::SessionLost(loss) => self.lost_under(number, *loss),
            Outcome::NoEndpoint(answer, failure) => {
                self.no_endpoint(number, answer.map(|answer| *answer), *failure);
            }
            Outcome::Failed(failure) => self.request_failed(number, *failure),
            Outcome::Done | Outcome::NoStream | Outcome::StreamDenied => {
                let why = format!("{} ended its reply without an answer", self.settings.place);
                let error = Error::new(Kind::ProtocolViolation, why);
                self.give_up(number, &error.executed(Executed::Maybe));
            }
        }
    }

    /// An exchange has failed for good: the request is sent again if that is safe.
    pub(super) fn request_failed(&mut self, number: u64, failure: Failure) {
        let Some(request) = self.table.request(number) else { return };
        let again = failure.cause == Cause::Transient
            && match failure.executed {
                // Nothing was sent: as often as what only asks.
                Executed::No => Class::A.may_reissue(request.reissues),
                Executed::Maybe => request.class.may_reissue(request.reissues),
            };
        if again {
            return self.reissue(number, failure.executed);
        }
        // The client's opening message may not begin a login; what waits behind it may.
        let is_of_client = request.asker == Asker::Client;
        let error = failure.error.executed(failure.executed);
        let waits_for_login =
            is_of_client && error.needs_login() && self.settings.login_at_opening == Prompt::Forbidden;
        self.give_up(number, &error);
        match waits_for_login && self.session.opening() == Some(number) && !self.queue.is_empty() {
            true => {
                self.forget_session();
                self.open_ourselves(Duration::ZERO);
            }
            false => self.opening_failed(number, &error),
        }
    }

    /// Sends a request once more; under a new id if the service may know the old one.
    pub(super) fn reissue(&mut self, number: u64, executed: Executed) {
        let fresh = self.table.own_id();
        let opening = self.session.opening() == Some(number);
        let random = self.moment.random;
        let Some(request) = self.table.request(number) else { return };
        let after = reissue_after(request.reissues, random);
        request.reissues += 1;
        if executed == Executed::Maybe {
            let earlier = std::mem::replace(&mut request.upstream, fresh);
            request.in_doubt = true;
            self.table.spend(&earlier);
        }
        if !matches!(self.session.phase, Phase::Ready) && !opening {
            if let Some(request) = self.table.request(number) {
                request.sending = Sending::Waiting;
            }
            return self.submit(number);
        }
        self.carry(number, after);
    }

    /// Answers a request with an error and forgets it.
    pub(super) fn give_up(&mut self, number: u64, error: &Error) {
        let may_be_answered = error.details().executed != Some(Executed::No);
        let removed =
            if may_be_answered { self.table.abandon(number) } else { self.table.remove_request(number) };
        let Some(request) = removed else { return };
        let opens = request.message.method() == "initialize";
        if error.kind() == Kind::Timeout && request.sending == Sending::Sent && !opens {
            self.cancel_at_service(&request, "timeout");
        }
        self.dropped(number, &request, error);
    }

    /// Reports that a request gets no answer.
    pub(super) fn dropped(&mut self, number: u64, request: &Request, error: &Error) {
        match request.asker {
            Asker::Client => {
                let error = error.clone();
                let error = if request.in_doubt { error.executed(Executed::Maybe) } else { error };
                self.out.push(Out::Heard(Heard::Failed { number, error }));
            }
            Asker::Own(Own::Tools) => self.out.push(Out::Heard(Heard::Tools(Err(error.clone())))),
            Asker::Own(Own::Restore) => self.note(format!("could not restore the session: {error}")),
            Asker::Own(_) => {}
        }
    }

    /// The driver of a notification or response has ended.
    pub(super) fn notice_ended(&mut self, number: u64, outcome: Outcome) {
        let Some(Entry::Notice(_)) = self.table.entry(number) else { return };
        let Some(Entry::Notice(notice)) = self.table.remove(number) else { return };
        let is_current = notice.generation == self.session.generation;
        let method = notice.message.method().to_owned();
        match outcome {
            Outcome::SessionLost(_) => self.lost_under_notice(notice),
            _ if notice.confirms_session && is_current => self.confirmed(),
            _ if notice.confirms_session => {}
            Outcome::Failed(failure) => {
                let what = if method.is_empty() { "an answer of the client" } else { &method };
                self.note(format!("{what} did not reach the service: {}", failure.error));
            }
            _ => {}
        }
    }
}
