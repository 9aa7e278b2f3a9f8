//! Parses the events of a response: the guard splits blocks, eventsource-stream parses their fields.
//!
//! The crate gets one complete block at a time and never the start of a stream, because it panics on a byte-order
//! mark and its time is quadratic in unfinished lines. Blocks over [`LARGE`] are parsed by the guard, without the
//! crate's three copies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use eventsource_stream::EventStream;
use futures_core::Stream;

use crate::protocol::MAX_MESSAGE;
use crate::protocol::sse::{Block, Event, Guard, TooLong};

const LARGE: usize = 64 * 1024;

/// Parses the events of one response.
pub(super) struct Events {
    guard: Guard,
    slot: Slot,
    fields: EventStream<Slot>,
}

/// The next block for the crate.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Bytes>>>);

impl Slot {
    fn lay(&self, block: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(block);
    }
}

impl Stream for Slot {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(block) => Poll::Ready(Some(Ok(block))),
            None => Poll::Pending,
        }
    }
}

impl Events {
    pub fn new() -> Self {
        let slot = Slot::default();
        let mut events =
            Self { guard: Guard::new(MAX_MESSAGE), fields: EventStream::new(slot.clone()), slot };
        // A comment comes first: the crate checks for a byte-order mark, on which it panics, only at the start.
        events.slot.lay(Bytes::from_static(b":\n\n"));
        let _ = events.poll();
        events
    }

    pub fn push(&mut self, chunk: &[u8]) {
        self.guard.push(chunk);
    }

    /// Returns the number of buffered bytes of an unfinished event.
    pub fn held(&self) -> usize {
        self.guard.held()
    }

    /// Returns the next complete event.
    ///
    /// # Errors
    /// [`TooLong`] if an event exceeds the limit.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLong> {
        Ok(self.guard.next_block()?.map(|block| self.read(block)))
    }

    fn read(&mut self, block: Block) -> Event {
        if block.text.len() > LARGE {
            return block.into_event();
        }
        self.slot.lay(block.text);
        let mut event = block.event;
        if let Some(read) = self.poll() {
            event.name = if read.event == "message" { String::new() } else { read.event };
            event.data = Bytes::from(read.data);
        }
        event
    }

    fn poll(&mut self) -> Option<eventsource_stream::Event> {
        let mut nobody = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.fields).poll_next(&mut nobody) {
            Poll::Ready(Some(Ok(event))) => Some(event),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8]) -> Vec<Event> {
        let mut events = Events::new();
        events.push(stream);
        std::iter::from_fn(|| events.next_event().unwrap()).collect()
    }

    #[test]
    fn the_crate_and_the_guard_read_the_same() {
        let small =
            "id: 1\nevent: message\ndata: {\"a\":\ndata: 1}\n\n: c\n\nid: 2\n\nevent: other\ndata:x\n\n";
        let long = "y".repeat(LARGE);
        let large = format!("id: 1\ndata: {long}\n\nevent: other\ndata:  {long}\ndata\ndata: z\n\n");
        let (small, large) = (read(small.as_bytes()), read(large.as_bytes()));
        assert_eq!(small.len(), 3);
        assert_eq!((small[0].data.as_ref(), small[0].id.as_deref()), (&b"{\"a\":\n1}"[..], Some("1")));
        assert_eq!((small[1].data.is_empty(), small[1].id.as_deref()), (true, Some("2")));
        assert_eq!((small[2].name.as_str(), small[2].data.as_ref()), ("other", &b"x"[..]));
        assert_eq!((large[0].data.len(), large[0].is_message()), (LARGE, true));
        assert_eq!((large[1].data.len(), large[1].name.as_str()), (LARGE + 4, "other"));
    }

    #[test]
    fn two_byte_order_marks_and_wild_bytes_do_no_harm() {
        let events = read(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n\xff\xfe\ndata: b\xff\n\ndata: c\n\n");
        assert_eq!(events.last().unwrap().data, "c");
    }
}
