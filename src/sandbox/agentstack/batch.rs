//! Several actions in order: reads the steps and their options, and runs them in one transaction.
//!
//! Refuses the whole batch if its form is wrong; a step that fails is undone by itself.

use super::actions::{self, Action, Run, optional, required};
use super::desk::{Asker, Call, Desk, Order, Outcome};
use super::fault::Fault;
use crate::sandbox::arguments::{Arguments, Form, Param};
use crate::sandbox::keys::{self, Keys};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Most steps of a batch.
const STEPS: usize = 100;
/// Longest `idempotency_key`, in characters.
const LONGEST_KEY: usize = 255;

const BATCH: &[Param] = &[
    required("steps", Form::Objects, ""),
    optional("options", Form::Object, ""),
    optional("context", Form::Object, ""),
];
const STEP: &[Param] = &[
    optional("id", Form::Filled, ""),
    required("action", Form::Filled, ""),
    optional("params", Form::Object, ""),
];
const OPTIONS: &[Param] = &[
    optional("stopOnError", Form::Flag, ""),
    optional("continueOnError", Form::Flag, ""),
    optional("async", Form::Flag, ""),
    optional("idempotency_key", Form::Filled, ""),
];
const CONTEXT: &[Param] = &[optional("project_id", Form::Id, ""), optional("user_id", Form::Id, "")];

/// Several actions, as they were asked for.
pub(super) struct Batch {
    steps: Vec<Step>,
    stops: bool,
    /// Whether to run it as a job.
    pub is_async: bool,
    idempotency_key: Option<String>,
    project: Option<i64>,
    user: Option<i64>,
    /// A hash of the whole request.
    content: String,
}

struct Step {
    id: String,
    action: String,
    params: Map<String, Value>,
    condition: Condition,
}

/// When a step runs.
enum Condition {
    Is(bool),
    Completed(String),
}

impl Batch {
    /// Reads the body of a batch.
    pub fn read(body: Map<String, Value>) -> Result<Self, Fault> {
        if body.contains_key("jsonrpc") {
            return Err(Fault::invalid("this stand-in takes {\"steps\": […]} here, and does not speak MCP"));
        }
        let content = keys::hex(&Sha256::digest(Value::from(body.clone()).to_string()));
        let body = check("a batch", BATCH, body)?;
        let part = |name: &str| body.object(name).cloned().unwrap_or_default();
        let options = check("options", OPTIONS, part("options"))?;
        let context = check("context", CONTEXT, part("context"))?;
        let idempotency_key = options.text("idempotency_key").map(str::to_owned);
        if idempotency_key.as_ref().is_some_and(|key| key.chars().nth(LONGEST_KEY).is_some()) {
            return Err(Fault::invalid(format!("`idempotency_key` has more than {LONGEST_KEY} characters")));
        }
        let batch = Self {
            steps: steps(body.objects("steps").unwrap_or_default())?,
            stops: stops(&options)?,
            is_async: options.flag("async") == Some(true),
            idempotency_key,
            project: context.integer("project_id"),
            user: context.integer("user_id"),
            content,
        };
        batch.stores_no_key().map(|()| batch)
    }

    /// Refuses to make keys where the answer has to be stored.
    fn stores_no_key(&self) -> Result<(), Fault> {
        let is_stored = self.is_async || self.idempotency_key.is_some();
        let makes_keys = |step: &&Step| actions::find(&step.action).is_some_and(|action| action.makes_keys);
        match self.steps.iter().find(makes_keys).filter(|_| is_stored) {
            Some(step) => Err(Fault::invalid(format!(
                "{} makes keys, which are shown once: call it without async and idempotency_key",
                step.action
            ))),
            None => Ok(()),
        }
    }

    /// Runs it in a transaction of its own.
    pub fn alone(&self, connection: &mut Connection, keys: &Keys, asker: &Asker) -> Outcome {
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let asker = self.asker(asker)?;
        let desk = Desk { connection: &change, keys, asker: &asker };
        let answer = self.once(&desk, || self.run(&desk))?;
        change.commit()?;
        Ok(answer)
    }

    /// Returns who asks, for the project of its context.
    pub fn asker(&self, asker: &Asker) -> Result<Asker, Fault> {
        let user = asker.user()?;
        if self.user.is_some_and(|other| other != user) {
            return Err(Fault::not_permitted());
        }
        Ok(Asker { caller: asker.caller.clone(), project: self.project.or(asker.project) })
    }

