//! What an answer of a service says: its result, or a failure of which kind, and whether the call may have run.
//!
//! Refuses to take a failure for proof that nothing ran.

use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Executed, Kind, Remedy, Result};
use crate::protocol::effect::Origin;
use crate::protocol::message::{Message, replace_lone_surrogates};
use crate::ui::json::Json;

/// The services say so with a 401; official SDKs have the same code for a request that took too long.
const REJECTED: i64 = -32001;
/// The services say so with a 429.
const LIMITED: i64 = -32029;
/// The `--max-wait` to suggest where a service limits the rate and names no time.
const LONG_WAIT: Duration = Duration::from_secs(300);

/// Reads the JSON text of an answer.
///
/// # Errors
/// [`Kind::ProtocolViolation`] for what is none.
pub fn parsed(method: &str, text: &str) -> Result<Value> {
    read(text).map_err(|e| nonsense(method, &e))
}

/// As [`parsed`], also of what is nested too deeply to be a value.
///
/// # Errors
/// As [`parsed`].
pub fn parsed_json(method: &str, text: &str) -> Result<Json> {
    let read = Json::read(text).or_else(|_| Json::read(&replace_lone_surrogates(text)));
    read.map_err(|e| nonsense(method, &e))
}

/// Reads JSON, also of a service that cuts a text inside a character.
///
/// # Errors
/// JSON of another shape.
pub fn read<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&replace_lone_surrogates(text)))
}

/// Returns what to tell of an answer that cannot be read.
pub fn nonsense(method: &str, e: &serde_json::Error) -> Error {
    Error::new(Kind::ProtocolViolation, format!("the answer to {method} is not valid: {e}"))
        .hint("report this to the service")
}

/// Returns the JSON text of the result.
///
/// What failed, and whether the call may have run, is taken from the type of the answer and from the HTTP status;
/// of what a service writes into its error, only the code and the sentence count.
///
/// # Errors
/// The service's error, or ours.
pub fn answered(message: &Message, origin: &Origin) -> Result<String> {
    let status = match origin {
        Origin::Ours(error) => {
            return Err((**error).clone().code(error.kind().json_rpc_code().into()));
        }
        Origin::Service { status, .. } => Some(*status).filter(|status| *status >= 400),
        // Clients inside the process never send what the bridge refuses.
        Origin::Bridge => None,
    };
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
    let trace_id = failed.data["traceId"].as_str().map(str::to_owned);
    Err(told(status, failed.code, &failed.message).code(failed.code).trace_id(trace_id))
}

/// Returns the error of a service that answered with an error of its own.
fn told(status: Option<u16>, code: i64, message: &str) -> Error {
    let (kind, remedy) = match (status, code) {
        (Some(401), _) | (None, REJECTED) => (Kind::AuthDenied, Some(Remedy::ReplaceKey)),
        (Some(429), _) => (Kind::RateLimited, Some(Remedy::AllowWait(LONG_WAIT))),
        // It may have run: nothing is to be sent again, however long the wait.
        (None, LIMITED) => (Kind::RateLimited, None),
        _ => (Kind::ServiceError, None),
    };
    let told = match status {
        Some(status) => Error::new(kind, message).http_status(status),
        None => Error::new(kind, message),
    };
    let told = match (kind, status) {
        (Kind::ServiceError, _) => told,
        // A status refuses the request before it runs; a code alone proves nothing.
        (_, Some(_)) => told.executed(Executed::No),
        (_, None) => told.executed(Executed::Maybe),
    };
    match remedy {
        Some(remedy) => told.remedy(remedy),
        None => told,
    }
}
