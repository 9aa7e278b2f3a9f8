//! The Bob Studio service: stateless, `x-api-key`, thirty tools in tables by domain.
//!
//! `records` reads and writes any record within a key's reach, `tables` describes the records, `seed` fills them; the
//! other files have the tools. A key's settings are its workspace, its company or null, and whether it is internal.
//! Decisions where the page is silent:
//! - A third key, `copilot_key`, stands for the AI Copilot's own calls: the tools that need a user's context work with
//!   it. With the other keys they are listed, and each call is refused before its arguments are looked at.
//! - Lists are JSON arrays, everything else is one object. Projects are listed newest first, tasks by `sortOrder`, time
//!   logs and appointments by time, recordings newest first. Date ranges include both days.
//! - A new record belongs to the given company, else the key's, else its parent task's, project's or client's, else to
//!   none. A key of one company sees neither other companies' records nor those of none; what it cannot see is unknown.
//! - Priorities are `low`, `medium`, `high`, `urgent` (default `medium`). Statuses of contacts and appointments,
//!   sources, platforms and payment methods are free text. Currencies are three capital letters (default `EUR`).
//! - Titles and names have at most 500 characters, other texts 50,000. Amounts and hours are not negative. An end is
//!   not before its start; a time log ends later on the same day. Time logs may overlap.
//! - A subtask stays in its parent's project; a moved task takes its subtasks along. Assignees are members.
//! - A swap of a time log to a task clears its category and project, a swap to a category its task. A new category
//!   alone keeps the project. Inactive categories are neither listed nor accepted.
//! - A null argument is refused; a field cannot be emptied, except a text by the empty string.

mod booking;
mod calendar;
mod papers;
mod projects;
mod recordings;
mod records;
mod seed;
mod tables;
mod tasks;
mod time_logs;

use super::keys::Caller;
use super::service::{Access, Effect, KeyHeader, KeyKind, Manner, OPEN, Place, Service, Tool};

/// The service.
pub(super) const SERVICE: Service = Service {
    name: "bob-studio",
    title: "Bob Studio (sandbox)",
    instructions: "A local stand-in of a Bob Studio workspace: its data is on this machine and nobody else sees it.",
    place: Place::At(&["/mcp"]),
    key_header: KeyHeader::Named("x-api-key"),
    key_prefix: "bsk_",
    keys: &[
        KeyKind { field: "key", settings: seed::of_workspace },
        KeyKind { field: "company_key", settings: seed::of_company },
        KeyKind { field: "copilot_key", settings: seed::of_copilot },
    ],
    manner: Manner::Stateless,
    newest: "2025-03-26",
    limit: None,
    tools: &TOOLS,
    first_call: "list_projects",
    schema: tables::SCHEMA,
    seed: seed::seed,
};

static TOOLS: [Tool; 30] = joined(&[
    projects::TOOLS,
    tasks::TOOLS,
    papers::TOOLS,
    recordings::TOOLS,
    time_logs::TOOLS,
    calendar::TOOLS,
    booking::TOOLS,
]);

/// What most tools that read share.
const READS: Tool = Tool {
    name: "",
    title: "",
    description: "",
    effect: Effect::Reads,
    streams: false,
    access: OPEN,
    params: &[],
    run: projects::list,
};
const ADDS: Tool = Tool { effect: Effect::Adds, ..READS };
const OVERWRITES: Tool = Tool { effect: Effect::Overwrites, ..READS };

/// The access of a tool that needs a user's context.
const INTERNAL: fn(&Caller) -> Access = |caller| match caller.settings["internal"].as_bool() {
    Some(true) => Access::Open,
    _ => Access::Refused(
        "this tool needs a user's context: only the AI Copilot can call it, external API keys cannot",
    ),
};

const CURRENCY_TEXT: &str = "Three capital letters.";
const PRIORITIES: &[&str] = &["low", "medium", "high", "urgent"];

/// Joins tables into one, in order.
const fn joined<const N: usize>(tables: &[&[Tool]]) -> [Tool; N] {
    let mut all = [READS; N];
    let (mut at, mut table) = (0, 0);
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            all[at] = tables[table][row];
            at += 1;
            row += 1;
        }
        table += 1;
    }
    assert!(at == N, "the number of tools");
    all
}
