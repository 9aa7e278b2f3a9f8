//! The log level that a request of the stateless era asks for: `logging/setLevel` in its session (section 3.1).
//!
//! Refuses to make a session quieter: another request may need what it says. What is below a request's own level is not
//! passed on to it.

use super::translate::{self, Said};
use super::{Came, Own, Pooled, Sessions};
use crate::protocol::envelope::LOG_LEVELS;
use crate::protocol::message::{Message, quote};
use crate::protocol::object::{fields, object, value};
use crate::protocol::request::Outgoing;

/// From this level on a message is for a person.
pub(super) const WARNING: usize = 3;

/// The level of a session.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// As it was last asked for.
    set: Option<usize>,
    /// Our request for the level is in flight.
    is_asking: bool,
    /// Requests that wait for it.
    waiting: Vec<Outgoing>,
}

impl Levels {
    pub fn wait(&mut self, outgoing: Outgoing) {
        self.waiting.push(outgoing);
    }

    /// Forgets a request; false where it does not wait.
    pub fn cancel(&mut self, number: u64) -> bool {
        self.waiting.extract_if(.., |waiting| waiting.number == number).count() > 0
    }

    pub fn waiting(&self) -> &[Outgoing] {
        &self.waiting
    }

    pub fn take_waiting(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.waiting)
    }
}

impl Pooled {
    /// Says whether a request must wait until its session logs enough for it.
    pub fn must_raise_level(&self, said: &Said<'_>) -> bool {
        let logs = self.service.as_ref().is_none_or(translate::Service::logs);
        logs && level_of(said).is_some_and(|level| self.levels.set.is_none_or(|set| level < set))
    }
}

impl Sessions {
    /// Asks for the level that waiting requests need; what needs none any more is sent.
    pub(super) fn raise_level(&mut self, session: u64) {
        let Some(pooled) = self.pooled(session).filter(|pooled| !pooled.levels.is_asking) else { return };
        let needed = pooled.levels.waiting.iter().map(|waiting| Said::of(&waiting.message));
        let needed = needed.filter(|said| pooled.must_raise_level(said));
        let Some(level) = needed.filter_map(|said| level_of(&said)).min() else {
            for outgoing in pooled.levels.take_waiting() {
                let message = outgoing.message.clone();
                self.carry(session, outgoing, &Said::of(&message));
            }
            return;
        };
        pooled.levels.is_asking = true;
        if pooled.service.is_none() {
            // Whether it logs at all is said when the session is opened.
            self.ask(session, Own::Open, ("server/discover", None));
            return;
        }
        let params = object([("level", quote(LOG_LEVELS[level]))]);
        self.ask(session, Own::Level(level), ("logging/setLevel", Some(&params)));
    }

    /// Our own request has ended.
    pub(super) fn level_came(&mut self, session: u64, own: Own, came: &Came) {
        let Some(pooled) = self.pooled(session) else { return };
        if !std::mem::take(&mut pooled.levels.is_asking) {
            return;
        }
        match own {
            // A service that refuses it is not asked again.
            Own::Level(level) => pooled.levels.set = Some(level),
            _ if !came.is_good() => {
                for waiting in pooled.levels.take_waiting() {
                    self.out.push(super::Out::Heard(came.clone().heard(waiting.number)));
                }
                return;
            }
            // It has said nothing of itself.
            _ if pooled.service.is_none() => pooled.levels.set = Some(0),
            _ => {}
        }
        self.raise_level(session);
    }
}

/// Returns the level that a request asks for.
fn level_of(said: &Said<'_>) -> Option<usize> {
    position(said.envelope("logLevel")?)
}

fn position(raw: &str) -> Option<usize> {
    let level: String = serde_json::from_str(raw).ok()?;
    LOG_LEVELS.iter().position(|known| *known == level)
}

/// Returns the level of a message of the log.
pub(super) fn severity(message: &Message) -> usize {
    let params = fields(message.params().unwrap_or_default());
    value(&params, "level").and_then(position).unwrap_or_default()
}

/// Says whether a request asked for what this message of the log says.
pub(super) fn passes(request: &Message, message: &Message) -> bool {
    level_of(&Said::of(request)).is_some_and(|level| severity(message) >= level)
}
