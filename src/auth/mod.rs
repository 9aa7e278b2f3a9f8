//! Credentials: which one a request carries, and to which origin it may be sent.
//!
//! The only room that opens a [`Secret`]. Refuses every origin but the one the credential is bound to, and plain
//! `http` beyond this machine.

pub mod form;
mod headers;
mod key;
pub mod keys;
mod login;
mod mask;
mod new_keys;
pub mod oauth;
mod route;
mod store;
mod vault;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use url::{Origin, Url};

pub use headers::{ExtraHeaders, read_header_file};
pub use key::revealed;
pub use login::Rejection;
pub use route::{Route, is_loopback};
pub use store::{Passphrase, PassphraseFor};

use crate::error::{Error, Kind, Remedy, Result, UsableStores};
use crate::profile::Profile;
use crate::protocol::http::{CredentialUse, HttpCall, origin_and_path};
use crate::protocol::object::string;
use crate::protocol::secrets::{StoredKey, is_masked};
use crate::secret::Secret;
use crate::state::keys::Stamp;
use key::{header_of, no_key};
use keys::{Found, KeySource, Keys, Lookup};
use mask::Mask;
use oauth::dpop::{self, DpopKey};
use oauth::{OAuth, Token};
use vault::Vault;

/// How long a missing key is remembered, unless the key list changes.
const MISSING: Duration = Duration::from_secs(60);
/// How long a failure of the key store is remembered.
const FAILED: Duration = Duration::from_secs(10);

/// Where the key comes from.
#[derive(Debug)]
pub enum Credential {
    /// Passed in by the caller.
    Given(Found),
    /// From the key store.
    Stored(Arc<Keys>),
}

/// Signs requests to one service with one credential.
#[derive(Debug)]
pub struct Authorizer {
    origin: Origin,
    shown_origin: String,
    extra: HeaderMap,
    profile: Profile,
    source: Source,
    /// Where the service may want a login.
    login: Option<OAuth>,
    /// The error if a credential would be sent unencrypted.
    cleartext_error: Option<Error>,
    state: RwLock<KeyState>,
    reading: tokio::sync::Mutex<()>,
    vault: Vault,
    /// New keys that were stored, or could not be.
    stored: Mutex<Vec<Result<StoredKey>>>,
}

#[derive(Debug)]
enum Source {
    /// Passed in, or none is needed.
    Given,
    /// The key store.
    Stored(Arc<Keys>),
}

/// Identifies the credential that signed a request, by a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signed(u64);

impl Signed {
    /// No credential went along.
    const BARE: Self = Self(u64::MAX);
}

/// The rejected request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again;

impl Authorizer {
    /// Returns the logins of the profile, if it can have one.
    pub fn login(&self) -> Option<&OAuth> {
        self.login.as_ref()
    }

    /// Lets a person log in where the service wants it.
    #[must_use]
    pub fn with_login(self, login: OAuth) -> Self {
        Self { login: Some(login), ..self }
    }
}

/// A hash of a credential and its headers; a key for caches and gates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key store's reply; it is read once, and again after a rejection.
#[derive(Debug, Default)]
struct KeyState {
    which: Signed,
    credential: Option<(HeaderName, HeaderValue)>,
    came_from: Option<KeySource>,
    /// The token in the credential, if it is one of a login.
    token: Option<Token>,
    /// Masks this credential and all former ones, whose responses may still arrive.
    mask: Mask,
    asked: bool,
    failed: Option<Failed>,
}

impl KeyState {
    /// Returns the token and the key that it is bound to, if it is.
    fn bound(&self) -> Option<(&Token, &DpopKey)> {
        let token = self.token.as_ref()?;
        Some((token, token.binding.as_ref()?))
    }

    /// Says whether the credential is known, and may be used without a renewal.
    fn is_ready(&self) -> bool {
        let fresh_until = self.token.as_ref().and_then(|token| token.fresh_until);
        self.asked && fresh_until.is_none_or(|until| Instant::now() < until)
    }
}

/// A credential as it is sent.
type Header = (HeaderName, HeaderValue);

