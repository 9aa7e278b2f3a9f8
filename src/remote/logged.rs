//! Logs exchanges: one line each at `-v`, headers and sizes at `-vv`.
//!
//! Leaves out queries, and values of headers that could be secret.

use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::protocol::driver::Pause;
use crate::protocol::http::{HttpCall, origin_and_path};

/// Log target of waits for a rate limit.
pub const LIMITED: &str = "asistry::limited";
/// Headers whose values are logged; others are masked.
const SHOWN: &[&str] = &[
    "accept",
    "content-length",
    "content-type",
    "date",
    "mcp-protocol-version",
    "retry-after",
    "server",
    "transfer-encoding",
    "user-agent",
];

const SESSION: &str = "mcp-session-id";

/// A running exchange.
pub(super) struct Exchange {
    method: http::Method,
    place: String,
    attempt: u32,
    begun: Instant,
}

impl Exchange {
    /// Starts an exchange's line; `None` if it would not be logged.
    pub fn begin(call: &HttpCall, attempt: u32, mask: impl Fn(&str) -> String) -> Option<Self> {
        if !tracing::enabled!(tracing::Level::INFO) {
            return None;
        }
        let place = mask(&origin_and_path(&call.url));
        let headers = mask(&shown(&call.headers, |_| true));
        tracing::debug!("{} {place}: sends {} bytes; {headers}", call.method, call.body.len());
        Some(Self { method: call.method.clone(), place, attempt, begun: Instant::now() })
    }

    /// Writes the line: `came` is the status or the error.
    pub fn end(self, came: &str, headers: Option<&HeaderMap>, mask: impl Fn(&str) -> String) {
        let Self { method, place, attempt, begun } = self;
        let (came, took) = (mask(came), begun.elapsed().as_millis());
        tracing::info!("{method} {place} {came} {took} ms, attempt {attempt}");
        if let Some(headers) = headers {
            tracing::debug!("{method} {place}: {}", mask(&shown_of_reply(headers)));
        }
    }
}

/// Logs a wait.
pub(super) fn waits(wait: Duration, why: Pause) {
    if matches!(why, Pause::RateLimit | Pause::Busy) {
        return tracing::info!(target: LIMITED, "waiting {} ms: {why}", wait.as_millis());
    }
    tracing::info!("waiting {} ms: {why}", wait.as_millis());
}

/// As [`shown`]; other headers are only counted, as a service chooses their names.
fn shown_of_reply(headers: &HeaderMap) -> String {
    let is_known = |name: &str| SHOWN.contains(&name) || name == SESSION;
    match headers.keys().filter(|name| !is_known(name.as_str())).count() {
        0 => shown(headers, is_known),
        others => format!("{}; {others} others", shown(headers, is_known)),
    }
}

fn shown(headers: &HeaderMap, is_named: impl Fn(&str) -> bool) -> String {
    let one = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = value.to_str().ok().filter(|_| SHOWN.contains(&name.as_str()) && !value.is_sensitive());
        format!("{name}: {}", value.unwrap_or("MASKED"))
    };
    let named = headers.iter().filter(|(name, _)| is_named(name.as_str()));
    named.map(one).collect::<Vec<_>>().join("; ")
}
