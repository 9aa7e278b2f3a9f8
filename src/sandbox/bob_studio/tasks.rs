//! Tasks and their subtasks, one level deep.

use super::records::{Object, View, change, mistake, read, without};
use super::tables::{COMMENT, MEMBER, PROJECT, TASK};
use super::{ADDS, INTERNAL, OVERWRITES, PRIORITIES, READS};
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Outcome, Refusal, Tool};
use crate::sandbox::shapes::{FLAG, LINE, LONG, NUMBER, POSITION, UUIDS};
use rusqlite::Connection;
use serde_json::{Value, json};

const STATUSES: &[&str] = &["todo", "in_progress", "frozen", "done"];

const ID: Param = Param::required("taskId", Form::Uuid, "The UUID of a task or a subtask.");
const PARENT: Param = Param::required("parentTaskId", Form::Uuid, "The parent task's UUID.");
const TITLE: Param = Param::required("title", LINE, "What is to be done.");
const DESCRIPTION: Param = Param::optional("description", LONG, "More about it.");
const FIRST_STATUS: Param =
    Param::optional("status", Form::Word(STATUSES, Some("todo")), "Its status at first.");
const FIRST_PRIORITY: Param =
    Param::optional("priority", Form::Word(PRIORITIES, Some("medium")), "How urgent it is.");
const ESTIMATED: Param = Param::optional("estimatedHours", NUMBER, "Estimated hours.");
const DUE: Param = Param::optional("dueDate", Form::Date, "When it is due, ISO-8601.");
const PROJECT_ID: Param = Param::optional("projectId", Form::Uuid, "The UUID of its project.");
const ASSIGNEES: Param = Param::optional("assigneeIds", UUIDS, "The UUIDs of the members who do it.");
const PRIVATE: Param = Param::optional("isPrivate", FLAG, "Whether it is private.");

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_tasks",
        title: "List tasks",
        description: "List tasks that have no parent, each with the number of its subtasks (childTaskCount).",
        params: &[Param::optional("projectId", Form::Uuid, "Only tasks of this project.")],
        run: list,
        ..READS
    },
    Tool {
        name: "get_task",
        title: "Get a task",
        description: "Return all fields of a task, with its project, subtasks, comments and assignees.",
        params: &[ID],
        run: get,
        ..READS
    },
    Tool {
        name: "create_task",
        title: "Create a task",
        description: "Create a task without a parent.",
        access: INTERNAL,
        params: &[TITLE, DESCRIPTION, FIRST_STATUS, FIRST_PRIORITY, ESTIMATED, DUE, PROJECT_ID, ASSIGNEES],
        run: create,
        ..ADDS
    },
    Tool {
        name: "create_subtask",
        title: "Create a subtask",
        description: "Create a subtask in its parent's project. A subtask has no subtasks.",
        access: INTERNAL,
        params: &[
            PARENT,
            TITLE,
            DESCRIPTION,
            FIRST_STATUS,
            FIRST_PRIORITY,
            ESTIMATED,
            DUE,
            ASSIGNEES,
            PRIVATE,
        ],
        run: create_subtask,
        ..ADDS
    },
    Tool {
        name: "list_subtasks",
        title: "List subtasks",
        description: "List the subtasks of a task.",
        params: &[PARENT],
        run: list_subtasks,
        ..READS
    },
    Tool {
        name: "update_task",
        title: "Update a task",
        description: "Change fields of a task or a subtask; what is left out stays.",
        params: &[
            ID,
            Param::optional("title", LINE, "A new title."),
            DESCRIPTION,
            Param::optional("status", Form::Word(STATUSES, None), "A new status."),
            Param::optional("priority", Form::Word(PRIORITIES, None), "How urgent it is now."),
            ESTIMATED,
            Param::optional("actualHours", NUMBER, "Hours spent."),
            DUE,
            Param::optional("sortOrder", POSITION, "Its place in lists; the smallest is first."),
            PROJECT_ID,
            ASSIGNEES,
            PRIVATE,
        ],
        run: update,
        ..OVERWRITES
    },
    Tool {
        name: "update_task_status",
        title: "Change a task's status",
        description: "Set the status of a task or a subtask.",
        params: &[ID, Param::required("status", Form::Word(STATUSES, None), "The new status.")],
        run: update,
        ..OVERWRITES
    },
];

