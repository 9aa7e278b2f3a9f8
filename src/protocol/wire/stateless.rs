//! Streamable HTTP of 2026-07-28: POST only, with headers that repeat what the body says (section 4).
//!
//! Refuses session ids and streams of the service's own (MOD-5).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::ToolHeaders;
use crate::protocol::http::{HttpCall, Signing};
use crate::protocol::message::Message;
use crate::protocol::object::string;

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The wire of 2026-07-28.
#[derive(Clone, Debug)]
pub struct Stateless {
    url: Arc<Url>,
    post: HeaderMap,
}

/// The fields that headers repeat, whatever their types: an extension may use these names for something else.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, rename = "taskId")]
    task: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

impl Stateless {
    /// Speaks to this endpoint.
    pub fn new(url: Arc<Url>) -> Self {
        let mut post = HeaderMap::with_capacity(8);
        post.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        post.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Self { url, post }
    }

    /// Returns the POST of a request; `body` is its text under the id that the service sees.
    pub fn post(&self, message: &Message, body: Bytes, tools: &ToolHeaders) -> HttpCall {
        let params: Params =
            message.params().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
        let name = match message.method() {
            "tools/call" | "prompts/get" => params.name,
            "resources/read" => params.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => params.task,
            _ => None,
        };
        let name = name.and_then(|raw| string(raw.get()));
        let meta: Meta = params.meta.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let mut headers = self.post.clone();
        if let ("tools/call", Some(name)) = (message.method(), &name) {
            tools.add(name, params.arguments, &mut headers);
        }
        let values = [
            (VERSION, meta.version),
            (METHOD, Some(Cow::Borrowed(message.method()))),
            (NAME, name.map(|name| Cow::Owned(encoded(&name)))),
        ];
        for (header, value) in values {
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
                headers.insert(header, value);
            }
        }
        HttpCall {
            method: http::Method::POST,
            url: self.url.clone(),
            headers: headers.into(),
            body,
            signing: Signing::default(),
        }
    }
}

/// Returns a text as the value of a header: as it is, or in the sentinel form of section 4 (T-15).
pub(super) fn encoded(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'));
    let is_padded = text.trim_matches([' ', '\t']) != text;
    let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
    match is_plain && !is_padded && !looks_encoded && !text.is_empty() {
        true => text.to_owned(),
        false => format!("=?base64?{}?=", STANDARD.encode(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_a_header_cannot_hold_is_encoded() {
        let vectors = [
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("us west 1", "us west 1"),
            ("", "=?base64??="),
        ];
        for (text, header) in vectors {
            assert_eq!(encoded(text), header);
        }
    }
}
