//! Reads what the board shows: Asistry's boards, columns and tasks, and the recent calls.
//!
//! Cuts long texts, and shows no more than the newest tasks of a column: any number of a megabyte each may be stored.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Value, json};

/// How many tasks of a column are shown.
const TASKS: i64 = 100;
const CALLS: i64 = 30;
const LABELS: usize = 20;
/// Longest texts, in characters.
const SHORT: usize = 60;
const TITLE: usize = 300;
const LONG: usize = 1000;

/// Reads everything that is shown at once.
pub(super) fn snapshot(connection: &mut Connection) -> rusqlite::Result<Value> {
    let view = connection.transaction()?;
    let workspace: Option<(String, String)> = view
        .prepare_cached("SELECT id, name FROM asistry_workspace LIMIT 1")?
        .query_row([], |row| row.try_into())
        .optional()?;
    let (workspace, name) = workspace.unwrap_or_default();
    Ok(json!({"workspace": name, "boards": boards(&view, &workspace)?, "calls": calls(&view)?}))
}

fn boards(view: &Connection, workspace: &str) -> rusqlite::Result<Vec<Value>> {
    let mut boards =
        view.prepare_cached("SELECT id, name FROM asistry_board WHERE workspace_id = ?1 ORDER BY position")?;
    let mut rows = boards.query([workspace])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name): (String, String) = row.try_into()?;
        found.push(json!({"columns": columns(view, &id)?, "id": id, "name": cut(&name, SHORT)}));
    }
    Ok(found)
}

fn columns(view: &Connection, board: &str) -> rusqlite::Result<Vec<Value>> {
    let mut columns = view.prepare_cached(
        "SELECT c.id, c.name, c.status, (SELECT count(*) FROM asistry_task t
             WHERE t.workspace_id = b.workspace_id AND t.status = c.status AND t.column_id = c.id)
         FROM asistry_column c JOIN asistry_board b ON b.id = c.board_id WHERE b.id = ?1 ORDER BY c.position",
    )?;
    let mut rows = columns.query([board])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name, status, count): (String, String, String, i64) = row.try_into()?;
        let tasks = tasks(view, &id)?;
        found.push(json!({
            "id": id, "name": cut(&name, SHORT), "status": status, "count": count, "tasks": tasks
        }));
    }
    Ok(found)
}

/// Returns the newest tasks of a column, newest first as in Asistry's lists.
fn tasks(view: &Connection, column: &str) -> rusqlite::Result<Vec<Value>> {
    let mut tasks = view.prepare_cached(
        "SELECT t.id, t.title, t.description, t.priority, t.assignee, t.due_date, t.labels
         FROM asistry_column c JOIN asistry_board b ON b.id = c.board_id
         JOIN asistry_task t ON t.workspace_id = b.workspace_id AND t.status = c.status AND t.column_id = c.id
         WHERE c.id = ?1 ORDER BY t.rowid DESC LIMIT ?2",
    )?;
    tasks.query_map((column, TASKS), task)?.collect()
}

fn task(row: &Row<'_>) -> rusqlite::Result<Value> {
    let text = |at: usize, most: usize| -> rusqlite::Result<Option<String>> {
        Ok(row.get_ref(at)?.as_str_or_null()?.map(|text| cut(text, most)))
    };
    let labels: Vec<String> = serde_json::from_str(row.get_ref(6)?.as_str()?).unwrap_or_default();
    Ok(json!({
        "id": text(0, SHORT)?,
        "title": text(1, TITLE)?,
        "description": text(2, LONG)?,
        "priority": text(3, SHORT)?,
        "assignee": text(4, SHORT)?,
        "due_date": text(5, SHORT)?,
        "labels": labels.iter().take(LABELS).map(|label| cut(label, SHORT)).collect::<Vec<_>>(),
    }))
}

fn calls(view: &Connection) -> rusqlite::Result<Vec<Value>> {
    let mut calls = view.prepare_cached(
        "SELECT r.id, r.tool, r.key_name, r.subject, r.created_at, t.title
         FROM recent_call r LEFT JOIN asistry_task t ON t.id = r.subject
         WHERE r.service = 'asistry' ORDER BY r.id DESC LIMIT ?1",
    )?;
    let call = |row: &Row<'_>| {
        let title = row.get_ref(5)?.as_str_or_null()?.map(|title| cut(title, SHORT));
        let (id, tool, key): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (task, at): (String, String) = (row.get(3)?, row.get(4)?);
        Ok(json!({"id": id, "tool": tool, "key": key, "task": task, "title": title, "at": at}))
    };
    calls.query_map([CALLS], call)?.collect()
}

/// Cuts a text after this many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
