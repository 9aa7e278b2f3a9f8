//! Asistry's workspace and boards: tables, initial data, summary.
//!
//! Does not touch a task's fields; `tasks` does.

use super::STATUSES;
use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::service::Outcome;
use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

/// Asistry's tables. A task's status equals that of its column; both are stored so that lists need no join.
pub(super) const SCHEMA: &str = "
CREATE TABLE asistry_workspace (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES account (user_id),
    name TEXT NOT NULL
);
CREATE TABLE asistry_board (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES asistry_workspace (id),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE asistry_column (
    id TEXT PRIMARY KEY,
    board_id TEXT NOT NULL REFERENCES asistry_board (id),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    position INTEGER NOT NULL,
    UNIQUE (board_id, status)
);
CREATE TABLE asistry_task (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES asistry_workspace (id),
    board_id TEXT NOT NULL REFERENCES asistry_board (id),
    column_id TEXT NOT NULL REFERENCES asistry_column (id),
    title TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    priority TEXT NOT NULL,
    assignee TEXT,
    due_date TEXT,
    labels TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX asistry_task_status ON asistry_task (workspace_id, status);
";

const BOARDS: [&str; 3] = ["Product", "Marketing", "Operations"];
const COLUMNS: [&str; 5] = ["Backlog", "To do", "In progress", "Review", "Done"];

/// Inserts one workspace with three boards, each with a column per status, and no tasks.
pub(super) fn seed(change: &Connection, user: &str) -> rusqlite::Result<()> {
    let fresh = || uuid::Uuid::new_v4().to_string();
    let workspace = fresh();
    change.execute(
        "INSERT INTO asistry_workspace (id, user_id, name) VALUES (?1, ?2, 'My Workspace')",
        [&workspace, user],
    )?;
    for (at, name) in (0_i64..).zip(BOARDS) {
        let board = fresh();
        change.execute(
            "INSERT INTO asistry_board (id, workspace_id, name, position) VALUES (?1, ?2, ?3, ?4)",
            params![board, workspace, name, at],
        )?;
        for (at, (name, status)) in (0_i64..).zip(COLUMNS.iter().zip(STATUSES)) {
            change.execute(
                "INSERT INTO asistry_column (id, board_id, name, status, position) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![fresh(), board, name, status, at],
            )?;
        }
    }
    Ok(())
}

/// `list_projects`: the boards in order, each with its columns and number of tasks.
pub(super) fn projects(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    let mut boards = view.prepare_cached(
        "SELECT b.id, b.name, b.created_at, (SELECT count(*) FROM asistry_task t WHERE t.board_id = b.id)
         FROM asistry_board b JOIN asistry_workspace w ON w.id = b.workspace_id
         WHERE w.user_id = ?1 ORDER BY b.position LIMIT ?2",
    )?;
    let mut columns = view.prepare_cached(
        "SELECT id, name, status FROM asistry_column WHERE board_id = ?1 ORDER BY position",
    )?;
    let mut rows = boards.query(params![caller.user, arguments.integer("limit")])?;
    let mut projects = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let columns: Vec<Value> = columns
            .query_map([&id], |row| {
                let (id, name, status): (String, String, String) = row.try_into()?;
                Ok(json!({"id": id, "name": name, "status": status}))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let (name, created_at, tasks): (String, String, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        projects.push(json!({
            "id": id, "name": name, "task_count": tasks, "columns": columns, "created_at": created_at
        }));
    }
    Ok(json!({ "projects": projects }))
}

/// `get_workspace_info`: exactly the documented fields. Active tasks are `todo` and `in_progress`, as in the
/// documented example (12 = 5 + 7).
pub(super) fn summary(connection: &mut Connection, caller: &Caller, _: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    let (workspace, name): (String, String) = view
        .prepare_cached("SELECT id, name FROM asistry_workspace WHERE user_id = ?1")?
        .query_row([&caller.user], |row| row.try_into())?;
    let boards: Vec<Value> = view
        .prepare_cached("SELECT id, name FROM asistry_board WHERE workspace_id = ?1 ORDER BY position")?
        .query_map([&workspace], |row| {
            let (id, name): (String, String) = row.try_into()?;
            Ok(json!({"id": id, "name": name}))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let counts = counts(&view, &workspace)?;
    let of = |status: &str| counts.get(status).and_then(Value::as_i64).unwrap_or(0);
    Ok(json!({
        "workspace_name": name,
        "board_count": boards.len(),
        "boards": boards,
        "total_tasks": STATUSES.iter().map(|status| of(status)).sum::<i64>(),
        "active_tasks": of("todo") + of("in_progress"),
        "tasks_by_status": counts,
        "authenticated_key": caller.name,
        "user_id": caller.user,
    }))
}

/// Counts the tasks of every status, including zero counts.
fn counts(view: &Connection, workspace: &str) -> rusqlite::Result<Map<String, Value>> {
    let mut counts: Map<_, _> =
        STATUSES.iter().map(|status| ((*status).to_owned(), Value::from(0))).collect();
    let mut statement = view.prepare_cached(
        "SELECT status, count(*) FROM asistry_task WHERE workspace_id = ?1 GROUP BY status",
    )?;
    let mut rows = statement.query([workspace])?;
    while let Some(row) = rows.next()? {
        counts.insert(row.get(0)?, row.get::<_, i64>(1)?.into());
    }
    Ok(counts)
}
