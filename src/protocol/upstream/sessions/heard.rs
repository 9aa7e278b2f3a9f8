//! What comes back from a session: answers, completed as the stateless era wants them, and what is said during a call.
//!
//! Refuses to pass on log messages below the requested level, and changes without a subscription.

use super::translate::{self, Said, Service};
use super::{Asker, Call, Came, Own, Sessions, levels};
use crate::error::{Error, Executed, Kind};
use crate::protocol::effect::Effect;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{Message, URL_NEEDED};
use crate::protocol::object::{fields, value};
use crate::protocol::request::{Leaves, Outgoing};
use crate::protocol::revision::Era;
use crate::protocol::upstream::{Heard, Out};

/// The longest message of the log that is shown, in bytes.
const LONGEST_LOG: usize = 1_000;

impl Sessions {
    pub(super) fn heard(&mut self, name: u64, heard: Heard) {
        match heard {
            Heard::Answer { number, message, status } => self.came(number, Came::Answer(message, status)),
            Heard::Failed { number, error } => self.came(number, Came::Failed(error)),
            Heard::Opened { answer, .. } => {
                if let Some(pooled) = self.pooled(name) {
                    pooled.service = answer.result_text().map(Service::new);
                }
                if self.listens.iter().any(|listen| listen.session == name) {
                    self.with(name, |legacy, _| legacy.listen_soon());
                }
            }
            Heard::Asked { during, message, generation } => self.asked((name, generation), during, message),
            Heard::Told { during, message, .. } => self.told(name, during, message),
            Heard::Waits { number, remaining, why } => {
                if let Some(Call { asker: Asker::Client(number), .. }) = self.calls.get(&number) {
                    self.out.push(Out::Heard(Heard::Waits { number: *number, remaining, why }));
                }
            }
            // What was held for it has left for the other era.
            Heard::Tools(_) if !self.is_listing => {}
            Heard::Tools(page) => {
                self.is_listing = false;
                if let Ok(page) = &page {
                    self.learn_tasks(name, page);
                }
                self.out.push(Out::Heard(Heard::Tools(page)));
            }
            Heard::NoSessions(unsent) => self.no_sessions(unsent),
            // Nothing else is said of a session whose era is known.
            _ => {}
        }
    }

    /// The service refuses sessions by now: what was not sent goes back as its client wrote it (PROBE 4).
    fn no_sessions(&mut self, unsent: Vec<Outgoing>) {
        let mut back = Vec::new();
        for outgoing in unsent {
            let Some(call) = self.calls.get(&outgoing.number) else { continue };
            if let Asker::Client(number) = call.asker {
                let message = call.request.clone();
                self.calls.remove(&outgoing.number);
                self.resumed.remove(&number);
                back.push(Outgoing { number, message, era: Era::Modern, leaves: Leaves::AtOnce, ..outgoing });
                continue;
            }
            let error = Error::new(Kind::EraMismatch, "the service opens no sessions any more");
            let error = error.hint("send the request again").executed(Executed::No);
            self.came(outgoing.number, Came::Failed(error));
        }
        self.is_listing = false;
        self.end_listens();
        back.extend(self.take_held(|_| true));
        self.out.push(Out::Heard(Heard::NoSessions(back)));
    }

    /// A request has ended, with or without an answer.
    pub(super) fn came(&mut self, call: u64, came: Came) {
        let Some(Call { asker, session, .. }) = self.calls.get(&call) else { return };
        let (asker, session) = (*asker, *session);
        if self.asks_for_support(call, &came) {
            return;
        }
        let Some(came) = self.task_began(call, came) else { return };
        match asker {
            Asker::Own(own) => {
                self.calls.remove(&call);
                self.own_came(session, call, own, came);
            }
            Asker::Nobody => self.keep_outcome(call, came),
            Asker::Gone => drop(self.calls.remove(&call)),
            Asker::Client(number) => self.passed_on(call, number, came),
        }
    }

    /// The client hears how its request has ended.
    pub(super) fn passed_on(&mut self, call: u64, number: u64, came: Came) {
        self.resumed.remove(&number);
        let Some(call) = self.calls.remove(&call) else { return };
        if let Some(heard) = self.raised(number, &call, came) {
            self.out.push(Out::Heard(heard));
        }
    }

    fn own_came(&mut self, session: u64, call: u64, own: Own, came: Came) {
        match own {
            Own::Open | Own::Level(_) => self.level_came(session, own, &came),
            Own::Subscribe => self.subscribed(session, call, came.is_good()),
            Own::TaskState(number) => self.task_state_came(number, came.clone()),
            Own::TaskResult(number) => self.task_ended(number, came.clone()),
            Own::Inline(number) => self.inline(number, call, came.clone()),
            Own::Questions => self.task_asks_no_more(call),
            Own::Support(number) => self.support_came(number, &came),
            Own::Ignored => {}
        }
        if own == Own::Open {
            self.opened_for_listens(session, came);
        }
    }

