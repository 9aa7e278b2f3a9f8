//! asistry: the bridge between AI desktop clients, shells or CI jobs and remote MCP services.
//!
//! # The rooms, in order
//! A module imports only from modules above it in this list; `tests/house.rs` reads the order from this file and
//! fails on an upward import.
//!
//! ```text
//! error      kinds of failure, remedies; the one table of exit and JSON-RPC codes
//! secret     a value that is never printed
//! files      private files: 0600, replaced atomically, locked with a deadline
//! protocol   the core without IO: messages, requests, HTTP rules, wires, client side, upstreams, bridge, driver
//! service    remote services, as data
//! profile    a user's instance of a service
//! state      files kept between runs, such as the key list; never a secret
//! net        the HTTP client
//! gate       rate limiting: admits the exchanges of one key
//! auth       credentials and key stores; the only module that opens a secret
//! trace      records conversations in the format that the tests replay
//! remote     runs drivers: signs, sends, reads; bounds the memory of large responses
//! connection everything one profile needs to connect, built from plain values
//! local      ports: stdio, and clients in this process
//! relay      the event loop
//! sandbox    local stand-in services; imports no module but `error`
//! ui         all output to people
//! commands   one file per subcommand; the only module that reads the environment
//! ```
//!
//! # How one request travels
//! 1. `local/stdio.rs` reads one line, up to its size limit;
//! 2. `protocol/message.rs` finds id and method in it and keeps the original text;
//! 3. `protocol/client` decides what it asks for, and records that it must be answered;
//! 4. `protocol/bridge.rs` passes it to the upstream of its era with a [`protocol::request::Promise`] (it may wait there until
//!    the service has said which era it speaks; where client and service differ it is translated by `client/door` and
//!    `client/lower` for a legacy client, by `upstream/sessions/translate` for a modern client); the upstream has a `wire`
//!    build the HTTP request and creates a [`protocol::driver::Driver`];
//! 5. `remote` runs the driver: it asks the `gate`, has `auth` sign, sends, and reports the response;
//!    `protocol/exchange` interprets it, until the request is answered or has failed;
//! 6. `protocol/sse.rs` or one JSON body yields the messages; upstream, bridge and client turn them into a
//!    [`protocol::effect::Delivery`] for this client;
//! 7. `local/stdio.rs` writes one line.
//!
//! `relay.rs` is the loop around 2 to 4 and 6; it owns the bridge, so there is no lock. `asistry call` and the other
//! reading commands are clients of the same relay in the same process (`commands/conversation`).
//!
//! # Design decisions
//! * There is one driver per message, run by `remote` in its own task; a panic is reported as a failure of that
//!   message. `tests/support/conversation/pure.rs` runs the same drivers.
//! * A `Promise` is copied into a driver and returned when the driver ends.
//! * A session that the client leaves during running calls is kept until they end (LEG-10).
//! * Each `Remote` has one gate; a key that was rotated inherits it.
//! * `trace` is a module because both sides of the relay write to it.
//! * Secrets in a service's results (`[secrets]` in its data) are masked by `auth/vault.rs` as the bytes arrive, before the
//!   driver, trace or log sees them, and opened while a call is signed, where its wire says so.
//! * A login (`auth/oauth`) is found, refreshed and stored under one file lock for each profile and endpoint; inside the
//!   process one task serves all requests that wait, and goes on when they are cancelled. `commands` lends it a person.
//! * A machine's login (`oauth/machine.rs`) takes the place of the window; its tokens are in no store. A token that is bound to
//!   a key (`oauth/dpop.rs`) carries that key: `Authorizer::sign` makes each proof, and a 401 that only lacks a nonce is no
//!   rejection.
//! * A client whose opening message waits for nothing but a login is answered from a guess (`client/sign_in.rs`); the
//!   session is opened with the client's words once a request needs it.
//! * The key list in the state directory (`state/keys.rs`, changed by `auth/keys`) decides which store item is current.
//!   A new key is stored beside the old one and one atomic file replacement makes it current, so an interrupted change
//!   leaves the old key or the new one.
//!
//! # Where do I put …?
//! | I add | I touch |
//! |---|---|
//! | a service that speaks MCP | one `service/NAME.toml` and its row in `service/mod.rs` |
//! | an option | a row in `profile/options.rs` |
//! | an example, a help topic, an exit code | a row in `commands/examples.rs`, `commands/help.rs`, `error.rs` |
//! | a service with its own wire | that, and `protocol/wire/NAME.rs`, with its actions as tools in `protocol/upstream/local` |
//! | an action that makes keys, a field that holds a secret | `[secrets]` of the service's `.toml` |
//! | a protocol revision with a handshake | `protocol/revision/vDATE.rs`, and its row in `revision::ALL` |
//! | a subcommand | `commands/NAME.rs`, and its rows in `commands/mod.rs` and `commands/quick.rs` |
//! | a name that completion offers | a row of `NAMES` in `commands/complete/place.rs` |
//! | an output format | `commands/output.rs`, rendered in `ui/` |
//! | a key store | `auth/store/NAME.rs`, and a row in `profile::StoreKind` |
//! | a check of a key's form | `auth/form.rs` |
//! | a rule of OAuth | `auth/oauth/`: `discovery`, `registration`, `authorize`, `token`, and their order in `flow` |
//! | a way in which a machine logs in | a variant of `auth/oauth/machine.rs`, made from options in `commands/client.rs` |
//! | state to keep between runs | `state/NAME.rs` |
//! | an environment variable, a file | a row in `commands/environment.rs` |
//! | a peer to test against | `tests/peers/NAME`, and its row in `tests/peers/run` |
//! | an era of clients | `protocol/client/NAME.rs`, its requests told apart in `Client::request` and routed in `Bridge::request` |
//! | another kind of service | `protocol/upstream/NAME.rs` (an `Upstream`), a row in `effect::UpstreamKind`, and in `bridge.rs` its place in `UPSTREAMS` and a field with its places beside `modern` |
//! | a field, code or method that one era lacks | `protocol/client/door.rs` and `lower.rs` (legacy client), `protocol/upstream/sessions/translate.rs` (modern client), and the table in `protocol/bridge.rs` |
//! | a kind of failure, a remedy | a row in `error.rs`, a variant of `error::Remedy` and its line in `commands/remedy.rs` |
//! | the meaning of an HTTP status | a row in `protocol/exchange/status.rs` |
//! | a shell session with its output | `tests/sessions/PAGE.md` |
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
