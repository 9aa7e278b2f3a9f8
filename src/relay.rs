//! The event loop: connects a client's [`Port`] and a [`Remote`] through the [`Bridge`].
//!
//! Owns the bridge, so there is no lock; every driver runs in a task that reports on a bounded channel. Never waits for
//! a single party: a slow call, a slow service or a client that does not read delays only its own traffic.

mod spills;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use url::Url;

use crate::error::{Error, Kind, Remedy, Result};
use crate::local::{Incoming, Intake, Port};
use crate::protocol::FastMap;
use crate::protocol::bridge::Bridge;
use crate::protocol::driver::Driver;
use crate::protocol::effect::{Delivery, Effect, Ended, Lesson, Tag, Ticket};
use crate::protocol::http::HttpCall;
use crate::protocol::secrets::{KeyWork, StoredKey};
use crate::protocol::settings::Settings;
use crate::remote::{Remote, Report, moment};
use crate::state::State;
use crate::trace::Trace;
use spills::Spills;

/// Capacity of the channel of reports.
const REPORTS: usize = 64;
/// Maximum items to process before output is written.
const TURN: usize = 256;
/// Time after the drain for ending the service's session.
const FAREWELL: Duration = Duration::from_millis(300);
/// Drain by default, and at most after a signal: the end takes 1.1 s of the 1.5 s of STD-7.
pub const DRAIN: Duration = Duration::from_millis(800);
/// Time limit for getting and storing new keys at the end.
const KEY_WORK: Duration = Duration::from_secs(10);
/// Minimum time for ending the service's session.
const SHORTEST_FAREWELL: Duration = Duration::from_millis(50);

/// Limits on the end of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// How long to wait for outstanding answers.
    pub drain: Duration,
}

/// One conversation between a client and a service.
pub struct Relay<P> {
    port: P,
    remote: Arc<Remote>,
    /// On the heap: it is large, and a relay is moved several times before it runs.
    bridge: Box<Bridge>,
    ending: Ending,
    trace: Option<Arc<Trace>>,
    memory: Option<(State, Arc<Url>)>,
    reports: mpsc::Sender<Report>,
    from_drivers: mpsc::Receiver<Report>,
    crashes: mpsc::UnboundedSender<Tag>,
    from_crashes: mpsc::UnboundedReceiver<Tag>,
    /// When to wake the bridge.
    alarms: BTreeSet<Instant>,
    drivers: FastMap<Ticket, (Tag, AbortHandle)>,
    spills: Spills,
    /// Calls that end sessions of the service, not sent yet.
    leaving: Vec<HttpCall>,
    farewells: tokio::task::JoinSet<()>,
    /// Work with the key store, by the number of its request.
    key_work: tokio::task::JoinSet<(u64, Result<Option<StoredKey>>)>,
    /// Logins, by the number of the call that asked for one.
    sign_ins: tokio::task::JoinSet<(u64, Result<()>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Goes,
    /// The client's input has ended.
    Ends,
    /// The client has left with some of its input unread.
    HangsUp,
    /// The client can no longer be written to.
    Breaks,
}

impl<P: Port> Relay<P> {
    /// Connects both sides; sends nothing yet.
    pub fn new(port: P, remote: Arc<Remote>, settings: Settings, ending: Ending) -> Self {
        let (reports, from_drivers) = mpsc::channel(REPORTS);
        let (crashes, from_crashes) = mpsc::unbounded_channel();
        Self {
            port,
            remote,
            bridge: Box::new(Bridge::new(settings, moment())),
            ending,
            trace: None,
            memory: None,
            reports,
            from_drivers,
            crashes,
            from_crashes,
            alarms: BTreeSet::new(),
            drivers: FastMap::default(),
            spills: Spills::default(),
            leaving: Vec::new(),
            farewells: tokio::task::JoinSet::new(),
            key_work: tokio::task::JoinSet::new(),
            sign_ins: tokio::task::JoinSet::new(),
        }
    }

    /// Records the client's side in a trace.
    #[must_use]
    pub fn traced(mut self, trace: Option<Arc<Trace>>) -> Self {
        self.trace = trace;
        self
    }

