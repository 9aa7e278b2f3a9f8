//! Credentials: which one goes along with a call, and to which origin it may go.
//!
//! The only room that opens a [`Secret`]. Refuses every origin but the one a credential was made for,
//! and plain `http` beyond this machine.

pub mod form;
mod headers;
pub mod keys;
mod mask;
mod store;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use url::{Host, Origin, Url};

pub use headers::{ExtraHeaders, read_header_file};
pub use store::{Passphrase, PassphraseFor};

use crate::error::{Error, KeyHome, Kind, Remedy, Result};
use crate::profile::Profile;
use crate::protocol::http::{HttpCall, origin_and_path};
use crate::secret::Secret;
use crate::service::AuthScheme;
use crate::state::keys::Stamp;
use keys::{Found, KeySource, Keys, Looked};
use mask::Mask;

/// That there is no key is believed for so long, unless the list of keys changes.
const MISSING: Duration = Duration::from_secs(60);
/// A key store that failed is asked again after so long.
const FAILED: Duration = Duration::from_secs(10);

/// Where the key comes from.
#[derive(Debug)]
pub enum Credential {
    /// From whoever started us.
    Given(Found),
    /// From the key store.
    Stored(Arc<Keys>),
}

/// Signs calls to one service with one credential.
#[derive(Debug)]
pub struct Authorizer {
    origin: Origin,
    shown_origin: String,
    extra: HeaderMap,
    profile: Profile,
    source: Source,
    /// Why no credential may travel to the endpoint.
    in_the_clear: Option<Error>,
    drawn: RwLock<Drawn>,
    rejected: AtomicBool,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Source {
    /// It is given, or none is needed.
    Given,
    /// The key store.
    Stored(Arc<Keys>),
}

/// Says which credential a call was signed with: they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signed(u64);

/// What the key store said: it is asked once, and again after a rejection.
#[derive(Debug, Default)]
struct Drawn {
    which: Signed,
    credential: Option<(HeaderName, HeaderValue)>,
    came_from: Option<KeySource>,
    /// Masks this credential and all before it: what was signed with them may still be answered.
    mask: Mask,
    asked: bool,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: Error,
    stamp: Stamp,
    at: Instant,
}

impl Authorizer {
    /// Binds a credential to the origin of the endpoint. A stored one is read when it is needed.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for a given key that cannot be right.
    pub fn new(
        profile: &Profile,
        endpoint: &Url,
        credential: Credential,
        extra: ExtraHeaders,
    ) -> Result<Self> {
        let shown_origin = endpoint.origin().ascii_serialization();
        let in_header = || KeySource::Header { name: profile.service.auth.header_name().to_owned() };
        let (source, given, came_from) = match credential {
            Credential::Given(key) => (Source::Given, Some(header_of(profile, &key)?), Some(key.source)),
            Credential::Stored(_) if extra.carries_credential => (Source::Given, None, Some(in_header())),
            Credential::Stored(keys) => (Source::Stored(keys), None, None),
        };
        let mut mask = Mask::default();
        let sent = extra.headers.values().chain(given.iter().map(|(_, value)| value));
        sent.filter(|value| value.is_sensitive()).for_each(|value| mask.add(value));
        let asked = matches!(source, Source::Given);
        let drawn = Drawn { asked, credential: given, came_from, mask, ..Drawn::default() };
        Ok(Self {
            origin: endpoint.origin(),
            shown_origin,
            extra: extra.headers,
            profile: profile.clone(),
            source,
            in_the_clear: None,
            drawn: RwLock::new(drawn),
            rejected: AtomicBool::new(false),
            reading: tokio::sync::Mutex::new(()),
        })
    }

    /// Refuses to send a credential over plain `http` beyond this machine, to the endpoint or to a proxy, unless
    /// that is allowed.
    ///
    /// # Errors
    /// [`Kind::Config`] with the option that allows it, where it is known already that there is one to send.
    pub fn guarded(mut self, endpoint: &Url, proxy: Option<&Url>, allow_http: bool) -> Result<Self> {
        let way = || proxy.map_or(Ok(()), |proxy| check_proxy(endpoint, proxy, allow_http));
        self.in_the_clear = check_cleartext(endpoint, allow_http).and_then(|()| way()).err();
        let known = match &self.source {
            Source::Given => self.has_secret_headers() || self.credential().is_some(),
            Source::Stored(keys) if self.profile.service.auth.optional => {
                self.has_secret_headers() || keys.knows(&self.profile, &self.shown_origin).unwrap_or(false)
            }
            Source::Stored(_) => true,
        };
        match &self.in_the_clear {
            Some(error) if known => Err(error.clone()),
            _ => Ok(self),
        }
    }

