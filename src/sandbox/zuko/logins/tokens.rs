//! The token and revocation endpoints (RFC 6749 section 3.2, RFC 7009), and the check of access tokens.
//!
//! A code is spent by the first attempt. A refresh token is replaced by each use. A second use of either ends the
//! grant, and with it all refresh tokens that came of it.

use super::clients::Client;
use super::jwt::{self, Expected};
use super::parameters::Parameters;
use super::{Asked, ENDPOINT, ISSUER, error, fresh, now, uncached};
use crate::sandbox::keys::Caller;
use crate::sandbox::reply::{self, Reply};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Lifetime of a refresh token in seconds.
const REFRESH: i64 = 30 * 24 * 60 * 60;

/// A grant, as found by a code or a refresh token.
struct Grant {
    id: i64,
    user: i64,
    scope: String,
    resource: String,
    /// Whether the token that it was found by was used before.
    is_used: bool,
    /// Unix seconds.
    expires_at: i64,
}

/// Returns the caller of an access token for the endpoint below a base URL.
pub(in crate::sandbox::zuko) fn caller_of(
    connection: &Connection,
    base: &str,
    token: &str,
) -> rusqlite::Result<Option<Caller>> {
    let (issuer, audience) = (format!("{base}{ISSUER}"), format!("{base}{ENDPOINT}"));
    let expected = Expected { issuer: &issuer, audience: &audience, now: now() };
    let claims = jwt::verify(connection, token, &expected)?;
    Ok(claims.map(|claims| {
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        Caller {
            key: text("client_id"),
            name: text("client_id"),
            user: text("sub"),
            settings: json!({"scope": claims["scope"]}),
        }
    }))
}

/// Exchanges a code or a refresh token.
pub(super) fn issue(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let (form, client) = match client_of(connection, asked)? {
        Ok(found) => found,
        Err(refusal) => return Ok(refusal),
    };
    match form.named("grant_type") {
        Some("authorization_code") => by_code(connection, asked, (&form, &client)),
        Some("refresh_token") if client.refreshes => by_refresh(connection, asked, (&form, &client)),
        Some("refresh_token") => {
            Ok(error("unauthorized_client", "the client did not register the grant type refresh_token"))
        }
        Some(_) => Ok(error("unsupported_grant_type", "grant_type is authorization_code or refresh_token")),
        None => Ok(error("invalid_request", "grant_type is required")),
    }
}

/// Revokes a refresh token with its family; an unknown token is no error (RFC 7009 section 2.2).
pub(super) fn revoke(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let (form, client) = match client_of(connection, asked)? {
        Ok(found) => found,
        Err(refusal) => return Ok(refusal),
    };
    let token = match form.required("token") {
        Ok(token) => token,
        Err(why) => return Ok(error("invalid_request", &why)),
    };
    if caller_of(connection, &asked.base, token)?.is_some() {
        return Ok(error("unsupported_token_type", "an access token is valid until it expires"));
    }
    let owner: Option<(i64, String)> = connection
        .prepare_cached(
            "SELECT g.id, g.client_id FROM zuko_refresh r JOIN zuko_grant g ON g.id = r.grant_id WHERE r.hash = ?1",
        )?
        .query_row([asked.keys.hash(token)], |row| row.try_into())
        .optional()?;
    match owner {
        Some((_, owner)) if owner != client.id => {
            return Ok(error("invalid_grant", "the token is another client's"));
        }
        Some((grant, _)) => end(connection, grant)?,
        None => {}
    }
    Ok(reply::with(reply::empty(StatusCode::OK), "cache-control", "no-store"))
}

/// Reads the form and its client, which is public and names itself.
fn client_of(
    connection: &Connection,
    asked: &Asked,
) -> rusqlite::Result<Result<(Parameters, Client), Reply>> {
    let form = match Parameters::of_form(asked) {
        Ok(form) => form,
        Err(why) => return Ok(Err(error("invalid_request", &why))),
    };
    let unknown = |why: &str| {
        let body = json!({"error": "invalid_client", "error_description": why});
        Ok(Err(uncached(StatusCode::UNAUTHORIZED, &body)))
    };
    if asked.headers.contains_key(AUTHORIZATION) {
        let refusal = unknown("clients are public: send client_id in the form")?;
        return Ok(refusal.map_err(|reply| reply::with(reply, "www-authenticate", "Basic realm=\"zuko\"")));
    }
    if ["client_secret", "client_assertion"].iter().any(|name| form.named(name).is_some()) {
        return unknown("clients are public: send client_id only");
    }
    let client = match form.required("client_id") {
        Ok(id) => Client::find(connection, id)?,
        Err(why) => return Ok(Err(error("invalid_request", &why))),
    };
    client.map_or_else(|| unknown("client_id is not registered"), |client| Ok(Ok((form, client))))
}

