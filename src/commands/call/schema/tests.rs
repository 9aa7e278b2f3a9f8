//! How a schema reads texts, and what it refuses.

use serde_json::json;

use super::*;

fn read(schema: &Value, text: &str) -> Value {
    Schema::new(schema, &Work::default()).read(text)
}

fn misfit(schema: &Value, value: &Value) -> String {
    match Schema::new(schema, &Work::default()).check(value, "") {
        Ok(()) => "fits".into(),
        Err(Misfit { place, expected, problem, hint }) => {
            let expected =
                if problem == Problem::Missing { format!("{expected} is missing") } else { expected };
            format!("{place}: {expected}{}", hint.map_or(String::new(), |hint| format!("; {hint}")))
        }
    }
}

#[test]
fn a_text_takes_the_type_of_the_schema() {
    assert_eq!(read(&json!({"type": "integer"}), "5"), json!(5));
    assert_eq!(read(&json!({"type": "integer"}), "18446744073709551615"), json!(u64::MAX));
    assert_eq!(read(&json!({"type": "integer"}), "5.5"), json!("5.5"));
    assert_eq!(read(&json!({"type": "number"}), "-1.5e3").as_f64(), Some(-1500.0));
    assert_eq!(read(&json!({"type": "boolean"}), "true"), json!(true));
    assert_eq!(read(&json!({"type": "string"}), "5"), json!("5"));
    assert_eq!(read(&json!({"type": ["integer", "string"]}), "5"), json!(5));
    assert_eq!(read(&json!({"type": ["string", "null"]}), "null"), json!("null"));
    assert_eq!(read(&json!({"type": ["integer", "null"]}), "null"), json!(null));
    assert_eq!(read(&json!({"enum": [1, "two", null]}), "1"), json!(1));
    assert_eq!(read(&json!({"enum": [1, "two", null]}), "two"), json!("two"));
    assert_eq!(read(&json!({"enum": ["one", "two"]}), "two\r\n"), json!("two"));
    assert_eq!(read(&json!({"enum": ["one "]}), "one "), json!("one "));
    assert_eq!(read(&json!({}), "5"), json!("5"));
    assert_eq!(read(&json!(true), "5"), json!("5"));
    assert_eq!(read(&json!({"type": "object"}), r#"{"a":1}"#), json!({"a": 1}));
    let integers = json!({"type": "array", "items": {"type": "integer"}});
    assert_eq!(read(&integers, "5"), json!([5]));
    assert_eq!(read(&integers, "[5, 6]"), json!([5, 6]));
    assert_eq!(Schema::new(&integers, &Work::default()).read_item("7"), json!(7));
}

#[test]
fn alternatives_are_decided_where_they_can_be() {
    let optional = json!({"anyOf": [{"type": "integer"}, {"type": "null"}]});
    assert_eq!(read(&optional, "5"), json!(5));
    assert_eq!(read(&optional, "null"), json!(null));
    let either = json!({"anyOf": [{"type": "null"}, {"type": "string"}]});
    assert_eq!(read(&either, "null"), json!("null"));
    let bounded = json!({"oneOf": [{"type": "integer", "maximum": 3}, {"type": "string"}]});
    assert_eq!(read(&bounded, "2"), json!(2));
    assert_eq!(read(&bounded, "4"), json!("4"));
    assert_eq!(misfit(&optional, &json!("x")), ": integer or null");
    let nested = json!({"anyOf": [{"type": "object", "required": ["a"]}, {"type": "null"}]});
    assert_eq!(misfit(&nested, &json!({})), "a: a value is missing");
}

#[test]
fn references_are_followed_and_circles_end() {
    let schema = json!({"$defs": {
        "status": {"enum": ["todo", "done"]},
        "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "id": {"type": "integer"}}},
        "loop": {"$ref": "#/$defs/loop"},
    }, "properties": {"s": {"$ref": "#/$defs/status"}, "n": {"$ref": "#/$defs/node"}, "l": {"$ref": "#/$defs/loop"}}});
    assert_eq!(misfit(&schema, &json!({"s": "tood"})), "s: one of \"todo\" | \"done\"; did you mean todo?");
    assert_eq!(misfit(&schema, &json!({"n": {"next": {"next": {"id": "x"}}}})), "n.next.next.id: integer");
    assert_eq!(misfit(&schema, &json!({"l": 1})), "fits");
}

#[test]
fn a_schema_that_describes_exponentially_many_is_read_in_bounded_work() {
    let circle: Value = json!({"$ref": "#"});
    let several = vec![circle; 6];
    for schema in [
        json!({"allOf": several}),
        json!({"anyOf": several}),
        json!({"oneOf": several, "allOf": several}),
        json!({"allOf": several, "properties": {"a": {"anyOf": several}, "b": {"type": "array", "items": {"$ref": "#"}}}}),
    ] {
        let reading = |read: &dyn Fn(Schema<'_>)| read(Schema::new(&schema, &Work::default()));
        reading(&|schema| assert!(schema.properties().len() <= 2));
        reading(&|schema| assert!(schema.required().is_empty()));
        reading(&|schema| assert!(schema.shown().len() <= 2 * LONGEST_SHOWN));
        reading(&|schema| assert!(schema.choices().is_empty()));
        reading(&|schema| assert!(!schema.is_boolean() && !schema.is_array()));
        reading(&|schema| assert_eq!(schema.check(&json!({"a": {}}), ""), Ok(())));
        reading(&|schema| assert_eq!(schema.read("x"), json!("x")));
        reading(&|schema| assert!(schema.property("nothing").is_none()));
    }
}

#[test]
fn the_place_and_what_was_expected_are_named() {
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["title"], "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 5},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "exclusiveMaximum": 50},
        "labels": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
    }});
    for (value, told) in [
        (json!({"title": "x"}), "fits"),
        (json!({}), "title: string is missing"),
        (json!({"title": ""}), "title: at least 1 characters"),
        (json!({"title": "abcdef"}), "title: at most 5 characters"),
        (json!({"title": "x", "limit": 0}), "limit: at least 1"),
        (json!({"title": "x", "limit": 50}), "limit: less than 50"),
        (json!({"title": "x", "limit": 1.5}), "limit: integer"),
        (json!({"title": "x", "limit": 2.0}), "fits"),
        (json!({"title": "x", "labels": ["a", 1]}), "labels[1]: string"),
        (json!({"title": "x", "labels": ["a", "b", "c"]}), "labels: at most 2 items"),
        (json!({"titel": "x"}), "titel: no such name; did you mean title?"),
        (json!([]), ": object"),
    ] {
        assert_eq!(misfit(&schema, &value), told, "{value}");
    }
}

