//! The protocol itself, as plain values: bytes, headers and `now` come in, values go out.
//!
//! Refuses every kind of IO: no sockets, files, clock, environment or dice; a test reads this folder
//! for them. What needs them is handed in.
//!
//! # What comes next, and where it goes
//! | part | files added | signatures that stay |
//! |---|---|---|
//! | both eras, both ways | `upstream/probe.rs` (which era a service speaks), `client/legacy.rs` and `upstream/legacy` each get a door to the other era (`client/rounds.rs`: `input_required` driven as requests; `upstream/parked.rs`: calls that wait behind it) | `Client::line`, `Bridge::route`, `Heard`, `Said` (each gains variants), `Driver` |
//! | AgentStack | `upstream/local.rs` (answers without a request), `wire/agentstack.rs` (a message as REST calls) | `Out`, `Heard`, `Driver::new`; the wire may return no call |
//! | OAuth | `auth/oauth/`; nothing here but a scope in `Challenge` | `Driver::challenge`, `Driver::challenged`, `Authorizer::rejected` |
//! | `serve` | `local/http.rs`: a `Port` for each POST or session | `Delivery { about, text, origin }` says which stream a line belongs to |
//! | warm start | `client/legacy.rs` answers `initialize` from what `state/` remembers | `Settings` gains the record, `Heard::Opened` corrects it |

use std::time::{Instant, SystemTime};

pub mod bridge;
pub mod client;
pub mod driver;
pub mod exchange;
pub mod http;
pub mod message;
pub mod request;
pub mod retry;
pub mod revision;
pub mod sse;
pub mod upstream;
pub mod wire;

/// The longest message taken from either side, in bytes (STD-4 asks for at least 64 MiB).
pub const MAX_MESSAGE: usize = 128 * 1024 * 1024;

/// The instant of an event, and one throw of the dice in 0..1.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock, for dates in headers.
    pub wall: SystemTime,
    /// For jitter.
    pub die: f64,
}
