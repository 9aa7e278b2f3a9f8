//! The way of one message to the service: every exchange it takes until its outcome is known.
//!
//! A pure state machine that `remote` and the tests' pure stage both run: it asks for admission, an exchange, a
//! rest or a decision about a challenge, and is told what came of it; every input carries its `now`. Refuses to
//! send anything twice that may have run: what is in doubt ends as [`Outcome::Failed`], and `upstream` decides.

mod challenges;
mod refusals;
mod reply;
mod terms;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::Moment;
use crate::protocol::exchange::PROMPT;
use crate::protocol::exchange::resumption::Resumption;
use crate::protocol::exchange::status::{Failing, failure_of};
pub use crate::protocol::exchange::{Cause, Failure, Key, Reach};
use crate::protocol::exchange::{redirect, unreachable};
use crate::protocol::http::{Head, HttpCall, Media};
use crate::protocol::object;
use crate::protocol::request::Promise;
use crate::protocol::retry::seconds;
use crate::protocol::sse::Event;
use refusals::Records;
use waiting::{Rest, Waits};

pub use terms::{
    Again, Answers, Body, Fallback, GateNews, Item, Loss, Next, Outcome, Prompt, Purpose, Rests, Standing,
    Terms,
};
pub use waiting::Pause;

const MOST_REDIRECTS: u8 = 5;
/// SSE-2: how long the stream of HTTP+SSE may be silent before it names its endpoint.
const ENDPOINT_WITHIN: Duration = Duration::from_secs(5);
/// After the answer, the end of a stream is waited for this long, so that its connection can be kept.
const LINGER: Duration = Duration::from_millis(250);
/// A stream that answers a notification is read for this long.
const NOTICE_STREAM: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum State {
    /// The next exchange waits for its admission, or all is over.
    Between,
    Resting {
        until: Instant,
        why: Rest,
    },
    /// Sent; the head, the body or further events are awaited. `heard` is when something last came.
    Exchanging {
        heard: Instant,
    },
    /// The answer was handed out; the end of the stream is awaited until then.
    Lingering {
        until: Instant,
    },
    /// The service took the message; the answer comes on another stream.
    Elsewhere {
        heard: Instant,
    },
    Challenged {
        head: Head,
        body: Bytes,
    },
}

/// One message on its way to the service.
#[derive(Debug)]
pub struct Driver {
    call: HttpCall,
    purpose: Purpose,
    terms: Terms,
    promise: Promise,
    /// Whether the exchanges carry a credential, as far as that is known.
    key: Key,
    state: State,
    /// The GET that resumes the stream, once the call was taken.
    resuming: Option<HttpCall>,
    resumption: Resumption,
    head: Option<Head>,
    redirects: u8,
    endpoint_named: bool,
    answered: bool,
    /// When the message itself was last sent.
    sent: Option<Instant>,
    news: Option<GateNews>,
    waits: Waits,
    records: Records,
    /// A refusal was waited out that does not prove that nothing ran (503).
    in_doubt: bool,
    items: Vec<Item>,
}

impl Driver {
    /// Makes the driver of one message.
    pub fn new(call: HttpCall, purpose: Purpose, terms: Terms, promise: Promise) -> Self {
        Self {
            call,
            purpose,
            terms,
            promise,
            key: Key::Sent,
            state: State::Between,
            resuming: None,
            resumption: Resumption::default(),
            head: None,
            redirects: 0,
            endpoint_named: false,
            answered: false,
            sent: None,
            news: None,
            waits: Waits::default(),
            records: Records::default(),
            in_doubt: false,
            items: Vec::new(),
        }
    }

    /// Never resumes a stream: the stateless era knows no resumption (MOD-5).
    #[must_use]
    pub fn without_resumption(self) -> Self {
        Self { resumption: Resumption::refused(), ..self }
    }

    /// Begins not before this instant.
    #[must_use]
    pub fn not_before(mut self, until: Instant) -> Self {
        self.state = State::Resting { until, why: Rest::Pause };
        self
    }

