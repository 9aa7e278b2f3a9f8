//! Compares texts as people do.
//!
//! Stores nothing in folded form: it is for comparisons only.

/// Folds case in any script: upper, then lower, so that `ß` equals `SS` and `ς` equals `Σ`.
pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
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
