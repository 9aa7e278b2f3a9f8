//! What happens under the lock: discover, refresh, register, log in, store (AUTH-3 to AUTH-16).
//!
//! Refuses to open a window before the port is bound and the client is known to the authorization server.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::discovery::{Found, Search, discover};
use super::dpop::DpopKey;
use super::grant::{ClientAuth, ClientOrigin, Grant, Tokens};
use super::interactive::PersonLogin;
use super::machine;
use super::metadata::ServerMetadata;
use super::registration::scopes;
use super::stored::Acceptance;
use super::token::{AtServer, Refusal, TokenError};
use super::{
    Ask, Inner, Keeping, LOGIN_LIMIT, Leaving, MOST_STEP_UPS, Need, PAUSE_AFTER_DECLINED, Stage, Token, Way,
    Why,
};
use crate::error::{Error, Kind, Remedy, Result};
use crate::files::Lock;
use crate::profile::{LoginMode, StoreKind};
use crate::protocol::authenticate::BearerChallenge;
use crate::protocol::http::{Challenge, origin_and_path};
use crate::protocol::retry::backoff;
use crate::secret::Secret;
use crate::state;
use crate::state::logins::ClientRecord;

/// How long a logout waits for another process.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Time limit for finding the authorization server.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(45);
/// How long silent requests wait for another process's renewal.
const SILENT_WAIT: Duration = Duration::from_secs(3);
/// Attempts of one refresh while the authorization server fails.
const REFRESH_ATTEMPTS: u32 = 3;
/// The first pause between them.
const PAUSE: Duration = Duration::from_millis(300);

/// Gets a token: a machine's, or one of a person's login.
///
/// # Errors
/// As [`super::OAuth::renew`].
pub async fn obtain(inner: &Inner, need: &Need, stage: &watch::Sender<Stage>) -> Result<Token> {
    inner.state.check_logins()?;
    match &inner.options.machine {
        Some(machine) => machine::obtain(inner, machine, need).await,
        None => by_person(inner, need, stage).await,
    }
}

/// Gets a token of a person's login: another process's, a refreshed one, or one of a new login.
async fn by_person(inner: &Inner, need: &Need, stage: &watch::Sender<Stage>) -> Result<Token> {
    let turn = turn(inner, need, stage).await?;
    let has_waited = matches!(turn, Turn::Waited(_));
    let stored = inner.stored().await?;
    let serves = |grant: &&Grant| is_enough(grant, need) && (has_waited || need.ask != Ask::Always);
    if let Some(grant) = stored.as_ref().filter(serves) {
        let token = inner.adopt(Some(grant.clone()), Acceptance::Elsewhere);
        return token.ok_or_else(|| inner.login_needed());
    }
    inner.refuse_loop(need, stored.as_ref())?;
    if need.why == Why::Expiring {
        // The token is still valid, so the service is not asked.
        let grant = stored.filter(|grant| grant.tokens.is_some()).ok_or_else(|| inner.login_needed())?;
        return renewed_ahead(inner, grant).await;
    }
    let challenge = match (&need.challenge, need.ask) {
        (None, Ask::Always) => asked_without_token(inner).await,
        (challenge, _) => challenge.clone(),
    };
    let need = &Need { challenge, ..need.clone() };
    check_before_discovery(inner, need, stored.as_ref())?;
    let issuer = stored.as_ref().map(|grant| grant.issuer.as_str());
    let found = match found(inner, need, issuer).await {
        Ok(found) => found,
        // A handshake is answered at once; the first request reports this error.
        Err(_) if need.ask.is_silent() && stored.is_none() => return Err(inner.login_needed()),
        Err(error) => return Err(error),
    };
    let grant = inner.stored_with(&found.server.issuer).await?;
    let former = grant.as_ref().and_then(|grant| grant.binding.as_ref());
    let binding = DpopKey::wanted(&found, need.challenge.as_ref(), former);
    let grant = match grant {
        Some(mut kept)
            if kept.resource == found.resource && need.why == Why::Refused && kept.has_refresh() =>
        {
            // What was bound to a key stays so (RFC 9449 section 5).
            kept.binding = kept.binding.take().or(binding.clone());
            match refreshed_or_ended(inner, &found.server, kept).await? {
                Refreshed::Token(token) => return Ok(token),
                Refreshed::Ended(rest) => rest.map(|rest| *rest),
            }
        }
        grant => grant,
    };
    let wanted = wanted_scopes(inner, need, &found, grant.as_ref());
    check_may_ask(inner, need)?;
    let login = PersonLogin { inner, found: &found, wanted, binding, stage };
    let done = match need.way {
        Way::Browser => login.in_browser(grant).await,
        Way::Device => login.on_device(grant).await,
    };
    let done = done.and_then(|token| check_granted(inner, need).map(|()| token));
    if done.as_ref().is_err_and(is_unfinished) {
        inner.unfinished();
    }
    done
}

