//! Bounds the memory of large responses.
//!
//! A response is read completely before it is delivered: many large ones, or a client that does not read, could
//! exhaust memory. Over the limit only one response grows at a time; the next one waits until the client has read it.
//! One can always be finished, so there is no deadlock. Small responses are not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smaller responses are not counted.
const SMALL: usize = 64 * 1024;
/// Total bytes of large responses over which only one grows at a time.
const LIMIT: usize = 32 * 1024 * 1024;
/// A response that stalls for this long gives up its turn.
const STALL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    turn: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { held: AtomicUsize::new(0), turn: Arc::new(Semaphore::new(1)) }
    }
}

/// One response's share of the budget.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
    turn: Option<OwnedSemaphorePermit>,
}

impl Lease {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), bytes: 0, turn: None }
    }

    /// Reserves this many bytes, waiting until they are available.
    pub async fn grow(&mut self, bytes: usize) {
        self.hold(bytes);
        if self.bytes == 0 || self.turn.is_some() || !self.budget.is_used_up() {
            return;
        }
        if let Ok(turn) = self.budget.turn.clone().acquire_owned().await {
            // If there is room again, the next in the queue need not wait.
            self.turn = self.budget.is_used_up().then_some(turn);
        }
    }

    /// Waits until a response of this announced size may start.
    pub async fn begin(&mut self, announced: usize) {
        if announced >= SMALL && self.budget.is_used_up() {
            // No memory is held meanwhile; the connection is not read.
            let turn = self.budget.turn.clone().acquire_owned().await.ok();
            self.turn = turn.filter(|_| self.budget.is_used_up());
        }
        self.hold(announced);
    }

    fn hold(&mut self, bytes: usize) {
        let bytes = if bytes < SMALL { 0 } else { bytes };
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        if bytes == 0 {
            self.turn = None;
        }
    }

    /// Waits for a part of a response; a stalled one does not block others.
    pub async fn part<T>(&mut self, part: impl Future<Output = T>) -> T {
        tokio::pin!(part);
        if self.turn.is_some() {
            match tokio::time::timeout(STALL, &mut part).await {
                Ok(part) => return part,
                Err(_) => self.turn = None,
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
    fn is_used_up(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= LIMIT
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
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
        let soon = std::time::Duration::from_millis(20);
        let waiting = tokio::time::timeout(soon, second.begin(SMALL)).await;
        assert!(waiting.is_err(), "the first has not been taken");
        let mut small = Lease::new(&budget);
        small.grow(SMALL - 1).await;
        drop(first);
        second.begin(SMALL).await;
        assert!(second.turn.is_none(), "below the limit nobody needs a turn");
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
