//! Says whether a text is an ISO-8601 calendar date or date-time.
//!
//! Refuses to change it: what a caller gave is stored as it came. Week dates, ordinal dates and the basic
//! form without dashes are not taken, because no client sends them.

/// The same rule, less exact, for a JSON Schema.
pub(super) const PATTERN: &str =
    r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$";

/// Takes `2026-11-30`, and with a time `T17:00`, `T17:00:00`, `T17:00:00.5`, then nothing, `Z` or an offset.
pub(super) fn is_iso_8601(text: &str) -> bool {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    is_date(date) && time.is_none_or(is_time)
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (digits(year, 4), digits(month, 2), digits(day, 2)) else {
        return false;
    };
    (1..=12).contains(&month) && (1..=days(year, month)).contains(&day)
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_time(text: &str) -> bool {
    let zone_at = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let parts: Vec<_> = clock.split(':').collect();
    let below = |text: &str, most: u32| digits(text, 2).is_some_and(|n| n <= most);
    let clock_fits = match parts[..] {
        [hour, minute] => fraction.is_none() && below(hour, 23) && below(minute, 59),
        [hour, minute, second] => below(hour, 23) && below(minute, 59) && below(second, 60),
        _ => false,
    };
    clock_fits
        && fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
        && is_zone(zone)
}

fn is_zone(text: &str) -> bool {
    let Some(offset) = text.strip_prefix(['+', '-']) else {
        return matches!(text, "" | "Z");
    };
    let (hour, minute) = match offset.len() {
        2 => (offset, "00"),
        4 if offset.is_ascii() => offset.split_at(2),
        _ => offset.split_once(':').unwrap_or(("", "")),
    };
    digits(hour, 2).is_some_and(|h| h <= 23) && digits(minute, 2).is_some_and(|m| m <= 59)
}

/// Reads exactly so many decimal digits.
fn digits(text: &str, count: usize) -> Option<u32> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_date_times_of_the_calendar_are_taken() {
        for text in [
            "2026-11-30",
            "2028-02-29",
            "2000-02-29",
            "2026-11-30T17:00",
            "2026-11-30T17:00:00",
            "2026-11-30T17:00:00Z",
            "2026-11-30T17:00:00.123Z",
            "2026-11-30T17:00:00,5+05:30",
            "2026-11-30T17:00:00-0800",
            "2026-11-30T17:00+01",
            "2016-12-31T23:59:60Z",
        ] {
            assert!(is_iso_8601(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_day_no_time_or_no_iso_form_is_refused() {
        for text in [
            "",
            "tomorrow",
            "30.11.2026",
            "2026-13-01",
            "2026-00-01",
            "2026-11-31",
            "2027-02-29",
            "2100-02-29",
            "2026-1-1",
            "2026-11-30T",
            "2026-11-30T24:00",
            "2026-11-30T17",
            "2026-11-30T17:60",
            "2026-11-30T17:00.5",
            "2026-11-30T17:00:00.Z",
            "2026-11-30T17:00:00+5",
            "2026-11-30T17:00:00+é1",
            "2026-11-30 17:00",
            "2026-11-30T17:00:00ZZ",
            "+026-11-30",
        ] {
            assert!(!is_iso_8601(text), "{text}");
        }
    }
}
