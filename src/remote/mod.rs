//! Carries passages out: signs, sends, waits, reads, and reports back.
//!
//! Refuses to decide: [`Passage`] says what comes next. Owns what all calls of a key share: the rate gate,
//! the HTTP client, the memory for large answers.

mod budget;
mod events;
mod logged;
mod traced;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::auth::keys::KeySource;
use crate::auth::{Authorizer, Identity, Signed};
use crate::error::Result;
use crate::net::{self, Net};
use crate::protocol::MAX_MESSAGE;
use crate::protocol::bridge::Tag;
use crate::protocol::http::{Head, HttpCall};
use crate::protocol::passage::{Body, Item, Moment, Outcome, Passage, Purpose, Reached, Step};
use crate::protocol::retry::Gate;
use crate::trace::Trace;

use budget::{Budget, Lease};
use events::Events;

/// The client is told at this pace that a call waits for a rate limit.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After the answer, the end of a stream is waited for this long, so that its connection can be kept.
const LINGER: Duration = Duration::from_millis(250);
/// No more is told in one report.
const MOST_ITEMS: usize = 64;
/// No failing reply is read further than this.
const LONGEST_REFUSAL: usize = 1 << 20;

/// What became of a passage so far.
#[derive(Debug)]
pub struct Report {
    /// Which passage.
    pub tag: Tag,
    /// What came out of the reply, in order.
    pub items: Vec<Item>,
    /// It waits this much longer for a rate limit.
    pub waiting: Option<Duration>,
    /// It is over.
    pub outcome: Option<Outcome>,
}

/// A service, as far as IO goes.
#[derive(Debug)]
pub struct Remote {
    net: Net,
    authorizer: Arc<Authorizer>,
    gate: Arc<Mutex<Gate>>,
    budget: Arc<Budget>,
    slots: Semaphore,
    /// When the stream on which the answers of HTTP+SSE come was last heard.
    heard: Mutex<Instant>,
    max_time: Option<Duration>,
    trace: Option<Arc<Trace>>,
}

/// One passage under way, and where its reports go.
struct Voyage<'a> {
    tag: Tag,
    /// Boxed: a task is moved several times before it runs.
    passage: Box<Passage>,
    items: Vec<Item>,
    /// With which credential the last exchange was signed.
    signed: Signed,
    reports: &'a mpsc::Sender<Report>,
    /// How many exchanges were made.
    exchanges: u32,
}

impl Remote {
    /// Makes the remote side of one profile; nothing is opened yet.
    pub fn new(
        net: Net,
        authorizer: Authorizer,
        max_time: Option<Duration>,
        trace: Option<Arc<Trace>>,
    ) -> Self {
        let authorizer = Arc::new(authorizer);
        if let Some(trace) = &trace {
            trace.hide_what_signs(authorizer.clone());
        }
        Self {
            net,
            authorizer,
            gate: Arc::default(),
            budget: Arc::default(),
            slots: Semaphore::new(most_connections()),
            heard: Mutex::new(Instant::now()),
            max_time,
            trace,
        }
    }

    /// Gets credential and HTTP client ready before the first message needs them.
    ///
    /// # Errors
    /// The credential's: what the first message would fail with.
    pub async fn warm_up(&self) -> Result<()> {
        let client = async { drop(self.net.client().await) };
        let (ready, ()) = tokio::join!(self.authorizer.ready(), client);
        ready
    }

    /// Returns where the key came from, once it was looked for.
    pub fn key_source(&self) -> Option<KeySource> {
        self.authorizer.key_source()
    }

    /// Returns what tells the credential from others, and does not give it away.
    ///
    /// # Errors
    /// The credential's.
    pub async fn identity(&self) -> Result<Identity> {
        self.authorizer.identity().await
    }

    /// Takes the credential out of a text that repeats it.
    pub fn without_secrets(&self, text: Bytes) -> Bytes {
        self.authorizer.without_secrets(text)
    }

