//! The token endpoint (RFC 6749 section 3.2): requests, responses, and what a refusal means.
//!
//! Refuses to take a failure of the server, or of the network, for the end of a login.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::dpop::{DpopKey, PROOF, Role, USE_NONCE};
use super::grant::{Client, ClientAuth, ClientKey, TokenType, Tokens};
use super::metadata::ServerMetadata;
use super::web::{Body, Posted, Reply, Web, failing, form, shortened};
use crate::error::{Error, Kind, Remedy};
use crate::secret::Secret;
use crate::state;

/// Longer words of a refusal are masked.
const LONGEST_WORD: usize = 32;
/// Shorter secrets would mask parts of ordinary words.
const SHORTEST_SECRET: usize = 4;
/// Seconds that a client's assertion is good for.
const ASSERTION_LIFETIME: u64 = 120;

/// Why no token was issued.
#[derive(Clone, Debug)]
pub enum TokenError {
    /// The grant or the client is no longer valid: `invalid_grant`, `invalid_client`, `unauthorized_client`.
    Ended(Refusal),
    /// Another refusal.
    Refused(Refusal),
    /// Nothing is known about the grant: the server or the network fails.
    Failing(Error),
}

/// An error response (RFC 6749 section 5.2).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Refusal {
    /// The error code.
    #[serde(rename = "error")]
    pub code: String,
    /// The server's sentence.
    #[serde(default, rename = "error_description")]
    pub said: String,
}

