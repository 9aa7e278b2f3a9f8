//! HTTP as plain data: a call to be made, the head of its reply, and what a reply means.
//!
//! Refuses to know sockets and credentials: `remote` performs a call, `auth` signs it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AsHeaderName, CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use url::Url;

use crate::protocol::message::{self, Frame, INVALID_REQUEST, Message};

/// The field of `_meta` with the service's own name for the exchange.
pub const TRACE: &str = "asistry/traceId";
/// The field of `_meta` with the HTTP status of a failure, or the one that its text names.
pub const STATUS: &str = "asistry/httpStatus";

/// One HTTP request to be made, without its credential.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// POST, GET or DELETE.
    pub method: http::Method,
    /// Where to.
    pub url: Arc<Url>,
    /// Everything but the credential.
    pub headers: Arc<HeaderMap>,
    /// The body of a POST.
    pub body: Bytes,
    /// What signing adds.
    pub signing: Signing,
}

/// What signing adds to a call.
#[derive(Clone, Debug, Default)]
pub struct Signing {
    /// Whether the credential goes along.
    pub credential: CredentialUse,
    /// Where in the body a reference is resolved: JSON strings, with their quotes.
    pub opened: Vec<Range<usize>>,
}

/// Whether the credential goes along with a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialUse {
    /// It does; without one nothing is sent.
    #[default]
    Required,
    /// It does where there is one.
    Optional,
    /// It does not.
    Never,
}

/// The head of a reply.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The reply's headers.
    pub headers: HeaderMap,
}

/// A reply without a JSON-RPC message; the upstream reads it.
#[derive(Clone, Debug)]
pub struct Data {
    /// The status code.
    pub status: u16,
    /// The tag that asks whether the same body still holds.
    pub etag: Option<String>,
    /// The service's own name for the exchange.
    pub trace_id: Option<String>,
    /// The whole body.
    pub body: Bytes,
}

/// How the body of a reply is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `text/event-stream`.
    Events,
    /// `application/json`, or anything else that may turn out to be JSON.
    Text,
}

/// A service's challenge to a refused credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// 401 or 403.
    pub status: u16,
    /// Each `WWW-Authenticate` header, as it came.
    pub authenticate: Vec<String>,
}

impl Head {
    /// Returns the challenge of a refusal.
    pub fn challenge(&self) -> Challenge {
        let values = self.headers.get_all(http::header::WWW_AUTHENTICATE).iter();
        let authenticate = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Challenge { status: self.status, authenticate: authenticate.collect() }
    }

    /// Returns how the body is to be read; parameters and letter case do not matter (HTTP-2).
    pub fn media(&self) -> Media {
        let media = self.header(CONTENT_TYPE).unwrap_or_default();
        let essence = media.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("text/event-stream") { Media::Events } else { Media::Text }
    }

    /// Returns one header as text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Says whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Returns a URL without user, password, query and fragment, fit to be shown.
pub fn origin_and_path(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Reads the JSON-RPC error that a failing reply may carry, whatever its id (HTTP-5). An `error` without a
/// number is none (JSON-RPC 2.0, section 5.1), such as the `{"error":"invalid_token"}` of OAuth.
pub fn json_rpc_error(body: &Bytes) -> Option<Message> {
    #[derive(Deserialize)]
    struct Numbered {
        #[serde(rename = "code")]
        _code: i64,
    }
    match Frame::read(body.clone()) {
        Ok(Frame::One(message)) => {
            let numbered = serde_json::from_str::<Numbered>(message.error_text()?).is_ok();
            numbered.then_some(message)
        }
        _ => None,
    }
}

/// The fields of a JSON-RPC error that decisions hang on.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorFields {
    /// The error code.
    #[serde(default)]
    pub code: i64,
    /// The sentence.
    #[serde(default)]
    pub message: String,
    /// Its `data`.
    #[serde(default)]
    pub data: serde_json::Value,
}

impl ErrorFields {
    /// Reads the error of a response.
    pub fn of(message: &Message) -> Option<Self> {
        serde_json::from_str(message.error_text()?).ok()
    }
}

/// Says whether a failing reply means that the session, which was sent along, is gone (LEG-10, LEG-11).
pub fn is_session_lost(status: u16, body: &Bytes) -> bool {
    let error = json_rpc_error(body).and_then(|message| ErrorFields::of(&message));
    let names_session = |error: &ErrorFields| {
        let text = error.message.to_lowercase();
        text.contains("session") || text.contains("not initialized")
    };
    match (status, error) {
        (410, _) => true,
        (404, None) => true,
        // Any other code is the service's word about something else that it does not find (T-8).
        (404, Some(error)) => matches!(error.code, -32001 | INVALID_REQUEST),
        // Section 6.1: without a word, in a session.
        (400, None) => body.is_empty(),
        (400, Some(error)) => matches!(error.code, -32000 | INVALID_REQUEST) && names_session(&error),
        _ => false,
    }
}

/// Returns the first line of a body that is no JSON-RPC, cleaned and shortened, to be quoted.
pub fn excerpt(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut short: String = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if short.chars().count() > 120 {
        short = short.chars().take(119).collect::<String>() + "…";
    }
    short
}

/// Returns the service's own name for a failed request: `X-Trace-Id`, or `trace_id` in the body.
pub fn trace_id(head: &Head, body: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Traced {
        trace_id: String,
    }
    let named = head.header("x-trace-id").map(str::to_owned);
    let trace =
        named.or_else(|| serde_json::from_slice::<Traced>(body).ok().map(|traced| traced.trace_id))?;
    Some(message::quote(&trace).trim_matches('"').chars().take(128).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_number_is_no_json_rpc() {
        let error = |text: &'static str| json_rpc_error(&Bytes::from_static(text.as_bytes())).is_some();
        assert!(error(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"no"}}"#));
        assert!(!error(r#"{"error":"invalid_token","error_description":"expired"}"#));
        assert!(!error(r#"{"error":{"code":"unauthorized","message":"no"}}"#));
        assert!(!error(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    }

    #[test]
    fn a_lost_session_is_told_from_an_unknown_method() {
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(is_session_lost(404, &body("")));
        assert!(is_session_lost(
            404,
            &body(r#"{"error":{"code":-32001,"message":"Session not found"},"id":null}"#)
        ));
        assert!(!is_session_lost(404, &body(r#"{"error":{"code":-32601,"message":"x"},"id":1}"#)));
        assert!(is_session_lost(
            400,
            &body(r#"{"error":{"code":-32000,"message":"No valid session ID"},"id":null}"#)
        ));
        assert!(!is_session_lost(400, &body(r#"{"error":{"code":-32602,"message":"session"},"id":1}"#)));
        assert!(!is_session_lost(404, &body(r#"{"error":{"code":-32602,"message":"session"},"id":1}"#)));
    }
}
