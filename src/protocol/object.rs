//! JSON objects, read and written field by field: a value keeps its text, and the fields their order.
//!
//! Refuses to build trees, and to change a value that it was not told to change.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::message::push_quoted;

/// Most objects are no longer.
const USUAL_LENGTH: usize = 512;

/// Returns all fields of an object, in order; none where [`try_fields`] has none.
pub fn fields(object: &str) -> Vec<(Cow<'_, str>, &RawValue)> {
    try_fields(object).unwrap_or_default()
}

/// Returns all fields of an object, in order; `None` for what is no object, and where a name has half a character.
pub fn try_fields(object: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Fields;
    impl<'a> Visitor<'a> for Fields {
        type Value = Vec<(Cow<'a, str>, &'a RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
                fields.push((name.0, value));
            }
            Ok(fields)
        }
    }
    #[derive(serde::Deserialize)]
    #[serde(transparent)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::Deserializer::from_str(object).deserialize_map(Fields).ok()
}

/// Returns the JSON text of the first field of this name.
pub fn value<'a>(fields: &[(Cow<'_, str>, &'a RawValue)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, raw)| raw.get())
}

/// Returns the string that a JSON text is; a copy only where it has escapes.
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw).ok().map(|text| text.0)
}

/// Returns true if any field of this name equals the text, however it is escaped.
pub fn says(fields: &[(Cow<'_, str>, &RawValue)], name: &str, text: &str) -> bool {
    fields.iter().any(|(key, raw)| key == name && string(raw.get()).is_some_and(|said| said == text))
}

/// Writes an object of these names and JSON texts.
pub fn object<'a>(fields: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str> + 'a)>) -> String {
    extended("{}", fields)
}

/// Writes an object, as [`object`] wrote it, with more fields at its end.
pub fn extended<'a>(
    object: &str,
    fields: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str> + 'a)>,
) -> String {
    let mut text = String::with_capacity(object.len() + USUAL_LENGTH);
    text.push_str(object.strip_suffix('}').unwrap_or(object));
    for (name, value) in fields {
        if text.len() > 1 {
            text.push(',');
        }
        push_quoted(&mut text, name.as_ref());
        text.push(':');
        text.push_str(value.as_ref());
    }
    text.push('}');
    text
}
