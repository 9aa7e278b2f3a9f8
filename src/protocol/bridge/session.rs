//! The session with the service: opened by the client's own handshake, or by ours where the client has
//! none; opened anew, once for all callers, when the service has lost it (LEG-1…5, LEG-10…13).
//!
//! Refuses to send anything but the handshake before the session stands.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::foreign::disowned;
use super::requests::{Errand, Notice, Origin, Own, Request};
use super::{Bridge, Effect};
use crate::error::{Error, Kind};
use crate::protocol::http::{ErrorFields, Head};
use crate::protocol::message::{Message, quote};
use crate::protocol::passage::Failure;
use crate::protocol::revision::{self, Revision};

/// LEG-5: how long the first list may take before the standalone stream is opened all the same.
const LISTEN_AFTER: Duration = Duration::from_millis(500);
/// A service that loses every session at once is not opened anew for ever.
pub(super) const MOST_REOPENINGS: u32 = 3;

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was opened yet, or the last attempt failed.
    New,
    /// The opening message is under way (or waits for the stream of HTTP+SSE).
    Opening,
    /// Opened; the client has not confirmed yet.
    Opened,
    /// `notifications/initialized` is under way.
    Confirming,
    /// Everything may be sent.
    Ready,
}

#[derive(Debug)]
pub(super) struct Session {
    pub phase: Phase,
    /// Counts sessions, so that what was sent in an earlier one is told apart.
    pub generation: u64,
    /// The errand of the opening message.
    pub opening: Option<u64>,
    /// The head of its reply.
    pub head: Option<Head>,
    /// What waits until the session stands.
    pub queue: VecDeque<u64>,
    pub revision: Option<&'static Revision>,
    /// The transport is not proven yet (SSE-1).
    pub may_fall_back: bool,
    /// HTTP+SSE is spoken because it was remembered, and may be wrong by now.
    pub from_memory: bool,
    /// Sessions lost since the last answer.
    pub lost_in_a_row: u32,
    /// The `params` of the client's `initialize`, for opening anew.
    pub client_params: Option<String>,
    client_has_confirmed: bool,
    /// The refusal that stands if the other transport is not spoken either.
    pub refusal: Option<(Option<Message>, Failure)>,
    /// The errand of the standalone stream (LEG-5).
    pub listening: Option<u64>,
    /// The service could have something to say there.
    pub worth_listening: bool,
    /// The errand of the stream of HTTP+SSE.
    pub stream: Option<u64>,
    log_level: Option<String>,
    /// URI and `params` of each.
    subscriptions: Vec<(String, String)>,
}

impl Session {
    pub fn new(may_fall_back: bool) -> Self {
        Self {
            phase: Phase::New,
            generation: 0,
            opening: None,
            head: None,
            queue: VecDeque::new(),
            revision: None,
            may_fall_back,
            from_memory: false,
            lost_in_a_row: 0,
            client_params: None,
            client_has_confirmed: false,
            refusal: None,
            listening: None,
            worth_listening: false,
            stream: None,
            log_level: None,
            subscriptions: Vec::new(),
        }
    }

    /// Says whether the service has opened it: answers to its questions may go, confirmed or not.
    pub fn stands(&self) -> bool {
        matches!(self.phase, Phase::Opened | Phase::Confirming | Phase::Ready)
    }

    /// Remembers what a session opened anew must be told again.
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

impl Bridge {
    /// Sends what may go now, and queues what must wait for the session.
    pub(super) fn submit(&mut self, number: u64) {
        if self.session.phase == Phase::Ready {
            return self.carry(number, Duration::ZERO);
        }
        self.session.queue.push_back(number);
        match self.session.phase {
            Phase::New => self.open_ourselves(),
            // The client speaks before it has confirmed: we confirm in its place (ERA-7).
            Phase::Opened => self.confirm(),
            _ => {}
        }
    }

