//! A [`Port`] for clients in the same process, such as `call` and `tools`.
//!
//! Has no limits: both ends are part of asistry.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Incoming, Intake, Port};
use crate::protocol::effect::Delivery;

/// The relay's end.
#[derive(Debug)]
pub struct Inside {
    from_client: mpsc::UnboundedReceiver<Bytes>,
    to_client: mpsc::UnboundedSender<Delivery>,
}

/// The client's end; dropping it ends the conversation.
#[derive(Debug)]
pub struct Client {
    to_relay: Option<mpsc::UnboundedSender<Bytes>>,
    from_relay: mpsc::UnboundedReceiver<Delivery>,
}

/// Creates both ends.
pub fn pair() -> (Inside, Client) {
    let (to_relay, from_client) = mpsc::unbounded_channel();
    let (to_client, from_relay) = mpsc::unbounded_channel();
    (Inside { from_client, to_client }, Client { to_relay: Some(to_relay), from_relay })
}

impl Client {
    /// Sends one line.
    pub fn say(&self, line: impl Into<Bytes>) {
        if let Some(to_relay) = &self.to_relay {
            let _ = to_relay.send(line.into());
        }
    }

    /// Says nothing more; what is still owed is heard.
    pub fn hang_up(&mut self) {
        self.to_relay = None;
    }

    /// Waits for the next delivery; `None` when the relay has ended.
    pub async fn hear(&mut self) -> Option<Delivery> {
        self.from_relay.recv().await
    }

    /// Returns the next delivery if one has already arrived.
    pub fn heard(&mut self) -> Option<Delivery> {
        self.from_relay.try_recv().ok()
    }
}

impl Port for Inside {
    async fn next(&mut self, intake: Intake) -> Incoming {
        if intake == Intake::Paused {
            return std::future::pending().await;
        }
        self.from_client.recv().await.map_or(Incoming::Closed, Incoming::Line)
    }

    fn deliver(&mut self, delivery: Delivery) {
        let _ = self.to_client.send(delivery);
    }

    fn flush(&mut self) {}

    fn is_full(&self) -> bool {
        false
    }

    fn undelivered(&self) -> usize {
        0
    }
}
