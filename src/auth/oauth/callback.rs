//! The listener for the redirect of a login, on a port of 127.0.0.1 (RFC 8252 section 7.3).
//!
//! Refuses other hosts, paths and methods; answers the browser when the login is decided, and then closes.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::error::{Error, Kind, Result};

/// The path of the redirect URI.
const PATH: &str = "/callback";
/// Ports to try first where a client was registered beforehand, because not every server ignores the port.
pub const FIXED_PORTS: [u16; 3] = [14220, 24220, 34220];
/// Maximum connections at once.
const MOST_CONNECTIONS: usize = 32;
/// How long a request may take to arrive.
const HEAD_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);
/// How long the browser has to take its page before the port closes.
const SHOWN_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);

/// A page for the browser.
#[derive(Debug)]
pub enum Page {
    /// The login has succeeded.
    Done,
    /// It has failed, for this reason.
    Failed(String),
    /// The response is not for this login, or was used already.
    Stray,
}

/// A redirect that has arrived.
#[derive(Debug)]
pub struct Arrived {
    /// Its query.
    pub query: String,
    /// Shows the page that says what came of it.
    pub page: oneshot::Sender<Page>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    redirect_uri: String,
    arrived: mpsc::Receiver<Arrived>,
    /// Notified when a connection has ended.
    answered: Arc<Notify>,
    _serving: JoinSet<()>,
}

impl Listener {
    /// Listens on one of these ports, or on a free one.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] where no port can be had.
    pub async fn bind(ports: &[u16]) -> Result<Self> {
        let mut refused = None;
        for port in ports.iter().chain(&[0]) {
            match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).await {
                Ok(listener) => return Self::serve(listener),
                Err(e) => refused = Some(e),
            }
        }
        let why = refused.map_or_else(String::new, |e| format!(": {e}"));
        Err(Error::new(Kind::AuthRequired, format!("no port of 127.0.0.1 is free for the login{why}"))
            .hint("asistry login --no-browser takes the pasted URL instead"))
    }

    fn serve(listener: TcpListener) -> Result<Self> {
        let port = listener.local_addr().map_err(|e| Error::new(Kind::Bug, e.to_string()))?.port();
        let (report, arrived) = mpsc::channel(MOST_CONNECTIONS);
        let mut serving = JoinSet::new();
        let answered = Arc::<Notify>::default();
        serving.spawn(accept(listener, port, report, answered.clone()));
        Ok(Self {
            redirect_uri: format!("http://127.0.0.1:{port}{PATH}"),
            arrived,
            answered,
            _serving: serving,
        })
    }

    /// Returns the redirect URI.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Shows a page, and waits until the browser has it, but not for long.
    pub async fn show(&self, to: oneshot::Sender<Page>, page: Page) {
        let answered = self.answered.notified();
        let mut answered = std::pin::pin!(answered);
        answered.as_mut().enable();
        if to.send(page).is_ok() {
            let _ = tokio::time::timeout(SHOWN_WITHIN, answered).await;
        }
    }

    /// Waits for the next redirect.
    pub async fn next(&mut self) -> Arrived {
        match self.arrived.recv().await {
            Some(arrived) => arrived,
            None => std::future::pending().await,
        }
    }
}

/// Returns the port of our redirect URI.
pub fn port_of(redirect_uri: &str) -> Option<u16> {
    let url = url::Url::parse(redirect_uri).ok()?;
    (url.host_str() == Some("127.0.0.1") && url.path() == PATH).then(|| url.port()).flatten()
}

async fn accept(listener: TcpListener, port: u16, report: mpsc::Sender<Arrived>, answered: Arc<Notify>) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (report, answered) = (report.clone(), answered.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, port, report.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
            answered.notify_waiters();
            drop(slot);
        });
    }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    port: u16,
    report: mpsc::Sender<Arrived>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")].iter().any(|own| own == host);
    if !is_own || request.uri().path() != PATH {
        return Ok(text(404, "There is nothing here."));
    }
    if request.method() != Method::GET {
        return Ok(text(405, "Only GET is answered here."));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (page, shown) = oneshot::channel();
    let _ = report.send(Arrived { query, page }).await;
    Ok(match shown.await {
        Ok(Page::Done) => text(200, "You are logged in. You can close this window."),
        Ok(Page::Failed(why)) => text(400, &format!("The login failed: {why}.")),
        Ok(Page::Stray) | Err(_) => text(400, "This response belongs to no login that is under way."),
    })
}

fn text(status: u16, text: &str) -> Response<Full<Bytes>> {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>asistry</title>\
         <style>body{{font:1.1em system-ui,sans-serif;margin:4em;color-scheme:light dark}}</style><p>{escaped}</p></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(page)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (CONNECTION, "close"),
    ] {
        headers.insert(name, hyper::header::HeaderValue::from_static(value));
    }
    headers.insert("referrer-policy", hyper::header::HeaderValue::from_static("no-referrer"));
    response
}