    /// Saves what is learned about the endpoint for later runs.
    #[must_use]
    pub fn remembering(mut self, state: Option<State>, endpoint: Arc<Url>) -> Self {
        self.memory = state.map(|state| (state, endpoint));
        self
    }

    /// Runs until the client leaves or `stop` resolves.
    ///
    /// # Errors
    /// [`Kind::Output`] if the client was connected but did not read all answers in time.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        tokio::pin!(stop);
        loop {
            let turn = tokio::select! {
                biased;
                () = &mut stop => {
                    self.ending.drain = self.ending.drain.min(DRAIN);
                    return self.end(Turn::Ends, std::future::pending()).await;
                }
                turn = self.turn(Intake::Open) => turn,
            };
            if turn != Turn::Goes {
                return self.end(turn, stop).await;
            }
        }
    }

    /// Waits for one event and handles it.
    async fn turn(&mut self, intake: Intake) -> Turn {
        let room = !self.port.is_full();
        let intake = if room { intake } else { Intake::Paused };
        // In random order, so that one kind of event cannot starve the others.
        tokio::select! {
            Some(report) = self.from_drivers.recv(), if room => {
                let mut taken = self.report(report);
                while taken < TURN {
                    let Ok(report) = self.from_drivers.try_recv() else { break };
                    taken += self.report(report);
                }
            }
            Some(tag) = self.from_crashes.recv() => {
                // Its earlier reports come first.
                while let Ok(report) = self.from_drivers.try_recv() {
                    self.report(report);
                }
                self.forget(tag);
                self.bridge.ended(Ended::crashed(tag, moment()), moment());
            }
            now = first_of(&self.alarms) => {
                self.alarms.retain(|at| *at > now);
                self.bridge.alarm(moment());
            }
            Some((to, text)) = self.spills.next() => self.bridge.spilled(to, text, moment()),
            Some(Ok((number, came))) = self.key_work.join_next(), if !self.key_work.is_empty() => self.bridge.keys_done(number, came, moment()),
            Some(Ok((number, came))) = self.sign_ins.join_next(), if !self.sign_ins.is_empty() => self.bridge.signed_in(number, came, moment()),
            incoming = self.port.next(intake) => match incoming {
                Incoming::Line(line) => {
                    if let Some(trace) = &self.trace {
                        trace.line("client says", &line);
                    }
                    self.bridge.from_client(line, moment());
                }
                Incoming::TooLong => self.bridge.line_too_long(moment()),
                Incoming::Drained => {}
                Incoming::Closed => return Turn::Ends,
                Incoming::HungUp => return Turn::HangsUp,
                Incoming::Broken => return Turn::Breaks,
            },
        }
        self.perform();
        self.leave();
        Turn::Goes
    }

    /// Handles one report; returns its number of items.
    fn report(&mut self, report: Report) -> usize {
        let taken = report.items.len().max(1);
        let moment = moment();
        for item in report.items {
            self.bridge.item(report.tag, item, moment);
        }
        if let Some(wait) = report.waiting {
            self.bridge.waiting(report.tag, wait, moment);
        }
        if let Some(ended) = report.ended {
            self.forget(report.tag);
            self.bridge.ended(ended, moment);
        }
        taken
    }

    fn forget(&mut self, tag: Tag) {
        if self.drivers.get(&tag.ticket).is_some_and(|(running, _)| *running == tag) {
            self.drivers.remove(&tag.ticket);
        }
    }

    /// Runs a driver in a task; a task that panics is reported too.
    fn run_driver(&mut self, tag: Tag, driver: Box<Driver>) {
        let (remote, reports) = (self.remote.clone(), self.reports.clone());
        let guard = Guard { tag, crashes: self.crashes.clone() };
        let task = async move {
            let _guard = guard;
            remote.run(tag, driver, reports).await;
        };
        // Boxed: tokio moves a task several times.
        let handle = tokio::spawn(Box::pin(task)).abort_handle();
        if let Some((_, earlier)) = self.drivers.insert(tag.ticket, (tag, handle)) {
            earlier.abort();
        }
    }

