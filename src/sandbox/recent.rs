//! The recent calls that changed a service's data, for the board: tool, key and time.
//!
//! Has no arguments and no results. Stored in the database, so that a board shows the calls of every process.

use super::keys::Caller;
use rusqlite::{Connection, params};

/// How many calls are kept.
const KEPT: i64 = 100;

/// Records a call of a service's tool in the transaction that makes its change; `subject` is the id of what changed.
pub(super) fn record(
    change: &Connection,
    caller: &Caller,
    (service, tool): (&str, &str),
    subject: &str,
) -> rusqlite::Result<()> {
    change
        .prepare_cached("INSERT INTO recent_call (service, tool, key_name, subject) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![service, tool, caller.name, subject])?;
    change
        .prepare_cached("DELETE FROM recent_call WHERE id <= ?1")?
        .execute([change.last_insert_rowid() - KEPT])?;
    Ok(())
}
