//! What an answer of a service says: its result, or a failure of which kind, and whether the call may have run.
//!
//! Refuses to take a failure for proof that nothing ran.

use serde_json::Value;

use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::message::{Message, without_halves};

/// The services say so with a 401; official SDKs have the same code for a request that took too long.
const REJECTED: i64 = -32001;

/// Reads the JSON text of an answer.
///
/// # Errors
/// [`Kind::ProtocolViolation`] for what is none.
pub fn parsed(method: &str, text: &str) -> Result<Value> {
    read(text).map_err(|e| nonsense(method, &e))
}

/// Reads JSON, also of a service that cuts a text inside a character.
///
/// # Errors
/// What is no JSON of that shape.
pub fn read<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&without_halves(text)))
}

/// Returns what to tell of an answer that cannot be read.
pub fn nonsense(method: &str, e: &serde_json::Error) -> Error {
    Error::new(Kind::ProtocolViolation, format!("the answer to {method} makes no sense: {e}"))
        .hint("report this to the service")
}

/// Returns the JSON text of the result.
///
/// `rejected` says that the service has rejected the key: the status does not come along with an error of its
/// own. It is this request's where it was `alone`, or where the code says so too; else it may have run.
///
/// # Errors
/// The service's error, or ours.
pub fn answered(message: &Message, rejected: bool, alone: bool) -> Result<String> {
    let Some(error) = message.error_text() else {
        return Ok(message.result_text().unwrap_or("null").to_owned());
    };
    #[derive(Default, serde::Deserialize)]
    struct Failed {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
        #[serde(default)]
        data: Value,
    }
    let failed: Failed = read(error).unwrap_or_default();
    let data = &failed.data;
    let ours = data["source"] == "asistry";
    let kind = match (ours, failed.code) {
        (true, _) => data["kind"].as_str().and_then(Kind::named).unwrap_or(Kind::Bug),
        (false, REJECTED) => Kind::AuthDenied,
        (false, -32029) => Kind::RateLimited,
        (false, _) if rejected => Kind::AuthDenied,
        (false, _) => Kind::ServiceError,
    };
    let hint = match data["hint"].as_str() {
        Some(hint) if ours => hint,
        _ => "",
    };
    let message = failed.message.strip_suffix(&format!(": {hint}")).unwrap_or(&failed.message);
    let trace_id = data["traceId"].as_str().map(str::to_owned);
    let mut told = Error::new(kind, message).code(failed.code).trace_id(trace_id);
    if let Some(status) = data["httpStatus"].as_u64().and_then(|status| u16::try_from(status).ok()) {
        told = told.http_status(status);
    }
    let is_proven = rejected && (alone || failed.code == REJECTED);
    let in_doubt = (kind == Kind::AuthDenied && !is_proven).then_some(true);
    if let Some(maybe) = if ours { data["mayHaveExecuted"].as_bool() } else { in_doubt } {
        told = told.may_have_executed(maybe);
    }
    Err(match hint {
        "" if kind == Kind::AuthDenied => told.remedy(Remedy::ReplaceKey),
        "" => told,
        hint => told.hint(hint),
    })
}
