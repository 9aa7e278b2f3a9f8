//! Zuko: its tools, its login as a browser and a client meet it, and the real client.

mod client;
mod expired;
mod grants;
mod guard;
mod pages;
mod registration;
mod tools;

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use url::Url;
use url::form_urlencoded::Serializer;

const MCP: &str = "/api/mcp";
const AUTHORIZE: &str = "/auth/oauth2/authorize";
const TOKEN: &str = "/auth/oauth2/token";
const REGISTER: &str = "/auth/oauth2/register";
const REVOKE: &str = "/auth/oauth2/revoke";
const SIGN_IN: &str = "/auth/sign-in";
const CONSENT: &str = "/auth/oauth2/consent";
const REDIRECT: &str = "http://127.0.0.1:4000/callback";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more";
pub const SCOPES: [&str; 3] = ["organizations:read", "tasks:read", "tasks:write"];
pub const DANA: &str = "11";
const SAM: &str = "12";

fn base(sandbox: &Sandbox) -> String {
    format!("http://{}", sandbox.address())
}

fn resource(sandbox: &Sandbox) -> String {
    format!("{}{MCP}", base(sandbox))
}

fn encoded<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Replaces a field, or leaves it out.
fn but<'a>(fields: &[(&'a str, String)], name: &'a str, value: Option<&str>) -> Vec<(&'a str, String)> {
    let mut fields: Vec<_> = fields.iter().filter(|(known, _)| *known != name).cloned().collect();
    fields.extend(value.map(|value| (name, value.to_owned())));
    fields
}

async fn get(sandbox: &Sandbox, path: &str) -> Got {
    Sent::new(sandbox, "GET").without("authorization").at(path).go().await
}

async fn post_form<V: AsRef<str>>(sandbox: &Sandbox, path: &str, fields: &[(&str, V)]) -> Got {
    let sent = Sent::text(sandbox, &encoded(fields)).without("authorization").at(path);
    sent.with("content-type", "application/x-www-form-urlencoded").go().await
}

/// The metadata of a client that registers as it should.
fn metadata() -> Value {
    json!({
        "client_name": "A <b>client</b>", "application_type": "native", "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

async fn register(sandbox: &Sandbox, document: &Value) -> Got {
    Sent::post(sandbox, document).without("authorization").at(REGISTER).go().await
}

async fn registered(sandbox: &Sandbox) -> String {
    let got = register(sandbox, &metadata()).await;
    assert_eq!(got.status, 201, "{got:?}");
    got.json()["client_id"].as_str().unwrap().to_owned()
}

/// The fields of an authorization request that is as it should be.
fn wanted(sandbox: &Sandbox, client: &str) -> Vec<(&'static str, String)> {
    vec![
        ("response_type", "code".into()),
        ("client_id", client.into()),
        ("redirect_uri", REDIRECT.into()),
        ("code_challenge", URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))),
        ("code_challenge_method", "S256".into()),
        ("resource", resource(sandbox)),
        ("state", "a state&more".into()),
    ]
}

/// The fields of a token request for a code.
fn exchange(sandbox: &Sandbox, client: &str, code: &str) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "authorization_code".into()),
        ("client_id", client.into()),
        ("code", code.into()),
        ("redirect_uri", REDIRECT.into()),
        ("code_verifier", VERIFIER.into()),
        ("resource", resource(sandbox)),
    ]
}

fn refresh(client: &str, token: &Value) -> Vec<(&'static str, String)> {
    let token = token.as_str().unwrap().to_owned();
    vec![("grant_type", "refresh_token".into()), ("client_id", client.into()), ("refresh_token", token)]
}

