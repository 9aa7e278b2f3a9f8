//! Asistry's tasks: finds, reads, creates and updates them.
//!
//! The table in `asistry` has checked the arguments. Every statement is restricted to the caller's workspace.

use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal};
use crate::sandbox::text::folded;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::{Value, json};

const MINE: &str = "workspace_id = (SELECT id FROM asistry_workspace WHERE user_id = ?1)";
const FIELDS: &str = "id, title, description, status, priority, assignee, due_date, labels,
    board_id, column_id, created_at, updated_at";

/// `list_tasks` and `search_tasks`: newest first, filtered, at most `limit`.
///
/// Compares the query in Rust: SQLite's LIKE folds the case of ASCII only and treats `%` and `_` as wildcards.
pub(super) fn find(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let query = arguments.text("query").map(folded);
    let most = arguments.integer("limit").and_then(|n| usize::try_from(n).ok()).unwrap_or(50);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {FIELDS} FROM asistry_task WHERE {MINE}
         AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR assignee = ?3) ORDER BY rowid DESC"
    ))?;
    let mut rows =
        statement.query(params![caller.user, arguments.text("status"), arguments.text("assignee")])?;
    let mut tasks: Vec<Value> = Vec::new();
    while tasks.len() < most
        && let Some(row) = rows.next()?
    {
        if matches(row, query.as_deref())? {
            tasks.push(task(row)?);
        }
    }
    Ok(json!({ "tasks": tasks }))
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

fn matches(row: &Row<'_>, query: Option<&str>) -> rusqlite::Result<bool> {
    let Some(query) = query else { return Ok(true) };
    let holds = |text: Option<&str>| text.is_some_and(|text| folded(text).contains(query));
    Ok(holds(Some(row.get_ref(1)?.as_str()?)) || holds(row.get_ref(2)?.as_str_or_null()?))
}
