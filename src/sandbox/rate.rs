//! The rate limit: requests per key within a sliding window.
//!
//! Reads no clock (`now` is passed in). The counts are in memory, so two sandboxes on one database count separately.
//! Refused requests are not counted: otherwise a client that keeps trying would never be admitted again, and
//! `Retry-After` would be wrong.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Requests per window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub requests: usize,
    pub window: Duration,
}

/// The times of each key's last requests, at most [`Limit::requests`] each.
#[derive(Debug)]
pub(super) struct Rate {
    limit: Limit,
    made: HashMap<String, VecDeque<Instant>>,
}

impl Rate {
    /// Creates an empty counter.
    pub fn new(limit: Limit) -> Self {
        Self { limit, made: HashMap::new() }
    }

    /// Counts one request of the key, or returns how long until the next one is admitted.
    pub fn admit(&mut self, key: &str, now: Instant) -> Result<(), Duration> {
        let made = self.made.entry(key.to_owned()).or_default();
        while made.front().is_some_and(|at| now.duration_since(*at) >= self.limit.window) {
            made.pop_front();
        }
        match made.front() {
            Some(oldest) if made.len() >= self.limit.requests => {
                Err(self.limit.window.saturating_sub(now.duration_since(*oldest)))
            }
            _ => {
                made.push_back(now);
                Ok(())
            }
        }
    }

    /// Takes back the last request of the key that was counted.
    pub fn forget_last(&mut self, key: &str) {
        if let Some(made) = self.made.get_mut(key) {
            made.pop_back();
        }
    }
}

/// Returns a wait for `Retry-After`: whole seconds, rounded up, at least one.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Limit = Limit { requests: 100, window: Duration::from_secs(60) };

    fn spent(start: Instant) -> Rate {
        let mut rate = Rate::new(MINUTE);
        for n in 0..100 {
            rate.admit("a", start + Duration::from_millis(n * 100)).unwrap();
        }
        rate
    }

    #[test]
    fn a_hundred_requests_fit_and_the_next_waits_for_the_oldest_to_leave() {
        let start = Instant::now();
        let mut rate = spent(start);
        assert_eq!(rate.admit("a", start + Duration::from_secs(20)), Err(Duration::from_secs(40)));
        assert_eq!(rate.admit("a", start + Duration::from_millis(59_999)), Err(Duration::from_millis(1)));
        assert_eq!(rate.admit("a", start + Duration::from_secs(60)), Ok(()));
        assert!(rate.admit("a", start + Duration::from_secs(60)).is_err(), "only one place was free");
    }

    #[test]
    fn the_window_slides_and_is_not_a_bucket_that_empties_at_once() {
        let start = Instant::now();
        let mut rate = spent(start);
        let later = start + Duration::from_millis(60_450);
        let admitted = (0..100).filter(|_| rate.admit("a", later).is_ok()).count();
        assert_eq!(admitted, 5);
    }

    #[test]
    fn one_keys_requests_are_not_anothers() {
        let start = Instant::now();
        let mut rate = spent(start);
        assert_eq!(rate.admit("b", start), Ok(()));
    }

    #[test]
    fn refused_requests_do_not_push_the_end_of_the_wait_away() {
        let start = Instant::now();
        let mut rate = spent(start);
        for second in 10..60 {
            assert!(rate.admit("a", start + Duration::from_secs(second)).is_err());
        }
        assert_eq!(rate.admit("a", start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(39_001)), 40);
        assert_eq!(whole_seconds(Duration::from_secs(40)), 40);
    }
}
