//! A service without a session: each request is a POST that carries all it needs (MOD-1…14, section 4).
//!
//! Passes the text of a request through as it came. Refuses GET, DELETE, session ids and resumption, and requests of
//! the service (MOD-6).

mod calls;
mod listen;
mod own_listen;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::probe::{self, Probed};
use super::under_way::{Asker, Entry, Own, Request, Sending, UnderWay, reissue_after};
use super::{Heard, Out, Upstream, dropped, end_of_listen, overdue};
use crate::error::{Error, Executed, Kind as ErrorKind, Remedy};
use crate::protocol::Moment;
use crate::protocol::driver::{
    Answers, Cause, Driver, Failure, Item, Outcome, Prompt, Purpose, Rests, Standing, Terms,
};
use crate::protocol::effect::{Effect, Ended, Tag, Ticket, UpstreamKind};
use crate::protocol::message::{Kind, Message};
use crate::protocol::object::object;
use crate::protocol::request::{Class, Leaves, Outgoing, Promise, Wait};
use crate::protocol::settings::Settings;
use crate::protocol::subscriptions::{TOOLS, is_acknowledgement, is_listen};
use crate::protocol::wire::{Stateless, ToolHeaders};
use own_listen::OwnListen;

/// The conversation with a service of the modern era.
#[derive(Debug)]
pub struct Modern {
    settings: Arc<Settings>,
    moment: Moment,
    wire: Stateless,
    table: UnderWay,
    /// The client's newest request: what asistry asks itself carries its envelope.
    example: Option<Message>,
    tools: ToolHeaders,
    /// The cursors of the pages that were read for headers since the list was begun.
    cursors: HashSet<String>,
    own_listen: OwnListen,
    /// Calls that wait for the headers of their tools, each until then.
    waiting: Vec<(u64, Instant)>,
    /// The `server/discover` whose answer decides whether the service speaks this era.
    probing: Option<u64>,
    out: Vec<Out>,
}

impl Modern {
    pub(in crate::protocol) fn new(settings: Arc<Settings>, moment: Moment) -> Self {
        Self {
            moment,
            wire: Stateless::new(settings.endpoint.clone()),
            table: UnderWay::default(),
            example: None,
            tools: ToolHeaders::default(),
            cursors: HashSet::new(),
            own_listen: OwnListen::default(),
            waiting: Vec::new(),
            probing: None,
            out: Vec::new(),
            settings,
        }
    }

    /// Takes the client's `server/discover`, whose answer tells whether the service speaks this era.
    pub(in crate::protocol) fn probe_with(&mut self, outgoing: Outgoing, moment: Moment) {
        self.probing = Some(outgoing.number);
        self.request(outgoing, moment);
    }

    /// Says whether that question is open.
    pub(in crate::protocol) fn is_probing(&self) -> bool {
        self.probing.is_some()
    }

    /// Asks whether the service speaks this era, with the envelope of a request that waits for the answer (T-22), or ours.
    pub(in crate::protocol) fn probe_for(&mut self, waiting: Option<&Outgoing>, moment: Moment) {
        self.moment = moment;
        self.example = waiting.map(|waiting| waiting.message.clone());
        let number = self.ask(Own::Probe, "server/discover", None);
        self.probing = Some(number);
        self.carry(number, Duration::ZERO);
    }
}

impl Upstream for Modern {
    fn request(&mut self, outgoing: Outgoing, moment: Moment) {
        self.moment = moment;
        let (number, leaves) = (outgoing.number, outgoing.leaves);
        self.example = Some(outgoing.message.clone());
        self.table.put_request(outgoing);
        match leaves {
            Leaves::AtOnce => self.submit(number),
            Leaves::After(pause) => self.carry(number, pause.mul_f64(1.0 + moment.random / 5.0)),
            Leaves::AfterTools => {
                let deadline = self.table.request(number).and_then(|request| request.promise.deadline());
                self.alarm_at(deadline);
                self.list_tools(None, moment);
            }
        }
    }

    fn release(&mut self, number: u64, message: Message, class: Class) {
        if self.table.becomes(number, message, class) {
            self.submit(number);
        }
    }

    fn refuse(&mut self, number: u64, error: &Error) {
        self.give_up(number, error.clone().executed(Executed::No));
    }

