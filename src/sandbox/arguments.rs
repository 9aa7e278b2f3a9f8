//! A tool's arguments: one table yields both the listed JSON Schema and the check.
//!
//! Converts nothing: text is not read as a number, and unknown arguments are refused.

use super::date;
use serde_json::{Map, Value, json};

/// Describes one argument.
pub(super) struct Param {
    pub name: &'static str,
    pub form: Form,
    pub required: bool,
    pub description: &'static str,
}

/// The type of an argument.
pub(super) enum Form {
    /// Any text.
    Text,
    /// Text with at least one character other than whitespace.
    Filled,
    /// One of these words, and the default.
    Word(&'static [&'static str], Option<&'static str>),
    /// An integer.
    Integer { least: i64, most: i64, default: i64 },
    /// A UUID.
    Uuid,
    /// A positive integer.
    Id,
    /// Any JSON.
    Any,
    /// An ISO-8601 date or date-time.
    Date,
    /// A list of texts.
    Texts,
    /// True or false.
    Flag,
    /// A JSON object.
    Object,
    /// A list of JSON objects.
    Objects,
    /// A form with its own check.
    Own(&'static Shape),
}

/// A form with its own check.
pub(super) struct Shape {
    /// Describes what is expected.
    pub words: &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> Value,
    /// Returns the value in normal form; `None` if it has the wrong form.
    pub read: fn(&Value) -> Option<Value>,
}

impl Param {
    /// Describes an argument that each call needs.
    pub const fn required(name: &'static str, form: Form, description: &'static str) -> Self {
        Self { name, form, required: true, description }
    }

    /// Describes an argument that a call may leave out.
    pub const fn optional(name: &'static str, form: Form, description: &'static str) -> Self {
        Self { name, form, required: false, description }
    }
}

/// Checked arguments with defaults filled in.
#[derive(Debug)]
pub(super) struct Arguments(Map<String, Value>);

impl Arguments {
    /// Checks arguments; the error names the argument and what was expected.
    pub fn check(tool: &str, params: &[Param], mut given: Map<String, Value>) -> Result<Self, String> {
        if let Some(name) = given.keys().find(|name| params.iter().all(|param| param.name != *name)) {
            return Err(unknown(tool, params, name));
        }
        let mut checked = Map::new();
        for param in params {
            match given.remove(param.name) {
                Some(value) => {
                    let value = param.form.read(value).map_err(|value| {
                        format!("`{}` must be {}, not {}", param.name, param.form.words(), shown(&value))
                    })?;
                    checked.insert(param.name.into(), value);
                }
                None if param.required => {
                    return Err(format!("`{}` is required: {}", param.name, param.form.words()));
                }
                None => {
                    if let Some(default) = param.form.default() {
                        checked.insert(param.name.into(), default);
                    }
                }
            }
        }
        Ok(Self(checked))
    }

    /// Returns a text argument or its default.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns an argument as it was given.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns an integer argument or its default.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// Returns a flag.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// Returns an object.
    pub fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.as_object()
    }

    /// Returns a list of objects.
    pub fn objects(&self, name: &str) -> Option<Vec<&Map<String, Value>>> {
        Some(self.0.get(name)?.as_array()?.iter().filter_map(Value::as_object).collect())
    }

    /// Returns all arguments and defaults.
    pub fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns a list argument.
    pub fn texts(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.0.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }
}

/// Returns the JSON Schema of a tool's arguments.
pub(super) fn schema(params: &[Param]) -> Value {
    let mut properties = Map::new();
    for param in params {
        let mut property = param.form.schema();
        property.insert("description".into(), param.description.into());
        properties.insert(param.name.into(), property.into());
    }
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    let required: Vec<_> = params.iter().filter(|param| param.required).map(|param| param.name).collect();
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    schema.insert("additionalProperties".into(), false.into());
    schema.into()
}

