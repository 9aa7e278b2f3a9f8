//! Replaces the secrets in a service's results with references, and resolves a reference only in arguments for secrets.
//!
//! Refuses to resolve a reference of another origin. Finds secrets by the names of their fields, whatever the depth and
//! the escapes, in JSON inside strings and in prose too, and keys by their prefix; then each of them wherever it occurs.
//! Does not find a secret that is seen for the first time in a number, in base64, or behind a percent-encoded name.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use memchr::{memchr, memmem};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::mask::Mask;
use crate::protocol::message::replace_lone_surrogates;
use crate::protocol::secrets::{MASKED, MASKED_LENGTH, is_masked, plain};
use crate::secret::Secret;
use crate::service::Service;

/// Maximum secrets that are remembered; the oldest are dropped first.
const MOST: usize = 64;
/// Maximum depth of JSON inside strings.
const DEEPEST: usize = 3;
/// Minimum length of a secret that is known by its look alone.
const SHORTEST_KEY: usize = 8;
/// Maximum length of a secret that is remembered: no key is longer.
const LONGEST: usize = super::form::LONGEST;
/// Maximum secrets of one text that are masked wherever they recur in it.
const MOST_REPEATED: usize = 1024;

/// The secrets of one service.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// Names of fields, as the service's data writes them.
    names: Vec<String>,
    /// The same, as [`plain`] writes them.
    fields: Vec<String>,
    prefixes: Vec<String>,
    origin: String,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    mask: Mask,
    /// Reference and secret.
    secrets: VecDeque<(String, Secret)>,
}

/// A secret in a text.
struct Found {
    /// Where it is written; none inside another string, where it is found by its text.
    at: Option<Range<usize>>,
    /// None for a whole string with secrets in it.
    secret: Option<Zeroizing<String>>,
}

impl Vault {
    /// Guards what the data of a service names, towards one origin.
    pub fn new(service: &Service, origin: &str) -> Self {
        let names = service.secrets.fields.clone();
        let fields: Vec<String> = names.iter().map(|name| plain(name)).collect();
        let prefixes = if fields.is_empty() { Vec::new() } else { service.auth.key_prefixes.clone() };
        Self { names, fields, prefixes, origin: origin.to_owned(), known: RwLock::default() }
    }

    /// Says whether there is anything to guard.
    pub fn is_used(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Replaces each secret with its reference.
    pub fn sealed(&self, text: Bytes) -> Bytes {
        if !self.is_used() {
            return text;
        }
        let mask = |text| self.known.read().unwrap_or_else(PoisonError::into_inner).mask.masked(text);
        // Known ones first: one that is encoded would be taken for another.
        let text = mask(text);
        let mut found = Vec::new();
        self.find(&text, DEEPEST, &mut found);
        self.find_in_prose(&text, &mut found);
        let mut text = self.replaced(text, &found);
        let secrets: Vec<&str> =
            found.iter().filter_map(|found| Some(found.secret.as_ref()?.as_str())).collect();
        // A word is masked in its field alone; inside another string it is found by its text, in this reply only.
        let recurs = |found: &&Found| found.secret.as_ref().is_some_and(|secret| !is_word(secret));
        let here: Vec<&Found> = match secrets.len() > MOST {
            true => found.iter().filter(|found| found.at.is_none() || recurs(found)).collect(),
            false => found.iter().filter(|found| found.at.is_none() && !recurs(found)).collect(),
        };
        let here: Vec<&str> =
            here.into_iter().filter_map(|found| Some(found.secret.as_ref()?.as_str())).collect();
        for some in here[..here.len().min(MOST_REPEATED)].chunks(MOST) {
            let mut mask = Mask::default();
            some.iter().for_each(|secret| mask.add_as(secret, &self.masked(secret)));
            text = mask.masked(text);
        }
        if secrets.is_empty() {
            return text;
        }
        secrets.into_iter().take(MOST).for_each(|secret| self.learn(secret));
        mask(text)
    }

    /// Returns the secrets that occur in a text, as written there and unescaped.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).mask.repeated_in(text)
    }

