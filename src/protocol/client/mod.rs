//! The client's side: its requests until they are answered, its batches, the questions that it was asked.
//!
//! Takes lines and says what each message wants ([`Said`]); takes what the service said and writes lines for the
//! client. Refuses nothing silently: a line that cannot be taken is answered, unless it asked for no answer.

mod batches;
mod door;
mod foreign;
mod held;
pub mod legacy;
mod lower;
pub mod modern;
mod progress;
mod questions;
mod rounds;
mod sign_in;
mod subscriptions;
mod tasks;
mod tool_list;
pub mod tools;
mod waiting;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Executed, Kind as ErrorKind};
use crate::protocol::effect::{About, Delivery, Effect, Origin, Spilled};
use crate::protocol::envelope;
use crate::protocol::message::{Frame, Id, Kind, Malformed, Message, cancelled_id, quote};
use crate::protocol::message::{
    INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR,
};
use crate::protocol::object::fields;
use crate::protocol::request::{Class, Leaves, Outgoing, Promise};
use crate::protocol::revision::{Era, Revision};
use crate::protocol::settings::Settings;
use crate::protocol::subscriptions::TOOLS;
use crate::protocol::tool_rules::ToolRules;
use crate::protocol::{FastMap, Instant, MAX_MESSAGE};
use batches::Batch;
use door::Door;
pub(super) use held::ToolsPage;
use modern::Discovery;
use progress::Progress;
pub use progress::{BUSY, RETRY_AFTER, WAIT_REASON};
use questions::Questions;
use rounds::Rounds;
use tasks::Task;
use tools::{Permit, Tools};
pub(super) use waiting::Room;
use waiting::Waiting;

/// A message of the client, sorted by what must be done.
#[derive(Debug)]
pub(super) enum Said {
    /// `initialize`.
    Opens(Outgoing),
    /// `notifications/initialized`.
    Confirms,
    /// A request for the service.
    Request(Outgoing),
    /// A notification for the service.
    Notice(Message),
    /// A notification that the stateless era does not define.
    Extra(Message),
    /// It cancels the request of this number.
    Cancels(u64, Message),
    /// What it may hear unasked is this filter (JSON text), or nothing.
    Listens(Option<String>),
    /// It answers a question, under the service's id, that was asked in the session of this generation.
    Answers(Message, u64),
}

