//! A service without a session: each request is a POST that carries all it needs (MOD-1…6, section 4).
//!
//! Passes the text of a request through as it came. Refuses GET, DELETE, session ids and resumption, and requests of
//! the service (MOD-6).

use std::sync::Arc;
use std::time::Duration;

use super::under_way::{Sending, UnderWay, reissue_after};
use super::{Heard, Out, Upstream, dropped};
use crate::error::{Error, Executed, Kind as ErrorKind, Remedy};
use crate::protocol::Moment;
use crate::protocol::driver::{Answers, Cause, Driver, Failure, Item, Outcome, Purpose, Standing, Terms};
use crate::protocol::effect::{Effect, Ended, Tag, Ticket, UpstreamKind};
use crate::protocol::message::{Kind, Message};
use crate::protocol::request::{Class, Outgoing, Wait};
use crate::protocol::settings::Settings;
use crate::protocol::wire::Stateless;

/// The conversation with a service of the modern era.
#[derive(Debug)]
pub struct Modern {
    settings: Arc<Settings>,
    moment: Moment,
    wire: Stateless,
    table: UnderWay,
    out: Vec<Out>,
}

impl Modern {
    pub(in crate::protocol) fn new(settings: Arc<Settings>, moment: Moment) -> Self {
        let wire = Stateless::new(settings.endpoint.clone());
        Self { settings, moment, wire, table: UnderWay::default(), out: Vec::new() }
    }
}

impl Upstream for Modern {
    fn request(&mut self, outgoing: Outgoing, moment: Moment) {
        self.moment = moment;
        let number = outgoing.number;
        self.table.put_request(outgoing);
        self.carry(number, Duration::ZERO);
    }

    fn cancel(&mut self, number: u64, _notification: &Message, _moment: Moment) -> bool {
        let is_here = self.table.remove(number).is_some();
        if is_here {
            // MOD-4: closing the exchange is the whole message.
            self.out.push(Out::Do(Effect::Abort(ticket(number))));
        }
        is_here
    }

    fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        self.moment = moment;
        let (message, status) = match item {
            Item::Message(message, status) => (message, status),
            Item::Malformed(malformed) => return self.note(&dropped(&malformed)),
            _ => return,
        };
        match message.kind() {
            Kind::Response => self.answered(tag, message, status),
            Kind::Notification => {
                self.out.push(Out::Heard(Heard::Told {
                    during: Some(tag.ticket.number),
                    message,
                    generation: 0,
                }));
            }
            Kind::Request => self.note("dropped a request of the service: the stateless era has none"),
        }
    }

    fn ended(&mut self, ended: Ended, moment: Moment) {
        self.moment = moment;
        let number = ended.tag.ticket.number;
        let Some(request) = self.table.request(number).filter(|r| r.attempt == ended.tag.attempt) else {
            return;
        };
        request.promise = ended.promise;
        match ended.outcome {
            Outcome::Failed(failure) => self.failed(number, *failure),
            _ => {
                let why = format!("{} ended its reply without an answer", self.settings.place);
                self.give_up(number, Error::new(ErrorKind::ProtocolViolation, why).executed(Executed::Maybe));
            }
        }
    }

    fn waits(&mut self, tag: Tag, wait: Wait, moment: Moment) {
        if let Some(request) = self.table.request(tag.ticket.number) {
            request.waits(wait);
        }
        self.out.push(Out::Heard(Heard::Waits {
            number: tag.ticket.number,
            remaining: wait.until.saturating_duration_since(moment.now),
        }));
    }

    fn alarm(&mut self, _moment: Moment) {}

    fn close(&mut self, moment: Moment) {
        self.moment = moment;
        for number in self.table.requests() {
            self.out.push(Out::Do(Effect::Abort(ticket(number))));
            let error = Error::new(ErrorKind::Interrupted, "asistry ended before the answer came")
                .remedy(Remedy::AllowDrain);
            let held = self.table.request(number).is_some_and(|request| request.is_held(moment.now));
            self.give_up(number, error.executed(if held { Executed::No } else { Executed::Maybe }));
        }
    }

    fn take(&mut self, out: &mut Vec<Out>) {
        out.append(&mut self.out);
    }

    fn open(&self) -> (usize, usize) {
        self.table.open()
    }
}

impl Modern {
    fn note(&mut self, note: &str) {
        self.out.push(Out::Do(Effect::Note(note.to_owned())));
    }

    fn carry(&mut self, number: u64, after: Duration) {
        let Some(request) = self.table.request(number) else { return };
        request.attempt += 1;
        request.sending = Sending::Sent;
        let tag = Tag { ticket: ticket(number), attempt: request.attempt };
        let call = self.wire.post(&request.message, request.message.text_with_id(&request.upstream));
        let terms = Terms {
            retry: self.settings.retry,
            standing: Standing::Free,
            answers: Answers::Here,
            repeat: request.class.repeat(),
            silence: self.settings.silence_of(request.message.method()),
            place: self.settings.place.clone(),
        };
        let purpose = Purpose::Request(request.upstream.clone());
        let mut driver = Driver::new(call, purpose, terms, request.promise).without_resumption();
        if !after.is_zero() {
            driver = driver.not_before(self.moment.now + after);
        }
        self.out.push(Out::Do(Effect::Run(tag, Box::new(driver))));
    }

    fn answered(&mut self, tag: Tag, message: Message, status: u16) {
        let found = message.id().and_then(|id| self.table.by_upstream_id(id, tag.ticket.number));
        let Some(number) = found.filter(|number| self.table.remove_request(*number).is_some()) else {
            return self.note("dropped a response of the service to no known request");
        };
        self.out.push(Out::Heard(Heard::Answer { number, message, status }));
    }

    fn failed(&mut self, number: u64, failure: Failure) {
        let random = self.moment.random;
        let fresh = self.table.own_id();
        let Some(request) = self.table.request(number) else { return };
        let class = if failure.executed == Executed::No { Class::A } else { request.class };
        if failure.cause == Cause::Permanent || !class.may_reissue(request.reissues) {
            let executed = if request.in_doubt { Executed::Maybe } else { failure.executed };
            return self.give_up(number, failure.error.executed(executed));
        }
        let after = reissue_after(request.reissues, random);
        request.reissues += 1;
        if failure.executed == Executed::Maybe {
            request.upstream = fresh;
            request.in_doubt = true;
        }
        self.carry(number, after);
    }

    fn give_up(&mut self, number: u64, error: Error) {
        if self.table.remove_request(number).is_some() {
            self.out.push(Out::Heard(Heard::Failed { number, error }));
        }
    }
}

fn ticket(number: u64) -> Ticket {
    Ticket { upstream: UpstreamKind::Modern, number }
}