    /// Replaces the references of a JSON text with their secrets, as far as they are known.
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

    /// Returns the secret of a reference, if it was seen in this process.
    pub fn open(&self, masked: &str) -> Option<Secret> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.secrets.iter().find(|(of, _)| of == masked).map(|(_, secret)| secret.clone())
    }

    /// Returns the reference to a secret: a part of its hash, so that it is the same in every process.
    pub fn masked(&self, secret: &str) -> String {
        let mut hash = Sha256::new_with_prefix(b"asistry masked value v1\n");
        hash.update(&self.origin);
        hash.update(b"\n");
        hash.update(secret);
        let digits = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{MASKED}{digits}")
    }

    /// Remembers what a person or a model wrote where a secret belongs, if it looks like one: the service may repeat it.
    pub fn learn_typed(&self, word: &str) {
        if looks_secret(word) {
            self.learn(word);
        }
    }

    /// Remembers a secret, so that it can be opened, and is masked wherever it occurs later unless it may be a word.
    pub fn learn(&self, secret: &str) {
        let masked = self.masked(secret);
        if !self.is_used() || secret.len() > LONGEST || self.open(&masked).is_some() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !is_word(secret) {
            known.mask.add_as(secret, &masked);
        }
        known.secrets.push_back((masked, Secret::new(secret.to_owned())));
        if known.secrets.len() > MOST {
            known.secrets.pop_front();
        }
    }

    /// Replaces what was found in the text itself.
    fn replaced(&self, text: Bytes, found: &[Found]) -> Bytes {
        let mut places: Vec<(&Range<usize>, &Found)> =
            found.iter().filter_map(|found| Some((found.at.as_ref()?, found))).collect();
        if places.is_empty() {
            return text;
        }
        places.sort_by_key(|(at, _)| (at.start, std::cmp::Reverse(at.end)));
        let (mut out, mut done) = (Vec::with_capacity(text.len()), 0);
        for (at, Found { secret, .. }) in places {
            if at.start < done {
                continue;
            }
            out.extend_from_slice(&text[done..at.start]);
            let shown = secret.as_ref().map_or_else(|| "MASKED".to_owned(), |secret| self.masked(secret));
            out.extend_from_slice(shown.as_bytes());
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
            let content = at + 1..end_of_string(text, at + 1);
            at = content.end + 1;
            let is_inside = matches!(place, Place::Inside(_));
            if is_name(&text[at.min(text.len())..]) {
                if !is_inside {
                    let is_secret = self.names(&unescaped(&text[content]));
                    place = if is_secret { Place::AfterName } else { Place::Elsewhere };
                }
                continue;
            }
            let is_escaped = memchr(b'\\', &text[content.clone()]).is_some();
            if place == Place::Value || is_inside {
                let secret = unescaped(&text[content.clone()]);
                let is_secret = if is_inside { looks_secret(&secret) } else { !secret.is_empty() };
                if is_secret && !is_masked(&secret) {
                    found.push(Found { at: Some(content), secret: Some(secret) });
                }
            } else if is_escaped {
                self.find_inside(&unescaped(&text[content.clone()]), (depth, content), found);
            }
            place = if is_inside { place } else { Place::Elsewhere };
        }
    }

    /// Finds secrets inside a string; one with very many, or too deep, is masked as a whole.
    fn find_inside(&self, inside: &str, (depth, at): (usize, Range<usize>), found: &mut Vec<Found>) {
        let mut inner = Vec::new();
        match depth {
            0 if self.fields.iter().any(|field| plain(inside).contains(field.as_str())) => {
                return found.push(Found { at: Some(at), secret: None });
            }
            0 => {}
            _ => self.find(inside.as_bytes(), depth - 1, &mut inner),
        }
        self.find_in_prose(inside.as_bytes(), &mut inner);
        let before = found.iter().filter(|found| found.at.is_none()).count();
        if before + inner.len() > MOST || inner.iter().any(|inner| inner.secret.is_none()) {
            return found.push(Found { at: Some(at), secret: None });
        }
        // First, so that none of them is too many to be remembered.
        found.splice(0..0, inner.into_iter().map(|inner| Found { at: None, ..inner }));
    }

    /// Finds keys by their prefix, at the beginning of a word, and what follows the name of a field.
    fn find_in_prose(&self, text: &[u8], found: &mut Vec<Found>) {
        for prefix in &self.prefixes {
            for at in memmem::find_iter(text, prefix) {
                let begins_word = at == 0 || !is_of_word(text[at - 1]);
                if begins_word {
                    self.take_word(text, (at, prefix.len()), found);
                }
            }
        }
        for name in &self.names {
            for at in memmem::find_iter(text, name) {
                let between = |byte: &u8| matches!(byte, b' ' | b'"' | b'\'' | b'\\');
                let mut rest = at + name.len();
                rest += text[rest..].iter().take_while(|byte| between(byte)).count();
                if matches!(text.get(rest), Some(b':' | b'=')) {
                    rest += 1;
                    rest += text[rest..].iter().take_while(|byte| between(byte)).count();
                    self.take_word(text, (rest, 0), found);
                }
            }
        }
    }

    /// Takes the word that begins here for a secret if it looks like one behind its prefix.
    fn take_word(&self, text: &[u8], (at, prefix): (usize, usize), found: &mut Vec<Found>) {
        let rest = &text[at..];
        let length = rest.iter().position(|byte| !is_of_word(*byte) && !b".+/=~%".contains(byte));
        let word = &rest[..length.unwrap_or(rest.len())];
        // What ends a sentence is no part of it.
        let word = &word
            [..word.iter().rposition(|byte| is_of_word(*byte) || *byte == b'=').map_or(0, |last| last + 1)];
        let Some(word) = std::str::from_utf8(word).ok().filter(|word| !is_masked(word)) else { return };
        if word.get(prefix..).is_some_and(looks_secret) {
            found
                .push(Found { at: Some(at..at + word.len()), secret: Some(Zeroizing::new(word.to_owned())) });
        }
    }

    /// Says whether a field of this name holds a secret, or several.
    fn names(&self, name: &str) -> bool {
        let name = plain(name);
        let is_it = |name: &str| self.fields.iter().any(|field| field == name);
        is_it(&name) || name.strip_suffix('s').is_some_and(is_it)
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
    /// In a list or an object that is its value, this deep.
    Inside(usize),
}

