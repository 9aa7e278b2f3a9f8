//! The stage without IO: `Bridge` and `Passage` alone, in virtual time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use asistry::protocol::MAX_MESSAGE;
use asistry::protocol::bridge::{Bridge, Effect, Settings, Tag};
use asistry::protocol::http::{Head, HttpCall};
use asistry::protocol::passage::{Body, Item, Moment, Outcome, Passage, Purpose, Reached, Step};
use asistry::protocol::retry::Gate;
use asistry::protocol::sse::Guard;
use bytes::Bytes;

use super::{Piece, Received, Stage};

/// Virtual time that may pass while something is awaited.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Pure {
    bridge: Bridge,
    gate: Gate,
    now: Instant,
    timers: Vec<(Instant, Timer)>,
    live: HashMap<Tag, Live>,
    requests: VecDeque<(Tag, HttpCall)>,
    labels: HashMap<String, Tag>,
    lines: VecDeque<String>,
    up: bool,
}

struct Live {
    passage: Passage,
    guard: Option<Guard>,
    head: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timer {
    Start(Tag),
    Waited(Tag),
    Alarm,
    Silent(Tag),
}

impl Pure {
    pub fn new(settings: Settings) -> Self {
        Self {
            bridge: Bridge::new(settings),
            gate: Gate::default(),
            now: Instant::now(),
            timers: Vec::new(),
            live: HashMap::new(),
            requests: VecDeque::new(),
            labels: HashMap::new(),
            lines: VecDeque::new(),
            up: true,
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, wall: SystemTime::now(), die: 0.0 }
    }

    fn perform(&mut self) {
        loop {
            let effects: Vec<Effect> = self.bridge.effects().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Deliver(line, _) => {
                        self.lines.push_back(String::from_utf8(line.to_vec()).unwrap())
                    }
                    Effect::Spill(message, _) => panic!("no script asks for a spill: {message:?}"),
                    Effect::Carry(tag, passage, after) => {
                        self.live.insert(tag, Live { passage: *passage, guard: None, head: false });
                        self.timers.push((self.now + after, Timer::Start(tag)));
                        if after.is_zero() {
                            self.timers.pop();
                            self.start(tag);
                        }
                    }
                    Effect::Abort(errand) => {
                        self.live.retain(|tag, _| tag.errand != errand);
                        self.requests.retain(|(tag, _)| tag.errand != errand);
                    }
                    Effect::Alarm(after) => self.timers.push((self.now + after, Timer::Alarm)),
                    Effect::Farewell(_) | Effect::Note(_) | Effect::Learned(_) => {}
                }
            }
        }
    }

    fn start(&mut self, tag: Tag) {
        if let Some(live) = self.live.get_mut(&tag) {
            let step = live.passage.start();
            self.step(tag, step, Vec::new());
        }
    }

    fn step(&mut self, tag: Tag, step: Step, items: Vec<Item>) {
        for item in items {
            self.bridge.item(tag, item);
        }
        let moment = self.moment();
        let Some(live) = self.live.get_mut(&tag) else { return };
        if let Some(refusal) = live.passage.take_refusal() {
            self.gate.close(self.now, refusal);
        }
        match step {
            Step::Over(outcome) => {
                self.live.remove(&tag);
                self.bridge.ended(tag, outcome, 0.0);
            }
            Step::Wait(wait) => {
                if live.passage.is_rate_limited() && matches!(live.passage.purpose(), Purpose::Request(_)) {
                    self.bridge.waiting(tag, wait);
                }
                self.timers.push((self.now + wait, Timer::Waited(tag)));
            }
            Step::Renew => {
                let mut items = Vec::new();
                let step = live.passage.renewed(false, moment, &mut items);
                self.step(tag, step, items);
            }
            Step::Elsewhere => {}
            Step::Exchange(call) => match self.gate.closed_for(self.now) {
                Some(wait) => {
                    let step = live.passage.held(wait, call);
                    self.step(tag, step, Vec::new());
                }
                None if !self.up => {
                    let step = live.passage.no_reply("connection refused", Reached::Nobody, moment);
                    self.step(tag, step, Vec::new());
                }
                None => {
                    live.head = false;
                    live.guard = None;
                    if let Some(silence) = live.passage.silence() {
                        self.timers.push((self.now + silence, Timer::Silent(tag)));
                    }
                    self.requests.push_back((tag, call));
                }
            },
        }
    }

    /// Lets time pass until the next timer; false when there is none within patience.
    fn advance(&mut self, until: Instant) -> bool {
        let Some(next) = self.timers.iter().map(|(at, _)| *at).min().filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        let due: Vec<Timer> =
            self.timers.iter().filter(|(at, _)| *at <= next).map(|(_, timer)| *timer).collect();
        self.timers.retain(|(at, _)| *at > next);
        for timer in due {
            match timer {
                Timer::Alarm => self.bridge.alarm(),
                Timer::Start(tag) => self.start(tag),
                Timer::Silent(tag) => {
                    // Only the stream of HTTP+SSE is watched past its head: it owes an endpoint (SSE-2).
                    let watched = |live: &&mut Live| !live.head || *live.passage.purpose() == Purpose::Stream;
                    let silent = self.live.get_mut(&tag).filter(watched);
                    let step = silent.and_then(|live| Some(live.passage.timed_out(live.passage.silence()?)));
                    if let Some(step) = step {
                        self.requests.retain(|(waiting, _)| *waiting != tag);
                        self.step(tag, step, Vec::new());
                    }
                }
                Timer::Waited(tag) => {
                    if let Some(live) = self.live.get_mut(&tag) {
                        let step = live.passage.waited();
                        self.step(tag, step, Vec::new());
                    }
                }
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
        let moment = self.moment();
        let mut items = Vec::new();
        let Some(live) = self.live.get_mut(&tag) else { return };
        let step = match piece {
            Piece::Head(status, headers) => {
                let headers = headers
                    .iter()
                    .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
                    .collect();
                live.head = true;
                if live.passage.head(Head { status, headers }, &mut items) == Body::Events {
                    live.guard = Some(Guard::new(MAX_MESSAGE));
                    if *live.passage.purpose() == Purpose::Notice {
                        self.bridge.ended(tag, Outcome::Done, 0.0);
                    }
                }
                None
            }
            Piece::Body(body) => Some(live.passage.body(Bytes::from(body), moment, &mut items)),
            Piece::Event { .. } | Piece::Raw(_) => {
                let bytes = super::peer::stream_bytes(&piece);
                let guard = live.guard.as_mut().expect("a stream of events");
                guard.push(&bytes);
                while let Ok(Some(block)) = guard.next_block() {
                    live.passage.event(block.into_event(), &mut items);
                }
                None
            }
            Piece::End if live.guard.is_some() => Some(live.passage.stream_ended(moment)),
            Piece::End => Some(live.passage.body(Bytes::new(), moment, &mut items)),
            Piece::Reset if live.guard.is_some() => Some(live.passage.stream_ended(moment)),
            Piece::Reset => Some(live.passage.no_reply("connection reset", Reached::Somebody, moment)),
        };
        match step {
            Some(step) => self.step(tag, step, items),
            None => items.into_iter().for_each(|item| self.bridge.item(tag, item)),
        }
        self.perform();
    }
}

impl Stage for Pure {
    fn client_says(&mut self, line: &str) {
        self.bridge.from_client(Bytes::from(line.to_owned()));
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
    let headers = call
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = String::from_utf8_lossy(&call.body).into_owned();
    Received { method: call.method.to_string(), headers, body }
}
