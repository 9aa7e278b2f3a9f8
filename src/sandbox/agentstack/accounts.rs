//! AgentStack's users: tables, initial data, tiers with their limits, keys, and the conversion of an anonymous user.
//!
//! Stores no key and no password; `keys` has the hashes.

use super::desk::{Call, Desk, Outcome};
use super::fault::Fault;
use super::{KEY_PREFIX, NAME};
use crate::sandbox::keys::Caller;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

/// The user of the demo key, which only reads.
pub(super) const DEMO_USER: i64 = 1;
/// The user of the documented examples.
pub(super) const FREE_USER: i64 = 123;
/// A user with the Professional plan.
pub(super) const PROFESSIONAL_USER: i64 = 124;
/// The demo user's project; the next one that is made is 1025, as in the documented examples.
const DEMO_PROJECT: i64 = 1024;
/// Longest e-mail address, in bytes (RFC 5321, section 4.5.3.1.3, without its brackets).
const LONGEST_EMAIL: usize = 254;

/// AgentStack's tables. `logic_calls` and `triggers` are shown only: no action uses them.
pub(super) const SCHEMA: &str = "
CREATE TABLE agentstack_user (
    id INTEGER PRIMARY KEY,
    email TEXT COLLATE NOCASE UNIQUE,
    display_name TEXT,
    tier TEXT NOT NULL CHECK (tier IN ('ANONYMOUS', 'FREE', 'PROFESSIONAL')),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE agentstack_project (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES agentstack_user (id),
    name TEXT NOT NULL,
    description TEXT,
    config TEXT NOT NULL DEFAULT '{}',
    data TEXT NOT NULL DEFAULT '{}',
    settings TEXT NOT NULL DEFAULT '{}',
    preset_id TEXT,
    is_active INTEGER NOT NULL DEFAULT 1,
    logic_calls INTEGER NOT NULL DEFAULT 0,
    triggers INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE agentstack_project_user (
    project_id INTEGER NOT NULL REFERENCES agentstack_project (id),
    user_id INTEGER NOT NULL REFERENCES agentstack_user (id),
    role TEXT NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX agentstack_project_user_user ON agentstack_project_user (user_id);
CREATE TABLE agentstack_batch (
    user_id INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    content TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (user_id, idempotency_key)
);
CREATE TABLE agentstack_job (
    id TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'completed', 'failed')),
    answer TEXT,
    error TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
";

/// Inserts the three users and the demo user's project.
pub(super) fn seed(change: &Connection, _: &str) -> rusqlite::Result<()> {
    for (id, email, tier) in [
        (DEMO_USER, "demo@sandbox.example", "FREE"),
        (FREE_USER, "free@sandbox.example", "FREE"),
        (PROFESSIONAL_USER, "professional@sandbox.example", "PROFESSIONAL"),
    ] {
        let insert = "INSERT INTO agentstack_user (id, email, tier) VALUES (?1, ?2, ?3)";
        change.execute(insert, params![id, email, tier])?;
    }
    change.execute(
        "INSERT INTO agentstack_project (id, user_id, name, description)
         VALUES (?1, ?2, 'Demo Project', 'Its key only reads')",
        [DEMO_PROJECT, DEMO_USER],
    )?;
    let insert = "INSERT INTO agentstack_project_user (project_id, user_id, role) VALUES (?1, ?2, 'owner')";
    change.execute(insert, [DEMO_PROJECT, DEMO_USER]).map(drop)
}

/// A user's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Anonymous,
    Free,
    Professional,
}

impl Tier {
    /// Parses it from the database.
    pub fn of(name: &str) -> Self {
        match name {
            "PROFESSIONAL" => Self::Professional,
            "FREE" => Self::Free,
            _ => Self::Anonymous,
        }
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "ANONYMOUS",
            Self::Free => "FREE",
            Self::Professional => "PROFESSIONAL",
        }
    }

    /// Returns how much JSON a user may store, in MB.
    pub fn storage_mb(self) -> Option<i64> {
        match self {
            Self::Anonymous => Some(20),
            Self::Free => Some(100),
            Self::Professional => None,
        }
    }

    /// Returns the documented limits; `null` is none.
    pub fn limits(self) -> Value {
        let one = (self == Self::Anonymous).then_some(1);
        let (calls, triggers) = match self {
            Self::Anonymous => (Some(1_000), Some(20)),
            Self::Free => (Some(10_000), Some(50)),
            Self::Professional => (None, None),
        };
        json!({
            "projects": one,
            "api_keys": one,
            "logic_engine_calls_per_month": calls,
            "json_storage_mb": self.storage_mb(),
            "triggers": triggers,
            "payments": self != Self::Anonymous,
        })
    }
}