    fn has_secret_headers(&self) -> bool {
        self.extra.values().any(HeaderValue::is_sensitive)
    }

    /// Gets the credential ready, so that the first call need not wait for it.
    ///
    /// # Errors
    /// No key, or a key store that cannot be used. Neither is asked again for each call.
    pub async fn ready(&self) -> Result<()> {
        let Source::Stored(keys) = &self.source else { return Ok(()) };
        if self.drawn().asked {
            return Ok(());
        }
        let _one_reader = self.reading.lock().await;
        if self.drawn().asked {
            return Ok(());
        }
        if let Some(failed) = &self.drawn().failed {
            let believed = if failed.error.kind() == Kind::KeyStore { FAILED } else { MISSING };
            if failed.at.elapsed() < believed && failed.stamp == keys.stamp() {
                return Err(failed.error.clone());
            }
        }
        self.draw(keys).await
    }

    /// Adds the credential to the headers of a call, and says which one it was.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for a call to any other origin, and what [`Self::ready`] says.
    pub async fn sign(&self, call: &mut HttpCall) -> Result<Signed> {
        self.ready().await?;
        if call.url.origin() != self.origin {
            return Err(self.elsewhere(&call.url));
        }
        for (name, value) in &self.extra {
            call.headers.insert(name.clone(), value.clone());
        }
        let drawn = self.drawn();
        if let Some((name, value)) = drawn.credential.clone() {
            call.headers.insert(name, value);
        }
        Ok(drawn.which)
    }

    /// Returns what tells this credential and these headers from others, and gives neither away.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn fingerprint(&self) -> Result<String> {
        self.ready().await?;
        let mut hash = Sha256::new_with_prefix(b"asistry credential v1\n");
        let credential = self.credential();
        let drawn = credential.iter().map(|(name, value)| (name, value));
        for (name, value) in self.extra.iter().chain(drawn) {
            hash.update(name.as_str());
            hash.update(b":");
            hash.update(value.as_bytes());
            hash.update(b"\n");
        }
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    fn elsewhere(&self, asked: &Url) -> Error {
        let (own, asked_origin) = (&self.shown_origin, asked.origin().ascii_serialization());
        let why = format!(
            "the service sends us to {}, and the key is for {own}: it may not go to {asked_origin}",
            origin_and_path(asked)
        );
        let remedy = Remedy::Moved { url: origin_and_path(asked), origin: asked_origin };
        Error::new(Kind::OriginMismatch, why).remedy(remedy)
    }

    /// The service rejected the credential that a call was signed with: reads the key store again, once for each
    /// rejection, and says whether there is another key now (AUTH-1). A given key cannot change.
    pub async fn renew(&self, rejected: Signed) -> bool {
        self.rejected.store(true, Ordering::Relaxed);
        let Source::Stored(keys) = &self.source else { return false };
        let _one_reader = self.reading.lock().await;
        // Of several calls with the same key, the first that is refused reads; the others come later.
        let known = self.drawn().which != rejected;
        let renewed = known || (self.draw(keys).await.is_ok() && self.drawn().which != rejected);
        self.rejected.store(!renewed, Ordering::Relaxed);
        renewed
    }

    /// Says whether the service has rejected the credential (401), whatever it said in its body.
    pub fn was_rejected(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Returns where the key came from, once it was looked for.
    pub fn key_source(&self) -> Option<KeySource> {
        let drawn = self.drawn();
        drawn.asked.then(|| drawn.came_from.clone().unwrap_or(KeySource::Absent))
    }

    async fn draw(&self, keys: &Keys) -> Result<()> {
        let stamp = keys.stamp();
        let found = self.found(keys).await;
        let mut drawn = self.drawn.write().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(found) => {
                let (credential, came_from) = found.unzip();
                if drawn.credential != credential {
                    drawn.which.0 += 1;
                    credential.iter().for_each(|(_, value)| drawn.mask.add(value));
                }
                *drawn =
                    Drawn { credential, came_from, asked: true, failed: None, ..std::mem::take(&mut *drawn) };
                Ok(())
            }
            Err(error) => {
                drawn.failed = Some(Failed { error: error.clone(), stamp, at: Instant::now() });
                Err(error)
            }
        }
    }

    async fn found(&self, keys: &Keys) -> Result<Option<((HeaderName, HeaderValue), KeySource)>> {
        let optional = self.profile.service.auth.optional;
        // Where a key is not needed, no store is opened to look for one that nobody added.
        if optional && !keys.knows(&self.profile, &self.shown_origin)? {
            return Ok(None);
        }
        let found = match keys.current(&self.profile, &self.shown_origin).await? {
            Looked::Found(found) => found,
            Looked::Nothing | Looked::NobodyToAsk(_) if optional => return Ok(None),
            Looked::Nothing => return Err(no_key(&self.profile, KeyHome::Any)),
            Looked::NobodyToAsk(why) => {
                let error = no_key(&self.profile, KeyHome::File);
                let both = format!("{}, and {}", error.message(), why.message());
                return Err(error.within(both));
            }
        };
        let header = header_of(&self.profile, &found)?;
        match &self.in_the_clear {
            Some(error) => Err(error.clone()),
            None => Ok(Some((header, found.source))),
        }
    }

