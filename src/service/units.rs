//! Parses and formats durations and byte sizes in the form users type them.
//!
//! Refuses a duration without a unit.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use serde::de::{Deserialize, Deserializer, Error};

/// The longest duration: no deadline computed from it overflows.
const YEAR: Duration = Duration::from_secs(31_536_000);

/// Reads `1500ms`, `30s`, `5m`, `1h` or `1h30m` in jiff's friendly format; more than a year is a year.
///
/// # Errors
/// A sentence that shows the form.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = SpanParser::new().parse_unsigned_duration(text);
    parsed.map(|d| d.min(YEAR)).map_err(|_| "write it like 1500ms, 30s or 5m".into())
}

/// Reads a duration as [`duration`] does; a limit of 0 would end every request.
///
/// # Errors
/// A sentence that shows the form.
pub fn limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("write more than 0, such as 30s or 5m".into()),
        limit => Ok(limit),
    }
}

/// Deserializes what [`limit`] reads.
///
/// # Errors
/// As [`limit`].
pub(super) fn read_limit<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    limit(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// Deserializes a list of what [`limit`] reads.
///
/// # Errors
/// As [`limit`].
pub(super) fn read_limits<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Duration>>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| limit(text)).collect::<Result<_, _>>().map(Some).map_err(D::Error::custom)
}

/// Reads `512`, `64k`, `16m` or `1g` bytes.
///
/// # Errors
/// A sentence that shows the form.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || "write it like 64k or 16m".to_owned();
    let (number, unit) = match text.to_ascii_lowercase().strip_suffix(['k', 'm', 'g']) {
        Some(number) => (number.to_owned(), text[text.len() - 1..].to_ascii_lowercase()),
        None => (text.to_owned(), String::new()),
    };
    let factor = match unit.as_str() {
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 1,
    };
    number.parse::<usize>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// Writes a duration as [`duration`] reads it.
pub fn duration_text(duration: Duration) -> String {
    match u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) {
        0 => "0".into(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// Writes a size as [`bytes`] reads it.
pub fn bytes_text(bytes: usize) -> String {
    match bytes {
        n if n > 0 && n % (1 << 20) == 0 => format!("{}m", n >> 20),
        n if n > 0 && n % (1 << 10) == 0 => format!("{}k", n >> 10),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_typed() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("99999999h"), Ok(YEAR));
        for wrong in ["5", "", "s", "-1s", "5m ago", "1d", "PT5M", "1e400s", "NaNs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("16M"), Ok(16 << 20));
        for wrong in ["", "k", "-1", "1.5m", "99999999999999999999g", "5ü"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0", "1ms", "1500ms", "30s", "5m", "2h", "90m"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        for text in ["0", "512", "64k", "16m", "1025k"] {
            assert_eq!(bytes_text(bytes(text).unwrap()), text);
        }
    }
}
