//! Task Tracking's tasks: lists, finds, shows and summarizes them.
//!
//! Changes nothing. Every statement is restricted to the key's workspace.

use super::{STATUSES, digits};
use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal};
use crate::sandbox::text::folded;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

const FOUND: &str = "SELECT t.id, t.number, t.title, t.description, t.status, t.priority, t.assigned_user,
        t.created_at, t.updated_at, c.name, c.phone, c.email
    FROM tracking_task t JOIN tracking_customer c ON c.id = t.customer_id
    WHERE t.workspace_id = ?1";
/// Number of tasks in the summary.
const SAMPLES: usize = 5;
/// Minimum digits of a word that is looked for among a phone's digits.
const PHONE_DIGITS: usize = 3;

/// A task with its customer.
pub(super) struct Task {
    pub id: String,
    pub number: i64,
    title: String,
    description: String,
    status: String,
    priority: String,
    assigned_user: Option<String>,
    created_at: String,
    updated_at: String,
    pub customer: String,
    pub phone: String,
    email: String,
}

/// `workspaceSummary`.
pub(super) fn summary(connection: &mut Connection, caller: &Caller, _: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    let workspace = workspace(caller);
    let name: String = view
        .prepare_cached("SELECT name FROM tracking_workspace WHERE id = ?1")?
        .query_row([workspace], |row| row.get(0))?;
    let recent: i64 = view
        .prepare_cached(
            "SELECT count(*) FROM tracking_task WHERE workspace_id = ?1
             AND created_at >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-7 days')",
        )?
        .query_row([workspace], |row| row.get(0))?;
    let counts = counts(&view, workspace)?;
    let samples = newest(&view, caller, SAMPLES, |_| true)?;
    Ok(json!({
        "workspaceId": workspace,
        "workspaceName": name,
        "totalTasks": counts.values().filter_map(Value::as_i64).sum::<i64>(),
        "recentTasks": recent,
        "tasksByStatus": counts,
        "sampleTasks": samples,
    }))
}

/// `listWorkspaceTasks`.
pub(super) fn list(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let status = arguments.text("status");
    let is_wanted = |task: &Task| status.is_none_or(|status| task.status == status);
    let tasks = newest(connection, caller, most(arguments), is_wanted)?;
    Ok(json!({"count": tasks.len(), "tasks": tasks}))
}

/// `searchWorkspaceTasks`: the query as a whole or each of its words must match.
///
/// Compares in Rust: SQLite's LIKE folds the case of ASCII only and treats `%` and `_` as wildcards.
pub(super) fn search(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let query = arguments.text("query").unwrap_or_default();
    let whole = Word::new(query.trim());
    let words: Vec<Word> = query.split_whitespace().map(Word::new).collect();
    let is_wanted = |task: &Task| whole.is_in(task) || words.iter().all(|word| word.is_in(task));
    let tasks = newest(connection, caller, most(arguments), is_wanted)?;
    Ok(json!({"query": query, "count": tasks.len(), "tasks": tasks}))
}

/// `getTaskDetails`.
pub(super) fn details(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    let task = one(&view, caller, arguments)?;
    let comments: i64 = view
        .prepare_cached("SELECT count(*) FROM tracking_comment WHERE task_id = ?1")?
        .query_row([&task.id], |row| row.get(0))?;
    let mut shown = task.shown();
    shown["description"] = task.description.into();
    shown["commentCount"] = comments.into();
    Ok(shown)
}

/// Returns the task that `taskId` names.
pub(super) fn one(connection: &Connection, caller: &Caller, arguments: &Arguments) -> Result<Task, Refusal> {
    let id = arguments.text("taskId").unwrap_or_default();
    connection
        .prepare_cached(&format!("{FOUND} AND t.id = ?2"))?
        .query_row([workspace(caller), id], Task::read)
        .optional()?
        .ok_or_else(|| Refusal::Mistake(format!("`taskId`: there is no task {id} in this workspace")))
}

/// Returns the `limit` argument.
pub(super) fn most(arguments: &Arguments) -> usize {
    arguments.integer("limit").and_then(|most| usize::try_from(most).ok()).unwrap_or(20)
}

fn workspace(caller: &Caller) -> &str {
    caller.settings["place"].as_str().unwrap_or_default()
}

fn newest(
    connection: &Connection,
    caller: &Caller,
    most: usize,
    is_wanted: impl Fn(&Task) -> bool,
) -> rusqlite::Result<Vec<Value>> {
    let mut statement =
        connection.prepare_cached(&format!("{FOUND} ORDER BY t.created_at DESC, t.number DESC"))?;
    let mut rows = statement.query(params![workspace(caller)])?;
    let mut tasks = Vec::new();
    while tasks.len() < most
        && let Some(row) = rows.next()?
    {
        let task = Task::read(row)?;
        if is_wanted(&task) {
            tasks.push(task.shown());
        }
    }
    Ok(tasks)
}

/// Counts the tasks of every status, including zero counts.
fn counts(view: &Connection, workspace: &str) -> rusqlite::Result<Map<String, Value>> {
    let mut counts: Map<_, _> =
        STATUSES.iter().map(|status| ((*status).to_owned(), Value::from(0))).collect();
    let mut statement = view.prepare_cached(
        "SELECT status, count(*) FROM tracking_task WHERE workspace_id = ?1 GROUP BY status",
    )?;
    let mut rows = statement.query([workspace])?;
    while let Some(row) = rows.next()? {
        counts.insert(row.get(0)?, row.get::<_, i64>(1)?.into());
    }
    Ok(counts)
}

impl Task {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            number: row.get(1)?,
            title: row.get(2)?,
            description: row.get(3)?,
            status: row.get(4)?,
            priority: row.get(5)?,
            assigned_user: row.get(6)?,
            created_at: row.get(7)?,
            updated_at: row.get(8)?,
            customer: row.get(9)?,
            phone: row.get(10)?,
            email: row.get(11)?,
        })
    }

    fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "taskNumber": self.number.to_string(),
            "title": self.title,
            "status": self.status,
            "priority": self.priority,
            "assignedUser": self.assigned_user,
            "customer": {"name": self.customer, "phone": self.phone, "email": self.email},
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        })
    }
}

/// A query, or one word of it.
struct Word {
    folded: String,
    /// The digits to look for in a phone number; empty if the word is no part of one.
    digits: String,
}

impl Word {
    fn new(word: &str) -> Self {
        let is_phone = word.chars().all(|c| c.is_ascii_digit() || "+-(). ".contains(c));
        let digits = digits(word);
        let is_phone = is_phone && digits.len() >= PHONE_DIGITS;
        Self { folded: folded(word), digits: if is_phone { digits } else { String::new() } }
    }

    fn is_in(&self, task: &Task) -> bool {
        let texts = [&task.title, &task.description, &task.customer, &task.email];
        let holds = |text: &str| folded(text).contains(&self.folded);
        texts.into_iter().any(|text| holds(text))
            || task.assigned_user.as_deref().is_some_and(holds)
            || format!("#{}", task.number).contains(&self.folded)
            || (!self.digits.is_empty() && digits(&task.phone).contains(&self.digits))
    }
}
