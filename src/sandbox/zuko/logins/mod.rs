//! Zuko's authorization server: OAuth 2.1 for public clients, with pages for people (HTML without script).
//!
//! Routes requests to the modules below; all state is in the database. Refuses forms that another page sent, and
//! repeated parameters. Errors go to the client where its redirect URI is known to be its own, else onto a page.

mod authorize;
mod clients;
mod consent;
mod documents;
mod jwt;
mod pages;
mod parameters;
mod tokens;
mod walk;

pub(super) use self::tokens::caller_of;
pub(in crate::sandbox) use self::walk::log_in;

use super::{ENDPOINT, RESOURCE_METADATA};
use crate::sandbox::keys::{self, Keys};
use crate::sandbox::reply::{self, Reply};
use crate::sandbox::service::Arrival;
use crate::sandbox::store::Store;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server/auth";
const ISSUER: &str = "/auth";
const JWKS: &str = "/auth/jwks";
const SIGN_IN: &str = "/auth/sign-in";
const AUTHORIZE: &str = "/auth/oauth2/authorize";
const CONSENT: &str = "/auth/oauth2/consent";
const TOKEN: &str = "/auth/oauth2/token";
const REGISTER: &str = "/auth/oauth2/register";
const REVOKE: &str = "/auth/oauth2/revoke";

/// Lifetime of an access token in seconds.
const LIFETIME: i64 = 60 * 60;
/// Lifetime inside the bridge, which does not log in again: its port, and so the audience, ends with the process.
const EMBEDDED_LIFETIME: i64 = 365 * 24 * 60 * 60;

/// What answers a request at a path.
struct Route {
    path: &'static str,
    method: Method,
    answer: fn(&mut Connection, &Asked) -> rusqlite::Result<Reply>,
}

static ROUTES: &[Route] = &[
    Route { path: RESOURCE_METADATA, method: Method::GET, answer: documents::resource },
    Route { path: SERVER_METADATA, method: Method::GET, answer: documents::server },
    Route { path: JWKS, method: Method::GET, answer: documents::keys },
    Route { path: REGISTER, method: Method::POST, answer: clients::register },
    Route { path: AUTHORIZE, method: Method::GET, answer: consent::ask },
    Route { path: SIGN_IN, method: Method::POST, answer: consent::sign_in },
    Route { path: CONSENT, method: Method::POST, answer: consent::decide },
    Route { path: TOKEN, method: Method::POST, answer: tokens::issue },
    Route { path: REVOKE, method: Method::POST, answer: tokens::revoke },
];

/// The authorization server.
pub(in crate::sandbox) struct Logins {
    store: Store,
    keys: Keys,
    lifetime: i64,
}

/// One request.
struct Asked {
    base: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
    keys: Keys,
    /// Lifetime of an access token.
    lifetime: i64,
    /// Unix seconds.
    now: i64,
}

impl Asked {
    /// Returns the issuer that the client means.
    fn issuer(&self) -> String {
        format!("{}{ISSUER}", self.base)
    }

    /// Returns the only resource that tokens are issued for.
    fn resource(&self) -> String {
        format!("{}{ENDPOINT}", self.base)
    }
}

impl Logins {
    /// Creates the server.
    pub fn new(store: Store, keys: Keys, embedded: bool) -> Self {
        Self { store, keys, lifetime: if embedded { EMBEDDED_LIFETIME } else { LIFETIME } }
    }

    /// Says whether a path is one of its own.
    pub fn is_at(&self, path: &str) -> bool {
        ROUTES.iter().any(|route| route.path == path)
    }

    /// Answers one request at one of its paths.
    pub async fn answer(&self, request: Request<Incoming>, arrival: Arrival) -> Reply {
        let (parts, body) = request.into_parts();
        let Some(route) = ROUTES.iter().find(|route| route.path == parts.uri.path()) else {
            return reply::outside(StatusCode::NOT_FOUND, "there is nothing at this path");
        };
        if route.method != parts.method {
            let said = format!("this path takes {}", route.method);
            let refusal = reply::outside(StatusCode::METHOD_NOT_ALLOWED, &said);
            return reply::with(refusal, "allow", route.method.as_str());
        }
        let body = match reply::read(body).await {
            Ok(body) => body,
            Err(status) => return reply::outside(status, "the body could not be read"),
        };
        let asked = Asked {
            base: arrival.base,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            keys: self.keys.clone(),
            lifetime: self.lifetime,
            now: now(),
        };
        let answered = self.store.run(move |connection| (route.answer)(connection, &asked)).await;
        answered.unwrap_or_else(|error| {
            tracing::warn!(%error, path = route.path, "the sandbox's login failed");
            reply::outside(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        })
    }
}

/// Returns the time in Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns a new unguessable text that begins with `prefix`.
fn fresh(prefix: &str) -> rusqlite::Result<String> {
    keys::fresh_key(prefix).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.to_string().into()))
}

/// Builds a JSON reply that is not cached.
fn uncached(status: StatusCode, value: &Value) -> Reply {
    reply::with(reply::json(status, value), "cache-control", "no-store")
}

/// Builds an error of RFC 6749 section 5.2 and RFC 7591 section 3.2.2.
fn error(code: &str, description: &str) -> Reply {
    uncached(StatusCode::BAD_REQUEST, &json!({"error": code, "error_description": description}))
}
