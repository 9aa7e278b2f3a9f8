//! Batches of the client: arrays of messages whose answers leave as one array (revision 2025-03-26, ERA-11).
//!
//! Refuses an array in any other revision.

use bytes::Bytes;

use super::Client;
use crate::protocol::effect::{About, Delivery, Effect, Origin};
use crate::protocol::message::{Kind, Malformed, Message};

/// A batch of the client that is answered as one array.
#[derive(Debug, Default)]
pub(super) struct Batch {
    missing: usize,
    answers: Vec<Bytes>,
}

impl Client {
    pub(super) fn batch(&mut self, parts: Vec<Result<Message, Malformed>>) {
        if !self.revision.is_some_and(|revision| revision.batches) {
            let why = "batches belong to revision 2025-03-26 only";
            return self.refuse_malformed(Malformed::Shape(None, why), None);
        }
        self.batch_count += 1;
        let number = self.batch_count;
        let asks =
            |part: &Result<Message, Malformed>| part.as_ref().map_or(true, |m| m.kind() == Kind::Request);
        // One more than there are, so that the batch cannot be settled before all of it was read.
        let missing = parts.iter().filter(|part| asks(part)).count() + 1;
        self.batches.insert(number, Batch { missing, answers: Vec::new() });
        for part in parts {
            match part {
                Ok(message) => self.message(message, Some(number)),
                Err(malformed) => self.refuse_malformed(malformed, Some(number)),
            }
        }
        self.settle(number);
    }

    /// Hands an answer to the client, or to the batch it belongs to.
    pub(super) fn answer(&mut self, delivery: Delivery, batch: Option<u64>) {
        let Some(number) = batch else {
            self.effects.push(Effect::Deliver(delivery));
            return;
        };
        if let Some(batch) = self.batches.get_mut(&number) {
            // A copy: an answer that is kept here must not hold up the others, for which it waits itself.
            batch.answers.push(Bytes::copy_from_slice(&delivery.text));
            self.settle(number);
        }
    }

    /// One member of a batch is done; delivers the array when it was the last.
    pub(super) fn settle(&mut self, number: u64) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let answers = self.batches.remove(&number).map(|batch| batch.answers).unwrap_or_default();
        if !answers.is_empty() {
            let mut array = Vec::with_capacity(answers.iter().map(|text| text.len() + 1).sum::<usize>() + 1);
            for text in &answers {
                array.push(if array.is_empty() { b'[' } else { b',' });
                array.extend_from_slice(text);
            }
            array.push(b']');
            let delivery = Delivery { about: About::Anyone, text: array.into(), origin: Origin::Bridge };
            self.effects.push(Effect::Deliver(delivery));
        }
    }
}
