//! Time logs of the current user: each is of a task or of a category, never of both.

use super::calendar::{END_DAY, START_DAY, end_after_start, in_range};
use super::records::{Object, View, change, mistake, read, without};
use super::tables::{CATEGORY, TIME_LOG};
use super::{ADDS, INTERNAL, OVERWRITES, READS};
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal, Tool};
use crate::sandbox::shapes::{DAY, FLAG, LONG, NUMBER, TIME, minutes};
use rusqlite::Connection;
use serde_json::{Value, json};

const ID: Param = Param::required("timeLogId", Form::Uuid, "The time log's UUID.");
const TASK_ID: Param = Param::optional("taskId", Form::Uuid, "The task; not together with categoryId.");
const CATEGORY_ID: Param =
    Param::optional("categoryId", Form::Uuid, "An id of list_time_categories; not together with taskId.");
const PROJECT_ID: Param = Param::optional("projectId", Form::Uuid, "A project; only with a category.");
const DESCRIPTION: Param = Param::optional("description", LONG, "What was done.");
const BILLABLE: Param =
    Param::optional("isBillable", FLAG, "Whether it is billed; at first, time on tasks is.");
const RATE: Param = Param::optional("hourlyRate", NUMBER, "Price of an hour.");

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_time_logs",
        title: "List time logs",
        description: "List the current user's time logs, both days of the range included.",
        access: INTERNAL,
        params: &[START_DAY, END_DAY],
        run: |connection, caller, arguments| {
            read(connection, caller, |view| {
                let found = in_range(view, &TIME_LOG, arguments)?;
                Ok(Value::Array(found.into_iter().map(shown).collect()))
            })
        },
        ..READS
    },
    Tool {
        name: "list_time_categories",
        title: "List time categories",
        description: "List the active reasons for time that is not spent on a task, such as vacation or training.",
        access: INTERNAL,
        run: categories,
        ..READS
    },
    Tool {
        name: "create_time_log",
        title: "Create a time log",
        description: "Log time on exactly one of a task and a category. Time of a category may name a project.",
        access: INTERNAL,
        params: &[
            Param::required("date", DAY, "The day, YYYY-MM-DD."),
            Param::required("startTime", TIME, "The start, HH:MM."),
            Param::required("endTime", TIME, "The end, HH:MM, later on the same day."),
            TASK_ID,
            CATEGORY_ID,
            PROJECT_ID,
            DESCRIPTION,
            BILLABLE,
            RATE,
        ],
        run: create,
        ..ADDS
    },
    Tool {
        name: "update_time_log",
        title: "Update a time log",
        description: "Change fields of a time log. A new taskId replaces its category and project, a new categoryId \
            its task.",
        access: INTERNAL,
        params: &[
            ID,
            Param::optional("date", DAY, "Another day, YYYY-MM-DD."),
            Param::optional("startTime", TIME, "Another start, HH:MM."),
            Param::optional("endTime", TIME, "Another end, HH:MM."),
            DESCRIPTION,
            TASK_ID,
            CATEGORY_ID,
            PROJECT_ID,
            BILLABLE,
            RATE,
        ],
        run: update,
        ..OVERWRITES
    },
    Tool {
        name: "delete_time_log",
        title: "Delete a time log",
        description: "Delete a time log for good.",
        access: INTERNAL,
        params: &[ID],
        run: delete,
        ..OVERWRITES
    },
];

fn categories(connection: &mut Connection, caller: &Caller, _: &Arguments) -> Outcome {
    read(connection, caller, |view| Ok(view.list(&CATEGORY, "isActive ORDER BY name", &[])?.into()))
}

fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let mut fields = arguments.all().clone();
        let is_of_task = match (arguments.text("taskId"), arguments.text("categoryId")) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            _ => return Err(mistake("exactly one of `taskId` and `categoryId` must be given")),
        };
        if is_of_task && fields.contains_key("projectId") {
            return Err(no_project());
        }
        check(view, &fields)?;
        fields.entry("isBillable").or_insert(is_of_task.into());
        Ok(shown(view.insert(&TIME_LOG, fields)?))
    })
}

fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let id = arguments.text("timeLogId").unwrap_or_default();
        let before = view.one(&TIME_LOG, "timeLogId", id)?;
        let fields = swapped(&before, without(arguments, "timeLogId"))?;
        let mut after = before;
        after.extend(fields.clone());
        check(view, &after)?;
        Ok(shown(view.update(&TIME_LOG, id, &fields)?))
    })
}

fn delete(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let id = arguments.text("timeLogId").unwrap_or_default();
        view.one(&TIME_LOG, "timeLogId", id)?;
        view.connection.prepare_cached("DELETE FROM bob_time_log WHERE id = ?1")?.execute([id])?;
        Ok(json!({"id": id, "deleted": true}))
    })
}

/// Adds to the given fields those that a swap between task and category clears.
fn swapped(before: &Object, mut fields: Object) -> Result<Object, Refusal> {
    let is_given = |name: &str| fields.contains_key(name);
    let (task, category, project) = (is_given("taskId"), is_given("categoryId"), is_given("projectId"));
    if task && category {
        return Err(mistake("at most one of `taskId` and `categoryId` can be given"));
    }
    let stays_of_task = !category && !before["taskId"].is_null();
    if project && (task || stays_of_task) {
        return Err(no_project());
    }
    if task {
        fields.insert("categoryId".into(), Value::Null);
        fields.insert("projectId".into(), Value::Null);
    }
    if category {
        fields.insert("taskId".into(), Value::Null);
    }
    Ok(fields)
}

/// Checks the times of a time log, and that its category is active.
fn check(view: &View<'_>, log: &Object) -> Result<(), Refusal> {
    end_after_start(log)?;
    let category = view.linked(log, "categoryId", &CATEGORY)?;
    match category["isActive"].as_bool() {
        Some(false) => Err(mistake("`categoryId`: this category is not active; see list_time_categories")),
        _ => Ok(()),
    }
}

fn no_project() -> Refusal {
    mistake("`projectId` is for time of a category only: a task has its own project")
}

/// Adds the duration to a time log.
fn shown(mut log: Object) -> Value {
    let time = |name: &str| log[name].as_str().and_then(minutes).unwrap_or_default();
    let duration = time("endTime") - time("startTime");
    log.insert("durationMinutes".into(), duration.into());
    log.into()
}
