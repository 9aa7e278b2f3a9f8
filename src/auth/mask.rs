//! Finds and masks secrets in text: however JSON escapes them, percent-encoded, and in base64 as a whole.
//!
//! Prepared once per set of secrets; a search is linear in the length of the text. Does not find a secret that is
//! encoded in another way (hexadecimal, base64 of more than the secret).

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::HeaderValue;
use memchr::{memchr, memmem};
use zeroize::Zeroizing;

/// Shorter header values are not masked: they occur in ordinary text by chance.
const SHORTEST_SECRET: usize = 8;
/// Maximum number of secrets; the oldest are dropped first.
const MOST: usize = 64;
const MASKED: &[u8] = b"MASKED";
/// Replaces every non-ASCII character; header values cannot contain this byte.
const OTHER: u8 = 0xff;

/// The secrets to mask, and their replacements.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    needles: Vec<Needle>,
}

impl Mask {
    /// Adds a header value and, separately, the part after its scheme (`Bearer`, `Basic`).
    pub fn add(&mut self, value: &HeaderValue) {
        let behind_scheme = memchr(b' ', value.as_bytes()).map(|space| space + 1);
        for from in [Some(0), behind_scheme].into_iter().flatten() {
            let secret = &value.as_bytes()[from..];
            if secret.len() >= SHORTEST_SECRET
                && !self.needles.iter().any(|needle| needle.text.as_slice() == secret)
            {
                let is_whole = behind_scheme.is_none_or(|behind| behind == from);
                self.push(if is_whole {
                    Needle::with_encodings(secret)
                } else {
                    Needle::new(secret.to_vec())
                });
            }
        }
    }

    /// Adds a secret of at least [`SHORTEST_SECRET`] bytes and its replacement.
    pub fn add_as(&mut self, secret: &str, shown: &str) {
        if secret.len() >= SHORTEST_SECRET {
            self.push(Needle { shown: shown.as_bytes().into(), ..Needle::with_encodings(secret.as_bytes()) });
        }
    }

    fn push(&mut self, needle: Needle) {
        self.needles.push(needle);
        let too_many = self.needles.len().saturating_sub(MOST);
        self.needles.drain(..too_many);
    }

    /// Replaces each secret in the text.
    pub fn masked(&self, text: Bytes) -> Bytes {
        let found = self.found(&text);
        if found.is_empty() {
            return text;
        }
        let (mut out, mut done) = (Vec::with_capacity(text.len()), 0);
        for (at, shown) in found {
            out.extend_from_slice(&text[done..at.start]);
            out.extend_from_slice(shown);
            done = at.end;
        }
        out.extend_from_slice(&text[done..]);
        out.into()
    }

    /// Returns the secrets that occur in the text, as written there and unescaped.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        let (mut forms, unescaped) = (BTreeSet::new(), unescaped(text));
        for needle in &self.needles {
            let mut found = Vec::new();
            needle.find(text, unescaped.as_deref(), &mut found);
            let plain = (!found.is_empty()).then_some(needle.text.as_slice());
            forms.extend(found.into_iter().map(|at| &text[at]).chain(plain));
        }
        forms.into_iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect()
    }

    /// Returns the ranges of secrets in order and their replacements, overlapping ones merged.
    fn found(&self, text: &[u8]) -> Vec<(Range<usize>, &[u8])> {
        let (mut all, unescaped) = (Vec::new(), unescaped(text));
        for needle in &self.needles {
            let mut own = Vec::new();
            needle.find(text, unescaped.as_deref(), &mut own);
            all.extend(own.into_iter().map(|at| (at, &*needle.shown)));
        }
        all.sort_by_key(|(at, _)| (at.start, at.end));
        let mut joined: Vec<(Range<usize>, &[u8])> = Vec::new();
        for (at, shown) in all {
            match joined.last_mut().filter(|(last, _)| at.start < last.end) {
                Some((last, _)) => last.end = last.end.max(at.end),
                None => joined.push((at, shown)),
            }
        }
        joined
    }
}

/// Returns the text with its backslash escapes removed, if it has any.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    memchr(b'\\', text).map(|_| Units::of(text).map(|(_, unit)| unit).collect())
}

/// One form of a secret with its Knuth–Morris–Pratt table.
#[derive(Clone)]
struct Needle {
    text: Zeroizing<Vec<u8>>,
    /// Its replacement.
    shown: Box<[u8]>,
    unescaped: Option<Zeroizing<Vec<u8>>>,
    /// KMP failure function.
    fallback: Vec<u32>,
    /// Encodings of the secret that are found too.
    encoded: Vec<Needle>,
}

