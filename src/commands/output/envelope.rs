//! Which list is meant in an object that wraps it, such as `{"tasks": […], "total": 3}`.
//!
//! Refuses to take a thing with a list in it for an envelope.

use serde_json::Value;

use crate::commands::call::schema::Schema;

/// Fields of an object that is a thing itself.
const NAMING: [&str; 4] = ["id", "uuid", "title", "name"];
/// Parts of the names of fields that are about pages.
const PAGING: [&str; 3] = ["cursor", "next", "page"];

/// Returns the list that is all there is in an object, else the value.
pub fn sole_list(value: &Value) -> &Value {
    if value.as_object().is_some_and(|fields| fields.len() == 1) { list_in(value) } else { value }
}

/// Returns the only list of objects in an envelope, else the value.
pub fn list_in(value: &Value) -> &Value {
    let Some(fields) = value.as_object() else { return value };
    let is_list = |field: &&Value| field.as_array().is_some_and(|items| items.iter().all(Value::is_object));
    let mut lists = fields.values().filter(is_list);
    let (Some(list), None) = (lists.next(), lists.next()) else { return value };
    // An empty list may as well be one of texts: then a text beside it shows that the object is a thing.
    let is_paging = |name: &str| PAGING.iter().any(|part| name.to_lowercase().contains(part));
    let has_text = || fields.iter().any(|(name, field)| field.is_string() && !is_paging(name));
    let is_empty = list.as_array().is_some_and(Vec::is_empty);
    let is_thing = names_itself(fields.keys().map(String::as_str)) || is_empty && has_text();
    if is_thing { value } else { list }
}

fn names_itself<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| NAMING.contains(&name.to_lowercase().as_str()))
}

/// Returns the names of the fields that a result of this schema can have, where it allows no others.
pub fn fields_of(schema: Schema<'_>) -> Option<Vec<&str>> {
    let one = schema.item().unwrap_or(schema);
    let properties = one.properties();
    let lists = properties.iter().filter_map(|(_, property)| property.item());
    let lists: Vec<Schema<'_>> = lists.filter(|item| !item.properties().is_empty()).collect();
    let meant = match lists.as_slice() {
        [only] if !names_itself(properties.iter().map(|(name, _)| *name)) => *only,
        _ => one,
    };
    let names: Vec<&str> = meant.properties().into_iter().map(|(name, _)| name).collect();
    (!meant.is_open() && !schema.is_cut_off() && !names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_of_an_envelope_is_found() {
        for envelope in [
            json!({"list": [{"id": 1}], "total": 1}),
            json!({"list": [], "total": 0, "nextCursor": "x"}),
            json!({"list": [{"id": 1}], "board": "Home"}),
        ] {
            assert_eq!(list_in(&envelope), &envelope["list"]);
            assert_eq!(sole_list(&envelope), &envelope);
        }
        for thing in [
            json!({"a": [{}], "b": [{}]}),
            json!({"id": 1, "list": [{"a": 1}]}),
            json!({"Title": "x", "list": []}),
            json!({"status": "done", "list": []}),
        ] {
            assert_eq!(list_in(&thing), &thing);
        }
        let sole = json!({"list": [{"a": 1}]});
        assert_eq!(sole_list(&sole), &sole["list"]);
    }
}