/// Refuses, before the authorization server is looked for, what could not begin a login anyway.
fn check_before_discovery(inner: &Inner, need: &Need, stored: Option<&Grant>) -> Result<()> {
    let challenge = need.challenge.as_ref();
    if inner.options.mode == LoginMode::Never && need.ask != Ask::Always && stored.is_none() {
        let names_server = challenge.is_some_and(|challenge| challenge.resource_metadata.is_some());
        let is_known = names_server || inner.place.is_oauth;
        return Err(if is_known { inner.login_needed() } else { no_server(inner) });
    }
    let can_refresh = need.why == Why::Refused && stored.is_some_and(Grant::has_refresh);
    if !can_refresh && need.ask == Ask::AsConfigured {
        check_scope(inner, need)?;
        check_pause(inner)?;
    }
    Ok(())
}

/// Finds the authorization server, and checks that it is the one that took the user's client.
///
/// # Errors
/// As [`super::OAuth::renew`].
pub async fn found(inner: &Inner, need: &Need, known_issuer: Option<&str>) -> Result<Found> {
    let challenge = need.challenge.as_ref();
    let noted = inner.noted_issuer();
    let known_issuer = known_issuer.or(noted.as_deref());
    let is_oauth = inner.place.is_oauth
        || challenge.is_some()
        || need.ask == Ask::Always
        || inner.options.machine.is_some();
    let search = Search { endpoint: &inner.place.endpoint, challenge, known_issuer, is_oauth };
    let found = tokio::time::timeout(DISCOVERY_LIMIT, discover(&inner.web, search)).await;
    let found = found.map_err(|_| overdue_discovery(inner))??.ok_or_else(|| no_server(inner))?;
    check_given(inner, &found)?;
    *inner.server() = Some(found.server.clone());
    Ok(found)
}

/// Returns the error of a refresh that says nothing about the login: the secret or the key that the user named is wrong,
/// or this machine's clock.
fn of_given_client(server: &ServerMetadata, grant: &Grant, refusal: &Refusal) -> Option<Error> {
    let is_of_client = refusal.code != "invalid_grant" && grant.client.origin == ClientOrigin::Given;
    let is_proven = !matches!(grant.client.proof, ClientAuth::Public);
    (is_of_client && is_proven).then(|| {
        let why = format!("{} does not accept the client {}: {refusal}", server.issuer, grant.client.id);
        Error::new(Kind::AuthDenied, why).hint("check the client's secret or key, and this machine's clock")
    })
}

/// The result of a refresh that the authorization server answered.
enum Refreshed {
    Token(Token),
    /// The login has ended; what is left of it.
    Ended(Option<Box<Grant>>),
}

