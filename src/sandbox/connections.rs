//! Limits the number of connections; an idle one is closed to make room for a new one.
//!
//! Never closes a connection whose request is being answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    /// Time limit for a connection's first request.
    timeout: Duration,
    seen: Mutex<(u64, HashMap<u64, Seen>)>,
}

#[derive(Debug)]
struct Seen {
    /// The time of the connection or of its last answer.
    since: Instant,
    asking: usize,
    asked: bool,
    leaves: Arc<Notify>,
}

/// One connection, open until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    connections: Arc<Connections>,
    number: u64,
    leaves: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

/// One request in progress, until it is dropped.
pub(super) struct InRequest<'a>(&'a Admitted);

impl Connections {
    pub fn new(most: usize, timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), timeout, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, (u64, HashMap<u64, Seen>)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a free place; if there is none, asks the connection that was idle longest to close.
    pub async fn admit(self: &Arc<Self>) -> Option<Admitted> {
        if self.places.available_permits() == 0 {
            self.send_one_away();
        }
        let place = self.places.clone().acquire_owned().await.ok()?;
        let leaves = Arc::new(Notify::new());
        let mut seen = self.seen();
        seen.0 += 1;
        let number = seen.0;
        let new = Seen { since: Instant::now(), asking: 0, asked: false, leaves: leaves.clone() };
        seen.1.insert(number, new);
        drop(seen);
        Some(Admitted { connections: self.clone(), number, leaves, _place: place })
    }

    fn send_one_away(&self) {
        let seen = self.seen();
        let idle = seen.1.values().filter(|admitted| admitted.asking == 0);
        if let Some(admitted) = idle.min_by_key(|admitted| (admitted.asked, admitted.since)) {
            admitted.leaves.notify_one();
        }
    }
}

impl Admitted {
    /// Marks the start of a request.
    pub fn asks(&self) -> InRequest<'_> {
        self.change(|seen| {
            seen.asking += 1;
            seen.asked = true;
        });
        InRequest(self)
    }

    /// Waits until the connection should close: its place is needed, or its first request is overdue.
    pub async fn must_leave(&self) {
        tokio::select! {
            () = self.leaves.notified() => return,
            () = tokio::time::sleep(self.connections.timeout) => {}
        }
        if self.connections.seen().1.get(&self.number).is_some_and(|seen| seen.asked) {
            self.leaves.notified().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.connections.seen().1.get_mut(&self.number) {
            change(seen);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.seen().1.remove(&self.number);
    }
}

impl Drop for InRequest<'_> {
    fn drop(&mut self) {
        self.0.change(|seen| {
            seen.asking -= 1;
            seen.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_asks_nothing_makes_room_and_whoever_asks_stays() {
        let connections = Arc::new(Connections::new(2, Duration::from_secs(60)));
        let (busy, silent) = (connections.admit().await.unwrap(), connections.admit().await.unwrap());
        let _asking = busy.asks();
        let leaves = async {
            silent.must_leave().await;
            drop(silent);
        };
        let (third, ()) = tokio::join!(connections.admit(), leaves);
        assert!(third.is_some());
        assert_eq!(connections.seen().1.len(), 2);
    }

    #[tokio::test]
    async fn a_first_request_that_never_comes_is_not_awaited_for_ever() {
        let timeout = Duration::from_millis(20);
        let connections = Arc::new(Connections::new(2, timeout));
        let (silent, idle) = (connections.admit().await.unwrap(), connections.admit().await.unwrap());
        drop(idle.asks());
        silent.must_leave().await;
        assert!(tokio::time::timeout(timeout * 3, idle.must_leave()).await.is_err());
    }
}
