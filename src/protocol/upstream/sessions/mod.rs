//! A service with sessions, as a client without a handshake sees it: one session for each set of capabilities
//! (sections 3.3, 3.4, 3.6).
//!
//! Takes requests of the stateless era and sends them in a session; what comes back is completed as that era wants it.
//! Refuses to relay a question that the client's request did not allow.

mod heard;
mod levels;
mod listens;
mod parked;
mod pool;
mod tasks;
mod translate;

use std::sync::Arc;
use std::time::Instant;

use super::{Heard, Out, Upstream, overdue};
use crate::error::{Error, Executed, Kind as ErrorKind};
use crate::protocol::driver::Item;
use crate::protocol::effect::{Effect, Ended, Tag};
use crate::protocol::envelope::PREFIX;
use crate::protocol::message::{INVALID_PARAMS, Id, Message, UNSUPPORTED_VERSION, quote};
use crate::protocol::request::{Class, Leaves, Outgoing, Promise, Wait};
use crate::protocol::revision::{Era, FIRST_MODERN};
use crate::protocol::settings::Settings;
use crate::protocol::subscriptions::is_listen;
use crate::protocol::{FastMap, Moment};
use listens::Listen;
use parked::{Questions, Renewal};
use pool::Pooled;
use tasks::{Fetched, Handed, Key, Refused, Runs};
use translate::Said;

/// How many sessions are kept when nothing is under way in them (section 3.3).
const MOST_SESSIONS: usize = 4;
/// How many sessions there may be at once.
const MOST_AT_ONCE: usize = 32;
/// Our own requests are counted from here on, so that none has the number of one of the client.
const FIRST_OWN: u64 = 1 << 62;

/// The conversation of a client without a handshake with a service that has one.
#[derive(Debug)]
pub struct Sessions {
    settings: Arc<Settings>,
    /// The era was chosen by a person.
    is_forced: bool,
    moment: Moment,
    pool: Vec<Pooled>,
    /// How many sessions there were, and how often one was chosen.
    made: u64,
    uses: u64,
    /// How many requests of our own there were.
    own: u64,
    calls: FastMap<u64, Call>,
    /// The requests whose call has another number, and that number: it was parked, or made once more as a task.
    resumed: FastMap<u64, u64>,
    /// Requests that wait for the list of tools.
    held: Vec<Outgoing>,
    /// The session whose list of tools was asked for last, and whether it still is.
    lists: u64,
    is_listing: bool,
    listens: Vec<Listen>,
    renewals: Vec<Renewal>,
    /// Tasks that their clients follow, while they ask something.
    tasks: FastMap<Key, Handed>,
    /// Requests for the results of tasks.
    fetched: FastMap<u64, Fetched>,
    /// Calls that were refused, while the list of tools is asked for.
    refused: FastMap<u64, Refused>,
    /// How many calls were parked.
    tokens: u64,
    out: Vec<Out>,
}

/// A request under way in a session.
#[derive(Debug)]
struct Call {
    session: u64,
    asker: Asker,
    /// As its client wrote it last.
    request: Message,
    /// JSON text of the progress token that the service knows.
    token: Option<String>,
    questions: Questions,
    runs: Runs,
    promise: Promise,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// The client, under this number.
    Client(u64),
    /// No request: the client has received `input_required` and has not come back yet.
    Nobody,
    /// None: the client has cancelled the call. The task that it begins is cancelled once its id is known.
    Gone,
    /// This room.
    Own(Own),
}

/// Requests of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// The session is to be opened.
    Open,
    /// `logging/setLevel`, to this one.
    Level(usize),
    /// `resources/subscribe`.
    Subscribe,
    /// Its answer tells nothing: `resources/unsubscribe`, `tasks/cancel`.
    Ignored,
    /// `tasks/get` for the task of this call.
    TaskState(u64),
    /// `tasks/result` for the task of this call.
    TaskResult(u64),
    /// `tasks/result` for the client's `tasks/get` of this number.
    Inline(u64),
    /// `tasks/result` for what a task asks its client.
    Questions,
    /// `tools/list`, because this call was refused: its tool may have to run as a task.
    Support(u64),
}

/// What came of a request.
#[derive(Clone, Debug)]
enum Came {
    Answer(Message, u16),
    Failed(Error),
}

