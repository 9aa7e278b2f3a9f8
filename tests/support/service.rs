//! A small programmable HTTP service on port 0: answers as its test says, and remembers what it was asked.
//!
//! A service that is never called fails its test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::watch;

use super::DEADLINE;

/// The session id that [`mcp`] gives.
pub const SESSION: &str = "session-of-the-stand-in";

/// One HTTP request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// POST, GET or DELETE.
    pub verb: String,
    pub path: String,
    /// Without the question mark.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The JSON-RPC method, or nothing.
    pub method: String,
    /// The raw JSON text of the id, or nothing.
    pub id: String,
}

impl Received {
    fn new(head: hyper::http::request::Parts, body: Bytes) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Shape<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            method: Option<String>,
        }
        let shape: Shape = serde_json::from_slice(&body).unwrap_or_default();
        let id = shape.id.map(|raw| raw.get().to_owned()).unwrap_or_default();
        Self {
            verb: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: shape.method.unwrap_or_default(),
            id,
            headers: head.headers,
            body: body.clone(),
        }
    }

    /// The whole message.
    pub fn message(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The fields of a form, or of the query of a GET.
    pub fn fields(&self) -> Vec<(String, String)> {
        let text = if self.verb == "GET" { self.query.as_bytes() } else { &self.body };
        url::form_urlencoded::parse(text).into_owned().collect()
    }

    /// One field of a form or a query.
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The name of the tool that is called, or nothing.
    pub fn tool(&self) -> String {
        self.message()["params"]["name"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a service answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    parts: Vec<Bytes>,
    after: Option<Gate>,
    later: Option<(Gate, Bytes)>,
    end: End,
}

/// What follows the parts of a reply.
#[derive(Clone, Copy, Debug)]
enum End {
    Clean,
    Never,
    /// A space every 100 ms, without an end.
    Dribble,
}

impl Reply {
    /// A status and a body of some type.
    pub fn status(status: u16, media: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", media.to_owned())];
        Self { status, headers, parts: vec![body.into()], after: None, later: None, end: End::Clean }
    }

    /// Nothing but a status.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), parts: Vec::new(), after: None, later: None, end: End::Clean }
    }

    /// JSON in several parts, which are not copied; its length is announced.
    pub fn parts(parts: Vec<Bytes>) -> Self {
        let length = parts.iter().map(Bytes::len).sum::<usize>();
        let headers =
            vec![("content-type", "application/json".to_owned()), ("content-length", length.to_string())];
        Self { status: 200, headers, parts, after: None, later: None, end: End::Clean }
    }

    /// A message as JSON.
    pub fn json(message: impl ToString) -> Self {
        Self::parts(vec![message.to_string().into()])
    }

    /// The result of what was received.
    pub fn result(received: &Received, result: impl ToString) -> Self {
        Self::json(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#, received.id, result.to_string()))
    }

    /// Messages as events of a stream that then ends.
    pub fn events<T: ToString>(messages: impl IntoIterator<Item = T>) -> Self {
        let text: String = messages.into_iter().map(|m| format!("data: {}\n\n", m.to_string())).collect();
        Self::status(200, "text/event-stream", text)
    }

    /// One more event, when the gate is open.
    #[must_use]
    pub fn then(self, gate: &Gate, message: impl ToString) -> Self {
        let event = format!("data: {}\n\n", message.to_string());
        Self { later: Some((gate.clone(), event.into())), ..self }
    }

    /// Never comes.
    pub fn never() -> Self {
        Self::empty(200).after(&Gate::default())
    }

    /// A stream of events in several parts, which are not copied.
    pub fn stream(parts: Vec<Bytes>) -> Self {
        let headers = vec![("content-type", "text/event-stream".to_owned())];
        Self { status: 200, headers, parts, after: None, later: None, end: End::Clean }
    }

    /// After its parts nothing more comes, and it does not end.
    #[must_use]
    pub fn stalled(self) -> Self {
        Self { end: End::Never, ..self }
    }

    /// After its parts only a space comes now and then, and it does not end.
    #[must_use]
    pub fn dribbling(mut self) -> Self {
        self.headers.retain(|(name, _)| *name != "content-length");
        Self { end: End::Dribble, ..self }
    }

    /// Comes when the gate is open.
    #[must_use]
    pub fn after(self, gate: &Gate) -> Self {
        Self { after: Some(gate.clone()), ..self }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// Holds replies back until it is opened.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What a well-behaved MCP service of the handshake eras answers.
pub fn mcp(received: &Received) -> Reply {
    match (received.verb.as_str(), received.method.as_str()) {
        ("GET", _) => Reply::empty(405),
        ("DELETE", _) => Reply::empty(204),
        (_, "initialize") => {
            let version = received.message()["params"]["protocolVersion"].clone();
            let info = json!({"name": "stand-in", "version": "1"});
            let result =
                json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info});
            Reply::result(received, result).header("mcp-session-id", SESSION)
        }
        _ if received.id.is_empty() || received.method.is_empty() => Reply::empty(202),
        (_, "tools/list") => Reply::result(received, r#"{"tools":[]}"#),
        _ => Reply::result(received, r#"{"content":[{"type":"text","text":"done"}]}"#),
    }
}

type Answer = dyn Fn(&Received) -> Option<Reply> + Send + Sync;

#[derive(Default)]
struct Seen {
    all: Mutex<Vec<Received>>,
    more: Condvar,
    /// Parts of replies that were taken.
    taken: AtomicUsize,
}

/// A running service.
pub struct Service {
    address: SocketAddr,
    seen: Arc<Seen>,
    silent: bool,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Service {
    /// Starts a service that answers as the test says; as [`mcp`] does where the test says nothing.
    pub fn start(answer: impl Fn(&Received) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::<Seen>::default();
        let (answer, shared): (Arc<Answer>, _) = (Arc::new(answer), seen.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen) = (answer.clone(), shared.clone());
                let serve = service_fn(move |request| reply(request, answer.clone(), seen.clone()));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                tokio::spawn(connection);
            }
        });
        Self { address, seen, silent: false, runtime: Some(runtime) }
    }

    /// Starts a service that must never be called.
    pub fn never_called() -> Self {
        let mut service = Self::start(|_| None);
        service.silent = true;
        service
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Everything that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.all.lock().unwrap().clone()
    }

    /// Waits for a request; the first one that matches is returned.
    pub fn awaits(&self, what: &str, matches: impl Fn(&Received) -> bool) -> Received {
        self.awaits_many(1, what, matches).remove(0)
    }

    /// Waits until this number of requests match.
    pub fn awaits_many(
        &self,
        count: usize,
        what: &str,
        matches: impl Fn(&Received) -> bool,
    ) -> Vec<Received> {
        let until = Instant::now() + DEADLINE;
        let mut all = self.seen.all.lock().unwrap();
        loop {
            let found: Vec<Received> = all.iter().filter(|r| matches(r)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let came: Vec<String> =
                    all.iter().map(|r| format!("{} {} {}", r.verb, r.method, r.id)).collect();
                drop(all);
                panic!("{} of {count} × {what} came to the service; all that came: {came:?}", found.len());
            }
            all = self.seen.more.wait_timeout(all, left).unwrap().0;
        }
    }

    /// Waits until nothing comes and nothing is taken any more for this long.
    pub fn awaits_quiet(&self, quiet: Duration) {
        let until = Instant::now() + DEADLINE;
        let mut all = self.seen.all.lock().unwrap();
        loop {
            let taken = self.seen.taken.load(Ordering::Relaxed);
            let (guard, waited) = self.seen.more.wait_timeout(all, quiet).unwrap();
            all = guard;
            if waited.timed_out() && taken == self.seen.taken.load(Ordering::Relaxed) {
                return;
            }
            assert!(Instant::now() < until, "it never becomes quiet");
        }
    }

    /// Waits until this many parts of replies were taken.
    pub fn awaits_taken(&self, parts: usize) {
        let until = Instant::now() + DEADLINE;
        let mut all = self.seen.all.lock().unwrap();
        while self.seen.taken.load(Ordering::Relaxed) < parts {
            assert!(Instant::now() < until, "{:?} parts were taken", self.seen.taken);
            all = self.seen.more.wait_timeout(all, Duration::from_millis(10)).unwrap().0;
        }
    }

    pub fn awaits_call(&self, tool: &str) -> Received {
        self.awaits(tool, |r| r.method == "tools/call" && r.tool() == tool)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if !std::thread::panicking() {
            let called = !self.received().is_empty();
            assert!(called || self.silent, "the test service was never called");
            assert!(!(called && self.silent), "the test service was called: {:?}", self.received());
        }
    }
}

async fn reply(
    request: Request<Incoming>,
    answer: Arc<Answer>,
    seen: Arc<Seen>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received = Received::new(head, body);
    let reply = answer(&received).unwrap_or_else(|| mcp(&received));
    seen.all.lock().unwrap().push(received);
    seen.more.notify_all();
    if let Some(gate) = &reply.after {
        gate.passed().await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let rest = stream::unfold(reply.end, async |end| match end {
        End::Clean => None,
        End::Never => std::future::pending().await,
        End::Dribble => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Bytes::from_static(b" "), end))
        }
    });
    let later = stream::iter(reply.later).then(async |(gate, event)| {
        gate.passed().await;
        event
    });
    let frames = stream::iter(reply.parts).chain(later).chain(rest).map(move |part| {
        seen.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Frame::data(part))
    });
    Ok(response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap())
}
