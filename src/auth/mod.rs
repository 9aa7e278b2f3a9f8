//! Credentials: which one goes along with a call, and to which origin it may go.
//!
//! The only room that opens a [`Secret`]. Refuses every origin but the one a credential was made for,
//! and plain `http` beyond this machine.

mod headers;
mod store;

use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use url::{Host, Origin, Url};

pub use headers::{ExtraHeaders, read_header_file};

use crate::error::{Error, Kind, Result};
use crate::profile::Profile;
use crate::protocol::http::{HttpCall, origin_and_path};
use crate::secret::Secret;
use crate::service::AuthScheme;
use store::KeyName;

/// A shorter header value is no key, and stands in many a text by chance.
const SHORTEST_SECRET: usize = 8;

/// Signs calls to one service with one credential.
#[derive(Debug)]
pub struct Authorizer {
    origin: Origin,
    shown_origin: String,
    extra: HeaderMap,
    profile: Profile,
    source: Source,
    /// Drawn when the first call is signed, and again after a rejection.
    credential: RwLock<Option<(HeaderName, HeaderValue)>>,
    reading: tokio::sync::Mutex<()>,
}

/// Where the key comes from.
#[derive(Debug)]
enum Source {
    /// It is given, or none is needed.
    Given,
    /// The keyring of the system.
    Keyring(KeyName),
    /// Nowhere.
    Missing(Error),
}

impl Authorizer {
    /// Binds a key to the origin of the endpoint; without one the keyring is asked when a key is needed.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for a given key that cannot be right.
    pub fn new(profile: &Profile, endpoint: &Url, key: Option<Secret>, extra: ExtraHeaders) -> Result<Self> {
        let shown_origin = endpoint.origin().ascii_serialization();
        let auth = &profile.service.auth;
        let source = match &key {
            Some(_) => Source::Given,
            None if extra.carries_credential || auth.optional => Source::Given,
            None if auth.scheme == AuthScheme::Oauth => Source::Missing(no_login(profile)),
            None => Source::Keyring(KeyName::new(&profile.name, &shown_origin)),
        };
        let credential = key.map(|key| credential(profile, &key, "in ASISTRY_API_KEY")).transpose()?;
        Ok(Self {
            origin: endpoint.origin(),
            shown_origin,
            extra: extra.headers,
            profile: profile.clone(),
            source,
            credential: RwLock::new(credential),
            reading: tokio::sync::Mutex::new(()),
        })
    }

    /// Says whether anything secret goes along, or may.
    pub fn carries_credential(&self) -> bool {
        let secret = |headers: &HeaderMap| headers.values().any(HeaderValue::is_sensitive);
        !matches!(self.source, Source::Given) || self.drawn().is_some() || secret(&self.extra)
    }

    /// Gets the credential ready, so that the first call need not wait for it.
    ///
    /// # Errors
    /// No key, or a keyring that cannot be read.
    pub async fn ready(&self) -> Result<()> {
        match &self.source {
            Source::Given => Ok(()),
            Source::Missing(error) => Err(error.clone()),
            Source::Keyring(_) if self.drawn().is_some() => Ok(()),
            Source::Keyring(name) => {
                let _one_reader = self.reading.lock().await;
                if self.drawn().is_none() {
                    self.draw(name).await?;
                }
                Ok(())
            }
        }
    }

    /// Adds the credential to the headers of a call.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for a call to any other origin, and what [`Self::ready`] says.
    pub async fn sign(&self, call: &mut HttpCall) -> Result<()> {
        self.ready().await?;
        if call.url.origin() != self.origin {
            let asked = origin_and_path(&call.url);
            let why = format!("the key is for {}, and may not go to {asked}", self.shown_origin);
            return Err(Error::new(Kind::OriginMismatch, why).hint("check the URL of the profile"));
        }
        for (name, value) in &self.extra {
            call.headers.insert(name.clone(), value.clone());
        }
        if let Some((name, value)) = self.drawn() {
            call.headers.insert(name, value);
        }
        Ok(())
    }

    /// The service rejected the credential: reads the keyring again, once for each rejection, and says
    /// whether there is another key now (AUTH-1). A key from the environment cannot change.
    pub async fn renew(&self) -> bool {
        let Source::Keyring(name) = &self.source else { return false };
        let rejected = self.drawn();
        let _one_reader = self.reading.lock().await;
        if self.drawn() != rejected {
            return true;
        }
        self.draw(name).await.is_ok() && self.drawn() != rejected
    }

    async fn draw(&self, name: &KeyName) -> Result<()> {
        let key = store::stored(name).await?.ok_or_else(|| no_key(&self.profile, name))?;
        let drawn = credential(&self.profile, &key, "in the keyring")?;
        *self.credential.write().unwrap_or_else(PoisonError::into_inner) = Some(drawn);
        Ok(())
    }

