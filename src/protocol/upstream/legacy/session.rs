//! The session with the service: opened by the client's own handshake, or by ours where the client has none
//! (LEG-1…5, LEG-13, ERA-7…9).
//!
//! Refuses to end a session that requests are still under way in: it is retired first (LEG-10).

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::under_way::{Asker, Entry, Notice, Own, Request, Sending};
use super::super::{Heard, Out, probe};
use super::Legacy;
use crate::error::{Error, Executed, Kind};
use crate::protocol::driver::Fallback;
use crate::protocol::effect::{Effect, UpstreamKind};
use crate::protocol::http::{ErrorFields, Head};
use crate::protocol::message::{INVALID_REQUEST, METHOD_NOT_FOUND, Message, quote};
use crate::protocol::request::{Leaves, Outgoing};
use crate::protocol::revision::{self, Era};
use crate::protocol::subscriptions::LISTS;
use crate::protocol::wire::Wire;

/// LEG-5: how long the first list may take before the standalone stream is opened all the same.
const LISTEN_AFTER: Duration = Duration::from_millis(500);

/// How far the session is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing was opened yet, or the last attempt failed.
    New,
    /// The opening message is under way (or waits for the stream of HTTP+SSE), with the head of its reply.
    Opening { number: u64, head: Option<Head> },
    /// Opened; the client has not confirmed yet.
    Opened,
    /// `notifications/initialized` is under way.
    Confirming,
    /// Everything may be sent.
    Ready,
}

/// The standalone stream (LEG-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// The service has nothing to say there, or offers no such stream.
    NotOffered,
    /// It is opened after the first list.
    NotOpened,
    /// It is opened as soon as the session is ready.
    Wanted,
    /// It is open under this number.
    On(u64),
    /// The credential was rejected there: it is opened again once a request was answered.
    Denied {
        /// Not before this instant.
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Session {
    /// Counts sessions, to tell what was sent in an earlier one.
    pub generation: u64,
    pub phase: Phase,
    pub wire: Wire,
    pub listening: Listening,
    /// The number of the stream of HTTP+SSE.
    pub stream: Option<u64>,
    /// How often its standalone stream was denied.
    pub denials: u32,
}

impl Session {
    pub fn new(generation: u64, wire: Wire) -> Self {
        Self {
            generation,
            phase: Phase::New,
            wire,
            listening: Listening::NotOffered,
            stream: None,
            denials: 0,
        }
    }

    /// Says whether the service has opened it: answers to its questions may go, confirmed or not.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Opened | Phase::Confirming | Phase::Ready)
    }

    /// Returns the number of the opening message that is under way.
    pub fn opening(&self) -> Option<u64> {
        match self.phase {
            Phase::Opening { number, .. } => Some(number),
            _ => None,
        }
    }
}

/// Settings of the client that are repeated in a session that is opened anew.
#[derive(Debug, Default)]
pub(super) struct ClientWords {
    /// The `params` of its `initialize`.
    pub params: Option<String>,
    pub has_confirmed: bool,
    log_level: Option<String>,
    /// URI and `params` of each.
    subscriptions: Vec<(String, String)>,
}

impl ClientWords {
    pub fn of(params: Option<String>) -> Self {
        Self { params, ..Self::default() }
    }

    pub fn of_session(&self) -> (Option<&str>, Vec<&str>) {
        let subscriptions = self.subscriptions.iter().map(|(_, params)| &**params);
        (self.log_level.as_deref(), subscriptions.collect())
    }

    pub fn learn(&mut self, request: &Message, answer: &Message) {
        let (Some(params), Some(_)) = (request.params(), answer.result_len()) else { return };
        match request.method() {
            "logging/setLevel" => self.log_level = Some(params.to_owned()),
            method @ ("resources/subscribe" | "resources/unsubscribe") => {
                let uri = uri_of(params);
                self.subscriptions.retain(|(known, _)| *known != uri);
                if method == "resources/subscribe" {
                    self.subscriptions.push((uri, params.to_owned()));
                }
            }
            _ => {}
        }
    }
}

#[derive(Deserialize)]
struct OpeningResult<'a> {
    #[serde(borrow, default, rename = "protocolVersion")]
    protocol_version: Option<&'a RawValue>,
    #[serde(default)]
    capabilities: Value,
}

