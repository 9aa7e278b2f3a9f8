//! Compares texts as people do, in Rust and in SQL.
//!
//! Folded texts are for comparisons only: no answer shows one.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

/// Folds case in any script: upper, then lower, so that `ß` equals `SS` and `ς` equals `Σ`.
pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Adds [`folded`] to a connection as the SQL function `folded`, which the triggers of `asistry::search` call.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("folded", 1, flags, |context| {
        Ok(context.get_raw(0).as_str_or_null()?.map(folded))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_and_lower_case_of_any_script_are_the_same() {
        for (one, other) in
            [("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("Ärger", "äRGER"), ("ПРИВЕТ", "привет")]
        {
            assert_eq!(folded(one), folded(other));
        }
        assert_ne!(folded("a"), folded("ä"));
    }
}
