//! Forms of arguments beyond the usual ones: limited texts, numbers, days, times.
//!
//! Lengths are in characters. The limits are the sandbox's: no page documents any.

use super::arguments::{Form, Shape, whole};
use super::date;
use serde_json::{Value, json};

/// Maximum length of a name or a title.
const LINE_LENGTH: usize = 500;
/// Maximum length of a description, a note or a comment.
const TEXT_LENGTH: usize = 50_000;
const LARGEST: f64 = 1e12;

/// A name or a title: not blank.
pub(super) const LINE: Form = Form::Own(&Shape {
    words: "a string of 1 to 500 characters that is not blank",
    schema: || json!({"type": "string", "minLength": 1, "maxLength": LINE_LENGTH}),
    read: |value| text(value, |text| fits(text, LINE_LENGTH) && !text.trim().is_empty()),
});

/// A short text, which may be empty.
pub(super) const SHORT: Form = Form::Own(&Shape {
    words: "a string of at most 500 characters",
    schema: || json!({"type": "string", "maxLength": LINE_LENGTH}),
    read: |value| text(value, |text| fits(text, LINE_LENGTH)),
});

/// A long text, which may be empty.
pub(super) const LONG: Form = Form::Own(&Shape {
    words: "a string of at most 50000 characters",
    schema: || json!({"type": "string", "maxLength": TEXT_LENGTH}),
    read: |value| text(value, |text| fits(text, TEXT_LENGTH)),
});

/// A long text that is not blank.
pub(super) const FILLED: Form = Form::Own(&Shape {
    words: "a string of 1 to 50000 characters that is not blank",
    schema: || json!({"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH}),
    read: |value| text(value, |text| fits(text, TEXT_LENGTH) && !text.trim().is_empty()),
});

/// An e-mail address: one `@` with something on both sides, no whitespace.
pub(super) const EMAIL: Form = Form::Own(&Shape {
    words: "an e-mail address",
    schema: || json!({"type": "string", "format": "email", "maxLength": LINE_LENGTH}),
    read: |value| text(value, |text| fits(text, LINE_LENGTH) && is_email(text)),
});

/// An ISO 4217 code in capitals.
pub(super) const CURRENCY: Form = Form::Own(&Shape {
    words: "a currency code of three capital letters such as EUR",
    schema: || json!({"type": "string", "pattern": "^[A-Z]{3}$"}),
    read: |value| text(value, |text| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())),
});

/// An amount or a number of hours.
pub(super) const NUMBER: Form = Form::Own(&Shape {
    words: "a number from 0 to 1000000000000",
    schema: || json!({"type": "number", "minimum": 0, "maximum": 1_000_000_000_000_i64}),
    read: |value| {
        let number = value.as_f64().filter(|number| (0.0..=LARGEST).contains(number))?;
        Some(if number.fract() == 0.0 { (number as i64).into() } else { number.into() })
    },
});

/// A place in an order.
pub(super) const POSITION: Form = Form::Own(&Shape {
    words: "an integer",
    schema: || json!({"type": "integer"}),
    read: |value| whole(value).map(Value::from),
});

/// `true` or `false`.
pub(super) const FLAG: Form = Form::Own(&Shape {
    words: "true or false",
    schema: || json!({"type": "boolean"}),
    read: |value| value.as_bool().map(Value::from),
});

/// `YYYY-MM-DD`.
pub(super) const DAY: Form = Form::Own(&Shape {
    words: "a date such as 2026-11-30 (YYYY-MM-DD)",
    schema: || json!({"type": "string", "format": "date"}),
    read: |value| text(value, |text| text.len() == 10 && date::is_iso_8601(text)),
});

/// `HH:MM`.
pub(super) const TIME: Form = Form::Own(&Shape {
    words: "a time from 00:00 to 23:59 (HH:MM)",
    schema: || json!({"type": "string", "pattern": "^([01]\\d|2[0-3]):[0-5]\\d$"}),
    read: |value| text(value, |text| minutes(text).is_some()),
});

/// A list of UUIDs.
pub(super) const UUIDS: Form = Form::Own(&Shape {
    words: "an array of UUIDs",
    schema: || json!({"type": "array", "items": {"type": "string", "format": "uuid"}}),
    read: |value| value.as_array()?.iter().map(uuid).collect(),
});

/// Returns an integer within the range.
pub(super) fn between<const LEAST: i64, const MOST: i64>(value: &Value) -> Option<Value> {
    whole(value).filter(|number| (LEAST..=MOST).contains(number)).map(Value::from)
}

/// Returns the minutes since midnight of `HH:MM`.
pub(super) fn minutes(time: &str) -> Option<i64> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str, below: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && (0..below).contains(number))
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

fn text(value: &Value, is_right: impl Fn(&str) -> bool) -> Option<Value> {
    value.as_str().filter(|text| is_right(text)).map(Value::from)
}

fn uuid(value: &Value) -> Option<Value> {
    uuid::Uuid::parse_str(value.as_str()?).ok().map(|id| id.to_string().into())
}

fn fits(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_none()
}

fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    !text.contains(char::is_whitespace)
        && parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &Form, value: Value) -> Option<Value> {
        let Form::Own(shape) = form else { panic!("not a shape") };
        (shape.read)(&value)
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(read(&LINE, "é".repeat(500).into()).is_some());
        assert!(read(&LINE, "é".repeat(501).into()).is_none());
        assert!(read(&LINE, " ".into()).is_none() && read(&SHORT, "".into()).is_some());
        assert!(read(&LONG, "é".repeat(50_000).into()).is_some());
        assert!(read(&LONG, "é".repeat(50_001).into()).is_none());
        assert!(read(&FILLED, "\n".into()).is_none());
    }

    #[test]
    fn numbers_are_numbers_and_whole_ones_are_written_whole() {
        assert_eq!(read(&NUMBER, json!(1500.0)).unwrap().to_string(), "1500");
        assert_eq!(read(&NUMBER, json!(0.25)).unwrap().to_string(), "0.25");
        for wrong in [json!(-1), json!("1"), json!(1e13), json!(null), json!(true)] {
            assert!(read(&NUMBER, wrong.clone()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn days_and_times_have_one_form() {
        assert!(read(&DAY, "2028-02-29".into()).is_some());
        for wrong in ["2027-02-29", "2026-11-30T10:00", "30.11.2026", ""] {
            assert!(read(&DAY, wrong.into()).is_none(), "{wrong}");
        }
        assert_eq!((minutes("00:00"), minutes("23:59")), (Some(0), Some(1439)));
        for wrong in ["24:00", "9:00", "09:60", "+9:00", "09:0", "0900", "", "09:00:00"] {
            assert!(read(&TIME, wrong.into()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn addresses_codes_and_lists_of_ids_are_checked() {
        assert!(read(&EMAIL, "a@b.example".into()).is_some());
        for wrong in ["a", "@b", "a@", "a@b@c", "a b@c"] {
            assert!(read(&EMAIL, wrong.into()).is_none(), "{wrong}");
        }
        assert!(read(&CURRENCY, "CHF".into()).is_some());
        assert!(read(&CURRENCY, "chf".into()).is_none() && read(&CURRENCY, "EURO".into()).is_none());
        let id = "6F9619FF-8B86-4011-B42D-00C04FC964FF";
        assert_eq!(read(&UUIDS, json!([id])), Some(json!([id.to_lowercase()])));
        assert!(read(&UUIDS, json!([id, "x"])).is_none() && read(&UUIDS, id.into()).is_none());
    }
}
