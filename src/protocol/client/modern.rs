//! A client without a handshake: each of its requests carries its version and capabilities in `_meta` (ERA-1).
//!
//! Same-era pairs pass through: the text of a request reaches the service as it came (X-6). Refuses what the modern
//! era does not know (ERA-5).

use std::time::{Duration, Instant};

use super::{Asked, Client, METHOD_NOT_FOUND, Open, Said};
use crate::error::{Error, Executed, Kind};
use crate::protocol::effect::{About, Delivery, Effect, Origin};
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{Id, Message};
use crate::protocol::request::Class;
use crate::protocol::revision::Era;

/// ERA-6: clients give up a `server/discover` after 10 s, and take the service for an older one.
const DISCOVER_WITHIN: Duration = Duration::from_secs(5);

/// The client's `server/discover`.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Those that wait, each until then.
    open: Vec<(u64, Instant)>,
    /// The service was described by guess: what it lacks of that is an empty list.
    pub is_guess: bool,
}

impl Client {
    pub(super) fn modern_request(&mut self, asked: Asked, id: &Id) {
        match asked.message.method() {
            // The vocabulary of the handshake.
            method @ ("initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "tasks/result"
            | "tasks/list") => {
                let why = format!("Method not found: {method}");
                self.refuse(Some(id), METHOD_NOT_FOUND, &why, asked.batch);
            }
            "server/discover" => {
                let outgoing = self.begin(asked, Class::A);
                self.discovery.open.push((outgoing.number, self.came + DISCOVER_WITHIN));
                self.effects.push(Effect::Alarm(DISCOVER_WITHIN));
                self.said.push(Said::Request(outgoing));
            }
            "tools/call" => self.call(asked),
            "tools/list" => self.list(asked),
            method => {
                let class = Class::of(method);
                self.send(asked, class);
            }
        }
    }

    /// Answers each `server/discover` that has waited long enough; what the service says later is not for the client.
    pub(in crate::protocol) fn alarm(&mut self, now: Instant) {
        self.now = now;
        self.end_late_rounds(now);
        self.end_late_subscriptions();
        for (number, _) in self.discovery.open.extract_if(.., |(_, until)| *until <= now).collect::<Vec<_>>()
        {
            let Some(open) = self.close(number) else { continue };
            let Some(id) = open.message.id() else { continue };
            self.discovery.is_guess = true;
            let text = Message::result(id, &self.guess()).text().clone();
            let delivery = Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge };
            self.answer(delivery, open.batch);
        }
    }

    /// Returns the list of a kind of things that a service lacks although it was described with it.
    pub(super) fn empty_list(&self, open: &Open, answer: &Message) -> Option<&'static str> {
        let lacks = || ErrorFields::of(answer).is_some_and(|error| error.code == METHOD_NOT_FOUND);
        if !self.discovery.is_guess || !lacks() {
            return None;
        }
        match (open.message.method(), open.era) {
            ("tools/list", Era::Modern) => {
                Some(r#"{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"private"}"#)
            }
            ("prompts/list", Era::Modern) => {
                Some(r#"{"resultType":"complete","prompts":[],"ttlMs":0,"cacheScope":"private"}"#)
            }
            ("resources/list", Era::Modern) => {
                Some(r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"private"}"#)
            }
            ("resources/templates/list", Era::Modern) => {
                Some(r#"{"resultType":"complete","resourceTemplates":[],"ttlMs":0,"cacheScope":"private"}"#)
            }
            ("tools/list", Era::Legacy) => Some(r#"{"tools":[]}"#),
            ("prompts/list", Era::Legacy) => Some(r#"{"prompts":[]}"#),
            ("resources/list", Era::Legacy) => Some(r#"{"resources":[]}"#),
            ("resources/templates/list", Era::Legacy) => Some(r#"{"resourceTemplates":[]}"#),
            _ => None,
        }
    }

    /// The service speaks neither era.
    pub(in crate::protocol) fn speaks_nothing(&mut self, number: u64) {
        let why = "the service answers neither initialize nor server/discover as an MCP service does";
        let hint = "check that the URL is the MCP endpoint of the service; else look for a newer asistry";
        self.failed(number, Error::new(Kind::EraMismatch, why).hint(hint).executed(Executed::No));
    }

    /// The list of tools has changed, and the client did not ask to hear of it.
    pub(in crate::protocol) fn tools_changed(&mut self) {
        self.tools.changed();
    }
}
