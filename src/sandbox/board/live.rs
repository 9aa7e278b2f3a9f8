//! Sends the board to the open pages, each time it changes.
//!
//! Asks the database whether it has changed only while a page is open, once for all pages: `data_version` changes with
//! the commits of other connections, `total_changes` with those of our own.

use super::view;
use crate::sandbox::store::Store;
use bytes::Bytes;
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long a change may go unseen.
const POLL: Duration = Duration::from_millis(250);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The open pages and what they show.
pub(super) struct Live {
    store: Store,
    quit: watch::Receiver<bool>,
    /// The newest event; `None` until it is read, and while no page is open.
    newest: watch::Sender<Option<Bytes>>,
    is_polling: Mutex<bool>,
}

/// The state of the database that a snapshot was read from.
type Version = (i64, i64);

impl Live {
    /// Creates it, with no page open.
    pub fn new(store: Store, quit: watch::Receiver<bool>) -> Self {
        Self { store, quit, newest: watch::Sender::new(None), is_polling: Mutex::new(false) }
    }

    /// Opens the stream of one page: the board as it is, then each change.
    pub fn follow(self: &Arc<Self>) -> mpsc::Receiver<Bytes> {
        let (pieces, stream) = mpsc::channel(1);
        let mut is_polling = self.is_polling.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(pass_on(self.newest.subscribe(), pieces, self.quit.clone()));
        if !*is_polling {
            *is_polling = true;
            tokio::spawn(Arc::clone(self).poll());
        }
        stream
    }

    /// Looks for changes until no page is open.
    async fn poll(self: Arc<Self>) {
        let (mut quit, mut seen, mut is_failing) = (self.quit.clone(), None, false);
        while !self.is_unwatched() {
            match self.store.run(move |connection| look(connection, seen)).await {
                Ok((version, board)) => {
                    (seen, is_failing) = (Some(version), false);
                    if let Some(board) = board {
                        self.publish(Bytes::from(format!("event: board\ndata: {board}\n\n")));
                    }
                }
                Err(error) if !is_failing => {
                    is_failing = true;
                    tracing::warn!(%error, "the sandbox cannot read its board");
                }
                Err(_) => {}
            }
            tokio::select! {
                _ = quit.wait_for(|quit| *quit) => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Says whether no page is open; then the next one starts the polling again.
    fn is_unwatched(&self) -> bool {
        let mut is_polling = self.is_polling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.newest.receiver_count() > 0 {
            return false;
        }
        *is_polling = false;
        self.newest.send_replace(None);
        true
    }

    fn publish(&self, event: Bytes) {
        self.newest.send_if_modified(|newest| {
            let is_new = newest.as_ref() != Some(&event);
            *newest = Some(event);
            is_new
        });
    }
}

/// Reads the board if the database has changed since `seen`.
fn look(connection: &mut Connection, seen: Option<Version>) -> rusqlite::Result<(Version, Option<String>)> {
    let theirs = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
    let ours = connection.prepare_cached("SELECT total_changes()")?.query_row([], |row| row.get(0))?;
    let version = (theirs, ours);
    match seen == Some(version) {
        true => Ok((version, None)),
        false => Ok((version, Some(view::snapshot(connection)?.to_string()))),
    }
}

/// Passes the events on to one page until it is closed.
async fn pass_on(
    mut newest: watch::Receiver<Option<Bytes>>,
    pieces: mpsc::Sender<Bytes>,
    mut quit: watch::Receiver<bool>,
) {
    let mut next = Some(Bytes::from_static(b"retry: 1000\n\n"));
    // The board as it is comes first.
    newest.mark_changed();
    loop {
        if let Some(event) = next.take() {
            tokio::select! {
                _ = quit.wait_for(|quit| *quit) => return,
                sent = pieces.send(event) => if sent.is_err() { return },
            }
        }
        next = tokio::select! {
            _ = quit.wait_for(|quit| *quit) => return,
            () = pieces.closed() => return,
            () = tokio::time::sleep(KEEPALIVE) => Some(Bytes::from_static(b": here\n\n")),
            changed = newest.changed() => match changed {
                Ok(()) => newest.borrow_and_update().clone(),
                Err(_) => return,
            },
        };
    }
}
