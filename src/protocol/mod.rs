//! The protocol itself, as plain values: bytes, headers and `now` come in, values go out.
//!
//! Refuses every kind of IO: no sockets, files, clock, environment or random numbers; a test reads this folder
//! for them. What needs them is handed in.
//!
//! The modules below are listed in the order of their imports, which `tests/house.rs` checks: a module imports only from
//! those above it.
//!
//! # What comes next, and where it goes
//! | part | files added | signatures that stay | what changes |
//! |---|---|---|---|
//! | `serve` | `local/http.rs`: a `Port` for each POST or session | `Delivery::about` says which stream a line belongs to (a batch: to its POST) | nothing here |
//! | warm start | `client/legacy.rs` answers `initialize` from what `state/` remembers | `Bridge::new` | `Settings` gains the record, `Heard::Opened` corrects it |

use std::collections::HashMap;
use std::time::{Instant, SystemTime};

pub mod message;

pub mod object;

pub mod http;

pub mod authenticate;

pub mod sse;

pub mod revision;

pub mod envelope;

pub mod subscriptions;

pub mod retry;

pub mod tool_names;

pub mod secrets;

pub mod request;

pub mod exchange;

pub mod tool_rules;

pub mod wire;

pub mod driver;

pub mod settings;

pub mod effect;

pub mod upstream;

pub mod client;

pub mod bridge;

/// The longest message taken from either side, in bytes (STD-4 asks for at least 64 MiB).
pub const MAX_MESSAGE: usize = 128 * 1024 * 1024;

/// A map with a faster hash than the standard one, for keys that no service chooses.
pub type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The instant of an event, and a random number in 0..1.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock, for dates in headers.
    pub wall: SystemTime,
    /// For jitter.
    pub random: f64,
}
