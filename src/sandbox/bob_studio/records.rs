//! Reads and writes records within a key's reach.
//!
//! A record is a row of one table whose columns are named as the fields on the wire. Column names come from the tables
//! of this service only, values are always bound.

use super::tables::{self, Record, Whose};
use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal};
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, Row, ToSql, TransactionBehavior};
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// What a key sees of the database.
pub(super) struct View<'a> {
    pub connection: &'a Connection,
    pub workspace: String,
    /// The only company that it sees.
    pub company: Option<String>,
    pub user: String,
}

/// Runs work that reads.
pub(super) fn read(
    connection: &mut Connection,
    caller: &Caller,
    work: impl FnOnce(&View<'_>) -> Outcome,
) -> Outcome {
    let snapshot = connection.transaction()?;
    work(&View::of(&snapshot, caller))
}

/// Runs work in one transaction, which is undone if it fails.
pub(super) fn change(
    connection: &mut Connection,
    caller: &Caller,
    work: impl FnOnce(&View<'_>) -> Outcome,
) -> Outcome {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&View::of(&change, caller))?;
    change.commit()?;
    Ok(done)
}

/// Returns a refusal of the caller's mistake.
pub(super) fn mistake(text: impl Into<String>) -> Refusal {
    Refusal::Mistake(text.into())
}

/// Returns the given arguments without one of them.
pub(super) fn without(arguments: &Arguments, name: &str) -> Object {
    let mut fields = arguments.all().clone();
    fields.shift_remove(name);
    fields
}

/// Refuses an end before its start; both are ISO dates and compared by day.
pub(super) fn in_order(fields: &Object, start: &str, end: &str) -> Result<(), Refusal> {
    let day = |name: &str| fields.get(name).and_then(Value::as_str).and_then(|date| date.get(..10));
    match (day(start), day(end)) {
        (Some(first), Some(last)) if last < first => {
            Err(mistake(format!("`{end}` ({last}) is before `{start}` ({first})")))
        }
        _ => Ok(()),
    }
}

impl<'a> View<'a> {
    fn of(connection: &'a Connection, caller: &Caller) -> Self {
        let setting = |name: &str| caller.settings[name].as_str().map(str::to_owned);
        let workspace = setting("workspace").unwrap_or_default();
        Self { connection, workspace, company: setting("company"), user: caller.user.clone() }
    }

    /// Returns the visible records that fulfil `rest`, whose parameters begin with `?4`.
    pub fn list(&self, record: &Record, rest: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<Object>> {
        let fields = record.fields.replace(' ', ", ");
        let sql = format!("SELECT {fields} FROM {} WHERE {} AND {rest}", record.table, record.whose.reach());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(&*self.with(values))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(object(record, row)?);
        }
        Ok(found)
    }

    /// Returns a visible record.
    pub fn find(&self, record: &Record, id: &str) -> rusqlite::Result<Option<Object>> {
        Ok(self.list(record, "id = ?4", &[&id])?.pop())
    }

    /// Returns a visible record; the refusal names the argument that holds its id.
    pub fn one(&self, record: &Record, argument: &str, id: &str) -> Result<Object, Refusal> {
        self.find(record, id)?.ok_or_else(|| {
            mistake(format!("`{argument}`: there is no {} {id} that this key can see", record.name))
        })
    }

    /// Returns the record that a field refers to, or null.
    pub fn linked(&self, object: &Object, field: &str, record: &Record) -> rusqlite::Result<Value> {
        match object.get(field).and_then(Value::as_str) {
            Some(id) => Ok(self.find(record, id)?.map_or(Value::Null, Value::from)),
            None => Ok(Value::Null),
        }
    }

    /// Adds a record after checking what it refers to.
    pub fn insert(&self, record: &Record, mut fields: Object) -> Result<Object, Refusal> {
        let id = uuid::Uuid::new_v4().to_string();
        if record.whose == Whose::Company && record.table != tables::COMPANY.table {
            let company = self.company_of(&fields)?;
            fields.insert("companyId".into(), company);
        }
        self.check_links(&fields)?;
        if record.whose == Whose::User {
            fields.insert("userId".into(), self.user.clone().into());
        }
        fields.insert("id".into(), id.clone().into());
        fields.insert("workspaceId".into(), self.workspace.clone().into());
        let columns: Vec<_> = fields.keys().map(String::as_str).collect();
        let places = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({places})", record.table, columns.join(", "));
        self.connection
            .prepare_cached(&sql)?
            .execute(rusqlite::params_from_iter(fields.values().map(stored)))?;
        self.one(record, "id", &id)
    }

    /// Overwrites the given fields of a record; without fields, nothing changes.
    pub fn update(&self, record: &Record, id: &str, fields: &Object) -> Result<Object, Refusal> {
        if !fields.is_empty() {
            self.check_links(fields)?;
            let set: Vec<_> =
                fields.keys().zip(5..).map(|(column, place)| format!("{column} = ?{place}")).collect();
            let sql = format!(
                "UPDATE {} SET {}, updatedAt = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE {} AND id = ?4",
                record.table,
                set.join(", "),
                record.whose.reach()
            );
            let values: Vec<Stored> = fields.values().map(stored).collect();
            let mut all = self.with(&[&id]);
            all.extend(values.iter().map(|value| value as &dyn ToSql));
            self.connection.prepare_cached(&sql)?.execute(&*all)?;
        }
        self.one(record, "id", id)
    }

    /// Returns the parameters of a statement: the three of [`Whose::reach`], then others.
    fn with<'v>(&'v self, values: &[&'v dyn ToSql]) -> Vec<&'v dyn ToSql> {
        let mut all: Vec<&dyn ToSql> = vec![&self.workspace, &self.company, &self.user];
        all.extend(values);
        all
    }

    /// Returns the company of a new record.
    fn company_of(&self, fields: &Object) -> Result<Value, Refusal> {
        if let Some(given) = fields.get("companyId").filter(|given| !given.is_null()) {
            return Ok(given.clone());
        }
        if let Some(company) = &self.company {
            return Ok(company.clone().into());
        }
        for (field, record) in
            [("parentTaskId", &tables::TASK), ("projectId", &tables::PROJECT), ("clientId", &tables::CLIENT)]
        {
            let linked = self.linked(fields, field, record)?;
            if let Some(company) = linked.get("companyId").filter(|company| !company.is_null()) {
                return Ok(company.clone());
            }
        }
        Ok(Value::Null)
    }

    fn check_links(&self, fields: &Object) -> Result<(), Refusal> {
        for (field, record) in tables::LINKS {
            let ids = match fields.get(*field) {
                Some(Value::String(id)) => vec![id.as_str()],
                Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).collect(),
                _ => continue,
            };
            for id in ids {
                self.one(record, field, id)?;
            }
        }
        Ok(())
    }
}

/// Converts a row of a record's fields.
fn object(record: &Record, row: &Row<'_>) -> rusqlite::Result<Object> {
    let mut object = Object::new();
    for (at, field) in record.fields.split(' ').enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Null | ValueRef::Blob(_) => Value::Null,
            ValueRef::Integer(number) if record.flags.contains(&field) => (number != 0).into(),
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            text => {
                let text = text.as_str()?;
                let parsed = record.json.contains(&field).then(|| serde_json::from_str(text).ok()).flatten();
                parsed.unwrap_or_else(|| text.into())
            }
        };
        object.insert(field.to_owned(), value);
    }
    Ok(object)
}

fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Bool(flag) => i64::from(*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().into(),
        },
        Value::String(text) => text.clone().into(),
        list => list.to_string().into(),
    }
}
