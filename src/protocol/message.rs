//! One JSON-RPC message, read shallowly, that keeps its original text.
//!
//! Refuses to build trees: an id, a method and the places of `params`, `result` and `error` are all
//! that is known of a message; everything else is carried as it came.

mod ours;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// JSON-RPC: the text is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: the JSON is no request.
pub const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: nothing of this name is known.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: the parameters do not fit.
pub const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC: the peer could not handle the request.
pub const INTERNAL_ERROR: i64 = -32603;

/// MCP up to 2025-11-25: a resource is not there.
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// MCP 2025-11-25: a URL must be opened first.
pub const URL_NEEDED: i64 = -32042;

/// MCP 2026-07-28: a header is missing, or says something else than the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28: the request needs a capability that it does not declare.
pub const MISSING_CAPABILITY: i64 = -32021;
/// MCP 2026-07-28: the version is not served.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// The largest integer that every JSON reader keeps exactly (RFC 8259 section 6).
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// A request id with its JSON type: `1` is not `"1"` (STD-5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    /// An integer that every JSON reader keeps exactly.
    Integer(i64),
    /// A string, unescaped.
    Text(Arc<str>),
    /// Any other number, as it was written: a peer may hand it back changed.
    Odd(Arc<str>),
}

impl Id {
    fn read(raw: &str) -> Option<Self> {
        match raw.as_bytes().first()? {
            b'"' => Some(Self::Text(unquote(raw)?.into())),
            b'-' | b'0'..=b'9' => Some(match raw.parse::<i64>() {
                Ok(n) if n.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs() && raw != "-0" => {
                    Self::Integer(n)
                }
                _ => Self::Odd(raw.into()),
            }),
            _ => None,
        }
    }

    /// Says whether a peer can be trusted to hand this id back unchanged.
    pub fn is_portable(&self) -> bool {
        !matches!(self, Self::Odd(_))
    }

    /// Says whether this is the other id in another JSON type: some services answer `"1"` to `1`.
    pub fn resembles(&self, other: &Self) -> bool {
        self == other || self.bare() == other.bare()
    }

    /// Returns the id without its JSON type.
    pub fn bare(&self) -> Cow<'_, str> {
        match self {
            Self::Integer(n) => n.to_string().into(),
            Self::Text(text) | Self::Odd(text) => Cow::Borrowed(text),
        }
    }

    /// Returns how many bytes it takes beside its place.
    pub fn size(&self) -> usize {
        match self {
            Self::Integer(_) => 0,
            Self::Text(text) | Self::Odd(text) => text.len(),
        }
    }

    /// Returns the id as JSON text.
    pub fn json(&self) -> String {
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Text(text) => quote(text),
            Self::Odd(raw) => raw.to_string(),
        }
    }
}

/// The kind of a message, by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method and no id.
    Notification,
    /// Has a result or an error.
    Response,
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No JSON: `-32700`.
    Json(String),
    /// JSON, but no JSON-RPC message: `-32600`; the id if there was a usable one.
    Shape(Option<Id>, &'static str),
}

/// One or many messages, as a line or a body may hold (batches: 2025-03-26).
#[derive(Debug)]
pub enum Frame {
    /// A single message.
    One(Message),
    /// A JSON array: each element for itself.
    Batch(Vec<Result<Message, Malformed>>),
}

