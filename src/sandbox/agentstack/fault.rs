//! What goes wrong, as AgentStack says it: `{"success": false, "error": "HTTP 403: …", "trace_id"}`.
//!
//! Says nothing about the database: its errors are only logged.

use crate::error::Error;
use crate::sandbox::reply::{self, Reply};
use crate::sandbox::store;
use hyper::StatusCode;
use serde_json::{Value, json};

/// How long to wait for a database that another process holds.
const BUSY_SECONDS: u64 = 1;

/// A failed request, action or step.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    why: String,
    header: Option<(&'static str, String)>,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Caller,
    Server,
    /// For this many seconds, if it says so.
    Busy(Option<u64>),
}

impl Fault {
    /// Refuses what the caller asked for.
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), header: None, cause: Cause::Caller }
    }

    /// Refuses arguments or a body.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, why)
    }

    /// Refuses what the plan or the caller's rights do not allow.
    pub fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, why)
    }

    /// Refuses access to another user's data, in the documented words.
    pub fn not_permitted() -> Self {
        Self::forbidden("Insufficient permissions")
    }

    /// Refuses a request without a key, or with an unknown one.
    pub fn no_key(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, why).with("www-authenticate", "Bearer")
    }

    /// Refuses what is at odds with the stored data.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, why)
    }

    /// Refuses an id that names nothing.
    pub fn not_found(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, why)
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// Says whether it ends a batch: nothing that it did is kept.
    pub fn ends_batch(&self) -> bool {
        self.cause != Cause::Caller
    }

    /// Returns its text.
    pub fn text(&self) -> String {
        match self.cause {
            Cause::Busy(_) => "server_busy".into(),
            _ => format!("HTTP {}: {}", self.status.as_u16(), self.why),
        }
    }

    /// Builds the reply.
    pub fn draw(&self, trace: &str) -> Reply {
        let mut body = json!({"success": false, "error": self.text()});
        if let Cause::Busy(Some(wait)) = self.cause {
            body["retryAfterSeconds"] = wait.into();
        }
        body["trace_id"] = trace.into();
        let reply = reply::json(self.status, &body);
        match &self.header {
            Some((name, value)) => reply::with(reply, name, value),
            None => reply,
        }
    }

    /// Builds the last record of an event stream.
    pub fn record(&self, trace: &str) -> Value {
        json!({"status": "error", "error": self.text(), "trace_id": trace})
    }

    /// Refuses a request over a rate limit.
    pub fn too_many(wait: Option<u64>) -> Self {
        let fault = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate limit exceeded");
        wait.into_iter().fold(fault, |fault, wait| fault.with("retry-after", wait.to_string()))
    }

    /// Refuses a request with an expired key.
    pub fn expired_key() -> Self {
        Self::no_key("the API key has expired").with("www-authenticate", "Bearer error=\"invalid_token\"")
    }

    /// Refuses a request because others keep the server busy.
    pub fn busy(wait: Option<u64>) -> Self {
        let busy = Self { cause: Cause::Busy(wait), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "") };
        wait.into_iter().fold(busy, |busy, wait| busy.with("retry-after", wait.to_string()))
    }

    /// Reports an internal error without details.
    pub fn broken() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { cause: Cause::Server, ..Self::new(status, "internal error") }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        tracing::warn!(%error, "the sandbox's AgentStack failed");
        if store::is_busy(&error) {
            return Self::busy(Some(BUSY_SECONDS));
        }
        Self::broken()
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        tracing::warn!(%error, "the sandbox's AgentStack failed");
        Self::broken()
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        tracing::warn!(%error, "the sandbox's AgentStack stored something unreadable");
        Self::broken()
    }
}
