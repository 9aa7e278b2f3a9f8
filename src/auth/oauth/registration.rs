//! Which client logs in: one registered beforehand, a metadata document, or dynamic registration (AUTH-9, AUTH-10).
//!
//! Refuses a client of another authorization server (AUTH-11).

use serde::Deserialize;
use serde_json::json;

use super::grant::{BASIC, Client, ClientAuth, ClientOrigin, POST};
use super::metadata::ServerMetadata;
use super::web::{Body, Web, failing, shortened};
use super::{LoginOptions, OFFLINE};
use crate::error::{Error, Kind, Remedy, Result};
use crate::secret::Secret;

/// How a client that registers itself can prove who it is, best first: it needs no secret.
const METHODS: [&str; 3] = [PUBLIC, BASIC, POST];
const PUBLIC: &str = "none";

/// Returns the client that the user's options name, if they name one.
pub fn named_client(options: &LoginOptions, server: &ServerMetadata) -> Option<Client> {
    let (id, proof, origin) = match (&options.client_id, &options.client_metadata_url) {
        (Some(id), _) => (id, proof_of(options, server), ClientOrigin::Given),
        (None, Some(document)) if server.client_id_metadata_document_supported => {
            (document, ClientAuth::Public, ClientOrigin::Document)
        }
        _ => return None,
    };
    Some(Client::named(id.clone(), proof, origin))
}

fn proof_of(options: &LoginOptions, server: &ServerMetadata) -> ClientAuth {
    match (&options.client_key, &options.client_secret) {
        (Some(key), _) => ClientAuth::PrivateKey { key: Some(key.clone()) },
        (None, Some(secret)) => with_secret(server, secret.clone()),
        (None, None) => ClientAuth::Public,
    }
}

/// RFC 8414 section 2: without a list the default is `client_secret_basic`.
pub fn with_secret(server: &ServerMetadata, secret: Secret) -> ClientAuth {
    let is_offered =
        |method| server.token_endpoint_auth_methods_supported.iter().flatten().any(|name| name == method);
    match is_offered(POST) && !is_offered(BASIC) {
        true => ClientAuth::Post { secret },
        false => ClientAuth::Basic { secret },
    }
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default, with = "super::grant::optional")]
    client_secret: Option<Secret>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
    #[serde(default)]
    scope: Option<String>,
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
    let is_offered = |method: &&str| {
        server.token_endpoint_auth_methods_supported.iter().flatten().any(|offered| offered == *method)
    };
    let offered = METHODS.into_iter().find(is_offered);
    let mut document = json!({
        "client_name": "asistry",
        "application_type": "native",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": offered.unwrap_or(PUBLIC),
    });
    if server.device_authorization_endpoint.is_some() {
        document["grant_types"] = json!(["authorization_code", "refresh_token", super::device::GRANT_TYPE]);
    }
    if !scopes.is_empty() {
        document["scope"] = scopes.join(" ").into();
    }
    let reply = web.post(&url, || Ok(Body::Json(document.to_string()).into())).await?;
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
    // Without a word about it, it was registered as asked.
    let named = registered.token_endpoint_auth_method.as_deref().filter(|name| METHODS.contains(name));
    let proof = match (named.or(offered), registered.client_secret) {
        (_, None) | (Some(PUBLIC), _) => ClientAuth::Public,
        (Some(method), Some(secret)) => {
            ClientAuth::with_secret(method, secret.clone()).unwrap_or_else(|| with_secret(server, secret))
        }
        (None, Some(secret)) => with_secret(server, secret),
    };
    Ok(Client {
        id: registered.client_id,
        proof,
        origin: ClientOrigin::Registered,
        redirect_uri: Some(redirect_uri.to_owned()),
        scope: registered.scope.map_or_else(|| scopes.to_vec(), |scope| super::words(&scope)),
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
