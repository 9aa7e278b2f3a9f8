//! The memory that large answers may hold at once.
//!
//! An answer is read whole before it is handed on, so many at a time, or a client that does not read,
//! could fill the memory. Past the limit only one answer grows at a time, and the next one not before the
//! client has taken it; it can always be finished, so nothing gets stuck. Refuses to count small ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers below this size are not counted.
const SMALL: usize = 64 * 1024;
/// Past this many bytes in large answers, one grows at a time.
const LIMIT: usize = 32 * 1024 * 1024;
/// An answer of which nothing comes for this long gives its turn to the next one.
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

/// What one answer holds of the budget.
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

    /// Holds this many bytes from now on, and waits until there may be more of them.
    pub async fn grow(&mut self, bytes: usize) {
        self.hold(bytes);
        if self.bytes == 0 || self.turn.is_some() || !self.budget.is_used_up() {
            return;
        }
        if let Ok(turn) = self.budget.turn.clone().acquire_owned().await {
            // Where there is room again, the next in the queue need not wait either.
            self.turn = self.budget.is_used_up().then_some(turn);
        }
    }

    /// Waits until an answer that announces this many bytes may begin.
    pub async fn begin(&mut self, announced: usize) {
        if announced >= SMALL && self.budget.is_used_up() {
            // Nothing is held meanwhile: the connection itself stands still.
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

    /// Waits for a part of an answer; one that stalls holds up no other large answer.
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

    /// Ties budget and turn to the bytes themselves: both are given back when the last slice of them is gone.
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