impl Refusal {
    /// Says whether the proof was refused, and not the login (RFC 9449 section 5).
    pub fn is_of_proof(&self) -> bool {
        self.code == "invalid_dpop_proof"
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.said.as_str() {
            "" => f.write_str(&self.code),
            said => write!(f, "{}: {said}", self.code),
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Failing(error) => error,
            TokenError::Ended(refusal) | TokenError::Refused(refusal) => {
                let why = format!("the authorization server refused: {refusal}");
                let error = Self::new(Kind::AuthDenied, why);
                match refusal.is_of_proof() {
                    true => error.hint("check this machine's clock"),
                    false => error.remedy(Remedy::Login),
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Issued {
    #[serde(with = "super::grant::text")]
    access_token: Secret,
    #[serde(default, with = "super::grant::optional")]
    refresh_token: Option<Secret>,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    scope: Option<String>,
}

/// A client at its authorization server.
#[derive(Clone, Copy, Debug)]
pub struct AtServer<'a> {
    /// Sends the requests.
    pub web: &'a Web,
    /// The authorization server.
    pub server: &'a ServerMetadata,
    /// The client.
    pub client: &'a Client,
    /// The key that the tokens are bound to, if they are.
    pub binding: Option<&'a DpopKey>,
}

/// Fields of a form.
pub type Fields<'a> = [(&'a str, &'a str)];

impl AtServer<'_> {
    /// Asks for tokens; `asked` are the scopes that are granted if the response names none (RFC 6749 section 5.1).
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn tokens(self, fields: &Fields<'_>, asked: &[String]) -> Result<Tokens, TokenError> {
        let reply = self.post(self.server.token_endpoint.as_deref(), fields).await?;
        let unusable = |why: String| TokenError::Failing(Error::new(Kind::ProtocolViolation, why));
        let issuer = &self.server.issuer;
        let Ok(issued) = serde_json::from_slice::<Issued>(&reply.body) else {
            return Err(unusable(format!("the token endpoint of {issuer} answers without a token")));
        };
        let kind = match issued.token_type.as_deref() {
            None => TokenType::Bearer,
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => TokenType::Bearer,
            Some(kind) if kind.eq_ignore_ascii_case("dpop") && self.binding.is_some() => TokenType::Dpop,
            Some(kind) => {
                let kind = shortened(kind);
                return Err(unusable(format!(
                    "{issuer} issues tokens of the type {kind}, which asistry cannot use"
                )));
            }
        };
        let scope = issued.scope.map_or_else(|| asked.to_vec(), |scope| super::words(&scope));
        let tokens = Tokens {
            access: issued.access_token,
            kind,
            refresh: issued.refresh_token,
            scope,
            received_at: state::now(),
            lifetime: issued.expires_in.as_ref().and_then(seconds),
        };
        match tokens.header() {
            Some(_) => Ok(tokens),
            None => Err(unusable(format!("{issuer} issues a token that cannot be sent in a header"))),
        }
    }

    /// Sends a form to an endpoint that knows the client; resolves with a 2xx.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn post(self, endpoint: Option<&str>, fields: &Fields<'_>) -> Result<Reply, TokenError> {
        let url =
            self.web.checked(endpoint.unwrap_or_default(), "token endpoint").map_err(TokenError::Failing)?;
        let mut reply = self.sent(&url, fields).await?;
        if self.binding.is_some() && !reply.is_success() && code_of(&reply) == USE_NONCE {
            // RFC 9449 section 8: the same again with the nonce, once.
            reply = self.sent(&url, fields).await?;
        }
        if reply.is_success() {
            return Ok(reply);
        }
        if reply.status >= 500 || matches!(reply.status, 408 | 425 | 429) {
            return Err(TokenError::Failing(failing(&url, &reply)));
        }
        let secrets = self.forms_of_secret();
        let long = fields.iter().map(|(_, value)| *value).filter(|value| value.len() >= 8);
        let sent: Vec<&str> = long.chain(secrets.iter().map(Secret::expose)).collect();
        let refusal = refusal_of(&reply, &sent);
        Err(match refusal.code.as_str() {
            "invalid_grant" | "invalid_client" | "unauthorized_client" => TokenError::Ended(refusal),
            _ => TokenError::Refused(refusal),
        })
    }

    /// Returns the client's secret in the forms in which a server may repeat it.
    fn forms_of_secret(self) -> Vec<Secret> {
        let Some(secret) = self.client.proof.secret() else { return Vec::new() };
        let basic = basic(&self.client.id, secret);
        let basic = basic.to_str().unwrap_or_default().trim_start_matches("Basic ").to_owned();
        vec![secret.clone(), Secret::new(encoded(secret.expose())), Secret::new(basic)]
    }

    async fn sent(self, url: &Url, fields: &Fields<'_>) -> Result<Reply, TokenError> {
        let reply = self.web.post(url, || self.posted(url, fields)).await.map_err(TokenError::Failing)?;
        if let Some(binding) = self.binding {
            binding.heard(url, Role::Authorization, &reply.headers);
        }
        Ok(reply)
    }

    /// Makes a request in which the client proves who it is.
    fn posted(self, url: &Url, fields: &Fields<'_>) -> crate::error::Result<Posted> {
        let Client { id, proof, .. } = self.client;
        let (mut fields, mut headers) = (fields.to_vec(), HeaderMap::new());
        let assertion;
        match proof {
            ClientAuth::Public if id.is_empty() => {}
            ClientAuth::Public => fields.push(("client_id", id)),
            ClientAuth::Basic { secret } => headers.extend([(AUTHORIZATION, basic(id, secret))]),
            ClientAuth::Post { secret } => {
                fields.extend([("client_id", id.as_str()), ("client_secret", secret.expose())]);
            }
            ClientAuth::PrivateKey { key } => {
                assertion = self.assertion(key.as_deref())?;
                fields.extend([
                    ("client_id", id.as_str()),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.expose()),
                ]);
            }
        }
        if let Some(binding) = self.binding {
            headers.insert(PROOF, binding.proof(&Method::POST, url, None));
        }
        Ok(Posted { body: Body::Form(form(&fields)), headers })
    }

    /// Returns a token by which a private key proves the client; good once (RFC 7523 section 3).
    fn assertion(self, key: Option<&ClientKey>) -> crate::error::Result<Secret> {
        let ClientKey { key, id } = key.ok_or_else(|| {
            Error::new(
                Kind::AuthRequired,
                "this login was made with the client's private key, which is not named now",
            )
            .remedy(Remedy::GiveClientKey)
        })?;
        let taken = &self.server.token_endpoint_auth_signing_alg_values_supported;
        if let Some(taken) = taken.as_ref().filter(|taken| !taken.iter().any(|name| name == key.algorithm)) {
            let why = format!(
                "{} takes no keys for {}, the algorithm of the client's private key; it takes {}",
                self.server.issuer,
                key.algorithm,
                shortened(&taken.join(", "))
            );
            return Err(Error::new(Kind::AuthRequired, why).hint("use another key"));
        }
        let now = state::now();
        let header = match id {
            Some(id) => json!({"typ": "JWT", "kid": id}),
            None => json!({"typ": "JWT"}),
        };
        let claims = json!({
            "iss": self.client.id,
            "sub": self.client.id,
            // The issuer, and not the endpoint: draft-ietf-oauth-rfc7523bis.
            "aud": self.server.issuer,
            "jti": super::random_text(),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
        });
        Ok(key.token(header, &claims))
    }
}

/// Returns the credential of a client in the `Authorization` header (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &Secret) -> HeaderValue {
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let value = format!("Basic {}", STANDARD.encode(pair.as_bytes()));
    let mut value = HeaderValue::from_str(&value).expect("base64 is text");
    value.set_sensitive(true);
    value
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Returns the error code of a refusal; empty without one.
fn code_of(reply: &Reply) -> String {
    serde_json::from_slice::<Refusal>(&reply.body).map(|refusal| refusal.code).unwrap_or_default()
}

/// Reads a refusal; masks sent values that the server repeats.
fn refusal_of(reply: &Reply, sent: &[&str]) -> Refusal {
    let read = serde_json::from_slice::<Refusal>(&reply.body).ok();
    let refusal =
        read.unwrap_or_else(|| Refusal { code: format!("HTTP {}", reply.status), said: String::new() });
    let clean = |text: &str| {
        let mut text = text.to_owned();
        for secret in sent.iter().filter(|value| value.len() >= SHORTEST_SECRET) {
            text = text.replace(secret, "MASKED");
        }
        // Also masks long words, such as a secret in base64.
        let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c)));
        let masked: String =
            words.map(|word| if word.len() > LONGEST_WORD { "MASKED " } else { word }).collect();
        shortened(masked.trim_end())
    };
    Refusal { code: clean(&refusal.code), said: clean(&refusal.said) }
}

/// Reads `expires_in`, which some servers write as text. Zero is no lifetime: the service decides about the token.
fn seconds(value: &serde_json::Value) -> Option<u64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (number >= 1.0 && number.is_finite()).then_some(number as u64)
}
