//! A client that opens with a handshake: which of its requests are answered here, and which are for the service.
//!
//! Refuses `initialize` inside a batch (ERA-11).

use super::{Asked, Client, INVALID_REQUEST, METHOD_NOT_FOUND, Said};
use crate::protocol::effect::{About, Delivery, Origin};
use crate::protocol::message::{Id, Message};
use crate::protocol::request::Class;

impl Client {
    pub(super) fn legacy_request(&mut self, asked: Asked, id: &Id) {
        match asked.message.method() {
            "ping" => {
                let text = Message::result(id, "{}").text().clone();
                let delivery = Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge };
                self.answer(delivery, asked.batch);
            }
            // Without an envelope it belongs to no era; a client of both eras opens with `initialize` then (T-3).
            "server/discover" => {
                let why = "Method not found: server/discover";
                self.refuse(Some(id), METHOD_NOT_FOUND, why, asked.batch);
            }
            "initialize" if asked.batch.is_some() => {
                let why = "Invalid request: initialize is never part of a batch";
                self.refuse(Some(id), INVALID_REQUEST, why, asked.batch);
            }
            "initialize" => {
                let outgoing = self.begin(asked, Class::A);
                self.opening = Some(outgoing.number);
                self.has_handshake = true;
                self.said.push(Said::Opens(outgoing));
            }
            "tools/call" => self.call(asked),
            "tools/list" => self.list(asked),
            method => {
                let class = Class::of(method);
                self.send(asked, class);
            }
        }
    }
}
