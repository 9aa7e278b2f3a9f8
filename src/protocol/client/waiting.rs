//! Requests and notifications that wait in the order in which they came: behind `initialize`, whose answer decides whether a batch may be
//! read (ERA-7, ERA-11), and while too much is under way.
//!
//! Refuses to hold what may end a wait: a response, a cancellation, a ping, another `initialize`.

use std::collections::{HashSet, VecDeque};

use super::Client;
use crate::error::{Error, Executed, Kind as ErrorKind};
use crate::protocol::Instant;
use crate::protocol::effect::Delivery;
use crate::protocol::message::{Frame, Id, Kind, Message};

/// Maximum bytes that wait, [`OVERHEAD`] included.
const MOST_WAITING: usize = 128 * 1024 * 1024;
/// Memory of a message beside its text, in bytes.
const OVERHEAD: usize = 512;

/// Whether more may go to the service now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Room {
    /// It may.
    Free,
    /// Too much is under way.
    Full,
}

/// Lines that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Each with the instant at which it came: the time of its requests counts from there.
    frames: VecDeque<(Frame, Instant)>,
    /// Ids of the requests among them.
    ids: HashSet<Id>,
    bytes: usize,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Says whether a request of this id waits.
    pub fn has(&self, id: &Id) -> bool {
        self.ids.contains(id)
    }

    fn push(&mut self, frame: Frame, came: Instant) {
        self.bytes += size_of(&frame);
        self.ids.extend(requests(&frame).filter_map(Message::id).cloned());
        self.frames.push_back((frame, came));
    }

    fn pop(&mut self) -> Option<(Frame, Instant)> {
        let (frame, came) = self.frames.pop_front()?;
        self.bytes -= size_of(&frame);
        requests(&frame).filter_map(Message::id).for_each(|id| _ = self.ids.remove(id));
        Some((frame, came))
    }

    /// Forgets the request of this id.
    pub fn cancel(&mut self, id: &Id) {
        if !self.ids.remove(id) {
            return;
        }
        let is_it = |message: &Message| message.kind() == Kind::Request && message.id() == Some(id);
        let Some(at) = self.frames.iter().position(|(frame, _)| requests(frame).any(is_it)) else { return };
        let Some((frame, came)) = self.frames.remove(at) else { return };
        self.bytes -= size_of(&frame);
        if let Frame::Batch(mut parts) = frame {
            parts.retain(|part| !part.as_ref().is_ok_and(is_it));
            let rest = Frame::Batch(parts);
            self.bytes += size_of(&rest);
            self.frames.insert(at, (rest, came));
        }
    }
}

fn requests(frame: &Frame) -> impl Iterator<Item = &Message> {
    let (one, parts) = match frame {
        Frame::One(message) => (Some(message), &[][..]),
        Frame::Batch(parts) => (None, &parts[..]),
    };
    one.into_iter().chain(parts.iter().flatten()).filter(|message| message.kind() == Kind::Request)
}

fn size_of(frame: &Frame) -> usize {
    let size = |message: &Message| message.text().len() + OVERHEAD;
    match frame {
        Frame::One(message) => size(message),
        Frame::Batch(parts) => {
            OVERHEAD + parts.iter().map(|part| part.as_ref().map_or(OVERHEAD, size)).sum::<usize>()
        }
    }
}

impl Client {
    pub(super) fn must_wait(&self, frame: &Frame, room: Room) -> bool {
        let behind = room == Room::Full || !self.waiting.is_empty();
        match frame {
            // A reused id is refused at once (STD-5).
            Frame::One(message) => {
                behind && can_wait(message) && !message.id().is_some_and(|id| self.is_used(id))
            }
            Frame::Batch(_) if self.opening.is_some() => true,
            Frame::Batch(parts) => behind && parts.iter().flatten().any(can_wait),
        }
    }

    pub(super) fn wait(&mut self, frame: Frame) {
        let size = size_of(&frame);
        if self.waiting.is_empty() || self.waiting.bytes + size <= MOST_WAITING {
            return self.waiting.push(frame, self.came);
        }
        let error = Error::new(ErrorKind::Usage, "too many requests wait for their answers")
            .hint("wait for answers before you send more requests")
            .executed(Executed::No);
        let advise = self.settings.advise.clone();
        self.answer_each(frame, &|id| Delivery::failure(id, error.clone(), &advise));
    }

    /// Says whether lines wait.
    pub(in crate::protocol) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the next line that waited; false where none may go yet.
    pub(in crate::protocol) fn resume(&mut self, room: Room) -> bool {
        if self.opening.is_some() || room == Room::Full {
            return false;
        }
        self.reserved.clear();
        let Some((frame, came)) = self.waiting.pop() else { return false };
        self.came = came;
        self.frame(frame);
        true
    }

    /// The end: what still waits was not sent.
    pub(in crate::protocol) fn end(&mut self) {
        self.end_rounds();
        let error =
            Error::new(ErrorKind::Interrupted, "asistry ended before the service had acknowledged it");
        self.fail_subscriptions(|_| true, &error.executed(Executed::Maybe));
        self.fail_waiting(&Error::new(ErrorKind::Interrupted, "asistry ended before the request was sent"));
    }

    pub(super) fn fail_waiting(&mut self, error: &Error) {
        let advise = self.settings.advise.clone();
        let error = error.clone().executed(Executed::No);
        self.answer_waiting(&|id| Delivery::failure(id, error.clone(), &advise));
    }

    /// Answers each request that waits.
    pub(super) fn answer_waiting(&mut self, answer: &dyn Fn(&Id) -> Delivery) {
        while let Some((frame, _)) = self.waiting.pop() {
            self.answer_each(frame, answer);
        }
    }

    fn answer_each(&mut self, frame: Frame, answer: &dyn Fn(&Id) -> Delivery) {
        let parts = match frame {
            Frame::One(message) => vec![Ok(message)],
            Frame::Batch(parts) => parts,
        };
        for part in parts {
            match part {
                Ok(message) if message.kind() == Kind::Request => {
                    message.id().into_iter().for_each(|id| self.answer(answer(id), None));
                }
                Ok(_) => self.note("dropped a message of the client that waited: it cannot be sent"),
                Err(malformed) => self.refuse_malformed(malformed, None),
            }
        }
    }
}

fn can_wait(message: &Message) -> bool {
    match message.kind() {
        Kind::Request => !matches!(message.method(), "ping" | "initialize"),
        Kind::Notification => {
            !matches!(message.method(), "notifications/cancelled" | "notifications/initialized")
        }
        Kind::Response => false,
    }
}
