//! A login without a person, for the bridge with the sandbox inside: through the same pages over HTTP.
//!
//! Registers a client, signs the first account in, allows everything, and returns the access token.

use super::super::SCOPES;
use super::{AUTHORIZE, CONSENT, ENDPOINT, REGISTER, SIGN_IN, TOKEN};
use crate::error::{Error, Kind, Result};
use crate::sandbox::keys;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use url::Url;
use url::form_urlencoded::Serializer;

const REDIRECT_URI: &str = "http://127.0.0.1/embedded";
const FORM: &str = "application/x-www-form-urlencoded";

/// The person's browser and the client in one.
struct Walker {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    cookie: String,
}

/// A reply, as far as the walk looks at it.
struct Page {
    status: StatusCode,
    location: String,
    text: String,
}

/// Logs in at the sandbox on this address.
///
/// # Errors
/// `Bug` if a page is not as expected.
pub(in crate::sandbox) async fn log_in(address: SocketAddr) -> Result<String> {
    let mut walker = Walker::connect(address).await?;
    let document = json!({
        "client_name": "asistry (embedded)",
        "application_type": "native",
        "redirect_uris": [REDIRECT_URI],
    });
    let registered =
        walker.post(REGISTER, ("application/json", document.to_string())).await?.json(StatusCode::CREATED)?;
    let client = registered["client_id"].as_str().unwrap_or_default();
    let verifier = keys::fresh_key("")?;
    let resource = format!("http://{address}{ENDPOINT}");
    let code = walker.code((client, &verifier, &resource)).await?;
    let exchange = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", &code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", &verifier),
        ("resource", &resource),
    ]);
    let issued = walker.post(TOKEN, (FORM, exchange)).await?.json(StatusCode::OK)?;
    let token = issued["access_token"].as_str();
    token.map(str::to_owned).ok_or_else(|| failed("the token response has no token"))
}

impl Walker {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends with the sender; an error shows at the next request.
        tokio::spawn(connection);
        Ok(Self { address, sender, cookie: String::new() })
    }

    /// Walks sign-in and consent, and returns the code.
    async fn code(&mut self, (client, verifier, resource): (&str, &str, &str)) -> Result<String> {
        let state = keys::fresh_key("")?;
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))),
            ("code_challenge_method", "S256"),
            ("resource", resource),
            ("state", &state),
        ]);
        let page = self.get(&format!("{AUTHORIZE}?{query}")).await?.checked(StatusCode::OK)?;
        let account = page.value_of("account")?;
        let mut fields = page.ticket()?;
        fields.push(("account", account));
        let signed_in = self.post(SIGN_IN, (FORM, form(&fields))).await?.checked(StatusCode::SEE_OTHER)?;
        let page = self.get(&signed_in.location).await?.checked(StatusCode::OK)?;
        let mut fields = page.ticket()?;
        fields.push(("decision", "allow".to_owned()));
        fields.extend(SCOPES.iter().map(|scope| (*scope, "yes".to_owned())));
        let allowed = self.post(CONSENT, (FORM, form(&fields))).await?.checked(StatusCode::SEE_OTHER)?;
        let callback = Url::parse(&allowed.location).map_err(failed)?;
        let of = |name: &str| {
            let found = callback.query_pairs().find(|(known, _)| known == name);
            found.map(|(_, value)| value.into_owned())
        };
        let code = of("code").filter(|_| of("state").as_deref() == Some(&state));
        code.ok_or_else(|| failed("the login returned no code"))
    }

    async fn get(&mut self, path: &str) -> Result<Page> {
        let request = Request::get(path).header(HOST, self.address.to_string()).header(COOKIE, &self.cookie);
        self.send(request.body(Full::default())).await
    }

    async fn post(&mut self, path: &str, (kind, body): (&str, String)) -> Result<Page> {
        let request = Request::post(path).header(HOST, self.address.to_string()).header(COOKIE, &self.cookie);
        self.send(request.header(CONTENT_TYPE, kind).body(body.into())).await
    }

    async fn send(&mut self, request: hyper::http::Result<Request<Full<Bytes>>>) -> Result<Page> {
        let reply = self.sender.send_request(request.map_err(failed)?).await.map_err(failed)?;
        let (head, body) = reply.into_parts();
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some((cookie, _)) = text(SET_COOKIE).split_once(';') {
            cookie.clone_into(&mut self.cookie);
        }
        let location = text(LOCATION).to_owned();
        let body = body.collect().await.map_err(failed)?.to_bytes();
        Ok(Page { status: head.status, location, text: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl Page {
    fn checked(self, status: StatusCode) -> Result<Self> {
        match self.status == status {
            true => Ok(self),
            false => Err(failed(format!("HTTP {}", self.status))),
        }
    }

    fn json(self, status: StatusCode) -> Result<Value> {
        serde_json::from_str(&self.checked(status)?.text).map_err(failed)
    }

    /// Returns the hidden fields of the page's form.
    fn ticket(&self) -> Result<Vec<(&'static str, String)>> {
        ["csrf", "query"].into_iter().map(|name| Ok((name, self.value_of(name)?))).collect()
    }

    /// Returns the value of the first control with this name.
    fn value_of(&self, name: &str) -> Result<String> {
        let after = self.text.split_once(&format!("name=\"{name}\" value=\""));
        let value = after.and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value);
        let value = value.ok_or_else(|| failed(format!("the page has no {name}")))?;
        Ok(value.replace("&amp;", "&"))
    }
}

fn form<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Bug, format!("the sandbox's login failed: {why}"))
}