    /// Performs the bridge's effects and delivers the answers.
    fn perform(&mut self) {
        while let Some(effect) = self.bridge.next_effect() {
            match effect {
                Effect::Deliver(delivery) => self.deliver(delivery),
                Effect::Spill(message, to) => self.spills.start(message, to),
                Effect::Run(tag, driver) => self.run_driver(tag, driver),
                Effect::Abort(ticket) => {
                    if let Some((_, handle)) = self.drivers.remove(&ticket) {
                        handle.abort();
                    }
                }
                Effect::Alarm(after) => {
                    self.alarms.insert(Instant::now() + after);
                }
                Effect::Farewell(call) => self.leaving.push(call),
                Effect::Learned(lesson) => self.remember(lesson),
                Effect::Keys(number, work) => self.work_with_keys(number, work),
                Effect::SignIn(number) => {
                    let remote = self.remote.clone();
                    self.sign_ins.spawn(async move { (number, remote.sign_in().await) });
                }
                Effect::Note(note) => tracing::warn!("{}", self.remote.without_secrets_in_text(&note)),
            }
        }
        self.port.flush();
    }

    fn leave(&mut self) {
        for call in self.leaving.drain(..) {
            let remote = self.remote.clone();
            self.farewells.spawn(async move { remote.farewell(call).await });
        }
    }

    fn remember(&mut self, lesson: Lesson) {
        if let Some((state, endpoint)) = self.memory.clone() {
            // The end waits for it, so that a short run saves what it has learned.
            self.farewells.spawn_blocking(move || match lesson {
                Lesson::Wire(wire) => state.remember_wire(&endpoint, wire),
                Lesson::NoSessions => state.remember_no_sessions(&endpoint),
                Lesson::Sessions => state.remember_sessions(&endpoint),
            });
        }
    }

    fn work_with_keys(&mut self, number: u64, work: KeyWork) {
        let remote = self.remote.clone();
        let work = tokio::spawn(async move { remote.key_work(work).await });
        let failed = |e: tokio::task::JoinError| Err(Error::new(Kind::Bug, format!("the key store: {e}")));
        self.key_work.spawn(async move { (number, work.await.unwrap_or_else(failed)) });
    }

    fn deliver(&mut self, delivery: Delivery) {
        if let Some(trace) = &self.trace {
            trace.line("client receives", &delivery.text);
        }
        self.port.deliver(delivery);
    }

    /// Ends the conversation: delivers answers within the drain time, fails the other requests, and ends the session
    /// (STD-7, STD-8).
    async fn end(mut self, mut turn: Turn, stop: impl Future<Output = ()>) -> Result<()> {
        tokio::pin!(stop);
        let (begun, unread) = (Instant::now(), self.port.undelivered());
        // A person is not waited for.
        let drain = if self.remote.waits_for_person() { Duration::ZERO } else { self.ending.drain };
        let until = begun + drain;
        let owes =
            |relay: &Self, turn| turn == Turn::HangsUp || (turn != Turn::Breaks && relay.owes_something());
        // A flood of events leaves the timeout below no turn; without a drain, what is ready is still handled.
        let flooded = until.max(begun + SHORTEST_FAREWELL);
        while Instant::now() < flooded && owes(&self, turn) {
            // Input sent before the client left is still processed.
            let intake = if turn == Turn::HangsUp { Intake::Open } else { Intake::Paused };
            let next = tokio::select! {
                () = &mut stop => break,
                next = tokio::time::timeout_at(until, self.turn(intake)) => next,
            };
            match next {
                Ok(Turn::Goes) => {}
                Ok(next) => turn = next,
                Err(_) => break,
            }
        }
        // A key that the service is making would be lost.
        let latest = Instant::now() + KEY_WORK;
        while turn != Turn::Breaks && self.bridge.makes_a_key() && Instant::now() < latest {
            let next = tokio::select! {
                () = &mut stop => break,
                next = tokio::time::timeout_at(latest, self.turn(Intake::Paused)) => next,
            };
            turn = next.ok().filter(|next| *next != Turn::Goes).unwrap_or(turn);
        }
        // A client that has read nothing all that time is not waited for further.
        let stuck = begun.elapsed() >= FAREWELL && self.port.undelivered() >= unread.max(1);
        self.bridge.close(moment());
        self.perform();
        // The time spent on answers and cancellations counts.
        let last = (until + FAREWELL).max(Instant::now() + SHORTEST_FAREWELL).min(Instant::now() + FAREWELL);
        let is_gone = turn == Turn::Breaks;
        let broken = self.part(is_gone || stuck, last).await || is_gone;
        // The service has made these keys: they would be lost.
        let _ = tokio::time::timeout(KEY_WORK, async { while self.key_work.join_next().await.is_some() {} })
            .await;
        match (self.port.undelivered(), self.spills.len()) {
            _ if broken => Ok(()),
            (0, 0) => Ok(()),
            (0, results) => Err(unwritten(results)),
            (bytes, _) => Err(undelivered(bytes)),
        }
    }

