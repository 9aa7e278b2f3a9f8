//! Secrets that a service hands out: a masked value stands for each wherever its results are read, and is opened only
//! where it may go back to the service.
//!
//! Refuses to open a masked value of another origin. Finds secrets by the names of their fields, whatever the depth and
//! the escapes, in JSON inside strings too, and keys by their prefix; then each of them wherever it occurs.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use memchr::{memchr, memmem};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::mask::Mask;
use crate::protocol::secrets::{MASKED, MASKED_LENGTH, is_masked};
use crate::secret::Secret;
use crate::service::Service;

/// Maximum secrets that are remembered; the oldest are dropped first.
const MOST: usize = 64;
/// Maximum depth of JSON inside strings.
const DEEPEST: usize = 3;
/// Minimum length of a key after its prefix in text.
const SHORTEST_KEY: usize = 8;

/// The secrets of one service.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// Names of fields, as [`plain`] writes them.
    fields: Vec<String>,
    prefixes: Vec<String>,
    origin: String,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    mask: Mask,
    /// Masked value and secret.
    secrets: VecDeque<(String, Secret)>,
}

/// A secret in a text.
struct Found {
    /// Where its value is written, without quotes; none inside another string.
    at: Option<Range<usize>>,
    secret: Zeroizing<String>,
}

impl Vault {
    /// Guards what the data of a service names, towards one origin.
    pub fn new(service: &Service, origin: &str) -> Self {
        let fields: Vec<String> = service.secrets.fields.iter().map(|name| plain(name)).collect();
        let prefixes = if fields.is_empty() { Vec::new() } else { service.auth.key_prefixes.clone() };
        Self { fields, prefixes, origin: origin.to_owned(), known: RwLock::default() }
    }

    /// Puts a masked value in the place of each secret.
    pub fn sealed(&self, text: Bytes) -> Bytes {
        if self.fields.is_empty() {
            return text;
        }
        let mut found = Vec::new();
        self.find(&text, DEEPEST, &mut found);
        self.find_keys(&text, &mut found);
        let text = self.replaced(text, &found);
        self.learn(&found);
        self.known.read().unwrap_or_else(PoisonError::into_inner).mask.masked(text)
    }

