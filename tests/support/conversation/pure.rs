//! The stage without IO: the bridge, its drivers and the gate alone, in virtual time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use asistry::gate::Gate;
use asistry::protocol::bridge::Bridge;
use asistry::protocol::driver::{Again, Body, Driver, Next, Reach};
use asistry::protocol::effect::{Effect, Ended, Tag, Ticket, UpstreamKind};
use asistry::protocol::http::{Head, HttpCall};
use asistry::protocol::retry::Admission;
use asistry::protocol::settings::Settings;
use asistry::protocol::sse::Guard;
use asistry::protocol::{MAX_MESSAGE, Moment};
use bytes::Bytes;

use super::{Piece, Received, Stage};

/// Virtual time that may pass while something is awaited.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Pure {
    bridge: Bridge,
    gate: Gate,
    begun: Instant,
    now: Instant,
    alarms: Vec<Instant>,
    live: HashMap<Tag, Live>,
    requests: VecDeque<(Tag, HttpCall)>,
    labels: HashMap<String, Tag>,
    lines: VecDeque<String>,
    up: bool,
}

struct Live {
    driver: Driver,
    /// When its exchange was admitted.
    admitted: Instant,
    guard: Option<Guard>,
}

impl Pure {
    pub fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            bridge: Bridge::new(settings, moment(now)),
            gate: Gate::default(),
            begun: now,
            now,
            alarms: Vec::new(),
            live: HashMap::new(),
            requests: VecDeque::new(),
            labels: HashMap::new(),
            lines: VecDeque::new(),
            up: true,
        }
    }

    /// The virtual time that has passed.
    pub fn elapsed(&self) -> Duration {
        self.now - self.begun
    }

    fn perform(&mut self) {
        while let Some(effect) = self.bridge.next_effect() {
            match effect {
                Effect::Deliver(delivery) => {
                    self.lines.push_back(String::from_utf8(delivery.text.to_vec()).unwrap());
                }
                Effect::Spill(message, _) => panic!("no script asks for a spill: {message:?}"),
                Effect::Run(tag, mut driver) => {
                    let next = driver.start();
                    self.live.retain(|other, _| other.ticket != tag.ticket);
                    self.live.insert(tag, Live { driver: *driver, admitted: self.now, guard: None });
                    self.step(tag, next);
                }
                Effect::Abort(ticket) => {
                    self.live.retain(|tag, _| tag.ticket != ticket);
                    self.requests.retain(|(tag, _)| tag.ticket != ticket);
                }
                Effect::Alarm(after) => self.alarms.push(self.now + after),
                Effect::Farewell(call) => {
                    let ticket = Ticket { upstream: UpstreamKind::Legacy, number: u64::MAX };
                    self.requests.push_back((Tag { ticket, attempt: 0 }, call));
                }
                Effect::SignIn(_) => panic!("a script logs nobody in"),
                Effect::Keys(_, work) => panic!("no script makes a key: {work:?}"),
                Effect::Note(_) | Effect::Learned(_) => {}
            }
        }
    }

    /// Does what a driver wants, until it waits for something.
    fn step(&mut self, tag: Tag, mut next: Next) {
        loop {
            let now = moment(self.now);
            let Some(live) = self.live.get_mut(&tag) else { return };
            if let Some(news) = live.driver.take_news() {
                self.gate.news(self.now, live.admitted, news);
            }
            next = match next {
                Next::Over(outcome) => {
                    let mut driver = self.live.remove(&tag).unwrap().driver;
                    for item in driver.take_items() {
                        self.bridge.item(tag, item, now);
                    }
                    return self.bridge.ended(Ended { tag, outcome, promise: driver.promise() }, now);
                }
                Next::Admit => {
                    let admission = self.gate.admit(self.now, live.driver.ask());
                    if admission == Admission::Go {
                        live.admitted = self.now;
                    }
                    live.driver.admitted(admission, now)
                }
                Next::Challenge => live.driver.challenged(Again::NoKey, now),
                Next::Exchange(_) if !self.up => {
                    live.driver.no_reply("connection refused", Reach::NotConnected, now)
                }
                Next::Exchange(call) => {
                    live.guard = None;
                    return self.requests.push_back((tag, call));
                }
                Next::Rest => return self.report(tag),
            };
        }
    }

    fn report(&mut self, tag: Tag) {
        let now = moment(self.now);
        let Some(live) = self.live.get_mut(&tag) else { return };
        let (items, waiting) = (live.driver.take_items(), live.driver.take_waiting());
        for item in items {
            self.bridge.item(tag, item, now);
        }
        if let Some(wait) = waiting {
            self.bridge.waiting(tag, wait, now);
        }
    }

    /// Lets time pass until something is due; false when nothing is within patience.
    fn advance(&mut self, until: Instant) -> bool {
        let wakes = self.live.values().filter_map(|live| live.driver.wake());
        let Some(next) = wakes.chain(self.alarms.iter().copied()).min().filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        let alarms = self.alarms.len();
        self.alarms.retain(|at| *at > self.now);
        if self.alarms.len() < alarms {
            self.bridge.alarm(moment(self.now));
        }
        let mut due: Vec<Tag> = self
            .live
            .iter()
            .filter(|(_, live)| live.driver.wake().is_some_and(|at| at <= self.now))
            .map(|(tag, _)| *tag)
            .collect();
        due.sort_by_key(|tag| tag.ticket.number);
        for tag in due {
            let Some(live) = self.live.get_mut(&tag) else { continue };
            match live.driver.tick(moment(self.now)) {
                Some(next) => {
                    self.requests.retain(|(waiting, _)| *waiting != tag);
                    self.step(tag, next);
                }
                None => self.report(tag),
            }
        }
        self.perform();
        true
    }

    fn await_<T>(&mut self, mut find: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let until = self.now + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return Some(found);
            }
            if !self.advance(until) {
                return None;
            }
        }
    }

    fn piece(&mut self, tag: Tag, piece: Piece) {
        let now = moment(self.now);
        let Some(live) = self.live.get_mut(&tag) else { return };
        live.driver.heard(self.now);
        let next = match piece {
            Piece::Head(status, headers) => {
                let headers = headers
                    .iter()
                    .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
                    .collect();
                if live.driver.head(Head { status, headers }, self.now) == Body::Events {
                    live.guard = Some(Guard::new(MAX_MESSAGE));
                }
                if let Some(news) = live.driver.take_news() {
                    self.gate.news(self.now, live.admitted, news);
                }
                None
            }
            Piece::Body(body) => Some(live.driver.body(Bytes::from(body), now)),
            Piece::Part(_) => Some(live.driver.cut_off(now)),
            Piece::Event { .. } | Piece::Raw(_) => {
                let bytes = super::peer::stream_bytes(&piece);
                let guard = live.guard.as_mut().expect("a stream of events");
                guard.push(&bytes);
                while let Ok(Some(block)) = guard.next_block() {
                    live.driver.event(block.into_event(), self.now);
                }
                None
            }
            Piece::End | Piece::Reset if live.guard.is_some() => Some(live.driver.stream_ended(now)),
            Piece::End => Some(live.driver.body(Bytes::new(), now)),
            Piece::Reset => Some(live.driver.no_reply("connection reset", Reach::Connected, now)),
        };
        self.report(tag);
        if let Some(next) = next {
            self.step(tag, next);
        }
        self.perform();
    }
}

