//! Durations and sizes as they are typed.
//!
//! Refuses a number without its unit.

use std::time::Duration;

/// Reads `1500ms`, `30s`, `5m` or `1h`.
///
/// # Errors
/// A sentence that shows the form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "" if number == "0" => 0.0,
        _ => return Err("write it like 1500ms, 30s or 5m".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write it like 1500ms, 30s or 5m".to_owned())?;
    let duration = Duration::try_from_secs_f64(number * milliseconds / 1e3);
    // A year is as good as for ever, and far from any overflow.
    duration.map(|d| d.min(Duration::from_secs(31_536_000))).map_err(|_| "it must be a length of time".into())
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
        for wrong in ["5", "", "s", "-1s", "1d", "1e400s", "NaNs"] {
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