impl Legacy {
    /// The client opens the conversation, perhaps anew (ERA-9).
    pub(super) fn client_opens(&mut self, number: u64) {
        let params =
            self.table.request(number).and_then(|request| request.message.params().map(str::to_owned));
        if let Some(earlier) = self.session.opening() {
            self.effect(Effect::Abort(self.ticket(earlier)));
            let error = Error::new(Kind::Interrupted, "a second initialize replaced this one");
            self.give_up(earlier, &error.executed(Executed::No));
        }
        if !matches!(self.session.phase, Phase::New) {
            let next = Session::new(self.session.generation + 1, self.session.wire.clone().without_session());
            let earlier = std::mem::replace(&mut self.session, next);
            self.retired.push(earlier);
            self.settle_retired();
        }
        self.words = ClientWords::of(params);
        self.send_opening(number, Duration::ZERO);
    }

    /// Leaves the retired sessions in which nothing is under way any more (LEG-10, LEG-12).
    pub(super) fn settle_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let table = &self.table;
        let idle = |session: &mut Session| {
            !table.is_used(session.generation) && !table.is_spoken_in(session.generation)
        };
        for session in self.retired.extract_if(.., idle).collect::<Vec<_>>() {
            self.leave(session);
        }
    }

    /// Says farewell to a session, and ends its streams.
    pub(super) fn leave(&mut self, session: Session) {
        if let Some(farewell) = session.wire.farewell() {
            self.effect(Effect::Farewell(farewell));
        }
        self.end_streams(&session);
    }

    fn end_streams(&mut self, session: &Session) {
        let listening = match session.listening {
            Listening::On(number) => Some(number),
            _ => None,
        };
        for number in [listening, session.stream].into_iter().flatten() {
            self.table.remove(number);
            self.effect(Effect::Abort(self.ticket(number)));
        }
    }

    /// Forgets the session without a farewell: it is gone at the service, or never was.
    pub(super) fn forget_session(&mut self) {
        let next = Session::new(self.session.generation + 1, self.session.wire.clone().without_session());
        let session = std::mem::replace(&mut self.session, next);
        self.end_streams(&session);
    }

    /// Opens a session on our own account, with the client's words where it had some.
    pub(super) fn open_ourselves(&mut self, after: Duration) {
        let number = self.ask_to_open();
        self.send_opening(number, after);
    }

    pub(super) fn ask_to_open(&mut self) -> u64 {
        let params = self.words.params.clone().unwrap_or_else(|| {
            let version = quote(revision::NEWEST_LEGACY.date);
            let info = &self.settings.client_info;
            format!(r#"{{"protocolVersion":{version},"capabilities":{{}},"clientInfo":{info}}}"#)
        });
        self.ask(Own::Initialize, "initialize", Some(&params))
    }

    fn send_opening(&mut self, number: u64, after: Duration) {
        self.lost_are_replaced(after);
        self.session.phase = Phase::Opening { number, head: None };
        if self.session.wire.answers_elsewhere() {
            // The stream comes first: it names the endpoint.
            self.alarm_for(number);
            return self.open_stream(after);
        }
        self.carry(number, after);
    }

    /// The opening message was answered.
    pub(super) fn opening_answered(&mut self, number: u64, request: Request, answer: (Message, u16)) {
        let (message, status) = answer;
        // T-7: for a client's opening the code counts, with whatever status it comes.
        let is_unknown =
            |message: &Message| ErrorFields::of(message).is_some_and(|e| e.code == METHOD_NOT_FOUND);
        let refuses = probe::refuses_sessions(&message, status)
            || request.asker == Asker::Client && is_unknown(&message);
        if self.may_surrender && refuses {
            return self.surrender(number, request);
        }
        if let Some(lower) = lower_version(&request.message, &message) {
            self.table.put(number, Entry::Request(Request { message: lower, ..request }));
            // Over HTTP+SSE the stream is open already and does not name its endpoint again.
            self.session.phase = Phase::Opening { number, head: None };
            return self.carry(number, Duration::ZERO);
        }
        let is_open = self.opened(&message);
        match request.asker {
            Asker::Client => {
                self.out.push(Out::Heard(Heard::Answer { number, message: message.clone(), status }));
                if !is_open {
                    return self.refused(number, &message, status);
                }
                self.session.phase = Phase::Opened;
                if self.words.has_confirmed || !self.queue.is_empty() {
                    self.confirm();
                }
            }
            Asker::Own(_) if is_open => {
                self.answer_that_it_is_open();
                self.confirm();
            }
            Asker::Own(_) if !self.has_handshake_of_client() && has_no_handshake(&message) => self.ready(),
            Asker::Own(_) => self.refused(number, &message, status),
        }
    }

    /// Says whether the client opened the session itself, or has opened an earlier one.
    fn has_handshake_of_client(&self) -> bool {
        self.kind == UpstreamKind::Legacy && self.words.params.is_some()
    }

    /// Gives back what was not sent: the service opens no sessions. What runs in an earlier session gets its own answer.
    pub(super) fn surrender(&mut self, opening: u64, request: Request) {
        self.table.put(opening, Entry::Request(request));
        let mut unsent = Vec::new();
        for number in self.table.requests() {
            let is_queued = self.queue.contains(&number) || opening == number;
            let stays = |request: &mut Request| {
                request.asker == Asker::Client && request.sending == Sending::Sent && !is_queued
            };
            if self.table.request(number).is_some_and(stays) {
                continue;
            }
            let Some(request) = self.table.remove_request(number) else { continue };
            if request.asker == Asker::Client {
                let leaves = if is_queued { Leaves::AtOnce } else { Leaves::AfterTools };
                let Request { message, class, promise, .. } = request;
                unsent.push(Outgoing { number, message, class, promise, leaves, era: Era::Legacy });
            }
        }
        for number in std::mem::take(&mut self.queue) {
            self.table.remove(number);
        }
        self.forget_session();
        self.out.push(Out::Heard(Heard::NoSessions(unsent)));
    }

    fn opened(&mut self, message: &Message) -> bool {
        let head = match std::mem::replace(&mut self.session.phase, Phase::New) {
            Phase::Opening { head, .. } => head,
            _ => None,
        };
        self.fallback = Fallback::Excluded;
        self.refusal = None;
        let Some(result) = message.result_text() else { return false };
        let read: Option<OpeningResult> = serde_json::from_str(result).ok();
        let version: Option<String> =
            read.as_ref().and_then(|read| serde_json::from_str(read.protocol_version?.get()).ok());
        if let Some(warning) = self.session.wire.opened(head.as_ref(), version.as_deref()) {
            self.note(warning);
        }
        let revision = version.as_deref().and_then(revision::named);
        self.out.push(Out::Heard(Heard::Opened { revision, answer: message.clone() }));
        let could_push = read.is_none_or(|read| could_push(&read.capabilities, self.words.params.as_deref()));
        let listens = could_push && self.settings.pushes && !self.session.wire.answers_elsewhere();
        self.session.listening = if listens { Listening::NotOpened } else { Listening::NotOffered };
        true
    }

    /// The service refused to open a session: every request that waited for it gets the service's answer.
    fn refused(&mut self, number: u64, message: &Message, status: u16) {
        if self.session.opening().is_some_and(|opening| opening != number) {
            return;
        }
        self.forget_session();
        for number in std::mem::take(&mut self.queue) {
            let Some(request) = self.table.remove_request(number) else {
                self.table.remove(number);
                continue;
            };
            if request.asker == Asker::Client {
                let message = message.clone();
                self.out.push(Out::Heard(Heard::Answer { number, message, status }));
                continue;
            }
            let error = Error::new(Kind::ServiceError, "the service refused the handshake");
            self.dropped(number, &request, &error);
        }
    }

    /// The client confirms the session.
    pub(in crate::protocol) fn confirms(&mut self, moment: crate::protocol::Moment) {
        self.moment = moment;
        self.words.has_confirmed = true;
        if matches!(self.session.phase, Phase::Opened) {
            self.confirm();
        }
    }

    pub(super) fn confirm(&mut self) {
        self.session.phase = Phase::Confirming;
        let message = Message::notification("notifications/initialized", None);
        let notice = Notice { confirms_session: true, ..Notice::new(message, self.session.generation) };
        let number = self.table.insert(Entry::Notice(notice));
        self.carry(number, Duration::ZERO);
    }

    /// `notifications/initialized` has arrived, or could not: what waits may go either way.
    pub(super) fn confirmed(&mut self) {
        let level = self.words.log_level.clone().map(|params| ("logging/setLevel", params));
        let subscriptions =
            self.words.subscriptions.clone().into_iter().map(|(_, p)| ("resources/subscribe", p));
        for (method, params) in level.into_iter().chain(subscriptions).collect::<Vec<_>>() {
            let number = self.ask(Own::Restore, method, Some(&params));
            self.carry(number, Duration::ZERO);
        }
        self.ready();
    }

    fn ready(&mut self) {
        self.session.phase = Phase::Ready;
        for number in std::mem::take(&mut self.queue) {
            self.leave_queue(number);
        }
        match self.session.listening {
            Listening::NotOpened => self.effect(Effect::Alarm(LISTEN_AFTER)),
            Listening::Wanted => self.listen(),
            _ => {}
        }
    }

    /// The session is open for this message.
    pub(super) fn leave_queue(&mut self, number: u64) {
        if self.only_opens(number) {
            return self.answer_open(number);
        }
        self.stamp(number);
        self.carry(number, Duration::ZERO);
    }

    /// Says whether a request only asks for a session: no service with sessions is asked for `server/discover`.
    fn only_opens(&mut self, number: u64) -> bool {
        self.table.request(number).is_some_and(|request| request.message.method() == "server/discover")
    }

    /// What only waits for the session need not wait for its confirmation.
    fn answer_that_it_is_open(&mut self) {
        for number in self.queue.iter().copied().collect::<Vec<_>>() {
            if self.only_opens(number) {
                self.queue.retain(|waiting| *waiting != number);
                self.answer_open(number);
            }
        }
    }

    fn answer_open(&mut self, number: u64) {
        let removed = self.table.remove_request(number);
        let Some(id) = removed.and_then(|request| request.message.id().cloned()) else { return };
        let message = Message::result(&id, "{}");
        self.out.push(Out::Heard(Heard::Answer { number, message, status: 200 }));
    }

    /// No session could be opened: what waits for it cannot go.
    pub(super) fn opening_failed(&mut self, number: u64, error: &Error) {
        if self.session.opening() == Some(number) {
            self.forget_session();
            self.fail_queue(error);
        }
    }

    pub(super) fn fail_queue(&mut self, error: &Error) {
        let error = error.clone().executed(Executed::No);
        for number in std::mem::take(&mut self.queue) {
            self.give_up(number, &error);
            self.table.remove(number);
        }
    }
}

