//! Streams that end before their time: when and how a passage takes them up again (LEG-5, LEG-6).
//!
//! Refuses to send the message itself once more: a stream is resumed with a GET.

use std::time::Duration;

use ::http::HeaderValue;
use ::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use bytes::Bytes;

use super::{Moment, Outcome, Passage, Step, seconds};
use crate::protocol::http::HttpCall;
use crate::protocol::retry;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often in a row a stream may fail to be resumed.
const MOST_FAILED_RESUMPTIONS: u32 = 5;
/// LEG-6: the wait before a resumption where the service names none.
const RESUME_AFTER: Duration = Duration::from_secs(1);
/// Section 6.5: backoff of the standalone stream.
const LISTEN_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// LEG-5: the one retry of a standalone stream that exists already (409).
const STREAM_EXISTS: Duration = Duration::from_secs(30);

impl Passage {
    pub(super) fn resume(&mut self, moment: Moment) -> Step {
        let Some(id) = self.last_event_id.clone() else {
            return self.over(self.lost("the stream ended before the answer came"));
        };
        let quiet_for = moment.now.saturating_duration_since(*self.quiet_since.get_or_insert(moment.now));
        if self.failed_turns > MOST_FAILED_RESUMPTIONS || quiet_for > self.terms.silence {
            return self.over(self.lost("the stream ended and could not be resumed"));
        }
        let wait =
            self.retry.unwrap_or_else(|| retry::backoff(RESUME_AFTER, self.idle_turns, LISTEN_BACKOFF.1));
        if wait > self.terms.silence {
            let asked = seconds(wait);
            return self
                .over(self.lost(&format!("its stream may be resumed after {asked} only, past --timeout")));
        }
        self.idle_turns += 1;
        let call = self.get_call(Some(&id));
        self.wait_then(wait, call)
    }

    pub(super) fn listen_again(&mut self, moment: Moment) -> Step {
        let (first, most) = LISTEN_BACKOFF;
        let pause = retry::backoff(first, self.idle_turns, most);
        let wait = self.retry.unwrap_or_default().max(pause.mul_f64(0.5 + moment.die / 2.0));
        self.idle_turns += 1;
        let call = self.get_call(self.last_event_id.clone().as_deref());
        self.wait_then(wait, call)
    }

    pub(super) fn no_listening(&mut self, status: u16, moment: Moment) -> Step {
        match status {
            409 if self.idle_turns == 0 => {
                self.idle_turns += 1;
                self.wait_then(STREAM_EXISTS, self.at_hand.clone())
            }
            408 | 425 | 429 | 500 | 502..=599 => self.listen_again(moment),
            _ => self.over(Outcome::NoStream),
        }
    }

    /// Draws the GET that opens or resumes a stream (LEG-6).
    fn get_call(&self, last_event_id: Option<&str>) -> HttpCall {
        let mut call = self.call.clone();
        call.method = ::http::Method::GET;
        call.body = Bytes::new();
        call.headers.remove(CONTENT_TYPE);
        call.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(Ok(id)) = last_event_id.map(|id| HeaderValue::from_bytes(id.as_bytes())) {
            call.headers.insert(LAST_EVENT_ID, id);
        }
        call
    }
}
