//! The public documents: protected-resource metadata, authorization-server metadata, and the key set.
//!
//! Their URLs are those of the base URL that the client used.

use super::super::SCOPES;
use super::{AUTHORIZE, Asked, JWKS, REGISTER, REVOKE, TOKEN, jwt};
use crate::sandbox::reply::{self, Reply};
use hyper::StatusCode;
use rusqlite::Connection;
use serde_json::json;

/// Describes the MCP endpoint (RFC 9728).
pub(super) fn resource(_: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "resource": asked.resource(),
            "authorization_servers": [asked.issuer()],
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
            "resource_name": "Zuko (sandbox)",
        }),
    ))
}

/// Describes the authorization server (RFC 8414).
pub(super) fn server(_: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let at = |path: &str| format!("{}{path}", asked.base);
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "issuer": asked.issuer(),
            "authorization_endpoint": at(AUTHORIZE),
            "token_endpoint": at(TOKEN),
            "registration_endpoint": at(REGISTER),
            "revocation_endpoint": at(REVOKE),
            "jwks_uri": at(JWKS),
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        }),
    ))
}

/// Returns the public keys of access tokens (RFC 7517).
pub(super) fn keys(connection: &mut Connection, _: &Asked) -> rusqlite::Result<Reply> {
    Ok(reply::json(StatusCode::OK, &jwt::key_set(connection)?))
}
