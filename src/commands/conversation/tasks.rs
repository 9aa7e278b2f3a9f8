//! Calls that run as tasks (2025-11-25, "Tasks"): begun, polled, asked for their result, cancelled at an early end.
//!
//! Refuses to begin a task twice. A service that makes no task of a call is taken at its result.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::answer::answered;
use super::{Answered, Conversation, FAREWELL, Runs, interrupted};
use crate::error::{Error, Executed, Kind, Result};
use crate::protocol::message::{Id, Kind as MessageKind, Message, quote};
use crate::protocol::object::{fields, value};

/// The pause between two polls where the service names none, and the bounds of one that it names.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How often a result is asked for whose answer is lost.
const MOST_TRIES: u32 = 3;

/// The calls that run as tasks.
#[derive(Default)]
pub(super) struct Tasks {
    /// The calls whose answer may be a task.
    begun: HashSet<Id>,
    running: Vec<Task>,
}

struct Task {
    call: Id,
    /// The `params` that name it.
    params: String,
    pause: Duration,
    next: Next,
    tries: u32,
}

enum Next {
    /// It is polled at this instant.
    Poll(Instant),
    /// The answer to the poll of this id.
    Status(Id),
    /// The answer to the `tasks/result` of this id.
    Result(Id),
    /// Its call has failed, but it may still run.
    Over,
}

/// A task as a service describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    #[serde(default)]
    task_id: String,
    status: String,
    #[serde(default)]
    status_message: Option<String>,
    #[serde(default)]
    poll_interval: Option<f64>,
}

#[derive(Deserialize)]
struct Created {
    task: State,
}

impl Tasks {
    /// Returns when the next poll is due.
    pub fn due(&self) -> Option<Instant> {
        let polls = self.running.iter().filter_map(|task| match task.next {
            Next::Poll(at) => Some(at),
            _ => None,
        });
        polls.min()
    }

    /// Says whether this is the id of a poll.
    pub fn polls(&self, id: Option<&Id>) -> bool {
        self.running.iter().any(|task| matches!(&task.next, Next::Status(poll) if Some(poll) == id))
    }
}