    /// Does the work, or returns the answer that its `idempotency_key` had before.
    pub fn once(&self, desk: &Desk<'_>, work: impl FnOnce() -> Outcome) -> Outcome {
        let Some(key) = &self.idempotency_key else { return work() };
        let (user, connection) = (desk.asker.user()?, desk.connection);
        let old =
            "DELETE FROM agentstack_batch WHERE created_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day')";
        connection.prepare_cached(old)?.execute([])?;
        let known: Option<(String, String)> = connection
            .prepare_cached(
                "SELECT content, answer FROM agentstack_batch WHERE user_id = ?1 AND idempotency_key = ?2",
            )?
            .query_row(params![user, key], |row| row.try_into())
            .optional()?;
        match known {
            Some((content, answer)) if content == self.content => return Ok(serde_json::from_str(&answer)?),
            Some(_) => return Err(Fault::conflict("this idempotency_key belongs to another request")),
            None => {}
        }
        let answer = work()?;
        connection
            .prepare_cached(
                "INSERT INTO agentstack_batch (user_id, idempotency_key, content, answer) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![user, key, self.content, answer.to_string()])?;
        Ok(answer)
    }

    /// Runs the steps; the answer says what came of each.
    pub fn run(&self, desk: &Desk<'_>) -> Outcome {
        let (mut answers, mut completed, mut has_failed) = (Vec::new(), HashSet::new(), false);
        for step in &self.steps {
            let mut answer = json!({"id": step.id, "action": step.action, "status": "skipped"});
            let is_wanted = match &step.condition {
                Condition::Is(is_wanted) => *is_wanted,
                Condition::Completed(id) => completed.contains(id),
            };
            if is_wanted && !(has_failed && self.stops) {
                match step.run(desk) {
                    Ok(result) => {
                        answer["status"] = "completed".into();
                        answer["result"] = result;
                        completed.insert(&step.id);
                    }
                    Err(fault) if fault.ends_batch() => return Err(fault),
                    Err(fault) => {
                        answer["status"] = "error".into();
                        answer["error"] = fault.text().into();
                        has_failed = true;
                    }
                }
            }
            answers.push(answer);
        }
        Ok(json!({"success": !has_failed, "steps": answers}))
    }
}

impl Step {
    fn read(at: usize, step: &Map<String, Value>) -> Result<Self, Fault> {
        let mut step = step.clone();
        let condition = match step.remove("if") {
            None => Condition::Is(true),
            Some(Value::Bool(is_wanted)) => Condition::Is(is_wanted),
            Some(Value::String(id)) => Condition::Completed(id),
            Some(_) => {
                return Err(Fault::invalid("`if` must be true, false or the id of an earlier step"));
            }
        };
        let step = check("a step", STEP, step)?;
        Ok(Self {
            id: step.text("id").map_or_else(|| (at + 1).to_string(), str::to_owned),
            action: step.text("action").unwrap_or_default().to_owned(),
            params: step.object("params").cloned().unwrap_or_default(),
            condition,
        })
    }

    /// Runs it, and undoes what it did if it fails.
    fn run(&self, desk: &Desk<'_>) -> Outcome {
        desk.connection.execute_batch("SAVEPOINT step")?;
        let came = other(&self.action)
            .and_then(|action| Order::new(action, self.params.clone(), desk.asker.project))
            .and_then(|order| order.run(desk));
        if came.is_err() {
            desk.connection.execute_batch("ROLLBACK TO step")?;
        }
        desk.connection.execute_batch("RELEASE step")?;
        came
    }
}

/// `agentstack.execute`.
pub(super) fn execute(call: &Call<'_>) -> Outcome {
    let given = |name: &str| call.arguments.object(name).cloned();
    match (call.arguments.text("action"), call.arguments.objects("steps")) {
        (Some(_), None) if given("options").is_some() || given("context").is_some() => {
            Err(Fault::invalid("`options` and `context` go with `steps`"))
        }
        (Some(action), None) => {
            let params = given("params").unwrap_or_default();
            Order::new(other(action)?, params, call.desk.asker.project)?.run(call.desk)
        }
        (None, Some(_)) if given("params").is_some() => Err(Fault::invalid("`params` goes with `action`")),
        (None, Some(steps)) => {
            let steps = steps.into_iter().cloned().map(Value::Object).collect::<Vec<_>>();
            let parts = ["options", "context"]
                .into_iter()
                .filter_map(|name| Some((name.into(), given(name)?.into())));
            let body = std::iter::once(("steps".to_owned(), steps.into())).chain(parts).collect();
            let batch = Batch::read(body)?;
            if batch.is_async {
                return Err(Fault::invalid("`async` goes with a batch, not with agentstack.execute"));
            }
            let asker = batch.asker(call.desk.asker)?;
            let desk = Desk { asker: &asker, ..*call.desk };
            batch.once(&desk, || batch.run(&desk))
        }
        _ => Err(Fault::invalid("give either `action` or `steps`")),
    }
}

/// Finds an action that may be run by another.
fn other(name: &str) -> Result<&'static Action, Fault> {
    let action = actions::find(name).ok_or_else(|| unknown(name))?;
    match action.run {
        Run::One(_) => Ok(action),
        Run::Others(_) => Err(Fault::invalid(format!("{name} cannot run itself"))),
    }
}

/// Refuses an action that is not in the catalogue.
pub(super) fn unknown(name: &str) -> Fault {
    let name: String = name.chars().take(100).collect();
    Fault::not_found(format!("there is no action {name}; GET /mcp/actions lists them"))
}

fn steps(given: Vec<&Map<String, Value>>) -> Result<Vec<Step>, Fault> {
    if given.is_empty() || given.len() > STEPS {
        return Err(Fault::invalid(format!("a batch has 1 to {STEPS} steps")));
    }
    let steps: Vec<Step> =
        given.iter().enumerate().map(|(at, step)| Step::read(at, step)).collect::<Result<_, _>>()?;
    let mut ids = HashSet::new();
    for step in &steps {
        if let Condition::Completed(id) = &step.condition
            && !ids.contains(id)
        {
            return Err(Fault::invalid(format!("`if` of step {} names no earlier step", step.id)));
        }
        if !ids.insert(&step.id) {
            return Err(Fault::invalid(format!("two steps have the id {}", step.id)));
        }
    }
    Ok(steps)
}

/// Says whether the first failure ends it.
fn stops(options: &Arguments) -> Result<bool, Fault> {
    match (options.flag("stopOnError"), options.flag("continueOnError")) {
        (Some(stops), Some(goes_on)) if stops == goes_on => {
            Err(Fault::invalid("`stopOnError` and `continueOnError` contradict each other"))
        }
        (Some(stops), _) => Ok(stops),
        (None, goes_on) => Ok(goes_on != Some(true)),
    }
}

fn check(what: &str, params: &[Param], given: Map<String, Value>) -> Result<Arguments, Fault> {
    Arguments::check(what, params, given).map_err(Fault::invalid)
}
