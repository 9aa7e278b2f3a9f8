//! Which client logs in: one registered beforehand, a metadata document, or dynamic registration (AUTH-9, AUTH-10).
//!
//! Refuses a client of another authorization server (AUTH-11).

use serde::Deserialize;
use serde_json::json;

use super::grant::{AuthMethod, Client, ClientOrigin};
use super::metadata::ServerMetadata;
use super::web::{Body, Web, failing, shortened};
use super::{LoginOptions, OFFLINE};
use crate::error::{Error, Kind, Remedy, Result};
use crate::secret::Secret;

/// The methods by which asistry can prove a client, best first.
const WITH_SECRET: [AuthMethod; 2] = [AuthMethod::Basic, AuthMethod::Post];

/// Returns the client that the user's options name, if they name one.
pub fn named_client(options: &LoginOptions, server: &ServerMetadata) -> Option<Client> {
    if let Some(id) = &options.client_id {
        let secret = options.client_secret.clone();
        let method = if secret.is_some() { method_with_secret(server) } else { AuthMethod::Public };
        return Some(Client {
            id: id.clone(),
            secret,
            method,
            origin: ClientOrigin::Given,
            redirect_uri: None,
        });
    }
    let document = options.client_metadata_url.as_ref()?;
    server.client_id_metadata_document_supported.then(|| Client {
        id: document.clone(),
        secret: None,
        method: AuthMethod::Public,
        origin: ClientOrigin::Document,
        redirect_uri: None,
    })
}

/// RFC 8414 section 2: without a list the default is `client_secret_basic`.
fn method_with_secret(server: &ServerMetadata) -> AuthMethod {
    let Some(offered) = &server.token_endpoint_auth_methods_supported else { return AuthMethod::Basic };
    let is_offered = |method: &AuthMethod| offered.iter().any(|name| name == method.name());
    WITH_SECRET.into_iter().find(is_offered).unwrap_or(AuthMethod::Basic)
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default, with = "super::grant::optional")]
    client_secret: Option<Secret>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
}

/// Registers a client (RFC 7591).
///
/// # Errors
/// [`Kind::AuthRequired`] where the server takes no registrations, [`Kind::AuthDenied`] where it refuses this one.
pub async fn register(
    web: &Web,
    server: &ServerMetadata,
    redirect_uri: &str,
    scopes: &[String],
) -> Result<Client> {
    let Some(endpoint) = &server.registration_endpoint else { return Err(must_be_given(server)) };
    let url = web.checked(endpoint, "registration endpoint")?;
    let offered = server.token_endpoint_auth_methods_supported.iter().flatten();
    let mut offered = offered.filter_map(|name| AuthMethod::named(name)).collect::<Vec<_>>();
    offered.sort_by_key(|method| *method as u8);
    let method = offered.first().copied().unwrap_or(AuthMethod::Public);
    let mut document = json!({
        "client_name": "asistry",
        "application_type": "native",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method.name(),
    });
    if server.device_authorization_endpoint.is_some() {
        document["grant_types"] = json!(["authorization_code", "refresh_token", super::device::GRANT_TYPE]);
    }
    if !scopes.is_empty() {
        document["scope"] = scopes.join(" ").into();
    }
    let reply = web.post(&url, Body::Json(document.to_string()), None).await?;
    if reply.status >= 500 || reply.status == 429 {
        return Err(failing(&url, &reply));
    }
    let registered = reply.is_success().then(|| serde_json::from_slice::<Registered>(&reply.body).ok());
    let Some(registered) = registered.flatten() else {
        let said = reply.object().unwrap_or_default();
        let words = ["error", "error_description"].map(|name| said[name].as_str().unwrap_or_default());
        let why = match words.join(": ").trim_matches([':', ' ']) {
            "" => format!("HTTP {}", reply.status),
            said => shortened(said),
        };
        let why = format!("{} refused to register a client: {why}", server.issuer);
        return Err(Error::new(Kind::AuthDenied, why).http_status(reply.status).remedy(Remedy::GiveClientId));
    };
    let named = registered.token_endpoint_auth_method.as_deref().and_then(AuthMethod::named);
    let method = match (named, &registered.client_secret) {
        (_, None) => AuthMethod::Public,
        (Some(named), Some(_)) => named,
        // It was registered as asked.
        (None, Some(_)) if !offered.is_empty() => method,
        (None, Some(_)) => method_with_secret(server),
    };
    Ok(Client {
        id: registered.client_id,
        secret: registered.client_secret,
        method,
        origin: ClientOrigin::Registered,
        redirect_uri: Some(redirect_uri.to_owned()),
    })
}

/// Returns the error of a server where clients cannot register themselves.
fn must_be_given(server: &ServerMetadata) -> Error {
    let why = format!("{} does not let clients register themselves", server.issuer);
    Error::new(Kind::AuthRequired, why).remedy(Remedy::GiveClientId)
}

/// Returns the scopes to ask for: given ones, those of the challenge, all that the resource knows, or none (AUTH-13).
pub fn scopes(given: &[String], challenged: Option<&str>, of_resource: Option<&[String]>) -> Vec<String> {
    let mut scopes = match (given, challenged, of_resource) {
        ([_, ..], ..) => given.to_vec(),
        (_, Some(challenged), _) => super::words(challenged),
        (_, None, Some(all)) => all.to_vec(),
        (_, None, None) => Vec::new(),
    };
    scopes.dedup();
    scopes
}

/// Adds `offline_access` where the server knows it (AUTH-13).
pub fn with_offline(mut scopes: Vec<String>, server: &ServerMetadata) -> Vec<String> {
    if server.knows_scope(OFFLINE) && !scopes.iter().any(|scope| scope == OFFLINE) {
        scopes.push(OFFLINE.to_owned());
    }
    scopes
}