    fn owes_something(&self) -> bool {
        self.bridge.owes_an_answer() || self.spills.len() > 0 || self.port.undelivered() > 0
    }

    /// Waits briefly for the last cancellations and answers and the session's end, which comes after the cancellations
    /// or after half of the time; returns whether the client has become unreachable. Answers are not waited for if the
    /// client is `given_up`.
    async fn part(&mut self, given_up: bool, last: Instant) -> bool {
        let mut broken = false;
        let now = Instant::now();
        let half = now + last.saturating_duration_since(now) / 2;
        while Instant::now() < last {
            if self.drivers.is_empty() || Instant::now() >= half {
                self.leave();
            }
            let written = given_up || broken || self.port.undelivered() == 0;
            if written && self.farewells.is_empty() && self.drivers.is_empty() {
                break;
            }
            let until = if self.leaving.is_empty() { last } else { half };
            let step = async {
                tokio::select! {
                    _ = self.farewells.join_next(), if !self.farewells.is_empty() => {}
                    Some(report) = self.from_drivers.recv() => if report.ended.is_some() {
                        self.forget(report.tag);
                    },
                    Some(tag) = self.from_crashes.recv() => self.forget(tag),
                    incoming = self.port.next(Intake::Paused), if !written => broken |= incoming == Incoming::Broken,
                }
            };
            let _ = tokio::time::timeout_at(until, step).await;
        }
        broken
    }
}

/// Sleeps until the earliest of these instants; returns the current time.
async fn first_of(alarms: &BTreeSet<Instant>) -> Instant {
    match alarms.first() {
        Some(at) => tokio::time::sleep_until(*at).await,
        None => std::future::pending().await,
    }
    Instant::now()
}

/// Reports a task that panics, so that its request is answered.
struct Guard {
    tag: Tag,
    crashes: mpsc::UnboundedSender<Tag>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.crashes.send(self.tag);
        }
    }
}

fn unwritten(results: usize) -> Error {
    let why = format!("{results} results were not written into files in time");
    Error::new(Kind::Output, why).remedy(Remedy::AllowDrain)
}

fn undelivered(bytes: usize) -> Error {
    let why = format!("the client did not read the last {bytes} bytes of its answers in time");
    Error::new(Kind::Output, why).remedy(Remedy::AllowDrain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::effect::UpstreamKind;

    #[tokio::test]
    async fn a_panic_in_a_spawned_exchange_is_told_to_the_loop() {
        let tag = Tag { ticket: Ticket { upstream: UpstreamKind::Legacy, number: 7 }, attempt: 2 };
        let (crashes, mut from_crashes) = mpsc::unbounded_channel();
        let guarded = |panics: fn()| {
            let guard = Guard { tag, crashes: crashes.clone() };
            async move {
                let _guard = guard;
                panics();
            }
        };
        tokio::spawn(guarded(|| {})).await.expect("no panic");
        assert!(from_crashes.try_recv().is_err(), "an end without a panic is reported by the driver itself");
        tokio::spawn(guarded(|| panic!("for the test"))).await.expect_err("a panic");
        assert_eq!(from_crashes.try_recv(), Ok(tag));
    }
}
