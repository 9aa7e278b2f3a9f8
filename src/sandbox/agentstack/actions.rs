//! The actions as a table.
//!
//! Lists what the documentation names, and nothing else.

use super::desk::{Call, Outcome};
use super::{accounts, batch, projects};
use crate::sandbox::arguments::{Form, Param};
use crate::sandbox::service::Effect;

/// Describes one action.
pub(super) struct Action {
    pub name: &'static str,
    pub about: &'static str,
    pub effect: Effect,
    pub needs: Needs,
    /// Whether its result has new keys in it.
    pub makes_keys: bool,
    pub params: &'static [Param],
    pub run: Run,
}

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Key,
    Professional,
}

/// How an action runs.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// By itself.
    One(fn(&Call<'_>) -> Outcome),
    /// It runs other actions, which are checked by themselves.
    Others(fn(&Call<'_>) -> Outcome),
}

/// Finds an action.
pub(super) fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The roles of a project's users, apart from its owner.
const ROLES: &[&str] = &["admin", "member", "viewer"];

const PROJECT_ID: Param = required("project_id", Form::Id, "The project's id.");
/// The parameters of a new project.
const NEW_PROJECT: &[Param] = &[
    required("name", Form::Filled, "Its name."),
    optional("description", Form::Text, "What it is for."),
    optional("config", Form::Object, "Its configuration."),
    optional("data", Form::Object, "Its data."),
    optional("preset_id", Form::Text, "The preset it was made from."),
    optional("settings", Form::Object, "Its settings."),
];

/// The actions in listed order.
pub(super) static ACTIONS: &[Action] = &[
    Action {
        name: "projects.create_project",
        about: "Create a project of your own.",
        effect: Effect::Adds,
        needs: Needs::Key,
        makes_keys: false,
        params: NEW_PROJECT,
        run: Run::One(projects::create),
    },
    Action {
        name: "projects.create_project_anonymous",
        about: "Create a project and an anonymous user without an account; returns their keys once.",
        effect: Effect::Adds,
        needs: Needs::Nothing,
        makes_keys: true,
        params: NEW_PROJECT,
        run: Run::One(projects::create_anonymous),
    },
    Action {
        name: "projects.attach_to_user",
        about: "Make an anonymous project yours; its keys are removed, and a new key is returned once.",
        effect: Effect::Overwrites,
        needs: Needs::Key,
        makes_keys: true,
        params: &[
            PROJECT_ID,
            required("auth_key", Form::Filled, "The auth_key of the anonymous creation."),
            optional("user_id", Form::Id, "The new owner: yourself."),
            optional("email", Form::Filled, "The new owner's e-mail address: your own."),
        ],
        run: Run::One(projects::attach),
    },
    Action {
        name: "projects.get_projects",
        about: "List the projects that you own or work on, newest first.",
        effect: Effect::Reads,
        needs: Needs::Key,
        makes_keys: false,
        params: &[
            optional("is_active", Form::Flag, "Only active or only inactive projects."),
            optional("limit", Form::Integer { least: 1, most: 100, default: 50 }, "How many at most."),
            optional(
                "offset",
                Form::Integer { least: 0, most: 1_000_000_000, default: 0 },
                "How many to skip.",
            ),
        ],
        run: Run::One(projects::list),
    },
    Action {
        name: "projects.add_user",
        about: "Add a user to a project. Needs a Professional subscription.",
        effect: Effect::Adds,
        needs: Needs::Professional,
        makes_keys: false,
        params: &[
            PROJECT_ID,
            optional("user_id", Form::Id, "The user's id; give this or email."),
            optional("email", Form::Filled, "The user's e-mail address; give this or user_id."),
            optional("role", Form::Word(ROLES, Some("member")), "What the user may do."),
        ],
        run: Run::One(projects::add_user),
    },
    Action {
        name: "projects.remove_user",
        about: "Remove a user from a project. Needs a Professional subscription.",
        effect: Effect::Overwrites,
        needs: Needs::Professional,
        makes_keys: false,
        params: &[PROJECT_ID, required("user_id", Form::Id, "The user's id.")],
        run: Run::One(projects::remove_user),
    },
    Action {
        name: "auth.convert_anonymous_user",
        about: "Make a FREE user of the anonymous one that you are; returns a new key once.",
        effect: Effect::Overwrites,
        needs: Needs::Key,
        makes_keys: true,
        params: &[
            required("email", Form::Filled, "The user's e-mail address."),
            optional(
                "password",
                Form::Filled,
                "A password; the sandbox has no sign-in and does not store it.",
            ),
            optional("display_name", Form::Filled, "The user's name."),
            optional("session_token", Form::Filled, "The session token of the anonymous creation."),
        ],
        run: Run::One(accounts::convert),
    },
    Action {
        name: "agentstack.execute",
        about: "Run one action by its name, or several in order as steps.",
        effect: Effect::Adds,
        needs: Needs::Key,
        makes_keys: false,
        params: &[
            optional("action", Form::Filled, "The action's name; give this or steps."),
            optional("params", Form::Object, "The action's parameters."),
            optional("steps", Form::Objects, "Several actions, each with action, params, id, if."),
            optional("options", Form::Object, "For steps: stopOnError, continueOnError, idempotency_key."),
            optional("context", Form::Object, "For steps: project_id, user_id."),
        ],
        run: Run::Others(batch::execute),
    },
];

/// Describes an argument that must be given.
pub(super) const fn required(name: &'static str, form: Form, description: &'static str) -> Param {
    Param { name, form, required: true, description }
}

/// Describes an argument that may be left out.
pub(super) const fn optional(name: &'static str, form: Form, description: &'static str) -> Param {
    Param { name, form, required: false, description }
}
