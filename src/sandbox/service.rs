//! Describes a stand-in service as data: paths, tools, tables.
//!
//! Holds no behavior: a tool's function is in the service's directory, the protocol in `mcp`.

use super::arguments::{Arguments, Param};
use super::keys::Caller;
use super::rate::Limit;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

/// Describes one service.
pub(super) struct Service {
    /// Its name in profiles, keys and output.
    pub name: &'static str,
    /// Display name.
    pub title: &'static str,
    /// MCP `instructions`.
    pub instructions: &'static str,
    /// Its paths; the first is printed, the others are aliases.
    pub paths: &'static [&'static str],
    /// The rate limit of one key.
    pub limit: Limit,
    /// Its tools in listed order.
    pub tools: &'static [Tool],
    /// Its tables.
    pub schema: &'static str,
    /// Inserts the initial data of a new database, for its only user.
    pub seed: fn(&Connection, &str) -> rusqlite::Result<()>,
}

/// Describes one tool.
pub(super) struct Tool {
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub effect: Effect,
    /// Whether to answer with an event stream if the client accepts one.
    pub streams: bool,
    pub params: &'static [Param],
    pub run: fn(&mut Connection, &Caller, &Arguments) -> Outcome,
}

/// A tool's effect on the stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Reads,
    /// Adds something with each call.
    Adds,
    /// Overwrites; repeating the call changes nothing more.
    Overwrites,
}

impl Effect {
    /// Returns the matching MCP annotations.
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

/// A tool's result: always an object, so that it can be `structuredContent`.
pub(super) type Outcome = Result<Map<String, Value>, Refusal>;

/// Why a tool failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The caller's mistake, as a sentence.
    Mistake(String),
    /// A database error; its text is only logged.
    Broken(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}