    /// Returns what of the credential a text repeats.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        self.authorizer.repeated_in(text)
    }

    /// Carries one passage out after a pause; everything it brings goes to `reports`.
    pub async fn carry(
        &self,
        tag: Tag,
        passage: Box<Passage>,
        after: Duration,
        reports: mpsc::Sender<Report>,
    ) {
        if !after.is_zero() {
            logged::waits(after, "the last attempt failed");
            tokio::time::sleep(after).await;
        }
        let Ok(_slot) = self.slots.acquire().await else { return };
        let limited =
            self.max_time.filter(|_| !matches!(passage.purpose(), Purpose::Listen | Purpose::Stream));
        let mut voyage = Voyage {
            tag,
            passage,
            items: Vec::new(),
            signed: Signed::default(),
            reports: &reports,
            exchanges: 0,
        };
        let outcome = match limited {
            None => self.run(&mut voyage).await,
            Some(limit) => match tokio::time::timeout(limit, self.run(&mut voyage)).await {
                Ok(outcome) => outcome,
                Err(_) => match voyage.passage.timed_out(limit) {
                    Step::Over(outcome) => outcome,
                    _ => return,
                },
            },
        };
        voyage.report(None, Some(outcome)).await;
    }

    /// Makes the last call of a session, and does not mind its answer.
    pub async fn farewell(&self, mut call: HttpCall) {
        if self.authorizer.sign(&mut call).await.is_ok()
            && let Ok(client) = self.net.client().await
        {
            let _ = client.execute(request(call)).await;
        }
    }

    async fn run(&self, voyage: &mut Voyage<'_>) -> Outcome {
        let mut step = voyage.passage.start();
        loop {
            if let Some(refusal) = voyage.passage.take_refusal() {
                self.gate().close(Instant::now(), refusal);
            }
            step = match step {
                Step::Over(outcome) => return outcome,
                Step::Exchange(call) => {
                    let closed = self.gate().closed_for(Instant::now());
                    match closed {
                        Some(wait) => voyage.passage.held(wait, call),
                        None => self.exchange(voyage, call).await,
                    }
                }
                Step::Wait(wait) => {
                    let limited = voyage.passage.is_rate_limited();
                    logged::waits(wait, if limited { "rate limited" } else { "before the next attempt" });
                    voyage.wait(wait).await
                }
                Step::Renew => {
                    let challenge = voyage.passage.challenge();
                    let again = self.authorizer.rejected(voyage.signed, &challenge).await;
                    voyage.passage.renewed(again.is_ok(), moment(), &mut voyage.items)
                }
                Step::Elsewhere => {
                    let silence = voyage.passage.silence().unwrap_or_default();
                    self.until_silent_for(silence).await;
                    voyage.passage.timed_out(silence)
                }
            };
        }
    }

    /// Waits until the stream of the answers has been silent for this long, from now on.
    async fn until_silent_for(&self, silence: Duration) {
        let begun = Instant::now();
        loop {
            let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let left = silence.saturating_sub(heard.max(begun).elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, voyage: &mut Voyage<'_>, mut call: HttpCall) -> Step {
        self.trace_call(voyage.tag, &call);
        let line = logged::Exchange::begin(&call, voyage.tag.attempt.max(1) + voyage.exchanges);
        voyage.exchanges += 1;
        let end_line = |came: &str, headers| line.into_iter().for_each(|line| line.end(came, headers));
        match self.authorizer.sign(&mut call).await {
            Ok(signed) => voyage.signed = signed,
            Err(error) => return voyage.passage.not_sent(error),
        }
        let client = match self.net.client().await {
            Ok(client) => client,
            Err(error) => return voyage.passage.not_sent(error),
        };
        let silence = voyage.passage.silence();
        let reply = match within(silence, client.execute(request(call))).await {
            Some(Ok(reply)) => reply,
            Some(Err(error)) => {
                self.trace_end(voyage.tag, "reset");
                end_line(&net::cause(&error), None);
                return voyage.passage.no_reply(&net::cause(&error), net::reached(&error), moment());
            }
            None => {
                end_line("timed out", None);
                return voyage.passage.timed_out(silence.unwrap_or_default());
            }
        };
        let mut head = Head { status: reply.status().as_u16(), headers: reply.headers().clone() };
        if head.status >= 400 {
            self.authorizer.without_secrets_in(&mut head.headers);
        }
        self.trace_head(voyage.tag, &head);
        end_line(&head.status.to_string(), Some(&head.headers));
        match voyage.passage.head(head, &mut voyage.items) {
            Body::Events => self.read_events(voyage, reply).await,
            Body::Whole => self.read_whole(voyage, reply).await,
        }
    }

    async fn read_events(&self, voyage: &mut Voyage<'_>, mut reply: reqwest::Response) -> Step {
        let mut events = Events::new();
        let mut lease = Lease::new(&self.budget);
        let mut lingers_until = None;
        if *voyage.passage.purpose() == Purpose::Notice {
            // It was accepted, whatever the service goes on to say on this stream.
            voyage.report(None, Some(Outcome::Done)).await;
        }
        loop {
            let patience = if voyage.passage.is_answered() {
                let until = *lingers_until.get_or_insert_with(|| Instant::now() + LINGER);
                Some(until.saturating_duration_since(Instant::now()))
            } else {
                voyage.passage.silence()
            };
            match soon(patience, reply.chunk()).await {
                Some(Ok(Some(chunk))) => {
                    events.push(&chunk);
                    if *voyage.passage.purpose() == Purpose::Stream {
                        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    }
                }
                Some(Ok(None)) => {
                    self.trace_end(voyage.tag, "end");
                    return voyage.passage.stream_ended(moment());
                }
                Some(Err(_)) => {
                    self.trace_end(voyage.tag, "reset");
                    return voyage.passage.stream_ended(moment());
                }
                None if voyage.passage.is_answered() => return voyage.passage.stream_ended(moment()),
                None => return voyage.passage.timed_out(patience.unwrap_or_default()),
            }
            loop {
                let mut event = match events.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(_) => return voyage.passage.too_long(),
                };
                self.trace_event(voyage.tag, &event);
                event.data = lease.take(event.data);
                voyage.passage.event(event, &mut voyage.items);
                if voyage.items.len() >= MOST_ITEMS {
                    voyage.report(None, None).await;
                }
            }
            if !voyage.items.is_empty() {
                voyage.report(None, None).await;
            }
            lease.grow(events.held()).await;
        }
    }

    async fn read_whole(&self, voyage: &mut Voyage<'_>, mut reply: reqwest::Response) -> Step {
        let failing = !reply.status().is_success();
        let limit = if failing { LONGEST_REFUSAL } else { MAX_MESSAGE };
        let silence = voyage.passage.silence();
        let expected = reply.content_length().unwrap_or(0).min(limit as u64) as usize;
        let mut lease = Lease::new(&self.budget);
        lease.begin(expected).await;
        let mut body: Vec<u8> = Vec::new();
        let whole = loop {
            match within(silence, reply.chunk()).await {
                Some(Ok(Some(chunk))) if body.is_empty() && chunk.len() >= expected && expected > 0 => {
                    break chunk;
                }
                Some(Ok(Some(chunk))) => {
                    if body.is_empty() {
                        body.reserve(expected);
                    }
                    push_on_one_line(&mut body, &chunk);
                }
                Some(Ok(None)) => break Bytes::new(),
                // The status says enough.
                Some(Err(_)) if failing => break Bytes::new(),
                Some(Err(error)) => {
                    self.trace_end(voyage.tag, "reset");
                    return voyage.passage.no_reply(&net::cause(&error), Reached::Somebody, moment());
                }
                None => return voyage.passage.timed_out(silence.unwrap_or_default()),
            }
            if body.len() > limit {
                if failing {
                    break Bytes::new();
                }
                return voyage.passage.too_long();
            }
            lease.grow(body.len().max(expected)).await;
        };
        let body = if body.is_empty() { whole } else { lease.take(Bytes::from(body)) };
        // What is no message may be quoted in an error.
        let quoted = failing || !matches!(body.first(), Some(b'{' | b'['));
        let body = if quoted { self.authorizer.without_secrets(body) } else { body };
        self.trace_body(voyage.tag, &body);
        voyage.passage.body(body, moment(), &mut voyage.items)
    }
}