#[derive(Debug)]
struct Failed {
    error: Error,
    stamp: Stamp,
    at: Instant,
}

impl Authorizer {
    /// Binds a credential to the endpoint's origin. A stored one is read when it is first needed.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for a malformed key; [`Kind::Config`] if a credential known to exist would be sent
    /// unencrypted.
    pub fn new(
        profile: &Profile,
        route: &Route<'_>,
        credential: Credential,
        extra: ExtraHeaders,
    ) -> Result<Self> {
        let endpoint = route.endpoint;
        let shown_origin = endpoint.origin().ascii_serialization();
        let in_use = &profile.service.auth.header_name();
        let in_header = || KeySource::Header { name: profile.service.auth.header_name().to_owned() };
        let (source, given, came_from) = match credential {
            // A header that carries a key under another name.
            Credential::Given(_) if extra.carries_credential && !extra.headers.contains_key(in_use) => {
                (Source::Given, None, Some(in_header()))
            }
            Credential::Given(key) => (Source::Given, Some(header_of(profile, &key)?), Some(key.source)),
            Credential::Stored(_) if extra.carries_credential => (Source::Given, None, Some(in_header())),
            Credential::Stored(keys) => (Source::Stored(keys), None, None),
        };
        let mut mask = Mask::default();
        let sent = extra.headers.values().chain(given.iter().map(|(_, value)| value));
        sent.filter(|value| value.is_sensitive()).for_each(|value| mask.add(value));
        let asked = matches!(source, Source::Given);
        let state = KeyState { asked, credential: given, came_from, mask, ..KeyState::default() };
        let authorizer = Self {
            origin: endpoint.origin(),
            vault: Vault::new(&profile.service, &shown_origin),
            stored: Mutex::default(),
            shown_origin,
            extra: extra.headers,
            profile: profile.clone(),
            source,
            login: None,
            cleartext_error: route.check().err(),
            state: RwLock::new(state),
            reading: tokio::sync::Mutex::new(()),
        };
        authorizer.check_route()?;
        Ok(authorizer)
    }