/// Returns the encodings of a secret that differ from it; base64 without its padding, which says nothing.
fn encodings(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let percent = |unreserved: &[u8], hex: fn(u8) -> String| -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || unreserved.contains(&byte);
        secret
            .iter()
            .map(|byte| if is_plain(*byte) { char::from(*byte).into() } else { hex(*byte) })
            .collect()
    };
    let (upper, lower) = (|byte| format!("%{byte:02X}"), |byte| format!("%{byte:02x}"));
    // Python's `urllib.parse.quote` keeps the slash.
    let (strict, paths) = (b"-_.~", b"-_.~/");
    let percent =
        [percent(strict, upper), percent(strict, lower), percent(paths, upper), percent(paths, lower)];
    let base64 = [STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
    percent.into_iter().chain(base64).map(Vec::from).filter(|form| form != secret).collect()
}

impl std::fmt::Debug for Needle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Needle(…)")
    }
}

impl Needle {
    fn new(text: Vec<u8>) -> Self {
        let unescaped = unescaped(&text).map(Zeroizing::new);
        let mut needle = Self {
            text: Zeroizing::new(text),
            shown: MASKED.into(),
            unescaped,
            fallback: vec![0],
            encoded: Vec::new(),
        };
        let (mut matched, mut at) = (0, 1);
        while at < needle.units().len() {
            let step = needle.step(matched, needle.units()[at]);
            needle.fallback.push(u32::try_from(step).unwrap_or_default());
            (matched, at) = (step, at + 1);
        }
        needle
    }

    fn with_encodings(secret: &[u8]) -> Self {
        let encoded = encodings(secret).into_iter().map(Self::new).collect();
        Self { encoded, ..Self::new(secret.to_vec()) }
    }

    fn units(&self) -> &[u8] {
        self.unescaped.as_ref().unwrap_or(&self.text)
    }

    /// Returns the matched length after one more character.
    fn step(&self, mut matched: usize, unit: u8) -> usize {
        let units = self.units();
        loop {
            if units.get(matched) == Some(&unit) {
                return matched + 1;
            }
            match matched.checked_sub(1) {
                Some(last) => matched = self.fallback[last] as usize,
                None => return 0,
            }
        }
    }

    /// Adds each occurrence of the secret: plain, escaped, and encoded. `unescaped` is the text without its escapes.
    fn find(&self, text: &[u8], unescaped: Option<&[u8]>, found: &mut Vec<Range<usize>>) {
        found.extend(memmem::find_iter(text, &self.text).map(|at| at..at + self.text.len()));
        if unescaped.is_some_and(|unescaped| memmem::find(unescaped, self.units()).is_some()) {
            self.find_escaped(text, found);
        }
        self.encoded.iter().for_each(|form| form.find(text, unescaped, found));
    }

    fn find_escaped(&self, text: &[u8], found: &mut Vec<Range<usize>>) {
        let length = self.units().len();
        // A ring of the start offsets of the last characters: a match needs the start of its first one.
        let mut starts = vec![0; length];
        let (mut matched, mut count) = (0, 0);
        for (at, unit) in Units::of(text) {
            starts[count % length] = at.start;
            count += 1;
            matched = self.step(matched, unit);
            if matched == length {
                found.push(starts[count % length]..at.end);
                matched = self.fallback[length - 1] as usize;
            }
        }
    }
}

/// Iterates over the characters of a text with JSON escapes decoded. Any number of backslashes is taken as one,
/// because JSON inside a JSON string is escaped more than once.
struct Units<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Units<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Decodes an escape after its backslashes; returns the character and the length.
    fn escaped(rest: &[u8]) -> (u8, usize) {
        match rest {
            [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => {
                let digit = |c: u8| (c as char).to_digit(16).unwrap_or_default();
                let code = digits[..4].iter().fold(0, |code, c| code * 16 + digit(*c));
                (u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(OTHER), 5)
            }
            [c @ (b'/' | b'"'), ..] => (*c, 1),
            // Any other escape is a backslash or a control character, which no secret contains.
            _ => (b'\\', 0),
        }
    }
}