impl Voyage<'_> {
    async fn report(&mut self, waiting: Option<Duration>, outcome: Option<Outcome>) {
        // Nobody listens any more: then there is nobody to tell. Until there is room the items stay here,
        // so that a wait that is cut short loses none.
        if let Ok(room) = self.reports.reserve().await {
            let items = std::mem::take(&mut self.items);
            room.send(Report { tag: self.tag, items, waiting, outcome });
        }
    }

    /// Waits, and says so at each heartbeat where the wait is for a rate limit.
    async fn wait(&mut self, wait: Duration) -> Step {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return self.passage.waited();
            }
            if self.passage.is_rate_limited() && matches!(self.passage.purpose(), Purpose::Request(_)) {
                self.report(Some(left), None).await;
            }
            tokio::time::sleep(left.min(HEARTBEAT)).await;
        }
    }
}

/// Appends a chunk; line breaks, which JSON allows only between tokens, become spaces.
fn push_on_one_line(body: &mut Vec<u8>, chunk: &[u8]) {
    let start = body.len();
    body.extend_from_slice(chunk);
    for byte in &mut body[start..] {
        // Every byte is written, changed or not: so many are done at once.
        *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
}

fn request(call: HttpCall) -> reqwest::Request {
    let mut request = reqwest::Request::new(call.method, (*call.url).clone());
    *request.headers_mut() = call.headers;
    if !call.body.is_empty() {
        *request.body_mut() = Some(call.body.into());
    }
    request
}

async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

/// Like [`within`], but the connection gets one turn before a timer is set: mostly more is there already.
async fn soon<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    tokio::select! {
        biased;
        value = &mut future => return Some(value),
        () = tokio::task::yield_now() => {}
    }
    within(limit, future).await
}

fn moment() -> Moment {
    Moment { now: Instant::now(), wall: SystemTime::now(), die: fastrand::f64() }
}

/// Each exchange over HTTP/1 needs a connection: a few descriptors are left for everything else.
#[cfg(unix)]
fn most_connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(65_536).min(65_536);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok();
    let most = if raised { wanted } else { limit.current.unwrap_or(1024) };
    usize::try_from(most.saturating_sub(64)).unwrap_or(1024).clamp(16, 16_384)
}

#[cfg(not(unix))]
fn most_connections() -> usize {
    4096
}