    /// The client opens the conversation, perhaps anew (ERA-9).
    pub(super) fn client_opens(&mut self, number: u64) {
        let params =
            self.errands.request(number).and_then(|request| request.message.params().map(str::to_owned));
        if let Some(earlier) = self.session.opening {
            self.effects.push(Effect::Abort(earlier));
            let error = Error::new(Kind::Interrupted, "a second initialize took the place of this one");
            self.give_up(earlier, &error.may_have_executed(false));
            self.leave_session();
        } else if self.session.phase != Phase::New {
            self.effects.extend(self.dialect.farewell().map(Effect::Farewell));
            self.leave_session();
            if self.dialect.answers_elsewhere() {
                let error = Error::new(Kind::ConnectionLost, "the client opened a new session meanwhile")
                    .hint("check whether the call took effect before repeating it");
                self.lose_with_stream(&error, 0.0);
            }
        }
        self.session.log_level = None;
        self.session.subscriptions.clear();
        self.session.client_params = params;
        self.session.client_has_confirmed = false;
        self.send_opening(number);
    }

    /// Opens a session on the bridge's own account, with the client's words where it had some.
    pub(super) fn open_ourselves(&mut self) {
        let number = self.ask_to_open();
        self.send_opening(number);
    }

    pub(super) fn ask_to_open(&mut self) -> u64 {
        let params = self.session.client_params.clone().unwrap_or_else(|| {
            let version = quote(revision::NEWEST_LEGACY.date);
            let info = &self.settings.client_info;
            format!(r#"{{"protocolVersion":{version},"capabilities":{{}},"clientInfo":{info}}}"#)
        });
        self.ask(Own::Initialize, "initialize", Some(&params))
    }

    fn send_opening(&mut self, number: u64) {
        self.session.phase = Phase::Opening;
        self.session.opening = Some(number);
        self.session.head = None;
        if self.dialect.answers_elsewhere() {
            // The stream comes first: it names the endpoint.
            return self.open_stream(Duration::ZERO);
        }
        self.carry(number, Duration::ZERO);
    }

    /// The opening message was answered.
    pub(super) fn opening_answered(&mut self, number: u64, request: Request, message: Message) {
        if let Some(lower) = lower_version(&request.message, &message) {
            let retried = Request { message: lower, ..request };
            let number = self.errands.insert(Errand::Request(retried));
            // The session is open as far as HTTP goes: over HTTP+SSE the stream stands, and names no endpoint again.
            self.session.opening = Some(number);
            self.session.head = None;
            return self.carry(number, Duration::ZERO);
        }
        let stands = self.opened(&message);
        match (request.origin, request.message.id()) {
            (Origin::Client { batch }, Some(id)) => {
                self.answer(disowned(message.clone()).text_with_id(id), batch, message.origin());
                if !stands {
                    return self.refused(number, &message);
                }
                self.session.phase = Phase::Opened;
                if self.session.client_has_confirmed || !self.session.queue.is_empty() {
                    self.confirm();
                }
            }
            _ if stands => self.confirm(),
            _ if self.session.client_params.is_none() && has_no_handshake(&message) => self.ready(),
            _ => self.refused(number, &message),
        }
    }

    fn opened(&mut self, message: &Message) -> bool {
        self.session.opening = None;
        self.session.may_fall_back = false;
        self.session.refusal = None;
        let Some(result) = message.result_text() else { return false };
        let head = self.session.head.take();
        let read: Option<OpeningResult> = serde_json::from_str(result).ok();
        let version: Option<String> =
            read.as_ref().and_then(|read| serde_json::from_str(read.protocol_version?.get()).ok());
        if let Some(warning) = self.dialect.opened(head.as_ref(), version.as_deref()) {
            self.note(warning);
        }
        self.session.revision = version.as_deref().and_then(revision::named);
        self.session.worth_listening =
            read.is_none_or(|read| could_push(&read.capabilities, self.session.client_params.as_deref()));
        true
    }

    /// The service's own words go to everybody who waited for the session.
    fn refused(&mut self, number: u64, message: &Message) {
        if self.session.opening.is_some_and(|opening| opening != number) {
            return;
        }
        self.leave_session();
        for number in std::mem::take(&mut self.session.queue) {
            let Some(Errand::Request(request)) = self.errands.remove(number) else { continue };
            match (&request.origin, request.message.id()) {
                (Origin::Client { batch }, Some(id)) => {
                    self.answer(disowned(message.clone()).text_with_id(id), *batch, message.origin());
                }
                _ => self
                    .dropped(&request, &Error::new(Kind::ServiceError, "the service refused the handshake")),
            }
        }
    }

    /// The client confirms the session.
    pub(super) fn client_confirms(&mut self) {
        self.session.client_has_confirmed = true;
        if self.session.phase == Phase::Opened {
            self.confirm();
        }
    }

    fn confirm(&mut self) {
        self.session.phase = Phase::Confirming;
        let message = Message::notification("notifications/initialized", None);
        let number = self.errands.insert(Errand::Notice(Notice::confirmation(message)));
        self.carry(number, Duration::ZERO);
    }

    /// `notifications/initialized` has arrived, or could not: what waits may go either way.
    pub(super) fn confirmed(&mut self) {
        let level = self.session.log_level.clone().map(|params| ("logging/setLevel", params));
        let subscriptions =
            self.session.subscriptions.clone().into_iter().map(|(_, p)| ("resources/subscribe", p));
        for (method, params) in level.into_iter().chain(subscriptions).collect::<Vec<_>>() {
            let number = self.ask(Own::Restore, method, Some(&params));
            self.carry(number, Duration::ZERO);
        }
        self.ready();
    }

    fn ready(&mut self) {
        self.session.phase = Phase::Ready;
        for number in std::mem::take(&mut self.session.queue) {
            self.carry(number, Duration::ZERO);
        }
        if self.is_worth_listening() {
            self.effects.push(Effect::Alarm(LISTEN_AFTER));
        }
    }

    /// A message came back because its session is gone: it goes again in the next one, once (LEG-10).
    pub(super) fn lost_under(&mut self, number: u64) {
        let Some(request) = self.errands.request(number) else { return };
        let generation = request.generation;
        if request.replayed {
            return self.give_up(number, &loses_sessions().may_have_executed(false));
        }
        request.replayed = true;
        request.sent = false;
        if generation < self.session.generation {
            return self.submit(number);
        }
        self.session.queue.push_back(number);
        self.session_lost(generation);
    }

    /// Opens the session anew, once for all who lost it.
    pub(super) fn session_lost(&mut self, generation: u64) {
        if generation < self.session.generation {
            return;
        }
        self.session.lost_in_a_row += 1;
        self.leave_session();
        if self.session.lost_in_a_row > MOST_REOPENINGS {
            self.session.lost_in_a_row = 0;
            return self.fail_queue(&loses_sessions());
        }
        self.open_ourselves();
    }

    pub(super) fn leave_session(&mut self) {
        self.dialect.forget_session();
        self.session.generation += 1;
        self.session.phase = Phase::New;
        self.session.opening = None;
        for number in [self.session.listening.take(), self.session.stream.take()].into_iter().flatten() {
            self.errands.remove(number);
            self.effects.push(Effect::Abort(number));
        }
    }

    /// No session could be opened: what waits for it cannot go.
    pub(super) fn opening_failed(&mut self, number: u64, error: &Error) {
        if self.session.opening == Some(number) {
            self.leave_session();
            self.fail_queue(error);
        }
    }

    pub(super) fn fail_queue(&mut self, error: &Error) {
        let error = error.clone().may_have_executed(false);
        for number in std::mem::take(&mut self.session.queue) {
            self.give_up(number, &error);
            self.errands.remove(number);
        }
    }
}

fn uri_of(params: &str) -> String {
    let params: Value = serde_json::from_str(params).unwrap_or_default();
    params["uri"].as_str().unwrap_or_default().to_owned()
}

fn loses_sessions() -> Error {
    Error::new(Kind::ConnectionLost, "the service loses each session as soon as it is opened")
        .hint("try again later")
}

/// A stateless service may know no `initialize`; it takes requests as they are.
fn has_no_handshake(answer: &Message) -> bool {
    ErrorFields::of(answer).is_some_and(|fields| matches!(fields.code, -32601 | -32600))
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

/// Says whether the service could ever have something to say on a stream of its own.
fn could_push(capabilities: &Value, client_params: Option<&str>) -> bool {
    let flag = |area: &str, name: &str| capabilities[area][name] == Value::Bool(true);
    let service = flag("tools", "listChanged")
        || flag("prompts", "listChanged")
        || flag("resources", "listChanged")
        || flag("resources", "subscribe")
        || ["logging", "tasks", "experimental"].iter().any(|name| capabilities.get(name).is_some());
    let client: Value =
        client_params.and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
    let asks = ["sampling", "elicitation", "roots"];
    service || asks.iter().any(|name| client["capabilities"].get(name).is_some())
}
