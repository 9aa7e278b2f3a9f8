//! Where a client speaks to us.
//!
//! Refuses to understand what is said: a [`Port`] hands whole lines over, and takes whole lines.

pub mod inside;
mod lines;
pub mod stdio;

use bytes::Bytes;

use crate::protocol::effect::Delivery;

/// What a port has to tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// One line of the client, without its end.
    Line(Bytes),
    /// A line longer than the limit was dropped.
    TooLong,
    /// The client will say nothing more.
    Closed,
    /// The client has closed its end, and some of what it said is still unread. Reported once, while not reading.
    HungUp,
    /// The client has taken so much that there is room again.
    Drained,
    /// The client takes nothing any more.
    Broken,
}

/// Whether lines of the client are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// They are read as they come.
    Open,
    /// They stay unread; that the client has gone is still noticed.
    Paused,
}

/// One client's end of a conversation.
pub trait Port {
    /// Waits for what happens next. Safe to cancel.
    fn next(&mut self, intake: Intake) -> impl Future<Output = Incoming> + Send;

    /// Takes one line for the client, without its end.
    fn deliver(&mut self, delivery: Delivery);

    /// Starts everything on its way that was delivered.
    fn flush(&mut self);

    /// Says whether so much waits to be taken that nothing should be added.
    fn is_full(&self) -> bool;

    /// Returns how many delivered bytes the client has not taken yet.
    fn undelivered(&self) -> usize;
}
