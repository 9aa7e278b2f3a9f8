//! Describes a stand-in service as data: paths, tools, tables.
//!
//! Holds no behavior: a tool's function is in the service's directory, the protocol in `mcp`.

use super::arguments::{Arguments, Param};
use super::keys::Caller;
use super::rate::Limit;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Describes one service.
pub(super) struct Service {
    /// Its name in profiles, keys and output.
    pub name: &'static str,
    /// Display name.
    pub title: &'static str,
    /// MCP `instructions`.
    pub instructions: &'static str,
    /// Where it is served.
    pub place: Place,
    /// Where a request carries its key.
    pub key_header: KeyHeader,
    /// How its keys begin; empty where it takes tokens.
    pub key_prefix: &'static str,
    /// The keys that each start creates, the first is the embedded profile's; none where it takes tokens.
    pub keys: &'static [KeyKind],
    /// How it speaks MCP.
    pub manner: Manner,
    /// The newest revision that it speaks.
    pub newest: &'static str,
    /// The documented rate limit of one key.
    pub limit: Option<Limit>,
    /// Its tools in listed order.
    pub tools: &'static [Tool],
    /// A tool for a first call: it only reads, needs no arguments, and has something to show in a new database.
    pub first_call: &'static str,
    /// Its tables.
    pub schema: &'static str,
    /// Inserts the initial data of a new database, for its only user.
    pub seed: fn(&Connection, &str) -> rusqlite::Result<()>,
}

impl Service {
    /// Returns the part of a path below its place, empty at a fixed path; `None` for another service's path.
    pub fn place_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.place {
            Place::At(paths) => paths.contains(&path).then_some(""),
            Place::Under(bases) => {
                let rest = bases.iter().find_map(|base| path.strip_prefix(base));
                rest.filter(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Place::Below { prefix, .. } => {
                path.strip_prefix(prefix).filter(|rest| !rest.is_empty() && !rest.contains('/'))
            }
        }
    }

    /// Returns its path in a database.
    pub fn path(&self, connection: &Connection) -> rusqlite::Result<String> {
        match self.place {
            Place::At(paths) | Place::Under(paths) => Ok(paths[0].to_owned()),
            Place::Below { prefix, segment } => Ok(format!("{prefix}{}", segment(connection)?)),
        }
    }
}

/// Where a service is served.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// At these paths; the first is printed, the others are aliases.
    At(&'static [&'static str]),
    /// At these paths and at everything below them; the first is printed, the others are aliases.
    Under(&'static [&'static str]),
    /// At one segment below a path, such as a workspace's id.
    Below { prefix: &'static str, segment: fn(&Connection) -> rusqlite::Result<String> },
}

/// Where a request arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// The base URL that the client used, such as `http://localhost:7700`.
    pub base: String,
    /// The part of the path that [`Service::place_in`] returns.
    pub place: String,
}

/// Where a request carries its key, and of which kind the key is.
#[derive(Clone, Copy)]
pub(super) enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The header of this name, in lower case.
    Named(&'static str),
    /// `Authorization: Bearer TOKEN`, with an access token instead of a key.
    Token(&'static Tokens),
}

/// How a service checks access tokens, and where clients learn how to get one.
pub(super) struct Tokens {
    /// Returns the caller of a token for the endpoint below this base URL; `None` if it is invalid there.
    pub check: fn(&Connection, &str, &str) -> rusqlite::Result<Option<Caller>>,
    /// The path of the endpoint's metadata (RFC 9728).
    pub resource_metadata: &'static str,
    /// All scopes, in the order of challenges.
    pub scopes: &'static [&'static str],
}

/// A kind of key, with what it may do.
pub(super) struct KeyKind {
    /// Its field in `asistry sandbox --json`; the first is `key`.
    pub field: &'static str,
    /// What it may do, as the service's tools read it.
    pub settings: fn(&Connection) -> rusqlite::Result<Value>,
}

/// How a service speaks MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// With sessions, and event streams for tools that stream.
    Sessions,
    /// Each POST by itself, answered with JSON; GET and DELETE are 405.
    Stateless,
    /// Not at all: it takes a REST call for each action.
    Rest,
}

/// Whether a caller may use a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It may.
    Open,
    /// It is listed, and each call fails with this sentence.
    Refused(&'static str),
    /// It is listed, and each call is refused until the token has this scope.
    NeedsScope(&'static str),
    /// It is not there for this caller.
    Hidden,
}

/// The access of a tool that everyone may use.
pub(super) const OPEN: fn(&Caller) -> Access = |_| Access::Open;

/// The settings of a key that may do everything.
pub(super) const NO_SETTINGS: fn(&Connection) -> rusqlite::Result<Value> = |_| Ok(Value::Null);

/// Describes one tool.
#[derive(Clone, Copy)]
pub(super) struct Tool {
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub effect: Effect,
    /// Whether to answer with an event stream if the client accepts one.
    pub streams: bool,
    /// Who may use it.
    pub access: fn(&Caller) -> Access,
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

/// A tool's result; an object is also `structuredContent`.
pub(super) type Outcome = Result<Value, Refusal>;

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
