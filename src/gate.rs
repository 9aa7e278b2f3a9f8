//! Admits the exchanges of one key, which share one rate limit. A key that replaces it inherits the gate: it is looked
//! up only after a 401, which an open gate let through.
//!
//! While no limit is known, a burst is slightly staggered, so that the first refusals arrive before everything is
//! sent. After a refusal the gate closes for as long as the service asks; then one exchange probes, and the others
//! follow one by one at the pace the service has allowed. Reads no clock: `now` is passed in.

mod documented;

use std::time::{Duration, Instant};

use crate::protocol::driver::GateNews;
use crate::protocol::retry::{Admission, Ask, Why};
use crate::service::Rate;
use documented::Documented;

/// Longest time for which one response closes the gate.
const LONGEST_CLOSURE: Duration = Duration::from_secs(24 * 3600);
/// The window in which exchanges are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// After this long without traffic the known limit is dropped.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Minimum number of exchanges admitted at once per window.
const BURST: u32 = 8;
/// Interval between further exchanges, long enough for a slow service to refuse one of them.
const STAGGER: Duration = Duration::from_millis(5);
/// Number of exchanges at this interval; later ones follow more closely.
const STAGGERED: u32 = 32;
const CLOSE: Duration = Duration::from_millis(1);
/// Range of the interval after a refusal.
const PACE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Interval if nothing is known about the limit.
const FIRST_PACE: Duration = Duration::from_millis(100);
/// Number of successful exchanges in a row after which the interval shrinks.
const STREAK: u32 = 10;
/// A probe without a reply for this long is abandoned.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an exchange that waits for the probe's reply asks again.
const PROBE_POLL: Duration = Duration::from_millis(250);
/// How often an exchange that cannot wait for a closed gate may probe it.
const PROBE_EVERY: Duration = Duration::from_secs(60);

/// The known rate limit of one key.
#[derive(Debug, Default)]
pub struct Gate {
    window: Option<Window>,
    limit: Option<Limit>,
    documented: Option<Documented>,
}

/// Counts of the current window.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    used: u32,
    accepted: u32,
    /// The most exchanges accepted in an earlier window.
    proven: u32,
    /// The last turn given, and the number of turns.
    tail: Instant,
    turns: u32,
}

/// A limit that the service has enforced.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// What the last refusal said.
    why: Why,
    opens: Instant,
    pace: Duration,
    /// When the next exchange may go.
    next: Instant,
    /// The last turn given.
    tail: Instant,
    probe: Probe,
    last_probe: Instant,
    last_asked: Instant,
    streak: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Due,
    Sent(Instant),
    Passed,
}

