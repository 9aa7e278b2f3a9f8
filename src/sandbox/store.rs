//! The SQLite database: creates it, and runs one piece of work at a time on it.
//!
//! Knows nothing about the services' data. Work runs on the runtime's blocking pool, because a database locked by
//! another process can block for the busy timeout of 5 s, and the event loop may be the bridge's. The lock is taken
//! before the thread, so that waiting requests queue as tasks, not as threads.

use super::service::Service;
use super::{asistry, files, text};
use crate::error::{Error, Kind, Result};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The schema version, in `PRAGMA user_version`.
const VERSION: i64 = 3;
const BUSY: Duration = Duration::from_secs(5);
/// How often to retry the switch to WAL while another process writes.
const SWITCH_ATTEMPTS: usize = 20;

/// The tables that every service shares.
const SHARED: &str = "
CREATE TABLE account (user_id TEXT PRIMARY KEY);
CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES account (user_id),
    name TEXT NOT NULL,
    maker TEXT NOT NULL CHECK (maker IN ('command', 'embedded')),
    hash TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    revoked_at TEXT
);
CREATE INDEX api_key_active ON api_key (service) WHERE revoked_at IS NULL;
";

/// What version 2 adds: kinds of keys, and the services that have their tables.
const SECOND: &str = "
ALTER TABLE api_key ADD COLUMN kind TEXT NOT NULL DEFAULT 'key';
ALTER TABLE api_key ADD COLUMN settings TEXT NOT NULL DEFAULT 'null';
CREATE TABLE served (service TEXT PRIMARY KEY);
";

/// What version 3 adds: the recent calls that the board shows.
const THIRD: &str = "
CREATE TABLE recent_call (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    tool TEXT NOT NULL,
    key_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
";

/// The process's only connection.
#[derive(Clone, Debug)]
pub(super) struct Store(Arc<Mutex<Connection>>);

impl Store {
    /// Takes over a connection.
    pub fn new(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(connection)))
    }

    /// Runs work with the connection on a blocking thread. Error texts are for logs, not for clients.
    pub async fn run<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut connection = Arc::clone(&self.0).lock_owned().await;
        let worked = tokio::task::spawn_blocking(move || work(&mut connection)).await;
        worked
            .map_err(|error| {
                Error::new(Kind::Bug, format!("the sandbox's database work ended early: {error}"))
            })?
            .map_err(|error| failed(&error))
    }
}

/// Returns the database's path in the data directory.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join("sandbox.db")
}

/// Opens the database of a data directory; a new one gets its tables and initial data.
///
/// An existing database is only read, so this waits for no disk write.
pub(super) fn open(data: &Path, services: &[Service]) -> Result<Connection> {
    let path = path(data);
    files::make_private(&path)?;
    let opened = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY)?;
        write_ahead(&connection)?;
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
        text::register(&connection)?;
        Ok(connection)
    };
    let mut connection = opened().map_err(|error| failed(&error))?;
    furnish(&mut connection, services)?;
    Ok(connection)
}

/// Opens an in-memory database.
pub(super) fn open_in_memory(services: &[Service]) -> Result<Connection> {
    let mut connection = Connection::open_in_memory().map_err(|error| failed(&error))?;
    text::register(&connection).map_err(|error| failed(&error))?;
    furnish(&mut connection, services)?;
    Ok(connection)
}

/// Empties the database and inserts the initial data; removes a file that is not an SQLite database.
///
/// The file itself is kept: processes that have it open see the change, whereas after a removal they would keep using
/// the old file, and the last one to close would delete the new write-ahead log.
pub(super) fn reset(data: &Path, services: &[Service]) -> Result<()> {
    let path = path(data);
    if !path.exists() {
        return Ok(());
    }
    let emptied = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY)?;
        write_ahead(&connection)?;
        text::register(&connection)?;
        connection.execute_batch("PRAGMA foreign_keys = OFF;")?;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        drop_tables(&change)?;
        change.pragma_update(None, "user_version", 0)?;
        create(&change, services)?;
        change.commit()
    };
    match emptied() {
        Err(error) if is_no_database(&error) => {
            for suffix in ["", "-wal", "-shm"] {
                files::remove(&data.join(format!("sandbox.db{suffix}")))?;
            }
            Ok(())
        }
        other => other.map_err(|error| failed(&error)),
    }
}

/// Switches to WAL, which is permanent; only reads if the database already uses it.
///
/// SQLite does not apply the busy timeout here, so this waits for the other process's write by starting a
/// transaction, which does apply it, and tries again.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error) if is_busy(&error) && tries < SWITCH_ATTEMPTS => {
                connection.execute_batch("BEGIN IMMEDIATE; COMMIT;")?;
                tries += 1;
            }
            other => return other,
        }
    }
}

