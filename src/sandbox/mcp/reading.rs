//! Parses JSON-RPC 2.0 requests.
//!
//! Also refuses what MCP forbids: null or fractional ids, and parameters that are not an object.

use serde_json::{Map, Value};

/// The content of one POST.
#[derive(Debug)]
pub(super) enum Post {
    One(Message),
    Batch(Vec<Message>),
}

/// One message.
#[derive(Debug)]
pub(super) enum Message {
    Request(Request),
    /// A notification or a response, which need no answer.
    Silent,
    /// An invalid message: its id if it can be read, and the reason.
    Invalid(Value, &'static str),
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub id: Value,
    pub method: String,
    pub params: Map<String, Value>,
}

impl Post {
    /// Returns the id for an answer to the whole POST.
    pub fn id(&self) -> Value {
        match self {
            Self::One(Message::Request(request)) => request.id.clone(),
            Self::One(Message::Invalid(id, _)) => id.clone(),
            _ => Value::Null,
        }
    }
}

/// Parses a body; `None` if it is not JSON.
pub(super) fn read(text: &[u8]) -> Option<Post> {
    Some(match serde_json::from_slice(text).ok()? {
        Value::Array(items) => Post::Batch(items.into_iter().map(message).collect()),
        other => Post::One(message(other)),
    })
}

fn message(value: Value) -> Message {
    let Value::Object(mut fields) = value else {
        return Message::Invalid(Value::Null, "a message is a JSON object");
    };
    let id = fields.remove("id");
    let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_u64();
    let known = id.clone().filter(is_id).unwrap_or_default();
    if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Message::Invalid(known, "`jsonrpc` must be \"2.0\"");
    }
    let method = match fields.remove("method") {
        Some(Value::String(method)) => method,
        Some(_) => return Message::Invalid(known, "`method` must be a string"),
        None if fields.contains_key("result") || fields.contains_key("error") => return Message::Silent,
        None => return Message::Invalid(known, "a request has a `method`"),
    };
    let params = match fields.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Message::Invalid(known, "`params` must be an object"),
    };
    match id {
        None => Message::Silent,
        Some(id) if is_id(&id) => Message::Request(Request { id, method, params }),
        Some(_) => Message::Invalid(Value::Null, "`id` must be a string or an integer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were() {
        for id in ["0", "-1", "9007199254740993", "\"0\"", "\"\"", "18446744073709551615"] {
            let post = read(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).as_bytes()).unwrap();
            assert!(matches!(post, Post::One(Message::Request(_))), "{id}");
            assert_eq!(post.id().to_string(), id);
        }
    }

    #[test]
    fn what_is_no_request_says_why_and_keeps_a_usable_id() {
        for (text, id) in [
            (r#"{"id":1,"method":"ping"}"#, "1"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "1"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "null"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "null"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "null"),
            (r#"{"jsonrpc":"2.0","id":"a","method":7}"#, "\"a\""),
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":[]}"#, "\"a\""),
            (r#"{"jsonrpc":"2.0","id":"a"}"#, "\"a\""),
            ("7", "null"),
            ("null", "null"),
        ] {
            let post = read(text.as_bytes()).unwrap();
            assert!(matches!(post, Post::One(Message::Invalid(..))), "{text}: {post:?}");
            assert_eq!(post.id().to_string(), id, "{text}");
        }
    }

    #[test]
    fn notifications_and_responses_want_no_answer() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#,
        ] {
            assert!(matches!(read(text.as_bytes()), Some(Post::One(Message::Silent))), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_json_is_nothing() {
        for text in ["", "{", "\u{feff}{}", "{} {}", "\u{0}"] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
