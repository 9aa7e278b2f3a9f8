//! Requests of a service during a call: the client receives `input_required`, and the call continues when the client
//! repeats its request with the answers (section 3.6).
//!
//! Refuses answers that come with another request than the one that was asked about. Keeps a bounded number of calls
//! for a bounded time: a client that never comes back says nothing (T-12).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::translate::{self, Said};
use super::{Asker, Call, Came, Own, Sessions};
use crate::error::{Error, Executed, Kind};
use crate::protocol::effect::Effect;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{
    INTERNAL_ERROR, INVALID_PARAMS, Id, METHOD_NOT_FOUND, MISSING_CAPABILITY, Message, cancelled_id, quote,
};
use crate::protocol::object::{fields, object, says, string, value};
use crate::protocol::request::Outgoing;
use crate::protocol::upstream::{Heard, Out};

/// What each `requestState` that is made here begins with.
const STATE: &str = "asistry-";
/// Questions that come within this time are asked together.
const TOGETHER: Duration = Duration::from_millis(30);
/// How long a call waits for its client.
const KEEP: Duration = Duration::from_secs(15 * 60);
/// Calls that wait at once.
const MOST_PARKED: usize = 64;
/// Notifications kept for a call that waits, and their total bytes; the oldest are dropped first.
const MOST_TOLD: (usize, usize) = (64, 1024 * 1024);
/// Total bytes of the results kept for all calls that wait.
const MOST_RESULTS: usize = 256 * 1024 * 1024;
/// Questions of one call.
pub(super) const MOST_QUESTIONS: usize = 64;

/// The questions of a call.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Vec<Question>,
    count: u64,
    /// When they are put to the client.
    ask_at: Option<Instant>,
    parked: Option<Parked>,
}

impl Questions {
    pub fn were_asked(&self) -> bool {
        self.count > 0
    }
}

#[derive(Debug)]
pub(super) struct Question {
    pub key: String,
    /// As the service knows it.
    pub id: Id,
    pub generation: u64,
    /// JSON text of what the client is asked.
    pub text: String,
    /// The stream on which it came has ended: it may come again on the next one.
    pub is_stale: bool,
}

/// The state of a call between `input_required` and the repeated request.
#[derive(Debug)]
struct Parked {
    state: String,
    until: Instant,
    /// Notifications of the service about the call.
    told: VecDeque<Message>,
    /// Some notifications were dropped.
    has_dropped: bool,
    /// The call has ended meanwhile.
    came: Option<Came>,
}

/// A request that the service refused until its client has opened a URL: it is made anew then.
#[derive(Debug)]
pub(super) struct Renewal {
    state: String,
    until: Instant,
    request: Message,
}

impl Sessions {
    /// The service asks something in this session of this generation.
    pub(super) fn asked(&mut self, (session, generation): (u64, u64), during: Option<u64>, message: Message) {
        let Some(id) = message.id().cloned() else { return };
        let asker = during.and_then(|number| self.calls.get(&number)).map(|call| call.asker);
        let placed = self.is_offered(session, &message).and_then(|()| match asker {
            // A task asks on the stream of the request for its result.
            Some(Asker::Own(Own::TaskResult(number))) => self.question_for(session, Some(number)).map(Some),
            Some(Asker::Own(Own::Questions)) => Ok(None),
            _ => self.question_for(session, during).map(Some),
        });
        let (code, why) = match placed {
            Ok(Some(call)) => return self.put_question(call, (id, generation), &message),
            Ok(None) => {
                let (asked, of, text) = (during.unwrap_or_default(), id.clone(), asked_of_client(&message));
                let question =
                    |count| Question { key: format!("q{count}"), id: of, generation, text, is_stale: false };
                if self.task_asks(asked, question) {
                    return;
                }
                (INTERNAL_ERROR, "too many questions wait for the client's answers".to_owned())
            }
            Err(refusal) => refusal,
        };
        let refusal = Message::refusal(&id, code, &why);
        self.with(session, |legacy, moment| legacy.answer(refusal, generation, moment));
    }

    /// Says whether the clients of a session offer what a question wants.
    fn is_offered(&self, session: u64, message: &Message) -> Result<(), (i64, String)> {
        let method = message.method();
        let refused = |code, why: &str| Err((code, why.to_owned()));
        let pooled = self.pool.iter().find(|pooled| pooled.name == session);
        let declared = fields(pooled.map_or("", |pooled| &pooled.capabilities));
        let params = fields(message.params().unwrap_or_default());
        let capability = match method {
            "sampling/createMessage" => "sampling",
            "elicitation/create" => "elicitation",
            "roots/list" => "roots",
            _ => return Err((METHOD_NOT_FOUND, format!("Method not found: {method}"))),
        };
        let Some(declared) = value(&declared, capability) else {
            return refused(
                METHOD_NOT_FOUND,
                &format!("the client does not offer {method} for this request"),
            );
        };
        let declared = fields(declared);
        // T-13: `{}` means forms only.
        if says(&params, "mode", "url") && value(&declared, "url").is_none() {
            return refused(INVALID_PARAMS, "the client does not offer elicitation by URL for this request");
        }
        let with_tools = value(&params, "tools").or(value(&params, "toolChoice")).is_some();
        if capability == "sampling" && with_tools && value(&declared, "tools").is_none() {
            return refused(INVALID_PARAMS, "the client does not offer sampling with tools for this request");
        }
        Ok(())
    }

