//! Who may run which action: checks arguments, caller, demo key and plan, in this order, and runs it in a transaction.
//!
//! A failed action leaves nothing behind.

use super::accounts::{Identity, Tier};
use super::actions::{Action, Needs, Run};
use super::fault::Fault;
use crate::sandbox::arguments::Arguments;
use crate::sandbox::keys::{Caller, Keys};
use crate::sandbox::service::Effect;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value};

/// An action's result.
pub(super) type Outcome = Result<Value, Fault>;

/// The documented refusal of a plan.
const PROFESSIONAL: &str =
    "Professional subscription required for adding/removing project users. Please upgrade your subscription.";

/// Who asks, and for which project.
#[derive(Clone)]
pub(super) struct Asker {
    pub caller: Option<Caller>,
    /// The project of an action that names none.
    pub project: Option<i64>,
}

/// An action with its checked arguments.
pub(super) struct Order {
    pub action: &'static Action,
    arguments: Arguments,
}

/// Where orders run.
pub(super) struct Desk<'a> {
    /// Inside a transaction.
    pub connection: &'a Connection,
    pub keys: &'a Keys,
    pub asker: &'a Asker,
}

/// A running action.
pub(super) struct Call<'a> {
    pub desk: &'a Desk<'a>,
    pub arguments: &'a Arguments,
    identity: Option<Identity>,
}

impl Asker {
    /// Returns the user's id.
    pub fn user(&self) -> Result<i64, Fault> {
        let caller = self.caller.as_ref().ok_or_else(needs_key)?;
        caller.settings["user"].as_i64().ok_or_else(needs_key)
    }
}

impl Order {
    /// Checks the arguments of an action.
    pub fn new(
        action: &'static Action,
        mut given: Map<String, Value>,
        project: Option<i64>,
    ) -> Result<Self, Fault> {
        if let Some(project) = project
            && action.params.iter().any(|param| param.name == "project_id")
        {
            given.entry("project_id").or_insert(project.into());
        }
        let arguments = Arguments::check(action.name, action.params, given).map_err(Fault::invalid)?;
        Ok(Self { action, arguments })
    }

    /// Runs it in a transaction of its own.
    pub fn alone(&self, connection: &mut Connection, keys: &Keys, asker: &Asker) -> Outcome {
        let behavior = match self.action.effect {
            Effect::Reads => TransactionBehavior::Deferred,
            _ => TransactionBehavior::Immediate,
        };
        let change = connection.transaction_with_behavior(behavior)?;
        let result = self.run(&Desk { connection: &change, keys, asker })?;
        change.commit()?;
        Ok(result)
    }

    /// Runs it in the desk's transaction.
    pub fn run(&self, desk: &Desk<'_>) -> Outcome {
        let identity = desk.asker.caller.as_ref().map(|caller| Identity::of(desk.connection, caller));
        let identity = identity.transpose()?;
        let (Run::One(run) | Run::Others(run)) = self.action.run;
        if self.action.needs != Needs::Nothing && identity.is_none() {
            return Err(needs_key());
        }
        if let Some(identity) = &identity
            && matches!(self.action.run, Run::One(_))
        {
            self.permit(identity)?;
        }
        run(&Call { desk, arguments: &self.arguments, identity })
    }

    fn permit(&self, identity: &Identity) -> Result<(), Fault> {
        if identity.is_readonly && self.action.effect != Effect::Reads {
            let why = format!("the demo key only reads, and {} writes", self.action.name);
            return Err(Fault::forbidden(why));
        }
        if self.action.needs == Needs::Professional && identity.tier != Tier::Professional {
            return Err(Fault::forbidden(PROFESSIONAL));
        }
        Ok(())
    }
}

impl Call<'_> {
    /// Returns the caller.
    pub fn me(&self) -> Result<&Identity, Fault> {
        self.identity.as_ref().ok_or_else(needs_key)
    }

    /// Returns the project that the arguments name.
    pub fn project_id(&self) -> i64 {
        self.arguments.integer("project_id").unwrap_or_default()
    }
}

/// Refuses a request without a key.
pub(super) fn needs_key() -> Fault {
    Fault::no_key("an API key is required: Authorization: Bearer ask_… or X-API-Key: ask_…")
}
