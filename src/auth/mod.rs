//! Credentials: which one goes along with a call, and to which origin it may go.
//!
//! The only room that opens a [`Secret`]. Refuses every origin but the one a credential was made for,
//! and plain `http` beyond this machine.

pub mod form;
mod headers;
mod key;
pub mod keys;
mod mask;
mod store;
mod way;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use url::{Origin, Url};

pub use headers::{ExtraHeaders, read_header_file};
pub use key::revealed;
pub use store::{Passphrase, PassphraseFor};
pub use way::{Way, is_loopback};

use crate::error::{Error, KeyHome, Kind, Remedy, Result};
use crate::profile::Profile;
use crate::protocol::http::{Challenge, HttpCall, origin_and_path};
use crate::state::keys::Stamp;
use key::{header_of, no_key};
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

/// A refused call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again;

/// Tells credentials apart without giving them away: a key for caches and gates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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
    /// [`Kind::AuthRequired`] for a given key that cannot be right; [`Kind::Config`] for a credential that would
    /// travel in the clear, where it is known already that there is one.
    pub fn new(
        profile: &Profile,
        way: &Way<'_>,
        credential: Credential,
        extra: ExtraHeaders,
    ) -> Result<Self> {
        let endpoint = way.endpoint;
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
        let authorizer = Self {
            origin: endpoint.origin(),
            shown_origin,
            extra: extra.headers,
            profile: profile.clone(),
            source,
            in_the_clear: way.check().err(),
            drawn: RwLock::new(drawn),
            reading: tokio::sync::Mutex::new(()),
        };
        authorizer.check_way()?;
        Ok(authorizer)
    }

    /// Refuses a credential that is known already and would travel in the clear.
    fn check_way(&self) -> Result<()> {
        let known = match &self.source {
            Source::Given => self.has_secret_headers() || self.credential().is_some(),
            Source::Stored(keys) if self.profile.service.auth.optional => {
                self.has_secret_headers() || keys.knows(&self.profile, &self.shown_origin).unwrap_or(false)
            }
            Source::Stored(_) => true,
        };
        match &self.in_the_clear {
            Some(error) if known => Err(error.clone()),
            _ => Ok(()),
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
        let headers = Arc::make_mut(&mut call.headers);
        for (name, value) in &self.extra {
            headers.insert(name.clone(), value.clone());
        }
        let drawn = self.drawn();
        if let Some((name, value)) = drawn.credential.clone() {
            headers.insert(name, value);
        }
        Ok(drawn.which)
    }

    /// Returns what tells this credential and these headers from others.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn identity(&self) -> Result<Identity> {
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
        Ok(Identity(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()))
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

    /// Decides what follows a refused call (AUTH-1): it may be sent again where another key is stored by now than
    /// the one it was signed with. The key store is read once for each refused key; a given key cannot change.
    ///
    /// # Errors
    /// [`Kind::AuthDenied`] where no other key is there, and what [`Self::ready`] says.
    pub async fn rejected(&self, signed: Signed, challenge: &Challenge) -> Result<Again> {
        let denied =
            || Error::new(Kind::AuthDenied, "the service rejected the key").http_status(challenge.status);
        if challenge.status != 401 {
            return Err(denied());
        }
        let Source::Stored(keys) = &self.source else { return Err(denied()) };
        let _one_reader = self.reading.lock().await;
        // Of several calls with the same key, the first that is refused reads; the others come later.
        if self.drawn().which == signed {
            self.draw(keys).await?;
        }
        if self.drawn().which == signed {
            return Err(denied());
        }
        Ok(Again)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Config;
    use crate::secret::Secret;

    fn given(key: &str) -> Credential {
        let secret = Secret::new(key.into());
        Credential::Given(Found { secret, forced: false, source: KeySource::Environment })
    }

    async fn sign_with(profile: &str, key: &str) -> Result<HeaderMap> {
        let profile = Profile::find(profile, &Config::default())?;
        let endpoint = profile.endpoint()?;
        let key = given(key);
        let authorizer = Authorizer::new(&profile, &Way::straight(&endpoint), key, ExtraHeaders::default())?;
        let mut call = crate::protocol::wire::Wire::streamable_http(endpoint.into()).listen();
        authorizer.sign(&mut call).await.map(|_| Arc::unwrap_or_clone(call.headers))
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
        let authorizer =
            Authorizer::new(&profile, &Way::straight(&endpoint), key, ExtraHeaders::default()).unwrap();
        let elsewhere = Url::parse("https://asistry.com:444/api/mcp/client").unwrap();
        let mut call = crate::protocol::wire::Wire::streamable_http(elsewhere.into()).listen();
        assert_eq!(authorizer.sign(&mut call).await.unwrap_err().kind(), Kind::OriginMismatch);
        assert!(!call.headers.contains_key("authorization"));
    }

    #[test]
    fn a_key_that_a_service_repeats_is_taken_out() {
        let profile = Profile::find("asistry", &Config::default()).unwrap();
        let endpoint = profile.endpoint().unwrap();
        let key = given("ask_12345678");
        let authorizer =
            Authorizer::new(&profile, &Way::straight(&endpoint), key, ExtraHeaders::default()).unwrap();
        let told = authorizer.without_secrets("no: Bearer ask_12345678, ask_12345678!".into());
        assert_eq!(told, "no: MASKED, MASKED!");
    }
}
