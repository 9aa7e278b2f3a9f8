//! A way to the service: through a bridge, or straight.

use std::time::Duration;

use crate::messages::Tool;

/// Somebody who makes calls.
pub trait Way {
    /// Makes calls one at a time; returns how long each took.
    fn one_at_a_time(&mut self, tool: Tool, count: usize) -> Vec<Duration>;

    /// Makes calls with this many in flight; returns how long all of them took.
    fn in_flight(&mut self, count: usize, in_flight: usize) -> Duration;

    /// Calls for a large answer; returns how long it took to pass.
    fn large(&mut self, tool: Tool) -> Duration;

    /// Calls for a stream of progress notifications; returns how long it took to pass.
    fn progress(&mut self, tool: Tool) -> Duration;
}