async fn refreshed_or_ended(inner: &Inner, server: &ServerMetadata, mut kept: Grant) -> Result<Refreshed> {
    match refreshed(inner, server, &kept).await {
        Ok(tokens) => {
            kept.tokens = Some(tokens);
            kept_after_refresh(inner, kept).await.map(Refreshed::Token)
        }
        Err(TokenError::Ended(refusal)) => {
            tracing::debug!("the login has ended: {refusal}");
            if let Some(error) = of_given_client(server, &kept, &refusal) {
                return Err(error);
            }
            kept.tokens = None;
            if refusal.code != "invalid_grant" {
                // The client is not known any more.
                inner.delete_current().await?;
                return Ok(Refreshed::Ended(None));
            }
            inner.save(kept.clone(), None, Acceptance::Elsewhere).await?;
            Ok(Refreshed::Ended(Some(Box::new(kept))))
        }
        Err(error) => Err(error.into()),
    }
}

/// The right to renew a login of this profile at this endpoint.
enum Turn {
    /// No other process renews it until this is dropped.
    Alone(#[expect(dead_code, reason = "it is held")] Lock),
    /// As `Alone`, after another process, whose token may serve this one too.
    Waited(#[expect(dead_code, reason = "it is held")] Lock),
    /// Nothing is shared with other processes.
    Own,
}

/// Waits for the turn to renew: as long as another process may wait for a person if this request may, too.
async fn turn(inner: &Inner, need: &Need, stage: &watch::Sender<Stage>) -> Result<Turn> {
    match inner.lock(Duration::ZERO).await {
        Ok(Some(lock)) => return Ok(Turn::Alone(lock)),
        Ok(None) => {}
        Err(error) if inner.keeping == Keeping::StoredIfPossible && inner.listed().is_none() => {
            if !std::mem::replace(&mut inner.current().is_unlockable, true) {
                tracing::warn!("the login serves this process alone: {}", error.message());
            }
            return Ok(Turn::Own);
        }
        Err(error) => return Err(error),
    }
    if need.ask.is_silent() && !inner.stored().await?.is_some_and(|grant| grant.has_refresh()) {
        // It is waiting for a person; silent requests don't wait for that.
        return Err(inner.login_needed());
    }
    if need.ask == Ask::Always {
        (inner.person.say)("another asistry process is logging in; waiting for it");
    }
    if let Some(lock) = inner.lock(SILENT_WAIT).await? {
        return Ok(Turn::Waited(lock));
    }
    if need.ask.is_silent() {
        return Err(inner.login_needed());
    }
    let _ = stage.send(Stage::Asking(None));
    let lock = inner.lock(LOGIN_LIMIT).await?;
    lock.map(Turn::Waited).ok_or_else(|| overdue(inner))
}

/// Deletes the login; returns whether there was one.
///
/// # Errors
/// As [`super::OAuth::leave`].
pub async fn leave(inner: &Inner, leaving: Leaving) -> Result<bool> {
    let _lock = inner.lock(LEAVE_WITHIN).await?.ok_or_else(|| {
        Error::new(Kind::KeyStore, "another asistry process is logging in").hint("end that login first")
    })?;
    if leaving.forgets_client {
        let (profile, endpoint) = (&inner.place.profile, inner.place.endpoint.as_str());
        inner.state.forget_clients(profile, endpoint).map_err(|e| inner.state.unwritable(&e))?;
    }
    let mut was_logged_in = false;
    // A service that has changed its authorization server has left a login at each.
    for login in inner.all_listed() {
        let Some(mut grant) = inner.read_any(&login).await? else {
            inner.delete(&login).await?;
            continue;
        };
        if !inner.is_of_client(&grant) {
            continue;
        }
        let tokens = grant.tokens.take();
        was_logged_in |= tokens.is_some();
        if let Some(tokens) = tokens.filter(|_| leaving.revokes) {
            revoked(inner, &grant, &tokens).await?;
        }
        match leaving.forgets_client || grant.client.origin != ClientOrigin::Registered {
            true => inner.delete(&login).await?,
            false => inner.write(&grant, login.place.store).await?,
        }
    }
    inner.adopt(None, Acceptance::Elsewhere);
    Ok(was_logged_in)
}

/// Tells the authorization server that the tokens are no longer used (RFC 7009).
async fn revoked(inner: &Inner, grant: &Grant, tokens: &Tokens) -> Result<()> {
    let server = super::discovery::server_metadata(&inner.web, &grant.issuer).await?;
    let Some(endpoint) = &server.revocation_endpoint else {
        let why = format!("{} has no endpoint to revoke tokens; you are still logged in", server.issuer);
        return Err(Error::new(Kind::AuthDenied, why).remedy(Remedy::LogoutHere));
    };
    let at = AtServer { web: &inner.web, server: &server, client: &grant.client, binding: None };
    let refresh = tokens.refresh.as_ref().map(|token| (token, "refresh_token"));
    for (token, hint) in refresh.into_iter().chain([(&tokens.access, "access_token")]) {
        let fields = [("token", token.expose()), ("token_type_hint", hint)];
        match at.post(Some(endpoint), &fields).await {
            // RFC 7009 section 2.2.1: some servers cannot revoke access tokens, which end by themselves.
            Err(TokenError::Refused(refusal)) if refusal.code == "unsupported_token_type" => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Returns whether the person declined or ran out of time; false for failures of servers.
fn is_unfinished(error: &Error) -> bool {
    let by_person = matches!(error.next_step(), Some(Remedy::Login | Remedy::LoginFor { .. }));
    by_person && matches!(error.kind(), Kind::AuthDenied | Kind::AuthRequired)
}

/// Says whether a stored login serves a need as it is.
pub fn is_enough(grant: &Grant, need: &Need) -> bool {
    let Some(tokens) = &grant.tokens else { return false };
    let is_fresh = tokens.fresh_until().is_none_or(|until| Instant::now() < until);
    let is_other = need.refused.as_ref() != Some(&tokens.access);
    let has_scope = need.why != Why::MoreScopes || tokens.has_scopes(need.scope());
    is_fresh && is_other && has_scope && tokens.header().is_some()
}

/// Refreshes before the token expires.
async fn renewed_ahead(inner: &Inner, mut grant: Grant) -> Result<Token> {
    if !grant.has_refresh() {
        // There is no refresh token; the service's 401 will start a login.
        return Err(inner.login_needed());
    }
    let known = inner.server().clone().filter(|server| server.issuer == grant.issuer);
    let server = match known {
        Some(server) => server,
        None => match super::discovery::server_metadata(&inner.web, &grant.issuer).await {
            Ok(server) => server,
            // 2025-03-26 needs no metadata.
            Err(error) if error.kind() == Kind::ProtocolViolation && grant.resource.is_none() => {
                ServerMetadata::assumed(&inner.place.endpoint)
            }
            Err(error) => return Err(error),
        },
    };
    if server.issuer != grant.issuer {
        return Err(inner.login_needed());
    }
    *inner.server() = Some(server.clone());
    match refreshed(inner, &server, &grant).await {
        Ok(tokens) => {
            grant.tokens = Some(tokens);
            kept_after_refresh(inner, grant).await
        }
        Err(TokenError::Ended(refusal)) => {
            if let Some(error) = of_given_client(&server, &grant, &refusal) {
                return Err(error);
            }
            grant.tokens = None;
            inner.save(grant, None, Acceptance::Elsewhere).await?;
            Err(inner.login_needed())
        }
        Err(error) => Err(error.into()),
    }
}

/// Stores a refreshed login; keeps it in memory if that fails, because the former tokens may be void.
async fn kept_after_refresh(inner: &Inner, grant: Grant) -> Result<Token> {
    match kept_for_use(inner, grant.clone(), None).await {
        Err(error) if error.kind() == Kind::KeyStore => {
            (inner.person.say)(&format!("the login will end with this process: {}", error.message()));
            inner.current().in_memory = true;
            inner.adopt(Some(grant), Acceptance::None).ok_or(error)
        }
        done => done,
    }
}

pub async fn kept_for_use(inner: &Inner, grant: Grant, store: Option<StoreKind>) -> Result<Token> {
    if grant.client.origin == ClientOrigin::Given && !grant.client.id.is_empty() {
        let taken = ClientRecord {
            profile: inner.place.profile.clone(),
            endpoint: inner.place.endpoint.to_string(),
            id: grant.client.id.clone(),
            issuer: grant.issuer.clone(),
        };
        let noted = inner.state.put_client(taken).map_err(|e| inner.state.unwritable(&e));
        if store.is_some() || !inner.current().in_memory {
            noted?;
        }
    }
    inner.save(grant, store, Acceptance::None).await?;
    inner.current().token().ok_or_else(|| {
        Error::new(Kind::ProtocolViolation, "the authorization server issued a token that cannot be sent")
    })
}

/// Refreshes, again while the server fails.
async fn refreshed(inner: &Inner, server: &ServerMetadata, grant: &Grant) -> Result<Tokens, TokenError> {
    let old = grant.tokens.as_ref();
    let refresh = old.and_then(|tokens| tokens.refresh.clone()).unwrap_or_else(|| Secret::new(String::new()));
    let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
    fields.extend(grant.resource.as_deref().map(|resource| ("resource", resource)));
    let scope = old.map(|tokens| tokens.scope.clone()).unwrap_or_default();
    let (client, binding) = (&grant.client, grant.binding.as_ref());
    let at = AtServer { web: &inner.web, server, client, binding };
    for attempt in 0.. {
        match at.tokens(&fields, &scope).await {
            Ok(tokens) => {
                // RFC 6749 section 6: without a new one, the old one stays.
                let refresh = tokens.refresh.clone().or(Some(refresh.clone()));
                return Ok(Tokens { refresh, ..tokens });
            }
            // `Web::post` has waited for a busy server; a silent one may have issued tokens.
            Err(TokenError::Failing(error))
                if error.kind() == Kind::Unreachable
                    && error.details().http_status != Some(503)
                    && attempt + 1 < REFRESH_ATTEMPTS =>
            {
                tokio::time::sleep(backoff(PAUSE, attempt, PAUSE * 4)).await;
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop returns")
}

/// Refuses to show a client that the user named to another authorization server than the one that took it (AUTH-11).
fn check_given(inner: &Inner, found: &Found) -> Result<()> {
    match inner.noted_issuer() {
        Some(issuer) if issuer != found.server.issuer => {
            let why = format!(
                "the service names another authorization server now: {}, and the client id belongs to {issuer}",
                found.server.issuer
            );
            Err(Error::new(Kind::AuthDenied, why).remedy(Remedy::ForgetClient))
        }
        _ => Ok(()),
    }
}

/// Returns the scopes to ask for: on a step-up all that were asked for, granted, and are wanted now (AUTH-15).
pub fn wanted_scopes(inner: &Inner, need: &Need, found: &Found, grant: Option<&Grant>) -> Vec<String> {
    let challenged = need.challenge.as_ref().and_then(|challenge| challenge.scope.as_deref());
    let first = match need.why {
        Why::MoreScopes => challenged.map(super::words).unwrap_or_default(),
        Why::Expiring if grant.is_some_and(|grant| grant.tokens.is_some()) => Vec::new(),
        _ => scopes(&inner.options.scopes, challenged, found.scopes.as_deref()),
    };
    // A step-up and a new login keep the scopes of the former one (AUTH-15), as each login of a machine does.
    let keeps = need.why != Why::Refused || inner.options.machine.is_some();
    let granted = grant.and_then(|grant| grant.tokens.as_ref()).map(|tokens| tokens.scope.as_slice());
    let requested = grant.map(|grant| grant.requested.as_slice());
    let known = requested.into_iter().chain(granted).flatten().filter(|_| keeps).cloned();
    let mut union: Vec<String> = Vec::new();
    for scope in known.chain(first) {
        if !union.contains(&scope) {
            union.push(scope);
        }
    }
    union
}

/// Says whether a person may be asked now.
fn check_may_ask(inner: &Inner, need: &Need) -> Result<()> {
    if need.ask == Ask::Always {
        return Ok(());
    }
    if need.ask.is_silent() || inner.options.mode != LoginMode::Auto {
        return Err(inner.login_needed());
    }
    check_scope(inner, need)?;
    check_pause(inner)?;
    note_step_up(inner, need);
    Ok(())
}

/// Notes that these scopes were asked for.
pub fn note_step_up(inner: &Inner, need: &Need) {
    if need.why == Why::MoreScopes {
        inner.current().step_ups.push((need.scope().to_owned(), Instant::now()));
    }
}

/// Refuses a login for a scope that is granted already or was asked for recently.
///
/// # Errors
/// [`Kind::AuthDenied`].
pub fn check_scope(inner: &Inner, need: &Need) -> Result<()> {
    let scope = need.scope();
    if need.why != Why::MoreScopes {
        return Ok(());
    }
    let mut current = inner.current();
    current.step_ups.retain(|(_, at)| at.elapsed() < PAUSE_AFTER_DECLINED);
    let is_vain = current.step_ups.iter().any(|(asked, _)| asked == scope) || current.has_scopes(scope);
    // The limit is one of windows.
    let are_many = inner.options.machine.is_none() && current.step_ups.len() >= MOST_STEP_UPS;
    match is_vain || are_many {
        true => Err(too_few(scope)),
        false => Ok(()),
    }
}

/// Opens no window by itself for a while after a login that was declined or not finished.
fn check_pause(inner: &Inner) -> Result<()> {
    let (profile, endpoint) = (&inner.place.profile, inner.place.endpoint.as_str());
    let pause = PAUSE_AFTER_DECLINED.as_secs();
    let here = inner.current().unfinished.map(|at| at.elapsed().as_secs());
    let elsewhere = inner.state.logins().unfinished_at(profile, endpoint);
    // A time in the future means that the clock was set back.
    match here.or(elsewhere.map(|at| state::now().abs_diff(at))) {
        Some(ago) if ago < pause => {
            let why = format!("{}; the last one was not finished", inner.login_needed().message());
            Err(inner.login_needed().with_message(why))
        }
        _ => Ok(()),
    }
}

/// After a step-up, the token must have what was wanted.
///
/// # Errors
/// [`Kind::AuthDenied`].
pub fn check_granted(inner: &Inner, need: &Need) -> Result<()> {
    match need.scope() {
        wanted if need.why == Why::MoreScopes && !inner.current().has_scopes(wanted) => Err(too_few(wanted)),
        _ => Ok(()),
    }
}

fn too_few(scope: &str) -> Error {
    let why = match scope {
        "" => "the service wants another scope, and does not say which".to_owned(),
        scope => {
            format!("this needs the scope {}, which the login does not have", super::web::shortened(scope))
        }
    };
    let error = Error::new(Kind::AuthDenied, why);
    match scope {
        "" => error.remedy(Remedy::Login),
        scope => error.remedy(Remedy::LoginFor { scope: scope.to_owned() }),
    }
}

pub fn overdue(inner: &Inner) -> Error {
    let why = format!(
        "the login at {} was not finished within {} minutes",
        origin_and_path(&inner.place.endpoint),
        LOGIN_LIMIT.as_secs() / 60
    );
    Error::new(Kind::AuthRequired, why).remedy(Remedy::Login)
}

fn overdue_discovery(inner: &Inner) -> Error {
    let place = origin_and_path(&inner.place.endpoint);
    Error::new(Kind::Timeout, format!("the authorization server of {place} was not found in time"))
        .hint("try again later")
}

pub fn no_server(inner: &Inner) -> Error {
    let why = format!("{} names no authorization server", origin_and_path(&inner.place.endpoint));
    Error::new(Kind::AuthDenied, why).remedy(Remedy::KeyInsteadOfLogin)
}

/// Sends a request without a token, to get the service's challenge.
async fn asked_without_token(inner: &Inner) -> Option<BearerChallenge> {
    let ping = r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#.to_owned();
    let reply = inner.web.ask_service(&inner.place.endpoint, ping).await.ok()?;
    let values = reply.authenticate();
    Challenge { status: reply.status, authenticate: values }.bearer()
}