/// The user behind a key.
#[derive(Debug)]
pub(super) struct Identity {
    pub user: i64,
    pub email: Option<String>,
    pub tier: Tier,
    /// The only project that the key is for.
    pub project: Option<i64>,
    pub is_readonly: bool,
}

impl Identity {
    /// Reads the user of a caller's key.
    pub fn of(connection: &Connection, caller: &Caller) -> Result<Self, Fault> {
        let user = caller.settings["user"].as_i64().unwrap_or_default();
        let found = connection
            .prepare_cached("SELECT email, tier FROM agentstack_user WHERE id = ?1")?
            .query_row([user], |row| row.try_into())
            .optional()?;
        let (email, tier): (Option<String>, String) =
            found.ok_or_else(|| Fault::no_key("the user of this key is gone"))?;
        Ok(Self {
            user,
            email,
            tier: Tier::of(&tier),
            project: caller.settings["project"].as_i64(),
            is_readonly: caller.settings["readonly"] == true,
        })
    }
}

/// Creates a key of a user. Its field decides its prefix; the project's key is for that project only.
pub(super) fn hand_out(
    desk: &Desk<'_>,
    field: &str,
    user: i64,
    project: Option<i64>,
) -> Result<String, Fault> {
    let tier: String = desk
        .connection
        .prepare_cached("SELECT tier FROM agentstack_user WHERE id = ?1")?
        .query_row([user], |row| row.get(0))?;
    let prefix = match field {
        "session_token" => "session_",
        "user_api_key" if Tier::of(&tier) == Tier::Anonymous => "anon_ask_",
        _ => KEY_PREFIX,
    };
    let settings = json!({"user": user, "project": project});
    Ok(desk.keys.hand_out(desk.connection, NAME, (prefix, field), &settings)?)
}

/// Removes the keys of a user that were handed out: all of them, or those that are for no project.
pub(super) fn revoke(connection: &Connection, user: i64, which: Which) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE api_key SET revoked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
             WHERE service = ?1 AND revoked_at IS NULL AND json_extract(settings, '$.user') = ?2
             AND (?3 OR json_extract(settings, '$.project') IS NULL)",
        )?
        .execute(params![NAME, user, which == Which::All])
        .map(drop)
}

/// Which keys of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Personal,
}

/// `auth.convert_anonymous_user`.
pub(super) fn convert(call: &Call<'_>) -> Outcome {
    let (me, connection) = (call.me()?, call.desk.connection);
    if me.tier != Tier::Anonymous {
        return Err(Fault::conflict(format!("user {} is not anonymous", me.user)));
    }
    if me.project.is_some() {
        return Err(Fault::forbidden("a project's key cannot convert the user; call with user_api_key"));
    }
    if let Some(token) = call.arguments.text("session_token") {
        let owner = call.desk.keys.find(connection, NAME, token)?;
        if owner.and_then(|owner| owner.settings["user"].as_i64()) != Some(me.user) {
            return Err(Fault::forbidden("the session_token is not this user's"));
        }
    }
    let email = email(call.arguments.text("email").unwrap_or_default())?;
    if find_email(connection, email)?.is_some() {
        return Err(Fault::conflict("another user has this e-mail address"));
    }
    connection
        .prepare_cached(
            "UPDATE agentstack_user SET email = ?2, display_name = ?3, tier = 'FREE' WHERE id = ?1",
        )?
        .execute(params![me.user, email, call.arguments.text("display_name")])?;
    revoke(connection, me.user, Which::Personal)?;
    let key = hand_out(call.desk, "user_api_key", me.user, None)?;
    Ok(json!({
        "success": true,
        "user_id": me.user,
        "email": email,
        "tier": Tier::Free.name(),
        "user_api_key": key,
        "message": format!("User {} has the FREE tier now; the anonymous key is removed", me.user),
    }))
}

/// Checks the form of an e-mail address: one @ with something before it and a host after it, no white space.
pub(super) fn email(text: &str) -> Result<&str, Fault> {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
    let parts = text.split_once('@').filter(|(name, host)| !name.is_empty() && !host.contains('@'));
    let is_address = parts.is_some_and(|(_, host)| !host.starts_with('.') && host.contains('.'));
    if is_address && !text.ends_with('.') && text.chars().all(is_plain) && text.len() <= LONGEST_EMAIL {
        return Ok(text);
    }
    Err(Fault::invalid("`email` must be an e-mail address of at most 254 bytes"))
}

/// Finds the user of an e-mail address.
pub(super) fn find_email(connection: &Connection, email: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM agentstack_user WHERE email = ?1")?;
    statement.query_row([email], |row| row.get(0)).optional()
}