    fn credential(&self) -> Option<(HeaderName, HeaderValue)> {
        self.drawn().credential.clone()
    }

    fn drawn(&self) -> std::sync::RwLockReadGuard<'_, Drawn> {
        self.drawn.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Masks the credential, former ones and extra headers in a text that is quoted or stored: some services
    /// repeat the key that they refuse.
    pub fn without_secrets(&self, text: Bytes) -> Bytes {
        self.drawn().mask.masked(text)
    }

    /// Returns the secrets that a text repeats, as it writes them and as they are.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        self.drawn().mask.repeated_in(text)
    }

    /// As [`Self::without_secrets`], for the headers of a reply.
    pub fn without_secrets_in(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let masked = self.without_secrets(Bytes::copy_from_slice(value.as_bytes()));
            if masked != value.as_bytes() {
                *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("MASKED"));
            }
        }
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
    Err(Error::new(Kind::Config, why).remedy(Remedy::AllowHttp))
}

/// A proxy beyond this machine reads what is plain `http`, even on its way to this machine.
fn check_proxy(endpoint: &Url, proxy: &Url, allow_http: bool) -> Result<()> {
    if endpoint.scheme() != "http" || allow_http || is_loopback(proxy) {
        return Ok(());
    }
    let why = format!("a key would travel in the clear by way of {}", proxy.host_str().unwrap_or_default());
    Err(Error::new(Kind::Config, why).remedy(Remedy::AllowHttp))
}

/// Says whether a URL stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            // The address of a socks proxy is read as a name.
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback())
        }
        None => false,
    }
}

fn no_key(profile: &Profile, home: KeyHome) -> Error {
    let Profile { name, service, .. } = profile;
    if service.auth.scheme == AuthScheme::Oauth {
        let why =
            format!("{} wants an OAuth login, which this version of asistry cannot make yet", service.title);
        return Error::new(Kind::AuthRequired, why).remedy(Remedy::AddKey { page: String::new(), home });
    }
    Error::new(Kind::AuthRequired, format!("there is no key for the profile {name}"))
        .remedy(Remedy::AddKey { page: service.auth.key_page.clone(), home })
}

/// Draws the header that carries a key, and refuses a key that cannot be one.
fn header_of(profile: &Profile, found: &Found) -> Result<(HeaderName, HeaderValue)> {
    let key = form::trimmed(&found.secret);
    let fits = if found.forced { form::sendable(&key) } else { form::checked(&profile.service, &key) };
    fits.map_err(|unfit| unfit.told(&found.source, profile))?;
    let auth = &profile.service.auth;
    let (name, text) = match auth.scheme {
        AuthScheme::Header => (auth.header.as_str(), key.expose().to_owned()),
        AuthScheme::Bearer | AuthScheme::Oauth => {
            (AUTHORIZATION.as_str(), format!("Bearer {}", key.expose()))
        }
    };
    let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text))
    else {
        let why = format!("the key of {} cannot be sent in a header named “{name}”", profile.service.title);
        return Err(Error::new(Kind::Config, why).hint("mend the header in the file of the service"));
    };
    value.set_sensitive(true);
    Ok((name, value))
}

/// Opens a key for the person whose it is: `keys show --reveal`.
pub fn revealed(key: &Secret) -> &str {
    key.expose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Config;

    fn given(key: &str) -> Credential {
        let secret = Secret::new(key.into());
        Credential::Given(Found { secret, forced: false, source: KeySource::Environment })
    }

    async fn sign_with(profile: &str, key: &str) -> Result<HeaderMap> {
        let profile = Profile::find(profile, &Config::default())?;
        let endpoint = profile.endpoint()?;
        let key = given(key);
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default())?;
        let mut call = crate::protocol::dialect::Dialect::streamable_http(endpoint.into()).listen();
        authorizer.sign(&mut call).await.map(|_| call.headers)
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
        let key = given("ask_1");
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
        let key = given("ask_12345678");
        let authorizer = Authorizer::new(&profile, &endpoint, key, ExtraHeaders::default()).unwrap();
        let told = authorizer.without_secrets("no: Bearer ask_12345678, ask_12345678!".into());
        assert_eq!(told, "no: MASKED, MASKED!");
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
