//! The passage of one message to the service: every exchange it takes until its outcome is known.
//!
//! A 429 is waited out, a rejected credential renewed once, a redirect followed, a broken stream
//! resumed; the driver in `remote` only does what [`Step`] says. Refuses to send anything twice that
//! may have run: what is in doubt ends as [`Outcome::Failed`], and `bridge` decides.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::error::{Error, Kind, Remedy, Wire};
use crate::protocol::http::{self, Challenge, Head, HttpCall, Media};
use crate::protocol::message::{Id, Malformed, Message, Parcel};
use crate::protocol::retry::{self, RetryPolicy, Verdict};
use crate::protocol::sse::Event;

mod streams;
mod verdict;
pub use verdict::Processed;
use verdict::{Failing, failure_of};

const MOST_REDIRECTS: u8 = 5;
/// SSE-2: how long the stream of HTTP+SSE may be silent before it names its endpoint.
const ENDPOINT_WITHIN: Duration = Duration::from_secs(5);

/// What the message on its way is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request under the id that the service sees.
    Request(Id),
    /// A notification, or a response to a request of the service.
    Notice,
    /// The standalone stream of Streamable HTTP (LEG-5).
    Listen,
    /// The stream of the HTTP+SSE transport, whose first event names the endpoint (SSE-2).
    Stream,
}

/// The conditions under which a passage is made.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long refusals are waited out.
    pub retry: RetryPolicy,
    /// A session id goes along, so a 404 means that the session is gone.
    pub session: bool,
    /// The answer of a request comes on another stream (HTTP+SSE).
    pub answers_elsewhere: bool,
    /// This is the opening message of a service whose transport is not known yet (SSE-1).
    pub may_fall_back: bool,
    /// The opening message: its reply's headers open a session (LEG-1).
    pub opens_session: bool,
    /// The longest silence; told in the error.
    pub silence: Duration,
    /// The service as it is named in errors.
    pub place: Arc<str>,
}

/// The instant of an event, and one throw of the dice in 0..1.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock, for dates in headers.
    pub wall: SystemTime,
    /// For jitter.
    pub die: f64,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Step {
    /// Make this HTTP request and report its head or its failure.
    Exchange(HttpCall),
    /// Wait, then call [`Passage::waited`].
    Wait(Duration),
    /// The credential was rejected: renew it if possible, then call [`Passage::renewed`].
    Renew,
    /// Nothing more to do here; the answer comes on another stream.
    Elsewhere,
    /// The passage is over.
    Over(Outcome),
}

/// What came of a passage.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The response was handed out, or the notice was accepted.
    Done,
    /// The session is gone; the message was not processed.
    SessionLost,
    /// There is no standalone stream.
    NoStream,
    /// The endpoint does not take the opening message; another transport may be spoken there.
    NoEndpoint(Option<Box<Message>>, Box<Failure>),
    /// It failed.
    Failed(Box<Failure>),
}

/// A failure, and whether the message may have been processed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to tell the client.
    pub error: Error,
    /// Whether the service may have acted on the message.
    pub processed: Processed,
    /// Trying again may help.
    pub transient: bool,
}

/// What came out of a reply.
#[derive(Clone, Debug)]
pub enum Item {
    /// A message of the service.
    Message(Message),
    /// The endpoint of the HTTP+SSE transport, as the service wrote it.
    Endpoint(String),
    /// The headers of the reply to the opening message.
    Opening(Head),
}

/// How far a call came that got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No connection was made: nothing was sent.
    Nobody,
    /// Somebody whose certificate is not trusted: nothing was sent.
    Stranger,
    /// Perhaps the service.
    Somebody,
}

/// How the body of a reply is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Feed each event to [`Passage::event`].
    Events,
    /// Collect it and hand it to [`Passage::body`].
    Whole,
}

/// One message on its way to the service.
#[derive(Debug)]
pub struct Passage {
    call: HttpCall,
    purpose: Purpose,
    terms: Terms,
    /// The exchange that a wait, a renewal or a redirect repeats: the call itself, or the resumption of its
    /// stream once the call was taken.
    at_hand: HttpCall,
    head: Option<Head>,
    waited: Duration,
    waits: u32,
    refused_for: Option<Duration>,
    rate_limited: bool,
    redirects: u8,
    renewals: u8,
    rejection: Option<(Head, Bytes)>,
    last_event_id: Option<String>,
    retry: Option<Duration>,
    idle_turns: u32,
    /// Resumptions in a row that got no stream.
    failed_turns: u32,
    /// Since when resumed streams have brought no message.
    quiet_since: Option<Instant>,
    endpoint_named: bool,
    answered: bool,
}