impl Place {
    /// Returns the place after a character that begins no string.
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (place, b' ' | b'\t' | b'\n' | b'\r') => place,
            (Self::AfterName, b':') => Self::Value,
            (Self::Value, b'[' | b'{') => Self::Inside(1),
            (Self::Inside(depth), b'[' | b'{') => Self::Inside(depth + 1),
            (Self::Inside(1), b']' | b'}') => Self::Elsewhere,
            (Self::Inside(depth), b']' | b'}') => Self::Inside(depth - 1),
            (Self::Inside(depth), _) => Self::Inside(depth),
            _ => Self::Elsewhere,
        }
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Says whether a word looks like a secret rather than like language: long, with a digit or without separators.
fn looks_secret(word: &str) -> bool {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_one_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_long = word.len() >= SHORTEST_KEY && !word.contains(char::is_whitespace);
    is_long && (has_digit || (is_one_word && word.len() >= 2 * SHORTEST_KEY))
}

/// Says whether a secret may be an ordinary word, such as `completed`, which other texts must keep.
fn is_word(secret: &str) -> bool {
    secret.len() < 2 * SHORTEST_KEY && !looks_secret(secret)
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
    let quoted = Zeroizing::new(format!("\"{written}\""));
    let read = |text: &str| serde_json::from_str(text).ok();
    let whole = read(&replace_lone_surrogates(&quoted)).unwrap_or_else(|| written.into_owned());
    Zeroizing::new(whole)
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
            (format!(r#"{{"apiKey" : ["{secret}","x"]}}"#), format!(r#"{{"apiKey" : ["{masked}","x"]}}"#)),
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
    fn a_word_is_masked_in_its_field_and_nowhere_else() {
        let vault = vault();
        let masked = vault.masked("completed");
        let told = sealed(&vault, r#"{"status":"completed","auth_key":"completed"}"#);
        assert_eq!(told, format!(r#"{{"status":"completed","auth_key":"{masked}"}}"#));
        let inside = serde_json::json!({"t": r#"{"auth_key":"completed"}"#}).to_string();
        assert!(!sealed(&vault, &inside).contains("completed"));
        assert_eq!(sealed(&vault, r#"{"status":"completed"}"#), r#"{"status":"completed"}"#);
        assert_eq!(vault.unsealed(format!(r#"["{masked}"]"#).into()), r#"["completed"]"#);
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
    fn it_is_found_however_it_is_written() {
        let secret = "tok-zQ7MARK9";
        let json = serde_json::json!({"session_token": secret}).to_string();
        let nested = |times: usize| {
            (0..times).fold(json.clone(), |inner, _| serde_json::json!({"t": inner}).to_string())
        };
        for text in [
            nested(1),
            nested(3),
            nested(6),
            serde_json::json!({"error": format!("HTTP 500: {json}")}).to_string(),
            serde_json::json!({"error": format!("KeyError: {{'session_token': '{secret}', 'x': 1}}")})
                .to_string(),
            format!("<html>session_token: {secret}</html>"),
            format!(r#"{{"url":"https://x/?session_token={secret}&x"}}"#),
            format!(r#"{{"session_token":{{"value":"{secret}"}}}}"#),
            format!(r#"{{"session_token":[null,["{secret}"]]}}"#),
            format!(r#"{{"sessionTokens":["{secret}"]}}"#),
            format!(r#"{{"session_token":"\ud800{secret}"}}"#),
            serde_json::json!({"t": format!(r#"{{"session_token":"\ud800{secret}"}}"#)}).to_string(),
            format!("{{\"session_token\"\r\n:\r\n\"{secret}\"}}"),
            format!(r#"{{"session_token":"MASKED_0123456789ab","session_token":"{secret}"}}"#),
        ] {
            assert!(!sealed(&vault(), &text).contains("zQ7MARK"), "{text}");
        }
        for key in ["anon_ask_zQ7MARK9x", "ask_abc.def1.zQ7MARK9", "ask_abcdefghijklzQQMARK"] {
            for text in [format!("Your key:\n{key}."), format!("key {key}")] {
                let text = serde_json::json!({"m": text}).to_string();
                let told = sealed(&vault(), &text);
                assert!(!told.contains("MARK9") && !told.contains("QQMARK"), "{told}");
            }
        }
        let told = sealed(&vault(), r#"{"message":"key anon\u005fask_zQ7MARK9x"}"#);
        assert!(!told.contains("zQ7MARK"), "{told}");
    }

    #[test]
    fn a_schema_and_a_sentence_stay_as_they_are() {
        for text in [
            r#"{"properties":{"auth_key":{"type":"string","description":"The key of the project, 32 letters"}},"required":["auth_key"]}"#,
            r#"{"error":"session_token: authentication is needed"}"#,
        ] {
            assert_eq!(sealed(&vault(), text), text);
        }
    }

    #[test]
    fn more_secrets_than_are_remembered_are_masked_all_the_same() {
        let list = |name: &str| {
            let keys: Vec<String> =
                (0..70).map(|n| format!(r#"{{"api_key":"{name}-{n:03}-MARK1"}}"#)).collect();
            format!("[{}]", keys.join(","))
        };
        let again: String = (0..70).map(|n| format!(" rr-{n:03}-MARK1")).collect();
        let inside = serde_json::json!({"a": list("aa"), "b": list("bb")}).to_string();
        for text in [format!(r#"{{"l":{},"m":"{again}"}}"#, list("rr")), inside] {
            let told = sealed(&vault(), &text);
            assert!(!told.contains("MARK"), "{told}");
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
