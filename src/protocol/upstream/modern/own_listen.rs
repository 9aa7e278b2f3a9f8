//! The subscription that asistry keeps for a client with a handshake (section 3.4).
//!
//! Refuses a gap: a new stream is acknowledged before the old one is closed.

use std::time::Duration;

use super::super::under_way::Own;
use super::super::{Acknowledged, Gap, Heard, Out};
use super::{Modern, ticket};
use crate::error::Error;
use crate::protocol::Moment;
use crate::protocol::effect::Effect;
use crate::protocol::message::Message;
use crate::protocol::subscriptions::filter_in;

/// The streams of the subscription.
#[derive(Debug, Default)]
pub(super) struct OwnListen {
    /// The one that is acknowledged.
    current: Option<u64>,
    /// The one that is to replace it.
    next: Option<u64>,
    /// The filter that was wanted since (JSON text; `None` for nothing to hear).
    wanted: Option<Option<String>>,
}

impl Modern {
    /// Listens to what this filter says (JSON text), or to nothing; a burst of changes is asked for at once.
    pub(in crate::protocol) fn listen(&mut self, filter: Option<String>, moment: Moment) {
        self.moment = moment;
        if self.own_listen.next.is_some() {
            self.own_listen.wanted = Some(filter);
            return;
        }
        let Some(filter) = filter else { return self.close_stream(self.own_listen.current) };
        let number = self.ask(Own::Listen, "subscriptions/listen", Some(("notifications", &filter)));
        self.own_listen.next = Some(number);
        self.carry(number, Duration::ZERO);
    }

    pub(super) fn own_acknowledged(&mut self, number: u64, message: &Message) {
        let Some(request) = self.table.request(number) else { return };
        let is_again = std::mem::replace(&mut request.replayed, true);
        let asked = filter_in(&request.message).to_owned();
        if self.own_listen.next == Some(number) {
            self.close_stream(self.own_listen.current);
            self.own_listen.current = self.own_listen.next.take();
        }
        let after = if is_again { Gap::Some } else { Gap::None };
        let came = Acknowledged { asked, honoured: filter_in(message).to_owned(), after };
        self.out.push(Out::Heard(Heard::Acknowledged(came)));
        self.listen_to_wanted();
    }

    /// A stream has ended and is not opened again.
    pub(super) fn own_ended(&mut self, number: u64, request: &Message, why: Option<Error>) {
        if self.own_listen.current == Some(number) {
            self.own_listen.current = None;
            self.note("the service ended the subscription: what changes from now on is not heard");
        }
        if self.own_listen.next != Some(number) {
            return;
        }
        self.own_listen.next = None;
        // What was wanted since holds what was refused here: the client's side says it anew.
        self.own_listen.wanted = None;
        let unsaid = || Error::new(crate::error::Kind::ServiceError, "the service ended the subscription");
        let (asked, error) = (filter_in(request).to_owned(), why.unwrap_or_else(unsaid));
        self.out.push(Out::Heard(Heard::NotAcknowledged { asked, error }));
    }

    fn listen_to_wanted(&mut self) {
        if let Some(filter) = self.own_listen.wanted.take() {
            self.listen(filter, self.moment);
        }
    }

    fn close_stream(&mut self, number: Option<u64>) {
        let Some(number) = number else { return };
        if self.own_listen.current == Some(number) {
            self.own_listen.current = None;
        }
        if self.table.remove(number).is_some() {
            self.out.push(Out::Do(Effect::Abort(ticket(number))));
        }
    }
}
