//! Reads authorization requests (RFC 6749 section 4.1.1, RFC 7636, RFC 8707).
//!
//! Refuses requests without PKCE or for another resource than the endpoint. A redirect URI that is not the client's own
//! is never redirected to.

use super::super::SCOPES;
use super::Asked;
use super::clients::Client;
use super::parameters::Parameters;
use rusqlite::Connection;
use url::Url;

/// Base64url characters of a SHA-256 hash.
const CHALLENGE: usize = 43;

/// A sandbox that was reset, or had its data in memory, has forgotten its clients.
const UNKNOWN: &str = "client_id is not a registered application. An application that registered before the sandbox was \
                       reset or restarted must register again; for asistry: asistry logout --forget-client";

/// A checked request.
#[derive(Debug)]
pub(super) struct Authorization {
    pub client: Client,
    pub redirect_uri: String,
    pub challenge: String,
    pub scopes: Vec<&'static str>,
    state: Option<String>,
    issuer: String,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Fault {
    /// A sentence for a page, where the client is not known.
    Shown(String),
    /// A URL of the client that carries the error.
    Returned(String),
}

/// Reads the request in a query.
pub(super) fn read(
    connection: &Connection,
    asked: &Asked,
    query: &str,
) -> rusqlite::Result<Result<Authorization, Fault>> {
    let shown = |why: String| Ok(Err(Fault::Shown(why)));
    let parameters = match Parameters::of_query(query) {
        Ok(parameters) => parameters,
        Err(why) => return shown(why),
    };
    let client = match parameters.required("client_id") {
        Ok(id) => Client::find(connection, id)?,
        Err(why) => return shown(why),
    };
    let Some(client) = client else { return shown(UNKNOWN.into()) };
    let redirect_uri = match parameters.required("redirect_uri") {
        Ok(uri) if client.takes(uri) => uri.to_owned(),
        Ok(_) => return shown("redirect_uri is not one that the application registered".into()),
        Err(why) => return shown(why),
    };
    let mut authorization = Authorization {
        client,
        redirect_uri,
        challenge: String::new(),
        scopes: Vec::new(),
        state: parameters.named("state").map(str::to_owned),
        issuer: asked.issuer(),
    };
    let read = authorization.fill(&parameters, &asked.resource());
    Ok(match read {
        Ok(()) => Ok(authorization),
        Err((code, why)) => Err(Fault::Returned(authorization.failure(code, &why))),
    })
}

impl Authorization {
    /// Reads what a mistake in is told to the client.
    fn fill(&mut self, parameters: &Parameters, resource: &str) -> Result<(), (&'static str, String)> {
        let invalid = |why: String| ("invalid_request", why);
        if parameters.required("response_type").map_err(invalid)? != "code" {
            return Err(("unsupported_response_type", "response_type must be code".into()));
        }
        if parameters.named("response_mode").is_some_and(|mode| mode != "query") {
            return Err(invalid("response_mode must be query".into()));
        }
        let challenge = parameters.required("code_challenge").map_err(invalid)?;
        if parameters.named("code_challenge_method") != Some("S256") {
            return Err(invalid("code_challenge_method must be S256".into()));
        }
        let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if challenge.len() != CHALLENGE || !challenge.bytes().all(is_base64) {
            return Err(invalid("code_challenge must be 43 characters of base64url".into()));
        }
        self.challenge = challenge.to_owned();
        if parameters.named("resource") != Some(resource) {
            return Err(("invalid_target", format!("resource must be {resource}")));
        }
        let wanted: Vec<_> = parameters.named("scope").unwrap_or(&self.client.scope).split(' ').collect();
        let may_have =
            |scope: &&str| SCOPES.contains(scope) && self.client.scope.split(' ').any(|s| s == *scope);
        if !wanted.iter().all(may_have) {
            return Err(("invalid_scope", format!("scope must be some of {}", self.client.scope)));
        }
        self.scopes = SCOPES.iter().filter(|scope| wanted.contains(*scope)).copied().collect();
        Ok(())
    }

    /// Returns the client's URL with a code.
    pub fn success(&self, code: &str) -> String {
        self.redirect(&[("code", code)])
    }

    /// Returns the client's URL with an error.
    pub fn failure(&self, code: &str, description: &str) -> String {
        self.redirect(&[("error", code), ("error_description", description)])
    }

    /// Adds parameters, the state and the issuer (RFC 9207) to the redirect URI.
    fn redirect(&self, pairs: &[(&str, &str)]) -> String {
        // Was parsed when it was registered.
        let Ok(mut url) = Url::parse(&self.redirect_uri) else { return self.redirect_uri.clone() };
        let state = self.state.iter().map(|state| ("state", state.as_str()));
        url.query_pairs_mut().extend_pairs(pairs).extend_pairs(state).append_pair("iss", &self.issuer);
        url.into()
    }
}
