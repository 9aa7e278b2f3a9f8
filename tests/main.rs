//! The one test binary: a file for each behaviour.

mod agentstack;
mod call;
mod catalogue;
mod commands;
mod completions;
mod conversations;
mod drivers;
mod eras;
mod house;
mod keys;
mod oauth;
mod options;
mod pasted;
mod profiles;
mod rmcp_peer;
mod sandbox;
mod services;
mod sessions;
mod stdio;
mod support;
