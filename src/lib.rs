//! asistry: the bridge between AI desktop clients, shells or CI jobs and remote MCP services.
//!
//! # The rooms, in order
//! The modules below stand in the order of the stair: a room imports only from rooms above it in this
//! list. `tests/house.rs` reads this file for the order and fails on an import that climbs.
//!
//! ```text
//! error      what went wrong: a kind, a sentence, a hint; the one table of exit and JSON-RPC codes
//! secret     a value that cannot be printed
//! files      private files: 0600, replaced as a whole, locked with a deadline
//! protocol   the pure core: messages, requests, HTTP rules, wires, client side, upstreams, the bridge, the driver
//! service    the remote systems, as data
//! profile    a user's instance of a service
//! state      what is remembered between runs, the list of keys among it; never a secret
//! net        the one HTTP client
//! gate       admission of the exchanges of one key
//! auth       which credential goes where, and where keys are stored; the only room that opens a secret
//! trace      the conversation, written down as the tests replay it
//! remote     runs drivers: signs, sends, reads; the memory of large answers
//! connection everything one profile needs to talk, made from plain values
//! local      ports: stdio, and clients inside the process
//! relay      the only loop
//! sandbox    the stand-in services: an opponent of the bridge, knows none of the rooms but `error`
//! ui         the only printer for people
//! commands   one file for each subcommand; the only room that reads the environment
//! ```
//!
//! # How one request travels
//! 1. `local/stdio.rs` reads one line, up to its size limit;
//! 2. `protocol/message.rs` finds id and method in it and keeps the original text;
//! 3. `protocol/client` decides what it wants, and remembers that an answer is owed;
//! 4. `protocol/bridge.rs` hands it to the upstream, with a [`protocol::request::Promise`]; `protocol/upstream` has a
//!    `wire` draw the HTTP call and makes a [`protocol::driver::Driver`];
//! 5. `remote` runs the driver: it asks the `gate`, has `auth` sign, sends, and reports what came; `protocol/exchange`
//!    says what the reply means, until the promise is kept or broken;
//! 6. `protocol/sse.rs` or one JSON body gives the messages; upstream, bridge and client turn them into a
//!    [`protocol::effect::Delivery`] for this client;
//! 7. `local/stdio.rs` writes one line.
//!
//! `relay.rs` is the loop around 2 to 4 and 6; it owns the bridge, so there is no lock. `asistry call` and the
//! other reading commands are clients of the same relay, inside the process (`commands/conversation`).
//!
//! # What differs from the first design, and why
//! * The driver is one value for each message, not one for all: `remote` runs each in a task of its own, and a task
//!   that panics is reported like any other end. `tests/support/conversation/pure.rs` runs the same drivers.
//! * A `Promise` is a small value: it is lent to a driver as a copy and comes back with the driver's end.
//! * A session that the client leaves while calls run in it is retired, not ended (LEG-10).
//! * `gate.rs` keeps one gate for each `Remote`, so for each key in use.
//! * `trace` is a room of its own, because both sides of the relay write into it.
//! * `auth/keys.rs` and `state/keys.rs`: the list of keys in the state directory says which item of a store
//!   counts. A new key is stored beside the old one, and one replaced file puts it into use: so a change can
//!   be interrupted anywhere and leaves the old key or the new one.
//! * `install/` and the doors between eras come with the parts that need them.
//!
//! # Where do I put …?
//! | I add | I touch |
//! |---|---|
//! | a service that speaks MCP | one `service/NAME.toml` and its row in `service/mod.rs` |
//! | an option | a row in `profile/options.rs` |
//! | an example, a help topic, an exit code | a row in `commands/examples.rs`, `commands/help.rs`, `error.rs` |
//! | a service with its own wire | that, and `protocol/wire/NAME.rs` |
//! | a protocol revision | `protocol/revision/vDATE.rs` |
//! | a subcommand | `commands/NAME.rs`, and its rows in `commands/mod.rs` and `commands/quick.rs` |
//! | a name that TAB offers | a row of `NAMES` in `commands/complete/place.rs` |
//! | a form of output | `commands/output.rs`, drawn in `ui/` |
//! | a place where keys lie | `auth/store/NAME.rs`, and a row in `profile::StoreKind` |
//! | a form that no key has | `auth/form.rs` |
//! | something to remember | `state/NAME.rs` |
//! | a variable of the environment, a file | a row in `commands/environment.rs` |
//! | a peer to be judged by | `tests/peers/NAME`, and its row in `tests/peers/run` |
//! | an era of clients | `protocol/client/NAME.rs` |
//! | another kind of service | `protocol/upstream/NAME.rs` (an `Upstream`), a row in `effect::UpstreamKind` and `Bridge::upstream` |
//! | a kind of failure, a remedy | a row in `error.rs`, a variant of `error::Remedy` and its line in `commands/remedy.rs` |
//! | what an HTTP status means | a row in `protocol/exchange/status.rs` |
//! | what a person types, and what comes of it | `tests/sessions/PAGE.md` |
//! | a bug someone reported | `tests/conversations/NAME.txt` |
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod error;

pub mod secret;

pub mod files;

pub mod protocol;

pub mod service;

pub mod profile;

pub mod state;

pub mod net;

pub mod gate;

pub mod auth;

pub mod trace;

pub mod remote;

pub mod connection;

pub mod local;

pub mod relay;

#[cfg(feature = "sandbox")]
pub mod sandbox;

pub mod ui;

pub mod commands;
