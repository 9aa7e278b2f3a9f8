//! What this batch has begun, and what killed ones had: asked before a call is sent.
//!
//! Refuses a call that cannot be recorded.

use std::collections::HashSet;

use super::entry::{Earlier, Fate};
use crate::error::{Error, Kind, Result};
use crate::state::State;
use crate::state::started::{BatchRecord, LeftoverBatches, Run};

/// Both records; none where nothing may be remembered.
pub struct Record {
    started: Option<BatchRecord>,
    left: LeftoverBatches,
    /// Calls whose doubt is told by this run.
    told: HashSet<String>,
}

impl Record {
    /// Begins the record of a batch against a service; a resumed one reads the records of killed ones.
    ///
    /// # Errors
    /// [`Kind::Config`] where it cannot be kept, [`Kind::Usage`] where another batch is in the way.
    pub fn begin(state: Option<State>, service: &str, run: Run) -> Result<Self> {
        let mut record = Self { started: None, left: LeftoverBatches::default(), told: HashSet::new() };
        let Some(state) = state else { return Ok(record) };
        let started = state.begin_batch(service, run).map_err(|e| unrecorded(&e))?;
        let started = started.ok_or_else(|| in_the_way(run))?;
        if run == Run::Resumed {
            record.left = state.leftover_batches(service, &started).map_err(|e| unrecorded(&e))?;
        }
        record.started = Some(started);
        Ok(record)
    }

    /// Says whether anything is remembered.
    pub fn is_kept(&self) -> bool {
        self.started.is_some()
    }

    /// Says whether a killed batch had begun a call, which is told now.
    pub fn had_begun(&mut self, call: &str) -> bool {
        let had_begun = self.left.had_begun(call);
        if had_begun {
            self.told.insert(call.to_owned());
        }
        had_begun
    }

    /// Records that a call is about to be sent.
    ///
    /// # Errors
    /// [`Kind::Config`] where it cannot be recorded; then it must not be sent.
    pub fn add(&mut self, call: &str) -> Result<()> {
        self.started.as_mut().map_or(Ok(()), |started| started.add(call)).map_err(|e| unrecorded(&e))
    }

    /// Records that a call did not run after all.
    pub fn mark_not_run(&mut self, call: &str) {
        if let Some(started) = &mut self.started {
            started.mark_not_run(call);
        }
    }

    /// Ends the record: the output has everything that was begun. A doubt about a killed batch's call stays on record
    /// until the earlier output, from which the next run goes on, says it.
    pub fn forget(self, earlier: &Earlier) {
        let told = if earlier.is_at_stdout() { self.told } else { HashSet::new() };
        self.left.forget(|call| told.contains(call) || earlier.fate(call) != Fate::Open);
        if let Some(started) = self.started {
            started.forget();
        }
    }
}

fn in_the_way(run: Run) -> Error {
    let why = match run {
        Run::Resumed => {
            "another batch runs against this service: it may be making the calls that --resume would make"
        }
        Run::New => {
            "a batch that goes on with --resume runs against this service, and could make the same calls"
        }
    };
    Error::new(Kind::Usage, why).hint("wait for its end")
}

fn unrecorded(e: &std::io::Error) -> Error {
    Error::new(Kind::Config, format!("which calls are begun cannot be recorded: {e}"))
        .hint("set ASISTRY_STATE_DIR to a directory that can be written: without a record a call could be made twice")
}
