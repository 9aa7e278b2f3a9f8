//! What one conversation is about, and its limits.
//!
//! Refuses behaviour beyond answering about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use url::Url;

use crate::error::RemedyWriter;
use crate::protocol::driver::{Fallback, Prompt};
use crate::protocol::request::Promise;
use crate::protocol::retry::RetryPolicy;
use crate::protocol::revision::Era;
use crate::protocol::secrets::{NewKeys, SecretRules};
use crate::protocol::tool_rules::ToolRules;
use crate::protocol::wire::{Wire, WireKind};

/// Which wire a person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireChoice {
    /// Streamable HTTP, and HTTP+SSE where the service refuses the opening message (SSE-1).
    #[default]
    Auto,
    /// This one only.
    Only(WireKind),
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// MCP.
    #[default]
    Mcp,
    /// AgentStack's REST calls: MCP is spoken for it.
    AgentStack,
}

/// Whether a service speaks an era.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spoken {
    /// It was not asked.
    #[default]
    Unknown,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// The field of the `_meta` of a page of tools with [`KnownTools::etag`].
pub const ETAG: &str = "asistry/etag";

/// A list of tools that an earlier conversation kept.
#[derive(Debug)]
pub struct KnownTools {
    /// The whole list.
    pub tools: Vec<Box<RawValue>>,
    /// The service's tag of it (RFC 9110 section 8.8.3).
    pub etag: Option<String>,
    /// How long it may still be used without asking.
    pub fresh: Duration,
}

/// Whether the client is offered a tool that logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignIn {
    /// It is not.
    #[default]
    None,
    /// It is, until the login is done.
    AsTool,
}

/// The settings and limits of a conversation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service's endpoint.
    pub endpoint: Arc<Url>,
    /// The service as it is named in errors.
    pub place: Arc<str>,
    /// Its name and its title.
    pub service: (Arc<str>, Arc<str>),
    /// What it speaks.
    pub protocol: Protocol,
    /// Where its results hold secrets, and which actions make keys.
    pub secrets: Arc<SecretRules>,
    /// What the client wants of new keys.
    pub new_keys: NewKeys,
    /// What to add to a refusal of this HTTP status.
    pub hints: Vec<(u16, String)>,
    /// Which wire to speak.
    pub wire: WireChoice,
    /// The wire that this endpoint was last seen to speak; only [`WireChoice::Auto`] asks.
    pub remembered: Option<WireKind>,
    /// This endpoint was last seen to open no sessions; only where no era is forced.
    pub no_sessions: bool,
    /// The era that is forced upon the service, if any.
    pub era: Option<Era>,
    /// The service pushes on a standalone stream; where it does not, none is opened.
    pub pushes: bool,
    /// The client keeps lists, and must know for how long it may (MOD-14).
    pub keeps_lists: bool,
    /// How long refusals are waited out.
    pub retry: Arc<RetryPolicy>,
    /// The longest that one request may take, over all its attempts.
    pub max_time: Option<Duration>,
    /// When the conversation as a whole ends, if that is limited.
    pub until: Option<Instant>,
    /// The longest silence on a `tools/call` or a `tasks/result`.
    pub call_silence: Duration,
    /// The longest silence on every other request.
    pub silence: Duration,
    /// Which tools a client may see and call.
    pub tools: ToolRules,
    /// The client applies these rules itself ([`super::client::tools::let_through`]): lists and calls pass unchanged.
    pub client_filters: bool,
    /// The list of tools that an earlier conversation kept; only an upstream that makes the list itself asks.
    pub known_tools: Option<Arc<KnownTools>>,
    /// A larger result of a tool is handed out in a file (bytes).
    pub max_result: Option<usize>,
    /// Whether the client's opening message may begin a login; where it may not, it is answered at once.
    pub login_at_opening: Prompt,
    /// Whether a tool logs in.
    pub sign_in: SignIn,
    /// Writes the remedies of errors for this client.
    pub advise: RemedyWriter,
    /// Random bytes, new in each process: the seed of our `requestState` values.
    pub seed: [u8; 16],
    /// JSON of the `clientInfo` with which a session is opened where the client did not.
    pub client_info: String,
}

impl Settings {
    /// Returns the promise of a request that comes now.
    pub(super) fn promise(&self, now: Instant) -> Promise {
        let promise = Promise::new(now, self.max_time);
        self.until.map_or(promise, |until| promise.until(until))
    }

    /// As [`Self::promise`]; a task is also cancelled when the time of the conversation is over.
    pub(super) fn promise_of(&self, method: &str, now: Instant) -> Promise {
        if method == "tasks/cancel" { Promise::new(now, self.max_time) } else { self.promise(now) }
    }

    /// Returns the longest silence on a request of this method.
    pub(super) fn silence_of(&self, method: &str) -> Duration {
        if matches!(method, "tools/call" | "tasks/result") { self.call_silence } else { self.silence }
    }

    /// Returns the wire to begin with.
    pub(super) fn first_wire(&self) -> Wire {
        match self.is_remembered_as_sse() || self.wire == WireChoice::Only(WireKind::HttpSse) {
            true => Wire::http_sse(self.endpoint.clone()),
            false => Wire::streamable_http(self.endpoint.clone()),
        }
    }

    /// Says whether HTTP+SSE is spoken only because it was last time.
    pub(super) fn is_remembered_as_sse(&self) -> bool {
        self.wire == WireChoice::Auto && self.remembered == Some(WireKind::HttpSse)
    }

    /// Returns whether the service opens sessions, as far as that is known before it is asked.
    pub(super) fn legacy(&self) -> Spoken {
        match self.era {
            _ if self.protocol == Protocol::AgentStack => Spoken::No,
            Some(Era::Modern) => Spoken::No,
            Some(Era::Legacy) => Spoken::Yes,
            None if self.no_sessions => Spoken::No,
            None => Spoken::Unknown,
        }
    }

    /// Returns whether the service speaks the stateless era, as far as that is known before it is asked.
    pub(super) fn modern(&self) -> Spoken {
        let sse = self.wire == WireChoice::Only(WireKind::HttpSse) || self.is_remembered_as_sse();
        match self.era {
            _ if self.protocol == Protocol::AgentStack => Spoken::Yes,
            Some(Era::Modern) => Spoken::Yes,
            Some(Era::Legacy) => Spoken::No,
            // Only legacy services speak HTTP+SSE (section 7).
            None if sse => Spoken::No,
            None => Spoken::Unknown,
        }
    }

    pub(super) fn fallback(&self) -> Fallback {
        if self.wire == WireChoice::Auto { Fallback::Possible } else { Fallback::Excluded }
    }
}
