//! Exports the data of all services as one JSON file, and imports such a file.
//!
//! Never writes a key, a secret or a login. Decisions where nothing is documented:
//! - An import replaces all data. Keys that a start printed stay valid for the new data; keys that a service handed out
//!   are revoked, and logins at Zuko end, since what they belong to is replaced.
//! - A file is imported into an empty database in memory first, so that a damaged one is refused before anything changes.
//! - `sha256` is that of `data` as compact JSON. Who edits a file by hand takes it out; then it is not checked.

use super::service::Service;
use super::{SERVICES, files, store};
use crate::error::{Error, Kind, Result};
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params, params_from_iter};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

const FORMAT: &str = "asistry-sandbox";
/// The version of the file; to be raised when the tables of a service change.
const VERSION: u64 = 1;

/// Tables that are not exported: what all services share, keys and logins.
const LEFT_OUT: &[&str] = &["account", "api_key", "served", "zuko_client", "zuko_signing_key"];
/// Tables that are not exported, and are emptied by an import: they belong to the data that it replaces. AgentStack's
/// remembered answers may contain keys.
const EMPTIED: &[&str] = &[
    "agentstack_batch",
    "agentstack_job",
    "recent_call",
    "zuko_code",
    "zuko_grant",
    "zuko_refresh",
    "zuko_session",
];

/// An exported file that has been checked.
#[derive(Debug)]
pub struct Import {
    data: Map<String, Value>,
}

/// A table that is exported: its columns, each with whether it holds texts.
struct Table {
    name: String,
    columns: Vec<(String, bool)>,
}

/// Returns the data of all services as one JSON file.
///
/// # Errors
/// `Config` if there is no data or the database cannot be used.
pub fn export(data: &Path) -> Result<String> {
    if !super::has_data(data) {
        let why = format!("there is no sandbox data in {}", data.display());
        return Err(Error::new(Kind::Config, why).hint("asistry sandbox"));
    }
    let mut connection = store::open(data, SERVICES)?;
    let data = read(&mut connection).map_err(|error| store::failed(&error))?;
    let file = json!({"format": FORMAT, "version": VERSION, "sha256": sum(&data), "data": data});
    Ok(format!("{file:#}\n"))
}

