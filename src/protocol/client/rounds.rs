//! `input_required`: what a service of the stateless era wants to know becomes requests to a client with a handshake;
//! their answers go along when its request is made again (section 3.5, MOD-8).
//!
//! Refuses to ask for what the client did not declare, and to make up an answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::lower::Came;
use super::{Client, Open};
use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::effect::{About, Delivery, Effect, Origin};
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{Id, Message, quote};
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::request::{Class, Leaves};
use crate::protocol::retry;
use crate::protocol::revision::Era;

/// How often one request may be answered by questions.
const MOST_ROUNDS: u32 = 10;
/// Maximum questions of one round.
const MOST_QUESTIONS: usize = 256;
/// How long a person may take for the answers of one round.
const ROUND_WITHIN: Duration = Duration::from_secs(600);
/// A service that only asks to be asked again: the pause before that, doubled each time up to the second one.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// The requests whose service waits for answers of the client.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    open: HashMap<u64, Round>,
    /// The questions that wait, by the id that the client sees.
    questions: HashMap<Id, Question>,
    count: u64,
}

#[derive(Debug)]
struct Round {
    /// JSON text of the `requestState`, if there was one.
    state: Option<String>,
    answers: Answers,
    missing: usize,
    until: Instant,
}

/// The keys of questions, each with the JSON text of its answer.
type Answers = Vec<(String, String)>;

#[derive(Debug)]
struct Question {
    number: u64,
    key: String,
}

impl Rounds {
    /// Says whether the client owes answers about this request.
    pub fn has(&self, number: u64) -> bool {
        self.open.contains_key(&number)
    }

    /// Ends the round of a request; returns the ids of its questions that are open.
    fn end(&mut self, number: u64) -> Vec<Id> {
        self.open.remove(&number);
        self.questions.extract_if(|_, question| question.number == number).map(|(id, _)| id).collect()
    }
}

impl Client {
    /// Asks the client what the service wants to know about a request.
    pub(super) fn begin_round(&mut self, number: u64, came: &Came<'_>) {
        let asked = fields(value(came, "inputRequests").unwrap_or_default());
        let state = value(came, "requestState").map(str::to_owned);
        let Some(open) = self.open.get_mut(&number) else { return };
        open.rounds += 1;
        let (rounds, method) = (open.rounds, open.message.method());
        let wrong = if !matches!(method, "tools/call" | "prompts/get" | "resources/read") {
            Some(format!("the service asks for input about {method}, where none may be asked for"))
        } else if rounds > MOST_ROUNDS {
            Some(format!("the service asked for input more than {MOST_ROUNDS} times"))
        } else if asked.len() > MOST_QUESTIONS {
            Some(format!("the service asks more than {MOST_QUESTIONS} questions at once"))
        } else if asked.is_empty() && state.is_none() {
            Some("the service asks for input, but not for what".to_owned())
        } else {
            None
        };
        if let Some(why) = wrong {
            return self.failed(number, violation(why));
        }
        if asked.is_empty() {
            let pause = retry::backoff(AGAIN.0, rounds - 1, AGAIN.1);
            return self.ask_again(number, (state, Vec::new()), Leaves::After(pause));
        }
        self.ask_client(number, &asked, state);
    }

    /// Asks the client these questions about a request, at once.
    pub(super) fn ask_client(&mut self, number: u64, asked: &Came<'_>, state: Option<String>) {
        let mut questions = Vec::with_capacity(asked.len());
        for (key, question) in asked {
            let question = fields(question.get());
            let Some(method) = value(&question, "method").and_then(string) else {
                return self.failed(number, violation("the service asks what cannot be read".to_owned()));
            };
            match self.door.question((&**key, &*method), value(&question, "params"), self.revision) {
                Ok(params) => questions.push((key.to_string(), method.into_owned(), params)),
                Err(error) => return self.failed(number, error),
            }
        }
        let until = self.now + ROUND_WITHIN;
        let until =
            self.open.get(&number).and_then(|open| open.promise.deadline()).map_or(until, |at| at.min(until));
        self.effects.push(Effect::Alarm(until.saturating_duration_since(self.now)));
        let Some(open) = self.open.get(&number) else { return };
        // Between two rounds of a plain call nothing runs at the service: the question is the bridge's.
        let origin = match &open.task {
            Some(_) => Origin::Service { status: 200, era: Era::Modern },
            None => Origin::Bridge,
        };
        let about = open.message.id().map_or(About::Anyone, |id| About::During(id.clone()));
        let round = Round { state, answers: Vec::new(), missing: questions.len(), until };
        self.rounds.open.insert(number, round);
        for (key, method, params) in questions {
            self.rounds.count += 1;
            let id = Id::Text(format!("asistry-round-{}", self.rounds.count).into());
            self.rounds.questions.insert(id.clone(), Question { number, key });
            let text = Message::request(&id, &method, params.as_deref()).text().clone();
            let delivery = Delivery { about: about.clone(), text, origin: origin.clone() };
            self.effects.push(Effect::Deliver(delivery));
        }
    }