    /// Returns the secrets that occur in a text, as written there and unescaped.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).mask.repeated_in(text)
    }

    /// Puts each known secret of a JSON text back in the place of its masked value.
    pub fn unsealed(&self, text: Bytes) -> Bytes {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (mut out, mut done) = (Vec::new(), 0);
        for at in memmem::find_iter(&text, MASKED) {
            let end = (at + MASKED_LENGTH).min(text.len());
            let Ok(masked) = std::str::from_utf8(&text[at..end]) else { continue };
            let Some((_, secret)) = known.secrets.iter().find(|(of, _)| of == masked) else { continue };
            let quoted = Zeroizing::new(serde_json::Value::from(secret.expose()).to_string());
            out.extend_from_slice(&text[done..at]);
            out.extend_from_slice(quoted[1..quoted.len() - 1].as_bytes());
            done = end;
        }
        if done == 0 {
            return text;
        }
        out.extend_from_slice(&text[done..]);
        out.into()
    }

    /// Returns the secret that a masked value stands for, if it was seen here.
    pub fn open(&self, masked: &str) -> Option<Secret> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.secrets.iter().find(|(of, _)| of == masked).map(|(_, secret)| secret.clone())
    }

    /// Returns what stands for a secret: a part of its hash, so that it means the same in every process.
    pub fn masked(&self, secret: &str) -> String {
        let mut hash = Sha256::new_with_prefix(b"asistry masked value v1\n");
        hash.update(&self.origin);
        hash.update(b"\n");
        hash.update(secret);
        let digits = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{MASKED}{digits}")
    }

    /// Remembers secrets, so that they are masked wherever they occur later, and can be opened.
    fn learn(&self, found: &[Found]) {
        if found.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for Found { secret, .. } in found.iter().take(MOST) {
            let masked = self.masked(secret);
            if known.secrets.iter().any(|(of, _)| *of == masked) {
                continue;
            }
            known.mask.add_as(secret, &masked);
            known.secrets.push_back((masked, Secret::from(secret.clone())));
            if known.secrets.len() > MOST {
                known.secrets.pop_front();
            }
        }
    }

    /// Replaces what was found in the text itself.
    fn replaced(&self, text: Bytes, found: &[Found]) -> Bytes {
        let mut places: Vec<(&Range<usize>, &str)> =
            found.iter().filter_map(|found| Some((found.at.as_ref()?, found.secret.as_str()))).collect();
        if places.is_empty() {
            return text;
        }
        places.sort_by_key(|(at, _)| at.start);
        let (mut out, mut done) = (Vec::with_capacity(text.len()), 0);
        for (at, secret) in places.into_iter() {
            if at.start < done {
                continue;
            }
            out.extend_from_slice(&text[done..at.start]);
            out.extend_from_slice(self.masked(secret).as_bytes());
            done = at.end;
        }
        out.extend_from_slice(&text[done..]);
        out.into()
    }

    /// Finds the values of the fields, by the order of the strings alone: broken or deep JSON hides nothing.
    fn find(&self, text: &[u8], depth: usize, found: &mut Vec<Found>) {
        let mut place = Place::Elsewhere;
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            if *byte != b'"' {
                place = place.after(*byte);
                at += 1;
                continue;
            }
            let end = end_of_string(text, at + 1);
            let content = at + 1..end;
            at = end + 1;
            if is_name(&text[at.min(text.len())..]) {
                let is_secret = self.fields.contains(&plain(&unescaped(&text[content])));
                place = if is_secret { Place::AfterName } else { Place::Elsewhere };
                continue;
            }
            let is_value = matches!(place, Place::Value | Place::InList);
            if !is_value && (depth == 0 || memchr(b'\\', &text[content.clone()]).is_none()) {
                place = Place::Elsewhere;
                continue;
            }
            let secret = unescaped(&text[content.clone()]);
            if is_value {
                if !secret.is_empty() && !is_masked(&secret) {
                    found.push(Found { at: Some(content), secret });
                }
            } else if secret.contains('"') && secret.trim_start().starts_with(['{', '[']) {
                self.find_inside(&secret, (depth, content), found);
            }
            place = if place == Place::InList { place } else { Place::Elsewhere };
        }
    }

    /// Finds secrets in JSON inside a string; one with very many is masked as a whole.
    fn find_inside(&self, inside: &str, (depth, at): (usize, Range<usize>), found: &mut Vec<Found>) {
        let mut inner = Vec::new();
        self.find(inside.as_bytes(), depth - 1, &mut inner);
        if inner.len() > MOST {
            found.push(Found { at: Some(at), secret: Zeroizing::new(inside.to_owned()) });
            return;
        }
        // First, so that none of them is too many to be remembered.
        found.splice(0..0, inner.into_iter().map(|inner| Found { at: None, ..inner }));
    }

    /// Finds keys by their prefix, at the beginning of a word; with a digit, since words of other languages may begin
    /// like a key.
    fn find_keys(&self, text: &[u8], found: &mut Vec<Found>) {
        let in_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        for prefix in &self.prefixes {
            for at in memmem::find_iter(text, prefix) {
                if at > 0 && in_key(&text[at - 1]) {
                    continue;
                }
                let rest = &text[at + prefix.len()..];
                let length = rest.iter().position(|byte| !in_key(byte)).unwrap_or(rest.len());
                if length < SHORTEST_KEY || !rest[..length].iter().any(u8::is_ascii_digit) {
                    continue;
                }
                let at = at..at + prefix.len() + length;
                let secret = Zeroizing::new(String::from_utf8_lossy(&text[at.clone()]).into_owned());
                found.push(Found { at: Some(at), secret });
            }
        }
    }
}

/// Where a text is read, as far as that matters for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not in a field of a secret.
    Elsewhere,
    /// Behind the name of one, before its colon.
    AfterName,
    /// Where its value begins.
    Value,
    /// In a list that is its value.
    InList,
}

impl Place {
    /// Returns the place after a character that begins no string.
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (place, b' ' | b'\t' | b'\n' | b'\r') => place,
            (Self::AfterName, b':') => Self::Value,
            (Self::Value, b'[') | (Self::InList, b',') => Self::InList,
            _ => Self::Elsewhere,
        }
    }
}

/// Returns where a string ends whose content begins here: at its quote, or at the end of the text.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(next) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += next;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

