//! The MCP server that all services share: Streamable HTTP of the handshake era, 2024-11-05 to 2025-11-25.
//!
//! Knows no service's tools and shares no code with the bridge, so that it can serve as an independent peer.
//! Decisions where the documentation is silent:
//! - A session is optional. A request without one is taken as 2025-03-26, or as its `MCP-Protocol-Version`.
//! - A tool that streams does so only where `Accept` names `text/event-stream` (or `text/*`); `*/*` and no
//!   `Accept` get plain JSON, so that curl shows something readable. Where `Accept` leaves out JSON,
//!   everything goes as events; where it leaves out both, 406.
//! - The key is checked first, then the rate, then the rest; refused requests (429) are not counted.
//! - GET without a session is 405 (`Allow: POST, DELETE`): capabilities are discovered by `initialize`.
//! - A second `initialize` inside a session is an invalid request, as is one inside a batch.

mod faults;
mod head;
mod methods;
mod reading;
mod refusal;
mod revision;
mod session;

use self::head::Accepts;
use self::methods::{Answer, Asked};
use self::reading::{Message, Post};
use self::refusal::{INVALID_REQUEST, Refusal};
use self::revision::Revision;
use self::session::{Event, Session, Sessions};
use super::faults::Turns;
use super::keys::{Caller, Keys};
use super::rate::{self, Rate};
use super::reply::{self, Reply};
use super::service::{Arrival, KeyHeader, Manner, Service};
use super::store::Store;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const KEEPALIVE: Duration = Duration::from_secs(15);
/// Maximum messages in a batch.
const BATCH: usize = 100;

/// The server of one service.
pub(super) struct Server {
    service: &'static Service,
    store: Store,
    keys: Keys,
    rate: Option<Mutex<Rate>>,
    sessions: Sessions,
    streams: AtomicU64,
    quit: watch::Receiver<bool>,
    faults: Arc<Turns>,
    /// The hashes of access tokens that a fault made expire.
    expired: Mutex<HashSet<[u8; 32]>>,
}

/// What the servers of a sandbox share.
#[derive(Clone)]
pub(super) struct Shared {
    pub store: Store,
    pub keys: Keys,
    pub faults: Arc<Turns>,
    /// Ends the open streams.
    pub quit: watch::Receiver<bool>,
}

/// The relevant headers of an admitted request.
struct Head {
    caller: Caller,
    /// The base URL that the client used.
    base: String,
    session: Option<Arc<Session>>,
    revision: &'static Revision,
    accepts: Accepts,
    last_event: Option<String>,
    /// Whether the event stream ends before the answer.
    drops: bool,
}

/// A request's body: not read (GET, DELETE), not JSON, or a POST of JSON-RPC.
enum Content {
    Unread,
    NoJson,
    Post(Post),
}

impl Server {
    /// Creates the server of a service.
    pub fn new(service: &'static Service, shared: Shared) -> Self {
        let Shared { store, keys, faults, quit } = shared;
        let rate = service.limit.map(|limit| Mutex::new(Rate::new(limit)));
        let (sessions, streams, expired) = (Sessions::default(), AtomicU64::new(1), Mutex::default());
        Self { service, store, keys, rate, sessions, streams, quit, faults, expired }
    }