    fn list_tools(&mut self, cursor: Option<&str>, moment: Moment) {
        self.moment = moment;
        if !self.table.asks(Own::Tools) {
            let number = self.ask(Own::Tools, "tools/list", cursor.map(|cursor| ("cursor", cursor)));
            self.carry(number, Duration::ZERO);
        }
    }

    fn cancel(&mut self, number: u64, _notification: &Message, _moment: Moment) -> bool {
        self.waiting.retain(|(waiting, _)| *waiting != number);
        let Some(request) = self.table.remove_request(number) else { return false };
        if self.probing == Some(number) {
            // Others wait for what its answer tells.
            let asker = Asker::Own(Own::Probe);
            self.table.put(number, Entry::Request(Request { asker, ..request }));
        } else {
            // MOD-4: closing the exchange is the whole message.
            self.out.push(Out::Do(Effect::Abort(ticket(number))));
        }
        true
    }

    fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        self.moment = moment;
        let (message, status) = match item {
            Item::Message(message, status) => (message, status),
            Item::Malformed(malformed) => return self.note(dropped(&malformed)),
            _ => return,
        };
        match message.kind() {
            Kind::Response => self.answered(tag, message, status),
            Kind::Notification => self.told(tag, message),
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
        self.out.extend(self.table.waits(tag.ticket.number, wait, moment.now).map(Out::Heard));
    }

    fn alarm(&mut self, moment: Moment) {
        self.moment = moment;
        for (number, limit) in self.table.overdue(moment.now) {
            self.waiting.retain(|(waiting, _)| *waiting != number);
            self.give_up(number, overdue(&self.settings.place, limit));
        }
        self.send_without_headers();
    }

