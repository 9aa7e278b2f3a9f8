//! Runs drivers: signs, sends, waits, reads, and reports back.
//!
//! [`Driver`] makes all decisions. Owns what all requests of a key share: the gate, the HTTP client, the memory budget.

mod budget;
mod events;
mod logged;
mod reading;
mod traced;

pub use logged::LIMITED;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Sleep, sleep_until};

use crate::auth::keys::KeySource;
use crate::auth::oauth::{Ask, OAuth};
use crate::auth::{self, Authorizer, Identity, Rejection, Signed};
use crate::error::Result;
use crate::gate::Gate;
use crate::net::{self, Net, descriptors};
use crate::protocol::Moment;
use crate::protocol::driver::{Again, Body, Driver, GateNews, Item, Key, Next, Outcome, Purpose};
use crate::protocol::effect::{Ended, Tag};
use crate::protocol::http::{Head, HttpCall};
use crate::protocol::request::Wait;
use crate::protocol::retry::Admission;
use crate::protocol::secrets::{KeyWork, StoredKey};
use crate::trace::Trace;

use budget::Budget;

/// How often to poll a driver that waits for nothing.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// Maximum items in one report.
const MOST_ITEMS: usize = 64;
/// Time limit for ending a session (LEG-12).
const FAREWELL: Duration = Duration::from_secs(1);
/// Maximum bytes to read of an error response.
const LONGEST_REFUSAL: usize = 1 << 20;
/// How often a wait for the client or for memory renews the service's time to answer.
const RENEWAL: Duration = Duration::from_millis(100);
/// Maximum connections at once.
const MOST_CONNECTIONS: usize = 16_384;
/// Number of descriptors to leave for files and DNS.
const SPARE: usize = 64;

/// A driver's report.
#[derive(Debug)]
pub struct Report {
    /// The driver.
    pub tag: Tag,
    /// Items of the response, in order.
    pub items: Vec<Item>,
    /// It waits this long for a rate limit.
    pub waiting: Option<Wait>,
    /// It has ended.
    pub ended: Option<Ended>,
}

/// Performs the IO with one service.
#[derive(Debug)]
pub struct Remote {
    net: Net,
    authorizer: Arc<Authorizer>,
    gate: Arc<Mutex<Gate>>,
    budget: Arc<Budget>,
    slots: Semaphore,
    /// One fewer than the slots, so that standalone streams leave one for requests.
    streams: Semaphore,
    /// When the HTTP+SSE stream last received bytes.
    heard: Mutex<Instant>,
    trace: Option<Arc<Trace>>,
}

/// Permission for a connection: a slot, and for a standalone stream one of the streams' slots.
type Slot<'a> = (SemaphorePermit<'a>, Option<SemaphorePermit<'a>>);

/// A running driver and the channel of its reports.
struct Flight<'a> {
    tag: Tag,
    /// Boxed: a task is moved several times before it runs.
    driver: Box<Driver>,
    /// The credential that signed the last exchange.
    signed: Signed,
    going: Going<'a>,
    /// When to look at the driver; kept over all waits, because most end before it rings.
    alarm: Pin<&'a mut Option<Sleep>>,
    reports: &'a mpsc::Sender<Report>,
    /// The number of exchanges made.
    exchanges: u32,
}

impl Remote {
    /// Prepares the remote side of one profile; opens nothing yet.
    pub fn new(net: Net, authorizer: Authorizer, gate: Gate, trace: Option<Arc<Trace>>) -> Self {
        let authorizer = Arc::new(authorizer);
        if let Some(trace) = &trace {
            trace.mask_secrets_of(authorizer.clone());
        }
        let slots = most_connections();
        Self {
            net,
            authorizer,
            gate: Mutex::new(gate).into(),
            budget: Arc::default(),
            slots: Semaphore::new(slots),
            streams: Semaphore::new(slots - 1),
            heard: Mutex::new(Instant::now()),
            trace,
        }
    }

    /// Prepares credential and HTTP client before the first message.
    ///
    /// # Errors
    /// Those of [`Authorizer::ready`].
    pub async fn warm_up(&self) -> Result<()> {
        let client = async { drop(self.net.client().await) };
        let (ready, ()) = tokio::join!(self.authorizer.ready_to_begin(), client);
        ready
    }

