//! Extra headers: which may be set, which carry a credential, and the value of `${VAR}`.
//!
//! Refuses the headers that the wire itself is made of. Holds no value of the environment: it is looked up
//! where a header is used.

use http::header::{HeaderName, HeaderValue};

const CREDENTIAL_HEADERS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"];
/// How the names of other headers end that carry a credential.
const CREDENTIAL_ENDINGS: &[&str] = &["-api-key", "-token", "-secret", "-password", "-authorization"];
/// Headers that the protocol itself uses.
const OUR_HEADERS: &[&str] = &[
    "content-length",
    "content-type",
    "accept",
    "host",
    "transfer-encoding",
    "connection",
    "mcp-session-id",
    "mcp-protocol-version",
    "last-event-id",
];

/// Says whether a header carries a credential; in small letters or not.
pub fn carries_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_HEADERS.contains(&name.as_str())
        || CREDENTIAL_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Says whether nothing of a value comes from the environment.
pub fn is_literal(value: &str) -> bool {
    next_variable(value).is_none()
}

/// Reads the name of a header that a user may set.
///
/// # Errors
/// A sentence that says why not.
pub fn settable(name: &str) -> Result<HeaderName, String> {
    let header = HeaderName::try_from(name).map_err(|_| format!("“{name}” is not a header name"))?;
    if OUR_HEADERS.contains(&header.as_str()) {
        return Err(format!("the header {header} belongs to the protocol and cannot be set"));
    }
    Ok(header)
}

/// Says what is wrong with a value, whatever the environment puts into it.
///
/// # Errors
/// A sentence, without the value.
pub fn check_value(name: &str, value: &str) -> Result<(), String> {
    let expanded = expand(value, &|_| Some("x".into())).unwrap_or_default();
    match HeaderValue::from_str(&expanded) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the value of the header {name} cannot be sent")),
    }
}

/// Puts the values of the environment in for each `${VAR}`.
///
/// # Errors
/// The name of a variable that is not there.
pub fn expand(value: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, name, after)) = next_variable(rest) {
        expanded.push_str(before);
        expanded.push_str(&lookup(name).ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Splits a value at its first `${VAR}`: what is before, the name, what is after.
fn next_variable(value: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = value.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_for_the_environment() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand("x${A}y${A}", &lookup), Ok("x1y1".into()));
        assert_eq!(expand("${B}", &lookup), Err("B".into()));
        assert_eq!(expand("${A", &lookup), Ok("${A".into()));
        assert!(is_literal("${A") && !is_literal("Bearer ${A}"));
    }

    #[test]
    fn credentials_are_known_by_their_headers() {
        for name in ["Authorization", "Cookie", "X-API-Key", "X-Auth-Token", "x-goog-api-key"] {
            assert!(carries_credential(name), "{name}");
        }
        for name in ["X-Project-ID", "Idempotency-Key", "Accept-Language"] {
            assert!(!carries_credential(name), "{name}");
        }
        assert!(settable("Host").is_err() && settable("no good").is_err() && settable("X-A").is_ok());
        assert!(check_value("X-A", "a\nb").is_err() && check_value("X-A", "a ${B}").is_ok());
    }
}
