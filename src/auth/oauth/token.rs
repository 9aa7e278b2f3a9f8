//! The token endpoint (RFC 6749 section 3.2): requests, responses, and what a refusal means.
//!
//! Refuses to take a failure of the server, or of the network, for the end of a login.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::grant::{AuthMethod, Client, Tokens};
use super::metadata::ServerMetadata;
use super::web::{Body, Reply, Web, failing, form, shortened};
use crate::error::{Error, Kind};
use crate::secret::Secret;
use crate::state;

/// Longer words of a refusal are masked.
const LONGEST_WORD: usize = 32;

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
                Self::new(Kind::AuthDenied, why).remedy(crate::error::Remedy::Login)
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

/// Asks for tokens; `asked` are the scopes that are granted if the response names none (RFC 6749 section 5.1).
///
/// # Errors
/// [`TokenError`].
pub async fn request(
    web: &Web,
    server: &ServerMetadata,
    client: &Client,
    fields: &[(&str, &str)],
    asked: &[String],
) -> Result<Tokens, TokenError> {
    let reply = post(web, server.token_endpoint.as_deref(), client, fields).await?;
    let Ok(issued) = serde_json::from_slice::<Issued>(&reply.body) else {
        let why = format!("the token endpoint of {} answers without a token", server.issuer);
        return Err(TokenError::Failing(Error::new(Kind::ProtocolViolation, why)));
    };
    if issued.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        let kind = shortened(issued.token_type.as_deref().unwrap_or_default());
        let why = format!("{} issues tokens of the type {kind}, which asistry cannot use", server.issuer);
        return Err(TokenError::Failing(Error::new(Kind::ProtocolViolation, why)));
    }
    let scope = issued.scope.map_or_else(|| asked.to_vec(), |scope| super::words(&scope));
    let tokens = Tokens {
        access: issued.access_token,
        refresh: issued.refresh_token,
        scope,
        received_at: state::now(),
        lifetime: issued.expires_in.as_ref().and_then(seconds),
    };
    if tokens.header().is_none() {
        let why = format!("{} issues a token that cannot be sent in a header", server.issuer);
        return Err(TokenError::Failing(Error::new(Kind::ProtocolViolation, why)));
    }
    Ok(tokens)
}

/// Sends a form to an endpoint that knows the client; resolves with a 2xx.
///
/// # Errors
/// [`TokenError`].
pub async fn post(
    web: &Web,
    endpoint: Option<&str>,
    client: &Client,
    fields: &[(&str, &str)],
) -> Result<Reply, TokenError> {
    let endpoint = endpoint.unwrap_or_default();
    let url = web.checked(endpoint, "token endpoint").map_err(TokenError::Failing)?;
    let mut fields = fields.to_vec();
    let secret = client.secret.as_ref();
    let basic = match (client.method, secret) {
        (AuthMethod::Basic, Some(secret)) => Some((client.id.as_str(), secret)),
        (AuthMethod::Post, Some(secret)) => {
            fields.extend([("client_id", client.id.as_str()), ("client_secret", secret.expose())]);
            None
        }
        _ => {
            fields.push(("client_id", client.id.as_str()));
            None
        }
    };
    let body = Zeroizing::new(form(&fields));
    let reply = web.post(&url, Body::Form(body.to_string()), basic).await.map_err(TokenError::Failing)?;
    if reply.is_success() {
        return Ok(reply);
    }
    if reply.status >= 500 || matches!(reply.status, 408 | 425 | 429) {
        return Err(TokenError::Failing(failing(&url, &reply)));
    }
    let sent: Vec<&str> = fields.iter().map(|(_, value)| *value).chain(secret.map(Secret::expose)).collect();
    let refusal = refusal_of(&reply, &sent);
    Err(match refusal.code.as_str() {
        "invalid_grant" | "invalid_client" | "unauthorized_client" => TokenError::Ended(refusal),
        _ => TokenError::Refused(refusal),
    })
}

/// Reads a refusal; masks sent values that the server repeats.
fn refusal_of(reply: &Reply, sent: &[&str]) -> Refusal {
    let read = serde_json::from_slice::<Refusal>(&reply.body).ok();
    let refusal =
        read.unwrap_or_else(|| Refusal { code: format!("HTTP {}", reply.status), said: String::new() });
    let clean = |text: &str| {
        let mut text = text.to_owned();
        for secret in sent.iter().filter(|value| value.len() >= 8) {
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

/// Reads `expires_in`, which some servers write as text.
fn seconds(value: &serde_json::Value) -> Option<u64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (number >= 0.0 && number.is_finite()).then_some(number as u64)
}
