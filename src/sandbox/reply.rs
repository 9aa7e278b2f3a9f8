//! Builds HTTP replies and reads request bodies.
//!
//! Knows no JSON-RPC: the caller provides the JSON.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Maximum size of a request body.
const BODY_LIMIT: u64 = 16 << 20;
/// How much of an oversized body is read and discarded, so that its sender sees the refusal.
const DRAIN_LIMIT: u64 = 64 << 20;
/// Time limit between two chunks of a request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A reply's body: complete, or streamed.
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

/// An HTTP reply.
pub(super) type Reply = Response<Body>;

/// Builds a reply without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// Builds a JSON reply.
pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    let mut reply = Response::new(Body::Whole(value.to_string().into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Builds a refusal outside JSON-RPC, for requests that no endpoint handles.
pub(super) fn outside(status: StatusCode, message: &str) -> Reply {
    json(status, &json!({"error": message}))
}

/// Marks a reply in whose place the connection is reset.
#[derive(Clone, Copy)]
struct Cut;

/// Builds what stands for a reset of the connection.
pub(super) fn cut() -> Reply {
    let mut reply = empty(StatusCode::OK);
    reply.extensions_mut().insert(Cut);
    reply
}

/// Returns the reply to send.
///
/// # Errors
/// The connection is to be reset.
pub(super) fn unless_cut(reply: Reply) -> io::Result<Reply> {
    match reply.extensions().get::<Cut>() {
        Some(Cut) => Err(io::ErrorKind::ConnectionReset.into()),
        None => Ok(reply),
    }
}

/// Builds what a gateway says whose server is away.
pub(super) fn bad_gateway() -> Reply {
    let page =
        "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n";
    let mut reply = Response::new(Body::Whole(Bytes::from_static(page.as_bytes())));
    *reply.status_mut() = StatusCode::BAD_GATEWAY;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    reply
}

/// Builds an event stream fed by a channel.
pub(super) fn events(pieces: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Pieces(pieces));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// Builds an event stream of these events.
pub(super) fn all_events(events: Vec<Bytes>) -> Reply {
    let (sender, receiver) = mpsc::channel(events.len().max(1));
    for event in events {
        // Cannot fail: the channel has room for all events, and the receiver is alive.
        let _ = sender.try_send(event);
    }
    self::events(receiver)
}

/// Adds a header to a reply; ignores an invalid value.
pub(super) fn with(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

/// Reads a request body, or returns the status to refuse it with.
///
/// Discards up to 64 MiB of an oversized body.
pub(super) async fn read(mut body: Incoming) -> Result<Vec<u8>, StatusCode> {
    if body.size_hint().lower() > DRAIN_LIMIT {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut text = Vec::new();
    let mut length = 0;
    loop {
        let frame = match tokio::time::timeout(BODY_TIMEOUT, body.frame()).await {
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