    /// Returns the logins of the profile, if it can have one.
    pub fn login(&self) -> Option<&OAuth> {
        self.authorizer.login()
    }

    /// Logs in, whatever was configured.
    ///
    /// # Errors
    /// Errors of the login.
    pub async fn sign_in(&self) -> Result<()> {
        self.authorizer.sign_in().await
    }

    /// Says whether a login waits for a person.
    pub fn waits_for_person(&self) -> bool {
        self.login().is_some_and(OAuth::waits_for_person)
    }

    /// Returns the source of the key, once it has been looked up.
    pub fn key_source(&self) -> Option<KeySource> {
        self.authorizer.key_source()
    }

    /// Returns a hash that identifies the credential.
    ///
    /// # Errors
    /// The credential's.
    pub async fn identity(&self) -> Result<Identity> {
        self.authorizer.identity().await
    }

    /// Masks the credential in a text.
    pub fn without_secrets(&self, text: Bytes) -> Bytes {
        self.authorizer.without_secrets(text)
    }

    /// As [`Self::without_secrets`], in text.
    pub fn without_secrets_in_text(&self, text: &str) -> String {
        let clean = self.authorizer.without_secrets(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// Replaces references in JSON with the secrets that the service has handed out.
    pub fn unsealed(&self, text: Bytes) -> Bytes {
        self.authorizer.unsealed(text)
    }

    /// Does one piece of work with the key store.
    ///
    /// # Errors
    /// As [`Authorizer::key_work`].
    pub async fn key_work(&self, work: KeyWork) -> Result<Option<StoredKey>> {
        self.authorizer.key_work(work).await
    }

    /// Returns the new keys that were stored, or could not be, since the last look.
    pub fn take_stored(&self) -> Vec<Result<StoredKey>> {
        self.authorizer.take_stored()
    }

    /// Returns the secrets that occur in a text.
    pub fn repeated_in(&self, text: &[u8]) -> Vec<String> {
        self.authorizer.repeated_in(text)
    }

    /// Runs one driver to its end and sends its reports.
    pub async fn run(&self, tag: Tag, driver: Box<Driver>, reports: mpsc::Sender<Report>) {
        let going = Going { remote: self, admitted: None, turn: None };
        let signed = Signed::default();
        let alarm = pin!(None);
        let mut flight = Flight { tag, driver, signed, going, alarm, reports: &reports, exchanges: 0 };
        let outcome = match self.drive(&mut flight).await {
            Outcome::Failed(mut failure) => {
                failure.error = failure.error.masked(|text| self.without_secrets_in_text(text));
                Outcome::Failed(failure)
            }
            outcome => outcome,
        };
        let ended = Ended { tag, outcome, promise: flight.driver.promise() };
        flight.report(Some(ended)).await;
    }

    /// Sends the last request of a session and ignores the response, unless it only asks for a nonce.
    pub async fn farewell(&self, call: HttpCall) {
        let sent = async {
            for _ in 0..2 {
                let mut call = call.clone();
                let url = call.url.clone();
                self.authorizer.sign(&mut call).await.ok()?;
                let reply = self.net.client().await.ok()?.execute(request(call)).await.ok()?;
                self.authorizer.heard(&url, reply.headers());
                let head = Head { status: reply.status().as_u16(), headers: reply.headers().clone() };
                if !self.authorizer.lacks_nonce(&head.challenge()) {
                    break;
                }
            }
            Some(())
        };
        let _ = tokio::time::timeout(FAREWELL, sent).await;
    }

    async fn drive(&self, flight: &mut Flight<'_>) -> Outcome {
        let mut next = flight.driver.start();
        let mut slot = None;
        loop {
            flight.tell_gate();
            if !matches!(next, Next::Exchange(_)) {
                flight.going.end();
            }
            next = match next {
                Next::Over(outcome) => return outcome,
                Next::Admit if slot.is_none() => {
                    let of_stream = (*flight.driver.purpose() == Purpose::Listen).then_some(&self.streams);
                    match flight.until_wake(pin!(self.slot(of_stream))).await {
                        Ok(free) => slot = free,
                        Err(end) => {
                            next = end;
                            continue;
                        }
                    }
                    Next::Admit
                }
                Next::Admit => {
                    let now = Instant::now();
                    let admission = self.gate().admit(now, flight.driver.ask());
                    flight.going.admitted = (admission == Admission::Go).then_some(now);
                    let next = flight.driver.admitted(admission, moment());
                    flight.going.turn = flight.driver.ask().turn;
                    next
                }
                Next::Exchange(call) => self.exchange(flight, call).await,
                Next::Rest => {
                    slot = None;
                    self.rest(flight).await
                }
                Next::Challenge => self.look_up_again(flight).await,
            };
        }
    }

    /// Looks for another credential than the rejected one.
    async fn look_up_again(&self, flight: &mut Flight<'_>) -> Next {
        let (signed, challenge) = (flight.signed, flight.driver.challenge());
        if self.authorizer.lacks_nonce(&challenge) {
            return flight.driver.challenged(Again::Yes(Key::Sent), moment());
        }
        let ask = match flight.driver.may_ask() {
            true => Ask::AsConfigured,
            false if flight.driver.is_urgent() => Ask::AtOnce,
            false => Ask::Never,
        };
        let rejected = flight.until_wake(self.authorizer.rejected(signed, &challenge, ask)).await;
        let is_absent = self.key_source() == Some(KeySource::Absent);
        let again = match rejected {
            Ok(Ok(auth::Again)) if is_absent => Again::Yes(Key::Missing),
            Ok(Ok(auth::Again)) => Again::Yes(Key::Sent),
            Ok(Err(Rejection::Login(error))) => Again::LoggedOut(error),
            Ok(Err(_)) if is_absent => Again::NoKey,
            Ok(Err(Rejection::Denied)) => Again::No,
            Ok(Err(Rejection::Unknown(error))) => Again::Unknown(error),
            Err(next) => return next,
        };
        flight.driver.challenged(again, moment())
    }

    /// Waits for a free connection; `among` is an additional limit.
    async fn slot<'a>(&'a self, among: Option<&'a Semaphore>) -> Option<Slot<'a>> {
        let one_of_them = match among {
            Some(among) => Some(among.acquire().await.ok()?),
            None => None,
        };
        Some((self.slots.acquire().await.ok()?, one_of_them))
    }

    /// Sleeps until the driver has something to do.
    async fn rest(&self, flight: &mut Flight<'_>) -> Next {
        if let Some((wait, why)) = flight.driver.pause(Instant::now()) {
            logged::waits(wait, why);
        }
        loop {
            if flight.driver.has_waits_to_tell() {
                flight.report(None).await;
            }
            sleep_until(wake_of(&flight.driver)).await;
            // All responses of HTTP+SSE come on one stream, so any bytes on it reset the silence.
            flight.driver.heard(*self.heard.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(next) = flight.driver.tick(moment()) {
                return next;
            }
        }
    }

    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, flight: &mut Flight<'_>, mut call: HttpCall) -> Next {
        self.trace_call(flight.tag, &call);
        let mask = |text: &str| self.without_secrets_in_text(text);
        let line = logged::Exchange::begin(&call, flight.tag.attempt.max(1) + flight.exchanges, mask);
        flight.exchanges += 1;
        let end_line = |came: &str, headers| line.into_iter().for_each(|line| line.end(came, headers, mask));
        match flight.until_wake(pin!(self.authorizer.sign(&mut call))).await {
            Ok(Ok(signed)) => flight.signed = signed,
            Ok(Err(error)) => return flight.driver.not_sent(error),
            Err(next) => return next,
        }
        let client = match self.net.client().await {
            Ok(client) => client,
            Err(error) => return flight.driver.not_sent(error),
        };
        let url = call.url.clone();
        let mut reply = match flight.until_wake(pin!(client.execute(request(call)))).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                self.trace_end(flight.tag, "reset");
                end_line(&net::cause(&error), None);
                return flight.driver.no_reply(&net::cause(&error), net::reach(&error), moment());
            }
            Err(next) => {
                end_line("timed out", None);
                return next;
            }
        };
        self.authorizer.heard(&url, reply.headers());
        let mut head = Head { status: reply.status().as_u16(), headers: std::mem::take(reply.headers_mut()) };
        if head.status >= 400 || self.authorizer.seals() {
            self.authorizer.without_secrets_in(&mut head.headers);
        }
        match head.status {
            401 | 403 if self.authorizer.signs_with_login() => flight.driver.signed_by_login(),
            300.. => {}
            _ => self.authorizer.accepted(flight.signed),
        }
        self.trace_head(flight.tag, &head);
        end_line(&head.status.to_string(), Some(&head.headers));
        let body = flight.driver.head(head, Instant::now());
        // Now, not at the end of a stream: others wait for it.
        flight.tell_gate();
        match body {
            Body::Events => self.read_events(flight, reply).await,
            Body::Whole => self.read_whole(flight, reply).await,
        }
    }
}

