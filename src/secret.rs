//! A value that cannot be printed, logged or serialised, and is zeroed when dropped.
//!
//! Only `auth/` may open it: a test searches the source for `.expose(`.

use std::fmt;
use zeroize::Zeroizing;

/// A key, token or password; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text; the caller must keep no copy.
    pub fn new(text: String) -> Self {
        Self::from(Zeroizing::new(text))
    }

    /// Returns the secret. Only `auth/` may call this.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether the secret is empty.
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

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        forbid_dumps();
        Self(text)
    }
}

/// Disables core dumps and, on Linux, debugger access; called when the first secret is created.
#[cfg(unix)]
fn forbid_dumps() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let mut limit = getrlimit(Resource::Core);
        limit.current = Some(0);
        let _ = setrlimit(Resource::Core, limit);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    });
}

#[cfg(not(unix))]
fn forbid_dumps() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_with_a_secret_cannot_be_dumped() {
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        let _secret = Secret::new("ask_marked".into());
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("ask_marked".into())), "Secret(…)");
    }
}
