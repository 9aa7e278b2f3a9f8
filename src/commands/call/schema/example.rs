//! Arguments that fit a schema, as they are typed into a shell.
//!
//! Refuses to show what our own check refuses. A pattern is left to the service, as in the check.

use serde_json::{Map, Value};

use super::{DEEPEST, Schema};
use crate::commands::remedy::shell_quoted;

/// Arguments longer than this are not shown.
const LONGEST: usize = 2000;

impl Schema<'_> {
    /// Returns the required arguments, else the first one, quoted for a shell, each after a space.
    pub fn typed_example(self) -> String {
        let mut names = self.required();
        if names.is_empty() {
            names.extend(self.properties().first().map(|(name, _)| *name));
        }
        names.dedup();
        let mut all = Map::new();
        for name in names {
            let value = self.property(name).map_or_else(|| Value::from("text"), Self::example);
            all.insert(name.to_owned(), value);
        }
        let whole = || format!(" --args {}", shell_quoted(&Value::Object(all.clone()).to_string()));
        let words: Option<Vec<String>> = all.iter().map(|(name, value)| self.word_for(name, value)).collect();
        let typed = words.map_or_else(whole, |words| words.concat());
        if typed.len() > LONGEST { String::new() } else { typed }
    }

    /// Returns one argument with a value that fits, quoted for a shell, after a space.
    pub fn typed_argument(self, name: &str) -> String {
        let value = self.property(name).map_or_else(|| Value::from("text"), Self::example);
        self.word_for(name, &value)
            .unwrap_or_else(|| format!(" {}", shell_quoted(&format!("{name}:={value}"))))
    }

    /// Returns one argument, unless its name cannot be typed before a `=`.
    fn word_for(self, name: &str, value: &Value) -> Option<String> {
        if name.is_empty() || name.contains('=') || name.ends_with(':') || name.starts_with('-') {
            return None;
        }
        let becomes = |text: &str| self.property(name).map_or_else(|| text.into(), |own| own.read(text));
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Array(items) => match items.as_slice() {
                [Value::String(only)] => Some(only.clone()),
                _ => None,
            },
            _ => None,
        };
        let word = match text.filter(|text| becomes(text) == *value) {
            Some(text) if text.starts_with('@') => format!("{name}=@{text}"),
            Some(text) => format!("{name}={text}"),
            None => format!("{name}:={value}"),
        };
        Some(format!(" {}", shell_quoted(&word)))
    }

    /// Returns a value that fits: one that the schema names, else one made from its type and bounds.
    pub fn example(self) -> Value {
        if self.depth >= DEEPEST || self.is_cut_off() {
            return Value::Null;
        }
        let listed = |word: &str| self.here[word].as_array().into_iter().flatten();
        let named = self.word("const").into_iter().chain(self.word("default"));
        let mut named =
            named.chain(listed("examples")).chain(listed("enum")).filter(|value| !value.is_null());
        if let Some(value) = named.find(|value| self.check(value, "").is_ok()) {
            return value.clone();
        }
        let mut branches = self.alternatives();
        branches.extend(self.branches("allOf"));
        let examples: Vec<Value> = branches.into_iter().map(Self::example).collect();
        let fitting = |value: &&Value| !value.is_null() && self.check(value, "").is_ok();
        if let Some(value) = examples.iter().find(fitting) {
            return value.clone();
        }
        match self.types().into_iter().find(|kind| *kind != "null").or(self.types().first().copied()) {
            Some("integer") => self.number(true),
            Some("number") => self.number(false),
            Some("boolean") => true.into(),
            Some("null") => Value::Null,
            Some("array") => self.array(),
            Some("object") => self.object(),
            None if !self.required().is_empty() => self.object(),
            _ => self.text().into(),
        }
    }

    fn number(self, whole: bool) -> Value {
        let bound = |name: &str| self.here[name].as_f64();
        let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
        let above = |least: f64| ((least / step).floor() + 1.0) * step;
        let below = |most: f64| ((most / step).ceil() - 1.0) * step;
        let mut value = step;
        if let Some(most) = bound("maximum") {
            value = value.min((most / step).floor() * step);
        }
        if let Some(most) = bound("exclusiveMaximum") {
            value = value.min(below(most));
        }
        if let Some(least) = bound("minimum") {
            value = value.max((least / step).ceil() * step);
        }
        if let Some(least) = bound("exclusiveMinimum").filter(|least| value <= *least) {
            value = above(least);
        }
        let fits = |value: &Value| self.check(value, "").is_ok();
        // A narrow range may hold no whole number.
        let middle = (bound("minimum"), bound("maximum"));
        let number = if value.fract() == 0.0 { Value::from(value as i64) } else { Value::from(value) };
        match middle {
            (Some(least), Some(_)) if !whole && !fits(&number) => Value::from(least),
            _ => number,
        }
    }

    fn text(self) -> String {
        let known = match self.word("format").and_then(Value::as_str) {
            Some("date") => "2026-12-31",
            Some("date-time") => "2026-12-31T12:00:00Z",
            Some("time") => "12:00:00Z",
            Some("duration") => "P1D",
            Some("email" | "idn-email") => "ada@example.com",
            Some("uri" | "url" | "iri" | "uri-reference") => "https://example.com/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            Some("hostname") => "example.com",
            Some("ipv4") => "192.0.2.1",
            Some("ipv6") => "2001:db8::1",
            _ => "text",
        };
        let bound = |name: &str| self.here[name].as_u64().and_then(|size| usize::try_from(size).ok());
        let least = bound("minLength").unwrap_or(0).min(LONGEST);
        let most = bound("maxLength").unwrap_or(usize::MAX).max(least);
        known.chars().chain("text".chars().cycle()).take(known.len().max(least).min(most)).collect()
    }

    fn array(self) -> Value {
        let bound = |name: &str| self.here[name].as_u64().and_then(|size| usize::try_from(size).ok());
        let count = bound("minItems").unwrap_or(1).max(1).min(bound("maxItems").unwrap_or(usize::MAX));
        let item = self.items().map_or_else(|| Value::from("text"), Self::example);
        Value::Array(vec![item; count.min(LONGEST)])
    }

    fn object(self) -> Value {
        let value = |name: &str| self.property(name).map_or_else(|| Value::from("text"), Self::example);
        Value::Object(self.required().into_iter().map(|name| (name.to_owned(), value(name))).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Work;
    use super::*;

    #[test]
    fn an_example_of_a_schema_that_contains_itself_ends() {
        let circle = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"$ref": "#"}, "b": {"type": "array", "items": {"$ref": "#"}, "minItems": 3},
        }});
        let work = Work::default();
        assert!(Schema::new(&circle, &work).typed_example().len() <= LONGEST);
    }

    #[test]
    fn arguments_are_typed_as_a_shell_and_our_reading_take_them() {
        for (schema, typed) in [
            (json!({"type": "string"}), " x=text"),
            (json!({"type": "string", "default": "it's"}), r" 'x=it'\''s'"),
            (json!({"type": "string", "default": "@a"}), " x=@@a"),
            (json!({"type": "array", "items": {"type": "string"}}), " x=text"),
            (json!({"type": "array", "items": {"type": "integer"}}), " 'x:=[1]'"),
            (json!({"type": "number", "minimum": 0.25, "maximum": 0.5}), " x=0.25"),
            (json!({"type": ["integer", "string"], "default": "5"}), r#" 'x:="5"'"#),
        ] {
            let whole = json!({"properties": {"x": schema}});
            assert_eq!(Schema::new(&whole, &Work::default()).typed_example(), typed, "{schema}");
        }
    }
}
