//! Tokens that are bound to a key (DPoP, RFC 9449): the key, and the proof that goes along with each request.
//!
//! Refuses to use a nonce with another server than the one that gave it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use super::discovery::Found;
use super::signing::SigningKey;
use crate::protocol::authenticate::{BearerChallenge, TokenKind};
use crate::secret::Secret;
use crate::state;

/// The header of a proof (RFC 9449 section 4.1).
pub const PROOF: HeaderName = HeaderName::from_static("dpop");
/// The header of a nonce (RFC 9449 section 8).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// The error code of a request whose proof lacks the nonce (RFC 9449 sections 8 and 9).
pub const USE_NONCE: &str = "use_dpop_nonce";
/// Longer nonces are ignored.
const LONGEST_NONCE: usize = 1024;

/// A key that tokens are bound to, and the nonces that servers gave for it.
#[derive(Clone, Debug)]
pub struct DpopKey {
    key: SigningKey,
    stored: Secret,
    nonces: Arc<Mutex<HashMap<Server, String>>>,
}

/// A server by its origin. An authorization server and a resource at one origin each have a nonce.
type Server = (String, Role);

/// What a server is to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It issues tokens.
    Authorization,
    /// It takes them.
    Resource,
}

impl DpopKey {
    /// Makes a new key.
    pub fn generate() -> Self {
        let (key, stored) = SigningKey::generate();
        Self { key, stored, nonces: Arc::default() }
    }

    /// Returns the key for a login at this service: the one of the former login, or a new one; none where the service
    /// takes tokens without.
    pub fn wanted(found: &Found, challenge: Option<&BearerChallenge>, former: Option<&Self>) -> Option<Self> {
        let offers_both = || found.server.signs_with_es256();
        let is_wanted = found.binds_tokens
            || match challenge.map(|challenge| challenge.kind) {
                Some(TokenKind::Dpop) => true,
                Some(TokenKind::Either) => offers_both(),
                Some(TokenKind::Bearer) => false,
                None => former.is_some(),
            };
        is_wanted.then(|| former.cloned().unwrap_or_else(Self::generate))
    }

    /// Returns the thumbprint of the key, to which an authorization code is bound (RFC 9449 section 10).
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// Shares the nonces of an earlier copy of the same key.
    #[must_use]
    pub fn sharing(self, former: Option<&Self>) -> Self {
        match former.filter(|former| former.stored == self.stored) {
            Some(former) => Self { nonces: former.nonces.clone(), ..self },
            None => self,
        }
    }

    /// Returns the proof for one request, marked as sensitive; `access` is the token that goes along.
    pub fn proof(&self, method: &Method, url: &Url, access: Option<&Secret>) -> HeaderValue {
        let mut place = url.clone();
        place.set_query(None);
        place.set_fragment(None);
        let mut claims = json!({
            "jti": super::random_text(),
            "htm": method.as_str(),
            "htu": place.as_str(),
            "iat": state::now(),
        });
        let role = if access.is_some() { Role::Resource } else { Role::Authorization };
        if let Some(access) = access {
            claims["ath"] = URL_SAFE_NO_PAD.encode(Sha256::digest(access.expose())).into();
        }
        if let Some(nonce) = self.nonces().get(&server(url, role)) {
            claims["nonce"] = nonce.as_str().into();
        }
        let header = json!({"typ": "dpop+jwt", "jwk": self.key.public_jwk()});
        let proof = self.key.token(header, &claims);
        let mut proof = HeaderValue::from_str(proof.expose()).expect("base64url and dots");
        proof.set_sensitive(true);
        proof
    }

    /// Takes the nonce of a response, for the next request to that server.
    pub fn heard(&self, url: &Url, role: Role, headers: &HeaderMap) {
        let nonce = headers.get(NONCE).and_then(|nonce| nonce.to_str().ok());
        if let Some(nonce) = nonce.filter(|nonce| !nonce.is_empty() && nonce.len() <= LONGEST_NONCE) {
            self.nonces().insert(server(url, role), nonce.to_owned());
        }
    }

    fn nonces(&self) -> MutexGuard<'_, HashMap<Server, String>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn server(url: &Url, role: Role) -> Server {
    (url.origin().ascii_serialization(), role)
}

impl Serialize for DpopKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.stored.expose())
    }
}

impl<'de> Deserialize<'de> for DpopKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let stored = Secret::new(String::deserialize(from)?);
        let key =
            SigningKey::stored(&stored).ok_or_else(|| serde::de::Error::custom("the key is damaged"))?;
        Ok(Self { key, stored, nonces: Arc::default() })
    }
}
