//! `--trace FILE`: records the conversation in the format that the tests replay.
//!
//! Records before requests are signed, so credentials are not included; also masks text in messages that looks like
//! a key. A file that cannot be written ends the trace, never the conversation.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use crate::auth::Authorizer;
use crate::error::{Error, Kind, Result};
use crate::files;

/// Prefixes of credentials that no built-in service issues; the text after one is masked.
const OTHER_PREFIXES: &[&str] = &["Bearer ", "sk-"];

/// A trace file.
#[derive(Debug)]
pub struct Trace {
    file: Mutex<Option<File>>,
    signs: OnceLock<Arc<Authorizer>>,
    key_prefixes: Vec<String>,
}

impl Trace {
    /// Creates the file with mode 0600; `%p` in the name becomes the process id. What follows one of the prefixes is
    /// masked.
    ///
    /// # Errors
    /// [`Kind::Usage`] if it cannot be created.
    pub fn create(path: &str, key_prefixes: Vec<String>) -> Result<Self> {
        let path = path.replace("%p", &std::process::id().to_string());
        let fail = |e: std::io::Error| {
            Error::new(Kind::Usage, format!("--trace {path} cannot be written: {e}")).caused_by(e)
        };
        let (mut file, mended) = files::create_private(Path::new(&path)).map_err(fail)?;
        if mended {
            tracing::warn!("{}", files::now_private(Path::new(&path)));
        }
        writeln!(file, "# asistry {}", env!("CARGO_PKG_VERSION")).map_err(fail)?;
        Ok(Self { file: Mutex::new(Some(file)), signs: OnceLock::new(), key_prefixes })
    }

    /// Masks this authorizer's credentials as well: not every key has a known prefix.
    pub fn mask_secrets_of(&self, authorizer: Arc<Authorizer>) {
        let _ = self.signs.set(authorizer);
    }

    /// Writes one line: `who`, then the text with line breaks replaced; keys in both are masked.
    pub fn line(&self, who: &str, text: &[u8]) {
        let line = Bytes::from([who.as_bytes(), b" ", text].concat());
        let line = self.signs.get().map_or(line.clone(), |signs| signs.without_secrets(line.clone()));
        let text = String::from_utf8_lossy(&line);
        let line = format!("{}\n", self.masked(&text.replace(['\n', '\r'], " ")));
        let Ok(mut file) = self.file.lock() else { return };
        if file.as_mut().is_some_and(|file| file.write_all(line.as_bytes()).is_err()) {
            *file = None;
        }
    }

    /// Masks the text after each known prefix of a key.
    fn masked(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        'next: while !rest.is_empty() {
            let starts_word = !out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            for prefix in OTHER_PREFIXES.iter().copied().chain(self.key_prefixes.iter().map(String::as_str)) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Catalog;

    fn masked(text: &str) -> String {
        let (file, signs) = (Mutex::new(None), OnceLock::new());
        Trace { file, signs, key_prefixes: Catalog::default().key_prefixes() }.masked(text)
    }

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