/// One JSON-RPC message with its original text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    text: Bytes,
    kind: Kind,
    id: Option<Id>,
    id_at: Range<usize>,
    method: Option<Method>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
    error: Option<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Method {
    At(Range<usize>),
    Unescaped(String),
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A field that is there, even if it is null: a null result is a result, and a null id is no id.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl Frame {
    /// Reads a line or a body; surrounding white space and a byte-order mark are dropped and raw
    /// line breaks between tokens become spaces, so that the text fits on one line (STD-1).
    ///
    /// # Errors
    /// [`Malformed`] where the text is no JSON, or JSON of another shape.
    pub fn read(text: Bytes) -> Result<Self, Malformed> {
        let text = on_one_line(trim(text));
        if text.first() != Some(&b'[') {
            return Message::read_trimmed(text).map(Self::One);
        }
        let all = utf8(&text)?;
        let parts: Vec<&RawValue> = serde_json::from_str(all).map_err(|e| Malformed::Json(e.to_string()))?;
        if parts.is_empty() {
            return Err(Malformed::Shape(None, "an empty batch"));
        }
        let read = |part: &&RawValue| Message::read_trimmed(text.slice_ref(part.get().as_bytes()));
        Ok(Self::Batch(parts.iter().map(read).collect()))
    }
}

impl Message {
    /// Reads one message; see [`Frame::read`] for what is tidied.
    ///
    /// # Errors
    /// [`Malformed`] where the text is no single JSON-RPC message.
    pub fn read(text: impl Into<Bytes>) -> Result<Self, Malformed> {
        Self::read_trimmed(on_one_line(trim(text.into())))
    }

    fn read_trimmed(text: Bytes) -> Result<Self, Malformed> {
        let all = utf8(&text)?;
        if text.first() != Some(&b'{') {
            return Err(match serde_json::from_str::<&RawValue>(all) {
                Ok(_) => Malformed::Shape(None, "a message is a JSON object"),
                Err(e) => Malformed::Json(e.to_string()),
            });
        }
        let shape: Shape = serde_json::from_str(all).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => Malformed::Shape(None, "a field occurs twice"),
            _ => Malformed::Json(e.to_string()),
        })?;
        let at = |raw: &RawValue| span(all, raw.get());
        let raw_id = shape.id.filter(|raw| raw.get() != "null");
        let id = raw_id.and_then(|raw| Id::read(raw.get()));
        if raw_id.is_some() && id.is_none() {
            return Err(Malformed::Shape(None, "an id is a string or a number"));
        }
        let method = match shape.method {
            Some(raw) => {
                Some(Method::read(all, raw).ok_or(Malformed::Shape(id.clone(), "a method is a string"))?)
            }
            None => None,
        };
        // Peers of JSON-RPC 1.0 write both, one of them null.
        let result = shape.result.filter(|raw| raw.get() != "null" || shape.error.is_none());
        let kind = match (&method, &id) {
            (Some(_), None) if shape.id.is_some() => {
                return Err(Malformed::Shape(None, "a request id is never null"));
            }
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) => Kind::Notification,
            (None, _) if result.is_some() || shape.error.is_some() => Kind::Response,
            (None, _) => return Err(Malformed::Shape(id, "neither a method nor a result nor an error")),
        };
        Ok(Self {
            kind,
            id_at: raw_id.map(at).unwrap_or_default(),
            id,
            method,
            params: shape.params.map(at),
            result: result.map(at),
            error: shape.error.map(at),
            text,
        })
    }

    /// Returns what the message is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the id of a request or response.
    pub fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// Returns the method of a request or notification, empty for a response.
    pub fn method(&self) -> &str {
        match &self.method {
            Some(Method::At(at)) => self.part(at),
            Some(Method::Unescaped(method)) => method,
            None => "",
        }
    }

    /// Returns the JSON text of `params`.
    pub fn params(&self) -> Option<&str> {
        self.params.as_ref().map(|at| self.part(at))
    }

    /// Returns the JSON text of `result`.
    pub fn result_text(&self) -> Option<&str> {
        self.result.as_ref().map(|at| self.part(at))
    }

    /// Returns the length of `result` in bytes, without a look at it.
    pub fn result_len(&self) -> Option<usize> {
        self.result.as_ref().map(ExactSizeIterator::len)
    }

    /// Returns the JSON text of `error`.
    pub fn error_text(&self) -> Option<&str> {
        self.error.as_ref().map(|at| self.part(at))
    }

    /// Returns the original text, on one line.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Returns a copy that shares no memory with this message: its text may be part of a larger buffer, which is held
    /// as long as the text is.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self { text: Bytes::copy_from_slice(&self.text), ..self.clone() }
    }

    /// Returns the text under another id; a copy only where the id differs.
    #[must_use]
    pub fn text_with_id(&self, id: &Id) -> Bytes {
        if self.id.as_ref() == Some(id) {
            return self.text.clone();
        }
        if self.id_at.is_empty() {
            // A response without an id, or with a null one: the id becomes the first field.
            return self.without_id_then(id);
        }
        self.spliced(&self.id_at, &id.json())
    }

    fn without_id_then(&self, id: &Id) -> Bytes {
        let body = match (&self.result, &self.error) {
            (Some(at), _) => format!(r#""result":{}"#, self.part(at)),
            (None, Some(at)) => format!(r#""error":{}"#, self.part(at)),
            (None, None) => String::from(r#""result":{}"#),
        };
        Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{},{body}}}"#, id.json()))
    }

    /// Returns the same message under another id.
    #[must_use]
    pub fn under_id(&self, id: &Id) -> Self {
        Self::read_trimmed(self.text_with_id(id)).unwrap_or_else(|_| self.clone())
    }

    /// Returns the text with one part, a slice of this message's own text, written anew.
    #[must_use]
    pub fn with_part(&self, part: &str, instead: &str) -> Bytes {
        self.spliced(&span(self.as_str(), part), instead)
    }

    fn spliced(&self, at: &Range<usize>, instead: &str) -> Bytes {
        let mut text = Vec::with_capacity(self.text.len() - at.len() + instead.len());
        text.extend_from_slice(&self.text[..at.start]);
        text.extend_from_slice(instead.as_bytes());
        text.extend_from_slice(&self.text[at.end..]);
        Bytes::from(text)
    }

    fn as_str(&self) -> &str {
        // `read_trimmed` has checked the whole text once.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    fn part(&self, at: &Range<usize>) -> &str {
        // A range of a JSON value inside a text that was checked to be UTF-8.
        std::str::from_utf8(&self.text[at.clone()]).unwrap_or_default()
    }
}

