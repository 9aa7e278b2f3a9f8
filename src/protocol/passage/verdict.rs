//! What a failing HTTP status means for the message it answers (the table of statuses, section 6.1).
//!
//! Refuses to decide about retries: it says whether anything may have been processed.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Failure, seconds};
use crate::error::{Error, Kind};
use crate::protocol::http::{self, Head};
use crate::protocol::retry;

/// Whether the service may have acted on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// It is proven that it has not.
    No,
    /// Nobody knows.
    Maybe,
}

/// A reply with a failing status.
pub(super) struct Failing<'a> {
    pub head: &'a Head,
    pub body: &'a Bytes,
    pub wall: SystemTime,
    pub place: &'a str,
}

struct Row {
    status: u16,
    kind: Kind,
    processed: Processed,
    transient: bool,
    says: &'static str,
    hint: &'static str,
}

const fn row(status: u16, kind: Kind, processed: Processed) -> Row {
    Row { status, kind, processed, transient: false, says: "", hint: "" }
}

const fn says(row: Row, says: &'static str, hint: &'static str) -> Row {
    Row { says, hint, ..row }
}

const fn transient(row: Row) -> Row {
    Row { transient: true, ..row }
}

use Processed::{Maybe, No};

const TABLE: &[Row] = &[
    says(
        row(400, Kind::UpstreamHttp, No),
        "refused the request",
        "check the URL and the headers of the profile",
    ),
    says(
        row(401, Kind::AuthDenied, No),
        "does not accept the key",
        "set a valid one in ASISTRY_API_KEY, or replace the stored one: asistry keys rotate -p PROFILE",
    ),
    says(
        row(403, Kind::AuthDenied, No),
        "does not allow this with the key in use",
        "check what the key may do, or use another one",
    ),
    says(row(404, Kind::UpstreamHttp, No), "has no such endpoint", "check the URL of the profile"),
    says(
        row(405, Kind::UpstreamHttp, No),
        "takes no messages at this URL",
        "check the URL, or try --transport sse",
    ),
    says(row(406, Kind::UpstreamHttp, No), "cannot answer in a form we read", "report this to the service"),
    transient(says(row(408, Kind::Timeout, Maybe), "waited too long for the request", "try again")),
    says(row(410, Kind::UpstreamHttp, No), "is gone from this URL", "look for its new address"),
    says(row(413, Kind::UpstreamHttp, No), "finds the request too large", "send less at once"),
    says(row(415, Kind::UpstreamHttp, No), "takes no JSON here", "check the URL of the profile"),
    transient(says(row(425, Kind::UpstreamHttp, Maybe), "wants the request later", "try again")),
    says(row(431, Kind::UpstreamHttp, No), "finds the headers too large", "send fewer --header"),
    says(row(501, Kind::UpstreamHttp, No), "does not offer this", "check the URL of the profile"),
];

/// Returns what a failing reply means.
pub(super) fn failure_of(failing: &Failing<'_>) -> Failure {
    let status = failing.head.status;
    let hint = retry::retry_after(&failing.head.headers, failing.wall);
    if status == 429 || (status == 503 && hint.is_some()) {
        let error = rate_limited(failing.place, hint).http_status(status);
        return Failure { error: traced(error, failing), processed: No, transient: false };
    }
    let other = if status >= 500 {
        transient(says(
            row(status, Kind::UpstreamHttp, Maybe),
            "failed",
            "check whether the call took effect before repeating it",
        ))
    } else {
        says(row(status, Kind::UpstreamHttp, No), "refused the request", "check the URL of the profile")
    };
    let row = TABLE.iter().find(|row| row.status == status).unwrap_or(&other);
    let mut said = format!("{} {} (HTTP {status})", failing.place, row.says);
    let excerpt = http::excerpt(failing.body);
    if !excerpt.is_empty() && !excerpt.starts_with('<') {
        said.push_str(&format!(": “{excerpt}”"));
    }
    let error = Error::new(row.kind, said).hint(row.hint).http_status(status);
    Failure { error: traced(error, failing), processed: row.processed, transient: row.transient }
}

/// Returns the error of a request that was not sent, or was refused, because of a rate limit.
pub(super) fn rate_limited(place: &str, wait: Option<Duration>) -> Error {
    let error = match wait {
        Some(wait) => Error::new(
            Kind::RateLimited,
            format!("{place} limits the rate: it asks to wait {}", seconds(wait)),
        )
        .retry_after(wait)
        .hint(format!("try again then, or allow the wait with --max-wait {}s", wait.as_secs() + 1)),
        None => Error::new(Kind::RateLimited, format!("{place} limits the rate and names no time"))
            .hint("try again later; if the plan is exhausted, waiting does not help"),
    };
    error.may_have_executed(false)
}

fn traced(error: Error, failing: &Failing<'_>) -> Error {
    error.trace_id(http::trace_id(failing.head, failing.body))
}