    /// Returns what its client hears of the end of a request.
    fn raised(&mut self, number: u64, call: &Call, came: Came) -> Option<Heard> {
        let Came::Answer(message, status) = came else { return Some(came.heard(number)) };
        let message = match Self::is_about_task(call) && message.error_text().is_none() {
            true => self.task_answer(number, call, &message)?,
            false => message,
        };
        if call.request.method() == "tools/list" {
            self.learn_tasks(call.session, &message);
        }
        let method = call.request.method();
        let service = self.pool.iter().find(|pooled| pooled.name == call.session);
        let service = service.and_then(|pooled| pooled.service.as_ref());
        let id = message.id().cloned();
        let message = match (message.result_text(), id) {
            (Some(_), Some(id)) if method == "server/discover" => match service {
                Some(service) => Message::result(&id, &service.discovered()),
                None => {
                    let why =
                        "the service answers neither initialize nor server/discover as an MCP service does";
                    let hint = "check that the URL is the MCP endpoint of the service";
                    let error = Error::new(Kind::EraMismatch, why).hint(hint).executed(Executed::No);
                    return Some(Heard::Failed { number, error });
                }
            },
            (Some(result), Some(id)) => Message::result(&id, &translate::completed(method, result, service)),
            _ if ErrorFields::of(&message).is_some_and(|error| error.code == URL_NEEDED) => {
                return Some(self.url_needed(number, call, message, status));
            }
            _ => translate::error(&message),
        };
        Some(Heard::Answer { number, message, status })
    }

    /// Passes on what the service says unasked.
    pub(super) fn told(&mut self, session: u64, during: Option<u64>, message: Message) {
        if self.fan_out(session, &message) {
            return;
        }
        let call = during.and_then(|number| self.calls.get(&number)).filter(|call| call.asker != Asker::Gone);
        let client = |call: &Call| match call.asker {
            Asker::Client(number) => Some(number),
            _ => None,
        };
        let during = match message.method() {
            "notifications/elicitation/complete" => return,
            "notifications/cancelled" => return self.question_withdrawn(session, &message),
            "notifications/progress" => {
                let params = fields(message.params().unwrap_or_default());
                let Some(token) = value(&params, "progressToken") else { return };
                let token = Some(token);
                let is_it =
                    |(_, call): &(&u64, &Call)| call.session == session && call.token.as_deref() == token;
                // Of a task it comes on another request's stream.
                let is_own = call.is_none_or(|call| matches!(call.asker, Asker::Own(_)));
                let call = match is_own {
                    true => self.calls.iter().find(is_it).map(|(number, _)| *number),
                    false => during,
                };
                if self.keeps_told(call, &message) {
                    return;
                }
                return self.progresses(call, message);
            }
            "notifications/message" => match call {
                Some(call) if levels::passes(&call.request, &message) => {
                    let client = client(call);
                    if self.keeps_told(during, &message) {
                        return;
                    }
                    client
                }
                // No request in flight asked for this level (section 3.1).
                _ => return self.log(&message),
            },
            _ => call.and_then(client),
        };
        self.out.push(Out::Heard(Heard::Told { during, message, generation: None }));
    }

    /// Passes on progress, under the token that the client knows now.
    fn progresses(&mut self, call: Option<u64>, message: Message) {
        let Some(Call { asker: Asker::Client(number), request, token, .. }) =
            call.and_then(|call| self.calls.get(&call))
        else {
            return;
        };
        let (number, now) = (*number, Said::of(request).token().map(str::to_owned));
        let message = match (token, now) {
            (Some(token), Some(now)) if *token != now => {
                let params = fields(message.params().unwrap_or_default());
                let raw = value(&params, "progressToken").unwrap_or_default();
                Message::read(message.with_part(raw, &now)).unwrap_or(message)
            }
            (Some(_), None) => return,
            _ => message,
        };
        self.out.push(Out::Heard(Heard::Told { during: Some(number), message, generation: None }));
    }

    /// Writes a log message that no request asked for to our own log, from level warning up.
    fn log(&mut self, message: &Message) {
        if levels::severity(message) < levels::WARNING {
            return;
        }
        let params = fields(message.params().unwrap_or_default());
        let level = value(&params, "level").unwrap_or("\"info\"");
        // Whole or not at all: what is cut could not be searched for the key.
        let data = value(&params, "data").unwrap_or_default();
        let data = if data.len() > LONGEST_LOG { "(too long to be shown)" } else { data };
        self.effect(Effect::Note(format!("the service logs {level}: {data}")));
    }
}
