//! What one HTTP exchange means, by HTTP alone: redirects, refusals, failing statuses, streams that end early.
//!
//! Refuses to know JSON-RPC: `driver` reads the messages.

mod reach;
mod redirect;
pub(super) mod resumption;
pub(super) mod status;

pub use reach::Reach;
pub(super) use reach::unreachable;
pub(super) use redirect::redirect;
pub(super) use status::PROMPT;
pub use status::{Cause, Failure, Key};
