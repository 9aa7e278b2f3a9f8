//! Questions of the service: the user answers a form, everything else is refused.
//!
//! Refuses to keep a form open when its call has ended.

use serde_json::{Value, json};

use super::{Conversation, FAREWELL};
use crate::commands::form::{self, Outcome};
use crate::error::Kind;
use crate::protocol::message::{Id, Kind as MessageKind, METHOD_NOT_FOUND, Message};
use crate::ui;

impl Conversation {
    /// Answers a question of the service.
    pub(super) async fn reply_to(&mut self, question: &Message) {
        let Some(id) = question.id() else { return };
        if question.method() != "elicitation/create" || !self.asker.is_allowed() {
            return self.refuse(id, question.method());
        }
        if self.abandoned {
            return self.answer_form(id, &json!({"action": "cancel"}));
        }
        let result = match self.fill_in(question, id).await {
            Outcome::Answered(result) => result,
            Outcome::Interrupted => {
                self.leaving = true;
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

    fn refuse(&mut self, id: &Id, method: &str) {
        let why = match method {
            "sampling/createMessage" => "asistry call has no model: sampling is not offered",
            "elicitation/create" => {
                "asistry cannot ask its user: there is no terminal, or asking is switched off"
            }
            _ => "this client answers no questions of a service",
        };
        self.client.say(Message::refusal(id, METHOD_NOT_FOUND, why).text().clone());
    }
}

/// Says whether a notification cancels the request of this id.
fn cancels(message: &Message, id: &Id) -> bool {
    let params = message.params().and_then(|params| serde_json::from_str::<Value>(params).ok());
    let cancelled = params.map(|params| params["requestId"].to_string());
    message.method() == "notifications/cancelled"
        && cancelled.is_some_and(|cancelled| *cancelled == *id.json())
}
