//! Server-sent events: cuts a byte stream into whole, clean event blocks (WHATWG HTML 9.2, HTTP-3).
//!
//! Refuses to trust the stream: a byte-order mark is dropped, CR and CRLF become LF, invalid UTF-8 is
//! repaired, a block has a size limit, and `id` and `retry` are read here. What reads the fields of a
//! block gets a complete one, so a hostile chunk boundary cannot reach it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `id` field, if the event had one; empty resets the last event id.
    pub id: Option<String>,
    /// The `retry` field.
    pub retry: Option<Duration>,
    /// The `event` field; empty means `message`.
    pub name: String,
    /// The joined `data` lines; empty for a priming event.
    pub data: Bytes,
}

impl Event {
    /// Says whether the event carries protocol messages (HTTP-3: absent or `message`).
    pub fn is_message(&self) -> bool {
        (self.name.is_empty() || self.name == "message") && !self.data.is_empty()
    }
}

/// The lines of one event, LF only, valid UTF-8, the closing blank line included.
#[derive(Clone, Debug)]
pub struct Block {
    /// The lines.
    pub text: Bytes,
    /// The fields that the guard has read: `id` and `retry`.
    pub event: Event,
}

/// The stream holds an event larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Collects chunks and gives out whole [`Block`]s.
#[derive(Debug)]
pub struct Guard {
    buffer: BytesMut,
    scanned: usize,
    after_cr: bool,
    begun: bool,
    limit: usize,
}

impl Guard {
    /// Makes a guard that takes blocks of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, after_cr: false, begun: false, limit }
    }

    /// Takes one chunk of the stream, cut anywhere.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.after_cr || memchr::memchr(b'\r', chunk).is_some() {
            self.push_normalised(chunk);
        } else {
            self.buffer.extend_from_slice(chunk);
        }
        self.drop_byte_order_mark();
    }

    /// Returns how many bytes wait for the end of their event.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the next whole block.
    ///
    /// # Errors
    /// [`TooLong`] when an unfinished event has passed the limit.
    pub fn next_block(&mut self) -> Result<Option<Block>, TooLong> {
        if !self.begun {
            return Ok(None);
        }
        loop {
            match self.block_end() {
                None if self.buffer.len() > self.limit => return Err(TooLong),
                None => return Ok(None),
                Some(end) => {
                    let text = self.buffer.split_to(end).freeze();
                    self.scanned = 0;
                    if let Some(block) = Block::read(text) {
                        return Ok(Some(block));
                    }
                }
            }
        }
    }

    fn push_normalised(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        self.buffer.reserve(chunk.len());
        let mut rest = chunk;
        if self.after_cr {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = memchr::memchr(b'\r', rest) {
            self.buffer.extend_from_slice(&rest[..at]);
            self.buffer.extend_from_slice(b"\n");
            rest = &rest[at + 1..];
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        self.buffer.extend_from_slice(rest);
        self.after_cr = chunk.ends_with(b"\r");
    }

    fn drop_byte_order_mark(&mut self) {
        if self.begun {
            return;
        }
        if self.buffer.len() < 3 && BYTE_ORDER_MARK.starts_with(&self.buffer) {
            return;
        }
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            let _ = self.buffer.split_to(3);
        }
        self.begun = true;
    }

    /// Returns the place behind the blank line that ends the block at the front.
    fn block_end(&mut self) -> Option<usize> {
        if self.buffer.first() == Some(&b'\n') {
            return Some(1);
        }
        let from = self.scanned.saturating_sub(1);
        let found = memchr::memmem::find(&self.buffer[from..], b"\n\n");
        self.scanned = self.buffer.len();
        found.map(|at| from + at + 2)
    }
}

impl Block {
    /// Reads `id` and `retry`; nothing comes of a block of comments and blank lines.
    fn read(text: Bytes) -> Option<Self> {
        let text = match std::str::from_utf8(&text) {
            Ok(_) => text,
            Err(_) => Bytes::from(String::from_utf8_lossy(&text).into_owned()),
        };
        let mut event = Event::default();
        let mut any = false;
        for (name, value) in fields(&text) {
            any = true;
            match name {
                b"id" if !value.contains(&0) => event.id = Some(String::from_utf8_lossy(value).into_owned()),
                b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                    event.retry = std::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_millis);
                }
                _ => {}
            }
        }
        any.then_some(Self { text, event })
    }

    /// Reads the whole event, without a copy where it has a single `data` line.
    pub fn into_event(self) -> Event {
        let mut event = self.event;
        let mut data: Vec<&[u8]> = Vec::new();
        for (name, value) in fields(&self.text) {
            match name {
                b"data" => data.push(value),
                b"event" => event.name = String::from_utf8_lossy(value).into_owned(),
                _ => {}
            }
        }
        event.data = match data[..] {
            [] => Bytes::new(),
            [line] => self.text.slice_ref(line),
            _ => Bytes::from(data.join(&b'\n')),
        };
        event
    }
}

/// Yields name and value of each field, comments left out, one leading space of the value dropped.
fn fields(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = &rest[(end + 1).min(rest.len())..];
            if line.is_empty() || line[0] == b':' {
                continue;
            }
            let colon = memchr::memchr(b':', &line[..line.len().min(64)]);
            return Some(match colon {
                Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
                None => (line, &[][..]),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<Event> {
        let mut guard = Guard::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            guard.push(chunk);
            while let Ok(Some(block)) = guard.next_block() {
                events.push(block.into_event());
            }
        }
        events
    }

    #[test]
    fn every_line_ending_ends_a_line() {
        for stream in ["data: a\ndata:b\n\n", "data: a\r\ndata:b\r\n\r\n", "data: a\rdata:b\r\r"] {
            let whole = events(&[stream.as_bytes()]);
            assert_eq!(whole.len(), 1, "{stream:?}");
            assert_eq!(whole[0].data, "a\nb");
            let bytewise: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(events(&bytewise), whole, "{stream:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_dropped_even_in_pieces() {
        assert_eq!(events(&[b"\xef", b"\xbb\xbf", b"data: x\n\n"])[0].data, "x");
        assert_eq!(events(&[b"\xef\xbb\xbfdata: x\n\n"])[0].data, "x");
    }

    #[test]
    fn invalid_utf8_does_not_swallow_later_events() {
        let events = events(&[b"data: \xff\n\ndata: y\n\n"]);
        assert_eq!((events[0].data.as_ref(), events[1].data.as_ref()), ("\u{fffd}".as_bytes(), &b"y"[..]));
    }

    #[test]
    fn an_id_or_a_retry_alone_is_an_event_and_a_comment_is_none() {
        let events = events(&[b": ping\n\nid: 7\n\nretry: 250\n\nretry: 2x\ndata\n\n"]);
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].id.as_deref(), Some("7"));
        assert_eq!(events[1].retry, Some(Duration::from_millis(250)));
        assert_eq!(events[2], Event::default());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut guard = Guard::new(16);
        guard.push(b"data: 0123456789abcdef");
        assert_eq!(guard.next_block().unwrap_err(), TooLong);
    }

    proptest::proptest! {
        /// However a stream is cut, and whatever is in it, the events are the same.
        #[test]
        fn the_cut_of_the_chunks_does_not_matter(
            lines in proptest::collection::vec("(data|id|retry|event|:|\u{feff}|x)?:? ?[a-z0-9\u{e9}]{0,6}(\r\n|\n|\r|\n\n)", 0..24),
            size in 1..9usize,
        ) {
            let stream = lines.concat();
            let cut: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            proptest::prop_assert_eq!(events(&cut), events(&[stream.as_bytes()]));
        }
    }
}