impl Gate {
    /// Creates the gate of a key whose service may document a rate.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { documented: rate.map(Documented::new), ..Self::default() }
    }

    /// Admits one exchange or makes it wait.
    pub fn admit(&mut self, now: Instant, ask: Ask) -> Admission {
        if self.limit.is_some_and(|limit| limit.is_over(now)) {
            self.limit = None;
        }
        let admission = match &mut self.limit {
            Some(limit) => match (limit.admit(now, ask), limit.why) {
                (Admission::Wait(wait), Why::Busy) => Admission::Paused(wait),
                (admission, _) => admission,
            },
            None => {
                let wait = self.documented.as_mut().and_then(|rate| rate.wait(now, ask));
                wait.unwrap_or_else(|| self.admit_freely(now, ask))
            }
        };
        if let (Admission::Go, Some(rate)) = (admission, &mut self.documented) {
            rate.admitted(now);
        }
        admission
    }

    /// The exchange that had this turn does not wait for it any more.
    pub fn withdraw(&mut self, turn: Instant) {
        if let Some(rate) = &mut self.documented {
            rate.withdraw(turn);
        }
    }

    /// Takes what came of an exchange that was admitted at this instant.
    pub fn news(&mut self, now: Instant, admitted: Instant, news: GateNews) {
        match news {
            GateNews::Accepted => {
                self.window_at(now).accepted += 1;
                if self.limit.as_mut().is_some_and(|limit| limit.accepted(admitted)) {
                    self.limit = None;
                }
            }
            GateNews::Released => {
                if let Some(limit) = &mut self.limit {
                    limit.released(admitted);
                }
            }
            GateNews::Refused(wait) => {
                self.refused(now, now + wait.min(LONGEST_CLOSURE), Why::RateLimit);
            }
            GateNews::Busy(wait) => self.refused(now, now + wait.min(LONGEST_CLOSURE), Why::Busy),
        }
    }

    fn admit_freely(&mut self, now: Instant, ask: Ask) -> Admission {
        let window = self.window_at(now);
        let room = BURST.max(window.proven.max(window.accepted).saturating_mul(2));
        if window.used < room || ask.turn.is_some_and(|turn| turn <= now) {
            window.used += 1;
            return Admission::Go;
        }
        window.turns += 1;
        window.tail = window.tail.max(now) + if window.turns <= STAGGERED { STAGGER } else { CLOSE };
        Admission::Staggered(window.tail - now)
    }

    fn window_at(&mut self, now: Instant) -> &mut Window {
        let fresh = |proven| Window { since: now, used: 0, accepted: 0, proven, tail: now, turns: 0 };
        let window = self.window.get_or_insert_with(|| fresh(0));
        let age = now.saturating_duration_since(window.since);
        if age > WINDOW {
            let proven = if age > FORGOTTEN { 0 } else { window.proven.max(window.accepted) };
            *window = fresh(proven);
        }
        window
    }

    fn refused(&mut self, now: Instant, opens: Instant, why: Why) {
        if let Some(limit) = &mut self.limit {
            limit.why = why;
            return limit.refused(opens);
        }
        let window = *self.window_at(now);
        let pace = match window.accepted {
            0 => FIRST_PACE,
            accepted => opens.saturating_duration_since(window.since) / accepted,
        };
        self.window = None;
        self.limit = Some(Limit {
            why,
            opens,
            pace: pace.clamp(PACE.0, PACE.1),
            next: opens,
            tail: now,
            probe: Probe::Due,
            last_probe: now,
            last_asked: now,
            streak: 0,
        });
    }
}

