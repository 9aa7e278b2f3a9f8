//! Tool names with characters that every client takes: `^[a-zA-Z0-9_-]{1,64}$`.
//!
//! Refuses to see that two names stay apart: `client/names.rs` does, from the whole list.

/// Says whether every client takes a character in a tool name.
pub fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Replaces each other character by `_`.
pub fn replaced(name: &str) -> String {
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}
