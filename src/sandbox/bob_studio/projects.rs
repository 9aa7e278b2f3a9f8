//! Projects.

use super::records::{View, change, in_order, read, without};
use super::tables::{CLIENT, COMPANY, PROJECT};
use super::{ADDS, CURRENCY_TEXT, OVERWRITES, READS};
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Tool};
use crate::sandbox::shapes::{CURRENCY, LINE, LONG, NUMBER, SHORT};
use rusqlite::Connection;
use serde_json::{Map, Value};

const STATUSES: &[&str] = &["in_progress", "completed", "invoiced"];
/// What a list shows of a project, besides its client.
const SUMMARY: [&str; 8] =
    ["id", "name", "status", "budget", "currency", "startDate", "endDate", "companyId"];

const ID: Param = Param::required("projectId", Form::Uuid, "The project's UUID.");
const DESCRIPTION: Param = Param::optional("description", LONG, "What it is about.");
const START: Param = Param::optional("startDate", Form::Date, "Its first day, ISO-8601.");
const END: Param = Param::optional("endDate", Form::Date, "Its last day, ISO-8601.");
const BUDGET: Param = Param::optional("budget", NUMBER, "Its budget, in its currency.");
const HOURS: Param = Param::optional("estimatedHours", NUMBER, "Estimated hours.");
const NOTES: Param = Param::optional("notes", LONG, "Notes.");

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_projects",
        title: "List projects",
        description: "List the workspace's projects, newest first, each with its client.",
        params: &[Param::optional("status", Form::Word(STATUSES, None), "Only projects with this status.")],
        run: list,
        ..READS
    },
    Tool {
        name: "get_project",
        title: "Get a project",
        description: "Return all fields of a project, with its client, its company and the number of its tasks.",
        params: &[ID],
        run: get,
        ..READS
    },
    Tool {
        name: "create_project",
        title: "Create a project",
        description: "Create a project; it is in progress at first.",
        params: &[
            Param::required("name", LINE, "Its name."),
            Param::optional("clientId", Form::Uuid, "Its client's UUID."),
            Param::optional("companyId", Form::Uuid, "The UUID of the company it belongs to."),
            DESCRIPTION,
            START,
            END,
            BUDGET,
            HOURS,
            NOTES,
            Param::optional("currency", CURRENCY, CURRENCY_TEXT),
        ],
        run: create,
        ..ADDS
    },
    Tool {
        name: "update_project",
        title: "Update a project",
        description: "Change fields of a project; what is left out stays.",
        params: &[
            ID,
            Param::optional("name", LINE, "A new name."),
            DESCRIPTION,
            Param::optional("status", Form::Word(STATUSES, None), "A new status."),
            START,
            END,
            BUDGET,
            HOURS,
            NOTES,
            Param::optional("taskPrefix", SHORT, "What the numbers of its tasks begin with."),
        ],
        run: update,
        ..OVERWRITES
    },
    Tool {
        name: "update_project_status",
        title: "Change a project's status",
        description: "Set the status of a project.",
        params: &[ID, Param::required("status", Form::Word(STATUSES, None), "The new status.")],
        run: update,
        ..OVERWRITES
    },
];

pub(super) fn list(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let rest = "(?4 IS NULL OR status = ?4) ORDER BY rowid DESC";
        let projects = view.list(&PROJECT, rest, &[&arguments.text("status")])?;
        let summaries = projects.iter().map(|project| {
            let mut summary: Map<_, _> =
                SUMMARY.iter().map(|field| ((*field).to_owned(), project[*field].clone())).collect();
            summary.insert("client".into(), client(view, project)?);
            Ok(Value::from(summary))
        });
        Ok(summaries.collect::<rusqlite::Result<Vec<_>>>()?.into())
    })
}

fn get(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let id = arguments.text("projectId").unwrap_or_default();
        let mut project = view.one(&PROJECT, "projectId", id)?;
        let client = client(view, &project)?;
        let company = view.linked(&project, "companyId", &COMPANY)?;
        let tasks: i64 = view
            .connection
            .prepare_cached("SELECT count(*) FROM bob_task WHERE projectId = ?1")?
            .query_row([id], |row| row.get(0))?;
        project.insert("client".into(), client);
        project.insert("company".into(), company);
        project.insert("taskCount".into(), tasks.into());
        Ok(project.into())
    })
}

fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    in_order(arguments.all(), "startDate", "endDate")?;
    change(connection, caller, |view| Ok(view.insert(&PROJECT, arguments.all().clone())?.into()))
}

fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let id = arguments.text("projectId").unwrap_or_default();
        view.one(&PROJECT, "projectId", id)?;
        let after = view.update(&PROJECT, id, &without(arguments, "projectId"))?;
        in_order(&after, "startDate", "endDate")?;
        Ok(after.into())
    })
}

/// Returns a project's client by id and name, or null.
fn client(view: &View<'_>, project: &Map<String, Value>) -> rusqlite::Result<Value> {
    let client = view.linked(project, "clientId", &CLIENT)?;
    let shown = ["id", "companyName"].map(|field| (field.to_owned(), client[field].clone()));
    Ok(if client.is_null() { client } else { Map::from_iter(shown).into() })
}
