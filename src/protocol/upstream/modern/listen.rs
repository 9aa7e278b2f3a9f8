//! `subscriptions/listen`: a request whose stream stays open (MOD-12, section 6.5).
//!
//! Refuses to show the client that its stream was opened again.

use std::time::Duration;

use super::super::under_way::Request;
use crate::error::{Error, Kind};
use crate::protocol::Moment;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::Message;
use crate::protocol::retry;
use crate::protocol::subscriptions::{self, is_acknowledgement, is_listen};

/// Section 6.5: the pause before a stream is opened again, doubled each time up to the second one.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Section 6.5: a stream that stood this long begins with the first pause again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Returns the pause before the stream is opened again, with jitter.
pub(super) fn again_after(request: &mut Request, moment: Moment) -> Duration {
    if request.stands_since.take().is_some_and(|since| moment.now.duration_since(since) >= HEALTHY) {
        request.reissues = 0;
    }
    retry::backoff(AGAIN.0, request.reissues, AGAIN.1).mul_f64(0.75 + moment.random / 2.0)
}

/// Returns why the service refuses a subscription; `None` where its answer ends one.
pub(super) fn refusal_in(answer: &Message) -> Option<Error> {
    let error = ErrorFields::of(answer)?;
    Some(Error::new(Kind::ServiceError, format!("the service takes no subscription: {}", error.message)))
}

/// Returns a notification on the stream of a request as the client may see it: under the id that it knows, and the
/// acknowledgement once only.
pub(super) fn passed_on(request: &mut Request, message: Message) -> Option<Message> {
    if !is_listen(&request.message) {
        return Some(message);
    }
    if is_acknowledgement(&message) && std::mem::replace(&mut request.replayed, true) {
        return None;
    }
    Some(under_client_id(request, message))
}

/// Writes the client's id of a stream where the service wrote the one that it knows.
pub(super) fn under_client_id(request: &Request, message: Message) -> Message {
    let Some(id) = request.message.id().filter(|id| is_listen(&request.message) && **id != request.upstream)
    else {
        return message;
    };
    let part = message.params().or(message.result_text()).and_then(subscriptions::id_in);
    let text = part.map(|part| message.with_part(part, &id.json()));
    text.and_then(|text| Message::read(text).ok()).unwrap_or(message)
}
