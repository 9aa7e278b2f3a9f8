//! Calls of tools as REST calls, and what comes back: a reply, records of a stream, the state of a job.
//!
//! Refuses to call an action that the rules about tools do not let through, under whatever tool it is named.

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
use crate::protocol::message::INVALID_PARAMS;
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::request::Class;
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
            return self.refuse_request(number, INVALID_PARAMS, "Invalid params: arguments is no object");
        }
        let meta = fields(value(&params, "_meta").unwrap_or_default());
        let records = Records::of(value(&meta, "progressToken"));
        let reply = if records.are_wanted() { Reply::Events } else { Reply::Whole };
        let given = fields(arguments);
        let steps = value(&given, "steps").filter(|_| name == EXECUTE);
        if let Some(steps) = steps {
            return self.steps(number, (steps, arguments));
        }
        let (action, params) = match &*name {
            EXECUTE => {
                let action = value(&given, "action").or_else(|| value(&given, "tool")).and_then(string);
                (action.unwrap_or_default(), value(&given, "params").unwrap_or("{}"))
            }
            _ => (name.clone(), arguments),
        };
        if name == EXECUTE
            && let Err(error) = self.permits(&action)
        {
            return self.give_up(number, error);
        }
        if !AgentStack::is_action(&action) {
            return self.refuse_request(
                number,
                INVALID_PARAMS,
                "Invalid params: this is no name of an action",
            );
        }
        let mut http = self.wire.action(&action, params, reply);
        self.open_arguments(&mut http);
        let rule = self.settings.secrets.new_key(&action).cloned();
        let call = Call { http, form: Form::Action, records, new_key: None };
        self.calls.insert(number, call);
        match rule {
            Some(rule) => self.make_key(number, rule, params),
            None => self.carry(number, Duration::ZERO),
        }
    }

    /// Masked values of the body are opened where its data allows it.
    fn open_arguments(&self, http: &mut HttpCall) {
        let names = &self.settings.secrets.arguments;
        if let Ok(body) = std::str::from_utf8(&http.body) {
            http.signing.opened = AgentStack::arguments_in(body, names);
        }
    }

    /// The rules about tools bind the actions that another tool runs by name.
    fn permits(&self, action: &str) -> Result<(), Error> {
        let refusal = self.settings.tools.refusal(action, &action.replace('.', "_"));
        refusal.map_or(Ok(()), |error| Err(error.executed(Executed::No)))
    }

    /// Sends several actions as the steps of one call; it always bears an `idempotency_key`, so it may be repeated.
    fn steps(&mut self, number: u64, (steps, arguments): (&str, &str)) {
        let listed: Vec<&RawValue> = serde_json::from_str(steps).unwrap_or_default();
        for step in listed {
            let step = fields(step.get());
            let action = value(&step, "action").and_then(string).unwrap_or_default();
            if let Err(error) = self.permits(&action) {
                return self.give_up(number, error);
            }
            if self.settings.secrets.new_key(&action).is_some() {
                let why = format!("Invalid params: {action} makes a key; call it by itself, not as a step");
                return self.refuse_request(number, INVALID_PARAMS, &why);
            }
        }
        let given = fields(arguments);
        let options = fields(value(&given, "options").unwrap_or_default());
        let key = format!("\"asistry-{}\"", self.token(number));
        let is_missing = value(&options, "idempotency_key").is_none();
        let key = is_missing.then_some(("idempotency_key", &*key));
        let options = object(options.iter().map(|(name, raw)| (&**name, raw.get())).chain(key));
        let rest = given.iter().filter(|(name, _)| name != "options");
        let body = object(rest.map(|(name, raw)| (&**name, raw.get())).chain([("options", &*options)]));
        if let Some(request) = self.table.request(number) {
            request.class = Class::A;
        }
        let mut http = self.wire.batch(body);
        self.open_arguments(&mut http);
        self.calls
            .insert(number, Call { http, form: Form::Steps, records: Records::default(), new_key: None });
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
        match (asker, self.calls.get(&number).map(|call| call.form)) {
            (Asker::Own(own), _) => {
                self.table.remove(number);
                match own {
                    Own::Actions => self.fetched.actions = Some(Ok(data)),
                    _ => self.fetched.schemas = Some((data.status == 200).then_some(data.body)),
                }
                self.catalogue_came();
            }
            (Asker::Client, Some(Form::Job { pause })) => self.looked(number, pause, &data),
            (Asker::Client, form) => match results::job_in(&data) {
                Some(id) => self.follow_job(number, id),
                None if form == Some(Form::Steps) => {
                    self.answer(number, &results::of_batch(&data, &self.settings.hints))
                }
                None => self.finish(number, &data),
            },
        }
    }

    /// A record of a stream came: progress, or the result.
    pub(super) fn recorded(&mut self, number: u64, text: &Bytes) {
        let Some(call) = self.calls.get_mut(&number) else { return };
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

    /// A job goes on at the service: it is looked at until it has ended.
    fn follow_job(&mut self, number: u64, id: String) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let credential = call.http.signing.credential;
        call.http = self.wire.job(&id);
        call.http.signing.credential = credential;
        call.form = Form::Job { pause: JOB_PAUSES.0 };
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
        if data.status >= 400 {
            return self.finish(number, data);
        }
        match call.records.take(&results::state_of_job(&data.body)) {
            Came::End(end) => return self.finish(number, &end),
            Came::Progress(message) => {
                let during = Some(number);
                self.out.push(Out::Heard(Heard::Told { during, message, generation: None }));
            }
            Came::Nothing => {}
        }
        let next = pause.mul_f64(1.5).min(JOB_PAUSES.1);
        call.form = Form::Job { pause: next };
        self.carry(number, next);
    }
}
