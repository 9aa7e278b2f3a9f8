//! Paces exchanges by the rate that a service documents: what is beyond it waits for its turn instead of being refused.
//!
//! Refuses to slow traffic below that rate. Only counts while the service itself limits the rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::PROBE_EVERY;
use crate::protocol::retry::{Admission, Ask};
use crate::service::Rate;

/// What is added to a turn, because exchanges take different times to arrive.
const MARGIN: Duration = Duration::from_millis(100);

/// The exchanges of the last period.
#[derive(Debug)]
pub(super) struct Documented {
    requests: usize,
    per: Duration,
    /// When exchanges were admitted, the latest ones only.
    sent: VecDeque<Instant>,
    /// The turns that were given to others, in order.
    turns: VecDeque<Instant>,
    /// When an exchange that could not wait was last admitted beyond the rate.
    exceeded: Option<Instant>,
}

impl Documented {
    pub fn new(rate: Rate) -> Self {
        let (sent, turns) = Default::default();
        Self { requests: rate.requests.get() as usize, per: rate.per, sent, turns, exceeded: None }
    }

    /// Returns how long an exchange waits for its turn, if it does.
    pub fn wait(&mut self, now: Instant, ask: Ask) -> Option<Admission> {
        let had_turn = ask.turn.is_some_and(|turn| turn <= now);
        if let Some(turn) = ask.turn {
            self.withdraw(turn);
        }
        let later = self.turns.iter().filter(|_| !had_turn);
        let all = self.sent.len() + if had_turn { 0 } else { self.turns.len() };
        let before = all.checked_sub(self.requests)?;
        let opens = *self.sent.iter().chain(later).nth(before)? + self.per;
        let wait = opens.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        if wait > ask.patience {
            return self.beyond(now, wait);
        }
        // The margin may not make a wait fail that just fits.
        let wait = wait + MARGIN.min(ask.patience - wait);
        self.turns.push_back(now + wait);
        Some(Admission::Wait(wait))
    }

    /// The documented rate is no proof: once a minute an exchange that cannot wait may find out.
    fn beyond(&mut self, now: Instant, wait: Duration) -> Option<Admission> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < PROBE_EVERY;
        if self.exceeded.is_some_and(is_recent) {
            return Some(Admission::Wait(wait));
        }
        self.exceeded = Some(now);
        None
    }

    /// An exchange was admitted.
    pub fn admitted(&mut self, now: Instant) {
        if self.sent.len() == self.requests {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    /// The exchange that had this turn, or one just before it, no longer waits for it.
    pub fn withdraw(&mut self, turn: Instant) {
        if let Some(at) = self.turns.partition_point(|given| *given <= turn).checked_sub(1) {
            self.turns.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gate;
    use super::*;
    use crate::protocol::driver::GateNews;

    const MINUTE: Duration = Duration::from_secs(60);

    fn gate() -> Gate {
        Gate::new(Some(Rate { requests: 100.try_into().unwrap(), per: MINUTE }))
    }

    fn ask(patience: Duration, turn: Option<Instant>) -> Ask {
        Ask { patience, turn }
    }

    /// Runs calls that all come at once, and are accepted; returns when each went.
    fn run(gate: &mut Gate, begun: Instant, calls: usize) -> Vec<Instant> {
        let mut waiting = vec![(begun, None); calls];
        let mut went = Vec::new();
        while let Some(now) = waiting.iter().map(|(at, _)| *at).min() {
            for (_, turn) in waiting.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                match gate.admit(now, ask(10 * MINUTE, turn)) {
                    Admission::Go => {
                        went.push(now);
                        gate.news(now, now, GateNews::Accepted);
                    }
                    Admission::Staggered(wait) | Admission::Wait(wait) | Admission::Paused(wait) => {
                        waiting.push((now + wait, Some(now + wait)));
                    }
                }
            }
        }
        went
    }

    #[test]
    fn a_burst_beyond_the_documented_rate_paces_itself() {
        let begun = Instant::now();
        let went = run(&mut gate(), begun, 350);
        assert_eq!(went.len(), 350);
        for (first, beyond) in went.iter().zip(&went[100..]) {
            assert!(*beyond - *first >= MINUTE, "101 calls in {:?}", *beyond - *first);
        }
        assert!(*went.last().unwrap() - begun < 3 * MINUTE + Duration::from_secs(2), "and loses no time");
    }

    #[test]
    fn what_stays_below_the_documented_rate_never_waits() {
        let (mut gate, begun) = (gate(), Instant::now());
        for second in 0..20 {
            for call in 0..5 {
                let now = begun + Duration::from_secs(second * 3);
                assert_eq!(gate.admit(now, ask(MINUTE, None)), Admission::Go, "{second} {call}");
                gate.news(now, now, GateNews::Accepted);
            }
        }
        assert_eq!(gate.admit(begun + MINUTE, ask(MINUTE, None)), Admission::Go);
    }

    #[test]
    fn a_burst_of_the_whole_rate_is_over_within_a_second() {
        let begun = Instant::now();
        let went = run(&mut gate(), begun, 100);
        assert!(*went.last().unwrap() - begun < Duration::from_secs(1));
    }

    #[test]
    fn a_call_that_cannot_wait_asks_the_service_itself_once_a_minute() {
        let (mut gate, begun) = (gate(), Instant::now());
        let last = *run(&mut gate, begun, 100).last().unwrap();
        let impatient = ask(Duration::ZERO, None);
        assert_eq!(gate.admit(last, impatient), Admission::Go);
        assert!(matches!(gate.admit(last, impatient), Admission::Wait(_)));
    }

    #[test]
    fn the_service_s_own_word_replaces_the_documented_rate() {
        let (mut gate, begun) = (gate(), Instant::now());
        let last = *run(&mut gate, begun, 100).last().unwrap();
        gate.news(last, last, GateNews::Refused(Duration::from_secs(2)));
        let opens = last + Duration::from_secs(2);
        assert_eq!(gate.admit(opens, ask(MINUTE, Some(opens))), Admission::Go, "as it asked");
    }

    #[test]
    fn a_turn_that_is_given_up_is_free_again() {
        let (mut gate, begun) = (gate(), Instant::now());
        let last = *run(&mut gate, begun, 100).last().unwrap();
        let mut wait = || match gate.admit(last, ask(MINUTE, None)) {
            Admission::Wait(wait) => wait,
            other => panic!("{other:?}"),
        };
        let first = wait();
        let waits: Vec<Duration> = (1..100).map(|_| wait()).collect();
        assert!(waits.iter().all(|wait| *wait <= MINUTE));
        let Admission::Go = gate.admit(last, ask(MINUTE, None)) else { panic!("too late: asks the service") };
        assert!(matches!(gate.admit(last, ask(MINUTE, None)), Admission::Wait(wait) if wait > MINUTE));
        gate.withdraw(last + first);
        assert!(matches!(gate.admit(last, ask(MINUTE, None)), Admission::Wait(wait) if wait <= MINUTE));
    }
}