    /// Returns what the message is.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// Returns what is promised to the message, with all that was spent of it.
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// Takes what came out of replies since the last call.
    pub fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// Returns how many items wait to be taken.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Takes what the last exchange says about the rate limit.
    pub fn take_news(&mut self) -> Option<GateNews> {
        self.news.take()
    }

    /// Begins.
    pub fn start(&mut self) -> Next {
        if matches!(self.state, State::Resting { .. }) { Next::Rest } else { Next::Admit }
    }

    /// The exchange could not be signed or made ready: it was not sent.
    pub fn not_sent(&mut self, error: Error) -> Next {
        self.fail(error, self.unanswered(), Cause::Permanent)
    }

    /// Something came from the service.
    pub fn heard(&mut self, now: Instant) {
        if let State::Exchanging { heard } | State::Elsewhere { heard } = &mut self.state {
            *heard = now.max(*heard);
        }
    }

    /// Returns when [`Self::tick`] is to be called, if nothing else happens before.
    pub fn wake(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Between | State::Challenged { .. } => None,
            State::Resting { until, why: Rest::Pause } | State::Lingering { until } => Some(*until),
            State::Resting { until, why: Rest::RateLimit { beat } } => Some(*until.min(beat)),
            State::Exchanging { heard } => self.silence().map(|silence| *heard + silence),
            State::Elsewhere { heard } => Some(*heard + self.terms.silence),
        };
        match (own, self.promise.deadline().filter(|_| self.is_limited() && !self.answered)) {
            (Some(own), Some(deadline)) => Some(own.min(deadline)),
            (own, deadline) => own.or(deadline),
        }
    }

    /// The instant of [`Self::wake`] has come; `None` where there is still nothing to do.
    pub fn tick(&mut self, moment: Moment) -> Option<Next> {
        if self.is_limited() && !self.answered && self.promise.broken_at(moment.now).is_some() {
            return Some(self.deadline_met(moment.now));
        }
        match self.state {
            State::Resting { until, .. } if until <= moment.now => {
                self.state = State::Between;
                Some(Next::Admit)
            }
            State::Resting { until, why: Rest::RateLimit { beat } } if beat <= moment.now => {
                self.tell_wait(until, moment.now);
                None
            }
            State::Lingering { until } if until <= moment.now => {
                Some(self.refused_by_record(moment).unwrap_or(Next::Over(Outcome::Done)))
            }
            State::Exchanging { heard } => {
                let silence = self.silence()?;
                if heard + silence > moment.now {
                    return None;
                }
                Some(match self.purpose {
                    Purpose::Listen => self.listen_again(moment),
                    _ => self.silent(silence),
                })
            }
            State::Elsewhere { heard } if heard + self.terms.silence <= moment.now => {
                Some(self.silent(self.terms.silence))
            }
            _ => None,
        }
    }

    /// Reads the head of a reply.
    pub fn head(&mut self, head: Head, now: Instant) -> Body {
        self.heard(now);
        let elsewhere = self.terms.answers == Answers::OnTheStream;
        let events = head.is_success() && head.media() == Media::Events && !elsewhere;
        if head.is_success() {
            if !self.is_accepted_by_content() {
                self.news = Some(GateNews::Accepted);
            }
            self.promise.accepted();
            if !self.is_limited() {
                // A stream that was opened has used up nothing.
                self.promise = Promise::new(now, None);
            }
            if matches!(self.terms.standing, Standing::Opens(_)) && self.resuming.is_none() {
                self.items.push(Item::Opening(head.clone()));
            }
        }
        if events {
            self.resumption.opened(now);
            if self.purpose == Purpose::Notice {
                // It was accepted, whatever the service goes on to say on this stream.
                self.items.push(Item::Accepted);
                self.answered = true;
                self.state = State::Lingering { until: now + NOTICE_STREAM };
            }
        }
        self.head = Some(head);
        if events { Body::Events } else { Body::Whole }
    }

    /// Takes one event of a stream.
    pub fn event(&mut self, event: Event, now: Instant) {
        self.resumption.event(&event);
        if self.purpose == Purpose::Stream && event.name == "endpoint" {
            self.endpoint_named = true;
            self.items.push(Item::Endpoint(String::from_utf8_lossy(&event.data).into_owned()));
            return;
        }
        if !event.is_message() {
            return;
        }
        self.resumption.message();
        if self.terms.answers == Answers::AsData {
            return self.record(event.data, now);
        }
        let before = self.answered;
        self.read_event(event.data);
        if self.answered && !before {
            self.state = State::Lingering { until: now + LINGER };
        }
    }

    /// The stream ended, cleanly or not.
    pub fn stream_ended(&mut self, moment: Moment) -> Next {
        if let Some(next) = self.refused_by_record(moment) {
            return next;
        }
        match &self.purpose {
            Purpose::Notice => Next::Over(Outcome::Done),
            Purpose::Request(_) if self.answered => Next::Over(Outcome::Done),
            Purpose::Stream => self.lost("the stream of the service ended"),
            Purpose::Listen => self.listen_again(moment),
            Purpose::Request(_) => self.resume(moment),
        }
    }

    /// Takes a whole body.
    pub fn body(&mut self, body: Bytes, moment: Moment) -> Next {
        let Some(head) = self.head.take() else { return self.lost("a body without a head") };
        if let Some(target) = redirect(&head, &self.at_hand().url) {
            return self.redirected(target);
        }
        if let Some(refusal) = self.refusal_of(&head, &body, moment) {
            return self.refused(head, body, refusal, moment);
        }
        if head.is_success() {
            return self.success(&head, body, moment.now);
        }
        match head.status {
            401 if head.challenge().wants_nonce() && self.promise.takes_nonce() => {
                self.challenged_by(head, body)
            }
            401 if self.promise.renews() => self.challenged_by(head, body),
            403 if head.challenge().wants_scope() && self.promise.steps_up() => {
                self.challenged_by(head, body)
            }
            // A status between is the service's word as well as its body.
            304 if self.terms.answers == Answers::AsData => self.data(&head, body),
            401 => self.failing(&head, &body, self.key, moment),
            _ if self.terms.answers == Answers::AsData && is_word_of_service(head.status, &body) => {
                self.data(&head, body)
            }
            _ => self.failing(&head, &body, self.key, moment),
        }
    }

    /// A failing reply broke off before its body was whole: it proves nothing.
    pub fn cut_off(&mut self, moment: Moment) -> Next {
        let Some(head) = self.head.take() else { return self.lost("a body without a head") };
        if matches!(head.status, 401 | 403 | 429) || self.purpose == Purpose::Listen {
            self.head = Some(head);
            return self.body(Bytes::new(), moment);
        }
        self.lost(&format!("the connection broke within an answer (HTTP {})", head.status))
    }

    /// No reply came.
    pub fn no_reply(&mut self, why: &str, reach: Reach, moment: Moment) -> Next {
        if self.purpose == Purpose::Listen {
            return self.listen_again(moment);
        }
        if self.answered {
            return Next::Over(Outcome::Done);
        }
        if reach == Reach::NoDescriptor && self.may_wait_for_a_descriptor(moment.now) {
            return self.rest_for_a_descriptor(moment.now);
        }
        if self.resumption.is_possible() {
            self.resumption.failed();
            return self.resume(moment);
        }
        if reach == Reach::Connected {
            return self.lost(&format!("the connection broke before an answer came ({why})"));
        }
        let error = unreachable(&self.terms.place, why, reach, &self.call.url);
        let cause = if reach == Reach::NotConnected { Cause::Transient } else { Cause::Permanent };
        self.fail(error, self.unanswered(), cause)
    }

    /// An answer grew past the limit.
    pub fn too_long(&mut self) -> Next {
        let error = Error::new(
            Kind::ProtocolViolation,
            format!("the answer is larger than {} MiB", super::MAX_MESSAGE >> 20),
        )
        .hint("ask the tool for less at once");
        self.fail(error, Executed::Maybe, Cause::Permanent)
    }
}

