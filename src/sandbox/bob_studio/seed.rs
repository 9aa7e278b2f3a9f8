//! Bob Studio's initial data, and the settings of its keys.

use super::records::{Object, View};
use super::tables::{self, Record};
use crate::sandbox::service::Refusal;
use rusqlite::Connection;
use serde_json::{Value, json};

/// Inserts one workspace with two companies, members, clients, projects, tasks and what the current user needs.
pub(super) fn seed(change: &Connection, user: &str) -> rusqlite::Result<()> {
    let workspace = uuid::Uuid::new_v4().to_string();
    change.execute(
        "INSERT INTO bob_workspace (id, userId, name) VALUES (?1, ?2, 'Sandbox Studio')",
        [&workspace, user],
    )?;
    change.execute(
        "INSERT INTO bob_member (id, workspaceId, name, email) VALUES (?1, ?2, 'You', 'you@studio.example')",
        [user, &workspace],
    )?;
    let view = View { connection: change, workspace, company: None, user: user.to_owned() };
    let seeded = projects(&view).and_then(|()| own(&view));
    seeded.map_err(|refusal| match refusal {
        Refusal::Broken(error) => error,
        Refusal::Mistake(text) => rusqlite::Error::ToSqlConversionFailure(text.into()),
    })
}

fn projects(view: &View<'_>) -> Result<(), Refusal> {
    let add = |record: &Record, fields: Value| add(view, record, fields);
    let north = add(&tables::COMPANY, json!({"name": "North Design"}))?;
    let south = add(&tables::COMPANY, json!({"name": "South Print"}))?;
    let ines = add(&tables::MEMBER, json!({"name": "Ines Moretti", "email": "ines@studio.example"}))?;
    let harbor = add(
        &tables::CLIENT,
        json!({"companyName": "Harbor Cafe", "firstName": "Lena", "lastName": "Brandt",
            "email": "lena@harbor.example", "city": "Hamburg", "country": "Germany", "companyId": north}),
    )?;
    let velo = add(
        &tables::CLIENT,
        json!({"companyName": "Velo Works", "email": "office@velo.example", "companyId": north}),
    )?;
    let orchard =
        add(&tables::CLIENT, json!({"companyName": "Orchard Press", "city": "Turin", "companyId": south}))?;
    add(
        &tables::PROJECT,
        json!({"name": "Trade fair stand", "status": "invoiced", "clientId": velo, "budget": 12000,
            "startDate": "2026-02-02", "endDate": "2026-05-29"}),
    )?;
    add(
        &tables::PROJECT,
        json!({"name": "Spring catalog", "status": "completed", "clientId": orchard, "budget": 4800.5}),
    )?;
    let menu = add(
        &tables::PROJECT,
        json!({"name": "Seasonal menu cards", "clientId": orchard, "budget": 950, "estimatedHours": 12}),
    )?;
    let website = add(
        &tables::PROJECT,
        json!({"name": "Website relaunch", "clientId": harbor, "budget": 8000, "estimatedHours": 120,
            "startDate": "2026-09-01", "taskPrefix": "WEB", "description": "A new site with online orders."}),
    )?;
    let design = add(
        &tables::TASK,
        json!({"title": "Design the start page", "projectId": website, "status": "in_progress",
            "priority": "high", "estimatedHours": 16, "assigneeIds": [ines, view.user]}),
    )?;
    for (title, status) in [("Collect photos", "done"), ("Draft two layouts", "todo")] {
        add(
            &tables::TASK,
            json!({"title": title, "status": status, "projectId": website, "parentTaskId": design}),
        )?;
    }
    add(&tables::TASK, json!({"title": "Set up the shop", "projectId": website, "dueDate": "2026-12-18"}))?;
    add(&tables::TASK, json!({"title": "Proof the menu cards", "projectId": menu, "status": "frozen"}))?;
    add(&tables::TASK, json!({"title": "Renew the insurance", "priority": "low"}))?;
    let comment = json!({"taskId": design, "author": "Ines Moretti", "text": "The client prefers blue."});
    add(&tables::COMMENT, comment).map(drop)
}

/// Inserts what belongs to the current user.
fn own(view: &View<'_>) -> Result<(), Refusal> {
    let add = |record: &Record, fields: Value| add(view, record, fields);
    for (name, is_active) in [
        ("Vacation", true),
        ("Sick leave", true),
        ("Internal meeting", true),
        ("Training", true),
        ("Parental leave", false),
    ] {
        add(&tables::CATEGORY, json!({"name": name, "isActive": is_active}))?;
    }
    let studio = add(&tables::CALENDAR, json!({"name": "Studio", "isDefault": true}))?;
    add(&tables::CALENDAR, json!({"name": "Private"}))?;
    let week: Object = (1..=5)
        .map(|day| {
            (day.to_string(), json!([{"start": "09:00", "end": "12:30"}, {"start": "14:00", "end": "18:00"}]))
        })
        .collect();
    add(
        &tables::BOOKING,
        json!({"slug": "sandbox-studio", "weeklyHours": week, "bookingCalendarId": studio}),
    )?;
    add(
        &tables::RECORDING,
        json!({"title": "Kickoff with Harbor Cafe", "durationSeconds": 1815,
            "summary": "The client wants online orders by spring.",
            "actionItems": ["Send two layouts", "Ask for photos"], "notes": "Call back on Friday.",
            "transcription": "Lena: We need the new site before the season starts."}),
    )?;
    add(
        &tables::RECORDING,
        json!({"title": "Note on paper stock", "durationSeconds": 42, "summary": "Use the heavier paper.",
            "transcription": "The heavier paper, please."}),
    )
    .map(drop)
}

/// Adds a record and returns its id.
fn add(view: &View<'_>, record: &Record, fields: Value) -> Result<Value, Refusal> {
    let fields = match fields {
        Value::Object(fields) => fields,
        _ => Object::new(),
    };
    Ok(view.insert(record, fields)?["id"].clone())
}

/// The settings of a key for the whole workspace.
pub(super) fn of_workspace(connection: &Connection) -> rusqlite::Result<Value> {
    settings(connection, Value::Null, false)
}

/// The settings of a key for the first company.
pub(super) fn of_company(connection: &Connection) -> rusqlite::Result<Value> {
    let company: String =
        connection.query_row("SELECT id FROM bob_company ORDER BY rowid", [], |row| row.get(0))?;
    settings(connection, company.into(), false)
}

/// The settings of the AI Copilot's key.
pub(super) fn of_copilot(connection: &Connection) -> rusqlite::Result<Value> {
    settings(connection, Value::Null, true)
}

fn settings(connection: &Connection, company: Value, internal: bool) -> rusqlite::Result<Value> {
    let workspace: String =
        connection.query_row("SELECT id FROM bob_workspace ORDER BY rowid", [], |row| row.get(0))?;
    Ok(json!({"workspace": workspace, "company": company, "internal": internal}))
}
