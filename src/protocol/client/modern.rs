//! A client without a handshake: each of its requests carries its version and capabilities in `_meta` (ERA-1).
//!
//! Same-era pairs pass through: the text of a request reaches the service as it came. Refuses what the modern
//! era does not know (ERA-5).

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;

use super::{Asked, Client, METHOD_NOT_FOUND};
use crate::error::{Error, Kind};
use crate::protocol::message::{Id, Message};
use crate::protocol::request::Class;
use crate::protocol::revision::Era;

/// Where a modern request says which revision it speaks.
static VERSION: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new("io.modelcontextprotocol/protocolVersion"));

/// Says whether a request carries the envelope of the modern era.
pub(super) fn is_modern(message: &Message) -> bool {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "_meta")]
        _meta: Envelope<'a>,
    }
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
        _version: Cow<'a, str>,
    }
    // Most messages of legacy clients need not be read for it.
    let params = message.params().filter(|params| VERSION.find(params.as_bytes()).is_some());
    params.is_some_and(|params| serde_json::from_str::<Params>(params).is_ok())
}

/// Says that a request with a handshake cannot be sent where the stateless era is forced.
pub(super) fn only() -> Error {
    Error::new(
        Kind::EraMismatch,
        "this bridge speaks the stateless era only, and the request has no envelope",
    )
    .hint("set the era to auto for this client")
}

fn not_with_rules() -> Error {
    Error::new(
        Kind::EraMismatch,
        "rules about tools that need the whole list are not supported in the stateless era yet",
    )
    .hint("leave read-only and safe names out, or set the era to auto")
}

impl Client {
    pub(super) fn modern_request(&mut self, asked: Asked, id: &Id) {
        if self.settings.era != Some(Era::Modern) {
            return self.legacy_request(asked, id);
        }
        match asked.message.method() {
            // The vocabulary of the handshake.
            method @ ("initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe") => {
                let why = format!("Method not found: {method}");
                self.refuse(Some(id), METHOD_NOT_FOUND, &why, asked.batch);
            }
            "tools/call" | "tools/list" if self.tools.needs_list_first() => {
                self.deny(&asked, not_with_rules())
            }
            "tools/call" => self.call(asked),
            method => {
                let class = Class::of(method);
                self.send(asked, class);
            }
        }
    }
}