fn furnish(connection: &mut Connection, services: &[Service]) -> Result<()> {
    let version = version(connection).map_err(|error| failed(&error))?;
    if version > VERSION {
        let text =
            format!("the sandbox's database has version {version}; this asistry supports version {VERSION}");
        return Err(
            Error::new(Kind::Config, text).hint("asistry sandbox reset, or asistry sandbox --data DIR")
        );
    }
    let is_complete = |connection: &Connection| {
        services
            .iter()
            .try_fold(version == VERSION, |all, service| Ok(all && is_served(connection, service)?))
    };
    if is_complete(connection).map_err(|error| failed(&error))? {
        return Ok(());
    }
    let furnished = |connection: &mut Connection| -> rusqlite::Result<()> {
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        create(&change, services)?;
        change.commit()
    };
    furnished(connection).map_err(|error| failed(&error))
}

/// Creates what a database lacks. Another process may have done so while this one waited for the lock.
fn create(change: &Connection, services: &[Service]) -> rusqlite::Result<()> {
    let version = self::version(change)?;
    if version == 0 {
        change.execute_batch(SHARED)?;
        let user = uuid::Uuid::new_v4().to_string();
        change.execute("INSERT INTO account (user_id) VALUES (?1)", [&user])?;
    }
    if version < 2 {
        change.execute_batch(SECOND)?;
    }
    if version < 3 {
        change.execute_batch(THIRD)?;
    }
    if version == 1 {
        change.execute("INSERT INTO served (service) VALUES ('asistry')", [])?;
    }
    let user: String = change.query_row("SELECT user_id FROM account", [], |row| row.get(0))?;
    for service in services {
        if !is_served(change, service)? {
            change.execute_batch(service.schema)?;
            (service.seed)(change, &user)?;
            change.execute("INSERT INTO served (service) VALUES (?1)", [service.name])?;
        }
    }
    // Version 3 adds Asistry's search, to new databases and to those that have tasks.
    if version < 3 {
        change.execute_batch(asistry::SEARCH)?;
    }
    change.pragma_update(None, "user_version", VERSION)
}

fn is_served(connection: &Connection, service: &Service) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM served WHERE service = ?1")?;
    statement.exists([service.name])
}

/// Drops all tables, virtual ones first: they drop their shadow tables themselves.
fn drop_tables(change: &Connection) -> rusqlite::Result<()> {
    let names: Vec<String> = change
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             ORDER BY sql LIKE 'CREATE VIRTUAL %' DESC",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names {
        change.execute_batch(&format!("DROP TABLE IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Says whether another process holds the database.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn is_no_database(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// Converts an SQLite error.
pub(super) fn failed(error: &rusqlite::Error) -> Error {
    let error_of = |text: String| Error::new(Kind::Config, text);
    if is_no_database(error) {
        return error_of(format!("the sandbox's database is damaged: {error}")).hint("asistry sandbox reset");
    }
    if is_busy(error) {
        return error_of("another process has locked the sandbox's database".into())
            .hint("end it, or asistry sandbox --data DIR with a directory of your own");
    }
    error_of(format!("the sandbox's database cannot be used: {error}")).hint("asistry sandbox --memory")
}

#[cfg(test)]
mod tests {
    use super::super::SERVICES;
    use super::*;
    use std::sync::Barrier;

    fn count(connection: &Connection, table: &str) -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn many_that_open_a_new_database_at_once_furnish_it_once() {
        for _ in 0..10 {
            let home = tempfile::tempdir().unwrap();
            let start = Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        let connection = open(home.path(), SERVICES).unwrap();
                        assert_eq!(count(&connection, "account"), 1);
                        assert_eq!(count(&connection, "asistry_board"), 3);
                    });
                }
            });
        }
    }

    #[test]
    fn an_existing_database_is_opened_without_a_write() {
        let home = tempfile::tempdir().unwrap();
        drop(open(home.path(), SERVICES).unwrap());
        let holder = open(home.path(), SERVICES).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        open(home.path(), SERVICES).unwrap();
    }

    #[test]
    fn a_database_of_a_later_version_is_refused_and_reset_mends_it() {
        let home = tempfile::tempdir().unwrap();
        let connection = open(home.path(), SERVICES).unwrap();
        connection.execute_batch("PRAGMA user_version = 99; CREATE TABLE later (x)").unwrap();
        let refused = open(home.path(), SERVICES).unwrap_err();
        assert!(refused.advice().unwrap().contains("sandbox reset"), "{refused}");
        reset(home.path(), SERVICES).unwrap();
        assert_eq!(count(&open(home.path(), SERVICES).unwrap(), "asistry_board"), 3);
    }

    #[test]
    fn a_file_that_is_no_database_is_named_and_reset_removes_it() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(path(home.path()), "not a database, but long enough to look like one".repeat(40))
            .unwrap();
        assert!(open(home.path(), SERVICES).unwrap_err().message().contains("damaged"));
        reset(home.path(), SERVICES).unwrap();
        open(home.path(), SERVICES).unwrap();
    }
}