impl Method {
    fn read(all: &str, raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        if !text.starts_with('"') {
            return None;
        }
        if text.contains('\\') {
            return serde_json::from_str(text).ok().map(Self::Unescaped);
        }
        let at = span(all, text);
        Some(Self::At(at.start + 1..at.end - 1))
    }
}

/// Returns the request id that a `notifications/cancelled` names, raw and read.
pub fn cancelled_id(message: &Message) -> Option<(&str, Id)> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "requestId")]
        request_id: &'a RawValue,
    }
    let params: Params = serde_json::from_str(message.params()?).ok()?;
    let raw = params.request_id.get();
    Some((raw, Id::read(raw)?))
}

/// Returns a string as JSON text.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    push_quoted(&mut quoted, text);
    quoted
}

/// Adds a string as JSON text to the end of another one; most need no escapes.
pub fn push_quoted(to: &mut String, text: &str) {
    let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if is_plain {
        to.push('"');
        to.push_str(text);
        return to.push('"');
    }
    to.push_str(&serde_json::Value::from(text).to_string());
}

/// Replaces unpaired surrogate escapes with U+FFFD. JavaScript writes one where a text was cut inside an emoji, and
/// serde_json refuses the whole text for it (RFC 8259 section 8.2).
pub fn replace_lone_surrogates(json: &str) -> String {
    let unit = |text: &str| u16::from_str_radix(text.get(..6)?.strip_prefix("\\u")?, 16).ok();
    let (mut whole, mut rest) = (String::with_capacity(json.len()), json);
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        whole.push_str(&rest[..at]);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        whole.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    whole.push_str(rest);
    whole
}

