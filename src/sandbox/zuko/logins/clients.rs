//! Clients: dynamic registration (RFC 7591) and redirect URIs.
//!
//! Refuses metadata that contradicts itself. A `native` client redirects to loopback, to its own URI scheme or to
//! https (RFC 8252 section 7); a `web` client, the default, to https on another machine only. Decisions: a document
//! has at most 64 KiB and ten redirect URIs, and beyond a thousand clients the oldest without a grant is forgotten,
//! those of embedded logins first.

use super::super::SCOPES;
use super::{Asked, error, fresh, uncached};
use crate::sandbox::reply::Reply;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde_json::{Map, Value, json};
use url::{Host, Url};

const LONGEST_DOCUMENT: usize = 64 << 10;
const LONGEST_NAME: usize = 200;
const LONGEST_URI: usize = 2048;
const MOST_URIS: usize = 10;
const MOST_CLIENTS: i64 = 1000;
/// Schemes that no client owns.
const FOREIGN_SCHEMES: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "javascript",
    "mailto",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// A registered client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub id: String,
    pub name: String,
    redirect_uris: Vec<String>,
    /// Whether it gets refresh tokens.
    pub refreshes: bool,
    /// The scopes that it may ask for, separated by spaces.
    pub scope: String,
}

/// An error code and a description.
type Fault = (&'static str, String);

impl Client {
    /// Finds a client by its id.
    pub fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(
                "SELECT id, name, redirect_uris, refreshes, scope FROM zuko_client WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let uris: String = row.get(2)?;
                Ok(Self {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    redirect_uris: serde_json::from_str(&uris).unwrap_or_default(),
                    refreshes: row.get(3)?,
                    scope: row.get(4)?,
                })
            })
            .optional()
    }

    /// Says whether a redirect URI is its own: exactly as registered, but for the port of a loopback address (RFC 8252
    /// section 7.3).
    pub fn takes(&self, uri: &str) -> bool {
        let portless = |uri: &str| {
            let mut url = Url::parse(uri).ok().filter(|url| url.scheme() == "http")?;
            let is_address = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
            url.set_port(None).ok().filter(|()| is_address)?;
            Some(url)
        };
        uri.len() <= LONGEST_URI
            && self.redirect_uris.iter().any(|known| {
                known == uri
                    || (portless(uri).is_some() && !uri.contains('#') && portless(uri) == portless(known))
            })
    }
}

/// Registers a client.
pub(super) fn register(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Reply> {
    let document = match document(asked).and_then(|document| checked(&document)) {
        Ok(document) => document,
        Err((code, description)) => return Ok(error(code, &description)),
    };
    let id = fresh("zuko_client_")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute("DELETE FROM zuko_grant WHERE expires_at <= ?1", [asked.now])?;
    change.execute(
        "DELETE FROM zuko_client WHERE rowid IN (
             SELECT rowid FROM zuko_client c WHERE NOT EXISTS (SELECT 1 FROM zuko_grant g WHERE g.client_id = c.id)
             ORDER BY refreshes, rowid LIMIT max(0, 1 - ?1 + (SELECT count(*) FROM zuko_client)))",
        [MOST_CLIENTS],
    )?;
    let refreshes = document["grant_types"].as_array().is_some_and(|types| types.len() > 1);
    change.execute(
        "INSERT INTO zuko_client (id, name, redirect_uris, refreshes, scope, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            id,
            document["client_name"].as_str(),
            document["redirect_uris"].to_string(),
            refreshes,
            document["scope"].as_str(),
            asked.now,
        ],
    )?;
    change.commit()?;
    let mut registered = json!({"client_id": id, "client_id_issued_at": asked.now});
    for (name, value) in document {
        registered[name] = value;
    }
    Ok(uncached(StatusCode::CREATED, &registered))
}

/// Parses the document.
fn document(asked: &Asked) -> Result<Map<String, Value>, Fault> {
    let refused = |why: &str| Err(("invalid_client_metadata", why.to_owned()));
    let kind = asked.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return refused("Content-Type must be application/json");
    }
    if asked.body.len() > LONGEST_DOCUMENT {
        return refused("the document is larger than 64 KiB");
    }
    match serde_json::from_slice(&asked.body) {
        Ok(Value::Object(document)) => Ok(document),
        _ => refused("the body must be a JSON object"),
    }
}

/// Returns the metadata to register, with defaults; other members are ignored.
fn checked(document: &Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    let mistake = |why: String| ("invalid_client_metadata", why);
    let one_of = |name: &str, words: &[&str]| match document.get(name) {
        None => Ok(words[0].to_owned()),
        Some(Value::String(word)) if words.contains(&word.as_str()) => Ok(word.clone()),
        Some(_) => Err(mistake(format!("{name} must be one of {}", words.join(", ")))),
    };
    let kind = one_of("application_type", &["web", "native"])?;
    let method = one_of("token_endpoint_auth_method", &["none"])?;
    let name = match document.get("client_name") {
        None => "An unnamed application",
        Some(Value::String(name)) if !name.trim().is_empty() && name.chars().count() <= LONGEST_NAME => name,
        Some(_) => return Err(mistake(format!("client_name must be 1 to {LONGEST_NAME} characters"))),
    };
    let grants = words(document, "grant_types", &["authorization_code", "refresh_token"])?;
    if grants[0] != "authorization_code" {
        return Err(mistake("grant_types must contain authorization_code".into()));
    }
    let responses = words(document, "response_types", &["code"])?;
    let scope = match document.get("scope") {
        None => SCOPES.join(" "),
        Some(Value::String(scope)) if scope.split(' ').all(|scope| SCOPES.contains(&scope)) => scope.clone(),
        Some(_) => return Err(mistake(format!("scope must be some of {}", SCOPES.join(" ")))),
    };
    let uris = redirect_uris(document.get("redirect_uris"), &kind)?;
    Ok(Map::from_iter([
        ("client_name".into(), name.into()),
        ("application_type".into(), kind.into()),
        ("redirect_uris".into(), uris.into()),
        ("grant_types".into(), grants.into()),
        ("response_types".into(), responses.into()),
        ("token_endpoint_auth_method".into(), method.into()),
        ("scope".into(), scope.into()),
    ]))
}