    fn drawn(&self) -> Option<(HeaderName, HeaderValue)> {
        self.credential.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what goes along with each call out of a text that is to be quoted or written down: some
    /// services repeat the key that they refuse.
    pub fn without_secrets(&self, text: Bytes) -> Bytes {
        let mut text = text;
        let drawn = self.drawn().map(|(_, value)| value);
        for value in self.extra.values().chain(&drawn).filter(|value| value.is_sensitive()) {
            let whole = value.as_bytes();
            let secret = whole.strip_prefix(b"Bearer ").unwrap_or(whole);
            if secret.len() >= SHORTEST_SECRET && memmem::find(&text, secret).is_some() {
                text = Bytes::from(replaced(&text, secret, b"MASKED"));
            }
        }
        text
    }
}

fn replaced(text: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Refuses a credential over plain `http` beyond this machine.
///
/// # Errors
/// [`Kind::Config`] with the option that allows it.
pub fn check_cleartext(endpoint: &Url, allow_http: bool) -> Result<()> {
    if endpoint.scheme() != "http" || allow_http || is_loopback(endpoint) {
        return Ok(());
    }
    let shown = origin_and_path(endpoint);
    let why = format!("a key would travel in the clear to {shown}");
    Err(Error::new(Kind::Config, why).hint("use https, or allow it with --allow-http"))
}

/// Says whether a URL stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn no_login(profile: &Profile) -> Error {
    let title = &profile.service.title;
    Error::new(
        Kind::AuthRequired,
        format!("{title} wants an OAuth login, which this version of asistry cannot make yet"),
    )
    .hint("set an access token in ASISTRY_API_KEY")
}

fn no_key(profile: &Profile, name: &KeyName) -> Error {
    let auth = &profile.service.auth;
    let whence = if auth.key_page.is_empty() { String::new() } else { format!(" (from {})", auth.key_page) };
    let why = format!(
        "no key for the profile {}: none in ASISTRY_API_KEY, none in the system's keyring",
        profile.name
    );
    Error::new(Kind::AuthRequired, why).hint(format!(
        "set ASISTRY_API_KEY to your key{whence}, or store it: secret-tool store --label=asistry service asistry username {}",
        name.as_str()
    ))
}

/// Draws the header that carries the key, and refuses a key that cannot be one.
fn credential(profile: &Profile, key: &Secret, place: &str) -> Result<(HeaderName, HeaderValue)> {
    let auth = &profile.service.auth;
    let trimmed = key.expose().trim();
    let text =
        trimmed.strip_prefix("Bearer ").or_else(|| trimmed.strip_prefix("bearer ")).unwrap_or(trimmed).trim();
    let refuse = |why: &str| {
        let whence =
            if auth.key_page.is_empty() { String::new() } else { format!(" from {}", auth.key_page) };
        Err(Error::new(Kind::AuthRequired, format!("the key {place} {why}"))
            .hint(format!("set ASISTRY_API_KEY to the whole key{whence}")))
    };
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.contains(['…', '•', '*']) || text.contains("...") {
        return refuse("is the masked preview of a key, not the key");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii() || matches!(c, '"' | '\'')) {
        return refuse("has white space, quotes or foreign characters in it");
    }
    if !auth.key_prefixes.is_empty()
        && !auth.key_prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))
    {
        let prefixes = auth.key_prefixes.join(" or ");
        return refuse(&format!("is no key of {}: those begin with {prefixes}", profile.service.title));
    }
    let (name, value) = match auth.scheme {
        AuthScheme::Header => (auth.header.clone(), text.to_owned()),
        AuthScheme::Bearer | AuthScheme::Oauth => (AUTHORIZATION.to_string(), format!("Bearer {text}")),
    };
    let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value));
    match parsed {
        (Ok(name), Ok(mut value)) => {
            value.set_sensitive(true);
            Ok((name, value))
        }
        _ => refuse("cannot be sent in a header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Config;

    async fn sign_with(profile: &str, key: &str) -> Result<HeaderMap> {
        let profile = Profile::find(profile, &Config::default())?;
        let endpoint = profile.endpoint()?;
        let key = Some(Secret::new(key.into()));
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default())?;
        let mut call = crate::protocol::dialect::Dialect::streamable_http(endpoint.into()).listen();
        authorizer.sign(&mut call).await.map(|()| call.headers)
    }

    #[tokio::test]
    async fn each_service_gets_its_key_in_its_own_header() {
        assert_eq!(sign_with("asistry", " Bearer ask_1\n").await.unwrap()["authorization"], "Bearer ask_1");
        assert_eq!(sign_with("bob-studio", "bsk_1").await.unwrap()["x-api-key"], "bsk_1");
    }

    #[tokio::test]
    async fn what_cannot_be_a_key_is_refused() {
        for key in ["", "sk-ant-1", "ask_…ab", "ask_...", "ask_1 2", "ask_\"1\"", "ask_ü"] {
            assert_eq!(sign_with("asistry", key).await.unwrap_err().kind(), Kind::AuthRequired, "{key}");
        }
    }

    #[tokio::test]
    async fn a_key_goes_to_its_own_origin_only() {
        let profile = Profile::find("asistry", &Config::default()).unwrap();
        let endpoint = profile.endpoint().unwrap();
        let key = Some(Secret::new("ask_1".into()));
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default()).unwrap();
        let elsewhere = Url::parse("https://asistry.com:444/api/mcp/client").unwrap();
        let mut call = crate::protocol::dialect::Dialect::streamable_http(elsewhere.into()).listen();
        assert_eq!(authorizer.sign(&mut call).await.unwrap_err().kind(), Kind::OriginMismatch);
        assert!(!call.headers.contains_key("authorization"));
    }

    #[test]
    fn a_key_that_a_service_repeats_is_taken_out() {
        let profile = Profile::find("asistry", &Config::default()).unwrap();
        let endpoint = profile.endpoint().unwrap();
        let key = Some(Secret::new("ask_12345678".into()));
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default()).unwrap();
        let told = authorizer.without_secrets("no: Bearer ask_12345678, ask_12345678!".into());
        assert_eq!(told, "no: Bearer MASKED, MASKED!");
    }

    #[test]
    fn a_key_does_not_travel_in_the_clear() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(check_cleartext(&url("http://h.example/mcp"), false).is_err());
        assert!(check_cleartext(&url("http://h.example/mcp"), true).is_ok());
        for near in ["http://127.0.0.2/", "http://[::1]:9/", "http://localhost/", "https://h.example/"] {
            assert!(check_cleartext(&url(near), false).is_ok(), "{near}");
        }
        assert!(check_cleartext(&url("http://localhost.example/"), false).is_err());
    }
}
