//! The waits of a message: for its turn at the gate, for a rate limit, for a descriptor, before another attempt.
//!
//! Refuses to wait longer than the promise allows.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Cause, Driver, Next, Purpose, State};
use crate::protocol::Moment;
use crate::protocol::exchange::status;
use crate::protocol::request::Wait;
use crate::protocol::retry::{Admission, Ask, Why};

/// The interval between attempts to connect while no descriptor is free.
const NEXT_DESCRIPTOR: Duration = Duration::from_millis(50);
/// The interval of progress notifications while a request waits for a rate limit.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Why nothing is sent for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The service limits the rate.
    RateLimit,
    /// The service is busy.
    Busy,
    /// A broken stream is resumed later.
    Resumption,
    /// The gate spreads out a burst.
    Staggered,
    /// The last attempt failed.
    Backoff,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimit => "the service limits the rate",
            Self::Busy => "the service asks for it",
            Self::Resumption => "before the stream is resumed",
            Self::Staggered => "a burst is staggered",
            Self::Backoff => "the last attempt failed",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Before another attempt or a resumption, or for a turn.
    Pause,
    /// The rate is limited, or the service is busy; the next progress notification is due at `beat`.
    RateLimit { beat: Instant },
}

/// The state of a driver's waits.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The turn that the gate has given.
    turn: Option<Instant>,
    /// Why it has to wait.
    why: Why,
    /// When the next progress notification about a rate limit is due.
    beat: Option<Instant>,
    /// The remaining wait, to be reported to the client.
    untold: Option<Wait>,
    /// Since when no descriptor was free for its connection.
    without_descriptor: Option<Instant>,
}

impl Driver {
    /// Takes how much longer the request waits for a rate limit, whenever the client should hear of it.
    pub fn take_waiting(&mut self) -> Option<Wait> {
        self.waits.untold.take()
    }

    /// Says whether there is something for [`Self::take_waiting`] to take.
    pub fn has_waits_to_tell(&self) -> bool {
        self.waits.untold.is_some()
    }

    /// Returns for how long nothing is sent, and why.
    pub fn pause(&self, now: Instant) -> Option<(Duration, Pause)> {
        let State::Resting { until, why } = self.state else { return None };
        let why = match why {
            Rest::RateLimit { .. } if self.waits.why == Why::RateLimit => Pause::RateLimit,
            Rest::RateLimit { .. } => Pause::Busy,
            Rest::Pause if self.resuming.is_some() => Pause::Resumption,
            Rest::Pause if self.waits.turn.is_some() => Pause::Staggered,
            Rest::Pause => Pause::Backoff,
        };
        Some((until.saturating_duration_since(now), why))
    }

    /// Returns what to ask the gate.
    pub fn ask(&self) -> Ask {
        Ask { patience: self.promise.patience(&self.terms.retry), turn: self.waits.turn }
    }

    /// The gate has answered.
    pub fn admitted(&mut self, admission: Admission, moment: Moment) -> Next {
        if self.is_limited() && self.promise.broken_at(moment.now).is_some() {
            return self.deadline_met(moment.now);
        }
        self.waits.turn = match admission {
            Admission::Go => None,
            Admission::Staggered(wait) | Admission::Wait(wait) | Admission::Paused(wait) => {
                Some(moment.now + wait)
            }
        };
        match admission {
            Admission::Go => {
                self.waits.beat = None;
                self.state = State::Exchanging { heard: moment.now };
                if self.resuming.is_none() {
                    self.sent = Some(moment.now);
                }
                Next::Exchange(self.at_hand().clone())
            }
            Admission::Staggered(wait) => self.rest(wait, moment.now),
            Admission::Wait(wait) => self.wait_for(Why::RateLimit, wait, moment.now),
            Admission::Paused(wait) => self.wait_for(Why::Busy, wait, moment.now),
        }
    }

    fn wait_for(&mut self, why: Why, wait: Duration, now: Instant) -> Next {
        self.waits.why = why;
        if !self.promise.allows_wait(&self.terms.retry, wait, now) {
            return self.no_turn(wait, now);
        }
        self.promise.waits(wait);
        self.tell_wait(now + wait, now);
        Next::Rest
    }

    /// Says whether another attempt may be made once other exchanges have given their descriptors back.
    pub(super) fn may_wait_for_a_descriptor(&mut self, now: Instant) -> bool {
        if self.resuming.is_none() {
            self.sent = None;
        }
        now < *self.waits.without_descriptor.get_or_insert(now) + self.terms.silence
    }

    pub(super) fn rest_for_a_descriptor(&mut self, now: Instant) -> Next {
        self.rest(NEXT_DESCRIPTOR, now)
    }

    pub(super) fn rest(&mut self, wait: Duration, now: Instant) -> Next {
        self.state = State::Resting { until: now + wait, why: Rest::Pause };
        Next::Rest
    }

    pub(super) fn tell_wait(&mut self, until: Instant, now: Instant) {
        let beat = match self.waits.beat.filter(|beat| *beat > now) {
            Some(beat) => beat,
            None => {
                if matches!(self.purpose, Purpose::Request(_)) {
                    self.waits.untold =
                        Some(Wait { why: self.waits.why, until, executed: self.unanswered() });
                }
                now + HEARTBEAT
            }
        };
        self.waits.beat = Some(beat);
        self.state = State::Resting { until, why: Rest::RateLimit { beat } };
    }

    /// Its turn at the gate would come later than it may wait.
    pub(super) fn no_turn(&mut self, wait: Duration, now: Instant) -> Next {
        let remedy = self.promise.remedy(&self.terms.retry, wait, now);
        let error = status::no_turn(&self.terms.place, self.waits.why, wait).remedy(remedy);
        self.fail(error, self.unanswered(), Cause::Permanent)
    }
}