/// An exchange that waits for its turn, or whose head has not come yet. Reports to the gate if it ends so, also when
/// the task is dropped.
struct Going<'a> {
    remote: &'a Remote,
    admitted: Option<Instant>,
    turn: Option<Instant>,
}

impl Going<'_> {
    fn came(&mut self, news: GateNews) {
        let now = Instant::now();
        self.remote.gate().news(now, self.admitted.take().unwrap_or(now), news);
    }

    fn end(&mut self) {
        if self.admitted.is_some() {
            self.came(GateNews::Released);
        }
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.end();
        if let Some(turn) = self.turn {
            self.remote.gate().withdraw(turn);
        }
    }
}

impl Flight<'_> {
    /// Hands over what the last exchange says about the rate limit.
    fn tell_gate(&mut self) {
        if let Some(news) = self.driver.take_news() {
            self.going.came(news);
        }
    }

    async fn report(&mut self, ended: Option<Ended>) {
        // Without a receiver the report is dropped. Items stay in the driver until there is room, so that a
        // cancelled wait loses none.
        if let Ok(room) = self.reports.reserve().await {
            room.send(self.next_report(ended));
        }
    }

    fn next_report(&mut self, ended: Option<Ended>) -> Report {
        let (items, waiting) = (self.driver.take_items(), self.driver.take_waiting());
        Report { tag: self.tag, items, waiting, ended }
    }

    /// Waits for a part of the exchange, or until the driver must act. A part that is pinned before takes its memory once
    /// in the task, another one twice.
    async fn until_wake<T>(&mut self, part: impl Future<Output = T>) -> std::result::Result<T, Next> {
        if let Some(next) = self.alarm_rang() {
            return Err(next);
        }
        let mut part = pin!(part);
        std::future::poll_fn(|context| {
            if let Poll::Ready(value) = part.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            self.set_alarm();
            while self.alarm.as_mut().as_pin_mut().is_some_and(|alarm| alarm.poll(context).is_ready()) {
                if let Some(next) = self.driver.tick(moment()) {
                    return Poll::Ready(Err(next));
                }
                self.alarm.set(None);
                self.set_alarm();
            }
            Poll::Pending
        })
        .await
    }

    /// Looks at the alarm without a wait: steady input must not delay a deadline.
    fn alarm_rang(&mut self) -> Option<Next> {
        self.alarm.as_ref().as_pin_ref().filter(|alarm| alarm.is_elapsed())?;
        self.alarm.set(None);
        self.driver.tick(moment())
    }

    /// Sets the alarm, unless it rings in time as it is.
    fn set_alarm(&mut self) {
        let Some(at) = self.driver.wake().map(tokio::time::Instant::from_std) else { return };
        if self.alarm.as_ref().as_pin_ref().is_none_or(|alarm| alarm.deadline() > at) {
            self.alarm.set(Some(sleep_until(at)));
        }
    }
}

/// Returns when to wake the driver; in a day if it does not say.
fn wake_of(driver: &Driver) -> tokio::time::Instant {
    driver.wake().map_or_else(|| tokio::time::Instant::now() + NEVER, tokio::time::Instant::from_std)
}

fn request(call: HttpCall) -> reqwest::Request {
    let mut request = reqwest::Request::new(call.method, (*call.url).clone());
    *request.headers_mut() = Arc::unwrap_or_clone(call.headers);
    if !call.body.is_empty() {
        *request.body_mut() = Some(call.body.into());
    }
    request
}

/// Returns the current instant and a random number.
pub fn moment() -> Moment {
    Moment { now: Instant::now(), wall: SystemTime::now(), random: fastrand::f64() }
}

/// Returns the number of connections: one per HTTP/1 exchange, leaving a few descriptors.
fn most_connections() -> usize {
    let free = descriptors::free();
    (free - SPARE.min(free / 2)).clamp(1, MOST_CONNECTIONS)
}