impl Iterator for Units<'_> {
    type Item = (Range<usize>, u8);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let first = *self.text.get(start)?;
        self.at += 1;
        if first != b'\\' {
            return Some((start..self.at, first));
        }
        while self.text.get(self.at) == Some(&b'\\') {
            self.at += 1;
        }
        let (unit, length) = Self::escaped(&self.text[self.at..]);
        self.at += length;
        Some((start..self.at, unit))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let mut mask = Mask::default();
        secrets.iter().for_each(|secret| mask.add(&HeaderValue::from_str(secret).unwrap()));
        mask
    }

    fn masked(secret: &str, text: &str) -> String {
        String::from_utf8(mask(&[secret]).masked(Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn a_secret_is_found_behind_its_scheme_and_behind_any_escape() {
        let secret = "Basic dXNl/cjp+YXNz=";
        for written in [
            "Basic dXNl/cjp+YXNz=",
            "dXNl/cjp+YXNz=",
            r"dXNl\/cjp+YXNz=",
            r"dXNl/cjp\u002bYXNz\u003d",
            r"dXNl\u002Fcjp\u002BYXNz\u003D",
            r"\u0064\u0058\u004e\u006C/cjp+YXNz=",
            r"dXNl\\/cjp\\u002bYXNz\\\\u003d",
        ] {
            assert_eq!(masked(secret, &format!("[{written}, {written}]")), "[MASKED, MASKED]", "{written}");
        }
        for other in [r"dXNl\u012Fcjp+YXNz=", r"dXNl\u00", "dXNl", r"dXNl\\", r"\u00642Nl/cjp+YXNz="] {
            assert_eq!(masked(secret, other), other);
        }
    }

    #[test]
    fn an_encoded_secret_is_found() {
        let secret = "Bearer dXNl/cj?+YXNz=";
        for written in [
            "dXNl%2Fcj%3F%2BYXNz%3D",
            "dXNl%2fcj%3f%2bYXNz%3d",
            "Bearer%20dXNl%2Fcj%3F%2BYXNz%3D",
            "ZFhObC9jaj8rWVhOej0=",
            "ZFhObC9jaj8rWVhOej0",
            // Python's urllib.parse.quote keeps the slash.
            "dXNl/cj%3F%2BYXNz%3D",
            "dXNl/cj%3f%2bYXNz%3d",
            r"dXNl\/cj%3F%2BYXNz%3D",
        ] {
            let told = masked(secret, &format!("a={written}&b"));
            assert!(told.contains("MASKED") && !told.contains("cj") && !told.contains("ZFhO"), "{told}");
        }
        assert_eq!(
            masked("ask_>>>???~~~123", "YXNrXz4-Pj8_P35-fjEyMw YXNrXz4+Pj8/P35+fjEyMw=="),
            "MASKED MASKED=="
        );
        // base64 with a slash, which PHP escapes: YXNrXz8/Pz8/Pz8/MTIz
        for written in [r"YXNrXz8\/Pz8\/Pz8\/MTIz", r"YXNrXz8\u002fPz8\\/Pz8/MTIz"] {
            assert_eq!(masked("ask_????????123", &format!("[{written}]")), "[MASKED]");
        }
    }

    #[test]
    fn a_secret_with_quotes_and_backslashes_is_found() {
        let secret = r#"a"b\c\u0041/long"#;
        for written in [secret.to_owned(), serde_json::to_string(secret).unwrap()] {
            let told = masked(secret, &format!(r#"{{"a":"\n","b":{written}}}"#));
            assert!(told.contains("MASKED") && !told.contains("long"), "{told}");
        }
    }

    #[test]
    fn a_short_value_is_left_alone_and_touching_secrets_are_two() {
        assert_eq!(masked("short", "short short"), "short short");
        assert_eq!(masked("ask_12345678", "ask_12345678ask_12345678"), "MASKEDMASKED");
        assert_eq!(masked("abababab", "xababababab\\n"), "xMASKED\\n");
    }

    #[test]
    fn what_is_repeated_is_named_as_it_is_written_and_as_it_is() {
        let repeated = mask(&["Bearer abc=defgh"]).repeated_in(br#"{"a":"Bearer abc\u003ddefgh"}"#);
        let wanted =
            ["Bearer abc=defgh", r"Bearer abc\u003ddefgh", "abc=defgh", r"abc\u003ddefgh"].map(str::to_owned);
        assert_eq!(repeated, wanted);
    }

    #[test]
    fn a_hostile_text_takes_linear_time() {
        let mask = mask(&[&format!("{}b", "a".repeat(8000))]);
        let text = Bytes::from(r"\u0061".repeat(500_000) + &"a".repeat(1_000_000) + &r"\".repeat(1_000_000));
        let begun = Instant::now();
        assert_eq!(mask.masked(text.clone()), text);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
