//! Streams that end before their time: when and how they are taken up again (LEG-5, LEG-6, section 6.5).
//!
//! Refuses to send the message itself once more: a stream is resumed with a GET.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::HeaderValue;
use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use bytes::Bytes;

use crate::protocol::Moment;
use crate::protocol::http::HttpCall;
use crate::protocol::retry;
use crate::protocol::sse::Event;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often in a row a stream may fail to be resumed.
const MOST_FAILURES: u32 = 5;
/// LEG-6: the wait before a resumption where the service names none.
const RESUME_AFTER: Duration = Duration::from_secs(1);
/// Section 6.5: `retry: 0` counts as this much.
const SHORTEST: Duration = Duration::from_millis(100);
/// Section 6.5: backoff of the standalone stream.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Section 6.5: after this much health the backoff begins anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// LEG-5: the one retry of a standalone stream that exists already (409).
const STREAM_EXISTS: Duration = Duration::from_secs(30);

/// The last event of a stream, and the number of failed resumptions.
#[derive(Debug, Default)]
pub struct Resumption {
    last_event_id: Option<String>,
    retry: Option<Duration>,
    /// Streams in a row that brought no message.
    idle: u32,
    /// Resumptions in a row that got no stream.
    failures: u32,
    /// Since when resumed streams have brought no message.
    quiet_since: Option<Instant>,
    opened: Option<Instant>,
    /// No stream is resumed, whatever ids its events bear.
    refused: bool,
}

impl Resumption {
    /// Makes one that never resumes.
    pub fn refused() -> Self {
        Self { refused: true, ..Self::default() }
    }

    /// Notes what an event says about its place in the stream.
    pub fn event(&mut self, event: &Event) {
        if self.refused {
            return;
        }
        if let Some(id) = &event.id {
            self.last_event_id = Some(id.clone()).filter(|id| !id.is_empty());
        }
        self.retry = event.retry.or(self.retry);
    }

    /// A message came: failed resumptions no longer count.
    pub fn message(&mut self) {
        self.idle = 0;
        self.quiet_since = None;
    }

    /// A stream was opened.
    pub fn opened(&mut self, now: Instant) {
        self.opened = Some(now);
        self.failures = 0;
    }

    /// No stream was opened.
    pub fn failed(&mut self) {
        self.failures += 1;
    }

    /// Says whether the stream of a request can be resumed at all.
    pub fn is_possible(&self) -> bool {
        self.last_event_id.is_some()
    }

    /// Returns the wait before the stream of a request is resumed.
    ///
    /// # Errors
    /// Why it is not resumed: a clause without its subject.
    pub fn after_loss(&mut self, silence: Duration, moment: Moment) -> Result<Duration, String> {
        if self.last_event_id.is_none() {
            return Err("the stream ended before the answer came".into());
        }
        let quiet_for = moment.now.saturating_duration_since(*self.quiet_since.get_or_insert(moment.now));
        if self.failures > MOST_FAILURES || quiet_for > silence {
            return Err("the stream ended and could not be resumed".into());
        }
        let wait = self
            .retry
            .map_or_else(|| retry::backoff(RESUME_AFTER, self.idle, BACKOFF.1), |retry| retry.max(SHORTEST));
        if wait > silence {
            let asked = retry::seconds(wait);
            return Err(format!(
                "its stream may be resumed after {asked} only, longer than silence is allowed"
            ));
        }
        self.idle += 1;
        Ok(wait)
    }

    /// Returns the wait before the standalone stream is opened again.
    pub fn listens_again_after(&mut self, moment: Moment) -> Duration {
        let was_healthy =
            self.opened.take().is_some_and(|at| moment.now.saturating_duration_since(at) >= HEALTHY);
        if was_healthy {
            self.idle = 0;
        }
        let pause = retry::backoff(BACKOFF.0, self.idle, BACKOFF.1);
        self.idle += 1;
        self.retry.unwrap_or_default().max(pause.mul_f64(0.5 + moment.random / 2.0)).max(SHORTEST)
    }

    /// Returns the wait before a refused standalone stream is asked for again, `None` where that is vain.
    pub fn after_refusal(&mut self, status: u16, moment: Moment) -> Option<Duration> {
        match status {
            409 if self.idle == 0 => {
                self.idle += 1;
                Some(STREAM_EXISTS)
            }
            408 | 425 | 429 | 500 | 502..=599 => Some(self.listens_again_after(moment)),
            _ => None,
        }
    }

    /// Returns the GET that opens or resumes a stream (LEG-6).
    pub fn call(&self, original: &HttpCall) -> HttpCall {
        let mut call = original.clone();
        call.method = ::http::Method::GET;
        call.body = Bytes::new();
        call.signing.opened.clear();
        let headers = Arc::make_mut(&mut call.headers);
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let id = self.last_event_id.as_ref().map(|id| HeaderValue::from_bytes(id.as_bytes()));
        if let Some(Ok(id)) = id {
            headers.insert(LAST_EVENT_ID, id);
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn at(now: Instant) -> Moment {
        Moment { now, wall: SystemTime::now(), random: 0.0 }
    }

    fn named(retry: u64) -> Resumption {
        let mut stream = Resumption::default();
        let retry = Some(Duration::from_millis(retry));
        stream.event(&Event { id: Some("1".into()), retry, ..Event::default() });
        stream
    }

    #[test]
    fn a_service_that_closes_at_once_is_not_asked_again_and_again() {
        let (mut stream, now) = (Resumption::default(), Instant::now());
        let waits: Vec<_> = (0..10).map(|_| stream.listens_again_after(at(now)).as_millis()).collect();
        assert_eq!(waits[..4], [250, 500, 1000, 2000]);
        assert_eq!(waits[9], 15_000, "half of 30 s at the least");
    }

    #[test]
    fn after_a_minute_of_health_the_backoff_begins_anew() {
        let (mut stream, now) = (Resumption::default(), Instant::now());
        for _ in 0..5 {
            stream.listens_again_after(at(now));
        }
        stream.opened(now);
        assert_eq!(stream.listens_again_after(at(now + HEALTHY)).as_millis(), 250);
    }

    #[test]
    fn a_retry_of_zero_counts_as_100_milliseconds() {
        let now = at(Instant::now());
        assert_eq!(named(0).after_loss(Duration::from_secs(60), now), Ok(SHORTEST));
        assert!(named(0).listens_again_after(now) >= SHORTEST);
    }
}
