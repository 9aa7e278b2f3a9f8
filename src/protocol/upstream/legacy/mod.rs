//! A service with a handshake: one session at a time, opened by the client's own `initialize`, or by ours.
//!
//! Refuses to send anything but the handshake before the session is open, and responses to no request (HTTP-12).

mod endings;
mod loss;
mod session;
mod streams;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::under_way::{Asker, Entry, Notice, Own, Request, Sending, UnderWay};
use super::{Heard, Out, Upstream, dropped, overdue};
use crate::error::{Error, Executed, Kind as ErrorKind, Remedy};
use crate::protocol::Moment;
use crate::protocol::driver::{
    Answers, Driver, Failure, Fallback, Item, Outcome, Prompt, Purpose, Rests, Standing, Terms,
};
use crate::protocol::effect::{Effect, Ended, Tag, Ticket, UpstreamKind};
use crate::protocol::message::{Kind, Message, cancelled_id, quote};
use crate::protocol::request::{Class, Leaves, Outgoing, Promise, Wait};
use crate::protocol::settings::Settings;

use loss::Lost;
use session::{ClientWords, Listening, Phase, Session};

/// Answers under way at which further questions are dropped; those whose id is long at these bytes too.
const MOST_NOTICES: (usize, usize) = (4_096, 16 * 1024 * 1024);
const LONG_ID: usize = 1_024;

/// Whether it was asked if the service speaks the stateless era, because its refusal of the opening message may say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    NotAsked,
    /// The opening message waits for the answer.
    Asking,
    Asked,
}

/// The conversation with a service of the legacy era.
#[derive(Debug)]
pub struct Legacy {
    settings: Arc<Settings>,
    /// A service that refuses sessions may be spoken to in the other era.
    may_surrender: bool,
    /// How its drivers find back.
    kind: UpstreamKind,
    moment: Moment,
    table: UnderWay,
    session: Session,
    /// Sessions that the client has left while requests are still under way in them.
    retired: Vec<Session>,
    /// Messages that wait until the session is open.
    queue: VecDeque<u64>,
    words: ClientWords,
    /// The refusal that is final if the other wire is not spoken either.
    refusal: Option<(Option<Message>, Failure)>,
    fallback: Fallback,
    doubt: Doubt,
    /// HTTP+SSE is spoken because it was remembered, and may be wrong by now.
    from_memory: bool,
    /// Sessions lost since the last answer.
    lost_in_a_row: u32,
    /// The sessions that the service has lost, and when that was first heard.
    lost: Vec<Lost>,
    out: Vec<Out>,
}

impl Legacy {
    pub(in crate::protocol) fn new(settings: Arc<Settings>, moment: Moment) -> Self {
        Self {
            may_surrender: settings.era.is_none(),
            kind: UpstreamKind::Legacy,
            moment,
            table: UnderWay::default(),
            session: Session::new(0, settings.first_wire()),
            retired: Vec::new(),
            queue: VecDeque::new(),
            words: ClientWords::default(),
            refusal: None,
            doubt: Doubt::NotAsked,
            fallback: settings.fallback(),
            from_memory: settings.is_remembered_as_sse(),
            lost_in_a_row: 0,
            lost: Vec::new(),
            out: Vec::new(),
            settings,
        }
    }
}

impl Legacy {
    /// Makes one of several sessions (`upstream/sessions`): its name, and the `params` with which it is opened.
    pub(super) fn pooled(settings: Arc<Settings>, moment: Moment, (name, params): (u64, String)) -> Self {
        let words = ClientWords::of(Some(params));
        Self { kind: UpstreamKind::Session(name), words, ..Self::new(settings, moment) }
    }

    /// Lets it say that the service refuses sessions.
    pub(super) fn surrendering(self) -> Self {
        Self { may_surrender: true, ..self }
    }

    fn ticket(&self, number: u64) -> Ticket {
        Ticket { upstream: self.kind, number }
    }
}