fn uri_of(params: &str) -> String {
    let params: Value = serde_json::from_str(params).unwrap_or_default();
    params["uri"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn loses_sessions() -> Error {
    Error::new(Kind::ConnectionLost, "the service loses each session as soon as it is opened")
        .hint("try again later")
}

/// A stateless service may know no `initialize`; it takes requests as they are.
fn has_no_handshake(answer: &Message) -> bool {
    ErrorFields::of(answer).is_some_and(|fields| matches!(fields.code, METHOD_NOT_FOUND | INVALID_REQUEST))
}

/// A service that refuses the version gets an older one (LEG-13).
fn lower_version(request: &Message, answer: &Message) -> Option<Message> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "protocolVersion")]
        version: &'a RawValue,
    }
    let fields = ErrorFields::of(answer)?;
    let supported = fields.data.get("supported").or_else(|| fields.data.get("supportedVersions"));
    if supported.is_none() && !fields.message.to_lowercase().contains("protocol version") {
        return None;
    }
    let params: Params = serde_json::from_str(request.params()?).ok()?;
    let asked: String = serde_json::from_str(params.version.get()).ok()?;
    let listed = supported.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let next = match supported {
        Some(_) => revision::newest_of(listed).filter(|next| *next.date < *asked)?,
        None => revision::before(&asked)?,
    };
    Message::read(request.with_part(params.version.get(), &quote(next.date))).ok()
}

/// Says whether the service could send anything on the standalone stream.
fn could_push(capabilities: &Value, client_params: Option<&str>) -> bool {
    let flag = |area: &str, name: &str| capabilities[area][name] == Value::Bool(true);
    let service = LISTS.iter().any(|list| flag(list.capability, "listChanged"))
        || flag("resources", "subscribe")
        || ["logging", "tasks", "experimental"].iter().any(|name| capabilities.get(name).is_some());
    let client: Value =
        client_params.and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
    let asks = ["sampling", "elicitation", "roots"];
    service || asks.iter().any(|name| client["capabilities"].get(name).is_some())
}
