//! Replaces the secrets in a service's results with references, and resolves a reference only in arguments for secrets.
//!
//! Refuses to resolve a reference of another origin. Finds secrets by the names of their fields, whatever the depth and
//! the escapes, in JSON inside strings and in prose too, and keys by their prefix; then each of them wherever it occurs.
//! Does not find a secret that is seen for the first time in a number, in base64, or behind a name that is
//! percent-encoded twice.

mod percent;
#[cfg(test)]
mod tests;

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
/// Maximum length of a text that may be the name of a field, as a string.
const LONGEST_NAME: usize = 256;
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

/// The fields of an object that may be a pair, such as `{"name":"session_token","value":"…"}`.
#[derive(Default)]
struct Pair {
    /// One of them names a field of a secret.
    is_named: bool,
    /// The next string is the pair's value.
    in_value: bool,
    /// Its value, which came before the name.
    value: Option<Range<usize>>,
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
        let mut pair = Pair::default();
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            if *byte != b'"' {
                if matches!(byte, b'{' | b'}') {
                    pair = Pair::default();
                }
                place = place.after(*byte);
                at += 1;
                continue;
            }
            let content = at + 1..end_of_string(text, at + 1);
            at = content.end + 1;
            let is_inside = matches!(place, Place::Inside(_));
            if is_name(&text[at.min(text.len())..]) {
                if !is_inside {
                    let name = unescaped(&text[content]);
                    pair.in_value = plain(&name) == "value";
                    let is_secret = self.names(&name) || (pair.in_value && pair.is_named);
                    place = if is_secret { Place::AfterName } else { Place::Elsewhere };
                }
                continue;
            }
            let is_escaped = memchr(b'\\', &text[content.clone()]).is_some();
            let in_value = std::mem::take(&mut pair.in_value);
            if place == Place::Value || is_inside {
                let secret = unescaped(&text[content.clone()]);
                let is_secret = match in_value {
                    _ if is_inside => looks_secret(&secret),
                    true => is_value(&secret),
                    false => !secret.is_empty(),
                };
                if is_secret && !is_masked(&secret) {
                    found.push(Found { at: Some(content), secret: Some(secret) });
                }
            } else {
                self.pair(text, (&mut pair, in_value), content.clone(), found);
                if is_escaped {
                    self.find_inside(&unescaped(&text[content.clone()]), (depth, content), found);
                }
            }
            place = if is_inside { place } else { Place::Elsewhere };
        }
    }

    /// Takes a string that is no secret by the name before it: the value of a pair, or the name that makes it one.
    fn pair(
        &self,
        text: &[u8],
        (pair, in_value): (&mut Pair, bool),
        content: Range<usize>,
        found: &mut Vec<Found>,
    ) {
        if in_value {
            pair.value = Some(content);
            return;
        }
        let before = text[..content.start - 1].iter().rev().find(|byte| !byte.is_ascii_whitespace());
        if content.len() > LONGEST_NAME || before != Some(&b':') || !self.names(&unescaped(&text[content])) {
            return;
        }
        pair.is_named = true;
        let Some(at) = pair.value.take() else { return };
        let secret = unescaped(&text[at.clone()]);
        if is_value(&secret) && !is_masked(&secret) {
            found.push(Found { at: Some(at), secret: Some(secret) });
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

    /// Finds secrets in prose, and in what is percent-encoded there.
    fn find_in_prose(&self, text: &[u8], found: &mut Vec<Found>) {
        self.find_words(text, found);
        for decoded in percent::words(text) {
            let mut inner = Vec::new();
            self.find_words(&decoded.bytes, &mut inner);
            for Found { at, secret } in inner {
                let Some(at) = at.map(|at| decoded.written(&at)) else { continue };
                // It may recur as it is written here.
                let written = std::str::from_utf8(&text[at.clone()]).unwrap_or_default();
                let differs = secret.as_ref().is_some_and(|secret| ***secret != *written);
                let written = differs.then(|| Zeroizing::new(written.to_owned()));
                found.push(Found { at: Some(at.clone()), secret });
                found.extend(written.map(|written| Found { at: Some(at), secret: Some(written) }));
            }
        }
    }

    /// Finds keys by their prefix, at the beginning of a word, and what follows the name of a field.
    fn find_words(&self, text: &[u8], found: &mut Vec<Found>) {
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

/// Says whether the value of a pair is a secret rather than a word or a sentence.
fn is_value(text: &str) -> bool {
    !is_word(text) && !text.contains(char::is_whitespace)
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