#[test]
fn a_text_of_another_format_does_not_fit() {
    let of = |format: &str| json!({"type": "string", "format": format});
    for (format, fitting, unfit) in [
        (
            "date",
            &["2026-11-30", "2028-02-29"][..],
            &["tomorrow", "", "2027-02-29", "20261130", "2026-11-30T10:00:00Z", "30.11.2026"][..],
        ),
        (
            "date-time",
            &[
                "2026-11-30T17:00:00Z",
                "2026-11-30T17:00:00.5+01:00",
                "2026-11-30t17:00:00z",
                "2016-12-31T23:59:60Z",
                "9999-12-31T23:59:59Z",
                "9999-12-31T23:59:59-23:59",
                "0000-01-01T00:00:00+23:59",
                "2026-11-30T17:00:00.123456789012Z",
            ],
            &[
                "tomorrow",
                "2026-11-30",
                "2026-11-30Z",
                "2026-11-30T17:00:00",
                "2026-11-30T25:00:00Z",
                "2026-11-31T17:00:00Z",
                "2026-11-30T17:00:00.Z",
                "2026-11-30T17:00:00.123456789012",
                "2026-11-30T17:00:00.123456789012x",
                "20261130T170000Z",
            ],
        ),
        (
            "email",
            &["ada@example.com", "a+b@localhost", "ü@münchen.example"],
            &["ada", "ada@", "@x", "a b@x.org", "a@b@c"],
        ),
        (
            "uri",
            &[
                "https://h.example/?a#b",
                "urn:isbn:1",
                "mailto:ada@example.com",
                "http://[fe80::1%25eth0]/",
                "http://256.1.1.1/",
                "svn+ssh://h/é",
                "file:///",
            ],
            &[
                "h.example",
                "/path",
                "",
                ":",
                "1a:b",
                "é:b",
                "not a uri",
                "http://h/a b",
                "http://h/<a>",
                r"C:\dir",
            ],
        ),
        ("an-unknown-format", &["", "x"], &[]),
    ] {
        for text in fitting {
            assert_eq!(misfit(&of(format), &json!(text)), "fits", "{format} {text}");
        }
        for text in unfit {
            assert_ne!(misfit(&of(format), &json!(text)), "fits", "{format} {text}");
        }
        assert_eq!(misfit(&json!({"format": format}), &json!(5)), "fits", "a format is for texts only");
    }
    assert_eq!(misfit(&of("date"), &json!("tomorrow")), ": a date such as 2026-12-31");
    let optional = json!({"anyOf": [of("date"), {"type": "null"}]});
    assert_eq!(misfit(&optional, &json!("tomorrow")), ": a date such as 2026-12-31");
    assert_eq!(misfit(&optional, &json!(null)), "fits");
    let either = json!({"anyOf": [of("date"), of("email"), {"type": "null"}]});
    assert_eq!(
        misfit(&either, &json!("x")),
        ": a date such as 2026-12-31 or an email address such as ada@example.com"
    );
}

#[test]
fn schemas_are_shown_as_people_read_them() {
    for (schema, shown) in [
        (json!({"type": "integer"}), "integer"),
        (json!({"enum": ["a", 1]}), "\"a\" | 1"),
        (json!({"type": "array", "items": {"type": "string"}}), "array of string"),
        (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), "string or null"),
        (json!({}), "any value"),
        (json!({"const": 5}), "5"),
        (json!({"enum": ["r", "g"], "enumNames": ["Red", "Green"]}), r#""r" (Red) | "g" (Green)"#),
        (json!({"enum": ["r", "g"], "enumNames": ["Red"]}), r#""r" (Red) | "g""#),
        (json!({"oneOf": [{"const": "r", "title": "Red"}, {"const": "g"}]}), r#""r" (Red) or "g""#),
    ] {
        assert_eq!(Schema::new(&schema, &Work::default()).shown(), shown);
    }
    let choices = json!({"type": "array", "items": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}});
    assert_eq!(Schema::new(&choices, &Work::default()).choices(), ["a", "b"]);
}
