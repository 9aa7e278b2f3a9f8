//! AgentStack's projects: creates them with and without an account, lists and attaches them, adds and removes users.
//!
//! The table in `actions` has checked the arguments, `desk` the caller. A user sees projects that it owns or works on.

use super::NAME;
use super::accounts::{self, Identity, Tier, Which, hand_out};
use super::desk::{Call, Outcome};
use super::fault::Fault;
use crate::sandbox::arguments::Arguments;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

/// Longest name and description, in characters.
const LONGEST_NAME: usize = 255;
const LONGEST_DESCRIPTION: usize = 10_000;

const FIELDS: &str =
    "p.id, p.name, p.description, p.config, p.data, p.settings, p.preset_id, p.is_active, p.user_id,
    u.tier, p.logic_calls, p.triggers, p.created_at, p.updated_at";
const FROM: &str = "FROM agentstack_project p JOIN agentstack_user u ON u.id = p.user_id";
/// The projects of user ?1 with a key for project ?2, or for all.
const MINE: &str = "p.id IN (SELECT project_id FROM agentstack_project_user WHERE user_id = ?1)
    AND (?2 IS NULL OR p.id = ?2)";

/// `projects.create_project`.
pub(super) fn create(call: &Call<'_>) -> Outcome {
    let me = call.me()?;
    if me.project.is_some() {
        return Err(Fault::not_permitted());
    }
    if me.tier == Tier::Anonymous {
        let why = "the ANONYMOUS tier has 1 project: call auth.convert_anonymous_user for the FREE tier";
        return Err(Fault::forbidden(why));
    }
    let id = insert(call.desk.connection, call.arguments, me.user, me.tier)?;
    Ok(json!({"project_id": id, "project": project(call.desk.connection, id)?}))
}

/// `projects.create_project_anonymous`: with a user of its own.
pub(super) fn create_anonymous(call: &Call<'_>) -> Outcome {
    let connection = call.desk.connection;
    connection.prepare_cached("INSERT INTO agentstack_user (tier) VALUES ('ANONYMOUS')")?.execute([])?;
    let user = connection.last_insert_rowid();
    let id = insert(connection, call.arguments, user, Tier::Anonymous)?;
    let user_key = hand_out(call.desk, "user_api_key", user, None)?;
    let project_key = hand_out(call.desk, "project_api_key", user, Some(id))?;
    let session = hand_out(call.desk, "session_token", user, None)?;
    Ok(json!({
        "project_id": id,
        "user_id": user,
        "is_anonymous": true,
        "user_api_key": user_key,
        "project_api_key": project_key,
        "api_key": project_key,
        "auth_key": project_key,
        "session_token": session,
        "project": project(connection, id)?,
    }))
}

/// `projects.get_projects`.
pub(super) fn list(call: &Call<'_>) -> Outcome {
    let (me, connection) = (call.me()?, call.desk.connection);
    let is_active = call.arguments.flag("is_active");
    let wanted = format!("{FROM} WHERE {MINE} AND (?3 IS NULL OR p.is_active = ?3)");
    let total: i64 = connection
        .prepare_cached(&format!("SELECT count(*) {wanted}"))?
        .query_row(params![me.user, me.project, is_active], |row| row.get(0))?;
    let mut statement = connection
        .prepare_cached(&format!("SELECT {FIELDS} {wanted} ORDER BY p.id DESC LIMIT ?4 OFFSET ?5"))?;
    let page = (call.arguments.integer("limit"), call.arguments.integer("offset"));
    let found = statement.query_map(params![me.user, me.project, is_active, page.0, page.1], read)?;
    let projects = found.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(json!({"projects": projects, "total": total}))
}

