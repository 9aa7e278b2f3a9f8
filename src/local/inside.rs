//! A [`Port`] inside the process: `call` and `tools` are clients like any other.
//!
//! Refuses nothing and limits nothing: both ends are ours.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Incoming, Port};
use crate::protocol::message::Origin;

/// The relay's end.
#[derive(Debug)]
pub struct Inside {
    from_client: mpsc::UnboundedReceiver<Bytes>,
    to_client: mpsc::UnboundedSender<Heard>,
}

/// The client's end; dropping it ends the conversation.
#[derive(Debug)]
pub struct Client {
    to_relay: mpsc::UnboundedSender<Bytes>,
    from_relay: mpsc::UnboundedReceiver<Heard>,
}

/// One line for the client, and who wrote it.
#[derive(Debug)]
pub struct Heard {
    /// The line.
    pub line: Bytes,
    /// Who wrote it: what a service writes can never pass for an error of ours.
    pub origin: Origin,
}

/// Makes both ends.
pub fn pair() -> (Inside, Client) {
    let (to_relay, from_client) = mpsc::unbounded_channel();
    let (to_client, from_relay) = mpsc::unbounded_channel();
    (Inside { from_client, to_client }, Client { to_relay, from_relay })
}

impl Client {
    /// Says one line.
    pub fn say(&self, line: impl Into<Bytes>) {
        let _ = self.to_relay.send(line.into());
    }

    /// Waits for one line; `None` when the relay has ended.
    pub async fn hear(&mut self) -> Option<Heard> {
        self.from_relay.recv().await
    }

    /// Returns a line that has come already.
    pub fn heard(&mut self) -> Option<Heard> {
        self.from_relay.try_recv().ok()
    }
}

impl Port for Inside {
    async fn next(&mut self, reading: bool) -> Incoming {
        if !reading {
            return std::future::pending().await;
        }
        self.from_client.recv().await.map_or(Incoming::Closed, Incoming::Line)
    }

    fn deliver(&mut self, line: Bytes, origin: Origin) {
        let _ = self.to_client.send(Heard { line, origin });
    }

    fn flush(&mut self) {}

    fn is_full(&self) -> bool {
        false
    }

    fn undelivered(&self) -> usize {
        0
    }
}
