//! Checks whether a text is an ISO 8601 calendar date or date-time.
//!
//! Refuses week dates, ordinal dates and the basic form without dashes, because no client sends them. Never
//! rewrites a date: the sandbox stores what the caller sent.

use jiff::fmt::temporal::Pieces;

/// The JSON Schema pattern for [`is_iso_8601`]; it does not know how many days a month has.
pub(super) const PATTERN: &str =
    r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$";

/// Accepts `2026-11-30`, optionally with `T17:00`, `T17:00:00` or `T17:00:00.5`, then nothing, `Z` or an offset.
pub(super) fn is_iso_8601(text: &str) -> bool {
    // jiff also reads the basic form, a space for the T, hours alone and time zone names.
    let at = |index: usize| text.as_bytes().get(index).copied();
    let has_time = at(10).is_some();
    let is_extended = at(4) == Some(b'-') && (!has_time || (at(10) == Some(b'T') && at(13) == Some(b':')));
    is_extended && !text.contains(['[', 'z']) && Pieces::parse(text).is_ok()
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