impl Driver {
    /// Streams that may rest are bound by no time.
    fn is_limited(&self) -> bool {
        !matches!(self.purpose, Purpose::Listen | Purpose::Stream)
    }

    /// Returns the longest silence allowed, `None` for streams that may rest.
    fn silence(&self) -> Option<Duration> {
        match self.purpose {
            Purpose::Stream if !self.endpoint_named => Some(ENDPOINT_WITHIN),
            Purpose::Listen if self.head.is_none() => Some(self.terms.silence),
            Purpose::Listen | Purpose::Stream => None,
            Purpose::Request(_) if self.terms.rests == Rests::OnceOpened && self.head.is_some() => None,
            Purpose::Request(_) | Purpose::Notice => Some(self.terms.silence),
        }
    }

    fn at_hand(&self) -> &HttpCall {
        self.resuming.as_ref().unwrap_or(&self.call)
    }

    /// Nothing was heard for the longest silence.
    fn silent(&mut self, silence: Duration) -> Next {
        let place = &self.terms.place;
        if self.purpose == Purpose::Stream {
            let why = format!("{place} named no endpoint on its stream within {}", seconds(silence));
            let error = Error::new(Kind::ProtocolViolation, why).remedy(Remedy::UseStreamableHttp);
            return self.fail(error, Executed::No, Cause::Permanent);
        }
        let error = Error::new(Kind::Timeout, format!("no answer from {place} within {}", seconds(silence)))
            .remedy(Remedy::AllowSilence(silence));
        self.fail(error, Executed::Maybe, Cause::Permanent)
    }

