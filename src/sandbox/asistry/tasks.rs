//! Asistry's tasks: finds, reads, creates and updates them.
//!
//! The table in `asistry` has checked the arguments. Every statement is restricted to the caller's workspace.

use super::search;
use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::recent;
use crate::sandbox::service::{Outcome, Refusal};
use crate::sandbox::text::folded;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params, params_from_iter};
use serde_json::{Value, json};

const MINE: &str = "workspace_id = (SELECT id FROM asistry_workspace WHERE user_id = ?1)";
const FIELDS: &str = "id, title, description, status, priority, assignee, due_date, labels,
    board_id, column_id, created_at, updated_at";

/// `list_tasks` and `search_tasks`: newest first, filtered, at most `limit`.
pub(super) fn find(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let mut filter = Filter { sql: MINE.into(), values: vec![caller.user.clone()] };
    let mut from = "asistry_task t";
    if let Some(query) = arguments.text("query").map(folded) {
        // CROSS JOIN: the search is the outer loop.
        from = "asistry_search t CROSS JOIN asistry_task ON asistry_task.rowid = t.rowid";
        if let Some(expression) = search::expression(&query) {
            filter.and("asistry_search MATCH ?", expression);
        }
        filter.and("(instr(folded_title, ?) OR instr(folded_description, ?))", query);
    }
    for field in ["status", "assignee"] {
        if let Some(value) = arguments.text(field) {
            filter.and(&format!("{field} = ?"), value.into());
        }
    }
    let limit = arguments.integer("limit").unwrap_or(50);
    let sql = format!("SELECT {FIELDS} FROM {from} WHERE {} ORDER BY t.rowid DESC LIMIT {limit}", filter.sql);
    let mut statement = connection.prepare_cached(&sql)?;
    let tasks = statement.query_map(params_from_iter(&filter.values), task)?;
    Ok(json!({ "tasks": tasks.collect::<rusqlite::Result<Vec<Value>>>()? }))
}

/// The conditions of a list with their values.
struct Filter {
    sql: String,
    values: Vec<String>,
}

impl Filter {
    /// Adds a condition; each `?` in it is the value.
    fn and(&mut self, condition: &str, value: String) {
        self.values.push(value);
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &format!("?{}", self.values.len())));
    }
}

/// `get_task`.
pub(super) fn read(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    one(connection, caller, arguments.text("id").unwrap_or_default())
}

/// `create_task`: in the column of its status on the first board.
pub(super) fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let id = uuid::Uuid::new_v4().to_string();
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change
        .prepare_cached(
            "INSERT INTO asistry_task (id, workspace_id, board_id, column_id, title, description, status,
                 priority, assignee, due_date, labels)
             SELECT ?2, b.workspace_id, b.id, c.id, ?3, ?4, c.status, ?6, ?7, ?8, ?9
             FROM asistry_board b JOIN asistry_column c ON c.board_id = b.id
             WHERE b.workspace_id = (SELECT id FROM asistry_workspace WHERE user_id = ?1) AND c.status = ?5
             ORDER BY b.position LIMIT 1",
        )?
        .execute(params![
            caller.user,
            id,
            arguments.text("title"),
            arguments.text("description"),
            arguments.text("status"),
            arguments.text("priority"),
            arguments.text("assignee"),
            arguments.text("due_date"),
            labels(arguments).unwrap_or_else(|| "[]".into()),
        ])?;
    let created = one(&change, caller, &id)?;
    recent::record(&change, caller, ("asistry", "create_task"), &id)?;
    change.commit()?;
    Ok(created)
}

/// `update_task`: omitted fields are kept; a call without fields changes nothing.
pub(super) fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let id = arguments.text("id").unwrap_or_default();
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = one(&change, caller, id)?;
    let fields = ["title", "description", "status", "assignee", "priority", "due_date"];
    let labels = labels(arguments);
    if labels.is_none() && fields.iter().all(|field| arguments.text(field).is_none()) {
        return Ok(before);
    }
    change
        .prepare_cached(&format!(
            "UPDATE asistry_task SET
                 title = coalesce(?3, title), description = coalesce(?4, description),
                 status = coalesce(?5, status), assignee = coalesce(?6, assignee),
                 priority = coalesce(?7, priority), due_date = coalesce(?8, due_date),
                 labels = coalesce(?9, labels), updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
                 column_id = coalesce((SELECT c.id FROM asistry_column c
                     WHERE c.board_id = asistry_task.board_id AND c.status = ?5), column_id)
             WHERE {MINE} AND id = ?2"
        ))?
        .execute(params![
            caller.user,
            id,
            arguments.text(fields[0]),
            arguments.text(fields[1]),
            arguments.text(fields[2]),
            arguments.text(fields[3]),
            arguments.text(fields[4]),
            arguments.text(fields[5]),
            labels,
        ])?;
    let after = one(&change, caller, id)?;
    recent::record(&change, caller, ("asistry", "update_task"), id)?;
    change.commit()?;
    Ok(after)
}

fn one(connection: &Connection, caller: &Caller, id: &str) -> Outcome {
    connection
        .prepare_cached(&format!("SELECT {FIELDS} FROM asistry_task WHERE {MINE} AND id = ?2"))?
        .query_row([caller.user.as_str(), id], task)
        .optional()?
        .ok_or_else(|| Refusal::Mistake(format!("`id`: there is no task {id} in your workspace")))
}

/// Converts a row of [`FIELDS`].
fn task(row: &Row<'_>) -> rusqlite::Result<Value> {
    let text = |at: usize| row.get::<_, Option<String>>(at);
    let labels = serde_json::from_str(row.get_ref(7)?.as_str()?).unwrap_or_else(|_| Value::Array(Vec::new()));
    Ok(json!({
        "id": text(0)?,
        "title": text(1)?,
        "description": text(2)?,
        "status": text(3)?,
        "priority": text(4)?,
        "assignee": text(5)?,
        "due_date": text(6)?,
        "labels": labels,
        "board_id": text(8)?,
        "column_id": text(9)?,
        "created_at": text(10)?,
        "updated_at": text(11)?,
    }))
}

fn labels(arguments: &Arguments) -> Option<String> {
    let labels: Vec<_> = arguments.texts("labels")?.into_iter().map(str::to_lowercase).collect();
    Some(Value::from(labels).to_string())
}
