//! Tasks of a service with sessions (section 3.7, T-29): a client that declares the extension gets them in its form; for
//! any other one a tool that must run as a task is followed to its end, and looks like a plain call.
//!
//! Refuses to call a tool again whose task failed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::parked::{MOST_QUESTIONS, Question};
use super::translate::{Said, Service};
use super::{Asker, Call, Came, Own, Sessions, translate};
use crate::error::{Error, Executed, Kind};
use crate::protocol::effect::Effect;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{Id, METHOD_NOT_FOUND, Message};
use crate::protocol::object::{fields, object, value};
use crate::protocol::request::{Class, Leaves, Outgoing};
use crate::protocol::revision::Era;
use crate::protocol::tool_rules::{ToolPage, tool_name};
use crate::protocol::upstream::{Heard, Out, Upstream, overdue};

/// The pause between two looks at a task, where the service names none, and the shortest one.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// Maximum pages of a list of tools that are read for one call.
const MOST_PAGES: u32 = 100;
/// Tools of which it is remembered that they can run as tasks; tasks of clients that wait for input.
const MOST: usize = 16_384;

/// Whether a tool runs as a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    Optional,
    Required,
}

/// The tools of a session that can run as tasks.
pub(super) type Tools = HashMap<String, Support>;

/// A call that was refused, while it is asked whether its tool must run as a task.
#[derive(Debug)]
pub(super) struct Refused {
    /// The refusal.
    came: Came,
    /// Pages of the list of tools that were asked for.
    pages: u32,
}

/// How a call runs.
#[derive(Debug, Default)]
pub(super) enum Runs {
    #[default]
    Plainly,
    /// As a task that its client follows.
    Handed,
    /// As a task that is followed here; its id (JSON text) once it is known.
    Followed(Option<Followed>),
    /// As a task that has ended.
    Ended,
}

/// A task that is followed here.
#[derive(Debug)]
pub(super) struct Followed {
    id: String,
    pause: Duration,
    /// When it is looked at next.
    at: Option<Instant>,
}

/// A task that its client follows, once it asks something.
#[derive(Debug, Default)]
pub(super) struct Handed {
    pub questions: Vec<Question>,
    /// How many there were.
    count: u64,
    /// The request that waits for its result, on whose stream it asks.
    pub waiting: Option<u64>,
}

