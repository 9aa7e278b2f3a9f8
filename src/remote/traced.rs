//! Records an exchange in a trace: the request before signing, the response as received.
//!
//! Leaves out session ids, which would let a reader take over the session.

use bytes::Bytes;

use super::Remote;
use crate::protocol::effect::Tag;
use crate::protocol::http::{Head, HttpCall};
use crate::protocol::sse::Event;

/// Headers that matter for a replay.
const SHOWN: &[&str] = &["content-type", "retry-after", "location"];

impl Remote {
    pub(super) fn trace_call(&self, tag: Tag, call: &HttpCall) {
        let Some(trace) = &self.trace else { return };
        let who = format!("service receives {}.{} {}", tag.ticket.number, tag.attempt, call.method);
        trace.line(&who, if call.body.is_empty() { b"-" } else { &call.body });
    }

    pub(super) fn trace_head(&self, tag: Tag, head: &Head) {
        if self.trace.is_none() {
            return;
        }
        let mut shown: Vec<String> = Vec::new();
        let value = |name: &&str| Some(format!("{name}: {};", without_query(head.header(*name)?)));
        shown.extend(SHOWN.iter().filter_map(value));
        shown.extend(head.header("mcp-session-id").map(|_| "mcp-session-id: MASKED;".to_owned()));
        self.trace_reply(tag, &head.status.to_string(), shown.join(" ").as_bytes());
    }

    pub(super) fn trace_body(&self, tag: Tag, body: &Bytes) {
        self.trace_reply(tag, "body", body);
    }

    pub(super) fn trace_event(&self, tag: Tag, event: &Event) {
        if self.trace.is_none() {
            return;
        }
        let mut what = "event".to_owned();
        let mut field = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                what.push_str(&format!(" {name}={}", value.replace(char::is_whitespace, "_")));
            }
        };
        field("id", event.id.clone());
        field("retry", event.retry.map(|retry| retry.as_millis().to_string()));
        field("name", Some(event.name.clone()));
        // The endpoint event of HTTP+SSE contains the session id (SSE-2).
        let endpoint = (event.name == "endpoint").then(|| String::from_utf8_lossy(&event.data));
        let shown = endpoint.as_deref().map(without_query);
        self.trace_reply(tag, &what, shown.as_deref().map_or(&event.data[..], str::as_bytes));
    }

    pub(super) fn trace_end(&self, tag: Tag, how: &str) {
        self.trace_reply(tag, how, b"");
    }

    fn trace_reply(&self, tag: Tag, what: &str, text: &[u8]) {
        if let Some(trace) = &self.trace {
            trace.line(&format!("service replies {}.{} {what}", tag.ticket.number, tag.attempt), text);
        }
    }
}

/// Masks the query of a URL, which may contain a session id or a token.
fn without_query(address: &str) -> String {
    match address.split_once('?') {
        Some((path, _)) => format!("{path}?MASKED"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_in_a_query_is_masked() {
        assert_eq!(without_query("/messages?session=7"), "/messages?MASKED");
        assert_eq!(without_query("/messages"), "/messages");
    }
}