    /// Finds the call to which a question belongs.
    fn question_for(&self, session: u64, during: Option<u64>) -> Result<u64, (i64, String)> {
        let refused = |code, why: &str| Err((code, why.to_owned()));
        let may_ask = |call: &Call| {
            let method = call.request.method();
            matches!(call.asker, Asker::Client(_) | Asker::Nobody)
                && matches!(method, "tools/call" | "prompts/get" | "resources/read")
        };
        let found = match during {
            Some(number) => self.calls.get(&number).filter(|call| may_ask(call)).map(|_| number),
            // On the standalone stream: the oldest one may be meant.
            None => {
                let open = self.calls.iter().filter(|(_, call)| call.session == session && may_ask(call));
                open.map(|(number, _)| *number).min()
            }
        };
        let Some(call) = found else {
            return refused(METHOD_NOT_FOUND, "no call is under way that may ask this");
        };
        let questions = &self.calls[&call].questions;
        let parked = self.calls.values().filter(|call| call.questions.parked.is_some()).count();
        if questions.open.len() >= MOST_QUESTIONS || (parked >= MOST_PARKED && questions.parked.is_none()) {
            return refused(INTERNAL_ERROR, "too many questions wait for the client's answers");
        }
        Ok(call)
    }

    fn put_question(&mut self, call: u64, (id, generation): (Id, u64), message: &Message) {
        let text = asked_of_client(message);
        let at = self.moment.now + TOGETHER;
        let Some(Call { questions, .. }) = self.calls.get_mut(&call) else { return };
        questions.count += 1;
        let key = format!("q{}", questions.count);
        questions.open.push(Question { key, id, generation, text, is_stale: false });
        if questions.ask_at.is_none() {
            questions.ask_at = Some(at);
            self.effect(Effect::Alarm(TOGETHER));
        }
    }

    /// The service withdraws a question.
    pub(super) fn question_withdrawn(&mut self, session: u64, message: &Message) {
        let Some((_, id)) = cancelled_id(message) else { return };
        for call in self.calls.values_mut().filter(|call| call.session == session) {
            call.questions.open.retain(|question| question.id != id);
        }
    }

    /// Puts the questions to the client whose time has come.
    pub(super) fn park_asked(&mut self) {
        let now = self.moment.now;
        let due = |call: &Call| {
            matches!(call.asker, Asker::Client(_)) && call.questions.ask_at.is_some_and(|at| at <= now)
        };
        let due: Vec<u64> =
            self.calls.iter().filter(|(_, call)| due(call)).map(|(number, _)| *number).collect();
        due.into_iter().for_each(|call| self.park(call));
    }

    fn park(&mut self, call: u64) {
        let state = self.new_state();
        let until = self.moment.now + KEEP;
        let Some(Call { asker, questions, request, .. }) = self.calls.get_mut(&call) else { return };
        questions.ask_at = None;
        let Asker::Client(number) = *asker else { return };
        if questions.open.is_empty() {
            return;
        }
        *asker = Asker::Nobody;
        let asked = questions.open.iter().map(|question| (&*question.key, &*question.text));
        let answer = input_required(request, asked, &state);
        questions.parked =
            Some(Parked { state, until, told: VecDeque::new(), has_dropped: false, came: None });
        self.resumed.remove(&number);
        self.effect(Effect::Alarm(KEEP));
        if let Some(answer) = answer {
            self.ours(number, answer);
        }
    }

    /// Keeps the outcome of a call until its client comes back. It is copied: the bytes as they came keep their share of
    /// the memory that all responses have.
    pub(super) fn keep_outcome(&mut self, call: u64, came: Came) {
        let kept = self.calls.values().filter_map(|call| call.questions.parked.as_ref()?.came.as_ref());
        let kept: usize = kept.map(Came::len).sum();
        let Some(parked) = self.calls.get_mut(&call).and_then(|call| call.questions.parked.as_mut()) else {
            return;
        };
        parked.came = Some(match came {
            Came::Answer(message, _) if kept + message.text().len() > MOST_RESULTS => {
                let why = "the result came while the client answered questions, and was too large to keep";
                Came::Failed(Error::new(Kind::ServiceError, why).executed(Executed::Maybe))
            }
            Came::Answer(message, status) => Came::Answer(message.copied(), status),
            failed @ Came::Failed(_) => failed,
        });
    }