/// `projects.attach_to_user`.
pub(super) fn attach(call: &Call<'_>) -> Outcome {
    let (me, connection) = (call.me()?, call.desk.connection);
    if me.tier == Tier::Anonymous {
        return Err(Fault::forbidden(
            "an anonymous user cannot own another project: call with the new owner's key",
        ));
    }
    let names_other = call.arguments.integer("user_id").is_some_and(|user| user != me.user)
        || call.arguments.text("email").is_some_and(|email| !is_email_of(me, email));
    if names_other || me.project.is_some() {
        return Err(Fault::not_permitted());
    }
    let id = call.project_id();
    let owner = owner(connection, id)?;
    let auth_key = call.arguments.text("auth_key").unwrap_or_default();
    let key = call.desk.keys.find(connection, NAME, auth_key)?;
    if key.and_then(|key| key.settings["project"].as_i64()) != Some(id) {
        return Err(Fault::forbidden(format!("the auth_key is not the one of project {id}")));
    }
    if owner.1 != Tier::Anonymous {
        return Err(Fault::conflict(format!("project {id} has an owner already")));
    }
    connection
        .prepare_cached(
            "UPDATE agentstack_project SET user_id = ?2, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
             WHERE id = ?1",
        )?
        .execute([id, me.user])?;
    connection.prepare_cached("DELETE FROM agentstack_project_user WHERE project_id = ?1")?.execute([id])?;
    join(connection, id, (me.user, "owner"))?;
    accounts::revoke(connection, owner.0, Which::All)?;
    let key = hand_out(call.desk, "new_api_key", me.user, None)?;
    Ok(json!({
        "success": true,
        "project_id": id,
        "new_api_key": key,
        "message": format!("Project {id} successfully attached to user {}", me.user),
    }))
}

/// `projects.add_user`.
pub(super) fn add_user(call: &Call<'_>) -> Outcome {
    let (connection, id) = (call.desk.connection, call.project_id());
    administer(call)?;
    let user = match (call.arguments.integer("user_id"), call.arguments.text("email")) {
        (Some(user), None) => user,
        (None, Some(email)) => user_of(connection, accounts::email(email)?)?,
        _ => return Err(Fault::invalid("give either `user_id` or `email`")),
    };
    let email = email_of(connection, user)?;
    if role_in(connection, id, user)?.is_some() {
        return Err(Fault::conflict(format!("user {user} is in project {id} already")));
    }
    let role = call.arguments.text("role").unwrap_or_default();
    join(connection, id, (user, role))?;
    Ok(json!({
        "success": true,
        "project_id": id,
        "user_id": user,
        "email": email,
        "role": role,
        "message": format!("User {user} added to project {id}"),
    }))
}

/// `projects.remove_user`.
pub(super) fn remove_user(call: &Call<'_>) -> Outcome {
    let (connection, id) = (call.desk.connection, call.project_id());
    administer(call)?;
    let user = call.arguments.integer("user_id").unwrap_or_default();
    match role_in(connection, id, user)?.as_deref() {
        None => return Err(Fault::not_found(format!("user {user} is not in project {id}"))),
        Some("owner") => return Err(Fault::conflict("the owner of a project cannot be removed")),
        Some(_) => {}
    }
    connection
        .prepare_cached("DELETE FROM agentstack_project_user WHERE project_id = ?1 AND user_id = ?2")?
        .execute([id, user])?;
    Ok(json!({
        "success": true,
        "project_id": id,
        "user_id": user,
        "message": format!("User {user} removed from project {id}"),
    }))
}

/// Refuses a caller who is neither owner nor admin of the project.
fn administer(call: &Call<'_>) -> Result<(), Fault> {
    let (me, id) = (call.me()?, call.project_id());
    owner(call.desk.connection, id)?;
    let role = role_in(call.desk.connection, id, me.user)?;
    let is_key_for_it = me.project.is_none_or(|project| project == id);
    if is_key_for_it && matches!(role.as_deref(), Some("owner" | "admin")) {
        return Ok(());
    }
    Err(Fault::not_permitted())
}