impl Sessions {
    /// Learns from a page of the list which tools can run as tasks.
    pub(super) fn learn_tasks(&mut self, session: u64, answer: &Message) {
        let Some(page) = ToolPage::of(answer) else { return };
        let Some(pooled) = self.pooled(session) else { return };
        for tool in page.entries {
            let tool = fields(tool.get());
            let name = value(&tool, "name").and_then(|raw| serde_json::from_str::<String>(raw).ok());
            let execution = fields(value(&tool, "execution").unwrap_or_default());
            let support = match value(&execution, "taskSupport") {
                Some(r#""required""#) => Some(Support::Required),
                Some(r#""optional""#) => Some(Support::Optional),
                _ => None,
            };
            match (name, support) {
                (Some(name), Some(support)) if pooled.tasks.len() < MOST => {
                    pooled.tasks.insert(name, support);
                }
                (Some(name), _) => drop(pooled.tasks.remove(&name)),
                _ => {}
            }
        }
    }

    /// Decides how a call runs.
    pub(super) fn runs(&self, session: u64, request: &Message, said: &Said<'_>) -> Runs {
        let Some(pooled) = self.pool.iter().find(|pooled| pooled.name == session) else {
            return Runs::Plainly;
        };
        let is_call = request.method() == "tools/call";
        if !is_call || pooled.tasks.is_empty() || !pooled.service.as_ref().is_some_and(Service::runs_tasks) {
            return Runs::Plainly;
        }
        match tool_name(request).and_then(|name| pooled.tasks.get(&*name)) {
            Some(_) if said.declares_tasks() => Runs::Handed,
            Some(Support::Required) => Runs::Followed(None),
            _ => Runs::Plainly,
        }
    }

    /// Asks for the list of tools where the service refuses a tool that it may run as a task only; false where it does not.
    /// The refusal alone proves nothing: a tool may pass on such an error after it has acted.
    pub(super) fn asks_for_support(&mut self, number: u64, came: &Came) -> bool {
        let Came::Answer(answer, _) = came else { return false };
        if ErrorFields::of(answer).is_none_or(|error| error.code != METHOD_NOT_FOUND) {
            return false;
        }
        let is_call = |call: &&Call| {
            call.request.method() == "tools/call"
                && matches!(call.asker, Asker::Client(_))
                && !call.questions.were_asked()
        };
        let Some(call) = self.calls.get(&number).filter(is_call) else { return false };
        let (session, promise) = (call.session, call.promise);
        let Some(name) = tool_name(&call.request).map(|name| name.to_string()) else { return false };
        let pooled = self.pool.iter_mut().find(|pooled| pooled.name == session);
        let Some(pooled) = pooled.filter(|pooled| pooled.service.as_ref().is_some_and(Service::runs_tasks))
        else {
            return false;
        };
        match call.runs {
            Runs::Plainly if !pooled.tasks.contains_key(&name) && pooled.tasks.len() < MOST => {}
            Runs::Handed | Runs::Followed(None) => {
                // It is no such tool after all.
                pooled.tasks.remove(&name);
                return false;
            }
            _ => return false,
        }
        self.refused.insert(number, Refused { came: came.clone(), pages: 1 });
        self.ask_within(promise, session, Own::Support(number), ("tools/list", None));
        true
    }

    /// A page of that list came: a tool that must run as a task has not run, and is called once more as one.
    pub(super) fn support_came(&mut self, number: u64, came: &Came) {
        let Some(mut refused) = self.refused.remove(&number) else { return };
        let Some(call) = self.calls.get(&number) else { return };
        let Asker::Client(client) = call.asker else { return };
        let (session, promise) = (call.session, call.promise);
        let name = tool_name(&call.request).map(|name| name.to_string()).unwrap_or_default();
        let mut next = None;
        if let Came::Answer(answer, _) = came {
            self.learn_tasks(session, answer);
            next = ToolPage::of(answer).and_then(|page| page.next.map(str::to_owned));
        }
        let support = self.pooled(session).and_then(|pooled| pooled.tasks.get(&name));
        match (support, next) {
            (Some(Support::Required), _) => self.call_again_as_task(number),
            (None, Some(cursor)) if refused.pages < MOST_PAGES => {
                refused.pages += 1;
                self.refused.insert(number, refused);
                let params = object([("cursor", &*cursor)]);
                self.ask_within(promise, session, Own::Support(number), ("tools/list", Some(&params)));
            }
            _ => self.passed_on(number, client, refused.came),
        }
    }

    fn call_again_as_task(&mut self, number: u64) {
        let Some(call) = self.calls.remove(&number) else { return };
        let (session, promise, request) = (call.session, call.promise, call.request.clone());
        let said = Said::of(&request);
        let runs = if said.declares_tasks() { Runs::Handed } else { Runs::Followed(None) };
        // The end of the first exchange is still to be reported under its number.
        let number = self.own_number();
        if let Asker::Client(client) = call.asker {
            self.resumed.insert(client, number);
        }
        self.calls.insert(number, Call { runs, ..call });
        let (class, leaves, era) = (Class::of("tools/call"), Leaves::AtOnce, Era::Legacy);
        let message = translate::as_task(&request, &said);
        let outgoing = Outgoing { number, message, class, promise, leaves, era };
        self.with(session, |legacy, moment| legacy.request(outgoing, moment));
    }

    /// Takes the answer to a call that began a task; gives back any other.
    pub(super) fn task_began(&mut self, number: u64, came: Came) -> Option<Came> {
        let Came::Answer(message, status) = &came else { return Some(came) };
        let result = fields(message.result_text().unwrap_or_default());
        let task = value(&result, "task").map(fields).unwrap_or_default();
        let (Some(id), Some(call)) = (value(&task, "taskId"), self.calls.get_mut(&number)) else {
            return Some(came);
        };
        if call.asker == Asker::Gone {
            let session = call.session;
            self.calls.remove(&number);
            self.end_task(session, id);
            return None;
        }
        match &mut call.runs {
            Runs::Plainly | Runs::Ended => Some(came),
            Runs::Handed => {
                let session = call.session;
                let kind = [("resultType", r#""task""#)];
                let flat = object(kind.into_iter().chain(renamed(&task)));
                let flat = Message::result(message.id()?, &flat);
                if let Some(pooled) = self.pool.iter_mut().find(|pooled| pooled.name == session) {
                    pooled.has_handed_tasks = true;
                }
                Some(Came::Answer(flat, *status))
            }
            Runs::Followed(followed) => {
                *followed = Some(Followed { id: id.to_owned(), pause: PAUSE, at: None });
                self.note_state(number, &task);
                self.look_later(number);
                None
            }
        }
    }

    /// Notes when to look at a task again, and reports to its client that it lives.
    fn note_state(&mut self, number: u64, task: &Fields<'_>) {
        let Some(Call { asker, runs: Runs::Followed(Some(followed)), .. }) = self.calls.get_mut(&number)
        else {
            return;
        };
        followed.pause = pause_of(task).unwrap_or(followed.pause);
        if let Asker::Client(number) = *asker {
            let said = value(task, "statusMessage").filter(|raw| raw.starts_with('"')).map(str::to_owned);
            self.out.push(Out::Heard(Heard::Lives { number, said }));
        }
    }

    fn look_later(&mut self, number: u64) {
        let now = self.moment.now;
        let Some(Call { runs: Runs::Followed(Some(followed)), .. }) = self.calls.get_mut(&number) else {
            return;
        };
        let pause = followed.pause;
        followed.at = Some(now + pause);
        self.effect(Effect::Alarm(pause));
    }

    /// Looks at the tasks whose time has come, and gives up those that took longer than `--max-time`.
    pub(super) fn look_at_tasks(&mut self) {
        let now = self.moment.now;
        let is_late = |call: &Call| {
            matches!(call.runs, Runs::Followed(Some(_))) && call.promise.broken_at(now).is_some()
        };
        let late: Vec<u64> = self.calls.iter().filter(|(_, call)| is_late(call)).map(|(n, _)| *n).collect();
        for number in late {
            let Some(call) = self.calls.get(&number) else { continue };
            let limit = call.promise.broken_at(now).unwrap_or_default();
            let error = overdue(&self.settings.place, limit).executed(Executed::Maybe);
            self.give_task_up(number, error);
        }
        let mut due = Vec::new();
        for (number, call) in &mut self.calls {
            if let Runs::Followed(Some(followed)) = &mut call.runs
                && followed.at.is_some_and(|at| at <= now)
            {
                followed.at = None;
                due.push((*number, call.session, followed.id.clone()));
            }
        }
        for (number, session, id) in due {
            let params = object([("taskId", id)]);
            self.ask(session, Own::TaskState(number), ("tasks/get", Some(&params)));
        }
    }

    /// The service has said how a followed task is.
    pub(super) fn task_state_came(&mut self, number: u64, came: Came) {
        let Some(Call { session, runs: Runs::Followed(Some(followed)), .. }) = self.calls.get_mut(&number)
        else {
            return;
        };
        let (session, id) = (*session, followed.id.clone());
        let Came::Answer(message, _) = &came else { return self.task_ended(number, came) };
        let Some(result) = message.result_text() else { return self.task_ended(number, came) };
        let state = fields(result);
        self.note_state(number, &state);
        if value(&state, "status") == Some(r#""working""#) {
            return self.look_later(number);
        }
        // It has ended, or asks something on the stream of this request.
        let params = object([("taskId", id)]);
        self.ask(session, Own::TaskResult(number), ("tasks/result", Some(&params)));
    }

    /// A followed task has ended: its call has, too.
    pub(super) fn task_ended(&mut self, number: u64, came: Came) {
        let came = match came {
            // Whatever became of the request about it, the task has begun.
            Came::Failed(error) => return self.give_task_up(number, error.executed(Executed::Maybe)),
            came => came,
        };
        if let Some(call) = self.calls.get_mut(&number) {
            call.runs = Runs::Ended;
            self.came(number, came);
        }
    }

    /// The client has given up a call: its task ends.
    pub(super) fn cancel_task(&mut self, call: &Call) -> bool {
        let Runs::Followed(Some(followed)) = &call.runs else { return false };
        self.end_task(call.session, &followed.id);
        true
    }

    fn end_task(&mut self, session: u64, id: &str) {
        let params = object([("taskId", id)]);
        self.ask(session, Own::Ignored, ("tasks/cancel", Some(&params)));
    }

    fn give_task_up(&mut self, number: u64, error: Error) {
        if let Some(call) = self.calls.get_mut(&number) {
            let runs = std::mem::take(&mut call.runs);
            if let Runs::Followed(Some(followed)) = &runs {
                let session = call.session;
                self.end_task(session, &followed.id);
            }
            self.came(number, Came::Failed(error));
        }
    }

    /// The end: no task is followed any further.
    pub(super) fn end_tasks(&mut self) {
        let followed = |call: &Call| matches!(call.runs, Runs::Followed(Some(_)));
        let all: Vec<u64> = self.calls.iter().filter(|(_, call)| followed(call)).map(|(n, _)| *n).collect();
        for number in all {
            let error = Error::new(Kind::Interrupted, "asistry ended before the task did");
            self.give_task_up(number, error.executed(Executed::Maybe));
        }
    }

    /// Takes `tasks/update`: the client's answers to what its task asked.
    pub(super) fn update_task(&mut self, session: u64, outgoing: &Outgoing) {
        let params = fields(outgoing.message.params().unwrap_or_default());
        let answers = fields(value(&params, "inputResponses").unwrap_or_default());
        let key = (session, value(&params, "taskId").unwrap_or_default().to_owned());
        let mut answered = Vec::new();
        if let Some(handed) = self.tasks.get_mut(&key) {
            for question in std::mem::take(&mut handed.questions) {
                match value(&answers, &question.key) {
                    Some(answer) => {
                        answered.push((Message::result(&question.id, answer), question.generation))
                    }
                    None => handed.questions.push(question),
                }
            }
        }
        for (answer, generation) in answered {
            self.with(session, |legacy, moment| legacy.answer(answer, generation, moment));
        }
        if let Some(id) = outgoing.message.id() {
            let done = Message::result(id, &translate::completed("tasks/update", "{}", None));
            self.ours(outgoing.number, done);
        }
    }

    /// Returns what a client that follows its task hears of a request about it; `None` where its result is fetched first.
    pub(super) fn task_answer(&mut self, number: u64, call: &Call, message: &Message) -> Option<Message> {
        let id = message.id()?;
        let result = message.result_text()?;
        if call.request.method() == "tasks/cancel" {
            return Some(Message::result(id, "{}"));
        }
        let state = fields(result);
        let params = fields(call.request.params().unwrap_or_default());
        let task = value(&params, "taskId").unwrap_or_default().to_owned();
        let key = (call.session, task);
        let params = object([("taskId", &*key.1)]);
        match value(&state, "status") {
            Some(r#""completed""# | r#""failed""#) => {
                self.tasks.remove(&key);
                let inline = Own::Inline(number);
                let asked = self.ask(call.session, inline, ("tasks/result", Some(&params)));
                let text = object(renamed(&state));
                self.fetched.insert(asked, (text, id.clone()));
                None
            }
            Some(r#""input_required""#) => {
                if self.tasks.len() >= MOST {
                    self.tasks.clear();
                }
                let handed = self.tasks.entry(key.clone()).or_default();
                if handed.waiting.is_none() {
                    let asked = self.ask(call.session, Own::Questions, ("tasks/result", Some(&params)));
                    self.tasks.entry(key.clone()).or_default().waiting = Some(asked);
                }
                let open = self.tasks.get(&key).map(|handed| &handed.questions[..]).unwrap_or_default();
                let asked = object(open.iter().map(|question| (&*question.key, &*question.text)));
                let is_asking = !open.is_empty();
                let status = if is_asking { r#""input_required""# } else { r#""working""# };
                let kept = renamed(&state).map(|(name, raw)| match name {
                    "status" => (name, status),
                    name => (name, raw),
                });
                let asked = is_asking.then_some(("inputRequests", &*asked));
                Some(Message::result(id, &object(kept.chain(asked))))
            }
            _ => Some(Message::result(id, &object(renamed(&state)))),
        }
    }

    /// The result of a task that has ended has come: it stands in the answer to the client's `tasks/get`.
    pub(super) fn inline(&mut self, number: u64, asked: u64, came: Came) {
        let Some((state, id)) = self.fetched.remove(&asked) else { return };
        let (message, status) = match came {
            Came::Answer(message, status) => (message, status),
            Came::Failed(error) => {
                return self.out.push(Out::Heard(Heard::Failed { number, error }));
            }
        };
        let state = fields(&state);
        // What ran is completed, also if it says isError (section 3.7).
        let (kind, name, part) = match (message.result_text(), message.error_text()) {
            (Some(result), _) => (r#""completed""#, "result", translate::without_related_task(result)),
            (None, error) => (r#""failed""#, "error", error.unwrap_or("{}").to_owned()),
        };
        let kept = state.iter().map(|(name, raw)| match &**name {
            "status" => ("status", kind),
            name => (name, raw.get()),
        });
        let result = object(kept.chain([(name, &*part)]));
        let service_of = translate::completed("tasks/get", &result, None);
        let message = Message::result(&id, &service_of);
        self.out.push(Out::Heard(Heard::Answer { number, message, status }));
    }

    /// Keeps a question of a task that its client follows; false where this request waits for no such task, or where it
    /// asks too much.
    pub(super) fn task_asks(&mut self, asked: u64, question: impl FnOnce(u64) -> Question) -> bool {
        let handed = self.tasks.values_mut().find(|handed| handed.waiting == Some(asked));
        let Some(handed) = handed.filter(|handed| handed.questions.len() < MOST_QUESTIONS) else {
            return false;
        };
        let question = question(handed.count + 1);
        let is_it = |known: &&mut Question| known.is_stale && known.text == question.text;
        if let Some(known) = handed.questions.iter_mut().find(is_it) {
            // The client knows it by its key.
            let key = std::mem::take(&mut known.key);
            *known = Question { key, ..question };
            return true;
        }
        handed.count += 1;
        handed.questions.push(question);
        true
    }

    /// The request on whose stream a task asked has ended: the next one is made when it asks again. The service may still
    /// wait for the answers to its questions, or ask them again.
    pub(super) fn task_asks_no_more(&mut self, asked: u64) {
        for handed in self.tasks.values_mut().filter(|handed| handed.waiting == Some(asked)) {
            handed.waiting = None;
            handed.questions.iter_mut().for_each(|question| question.is_stale = true);
        }
    }

    /// Says whether a request is about a task that its client follows.
    pub(super) fn is_about_task(call: &Call) -> bool {
        matches!(call.asker, Asker::Client(_))
            && matches!(call.request.method(), "tasks/get" | "tasks/cancel")
    }
}

type Fields<'a> = Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>;

/// The fields of a task under the names that the stateless era has for them.
fn renamed<'a>(task: &'a Fields<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let names = task.iter().filter(|(name, _)| name != "_meta");
    names.map(|(name, raw)| match &**name {
        "ttl" => ("ttlMs", raw.get()),
        "pollInterval" => ("pollIntervalMs", raw.get()),
        name => (name, raw.get()),
    })
}

/// Returns the pause that a service names for a task.
fn pause_of(task: &Fields<'_>) -> Option<Duration> {
    let pause = value(task, "pollInterval").and_then(|raw| serde_json::from_str::<f64>(raw).ok());
    let pause = pause.filter(|pause| pause.is_finite() && *pause > 0.0);
    pause.map(|pause| Duration::from_secs_f64((pause / 1e3).min(3600.0)).max(SHORTEST_PAUSE))
}

/// The key under which a task is kept: its session, and the JSON text of its id.
pub(super) type Key = (u64, String);

/// The state of a task whose result is fetched, and the id of the client's request.
pub(super) type Fetched = (String, Id);