    /// Keeps a notification about a call whose client is away; false where the client is not away.
    pub(super) fn keeps_told(&mut self, call: Option<u64>, message: &Message) -> bool {
        let parked = call.and_then(|call| self.calls.get_mut(&call)?.questions.parked.as_mut());
        let Some(Parked { told, has_dropped, .. }) = parked else { return false };
        let (most, most_bytes) = MOST_TOLD;
        let bytes = |told: &VecDeque<Message>| told.iter().map(|kept| kept.text().len()).sum::<usize>();
        let is_too_long = message.text().len() > most_bytes;
        let mut drops = is_too_long;
        if !is_too_long {
            told.push_back(message.copied());
        }
        while told.len() > most || bytes(told) > most_bytes {
            told.pop_front();
            drops = true;
        }
        if drops && !std::mem::replace(has_dropped, true) {
            let note = "dropped notifications of a call whose client is away: too many, or too large";
            self.effect(Effect::Note(note.to_owned()));
        }
        true
    }

    /// Says whether a request bears a `requestState` that was made here.
    pub(super) fn knows_state(&self, said: &Said<'_>) -> bool {
        let state = value(&said.params, "requestState").and_then(string);
        state.is_some_and(|state| state.starts_with(STATE))
    }

    /// Takes a request with the answers to what was asked; returns a request that is to be sent.
    pub(super) fn resume(&mut self, outgoing: Outgoing, said: &Said<'_>) -> Option<Outgoing> {
        let params = &said.params;
        let Some(state) = value(params, "requestState") else { return Some(outgoing) };
        let state: String = serde_json::from_str(state).unwrap_or_default();
        let id = outgoing.message.id()?;
        let is_it = |call: &Call| call.questions.parked.as_ref().is_some_and(|parked| parked.state == state);
        let call = self.calls.iter().find(|(_, call)| is_it(call)).map(|(number, _)| *number);
        let renewal = self.renewals.iter().position(|renewal| renewal.state == state);
        let asked_about = match (call, renewal) {
            (Some(call), _) => &self.calls[&call].request,
            (None, Some(at)) => &self.renewals[at].request,
            (None, None) => {
                let refusal = Message::refusal(id, INVALID_PARAMS, "requestState expired");
                self.ours(outgoing.number, refusal);
                return None;
            }
        };
        if subject(asked_about) != subject(&outgoing.message) {
            let why = "requestState belongs to another request";
            let refusal = Message::refusal(id, INVALID_PARAMS, why);
            self.ours(outgoing.number, refusal);
            return None;
        }
        match call {
            Some(call) => {
                self.go_on(call, &outgoing);
                None
            }
            None => {
                self.renewals.swap_remove(renewal?);
                let answers = fields(value(params, "inputResponses").unwrap_or_default());
                let opened = |answer: &str| says(&fields(answer), "action", "accept");
                if !answers.is_empty() && answers.iter().all(|(_, answer)| opened(answer.get())) {
                    return Some(outgoing);
                }
                let why = "the client did not open the URL that the service asks for";
                let error = Error::new(Kind::ServiceError, why).executed(Executed::No);
                self.out.push(Out::Heard(Heard::Failed { number: outgoing.number, error }));
                None
            }
        }
    }