fn unquote(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

fn utf8(text: &Bytes) -> Result<&str, Malformed> {
    std::str::from_utf8(text)
        .map_err(|e| Malformed::Json(format!("invalid UTF-8 at byte {}", e.valid_up_to())))
}

/// Returns the range of `part`, a slice of `all`, in it.
fn span(all: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(all.as_ptr() as usize);
    debug_assert!(start + part.len() <= all.len());
    start..start + part.len()
}

fn trim(mut text: Bytes) -> Bytes {
    if text.starts_with(b"\xef\xbb\xbf") {
        text = text.slice(3..);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    text.slice(start..end)
}

/// JSON allows raw line breaks only between tokens, where a space means the same.
pub fn on_one_line(text: Bytes) -> Bytes {
    let Some(first) = memchr::memchr2(b'\n', b'\r', &text) else { return text };
    let mut text = text.try_into_mut().unwrap_or_else(|shared| bytes::BytesMut::from(&shared[..]));
    for byte in &mut text[first..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Message {
        Message::read(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn an_id_keeps_its_json_type() {
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#).id(), Some(&Id::Integer(0)));
        assert_eq!(read(r#"{"id":"1","method":"ping"}"#).id(), Some(&Id::Text("1".into())));
        assert_eq!(read(r#"{"id":9007199254740993,"method":"a"}"#).id().unwrap().json(), "9007199254740993");
        assert!(!read(r#"{"id":1.0,"method":"a"}"#).id().unwrap().is_portable());
    }

    #[test]
    fn the_text_survives_and_stands_on_one_line() {
        let message =
            read("\u{feff} {\n \"id\" : 7,\r\n\"result\":{\"big\":18446744073709551616123,\"n\":1.50}}\n");
        assert_eq!(
            message.text(),
            &Bytes::from_static(br#"{  "id" : 7,  "result":{"big":18446744073709551616123,"n":1.50}}"#)
        );
        assert_eq!(
            message.text_with_id(&Id::Text("x\"y".into())),
            &br#"{  "id" : "x\"y",  "result":{"big":18446744073709551616123,"n":1.50}}"#[..]
        );
    }

    #[test]
    fn a_null_or_absent_id_of_an_error_is_filled_in() {
        for text in [r#"{"jsonrpc":"2.0","error":{"code":1},"id":null}"#, r#"{"error":{"code":1}}"#] {
            let text = read(text).text_with_id(&Id::Integer(5));
            assert_eq!(text, r#"{"jsonrpc":"2.0","id":5,"error":{"code":1}}"#);
        }
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        assert!(matches!(Message::read("{"), Err(Malformed::Json(_))));
        assert!(matches!(Message::read("{\"id\":1,\"method\":\"\u{1}\"}"), Err(Malformed::Json(_))));
        assert!(matches!(Message::read("17"), Err(Malformed::Shape(None, _))));
        assert!(matches!(Message::read(r#"{"id":{},"method":"a"}"#), Err(Malformed::Shape(None, _))));
        assert!(matches!(Message::read(r#"{"id":3}"#), Err(Malformed::Shape(Some(Id::Integer(3)), _))));
        assert!(matches!(Message::read(r#"{"id":null,"method":"a"}"#), Err(Malformed::Shape(None, _))));
        assert!(matches!(Message::read(&b"{\"id\":1,\"method\":\"\xff\"}"[..]), Err(Malformed::Json(_))));
    }

    #[test]
    fn a_null_result_is_a_result_and_a_null_beside_an_error_is_none() {
        let message = read(r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        assert_eq!((message.kind(), message.result_text()), (Kind::Response, Some("null")));
        let message = read(r#"{"id":1,"result":null,"error":{"code":1}}"#);
        assert_eq!((message.result_text(), message.error_text()), (None, Some(r#"{"code":1}"#)));
        let message = read(r#"{"id":1,"result":{},"error":null}"#);
        assert_eq!((message.result_text(), message.error_text()), (Some("{}"), None));
    }

    #[test]
    fn a_batch_is_read_element_by_element() {
        let Ok(Frame::Batch(parts)) = Frame::read(Bytes::from_static(b"[{\"id\":1,\"method\":\"a\"}, 3]"))
        else {
            panic!("a batch")
        };
        assert_eq!(parts[0].as_ref().unwrap().method(), "a");
        assert!(parts[1].is_err());
    }

    #[test]
    fn an_escaped_method_is_read() {
        assert_eq!(read(r#"{"method":"tools\/call"}"#).method(), "tools/call");
    }

    proptest::proptest! {
        /// Whatever comes, reading ends; and what is read back under another id differs in nothing else.
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}\":,a-z0-9\\\\ \n\u{0}-\u{1f}\u{e9}]{0,60}") {
            let _ = Frame::read(Bytes::from(text));
        }

        #[test]
        fn an_id_is_spliced_and_nothing_else(id in "[ -~\u{e9}]{0,12}", n in -1_000_000_000_000_000i64..1_000_000_000_000_000) {
            let (text, number) = (Id::Text(id.into()), Id::Integer(n));
            let message = Message::request(&text, "a/b", Some(r#"{"id":1,"x":1.50}"#));
            let there = message.under_id(&number);
            proptest::prop_assert_eq!(there.id(), Some(&number));
            let back = there.under_id(&text);
            proptest::prop_assert_eq!(back.text(), message.text());
        }
    }

    #[test]
    fn half_a_character_takes_no_other_along() {
        for (json, whole) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\ude00\ud83d\ude00\ud83d\ud83d\ude00""#, "\u{fffd}😀\u{fffd}😀"),
            (r#""\\ud83d \n\u00e9\ud83dé""#, "\\ud83d \né\u{fffd}é"),
        ] {
            assert_eq!(unquote(&replace_lone_surrogates(json)).as_deref(), Some(whole), "{json}");
        }
        for broken in ["\\", "\\u", "\\é", "\\ud83", "\\ud83d\\"] {
            replace_lone_surrogates(broken);
        }
    }
}