impl Passage {
    /// Makes the passage of one call.
    pub fn new(call: HttpCall, purpose: Purpose, terms: Terms) -> Self {
        Self {
            at_hand: call.clone(),
            call,
            purpose,
            terms,
            head: None,
            waited: Duration::ZERO,
            waits: 0,
            refused_for: None,
            rate_limited: false,
            redirects: 0,
            renewals: 0,
            rejection: None,
            last_event_id: None,
            retry: None,
            idle_turns: 0,
            failed_turns: 0,
            quiet_since: None,
            endpoint_named: false,
            answered: false,
        }
    }

    /// Returns what the message is.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// Returns the longest silence allowed, `None` for streams that may rest.
    pub fn silence(&self) -> Option<Duration> {
        match self.purpose {
            Purpose::Stream if !self.endpoint_named => Some(ENDPOINT_WITHIN),
            Purpose::Listen | Purpose::Stream => None,
            Purpose::Request(_) | Purpose::Notice => Some(self.terms.silence),
        }
    }

    /// Says whether the response was handed out; what still comes is no longer waited for.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Says whether the wait in hand is for a rate limit, so that the client may be told.
    pub fn is_rate_limited(&self) -> bool {
        self.rate_limited
    }

    /// Takes what a refusal asked for, once, so that the gate of the key can be closed.
    pub fn take_refusal(&mut self) -> Option<Duration> {
        self.refused_for.take()
    }

    /// Begins.
    pub fn start(&mut self) -> Step {
        Step::Exchange(self.at_hand.clone())
    }

    /// The gate of the key is closed for this long: waits with the others, or gives up at once.
    pub fn held(&mut self, closed_for: Duration, call: HttpCall) -> Step {
        if self.waited.saturating_add(closed_for) > self.terms.retry.max_wait {
            let error = verdict::rate_limited(&self.terms.place, Some(closed_for));
            return self.fail(error, self.unanswered(), false);
        }
        self.rate_limited = true;
        self.wait_then(closed_for, call)
    }

    /// The exchange at hand could not be signed or made ready: it was not sent.
    pub fn not_sent(&mut self, error: Error) -> Step {
        self.fail(error, self.unanswered(), false)
    }

    /// A wait is over.
    pub fn waited(&mut self) -> Step {
        self.rate_limited = false;
        Step::Exchange(self.at_hand.clone())
    }

    /// Reads the head of a reply.
    pub fn head(&mut self, head: Head, items: &mut Vec<Item>) -> Body {
        let events = head.is_success() && head.media() == Media::Events && !self.terms.answers_elsewhere;
        if head.is_success() && self.terms.opens_session && !self.is_resuming() {
            items.push(Item::Opening(head.clone()));
        }
        self.head = Some(head);
        if events { Body::Events } else { Body::Whole }
    }

    /// Takes one event of a stream.
    pub fn event(&mut self, event: Event, items: &mut Vec<Item>) {
        if let Some(id) = &event.id {
            self.last_event_id = Some(id.clone()).filter(|id| !id.is_empty());
        }
        self.retry = event.retry.or(self.retry);
        if self.purpose == Purpose::Stream && event.name == "endpoint" {
            self.endpoint_named = true;
            items.push(Item::Endpoint(String::from_utf8_lossy(&event.data).into_owned()));
            return;
        }
        if !event.is_message() {
            return;
        }
        self.idle_turns = 0;
        self.quiet_since = None;
        if let Ok(parcel) = Parcel::read(event.data) {
            self.hand_out(parcel, items);
        }
    }

    /// The stream ended, cleanly or not.
    pub fn stream_ended(&mut self, moment: Moment) -> Step {
        match &self.purpose {
            Purpose::Notice => self.over(Outcome::Done),
            Purpose::Request(_) if self.answered => self.over(Outcome::Done),
            Purpose::Stream => self.over(self.lost("the stream of the service ended")),
            Purpose::Listen => self.listen_again(moment),
            Purpose::Request(_) => {
                self.failed_turns = 0;
                self.resume(moment)
            }
        }
    }

    /// Takes a whole body.
    pub fn body(&mut self, body: Bytes, moment: Moment, items: &mut Vec<Item>) -> Step {
        let Some(head) = self.head.take() else { return self.over(self.lost("a body without a head")) };
        if let Some(target) = head.redirect(&self.at_hand.url) {
            return self.redirected(target);
        }
        if head.is_success() {
            return self.success(head, body, items);
        }
        match head.status {
            401 if self.renewals == 0 => {
                self.renewals += 1;
                self.rejection = Some((head, body));
                Step::Renew
            }
            429 | 503 => self.refused(head, body, (moment, items)),
            _ => self.failing(head, body, (moment, items)),
        }
    }

