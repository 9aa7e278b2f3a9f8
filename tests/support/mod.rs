//! Shared by the tests. A test service that is never called fails its test.

pub mod bridge;
pub mod conversation;
pub mod home;
pub mod service;
#[cfg(target_os = "linux")]
pub mod terminal;

use std::time::Duration;

/// The longest wait for an event that must come; ten times what anything here takes.
pub const DEADLINE: Duration = Duration::from_secs(30);
