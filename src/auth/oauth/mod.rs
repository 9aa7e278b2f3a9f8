//! OAuth logins: one for each profile, endpoint and issuer, however many processes need it.
//!
//! [`OAuth::token`] and [`OAuth::renew`] are all that requests need: inside the process one task renews for all requests that
//! wait, across processes one file lock admits one process. `flow` is what happens under that lock. Refuses to open a window that
//! was not asked for, to log in twice at once, and to use a token before it is stored.

mod authorize;
mod callback;
mod device;
mod discovery;
pub mod dpop;
mod flow;
mod grant;
mod interactive;
mod machine;
mod metadata;
mod registration;
mod signing;
mod stored;
mod terms;
mod token;
mod web;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch;
use url::Url;

use crate::auth::keys::Keys;
use crate::error::{Error, Kind, Remedy, Result};
use crate::net::{Proxies, TlsOptions};
use crate::profile::LoginMode;
use crate::protocol::http::origin_and_path;
use crate::state::State;
use discovery::Found;
pub use grant::ClientKey;
use grant::{Grant, TokenType};
use machine::Refused;
pub use machine::{IdentityProvider, IdentityToken, Machine};
use metadata::ServerMetadata;
pub use signing::{SigningKey, Unusable};
pub use terms::{
    Ask, Boxed, Keeping, Leaving, LoginOptions, LoginParts, Need, Person, Place, Status, Token, Way, Why,
};
use web::Web;

/// The scope that asks for a refresh token (OpenID Connect Core, section 11).
const OFFLINE: &str = "offline_access";
/// How long a person may take to log in.
pub const LOGIN_LIMIT: Duration = Duration::from_secs(300);
/// How long requests wait for a renewal ahead of time.
const RENEW_WITHIN: Duration = Duration::from_secs(2);
/// The pause after a renewal ahead of time that has failed.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// How long the handshake waits for a token; it is answered without one then.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Maximum logins for more scopes within [`PAUSE_AFTER_DECLINED`].
const MOST_STEP_UPS: usize = 4;
/// No window opens by itself for this long after a login was declined or not finished.
const PAUSE_AFTER_DECLINED: Duration = Duration::from_secs(600);

/// The logins of one profile at one endpoint.
#[derive(Debug)]
pub struct OAuth {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    options: LoginOptions,
    person: Person,
    keeping: Keeping,
    web: Web,
    tls: TlsOptions,
    proxies: Proxies,
    keys: Arc<Keys>,
    state: State,
    current: Mutex<Current>,
    flight: Mutex<Option<watch::Receiver<Stage>>>,
    /// The service has not accepted the newest token yet. Looked at after each response.
    is_unproven: AtomicBool,
    /// The process outlives its requests.
    outlives_requests: AtomicBool,
    /// The metadata of the authorization server in use.
    server: Mutex<Option<ServerMetadata>>,
}

/// What this process knows of the login.
#[derive(Debug, Default)]
struct Current {
    grant: Option<Grant>,
    fresh_until: Option<Instant>,
    /// The store was read.
    is_read: bool,
    /// The login is in no store: it ends with the process.
    in_memory: bool,
    /// The state directory cannot be written, so no login can be stored.
    is_unlockable: bool,
    /// When a person last declined a login, or did not finish it.
    unfinished: Option<Instant>,
    /// Scopes that a person was already asked for, and when.
    step_ups: Vec<(String, Instant)>,
    /// The last refusal of a machine's login.
    refused: Option<Refused>,
    /// What a machine's login found.
    found: Option<Found>,
}

/// How far a renewal is that runs in this process.
#[derive(Clone, Debug)]
enum Stage {
    /// No person is needed.
    Silent,
    /// It waits for a person, here or in another process; the URL where no browser could be opened.
    Asking(Option<String>),
    /// It has ended.
    Done(Result<Token>),
}

impl OAuth {
    /// Prepares logins; reads and sends nothing yet.
    pub fn new(place: Place, parts: LoginParts, keys: Arc<Keys>, tls: TlsOptions, proxies: Proxies) -> Self {
        let LoginParts { keeping, options, person, state } = parts;
        let web =
            Web::new(&place.endpoint, tls.clone(), proxies.clone(), place.allow_http).within(place.timeout);
        let (current, flight, server) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (is_unproven, outlives_requests) = Default::default();
        Self {
            inner: Arc::new(Inner {
                place,
                options,
                person,
                keeping,
                web,
                tls,
                proxies,
                keys,
                state,
                current,
                flight,
                is_unproven,
                outlives_requests,
                server,
            }),
        }
    }

    /// Says whether a machine logs in, and not a person.
    pub fn is_machine(&self) -> bool {
        self.inner.options.machine.is_some()
    }

    /// Says whether there may be a login; opens no store.
    pub fn is_listed(&self) -> bool {
        let is_stored = || self.inner.listed().is_some_and(|login| login.active);
        self.inner.current().in_memory || (!self.is_machine() && is_stored())
    }

