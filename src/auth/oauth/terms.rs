//! What a login is asked for with, and what comes of it: plain values.
//!
//! Refuses behaviour: `flow` and `machine` have it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use url::Url;

use super::dpop::DpopKey;
use super::grant::ClientKey;
use super::machine::Machine;
use crate::error::Result;
use crate::profile::LoginMode;
use crate::protocol::authenticate::BearerChallenge;
use crate::secret::Secret;
use crate::state::State;

/// What the user configured about logins.
#[derive(Clone, Debug, Default)]
pub struct LoginOptions {
    /// A client registered beforehand.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// Its private key, instead of a secret.
    pub client_key: Option<Arc<ClientKey>>,
    /// The URL of a client metadata document.
    pub client_metadata_url: Option<String>,
    /// How a machine logs in, instead of a person.
    pub machine: Option<Machine>,
    /// The scopes to ask for, instead of those that the service names.
    pub scopes: Vec<String>,
    /// What to do when a login is needed.
    pub mode: LoginMode,
}

/// A future of a trait object.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a login reaches a person; `commands` makes it.
#[derive(Clone)]
pub struct Person {
    /// Shows where to log in, and opens a browser there; returns whether one was opened.
    pub open: Arc<dyn Fn(Url) -> Boxed<bool> + Send + Sync>,
    /// Reads a pasted URL or code.
    pub pasted: Option<Arc<dyn Fn() -> Boxed<Result<String>> + Send + Sync>>,
    /// Says one line.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person")
    }
}

/// Whether a login must outlive the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It must be stored.
    Stored,
    /// Where no store opens, it serves this process.
    StoredIfPossible,
}

/// The parts of a login.
#[derive(Debug)]
pub struct LoginParts {
    /// Whether it must be stored.
    pub keeping: Keeping,
    /// What the user configured.
    pub options: LoginOptions,
    /// How it reaches a person.
    pub person: Person,
    /// The state directory: locks, and the list of logins.
    pub state: State,
}

/// The service that a login is for.
#[derive(Clone, Debug)]
pub struct Place {
    /// The profile.
    pub profile: String,
    /// The endpoint.
    pub endpoint: Url,
    /// Whether the service is known to want a login.
    pub is_oauth: bool,
    /// Whether plain `http` is allowed beyond this machine.
    pub allow_http: bool,
    /// The longest that an authorization server may take for one answer.
    pub timeout: Option<Duration>,
}

/// Whether a request may make a person log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// As [`Self::Never`], and it must be answered at once.
    AtOnce,
    /// It only takes what can be had silently.
    Never,
    /// As the user configured it.
    AsConfigured,
    /// Whatever was configured.
    Always,
}

impl Ask {
    /// Says whether no person may be asked.
    pub fn is_silent(self) -> bool {
        matches!(self, Self::AtOnce | Self::Never)
    }
}

/// Why a token is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The one at hand is about to expire.
    Expiring,
    /// The service refused a request (401).
    Refused,
    /// The service wants more scopes (403).
    MoreScopes,
    /// The user asks for a login.
    Asked,
}

/// A request for a token.
#[derive(Clone, Debug)]
pub struct Need {
    /// Why.
    pub why: Why,
    /// The token that the service refused.
    pub refused: Option<Secret>,
    /// What it said.
    pub challenge: Option<BearerChallenge>,
    /// Whether a person may be asked.
    pub ask: Ask,
    /// How the person logs in.
    pub way: Way,
}

/// How a person logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// In a browser that comes back to a port of this machine.
    #[default]
    Browser,
    /// On another device, with a code (RFC 8628).
    Device,
}

/// An access token, ready to be sent.
#[derive(Clone, Debug)]
pub struct Token {
    /// The header's value, marked as sensitive.
    pub header: HeaderValue,
    /// The token itself.
    pub access: Secret,
    /// The key that it is bound to: each request needs a proof (RFC 9449).
    pub binding: Option<DpopKey>,
    /// Identifies the login, whatever its token.
    pub identity: String,
    /// Until when it may be used without a renewal.
    pub fresh_until: Option<Instant>,
}

/// How a login is left.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// Whether the tokens are revoked at the authorization server.
    pub revokes: bool,
    /// Whether the registered client is forgotten.
    pub forgets_client: bool,
}

/// What is known about a login; never a secret.
#[derive(Clone, Debug)]
pub struct Status {
    /// The issuer.
    pub issuer: String,
    /// The resource.
    pub resource: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// When the access token expires, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// Whether it is renewed without a person.
    pub renews: bool,
    /// Where it is stored.
    pub store: Option<&'static str>,
}

impl Need {
    /// Returns the scopes that the service asks for, empty if it names none.
    pub(super) fn scope(&self) -> &str {
        self.challenge.as_ref().and_then(|challenge| challenge.scope.as_deref()).unwrap_or_default()
    }

    /// The user asks for a login.
    pub fn of_user(way: Way) -> Self {
        Self { why: Why::Asked, refused: None, challenge: None, ask: Ask::Always, way }
    }
}