fn moment(now: Instant) -> Moment {
    Moment { now, wall: SystemTime::now(), random: 0.0 }
}

impl Stage for Pure {
    fn client_says(&mut self, line: &str) {
        self.bridge.from_client(Bytes::from(line.to_owned()), moment(self.now));
        self.perform();
    }

    fn service_receives(&mut self, label: &str, wanted: &dyn Fn(&Received) -> bool) -> Option<Received> {
        let (tag, received) = self.await_(|stage| {
            let at = stage.requests.iter().position(|(_, call)| wanted(&received(call)))?;
            stage.requests.remove(at).map(|(tag, call)| (tag, received(&call)))
        })?;
        self.labels.insert(label.to_owned(), tag);
        Some(received)
    }

    fn service_replies(&mut self, label: &str, piece: Piece) {
        let tag = *self.labels.get(label).unwrap_or_else(|| panic!("nothing is labelled {label}"));
        self.piece(tag, piece);
    }

    fn service_is(&mut self, up: bool) {
        self.up = up;
    }

    fn client_receives(&mut self, fits: &dyn Fn(&str) -> bool) -> Option<String> {
        self.await_(|stage| {
            let at = stage.lines.iter().position(|line| fits(line))?;
            stage.lines.remove(at)
        })
    }

    fn left_over(&mut self) -> (Vec<String>, Vec<Received>) {
        let requests = self.requests.iter().map(|(_, call)| received(call)).collect();
        (self.lines.drain(..).collect(), requests)
    }
}

fn received(call: &HttpCall) -> Received {
    let path = (String::from("path"), call.url[url::Position::BeforePath..].to_owned());
    let headers = call
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .chain([path])
        .collect();
    let body = String::from_utf8_lossy(&call.body).into_owned();
    Received { method: call.method.to_string(), headers, body }
}
