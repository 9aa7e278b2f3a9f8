//! A value that cannot be printed, logged or serialised, and is zeroed when dropped.
//!
//! Refuses to be opened outside `auth/`: a test reads the tree for `.expose(`.

use std::fmt;
use zeroize::Zeroizing;

/// Holds a key, token or password; `Debug` shows only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; the caller keeps no other copy.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Opens the secret. Only `auth/` may call this.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Says whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("ask_marked".into())), "Secret(…)");
    }
}
