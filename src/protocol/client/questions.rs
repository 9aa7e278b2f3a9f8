//! Questions: requests of the service that wait for the client's answer (LEG-9).
//!
//! Refuses more of them than a bounded number, and more than a bounded size of their ids.

use std::collections::{HashMap, VecDeque};

use super::{Client, Said};
use crate::protocol::message::{INTERNAL_ERROR, Id, Message, cancelled_id};

/// Maximum questions that wait at once, and bytes of their ids.
const MOST_QUESTIONS: usize = 4_096;
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Withdrawn questions whose answers may still come.
const MOST_WITHDRAWN: usize = 16;

/// The questions that wait, by the id that the client sees.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: HashMap<Id, Question>,
    count: u64,
    bytes: usize,
    /// The last ones that the service withdrew, by the same id.
    withdrawn: VecDeque<Id>,
}

#[derive(Debug)]
struct Question {
    by_service: Id,
    generation: u64,
}

impl Questions {
    /// Adds a question that the service asked in the session of this generation; returns the id for the client, or `None`
    /// past the limits.
    fn add(&mut self, id: Id, generation: u64) -> Option<Id> {
        if !self.has_room_for(&id) {
            self.open.retain(|_, question| question.generation == generation);
            self.bytes = self.open.values().map(|question| question.by_service.size()).sum();
        }
        if !self.has_room_for(&id) {
            return None;
        }
        // Two sessions may use the same id; the client must be able to tell them apart.
        let shown = match self.open.contains_key(&id) || !id.is_portable() {
            true => self.own_id(),
            false => id.clone(),
        };
        self.bytes += id.size();
        self.open.insert(shown.clone(), Question { by_service: id, generation });
        Some(shown)
    }

    fn has_room_for(&self, id: &Id) -> bool {
        self.open.len() < MOST_QUESTIONS && self.bytes + id.size() <= MOST_BYTES
    }

    fn own_id(&mut self) -> Id {
        loop {
            self.count += 1;
            let id = Id::Text(format!("asistry-{}", self.count).into());
            if !self.open.contains_key(&id) {
                return id;
            }
        }
    }

    fn remove(&mut self, shown: &Id) -> Option<Question> {
        let question = self.open.remove(shown)?;
        self.bytes -= question.by_service.size();
        Some(question)
    }

    /// Removes the question that the service knows by this id; returns the id that the client sees.
    fn cancel(&mut self, id: &Id, generation: u64) -> Option<Id> {
        let is_it = |question: &Question| question.by_service == *id && question.generation == generation;
        let shown = self.open.iter().find(|(_, question)| is_it(question)).map(|(shown, _)| shown.clone())?;
        self.remove(&shown);
        self.withdrawn.truncate(MOST_WITHDRAWN - 1);
        self.withdrawn.push_front(shown.clone());
        Some(shown)
    }

    /// Says whether this is the first answer to a question that the service withdrew.
    fn crosses(&mut self, shown: &Id) -> bool {
        let at = self.withdrawn.iter().position(|id| id == shown);
        at.and_then(|at| self.withdrawn.remove(at)).is_some()
    }
}

impl Client {
    /// Hands a request of the service on; returns the answer to give where too many wait.
    pub(in crate::protocol) fn asks(
        &mut self,
        message: &Message,
        during: Option<u64>,
        generation: u64,
    ) -> Option<Message> {
        let id = message.id()?;
        match self.questions.add(id.clone(), generation) {
            Some(shown) => {
                self.deliver_aside(message.text_with_id(&shown), during);
                None
            }
            None => {
                self.note("refused a question of the service: too many are open");
                Some(Message::refusal(id, INTERNAL_ERROR, "Too many requests wait for the client's answer"))
            }
        }
    }

    /// Takes a response of the client.
    pub(super) fn response(&mut self, message: &Message) {
        if self.answers_round(message) {
            return;
        }
        match message.id().and_then(|id| self.questions.remove(id)) {
            Some(question) => {
                let answer = message.under_id(&question.by_service);
                self.said.push(Said::Answers(answer, question.generation));
            }
            None if message.id().is_some_and(|id| self.questions.crosses(id)) => {}
            None => self.note("dropped a response of the client to no known request"),
        }
    }

    /// The service cancels a question: passes that on under the client's id for it.
    pub(super) fn question_cancelled(&mut self, message: &Message, during: Option<u64>, generation: u64) {
        let text = match cancelled_id(message).map(|(raw, id)| (raw, self.questions.cancel(&id, generation)))
        {
            None => message.text().clone(),
            Some((raw, Some(shown))) => message.with_part(raw, &shown.json()),
            Some((_, None)) => {
                return self.note("dropped a cancellation of the service: it names no open request");
            }
        };
        self.deliver_aside(text, during);
    }
}
