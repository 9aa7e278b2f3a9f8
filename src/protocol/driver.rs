//! The way of one message to the service: every exchange it takes until its outcome is known.
//!
//! A pure state machine that `remote` and the tests' pure stage both run: it asks for admission, an exchange, a
//! rest or a decision about a challenge, and is told what came of it; every input carries its `now`. Refuses to
//! send anything twice that may have run: what is in doubt ends as [`Outcome::Failed`], and `upstream` decides.

mod reply;
mod terms;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{Error, Kind, Remedy};
use crate::protocol::Moment;
use crate::protocol::exchange::resumption::Resumption;
use crate::protocol::exchange::status::{self, Failing, failure_of};
pub use crate::protocol::exchange::{Failure, Processed, Reach};
use crate::protocol::exchange::{redirect, unreachable};
use crate::protocol::http::{Challenge, Head, HttpCall, Media};
use crate::protocol::request::{Promise, Repeat};
use crate::protocol::retry::{self, Admission, Ask, Verdict, seconds};
use crate::protocol::sse::Event;
pub use terms::{
    Again, Answers, Body, Fallback, GateNews, Item, Loss, Next, Outcome, Purpose, Standing, Terms,
};

const MOST_REDIRECTS: u8 = 5;
/// SSE-2: how long the stream of HTTP+SSE may be silent before it names its endpoint.
const ENDPOINT_WITHIN: Duration = Duration::from_secs(5);
/// After the answer, the end of a stream is waited for this long, so that its connection can be kept.
const LINGER: Duration = Duration::from_millis(250);
/// A stream that answers a notification is read for this long.
const NOTICE_STREAM: Duration = Duration::from_secs(5);
/// How soon a connection is tried again for which no descriptor was left.
const NEXT_DESCRIPTOR: Duration = Duration::from_millis(50);
/// Why a request waits for the service's word.
pub const RATE_LIMITED: &str = "the service limits the rate";
/// The client hears at this pace that a request waits for a rate limit.
const HEARTBEAT: Duration = Duration::from_secs(15);

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Before a repetition or a resumption, or for a turn.
    Pause,
    /// The rate is limited; the client hears of it at `beat`.
    RateLimit { beat: Instant },
}

/// One message on its way to the service.
#[derive(Debug)]
pub struct Driver {
    call: HttpCall,
    purpose: Purpose,
    terms: Terms,
    promise: Promise,
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
    /// Since when there has been no descriptor for its connection.
    without_descriptor: Option<Instant>,
    news: Option<GateNews>,
    waiting: Option<Duration>,
    /// The turn that the gate has given.
    turn: Option<Instant>,
    /// When the client hears next of a wait for a rate limit.
    beat: Option<Instant>,
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
            state: State::Between,
            resuming: None,
            resumption: Resumption::default(),
            head: None,
            redirects: 0,
            endpoint_named: false,
            answered: false,
            sent: None,
            without_descriptor: None,
            news: None,
            waiting: None,
            turn: None,
            beat: None,
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

    /// Takes how much longer the request waits for a rate limit, whenever the client should hear of it.
    pub fn take_waiting(&mut self) -> Option<Duration> {
        self.waiting.take()
    }

    /// Says whether there is something for [`Self::take_waiting`] to take.
    pub fn has_waits_to_tell(&self) -> bool {
        self.waiting.is_some()
    }

    /// Returns for how long nothing is sent, and why.
    pub fn pause(&self, now: Instant) -> Option<(Duration, &'static str)> {
        let State::Resting { until, why } = self.state else { return None };
        let why = match why {
            Rest::RateLimit { .. } => RATE_LIMITED,
            Rest::Pause if self.resuming.is_some() => "before the stream is resumed",
            Rest::Pause if self.turn.is_some() => "a burst is staggered",
            Rest::Pause => "the last attempt failed",
        };
        Some((until.saturating_duration_since(now), why))
    }

    /// Begins.
    pub fn start(&mut self) -> Next {
        if matches!(self.state, State::Resting { .. }) { Next::Rest } else { Next::Admit }
    }

    /// Returns what to ask the gate.
    pub fn ask(&self) -> Ask {
        Ask { patience: self.promise.patience(&self.terms.retry), turn: self.turn }
    }

    /// The gate has answered.
    pub fn admitted(&mut self, admission: Admission, moment: Moment) -> Next {
        if self.is_limited() && self.promise.broken_at(moment.now).is_some() {
            return self.deadline_met(moment.now);
        }
        self.turn = match admission {
            Admission::Go => None,
            Admission::Staggered(wait) | Admission::Wait(wait) => Some(moment.now + wait),
        };
        match admission {
            Admission::Go => {
                self.beat = None;
                self.state = State::Exchanging { heard: moment.now };
                if self.resuming.is_none() {
                    self.sent = Some(moment.now);
                }
                Next::Exchange(self.resuming.as_ref().unwrap_or(&self.call).clone())
            }
            Admission::Staggered(wait) => self.rest(wait, moment.now),
            Admission::Wait(wait) if self.promise.allows_wait(&self.terms.retry, wait, moment.now) => {
                self.rest_limited(wait, moment.now)
            }
            Admission::Wait(wait) => self.rate_limited(wait),
        }
    }

