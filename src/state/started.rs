//! Records which calls a batch has started, so that a call that may have run is not repeated after the batch was
//! killed.
//!
//! One file per running batch, deleted when it ends. Contains no secrets: a call is identified by its hash. Refuses to
//! resume a batch while another one runs against the same service, since both could make the same call.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::{Durability, State, private_directory, private_file, replace, short_hash};

const PREFIX: &str = "batch-";
const HEAD: &str = "asistry batch 1";
/// Prefix of a call that did not run.
const UNDONE: char = '-';
/// Records older than this are deleted.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The record of the running batch.
#[derive(Debug)]
pub struct BatchRecord {
    path: PathBuf,
    file: File,
    /// Whether the last line may be incomplete.
    torn: bool,
    _alone: ServiceLock,
}

/// The lock on batches against a service.
#[derive(Debug)]
struct ServiceLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// The records of killed batches against the same service.
#[derive(Debug, Default)]
pub struct LeftoverBatches {
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    path: PathBuf,
    calls: HashSet<String>,
}

/// How a batch relates to earlier runs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It makes every call.
    New,
    /// It makes the calls that an earlier run left open, and must be alone at its service.
    Resumed,
}

impl State {
    /// Starts the record of a batch against a service; `None` if another batch is running and either of the two resumes
    /// an earlier output.
    ///
    /// # Errors
    /// Any IO error.
    pub fn begin_batch(&self, service: &str, run: Run) -> io::Result<Option<BatchRecord>> {
        private_directory(self.directory())?;
        let lock = private_file(&self.directory().join(format!("batches-{}.lock", short_hash(service))))?;
        let locked = match run {
            Run::Resumed => lock.try_lock(),
            Run::New => lock.try_lock_shared(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // tempfile creates it with mode 0600 and a unique name.
        let kept = tempfile::Builder::new()
            .prefix(&beginning(service))
            .suffix(".calls")
            .tempfile_in(self.directory())?
            .keep();
        let (mut file, path) = kept.map_err(|e| e.error)?;
        writeln!(file, "{HEAD}")?;
        Ok(Some(BatchRecord { path, file, torn: false, _alone: ServiceLock(lock) }))
    }

    /// Returns the records of killed batches against a service and deletes very old ones. `own` is the running batch;
    /// its lock ensures that no other one runs.
    ///
    /// # Errors
    /// A record that cannot be read.
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
    /// Any IO error; the call must not be sent then.
    pub fn add(&mut self, call: &str) -> io::Result<()> {
        // A single write, so that a kill leaves the whole line or nothing.
        let before = if std::mem::take(&mut self.torn) { "\n" } else { "" };
        self.file.write_all(format!("{before}{call}\n").as_bytes())?;
        // Must survive a power failure before the answer.
        self.file.sync_data()
    }

    /// Records that a call did not run. Ignores errors: the call then counts as possibly executed.
    pub fn mark_not_run(&mut self, call: &str) {
        self.torn |= self.file.write_all(format!("{UNDONE}{call}\n").as_bytes()).is_err();
    }

    /// Deletes the record: all answers have been written.
    pub fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl LeftoverBatches {
    /// Returns whether a killed batch had started this call.
    pub fn had_begun(&self, call: &str) -> bool {
        self.records.iter().any(|record| record.calls.contains(call))
    }

    /// Removes calls whose answer is in the output. Ignores errors: the calls then still count as possibly executed.
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
        state.begin_batch("s", Run::New).unwrap().unwrap()
    }

    /// Goes on after a kill, and forgets what is settled.
    fn had_begun(state: &State, calls: &[&str], settled: impl Fn(&str) -> bool) -> Vec<bool> {
        let mine = state.begin_batch("s", Run::Resumed).unwrap().unwrap();
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
        let other = state.begin_batch("other", Run::Resumed).unwrap().unwrap();
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
        assert!(state.begin_batch("s", Run::Resumed).unwrap().is_none());
        assert!(state.begin_batch("other", Run::Resumed).unwrap().is_some());
        drop((one, two));
        let alone = state.begin_batch("s", Run::Resumed).unwrap();
        assert!(alone.is_some() && state.begin_batch("s", Run::New).unwrap().is_none());
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
