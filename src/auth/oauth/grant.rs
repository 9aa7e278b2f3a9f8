//! A login as it is kept: the client's registration and the tokens, bound to an issuer and a resource.
//!
//! A stored format, version 1: JSON in one item of the key store. Refuses to be used with another issuer (AUTH-11).

use std::time::{Duration, Instant};

use http::header::HeaderValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::state;

const VERSION: u32 = 1;
/// A token is renewed this long before it expires, or a quarter of its lifetime.
const MARGIN: Duration = Duration::from_secs(30);

/// A login, or only the registration that one needs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Grant {
    version: u32,
    /// Random; stays the same while tokens are refreshed, so that caches do too.
    pub id: String,
    /// The issuer of the tokens.
    pub issuer: String,
    /// The `resource` of all requests, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The client.
    pub client: Client,
    /// The scopes that were asked for.
    #[serde(default)]
    pub requested: Vec<String>,
    /// Absent after a logout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
}

/// A client of an authorization server.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret, if it has one.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How it proves who it is at the token endpoint.
    pub method: AuthMethod,
    /// Where it comes from.
    pub origin: ClientOrigin,
    /// The redirect URI that it was registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// How a client proves who it is at the token endpoint (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum AuthMethod {
    /// It does not: a public client.
    #[serde(rename = "none")]
    Public,
    /// Id and secret in the `Authorization` header.
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// Id and secret in the body.
    #[serde(rename = "client_secret_post")]
    Post,
}

/// Where a client id comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientOrigin {
    /// From the user, who registered it beforehand.
    Given,
    /// It is the URL of a metadata document.
    Document,
    /// From dynamic registration.
    Registered,
}

/// The tokens of a login.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tokens {
    /// The access token.
    #[serde(with = "text")]
    pub access: Secret,
    /// The refresh token.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Secret>,
    /// The granted scopes.
    pub scope: Vec<String>,
    /// When they were received, in seconds since 1970 by this machine's clock.
    pub received_at: u64,
    /// How long the access token lives from then on, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
}

impl AuthMethod {
    /// Returns its name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }

    /// Returns the method of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Public, Self::Basic, Self::Post].into_iter().find(|method| method.name() == name)
    }
}

impl Grant {
    /// Creates one without tokens.
    pub fn new(issuer: &str, resource: Option<String>, client: Client) -> Self {
        let (issuer, requested) = (issuer.to_owned(), Vec::new());
        Self { version: VERSION, id: super::random_text(), issuer, resource, client, requested, tokens: None }
    }

    /// Reads a stored one; `None` if a later version wrote it, or it is damaged.
    pub fn read(stored: &Secret) -> Option<Self> {
        serde_json::from_str(stored.expose()).ok().filter(|grant: &Self| grant.version == VERSION)
    }

    /// Writes it.
    pub fn write(&self) -> Secret {
        Secret::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// Says whether it can be renewed without a person.
    pub fn has_refresh(&self) -> bool {
        self.tokens.as_ref().is_some_and(|tokens| tokens.refresh.is_some())
    }

    /// Says whether the access token is this one.
    pub fn has_access(&self, token: &Secret) -> bool {
        self.tokens.as_ref().is_some_and(|tokens| tokens.access == *token)
    }
}

impl Tokens {
    /// Returns the value of the `Authorization` header, marked as sensitive; `None` for a token that cannot be sent.
    pub fn header(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.access.expose()));
        let mut header = HeaderValue::from_str(&text).ok().filter(|_| !self.access.is_empty())?;
        header.set_sensitive(true);
        Some(header)
    }

    /// Returns until when the access token may be used without a renewal; `None` if that is not known.
    pub fn fresh_until(&self) -> Option<Instant> {
        let lifetime = Duration::from_secs(self.lifetime?);
        // A clock that was set back since says nothing: a refused token is renewed.
        let age = Duration::from_secs(state::now().saturating_sub(self.received_at));
        let left = lifetime.saturating_sub(MARGIN.min(lifetime / 4)).saturating_sub(age);
        Some(Instant::now() + left.min(Duration::from_secs(366 * 24 * 3600)))
    }

    /// Says whether all of these scopes were granted.
    pub fn has_scopes(&self, wanted: &str) -> bool {
        wanted.split_ascii_whitespace().all(|scope| self.scope.iter().any(|known| known == scope))
    }

    /// Returns when the access token expires, in seconds since 1970.
    pub fn expires_at(&self) -> Option<u64> {
        self.lifetime.map(|lifetime| self.received_at.saturating_add(lifetime))
    }
}

pub(super) mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::Secret;

    pub fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => to.serialize_str(secret.expose()),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}