    /// The exchange could not be signed or made ready: it was not sent.
    pub fn not_sent(&mut self, error: Error) -> Next {
        self.fail(error, self.unanswered(), false)
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
            State::Lingering { until } if until <= moment.now => Some(Next::Over(Outcome::Done)),
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
            self.news = Some(GateNews::Accepted);
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
        let before = self.answered;
        self.read_event(event.data);
        if self.answered && !before {
            self.state = State::Lingering { until: now + LINGER };
        }
    }

    /// The stream ended, cleanly or not.
    pub fn stream_ended(&mut self, moment: Moment) -> Next {
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
        if head.is_success() {
            return self.success(&head, body, moment.now);
        }
        match head.status {
            401 if self.promise.renews() => {
                self.state = State::Challenged { head, body };
                Next::Challenge
            }
            429 => self.refused(head, body, moment),
            503 if retry::retry_after(&head.headers, moment.wall).is_some() && self.may_wait_out_503() => {
                self.refused(head, body, moment)
            }
            _ => self.failing(&head, &body, moment),
        }
    }

    /// Returns why the credential was rejected.
    pub fn challenge(&self) -> Challenge {
        match &self.state {
            State::Challenged { head, .. } => head.challenge(),
            _ => Challenge::default(),
        }
    }

    /// What is to follow a challenge: `again` where another credential is there now.
    pub fn challenged(&mut self, again: Again, moment: Moment) -> Next {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Challenged { head, body } if again == Again::No => self.failing(&head, &body, moment),
            _ => Next::Admit,
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
        if reach == Reach::NoDescriptor && self.waits_for_a_descriptor(moment.now) {
            return self.rest(NEXT_DESCRIPTOR, moment.now);
        }
        if self.resumption.is_possible() {
            self.resumption.failed();
            return self.resume(moment);
        }
        if reach == Reach::Connected {
            return self.lost(&format!("the connection broke before an answer came ({why})"));
        }
        let error = unreachable(&self.terms.place, why, reach, &self.call.url);
        self.fail(error, self.unanswered(), reach == Reach::NotConnected)
    }