impl Import {
    /// Checks the text of an exported file.
    ///
    /// # Errors
    /// `Usage` for a file of another version, or a damaged one.
    pub fn read(text: &str) -> Result<Self> {
        let file: Value =
            serde_json::from_str(text).map_err(|error| damaged(format!("it is not JSON: {error}")))?;
        let Value::Object(mut file) = file else { return Err(damaged("it is not an object")) };
        if file.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(damaged(format!("its `format` is not {FORMAT}")).hint("asistry sandbox export FILE"));
        }
        match file.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => {
                let why = format!("the file has version {other}; this asistry imports version {VERSION}");
                return Err(Error::new(Kind::Usage, why).hint("export it with the same asistry"));
            }
            None => return Err(damaged("its `version` is not a number")),
        }
        if let Some(unknown) =
            file.keys().find(|key| !["format", "version", "sha256", "data"].contains(&key.as_str()))
        {
            return Err(damaged(format!("`{unknown}` is unknown")));
        }
        let sha256 = file.remove("sha256");
        let Some(data @ Value::Object(_)) = file.remove("data") else {
            return Err(damaged("its `data` is missing"));
        };
        if sha256.is_some_and(|sha256| sha256 != sum(&data)) {
            return Err(damaged("its `data` does not match its `sha256`")
                .hint("if you edited it by hand, remove the line with sha256"));
        }
        let Value::Object(data) = data else { return Err(damaged("its `data` is missing")) };
        let import = Self { data };
        import.replace(&mut store::open_in_memory(SERVICES)?)?;
        Ok(import)
    }

    /// Replaces all data of a directory, in one transaction; a missing directory is created.
    ///
    /// # Errors
    /// `Config` if the directory or the database cannot be used; then nothing has changed.
    pub fn into_directory(self, data: &Path) -> Result<()> {
        files::make_directory(data)?;
        self.replace(&mut store::open(data, SERVICES)?)
    }

    fn replace(&self, connection: &mut Connection) -> Result<()> {
        let failed = |error| store::failed(&error);
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        change.execute_batch("PRAGMA defer_foreign_keys = ON").map_err(failed)?;
        let tables = tables(&change).map_err(failed)?;
        for name in EMPTIED.iter().copied().chain(tables.iter().map(|table| table.name.as_str())) {
            change.execute_batch(&format!("DELETE FROM \"{name}\"")).map_err(failed)?;
        }
        let Some(Value::String(user)) = self.data.get("user_id") else {
            return Err(damaged("`data.user_id` is not a text"));
        };
        change.execute("UPDATE account SET user_id = ?1", [user]).map_err(failed)?;
        change.execute("UPDATE api_key SET user_id = ?1", [user]).map_err(failed)?;
        self.fill(&change, &tables)?;
        SERVICES.iter().try_for_each(|service| settle(&change, service)).map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => damaged("a service lacks what its keys are for"),
            other => store::failed(&other),
        })?;
        check_references(&change)?;
        change.commit().map_err(failed)
    }

    fn fill(&self, change: &Connection, tables: &[Table]) -> Result<()> {
        let Some(Value::Object(filled)) = self.data.get("tables") else {
            return Err(damaged("`data.tables` is not an object"));
        };
        if let Some(unknown) = filled.keys().find(|name| tables.iter().all(|table| table.name != **name)) {
            return Err(damaged(format!("there is no table {unknown}")));
        }
        for table in tables {
            let Some(Value::Array(rows)) = filled.get(&table.name) else {
                return Err(damaged(format!("the table {} is missing", table.name)));
            };
            rows.iter().try_for_each(|row| table.insert(change, row))?;
        }
        Ok(())
    }
}

impl Table {
    fn columns(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        names.join(", ")
    }

    /// Returns the rows, oldest first: the services list by rowid.
    fn rows(&self, view: &Connection) -> rusqlite::Result<Vec<Value>> {
        let mut statement =
            view.prepare(&format!("SELECT {} FROM \"{}\" ORDER BY rowid", self.columns(), self.name))?;
        let row = |row: &rusqlite::Row<'_>| {
            let mut fields = Map::new();
            for (at, (name, _)) in self.columns.iter().enumerate() {
                let value = match row.get_ref(at)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    text => text.as_str()?.into(),
                };
                fields.insert(name.clone(), value);
            }
            Ok(Value::Object(fields))
        };
        statement.query_map([], row)?.collect()
    }

    fn insert(&self, change: &Connection, row: &Value) -> Result<()> {
        let of = |why: String| damaged(format!("the table {}: {why}", self.name));
        let Value::Object(fields) = row else { return Err(of("a row is not an object".into())) };
        if let Some(unknown) = fields.keys().find(|name| self.columns.iter().all(|(known, _)| known != *name))
        {
            return Err(of(format!("there is no column {unknown}")));
        }
        let value = |(name, is_text): &(String, bool)| {
            let value = fields.get(name).ok_or_else(|| of(format!("a row lacks {name}")))?;
            stored(value, *is_text).ok_or_else(|| of(format!("{name} has a wrong type")))
        };
        let values: Vec<Stored> = self.columns.iter().map(value).collect::<Result<_>>()?;
        let marks = vec!["?"; values.len()].join(", ");
        let insert = format!("INSERT INTO \"{}\" ({}) VALUES ({marks})", self.name, self.columns());
        let inserted =
            change.prepare_cached(&insert).and_then(|mut row| row.execute(params_from_iter(values)));
        inserted.map(drop).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => of(error.to_string()),
            _ => store::failed(&error),
        })
    }
}

