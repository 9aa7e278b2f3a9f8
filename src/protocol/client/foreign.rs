//! Errors of the service that look like ours.
//!
//! A client tells our errors by `data.source`. Refuses to pass that mark on for an error of the service; every
//! other byte passes as it came.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::protocol::message::Message;
use crate::protocol::object::fields;

/// What marks our errors.
const OURS: &str = "asistry";
/// The value that replaces it in an error of the service.
const THEIRS: &str = r#""service:asistry""#;

/// An error with more marks than this loses its `data`.
const MOST_MARKS: usize = 8;

/// Returns the message, its error no longer marked as ours.
pub(super) fn disowned(mut message: Message) -> Message {
    for _ in 0..MOST_MARKS {
        let Some(part) = mark(&message) else { return message };
        match Message::read(message.with_part(part, THEIRS)) {
            Ok(other) => message = other,
            Err(_) => return message,
        }
    }
    match mark(&message).and(message.error_text()).map(fields) {
        Some(error) => without_data(&message, &error).unwrap_or(message),
        None => message,
    }
}

fn without_data(message: &Message, error: &[(Cow<'_, str>, &RawValue)]) -> Option<Message> {
    let (_, data) = error.iter().find(|(name, _)| name == "data")?;
    Message::read(message.with_part(data.get(), "null")).ok()
}

/// Finds the value that marks an error as ours; a name may occur twice, or be escaped.
fn mark(message: &Message) -> Option<&str> {
    let error = fields(message.error_text()?);
    let data = error.into_iter().filter(|(name, _)| name == "data").flat_map(|(_, data)| fields(data.get()));
    let mut sources = data.filter(|(name, _)| name == "source").map(|(_, value)| value.get());
    sources.find(|value| serde_json::from_str::<Cow<'_, str>>(value).is_ok_and(|value| value == OURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(error: &str) -> String {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        let message = disowned(Message::read(text).unwrap());
        message.error_text().unwrap().to_owned()
    }

    #[test]
    fn an_error_of_the_service_never_bears_our_mark() {
        for (came, passes) in [
            (
                r#"{"code":1,"data":{"source":"asistry","n":1.0}}"#,
                r#"{"code":1,"data":{"source":"service:asistry","n":1.0}}"#,
            ),
            (
                r#"{"data":{"s\u006furce" : "\u0061sistry"}}"#,
                r#"{"data":{"s\u006furce" : "service:asistry"}}"#,
            ),
            (
                r#"{"data":{"source":"asistry","source":"asistry"},"data":{"source":"asistry"}}"#,
                r#"{"data":{"source":"service:asistry","source":"service:asistry"},"data":{"source":"service:asistry"}}"#,
            ),
        ] {
            assert_eq!(passed(came), passes);
        }
        for as_it_is in
            [r#"{"data":{"source":"other"}}"#, r#"{"data":["asistry"]}"#, r#"{"code":1}"#, r#""asistry""#]
        {
            assert_eq!(passed(as_it_is), as_it_is);
        }
    }
}
