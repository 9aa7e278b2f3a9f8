//! Finds the authorization server of a service (AUTH-3 to AUTH-6).
//!
//! Refuses metadata of another resource or issuer than the one it was asked for.

use serde_json::Value;
use url::Url;

use super::metadata::{ResourceMetadata, ServerMetadata, covers, resource_places, server_places};
use super::web::{Web, shortened};
use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::authenticate::BearerChallenge;
use crate::protocol::http::origin_and_path;

/// Maximum authorization servers of a resource to look at.
const MOST_ISSUERS: usize = 3;

/// What a login at a service needs.
#[derive(Clone, Debug)]
pub struct Found {
    /// The `resource` of all requests; none before 2025-06-18.
    pub resource: Option<String>,
    /// The scopes that the resource knows.
    pub scopes: Option<Vec<String>>,
    /// Whether the resource takes only tokens that are bound to a key.
    pub binds_tokens: bool,
    /// The authorization server.
    pub server: ServerMetadata,
    /// Whether nothing says that there is one: its endpoints are those that 2025-03-26 assumes.
    pub is_assumed: bool,
}

impl Found {
    /// A service of 2025-03-26, which has no metadata.
    fn without_resource(server: ServerMetadata, is_assumed: bool) -> Self {
        Self { resource: None, scopes: None, binds_tokens: false, server, is_assumed }
    }
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The endpoint.
    pub endpoint: &'a Url,
    /// What the service said when it refused a request.
    pub challenge: Option<&'a BearerChallenge>,
    /// The issuer in use, if the service still names it.
    pub known_issuer: Option<&'a str>,
    /// Whether the service is known to want a login, so that endpoints without metadata are assumed.
    pub is_oauth: bool,
}

/// Finds the authorization server; `None` if there is no sign of one.
///
/// # Errors
/// [`Kind::ProtocolViolation`] for metadata that must not be used; the errors of [`Web`].
pub async fn discover(web: &Web, search: Search<'_>) -> Result<Option<Found>> {
    let Some(resource) = resource_metadata(web, search).await? else {
        return before_resources(web, search).await;
    };
    let name = match &resource.resource {
        Some(name) if !covers(name, search.endpoint) => {
            let why = format!(
                "{} says that it is the resource {}, which is another one; no token is asked for",
                origin_and_path(search.endpoint),
                shortened(name)
            );
            return Err(Error::new(Kind::ProtocolViolation, why).remedy(Remedy::CheckUrl));
        }
        Some(name) => name.clone(),
        None => canonical(search.endpoint),
    };
    let mut issuers = resource.authorization_servers.clone();
    issuers.sort_by_key(|issuer| search.known_issuer != Some(issuer.as_str()));
    issuers.truncate(MOST_ISSUERS);
    let mut failed = None;
    for issuer in &issuers {
        match server_metadata(web, issuer).await {
            Ok(server) => {
                return Ok(Some(Found {
                    resource: Some(name),
                    scopes: resource.scopes_supported,
                    binds_tokens: resource.dpop_bound_access_tokens_required,
                    server,
                    is_assumed: false,
                }));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| {
        let why = format!("{} names no authorization server", origin_and_path(search.endpoint));
        Error::new(Kind::ProtocolViolation, why).hint("tell the operator of the service")
    }))
}

async fn resource_metadata(web: &Web, search: Search<'_>) -> Result<Option<ResourceMetadata>> {
    let said = search.challenge.and_then(|challenge| challenge.resource_metadata.as_deref());
    let mut places = Vec::new();
    if let Some(said) = said {
        places.push(web.checked(said, "resource metadata")?);
    }
    places.extend(resource_places(search.endpoint));
    let found = first_of(web, places, |document| serde_json::from_value(document).ok()).await;
    search.unless_guessed(said.is_some(), found)
}

impl Search<'_> {
    /// Ignores that guessed places fail: the service need not have metadata at all.
    fn unless_guessed<T>(&self, is_named: bool, found: Result<Option<T>>) -> Result<Option<T>> {
        match found {
            Err(_) if !is_named && self.known_issuer.is_none() => Ok(None),
            found => found,
        }
    }
}

/// Fetches documents until one can be read. A place that fails may be followed by one that works.
///
/// # Errors
/// The first failure, if no document can be read.
async fn first_of<T>(
    web: &Web,
    places: Vec<Url>,
    mut read: impl FnMut(Value) -> Option<T>,
) -> Result<Option<T>> {
    let mut failed = None;
    for place in places {
        match web.document(&place).await {
            Ok(document) => {
                if let Some(found) = document.and_then(&mut read) {
                    return Ok(Some(found));
                }
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// Fetches and checks the metadata of an authorization server (AUTH-5, AUTH-6).
///
/// # Errors
/// [`Kind::ProtocolViolation`] where there is none, or it is another one's; the errors of [`Web`].
pub async fn server_metadata(web: &Web, issuer: &str) -> Result<ServerMetadata> {
    let url = web.checked(issuer, "issuer")?;
    let mut other = None;
    let own = |document| {
        let server: ServerMetadata = serde_json::from_value(document).ok()?;
        if server.issuer == issuer {
            return Some(server);
        }
        other = other.take().or(Some(server.issuer));
        None
    };
    let found = first_of(web, server_places(&url), own).await;
    match (found, &other) {
        (Ok(Some(server)), _) => return Ok(server),
        (Err(error), None) => return Err(error),
        _ => {}
    }
    let why = match other {
        Some(other) => format!(
            "the metadata of the authorization server {} is that of another one: {}",
            shortened(issuer),
            shortened(&other)
        ),
        None => format!("the authorization server {} has no metadata", shortened(issuer)),
    };
    Err(Error::new(Kind::ProtocolViolation, why).hint("tell the operator of the service"))
}

/// 2025-03-26: the authorization server is at the origin of the service (AUTH-3).
async fn before_resources(web: &Web, search: Search<'_>) -> Result<Option<Found>> {
    let mut origin = search.endpoint.clone();
    origin.set_path("/");
    origin.set_query(None);
    let own = origin.origin().ascii_serialization();
    let of_origin = |document| {
        let server: ServerMetadata = serde_json::from_value(document).ok()?;
        (server.issuer.trim_end_matches('/') == own).then_some(server)
    };
    let found = search.unless_guessed(false, first_of(web, server_places(&origin), of_origin).await)?;
    if let Some(server) = found {
        return Ok(Some(Found::without_resource(server, false)));
    }
    let assumed = search.is_oauth.then(|| ServerMetadata::assumed(&origin));
    Ok(assumed.map(|server| Found::without_resource(server, true)))
}

/// Returns the canonical URI of an endpoint (RFC 8707 section 2): without fragment, and without a slash alone.
fn canonical(endpoint: &Url) -> String {
    let mut url = endpoint.clone();
    url.set_fragment(None);
    let text = String::from(url);
    match endpoint.path() {
        "/" if endpoint.query().is_none() => text.trim_end_matches('/').to_owned(),
        _ => text,
    }
}
