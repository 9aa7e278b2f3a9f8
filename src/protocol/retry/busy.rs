//! Replies that say that a service is busy, as its data declares them.
//!
//! Refuses to take a request that succeeded for one that was refused.

use std::time::Duration;

use serde::Deserialize;

use super::{Refusal, Why, read_seconds};
use crate::protocol::object::{fields, string, value};

/// A reply that only says that a service is busy is no longer than this (bytes).
const LONGEST: usize = 16 * 1024;

/// The replies with which a service says that it is busy and that the request did not run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Busy {
    /// The statuses that say it.
    pub statuses: Vec<u16>,
    /// The errors that say it.
    pub errors: Vec<String>,
    /// Where a JSON object has its error: names of fields, separated by dots.
    pub fields: Vec<String>,
    /// Where it has the seconds to wait.
    pub seconds: Vec<String>,
}

impl Busy {
    /// Says whether a reply with a status of 2xx can say it.
    pub fn is_in_bodies(&self) -> bool {
        !self.errors.is_empty() && !self.fields.is_empty()
    }

    /// Reads a whole reply, whose headers may name a time to wait. One with a status of 2xx says it only beside
    /// `"success": false`; a status alone, which may be a gateway's for what is running, says nothing.
    pub fn in_reply(&self, status: u16, hint: Option<Duration>, body: &[u8]) -> Option<Refusal> {
        let object = json(body);
        let has_failed = value(&fields(object), "success");
        let is_said = match status {
            200..300 => has_failed == Some("false") && self.is_said_in(object),
            _ => {
                let is_own = has_failed == Some("false") || hint.is_some();
                (self.statuses.contains(&status) && is_own) || self.is_said_in(object)
            }
        };
        (is_said && has_failed != Some("true")).then(|| self.refusal(object))
    }

    /// Reads the record of a stream.
    pub fn in_record(&self, record: &[u8]) -> Option<Refusal> {
        let object = json(record);
        self.is_said_in(object).then(|| self.refusal(object))
    }

    fn is_said_in(&self, object: &str) -> bool {
        let error = |path: &String| at(object, path).and_then(string);
        self.fields.iter().filter_map(error).any(|error| self.errors.iter().any(|known| *known == error))
    }

    fn refusal(&self, object: &str) -> Refusal {
        let seconds = |path: &String| read_seconds(at(object, path)?.trim_matches('"'));
        Refusal { why: Why::Busy, hint: self.seconds.iter().find_map(seconds) }
    }
}

/// Says whether the record of a stream shows that the request runs: by its progress, or its status.
pub fn tells_progress(record: &[u8]) -> bool {
    let record = fields(json(record));
    let status = value(&record, "status").and_then(string).unwrap_or_default();
    value(&record, "progress").is_some() || !matches!(&*status, "" | "started" | "queued" | "pending")
}

fn json(body: &[u8]) -> &str {
    let text = if body.len() <= LONGEST { std::str::from_utf8(body) } else { Ok("") };
    text.unwrap_or_default().trim()
}

fn at<'a>(object: &'a str, path: &str) -> Option<&'a str> {
    path.split('.').try_fold(object, |object, name| value(&fields(object), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Busy {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Busy {
            statuses: vec![503],
            errors: list(&["server_busy"]),
            fields: list(&["error", "error.code"]),
            seconds: list(&["retryAfterSeconds", "error.retryAfterSeconds"]),
        }
    }

    #[test]
    fn busy_is_read_where_it_is_declared() {
        let read = |status, body: &str| busy().in_reply(status, None, body.as_bytes()).map(|busy| busy.hint);
        let two = Some(Some(Duration::from_secs(2)));
        for body in [
            r#"{"success":false,"error":"server_busy","retryAfterSeconds":2}"#,
            r#"{"success":false,"error":{"code":"server_busy","retryAfterSeconds":"2"}}"#,
        ] {
            assert_eq!(read(200, body), two, "{body}");
            assert_eq!(read(503, body), two, "{body}");
            assert_eq!(busy().in_record(body.as_bytes()).map(|busy| busy.hint), two, "{body}");
        }
        let hint = Some(Duration::from_secs(1));
        for body in ["", "<html>", r#"{"detail":"x"}"#] {
            assert_eq!(read(503, body), None, "{body}");
            assert!(busy().in_reply(503, hint, body.as_bytes()).is_some(), "{body}");
        }
        assert_eq!(read(503, r#"{"success":false,"error":"late"}"#), Some(None));
    }

    #[test]
    fn what_may_have_run_is_not_busy() {
        for (status, body) in [
            (200, r#"{"success":true,"data":{},"error":"server_busy"}"#),
            (503, r#"{"success":true,"data":{}}"#),
            (200, r#"{"error":"server_busy"}"#),
            (200, r#"{"success":false,"error":"the server_busy flag"}"#),
            (200, r#"{"success":false,"data":{"error":"server_busy"}}"#),
            (500, r#"{"success":false,"error":"no"}"#),
        ] {
            assert_eq!(busy().in_reply(status, None, body.as_bytes()), None, "{body}");
        }
        assert_eq!(Busy::default().in_reply(503, None, b"{}"), None);
    }
}
