//! Parses TOML files and reports errors with file, line and the nearest known name.
//!
//! Never quotes the file in an error: a value may be a key pasted by mistake.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// Parses a file; `path` is for errors only.
///
/// # Errors
/// [`Kind::Config`] with file, line and the nearest name to an unknown one.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, span.start));
        let why = without_value(e.message());
        let error = Error::new(Kind::Config, format!("{} is not valid: line {line}: {why}", path.display()));
        match nearest_expected(e.message()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("fix the file; it was not changed"),
        }
    })
}

/// Removes the value from a serde error; a field's name stays.
fn without_value(why: &str) -> String {
    let quoting = ["invalid type: ", "invalid value: ", "unknown variant "];
    let expected = why.find(", expected ").filter(|_| quoting.iter().any(|start| why.starts_with(start)));
    let why = expected.map_or(why.to_owned(), |at| format!("the value does not fit{}", &why[at..]));
    why.lines().collect::<Vec<_>>().join(", ")
}

/// Returns the line number of a byte offset.
pub fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Returns the nearest of the names that a serde error expects: "unknown field `x`, expected one of `a`, `b`".
fn nearest_expected(why: &str) -> Option<&str> {
    let known = why.strip_prefix("unknown field ").or_else(|| why.strip_prefix("unknown variant "))?;
    let mut quoted = known.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    nearest(wrong, quoted)
}

/// Returns the error for an unknown name, with the nearest known one.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::new(Kind::Config, format!("there is no {what} named {name}"));
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("known are {}", known.join(", "))),
    }
}

/// Longer names, in bytes, are not compared.
const LONGEST: usize = 400;

/// Returns the name with the smallest edit distance, if it is small enough to be a typo.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    let near = |other: &'a str| {
        let most = 1 + other.chars().count() / 4;
        // Names of very different length are never near; comparing them could take minutes.
        let comparable = other.chars().count().abs_diff(length) <= most && other.len() <= LONGEST;
        let distance = comparable.then(|| strsim::levenshtein(name, other))?;
        (distance <= most).then_some((distance, other))
    };
    known.filter_map(near).min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(nearest("asisty", Service::names()), Some("asistry"));
        assert_eq!(nearest("bobstudio", Service::names()), Some("bob-studio"));
        assert_eq!(nearest("something", Service::names()), None);
    }

    #[test]
    fn an_error_names_file_line_and_nearest_and_quotes_nothing() {
        let text = "\u{feff}title = 'ask_marked'\r\n\r\nendpiont = 'ask_marked'\r\n";
        let error = parse::<Service>(text, Path::new("services/x.toml")).unwrap_err();
        assert!(error.message().starts_with("services/x.toml is not valid: line 3: "), "{error}");
        assert!(!error.message().contains("marked"), "{error}");
        assert_eq!(error.advice(), Some("did you mean endpoint?"));
        for text in ["title = ['ask_marked']", "title = 't'\nendpoint = 'e'\nwire = 'ask_marked'"] {
            let error = parse::<Service>(text, Path::new("x")).unwrap_err();
            assert!(error.message().contains("expected") && !error.message().contains("marked"), "{error}");
        }
        let error = parse::<Service>("title = \n", Path::new("x")).unwrap_err();
        assert!(error.message().contains("line 1"), "{error}");
    }
}