fn stored(value: &Value, is_text: bool) -> Option<Stored> {
    match value {
        Value::Null => Some(Stored::Null),
        Value::String(text) if is_text => Some(Stored::Text(text.clone())),
        Value::Number(number) if !is_text => match number.as_i64() {
            Some(whole) => Some(Stored::Integer(whole)),
            None => number.as_f64().filter(|real| real.is_finite()).map(Stored::Real),
        },
        _ => None,
    }
}

/// Reads all data at once.
fn read(connection: &mut Connection) -> rusqlite::Result<Value> {
    let view = connection.transaction()?;
    let user: String = view.query_row("SELECT user_id FROM account", [], |row| row.get(0))?;
    let mut tables = Map::new();
    for table in self::tables(&view)? {
        tables.insert(table.name.clone(), table.rows(&view)?.into());
    }
    Ok(json!({"user_id": user, "tables": tables}))
}

/// Returns the exported tables; those of an index, such as a full-text one, follow from others.
fn tables(view: &Connection) -> rusqlite::Result<Vec<Table>> {
    let names: Vec<String> = view
        .prepare(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let is_exported = |name: &String| !LEFT_OUT.iter().chain(EMPTIED).any(|left| left == name);
    let table = |name: String| {
        let columns = view
            .prepare("SELECT name, type = 'TEXT' FROM pragma_table_info(?1) ORDER BY cid")?
            .query_map([&name], |row| row.try_into())?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Table { name, columns })
    };
    names.into_iter().filter(is_exported).map(table).collect()
}

/// Points the keys of a service to its new data, and revokes those that it handed out.
fn settle(change: &Connection, service: &Service) -> rusqlite::Result<()> {
    service.path(change)?;
    for kind in service.keys {
        change.execute(
            "UPDATE api_key SET settings = ?1 WHERE service = ?2 AND kind = ?3",
            params![(kind.settings)(change)?.to_string(), service.name, kind.field],
        )?;
    }
    let kinds: Vec<&str> = service.keys.iter().map(|kind| kind.field).collect();
    change.execute(
        "UPDATE api_key SET revoked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
         WHERE service = ?1 AND revoked_at IS NULL AND kind NOT IN (SELECT value FROM json_each(?2))",
        params![service.name, Value::from(kinds).to_string()],
    )?;
    Ok(())
}

fn check_references(change: &Connection) -> Result<()> {
    let broken = |change: &Connection| -> rusqlite::Result<Option<String>> {
        let mut statement = change.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        rows.next()?.map(|row| row.get(0)).transpose()
    };
    match broken(change).map_err(|error| store::failed(&error))? {
        Some(table) => Err(damaged(format!("the table {table} refers to a row that is missing"))),
        None => Ok(()),
    }
}

fn sum(data: &Value) -> String {
    super::keys::hex(&Sha256::digest(data.to_string()))
}

fn damaged(why: impl Into<String>) -> Error {
    Error::new(Kind::Usage, format!("the file is no export of the sandbox, or is damaged: {}", why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_exported_or_left_out_on_purpose() {
        let connection = store::open_in_memory(SERVICES).unwrap();
        let exported: Vec<String> = tables(&connection).unwrap().into_iter().map(|t| t.name).collect();
        assert!(exported.len() > 20, "{exported:?}");
        for name in LEFT_OUT.iter().chain(EMPTIED) {
            let count = format!("SELECT count(*) FROM {name}");
            connection.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap();
        }
        // A new table with one of these columns belongs to one of the lists.
        let named: Vec<String> = connection
            .prepare(
                "SELECT t.name || '.' || c.name FROM pragma_table_list t, pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND (c.type = 'BLOB' OR c.name LIKE '%hash%' OR c.name LIKE '%secret%'
                     OR c.name LIKE '%token%' OR c.name LIKE '%password%' OR c.name LIKE '%key')",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        for column in named.iter().filter(|name| !name.starts_with("sqlite_")) {
            let (table, _) = column.split_once('.').unwrap();
            assert!(!exported.iter().any(|name| name == table), "{column}");
        }
    }
}
