//! Zuko's tools: organizations and tasks.
//!
//! The table in `zuko` has checked the arguments' types. Every statement is restricted to the caller's organizations;
//! another organization's task is as unknown as one that does not exist.

use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::{Value, json};

/// Maximum characters of a title.
const LONGEST_TITLE: usize = 1000;
/// Maximum tasks of a list.
const MOST: i64 = 50;

const MINE: &str = "organization_id IN (SELECT organization_id FROM zuko_member WHERE user_id = ?1)";
const FIELDS: &str = "id, title, status, organization_id, completed_at, created_at, updated_at";
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
const NEXT_TURN: &str = "(SELECT coalesce(max(turn), 0) + 1 FROM zuko_task)";

/// `list_organizations`: an array in the order of the ids.
pub(super) fn organizations(connection: &mut Connection, caller: &Caller, _: &Arguments) -> Outcome {
    let mut statement = connection.prepare_cached(
        "SELECT o.id, o.name, o.slug, m.role FROM zuko_member m JOIN zuko_organization o ON o.id = m.organization_id
         WHERE m.user_id = ?1 ORDER BY o.id",
    )?;
    let organizations: Vec<Value> = statement
        .query_map([&caller.user], |row| {
            let (id, name, slug, role): (i64, String, String, String) = row.try_into()?;
            Ok(json!({"id": id, "name": name, "slug": slug, "role": role}))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(organizations.into())
}

/// `list_tasks`: an array, most recently updated first.
pub(super) fn list(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    let organization = arguments.integer("organizationId");
    if let Some(id) = organization {
        check_member(&view, caller, id)?;
    }
    let mut statement = view.prepare_cached(&format!(
        "SELECT {FIELDS} FROM zuko_task WHERE {MINE} AND (?2 IS NULL OR status = ?2)
         AND (?3 IS NULL OR organization_id = ?3) ORDER BY turn DESC LIMIT ?4"
    ))?;
    let mut rows = statement.query(params![caller.user, arguments.text("status"), organization, MOST])?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        tasks.push(summary(&view, row)?);
    }
    Ok(tasks.into())
}

/// `get_task`.
pub(super) fn read(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let view = connection.transaction()?;
    detail(&view, caller, arguments.integer("taskId").unwrap_or_default())
}

/// `create_task`.
pub(super) fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let title = title(arguments)?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let organization = match arguments.integer("organizationId") {
        Some(id) => check_member(&change, caller, id)?,
        None => only_organization(&change, caller)?,
    };
    let assignee = arguments.text("assignee");
    let owner = assignee.map(|assignee| member(&change, organization, assignee)).transpose()?;
    change
        .prepare_cached(&format!(
            "INSERT INTO zuko_task (organization_id, title, description, status, turn)
             VALUES (?1, ?2, ?3, ?4, {NEXT_TURN})"
        ))?
        .execute(params![
            organization,
            title,
            arguments.value("description").map(Value::to_string),
            arguments.text("status"),
        ])?;
    let id = change.last_insert_rowid();
    if let Some(owner) = owner {
        set_owner(&change, id, owner)?;
    }
    let created = detail(&change, caller, id)?;
    change.commit()?;
    Ok(created)
}

/// `update_task`: only supplied fields change; a call without fields changes nothing.
pub(super) fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    let (id, title) = (arguments.integer("taskId").unwrap_or_default(), title(arguments)?);
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = detail(&change, caller, id)?;
    let changes = ["title", "description", "status", "assignee", "completedAt"];
    if changes.iter().all(|name| arguments.value(name).is_none()) {
        return Ok(before);
    }
    if let Some(assignee) = arguments.text("assignee") {
        let owner = member(&change, before["organizationId"].as_i64().unwrap_or_default(), assignee)?;
        set_owner(&change, id, owner)?;
    }
    change
        .prepare_cached(&format!(
            "UPDATE zuko_task SET title = coalesce(?2, title), description = coalesce(?3, description),
                 status = coalesce(?4, status), completed_at = coalesce(?5, completed_at),
                 updated_at = {NOW}, turn = {NEXT_TURN}
             WHERE id = ?1"
        ))?
        .execute(params![
            id,
            title,
            arguments.value("description").map(Value::to_string),
            arguments.text("status"),
            arguments.text("completedAt"),
        ])?;
    let after = detail(&change, caller, id)?;
    change.commit()?;
    Ok(after)
}

fn title(arguments: &Arguments) -> Result<Option<&str>, Refusal> {
    let title = arguments.text("title");
    if title.is_some_and(|title| title.chars().count() > LONGEST_TITLE) {
        return Err(Refusal::Mistake(format!("`title` must have at most {LONGEST_TITLE} characters")));
    }
    Ok(title)
}

