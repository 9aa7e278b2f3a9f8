//! The streams that belong to no request: the standalone stream of Streamable HTTP
//! (LEG-5) and the one stream of HTTP+SSE (SSE-1…SSE-6).
//!
//! Refuses to open one for a service that has nothing to say there.

use std::time::Duration;

use super::super::under_way::{Entry, Own, Sending};
use super::super::{Heard, Out, probe};
use super::session::{Listening, Phase};
use super::{Doubt, Legacy};
use crate::error::{Error, Executed, Kind};
use crate::protocol::Moment;
use crate::protocol::driver::{Cause, Failure, Fallback, Outcome};
use crate::protocol::effect::{Effect, Lesson};
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{INVALID_PARAMS, Message};
use crate::protocol::retry;
use crate::protocol::settings::Spoken;
use crate::protocol::wire::{Wire, WireKind};

/// Section 6.5: a standalone stream that was denied is asked for again after this long, and twice that the next time.
const DENIED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

impl Legacy {
    /// Opens the standalone stream, once (LEG-5).
    pub(in crate::protocol::upstream) fn listen(&mut self) {
        let opens = match self.session.listening {
            Listening::NotOpened | Listening::Wanted => true,
            Listening::Denied { until } => until <= self.moment.now,
            Listening::NotOffered | Listening::On(_) => false,
        };
        if opens && matches!(self.session.phase, Phase::Ready) {
            let number = self.table.insert(Entry::Listen);
            self.session.listening = Listening::On(number);
            self.carry(number, Duration::ZERO);
        }
    }

    /// Opens the standalone stream at once, or as soon as the session is ready.
    pub(in crate::protocol::upstream) fn listen_soon(&mut self) {
        self.listen();
        if self.session.listening == Listening::NotOpened {
            self.session.listening = Listening::Wanted;
        }
    }

    pub(super) fn listening_ended(&mut self, number: u64, outcome: &Outcome) {
        self.table.remove(number);
        if self.session.listening != Listening::On(number) {
            return;
        }
        self.session.listening = match outcome {
            Outcome::StreamDenied => {
                let pause = retry::backoff(DENIED.0, self.session.denials, DENIED.1);
                self.session.denials += 1;
                Listening::Denied { until: self.moment.now + pause }
            }
            _ => Listening::NotOffered,
        };
        if matches!(outcome, Outcome::SessionLost(_)) {
            // Many services say 404 to any GET: only a request tells whether the session is gone.
            let number = self.ask(Own::Ping, "ping", None);
            self.submit(number);
        }
    }

    pub(super) fn open_stream(&mut self, after: Duration) {
        if self.session.stream.is_none() {
            let number = self.table.insert(Entry::Stream);
            self.session.stream = Some(number);
            self.carry(number, after);
        }
    }

    /// The stream of HTTP+SSE has named its endpoint: the opening message can go.
    pub(super) fn endpoint_named(&mut self, text: &str) {
        if !self.session.wire.awaits_endpoint() {
            return self.note("the service named a second endpoint; ignored");
        }
        if let Err(error) = self.session.wire.endpoint(text) {
            return self.stream_failed(&error);
        }
        if self.fallback == Fallback::Possible {
            self.effect(Effect::Learned(Lesson::Wire(WireKind::HttpSse)));
        }
        self.refusal = None;
        self.fallback = Fallback::Excluded;
        self.from_memory = false;
        if let Some(number) = self.session.opening() {
            self.carry(number, Duration::ZERO);
        }
    }

    /// The endpoint refused the opening message: an older service may speak HTTP+SSE there (SSE-1).
    pub(super) fn no_endpoint(&mut self, number: u64, answer: Option<Message>, failure: Failure) {
        let fields = answer.as_ref().and_then(ErrorFields::of);
        let code = fields.as_ref().map(|fields| fields.code);
        let status = failure.error.details().http_status.unwrap_or_default();
        let is_modern = answer.as_ref().is_some_and(|answer| probe::refuses_sessions(answer, status));
        if is_modern || fields.is_some_and(|fields| fields.data.get("supported").is_some()) {
            return self.refusal_is_final(number, answer, failure);
        }
        let lacks_envelope = status == 400 && code == Some(INVALID_PARAMS) && self.settings.era.is_none();
        self.refusal = Some((answer, failure));
        if let Some(request) = self.table.request(number) {
            request.sending = Sending::Waiting;
            self.alarm_for(number);
        }
        if lacks_envelope && self.doubt == Doubt::NotAsked {
            self.doubt = Doubt::Asking;
            return self.out.push(Out::Heard(Heard::Unsure));
        }
        self.try_http_sse();
    }

    fn try_http_sse(&mut self) {
        self.session.wire = Wire::http_sse(self.settings.endpoint.clone());
        self.open_stream(Duration::ZERO);
    }

    /// It is known now whether the service that refused the opening message speaks the stateless era.
    pub(in crate::protocol) fn era_is_known(&mut self, modern: Spoken, moment: Moment) {
        self.moment = moment;
        if self.doubt != Doubt::Asking {
            return;
        }
        self.doubt = Doubt::Asked;
        let Some(number) = self.session.opening() else { return };
        if modern != Spoken::Yes {
            return self.try_http_sse();
        }
        self.refusal = None;
        if let Some(opening) = self.table.remove_request(number) {
            self.surrender(number, opening);
        }
    }

    /// The other wire is not spoken either: the first refusal is the answer.
    fn refusal_is_final(&mut self, number: u64, answer: Option<Message>, failure: Failure) {
        let Some(answer) = answer else { return self.request_failed(number, failure) };
        let status = failure.error.details().http_status.unwrap_or(400);
        let Some(request) = self.table.remove_request(number) else { return };
        let answer = answer.under_id(&request.upstream);
        self.opening_answered(number, request, (answer, status));
    }

    /// The stream of HTTP+SSE ended.
    pub(super) fn stream_ended(&mut self, number: u64, outcome: Outcome) {
        self.table.remove(number);
        let error = match outcome {
            Outcome::Failed(failure) => failure.error,
            _ => Error::new(Kind::ConnectionLost, format!("{} offers no event stream", self.settings.place)),
        };
        if let Some(retired) = self.retired.iter_mut().find(|session| session.stream == Some(number)) {
            retired.stream = None;
            let generation = retired.generation;
            return self.lose_with_stream(generation, &error);
        }
        if self.session.stream != Some(number) {
            return;
        }
        if self.session.opening().is_some() {
            return self.stream_failed(&error);
        }
        self.session.stream = None;
        self.session_ended_with_stream(&error);
    }

    /// HTTP+SSE is not spoken here, or not now.
    fn stream_failed(&mut self, error: &Error) {
        if let Some(number) = self.session.stream.take() {
            self.table.remove(number);
            self.effect(Effect::Abort(self.ticket(number)));
        }
        let Some(number) = self.session.opening() else { return };
        if let Some((answer, failure)) = self.refusal.take() {
            self.session.wire = Wire::streamable_http(self.settings.endpoint.clone());
            return self.refusal_is_final(number, answer, failure);
        }
        if std::mem::take(&mut self.from_memory) {
            self.effect(Effect::Learned(Lesson::Wire(WireKind::StreamableHttp)));
            self.fallback = Fallback::Excluded;
            self.session.wire = Wire::streamable_http(self.settings.endpoint.clone());
            return self.carry(number, Duration::ZERO);
        }
        let failure = Failure { error: error.clone(), executed: Executed::No, cause: Cause::Permanent };
        self.request_failed(number, failure);
    }
}
