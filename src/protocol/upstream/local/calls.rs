//! Calls of tools as REST calls, and what comes back: a reply, records of a stream, the state of a job.
//!
//! Refuses to call an action that the rules about tools do not let through, under whatever tool it is named.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::super::under_way::{Asker, Own};
use super::catalogue::EXECUTE;
use super::records::{Came, Records};
use super::{Call, Form, Local, results, ticket};
use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::effect::Effect;
use crate::protocol::http::{Data, HttpCall};
use crate::protocol::message::{INVALID_PARAMS, quote};
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::request::Class;
use crate::protocol::tool_names::replaced;
use crate::protocol::upstream::{Heard, Out};
use crate::protocol::wire::{AgentStack, Reply};

/// The pauses between two looks at a job: the first, and the longest; each is half as long again as the one before.
const JOB_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

impl Local {
    /// Sends a call of a tool.
    pub(super) fn call(&mut self, number: u64) {
        let Some(request) = self.table.request(number) else { return };
        let message = request.message.clone();
        let params = fields(message.params().unwrap_or_default());
        let name = value(&params, "name").and_then(string).unwrap_or_default();
        let arguments = value(&params, "arguments").filter(|raw| *raw != "null").unwrap_or("{}");
        if !arguments.starts_with('{') {
            return self.refuse_request(
                number,
                INVALID_PARAMS,
                "Invalid params: arguments must be an object",
            );
        }
        let meta = fields(value(&params, "_meta").unwrap_or_default());
        let records = Records::of(value(&meta, "progressToken"));
        let reply = if records.are_wanted() { Reply::Events } else { Reply::Whole };
        let asked = match &*name {
            name if name == EXECUTE || name == replaced(EXECUTE) => Asked::read(arguments),
            name => Asked::action(name, arguments).map_err(|_| "not an action name"),
        };
        let (action, params) = match asked {
            Ok(Asked::Steps(steps)) => return self.steps(number, &steps, arguments),
            Ok(Asked::Action(action, params)) => (self.original(&action), params),
            Err(why) => {
                return self.refuse_request(number, INVALID_PARAMS, &format!("Invalid params: {why}"));
            }
        };
        if let Err(error) = self.permits(&action) {
            return self.give_up(number, error);
        }
        let rule = self.settings.secrets.new_key(&action).cloned();
        // It may be called by its shown name, which no list has explained.
        let action = rule.as_ref().map_or(&*action, |rule| &*rule.action);
        let mut http = self.wire.action(action, params, reply);
        self.open_arguments(&mut http);
        self.calls.insert(number, Call::new(http, Form::Action, records));
        match rule {
            Some(rule) => self.make_key(number, rule, params),
            None => self.carry(number, Duration::ZERO),
        }
    }

    /// Returns the action of a name, which a client knows in the form that every client takes.
    fn original(&self, name: &str) -> String {
        self.catalogue.as_ref().map_or(name, |known| known.tools.original(name)).to_owned()
    }

    /// The rules about tools bind an action under its own name too.
    fn permits(&self, action: &str) -> Result<(), Error> {
        let known = self.catalogue.as_ref().and_then(|known| known.tools.shown(action));
        let shown = known.map_or_else(|| replaced(action), str::to_owned);
        let refusal = self.settings.tools.refusal(action, &shown);
        refusal.map_or(Ok(()), |error| Err(error.executed(Executed::No)))
    }

    /// Marks the arguments in which references are resolved.
    fn open_arguments(&self, http: &mut HttpCall) {
        let names = &self.settings.secrets.arguments;
        if let Ok(body) = std::str::from_utf8(&http.body) {
            http.signing.opened = AgentStack::arguments_in(body, names);
        }
    }