impl Limit {
    fn is_over(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.last_asked.max(self.tail).max(self.opens));
        quiet > WINDOW + self.pace * STREAK
    }

    fn admit(&mut self, now: Instant, ask: Ask) -> Admission {
        self.last_asked = now;
        if now < self.opens {
            let vain = self.opens - now > ask.patience;
            if vain && now.saturating_duration_since(self.last_probe) >= PROBE_EVERY {
                self.last_probe = now;
                return Admission::Go;
            }
            return self.turn_for(now, ask);
        }
        let probes = match self.probe {
            Probe::Due => true,
            Probe::Sent(at) => now.saturating_duration_since(at) >= PROBE_TIMEOUT,
            Probe::Passed => false,
        };
        if probes {
            self.probe = Probe::Sent(now);
            self.last_probe = now;
        }
        let has_turn = ask.turn.is_some_and(|turn| turn <= now) || self.tail <= now;
        if probes || (self.probe == Probe::Passed && has_turn && self.next <= now) {
            self.next = now + self.pace;
            return Admission::Go;
        }
        self.turn_for(now, ask)
    }

    /// Gives a turn after all others; an exchange that had one asks again as soon as one may go.
    fn turn_for(&mut self, now: Instant, ask: Ask) -> Admission {
        let probing = matches!(self.probe, Probe::Sent(_)) && now >= self.opens;
        let soonest = if probing { PROBE_POLL } else { PACE.0 };
        let earliest = self.next.max(self.opens).max(now + soonest);
        if ask.turn.is_some() && now >= self.opens {
            return Admission::Wait(earliest - now);
        }
        // The first turn is the probe's, when the gate opens.
        self.tail = if self.tail < earliest { earliest } else { self.tail + self.pace };
        Admission::Wait(self.tail - now)
    }

    /// Returns whether the limit is used up. Only the probe's own reply opens the gate: an exchange that was sent before
    /// the refusal may be accepted long after it.
    fn accepted(&mut self, admitted: Instant) -> bool {
        self.streak += 1;
        if self.probe == Probe::Sent(admitted) {
            self.probe = Probe::Passed;
        }
        if self.streak < STREAK || self.probe != Probe::Passed {
            return false;
        }
        self.streak = 0;
        self.pace = self.pace.mul_f64(0.7).max(PACE.0);
        self.pace == PACE.0
    }

    /// Replaces a probe that ended without a reply.
    fn released(&mut self, admitted: Instant) {
        if self.probe == Probe::Sent(admitted) {
            self.probe = Probe::Due;
        }
    }

    fn refused(&mut self, opens: Instant) {
        // Exchanges sent before the gate closed say nothing about the pace.
        if self.probe != Probe::Due {
            self.pace = (self.pace * 2).clamp(PACE.0, PACE.1);
            self.opens = opens;
        }
        self.opens = self.opens.max(opens);
        self.next = self.opens;
        self.probe = Probe::Due;
        self.streak = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Ask = Ask { patience: Duration::from_secs(60), turn: None };

    /// A service that takes ten exchanges in each second, and asks the others to come in the next one.
    struct TenASecond {
        begun: Instant,
        second: u64,
        taken: u32,
        posts: u32,
    }

    impl TenASecond {
        fn post(&mut self, now: Instant) -> GateNews {
            self.posts += 1;
            let second = (now - self.begun).as_secs();
            if second != self.second {
                (self.second, self.taken) = (second, 0);
            }
            if self.taken < 10 {
                self.taken += 1;
                return GateNews::Accepted;
            }
            GateNews::Refused(Duration::from_secs(1))
        }
    }

    #[test]
    fn forty_calls_at_ten_a_second_take_at_most_sixty_posts() {
        let begun = Instant::now();
        let (mut gate, mut service) = (Gate::default(), TenASecond { begun, second: 0, taken: 0, posts: 0 });
        // When each call asks, and the turn that it was given; a reply takes 3 ms.
        let mut calls: Vec<(Instant, Option<Instant>)> = vec![(begun, None); 40];
        let mut replies: Vec<(Instant, Instant, GateNews)> = Vec::new();
        let mut done = 0;
        for millisecond in 0..20_000 {
            let now = begun + Duration::from_millis(millisecond);
            for (_, sent, news) in replies.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                gate.news(now, sent, news);
                match news {
                    GateNews::Accepted => done += 1,
                    GateNews::Released => unreachable!("every reply speaks"),
                    GateNews::Refused(_) | GateNews::Busy(_) => calls.push((now, None)),
                }
            }
            let due: Vec<_> = calls.extract_if(.., |(at, _)| *at <= now).collect();
            for (_, turn) in due {
                match gate.admit(now, Ask { turn, ..PATIENT }) {
                    Admission::Go => replies.push((now + Duration::from_millis(3), now, service.post(now))),
                    Admission::Staggered(wait) | Admission::Wait(wait) | Admission::Paused(wait) => {
                        calls.push((now + wait, Some(now + wait)));
                    }
                }
            }
        }
        assert_eq!(done, 40);
        assert!(service.posts <= 60, "{} posts", service.posts);
    }

    #[test]
    fn after_a_refusal_one_exchange_probes_and_the_others_follow_it() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert_eq!(gate.admit(now, PATIENT), Admission::Go);
        gate.news(now, now, GateNews::Refused(Duration::from_secs(5)));
        assert_eq!(gate.admit(now, PATIENT), Admission::Wait(Duration::from_secs(5)));
        let Admission::Wait(second) = gate.admit(now, PATIENT) else { panic!() };
        assert!(second > Duration::from_secs(5));
        let opens = now + Duration::from_secs(5);
        let turn = |at| Ask { turn: Some(at), ..PATIENT };
        assert_eq!(gate.admit(opens, turn(opens)), Admission::Go);
        assert!(matches!(gate.admit(now + second, turn(now + second)), Admission::Wait(_)));
        gate.news(now + second, opens, GateNews::Accepted);
        let later = now + second + FIRST_PACE;
        assert_eq!(gate.admit(later, turn(later)), Admission::Go);
        assert!(matches!(gate.admit(later, turn(later)), Admission::Wait(_)), "one at a time");
    }

    #[test]
    fn a_call_that_was_sent_before_the_refusal_does_not_pass_for_the_probe() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert_eq!(gate.admit(now, PATIENT), Admission::Go);
        let second = now + Duration::from_millis(1);
        assert_eq!(gate.admit(second, PATIENT), Admission::Go);
        gate.news(second, second, GateNews::Refused(Duration::from_secs(1)));
        let opens = second + Duration::from_secs(1);
        let turn = |at| Ask { turn: Some(at), ..PATIENT };
        assert_eq!(gate.admit(opens, turn(opens)), Admission::Go, "the probe");
        let later = opens + FIRST_PACE;
        gate.news(later, now, GateNews::Accepted);
        assert!(matches!(gate.admit(later, turn(later)), Admission::Wait(_)), "accepted");
        gate.news(later, now, GateNews::Released);
        assert!(matches!(gate.admit(later, turn(later)), Admission::Wait(_)), "released");
        gate.news(later, opens, GateNews::Accepted);
        assert_eq!(gate.admit(later, turn(later)), Admission::Go);
    }

    #[test]
    fn a_service_that_answers_holds_nobody_up() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for call in 0..1_000 {
            assert_eq!(gate.admit(now, PATIENT), Admission::Go, "call {call}");
            gate.news(now, now, GateNews::Accepted);
        }
    }

    #[test]
    fn a_long_closure_is_probed_once_a_minute() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.news(now, now, GateNews::Refused(Duration::from_secs(3600)));
        let impatient = |gate: &mut Gate, at| gate.admit(now + Duration::from_secs(at), PATIENT);
        assert!(matches!(impatient(&mut gate, 59), Admission::Wait(_)));
        assert_eq!(impatient(&mut gate, 60), Admission::Go);
        assert!(matches!(impatient(&mut gate, 61), Admission::Wait(_)));
        assert_eq!(impatient(&mut gate, 120), Admission::Go);
    }

    #[test]
    fn all_hear_that_the_service_is_busy() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.news(now, now, GateNews::Busy(Duration::from_secs(5)));
        assert_eq!(gate.admit(now, PATIENT), Admission::Paused(Duration::from_secs(5)));
        assert!(matches!(gate.admit(now, PATIENT), Admission::Paused(_)), "another one");
        gate.news(now, now, GateNews::Refused(Duration::from_secs(6)));
        assert!(matches!(gate.admit(now, PATIENT), Admission::Wait(_)));
    }

    #[test]
    fn ten_years_do_not_overflow() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.news(now, now, GateNews::Refused(Duration::from_secs(u64::MAX / 4)));
        assert_eq!(gate.admit(now, PATIENT), Admission::Wait(LONGEST_CLOSURE));
    }

    #[test]
    fn a_probe_that_ends_without_a_word_is_followed_by_another_one() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.news(now, now, GateNews::Refused(Duration::from_secs(1)));
        let opens = now + Duration::from_secs(1);
        assert_eq!(gate.admit(opens, PATIENT), Admission::Go);
        assert!(matches!(gate.admit(opens, PATIENT), Admission::Wait(_)));
        gate.news(opens, opens, GateNews::Released);
        assert_eq!(gate.admit(opens, PATIENT), Admission::Go);
    }

    #[test]
    fn a_probe_without_a_reply_holds_the_gate_for_ten_seconds() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.news(now, now, GateNews::Refused(Duration::from_secs(1)));
        let opens = now + Duration::from_secs(1);
        assert_eq!(gate.admit(opens, PATIENT), Admission::Go);
        let polls = (1..40).map(|poll| opens + poll * PROBE_POLL);
        assert!(polls.into_iter().all(|at| matches!(gate.admit(at, PATIENT), Admission::Wait(_))));
        assert_eq!(gate.admit(opens + PROBE_TIMEOUT, PATIENT), Admission::Go, "the next probe");
        assert!(matches!(gate.admit(opens + PROBE_TIMEOUT, PATIENT), Admission::Wait(_)));
    }
}