    fn close(&mut self, moment: Moment) {
        self.moment = moment;
        self.waiting.clear();
        for number in self.table.requests() {
            let Some(request) = self.table.request(number) else { continue };
            // What ends a task is still sent.
            if request.message.method() != "tasks/cancel" {
                self.out.push(Out::Do(Effect::Abort(ticket(number))));
            }
            if let Some(id) = request.message.id().filter(|_| is_listen(&request.message)).cloned() {
                let is_client = request.asker == Asker::Client;
                self.table.remove(number);
                self.out.extend(end_of_listen(number, &id).into_iter().filter(|_| is_client));
                continue;
            }
            let error = Error::new(ErrorKind::Interrupted, "asistry ended before the answer came")
                .remedy(Remedy::AllowDrain);
            let unsent = request.sending == Sending::Waiting || request.is_held(moment.now);
            self.give_up(number, error.executed(if unsent { Executed::No } else { Executed::Maybe }));
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
    fn note(&mut self, note: impl Into<String>) {
        self.out.push(Out::Do(Effect::Note(note.into())));
    }

    fn alarm_at(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            let after = at.saturating_duration_since(self.moment.now);
            self.out.push(Out::Do(Effect::Alarm(after)));
        }
    }

    /// Asks the service something on our own account, with the client's envelope.
    fn ask(&mut self, own: Own, method: &str, field: Option<(&str, &str)>) -> u64 {
        let id = self.table.own_id();
        let meta = self.envelope();
        let params = object(field.into_iter().chain([("_meta", &*meta)]));
        let message = Message::request(&id, method, Some(&params));
        let promise = self.settings.promise(self.moment.now);
        self.table.insert(Entry::Request(Request::new(message, id, Asker::Own(own), (Class::A, promise))))
    }

    fn carry(&mut self, number: u64, after: Duration) {
        let Some(request) = self.table.request(number) else { return };
        let listens = is_listen(&request.message);
        if listens {
            request.promise = Promise::new(self.moment.now, None);
        }
        request.attempt += 1;
        request.sending = Sending::Sent;
        let tag = Tag { ticket: ticket(number), attempt: request.attempt };
        let body = request.message.text_with_id(&request.upstream);
        let call = self.wire.post(&request.message, body, &self.tools);
        let silence = self.settings.silence_of(request.message.method());
        let is_opening = request.asker == Asker::Client && request.message.method() == "server/discover";
        let login = if is_opening { self.settings.login_at_opening } else { Prompt::Allowed };
        let terms = Terms {
            retry: self.settings.retry.clone(),
            standing: Standing::Free,
            answers: Answers::Here,
            repeat: request.class.repeat(),
            silence,
            rests: if listens { Rests::OnceOpened } else { Rests::Never },
            login,
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
        let Some((number, request)) =
            found.and_then(|number| Some((number, self.table.remove_request(number)?)))
        else {
            return self.note("dropped a response of the service to no known request");
        };
        if number != tag.ticket.number {
            self.out.push(Out::Do(Effect::Abort(ticket(number))));
        }
        let Some((request, message)) = self.repaired(number, request, (message, status)) else { return };
        if !self.reports_era(number, || probe::of_response(&message, status)) {
            return;
        }
        match request.asker {
            Asker::Client => {
                let message = listen::under_client_id(&request, message);
                self.out.push(Out::Heard(Heard::Answer { number, message, status }));
            }
            Asker::Own(Own::Tools) => self.out.push(Out::Heard(Heard::Tools(Ok(message)))),
            Asker::Own(Own::Listen) => self.own_ended(number, &request.message, listen::refusal_in(&message)),
            Asker::Own(_) => {}
        }
    }

    /// Reports what the service speaks where this request was to tell; false where it is not the stateless era.
    fn reports_era(&mut self, number: u64, judge: impl Fn() -> Probed) -> bool {
        if self.probing != Some(number) {
            return true;
        }
        self.probing = None;
        let came = judge();
        let goes_on = !matches!(came, Probed::Legacy);
        self.out.push(Out::Heard(Heard::Probed { number, came }));
        goes_on
    }

    fn told(&mut self, tag: Tag, message: Message) {
        if message.method() == TOOLS.method {
            self.tools.forget();
        }
        let number = tag.ticket.number;
        let Some(request) = self.table.request(number) else { return };
        if is_listen(&request.message) && message.method() == "notifications/cancelled" {
            return self.end_listen(number);
        }
        if request.stands_since.is_none() {
            request.stands_since = Some(self.moment.now);
        }
        if request.asker == Asker::Own(Own::Listen) && is_acknowledgement(&message) {
            return self.own_acknowledged(number, &message);
        }
        if let Some(message) = listen::passed_on(request, message) {
            let during = (request.asker == Asker::Client).then_some(number);
            self.out.push(Out::Heard(Heard::Told { during, message, generation: None }));
        }
    }

    /// The service ends a subscription by a word instead of a result (T-9).
    fn end_listen(&mut self, number: u64) {
        let Some(request) = self.table.remove_request(number) else { return };
        self.out.push(Out::Do(Effect::Abort(ticket(number))));
        if request.asker == Asker::Own(Own::Listen) {
            return self.own_ended(number, &request.message, None);
        }
        if let Some(id) = request.message.id() {
            self.out.extend(end_of_listen(number, id));
        }
    }

    fn failed(&mut self, number: u64, failure: Failure) {
        let random = self.moment.random;
        let fresh = self.table.own_id();
        let Some(request) = self.table.request(number) else { return };
        let listens = is_listen(&request.message);
        let class = if failure.executed == Executed::No { Class::A } else { request.class };
        if failure.cause == Cause::Permanent || !(listens || class.may_reissue(request.reissues)) {
            let executed = if request.in_doubt { Executed::Maybe } else { failure.executed };
            return self.give_up(number, failure.error.executed(executed));
        }
        let after = match listens {
            true => listen::again_after(request, self.moment),
            false => reissue_after(request.reissues, random),
        };
        request.reissues += 1;
        if failure.executed == Executed::Maybe {
            request.upstream = fresh;
            request.in_doubt = true;
        }
        self.carry(number, after);
    }

    fn give_up(&mut self, number: u64, error: Error) {
        let Some(request) = self.table.remove_request(number) else { return };
        let error = if request.in_doubt { error.executed(Executed::Maybe) } else { error };
        if !self.reports_era(number, || probe::of_failure(&error)) {
            return;
        }
        match request.asker {
            Asker::Client => self.out.push(Out::Heard(Heard::Failed { number, error })),
            Asker::Own(Own::Tools) => self.out.push(Out::Heard(Heard::Tools(Err(error)))),
            Asker::Own(Own::Listen) => self.own_ended(number, &request.message, Some(error)),
            Asker::Own(Own::Headers) => self.headers_are_known(),
            Asker::Own(_) => {}
        }
    }
}

fn ticket(number: u64) -> Ticket {
    Ticket { upstream: UpstreamKind::Modern, number }
}
