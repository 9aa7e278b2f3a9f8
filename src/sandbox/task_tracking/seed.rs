//! Task Tracking's tables, initial data, and the settings of its keys.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

pub(super) const SCHEMA: &str = "
CREATE TABLE tracking_workspace (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES account (user_id),
    name TEXT NOT NULL
);
CREATE TABLE tracking_customer (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES tracking_workspace (id),
    name TEXT NOT NULL,
    phone TEXT NOT NULL,
    email TEXT NOT NULL
);
CREATE TABLE tracking_task (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES tracking_workspace (id),
    customer_id TEXT NOT NULL REFERENCES tracking_customer (id),
    number INTEGER NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL,
    priority TEXT NOT NULL,
    assigned_user TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (workspace_id, number)
);
CREATE TABLE tracking_comment (
    id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tracking_task (id),
    author TEXT NOT NULL,
    by_customer INTEGER NOT NULL,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX tracking_comment_task ON tracking_comment (task_id);
";

const CUSTOMERS: [(&str, &str, &str); 4] = [
    ("Russell Hayes", "(703) 597-4534", "russell.hayes@mail.example"),
    ("María Núñez", "+1 202-555-0143", "maria@nunez.example"),
    ("Dana Okafor", "(571) 555-0198", "dana.okafor@mail.example"),
    ("Russell & Sons Ltd", "+44 20 7946 0958", "office@russell-sons.example"),
];

/// One task: customer, title, description, status and priority, assigned user, age in days.
type Row = (usize, &'static str, &'static str, [&'static str; 2], Option<&'static str>, u8);

/// Oldest first, numbered from 1001.
const TASKS: [Row; 6] = [
    (1, "Replace the brake pads", "Front axle, ceramic.", ["completed", "normal"], Some("Alex Kim"), 40),
    (3, "Service two delivery vans", "Oil, filters, tires.", ["waiting", "normal"], Some("Alex Kim"), 21),
    (0, "Oil change", "5W-30, the customer waits.", ["completed", "low"], Some("Priya Shah"), 12),
    (2, "Check engine light is on", "Code P0420.", ["in_progress", "high"], Some("Priya Shah"), 5),
    (0, "Quote for a new windshield", "A chip in the driver's view.", ["open", "high"], None, 2),
    (1, "Air conditioning blows warm", "Leak test first.", ["open", "normal"], Some("Alex Kim"), 1),
];

/// Inserts one workspace with four customers, six tasks and two comments.
pub(super) fn seed(change: &Connection, user: &str) -> rusqlite::Result<()> {
    let fresh = || uuid::Uuid::new_v4().to_string();
    let workspace = fresh();
    change.execute(
        "INSERT INTO tracking_workspace (id, user_id, name) VALUES (?1, ?2, 'Main Street Garage')",
        [&workspace, user],
    )?;
    let customers = CUSTOMERS.map(|_| fresh());
    for (id, (name, phone, email)) in customers.iter().zip(CUSTOMERS) {
        change.execute(
            "INSERT INTO tracking_customer (id, workspace_id, name, phone, email) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, workspace, name, phone, email],
        )?;
    }
    for (number, (customer, title, description, [status, priority], assigned, age)) in (1001..).zip(TASKS) {
        change.execute(
            "INSERT INTO tracking_task (id, workspace_id, customer_id, number, title, description, status,
                 priority, assigned_user, created_at, updated_at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, at, at
             FROM (SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?10) AS at)",
            params![
                fresh(),
                workspace,
                customers[customer],
                number,
                title,
                description,
                status,
                priority,
                assigned,
                format!("-{age} days")
            ],
        )?;
    }
    for (author, text) in [("Priya Shah", "The glass is ordered."), ("Alex Kim", "It arrives on Thursday.")] {
        change.execute(
            "INSERT INTO tracking_comment (id, task_id, author, by_customer, text)
             SELECT ?1, id, ?2, 0, ?3 FROM tracking_task WHERE number = 1005",
            [fresh().as_str(), author, text],
        )?;
    }
    Ok(())
}

/// Returns the workspace's id, the last segment of the path.
pub(super) fn workspace(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT id FROM tracking_workspace ORDER BY rowid", [], |row| row.get(0))
}

/// The settings of a key with the comment tool and two verification factors.
pub(super) fn with_comments(connection: &Connection) -> rusqlite::Result<Value> {
    Ok(json!({"place": workspace(connection)?, "comments": true, "factors": 2}))
}

/// The settings of a key without the comment tool.
pub(super) fn without_comments(connection: &Connection) -> rusqlite::Result<Value> {
    Ok(json!({"place": workspace(connection)?, "comments": false}))
}
