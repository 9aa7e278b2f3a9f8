//! Requests to authorization servers: metadata, registration, tokens.
//!
//! Refuses plain `http` beyond this machine, redirects, long bodies and slow servers, and private addresses named by a
//! service that is not private itself (AUTH-18). TLS is always verified: `--insecure` is for the service alone.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::Method;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use serde_json::Value;
use url::{Host, Origin, Url};

use crate::auth::route::is_loopback;
use crate::error::{Error, Kind, Remedy, Result};
use crate::net::{self, Net, Proxies, TlsOptions};
use crate::protocol::http::origin_and_path;
use crate::protocol::retry::{backoff, retry_after, seconds};
use crate::protocol::revision::NEWEST_LEGACY;

/// Time limit of one request, unless the user sets a shorter one.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Attempts of a POST while the server is busy.
const ATTEMPTS: u32 = 3;
/// The first pause between them where the server names none.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that is waited out.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";
/// Maximum bytes of a response.
const LONGEST: usize = 1 << 20;
/// Maximum redirects of a metadata document.
const MOST_REDIRECTS: usize = 3;

/// Sends requests to authorization servers.
#[derive(Debug)]
pub struct Web {
    /// For the service's own origin: the only one that sees the client certificate.
    own: Net,
    tls: Net,
    plain: Net,
    origin: Origin,
    /// Whether the service is on a private network, so that its authorization server may be there too.
    is_private: bool,
    allow_http: bool,
    /// Time limit of one request.
    timeout: Duration,
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// Returns the body as a JSON object.
    pub fn object(&self) -> Option<Value> {
        serde_json::from_slice::<Value>(&self.body).ok().filter(Value::is_object)
    }

    /// Says whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns how long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, SystemTime::now())
    }

    /// Returns each `WWW-Authenticate` header.
    pub fn authenticate(&self) -> Vec<String> {
        let values = self.headers.get_all(WWW_AUTHENTICATE).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// Returns where it redirects to.
    pub fn location(&self, from: &Url) -> Option<Url> {
        let to = self.headers.get(LOCATION)?.to_str().ok()?;
        (300..400).contains(&self.status).then(|| from.join(to).ok()).flatten()
    }
}

/// A body and how it is written.
pub enum Body {
    /// No body.
    None,
    /// `application/x-www-form-urlencoded`.
    Form(String),
    /// `application/json`.
    Json(String),
}

/// What a request holds beside what every request holds.
pub struct Posted {
    /// The body.
    pub body: Body,
    /// More headers.
    pub headers: HeaderMap,
}

impl From<Body> for Posted {
    fn from(body: Body) -> Self {
        Self { body, headers: HeaderMap::new() }
    }
}

impl Web {
    /// Prepares requests on behalf of the service at `endpoint`; opens nothing yet.
    pub fn new(endpoint: &Url, tls: TlsOptions, proxies: Proxies, allow_http: bool) -> Self {
        let own = TlsOptions { insecure: false, ..tls };
        let others = TlsOptions { client_cert: None, ..own.clone() };
        let of = |scheme: &str, proxies| {
            let mut url = endpoint.clone();
            // Only the scheme matters: it decides whether certificates are loaded.
            let _ = url.set_scheme(scheme);
            Net::new(url, others.clone(), proxies)
        };
        let direct = if is_loopback(endpoint) { Proxies::None } else { proxies.clone() };
        Self {
            own: Net::new(
                endpoint.clone(),
                own,
                if is_loopback(endpoint) { Proxies::None } else { proxies.clone() },
            ),
            origin: endpoint.origin(),
            tls: of("https", proxies),
            plain: of("http", direct),
            is_private: is_private(endpoint),
            allow_http,
            timeout: TIMEOUT,
        }
    }

    /// Allows no request to take longer than this.
    #[must_use]
    pub fn within(self, limit: Option<Duration>) -> Self {
        Self { timeout: limit.map_or(TIMEOUT, |limit| limit.min(TIMEOUT)), ..self }
    }

