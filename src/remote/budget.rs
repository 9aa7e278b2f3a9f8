//! The memory that large answers may hold at once.
//!
//! An answer is read whole before it is handed on, so many at a time, or a client that does not read,
//! could fill the memory. Past the limit only one answer grows at a time; it can always be finished, so
//! nothing gets stuck. Refuses to count small ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers below this size are not counted.
const SMALL: usize = 64 * 1024;
/// Past this many bytes in large answers, one grows at a time.
const LIMIT: usize = 32 * 1024 * 1024;

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

impl Budget {
    /// Waits until an answer that holds this much may grow; the permit is kept until it is handed on.
    pub async fn turn(&self, lease: &Lease) -> Option<OwnedSemaphorePermit> {
        if lease.bytes < SMALL || self.held.load(Ordering::Relaxed) < LIMIT {
            return None;
        }
        self.turn.clone().acquire_owned().await.ok()
    }
}

/// What one answer holds of the budget.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Lease {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Holds this many bytes from now on.
    pub fn hold(&mut self, bytes: usize) {
        let bytes = if bytes < SMALL { 0 } else { bytes };
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }

    /// Ties the budget to the bytes themselves: it is given back when the last slice of them is gone.
    pub fn take(&mut self, bytes: Bytes) -> Bytes {
        if bytes.len() < SMALL {
            return bytes;
        }
        let mut lease = Self::new(&self.budget);
        lease.hold(bytes.len());
        Bytes::from_owner(Leased { bytes, _lease: lease })
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
    async fn past_the_limit_one_answer_grows_at_a_time() {
        let budget = Arc::new(Budget::default());
        let (mut first, mut second) = (Lease::new(&budget), Lease::new(&budget));
        first.hold(LIMIT);
        second.hold(SMALL);
        let turn = budget.turn(&first).await;
        assert!(turn.is_some());
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), budget.turn(&second)).await;
        assert!(waiting.is_err(), "the second waits");
        drop((turn, first));
        assert!(budget.turn(&second).await.is_none(), "below the limit nobody waits");
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
