//! Tasks: a call that a service of the stateless era runs as one is driven here for a client with a handshake, which sees
//! a plain call (section 3.7).
//!
//! Refuses to let a task go on when its call is over, and to ask the client the same thing twice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use super::lower::Came;
use super::rounds::violation;
use super::{Client, Said};
use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::message::{Id, Message};
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::request::{Class, Leaves, Outgoing};
use crate::protocol::retry;
use crate::protocol::revision::Era;

/// The pause before a poll where the service names none, and the bounds of one that it names.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Maximum questions of one task.
const MOST_QUESTIONS: usize = 4096;

/// A task that runs for a call of the client.
#[derive(Debug)]
pub(super) struct Task {
    /// JSON text of its id.
    id: String,
    pause: Duration,
    awaits: Awaits,
    /// The keys of the questions that were asked.
    asked: HashSet<String>,
}

/// What the request under way about a task is.
#[derive(Debug, PartialEq, Eq)]
enum Awaits {
    /// `tasks/get`.
    State,
    /// `tasks/update`.
    Receipt,
}

impl Client {
    /// Follows the task of a call to its end.
    pub(super) fn begin_task(&mut self, number: u64, state: &Came<'_>) {
        let Some(id) = value(state, "taskId").filter(|raw| raw.starts_with('"')) else {
            return self.failed(number, violation("the service began a task without an id".to_owned()));
        };
        let task = Task { id: id.to_owned(), pause: PAUSE, awaits: Awaits::State, asked: HashSet::new() };
        let Some(open) = self.open.get_mut(&number) else { return };
        open.task = Some(task);
        self.note_state(number, state);
        match text(state, "status").as_deref() {
            Some("working") => self.poll(number),
            // Its questions and its result come with the answer to `tasks/get` only (T-29).
            _ => self.ask_about(number, Awaits::State, Leaves::AtOnce),
        }
    }

    /// Takes the answer to a request about a task; returns the answer to its call once there is one.
    pub(super) fn follow_task(&mut self, number: u64, answer: &Message) -> Option<Message> {
        let Some(result) = answer.result_text() else { return Some(answer.clone()) };
        let task = self.open.get_mut(&number)?.task.as_mut()?;
        if task.awaits == Awaits::Receipt {
            self.poll(number);
            return None;
        }
        let state = fields(result);
        self.note_state(number, &state);
        let status = text(&state, "status").unwrap_or_default();
        match &*status {
            "working" => self.poll(number),
            "input_required" => self.ask_for_task(number, &state),
            "completed" | "failed" => match ending(answer.id()?, &status, &state) {
                Some(ending) => {
                    self.open.get_mut(&number)?.task = None;
                    return Some(ending);
                }
                None => {
                    let why = format!("the service says that the task is {status}, but not how it ended");
                    self.failed(number, violation(why));
                }
            },
            "cancelled" => {
                self.open.get_mut(&number)?.task = None;
                let said = text(&state, "statusMessage").map(|said| format!(": {said}")).unwrap_or_default();
                let error = Error::new(Kind::ServiceError, format!("the service cancelled the task{said}"));
                self.failed(number, error.executed(Executed::Maybe));
            }
            status => {
                let why = format!("the service reports a status of the task that is not defined: {status}");
                self.failed(number, violation(why));
            }
        }
        None
    }

    /// Notes when to poll again, and tells the client that the task lives.
    fn note_state(&mut self, number: u64, state: &Came<'_>) {
        let pause = value(state, "pollIntervalMs").and_then(|raw| serde_json::from_str::<f64>(raw).ok());
        let pause = pause.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        if let Some(task) = self.open.get_mut(&number).and_then(|open| open.task.as_mut()) {
            task.pause = pause.unwrap_or(task.pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        }
        let said = value(state, "statusMessage").filter(|raw| raw.starts_with('"'));
        self.task_lives(number, said);
    }

    /// Reports that a task goes on, with what the service says of it (JSON text).
    pub(in crate::protocol) fn task_lives(&mut self, number: u64, said: Option<&str>) {
        self.report_step(number, said.map(|raw| ("message", raw)).as_slice());
    }

    fn poll(&mut self, number: u64) {
        let task = self.open.get(&number).and_then(|open| open.task.as_ref());
        let pause = task.map_or(PAUSE, |task| task.pause);
        self.ask_about(number, Awaits::State, Leaves::After(pause));
    }

    /// Asks the client what the task wants to know and was not asked for yet.
    fn ask_for_task(&mut self, number: u64, state: &Came<'_>) {
        let asked = fields(value(state, "inputRequests").unwrap_or_default());
        let Some(task) = self.open.get_mut(&number).and_then(|open| open.task.as_mut()) else { return };
        let fresh: Came<'_> =
            asked.into_iter().filter(|(key, _)| task.asked.insert(key.to_string())).collect();
        if task.asked.len() > MOST_QUESTIONS {
            let why = format!("the service asks more than {MOST_QUESTIONS} questions about one task");
            return self.failed(number, violation(why));
        }
        // An answer that was sent may not have arrived where the state is read.
        if fresh.is_empty() {
            return self.poll(number);
        }
        self.ask_client(number, &fresh, None);
    }

    /// The client has answered what a task wants to know.
    pub(super) fn update_task(&mut self, number: u64, answers: &str) {
        let Some(task) = self.open.get_mut(&number).and_then(|open| open.task.as_mut()) else { return };
        task.awaits = Awaits::Receipt;
        let params = object([("taskId", &*task.id), ("inputResponses", answers)]);
        self.send_about(number, ("tasks/update", &params), Class::C, Leaves::AtOnce);
    }

    fn ask_about(&mut self, number: u64, awaits: Awaits, leaves: Leaves) {
        let Some(task) = self.open.get_mut(&number).and_then(|open| open.task.as_mut()) else { return };
        task.awaits = awaits;
        let params = object([("taskId", &task.id)]);
        self.send_about(number, ("tasks/get", &params), Class::A, leaves);
    }

    /// A call is over before its task: the service need not go on.
    pub(super) fn cancel_task(&mut self, task: &Task) {
        self.count += 1;
        let number = self.count * 2;
        let params = object([("taskId", &task.id)]);
        let params = self.door.stamped("tasks/cancel", &params).unwrap_or(params);
        let id = Id::Text(format!("asistry-again-{number}").into());
        let message = Message::request(&id, "tasks/cancel", Some(&params));
        let promise = self.settings.promise_of("tasks/cancel", self.now);
        let (class, leaves, era) = (Class::A, Leaves::AtOnce, Era::Modern);
        self.said.push(Said::Request(Outgoing { number, message, class, promise, leaves, era }));
    }
}

/// Returns the answer that a task has ended with.
fn ending(id: &Id, status: &str, state: &Came<'_>) -> Option<Message> {
    if status == "completed" {
        return value(state, "result").filter(|raw| raw.starts_with('{')).map(|raw| Message::result(id, raw));
    }
    let error = value(state, "error").filter(|raw| raw.starts_with('{'))?;
    Some(Message::error(id, error))
}

fn text<'a>(state: &Came<'a>, name: &str) -> Option<Cow<'a, str>> {
    value(state, name).and_then(string)
}

/// Returns the error of a task for that of its last poll: where `--max-time` has passed, each poll may have been answered.
pub(super) fn overdue(error: Error) -> Error {
    match error.next_step() {
        Some(Remedy::AllowTime(limit)) => {
            let why = format!("the task did not end within {}", retry::seconds(*limit));
            error.with_message(why)
        }
        _ => error,
    }
}
