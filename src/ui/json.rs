//! JSON for people: indented, with colours where a terminal shows them.
//!
//! Refuses to hand a control character through: JSON itself escapes most of them, the rest is escaped here.

use std::fmt::Write as _;

use serde_json::Value;

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

/// Returns a text of JSON with the control characters escaped that JSON allows in a string and a terminal
/// obeys (C1).
pub fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() && c != '\n' {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
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
    fn values_are_indented_as_everybody_does() {
        let value = json!({"a": [1, "x\u{9b}\n", null, {}, []], "b": {"c": true}});
        let plain = pretty(&value, false);
        assert_eq!(
            plain,
            "{\n  \"a\": [\n    1,\n    \"x\\u009b\\n\",\n    null,\n    {},\n    []\n  ],\n  \"b\": {\n    \"c\": true\n  }\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), value);
        let mut coloured = pretty(&value, true);
        for code in [NULL, SCALAR, TEXT, NAME, BRACKET, END] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, plain);
    }
}