    /// An answer grew past the limit.
    pub fn too_long(&mut self) -> Next {
        let error = Error::new(
            Kind::ProtocolViolation,
            format!("the answer is larger than {} MiB", super::MAX_MESSAGE >> 20),
        )
        .hint("ask the tool for less at once");
        self.fail(error, Processed::Maybe, false)
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
            Purpose::Request(_) | Purpose::Notice => Some(self.terms.silence),
        }
    }

    fn at_hand(&self) -> &HttpCall {
        self.resuming.as_ref().unwrap_or(&self.call)
    }

    /// Nothing was sent; others give their connections back soon.
    fn waits_for_a_descriptor(&mut self, now: Instant) -> bool {
        if self.resuming.is_none() {
            self.sent = None;
        }
        now < *self.without_descriptor.get_or_insert(now) + self.terms.silence
    }

    fn rest(&mut self, wait: Duration, now: Instant) -> Next {
        self.state = State::Resting { until: now + wait, why: Rest::Pause };
        Next::Rest
    }

    fn rest_limited(&mut self, wait: Duration, now: Instant) -> Next {
        self.promise.waits(wait);
        self.tell_wait(now + wait, now);
        Next::Rest
    }

    fn tell_wait(&mut self, until: Instant, now: Instant) {
        let beat = match self.beat.filter(|beat| *beat > now) {
            Some(beat) => beat,
            None => {
                if matches!(self.purpose, Purpose::Request(_)) {
                    self.waiting = Some(until.saturating_duration_since(now));
                }
                now + HEARTBEAT
            }
        };
        self.beat = Some(beat);
        self.state = State::Resting { until, why: Rest::RateLimit { beat } };
    }

    /// Nothing was heard for the longest silence.
    fn silent(&mut self, silence: Duration) -> Next {
        let place = &self.terms.place;
        if self.purpose == Purpose::Stream {
            let why = format!("{place} named no endpoint on its stream within {}", seconds(silence));
            let error = Error::new(Kind::ProtocolViolation, why).remedy(Remedy::UseStreamableHttp);
            return self.fail(error, Processed::No, false);
        }
        let error = Error::new(Kind::Timeout, format!("no answer from {place} within {}", seconds(silence)))
            .remedy(Remedy::AllowSilence(silence));
        self.fail(error, Processed::Maybe, false)
    }

    /// `--max-time` has passed.
    fn deadline_met(&mut self, now: Instant) -> Next {
        if let State::Resting { until, why: Rest::RateLimit { .. } } = self.state {
            return self.rate_limited(until.saturating_duration_since(now));
        }
        let limit = self.promise.broken_at(now).unwrap_or_default();
        let error = Error::new(
            Kind::Timeout,
            format!("no answer from {} within {}", self.terms.place, seconds(limit)),
        )
        .remedy(Remedy::AllowTime(limit));
        let processed = if self.sent.is_some() { Processed::Maybe } else { self.unanswered() };
        self.fail(error, processed, false)
    }

    fn rate_limited(&mut self, wait: Duration) -> Next {
        let error = status::rate_limited(&self.terms.place, Some(wait));
        self.fail(error, self.unanswered(), false)
    }

    fn fail(&self, error: Error, processed: Processed, transient: bool) -> Next {
        Next::Over(Outcome::Failed(Box::new(Failure { error, processed, transient })))
    }

    fn lost(&self, why: &str) -> Next {
        let error = Error::new(Kind::ConnectionLost, format!("{}: {why}", self.terms.place))
            .hint("check whether the call took effect before repeating it");
        self.fail(error, Processed::Maybe, true)
    }

    /// What is proven of the message when the exchange at hand was not made, or was refused.
    fn unanswered(&self) -> Processed {
        if self.resuming.is_some() || self.in_doubt { Processed::Maybe } else { Processed::No }
    }

    /// Section 6.1: gateways say 503 for what may be running; only who declares it says that it is not.
    fn may_wait_out_503(&self) -> bool {
        self.resuming.is_some() || self.terms.retry.repeats_503 || self.terms.repeat == Repeat::Harmless
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
                self.fail(error.remedy(Remedy::CheckUrl), self.unanswered(), false)
            }
            // 307 and 308 hand the message back; the others may answer one that was processed.
            Err(error) if matches!(error.details().http_status, Some(307 | 308)) => {
                self.fail(error, self.unanswered(), false)
            }
            Err(error) => self.fail(error, Processed::Maybe, false),
        }
    }

    fn refused(&mut self, head: Head, body: Bytes, moment: Moment) -> Next {
        let hint = retry::retry_after(&head.headers, moment.wall);
        let verdict = self.promise.refused(&self.terms.retry, hint, moment);
        self.state = State::Between;
        self.in_doubt |= head.status == 503 && !self.terms.retry.repeats_503;
        match verdict {
            Verdict::Wait(wait) => {
                self.sent = None;
                self.news = Some(GateNews::Refused(wait));
                Next::Admit
            }
            Verdict::GiveUp => {
                self.news = hint.map(GateNews::Refused);
                self.failing(&head, &body, moment)
            }
        }
    }

    fn failing(&mut self, head: &Head, body: &Bytes, moment: Moment) -> Next {
        if self.resuming.is_some() && matches!(self.purpose, Purpose::Request(_)) {
            // The call was taken: whatever is said of its stream, a lost session too, proves nothing about it.
            return self.lost(&format!("the stream cannot be resumed (HTTP {})", head.status));
        }
        let failing = Failing { head, body, wall: moment.wall, place: &self.terms.place };
        let failure = failure_of(&failing);
        self.unsuccessful(head.status, body, failure, moment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::protocol::retry::RetryPolicy;

    #[test]
    fn a_notification_that_is_answered_by_an_endless_stream_lets_its_connection_go() {
        let url = Arc::new(url::Url::parse("http://h/mcp").unwrap());
        let call =
            HttpCall { method: http::Method::POST, url, headers: http::HeaderMap::new(), body: Bytes::new() };
        let now = Instant::now();
        let terms = Terms {
            retry: RetryPolicy { max_wait: Duration::ZERO, unhinted_is_final: false, repeats_503: false },
            standing: Standing::InSession,
            answers: Answers::Here,
            repeat: Repeat::Harmless,
            silence: Duration::from_secs(60),
            place: "http://h/mcp".into(),
        };
        let mut driver = Driver::new(call, Purpose::Notice, terms, Promise::new(now, None));
        let at = |now| Moment { now, wall: SystemTime::now(), die: 0.0 };
        assert!(matches!(driver.admitted(Admission::Go, at(now)), Next::Exchange(_)));
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        assert_eq!(driver.head(Head { status: 200, headers }, now), Body::Events);
        assert!(matches!(driver.take_items()[..], [Item::Accepted]));
        driver.heard(now + NOTICE_STREAM);
        assert!(matches!(driver.tick(at(now + NOTICE_STREAM)), Some(Next::Over(Outcome::Done))));
    }
}