fn list(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let project = arguments.text("projectId");
        if let Some(id) = project {
            view.one(&PROJECT, "projectId", id)?;
        }
        let rest = "parentTaskId IS NULL AND (?4 IS NULL OR projectId = ?4) ORDER BY sortOrder, rowid";
        let mut tasks = view.list(&TASK, rest, &[&project])?;
        for task in &mut tasks {
            let count = subtasks(view, task)?.len();
            task.insert("childTaskCount".into(), count.into());
        }
        Ok(tasks.into())
    })
}

fn get(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let id = arguments.text("taskId").unwrap_or_default();
        let mut task = view.one(&TASK, "taskId", id)?;
        let project = view.linked(&task, "projectId", &PROJECT)?;
        let project = match project.is_null() {
            true => project,
            false => json!({"id": project["id"], "name": project["name"]}),
        };
        let subtasks = subtasks(view, &task)?;
        let comments = view.list(&COMMENT, "taskId = ?4 ORDER BY rowid", &[&id])?;
        let mut assignees = Vec::new();
        for id in task["assigneeIds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assignees.extend(view.find(&MEMBER, id)?);
        }
        task.insert("project".into(), project);
        task.insert("subtasks".into(), subtasks.into());
        task.insert("comments".into(), comments.into());
        task.insert("assignees".into(), assignees.into());
        Ok(task.into())
    })
}

fn create(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| Ok(view.insert(&TASK, arguments.all().clone())?.into()))
}

fn create_subtask(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let parent = parent(view, arguments)?;
        if !parent["parentTaskId"].is_null() {
            return Err(mistake("`parentTaskId`: this task is a subtask itself, which has no subtasks"));
        }
        let mut fields = arguments.all().clone();
        fields.insert("projectId".into(), parent["projectId"].clone());
        fields.insert("companyId".into(), parent["companyId"].clone());
        Ok(view.insert(&TASK, fields)?.into())
    })
}

fn list_subtasks(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    read(connection, caller, |view| {
        let parent = parent(view, arguments)?;
        Ok(subtasks(view, &parent)?.into())
    })
}

/// `update_task` and `update_task_status`. A moved task takes its subtasks along.
fn update(connection: &mut Connection, caller: &Caller, arguments: &Arguments) -> Outcome {
    change(connection, caller, |view| {
        let id = arguments.text("taskId").unwrap_or_default();
        let task = view.one(&TASK, "taskId", id)?;
        let mut fields = without(arguments, "taskId");
        if let Some(to) = arguments.text("projectId").filter(|to| task["projectId"].as_str() != Some(*to)) {
            if !task["parentTaskId"].is_null() {
                return Err(mistake("`projectId`: a subtask stays in its parent's project"));
            }
            let project = view.one(&PROJECT, "projectId", to)?;
            fields.insert("companyId".into(), project["companyId"].clone());
            view.connection
                .prepare_cached("UPDATE bob_task SET projectId = ?2, companyId = ?3 WHERE parentTaskId = ?1")?
                .execute((id, to, project["companyId"].as_str()))?;
        }
        Ok(view.update(&TASK, id, &fields)?.into())
    })
}

fn parent(view: &View<'_>, arguments: &Arguments) -> Result<Object, Refusal> {
    view.one(&TASK, "parentTaskId", arguments.text("parentTaskId").unwrap_or_default())
}

fn subtasks(view: &View<'_>, task: &Object) -> rusqlite::Result<Vec<Object>> {
    view.list(&TASK, "parentTaskId = ?4 ORDER BY sortOrder, rowid", &[&task["id"].as_str()])
}
