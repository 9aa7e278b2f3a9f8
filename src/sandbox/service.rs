//! What a stand-in service is, as data: where it answers, which tools it has, which tables it needs.
//!
//! Refuses to hold behaviour: a tool's work is a function in the service's own directory, the wire is `mcp`.

use super::arguments::{Arguments, Param};
use super::keys::Caller;
use super::rate::Limit;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

/// Describes one service.
pub(super) struct Service {
    /// The word that stands for it in profiles, keys and output.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What a model is told about it.
    pub instructions: &'static str,
    /// Where it answers; the first is the one that is printed, the others are aliases.
    pub paths: &'static [&'static str],
    /// How often one key may ask.
    pub limit: Limit,
    /// Its tools, in the order they are listed.
    pub tools: &'static [Tool],
    /// Its tables.
    pub schema: &'static str,
    /// Writes what a new database begins with, for the one user there is.
    pub seed: fn(&Connection, &str) -> rusqlite::Result<()>,
}

/// Describes one tool.
pub(super) struct Tool {
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub effect: Effect,
    /// Whether it answers with an event stream where the caller takes one.
    pub streams: bool,
    pub params: &'static [Param],
    pub run: fn(&mut Connection, &Caller, &Arguments) -> Outcome,
}

/// Says what a tool does to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Reads,
    /// It adds something each time.
    Adds,
    /// It writes over what was there; the same call twice leaves the same.
    Overwrites,
}

impl Effect {
    /// Returns the annotations that say the same to a client.
    pub fn annotations(self) -> Value {
        match self {
            Self::Reads => json!({"readOnlyHint": true, "openWorldHint": false}),
            Self::Adds => {
                json!({"readOnlyHint": false, "destructiveHint": false, "idempotentHint": false, "openWorldHint": false})
            }
            Self::Overwrites => {
                json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": true, "openWorldHint": false})
            }
        }
    }
}

/// What a tool gives back: always an object, so that it can be `structuredContent`.
pub(super) type Outcome = Result<Map<String, Value>, Refusal>;

/// Says why a tool gave nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The caller's mistake, in a sentence for the caller.
    Mistake(String),
    /// The database failed; its words are for the log only.
    Broken(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}