impl Came {
    fn heard(self, number: u64) -> Heard {
        match self {
            Self::Answer(message, status) => Heard::Answer { number, message, status },
            Self::Failed(error) => Heard::Failed { number, error },
        }
    }

    /// Returns how many bytes the answer has.
    fn len(&self) -> usize {
        match self {
            Self::Answer(message, _) => message.text().len(),
            Self::Failed(_) => 0,
        }
    }

    fn is_good(&self) -> bool {
        matches!(self, Self::Answer(message, _) if message.error_text().is_none())
    }
}

impl Sessions {
    pub(in crate::protocol) fn new(settings: &Settings, moment: Moment) -> Self {
        // Sessions are of the legacy era; only one that is not forced may find that the service has left it.
        let is_forced = settings.era.is_some();
        let settings = Arc::new(Settings { era: Some(Era::Legacy), ..settings.clone() });
        Self {
            settings,
            is_forced,
            moment,
            pool: Vec::new(),
            made: 0,
            uses: 0,
            own: 0,
            calls: FastMap::default(),
            resumed: FastMap::default(),
            held: Vec::new(),
            lists: 0,
            is_listing: false,
            listens: Vec::new(),
            renewals: Vec::new(),
            tasks: FastMap::default(),
            fetched: FastMap::default(),
            refused: FastMap::default(),
            tokens: 0,
            out: Vec::new(),
        }
    }
}

impl Upstream for Sessions {
    fn request(&mut self, outgoing: Outgoing, moment: Moment) {
        self.moment = moment;
        let message = outgoing.message.clone();
        let said = Said::of(&message);
        if let Some(refusal) = envelope_refusal(&message, &said) {
            return self.ours(outgoing.number, refusal);
        }
        let Some(session) = self.session_for(&said) else {
            let why = format!("requests with {MOST_AT_ONCE} other sets of capabilities are under way");
            let error = Error::new(ErrorKind::ServiceError, why).executed(Executed::No);
            return self.out.push(Out::Heard(Heard::Failed { number: outgoing.number, error }));
        };
        if outgoing.leaves == Leaves::AfterTools {
            self.alarm_at(outgoing.promise.deadline());
            if !self.is_listing {
                self.lists = session;
                self.list_tools(None, moment);
            }
            return self.held.push(outgoing);
        }
        if is_listen(&message) {
            return self.open_listen(session, &outgoing);
        }
        if let Some(outgoing) = self.resume(outgoing, &said) {
            self.send(session, outgoing, &said);
        }
    }

    fn release(&mut self, number: u64, message: Message, class: Class) {
        for held in self.take_held(|held| held.number == number) {
            self.request(
                Outgoing { message: message.clone(), class, leaves: Leaves::AtOnce, ..held },
                self.moment,
            );
        }
    }

    fn refuse(&mut self, number: u64, error: &Error) {
        let error = error.clone().executed(Executed::No);
        self.take_held(|held| held.number == number);
        self.out.push(Out::Heard(Heard::Failed { number, error }));
    }

    fn list_tools(&mut self, cursor: Option<&str>, moment: Moment) {
        self.moment = moment;
        self.is_listing = true;
        self.with(self.lists, |legacy, moment| legacy.list_tools(cursor, moment));
    }

    fn cancel(&mut self, number: u64, notification: &Message, moment: Moment) -> bool {
        self.moment = moment;
        if !self.take_held(|held| held.number == number).is_empty() || self.close_listen(number) {
            return true;
        }
        let waits = |pooled: &mut Pooled| pooled.levels.cancel(number);
        if self.pool.iter_mut().any(waits) {
            return true;
        }
        let number = self.resumed.remove(&number).unwrap_or(number);
        let Some(call) = self.calls.remove(&number).filter(|call| call.asker != Asker::Gone) else {
            return false;
        };
        self.abandon(number, call, notification);
        true
    }

    fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        self.moment = moment;
        if let Some(legacy) = self.legacy_of(tag.ticket.upstream) {
            legacy.item(tag, item, moment);
        }
    }

    fn ended(&mut self, ended: Ended, moment: Moment) {
        self.moment = moment;
        if let Some(legacy) = self.legacy_of(ended.tag.ticket.upstream) {
            legacy.ended(ended, moment);
        }
    }

    fn waits(&mut self, tag: Tag, wait: Wait, moment: Moment) {
        self.moment = moment;
        if let Some(legacy) = self.legacy_of(tag.ticket.upstream) {
            legacy.waits(tag, wait, moment);
        }
    }

    fn alarm(&mut self, moment: Moment) {
        self.moment = moment;
        self.pool.iter_mut().for_each(|pooled| pooled.legacy.alarm(moment));
        self.park_asked();
        self.look_at_tasks();
        self.end_parked();
        for late in self.take_held(|held| held.promise.broken_at(moment.now).is_some()) {
            let limit = late.promise.broken_at(moment.now).unwrap_or_default();
            let error = overdue(&self.settings.place, limit);
            self.out.push(Out::Heard(Heard::Failed { number: late.number, error }));
        }
    }

    fn close(&mut self, moment: Moment) {
        self.moment = moment;
        self.end_listens();
        self.end_tasks();
        let mut unsent = self.take_held(|_| true);
        for pooled in &mut self.pool {
            unsent.extend(pooled.levels.take_waiting());
        }
        for outgoing in unsent {
            let error = Error::new(ErrorKind::Interrupted, "asistry ended before the request was sent");
            let error = error.executed(Executed::No);
            self.out.push(Out::Heard(Heard::Failed { number: outgoing.number, error }));
        }
        self.pool.iter_mut().for_each(|pooled| pooled.legacy.close(moment));
    }

    fn take(&mut self, out: &mut Vec<Out>) {
        let mut said = Vec::new();
        let mut at = 0;
        while at < self.pool.len() {
            let name = self.pool[at].name;
            self.pool[at].legacy.take(&mut said);
            // What is heard of one session may be said in another one.
            at = if said.is_empty() { at + 1 } else { 0 };
            for out in said.drain(..) {
                match out {
                    Out::Do(effect) => self.out.push(Out::Do(effect)),
                    Out::Heard(heard) => self.heard(name, heard),
                }
            }
        }
        if self.pool.len() > MOST_SESSIONS {
            self.leave_idle();
        }
        out.append(&mut self.out);
    }

    fn open(&self) -> (usize, usize) {
        let waiting = self.held.iter().chain(self.pool.iter().flat_map(|pooled| pooled.levels.waiting()));
        let waiting = waiting.map(|held| (1, held.message.text().len()));
        let under_way = self.pool.iter().map(|pooled| pooled.legacy.open());
        under_way.chain(waiting).fold((0, 0), |sum, open| (sum.0 + open.0, sum.1 + open.1))
    }
}

impl Sessions {
    /// Takes a notification that the stateless era does not define: an extension's, unless the handshake's words are
    /// meant; it goes in the session that was used last.
    pub(in crate::protocol) fn notice(&mut self, message: Message, moment: Moment) {
        self.moment = moment;
        if matches!(message.method(), "notifications/initialized" | "notifications/roots/list_changed") {
            return;
        }
        let params = translate::params(&Said::of(&message));
        let message = Message::notification(message.method(), params.as_deref());
        if let Some(last) = self.pool.iter_mut().max_by_key(|pooled| pooled.used) {
            last.legacy.notice(message, moment);
        }
    }

    /// Says whether a request goes on with what was asked in a session.
    pub(in crate::protocol) fn have_parked(&self, request: &Message) -> bool {
        self.tokens > 0 && self.knows_state(&Said::of(request))
    }

    fn effect(&mut self, effect: Effect) {
        self.out.push(Out::Do(effect));
    }

