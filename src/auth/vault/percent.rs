//! Percent-encoded words of a text, decoded with where each byte came from (RFC 3986, section 2.1).
//!
//! Refuses to decode twice.

use std::ops::Range;

use memchr::memchr;

/// Maximum length of a word, in bytes; a longer one is read in parts.
const LONGEST_WORD: usize = 64 * 1024;

/// A word without its escapes.
pub(super) struct Decoded {
    /// Its bytes, which need not be text.
    pub bytes: Vec<u8>,
    /// Where each of them is written in the whole text, and where the word ends.
    places: Vec<usize>,
}

impl Decoded {
    fn of(text: &[u8], word: Range<usize>) -> Self {
        let mut decoded = Self { bytes: Vec::new(), places: Vec::new() };
        let mut at = word.start;
        while at < word.end {
            let escaped = escaped(&text[at..word.end]);
            decoded.bytes.push(escaped.unwrap_or(text[at]));
            decoded.places.push(at);
            at += if escaped.is_some() { 3 } else { 1 };
        }
        decoded.places.push(word.end);
        decoded
    }

    /// Returns where a part of it is written.
    pub fn written(&self, part: &Range<usize>) -> Range<usize> {
        self.places[part.start]..self.places[part.end]
    }
}

/// Returns the words of a text that have escapes.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = Decoded> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let mut from = done;
        loop {
            let sign = from + memchr(b'%', &text[from..])?;
            if escaped(&text[sign..]).is_none() {
                from = sign + 1;
                continue;
            }
            let first = done.max(sign.saturating_sub(LONGEST_WORD));
            let before = text[first..sign].iter().rposition(|byte| ends_word(*byte));
            let start = before.map_or(first, |at| first + at + 1);
            let most = &text[sign..text.len().min(sign + LONGEST_WORD)];
            let end = sign + most.iter().position(|byte| ends_word(*byte)).unwrap_or(most.len());
            done = end;
            return Some(Decoded::of(text, start..end));
        }
    })
}

fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\\')
}

/// Returns the byte of the escape with which a text begins.
fn escaped(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}