/// Returns the organization if the caller belongs to it.
fn check_member(view: &Connection, caller: &Caller, organization: i64) -> Result<i64, Refusal> {
    let mut statement =
        view.prepare_cached("SELECT 1 FROM zuko_member WHERE user_id = ?1 AND organization_id = ?2")?;
    if statement.exists(params![caller.user, organization])? {
        return Ok(organization);
    }
    let said = format!("`organizationId`: you do not belong to an organization {organization}");
    Err(Refusal::Mistake(said))
}

/// Returns the caller's organization if there is exactly one.
fn only_organization(view: &Connection, caller: &Caller) -> Result<i64, Refusal> {
    let mut statement = view.prepare_cached("SELECT organization_id FROM zuko_member WHERE user_id = ?1")?;
    let ids: Vec<i64> =
        statement.query_map([&caller.user], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    match ids[..] {
        [id] => Ok(id),
        _ => Err(Refusal::Mistake(format!(
            "`organizationId` is required: you belong to {} organizations, see list_organizations",
            ids.len()
        ))),
    }
}

/// Returns the member of an organization with this id, e-mail address or name.
fn member(view: &Connection, organization: i64, named: &str) -> Result<i64, Refusal> {
    view.prepare_cached(
        "SELECT u.id FROM zuko_user u JOIN zuko_member m ON m.user_id = u.id
         WHERE m.organization_id = ?1 AND (CAST(u.id AS TEXT) = ?2 OR lower(u.email) = lower(?2) OR u.name = ?2)",
    )?
    .query_row(params![organization, named], |row| row.get(0))
    .optional()?
    .ok_or_else(|| {
        let said = "`assignee` must be the id, e-mail address or name of a member of the task's organization";
        Refusal::Mistake(said.into())
    })
}

fn set_owner(change: &Connection, task: i64, owner: i64) -> rusqlite::Result<()> {
    change.execute("DELETE FROM zuko_owner WHERE task_id = ?1", [task])?;
    change.execute("INSERT INTO zuko_owner (task_id, user_id) VALUES (?1, ?2)", [task, owner])?;
    Ok(())
}

/// Returns a task with everything that belongs to it.
fn detail(view: &Connection, caller: &Caller, id: i64) -> Outcome {
    let mut statement = view.prepare_cached(&format!(
        "SELECT {FIELDS}, description, parent_id FROM zuko_task WHERE {MINE} AND id = ?2"
    ))?;
    let mut rows = statement.query(params![caller.user, id])?;
    let row = rows
        .next()?
        .ok_or_else(|| Refusal::Mistake(format!("`taskId`: there is no task {id} in your organizations")))?;
    let mut task = summary(view, row)?;
    let description: Option<String> = row.get(7)?;
    task["description"] = description.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let parent: Option<i64> = row.get(8)?;
    task["subtasks"] = related(view, "parent_id", Some(id))?.into();
    task["parentTask"] = related(view, "id", parent)?.pop().unwrap_or_default();
    Ok(task)
}

/// Converts a row of [`FIELDS`].
fn summary(view: &Connection, row: &Row<'_>) -> rusqlite::Result<Value> {
    let id: i64 = row.get(0)?;
    let text = |at: usize| row.get::<_, Option<String>>(at);
    let mut statement = view.prepare_cached(
        "SELECT u.id, u.name, u.email FROM zuko_owner o JOIN zuko_user u ON u.id = o.user_id
         WHERE o.task_id = ?1 ORDER BY u.id",
    )?;
    let owners: Vec<Value> = statement
        .query_map([id], |row| {
            let (id, name, email): (i64, String, String) = row.try_into()?;
            Ok(json!({"id": id, "name": name, "email": email}))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(json!({
        "id": id,
        "title": text(1)?,
        "status": text(2)?,
        "organizationId": row.get::<_, i64>(3)?,
        "owners": owners,
        "completedAt": text(4)?,
        "createdAt": text(5)?,
        "updatedAt": text(6)?,
    }))
}

/// Returns the short form of the tasks whose `column` is `id`.
fn related(view: &Connection, column: &str, id: Option<i64>) -> rusqlite::Result<Vec<Value>> {
    let mut statement = view.prepare_cached(&format!(
        "SELECT id, title, status FROM zuko_task WHERE {column} = ?1 ORDER BY id"
    ))?;
    statement
        .query_map([id], |row| {
            let (id, title, status): (i64, String, String) = row.try_into()?;
            Ok(json!({"id": id, "title": title, "status": status}))
        })?
        .collect()
}