    /// Refuses to send a credential that is known to exist unencrypted.
    fn check_route(&self) -> Result<()> {
        let known = match &self.source {
            Source::Given => self.has_secret_headers() || self.credential().is_some(),
            Source::Stored(keys) if self.profile.service.auth.optional => {
                self.has_secret_headers()
                    || keys.is_listed(&self.profile, &self.shown_origin).unwrap_or(false)
            }
            Source::Stored(_) => true,
        };
        match &self.cleartext_error {
            Some(error) if known => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn has_secret_headers(&self) -> bool {
        self.extra.values().any(HeaderValue::is_sensitive)
    }

    /// Reads the credential, so that the first request need not wait for it.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] without a key, [`Kind::KeyStore`] if the store is unavailable; both are remembered for a
    /// while.
    pub async fn ready(&self) -> Result<()> {
        let Source::Stored(keys) = &self.source else { return Ok(()) };
        if self.key_state().is_ready() {
            return Ok(());
        }
        let _one_reader = self.reading.lock().await;
        if self.key_state().is_ready() {
            return Ok(());
        }
        if let Some(failed) = &self.key_state().failed {
            let believed = if failed.error.kind() == Kind::KeyStore { FAILED } else { MISSING };
            if failed.at.elapsed() < believed && failed.stamp == keys.stamp() {
                return Err(failed.error.clone());
            }
        }
        self.read_key(keys).await
    }

    /// Adds the credential to a request's headers, and returns which one it was.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for another origin, and the errors of [`Self::ready`].
    pub async fn sign(&self, call: &mut HttpCall) -> Result<Signed> {
        let is_bare = call.signing.credential == CredentialUse::Never;
        match call.signing.credential {
            CredentialUse::Required => self.ready().await?,
            CredentialUse::Optional => self.ready_or_keyless().await?,
            CredentialUse::Never => {}
        }
        if call.url.origin() != self.origin {
            return Err(self.elsewhere(&call.url));
        }
        if !call.signing.opened.is_empty() {
            self.open_masked(call).await?;
        }
        let headers = Arc::make_mut(&mut call.headers);
        for (name, value) in &self.extra {
            if !is_bare || !self.profile.is_credential(name.as_str()) {
                headers.insert(name.clone(), value.clone());
            }
        }
        if is_bare {
            return Ok(Signed::BARE);
        }
        let state = self.key_state();
        if let Some((name, value)) = state.credential.clone() {
            headers.insert(name, value);
        }
        if let Some((token, binding)) = state.bound() {
            let proof = binding.proof(&call.method, &call.url, Some(&token.access));
            headers.insert(dpop::PROOF, proof);
        }
        Ok(state.which)
    }

    /// As [`Self::ready`], but a key that is missing, or cannot be read, is none.
    async fn ready_or_keyless(&self) -> Result<()> {
        match self.ready().await {
            Err(error) if matches!(error.kind(), Kind::AuthRequired | Kind::KeyStore) => Ok(()),
            other => other,
        }
    }

    /// As [`Self::ready`], for a service that makes keys itself: there a key may be missing.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn ready_to_begin(&self) -> Result<()> {
        match self.profile.service.secrets.new_keys.is_empty() {
            true => self.ready().await,
            false => self.ready_or_keyless().await,
        }
    }

    /// Resolves the references of a call where its signing allows it.
    async fn open_masked(&self, call: &mut HttpCall) -> Result<()> {
        let Ok(text) = std::str::from_utf8(&call.body) else { return Ok(()) };
        let (mut body, mut done) = (String::with_capacity(text.len()), 0);
        for at in call.signing.opened.clone() {
            let Some(word) = text.get(at.clone()).and_then(string) else { continue };
            if !is_masked(&word) {
                // The service may repeat it.
                self.vault.learn_typed(&word);
                continue;
            }
            let masked = word;
            let secret = self.opened(&masked).await?;
            body.push_str(&text[done..at.start]);
            body.push_str(&serde_json::Value::from(secret.expose()).to_string());
            done = at.end;
        }
        if done == 0 {
            return Ok(());
        }
        if let Some(error) = &self.cleartext_error {
            return Err(error.clone());
        }
        body.push_str(&text[done..]);
        call.body = body.into();
        call.signing.opened.clear();
        Ok(())
    }

    /// Resolves a reference: to a secret that was seen in this process, or to a stored key.
    async fn opened(&self, masked: &str) -> Result<Secret> {
        if let Some(secret) = self.vault.open(masked) {
            return Ok(secret);
        }
        let stored = match &self.source {
            Source::Stored(keys) => self.stored_as(keys, masked).await?,
            Source::Given => None,
        };
        if let Some((_, secret)) = &stored {
            self.vault.learn(secret.expose());
        }
        stored.map(|(_, secret)| secret).ok_or_else(|| {
            Error::new(Kind::Usage, format!("{masked} is not a reference known here"))
                .hint("it may have been used already: pass the secret itself")
        })
    }

    /// Returns a hash that identifies the credential and the extra headers.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub async fn identity(&self) -> Result<Identity> {
        self.ready_to_begin().await?;
        let mut hash = Sha256::new_with_prefix(b"asistry credential v1\n");
        // Of a login, not of its token: a refresh changes no cache.
        if let Some(token) = &self.key_state().token {
            hash.update("login:");
            hash.update(&token.identity);
            hash.update("\n");
        }
        let credential = self.credential().filter(|_| self.key_state().token.is_none());
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
            "the service redirects to {}, but the key is bound to {own} and must not be sent to {asked_origin}",
            origin_and_path(asked)
        );
        let remedy = Remedy::Moved { url: origin_and_path(asked), origin: asked_origin };
        Error::new(Kind::OriginMismatch, why).remedy(remedy)
    }

    /// Returns the source of the key, once it has been looked up.
    pub fn key_source(&self) -> Option<KeySource> {
        let state = self.key_state();
        state.asked.then(|| state.came_from.clone().unwrap_or(KeySource::Absent))
    }

    async fn read_key(&self, keys: &Keys) -> Result<()> {
        let stamp = keys.stamp();
        match self.found(keys).await {
            Ok((header, source, token)) => {
                self.use_credential(header, source, token);
                Ok(())
            }
            Err(error) => {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.failed = Some(Failed { error: error.clone(), stamp, at: Instant::now() });
                Err(error)
            }
        }
    }

    /// Signs with this credential from now on.
    fn use_credential(&self, credential: Option<Header>, came_from: Option<KeySource>, token: Option<Token>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.credential != credential {
            state.which.0 += 1;
            credential.iter().for_each(|(_, value)| state.mask.add(value));
        }
        *state = KeyState {
            credential,
            came_from,
            token,
            asked: true,
            failed: None,
            ..std::mem::take(&mut *state)
        };
    }

    async fn found(&self, keys: &Keys) -> Result<(Option<Header>, Option<KeySource>, Option<Token>)> {
        if self.login.as_ref().is_some_and(OAuth::is_machine) {
            return self.logged_in().await;
        }
        let optional = self.profile.service.auth.optional || self.login.is_some();
        // An optional key is not worth opening a store for unless one is listed.
        if optional && !keys.is_listed(&self.profile, &self.shown_origin)? {
            return self.logged_in().await;
        }
        let found = match keys.current(&self.profile, &self.shown_origin).await? {
            Lookup::Found(found) => found,
            Lookup::Nothing | Lookup::StoreUnavailable(_) if optional => return Ok((None, None, None)),
            Lookup::Nothing => return Err(no_key(&self.profile, UsableStores::Any)),
            Lookup::StoreUnavailable(why) => {
                let error = no_key(&self.profile, UsableStores::File);
                let both = format!("{}, and {}", error.message(), why.message());
                return Err(error.with_message(both));
            }
        };
        let header = header_of(&self.profile, &found)?;
        match &self.cleartext_error {
            Some(error) => Err(error.clone()),
            None => Ok((Some(header), Some(found.source), None)),
        }
    }

    fn credential(&self) -> Option<(HeaderName, HeaderValue)> {
        self.key_state().credential.clone()
    }

    fn key_state(&self) -> std::sync::RwLockReadGuard<'_, KeyState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Masks the credential, former ones and extra headers in text that is shown or stored: some services repeat the
    /// key that they reject.
    pub fn without_secrets(&self, text: Bytes) -> Bytes {
        let text = self.vault.sealed(text);
        self.key_state().mask.masked(text)
    }

    /// Says whether the service hands out secrets.
    pub fn seals(&self) -> bool {
        self.vault.is_used()
    }

    /// Replaces the secrets that the service hands out with references.
    pub fn sealed(&self, text: Bytes) -> Bytes {
        self.vault.sealed(text)
    }

    /// Replaces references in JSON with the secrets that the service has handed out.
    pub fn unsealed(&self, text: Bytes) -> Bytes {
        self.vault.unsealed(text)
    }

    /// Returns the secrets that occur in a text, as written there and unescaped.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        let mut all = self.key_state().mask.repeated_in(text);
        all.extend(self.vault.repeated_in(text));
        all
    }

    /// As [`Self::without_secrets`], for response headers.
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

    fn given(key: &str) -> Credential {
        let secret = Secret::new(key.into());
        Credential::Given(Found { secret, forced: false, source: KeySource::Environment })
    }

    async fn sign_with(profile: &str, key: &str) -> Result<HeaderMap> {
        let profile = Profile::find(profile, &Config::default())?;
        let endpoint = profile.endpoint()?;
        let key = given(key);
        let authorizer =
            Authorizer::new(&profile, &Route::straight(&endpoint), key, ExtraHeaders::default())?;
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
            Authorizer::new(&profile, &Route::straight(&endpoint), key, ExtraHeaders::default()).unwrap();
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
            Authorizer::new(&profile, &Route::straight(&endpoint), key, ExtraHeaders::default()).unwrap();
        let told = authorizer.without_secrets("no: Bearer ask_12345678, ask_12345678!".into());
        assert_eq!(told, "no: MASKED, MASKED!");
    }
}
