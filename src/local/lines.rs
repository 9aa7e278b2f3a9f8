//! Splits chunks into lines: LF or CRLF ends, blank lines dropped, a maximum length (STD-2, STD-4).
//!
//! Drops the bytes of an overlong line as they arrive.

use bytes::{Bytes, BytesMut};

use super::Incoming;
use crate::protocol::MAX_MESSAGE;

/// Whether further input follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    ToCome,
    Ended,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    scanned: usize,
    dropping: bool,
}

impl Lines {
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Returns the next complete line; at the end of input also an incomplete one.
    pub fn next_line(&mut self, more: More) -> Option<Incoming> {
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at);
            let Some(line) = self.cut(found, more) else {
                return self.refuse_long();
            };
            if std::mem::take(&mut self.dropping) {
                continue;
            }
            if !line.trim_ascii().is_empty() {
                return Some(Incoming::Line(line));
            }
        }
    }

    fn cut(&mut self, found: Option<usize>, more: More) -> Option<Bytes> {
        match found {
            Some(at) => {
                let mut line = self.buffer.split_to(at + 1);
                self.scanned = 0;
                line.truncate(at);
                Some(line.freeze())
            }
            None if more == More::Ended && !self.buffer.is_empty() => {
                self.scanned = 0;
                Some(self.buffer.split().freeze())
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    fn refuse_long(&mut self) -> Option<Incoming> {
        if self.dropping {
            self.buffer.clear();
            self.scanned = 0;
            return None;
        }
        if self.buffer.len() <= MAX_MESSAGE {
            return None;
        }
        self.buffer = BytesMut::new();
        self.scanned = 0;
        self.dropping = true;
        Some(Incoming::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        for size in 1..12 {
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for chunk in b"{\"a\":1}\r\n\n  \nb\nlast".chunks(size) {
                lines.push(chunk);
                while let Some(Incoming::Line(line)) = lines.next_line(More::ToCome) {
                    got.push(line);
                }
            }
            got.extend(match lines.next_line(More::Ended) {
                Some(Incoming::Line(line)) => Some(line),
                _ => None,
            });
            assert_eq!(got, ["{\"a\":1}\r", "b", "last"]);
        }
    }

    #[test]
    fn a_line_past_the_limit_is_told_once_and_the_next_one_is_read() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; MAX_MESSAGE / 2 + 1];
        lines.push(&chunk);
        assert_eq!(lines.next_line(More::ToCome), None);
        lines.push(&chunk);
        assert_eq!(lines.next_line(More::ToCome), Some(Incoming::TooLong));
        lines.push(&chunk);
        assert_eq!(lines.next_line(More::ToCome), None);
        lines.push(b"tail\nnext\n");
        assert_eq!(lines.next_line(More::ToCome), Some(Incoming::Line("next".into())));
    }
}
