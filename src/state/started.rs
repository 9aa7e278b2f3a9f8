//! Which calls a batch has begun: a killed one leaves its record behind, so that what may have run is not called
//! again.
//!
//! One file for each running batch, locked while it runs and removed when it ends. Refuses secrets: a call is
//! known by its digest.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::{Durability, State, digits, private_directory, replace};

const PREFIX: &str = "batch-";
const HEAD: &str = "asistry batch 1";
/// Stands before a call that did not run after all.
const UNDONE: char = '-';
/// What nobody has come back for in this time is forgotten.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The record of the batch that runs now.
#[derive(Debug)]
pub struct Started {
    path: PathBuf,
    file: File,
    /// Its last line may be half a line.
    torn: bool,
}

/// What earlier batches against the same service left behind.
#[derive(Debug, Default)]
pub struct Left {
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    path: PathBuf,
    calls: HashSet<String>,
    /// Its batch still runs.
    alive: bool,
}

impl State {
    /// Begins the record of a batch against a service.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin_batch(&self, service: &str) -> io::Result<Started> {
        private_directory(self.directory())?;
        // 0600 from the beginning, and under a name that nobody else has.
        let kept = tempfile::Builder::new()
            .prefix(&beginning(service))
            .suffix(".calls")
            .tempfile_in(self.directory())?
            .keep();
        let (mut file, path) = kept.map_err(|e| e.error)?;
        file.lock()?;
        writeln!(file, "{HEAD}")?;
        Ok(Started { path, file, torn: false })
    }

    /// Returns what earlier batches against a service left behind, and forgets what is very old.
    ///
    /// # Errors
    /// A record that is there and cannot be read.
    pub fn left_batches(&self, service: &str) -> io::Result<Left> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.directory()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(&beginning(service)) {
                continue;
            }
            let path = entry.path();
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let alive = file.try_lock_shared().is_err();
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if !alive && age > KEPT {
                fs::remove_file(&path)?;
                continue;
            }
            let mut lines = BufReader::new(file).lines();
            if lines.next().transpose()?.is_none() {
                // It is being begun at this moment, and not locked yet: its batch is about to need it.
                continue;
            }
            let mut calls = HashSet::new();
            for line in lines {
                let line = line?;
                match line.strip_prefix(UNDONE) {
                    None if line.is_empty() => {}
                    Some(call) => drop(calls.remove(call)),
                    None => drop(calls.insert(line)),
                }
            }
            records.push(Record { path, calls, alive });
        }
        Ok(Left { records })
    }
}

impl Started {
    /// Records that a call is about to be sent.
    ///
    /// # Errors
    /// What the file system says; then it must not be sent.
    pub fn add(&mut self, call: &str) -> io::Result<()> {
        // One write: a kill leaves the whole line or nothing.
        let before = if std::mem::take(&mut self.torn) { "\n" } else { "" };
        self.file.write_all(format!("{before}{call}\n").as_bytes())
    }

    /// Records that a call did not run after all. That it cannot be written is no failure: it stays in doubt.
    pub fn did_not_run(&mut self, call: &str) {
        self.torn |= self.file.write_all(format!("{UNDONE}{call}\n").as_bytes()).is_err();
    }

    /// Ends the record: every call that was begun has its answer written.
    pub fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Left {
    /// Says whether a batch that is over had begun this call.
    pub fn had_begun(&self, call: &str) -> bool {
        self.records.iter().any(|record| !record.alive && record.calls.contains(call))
    }

    /// Says whether a batch that still runs has begun this call.
    pub fn is_under_way(&self, call: &str) -> bool {
        self.records.iter().any(|record| record.alive && record.calls.contains(call))
    }

    /// Forgets the calls whose fate stands in the output by now. That it cannot be written is no failure: they
    /// stay in doubt.
    pub fn forget(self, settled: impl Fn(&str) -> bool) {
        for mut record in self.records.into_iter().filter(|record| !record.alive) {
            let before = record.calls.len();
            record.calls.retain(|call| !settled(call));
            if record.calls.is_empty() {
                let _ = fs::remove_file(&record.path);
            } else if record.calls.len() < before {
                let lines: String = record.calls.iter().map(|call| format!("{call}\n")).collect();
                let _ = replace(&record.path, format!("{HEAD}\n{lines}").as_bytes(), Durability::Lazy);
            }
        }
    }
}

fn beginning(service: &str) -> String {
    format!("{PREFIX}{}-", digits(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_batch_had_begun_is_known_until_it_is_settled() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().join("state"));
        let mut running = state.begin_batch("https://h/mcp").unwrap();
        running.add("a").unwrap();
        running.add("b").unwrap();
        running.add("d").unwrap();
        running.did_not_run("d");
        let left = state.left_batches("https://h/mcp").unwrap();
        assert!(left.is_under_way("a") && !left.had_begun("a"));
        left.forget(|_| true);

        drop(running); // as a kill does
        let left = state.left_batches("https://h/mcp").unwrap();
        assert!(left.had_begun("a") && left.had_begun("b") && !left.had_begun("c") && !left.had_begun("d"));
        left.forget(|call| call == "a");
        assert!(!state.left_batches("https://other/mcp").unwrap().had_begun("b"));
        let left = state.left_batches("https://h/mcp").unwrap();
        assert!(!left.had_begun("a") && left.had_begun("b"));
        left.forget(|_| true);
        assert_eq!(fs::read_dir(home.path().join("state")).unwrap().count(), 0);
    }

    #[test]
    fn a_batch_that_ended_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let mut started = state.begin_batch("s").unwrap();
        started.add("a").unwrap();
        started.forget();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_full_disk_cut_off_takes_no_later_call_along() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let mut started = state.begin_batch("s").unwrap();
        started.add("a").unwrap();
        let full = File::open(&started.path).unwrap(); // refuses to be written, as a full disk does
        let file = std::mem::replace(&mut started.file, full);
        started.did_not_run("a");
        started.file = file;
        started.file.write_all(b"-half").unwrap();
        started.add("b").unwrap();
        drop(started);
        let left = state.left_batches("s").unwrap();
        assert!(left.had_begun("a") && left.had_begun("b"));
    }

    #[test]
    fn a_record_that_is_being_begun_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let path = home.path().join(format!("{}x.calls", beginning("s")));
        File::create(&path).unwrap();
        state.left_batches("s").unwrap().forget(|_| true);
        assert!(path.exists());
    }
}