    /// Fails if the service is known to want a login and `--login never` forbids one.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`].
    pub fn check_need(&self) -> Result<()> {
        let Inner { place, options, .. } = &*self.inner;
        match place.is_oauth && options.mode == LoginMode::Never && options.machine.is_none() {
            true => Err(self.inner.login_needed()),
            false => Ok(()),
        }
    }

    /// Returns the token of the login, renewed if it is about to expire; `None` without a login.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if the store is unavailable.
    pub async fn token(&self) -> Result<Option<Token>> {
        self.inner.read_once().await?;
        let Some(token) = self.inner.current().token() else { return Ok(None) };
        if token.fresh_until.is_none_or(|until| Instant::now() < until) {
            return Ok(Some(token));
        }
        let need =
            Need { why: Why::Expiring, refused: None, challenge: None, ask: Ask::Never, way: Way::Browser };
        // Bounded, because the server may be silent; the renewal continues in its task.
        let renewed = tokio::time::timeout(RENEW_WITHIN, self.renew(need)).await;
        match renewed.unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "it takes longer"))) {
            Ok(token) => Ok(Some(token)),
            Err(error) => {
                // Without a person it cannot be renewed, or not now; the service decides about the old token.
                if error.kind() != Kind::AuthRequired {
                    tracing::warn!("the login could not be renewed: {error}");
                }
                let fresh_until = Some(Instant::now() + RENEW_AGAIN);
                Ok(self.inner.current().token().map(|token| Token { fresh_until, ..token }))
            }
        }
    }

    /// Gets another token than the refused one; joins the renewal that runs already.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] if a person must log in, [`Kind::AuthDenied`] if the login is refused,
    /// [`Kind::Unreachable`], [`Kind::Timeout`] or [`Kind::RateLimited`] if the authorization server fails.
    pub async fn renew(&self, need: Need) -> Result<Token> {
        loop {
            let (mut stage, is_own) = self.join_or_start(&need);
            let done = watch_stage(&mut stage, &self.inner, need.ask);
            let done = match need.ask {
                // It goes on in its task.
                Ask::AtOnce => {
                    let overdue = |_| Err(self.inner.login_needed());
                    tokio::time::timeout(AT_ONCE, done).await.unwrap_or_else(overdue)
                }
                _ => done.await,
            };
            match done {
                Ok(token) if is_own || self.serves(&need, &token) => return Ok(token),
                // The joined renewal was silent; this request may ask a person.
                Err(error)
                    if !is_own
                        && !need.ask.is_silent()
                        && error.kind() == Kind::AuthRequired
                        && is_done(&stage) => {}
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Declares that the process outlives its requests, so that an error can contain the URL of a login that goes on.
    pub fn outlives_requests(&self) {
        self.inner.outlives_requests.store(true, Ordering::Relaxed);
    }

    /// Notes that the service took the newest token.
    pub fn accepted(&self) {
        self.inner.accepted();
    }

    /// Says whether the service has not accepted the newest token yet.
    pub fn is_unproven(&self) -> bool {
        self.inner.is_unproven.load(Ordering::Relaxed)
    }

    /// Says whether a login waits for a person.
    pub fn waits_for_person(&self) -> bool {
        let flight = self.inner.flight.lock().unwrap_or_else(PoisonError::into_inner);
        flight.as_ref().is_some_and(|running| matches!(*running.borrow(), Stage::Asking(_)))
    }

    /// Returns what is known about the login; `None` without one.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if the store is unavailable.
    pub async fn status(&self) -> Result<Option<Status>> {
        self.inner.read_once().await?;
        let current = self.inner.current();
        let Some((grant, tokens)) =
            current.grant.as_ref().and_then(|grant| Some((grant, grant.tokens.as_ref()?)))
        else {
            return Ok(None);
        };
        let listed = self.inner.listed().filter(|_| !current.in_memory);
        Ok(Some(Status {
            issuer: grant.issuer.clone(),
            resource: grant.resource.clone(),
            client_id: grant.client.id.clone(),
            scopes: tokens.scope.clone(),
            expires_at: tokens.expires_at(),
            renews: tokens.refresh.is_some(),
            store: listed.map(|login| login.place.store.name()),
        }))
    }

    /// Logs out; returns whether there was a login.
    ///
    /// # Errors
    /// The key store's, and those of a revocation: then the login is kept.
    pub async fn leave(&self, leaving: Leaving) -> Result<bool> {
        flow::leave(&self.inner, leaving).await
    }

    /// Says whether a token that another request got serves this one.
    fn serves(&self, need: &Need, token: &Token) -> bool {
        let has_scope = need.why != Why::MoreScopes || self.inner.current().has_scopes(need.scope());
        need.refused.as_ref() != Some(&token.access) && has_scope
    }

    fn join_or_start(&self, need: &Need) -> (watch::Receiver<Stage>, bool) {
        let mut flight = self.inner.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) =
            flight.as_ref().filter(|running| !is_done(running) && running.has_changed().is_ok())
        {
            return (running.clone(), false);
        }
        let (report, stage) = watch::channel(Stage::Silent);
        *flight = Some(stage.clone());
        let (inner, need) = (self.inner.clone(), need.clone());
        // In a task: it goes on when the request that began it is cancelled.
        tokio::spawn(async move {
            let done = flow::obtain(&inner, &need, &report).await;
            let _ = report.send(Stage::Done(done));
        });
        (stage, true)
    }
}

fn is_done(stage: &watch::Receiver<Stage>) -> bool {
    matches!(*stage.borrow(), Stage::Done(_))
}

/// Waits for the end of a renewal; one that waits for a person is waited for only by those who may ask.
async fn watch_stage(stage: &mut watch::Receiver<Stage>, inner: &Inner, ask: Ask) -> Result<Token> {
    loop {
        match (&*stage.borrow_and_update(), ask) {
            (Stage::Done(done), _) => return done.clone(),
            (Stage::Asking(_), ask) if ask.is_silent() => return Err(inner.login_needed()),
            (Stage::Asking(Some(url)), Ask::AsConfigured) if inner.outlives_requests() => {
                return Err(inner.must_open(url));
            }
            (Stage::Silent | Stage::Asking(_), _) => {}
        }
        if stage.changed().await.is_err() {
            return Err(Error::new(Kind::Bug, "the login ended without a result"));
        }
    }
}

impl Inner {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses to replace a token that was just issued: the next one would be refused as well (AUTH-14).
    fn refuse_loop(&self, need: &Need, stored: Option<&Grant>) -> Result<()> {
        let is_newest = match (&need.refused, stored) {
            (Some(refused), Some(grant)) => grant.has_access(refused),
            _ => false,
        };
        let is_unproven =
            self.is_unproven.load(Ordering::Relaxed) && stored.is_some_and(|grant| self.is_recent(grant));
        if is_newest && is_unproven && need.why == Why::Refused {
            if self.options.machine.is_none() {
                self.unfinished();
            }
            let why = "the service refuses a token that was just issued for it";
            return Err(Error::new(Kind::AuthDenied, why).remedy(Remedy::Login));
        }
        Ok(())
    }

    /// Notes that a login by a person was not finished, here and for other processes.
    fn unfinished(&self) {
        self.current().unfinished = Some(Instant::now());
        let _ = self.state.login_unfinished(&self.place.profile, self.place.endpoint.as_str());
    }

    /// Prepares requests to a server that the user names, wherever the service is.
    fn web_of(&self, server: &str) -> Result<Web> {
        let url = Url::parse(server).map_err(|_| {
            let why = format!("{} is not a URL", web::shortened(server));
            Error::new(Kind::Config, why).hint("write it as https://host.example")
        })?;
        // The certificate is for the service.
        let tls = TlsOptions { client_cert: None, ..self.tls.clone() };
        let web = Web::new(&url, tls, self.proxies.clone(), self.place.allow_http);
        Ok(web.within(self.place.timeout))
    }

    /// Says whether the token of a login is one that was just issued, and not one that has expired unused.
    fn is_recent(&self, grant: &Grant) -> bool {
        let Some(tokens) = &grant.tokens else { return false };
        let now = crate::state::now();
        let is_valid = tokens.expires_at().is_none_or(|end| now < end);
        let is_new = now.abs_diff(tokens.received_at) < PAUSE_AFTER_DECLINED.as_secs();
        // Another process may have seen it accepted since.
        let is_shared = !grant.has_refresh() && !self.current().in_memory;
        is_valid && is_new && (!is_shared || self.listed().is_none_or(|login| login.unproven))
    }

    fn server(&self) -> MutexGuard<'_, Option<ServerMetadata>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outlives_requests(&self) -> bool {
        self.outlives_requests.load(Ordering::Relaxed)
    }

    fn login_needed(&self) -> Error {
        let why = format!("{} needs a login", origin_and_path(&self.place.endpoint));
        Error::new(Kind::AuthRequired, why).remedy(Remedy::Login)
    }

    fn must_open(&self, url: &str) -> Error {
        let why = format!(
            "{} needs a login, and no browser could be opened: open {url} within five minutes, then try again",
            origin_and_path(&self.place.endpoint)
        );
        Error::new(Kind::AuthRequired, why).remedy(Remedy::Login)
    }
}

impl Current {
    fn has_scopes(&self, wanted: &str) -> bool {
        let tokens = self.grant.as_ref().and_then(|grant| grant.tokens.as_ref());
        tokens.is_some_and(|tokens| tokens.has_scopes(wanted))
    }

    fn token(&self) -> Option<Token> {
        let grant = self.grant.as_ref()?;
        let tokens = grant.tokens.as_ref()?;
        Some(Token {
            header: tokens.header()?,
            access: tokens.access.clone(),
            binding: grant.binding.clone().filter(|_| tokens.kind == TokenType::Dpop),
            identity: grant.id.clone(),
            fresh_until: self.fresh_until,
        })
    }
}

/// Returns 256 random bits as text.
fn random_text() -> String {
    let mut bytes = [0; 32];
    // Panics rather than continue without secure random numbers.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the words of a list of scopes.
fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