    fn alarm_at(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            self.effect(Effect::Alarm(at.saturating_duration_since(self.moment.now)));
        }
    }

    /// Answers a request of the client ourselves.
    fn ours(&mut self, number: u64, message: Message) {
        self.out.push(Out::Heard(Heard::Ours { number, message }));
    }

    fn take_held(&mut self, which: impl Fn(&Outgoing) -> bool) -> Vec<Outgoing> {
        self.held.extract_if(.., |held| which(held)).collect()
    }

    /// Sends a request of the client in its session.
    fn send(&mut self, session: u64, outgoing: Outgoing, said: &Said<'_>) {
        let Some(pooled) = self.pooled(session) else { return };
        if pooled.must_raise_level(said) {
            pooled.levels.wait(outgoing);
            return self.raise_level(session);
        }
        self.carry(session, outgoing, said);
    }

    fn carry(&mut self, session: u64, outgoing: Outgoing, said: &Said<'_>) {
        if outgoing.message.method() == "tasks/update" {
            return self.update_task(session, &outgoing);
        }
        let (number, request) = (outgoing.number, outgoing.message.clone());
        let runs = self.runs(session, &request, said);
        let message = match runs {
            Runs::Plainly => translate::request(&request, said),
            _ => translate::as_task(&request, said),
        };
        let token = said.token().map(str::to_owned);
        let asker = Asker::Client(number);
        let (questions, promise) = (Questions::default(), outgoing.promise);
        let call = Call { session, asker, request, token, questions, runs, promise };
        self.calls.insert(number, call);
        let outgoing = Outgoing { message, era: Era::Legacy, ..outgoing };
        self.with(session, |legacy, moment| legacy.request(outgoing, moment));
    }

    fn own_number(&mut self) -> u64 {
        self.own += 1;
        FIRST_OWN + self.own * 2
    }

    /// Asks the service something on our own account.
    fn ask(&mut self, session: u64, own: Own, request: (&str, Option<&str>)) -> u64 {
        self.ask_within(self.settings.promise(self.moment.now), session, own, request)
    }

    /// As [`Self::ask`], within the limits of another request.
    fn ask_within(
        &mut self,
        promise: Promise,
        session: u64,
        own: Own,
        (method, params): (&str, Option<&str>),
    ) -> u64 {
        let number = self.own_number();
        let message = Message::request(&Id::Text(format!("asistry-own-{}", self.own).into()), method, params);
        let class = Class::of(method);
        let (request, asker) = (message.clone(), Asker::Own(own));
        let (questions, runs) = (Questions::default(), Runs::Plainly);
        self.calls.insert(number, Call { session, asker, request, token: None, questions, runs, promise });
        let outgoing = Outgoing { number, message, class, promise, leaves: Leaves::AtOnce, era: Era::Legacy };
        self.with(session, |legacy, moment| legacy.request(outgoing, moment));
        number
    }

    /// Ends a call at the service whose client does not wait for it any more.
    fn abandon(&mut self, number: u64, call: Call, notification: &Message) {
        if self.cancel_task(&call) {
            return;
        }
        let begins_task = matches!(call.runs, Runs::Handed | Runs::Followed(None));
        let was_sent = self.pooled(call.session).is_some_and(|pooled| pooled.legacy.has_sent(number));
        if begins_task && was_sent {
            let gone = Call { asker: Asker::Gone, questions: Questions::default(), ..call };
            self.calls.insert(number, gone);
            return;
        }
        self.cancel_in(call.session, number, notification);
    }

    /// Cancels a call at the service.
    fn cancel_in(&mut self, session: u64, call: u64, notification: &Message) {
        let params = translate::params(&Said::of(notification));
        let params = params.unwrap_or_else(|| r#"{"requestId":0}"#.to_owned());
        let notification = Message::notification("notifications/cancelled", Some(&params));
        self.with(session, |legacy, moment| _ = legacy.cancel(call, &notification, moment));
    }
}

/// Says what is wrong with the envelope of a request (ERA-4).
fn envelope_refusal(request: &Message, said: &Said<'_>) -> Option<Message> {
    let id = request.id()?;
    let version: String = serde_json::from_str(said.envelope("protocolVersion")?).ok()?;
    if version != FIRST_MODERN {
        let data = format!(r#"{{"supported":[{}],"requested":{}}}"#, quote(FIRST_MODERN), quote(&version));
        let why = quote("Unsupported protocol version");
        let error = format!(r#"{{"code":{UNSUPPORTED_VERSION},"message":{why},"data":{data}}}"#);
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.json());
        return Message::read(text).ok();
    }
    let is_object = said.envelope("clientCapabilities").is_some_and(|raw| raw.starts_with('{'));
    let why = format!("Invalid params: _meta lacks {PREFIX}clientCapabilities");
    (!is_object).then(|| Message::refusal(id, INVALID_PARAMS, &why))
}
