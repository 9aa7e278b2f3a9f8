//! The headers that repeat arguments of a call: known before it is sent, repaired once (MOD-2, MOD-9, MOD-10, section 4).
//!
//! Refuses to wait for them for long: the service says if one is missing.

use std::time::Duration;

use super::super::probe;
use super::super::under_way::{Asker, Entry, Own, Request, Sending};
use super::Modern;
use crate::protocol::envelope;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{HEADER_MISMATCH, Message};
use crate::protocol::revision::FIRST_MODERN;
use crate::protocol::tool_rules::cursor_of;

/// Section 4: how long a call waits for the list of tools.
const HEADERS_WITHIN: Duration = Duration::from_secs(2);

impl Modern {
    /// Sends a request; a call of a tool that was not listed yet waits for the list.
    pub(super) fn submit(&mut self, number: u64) {
        let Some(request) = self.table.request(number) else { return };
        if request.message.method() != "tools/call" || self.tools.know(&request.message) {
            return self.carry(number, Duration::ZERO);
        }
        self.wait_for_headers(number);
    }

    fn wait_for_headers(&mut self, number: u64) {
        let until = self.moment.now + HEADERS_WITHIN;
        let deadline = self.table.request(number).and_then(|request| request.promise.deadline());
        let until = deadline.map_or(until, |deadline| until.min(deadline));
        self.waiting.push((number, until));
        self.alarm_at(Some(until));
        if !self.table.asks(Own::Headers) {
            self.cursors.clear();
            let list = self.ask(Own::Headers, "tools/list", None);
            self.carry(list, Duration::ZERO);
        }
    }

    /// The list took too long: calls go without it.
    pub(super) fn send_without_headers(&mut self) {
        let now = self.moment.now;
        for (number, _) in self.waiting.extract_if(.., |(_, until)| *until <= now).collect::<Vec<_>>() {
            self.carry(number, Duration::ZERO);
        }
    }

    /// The list is known, or cannot be.
    pub(super) fn headers_are_known(&mut self) {
        for (number, _) in std::mem::take(&mut self.waiting) {
            self.carry(number, Duration::ZERO);
        }
    }

    /// Looks at an answer for what it says about headers; `None` where it is no answer to pass on.
    pub(super) fn repaired(
        &mut self,
        number: u64,
        request: Request,
        (message, status): (Message, u16),
    ) -> Option<(Request, Message)> {
        // Only a refusal of the whole request proves that nothing ran.
        let may_repeat = !request.replayed && status == 400;
        if may_repeat && probe::refuses_what_it_supports(&request.message, &message) {
            self.anew(number, request);
            self.carry(number, Duration::ZERO);
            return None;
        }
        match request.message.method() {
            "tools/list" => {
                let listed = self.tools.learn(cursor_of(&request.message), &message);
                listed.notes.into_iter().for_each(|note| self.note(note));
                let changed = listed.text.and_then(|text| Message::read(text).ok());
                if request.asker != Asker::Own(Own::Headers) {
                    return Some((request, changed.unwrap_or(message)));
                }
                match listed.next {
                    // Not read on where a cursor repeats, or where no call waits any more.
                    Some(cursor) if !self.waiting.is_empty() && self.cursors.insert(cursor.clone()) => {
                        let next = self.ask(Own::Headers, "tools/list", Some(("cursor", &cursor)));
                        self.carry(next, Duration::ZERO);
                    }
                    _ => self.headers_are_known(),
                }
                None
            }
            "tools/call" if may_repeat && is_header_mismatch(&message) => {
                self.anew(number, request);
                self.tools.forget();
                self.wait_for_headers(number);
                None
            }
            _ => Some((request, message)),
        }
    }

    /// Takes back a request that was refused, to be sent once more.
    fn anew(&mut self, number: u64, mut request: Request) {
        request.replayed = true;
        // The end of the driver that brought the refusal says nothing about the next one.
        request.attempt += 1;
        request.sending = Sending::Waiting;
        request.upstream = self.table.own_id();
        self.table.put(number, Entry::Request(request));
    }

    /// Returns the `_meta` for a request of our own: the client's envelope, else ours (MOD-1).
    pub(super) fn envelope(&self) -> String {
        let own = || envelope::new(FIRST_MODERN, &self.settings.client_info);
        self.example.as_ref().and_then(envelope::of).unwrap_or_else(own)
    }
}

fn is_header_mismatch(answer: &Message) -> bool {
    ErrorFields::of(answer).is_some_and(|error| error.code == HEADER_MISMATCH)
}
