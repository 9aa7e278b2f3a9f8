//! The meaning of failing HTTP statuses (the table of section 6.1).
//!
//! Refuses to decide about retries: it says whether anything may have been processed.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::http::{self, Head};
use crate::protocol::retry::{self, Why, seconds};

/// A failure, and whether the message may have been processed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to tell the client.
    pub error: Error,
    /// Whether the service may have acted on the message.
    pub executed: Executed,
    /// Whether trying again may help.
    pub cause: Cause,
}

/// How long the cause of a failure is likely to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The same message may succeed soon.
    Transient,
    /// It would fail again.
    Permanent,
}

/// A refusal that comes later than this may be about a message that was executed (LEG-10).
pub const PROMPT: Duration = Duration::from_secs(1);

/// A reply with a failing status.
pub struct Failing<'a> {
    pub head: &'a Head,
    pub body: &'a Bytes,
    pub wall: SystemTime,
    pub place: &'a str,
    pub key: Key,
}

/// Whether the request carried a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// It did, or that is not known.
    Sent,
    /// It did: the token of a login.
    Login,
    /// It did not, and there is none.
    Missing,
}

struct Row {
    kind: Kind,
    executed: Executed,
    cause: Cause,
    says: &'static str,
    remedy: Remedy,
}

fn row(kind: Kind, executed: Executed) -> Row {
    Row { kind, executed, cause: Cause::Permanent, says: "", remedy: Remedy::CheckUrl }
}

fn says(row: Row, says: &'static str, remedy: Remedy) -> Row {
    Row { says, remedy, ..row }
}

fn advice(line: &'static str) -> Remedy {
    Remedy::advice(line)
}

fn transient(row: Row) -> Row {
    Row { cause: Cause::Transient, ..row }
}

use Executed::{Maybe, No};

/// Returns what a failing status means (section 6.1).
fn row_of(status: u16, key: Key) -> Row {
    match status {
        400 => says(
            row(Kind::UpstreamHttp, No),
            "refused the request",
            advice("check the URL and the extra headers"),
        ),
        401 if key == Key::Missing => says(row(Kind::AuthRequired, No), "requires a key", Remedy::ReplaceKey),
        401 if key == Key::Login => {
            says(row(Kind::AuthDenied, No), "does not accept the login", Remedy::Login)
        }
        401 => says(row(Kind::AuthDenied, No), "does not accept the key", Remedy::ReplaceKey),
        403 if key == Key::Login => says(
            row(Kind::AuthDenied, No),
            "does not allow this with the login in use",
            advice("check what the login may do, or log in as somebody else"),
        ),
        403 => says(
            row(Kind::AuthDenied, No),
            "does not allow this with the key in use",
            advice("check what the key may do, or use another one"),
        ),
        404 => says(row(Kind::UpstreamHttp, No), "has no such endpoint", Remedy::CheckUrl),
        405 => says(row(Kind::UpstreamHttp, No), "takes no messages at this URL", Remedy::UseHttpSse),
        406 => says(
            row(Kind::UpstreamHttp, No),
            "cannot answer in a form we read",
            advice("report this to the service"),
        ),
        408 => {
            transient(says(row(Kind::Timeout, Maybe), "waited too long for the request", advice("try again")))
        }
        410 => says(row(Kind::UpstreamHttp, No), "is gone from this URL", advice("look for its new address")),
        413 => says(row(Kind::UpstreamHttp, No), "finds the request too large", advice("send less at once")),
        415 => says(row(Kind::UpstreamHttp, No), "takes no JSON here", Remedy::CheckUrl),
        425 => {
            transient(says(row(Kind::UpstreamHttp, Maybe), "wants the request later", advice("try again")))
        }
        431 => says(
            row(Kind::UpstreamHttp, No),
            "finds the headers too large",
            advice("send fewer or shorter extra headers"),
        ),
        501 => says(row(Kind::UpstreamHttp, Maybe), "does not offer this", Remedy::CheckUrl),
        500.. => transient(says(row(Kind::UpstreamHttp, Maybe), "failed", Remedy::CheckEffect)),
        // Section 6.1: no rule says that such a status proves anything.
        _ => says(
            row(Kind::UpstreamHttp, Maybe),
            "gave no answer of the protocol",
            advice("check whether the call took effect before repeating it, and the URL"),
        ),
    }
}

/// Returns what a failing reply means.
pub fn failure_of(failing: &Failing<'_>) -> Failure {
    let status = failing.head.status;
    let hint = retry::retry_after(&failing.head.headers, failing.wall);
    if status == 429 {
        let error = rate_limited(failing, hint).http_status(status);
        return Failure { error: traced(error, failing), executed: No, cause: Cause::Permanent };
    }
    let row = row_of(status, failing.key);
    let mut said = format!("{} {} (HTTP {status})", failing.place, row.says);
    said.push_str(&quoted(failing.body));
    let mut error = Error::new(row.kind, said).remedy(row.remedy).http_status(status);
    if let Some(wait) = hint {
        error = error.retry_after(wait);
    }
    Failure { error: traced(error, failing), executed: row.executed, cause: row.cause }
}

/// The `--max-wait` to suggest where the service names no time.
const UNHINTED: Duration = Duration::from_secs(300);

/// Returns the error of a request that was not sent: its turn comes too late.
pub fn no_turn(place: &str, why: Why, wait: Duration) -> Error {
    let does = if why == Why::RateLimit { "limits the rate" } else { "is busy" };
    let why = format!("{place} {does}: this request would have its turn in {}", seconds(wait));
    Error::new(Kind::RateLimited, why).retry_after(wait).executed(Executed::No)
}

/// Returns the error of a request that a busy service refused.
pub fn too_busy(failing: &Failing<'_>, wait: Option<Duration>) -> Error {
    let asks = wait.map(|wait| format!(" and asks to wait {}", seconds(wait))).unwrap_or_default();
    let why = format!("{} is busy{asks}{}", failing.place, quoted(failing.body));
    let error = Error::new(Kind::RateLimited, why).http_status(failing.head.status);
    let error = match wait {
        Some(wait) => error.retry_after(wait),
        None => error.remedy(Remedy::AllowWait(UNHINTED)),
    };
    traced(error, failing)
}

/// Returns the error of a request that was refused because of a rate limit.
fn rate_limited(failing: &Failing<'_>, wait: Option<Duration>) -> Error {
    let place = failing.place;
    let error = match wait {
        Some(wait) => Error::new(
            Kind::RateLimited,
            format!("{place} limits the rate: it asks to wait {}", seconds(wait)),
        )
        .retry_after(wait)
        .remedy(Remedy::AllowWait(Duration::from_secs(wait.as_secs() + 1))),
        None => {
            let why = format!("{place} limits the rate and names no time{}", quoted(failing.body));
            Error::new(Kind::RateLimited, why).remedy(Remedy::AllowWait(UNHINTED))
        }
    };
    error.executed(Executed::No)
}

/// Returns the beginning of a body after a colon, unless it is empty or a page.
fn quoted(body: &Bytes) -> String {
    let excerpt = http::excerpt(body);
    let is_quotable = !excerpt.is_empty() && !excerpt.starts_with('<');
    if is_quotable { format!(": “{excerpt}”") } else { String::new() }
}

fn traced(error: Error, failing: &Failing<'_>) -> Error {
    error.trace_id(http::trace_id(failing.head, failing.body))
}
