//! Parses the headers of a request: its credential, its project, the catalogue's tag.
//!
//! Does not look keys up.

use super::fault::Fault;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};

/// Returns the credential; refuses more than one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let bearers: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
    let keys: Vec<_> = headers.get_all("x-api-key").iter().collect();
    let unread = || Fault::no_key("the credential must be Authorization: Bearer KEY or X-API-Key: KEY");
    match (&bearers[..], &keys[..]) {
        ([], []) => Ok(None),
        ([bearer], []) => {
            let text = bearer.to_str().map_err(|_| unread())?;
            let (scheme, key) = text.split_once(' ').ok_or_else(unread)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(unread());
            }
            Ok(Some(key.trim().to_owned()))
        }
        ([], [key]) => Ok(Some(key.to_str().map_err(|_| unread())?.trim().to_owned())),
        _ => {
            let why = "send one credential, in Authorization or in X-API-Key, not two";
            Err(Fault::new(StatusCode::BAD_REQUEST, why))
        }
    }
}

/// Returns the project that `X-Project-ID` names.
pub(super) fn project(headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    let mut values = headers.get_all("x-project-id").iter();
    let wrong = || Fault::new(StatusCode::BAD_REQUEST, "X-Project-ID must be one positive integer");
    let (value, None) = (values.next(), values.next()) else { return Err(wrong()) };
    let Some(value) = value else { return Ok(None) };
    let digits = value.to_str().map_err(|_| wrong())?.trim();
    let id = digits.parse().ok().filter(|id| *id > 0 && digits.bytes().all(|b| b.is_ascii_digit()));
    id.map(Some).ok_or_else(wrong)
}

/// Refuses a content type other than JSON: web pages can send text and forms to any origin.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"))
}

/// Says whether `If-None-Match` names this tag (RFC 9110, section 13.1.2), with or without its quotes.
pub(super) fn has_tag(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_project_is_plain_digits() {
        assert_eq!(project(&with(&[("x-project-id", "1025")])).unwrap(), Some(1025));
        assert_eq!(project(&with(&[])).unwrap(), None);
        for wrong in ["", "0", "-1", "+1", "1.5", "abc", "99999999999999999999", "1025; DROP TABLE x"] {
            assert!(project(&with(&[("x-project-id", wrong)])).is_err(), "{wrong}");
        }
        let mut twice = with(&[("x-project-id", "1")]);
        twice.append("x-project-id", "2".parse().unwrap());
        assert!(project(&twice).is_err());
    }

    #[test]
    fn a_tag_is_found_in_every_form() {
        for value in ["\"t\"", "t", "W/\"t\"", "\"x\", \"t\"", "*"] {
            assert!(has_tag(&with(&[("if-none-match", value)]), "t"), "{value}");
        }
        for value in ["\"x\"", "", "\"tt\""] {
            assert!(!has_tag(&with(&[("if-none-match", value)]), "t"), "{value}");
        }
    }
}
