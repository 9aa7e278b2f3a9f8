//! Messages that asistry writes: where their parts are is known without a look at the text.
//!
//! Refuses to check what it is given: JSON texts that were read before, on one line.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{Id, Kind, Message, Method, quote};
use crate::error::{Error, Executed};

/// Capacity for the id, the method and the names of the fields; most messages need no more.
const FRAME: usize = 80;

/// The parts of a message; all but the id as JSON text.
#[derive(Default)]
struct Parts<'a> {
    id: Option<&'a Id>,
    method: Option<&'a str>,
    params: Option<&'a str>,
    result: Option<&'a str>,
    error: Option<&'a str>,
}

impl Message {
    /// Makes a request.
    pub fn request(id: &Id, method: &str, params: Option<&str>) -> Self {
        let parts = Parts { id: Some(id), method: Some(method), params, ..Parts::default() };
        Self::ours(Kind::Request, &parts)
    }

    /// Makes a notification.
    pub fn notification(method: &str, params: Option<&str>) -> Self {
        Self::ours(Kind::Notification, &Parts { method: Some(method), params, ..Parts::default() })
    }

    /// Makes a response with a result.
    pub fn result(id: &Id, result: &str) -> Self {
        Self::ours(Kind::Response, &Parts { id: Some(id), result: Some(result), ..Parts::default() })
    }

    /// Makes the response that carries one of asistry's errors (shared table of codes in
    /// `error.rs`, fields of `data` as the command-line contract lists them).
    pub fn failure(id: &Id, error: &Error) -> Self {
        let details = error.details();
        let mut data = format!(r#"{{"source":"asistry","kind":{}"#, quote(error.kind().name()));
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(data, r#","{name}":{value}"#);
            }
        };
        add("httpStatus", details.http_status.map(|status| status.to_string()));
        add("retryAfterMs", details.retry_after.map(|wait| wait.as_millis().to_string()));
        add("traceId", details.trace_id.as_deref().map(quote));
        add("mayHaveExecuted", details.executed.map(|executed| (executed == Executed::Maybe).to_string()));
        add("hint", error.advice().map(quote));
        data.push('}');
        let sentence = match error.advice() {
            Some(hint) => format!("{}: {hint}", error.message()),
            None => error.message().to_owned(),
        };
        let (code, sentence) = (error.kind().json_rpc_code(), quote(&sentence));
        Self::error(id, &format!(r#"{{"code":{code},"message":{sentence},"data":{data}}}"#))
    }

    /// Makes a response with a JSON-RPC error.
    pub fn refusal(id: &Id, code: i64, why: &str) -> Self {
        Self::error(id, &format!(r#"{{"code":{code},"message":{}}}"#, quote(why)))
    }

    /// Makes a response with an error, a JSON text.
    pub fn error(id: &Id, error: &str) -> Self {
        Self::ours(Kind::Response, &Parts { id: Some(id), error: Some(error), ..Parts::default() })
    }

    fn ours(kind: Kind, parts: &Parts<'_>) -> Self {
        let bodies = [parts.params, parts.result, parts.error];
        let length: usize = bodies.iter().flatten().map(|body| body.len()).sum();
        let mut text = String::with_capacity(FRAME + length);
        text.push_str(r#"{"jsonrpc":"2.0""#);
        let mut push = |name: &str, json: &str| {
            text.push_str(name);
            let start = text.len();
            text.push_str(json);
            start..text.len()
        };
        let id_at = parts.id.map(|id| push(r#","id":"#, &id.json())).unwrap_or_default();
        let method = parts.method.map(|method| {
            let quoted = quote(method);
            let at = push(r#","method":"#, &quoted);
            match quoted.len() == method.len() + 2 {
                true => Method::At(at.start + 1..at.end - 1),
                false => Method::Unescaped(method.to_owned()),
            }
        });
        let params = parts.params.map(|json| push(r#","params":"#, json));
        let result = parts.result.map(|json| push(r#","result":"#, json));
        let error = parts.error.map(|json| push(r#","error":"#, json));
        text.push('}');
        let id = parts.id.cloned();
        let message = Self { kind, id, id_at, method, params, result, error, text: Bytes::from(text) };
        debug_assert_eq!(Self::read(message.text.clone()).as_ref(), Ok(&message));
        message
    }
}