impl State {
    /// Returns the pause before the next poll.
    fn pause(&self) -> Duration {
        let named = self.poll_interval.map(|ms| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(PAUSE));
        let pause = named.unwrap_or(PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        pause.mul_f64(1.0 + fastrand::f64() / 5.0)
    }

    /// Returns it as the notification by which a service reports it unasked.
    fn report(&self) -> Message {
        let said = self.status_message.as_deref().map(quote).unwrap_or_else(|| "null".to_owned());
        Message::notification("notifications/tasks/status", Some(&format!(r#"{{"statusMessage":{said}}}"#)))
    }
}

impl Conversation {
    /// Calls the tool of this name; [`Self::answer`] brings its result. `token` is the JSON text of its progress token.
    pub fn say_call(&mut self, (name, runs): (&str, Runs), arguments: &str, token: Option<&str>) -> Id {
        let name = quote(name);
        let meta = token.map(|token| format!(r#","_meta":{{"progressToken":{token}}}"#)).unwrap_or_default();
        let task = if runs == Runs::AsTask { r#","task":{}"# } else { "" };
        let id = self.say("tools/call", &format!(r#"{{"name":{name},"arguments":{arguments}{task}{meta}}}"#));
        if runs == Runs::AsTask {
            self.tasks.begun.insert(id.clone());
        }
        id
    }

    /// Takes an answer; `None` where the call that it belongs to goes on.
    pub(super) fn step(
        &mut self,
        of: Id,
        answer: Result<String>,
        progress: &mut impl FnMut(&Message),
    ) -> Option<Answered> {
        if self.tasks.begun.remove(&of) {
            let created = answer.as_ref().ok().and_then(|text| serde_json::from_str::<Created>(text).ok());
            let created = created.filter(|created| !created.task.task_id.is_empty());
            let Some(Created { task: state }) = created else {
                return Some((of, answer.and_then(|text| no_task("tools/call", text))));
            };
            let params = format!(r#"{{"taskId":{}}}"#, quote(&state.task_id));
            let task = Task { call: of, params, pause: PAUSE, next: Next::Over, tries: 0 };
            self.tasks.running.push(task);
            return self.follow(self.tasks.running.len() - 1, &state, progress);
        }
        let awaits = |task: &Task| matches!(&task.next, Next::Status(id) | Next::Result(id) if *id == of);
        let Some(at) = self.tasks.running.iter().position(awaits) else { return Some((of, answer)) };
        if let Next::Status(_) = self.tasks.running[at].next {
            return match answer
                .and_then(|text| super::parsed("tasks/get", &text))
                .map(serde_json::from_value::<State>)
            {
                Ok(Ok(state)) => self.follow(at, &state, progress),
                Ok(Err(e)) => self.lost(at, super::answer::nonsense("tasks/get", &e)),
                Err(error) => self.lost(at, error),
            };
        }
        let task = &mut self.tasks.running[at];
        let is_lost = answer.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                Kind::Timeout | Kind::ConnectionLost | Kind::Unreachable | Kind::UpstreamHttp
            )
        });
        if is_lost && task.tries < MOST_TRIES {
            task.next = Next::Poll(Instant::now() + task.pause);
            return None;
        }
        Some((
            self.tasks.running.swap_remove(at).call,
            answer
                .and_then(|text| no_task("tasks/result", text))
                .map_err(|error| error.executed(Executed::Maybe)),
        ))
    }

    /// Does what the state of a task calls for.
    fn follow(&mut self, at: usize, state: &State, progress: &mut impl FnMut(&Message)) -> Option<Answered> {
        progress(&state.report());
        let params = self.tasks.running[at].params.clone();
        let next = match &*state.status {
            "working" => Next::Poll(Instant::now() + state.pause()),
            // What it asks for comes beside the answer to `tasks/result` (T-30).
            "input_required" | "completed" | "failed" => Next::Result(self.say("tasks/result", &params)),
            "cancelled" => {
                let said = state.status_message.as_deref().map(|said| format!(": {said}"));
                let why = format!("the service cancelled the task{}", said.unwrap_or_default());
                let error = Error::new(Kind::ServiceError, why).executed(Executed::Maybe);
                return Some((self.tasks.running.swap_remove(at).call, Err(error)));
            }
            status => {
                let why = format!("the service reports an unknown status of the task: {status}");
                let error = Error::new(Kind::ProtocolViolation, why).hint("report this to the service");
                return self.lost(at, error);
            }
        };
        let task = &mut self.tasks.running[at];
        task.pause = state.pause();
        task.tries += u32::from(matches!(next, Next::Result(_)));
        task.next = next;
        None
    }

    /// What becomes of a task is not known: its call fails, and it is cancelled when the conversation ends.
    fn lost(&mut self, at: usize, error: Error) -> Option<Answered> {
        let task = &mut self.tasks.running[at];
        task.next = Next::Over;
        Some((task.call.clone(), Err(error.executed(Executed::Maybe))))
    }

    /// Polls what is due.
    pub(super) fn poll_tasks(&mut self) {
        let now = Instant::now();
        for at in 0..self.tasks.running.len() {
            if matches!(self.tasks.running[at].next, Next::Poll(due) if due <= now) {
                let params = self.tasks.running[at].params.clone();
                self.tasks.running[at].next = Next::Status(self.say("tasks/get", &params));
            }
        }
    }

    /// Cancels the tasks that may still run (T-11): the command ends before they do.
    pub(super) async fn cancel_tasks(&mut self) {
        let mut open = Vec::new();
        for task in std::mem::take(&mut self.tasks.running) {
            open.push((self.say("tasks/cancel", &task.params), task.call));
        }
        let until = Instant::now() + FAREWELL;
        while !open.is_empty() {
            let Ok(Some(heard)) = tokio::time::timeout_at(until, self.client.hear()).await else { break };
            let Ok(message) = Message::read(self.revealed(heard.text)) else { continue };
            let Some(id) = message.id().filter(|_| message.kind() == MessageKind::Response) else { continue };
            let answer = answered(&message, &heard.origin);
            match open.iter().position(|(cancel, _)| cancel == id) {
                Some(at) if answer.is_ok() => {
                    self.early.push_back((open.swap_remove(at).1, Err(interrupted())));
                }
                Some(at) => self.early.push_back((open.swap_remove(at).1, Err(unconfirmed()))),
                None => {
                    let answer = answer.map_err(|error| error.with_hint_text(&self.in_use.advise()));
                    self.early.push_back((id.clone(), answer));
                }
            }
        }
        self.early.extend(open.into_iter().map(|(_, call)| (call, Err(unconfirmed()))));
    }
}

/// Refuses a task where a result should be: it may still run, and cannot be followed.
fn no_task(method: &str, result: String) -> Result<String> {
    let parts = fields(&result);
    if value(&parts, "task").is_none() || value(&parts, "content").is_some() {
        return Ok(result);
    }
    let why = format!("the answer to {method} is a task that cannot be followed");
    let error = Error::new(Kind::ProtocolViolation, why).hint("report this to the service");
    Err(error.executed(Executed::Maybe))
}

/// A task that may go on though it was to end.
fn unconfirmed() -> Error {
    Error::new(Kind::Interrupted, "interrupted; the service did not confirm that it has ended the task")
        .hint("look whether it has run")
        .executed(Executed::Maybe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_not_polled_more_often_than_twice_a_second() {
        let state = |interval: &str| {
            serde_json::from_str::<State>(&format!(r#"{{"status":"working","pollInterval":{interval}}}"#))
                .expect("a state")
        };
        for (interval, least) in
            [("0", 500), ("-5", 1000), ("1e300", 1000), ("null", 1000), ("700.5", 700), ("2000", 2000)]
        {
            let pause = state(interval).pause();
            let least = Duration::from_millis(least);
            assert!(pause >= least && pause <= least.mul_f64(1.3), "{interval}: {pause:?}");
        }
        assert!(state("1e15").pause() <= LONGEST_PAUSE * 2);
    }
}
