//! `--trace FILE`: the conversation as it passed, in the form that the tests replay.
//!
//! Recorded above the signing step, so no credential is in it; what looks like a key inside a message is
//! masked all the same. Refuses to hold up the conversation: a file that cannot be written ends the trace.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use crate::auth::Authorizer;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::service::key_prefixes;

/// How credentials begin that are not keys of a built-in service; what follows one of these is masked.
const OTHER_PREFIXES: &[&str] = &["Bearer ", "sk-"];

/// Writes a conversation down.
#[derive(Debug)]
pub struct Trace {
    file: Mutex<Option<File>>,
    signs: OnceLock<Arc<Authorizer>>,
}

impl Trace {
    /// Creates the file, readable by its owner only; `%p` in the name is the process id.
    ///
    /// # Errors
    /// [`Kind::Usage`] where it cannot be created.
    pub fn create(path: &str) -> Result<Self> {
        let path = path.replace("%p", &std::process::id().to_string());
        let fail =
            |e: std::io::Error| Error::new(Kind::Usage, format!("--trace {path} cannot be written: {e}"));
        let (mut file, mended) = files::create_private(Path::new(&path)).map_err(fail)?;
        if mended {
            tracing::warn!("{}", files::mended(Path::new(&path)));
        }
        writeln!(file, "# asistry {}", env!("CARGO_PKG_VERSION")).map_err(fail)?;
        Ok(Self { file: Mutex::new(Some(file)), signs: OnceLock::new() })
    }

    /// Masks what this one signs with, wherever it comes back: not every key looks like one.
    pub fn hide_what_signs(&self, authorizer: Arc<Authorizer>) {
        let _ = self.signs.set(authorizer);
    }

    /// Writes one line: who does what, then the text on one line; keys in either are masked.
    pub fn line(&self, who: &str, text: &[u8]) {
        let line = Bytes::from([who.as_bytes(), b" ", text].concat());
        let line = self.signs.get().map_or(line.clone(), |signs| signs.without_secrets(line.clone()));
        let text = String::from_utf8_lossy(&line);
        let line = format!("{}\n", masked(&text.replace(['\n', '\r'], " ")));
        let Ok(mut file) = self.file.lock() else { return };
        if file.as_mut().is_some_and(|file| file.write_all(line.as_bytes()).is_err()) {
            *file = None;
        }
    }
}

/// Replaces what follows the beginning of a key.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    'next: while !rest.is_empty() {
        let starts_word = !out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        for prefix in OTHER_PREFIXES.iter().copied().chain(key_prefixes().iter().map(String::as_str)) {
            let Some(secret) = rest.strip_prefix(prefix).filter(|_| starts_word) else { continue };
            let length = secret
                .find(|c: char| {
                    !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '=' | '+' | '/'))
                })
                .unwrap_or(secret.len());
            if length >= 4 {
                out.push_str(prefix);
                out.push_str("MASKED");
                rest = &secret[length..];
                continue 'next;
            }
        }
        let step = rest.chars().next().map_or(1, char::len_utf8);
        out.push_str(&rest[..step]);
        rest = &rest[step..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_every_built_in_service_is_masked() {
        for name in ["asistry", "agentstack", "task-tracking", "bob-studio"] {
            let service = crate::service::Service::built_in(name).unwrap();
            for prefix in service.auth.key_prefixes {
                assert_eq!(masked(&format!("{prefix}12345")), format!("{prefix}MASKED"));
            }
        }
    }

    #[test]
    fn what_looks_like_a_key_is_masked() {
        assert_eq!(
            masked(r#"{"a":"ask_abcDEF-1","b":"task_list","c":"Bearer eyJ.x.y","d":"anon_ask_12345"}"#),
            r#"{"a":"ask_MASKED","b":"task_list","c":"Bearer MASKED","d":"anon_ask_MASKED"}"#
        );
    }
}
