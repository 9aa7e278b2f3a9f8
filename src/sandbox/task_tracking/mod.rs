//! The Task Tracking service: a workspace in the path, and six tools, one of them optional.
//!
//! `tasks` lists, finds and summarizes, `comments` reads and adds comments, `seed` has the tables. A key's settings
//! are its workspace (`place`), whether it has the comment tool (`comments`), and how many verification factors that
//! tool needs (`factors`, 0 to 3; missing is 3). Decisions where the page is silent:
//! - Another workspace's path is 404. A token that is missing, wrong, revoked or a preview is 401.
//! - Tasks are identified by their UUID, so that the task number keeps its worth as a factor. Every tool returns one
//!   object. Lists are newest first, 20 by default, 100 at most; a search gives 10 by default.
//! - Each word of a query must occur somewhere: in title, description, assigned user, customer's name, e-mail or task
//!   number (with or without `#`), in any case. A query or a word of it that consists of phone characters and has three
//!   digits or more is also looked for among the phone's digits.
//! - Recent tasks of the summary are those created in the last 7 days; it shows the 5 newest tasks.
//! - Statuses are `open`, `in_progress`, `waiting`, `completed`, priorities `low`, `normal`, `high`.
//! - A factor that does not match refuses the comment, even if enough others match; the refusal doesn't say which one.
//!   Names match in any case, numbers with or without `#`, phones by their last ten digits.
//! - A key without the comment tool does not list it, and calling it is an unknown tool.

mod comments;
mod seed;
mod tasks;

use super::arguments::{Form, Param};
use super::keys::Caller;
use super::service::{Access, Effect, KeyHeader, KeyKind, Manner, OPEN, Place, Service, Tool};
use super::shapes::{FILLED, LINE, SHORT};

/// The statuses, in the order of the summary.
const STATUSES: &[&str] = &["open", "in_progress", "waiting", "completed"];

/// The service.
pub(super) const SERVICE: Service = Service {
    name: "task-tracking",
    title: "Task Tracking (sandbox)",
    instructions: "A local stand-in of a Task Tracking workspace: its data is on this machine and nobody else sees it.",
    place: Place::Below { prefix: "/app/api/mcp/server/", segment: seed::workspace },
    key_header: KeyHeader::Bearer,
    key_prefix: "mcp_live_",
    keys: &[
        KeyKind { field: "key", settings: seed::with_comments },
        KeyKind { field: "key_without_comments", settings: seed::without_comments },
    ],
    manner: Manner::Stateless,
    newest: "2024-11-05",
    limit: None,
    tools: TOOLS,
    first_call: "workspaceSummary",
    schema: seed::SCHEMA,
    seed: seed::seed,
};

const TASK: Param = Param::required("taskId", Form::Uuid, "The task's UUID, as in lists.");
const LIMIT: Param = Param::optional(
    "limit",
    Form::Integer { least: 1, most: 100, default: 20 },
    "Maximum number of results.",
);

const READS: Tool = Tool {
    name: "",
    title: "",
    description: "",
    effect: Effect::Reads,
    streams: false,
    access: OPEN,
    params: &[],
    run: tasks::summary,
};

const TOOLS: &[Tool] = &[
    Tool {
        name: "workspaceSummary",
        title: "Workspace summary",
        description: "Summarize the workspace: task counts by status, recent tasks, a few sample tasks.",
        ..READS
    },
    Tool {
        name: "listWorkspaceTasks",
        title: "List tasks",
        description: "List the workspace's tasks, newest first.",
        params: &[
            LIMIT,
            Param::optional("status", Form::Word(STATUSES, None), "Only tasks with this status."),
        ],
        run: tasks::list,
        ..READS
    },
    Tool {
        name: "searchWorkspaceTasks",
        title: "Search tasks",
        description: "Find tasks by customer name, phone digits, e-mail, task number or words of the task.",
        params: &[
            Param::required(
                "query",
                LINE,
                "Words that must all occur, such as a name or the digits of a phone.",
            ),
            Param::optional(
                "limit",
                Form::Integer { least: 1, most: 100, default: 10 },
                "Maximum number of results.",
            ),
        ],
        run: tasks::search,
        ..READS
    },
    Tool {
        name: "getTaskDetails",
        title: "Task details",
        description: "Return one task with status, priority, assigned user and customer.",
        params: &[TASK],
        run: tasks::details,
        ..READS
    },
    Tool {
        name: "listTaskComments",
        title: "List comments",
        description: "List the comments of a task, newest first.",
        params: &[TASK, LIMIT],
        run: comments::list,
        ..READS
    },
    Tool {
        name: "addCustomerComment",
        title: "Add a customer's comment",
        description: "Add a comment in the customer's name. The key's settings say how many of task number, \
            customer name and phone number must be given and match.",
        effect: Effect::Adds,
        access: comment_access,
        params: &[
            TASK,
            Param::required("comment", FILLED, "What the customer says."),
            Param::optional("taskNumber", SHORT, "Verification: the task's number."),
            Param::optional("customerName", SHORT, "Verification: the customer's full name."),
            Param::optional("phoneNumber", SHORT, "Verification: the customer's phone number."),
        ],
        run: comments::add,
        ..READS
    },
];

fn comment_access(caller: &Caller) -> Access {
    if caller.settings["comments"].as_bool() == Some(true) { Access::Open } else { Access::Hidden }
}

/// Returns the digits of a text.
fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
