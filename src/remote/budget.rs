//! Bounds the memory of large responses.
//!
//! A response is read completely before it is delivered: many large ones, or a client that does not read, could
//! exhaust memory. Over the limit only one response grows at a time; the next one waits until the client has read it,
//! or until its service is slow. One can always be finished, so there is no deadlock. Responses of moderate size have a
//! reserve, so that they need not wait for a large one; small ones are not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Smaller responses are not counted.
const SMALL: usize = 64 * 1024;
/// Largest response that may use the reserve.
const MODERATE: usize = 256 * 1024;
/// Total bytes of moderate responses that need no turn, whatever large ones hold.
const RESERVE: usize = 8 * 1024 * 1024;
/// Total bytes over which only one response grows at a time.
const LIMIT: usize = 32 * 1024 * 1024;
/// Total bytes over which a slow response keeps its turn, so that no other one adds to them.
const HARD_LIMIT: usize = 256 * 1024 * 1024;
/// A response that brings fewer bytes in this time gives up its turn.
const PACE: (usize, Duration) = (1024 * 1024, Duration::from_secs(2));

#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    /// The part of `held` that moderate responses hold.
    moderate: AtomicUsize,
    turn: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        let [held, moderate] = [AtomicUsize::new(0), AtomicUsize::new(0)];
        Self { held, moderate, turn: Arc::new(Semaphore::new(1)) }
    }
}

/// One response's share of the budget.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
    turn: Option<Turn>,
}

/// Permission to grow over the limit.
#[derive(Debug)]
struct Turn {
    _only: OwnedSemaphorePermit,
    /// When it ends, unless this many bytes come before.
    until: Instant,
    missing: usize,
}

impl Turn {
    fn new(only: OwnedSemaphorePermit) -> Self {
        Self { _only: only, until: Instant::now() + PACE.1, missing: PACE.0 }
    }

    fn came(&mut self, bytes: usize) {
        self.missing = self.missing.saturating_sub(bytes);
        if self.missing == 0 {
            (self.until, self.missing) = (Instant::now() + PACE.1, PACE.0);
        }
    }
}

impl Lease {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), bytes: 0, turn: None }
    }

    /// Reserves this many bytes, waiting until they are available.
    pub async fn grow(&mut self, bytes: usize) {
        self.hold(bytes);
        if self.turn.is_none() {
            self.wait_for_turn(self.bytes).await;
        }
    }

    /// Waits until a response of this announced size may start.
    pub async fn begin(&mut self, announced: usize) {
        // No memory is held meanwhile; the connection is not read.
        self.wait_for_turn(announced).await;
        self.hold(announced);
    }

    async fn wait_for_turn(&mut self, bytes: usize) {
        if self.budget.has_room_for(bytes) {
            return;
        }
        let turn = self.budget.turn.clone().acquire_owned().await.ok();
        // If there is room again, the next in the queue need not wait.
        self.turn = turn.filter(|_| !self.budget.has_room_for(bytes)).map(Turn::new);
    }

    fn hold(&mut self, bytes: usize) {
        let bytes = if bytes < SMALL { 0 } else { bytes };
        self.budget.add(bytes);
        self.budget.subtract(self.bytes);
        self.bytes = bytes;
        if bytes == 0 {
            self.turn = None;
        }
    }

    /// Waits for a part of a response; a slow one does not block others.
    pub async fn part<E>(
        &mut self,
        part: impl Future<Output = Result<Option<Bytes>, E>>,
    ) -> Result<Option<Bytes>, E> {
        tokio::pin!(part);
        if let Some(turn) = &mut self.turn {
            if let Ok(part) = tokio::time::timeout_at(turn.until, &mut part).await {
                turn.came(part.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len));
                return part;
            }
            if self.budget.held.load(Ordering::Relaxed) < HARD_LIMIT {
                self.turn = None;
            }
        }
        part.await
    }

    /// Attaches the share to the bytes: it is returned when their last slice is dropped.
    pub fn take(&mut self, bytes: Bytes) -> Bytes {
        if bytes.len() < SMALL {
            return bytes;
        }
        let mut lease = Self::new(&self.budget);
        lease.hold(bytes.len());
        lease.turn = self.turn.take();
        self.hold(0);
        Bytes::from_owner(Leased { bytes, _lease: lease })
    }
}

impl Budget {
    fn has_room_for(&self, bytes: usize) -> bool {
        bytes < SMALL
            || self.held.load(Ordering::Relaxed) < LIMIT
            || (bytes <= MODERATE && self.moderate.load(Ordering::Relaxed) < RESERVE)
    }

    fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if bytes <= MODERATE {
            self.moderate.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn subtract(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if bytes <= MODERATE {
            self.moderate.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.subtract(self.bytes);
    }
}

struct Leased {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn past_the_limit_the_next_answer_waits_until_the_one_before_is_taken() {
        let budget = Arc::new(Budget::default());
        let (mut first, mut second) = (Lease::new(&budget), Lease::new(&budget));
        first.grow(LIMIT).await;
        let first = first.take(Bytes::from(vec![b'x'; LIMIT]));
        let soon = Duration::from_millis(20);
        let waiting = tokio::time::timeout(soon, second.begin(2 * MODERATE)).await;
        assert!(waiting.is_err(), "the first has not been taken");
        let mut others: Vec<Lease> = (0..=RESERVE / MODERATE).map(|_| Lease::new(&budget)).collect();
        others[0].grow(SMALL - 1).await;
        for moderate in &mut others[1..] {
            moderate.begin(MODERATE).await;
        }
        let waiting = tokio::time::timeout(soon, others[0].begin(SMALL)).await;
        assert!(waiting.is_err(), "the reserve is used up");
        drop(others);
        drop(first);
        second.begin(2 * MODERATE).await;
        assert!(second.turn.is_none(), "below the limit nobody needs a turn");
    }

    #[tokio::test]
    async fn a_slow_response_keeps_its_turn_only_where_too_much_is_held() {
        let budget = Arc::new(Budget::default());
        for (held, keeps) in [(LIMIT, false), (HARD_LIMIT, true)] {
            let mut slow = Lease::new(&budget);
            slow.grow(held).await;
            slow.turn.as_mut().expect("a turn").until = Instant::now();
            let never = slow.part(std::future::pending::<Result<Option<Bytes>, ()>>());
            assert!(tokio::time::timeout(Duration::from_millis(20), never).await.is_err());
            assert_eq!(slow.turn.is_some(), keeps, "{held}");
        }
    }

    #[test]
    fn the_budget_is_given_back_with_the_last_slice() {
        let budget = Arc::new(Budget::default());
        let mut lease = Lease::new(&budget);
        let slice = lease.take(Bytes::from(vec![b'x'; SMALL])).slice(5..6);
        drop(lease);
        assert_eq!(budget.held.load(Ordering::Relaxed), SMALL);
        drop(slice);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
