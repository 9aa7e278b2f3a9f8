//! The Zuko service: its five tools as a table, and `logins`, the authorization server that issues its tokens.
//!
//! Takes no API keys: each request carries an access token (a JWT) for exactly this endpoint.
//! Decisions where the page is silent:
//! - The base URL is the one that the client used (`http://localhost:7700` or `http://127.0.0.1:7700`); each is an
//!   issuer and a resource by itself, so the page's default address works with `--listen 127.0.0.1:3001`.
//! - There are two accounts, chosen by a button without a password: Dana belongs to Acme and Globex, Sam to Acme only.
//!   To see what a user of exactly one organization sees, sign in as Sam.
//! - The user unticks scopes on the consent page to grant fewer; consent is asked for at each login.
//! - Access tokens last an hour (a year inside the bridge, where the port ends with the process). As on the page, the
//!   endpoint checks them by the JWKS alone, so one outlives a revocation until it expires. Revoking one is
//!   `unsupported_token_type` (RFC 7009); revoking a refresh token ends its family.
//! - Codes last a minute and are spent by the first attempt; refresh tokens last 30 days from their last use.
//! - `resource` is required by the authorization endpoint and with a code, optional with a refresh token.
//! - Without `scope`, all three are asked for. There is no `offline_access`: a client that registered the grant type
//!   `refresh_token` gets refresh tokens.
//! - Clients are public (`none`); without `application_type` a client is `web` and takes no loopback redirect URI.
//! - 403 names the scopes granted so far and the one that is missing. A batch with such a call is refused whole.
//! - Lists are arrays, without `structuredContent`, which must be an object. Tasks in lists lack description,
//!   subtasks and parent task. `create_task` and `update_task` return what `get_task` returns.
//! - `assignee` is a member's id, e-mail address or name; the task's owners are then this member. The page has no
//!   argument for a parent task: the initial tasks have one.
//! - Statuses do not set `completedAt`, and it is returned as it was sent: only supplied fields change. An update
//!   without fields returns the task as it is. Titles have at most 1,000 characters.

mod logins;
mod schema;
mod tasks;

pub(super) use self::logins::{Logins, log_in};

use super::arguments::{Form, Param};
use super::keys::Caller;
use super::service::{Access, Effect, KeyHeader, Manner, Place, Service, Tokens, Tool};

/// The statuses in the page's order.
const STATUSES: &[&str] = &["TODO", "IN_PROGRESS", "DONE", "CANCELLED"];

const READ_ORGANIZATIONS: &str = "organizations:read";
const READ_TASKS: &str = "tasks:read";
const WRITE_TASKS: &str = "tasks:write";
/// All scopes in the page's order.
const SCOPES: &[&str] = &[READ_ORGANIZATIONS, READ_TASKS, WRITE_TASKS];

/// The path of the MCP endpoint.
const ENDPOINT: &str = "/api/mcp";
/// The path of the endpoint's metadata (RFC 9728 section 3.1).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource/api/mcp";

static TOKENS: Tokens =
    Tokens { check: logins::caller_of, resource_metadata: RESOURCE_METADATA, scopes: SCOPES };

/// The service.
pub(super) const SERVICE: Service = Service {
    name: "zuko",
    title: "Zuko (sandbox)",
    instructions: "A local stand-in of Zuko CRM: its data is on this machine and nobody else sees it. With several \
                   organizations, call list_organizations first.",
    place: Place::At(&[ENDPOINT]),
    key_header: KeyHeader::Token(&TOKENS),
    key_prefix: "",
    keys: &[],
    manner: Manner::Stateless,
    newest: "2025-11-25",
    limit: None,
    tools: TOOLS,
    first_call: "list_organizations",
    schema: schema::SCHEMA,
    seed: schema::seed,
};

const TASK: Param = required("taskId", Form::Id, "The task's id.");

const TOOLS: &[Tool] = &[
    Tool {
        name: "list_organizations",
        title: "List organizations",
        description: "List the organizations you belong to. Call this first if there are several: the task tools \
                      take their ids.",
        effect: Effect::Reads,
        streams: false,
        access: |caller| scoped(caller, READ_ORGANIZATIONS),
        params: &[],
        run: tasks::organizations,
    },
    Tool {
        name: "list_tasks",
        title: "List tasks",
        description: "List up to 50 tasks of all your organizations, most recently updated first.",
        effect: Effect::Reads,
        streams: false,
        access: |caller| scoped(caller, READ_TASKS),
        params: &[
            optional("status", Form::Word(STATUSES, None), "Only tasks with this status."),
            optional("organizationId", Form::Id, "Only tasks of this organization."),
        ],
        run: tasks::list,
    },
    Tool {
        name: "get_task",
        title: "Get a task",
        description: "Fetch one task with its owners, subtasks and parent task.",
        effect: Effect::Reads,
        streams: false,
        access: |caller| scoped(caller, READ_TASKS),
        params: &[TASK],
        run: tasks::read,
    },
    Tool {
        name: "create_task",
        title: "Create a task",
        description: "Create a task. organizationId may be left out only if you belong to exactly one organization.",
        effect: Effect::Adds,
        streams: false,
        access: |caller| scoped(caller, WRITE_TASKS),
        params: &[
            required("title", Form::Filled, "The task's title."),
            optional("organizationId", Form::Id, "The organization it belongs to."),
            optional("description", Form::Any, "Its description, any JSON."),
            optional("status", Form::Word(STATUSES, Some("TODO")), "Its first status."),
            optional("assignee", Form::Filled, "Who does it: a member's id, e-mail address or name."),
        ],
        run: tasks::create,
    },
    Tool {
        name: "update_task",
        title: "Update a task",
        description: "Change fields of a task; what is left out stays.",
        effect: Effect::Overwrites,
        streams: false,
        access: |caller| scoped(caller, WRITE_TASKS),
        params: &[
            TASK,
            optional("title", Form::Filled, "A new title."),
            optional("description", Form::Any, "A new description, any JSON."),
            optional("status", Form::Word(STATUSES, None), "A new status."),
            optional("assignee", Form::Filled, "Who does it now: a member's id, e-mail address or name."),
            optional("completedAt", Form::Date, "When it was completed, ISO 8601."),
        ],
        run: tasks::update,
    },
];

/// Says whether the caller's token has a scope.
fn scoped(caller: &Caller, scope: &'static str) -> Access {
    let granted = caller.settings["scope"].as_str().unwrap_or_default();
    if granted.split(' ').any(|known| known == scope) { Access::Open } else { Access::NeedsScope(scope) }
}

const fn required(name: &'static str, form: Form, description: &'static str) -> Param {
    Param { name, form, required: true, description }
}

const fn optional(name: &'static str, form: Form, description: &'static str) -> Param {
    Param { name, form, required: false, description }
}
