//! The device grant (RFC 8628): the person logs in on another device, with a code.
//!
//! Refuses to ask faster than the authorization server allows.

use std::time::{Duration, Instant};

use serde::Deserialize;
use url::Url;

use super::LOGIN_LIMIT;
use super::grant::Tokens;
use super::metadata::ServerMetadata;
use super::token::{AtServer, TokenError};
use super::web::shortened;
use crate::error::{Error, Kind, Remedy, Result};
use crate::secret::Secret;

/// The grant type of a device (RFC 8628 section 3.4).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// RFC 8628 section 3.2: the pause where the server names none, and what `slow_down` adds.
const PAUSE: Duration = Duration::from_secs(5);

/// A login that waits for a person.
#[derive(Debug)]
pub struct Device {
    /// Where the person goes.
    pub place: Url,
    /// What the person enters there.
    pub code: String,
    secret: Secret,
    pause: Duration,
    until: Instant,
}

#[derive(Deserialize)]
struct Begun {
    #[serde(with = "super::grant::text")]
    device_code: Secret,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    interval: Option<u64>,
}

/// Checks that the server has the device grant.
///
/// # Errors
/// [`Kind::AuthRequired`] if it has not.
pub fn check(server: &ServerMetadata) -> Result<&str> {
    server.device_authorization_endpoint.as_deref().ok_or_else(|| {
        let why = format!("{} has no login with a device code", server.issuer);
        Error::new(Kind::AuthRequired, why).remedy(Remedy::LoginElsewhere)
    })
}

/// Begins a login.
///
/// # Errors
/// [`Kind::AuthRequired`] where the server has no device grant, and the errors of [`AtServer::post`].
pub async fn begin(at: AtServer<'_>, scopes: &[String], resource: Option<&str>) -> Result<Device> {
    let (web, server) = (at.web, at.server);
    let endpoint = check(server)?;
    let scope = scopes.join(" ");
    let mut fields = Vec::new();
    fields.extend(Some(scope.as_str()).filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    fields.extend(resource.map(|resource| ("resource", resource)));
    let reply = at.post(Some(endpoint), &fields).await?;
    let begun: Begun = serde_json::from_slice(&reply.body).map_err(|e| {
        let why = format!("{} answers a login with a device code without one", server.issuer);
        Error::new(Kind::ProtocolViolation, why).caused_by(e)
    })?;
    let place = begun.verification_uri_complete.as_deref().unwrap_or(&begun.verification_uri);
    let limit = begun.expires_in.map_or(LOGIN_LIMIT, Duration::from_secs).min(LOGIN_LIMIT);
    Ok(Device {
        place: web.checked(place, "page of the device code")?,
        code: shortened(&begun.user_code),
        secret: begun.device_code,
        pause: begun.interval.map_or(PAUSE, Duration::from_secs).max(Duration::from_secs(1)),
        until: Instant::now() + limit,
    })
}

/// Waits until the person has logged in.
///
/// # Errors
/// [`Kind::AuthRequired`] if the code expires, [`Kind::AuthDenied`] if the person declines.
pub async fn finish(at: AtServer<'_>, device: &Device, asked: &[String]) -> Result<Tokens> {
    let mut pause = device.pause;
    loop {
        tokio::time::sleep(pause.min(device.until.saturating_duration_since(Instant::now()))).await;
        let fields = [("grant_type", GRANT_TYPE), ("device_code", device.secret.expose())];
        match at.tokens(&fields, asked).await {
            Ok(tokens) => return Ok(tokens),
            Err(TokenError::Refused(refusal)) if refusal.code == "authorization_pending" => {}
            Err(TokenError::Refused(refusal)) if refusal.code == "slow_down" => {
                pause = pause.saturating_add(PAUSE)
            }
            Err(TokenError::Failing(error)) if error.kind() != Kind::ProtocolViolation => {
                pause = pause.saturating_add(PAUSE)
            }
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > device.until {
            let why = "the code expired before it was entered";
            return Err(Error::new(Kind::AuthRequired, why).remedy(Remedy::Login));
        }
    }
}
