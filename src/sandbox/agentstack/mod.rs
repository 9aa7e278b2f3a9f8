//! The AgentStack service: REST calls for the actions that its documentation names, and no others.
//!
//! From the outside in: `server` (paths, bodies, event streams), `head` (credentials, project), `catalogue`, `actions`
//! (the table), `desk` (who may run what, in a transaction), `batch` and `jobs` (several actions), `projects` and
//! `accounts` (the actions themselves). `fault` is what goes wrong.
//!
//! Decisions where the documentation is silent:
//! - It is served at `/agentstack/mcp`, and at the documented `/mcp` where no other service has that very path.
//! - User 123 is the account's FREE user, 124 has the Professional plan, 1 is the demo user. The first project that is
//!   made has the id 1025; limits of the Professional plan are `null`. A MB has 1,048,576 bytes.
//! - `api_key`, `project_api_key` and `auth_key` are one key, the project's: it sees that project only, and makes none.
//!   `user_api_key` and the session token act as the anonymous user. All are stored as hashes only.
//! - A credential that comes with `projects.create_project_anonymous` is checked, and otherwise ignored.
//! - `projects.attach_to_user` wants the new owner's credential, and a project whose owner is anonymous. All keys of that
//!   anonymous user are removed; the new key acts as the owner.
//! - `auth.convert_anonymous_user` takes `email`, `password` (not stored), `display_name` and `session_token`. It answers
//!   with a new `user_api_key`; the anonymous key and the session token are removed, the project's key stays.
//! - `projects.add_user` makes a FREE user of an unknown e-mail address. Owner and admins may add and remove; the owner
//!   cannot be removed. Roles are admin, member and viewer.
//! - Lists are newest first, 50 at a time, at most 100. A name has at most 255 characters, a description 10,000.
//! - Order of checks: path and method, both credentials (400), the action (404), the credential (401), the body (422), the
//!   demo key (403), the plan (403). The catalogue needs no credential. `X-Project-ID` stands in for a missing
//!   `project_id`.
//! - A refusal has the HTTP status that its text names. What is refused before an action runs is JSON on `/stream`, too.
//! - A batch needs a key, stops at the first failure unless `continueOnError` is true (or `stopOnError` false), and then
//!   skips the rest; each step is undone by itself. `if` is true, false or the id of an earlier step that must have
//!   completed. It is one transaction with the record of its `idempotency_key`, which is kept for a day: repeated, it gets
//!   the first answer, with other content 409. An action that makes keys cannot be a step of such a batch or of a job: its
//!   answer would have to be stored.
//! - A job is one transaction too; one that has not ended after a minute has failed.

mod accounts;
mod actions;
mod batch;
mod catalogue;
mod desk;
mod fault;
mod faults;
mod head;
mod jobs;
mod projects;
mod server;

pub(super) use self::catalogue::listed;
pub(super) use self::server::Server;

use super::service::{KeyHeader, KeyKind, Manner, Place, Service};
use serde_json::json;

const NAME: &str = "agentstack";
const KEY_PREFIX: &str = "ask_";

/// The service.
pub(super) const SERVICE: Service = Service {
    name: NAME,
    title: "AgentStack (sandbox)",
    instructions: "",
    place: Place::Under(&["/agentstack/mcp", "/mcp"]),
    key_header: KeyHeader::Bearer,
    key_prefix: KEY_PREFIX,
    keys: &[
        KeyKind { field: "key", settings: |_| Ok(json!({"user": accounts::FREE_USER})) },
        KeyKind { field: "professional_key", settings: |_| Ok(json!({"user": accounts::PROFESSIONAL_USER})) },
        KeyKind {
            field: "demo_key",
            settings: |_| Ok(json!({"user": accounts::DEMO_USER, "readonly": true})),
        },
    ],
    manner: Manner::Rest,
    newest: "",
    limit: None,
    tools: &[],
    first_call: "projects.get_projects",
    schema: accounts::SCHEMA,
    seed: accounts::seed,
};
