//! Zuko's tables and initial data.
//!
//! Tasks begin at id 1, so that the examples of `asistry tools show` work when pasted.

use rusqlite::Connection;

/// The tables of the service and of its authorization server. Times of the latter are Unix seconds; codes, refresh
/// tokens and browser sessions are stored as keyed hashes.
pub(super) const SCHEMA: &str = "
CREATE TABLE zuko_user (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL);
CREATE TABLE zuko_organization (id INTEGER PRIMARY KEY, name TEXT NOT NULL, slug TEXT NOT NULL UNIQUE);
CREATE TABLE zuko_member (
    organization_id INTEGER NOT NULL REFERENCES zuko_organization (id),
    user_id INTEGER NOT NULL REFERENCES zuko_user (id),
    role TEXT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE TABLE zuko_task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id INTEGER NOT NULL REFERENCES zuko_organization (id),
    parent_id INTEGER REFERENCES zuko_task (id),
    title TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    completed_at TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Orders the updates of one millisecond.
    turn INTEGER NOT NULL
);
CREATE INDEX zuko_task_turn ON zuko_task (turn);
CREATE INDEX zuko_task_parent ON zuko_task (parent_id);
CREATE TABLE zuko_owner (
    task_id INTEGER NOT NULL REFERENCES zuko_task (id),
    user_id INTEGER NOT NULL REFERENCES zuko_user (id),
    PRIMARY KEY (task_id, user_id)
);
CREATE TABLE zuko_signing_key (
    kid TEXT PRIMARY KEY,
    pkcs8 BLOB NOT NULL,
    public BLOB NOT NULL
);
CREATE TABLE zuko_client (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    redirect_uris TEXT NOT NULL,
    refreshes INTEGER NOT NULL,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE TABLE zuko_session (
    hash TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES zuko_user (id),
    expires_at INTEGER NOT NULL
);
-- One consent: the family of a code and the refresh tokens that came of it.
CREATE TABLE zuko_grant (
    id INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES zuko_client (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES zuko_user (id),
    scope TEXT NOT NULL,
    resource TEXT NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX zuko_grant_client ON zuko_grant (client_id);
CREATE TABLE zuko_code (
    hash TEXT PRIMARY KEY,
    grant_id INTEGER NOT NULL REFERENCES zuko_grant (id) ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL,
    challenge TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    is_used INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX zuko_code_grant ON zuko_code (grant_id);
CREATE TABLE zuko_refresh (
    hash TEXT PRIMARY KEY,
    grant_id INTEGER NOT NULL REFERENCES zuko_grant (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    is_used INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX zuko_refresh_grant ON zuko_refresh (grant_id);
";

const DATA: &str = r#"
INSERT INTO zuko_user (id, name, email) VALUES
    (11, 'Dana Demo', 'dana@zuko.example'),
    (12, 'Sam Solo', 'sam@zuko.example');
INSERT INTO zuko_organization (id, name, slug) VALUES (1, 'Acme', 'acme'), (2, 'Globex', 'globex');
INSERT INTO zuko_member (organization_id, user_id, role) VALUES
    (1, 11, 'owner'), (1, 12, 'member'), (2, 11, 'member');
INSERT INTO zuko_task (id, organization_id, parent_id, title, description, status, completed_at, turn) VALUES
    (1, 1, NULL, 'Prepare the spring launch', '{"text":"Everything until the first of March."}',
     'IN_PROGRESS', NULL, 1),
    (2, 1, 1, 'Write the announcement', NULL, 'TODO', NULL, 2),
    (3, 1, 1, 'Book the venue', NULL, 'DONE', '2026-02-02T09:30:00Z', 3),
    (4, 2, NULL, 'Renew the hosting contract', NULL, 'TODO', NULL, 4),
    (5, 2, NULL, 'Archive old invoices', NULL, 'CANCELLED', NULL, 5);
INSERT INTO zuko_owner (task_id, user_id) VALUES (1, 11), (1, 12), (2, 12), (4, 11);
"#;

/// Inserts two users, two organizations and five tasks; the sandbox's own user is none of them.
pub(super) fn seed(change: &Connection, _: &str) -> rusqlite::Result<()> {
    change.execute_batch(DATA)
}