    /// Sends several actions as the steps of one call; it always bears an `idempotency_key`, so it may be repeated.
    fn steps(&mut self, number: u64, steps: &[(String, &str)], arguments: &str) {
        let steps: Vec<(String, &str)> =
            steps.iter().map(|(action, step)| (self.original(action), *step)).collect();
        if let Some(error) = steps.iter().find_map(|(action, _)| self.permits(action).err()) {
            return self.give_up(number, error);
        }
        let makes_key = |action: &&(String, &str)| self.settings.secrets.new_key(&action.0).is_some();
        if let Some((action, _)) = steps.iter().find(makes_key) {
            let why = format!("Invalid params: {action} makes a key; call it by itself, not as a step");
            return self.refuse_request(number, INVALID_PARAMS, &why);
        }
        let given = fields(arguments);
        let options = fields(value(&given, "options").unwrap_or_default());
        let key = format!("\"asistry-{}\"", self.token(number));
        let own = options.iter().filter(|(name, _)| name == "idempotency_key");
        let is_given = own.clone().count() == 1
            && own.clone().all(|(_, raw)| raw.get().starts_with('"') && raw.get() != "\"\"");
        let key = (!is_given).then_some(("idempotency_key", &*key));
        let others = options.iter().filter(|(name, _)| is_given || name != "idempotency_key");
        let options = object(others.map(|(name, raw)| (&**name, raw.get())).chain(key));
        let steps: Vec<String> = steps.iter().map(|(action, step)| named(step, action)).collect();
        let steps = format!("[{}]", steps.join(","));
        let rest = given.iter().map(|(name, raw)| match &**name {
            "steps" => ("steps", &*steps),
            name => (name, raw.get()),
        });
        let body = object(rest.filter(|(name, _)| *name != "options").chain([("options", &*options)]));
        if let Some(request) = self.table.request(number) {
            request.class = Class::A;
        }
        let mut http = self.wire.batch(body);
        self.open_arguments(&mut http);
        self.calls.insert(number, Call::new(http, Form::Steps, Records::default()));
        self.carry(number, Duration::ZERO);
    }

    /// Makes a text that no other process makes for another call.
    fn token(&self, number: u64) -> String {
        let seed: String = self.settings.seed.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{seed}-{number}")
    }

    /// A whole reply came.
    pub(super) fn replied(&mut self, number: u64, data: Data) {
        let Some(request) = self.table.request(number) else { return };
        let asker = request.asker;
        if asker == Asker::Client
            && let Some(why) = results::misread(&data)
        {
            let error = Error::new(Kind::ProtocolViolation, format!("{} {why}", self.settings.place));
            let error = error.http_status(data.status).trace_id(data.trace_id).remedy(Remedy::CheckEffect);
            return self.give_up(number, error.executed(Executed::Maybe));
        }
        let Asker::Own(own) = asker else { return self.answered(number, &data) };
        self.table.remove(number);
        match own {
            Own::Actions => self.fetched.actions = Some(Ok(data)),
            _ => self.fetched.schemas = Some((data.status == 200).then_some(data.body)),
        }
        self.catalogue_came();
    }

    /// The reply to a call came, or the state of its job.
    fn answered(&mut self, number: u64, data: &Data) {
        match self.calls.get(&number).and_then(|call| call.job) {
            Some(pause) => self.looked(number, pause, data),
            None => match results::job_in(data) {
                Some(id) => self.follow_job(number, &id, data),
                None => self.finish(number, data),
            },
        }
    }

    /// A record of a stream came: progress, or the result.
    pub(super) fn recorded(&mut self, number: u64, text: &Bytes) {
        let Some(call) = self.calls.get_mut(&number).filter(|call| !call.has_its_key()) else { return };
        match call.records.take(text) {
            Came::Nothing => {}
            Came::Progress(message) => {
                let during = Some(number);
                self.out.push(Out::Heard(Heard::Told { during, message, generation: None }));
            }
            Came::End(data) => {
                self.out.push(Out::Do(Effect::Abort(ticket(number))));
                self.finish(number, &data);
            }
        }
    }

