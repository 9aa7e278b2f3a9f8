//! Credentials: which one goes along with a call, and to which origin it may go.
//!
//! The only room that opens a [`Secret`]. Refuses every origin but the one a credential was made for,
//! and plain `http` beyond this machine.

mod headers;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::{Host, Origin, Url};

pub use headers::{ExtraHeaders, read_header_file};

use crate::error::{Error, Kind, Result};
use crate::profile::Profile;
use crate::protocol::http::{HttpCall, origin_and_path};
use crate::secret::Secret;
use crate::service::AuthScheme;

/// Signs calls to one service with one credential.
#[derive(Debug)]
pub struct Authorizer {
    origin: Origin,
    shown_origin: String,
    headers: HeaderMap,
    missing: Option<Error>,
}

impl Authorizer {
    /// Binds a key to the origin of the endpoint.
    ///
    /// # Errors
    /// [`Kind::Config`] where the credential would travel in the clear, [`Kind::AuthRequired`] for a key
    /// that cannot be right. A missing key is no error yet: it is told to whoever makes the first call.
    pub fn new(profile: &Profile, endpoint: &Url, key: Option<Secret>, extra: ExtraHeaders) -> Result<Self> {
        let mut headers = extra.headers;
        let mut missing = None;
        match key {
            Some(key) => {
                let (name, value) = credential(profile, &key)?;
                headers.insert(name, value);
            }
            None if extra.carries_credential || profile.service.auth.optional => {}
            None => missing = Some(no_key(profile)),
        }
        Ok(Self {
            origin: endpoint.origin(),
            shown_origin: endpoint.origin().ascii_serialization(),
            headers,
            missing,
        })
    }

    /// Returns why no call can be signed, if that is known already.
    pub fn missing(&self) -> Option<&Error> {
        self.missing.as_ref()
    }

    /// Says whether anything secret goes along.
    pub fn carries_credential(&self) -> bool {
        self.headers.values().any(HeaderValue::is_sensitive)
    }

    /// Adds the credential to the headers of a call.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for a call to any other origin, and what is [`Self::missing`].
    pub fn sign(&self, call: &mut HttpCall) -> Result<()> {
        if let Some(missing) = &self.missing {
            return Err(missing.clone());
        }
        if call.url.origin() != self.origin {
            let asked = origin_and_path(&call.url);
            let why = format!("the key is for {}, and may not go to {asked}", self.shown_origin);
            return Err(Error::new(Kind::OriginMismatch, why).hint("check the URL of the profile"));
        }
        for (name, value) in &self.headers {
            call.headers.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    /// The service rejected the credential: gets another one if there is one.
    ///
    /// A key from the environment cannot change while the process lives, so this is final (AUTH-1).
    pub fn renew(&self) -> bool {
        false
    }
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

fn no_key(profile: &Profile) -> Error {
    let (name, auth) = (&profile.name, &profile.service.auth);
    if auth.scheme == AuthScheme::Oauth {
        return Error::new(
            Kind::AuthRequired,
            format!(
                "{} wants an OAuth login, which this version of asistry cannot make yet",
                profile.service.title
            ),
        )
        .hint("set an access token in ASISTRY_API_KEY");
    }
    let whence = if auth.key_page.is_empty() { String::new() } else { format!(" (from {})", auth.key_page) };
    Error::new(
        Kind::AuthRequired,
        format!("no key for the profile {name}; the key store comes with a later version"),
    )
    .hint(format!("set ASISTRY_API_KEY to your key{whence}"))
}

/// Draws the header that carries the key, and refuses a key that cannot be one.
fn credential(profile: &Profile, key: &Secret) -> Result<(HeaderName, HeaderValue)> {
    let auth = &profile.service.auth;
    let trimmed = key.expose().trim();
    let text =
        trimmed.strip_prefix("Bearer ").or_else(|| trimmed.strip_prefix("bearer ")).unwrap_or(trimmed).trim();
    let refuse = |why: &str| {
        let whence =
            if auth.key_page.is_empty() { String::new() } else { format!(" from {}", auth.key_page) };
        Err(Error::new(Kind::AuthRequired, format!("the key in ASISTRY_API_KEY {why}"))
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

    fn sign_with(profile: &str, key: &str) -> Result<HeaderMap> {
        let profile = Profile::find(profile, &Config::default())?;
        let endpoint = profile.endpoint()?;
        let key = Some(Secret::new(key.into()));
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default())?;
        let mut call = crate::protocol::dialect::Dialect::streamable_http(endpoint.into()).listen();
        authorizer.sign(&mut call).map(|()| call.headers)
    }

    #[test]
    fn each_service_gets_its_key_in_its_own_header() {
        assert_eq!(sign_with("asistry", " Bearer ask_1\n").unwrap()["authorization"], "Bearer ask_1");
        assert_eq!(sign_with("bob-studio", "bsk_1").unwrap()["x-api-key"], "bsk_1");
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        for key in ["", "sk-ant-1", "ask_…ab", "ask_...", "ask_1 2", "ask_\"1\"", "ask_ü"] {
            assert_eq!(sign_with("asistry", key).unwrap_err().kind(), Kind::AuthRequired, "{key}");
        }
    }

    #[test]
    fn a_key_goes_to_its_own_origin_only() {
        let profile = Profile::find("asistry", &Config::default()).unwrap();
        let endpoint = profile.endpoint().unwrap();
        let key = Some(Secret::new("ask_1".into()));
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default()).unwrap();
        let elsewhere = Url::parse("https://asistry.com:444/api/mcp/client").unwrap();
        let mut call = crate::protocol::dialect::Dialect::streamable_http(elsewhere.into()).listen();
        assert_eq!(authorizer.sign(&mut call).unwrap_err().kind(), Kind::OriginMismatch);
        assert!(!call.headers.contains_key("authorization"));
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
