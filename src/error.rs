//! Errors: a kind, one plain sentence, the cause, and a [`Remedy`].
//!
//! [`TABLE`] alone maps a kind to its exit code and JSON-RPC code. Refuses to format for a reader: `commands` turns
//! an [`Error`] into an exit code and a [`Remedy`] into a line, `protocol` into a JSON-RPC error, `ui` into text.

mod remedy;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use remedy::{Filter, Remedy, RemedyWriter, UsableStores, shell_quoted};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure; each has one row in [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The service or one of its tools reported an error.
    ServiceError,
    /// The command line or a tool's arguments are wrong.
    Usage,
    /// A profile, a service file or the configuration is wrong.
    Config,
    /// A key is bound to another origin than the request's.
    OriginMismatch,
    /// No key, or a login is needed.
    AuthRequired,
    /// The service rejected the key or the login.
    AuthDenied,
    /// The key store is unavailable.
    KeyStore,
    /// Rate limited for longer than `--max-wait`.
    RateLimited,
    /// No connection could be made; nothing was sent.
    Unreachable,
    /// The service was silent for `--timeout`, or `--max-time` has passed.
    Timeout,
    /// The connection ended before the response was complete.
    ConnectionLost,
    /// An HTTP status that the protocol does not provide for.
    UpstreamHttp,
    /// Client and service have no protocol version in common.
    EraMismatch,
    /// The response was not valid.
    ProtocolViolation,
    /// A local filter hides the tool.
    ToolDenied,
    /// The call succeeded, but its result cannot be written.
    Output,
    /// The user answered no.
    Declined,
    /// The user or the client interrupted it.
    Interrupted,
    /// A bug in asistry; the last kind.
    Bug,
}

struct Row {
    kind: Kind,
    name: &'static str,
    exit: u8,
    json_rpc: i32,
    unsent: bool,
    lasting: bool,
}

const fn row(kind: Kind, name: &'static str, exit: u8, json_rpc: i32) -> Row {
    Row { kind, name, exit, json_rpc, unsent: false, lasting: false }
}

impl Row {
    /// The call did not run: it was not sent, or the service says so.
    const fn unsent(self) -> Self {
        Self { unsent: true, ..self }
    }

    /// The next call would fail in the same way.
    const fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }
}

/// Kind, name in `data.kind`, exit code, JSON-RPC code, and the two flags above, in the order of [`Kind`].
///
/// `-32001` and `-32029` are the services' documented codes; every other kind is `-32603` (JSON-RPC 2.0, section
/// 5.1, internal error).
const TABLE: &[Row] = &[
    row(Kind::ServiceError, "service_error", 1, -32603),
    row(Kind::Usage, "usage", 2, -32603).unsent(),
    row(Kind::Config, "config", 3, -32603).unsent().lasting(),
    row(Kind::OriginMismatch, "origin_mismatch", 3, -32603).unsent().lasting(),
    row(Kind::AuthRequired, "auth_required", 4, -32001).unsent().lasting(),
    row(Kind::AuthDenied, "auth_denied", 4, -32001).unsent().lasting(),
    row(Kind::KeyStore, "key_store", 4, -32603).unsent().lasting(),
    row(Kind::RateLimited, "rate_limited", 5, -32029).unsent().lasting(),
    row(Kind::Unreachable, "upstream_unreachable", 6, -32603).unsent().lasting(),
    row(Kind::Timeout, "timeout", 6, -32603),
    row(Kind::ConnectionLost, "connection_lost", 6, -32603),
    row(Kind::UpstreamHttp, "upstream_http", 7, -32603),
    row(Kind::EraMismatch, "era_mismatch", 7, -32603).lasting(),
    row(Kind::ProtocolViolation, "protocol_violation", 7, -32603),
    row(Kind::ToolDenied, "tool_denied", 2, -32603).unsent(),
    row(Kind::Output, "output", 1, -32603).lasting(),
    row(Kind::Declined, "declined", 1, -32603).unsent(),
    row(Kind::Interrupted, "interrupted", 130, -32603),
    row(Kind::Bug, "bug", 70, -32603).lasting(),
];

/// Every exit code and its meaning.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "Done"),
    (1, "The service or the tool reported an error, or the result could not be written"),
    (2, "Wrong usage"),
    (3, "Wrong profile or configuration, or a key bound to another origin"),
    (4, "No key, key rejected, login needed, or key store unavailable"),
    (5, "Rate limited for longer than --max-wait"),
    (6, "Service unreachable or timed out"),
    (7, "The response was not valid"),
    (70, "Bug in asistry"),
    (130, "Interrupted"),
];

impl Kind {
    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Returns the kind's name in `data.kind` and in `--json` failures.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.kind)
    }

    /// Returns the exit code of a command that fails this way.
    pub fn exit_code(self) -> u8 {
        self.row().exit
    }

    /// Returns whether a failure of this kind alone proves that the call did not run.
    pub fn is_unsent(self) -> bool {
        self.row().unsent
    }

    /// Returns whether the next call would fail in the same way.
    pub fn is_lasting(self) -> bool {
        self.row().lasting
    }

    /// Returns the JSON-RPC error code shown to a client.
    pub fn json_rpc_code(self) -> i32 {
        self.row().json_rpc
    }
}

