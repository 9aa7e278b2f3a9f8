//! Formats that are checked: `date` and `date-time` (RFC 3339), `email`, `uri`.
//!
//! Refuses only what is certainly wrong; any other format is left to the service.

use jiff::Timestamp;
use jiff::civil::Date;
use url::Url;

/// Returns what is expected where a text is not of its format.
pub(super) fn mismatch(format: &str, text: &str) -> Option<&'static str> {
    let (fits, expected) = match format {
        "date" => (is_date(text), "a date such as 2026-12-31"),
        "date-time" => (is_date_time(text), "a date and time such as 2026-12-31T12:00:00Z"),
        "email" | "idn-email" => (is_email(text), "an email address such as ada@example.com"),
        "uri" => (Url::parse(text).is_ok(), "a URI such as https://example.com/"),
        _ => return None,
    };
    (!fits).then_some(expected)
}

fn is_date(text: &str) -> bool {
    // jiff also reads dates without dashes, and ignores a time.
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    text.as_bytes().get(4) == Some(&b'-') && text.parse::<Timestamp>().is_ok()
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let is_word = |part: &str| !part.is_empty() && !part.contains([' ', '\t', '\n', '@']);
    is_word(host) && (is_word(name) || name.starts_with('"'))
}
