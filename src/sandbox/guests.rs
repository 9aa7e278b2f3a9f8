//! Who is connected: at most so many, and whoever asks nothing makes room for the next one.
//!
//! Refuses to end a connection whose request is being answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The connections.
#[derive(Debug)]
pub(super) struct Guests {
    places: Arc<Semaphore>,
    /// How long a connection may take for its first request.
    patience: Duration,
    seen: Mutex<(u64, HashMap<u64, Seen>)>,
}

#[derive(Debug)]
struct Seen {
    /// When it connected, or was last answered.
    since: Instant,
    asking: usize,
    asked: bool,
    leaves: Arc<Notify>,
}

/// One connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    number: u64,
    leaves: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

/// One request that is being answered, until it is dropped.
pub(super) struct Asking<'a>(&'a Guest);

impl Guests {
    pub fn new(most: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), patience, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, (u64, HashMap<u64, Seen>)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; where there is none, whoever has asked nothing for the longest time leaves.
    pub async fn admit(self: &Arc<Self>) -> Option<Guest> {
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
        Some(Guest { guests: self.clone(), number, leaves, _place: place })
    }

    fn send_one_away(&self) {
        let seen = self.seen();
        let idle = seen.1.values().filter(|guest| guest.asking == 0);
        if let Some(guest) = idle.min_by_key(|guest| (guest.asked, guest.since)) {
            guest.leaves.notify_one();
        }
    }
}

impl Guest {
    /// Notes that a request has come.
    pub fn asks(&self) -> Asking<'_> {
        self.change(|seen| {
            seen.asking += 1;
            seen.asked = true;
        });
        Asking(self)
    }

    /// Waits until another one needs the place, or the first request is overdue.
    pub async fn must_leave(&self) {
        tokio::select! {
            () = self.leaves.notified() => return,
            () = tokio::time::sleep(self.guests.patience) => {}
        }
        if self.guests.seen().1.get(&self.number).is_some_and(|seen| seen.asked) {
            self.leaves.notified().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.guests.seen().1.get_mut(&self.number) {
            change(seen);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.seen().1.remove(&self.number);
    }
}

impl Drop for Asking<'_> {
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
        let guests = Arc::new(Guests::new(2, Duration::from_secs(60)));
        let (busy, silent) = (guests.admit().await.unwrap(), guests.admit().await.unwrap());
        let _asking = busy.asks();
        let leaves = async {
            silent.must_leave().await;
            drop(silent);
        };
        let (third, ()) = tokio::join!(guests.admit(), leaves);
        assert!(third.is_some());
        assert_eq!(guests.seen().1.len(), 2);
    }

    #[tokio::test]
    async fn a_first_request_that_never_comes_is_not_awaited_for_ever() {
        let patience = Duration::from_millis(20);
        let guests = Arc::new(Guests::new(2, patience));
        let (silent, idle) = (guests.admit().await.unwrap(), guests.admit().await.unwrap());
        drop(idle.asks());
        silent.must_leave().await;
        assert!(tokio::time::timeout(patience * 3, idle.must_leave()).await.is_err());
    }
}