    /// Reads a URL that a service or an authorization server names, and checks that it may be asked.
    ///
    /// # Errors
    /// [`Kind::ProtocolViolation`] for anything but `https`, or `http` on this machine.
    pub fn checked(&self, text: &str, what: &str) -> Result<Url> {
        let refuse = |why: String| {
            Err(Error::new(Kind::ProtocolViolation, why).hint("tell the operator of the service"))
        };
        let Ok(url) = Url::parse(text) else {
            return refuse(format!("the {what} is not a URL: {}", shortened(text)));
        };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) || self.allow_http => {}
            _ => return refuse(format!("the {what} does not use https: {}", origin_and_path(&url))),
        }
        if is_private(&url) && !self.is_private {
            let why = format!("the {what} is an address of a private network: {}", origin_and_path(&url));
            return refuse(why);
        }
        Ok(url)
    }

    /// Fetches a JSON document; `None` if it is not there (4xx), or is no JSON object.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] if nothing comes, [`Kind::UpstreamHttp`] for a 5xx.
    pub async fn document(&self, url: &Url) -> Result<Option<Value>> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let reply = self.send(JSON, Method::GET, &url, None).await?;
            if let Some(to) = reply.location(&url) {
                url = self.checked(to.as_str(), "redirect of its metadata")?;
                continue;
            }
            if reply.status >= 500 || reply.status == 429 {
                return Err(failing(&url, &reply));
            }
            return Ok(reply.object().filter(|_| reply.is_success()));
        }
        Ok(None)
    }

    /// Sends a GET as a browser does: some servers answer programs otherwise.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] if nothing comes.
    pub async fn get_page(&self, url: &Url) -> Result<Reply> {
        self.send("text/html", Method::GET, url, None).await
    }

    /// Sends a GET with a credential.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] if nothing comes.
    pub async fn get_with(&self, url: &Url, credential: HeaderValue) -> Result<Reply> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, credential)]);
        self.send(JSON, Method::GET, url, Some(Posted { body: Body::None, headers })).await
    }

    /// Sends a message to the service itself, without a credential; it must be able to answer in either form (T-33).
    ///
    /// # Errors
    /// [`Kind::Unreachable`] or [`Kind::Timeout`] if nothing comes.
    pub async fn ask_service(&self, endpoint: &Url, message: String) -> Result<Reply> {
        let posted = Posted::from(Body::Json(message));
        self.send("application/json, text/event-stream", Method::POST, endpoint, Some(posted)).await
    }

    /// Sends a POST, again while the server is busy (429, 503) and asks for a short wait; `posted` makes each attempt,
    /// because some of what it holds is good once.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] or [`Kind::Timeout`] if nothing comes, and the errors of `posted`.
    pub async fn post(&self, url: &Url, posted: impl Fn() -> Result<Posted>) -> Result<Reply> {
        for attempt in 0.. {
            let reply = self.send(JSON, Method::POST, url, Some(posted()?)).await?;
            let pause = reply.retry_after().unwrap_or(backoff(FIRST_PAUSE, attempt, LONGEST_PAUSE));
            if !matches!(reply.status, 429 | 503) || attempt + 1 >= ATTEMPTS || pause > LONGEST_PAUSE {
                return Ok(reply);
            }
            tokio::time::sleep(pause.max(FIRST_PAUSE)).await;
        }
        unreachable!("the loop returns")
    }

    fn net(&self, url: &Url) -> &Net {
        match url.scheme() {
            _ if url.origin() == self.origin => &self.own,
            "https" => &self.tls,
            _ => &self.plain,
        }
    }

    async fn send(
        &self,
        accept: &'static str,
        method: Method,
        url: &Url,
        posted: Option<Posted>,
    ) -> Result<Reply> {
        let net = self.net(url);
        let mut request = reqwest::Request::new(method, url.clone());
        *request.timeout_mut() = Some(self.timeout);
        let (body, more) =
            posted.map_or((Body::None, HeaderMap::new()), |posted| (posted.body, posted.headers));
        let (media, text) = match body {
            Body::None => (None, None),
            Body::Form(text) => (Some("application/x-www-form-urlencoded"), Some(text)),
            Body::Json(text) => (Some(JSON), Some(text)),
        };
        let headers = request.headers_mut();
        headers.extend(more);
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let version = HeaderName::from_static("mcp-protocol-version");
        headers.insert(version, HeaderValue::from_static(NEWEST_LEGACY.date));
        headers.extend(media.map(|media| (CONTENT_TYPE, HeaderValue::from_static(media))));
        *request.body_mut() = text.map(Into::into);
        let unreachable = |error: &reqwest::Error| {
            let place = origin_and_path(url);
            if error.is_timeout() {
                let why = format!("{place} did not answer within {}", seconds(self.timeout));
                return Error::new(Kind::Timeout, why).hint("try again later");
            }
            let why = format!("{place} cannot be reached: {}", net::cause(error));
            Error::new(Kind::Unreachable, why).hint("check the network, then try again")
        };
        let (begun, verb) = (Instant::now(), request.method().clone());
        let mut response = net.client().await?.execute(request).await.map_err(|e| unreachable(&e))?;
        let (place, millis) = (origin_and_path(url), begun.elapsed().as_millis());
        tracing::info!("{verb} {place} {} {millis} ms", response.status().as_u16());
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut whole = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
            whole.extend_from_slice(&chunk);
            if whole.len() > LONGEST {
                let why = format!("the response of {} is too long", origin_and_path(url));
                return Err(Error::new(Kind::ProtocolViolation, why));
            }
        }
        Ok(Reply { status, headers, body: whole.into() })
    }
}