    /// Takes a response of the client, if it answers a question of a round.
    pub(super) fn answers_round(&mut self, response: &Message) -> bool {
        let Some(question) = response.id().and_then(|id| self.rounds.questions.remove(id)) else {
            return false;
        };
        let number = question.number;
        if let Some(error) = ErrorFields::of(response) {
            self.refused_by_client(number, &error.message);
            return true;
        }
        let Some(round) = self.rounds.open.get_mut(&number) else { return true };
        round.answers.push((question.key, response.result_text().unwrap_or("{}").to_owned()));
        round.missing -= 1;
        if round.missing == 0 {
            self.end_round(number);
        }
        true
    }

    fn end_round(&mut self, number: u64) {
        let Some(Round { state, answers, .. }) = self.rounds.open.remove(&number) else { return };
        match self.open.get(&number).is_some_and(|open| open.task.is_some()) {
            true => self.update_task(number, &object(answers)),
            false => self.ask_again(number, (state, answers), Leaves::AtOnce),
        }
    }

    /// Makes the request again, with all its parameters and what the client has answered (MOD-8).
    fn ask_again(&mut self, number: u64, (state, answers): (Option<String>, Answers), leaves: Leaves) {
        let Some(open) = self.open.get(&number) else { return };
        let (method, params) = (open.message.method().to_owned(), open.message.params().unwrap_or("{}"));
        let answers = (!answers.is_empty()).then(|| ("inputResponses", object(answers)));
        let state = state.map(|state| ("requestState", state));
        let params = fields(params);
        let params = params.iter().map(|(name, raw)| (&**name, Cow::Borrowed(raw.get())));
        let params = params.filter(|(name, _)| !matches!(*name, "inputResponses" | "requestState"));
        let ours = answers.into_iter().chain(state).map(|(name, text)| (name, Cow::Owned(text)));
        let params = object(params.chain(ours));
        let class = match &*method {
            "tools/call" => self.tools.class_of(&open.message),
            method => Class::of(method),
        };
        self.send_about(number, (&method, &params), class, leaves);
    }

    /// The client refused to answer: a tool says so as its own error, so that a model reads it.
    fn refused_by_client(&mut self, number: u64, why: &str) {
        let is_call = self.open.get(&number).is_some_and(|open| open.message.method() == "tools/call");
        let why = format!("the client did not answer what the service asked: {why}");
        if !is_call {
            return self.failed(number, Error::new(Kind::ServiceError, why).executed(Executed::Maybe));
        }
        let Some(open) = self.close(number) else { return };
        let Some(id) = open.message.id() else { return };
        let block = object([("type", r#""text""#), ("text", &*quote(&why))]);
        let text = Message::result(id, &format!(r#"{{"content":[{block}],"isError":true}}"#)).text().clone();
        self.answer(Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge }, open.batch);
    }

    /// Ends the rounds that have taken too long.
    pub(super) fn end_late_rounds(&mut self, now: Instant) {
        let late = self.rounds.open.iter().filter(|(_, round)| round.until <= now).map(|(number, _)| *number);
        for number in late.collect::<Vec<_>>() {
            let limit = self.open.get(&number).and_then(|open| open.promise.broken_at(now));
            let within = retry::seconds(limit.unwrap_or(ROUND_WITHIN));
            let error = Error::new(Kind::Timeout, format!("the question was not answered within {within}"));
            let error = match limit {
                Some(limit) => error.remedy(Remedy::AllowTime(limit)),
                None => error,
            };
            self.failed(number, error.executed(Executed::Maybe));
        }
    }

    /// The end: what waits for the client's answers gets none.
    pub(super) fn end_rounds(&mut self) {
        for number in self.rounds.open.keys().copied().collect::<Vec<_>>() {
            let error = Error::new(Kind::Interrupted, "asistry ended before the client had answered");
            self.failed(number, error.executed(Executed::Maybe));
        }
    }

    /// A request is over: the client need not answer its questions any more.
    pub(super) fn withdraw_questions(&mut self, number: u64, open: &Open) {
        if !self.rounds.has(number) {
            return;
        }
        for id in self.rounds.end(number) {
            let params = format!(r#"{{"requestId":{}}}"#, id.json());
            let text = Message::notification("notifications/cancelled", Some(&params)).text().clone();
            let about = open.message.id().map_or(About::Anyone, |id| About::During(id.clone()));
            self.effects.push(Effect::Deliver(Delivery { about, text, origin: Origin::Bridge }));
        }
    }
}

/// A service that breaks the protocol, after the call was sent.
pub(super) fn violation(why: String) -> Error {
    Error::new(Kind::ProtocolViolation, why)
        .hint("report this to the operator of the service")
        .executed(Executed::Maybe)
}