    /// A parked call goes on for this request.
    fn go_on(&mut self, number: u64, outgoing: &Outgoing) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.asker = Asker::Client(outgoing.number);
        call.request = outgoing.message.clone();
        let session = call.session;
        let parked = call.questions.parked.take();
        let (told, came) = parked.map(|parked| (parked.told, parked.came)).unwrap_or_default();
        let params = fields(call.request.params().unwrap_or_default());
        let answers = fields(value(&params, "inputResponses").unwrap_or_default());
        let mut answered = Vec::new();
        for question in std::mem::take(&mut call.questions.open) {
            match value(&answers, &question.key) {
                Some(answer) => answered.push((Message::result(&question.id, answer), question.generation)),
                None => call.questions.open.push(question),
            }
        }
        self.resumed.insert(outgoing.number, number);
        told.into_iter().for_each(|message| self.told(session, Some(number), message));
        for (answer, generation) in answered {
            self.with(session, |legacy, moment| legacy.answer(answer, generation, moment));
        }
        match came {
            Some(came) => self.came(number, came),
            // What was left out is asked again.
            None => self.park(number),
        }
    }

    /// Gives up the calls whose clients did not come back.
    pub(super) fn end_parked(&mut self) {
        let now = self.moment.now;
        self.renewals.retain(|renewal| renewal.until > now);
        let is_late = |call: &Call| call.questions.parked.as_ref().is_some_and(|parked| parked.until <= now);
        for (number, call) in self.calls.extract_if(|_, call| is_late(call)).collect::<Vec<_>>() {
            let params = r#"{"requestId":0,"reason":"the client did not answer"}"#;
            let notification = Message::notification("notifications/cancelled", Some(params));
            self.abandon(number, call, &notification);
        }
    }

    /// The service wants a URL to be opened first.
    pub(super) fn url_needed(&mut self, number: u64, call: &Call, answer: Message, status: u16) -> Heard {
        let pooled = self.pool.iter().find(|pooled| pooled.name == call.session);
        let declared = fields(pooled.map_or("", |pooled| &pooled.capabilities));
        let elicitation = fields(value(&declared, "elicitation").unwrap_or_default());
        let offers = value(&elicitation, "url").is_some();
        let wanted =
            ErrorFields::of(&answer).map(|error| error.data["elicitations"].clone()).unwrap_or_default();
        let wanted = wanted.as_array().filter(|wanted| !wanted.is_empty() && wanted.len() <= MOST_QUESTIONS);
        let (Some(id), Some(wanted)) = (answer.id().cloned(), wanted) else {
            return Heard::Answer { number, message: answer, status };
        };
        if !offers {
            let data = r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#;
            let why = quote("the service needs elicitation by URL");
            let error = format!(r#"{{"code":{MISSING_CAPABILITY},"message":{why},"data":{data}}}"#);
            let text = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.json());
            let message = Message::read(text).unwrap_or(answer);
            return Heard::Answer { number, message, status };
        }
        let asked: Vec<(String, String)> = wanted
            .iter()
            .enumerate()
            .map(|(at, elicitation)| {
                let params = fields_of(elicitation).to_string();
                let text = object([("method", r#""elicitation/create""#), ("params", &*params)]);
                (format!("e{at}"), text)
            })
            .collect();
        let state = self.new_state();
        let request = call.request.clone();
        let asked = asked.iter().map(|(key, text)| (&**key, &**text));
        let message = input_required(&request, asked, &state).unwrap_or(answer);
        let until = self.moment.now + KEEP;
        self.renewals.truncate(MOST_PARKED - 1);
        self.renewals.insert(0, Renewal { state, until, request });
        Heard::Ours { number, message }
    }

    /// Makes a `requestState` that nobody can guess.
    fn new_state(&mut self) -> String {
        self.tokens += 1;
        let hash = Sha256::new().chain_update(self.settings.seed).chain_update(self.tokens.to_be_bytes());
        let digits = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{STATE}{digits}")
    }
}

/// Returns the subject of a request: what must be the same when it is made again.
fn subject(request: &Message) -> (&str, Value) {
    let mut params: Value =
        request.params().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
    if let Some(fields) = params.as_object_mut() {
        fields.retain(|name, _| !matches!(&**name, "_meta" | "inputResponses" | "requestState"));
    }
    (request.method(), params)
}

fn fields_of(elicitation: &Value) -> Value {
    let mut params = elicitation.clone();
    if let Some(fields) = params.as_object_mut() {
        fields.shift_remove("elicitationId");
        fields.entry("mode").or_insert_with(|| "url".into());
    }
    params
}

/// Returns a question without the words of the older era.
fn asked_of_client(message: &Message) -> String {
    let params = fields(message.params().unwrap_or_default());
    let meta = value(&params, "_meta").map(|meta| {
        let kept = fields(meta)
            .into_iter()
            .filter(|(name, _)| name != "progressToken" && !translate::is_related_task(name));
        object(kept.map(|(name, raw)| (name, raw.get())))
    });
    let meta = meta.filter(|meta| meta != "{}");
    let kept = params.iter().filter_map(|(name, raw)| match &**name {
        "elicitationId" | "task" => None,
        "_meta" => meta.as_deref().map(|meta| ("_meta", meta)),
        name => Some((name, raw.get())),
    });
    let params = object(kept);
    let method = quote(message.method());
    let params = (!params.is_empty() && params != "{}").then_some(("params", &*params));
    object([("method", &*method)].into_iter().chain(params))
}

/// Returns the answer that says which input is required.
fn input_required<'a>(
    request: &Message,
    asked: impl Iterator<Item = (&'a str, &'a str)>,
    state: &str,
) -> Option<Message> {
    let (asked, state) = (object(asked), quote(state));
    let parts =
        [("resultType", r#""input_required""#), ("inputRequests", &*asked), ("requestState", &*state)];
    request.id().map(|id| Message::result(id, &object(parts)))
}