    /// Returns the service.
    pub fn service(&self) -> &'static Service {
        self.service
    }

    /// Answers one HTTP request at the service's path.
    ///
    /// The key is checked before the body is read; the refusal is sent after, because it has the body's id. The work
    /// runs in its own task: in this era, closing the connection does not cancel a request.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>, arrival: Arrival) -> Reply {
        let (parts, body) = request.into_parts();
        let methods = match self.service.manner {
            Manner::Sessions => "POST, GET, DELETE",
            Manner::Stateless | Manner::Rest => "POST",
        };
        if methods.split(", ").all(|method| method != parts.method) {
            let refusal =
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("this endpoint takes {methods}"));
            return refusal.with("allow", methods).draw(&Value::Null);
        }
        let admitted = self.admit(&parts.headers, &arrival).await;
        let content = match parts.method {
            Method::POST => match reply::read(body).await {
                Ok(text) => reading::read(&text).map_or(Content::NoJson, Content::Post),
                Err(status) => return Refusal::body(status).draw(&Value::Null),
            },
            _ => Content::Unread,
        };
        let id = if let Content::Post(post) = &content { post.id() } else { Value::Null };
        let server = Arc::clone(self);
        let work = async move {
            let head = server.head((admitted?, arrival.base), &parts.headers)?;
            server.fare(head, &parts, content).await
        };
        match tokio::spawn(work).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(refusal)) => refusal.draw(&id),
            Err(_) => Refusal::broken().draw(&id),
        }
    }

    /// Checks the key or token, its place and the rate limit.
    async fn admit(&self, headers: &HeaderMap, arrival: &Arrival) -> Result<Caller, Refusal> {
        let key = head::key(headers, self.service, &arrival.base)?;
        let has_expired = self.has_expired(&key);
        let (keys, service, base) = (self.keys.clone(), self.service, arrival.base.clone());
        let found = self.store.run(move |connection| match service.key_header {
            KeyHeader::Token(tokens) => (tokens.check)(connection, &base, &key),
            KeyHeader::Bearer | KeyHeader::Named(_) => keys.find(connection, service.name, &key),
        });
        let found = found.await;
        let caller = found.map_err(|error| {
            tracing::warn!(%error, "the sandbox cannot look a key up");
            Refusal::broken()
        })?;
        let caller =
            caller.filter(|_| !has_expired).ok_or_else(|| Refusal::wrong_key(self.service, &arrival.base))?;
        if !arrival.place.is_empty() && caller.settings["place"].as_str() != Some(&arrival.place) {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "the key is not one of this place"));
        }
        if let Some(rate) = &self.rate {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = rate.admit(&caller.key, Instant::now());
            wait.map_err(|wait| Refusal::too_many(Some(rate::whole_seconds(wait))))?;
        }
        Ok(caller)
    }

    async fn proceed(&self, head: &Head, parts: &Parts, content: Content) -> Result<Reply, Refusal> {
        match content {
            Content::Unread if parts.method == Method::DELETE => self.delete(head),
            Content::Unread => self.listen(head),
            Content::NoJson => head::is_json(&parts.headers).and(Err(Refusal::no_json())),
            Content::Post(post) => {
                head::is_json(&parts.headers)?;
                self.post(head, post).await
            }
        }
    }

    /// Parses session, revision and `Accept`.
    fn head(&self, (caller, base): (Caller, String), headers: &HeaderMap) -> Result<Head, Refusal> {
        let named = head::named_revision(headers, self.service.newest)?;
        let session = match head::text(headers, "mcp-session-id") {
            _ if self.service.manner == Manner::Stateless => None,
            None => None,
            Some(id) => {
                let found = self.sessions.find(id, &caller.key, Instant::now());
                Some(found.ok_or_else(Refusal::no_session)?)
            }
        };
        let revision = session.as_ref().map(|session| session.revision).or(named).unwrap_or(self.assumed());
        let last_event = head::text(headers, "last-event-id").map(str::to_owned);
        let mut accepts = head::accepts(headers);
        if self.service.manner == Manner::Stateless {
            accepts = Accepts { json: true, events: false };
        }
        Ok(Head { caller, base, session, revision, accepts, last_event, drops: false })
    }

    /// Returns the revision of a request that names none.
    fn assumed(&self) -> &'static Revision {
        revision::find(self.service.newest)
            .filter(|newest| newest.date < revision::ASSUMED.date)
            .unwrap_or(revision::ASSUMED)
    }

    fn delete(&self, head: &Head) -> Result<Reply, Refusal> {
        let Some(session) = &head.session else {
            return Err(Refusal::invalid("DELETE ends a session and needs Mcp-Session-Id"));
        };
        self.sessions.end(session);
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }

    /// Opens the session's stream, or resumes a broken POST stream.
    fn listen(&self, head: &Head) -> Result<Reply, Refusal> {
        let Some(session) = &head.session else {
            let said = "GET needs Mcp-Session-Id: begin with a POST of initialize";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, said).with("allow", "POST, DELETE"));
        };
        if !head.accepts.events {
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "GET answers with text/event-stream only"));
        }
        let rest = head.last_event.as_deref().map(|id| session.after(id)).unwrap_or_default();
        if !rest.is_empty() {
            return Ok(reply::all_events(rest));
        }
        let stream = session.listen(KEEPALIVE, self.quit.clone()).map(reply::events);
        stream.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, "this session has an open stream already"))
    }

    async fn post(&self, head: &Head, post: Post) -> Result<Reply, Refusal> {
        if head.accepts == (Accepts { json: false, events: false }) {
            let said = "this endpoint answers with application/json or text/event-stream";
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, said));
        }
        match post {
            Post::One(Message::Silent) => Ok(reply::empty(StatusCode::ACCEPTED)),
            Post::One(Message::Invalid(_, why)) => Err(Refusal::invalid(why)),
            Post::One(Message::Request(request)) => self.one(head, request).await,
            Post::Batch(messages) => self.batch(head, messages).await,
        }
    }

    async fn one(&self, head: &Head, request: reading::Request) -> Result<Reply, Refusal> {
        let opens = match request.method.as_str() {
            "initialize" if head.session.is_some() => {
                return Err(Refusal::invalid("this session is initialised already"));
            }
            "initialize" if self.service.manner == Manner::Sessions => {
                methods::wanted(&request.params, self.service.newest)
            }
            _ => None,
        };
        let asked = self.asked(head);
        self.check_scope(head, &asked, &request)?;
        let answer = asked.answer(request).await;
        if answer.broken {
            return Err(Refusal::broken());
        }
        let reply = if head.accepts.events && (answer.streams || !head.accepts.json) {
            self.stream(head, vec![answer])
        } else {
            reply::json(StatusCode::OK, &answer.message)
        };
        let Some(revision) = opens else { return Ok(reply) };
        let session = self.sessions.mint(&head.caller.key, revision, Instant::now());
        let session = session.map_err(|_| Refusal::broken())?;
        Ok(reply::with(reply, "mcp-session-id", &session.id))
    }

    async fn batch(&self, head: &Head, messages: Vec<Message>) -> Result<Reply, Refusal> {
        if !head.revision.batches {
            return Err(Refusal::invalid(format!("{} has no batches: send one message", head.revision.date)));
        }
        if messages.is_empty() || messages.len() > BATCH {
            return Err(Refusal::invalid(format!("a batch holds 1 to {BATCH} messages")));
        }
        let asked = self.asked(head);
        for message in &messages {
            if let Message::Request(request) = message {
                self.check_scope(head, &asked, request)?;
            }
        }
        let mut answers = Vec::new();
        for message in messages {
            answers.push(match message {
                Message::Silent => continue,
                Message::Invalid(id, why) => Answer::error(&id, INVALID_REQUEST, why),
                Message::Request(request) if request.method == "initialize" => {
                    Answer::error(&request.id, INVALID_REQUEST, "initialize must not be part of a batch")
                }
                Message::Request(request) => asked.answer(request).await,
            });
        }
        if answers.is_empty() {
            return Ok(reply::empty(StatusCode::ACCEPTED));
        }
        if head.accepts.events && (!head.accepts.json || answers.iter().any(|answer| answer.streams)) {
            return Ok(self.stream(head, answers));
        }
        let messages = answers.into_iter().map(|answer| answer.message).collect();
        Ok(reply::json(StatusCode::OK, &Value::Array(messages)))
    }

    /// Refuses a call whose token lacks its scope.
    fn check_scope(&self, head: &Head, asked: &Asked, request: &reading::Request) -> Result<(), Refusal> {
        let Some(missing) = asked.lacks(request) else { return Ok(()) };
        let granted = head.caller.settings["scope"].as_str().unwrap_or_default();
        Err(Refusal::lacking_scope(self.service, &head.base, (granted, missing)))
    }

    fn asked(&self, head: &Head) -> Asked {
        Asked {
            service: self.service,
            store: self.store.clone(),
            caller: head.caller.clone(),
            revision: head.revision,
        }
    }

    /// Sends messages as events, which the session remembers for resumption.
    fn stream(&self, head: &Head, answers: Vec<Answer>) -> Reply {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let until_answer = answers.first().map_or(0, |answer| answer.progress.len());
        let messages = answers
            .into_iter()
            .flat_map(|answer| answer.progress.into_iter().chain(std::iter::once(answer.message)));
        let drawn = messages.enumerate().map(|(at, message)| {
            let id = format!("{stream}-{at}");
            let text = Bytes::from(format!("event: message\nid: {id}\ndata: {message}\n\n"));
            Event { stream, id, text }
        });
        let events: Vec<_> = drawn.collect();
        if head.drops {
            return faults::dropped(head, stream, (events, until_answer));
        }
        if let Some(session) = &head.session {
            session.remember(&events);
        }
        reply::all_events(events.into_iter().map(|event| event.text).collect())
    }
}
