//! How messages travel over HTTP: headers, session ids, streams.
//!
//! Refuses to read messages beyond what a header repeats: `upstream` knows what they mean.

mod agentstack;
mod http_sse;
mod stateless;
mod streamable_http;
mod tool_headers;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use url::Url;

pub use agentstack::{AgentStack, Reply};
pub use http_sse::HttpSse;
pub use stateless::Stateless;
pub use streamable_http::StreamableHttp;
pub use tool_headers::ToolHeaders;

use crate::error::Error;
use crate::protocol::http::{Head, HttpCall};

/// The wires of MCP.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireKind {
    /// Streamable HTTP of 2025-03-26 and later.
    StreamableHttp,
    /// HTTP+SSE of 2024-11-05.
    HttpSse,
}

/// The wire in use towards one service.
#[derive(Clone, Debug)]
pub enum Wire {
    /// Streamable HTTP of 2025-03-26 and later.
    StreamableHttp(StreamableHttp),
    /// HTTP+SSE of 2024-11-05.
    HttpSse(HttpSse),
}

impl Wire {
    /// Speaks Streamable HTTP to this endpoint.
    pub fn streamable_http(url: Arc<Url>) -> Self {
        Self::StreamableHttp(StreamableHttp::new(url))
    }

    /// Speaks HTTP+SSE to this endpoint.
    pub fn http_sse(url: Arc<Url>) -> Self {
        Self::HttpSse(HttpSse::new(url))
    }

    /// Returns the POST that carries a message.
    pub fn post(&self, body: Bytes) -> HttpCall {
        match self {
            Self::StreamableHttp(wire) => wire.post(body),
            Self::HttpSse(wire) => wire.post(body),
        }
    }

    /// Returns the POST that carries the opening message: no session id and no version go along (LEG-2).
    pub fn open(&self, body: Bytes) -> HttpCall {
        match self {
            Self::StreamableHttp(wire) => wire.open(body),
            Self::HttpSse(wire) => wire.post(body),
        }
    }

    /// Returns the GET that opens the service's own stream.
    pub fn listen(&self) -> HttpCall {
        match self {
            Self::StreamableHttp(wire) => wire.listen(),
            Self::HttpSse(wire) => wire.stream(),
        }
    }

    /// Returns the DELETE that ends the session, if there is one (LEG-12).
    pub fn farewell(&self) -> Option<HttpCall> {
        match self {
            Self::StreamableHttp(wire) => wire.farewell(),
            Self::HttpSse(_) => None,
        }
    }

    /// Learns from the reply to the opening message: session id and negotiated version.
    pub fn opened(&mut self, head: Option<&Head>, version: Option<&str>) -> Option<String> {
        match self {
            Self::StreamableHttp(wire) => wire.opened(head, version),
            Self::HttpSse(wire) => {
                wire.opened(version);
                None
            }
        }
    }

    /// Returns the same wire without a session.
    #[must_use]
    pub fn without_session(mut self) -> Self {
        match &mut self {
            Self::StreamableHttp(wire) => wire.forget_session(),
            Self::HttpSse(wire) => wire.forget_session(),
        }
        self
    }

    /// Says whether a session id goes along with each call.
    pub fn has_session(&self) -> bool {
        matches!(self, Self::StreamableHttp(wire) if wire.has_session())
    }

    /// Says whether answers come on the service's own stream, not on the POST's.
    pub fn answers_elsewhere(&self) -> bool {
        matches!(self, Self::HttpSse(_))
    }

    /// Says whether the stream still has to name where messages are posted to.
    pub fn awaits_endpoint(&self) -> bool {
        matches!(self, Self::HttpSse(wire) if wire.awaits_endpoint())
    }

    /// Learns where messages are posted to (SSE-2).
    ///
    /// # Errors
    /// An endpoint of another origin, or none at all.
    pub fn endpoint(&mut self, text: &str) -> Result<(), Error> {
        match self {
            Self::StreamableHttp(_) => Ok(()),
            Self::HttpSse(wire) => wire.endpoint(text),
        }
    }
}
