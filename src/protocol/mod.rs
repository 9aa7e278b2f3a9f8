//! The protocol itself, as plain values: bytes, headers and `now` come in, values go out.
//!
//! Refuses every kind of IO: no sockets, files, clock, environment or dice; a test reads this folder
//! for them. What needs them is handed in.

pub mod bridge;
pub mod dialect;
pub mod http;
pub mod message;
pub mod passage;
pub mod retry;
pub mod revision;
pub mod sse;

/// The longest message taken from either side, in bytes (STD-4 asks for at least 64 MiB).
pub const MAX_MESSAGE: usize = 128 * 1024 * 1024;