impl Form {
    /// Returns the value in normal form, or gives it back if it has the wrong type.
    fn read(&self, value: Value) -> Result<Value, Value> {
        let fits = match (self, &value) {
            (Self::Text, Value::String(_)) => true,
            (Self::Filled, Value::String(text)) => !text.trim().is_empty(),
            (Self::Word(words, _), Value::String(text)) => words.contains(&text.as_str()),
            (Self::Date, Value::String(text)) => date::is_iso_8601(text),
            (Self::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
            (Self::Any, _) => true,
            (Self::Flag, Value::Bool(_)) | (Self::Object, Value::Object(_)) => true,
            (Self::Objects, Value::Array(items)) => items.iter().all(Value::is_object),
            (Self::Id, _) => {
                return whole(&value).filter(|id| *id > 0).map(Value::from).ok_or(value);
            }
            (Self::Uuid, Value::String(text)) => {
                return uuid::Uuid::parse_str(text).map(|id| id.to_string().into()).map_err(|_| value);
            }
            (Self::Integer { least, most, .. }, _) => {
                return whole(&value).filter(|n| (least..=most).contains(&n)).map(Value::from).ok_or(value);
            }
            (Self::Own(shape), _) => return (shape.read)(&value).ok_or(value),
            _ => false,
        };
        if fits { Ok(value) } else { Err(value) }
    }

    fn default(&self) -> Option<Value> {
        match self {
            Self::Word(_, default) => default.map(Value::from),
            Self::Integer { default, .. } => Some((*default).into()),
            _ => None,
        }
    }

    /// Describes what is expected.
    fn words(&self) -> String {
        match self {
            Self::Text => "a string".into(),
            Self::Filled => "a string that is not blank".into(),
            Self::Word(words, _) => format!("one of {}", words.join(", ")),
            Self::Integer { least, most, .. } => format!("an integer from {least} to {most}"),
            Self::Uuid => "a UUID".into(),
            Self::Id => "a positive integer".into(),
            Self::Any => "any JSON".into(),
            Self::Date => "an ISO-8601 date or date-time such as 2026-11-30 or 2026-11-30T17:00:00Z".into(),
            Self::Texts => "an array of strings".into(),
            Self::Flag => "true or false".into(),
            Self::Object => "an object".into(),
            Self::Objects => "an array of objects".into(),
            Self::Own(shape) => shape.words.into(),
        }
    }

    fn schema(&self) -> Map<String, Value> {
        let mut drawn = match self {
            Self::Text => json!({"type": "string"}),
            Self::Filled => json!({"type": "string", "minLength": 1}),
            Self::Word(words, _) => json!({"type": "string", "enum": words}),
            Self::Integer { least, most, .. } => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::Id => json!({"type": "integer", "minimum": 1}),
            Self::Any => json!({}),
            Self::Date => json!({"type": "string", "pattern": date::PATTERN}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Object => json!({"type": "object"}),
            Self::Objects => json!({"type": "array", "items": {"type": "object"}}),
            Self::Own(shape) => (shape.schema)(),
        };
        if let Some(default) = self.default() {
            drawn["default"] = default;
        }
        match drawn {
            Value::Object(schema) => schema,
            _ => Map::new(),
        }
    }
}

/// Reads an integer by the rule of JSON Schema: `10.0` is one, `"10"` is not.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let exact = |n: f64| (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}

fn unknown(tool: &str, params: &[Param], name: &str) -> String {
    let known: Vec<_> = params.iter().map(|param| param.name).collect();
    let takes = if known.is_empty() { "no arguments".into() } else { known.join(", ") };
    format!("{} is not an argument of {tool}, which takes {takes}", shown(&name.into()))
}

/// Formats a value for a message, shortened if long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[Param] = &[
        Param { name: "id", form: Form::Uuid, required: true, description: "" },
        Param {
            name: "limit",
            form: Form::Integer { least: 1, most: 100, default: 50 },
            required: false,
            description: "",
        },
        Param { name: "word", form: Form::Word(&["a", "b"], Some("b")), required: false, description: "" },
    ];

    fn check(given: Value) -> Result<Arguments, String> {
        Arguments::check("tool", PARAMS, given.as_object().unwrap().clone())
    }

    #[test]
    fn defaults_are_filled_in_and_a_uuid_is_written_one_way() {
        let arguments = check(json!({"id": "6F9619FF-8B86-4011-B42D-00C04FC964FF"})).unwrap();
        assert_eq!(arguments.text("id"), Some("6f9619ff-8b86-4011-b42d-00c04fc964ff"));
        assert_eq!(arguments.integer("limit"), Some(50));
        assert_eq!(arguments.text("word"), Some("b"));
    }

    #[test]
    fn a_whole_float_is_an_integer_and_a_text_is_not() {
        let id = "6f9619ff-8b86-4011-b42d-00c04fc964ff";
        assert_eq!(check(json!({"id": id, "limit": 10.0})).unwrap().integer("limit"), Some(10));
        for wrong in [json!("10"), json!(0), json!(101), json!(1.5), json!(null), json!(1e300), json!(true)] {
            let said = check(json!({"id": id, "limit": wrong})).unwrap_err();
            assert!(said.starts_with("`limit` must be an integer from 1 to 100, not "), "{said}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert_eq!(check(json!({})).unwrap_err(), "`id` is required: a UUID");
        assert_eq!(
            check(json!({"ide": 1})).unwrap_err(),
            "\"ide\" is not an argument of tool, which takes id, limit, word"
        );
    }

    #[test]
    fn a_long_value_is_cut_where_a_character_ends() {
        let said = check(json!({"id": "é".repeat(500)})).unwrap_err();
        assert!(said.ends_with('…') && said.chars().count() < 100, "{said}");
    }
}
