//! The Asistry service: its path, rate limit, and seven tools as a table.
//!
//! `tasks` and `workspace` implement the tools, `search` has the index that finds tasks by their texts. Decisions where Asistry's documentation is silent: lists are newest
//! first, an `assignee` filter matches exactly, a new task goes to the first board, every tool returns one object
//! (`{"tasks":[…]}`, `{"projects":[…]}`, else the task or summary itself).

mod search;
mod tasks;
mod workspace;

pub(super) use self::search::SCHEMA as SEARCH;

use super::arguments::{Form, Param};
use super::rate::Limit;
use super::service::{Effect, KeyHeader, KeyKind, Manner, NO_SETTINGS, OPEN, Place, Service, Tool};
use std::time::Duration;

/// The five statuses, also the columns of every board, in the documented order of the summary.
const STATUSES: &[&str] = &["backlog", "todo", "in_progress", "review", "done"];
const PRIORITIES: &[&str] = &["low", "medium", "high", "urgent"];

/// The service.
pub(super) const SERVICE: Service = Service {
    name: "asistry",
    title: "Asistry (sandbox)",
    instructions: "A local stand-in of the Asistry task board: its data is on this machine and nobody else sees it.",
    place: Place::At(&["/api/mcp/client", "/api/mcp/public"]),
    key_header: KeyHeader::Bearer,
    key_prefix: "ask_",
    keys: &[KeyKind { field: "key", settings: NO_SETTINGS }],
    manner: Manner::Sessions,
    newest: "2025-11-25",
    limit: Some(Limit { requests: 100, window: Duration::from_secs(60) }),
    tools: TOOLS,
    first_call: "get_workspace_info",
    schema: workspace::SCHEMA,
    seed: workspace::seed,
};

const LIMIT: Param = Param::optional(
    "limit",
    Form::Integer { least: 1, most: 100, default: 50 },
    "How many to return at most.",
);
const STATUS: Param = Param::optional("status", Form::Word(STATUSES, None), "Only tasks with this status.");
const ASSIGNEE: Param = Param::optional("assignee", Form::Text, "Only tasks of exactly this assignee.");
const ID: Param = Param::required("id", Form::Uuid, "The task's UUID.");

const TOOLS: &[Tool] = &[
    Tool {
        name: "list_tasks",
        title: "List tasks",
        description: "List tasks in your workspace, newest first, with optional status and assignee filters.",
        effect: Effect::Reads,
        streams: true,
        access: OPEN,
        params: &[STATUS, ASSIGNEE, LIMIT],
        run: tasks::find,
    },
    Tool {
        name: "search_tasks",
        title: "Search tasks",
        description: "Find tasks whose title or description contains a text, in upper or lower case.",
        effect: Effect::Reads,
        streams: true,
        access: OPEN,
        params: &[
            Param::required("query", Form::Filled, "The text to find in titles and descriptions."),
            STATUS,
            ASSIGNEE,
            LIMIT,
        ],
        run: tasks::find,
    },
    Tool {
        name: "get_task",
        title: "Get a task",
        description: "Fetch a single task by its UUID.",
        effect: Effect::Reads,
        streams: false,
        access: OPEN,
        params: &[ID],
        run: tasks::read,
    },
    Tool {
        name: "create_task",
        title: "Create a task",
        description: "Create a new task on the Kanban board.",
        effect: Effect::Adds,
        streams: false,
        access: OPEN,
        params: &[
            Param::required("title", Form::Filled, "What is to be done."),
            Param::optional("description", Form::Text, "More about it, plain text or HTML."),
            Param::optional("status", Form::Word(STATUSES, Some("backlog")), "The column it starts in."),
            Param::optional("assignee", Form::Text, "Who does it."),
            Param::optional("priority", Form::Word(PRIORITIES, Some("medium")), "How urgent it is."),
            Param::optional("due_date", Form::Date, "When it is due, ISO-8601."),
            Param::optional("labels", Form::Texts, "Labels; they are stored in lower case."),
        ],
        run: tasks::create,
    },
    Tool {
        name: "update_task",
        title: "Update a task",
        description: "Change fields of a task; what is left out stays. A new status moves it to that column.",
        effect: Effect::Overwrites,
        streams: false,
        access: OPEN,
        params: &[
            ID,
            Param::optional("title", Form::Filled, "A new title."),
            Param::optional("description", Form::Text, "A new description, plain text or HTML."),
            Param::optional(
                "status",
                Form::Word(STATUSES, None),
                "A new status; the task moves to its column.",
            ),
            Param::optional("assignee", Form::Text, "Who does it now."),
            Param::optional("priority", Form::Word(PRIORITIES, None), "How urgent it is now."),
            Param::optional("due_date", Form::Date, "When it is due now, ISO-8601."),
            Param::optional(
                "labels",
                Form::Texts,
                "Labels that replace the existing ones; stored in lower case.",
            ),
        ],
        run: tasks::update,
    },
    Tool {
        name: "list_projects",
        title: "List projects",
        description: "List all boards (projects) in your workspace.",
        effect: Effect::Reads,
        streams: true,
        access: OPEN,
        params: &[LIMIT],
        run: workspace::projects,
    },
    Tool {
        name: "get_workspace_info",
        title: "Workspace summary",
        description: "Return a summary of the workspace: its boards, task counts by status, active tasks.",
        effect: Effect::Reads,
        streams: false,
        access: OPEN,
        params: &[],
        run: workspace::summary,
    },
];
