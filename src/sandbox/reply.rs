//! HTTP replies as the sandbox draws them, and the request body as it reads it.
//!
//! Refuses to know JSON-RPC: what the JSON says is its caller's.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// The largest request body that is read.
const BODY_LIMIT: u64 = 16 << 20;
/// The largest body that is swallowed so that its sender hears the refusal instead of a broken connection.
const DRAIN_LIMIT: u64 = 64 << 20;
/// The longest silence inside a request body.
const BODY_SILENCE: Duration = Duration::from_secs(30);

/// A reply's body: whole, or pieces as they come.
pub(super) enum Body {
    Whole(Bytes),
    Pieces(mpsc::Receiver<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|p| Ok(Frame::data(p)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A whole reply.
pub(super) type Reply = Response<Body>;

/// Draws a reply without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// Draws a JSON reply.
pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    let mut reply = Response::new(Body::Whole(value.to_string().into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Draws the refusal of something that is not for this endpoint at all, outside JSON-RPC.
pub(super) fn outside(status: StatusCode, message: &str) -> Reply {
    json(status, &json!({"error": message}))
}

/// Draws an event stream whose pieces come from the channel.
pub(super) fn events(pieces: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Pieces(pieces));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// Draws an event stream that is complete already, one piece for each event.
pub(super) fn all_events(events: Vec<Bytes>) -> Reply {
    let (sender, receiver) = mpsc::channel(events.len().max(1));
    for event in events {
        // The channel has room for all of them, and its receiver is held two lines up.
        let _ = sender.try_send(event);
    }
    self::events(receiver)
}

/// Adds a header to a reply; a value that no header can hold is left out.
pub(super) fn with(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

/// Reads a request body, or says with which status it is refused.
///
/// What passes the limit is not kept, but up to 64 MiB of it are swallowed.
pub(super) async fn read(mut body: Incoming) -> Result<Vec<u8>, StatusCode> {
    if body.size_hint().lower() > DRAIN_LIMIT {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut text = Vec::new();
    let mut length = 0;
    loop {
        let frame = match tokio::time::timeout(BODY_SILENCE, body.frame()).await {
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
            Ok(Some(Err(_))) => return Err(StatusCode::BAD_REQUEST),
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > DRAIN_LIMIT {
            break;
        }
        if length > BODY_LIMIT {
            text = Vec::new();
        } else {
            text.extend_from_slice(&data);
        }
    }
    if length > BODY_LIMIT { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(text) }
}