fn query_of(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The value of a hidden field of a page.
fn hidden(page: &str, name: &str) -> String {
    let start = format!("<input type=\"hidden\" name=\"{name}\" value=\"");
    let rest = page.split_once(&start).unwrap_or_else(|| panic!("no {name}: {page}")).1;
    rest.split_once('"').unwrap().0.replace("&amp;", "&")
}

/// A person's browser: keeps the cookie, and submits the forms of pages.
pub struct Browsing {
    address: SocketAddr,
    cookie: String,
}

impl Browsing {
    fn new(sandbox: &Sandbox) -> Self {
        Self::at(sandbox.address())
    }

    pub fn at(address: SocketAddr) -> Self {
        Self { address, cookie: String::new() }
    }

    async fn send(&mut self, sent: Sent<'_>) -> Got {
        let got = sent.with("cookie", &format!("a=b; {}", self.cookie)).go().await;
        if let Some((cookie, _)) = got.header("set-cookie").split_once(';') {
            cookie.clone_into(&mut self.cookie);
        }
        got
    }

    async fn opens(&mut self, path: &str) -> Got {
        self.send(Sent::to(self.address, "GET").at(path)).await
    }

    /// Submits the form of a page, as a browser does: with its origin.
    async fn submits(&mut self, path: &str, page: &str, fields: &[(&str, &str)]) -> Got {
        let (csrf, query) = (hidden(page, "csrf"), hidden(page, "query"));
        let all = [&[("csrf", csrf.as_str()), ("query", query.as_str())], fields].concat();
        let mut sent = Sent::to(self.address, "POST").at(path);
        sent.body = encoded(&all).into();
        let sent = sent.with("origin", &format!("http://{}", self.address));
        self.send(sent.with("content-type", "application/x-www-form-urlencoded")).await
    }

    /// Signs in, and returns the consent page.
    async fn signs_in(&mut self, fields: &[(&str, String)], account: &str) -> Got {
        let page = self.opens(&format!("{AUTHORIZE}?{}", encoded(fields))).await;
        assert_eq!(page.status, 200, "{page:?}");
        let got = self.submits(SIGN_IN, &page.body, &[("account", account)]).await;
        assert_eq!(got.status, 303, "{got:?}");
        let page = self.opens(got.header("location")).await;
        assert_eq!(page.status, 200, "{page:?}");
        page
    }

    /// Signs in, allows these scopes, and returns the URL that the client gets.
    pub async fn allows(&mut self, fields: &[(&str, String)], (account, scopes): (&str, &[&str])) -> String {
        let page = self.signs_in(fields, account).await;
        let mut answers = vec![("decision", "allow")];
        answers.extend(scopes.iter().map(|scope| (*scope, "yes")));
        let got = self.submits(CONSENT, &page.body, &answers).await;
        assert_eq!(got.status, 303, "{got:?}");
        got.header("location").to_owned()
    }
}

/// A new code of Dana's with all scopes.
async fn code(sandbox: &Sandbox, client: &str) -> String {
    let url = Browsing::new(sandbox).allows(&wanted(sandbox, client), (DANA, &SCOPES)).await;
    query_of(&url, "code").unwrap()
}

/// Logs in, and returns the token response.
async fn tokens(sandbox: &Sandbox, (client, account): (&str, &str), scopes: &[&str]) -> Value {
    let url = Browsing::new(sandbox).allows(&wanted(sandbox, client), (account, scopes)).await;
    let code = query_of(&url, "code").unwrap();
    let got = post_form(sandbox, TOKEN, &exchange(sandbox, client, &code)).await;
    assert_eq!(got.status, 200, "{got:?}");
    got.json()
}

/// Sends a message to the endpoint with a token.
fn with_token<'a>(sandbox: &'a Sandbox, token: &str, message: &Value) -> Sent<'a> {
    Sent::post(sandbox, message).at(MCP).with("authorization", &format!("Bearer {token}"))
}

/// A user that is logged in.
struct User<'a> {
    sandbox: &'a Sandbox,
    token: String,
}

impl<'a> User<'a> {
    async fn new(sandbox: &'a Sandbox, account: &str) -> Self {
        Self::with(sandbox, account, &SCOPES).await
    }

    async fn with(sandbox: &'a Sandbox, account: &str, scopes: &[&str]) -> Self {
        let issued = tokens(sandbox, (&registered(sandbox).await, account), scopes).await;
        Self { sandbox, token: issued["access_token"].as_str().unwrap().to_owned() }
    }

    async fn sends(&self, message: &Value) -> Got {
        with_token(self.sandbox, &self.token, message).go().await
    }

    /// Returns the text of a result, and whether it is an error.
    async fn tries(&self, tool: &str, arguments: Value) -> (bool, String) {
        let got = self.sends(&tools_call(tool, arguments)).await;
        assert_eq!(got.status, 200, "{got:?}");
        let result = got.json()["result"].clone();
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        (result["isError"].as_bool().unwrap(), text)
    }

    async fn calls(&self, tool: &str, arguments: Value) -> Value {
        let (is_error, text) = self.tries(tool, arguments).await;
        assert!(!is_error, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn refused(&self, tool: &str, arguments: Value) -> String {
        let (is_error, text) = self.tries(tool, arguments).await;
        assert!(is_error, "{text}");
        text
    }
}