    /// Returns why the credential must be renewed.
    pub fn challenge(&self) -> Challenge {
        self.rejection.as_ref().map(|(head, _)| head.challenge()).unwrap_or_default()
    }

    /// The driver has renewed the credential, or could not.
    pub fn renewed(&mut self, renewed: bool, moment: Moment, items: &mut Vec<Item>) -> Step {
        match self.rejection.take() {
            Some((head, body)) if !renewed => self.failing(head, body, (moment, items)),
            _ => Step::Exchange(self.at_hand.clone()),
        }
    }

    /// No reply came.
    pub fn no_reply(&mut self, why: &str, reached: Reached, moment: Moment) -> Step {
        if self.purpose == Purpose::Listen {
            return self.listen_again(moment);
        }
        if self.last_event_id.is_some() {
            self.failed_turns += 1;
            return self.resume(moment);
        }
        if reached == Reached::Somebody {
            return self.over(self.lost(&format!("the connection broke before an answer came ({why})")));
        }
        let error = Error::new(Kind::Unreachable, format!("{} cannot be reached: {why}", self.terms.place))
            .remedy(match reached {
                Reached::Stranger => Remedy::TrustAuthority,
                _ => Remedy::advice("check the network and the URL, then try again"),
            });
        self.fail(error, Processed::No, reached == Reached::Nobody)
    }

    /// An answer grew past the limit.
    pub fn too_long(&mut self) -> Step {
        let error = Error::new(
            Kind::ProtocolViolation,
            format!("the answer is larger than {} MiB", super::MAX_MESSAGE >> 20),
        )
        .hint("ask the tool for less at once");
        self.fail(error, Processed::Maybe, false)
    }

    /// Nothing was heard for the longest silence, or the hard limit has passed.
    pub fn timed_out(&mut self, after: Duration) -> Step {
        if self.purpose == Purpose::Stream {
            let why =
                format!("{} named no endpoint on its stream within {}", self.terms.place, seconds(after));
            let error =
                Error::new(Kind::ProtocolViolation, why).remedy(Remedy::UseWire(Wire::StreamableHttp));
            return self.fail(error, Processed::No, false);
        }
        let error = Error::new(
            Kind::Timeout,
            format!("no answer from {} within {}", self.terms.place, seconds(after)),
        )
        .remedy(match self.silence() == Some(after) {
            true => Remedy::AllowSilence(after),
            false => Remedy::AllowTime(after),
        });
        self.fail(error, Processed::Maybe, false)
    }

    fn over(&self, outcome: Outcome) -> Step {
        Step::Over(outcome)
    }

    fn fail(&self, error: Error, processed: Processed, transient: bool) -> Step {
        self.over(Outcome::Failed(Box::new(Failure { error, processed, transient })))
    }

    fn lost(&self, why: &str) -> Outcome {
        let error = Error::new(Kind::ConnectionLost, format!("{}: {why}", self.terms.place))
            .hint("check whether the call took effect before repeating it");
        Outcome::Failed(Box::new(Failure { error, processed: Processed::Maybe, transient: true }))
    }

    /// Says whether the call was taken and only its stream is asked for again.
    fn is_resuming(&self) -> bool {
        self.at_hand.method != self.call.method
    }

    /// What is proven of the message when the exchange at hand was not made, or was refused.
    fn unanswered(&self) -> Processed {
        if self.is_resuming() { Processed::Maybe } else { Processed::No }
    }

    fn wait_then(&mut self, wait: Duration, next: HttpCall) -> Step {
        if self.rate_limited {
            self.waited += wait;
        }
        self.at_hand = next;
        Step::Wait(wait)
    }

