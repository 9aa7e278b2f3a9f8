//! A client that opens with a handshake: which of its requests are answered here, and which are for the service.
//!
//! Refuses `initialize` inside a batch (ERA-11).

use super::{Asked, Client, INVALID_REQUEST, METHOD_NOT_FOUND, Said};
use crate::protocol::effect::{About, Delivery, Origin};
use crate::protocol::message::{Id, Message, quote};
use crate::protocol::object::{fields, value};
use crate::protocol::request::Class;
use crate::protocol::revision::{self, FIRST_MODERN};

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
                let message = with_a_handshake(&asked.message).unwrap_or(asked.message);
                self.open_door(&message);
                let outgoing = self.begin(Asked { message, ..asked }, Class::A);
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

/// Returns an `initialize` that asks for a revision without a handshake as one that asks for the newest with one: an
/// answer in the former would take its client for stateless, and its session too (T-28, ERA-8).
fn with_a_handshake(initialize: &Message) -> Option<Message> {
    let params = fields(initialize.params()?);
    let raw = value(&params, "protocolVersion")?;
    let version: String = serde_json::from_str(raw).ok()?;
    let text =
        (&*version >= FIRST_MODERN).then(|| initialize.with_part(raw, &quote(revision::NEWEST_LEGACY.date)));
    Message::read(text?).ok()
}
