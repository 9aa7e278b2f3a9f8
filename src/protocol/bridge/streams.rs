//! The streams on which a service speaks of its own accord: the standalone stream of Streamable HTTP
//! (LEG-5) and the one stream of HTTP+SSE (SSE-1…SSE-6).
//!
//! Refuses to open one for a service that has nothing to say there.

use std::time::Duration;

use super::requests::{Errand, Own, reissue_after};
use super::session::{MOST_REOPENINGS, Phase};
use super::{Bridge, Effect, Transport};
use crate::error::{Error, Kind};
use crate::protocol::dialect::Dialect;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::Message;
use crate::protocol::passage::{Failure, Outcome, Processed};

impl Bridge {
    pub(super) fn is_worth_listening(&self) -> bool {
        self.session.worth_listening && self.settings.pushes && !self.dialect.answers_elsewhere()
    }

    /// Opens the standalone stream, once (LEG-5).
    pub(super) fn listen(&mut self) {
        let ready = self.session.phase == Phase::Ready;
        if ready && self.is_worth_listening() && self.session.listening.is_none() {
            let number = self.errands.insert(Errand::Listen);
            self.session.listening = Some(number);
            self.carry(number, Duration::ZERO);
        }
    }

    pub(super) fn listening_ended(&mut self, number: u64, outcome: &Outcome) {
        self.errands.remove(number);
        if self.session.listening != Some(number) {
            return;
        }
        self.session.worth_listening = false;
        if matches!(outcome, Outcome::SessionLost) {
            // Many services say 404 to any GET: only a request tells whether the session is gone.
            let number = self.ask(Own::Ping, "ping", None);
            self.submit(number);
        }
    }

    pub(super) fn open_stream(&mut self, after: Duration) {
        if self.session.stream.is_none() {
            let number = self.errands.insert(Errand::Stream);
            self.session.stream = Some(number);
            self.carry(number, after);
        }
    }

    /// The stream of HTTP+SSE has named its endpoint: the opening message can go.
    pub(super) fn endpoint_named(&mut self, text: &str) {
        if !self.dialect.awaits_endpoint() {
            return self.note("the service named a second endpoint; ignored");
        }
        if let Err(error) = self.dialect.endpoint(text) {
            return self.stream_failed(&error);
        }
        if self.session.may_fall_back {
            self.effects.push(Effect::Learned(Transport::Sse));
        }
        self.session.refusal = None;
        self.session.may_fall_back = false;
        self.session.from_memory = false;
        if let Some(number) = self.session.opening {
            self.carry(number, Duration::ZERO);
        }
    }

    /// The endpoint refused the opening message: an older service may speak HTTP+SSE there (SSE-1).
    pub(super) fn no_endpoint(&mut self, number: u64, answer: Option<Message>, failure: Failure) {
        let fields = answer.as_ref().and_then(ErrorFields::of);
        let speaks =
            |f: ErrorFields| (-32022..=-32020).contains(&f.code) || f.data.get("supported").is_some();
        if fields.is_some_and(speaks) {
            return self.refusal_stands(number, answer, failure);
        }
        self.session.refusal = Some((answer, failure));
        self.dialect = Dialect::http_sse(self.settings.endpoint.clone());
        self.open_stream(Duration::ZERO);
    }

    /// The other transport is not spoken either: the first refusal is the answer.
    fn refusal_stands(&mut self, number: u64, answer: Option<Message>, failure: Failure) {
        let Some(answer) = answer else { return self.request_failed(number, failure, 0.0) };
        let Some(Errand::Request(request)) = self.errands.remove(number) else { return };
        let answer = answer.under_id(&request.upstream);
        self.opening_answered(number, request, answer);
    }

    /// The stream of HTTP+SSE ended: the session is gone with it (SSE-4).
    pub(super) fn stream_ended(&mut self, number: u64, outcome: Outcome, die: f64) {
        if self.session.stream != Some(number) {
            return;
        }
        let error = match outcome {
            Outcome::Failed(failure) => failure.error,
            _ => Error::new(Kind::ConnectionLost, format!("{} offers no event stream", self.settings.place)),
        };
        if self.session.phase == Phase::Opening {
            return self.stream_failed(&error);
        }
        self.session.lost_in_a_row += 1;
        self.leave_session();
        self.lose_with_stream(&error, die);
        if self.session.lost_in_a_row > MOST_REOPENINGS {
            return self.fail_queue(&error);
        }
        let spoken = self.session.client_params.is_some() || !self.session.queue.is_empty();
        if spoken {
            let number = self.ask_to_open();
            self.session.phase = Phase::Opening;
            self.session.opening = Some(number);
            self.open_stream(reissue_after(self.session.lost_in_a_row, die));
        }
    }

    /// The stream on which all answers come is gone: nobody waits for them any more.
    pub(super) fn lose_with_stream(&mut self, error: &Error, die: f64) {
        for number in self.errands.requests() {
            self.lost_with_stream(number, error, die);
        }
    }

    /// In doubt: what may be asked again is asked in the next session; the rest fails.
    fn lost_with_stream(&mut self, number: u64, error: &Error, die: f64) {
        self.effects.push(Effect::Abort(number));
        let fresh = self.errands.own_id();
        let may = match self.errands.request(number) {
            Some(request) if request.sent => self.may_reissue(number),
            _ => return,
        };
        match self.errands.request(number) {
            Some(request) if may => {
                request.reissues += 1;
                request.upstream = fresh;
                request.in_doubt = true;
                request.sent = false;
                self.session.queue.push_back(number);
            }
            _ => {
                let failure = Failure { error: error.clone(), processed: Processed::Maybe, transient: false };
                self.request_failed(number, failure, die);
            }
        }
    }

    /// HTTP+SSE is not spoken here, or not now.
    fn stream_failed(&mut self, error: &Error) {
        if let Some(number) = self.session.stream.take() {
            self.errands.remove(number);
            self.effects.push(Effect::Abort(number));
        }
        let Some(number) = self.session.opening else { return };
        if let Some((answer, failure)) = self.session.refusal.take() {
            self.dialect = Dialect::streamable_http(self.settings.endpoint.clone());
            return self.refusal_stands(number, answer, failure);
        }
        if std::mem::take(&mut self.session.from_memory) {
            self.effects.push(Effect::Learned(Transport::Http));
            self.session.may_fall_back = false;
            self.dialect = Dialect::streamable_http(self.settings.endpoint.clone());
            return self.carry(number, Duration::ZERO);
        }
        let failure = Failure { error: error.clone(), processed: Processed::No, transient: false };
        self.request_failed(number, failure, 0.0);
    }
}
