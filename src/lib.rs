//! asistry: the bridge between AI desktop clients, shells or CI jobs and remote MCP services.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod secret;

pub mod protocol;

pub mod service;

pub mod profile;

pub mod net;

pub mod auth;

pub mod trace;

pub mod remote;

pub mod local;

pub mod relay;

#[cfg(feature = "sandbox")]
pub mod sandbox;

pub mod ui;

pub mod commands;
