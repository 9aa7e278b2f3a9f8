//! Which calls a batch has begun: a killed one leaves its record behind, so that what may have run is not called
//! again.
//!
//! One file for each running batch, removed when it ends. Refuses secrets: a call is known by its digest. Refuses
//! a batch that goes on from an earlier output while another one runs against the same service: either could make
//! a call that the other has just made.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::{Durability, State, private_directory, private_file, replace, short_hash};

const PREFIX: &str = "batch-";
const HEAD: &str = "asistry batch 1";
/// Stands before a call that did not run after all.
const UNDONE: char = '-';
/// What nobody has come back for in this time is forgotten.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The record of the batch that runs now.
#[derive(Debug)]
pub struct BatchRecord {
    path: PathBuf,
    file: File,
    /// Its last line may be half a line.
    torn: bool,
    _alone: ServiceLock,
}

/// The right to run a batch against a service, as long as it lives.
#[derive(Debug)]
struct ServiceLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// What killed batches against the same service left behind.
#[derive(Debug, Default)]
pub struct LeftoverBatches {
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    path: PathBuf,
    calls: HashSet<String>,
}

impl State {
    /// Begins the record of a batch against a service; `None` where another one runs, and one of the two goes on
    /// from an earlier output.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin_batch(&self, service: &str, resumes: bool) -> io::Result<Option<BatchRecord>> {
        private_directory(self.directory())?;
        let lock = private_file(&self.directory().join(format!("batches-{}.lock", short_hash(service))))?;
        match if resumes { lock.try_lock() } else { lock.try_lock_shared() } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // 0600 from the beginning, and under a name that nobody else has.
        let kept = tempfile::Builder::new()
            .prefix(&beginning(service))
            .suffix(".calls")
            .tempfile_in(self.directory())?
            .keep();
        let (mut file, path) = kept.map_err(|e| e.error)?;
        writeln!(file, "{HEAD}")?;
        Ok(Some(BatchRecord { path, file, torn: false, _alone: ServiceLock(lock) }))
    }

    /// Returns what killed batches against a service left behind, and forgets what is very old. `own` is the batch
    /// that goes on, so no other one runs.
    ///
    /// # Errors
    /// A record that is there and cannot be read.
    pub fn leftover_batches(&self, service: &str, own: &BatchRecord) -> io::Result<LeftoverBatches> {
        let mut left = LeftoverBatches::default();
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            let path = entry.path();
            if path == own.path || !entry.file_name().to_string_lossy().starts_with(&beginning(service)) {
                continue;
            }
            if entry.metadata()?.modified()?.elapsed().unwrap_or_default() > KEPT {
                fs::remove_file(&path)?;
                continue;
            }
            let mut calls = HashSet::new();
            for line in BufReader::new(File::open(&path)?).lines().skip(1) {
                let line = line?;
                match line.strip_prefix(UNDONE) {
                    None if line.is_empty() => {}
                    Some(call) => drop(calls.remove(call)),
                    None => drop(calls.insert(line)),
                }
            }
            left.records.push(Record { path, calls });
        }
        Ok(left)
    }
}

impl BatchRecord {
    /// Records that a call is about to be sent.
    ///
    /// # Errors
    /// What the file system says; then it must not be sent.
    pub fn add(&mut self, call: &str) -> io::Result<()> {
        // One write: a kill leaves the whole line or nothing.
        let before = if std::mem::take(&mut self.torn) { "\n" } else { "" };
        self.file.write_all(format!("{before}{call}\n").as_bytes())?;
        // Power may fail between the call and its answer.
        self.file.sync_data()
    }

    /// Records that a call did not run after all. That it cannot be written is no failure: it stays in doubt.
    pub fn mark_not_run(&mut self, call: &str) {
        self.torn |= self.file.write_all(format!("{UNDONE}{call}\n").as_bytes()).is_err();
    }

    /// Ends the record: every call that was begun has its answer written.
    pub fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl LeftoverBatches {
    /// Says whether a batch that was killed had begun this call.
    pub fn had_begun(&self, call: &str) -> bool {
        self.records.iter().any(|record| record.calls.contains(call))
    }

    /// Forgets the calls whose fate stands in the output by now. That it cannot be written is no failure: they
    /// stay in doubt.
    pub fn forget(self, settled: impl Fn(&str) -> bool) {
        for mut record in self.records {
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
    format!("{PREFIX}{}-", short_hash(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(state: &State) -> BatchRecord {
        state.begin_batch("s", false).unwrap().unwrap()
    }

    /// Goes on after a kill, and forgets what is settled.
    fn had_begun(state: &State, calls: &[&str], settled: impl Fn(&str) -> bool) -> Vec<bool> {
        let mine = state.begin_batch("s", true).unwrap().unwrap();
        let left = state.leftover_batches("s", &mine).unwrap();
        let had = calls.iter().map(|call| left.had_begun(call)).collect();
        left.forget(settled);
        mine.forget();
        had
    }

    #[test]
    fn what_a_killed_batch_had_begun_is_known_until_it_is_settled() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().join("state"));
        let mut killed = begun(&state);
        killed.add("a").unwrap();
        killed.add("b").unwrap();
        killed.add("d").unwrap();
        killed.mark_not_run("d");
        drop(killed);
        assert_eq!(had_begun(&state, &["a", "b", "c", "d"], |call| call == "a"), [true, true, false, false]);
        let other = state.begin_batch("other", true).unwrap().unwrap();
        assert!(!state.leftover_batches("other", &other).unwrap().had_begun("b"));
        assert_eq!(had_begun(&state, &["a", "b"], |_| true), [false, true]);
        assert_eq!(had_begun(&state, &["b"], |_| true), [false]);
    }

    #[cfg(unix)]
    #[test]
    fn a_call_whose_record_is_not_on_the_disk_is_not_begun() {
        let home = tempfile::tempdir().unwrap();
        let mut started = begun(&State::new(home.path().to_owned()));
        // Takes what is written, and cannot be synced.
        started.file = File::options().write(true).open("/dev/null").unwrap();
        assert!(started.add("a").is_err());
    }

    #[test]
    fn a_batch_that_ended_leaves_no_record() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let mut started = begun(&state);
        started.add("a").unwrap();
        started.forget();
        let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.map(|name| name.into_string().unwrap()).all(|name| name.ends_with(".lock")));
    }

    #[test]
    fn a_batch_that_goes_on_is_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let (one, two) = (begun(&state), begun(&state));
        assert!(state.begin_batch("s", true).unwrap().is_none());
        assert!(state.begin_batch("other", true).unwrap().is_some());
        drop((one, two));
        let alone = state.begin_batch("s", true).unwrap();
        assert!(alone.is_some() && state.begin_batch("s", false).unwrap().is_none());
    }

    #[test]
    fn what_a_full_disk_cut_off_takes_no_later_call_along() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let mut started = begun(&state);
        started.add("a").unwrap();
        let full = File::open(&started.path).unwrap(); // refuses to be written, as a full disk does
        let file = std::mem::replace(&mut started.file, full);
        started.mark_not_run("a");
        started.file = file;
        started.file.write_all(b"-half").unwrap();
        started.add("b").unwrap();
        drop(started);
        assert_eq!(had_begun(&state, &["a", "b"], |_| true), [true, true]);
    }
}