fn by_code(
    connection: &mut Connection,
    asked: &Asked,
    (form, client): (&Parameters, &Client),
) -> rusqlite::Result<Reply> {
    const FIELDS: [&str; 4] = ["code", "redirect_uri", "code_verifier", "resource"];
    if let Some(Err(why)) = FIELDS.iter().map(|name| form.required(name)).find(Result::is_err) {
        let code = if why.starts_with("resource") { "invalid_target" } else { "invalid_request" };
        return Ok(error(code, &why));
    }
    let [code, redirect_uri, verifier, resource] = FIELDS.map(|name| form.named(name).unwrap_or_default());
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let hash = asked.keys.hash(code);
    let Some(grant) = found(&change, "zuko_code", &hash)? else {
        return Ok(error("invalid_grant", "the code is unknown or expired"));
    };
    let (owner, uri, challenge): (String, String, String) = change
        .prepare_cached(
            "SELECT g.client_id, c.redirect_uri, c.challenge FROM zuko_code c JOIN zuko_grant g ON g.id = c.grant_id
             WHERE c.hash = ?1",
        )?
        .query_row([&hash], |row| row.try_into())?;
    change.execute("UPDATE zuko_code SET is_used = 1 WHERE hash = ?1", [&hash])?;
    let is_long = (43..=128).contains(&verifier.len());
    let is_proven = is_long && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge;
    let fault = match () {
        () if grant.is_used => "the code was used before",
        () if grant.expires_at <= asked.now => "the code is unknown or expired",
        () if owner != client.id => "the code is another client's",
        () if uri != redirect_uri => "redirect_uri is not that of the authorization request",
        () if !is_proven => "code_verifier does not match",
        () if resource != grant.resource || resource != asked.resource() => {
            end(&change, grant.id)?;
            change.commit()?;
            return Ok(error("invalid_target", "resource is not that of the authorization request"));
        }
        () => {
            let reply = respond(&change, asked, (client, &grant, &grant.scope))?;
            change.commit()?;
            return Ok(reply);
        }
    };
    end(&change, grant.id)?;
    change.commit()?;
    Ok(error("invalid_grant", fault))
}

fn by_refresh(
    connection: &mut Connection,
    asked: &Asked,
    (form, client): (&Parameters, &Client),
) -> rusqlite::Result<Reply> {
    let token = match form.required("refresh_token") {
        Ok(token) => token,
        Err(why) => return Ok(error("invalid_request", &why)),
    };
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let hash = asked.keys.hash(token);
    let unknown = || Ok(error("invalid_grant", "the refresh token is unknown, expired or revoked"));
    let Some(grant) = found(&change, "zuko_refresh", &hash)? else { return unknown() };
    let owner: String =
        change.query_row("SELECT client_id FROM zuko_grant WHERE id = ?1", [grant.id], |row| row.get(0))?;
    if owner != client.id || grant.resource != asked.resource() {
        return unknown();
    }
    if grant.is_used {
        end(&change, grant.id)?;
        change.commit()?;
        return Ok(error("invalid_grant", "the refresh token was used before: the login has ended"));
    }
    if grant.expires_at <= asked.now {
        return unknown();
    }
    if form.named("resource").is_some_and(|resource| resource != grant.resource) {
        return Ok(error("invalid_target", "resource is not that of the authorization request"));
    }
    let scope = form.named("scope").unwrap_or(&grant.scope);
    let is_granted = |scope: &str| grant.scope.split(' ').any(|granted| granted == scope);
    if !scope.split(' ').all(is_granted) {
        return Ok(error("invalid_scope", "scope exceeds what the user granted"));
    }
    change.execute("UPDATE zuko_refresh SET is_used = 1 WHERE hash = ?1", [&hash])?;
    let reply = respond(&change, asked, (client, &grant, scope))?;
    change.commit()?;
    Ok(reply)
}

/// Finds the grant of a code or refresh token by its hash; `table` is one of the two.
fn found(change: &Connection, table: &str, hash: &str) -> rusqlite::Result<Option<Grant>> {
    change
        .prepare_cached(&format!(
            "SELECT g.id, g.user_id, g.scope, g.resource, t.is_used, t.expires_at
             FROM {table} t JOIN zuko_grant g ON g.id = t.grant_id WHERE t.hash = ?1"
        ))?
        .query_row([hash], |row| {
            Ok(Grant {
                id: row.get(0)?,
                user: row.get(1)?,
                scope: row.get(2)?,
                resource: row.get(3)?,
                is_used: row.get(4)?,
                expires_at: row.get(5)?,
            })
        })
        .optional()
}

/// Ends a grant; its code and refresh tokens go with it.
fn end(change: &Connection, grant: i64) -> rusqlite::Result<()> {
    change.execute("DELETE FROM zuko_grant WHERE id = ?1", [grant]).map(drop)
}

/// Builds the response with an access token and, for a client that refreshes, the next refresh token.
fn respond(
    change: &Connection,
    asked: &Asked,
    (client, grant, scope): (&Client, &Grant, &str),
) -> rusqlite::Result<Reply> {
    let claims = json!({
        "iss": asked.issuer(),
        "aud": grant.resource,
        "sub": grant.user.to_string(),
        "client_id": client.id,
        "scope": scope,
        "iat": asked.now,
        "exp": asked.now + asked.lifetime,
        "jti": fresh("")?,
    });
    let mut body = json!({
        "access_token": jwt::sign(change, &claims)?,
        "token_type": "Bearer",
        "expires_in": asked.lifetime,
        "scope": scope,
    });
    if client.refreshes {
        let (token, expires_at) = (fresh("zuko_refresh_")?, asked.now + REFRESH);
        change.execute(
            "INSERT INTO zuko_refresh (hash, grant_id, expires_at) VALUES (?1, ?2, ?3)",
            params![asked.keys.hash(&token), grant.id, expires_at],
        )?;
        change.execute("UPDATE zuko_grant SET expires_at = ?2 WHERE id = ?1", [grant.id, expires_at])?;
        body["refresh_token"] = token.into();
    }
    Ok(reply::with(uncached(StatusCode::OK, &body), "pragma", "no-cache"))
}
