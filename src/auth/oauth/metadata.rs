//! The metadata of protected resources (RFC 9728) and authorization servers (RFC 8414, OpenID Connect Discovery 1.0):
//! where it is found, and what it must say.
//!
//! Refuses to fetch: `discovery` does.

use serde::{Deserialize, Deserializer};
use url::{Origin, Url};

use crate::error::{Error, Kind, Result};

/// What a protected resource says of itself (RFC 9728 section 2).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ResourceMetadata {
    /// The resource identifier; sent verbatim as `resource` (AUTH-8).
    #[serde(default)]
    pub resource: Option<String>,
    /// Issuers of the tokens that it takes.
    #[serde(default)]
    pub authorization_servers: Vec<String>,
    /// The scopes that it knows.
    #[serde(default)]
    pub scopes_supported: Option<Vec<String>>,
    /// Whether it takes only tokens that are bound to a key (RFC 9449).
    #[serde(default, deserialize_with = "switch")]
    pub dpop_bound_access_tokens_required: bool,
}

/// What an authorization server says of itself (RFC 8414 section 2).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct ServerMetadata {
    /// Its issuer identifier.
    pub issuer: String,
    /// Where users log in.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// Where tokens are issued.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// Where clients register (RFC 7591).
    #[serde(default)]
    pub registration_endpoint: Option<String>,
    /// Where tokens are revoked (RFC 7009).
    #[serde(default)]
    pub revocation_endpoint: Option<String>,
    /// Where a device begins its login (RFC 8628).
    #[serde(default)]
    pub device_authorization_endpoint: Option<String>,
    /// The scopes that it knows.
    #[serde(default)]
    pub scopes_supported: Option<Vec<String>>,
    /// How clients prove who they are at the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The algorithms of clients' private keys.
    #[serde(default)]
    pub token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    /// The algorithms of DPoP proofs (RFC 9449 section 5.1).
    #[serde(default)]
    pub dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// The PKCE methods (RFC 7636).
    #[serde(default)]
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// Whether a client id can be the URL of a document.
    #[serde(default, deserialize_with = "switch")]
    pub client_id_metadata_document_supported: bool,
    /// Whether `iss` comes with each authorization response (RFC 9207).
    #[serde(default, deserialize_with = "switch")]
    pub authorization_response_iss_parameter_supported: bool,
}

/// Reads a switch: some servers write null or "true", and lose no more by it than the switch.
fn switch<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value == true || value == "true")
}

impl ServerMetadata {
    /// Returns the endpoints that 2025-03-26 assumes where there is no metadata (AUTH-3).
    pub fn assumed(origin: &Url) -> Self {
        let at = |path: &str| Some(format!("{}{path}", origin.origin().ascii_serialization()));
        Self {
            issuer: origin.origin().ascii_serialization(),
            authorization_endpoint: at("/authorize"),
            token_endpoint: at("/token"),
            registration_endpoint: at("/register"),
            code_challenge_methods_supported: Some(vec!["S256".to_owned()]),
            ..Self::default()
        }
    }

    /// Checks that PKCE with S256 is offered (AUTH-7).
    ///
    /// # Errors
    /// [`Kind::ProtocolViolation`] if it is not.
    pub fn check_pkce(&self) -> Result<()> {
        let offered = self.code_challenge_methods_supported.iter().flatten();
        if offered.into_iter().any(|method| method == "S256") {
            return Ok(());
        }
        let why = format!(
            "the authorization server {} does not offer PKCE with S256, which MCP requires",
            self.issuer
        );
        Err(Error::new(Kind::ProtocolViolation, why)
            .hint("tell its operator: its metadata needs \"code_challenge_methods_supported\": [\"S256\"]"))
    }

    /// Says whether it lists ES256 for DPoP proofs.
    pub fn signs_with_es256(&self) -> bool {
        self.dpop_signing_alg_values_supported.iter().flatten().any(|known| known == super::signing::ES256)
    }

    /// Says whether it knows a scope.
    pub fn knows_scope(&self, scope: &str) -> bool {
        self.scopes_supported.iter().flatten().any(|known| known == scope)
    }
}

/// Returns where the metadata of a resource may be, in order (AUTH-3), if the challenge does not say: below the
/// endpoint's path, at the root.
pub fn resource_places(endpoint: &Url) -> Vec<Url> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let path = endpoint.path().trim_end_matches('/');
    let mut places = Vec::new();
    for suffix in [path, ""] {
        let mut place = at_origin(endpoint, &format!("{WELL_KNOWN}{suffix}"));
        if !suffix.is_empty() {
            place.set_query(endpoint.query());
        }
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Returns where the metadata of an authorization server may be, in order (AUTH-5).
pub fn server_places(issuer: &Url) -> Vec<Url> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let path = issuer.path().trim_end_matches('/');
    if path.is_empty() {
        return vec![at_origin(issuer, OAUTH), at_origin(issuer, OPENID)];
    }
    vec![
        at_origin(issuer, &format!("{OAUTH}{path}")),
        at_origin(issuer, &format!("{OPENID}{path}")),
        at_origin(issuer, &format!("{path}{OPENID}")),
    ]
}

fn at_origin(url: &Url, path: &str) -> Url {
    let mut place = url.clone();
    place.set_path(path);
    place.set_query(None);
    place.set_fragment(None);
    place
}

/// Says whether a resource identifier covers the endpoint: same origin, and a prefix of its path (AUTH-4).
pub fn covers(resource: &str, endpoint: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let own: Origin = resource.origin();
    let prefix = resource.path().trim_end_matches('/');
    let rest = endpoint.path().strip_prefix(prefix);
    own == endpoint.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn texts(urls: Vec<Url>) -> Vec<String> {
        urls.into_iter().map(String::from).collect()
    }

    #[test]
    fn metadata_is_looked_for_in_every_place_in_order() {
        assert_eq!(
            texts(resource_places(&url("https://h/api/mcp?x=1"))),
            [
                "https://h/.well-known/oauth-protected-resource/api/mcp?x=1",
                "https://h/.well-known/oauth-protected-resource"
            ]
        );
        assert_eq!(
            texts(resource_places(&url("https://h/"))),
            ["https://h/.well-known/oauth-protected-resource"]
        );
        assert_eq!(
            texts(server_places(&url("https://a/auth/"))),
            [
                "https://a/.well-known/oauth-authorization-server/auth",
                "https://a/.well-known/openid-configuration/auth",
                "https://a/auth/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            texts(server_places(&url("https://a"))),
            [
                "https://a/.well-known/oauth-authorization-server",
                "https://a/.well-known/openid-configuration"
            ]
        );
    }

    #[test]
    fn a_resource_covers_what_is_below_it_at_its_origin() {
        let endpoint = url("https://h/api/mcp");
        for fits in ["https://h", "https://h/", "https://h/api", "https://h/api/mcp", "https://h/api/mcp/"] {
            assert!(covers(fits, &endpoint), "{fits}");
        }
        for other in ["https://h/ap", "https://h/api/mcp/x", "http://h/api/mcp", "https://g/api/mcp", "mcp"] {
            assert!(!covers(other, &endpoint), "{other}");
        }
    }
}