    /// `--max-time` has passed.
    fn deadline_met(&mut self, now: Instant) -> Next {
        if let State::Resting { until, why: Rest::RateLimit { .. } } = self.state {
            return self.no_turn(until.saturating_duration_since(now), now);
        }
        let limit = self.promise.broken_at(now).unwrap_or_default();
        let error = Error::new(
            Kind::Timeout,
            format!("no answer from {} within {}", self.terms.place, seconds(limit)),
        )
        .remedy(Remedy::AllowTime(limit));
        let executed = if self.sent.is_some() { Executed::Maybe } else { self.unanswered() };
        self.fail(error, executed, Cause::Permanent)
    }

    fn fail(&self, error: Error, executed: Executed, cause: Cause) -> Next {
        Next::Over(Outcome::Failed(Box::new(Failure { error, executed, cause })))
    }

    fn lost(&self, why: &str) -> Next {
        let error = Error::new(Kind::ConnectionLost, format!("{}: {why}", self.terms.place))
            .remedy(Remedy::CheckEffect);
        self.fail(error, Executed::Maybe, Cause::Transient)
    }

    /// Whether the message may have run if the current exchange was not made, or was refused.
    fn unanswered(&self) -> Executed {
        if self.resuming.is_some() || self.in_doubt { Executed::Maybe } else { Executed::No }
    }

    fn resume(&mut self, moment: Moment) -> Next {
        match self.resumption.after_loss(self.terms.silence, moment) {
            Ok(wait) => {
                self.resuming = Some(self.resumption.call(&self.call));
                self.rest(wait, moment.now)
            }
            Err(why) => self.lost(&why),
        }
    }

    fn listen_again(&mut self, moment: Moment) -> Next {
        let wait = self.resumption.listens_again_after(moment);
        self.head = None;
        self.resuming = Some(self.resumption.call(&self.call));
        self.rest(wait, moment.now)
    }