impl Upstream for Legacy {
    fn request(&mut self, outgoing: Outgoing, moment: Moment) {
        let leaves = outgoing.leaves;
        let number = self.register(outgoing, moment);
        match leaves {
            Leaves::AtOnce | Leaves::After(_) => self.submit(number),
            Leaves::AfterTools => {
                self.alarm_for(number);
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
        self.give_up(number, &error.clone().executed(Executed::No));
    }

    fn list_tools(&mut self, cursor: Option<&str>, moment: Moment) {
        self.moment = moment;
        if self.table.asks(Own::Tools) {
            return;
        }
        let params = cursor.map(|cursor| format!(r#"{{"cursor":{cursor}}}"#));
        let number = self.ask(Own::Tools, "tools/list", params.as_deref());
        self.submit(number);
    }

    fn cancel(&mut self, number: u64, notification: &Message, moment: Moment) -> bool {
        self.moment = moment;
        // T-35: some clients cancel `initialize` although they must not; the session stays whole.
        if self.table.request(number).is_some_and(|r| r.message.method() == "initialize") {
            return false;
        }
        let Some(request) = self.table.abandon(number) else { return false };
        self.effect(Effect::Abort(self.ticket(number)));
        if request.sending == Sending::Sent
            && let Some((raw, _)) = cancelled_id(notification)
            && let Ok(message) = Message::read(notification.with_part(raw, &request.upstream.json()))
        {
            self.notify_in(message, request.generation);
        }
        self.settle_retired();
        true
    }

    fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        self.moment = moment;
        let number = tag.ticket.number;
        match item {
            Item::Message(message, status) => match message.kind() {
                Kind::Response => self.answered(tag, message, status),
                Kind::Request => self.asked(tag, message),
                Kind::Notification => self.told(tag, message),
            },
            Item::Opening(head) => {
                if let Phase::Opening { number: opening, head: place } = &mut self.session.phase
                    && *opening == number
                {
                    *place = Some(head);
                }
            }
            Item::Endpoint(text) if self.session.stream == Some(number) => self.endpoint_named(&text),
            // A last report of a driver that was given up; what no driver of this room hands out.
            Item::Endpoint(_) | Item::Data(_) | Item::Record(_) => {}
            Item::Accepted => {
                self.notice_ended(number, Outcome::Done);
                self.settle_retired();
            }
            Item::Malformed(malformed) => self.note(dropped(&malformed)),
        }
    }

    fn ended(&mut self, ended: Ended, moment: Moment) {
        self.moment = moment;
        let number = ended.tag.ticket.number;
        match self.table.entry(number) {
            Some(Entry::Request(request)) if request.attempt == ended.tag.attempt => {
                request.promise = ended.promise;
                self.request_ended(number, ended.outcome);
            }
            Some(Entry::Notice(notice)) if notice.attempt == ended.tag.attempt => {
                self.notice_ended(number, ended.outcome);
            }
            Some(Entry::Listen) => self.listening_ended(number, &ended.outcome),
            Some(Entry::Stream) => self.stream_ended(number, ended.outcome),
            Some(_) | None => {}
        }
        self.settle_retired();
    }

    fn waits(&mut self, tag: Tag, wait: Wait, moment: Moment) {
        self.out.extend(self.table.waits(tag.ticket.number, wait, moment.now).map(Out::Heard));
    }

    fn alarm(&mut self, moment: Moment) {
        self.moment = moment;
        if self.session.listening == Listening::NotOpened {
            self.listen();
        }
        for (number, limit) in self.table.overdue(moment.now) {
            let error = overdue(&self.settings.place, limit);
            self.queue.retain(|waiting| *waiting != number);
            self.give_up(number, &error);
            self.opening_failed(number, &error);
        }
    }

    fn close(&mut self, moment: Moment) {
        self.moment = moment;
        for number in self.table.requests() {
            let Some(request) = self.table.remove_request(number) else { continue };
            let sent = request.sending == Sending::Sent;
            // What ends a task is let go on its way.
            let ends_a_task = request.message.method() == "tasks/cancel";
            if sent && !ends_a_task && request.message.method() != "initialize" {
                self.cancel_at_service(&request, "the client is gone");
            }
            if !ends_a_task {
                self.effect(Effect::Abort(self.ticket(number)));
            }
            let error = Error::new(ErrorKind::Interrupted, "asistry ended before the answer came")
                .remedy(Remedy::AllowDrain)
                .executed(match sent && !request.is_held(moment.now) {
                    true => Executed::Maybe,
                    false => Executed::No,
                });
            self.dropped(number, &request, &error);
        }
        for session in std::mem::take(&mut self.retired) {
            self.leave(session);
        }
        let next = Session::new(self.session.generation + 1, self.session.wire.clone().without_session());
        let session = std::mem::replace(&mut self.session, next);
        self.leave(session);
    }

    fn take(&mut self, out: &mut Vec<Out>) {
        out.append(&mut self.out);
    }

    fn open(&self) -> (usize, usize) {
        self.table.open()
    }
}

impl Legacy {
    fn register(&mut self, outgoing: Outgoing, moment: Moment) -> u64 {
        self.moment = moment;
        let number = outgoing.number;
        self.table.put_request(outgoing);
        number
    }

    /// Says whether a request is on its way to the service, or there.
    pub(in crate::protocol::upstream) fn has_sent(&mut self, number: u64) -> bool {
        let now = self.moment.now;
        let is_sent = |request: &mut Request| request.sending == Sending::Sent && !request.is_held(now);
        self.table.request(number).is_some_and(is_sent)
    }

    /// Takes the client's `initialize`.
    pub(in crate::protocol) fn opens(&mut self, outgoing: Outgoing, moment: Moment) {
        let number = self.register(outgoing, moment);
        self.client_opens(number);
    }

    /// Takes a notification of the client.
    pub(in crate::protocol) fn notice(&mut self, message: Message, moment: Moment) {
        self.moment = moment;
        let number = self.table.insert(Entry::Notice(Notice::new(message, self.session.generation)));
        self.submit(number);
    }

    /// Takes the client's answer to a question that the service asked in the session of this generation.
    pub(in crate::protocol) fn answer(&mut self, message: Message, generation: u64, moment: Moment) {
        self.moment = moment;
        let is_open = generation == self.session.generation && self.session.is_open();
        if is_open || self.retired.iter().any(|session| session.generation == generation) {
            return self.notify_in(message, generation);
        }
        self.note("dropped an answer of the client: the session that asked is gone");
    }

    /// Returns the `params` of the client's `logging/setLevel`, and those of its subscriptions.
    pub(in crate::protocol) fn words(&self) -> (Option<&str>, Vec<&str>) {
        self.words.of_session()
    }

    fn effect(&mut self, effect: Effect) {
        self.out.push(Out::Do(effect));
    }

    fn note(&mut self, note: impl Into<String>) {
        self.effect(Effect::Note(note.into()));
    }

    /// Asks for an alarm at the deadline of a request that waits: no driver looks at it yet.
    fn alarm_for(&mut self, number: u64) {
        if let Some(deadline) = self.table.request(number).and_then(|request| request.promise.deadline()) {
            self.effect(Effect::Alarm(deadline.saturating_duration_since(self.moment.now)));
        }
    }

    /// Lets a message wait until the session is open.
    fn enqueue(&mut self, number: u64) {
        self.queue.push_back(number);
        self.alarm_for(number);
    }

    /// Sends what may go now, and queues what must wait for the session.
    fn submit(&mut self, number: u64) {
        if matches!(self.session.phase, Phase::Ready) {
            return self.leave_queue(number);
        }
        self.enqueue(number);
        match self.session.phase {
            Phase::New => self.open_ourselves(Duration::ZERO),
            // The client sends requests before `initialized`: asistry sends that in its place (ERA-7).
            Phase::Opened => self.confirm(),
            _ => {}
        }
    }

    /// What waited in the queue belongs to the session in which it leaves.
    fn stamp(&mut self, number: u64) {
        let generation = self.session.generation;
        if let Some(Entry::Notice(notice)) = self.table.entry(number) {
            notice.generation = generation;
        }
    }

    /// Makes a driver for an entry.
    fn carry(&mut self, number: u64, after: Duration) {
        let settings = self.settings.clone();
        let generation = self.session.generation;
        let opening = self.session.opening() == Some(number);
        // A cancellation is sent when the conversation's own time is over, too.
        let fresh = Promise::new(self.moment.now, settings.max_time);
        let unlimited = Promise::new(self.moment.now, None);
        let (purpose, body, attempt, rest) = match self.table.entry(number) {
            Some(Entry::Request(request)) => {
                request.attempt += 1;
                request.sending = Sending::Sent;
                request.generation = generation;
                let body = request.message.text_with_id(&request.upstream);
                let silence = settings.silence_of(request.message.method());
                let rest = (request.class, request.promise, silence, generation);
                (Purpose::Request(request.upstream.clone()), body, request.attempt, rest)
            }
            Some(Entry::Notice(notice)) => {
                notice.attempt += 1;
                let rest = (Class::A, fresh, settings.silence, notice.generation);
                (Purpose::Notice, notice.message.text().clone(), notice.attempt, rest)
            }
            Some(Entry::Listen) => {
                (Purpose::Listen, Bytes::new(), 0, (Class::A, unlimited, settings.silence, generation))
            }
            Some(Entry::Stream) => {
                (Purpose::Stream, Bytes::new(), 0, (Class::A, unlimited, settings.silence, generation))
            }
            None => return,
        };
        let (class, promise, silence, generation) = rest;
        let session = self.retired.iter().find(|session| session.generation == generation);
        let wire = &session.unwrap_or(&self.session).wire;
        let streams = matches!(purpose, Purpose::Listen | Purpose::Stream);
        let call = match (streams, opening) {
            (true, _) => wire.listen(),
            (false, true) => wire.open(body),
            (false, false) => wire.post(body),
        };
        let standing = match (opening, wire.has_session()) {
            (true, _) => Standing::Opens(self.fallback),
            (false, true) => Standing::InSession,
            (false, false) => Standing::Free,
        };
        let is_of_client = self.table.request(number).is_some_and(|request| request.asker == Asker::Client);
        let login = if opening && is_of_client { settings.login_at_opening } else { Prompt::Allowed };
        let answers = if wire.answers_elsewhere() && !streams { Answers::OnTheStream } else { Answers::Here };
        let terms = Terms {
            retry: settings.retry.clone(),
            standing,
            answers,
            repeat: class.repeat(),
            silence,
            rests: Rests::Never,
            login,
            place: settings.place.clone(),
        };
        let mut driver = Driver::new(call, purpose, terms, promise);
        if !after.is_zero() {
            driver = driver.not_before(self.moment.now + after);
        }
        self.effect(Effect::Run(Tag { ticket: self.ticket(number), attempt }, Box::new(driver)));
    }

    /// Sends a notification or a response in the session of this generation; in no other one.
    fn notify_in(&mut self, message: Message, generation: u64) {
        let exists = generation == self.session.generation
            || self.retired.iter().any(|session| session.generation == generation);
        if !exists {
            return;
        }
        let number = self.table.insert(Entry::Notice(Notice::new(message, generation)));
        self.carry(number, Duration::ZERO);
    }

    fn cancel_at_service(&mut self, request: &Request, reason: &str) {
        let params = format!(r#"{{"requestId":{},"reason":{}}}"#, request.upstream.json(), quote(reason));
        let message = Message::notification("notifications/cancelled", Some(&params));
        self.notify_in(message, request.generation);
    }

    /// Asks the service something on our own account.
    fn ask(&mut self, own: Own, method: &str, params: Option<&str>) -> u64 {
        let id = self.table.own_id();
        let message = Message::request(&id, method, params);
        let promise = self.settings.promise(self.moment.now);
        let request = Request::new(message, id, Asker::Own(own), (Class::A, promise));
        self.table.insert(Entry::Request(request))
    }

    fn answered(&mut self, tag: Tag, message: Message, status: u16) {
        let found = message.id().and_then(|id| self.table.by_upstream_id(id, tag.ticket.number));
        let Some((number, request)) =
            found.and_then(|number| Some((number, self.table.remove_request(number)?)))
        else {
            return self.note("dropped a response of the service to no known request");
        };
        if number != tag.ticket.number {
            self.effect(Effect::Abort(self.ticket(number)));
        }
        if request.message.method() == "initialize" {
            return self.opening_answered(number, request, (message, status));
        }
        if request.asker == Asker::Client {
            self.lost_in_a_row = 0;
        }
        match request.asker {
            Asker::Own(Own::Tools) => self.out.push(Out::Heard(Heard::Tools(Ok(message)))),
            Asker::Own(_) => {}
            Asker::Client => self.client_answered(number, &request, (message, status)),
        }
        self.settle_retired();
    }

    fn client_answered(&mut self, number: u64, request: &Request, (message, status): (Message, u16)) {
        self.words.learn(&request.message, &message);
        self.out.push(Out::Heard(Heard::Answer { number, message, status }));
        let lists = request.message.method().ends_with("/list");
        if lists || matches!(self.session.listening, Listening::Denied { .. }) {
            self.listen();
        }
    }

    /// Returns the request of the client on whose stream something came.
    fn during(&mut self, tag: Tag) -> Option<u64> {
        let request = self.table.request(tag.ticket.number)?;
        (request.asker == Asker::Client).then_some(tag.ticket.number)
    }

    /// Returns the generation of the session in which a driver runs.
    fn generation_of(&mut self, tag: Tag) -> u64 {
        let number = tag.ticket.number;
        if let Some(request) = self.table.request(number) {
            return request.generation;
        }
        let owns =
            |session: &&Session| session.stream == Some(number) || session.listening == Listening::On(number);
        self.retired.iter().find(owns).unwrap_or(&self.session).generation
    }

    fn asked(&mut self, tag: Tag, message: Message) {
        let Some(id) = message.id().cloned() else { return };
        let (notices, bytes) = self.table.notices();
        let is_too_long = id.size() > LONG_ID && bytes + id.size() > MOST_NOTICES.1;
        if notices >= MOST_NOTICES.0 || is_too_long {
            return self.note("dropped a question of the service: too many answers are under way");
        }
        let generation = self.generation_of(tag);
        if message.method() == "ping" {
            return self.notify_in(Message::result(&id, "{}"), generation);
        }
        let during = self.during(tag);
        self.out.push(Out::Heard(Heard::Asked { during, message, generation }));
    }

    fn told(&mut self, tag: Tag, message: Message) {
        let (during, generation) = (self.during(tag), Some(self.generation_of(tag)));
        self.out.push(Out::Heard(Heard::Told { during, message, generation }));
    }
}