    /// Polls a job until it ends.
    fn follow_job(&mut self, number: u64, id: &str, data: &Data) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let credential = call.http.signing.credential;
        call.http = self.wire.job(id);
        call.records.trace_id = call.records.trace_id.take().or_else(|| data.trace_id.clone());
        call.http.signing.credential = credential;
        call.job = Some(JOB_PAUSES.0);
        if let Some(request) = self.table.request(number) {
            // The action has begun, whatever becomes of the looks at it.
            request.in_doubt = true;
            request.class = Class::A;
        }
        self.carry(number, JOB_PAUSES.0);
    }

    /// The state of a job came.
    fn looked(&mut self, number: u64, pause: Duration, data: &Data) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let state = results::state_of_job(&data.body);
        if data.status >= 400 || !results::is_state(&state) {
            let place = call.http.url.path().to_owned();
            let result = results::of_action(data, &self.settings.hints);
            let note = format!(
                "asistry: the action has begun, and may have run; its state could not be read at {place}"
            );
            return self.answer(number, &results::failed_look(&result, &note));
        }
        match call.records.take(&state) {
            Came::End(end) => return self.finish(number, &end),
            Came::Progress(message) => {
                let during = Some(number);
                self.out.push(Out::Heard(Heard::Told { during, message, generation: None }));
            }
            Came::Nothing => {}
        }
        let next = pause.mul_f64(1.5).min(JOB_PAUSES.1);
        call.job = Some(next);
        self.carry(number, next);
    }
}

/// What a call asks for.
enum Asked<'a> {
    /// One action with its parameters (JSON text).
    Action(Cow<'a, str>, &'a str),
    /// The action and the JSON text of each step.
    Steps(Vec<(String, &'a str)>),
}

impl<'a> Asked<'a> {
    fn action(name: impl Into<Cow<'a, str>>, params: &'a str) -> Result<Self, &'static str> {
        let name = name.into();
        match AgentStack::is_action(&name) && name != EXECUTE {
            true => Ok(Self::Action(name, params)),
            false => Err("this tool needs action, such as projects.get_projects, or steps"),
        }
    }

    /// Reads the arguments of [`EXECUTE`]; the service may read a field of the same name that is not the first.
    fn read(arguments: &'a str) -> Result<Self, &'static str> {
        let given = fields(arguments);
        if has_twice(&given) {
            return Err("an argument is given twice");
        }
        let named = value(&given, "action").or_else(|| value(&given, "tool"));
        let Some(steps) = value(&given, "steps").filter(|raw| *raw != "null") else {
            if given.iter().any(|(name, raw)| matches!(&**name, "options" | "context") && raw.get() != "null")
            {
                return Err("options and context go with steps");
            }
            let name = named.and_then(string).unwrap_or_default();
            return Self::action(name, value(&given, "params").unwrap_or("{}"));
        };
        if named.is_some() {
            return Err("give either an action or steps");
        }
        // The service takes whole messages of MCP at the same address.
        if given.iter().any(|(name, _)| !matches!(&**name, "steps" | "options" | "context")) {
            return Err("beside steps only options and context are known");
        }
        let steps: Vec<&RawValue> = serde_json::from_str(steps).map_err(|_| "steps must be an array")?;
        if steps.is_empty() {
            return Err("steps is empty");
        }
        steps.into_iter().map(|step| Self::step(step.get())).collect::<Result<_, _>>().map(Self::Steps)
    }

    fn step(step: &'a str) -> Result<(String, &'a str), &'static str> {
        let fields = fields(step);
        let action = value(&fields, "action").and_then(string).unwrap_or_default();
        let is_plain = !has_twice(&fields) && value(&fields, "tool").is_none();
        match is_plain && AgentStack::is_action(&action) && action != EXECUTE {
            true => Ok((action.into_owned(), step)),
            false => Err("each step needs action, the name of one action"),
        }
    }
}

/// Writes a step with this action.
fn named(step: &str, action: &str) -> String {
    let action = quote(action);
    object(fields(step).iter().map(|(name, raw)| match &**name {
        "action" => (&**name, &*action),
        name => (name, raw.get()),
    }))
}

fn has_twice(fields: &[(Cow<'_, str>, &RawValue)]) -> bool {
    let mut names = HashSet::new();
    fields.iter().any(|(name, _)| !names.insert(name))
}
