//! asistry: the bridge between AI desktop clients, shells or CI jobs and remote MCP services.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod protocol;
pub mod secret;
