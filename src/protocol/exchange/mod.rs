//! What one HTTP exchange means, by HTTP alone: redirects, refusals, failing statuses, streams that end early.
//!
//! Refuses to know JSON-RPC: `driver` reads the messages.

mod redirect;
pub(super) mod resumption;
pub(super) mod status;

pub(super) use redirect::redirect;
pub use status::{Failure, Processed};
