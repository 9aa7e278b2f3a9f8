//! Ports: connections to local clients.
//!
//! A [`Port`] transfers whole lines and does not parse them.

pub mod inside;
mod lines;
pub mod stdio;

use bytes::Bytes;

use crate::protocol::effect::Delivery;

/// An event of a port.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// One line from the client, without its line end.
    Line(Bytes),
    /// A line longer than the limit was dropped.
    TooLong,
    /// The client will send nothing more.
    Closed,
    /// The client has closed its end, but some of its input is still unread. Reported once, while paused.
    HungUp,
    /// The client has read enough that there is room again.
    Drained,
    /// The client can no longer be written to.
    Broken,
}

/// Whether to read lines from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Read lines as they arrive.
    Open,
    /// Leave them unread, but notice when the client leaves.
    Paused,
}

/// A connection to one client.
pub trait Port {
    /// Waits for the next event. Cancel-safe.
    fn next(&mut self, intake: Intake) -> impl Future<Output = Incoming> + Send;

    /// Queues one line for the client, without its line end.
    fn deliver(&mut self, delivery: Delivery);

    /// Starts writing all queued lines.
    fn flush(&mut self);

    /// Returns whether so much is queued that nothing should be added.
    fn is_full(&self) -> bool;

    /// Returns how many queued bytes the client has not read yet.
    fn undelivered(&self) -> usize;
}
