//! Refusals of requests: HTTP status, JSON-RPC error, headers.
//!
//! Does not cover a tool's own errors, which are results.

use crate::sandbox::rate;
use crate::sandbox::reply::{self, Reply};
use crate::sandbox::service::{KeyHeader, Service};
use hyper::StatusCode;
use serde_json::Value;
use std::time::Duration;

pub(super) const PARSE_ERROR: i64 = -32700;
pub(super) const INVALID_REQUEST: i64 = -32600;
pub(super) const INTERNAL: i64 = -32603;
/// Documented by Asistry: the key is missing, invalid or revoked.
const UNAUTHORIZED: i64 = -32001;
/// Documented by Asistry: the rate limit is exceeded.
const RATE_LIMITED: i64 = -32029;

/// A refusal; the request's id is added when the reply is built.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: i64,
    message: String,
    header: Option<(&'static str, String)>,
}

impl Refusal {
    /// Refuses with a status and a sentence, as an invalid request.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: INVALID_REQUEST, message: message.into(), header: None }
    }

    /// Refuses an invalid request: 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Refuses a body that is not JSON.
    pub fn no_json() -> Self {
        Self { code: PARSE_ERROR, ..Self::invalid("the body is no JSON") }
    }

    /// Refuses a request without a key.
    pub fn no_key(service: &Service) -> Self {
        let header = match service.key_header {
            KeyHeader::Bearer => "Authorization: Bearer ",
            KeyHeader::Named(name) => &format!("{name}: "),
        };
        let message = format!("an API key is required: {header}{}…", service.key_prefix);
        Self::unauthorized(&message, "Bearer")
    }

    /// Refuses an unknown or a revoked key, without saying which.
    pub fn wrong_key() -> Self {
        Self::unauthorized("the API key is invalid or revoked", "Bearer error=\"invalid_token\"")
    }

    /// Refuses a request over the rate limit.
    pub fn too_many(wait: Duration) -> Self {
        let seconds = rate::whole_seconds(wait);
        let message = format!("rate limit exceeded: try again in {seconds} s");
        Self { code: RATE_LIMITED, ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
            .with("retry-after", seconds.to_string())
    }

    /// Reports an internal error without details.
    pub fn broken() -> Self {
        Self { code: INTERNAL, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error") }
    }

    /// Refuses an incomplete or oversized body.
    pub fn body(status: StatusCode) -> Self {
        let message = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than 16 MiB",
            StatusCode::REQUEST_TIMEOUT => "the body did not arrive",
            _ => "the body could not be read",
        };
        Self::new(status, message)
    }

    fn unauthorized(message: &str, challenge: &str) -> Self {
        Self { code: UNAUTHORIZED, ..Self::new(StatusCode::UNAUTHORIZED, message) }
            .with("www-authenticate", challenge)
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// Builds the reply to the request with this id.
    pub fn draw(&self, id: &Value) -> Reply {
        let reply = reply::json(self.status, &error(id, self.code, &self.message));
        match &self.header {
            Some((name, value)) => reply::with(reply, name, value),
            None => reply,
        }
    }
}

/// Builds a JSON-RPC error.
pub(super) fn error(id: &Value, code: i64, message: &str) -> Value {
    serde_json::json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
