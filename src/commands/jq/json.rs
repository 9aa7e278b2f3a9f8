//! jaq's values as JSON, and its errors as one short line.
//!
//! Refuses what JSON cannot hold: an object key that is no string, and a byte string.

use std::fmt::Write as _;

use jaq_json::{Num, Val};

use crate::ui::json::Scanner;

/// Longer values, in characters, are cut in an error.
const LONGEST: usize = 100;
/// Longer errors, in characters, are cut at their end.
const LONGEST_ERROR: usize = 500;

/// Returns a value as JSON; as in jq, `nan` is null and an infinite number is the largest one.
///
/// # Errors
/// What JSON cannot hold.
pub fn json(value: &Val) -> Result<String, String> {
    let mut text = String::new();
    write(value, &mut text).map(|()| text)
}

fn write(value: &Val, to: &mut String) -> Result<(), String> {
    match value {
        Val::TStr(text) => to.push_str(&serde_json::Value::from(String::from_utf8_lossy(text)).to_string()),
        Val::Num(Num::Float(x)) if x.is_nan() => to.push_str("null"),
        Val::Num(Num::Float(x)) if x.is_infinite() => {
            let _ = write!(to, "{}", Num::Float(f64::MAX.copysign(*x)));
        }
        Val::BStr(_) => return Err(format!("{value} is a byte string, which JSON cannot hold")),
        Val::Null | Val::Bool(_) | Val::Num(_) => {
            let _ = write!(to, "{value}");
        }
        Val::Arr(items) => {
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                to.push_str(if at > 0 { "," } else { "" });
                write(item, to)?;
            }
            to.push(']');
        }
        Val::Obj(fields) => {
            to.push('{');
            for (at, (name, field)) in fields.iter().enumerate() {
                let Val::TStr(_) = name else {
                    return Err(format!("object keys must be strings, and {name} is none"));
                };
                to.push_str(if at > 0 { "," } else { "" });
                write(name, to)?;
                to.push(':');
                write(field, to)?;
            }
            to.push('}');
        }
    }
    Ok(())
}

/// Returns what an error says, its long values cut.
pub fn told(error: jaq_json::Error) -> String {
    let text = match error.into_val() {
        Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
        other => other.to_string(),
    };
    cut(&shortened(&text), LONGEST_ERROR)
}

/// Cuts each string, array and object in a text that is longer than it helps.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(['"', '[', '{']) {
        let length = value_length(&rest[begin..]);
        short.push_str(&rest[..begin]);
        short.push_str(&cut(&rest[begin..begin + length], LONGEST));
        rest = &rest[begin + length..];
    }
    short + rest
}

/// Returns the length in bytes of the string, array or object that a text begins with.
fn value_length(text: &str) -> usize {
    let mut scanner = Scanner::default();
    let ends = |byte| {
        scanner.take(byte);
        scanner.depth == 0 && !scanner.in_string
    };
    text.bytes().position(ends).map_or(text.len(), |at| at + 1)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