    fn redirected(&mut self, target: Result<url::Url, Error>) -> Next {
        self.redirects += 1;
        match target {
            Ok(url) if self.redirects <= MOST_REDIRECTS => {
                let url = Arc::new(url);
                if let Some(resuming) = &mut self.resuming {
                    resuming.url = url.clone();
                }
                self.call.url = url;
                self.sent = None;
                self.state = State::Between;
                Next::Admit
            }
            Ok(_) => {
                let error = Error::new(Kind::UpstreamHttp, "the service redirects in a circle");
                self.fail(error.remedy(Remedy::CheckUrl), self.unanswered(), Cause::Permanent)
            }
            // 307 and 308 hand the message back; the others may answer one that was processed.
            Err(error) if matches!(error.details().http_status, Some(307 | 308)) => {
                self.fail(error, self.unanswered(), Cause::Permanent)
            }
            Err(error) => self.fail(error, Executed::Maybe, Cause::Permanent),
        }
    }

    fn failing(&mut self, head: &Head, body: &Bytes, key: Key, moment: Moment) -> Next {
        if self.resuming.is_some() && matches!(self.purpose, Purpose::Request(_)) {
            // The call was taken: whatever is said of its stream, a lost session too, proves nothing about it.
            return self.lost(&format!("the stream cannot be resumed (HTTP {})", head.status));
        }
        let failing = Failing { head, body, wall: moment.wall, place: &self.terms.place, key };
        let mut failure = failure_of(&failing);
        let hint = failure.error.details().retry_after;
        let remedy = match head.status {
            429 if hint.is_none() && self.terms.retry.unhinted_pauses.is_some() => {
                Some(Remedy::advice("the limit of your plan may be reached; otherwise try again later"))
            }
            429 => self.promise.remedy_of_refusal(&self.terms.retry, hint, moment.now),
            _ => None,
        };
        if let Some(remedy) = remedy {
            failure.error = failure.error.remedy(remedy);
        }
        let is_late = self.sent.is_some_and(|sent| sent + PROMPT < moment.now);
        if is_late && !matches!(head.status, 401 | 403 | 429) {
            failure.executed = Executed::Maybe;
        }
        self.unsuccessful(head.status, body, failure, moment)
    }
}

/// Says whether a failing reply is the service's own JSON; a gateway answers with 5xx in JSON, too.
fn is_word_of_service(status: u16, body: &[u8]) -> bool {
    let fields = object::fields(std::str::from_utf8(body).unwrap_or_default());
    let is_own = ["success", "trace_id"].iter().any(|name| object::value(&fields, name).is_some());
    body.starts_with(b"{") && (status < 500 || is_own)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::protocol::request::Repeat;
    use crate::protocol::retry::{Admission, RetryPolicy};

    #[test]
    fn a_notification_that_is_answered_by_an_endless_stream_lets_its_connection_go() {
        let url = Arc::new(url::Url::parse("http://h/mcp").unwrap());
        let call = HttpCall {
            method: http::Method::POST,
            url,
            headers: Arc::default(),
            body: Bytes::new(),
            signing: crate::protocol::http::Signing::default(),
        };
        let now = Instant::now();
        let terms = Terms {
            retry: RetryPolicy::waiting(Duration::ZERO).into(),
            standing: Standing::InSession,
            answers: Answers::Here,
            repeat: Repeat::Harmless,
            silence: Duration::from_secs(60),
            rests: Rests::Never,
            login: Prompt::Allowed,
            place: "http://h/mcp".into(),
        };
        let mut driver = Driver::new(call, Purpose::Notice, terms, Promise::new(now, None));
        let at = |now| Moment { now, wall: SystemTime::now(), random: 0.0 };
        assert!(matches!(driver.admitted(Admission::Go, at(now)), Next::Exchange(_)));
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        assert_eq!(driver.head(Head { status: 200, headers }, now), Body::Events);
        assert!(matches!(driver.take_items()[..], [Item::Accepted]));
        driver.heard(now + NOTICE_STREAM);
        assert!(matches!(driver.tick(at(now + NOTICE_STREAM)), Some(Next::Over(Outcome::Done))));
    }
}
