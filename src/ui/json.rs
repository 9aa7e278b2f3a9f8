//! JSON for people: indented, with colours where a terminal shows them.
//!
//! Refuses to hand a control character through: JSON itself escapes most of them, the rest is escaped here.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::foreign;

/// serde_json reads values of fewer levels.
const DEEPEST: usize = 128;

/// JSON as a value, or as text where it is nested too deeply to be read as one.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// Read.
    Value(Value),
    /// As it came, without white space.
    Text(String),
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// Text that is not JSON.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text).map(Self::Value).or_else(|e| {
            // Without building a tree it can be nested however deeply.
            let is_json = is_deep(text) && serde_json::from_str::<&RawValue>(text).is_ok();
            if is_json { Ok(Self::Text(compact(text))) } else { Err(e) }
        })
    }

    /// Returns the value; null for a text that is none.
    pub fn value(&self) -> &Value {
        match self {
            Self::Value(value) => value,
            Self::Text(_) => &Value::Null,
        }
    }

    /// Returns the value; a text that is none becomes a string.
    pub fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Text(text) => Value::from(text),
        }
    }

    /// Returns the JSON on one line.
    pub fn line(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(to),
            Self::Text(text) => {
                RawValue::from_string(text.clone()).map_err(serde::ser::Error::custom)?.serialize(to)
            }
        }
    }
}

/// Where a reader of a JSON text is, byte after byte.
#[derive(Debug, Default)]
pub struct Scanner {
    /// How many brackets are open.
    pub depth: usize,
    /// Whether a string is open.
    pub in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// Takes the next byte.
    pub fn take(&mut self, byte: u8) {
        match byte {
            b'[' | b'{' if !self.in_string => self.depth += 1,
            b']' | b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            b'"' if !self.escaped => self.in_string = !self.in_string,
            _ => {}
        }
        self.escaped = self.in_string && byte == b'\\' && !self.escaped;
    }
}

/// Says whether brackets are nested more deeply than serde_json reads into a value.
fn is_deep(json: &str) -> bool {
    let mut scanner = Scanner::default();
    json.bytes().any(|byte| {
        scanner.take(byte);
        scanner.depth >= DEEPEST
    })
}

/// Drops the white space between the tokens of a JSON text.
fn compact(json: &str) -> String {
    let mut scanner = Scanner::default();
    let kept = |c: &char| {
        let keep = scanner.in_string || !c.is_ascii_whitespace();
        // A byte of a longer character is no token.
        scanner.take(u8::try_from(*c).unwrap_or(b'x'));
        keep
    };
    json.chars().filter(kept).collect()
}

/// The colours of `jq`, which people know.
const NULL: &str = "\x1b[1;30m";
const SCALAR: &str = "\x1b[0;39m";
const TEXT: &str = "\x1b[0;32m";
const NAME: &str = "\x1b[34;1m";
const BRACKET: &str = "\x1b[1;39m";
const END: &str = "\x1b[0m";

/// Returns a value, indented by two.
pub fn pretty(value: &Value, coloured: bool) -> String {
    let mut drawing = Drawing { text: String::new(), coloured };
    drawing.value(value, 0);
    drawing.text
}

/// Returns a text of JSON with what JSON allows in a string and no person should meet escaped: control characters
/// that a terminal obeys (C1), and what cannot be seen or turns the direction of the text.
pub fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() && c != '\n' || foreign::is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    foreign::disarmed_json(text)
}

struct Drawing {
    text: String,
    coloured: bool,
}

impl Drawing {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => self.put(NULL, "null"),
            Value::Bool(_) | Value::Number(_) => self.put(SCALAR, &value.to_string()),
            Value::String(_) => self.put(TEXT, &harmless(&value.to_string())),
            Value::Array(items) if items.is_empty() => self.put(BRACKET, "[]"),
            Value::Object(fields) if fields.is_empty() => self.put(BRACKET, "{}"),
            Value::Array(items) => {
                self.put(BRACKET, "[");
                for (at, item) in items.iter().enumerate() {
                    self.line(at > 0, depth + 1);
                    self.value(item, depth + 1);
                }
                self.line(false, depth);
                self.put(BRACKET, "]");
            }
            Value::Object(fields) => {
                self.put(BRACKET, "{");
                for (at, (name, value)) in fields.iter().enumerate() {
                    self.line(at > 0, depth + 1);
                    self.put(NAME, &harmless(&Value::from(name.as_str()).to_string()));
                    self.put(BRACKET, ":");
                    self.text.push(' ');
                    self.value(value, depth + 1);
                }
                self.line(false, depth);
                self.put(BRACKET, "}");
            }
        }
    }

    fn line(&mut self, more: bool, depth: usize) {
        if more {
            self.put(BRACKET, ",");
        }
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n("  ", depth));
    }

    fn put(&mut self, colour: &str, text: &str) {
        if self.coloured {
            self.text.push_str(colour);
            self.text.push_str(text);
            self.text.push_str(END);
        } else {
            self.text.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_nested_too_deeply_stays_a_text() {
        let deep = format!("{}\" a \\\" b \"{}", "[ ".repeat(100_000), "\n]".repeat(100_000));
        let Json::Text(text) = Json::read(&deep).unwrap() else { panic!("a value") };
        assert_eq!(text.len(), 200_000 + 10);
        assert!(text.contains(r#"[" a \" b "]"#));
        assert_eq!(serde_json::to_string(&Json::Text(text.clone())).unwrap(), text);
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(matches!(Json::read(&nested(DEEPEST - 1)), Ok(Json::Value(_))));
        assert!(matches!(Json::read(&nested(DEEPEST)), Ok(Json::Text(_))));
        assert!(Json::read(r#""\ud83d""#).is_err());
        assert!(Json::read("[1,").is_err() && Json::read(&deep[1..]).is_err());
        assert_eq!(Json::read("[1]").unwrap(), Json::Value(json!([1])));
    }

    #[test]
    fn values_are_indented_as_everybody_does() {
        let value = json!({"a": [1, "x\u{9b}\u{202e}\u{e0001}\n", null, {}, []], "b": {"c": true}});
        let plain = pretty(&value, false);
        assert_eq!(
            plain,
            "{\n  \"a\": [\n    1,\n    \"x\\u009b\\u202e\\udb40\\udc01\\n\",\n    null,\n    {},\n    []\n  ],\n  \"b\": {\n    \"c\": true\n  }\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), value);
        let mut coloured = pretty(&value, true);
        for code in [NULL, SCALAR, TEXT, NAME, BRACKET, END] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, plain);
    }
}