/// Returns the error of an authorization server that fails.
pub fn failing(url: &Url, reply: &Reply) -> Error {
    let place = origin_and_path(url);
    let error = match reply.status {
        429 => Error::new(Kind::RateLimited, format!("{place} limits the rate (HTTP 429)")),
        status => Error::new(Kind::Unreachable, format!("{place} failed (HTTP {status})")),
    };
    let error = error.http_status(reply.status).remedy(Remedy::advice("try again later"));
    match reply.retry_after() {
        Some(wait) => error.retry_after(wait),
        None => error,
    }
}

/// Writes fields as a form.
pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Says whether a URL names this machine or a private network by its address.
fn is_private(url: &Url) -> bool {
    let address: Option<IpAddr> = match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.to_ipv4_mapped().map_or(address.into(), IpAddr::from)),
        Some(Host::Domain(name)) => return name == "localhost" || name.ends_with(".localhost"),
        None => None,
    };
    match address {
        Some(IpAddr::V4(v4)) => is_private_v4(v4),
        Some(IpAddr::V6(v6)) => match v6.segments() {
            // NAT64 (RFC 6052): the IPv4 address is in the last 32 bits.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_private_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            _ => {
                v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
        },
        None => false,
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    // Shared by the customers of a provider (RFC 6598).
    let is_shared = matches!(v4.octets(), [100, 64..=127, ..]);
    v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.octets()[0] == 0 || is_shared
}

/// Shortens foreign text.
pub fn shortened(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= 200 { clean } else { clean.chars().take(199).collect::<String>() + "…" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(endpoint: &str) -> Web {
        Web::new(&Url::parse(endpoint).unwrap(), TlsOptions::default(), Proxies::None, false)
    }

    #[test]
    fn only_the_service_itself_sees_the_client_certificate() {
        let web = web("https://h.example/mcp");
        let is_own = |url: &str| std::ptr::eq(web.net(&Url::parse(url).unwrap()), &web.own);
        assert!(is_own("https://h.example/token"));
        assert!(!is_own("https://auth.example/token") && !is_own("https://h.example:444/token"));
    }

    #[test]
    fn only_https_is_asked_and_http_on_this_machine() {
        let far = web("https://mcp.example/mcp");
        assert!(far.checked("https://auth.example/token", "x").is_ok());
        for refused in [
            "http://auth.example/token",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://127.0.0.1/token",
            "http://127.0.0.1/token",
            "https://10.0.0.1/",
            "https://[::ffff:192.168.1.1]/",
            "https://169.254.169.254/latest",
            "https://100.64.0.1/",
            "https://0.1.2.3/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://localhost/",
            "token",
        ] {
            assert!(far.checked(refused, "x").is_err(), "{refused}");
        }
        assert!(far.checked("https://[64:ff9b::9.9.9.9]/", "x").is_ok());
        let near = web("http://127.0.0.1:3000/mcp");
        assert!(near.checked("http://127.0.0.1:8000/token", "x").is_ok());
        assert!(near.checked("https://auth.example/token", "x").is_ok());
    }
}