/// A failure: what happened, why, and what to do next.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    remedy: Option<Box<Remedy>>,
    details: Details,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Whether a service may have executed a message that it did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Proven not to.
    No,
    /// It cannot be excluded.
    Maybe,
}

/// Holds the facts beside the sentence; absent ones are left out wherever they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The HTTP status that carried the failure.
    pub http_status: Option<u16>,
    /// The JSON-RPC code of the service's own error.
    pub code: Option<i64>,
    /// How long the service asked to wait.
    pub retry_after: Option<Duration>,
    /// The service's id of the failed request.
    pub trace_id: Option<Box<str>>,
    /// Whether the call may have run; `None` for requests that only read.
    pub executed: Option<Executed>,
    /// The result of a call that was made but cannot be shown as asked.
    pub result: Option<Box<Value>>,
}

impl Error {
    /// Creates an error from a kind and one plain sentence without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, remedy: None, details: Details::default() }
    }

    /// Adds the cause as `source`; the sentence names it too where that helps.
    #[must_use]
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(cause));
        self
    }

    /// Adds what to do next, as one line of text.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.remedy(Remedy::Advice(hint.into().into()))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(Box::new(remedy));
        self
    }

    /// Replaces the remedy by its text. What may have run is checked first; what cannot have run needs no check.
    #[must_use]
    pub fn with_hint_text(mut self, advise: &RemedyWriter) -> Self {
        let may_have_run = self.details.executed != Some(Executed::No);
        let remedy = self.remedy.and_then(|remedy| match (*remedy, may_have_run) {
            (Remedy::CheckEffect, false) => None,
            (Remedy::AllowDrain, true) => {
                Some(Remedy::Either(Box::new(Remedy::CheckEffect), Box::new(Remedy::AllowDrain)))
            }
            (remedy, _) => Some(remedy),
        });
        self.remedy = remedy.map(|remedy| Box::new(Remedy::Advice(advise.line(&remedy).into())));
        self
    }

    /// Adds the HTTP status that carried the failure.
    #[must_use]
    pub fn http_status(mut self, status: u16) -> Self {
        self.details.http_status = Some(status);
        self
    }

    /// Adds the JSON-RPC code of the service's own error.
    #[must_use]
    pub fn code(mut self, code: i64) -> Self {
        self.details.code = Some(code);
        self
    }

    /// Adds how long the service asked to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.details.retry_after = Some(wait);
        self
    }

    /// Adds the service's id of the failed request.
    #[must_use]
    pub fn trace_id(mut self, trace_id: Option<String>) -> Self {
        self.details.trace_id = trace_id.map(String::into_boxed_str);
        self
    }

    /// Sets whether the call may have run.
    #[must_use]
    pub fn executed(mut self, executed: Executed) -> Self {
        self.details.executed = Some(executed);
        self
    }

    /// Adds the result of a call that succeeded, so that it is not lost.
    #[must_use]
    pub fn with_result(mut self, result: Value) -> Self {
        self.details.result = Some(Box::new(result));
        self
    }

    /// Removes [`Details::may_have_executed`], which does not matter for requests that only read.
    #[must_use]
    pub fn without_execution_doubt(mut self) -> Self {
        self.details.executed = None;
        self
    }

    /// Masks secrets in all text that came from a service; drops a remedy that contains one.
    #[must_use]
    pub fn masked(mut self, mask: impl Fn(&str) -> String) -> Self {
        self.message = mask(&self.message);
        self.details.trace_id = self.details.trace_id.map(|id| mask(&id).into_boxed_str());
        let repeats = |remedy: &Remedy| {
            let text = format!("{remedy:?}");
            mask(&text) != text
        };
        self.remedy = self.remedy.filter(|remedy| !repeats(remedy));
        self
    }

    /// Replaces the sentence.
    #[must_use]
    pub fn with_message(mut self, sentence: String) -> Self {
        self.message = sentence;
        self
    }

    /// Replaces the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the remedy's text, if it is [`Remedy::Advice`].
    pub fn advice(&self) -> Option<&str> {
        match self.remedy.as_deref() {
            Some(Remedy::Advice(line)) => Some(line),
            _ => None,
        }
    }

    /// Returns what to do next.
    pub fn next_step(&self) -> Option<&Remedy> {
        self.remedy.as_deref()
    }

    /// Says whether a login would mend it.
    pub fn needs_login(&self) -> bool {
        self.kind == Kind::AuthRequired && self.remedy.as_deref() == Some(&Remedy::Login)
    }

    /// Returns the machine-readable facts.
    pub fn details(&self) -> &Details {
        &self.details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row_of_its_own() {
        assert_eq!(TABLE.len(), Kind::Bug as usize + 1);
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, at, "{}", row.name);
            assert!(TABLE[at + 1..].iter().all(|other| other.name != row.name), "{}", row.name);
        }
        for row in TABLE {
            assert!(EXIT_CODES.iter().any(|(code, _)| *code == row.exit), "{}", row.name);
        }
        for (code, about) in &EXIT_CODES[1..] {
            assert!(TABLE.iter().any(|row| row.exit == *code), "{code}: {about}");
        }
        assert_eq!(Kind::Bug.exit_code(), 70);
        assert_eq!(Kind::RateLimited.json_rpc_code(), -32029);
    }
}
