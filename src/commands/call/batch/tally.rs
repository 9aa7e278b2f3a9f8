//! How a batch goes: what the bar shows, and what is said at its end.
//!
//! Refuses to count a call as done that may have run.

use std::time::Instant;

use super::entry::Fate;
use crate::error::{Error, Kind, Remedy, Result};

/// Maximum failed lines that are listed.
const NAMED: usize = 10;

/// The count so far.
#[derive(Debug)]
pub struct Tally {
    begun: Instant,
    total: Option<u64>,
    done: u64,
    /// Answered by an earlier run.
    before: u64,
    /// Lines that failed, and how.
    failed: Vec<(usize, Kind)>,
    /// Of them, how many failed in an earlier run.
    failed_before: usize,
}

impl Tally {
    /// Begins to count; `total` is how many lines there are, where that is known.
    pub fn new(total: Option<u64>) -> Self {
        Self { begun: Instant::now(), total, done: 0, before: 0, failed: Vec::new(), failed_before: 0 }
    }

    /// Counts a line that an earlier run has answered, or left in doubt.
    pub fn earlier(&mut self, fate: Fate, line: usize) {
        match fate {
            Fate::Done | Fate::Open => self.before += 1,
            Fate::Failed => self.failed.push((line, Kind::ServiceError)),
            Fate::InDoubt => self.failed.push((line, Kind::Interrupted)),
        }
        self.failed_before += usize::from(matches!(fate, Fate::Failed | Fate::InDoubt));
    }

    /// Counts a line that is done, or how it failed.
    pub fn settled(&mut self, line: usize, failed: Option<Kind>) {
        match failed {
            None => self.done += 1,
            Some(kind) => self.failed.push((line, kind)),
        }
    }

    /// Returns how many lines are settled, of how many, and what to say beside that.
    pub fn shown(&self) -> (u64, Option<u64>, String) {
        let what = if self.failed.is_empty() {
            "calls".into()
        } else {
            format!("calls, {} failed", self.failed.len())
        };
        (self.settled_lines(), self.total, what)
    }

    /// Says in one line that all went well.
    pub fn said(&self) -> String {
        let before = match self.before {
            0 => String::new(),
            before => format!(", {before} answered before"),
        };
        format!("{} done in {:.1} s{before}", calls(self.done), self.begun.elapsed().as_secs_f64())
    }

    /// Says how it went; `stopped` is why it ended before the last line, `resume` how to go on.
    ///
    /// # Errors
    /// What stopped it, or what the failures have in common.
    pub fn verdict(self, stopped: Option<Error>, resume: Remedy) -> Result<Self> {
        let mut parts = Vec::new();
        if !self.failed.is_empty() {
            let lines = self.failed.iter().take(NAMED).map(|(line, _)| line.to_string()).collect::<Vec<_>>();
            let more = self.failed.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let before = match self.failed_before {
                0 => String::new(),
                before => format!(", {before} of them in an earlier run"),
            };
            parts.push(format!(
                "{} of {} failed{before} ({} {}{more})",
                self.failed.len(),
                calls(self.settled_lines()),
                if self.failed.len() == 1 { "line" } else { "lines" },
                lines.join(", ")
            ));
        }
        if let Some(stopped) = stopped {
            parts.insert(0, stopped.message().to_owned());
            let left = self.total.map(|total| total.saturating_sub(self.settled_lines()));
            parts.push(match left {
                Some(0) => "every line was read".into(),
                Some(left) => format!("{} not made", calls(left)),
                None => "the rest was not made".into(),
            });
            let remedy = match stopped.next_step().cloned() {
                None => resume,
                Some(first) if stopped.advice().is_some_and(|hint| hint.contains("--resume")) => first,
                Some(first) => Remedy::Both(Box::new(first), Box::new(resume)),
            };
            return Err(stopped.with_message(parts.join("; ")).remedy(remedy));
        }
        let Some((_, first)) = self.failed.first() else { return Ok(self) };
        let alike = self.failed.iter().all(|(_, kind)| kind == first);
        // Nothing was interrupted this time.
        let kind = if alike && *first != Kind::Interrupted { *first } else { Kind::ServiceError };
        let remedy = match self.failed_before == self.failed.len() {
            true => {
                Remedy::advice("no call is open; to make one again, take its line out of the earlier output")
            }
            false => resume,
        };
        Err(Error::new(kind, parts.join("; ")).remedy(remedy))
    }

    fn settled_lines(&self) -> u64 {
        self.done + self.before + self.failed.len() as u64
    }
}

fn calls(count: u64) -> String {
    if count == 1 { "1 call".into() } else { format!("{count} calls") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESUME: Remedy = Remedy::advice("resume");

    fn failing(kinds: &[Kind]) -> Error {
        let mut tally = Tally::new(Some(5));
        tally.settled(1, None);
        for (at, kind) in kinds.iter().enumerate() {
            tally.settled(at + 2, Some(*kind));
        }
        tally.verdict(None, RESUME).unwrap_err()
    }

    #[test]
    fn failures_of_one_kind_keep_its_exit_code() {
        let alike = failing(&[Kind::Timeout, Kind::Timeout]);
        assert_eq!((alike.kind(), alike.message()), (Kind::Timeout, "2 of 3 calls failed (lines 2, 3)"));
        assert_eq!(failing(&[Kind::Timeout, Kind::Usage]).kind(), Kind::ServiceError);
        assert_eq!(failing(&[Kind::Interrupted]).kind(), Kind::ServiceError);
    }

    #[test]
    fn what_stopped_it_stands_first() {
        let mut tally = Tally::new(Some(5));
        tally.settled(1, None);
        tally.settled(2, Some(Kind::AuthDenied));
        let told =
            tally.verdict(Some(Error::new(Kind::AuthDenied, "rejected").hint("rotate")), RESUME).unwrap_err();
        assert_eq!(told.message(), "rejected; 1 of 2 calls failed (line 2); 3 calls not made");
        let both = Remedy::Both(Box::new(Remedy::advice("rotate")), Box::new(RESUME));
        assert_eq!(told.next_step(), Some(&both));
    }

    #[test]
    fn an_earlier_doubt_is_no_success() {
        let mut tally = Tally::new(None);
        tally.earlier(Fate::Done, 1);
        assert!(tally.said().ends_with(", 1 answered before"), "{}", tally.said());
        tally.earlier(Fate::InDoubt, 2);
        let told = tally.verdict(None, RESUME).unwrap_err();
        assert_eq!(told.message(), "1 of 2 calls failed, 1 of them in an earlier run (line 2)");
    }
}
