//! Questions of the service: the user answers a form, everything else is refused.
//!
//! Refuses to keep a form open when its call has ended.

use serde_json::{Value, json};

use super::{Conversation, FAREWELL, Leaving};
use crate::commands::form::{self, Outcome};
use crate::commands::remedy::area;
use crate::error::{Error, Kind, Remedy};
use crate::protocol::effect::Origin;
use crate::protocol::message::{Id, Kind as MessageKind, METHOD_NOT_FOUND, Message};
use crate::ui;

impl Conversation {
    /// Answers a question of the service.
    pub(super) async fn reply_to(&mut self, question: &Message, origin: &Origin) {
        let Some(id) = question.id() else { return };
        if question.method() != "elicitation/create" || !self.asker.is_allowed() {
            let (why, _) = self.unanswerable(question.method());
            return self.client.say(Message::refusal(id, METHOD_NOT_FOUND, &why).text().clone());
        }
        if self.abandoned {
            return self.answer_form(id, &json!({"action": "cancel"}));
        }
        let result = match self.fill_in(question, id).await {
            Outcome::Answered(result) => result,
            // Nobody waits for an answer: the call is made again only with one.
            Outcome::Interrupted if matches!(origin, Origin::Bridge) => {
                self.leaving = Some(Leaving::BetweenRounds);
                self.interrupted = Box::pin(std::future::ready(()));
                return;
            }
            Outcome::Interrupted => {
                self.leaving = Some(Leaving::DuringTheCall);
                self.interrupted = Box::pin(tokio::time::sleep(FAREWELL));
                json!({"action": "cancel"})
            }
            Outcome::Closed => {
                ui::say("");
                ui::say("the question is closed: the call ended, or the service withdrew it");
                self.abandoned = true;
                // A withdrawn question takes no answer.
                if self.unread.back().is_some_and(|(last, _)| cancels(last, id)) {
                    return;
                }
                json!({"action": "cancel"})
            }
        };
        self.answer_form(id, &result);
    }

    fn answer_form(&self, id: &Id, result: &Value) {
        self.client.say(Message::result(id, &result.to_string()).text().clone());
    }

    /// Shows the form until it is filled in, or its call has ended.
    async fn fill_in(&mut self, question: &Message, id: &Id) -> Outcome {
        let params = question.params().and_then(|params| serde_json::from_str::<Value>(params).ok());
        let (asker, params) = (self.asker, params.unwrap_or_default());
        let mut asked = tokio::task::spawn_blocking(move || form::ask(asker, &params));
        loop {
            tokio::select! {
                biased;
                asked = &mut asked => return asked.unwrap_or(Outcome::Interrupted),
                heard = self.hear_more() => match heard {
                    Ok((message, origin)) => {
                        let answers = message.kind() == MessageKind::Response;
                        let ends = answers && !self.tasks.polls(message.id()) || cancels(&message, id);
                        self.unread.push_back((message, origin));
                        if ends {
                            return Outcome::Closed;
                        }
                    }
                    Err(error) if error.kind() == Kind::Interrupted => return Outcome::Interrupted,
                    Err(_) => return Outcome::Closed,
                },
            }
        }
    }

    /// Says why a question that was not asked fails its call.
    pub(super) fn unasked(&self, error: Error) -> Error {
        match error.next_step() {
            Some(Remedy::AnswerQuestions(method)) => {
                let (why, hint) = self.unanswerable(method);
                error.with_message(why).hint(hint)
            }
            _ => error,
        }
    }

    /// Returns why a question of this method is not answered here, and what to do.
    fn unanswerable(&self, method: &str) -> (String, String) {
        match (method, self.asker.refusal()) {
            ("elicitation/create", Some(why)) => (
                format!("the service asks a question, and {why}"),
                "run it on a terminal, without --no-input or --batch".to_owned(),
            ),
            _ => (
                format!("asistry call cannot answer {method}"),
                format!("use an MCP client that offers {}, with asistry bridge", area(method)),
            ),
        }
    }
}

/// Says whether a notification cancels the request of this id.
fn cancels(message: &Message, id: &Id) -> bool {
    let params = message.params().and_then(|params| serde_json::from_str::<Value>(params).ok());
    let cancelled = params.map(|params| params["requestId"].to_string());
    message.method() == "notifications/cancelled"
        && cancelled.is_some_and(|cancelled| *cancelled == *id.json())
}
