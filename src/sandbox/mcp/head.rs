//! Parses the request headers that an MCP server needs.
//!
//! Does not look at the body, nor look up keys or sessions.

use super::refusal::Refusal;
use super::revision::{self, Revision};
use crate::sandbox::service::{KeyHeader, Service};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName};

/// The content types that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    pub json: bool,
    pub events: bool,
}

/// Reads the key or the token of a request to the endpoint below `base`.
pub(super) fn key(headers: &HeaderMap, service: &Service, base: &str) -> Result<String, Refusal> {
    let name = match service.key_header {
        KeyHeader::Bearer | KeyHeader::Token(_) => header::AUTHORIZATION,
        KeyHeader::Named(name) => HeaderName::from_static(name),
    };
    let mut values = headers.get_all(name).iter();
    let wrong_key = || Refusal::wrong_key(service, base);
    let first = values.next().ok_or_else(|| Refusal::no_key(service, base))?;
    let (value, None) = (first, values.next()) else { return Err(wrong_key()) };
    let text = value.to_str().map_err(|_| wrong_key())?;
    match text.split_once(' ') {
        _ if matches!(service.key_header, KeyHeader::Named(_)) => Ok(text.trim().to_owned()),
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(key.trim().to_owned()),
        _ => Err(wrong_key()),
    }
}

/// Parses `Accept`; without it, JSON is accepted.
pub(super) fn accepts(headers: &HeaderMap) -> Accepts {
    let mut accepts = Accepts { json: false, events: false };
    let mut named = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let kind = parts.next().unwrap_or_default();
            named |= !kind.is_empty();
            let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
            accepts.json |= !refused && matches!(&*kind, "application/json" | "application/*" | "*/*");
            accepts.events |= !refused && matches!(&*kind, "text/event-stream" | "text/*");
        }
    }
    if named { accepts } else { Accepts { json: true, events: false } }
}

/// Parses `MCP-Protocol-Version`; refuses a revision that is unknown, or later than the newest.
pub(super) fn named_revision(
    headers: &HeaderMap,
    newest: &str,
) -> Result<Option<&'static Revision>, Refusal> {
    let Some(date) = text(headers, "mcp-protocol-version") else { return Ok(None) };
    let is_known = |revision: &&Revision| revision.date <= newest;
    revision::find(date).filter(is_known).map(Some).ok_or_else(|| {
        let known: Vec<_> = revision::ALL.iter().filter(is_known).map(|revision| revision.date).collect();
        Refusal::invalid(format!("MCP-Protocol-Version must be one of {}", known.join(", ")))
    })
}

/// Refuses a content type other than JSON: web pages can send text and forms to any origin.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = text(headers, "content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"))
}

/// Returns a header's value; a value that is not text becomes one that matches nothing.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_accept(values: &[&str]) -> Accepts {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        accepts(&headers)
    }

    #[test]
    fn events_are_taken_only_by_who_names_them() {
        let (json, events) = (Accepts { json: true, events: false }, Accepts { json: false, events: true });
        let both = Accepts { json: true, events: true };
        for (values, expected) in [
            (&[][..], json),
            (&["*/*"], json),
            (&["application/json"], json),
            (&["text/event-stream"], events),
            (&["application/json, text/event-stream"], both),
            (&["application/json", "Text/Event-Stream"], both),
            (&["text/event-stream;q=0.5, */*;q=0.1"], both),
            (&["application/json, text/event-stream;q=0"], json),
            (&["text/html"], Accepts { json: false, events: false }),
        ] {
            assert_eq!(with_accept(values), expected, "{values:?}");
        }
    }
}