/// Inserts a project and its owner.
fn insert(connection: &Connection, arguments: &Arguments, user: i64, tier: Tier) -> Result<i64, Fault> {
    let short = |name: &str, most: usize| match arguments.text(name) {
        Some(text) if text.chars().nth(most).is_some() => {
            Err(Fault::invalid(format!("`{name}` has more than {most} characters")))
        }
        text => Ok(text),
    };
    let (name, preset) = (short("name", LONGEST_NAME)?, short("preset_id", LONGEST_NAME)?);
    let description = short("description", LONGEST_DESCRIPTION)?;
    let stored = |name: &str| {
        arguments.object(name).map_or("{}".into(), |object| Value::from(object.clone()).to_string())
    };
    let (config, data, settings) = (stored("config"), stored("data"), stored("settings"));
    let more = config.len() + data.len() + settings.len();
    has_room(connection, (user, tier), more)?;
    connection
        .prepare_cached(
            "INSERT INTO agentstack_project (user_id, name, description, config, data, settings, preset_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![user, name, description, config, data, settings, preset])?;
    let id = connection.last_insert_rowid();
    join(connection, id, (user, "owner"))?;
    Ok(id)
}

/// Refuses more JSON than the tier may store.
fn has_room(connection: &Connection, (user, tier): (i64, Tier), more: usize) -> Result<(), Fault> {
    let Some(most) = tier.storage_mb() else { return Ok(()) };
    let used: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(octet_length(config) + octet_length(data) + octet_length(settings)), 0)
             FROM agentstack_project WHERE user_id = ?1",
        )?
        .query_row([user], |row| row.get(0))?;
    if used.saturating_add_unsigned(more as u64) > most << 20 {
        let why = format!("the {} tier stores at most {most} MB of JSON", tier.name());
        return Err(Fault::forbidden(why));
    }
    Ok(())
}

fn join(connection: &Connection, project: i64, (user, role): (i64, &str)) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO agentstack_project_user (project_id, user_id, role) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![project, user, role])
        .map(drop)
}

/// Returns a project's owner.
fn owner(connection: &Connection, id: i64) -> Result<(i64, Tier), Fault> {
    connection
        .prepare_cached(&format!("SELECT p.user_id, u.tier {FROM} WHERE p.id = ?1"))?
        .query_row([id], |row| Ok((row.get(0)?, Tier::of(row.get_ref(1)?.as_str()?))))
        .optional()?
        .ok_or_else(|| Fault::not_found(format!("there is no project {id}")))
}

fn role_in(connection: &Connection, project: i64, user: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT role FROM agentstack_project_user WHERE project_id = ?1 AND user_id = ?2")?
        .query_row([project, user], |row| row.get(0))
        .optional()
}

/// Returns the user of an e-mail address, a new one if there is none.
fn user_of(connection: &Connection, email: &str) -> rusqlite::Result<i64> {
    if let Some(user) = accounts::find_email(connection, email)? {
        return Ok(user);
    }
    let insert = "INSERT INTO agentstack_user (email, tier) VALUES (?1, 'FREE')";
    connection.prepare_cached(insert)?.execute([email])?;
    Ok(connection.last_insert_rowid())
}

fn email_of(connection: &Connection, user: i64) -> Result<Option<String>, Fault> {
    connection
        .prepare_cached("SELECT email FROM agentstack_user WHERE id = ?1")?
        .query_row([user], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Fault::not_found(format!("there is no user {user}")))
}

fn is_email_of(me: &Identity, email: &str) -> bool {
    me.email.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(email))
}

fn project(connection: &Connection, id: i64) -> rusqlite::Result<Value> {
    connection.prepare_cached(&format!("SELECT {FIELDS} {FROM} WHERE p.id = ?1"))?.query_row([id], read)
}

/// Converts a row of [`FIELDS`].
fn read(row: &Row<'_>) -> rusqlite::Result<Value> {
    let (config, data, settings): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let object = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::Object(Map::new()));
    let tier = Tier::of(row.get_ref(9)?.as_str()?);
    Ok(json!({
        "id": row.get::<_, i64>(0)?,
        "name": row.get::<_, String>(1)?,
        "description": row.get::<_, Option<String>>(2)?,
        "config": object(&config),
        "data": object(&data),
        "settings": object(&settings),
        "preset_id": row.get::<_, Option<String>>(6)?,
        "is_active": row.get::<_, bool>(7)?,
        "user_id": row.get::<_, i64>(8)?,
        "is_anonymous": tier == Tier::Anonymous,
        "tier": tier.name(),
        "limits": tier.limits(),
        "usage": {
            "logic_engine_calls": row.get::<_, i64>(10)?,
            "json_storage_bytes": config.len() + data.len() + settings.len(),
            "triggers": row.get::<_, i64>(11)?,
        },
        "created_at": row.get::<_, String>(12)?,
        "updated_at": row.get::<_, String>(13)?,
    }))
}
