//! Formats that are checked: `date` and `date-time` (RFC 3339), `email`, `uri`.
//!
//! Refuses only what is certainly wrong; any other format is left to the service.

use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;

/// Returns what is expected where a text is not of its format.
pub(super) fn mismatch(format: &str, text: &str) -> Option<&'static str> {
    let (fits, expected) = match format {
        "date" => (is_date(text), "a date such as 2026-12-31"),
        "date-time" => (is_date_time(text), "a date and time such as 2026-12-31T12:00:00Z"),
        "email" | "idn-email" => (is_email(text), "an email address such as ada@example.com"),
        "uri" => (is_uri(text), "a URI such as https://example.com/"),
        _ => return None,
    };
    (!fits).then_some(expected)
}

fn is_date(text: &str) -> bool {
    // jiff also reads dates without dashes, and ignores a time.
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    // The date and time apart from the offset: 9999-12-31T23:59:59Z is past the last instant of jiff.
    let is_whole = |pieces: Pieces| pieces.time().is_some() && pieces.offset().is_some();
    text.as_bytes().get(4) == Some(&b'-') && Pieces::parse(&to_nanoseconds(text)).is_ok_and(is_whole)
}

/// Shortens a fraction of a second to the nine digits that jiff reads.
fn to_nanoseconds(text: &str) -> String {
    let Some((before, fraction)) = text.split_once('.') else { return text.to_owned() };
    let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &fraction[..fraction.len() - rest.len()];
    format!("{before}.{}{rest}", &digits[..digits.len().min(9)])
}

/// RFC 3986: a scheme, then none of the characters that appendix C has as delimiters around a URI.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"\\".contains(c))
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let is_word = |part: &str| !part.is_empty() && !part.contains([' ', '\t', '\n', '@']);
    is_word(host) && (is_word(name) || name.starts_with('"'))
}