/// Reads a list of known words in their order; by default the first.
fn words(
    document: &Map<String, Value>,
    name: &str,
    known: &[&'static str],
) -> Result<Vec<&'static str>, Fault> {
    let mistake = || ("invalid_client_metadata", format!("{name} must be a list of {}", known.join(", ")));
    let Some(value) = document.get(name) else { return Ok(known[..1].to_vec()) };
    let given = value.as_array().filter(|given| !given.is_empty()).ok_or_else(mistake)?;
    if given.iter().any(|word| known.iter().all(|known| word != known)) {
        return Err(mistake());
    }
    Ok(known.iter().filter(|known| given.iter().any(|word| word == **known)).copied().collect())
}

fn redirect_uris(given: Option<&Value>, kind: &str) -> Result<Vec<String>, Fault> {
    let mistake = |why: &str| ("invalid_redirect_uri", why.to_owned());
    let given = given.and_then(Value::as_array).filter(|given| (1..=MOST_URIS).contains(&given.len()));
    let given = given.ok_or_else(|| mistake("redirect_uris must be a list of 1 to 10 URIs"))?;
    let mut uris = Vec::new();
    for uri in given {
        let uri = uri.as_str().ok_or_else(|| mistake("a redirect URI must be a string"))?;
        check_redirect_uri(uri, kind).map_err(mistake)?;
        uris.push(uri.to_owned());
    }
    Ok(uris)
}

fn check_redirect_uri(uri: &str, kind: &str) -> Result<(), &'static str> {
    if uri.len() > LONGEST_URI || uri.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("a redirect URI must have at most 2,048 characters and no white space");
    }
    let url = Url::parse(uri).map_err(|_| "a redirect URI must be absolute")?;
    if uri.contains('#') || !url.username().is_empty() || url.password().is_some() {
        return Err("a redirect URI must have no fragment, user or password");
    }
    // The host becomes part of a Content-Security-Policy.
    let is_plain = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.[]:".contains(&b));
    if !url.host_str().is_none_or(is_plain) {
        return Err("a redirect URI must have a plain host");
    }
    let loopback = is_loopback(&url);
    match (url.scheme(), kind) {
        ("https", "web") if !loopback => Ok(()),
        (_, "web") => Err("a web application redirects to https on another machine; others are native"),
        ("http", _) if loopback => Ok(()),
        ("http", _) => Err("http is for loopback addresses only"),
        ("https", _) => Ok(()),
        (scheme, _) if FOREIGN_SCHEMES.contains(&scheme) => Err("no application owns this URI scheme"),
        _ => Ok(()),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_uri_fits_its_kind_of_application() {
        for (uri, native, web) in [
            ("http://127.0.0.1/callback", true, false),
            ("http://127.0.0.1:8080/callback", true, false),
            ("http://[::1]:1/", true, false),
            ("http://localhost:33418/cb", true, false),
            ("https://app.example/cb?x=1", true, true),
            ("https://localhost/cb", true, false),
            ("com.example.app:/cb", true, false),
            ("cursor://anysphere.cursor-mcp/oauth/callback", true, false),
            ("http://app.example/cb", false, false),
            ("http://127.0.0.1.evil.example/cb", false, false),
            ("http://10.0.0.1/cb", false, false),
            ("javascript:alert(1)", false, false),
            ("data:text/html,x", false, false),
            ("https://app.example/cb#x", false, false),
            ("https://user@app.example/cb", false, false),
            ("https://a;sandbox/cb", false, false),
            ("/cb", false, false),
            ("https://app.example/ cb", false, false),
        ] {
            assert_eq!(check_redirect_uri(uri, "native").is_ok(), native, "{uri}");
            assert_eq!(check_redirect_uri(uri, "web").is_ok(), web, "{uri}");
        }
    }

    #[test]
    fn only_the_port_of_a_loopback_address_may_differ() {
        let client = Client {
            id: String::new(),
            name: String::new(),
            redirect_uris: vec!["http://127.0.0.1/cb?a=1".into(), "http://localhost:1/cb".into()],
            refreshes: false,
            scope: String::new(),
        };
        for (uri, is_taken) in [
            ("http://127.0.0.1/cb?a=1", true),
            ("http://127.0.0.1:5/cb?a=1", true),
            ("http://127.0.0.1:5/cb", false),
            ("http://127.0.0.1:5/cb?a=1#x", false),
            ("http://127.0.0.2:5/cb?a=1", false),
            ("https://127.0.0.1/cb?a=1", false),
            ("http://x@127.0.0.1/cb?a=1", false),
            ("http://localhost:1/cb", true),
            ("http://localhost:2/cb", false),
        ] {
            assert_eq!(client.takes(uri), is_taken, "{uri}");
        }
    }
}