/// A request of the client that was not decided about yet, with the batch it came in.
#[derive(Debug)]
struct Asked {
    message: Message,
    batch: Option<u64>,
    era: Era,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Open {
    message: Message,
    batch: Option<u64>,
    progress: Progress,
    /// How often the tools had changed when it was sent.
    changes: u64,
    era: Era,
    promise: Promise,
    /// How often its service asked for input.
    rounds: u32,
    /// It was written anew for a service of the stateless era.
    is_lifted: bool,
    /// The task that runs for it there.
    task: Option<Task>,
}

/// The client's side of a conversation.
#[derive(Debug)]
pub struct Client {
    settings: Arc<Settings>,
    /// The era of its newest request.
    era: Era,
    /// It has sent `initialize`.
    has_handshake: bool,
    revision: Option<&'static Revision>,
    /// The requests that wait, by number.
    open: FastMap<u64, Open>,
    by_id: FastMap<Id, u64>,
    /// How many requests there were.
    count: u64,
    /// When the message at hand came.
    came: Instant,
    /// The instant of the newest event.
    now: Instant,
    /// Ids of the batch at hand.
    reserved: HashSet<Id>,
    batches: HashMap<u64, Batch>,
    batch_count: u64,
    questions: Questions,
    discovery: Discovery,
    door: Door,
    rounds: Rounds,
    /// The `initialize` that waits for its answer.
    opening: Option<u64>,
    waiting: Waiting,
    tools: Tools,
    held: Vec<u64>,
    /// A login is needed, and `sign_in` was listed.
    is_logged_out: bool,
    said: Vec<Said>,
    effects: Vec<Effect>,
}

impl Client {
    pub(super) fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            era: if settings.era == Some(Era::Modern) { Era::Modern } else { Era::Legacy },
            has_handshake: false,
            revision: None,
            open: FastMap::default(),
            by_id: FastMap::default(),
            count: 0,
            came: now,
            now,
            reserved: HashSet::new(),
            batches: HashMap::new(),
            batch_count: 0,
            questions: Questions::default(),
            discovery: Discovery::default(),
            rounds: Rounds::default(),
            door: Door::of(&Message::notification("none", None), &settings.client_info),
            opening: None,
            waiting: Waiting::default(),
            tools: Tools::new(if settings.client_filters {
                ToolRules::default()
            } else {
                settings.tools.clone()
            }),
            held: Vec::new(),
            is_logged_out: false,
            said: Vec::new(),
            effects: Vec::new(),
            settings,
        }
    }

    /// Moves what the client said, in order, to the end of `said`.
    pub(super) fn take_said(&mut self, said: &mut Vec<Said>) {
        said.append(&mut self.said);
    }

    /// Says whether it has said something that was not taken yet.
    pub(super) fn has_said(&self) -> bool {
        !self.said.is_empty()
    }

    /// Moves what is to be done to the end of `effects`.
    pub(super) fn take_effects(&mut self, effects: &mut VecDeque<Effect>) {
        effects.extend(self.effects.drain(..));
    }

    /// Says whether a request waits for its answer.
    pub(super) fn is_owed_an_answer(&self) -> bool {
        !self.open.is_empty() || !self.waiting.is_empty()
    }

    /// Takes one line.
    pub(super) fn line(&mut self, line: Bytes, room: Room, now: Instant) {
        (self.came, self.now) = (now, now);
        self.reserved.clear();
        match Frame::read(line) {
            Ok(frame) if self.must_wait(&frame, room) => self.wait(frame),
            Ok(frame) => self.frame(frame),
            Err(malformed) => self.refuse_malformed(malformed, None),
        }
    }

    fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::One(message) => self.message(message, None),
            Frame::Batch(parts) => self.batch(parts),
        }
    }

    /// A line longer than [`MAX_MESSAGE`] was dropped.
    pub(super) fn line_too_long(&mut self) {
        let why = format!("a line longer than {} MiB", MAX_MESSAGE >> 20);
        self.refuse_malformed(Malformed::Json(why), None);
    }

    fn refuse_malformed(&mut self, malformed: Malformed, batch: Option<u64>) {
        let (code, id, why) = match malformed {
            Malformed::Json(why) => (PARSE_ERROR, None, format!("Parse error: {why}")),
            Malformed::Shape(id, why) => (INVALID_REQUEST, id, format!("Invalid request: {why}")),
        };
        self.refuse(id.as_ref(), code, &why, batch);
    }

    /// Answers with a JSON-RPC error of the bridge. Without an id the field is left out where the peer's revision
    /// allows that, else it is null.
    fn refuse(&mut self, id: Option<&Id>, code: i64, why: &str, batch: Option<u64>) {
        let shown = match id {
            Some(id) => format!(r#""id":{},"#, id.json()),
            None if self.revision.is_none_or(|revision| revision.errors_without_id) => String::new(),
            None => r#""id":null,"#.to_owned(),
        };
        let text =
            format!(r#"{{"jsonrpc":"2.0",{shown}"error":{{"code":{code},"message":{}}}}}"#, quote(why));
        let about = id.map_or(About::Anyone, |id| About::Answer(id.clone()));
        self.answer(Delivery { about, text: text.into(), origin: Origin::Bridge }, batch);
    }

    fn message(&mut self, message: Message, batch: Option<u64>) {
        match message.kind() {
            Kind::Request => self.request(message, batch),
            Kind::Notification => self.notification(message),
            Kind::Response => self.response(&message),
        }
    }

    fn request(&mut self, message: Message, batch: Option<u64>) {
        let Some(id) = message.id().cloned() else { return };
        if batch.is_some() && !self.reserved.insert(id.clone()) {
            let why = "Invalid request: a request with this id is in the same batch";
            return self.refuse(Some(&id), INVALID_REQUEST, why, batch);
        }
        if self.is_used(&id) {
            let why = "Invalid request: a request with this id is still in flight";
            return self.refuse(Some(&id), INVALID_REQUEST, why, batch);
        }
        // ERA-2: each request says for itself which era it belongs to.
        self.era = if envelope::is_modern(&message) { Era::Modern } else { Era::Legacy };
        let asked = Asked { message, batch, era: self.era };
        match asked.era {
            Era::Modern => self.modern_request(asked, &id),
            Era::Legacy => self.legacy_request(asked, &id),
        }
    }

    /// Says whether a request of this id is unanswered.
    fn is_used(&self, id: &Id) -> bool {
        self.by_id.contains_key(id) || self.waiting.has(id)
    }

    fn notification(&mut self, message: Message) {
        match message.method() {
            method
                if !self.has_handshake && self.era == Era::Modern && method != "notifications/cancelled" =>
            {
                self.said.push(Said::Extra(message));
            }
            "notifications/initialized" => self.said.push(Said::Confirms),
            "notifications/cancelled" => match cancelled_id(&message) {
                None => self.note("the client cancelled a request without naming it"),
                Some((_, id)) => match self.by_id.get(&id) {
                    // Between two rounds nothing is under way at the service (T-12).
                    Some(number) if self.rounds.has(*number) => self.cancelled(*number),
                    Some(number) => self.said.push(Said::Cancels(*number, message)),
                    None => self.waiting.cancel(&id),
                },
            },
            _ => self.said.push(Said::Notice(message)),
        }
    }

    /// Safe names are made from the whole list: it must be known before a page of it is shown.
    fn list(&mut self, asked: Asked) {
        match self.tools.needs_whole_list() {
            true => self.hold(asked, Class::A),
            false => self.send(asked, Class::A),
        }
    }

    /// Decides about a tool call by the rules.
    fn call(&mut self, asked: Asked) {
        let Some(asked) = self.signs_in(asked) else { return };
        if let Some(refusal) = self.settings.tools.refusal_within(&asked.message) {
            return self.deny(&asked, refusal);
        }
        match self.tools.permit(&asked.message) {
            Ok(permit) => {
                let class = self.tools.class_of(&asked.message);
                match permit {
                    Permit::Go => self.send(asked, class),
                    Permit::Renamed(message) => self.send(Asked { message, ..asked }, class),
                    Permit::ListFirst => self.hold(asked, class),
                }
            }
            Err(error) => self.deny(&asked, error),
        }
    }

    fn deny(&mut self, asked: &Asked, error: Error) {
        if let Some(id) = asked.message.id() {
            let error = error.executed(Executed::No);
            self.answer(Delivery::failure(id, error, &self.settings.advise), asked.batch);
        }
    }

    /// A request goes to the service.
    fn send(&mut self, asked: Asked, class: Class) {
        let outgoing = self.begin(asked, class);
        self.said.push(Said::Request(outgoing));
    }

    /// A request waits for the list of tools.
    fn hold(&mut self, asked: Asked, class: Class) {
        let outgoing = self.begin(asked, class);
        self.tools.begin();
        self.held.push(outgoing.number);
        self.said.push(Said::Request(Outgoing { leaves: Leaves::AfterTools, ..outgoing }));
    }

    /// From here on an answer is owed.
    fn begin(&mut self, asked: Asked, class: Class) -> Outgoing {
        self.count += 1;
        // Upstreams give odd numbers.
        let number = self.count * 2;
        let Asked { message, batch, era } = asked;
        if let Some(id) = message.id() {
            self.by_id.insert(id.clone(), number);
        }
        let (progress, changes) = (Progress::default(), self.tools.changes());
        let promise = self.settings.promise_of(message.method(), self.came);
        let open = Open {
            message: message.clone(),
            batch,
            progress,
            changes,
            era,
            promise,
            rounds: 0,
            is_lifted: false,
            task: None,
        };
        self.open.insert(number, open);
        Outgoing { number, message, class, promise, leaves: Leaves::AtOnce, era }
    }

    /// Sends another request about this one; its answer says what becomes of this one.
    fn send_about(&mut self, number: u64, (method, params): (&str, &str), class: Class, leaves: Leaves) {
        let Some(open) = self.open.remove(&number) else { return };
        // A new number: late reports about the previous request must not reach this one.
        self.count += 1;
        let number = self.count * 2;
        let params = self.door.stamped(method, params).unwrap_or_else(|| params.to_owned());
        let id = Id::Text(format!("asistry-again-{number}").into());
        let message = Message::request(&id, method, Some(&params));
        let (promise, era) = (open.promise, Era::Modern);
        if let Some(id) = open.message.id() {
            self.by_id.insert(id.clone(), number);
        }
        self.open.insert(number, open);
        self.said.push(Said::Request(Outgoing { number, message, class, promise, leaves, era }));
    }

    fn close(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.withdraw_questions(number, &open);
        if let Some(task) = &open.task {
            self.cancel_task(task);
        }
        self.opening = self.opening.filter(|opening| *opening != number);
        if let Some(id) = open.message.id() {
            self.by_id.remove(id);
        }
        Some(open)
    }

    /// The request was cancelled: no answer is owed.
    pub(super) fn cancelled(&mut self, number: u64) {
        self.held.retain(|held| *held != number);
        if let Some(Open { batch: Some(batch), .. }) = self.close(number) {
            self.settle(batch);
        }
    }

    /// Notes the instant of an event of the service.
    pub(super) fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// The service has answered.
    pub(super) fn answered(&mut self, number: u64, message: &Message, status: u16) {
        let ending;
        let (message, came) = match self.open.get(&number).filter(|open| open.is_lifted) {
            None => (message, Vec::new()),
            Some(open) if open.task.is_some() => match self.follow_task(number, message) {
                Some(ended) => {
                    ending = ended;
                    (&ending, fields(ending.result_text().unwrap_or_default()))
                }
                None => return,
            },
            Some(open) => {
                let came = fields(message.result_text().unwrap_or_default());
                match (&*lower::result_type(&came), open.message.method()) {
                    ("input_required", _) => return self.begin_round(number, &came),
                    // MOD-7: only calls declare that they can be tasks.
                    ("task", "tools/call") => return self.begin_task(number, &came),
                    _ => (message, came),
                }
            }
        };
        let opens = self.opening == Some(number);
        let Some(open) = self.close(number) else { return };
        let Some(id) = open.message.id() else { return };
        let lowered = open.is_lifted.then(|| self.lowered(&open, id, message, &came));
        let message = match &lowered {
            None => message,
            Some(Ok(lowered)) => lowered,
            Some(Err(error)) => {
                if opens {
                    self.fail_waiting(error);
                }
                let failure = Delivery::failure(id, error.clone(), &self.settings.advise);
                return self.answer(failure, open.batch);
            }
        };
        let era = if open.is_lifted { Era::Modern } else { open.era };
        let origin = Origin::Service { status, era };
        if message.error_text().is_some() {
            if let Some(empty) = self.empty_list(&open, message) {
                let text = Message::result(id, empty).text().clone();
                let delivery = Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge };
                return self.answer(delivery, open.batch);
            }
            let error = foreign::disowned(message.clone());
            let answer = |id: &Id| {
                let text = error.text_with_id(id);
                Delivery { about: About::Answer(id.clone()), text, origin: origin.clone() }
            };
            self.answer(answer(id), open.batch);
            // Messages that wait for the session get the answer to `initialize`.
            if opens {
                self.answer_waiting(&answer);
            }
            return;
        }
        self.is_logged_out = false;
        let mut text = message.text_with_id(id);
        match open.message.method() {
            "server/discover" => self.discovery.is_guess = false,
            "tools/list" => text = self.list_for_client(&open, message, id).unwrap_or(text),
            "tools/call" if self.is_too_large(message) => {
                let spill = message.under_id(id);
                let to = Spilled { about: About::Answer(id.clone()), origin, batch: open.batch };
                return self.effects.push(Effect::Spill(spill, to));
            }
            _ => {}
        }
        self.answer(Delivery { about: About::Answer(id.clone()), text, origin }, open.batch);
    }

    /// No answer comes.
    pub(super) fn failed(&mut self, number: u64, error: Error) {
        self.held.retain(|held| *held != number);
        let opens = self.opening == Some(number);
        let asks = self.rounds.has(number);
        let Some(open) = self.close(number) else { return };
        let error = if open.task.is_some() && !asks { tasks::overdue(error) } else { error };
        let ours = self.answer_to_opening(&open, &error).or_else(|| self.list_with_sign_in(&open, &error));
        if let (Some(result), Some(id)) = (ours, open.message.id()) {
            let text = Message::result(id, &result).text().clone();
            let delivery = Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge };
            return self.answer(delivery, open.batch);
        }
        if opens {
            self.fail_waiting(&error);
        }
        if open.message.method() == "server/discover" {
            // Some clients show nothing of it.
            self.note(format!("server/discover failed: {error}"));
        }
        // Whatever became of a request about a task, or of one with answers, its call has begun.
        let has_begun = open.task.is_some() || open.rounds > 0;
        let error = if has_begun { error.executed(Executed::Maybe) } else { error };
        if let Some(id) = open.message.id() {
            self.answer(Delivery::failure(id, error, &self.settings.advise), open.batch);
        }
    }

    /// The handshake has agreed on this revision, by this answer.
    pub(super) fn agreed_on(&mut self, revision: Option<&'static Revision>, answer: &Message) {
        self.revision = revision;
        self.door.has_session_with(answer);
    }

    /// Hands a notification of the service on.
    pub(super) fn told(&mut self, message: &Message, during: Option<u64>, generation: Option<u64>) {
        match message.method() {
            method if method == TOOLS.method => self.tools.changed(),
            "notifications/cancelled" => {
                if let Some(generation) = generation {
                    return self.question_cancelled(message, during, generation);
                }
            }
            "notifications/progress" if !self.progresses(message, during) => return,
            _ => {}
        }
        if generation.is_none() && self.era_of(during) == Era::Legacy {
            if !self.door.subscriptions.want(message) {
                return;
            }
            return self.deliver_aside(lower::notification(message).text().clone(), during);
        }
        self.deliver_aside(message.text().clone(), during);
    }

    /// Returns the era of a request, else that of the client, which may have said something of the other one since (ERA-2).
    fn era_of(&self, request: Option<u64>) -> Era {
        match request.and_then(|number| self.open.get(&number)) {
            Some(open) => open.era,
            None if self.has_handshake => Era::Legacy,
            None => self.era,
        }
    }

    /// A large result was written to a file; `text` is the shortened response.
    pub(super) fn spilled(&mut self, text: Bytes, to: Spilled) {
        self.answer(Delivery { about: to.about, text, origin: to.origin }, to.batch);
    }

    fn deliver_aside(&mut self, text: Bytes, during: Option<u64>) {
        let request = during.and_then(|number| self.open.get(&number)).and_then(|open| open.message.id());
        let about = request.map_or(About::Anyone, |id| About::During(id.clone()));
        // Only answers need the true status.
        let origin = Origin::Service { status: 200, era: self.era_of(during) };
        self.effects.push(Effect::Deliver(Delivery { about, text, origin }));
    }

    fn list_for_client(&mut self, open: &Open, message: &Message, id: &Id) -> Option<Bytes> {
        let page = self.tools.page_for_client(&open.message, message, open.changes);
        for warning in page.warnings {
            self.note(warning);
        }
        let changed = Message::read(page.text?).ok()?;
        Some(changed.text_with_id(id))
    }

    fn is_too_large(&self, message: &Message) -> bool {
        let limit = self.settings.max_result.unwrap_or(usize::MAX);
        message.result_len().is_some_and(|length| length > limit)
    }

    fn note(&mut self, note: impl Into<String>) {
        self.effects.push(Effect::Note(note.into()));
    }
}