/// Says whether a string before this text is a name.
fn is_name(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Returns the text of a string's content; as it is written where it cannot be read.
fn unescaped(content: &[u8]) -> Zeroizing<String> {
    let written = String::from_utf8_lossy(content);
    if memchr(b'\\', content).is_none() {
        return Zeroizing::new(written.into_owned());
    }
    Zeroizing::new(serde_json::from_str(&format!("\"{written}\"")).unwrap_or_else(|_| written.into_owned()))
}

/// Returns a name without case and separators: `apiKey` is `api_key`.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn vault() -> Vault {
        Vault::new(&Service::built_in("agentstack").unwrap(), "https://h")
    }

    fn sealed(vault: &Vault, text: &str) -> String {
        let sealed = vault.sealed(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8(sealed.to_vec()).unwrap()
    }

    #[test]
    fn a_secret_is_masked_in_its_field_and_wherever_it_recurs() {
        let secret = "anon_ask_S3cret+x/9";
        let vault = vault();
        let masked = vault.masked(secret);
        let nested =
            serde_json::json!({"text": format!(r#"{{"a":1,"session_token": "{secret}"}}"#)}).to_string();
        for (text, wanted) in [
            (
                format!(r#"{{"user_api_key":"{secret}","n":1.50}}"#),
                format!(r#"{{"user_api_key":"{masked}","n":1.50}}"#),
            ),
            (
                format!(r#"{{"m":"it is {secret}, {secret}"}}"#),
                format!(r#"{{"m":"it is {masked}, {masked}"}}"#),
            ),
            (
                format!(r#"{{"apiKey" : ["{secret}","x"]}}"#),
                format!(r#"{{"apiKey" : ["{masked}","{}"]}}"#, vault.masked("x")),
            ),
            (
                r#"{"auth_key":"anon_ask_S3cret\u002bx\/9"}"#.to_owned(),
                format!(r#"{{"auth_key":"{masked}"}}"#),
            ),
            (
                r#"{"auth\u005fkey":"anon_ask_S3cret+x/9"}"#.to_owned(),
                format!(r#"{{"auth\u005fkey":"{masked}"}}"#),
            ),
            (
                nested,
                serde_json::json!({"text": format!(r#"{{"a":1,"session_token": "{masked}"}}"#)}).to_string(),
            ),
            (r#"{"q":"anon_ask_S3cret%2Bx%2F9"}"#.to_owned(), format!(r#"{{"q":"{masked}"}}"#)),
        ] {
            assert_eq!(sealed(&vault, &text), wanted, "{text}");
        }
        assert_eq!(vault.unsealed(format!(r#"["{masked}"]"#).into()), format!(r#"["{secret}"]"#));
    }

    #[test]
    fn each_is_found_in_a_text_of_its_own() {
        let secret = "tok-8f2e61";
        let inside = serde_json::json!({"t": format!(r#"[{{"session_token":"{secret}"}}]"#)}).to_string();
        for text in [
            format!(r#"{{"session_token":"{secret}""#),
            format!(r#"{}{{"auth_key":"{secret}"}}"#, "[".repeat(5000)),
            inside,
        ] {
            assert!(!sealed(&vault(), &text).contains(secret), "{text}");
        }
        // A key in prose, at the beginning of a word and with a digit.
        assert!(!sealed(&vault(), "use anon_ask_abcdef12 now").contains("abcdef12"));
        for text in [
            "task_list_12345678",
            "ask_for_a_project_name",
            r#"{"key":"value","api_key":null,"x":"y"}"#,
            r#"{"api_key":{"name":"main"}}"#,
        ] {
            assert_eq!(sealed(&vault(), text), text);
        }
    }

    #[test]
    fn what_is_masked_is_not_masked_again() {
        let vault = vault();
        let once = sealed(&vault, r#"{"auth_key":"abcdefgh1"}"#);
        assert_eq!(sealed(&vault, &once), once);
    }

    #[test]
    fn very_many_secrets_take_linear_time_and_are_all_masked() {
        let one = |n: usize| format!(r#"{{"api_key":"secret-{n:08}"}}"#);
        let many = (0..100_000).map(one).collect::<Vec<_>>().join(",");
        let inside = serde_json::Value::from(format!("[{many}]")).to_string();
        let begun = Instant::now();
        for text in [format!("[{many}]"), inside] {
            assert!(!sealed(&vault(), &text).contains("secret-"));
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
