//! A login as it is kept: the client's registration and the tokens, bound to an issuer and a resource.
//!
//! A stored format, version 1: JSON in one item of the key store. Refuses to be used with another issuer (AUTH-11).

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::LoginOptions;
use super::dpop::DpopKey;
use super::signing::SigningKey;
use crate::secret::Secret;
use crate::state;

const VERSION: u32 = 1;
/// Methods by which a client proves who it is, as metadata names them.
pub const BASIC: &str = "client_secret_basic";
/// See [`BASIC`].
pub const POST: &str = "client_secret_post";
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
    /// The key that the tokens are bound to; it is needed for a refresh too (RFC 9449 section 5).
    #[serde(default, rename = "dpop_key", skip_serializing_if = "Option::is_none")]
    pub binding: Option<DpopKey>,
    /// Absent after a logout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
}

/// A client of an authorization server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Client {
    /// Its id; empty for a workload that has none.
    pub id: String,
    /// How it proves who it is at the token endpoint.
    #[serde(flatten)]
    pub proof: ClientAuth,
    /// Where it comes from.
    pub origin: ClientOrigin,
    /// The redirect URI that it was registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// The scopes that it was registered for; some servers grant no others (RFC 7591 section 2). Empty if none were
    /// named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
}

impl Client {
    /// Creates one that the user named.
    pub fn named(id: String, proof: ClientAuth, origin: ClientOrigin) -> Self {
        Self { id, proof, origin, redirect_uri: None, scope: Vec::new() }
    }

    /// Takes the secret or the key that the user names now: it may have been replaced since.
    pub fn prove_as(&mut self, options: &LoginOptions) {
        if options.client_id.as_ref() != Some(&self.id) {
            return;
        }
        let secret = options.client_secret.clone();
        let proof = match (&options.client_key, secret, &self.proof) {
            (Some(key), ..) => ClientAuth::PrivateKey { key: Some(key.clone()) },
            (None, Some(secret), ClientAuth::Post { .. }) => ClientAuth::Post { secret },
            (None, Some(secret), ClientAuth::Basic { .. }) => ClientAuth::Basic { secret },
            _ => return,
        };
        self.proof = proof;
    }

    /// Says whether it registered itself, for all of these scopes.
    pub fn is_registered_for(&self, scopes: &[String]) -> bool {
        let covers = self.scope.is_empty() || scopes.iter().all(|scope| self.scope.contains(scope));
        self.origin == ClientOrigin::Registered && covers
    }
}

/// How a client proves who it is at the token endpoint (RFC 7591 section 2).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "method")]
pub enum ClientAuth {
    /// It does not: a public client.
    #[serde(rename = "none")]
    Public,
    /// Id and secret in the `Authorization` header.
    #[serde(rename = "client_secret_basic")]
    Basic {
        /// The secret.
        #[serde(with = "text")]
        secret: Secret,
    },
    /// Id and secret in the body.
    #[serde(rename = "client_secret_post")]
    Post {
        /// The secret.
        #[serde(with = "text")]
        secret: Secret,
    },
    /// A token that its private key signs (RFC 7523 section 2.2). The key is the user's and is not stored.
    #[serde(rename = "private_key_jwt")]
    PrivateKey {
        /// The key; none if the user no longer names it.
        #[serde(skip)]
        key: Option<Arc<ClientKey>>,
    },
}

/// A client's private key.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// The key.
    pub key: SigningKey,
    /// The id under which the authorization server knows it.
    pub id: Option<String>,
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

/// The kind of an access token: its scheme in the `Authorization` header.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum TokenType {
    /// Whoever has it may use it (RFC 6750).
    #[default]
    Bearer,
    /// It is bound to a key (RFC 9449).
    #[serde(rename = "DPoP")]
    Dpop,
}

/// The tokens of a login.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tokens {
    /// The access token.
    #[serde(with = "text")]
    pub access: Secret,
    /// Its kind.
    #[serde(default, rename = "type")]
    pub kind: TokenType,
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

impl ClientAuth {
    /// Returns the proof with a secret, by the name of its method in metadata; `None` for another method.
    pub fn with_secret(method: &str, secret: Secret) -> Option<Self> {
        match method {
            BASIC => Some(Self::Basic { secret }),
            POST => Some(Self::Post { secret }),
            _ => None,
        }
    }

    /// Returns the secret, if it is one.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Basic { secret } | Self::Post { secret } => Some(secret),
            Self::Public | Self::PrivateKey { .. } => None,
        }
    }
}

impl Grant {
    /// Creates one without tokens.
    pub fn new(issuer: &str, resource: Option<String>, client: Client) -> Self {
        Self {
            version: VERSION,
            id: super::random_text(),
            issuer: issuer.to_owned(),
            resource,
            client,
            requested: Vec::new(),
            binding: None,
            tokens: None,
        }
    }

    /// Reads a stored one; `None` if a later version wrote it, or it is damaged.
    pub fn read(stored: &Secret) -> Option<Self> {
        let grant =
            serde_json::from_str(stored.expose()).ok().filter(|grant: &Self| grant.version == VERSION)?;
        // Nobody can use a bound token without its key.
        let is_usable = |tokens: &Tokens| tokens.kind == TokenType::Bearer || grant.binding.is_some();
        let tokens = grant.tokens.clone().filter(is_usable);
        Some(Self { tokens, ..grant })
    }

    /// Writes it.
    pub fn write(&self) -> Secret {
        Secret::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// Shares the nonces of the same key in this process.
    #[must_use]
    pub fn sharing_nonces(self, former: Option<&DpopKey>) -> Self {
        Self { binding: self.binding.map(|binding| binding.sharing(former)), ..self }
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
        let scheme = match self.kind {
            TokenType::Bearer => "Bearer",
            TokenType::Dpop => "DPoP",
        };
        let text = Zeroizing::new(format!("{scheme} {}", self.access.expose()));
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
