//! Refusals of requests: HTTP status, JSON-RPC error, headers.
//!
//! Does not cover a tool's own errors, which are results.

use crate::sandbox::reply::{self, Reply};
use crate::sandbox::service::{KeyHeader, Service, Tokens};
use hyper::StatusCode;
use serde_json::Value;

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

    /// Refuses a request without a key or token.
    pub fn no_key(service: &Service, base: &str) -> Self {
        let header = match service.key_header {
            KeyHeader::Bearer => "Authorization: Bearer ",
            KeyHeader::Named(name) => &format!("{name}: "),
            KeyHeader::Token(tokens) => {
                let challenge = challenge(tokens, base, &tokens.scopes.join(" "));
                return Self::unauthorized("an access token is required", &challenge);
            }
        };
        let message = format!("an API key is required: {header}{}…", service.key_prefix);
        Self::of_key(service, &message, "Bearer")
    }

    /// Refuses an unknown, expired or revoked key or token, without saying which.
    pub fn wrong_key(service: &Service, base: &str) -> Self {
        let KeyHeader::Token(tokens) = service.key_header else {
            let message = "the API key is invalid or revoked";
            return Self::of_key(service, message, "Bearer error=\"invalid_token\"");
        };
        let message = "the access token is invalid or expired";
        let challenge = challenge(tokens, base, &tokens.scopes.join(" "));
        let challenge = format!("{challenge}, error=\"invalid_token\", error_description=\"{message}\"");
        Self::unauthorized(message, &challenge)
    }

    /// Refuses a call whose token lacks a scope: 403, with the scopes granted so far and the missing one.
    pub fn lacking_scope(service: &Service, base: &str, (granted, missing): (&str, &str)) -> Self {
        let message = format!("the access token lacks the scope {missing}");
        let refusal = Self { code: UNAUTHORIZED, ..Self::new(StatusCode::FORBIDDEN, message.as_str()) };
        let KeyHeader::Token(tokens) = service.key_header else { return refusal };
        let wanted = |scope: &&&str| **scope == missing || granted.split(' ').any(|known| known == **scope);
        let scopes: Vec<_> = tokens.scopes.iter().filter(wanted).copied().collect();
        let challenge = challenge(tokens, base, &scopes.join(" "));
        refusal.with(
            "www-authenticate",
            format!("{challenge}, error=\"insufficient_scope\", error_description=\"{message}\""),
        )
    }

    /// Refuses a request over the rate limit, which lets the next one in after so many seconds.
    pub fn too_many(wait: Option<u64>) -> Self {
        let message = format!("rate limit exceeded{}", in_seconds(wait));
        Self { code: RATE_LIMITED, ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }.retry_after(wait)
    }

    /// Refuses a request that the service cannot serve now.
    pub fn unavailable(wait: Option<u64>) -> Self {
        let message = format!("the service is unavailable{}", in_seconds(wait));
        Self { code: INTERNAL, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }.retry_after(wait)
    }

    /// Refuses a request in an unknown session.
    pub fn no_session() -> Self {
        let said = "there is no such session: send initialize without Mcp-Session-Id";
        Self::new(StatusCode::NOT_FOUND, said)
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

    /// Refuses a key. No registered scheme is for a header such as `x-api-key`: there is no challenge then.
    fn of_key(service: &Service, message: &str, challenge: &str) -> Self {
        match service.key_header {
            KeyHeader::Named(_) => {
                Self { code: UNAUTHORIZED, ..Self::new(StatusCode::UNAUTHORIZED, message) }
            }
            _ => Self::unauthorized(message, challenge),
        }
    }

    fn unauthorized(message: &str, challenge: &str) -> Self {
        Self { code: UNAUTHORIZED, ..Self::new(StatusCode::UNAUTHORIZED, message) }
            .with("www-authenticate", challenge)
    }

    fn retry_after(self, wait: Option<u64>) -> Self {
        wait.into_iter().fold(self, |refusal, wait| refusal.with("retry-after", wait.to_string()))
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

fn in_seconds(wait: Option<u64>) -> String {
    wait.map_or_else(String::new, |seconds| format!(": try again in {seconds} s"))
}

/// Begins a challenge (RFC 6750 section 3, RFC 9728 section 5.1).
fn challenge(tokens: &Tokens, base: &str, scope: &str) -> String {
    format!("Bearer resource_metadata=\"{base}{}\", scope=\"{scope}\"", tokens.resource_metadata)
}

/// Builds a JSON-RPC error.
pub(super) fn error(id: &Value, code: i64, message: &str) -> Value {
    serde_json::json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