    fn redirected(&mut self, target: Result<url::Url, Error>) -> Step {
        self.redirects += 1;
        match target {
            Ok(url) if self.redirects <= MOST_REDIRECTS => {
                self.at_hand.url = Arc::new(url);
                self.call.url = self.at_hand.url.clone();
                Step::Exchange(self.at_hand.clone())
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

    fn success(&mut self, head: Head, body: Bytes, items: &mut Vec<Item>) -> Step {
        match self.purpose {
            Purpose::Notice => return self.over(Outcome::Done),
            Purpose::Request(_) if self.terms.answers_elsewhere => return Step::Elsewhere,
            Purpose::Request(_) if !self.is_resuming() => {}
            Purpose::Listen => return self.over(Outcome::NoStream),
            Purpose::Stream => return self.over(self.lost("it offers no event stream")),
            _ => return self.over(self.lost("the stream cannot be resumed")),
        }
        let why = match Parcel::read(body.clone()) {
            Ok(parcel) => {
                self.hand_out(parcel, items);
                if self.answered {
                    return self.over(Outcome::Done);
                }
                "answered with a message that is no answer to the request".to_owned()
            }
            Err(_) if body.is_empty() => format!("answered HTTP {} without a message", head.status),
            Err(Malformed::Shape(_, why)) => format!("answered JSON that is no JSON-RPC message: {why}"),
            Err(Malformed::Json(_)) => {
                format!("answered something that is no JSON: “{}”", http::excerpt(&body))
            }
        };
        let error = Error::new(Kind::ProtocolViolation, format!("{} {why}", self.terms.place))
            .http_status(head.status)
            .trace_id(http::trace_id(&head, &body))
            .hint("check that the URL is the MCP endpoint of the service");
        self.fail(error, Processed::Maybe, false)
    }

    fn refused(&mut self, head: Head, body: Bytes, rest: (Moment, &mut Vec<Item>)) -> Step {
        let (moment, _) = &rest;
        let hint = retry::retry_after(&head.headers, moment.wall);
        if head.status == 503 && hint.is_none() {
            return self.failing(head, body, rest);
        }
        let verdict = self.terms.retry.after_refusal(hint, self.waited, self.waits, moment.die);
        self.refused_for = hint;
        match verdict {
            Verdict::Wait(wait) => {
                self.waits += 1;
                self.rate_limited = true;
                self.refused_for = hint.or(Some(wait));
                self.wait_then(wait, self.at_hand.clone())
            }
            Verdict::GiveUp => self.failing(head, body, rest),
        }
    }

    fn failing(&mut self, head: Head, body: Bytes, (moment, items): (Moment, &mut Vec<Item>)) -> Step {
        if self.is_resuming() && matches!(self.purpose, Purpose::Request(_)) {
            // The call was taken: whatever is said of its stream, a lost session too, proves nothing about it.
            return self.over(self.lost(&format!("the stream cannot be resumed (HTTP {})", head.status)));
        }
        if self.terms.session && http::is_session_lost(head.status, &body) {
            return self.over(Outcome::SessionLost);
        }
        let failing = Failing { head: &head, body: &body, wall: moment.wall, place: &self.terms.place };
        let failure = failure_of(&failing);
        if self.purpose == Purpose::Listen {
            return self.no_listening(head.status, moment);
        }
        let error_message = http::json_rpc_error(&body);
        if self.terms.may_fall_back && matches!(head.status, 400 | 404 | 405) {
            return self.over(Outcome::NoEndpoint(error_message.map(Box::new), Box::new(failure)));
        }
        match (&self.purpose, error_message) {
            // HTTP-5: under our id, whatever id the body has.
            (Purpose::Request(id), Some(message)) => {
                items.push(Item::Message(message.under_id(id).with_status(head.status)));
                self.answered = true;
                self.over(Outcome::Done)
            }
            _ => self.over(Outcome::Failed(Box::new(failure))),
        }
    }

    fn hand_out(&mut self, parcel: Parcel, items: &mut Vec<Item>) {
        let (mut parts, alone) = match parcel {
            Parcel::One(message) => (vec![message], true),
            Parcel::Batch(parts) => (parts.into_iter().flatten().collect(), false),
        };
        for message in &mut parts {
            self.recognise(message, alone);
        }
        items.extend(parts.into_iter().map(Item::Message));
    }

    /// Notes whether a message is the answer, and gives it back our id where it came in another JSON
    /// type, or as an error without one (HTTP-5, T-21).
    fn recognise(&mut self, message: &mut Message, alone: bool) {
        let Purpose::Request(ours) = &self.purpose else { return };
        if self.answered || message.kind() != crate::protocol::message::Kind::Response {
            return;
        }
        match message.id() {
            Some(id) if id == ours => self.answered = true,
            Some(id) if id.resembles(ours) => {
                *message = message.under_id(ours);
                self.answered = true;
            }
            None if alone && message.error_text().is_some() => {
                *message = message.under_id(ours);
                self.answered = true;
            }
            _ => {}
        }
    }
}

/// Writes a duration for a person.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) && duration.subsec_millis() != 0 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    format!("{} s", duration.as_secs())
}
