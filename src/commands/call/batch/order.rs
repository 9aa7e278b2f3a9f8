//! Lines in the order of their turns, whenever they come.
//!
//! Refuses to hand a line out before all earlier ones.

use std::collections::BTreeMap;

/// Lines that wait for earlier ones.
#[derive(Debug, Default)]
pub struct Order {
    given: usize,
    handed_out: usize,
    waiting: BTreeMap<usize, String>,
}

impl Order {
    /// Gives the next turn.
    pub fn turn(&mut self) -> usize {
        self.given += 1;
        self.given - 1
    }

    /// Takes the line of a turn.
    pub fn put(&mut self, turn: usize, line: String) {
        self.waiting.insert(turn, line);
    }

    /// Hands the next line out, if it is there.
    pub fn next(&mut self) -> Option<String> {
        let line = self.waiting.remove(&self.handed_out)?;
        self.handed_out += 1;
        Some(line)
    }

    /// Returns how many turns were given whose lines were not handed out.
    pub fn ahead(&self) -> usize {
        self.given - self.handed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_waits_for_all_earlier_ones() {
        let mut order = Order::default();
        let turns = [order.turn(), order.turn(), order.turn()];
        order.put(turns[2], "c".into());
        order.put(turns[1], "b".into());
        assert_eq!((order.next(), order.ahead()), (None, 3));
        order.put(turns[0], "a".into());
        assert_eq!(std::iter::from_fn(|| order.next()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((order.next(), order.ahead()), (None, 0));
    }
}
