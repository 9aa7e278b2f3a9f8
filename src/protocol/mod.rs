//! The protocol itself, as plain values: bytes, headers and `now` come in, values go out.
//!
//! Refuses every kind of IO: no sockets, files, clock, environment or dice; a test reads this folder
//! for them. What needs them is handed in.

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
