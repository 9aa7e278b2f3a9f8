//! A service that does not speak MCP (AgentStack): what MCP asks of a service is answered here, and each call of a tool
//! becomes a REST call.
//!
//! Takes requests of the stateless era. Refuses to send a call again that may have run, but for a batch with an
//! `idempotency_key`.

mod calls;
mod catalogue;
mod keys;
mod listens;
mod listing;
mod records;
mod results;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::under_way::{Asker, Own, Sending, UnderWay, reissue_after};
use super::{Heard, Out, Upstream, overdue};
use crate::error::{Error, Executed, Kind as ErrorKind, Remedy};
use crate::protocol::driver::{
    Answers, Cause, Driver, Failure, Item, Outcome, Prompt, Purpose, Rests, Standing, Terms,
};
use crate::protocol::effect::{Effect, Ended, Tag, Ticket, UpstreamKind};
use crate::protocol::http::{Data, HttpCall};
use crate::protocol::message::{METHOD_NOT_FOUND, Message, quote};
use crate::protocol::object::object;
use crate::protocol::request::{Class, Leaves, Outgoing, Wait};
use crate::protocol::revision::FIRST_MODERN;
use crate::protocol::settings::Settings;
use crate::protocol::wire::AgentStack;
use crate::protocol::{FastMap, Moment};
pub use catalogue::tools_without_catalogue;
use catalogue::{Catalogue, KEEP_MS};
use keys::MadeKey;
use listens::Listens;
use records::Records;

/// The conversation with a service that is called action by action.
#[derive(Debug)]
pub struct Local {
    settings: Arc<Settings>,
    moment: Moment,
    wire: AgentStack,
    table: UnderWay,
    /// The calls under way, by the number of their request.
    calls: FastMap<u64, Call>,
    catalogue: Option<Known>,
    fetched: Fetched,
    /// Requests of the client for the list of tools that wait for the catalogue.
    lists: Vec<u64>,
    /// Our own request for a page of that list waits, too: its cursor.
    own_list: Option<Option<String>>,
    /// Why there is no catalogue, for the requests for the list that waited until we knew.
    unlisted: Option<(Error, Vec<u64>)>,
    /// The client was last given the list that needs no catalogue.
    is_list_short: bool,
    listens: Listens,
    out: Vec<Out>,
}

/// A catalogue, with the tag that asks whether it still holds.
#[derive(Debug)]
struct Known {
    tools: Catalogue,
    until: Instant,
    etag: Option<String>,
}

/// The parts of a catalogue that came; `Err` for one that could not be had.
#[derive(Debug, Default)]
struct Fetched {
    actions: Option<Result<Data, Error>>,
    schemas: Option<Option<Bytes>>,
}

/// A REST call that carries a request of the client.
#[derive(Debug)]
struct Call {
    http: HttpCall,
    form: Form,
    records: Records,
    /// It became a job; the pause before the last look at it.
    job: Option<Duration>,
    is_sent: bool,
    /// It makes a key.
    new_key: Option<MadeKey>,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Action,
    Steps,
}

impl Call {
    fn new(http: HttpCall, form: Form, records: Records) -> Self {
        Self { http, form, records, job: None, new_key: None, is_sent: false }
    }
}

impl Local {
    pub(in crate::protocol) fn new(settings: Arc<Settings>, moment: Moment) -> Self {
        Self {
            moment,
            wire: AgentStack::new(settings.endpoint.clone()),
            table: UnderWay::default(),
            calls: FastMap::default(),
            catalogue: settings.known_tools.as_ref().map(|known| Known::kept(known, moment.now)),
            fetched: Fetched::default(),
            lists: Vec::new(),
            own_list: None,
            unlisted: None,
            is_list_short: false,
            listens: Listens::default(),
            out: Vec::new(),
            settings,
        }
    }
}

impl Upstream for Local {
    fn request(&mut self, outgoing: Outgoing, moment: Moment) {
        self.moment = moment;
        let (number, leaves) = (outgoing.number, outgoing.leaves);
        self.table.put_request(outgoing);
        match leaves {
            Leaves::AtOnce | Leaves::After(_) => self.submit(number),
            Leaves::AfterTools => {
                let deadline = self.table.request(number).and_then(|request| request.promise.deadline());
                self.alarm_at(deadline);
                self.list_tools(None, moment);
            }
        }
    }

    fn release(&mut self, number: u64, message: Message, class: Class) {
        if self.table.becomes(number, message, class) {
            self.submit(number);
        }
    }

    fn refuse(&mut self, number: u64, error: &Error) {
        self.give_up(number, error.clone().executed(Executed::No));
    }

    fn list_tools(&mut self, cursor: Option<&str>, moment: Moment) {
        self.moment = moment;
        self.own_list = Some(cursor.map(str::to_owned));
        self.look_at_catalogue();
    }

    fn cancel(&mut self, number: u64, _notification: &Message, _moment: Moment) -> bool {
        if self.listens.close(number) {
            return true;
        }
        self.lists.retain(|waiting| *waiting != number);
        let makes_key = self.calls.get(&number).is_some_and(|call| call.new_key.is_some());
        if makes_key && self.table.request(number).is_some_and(|r| r.sending == Sending::Sent) {
            // The key would be lost: it is stored, and the answer dropped.
            return true;
        }
        self.calls.remove(&number);
        if self.table.remove_request(number).is_none() {
            return false;
        }
        self.out.push(Out::Do(Effect::Abort(ticket(number))));
        true
    }

    fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        self.moment = moment;
        let number = tag.ticket.number;
        match item {
            Item::Data(data) => self.replied(number, data),
            Item::Record(text) => self.recorded(number, &text),
            _ => {}
        }
    }

    fn ended(&mut self, ended: Ended, moment: Moment) {
        self.moment = moment;
        let number = ended.tag.ticket.number;
        let Some(request) = self.table.request(number).filter(|r| r.attempt == ended.tag.attempt) else {
            return;
        };
        request.promise = ended.promise;
        if self.calls.get(&number).is_some_and(Call::has_its_key) {
            return;
        }
        match ended.outcome {
            Outcome::Failed(failure) => self.failed(number, *failure),
            _ => {
                let why = format!("{} ended its reply without a result", self.settings.place);
                self.give_up(number, Error::new(ErrorKind::ProtocolViolation, why).executed(Executed::Maybe));
            }
        }
    }

    fn waits(&mut self, tag: Tag, wait: Wait, moment: Moment) {
        self.out.extend(self.table.waits(tag.ticket.number, wait, moment.now).map(Out::Heard));
    }

    fn alarm(&mut self, moment: Moment) {
        self.moment = moment;
        for (number, limit) in self.table.overdue(moment.now) {
            self.lists.retain(|waiting| *waiting != number);
            self.give_up(number, overdue(&self.settings.place, limit));
        }
    }

    fn close(&mut self, moment: Moment) {
        self.moment = moment;
        self.out.extend(self.listens.end());
        for number in self.table.requests() {
            let Some(request) = self.table.request(number) else { continue };
            if self.calls.get(&number).is_some_and(Call::has_its_key) {
                // The call was made, and its key is being stored.
                self.answer_without_note(number);
                continue;
            }
            let unsent = request.sending == Sending::Waiting || request.is_held(moment.now);
            self.out.push(Out::Do(Effect::Abort(ticket(number))));
            let error = Error::new(ErrorKind::Interrupted, "asistry ended before the answer came")
                .remedy(Remedy::AllowDrain);
            self.give_up(number, error.executed(if unsent { Executed::No } else { Executed::Maybe }));
        }
    }

    fn take(&mut self, out: &mut Vec<Out>) {
        out.append(&mut self.out);
    }

    fn open(&self) -> (usize, usize) {
        self.table.open()
    }
}

impl Local {
    fn note(&mut self, note: impl Into<String>) {
        self.out.push(Out::Do(Effect::Note(note.into())));
    }

    fn alarm_at(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            let after = at.saturating_duration_since(self.moment.now);
            self.out.push(Out::Do(Effect::Alarm(after)));
        }
    }

    /// Answers a request here, or sends it.
    fn submit(&mut self, number: u64) {
        let Some(request) = self.table.request(number) else { return };
        match request.message.method() {
            "server/discover" => self.answer(number, &discovered(&self.settings.service)),
            "tools/list" => self.list(number),
            "tools/call" => self.call(number),
            "subscriptions/listen" => self.open_listen(number),
            "prompts/list" => self.answer(number, &empty("prompts")),
            "resources/list" => self.answer(number, &empty("resources")),
            "resources/templates/list" => self.answer(number, &empty("resourceTemplates")),
            method => {
                let why = format!("Method not found: {method}");
                self.refuse_request(number, METHOD_NOT_FOUND, &why);
            }
        }
    }

    /// Answers with a result; JSON text.
    fn answer(&mut self, number: u64, result: &str) {
        self.calls.remove(&number);
        let Some(request) = self.table.remove_request(number) else { return };
        let message = Message::result(&request.upstream, result);
        self.out.push(Out::Heard(Heard::Answer { number, message, status: 200 }));
    }

    fn refuse_request(&mut self, number: u64, code: i64, why: &str) {
        let Some(request) = self.table.remove_request(number) else { return };
        let message = Message::refusal(&request.upstream, code, why);
        self.out.push(Out::Heard(Heard::Answer { number, message, status: 200 }));
    }

    fn carry(&mut self, number: u64, after: Duration) {
        let Some(request) = self.table.request(number) else { return };
        request.attempt += 1;
        request.sending = Sending::Sent;
        let tag = Tag { ticket: ticket(number), attempt: request.attempt };
        let http = match (request.asker, self.calls.get_mut(&number)) {
            (Asker::Own(Own::Actions), _) => {
                self.wire.actions(self.catalogue.as_ref().and_then(|known| known.etag.as_deref()))
            }
            (Asker::Own(_), _) => self.wire.schemas(),
            (Asker::Client, Some(call)) => {
                call.is_sent = true;
                call.http.clone()
            }
            (Asker::Client, None) => return,
        };
        let terms = Terms {
            retry: self.settings.retry.clone(),
            standing: Standing::Free,
            answers: Answers::AsData,
            repeat: request.class.repeat(),
            silence: self.settings.silence_of(request.message.method()),
            rests: Rests::Never,
            login: Prompt::Allowed,
            place: self.settings.place.clone(),
        };
        let purpose = Purpose::Request(request.upstream.clone());
        let mut driver = Driver::new(http, purpose, terms, request.promise).without_resumption();
        if !after.is_zero() {
            driver = driver.not_before(self.moment.now + after);
        }
        self.out.push(Out::Do(Effect::Run(tag, Box::new(driver))));
    }

    fn failed(&mut self, number: u64, failure: Failure) {
        let random = self.moment.random;
        let Some(request) = self.table.request(number) else { return };
        let class = if failure.executed == Executed::No { Class::A } else { request.class };
        if failure.cause == Cause::Permanent || !class.may_reissue(request.reissues) {
            let executed = if request.in_doubt { Executed::Maybe } else { failure.executed };
            return self.give_up(number, failure.error.executed(executed));
        }
        let after = reissue_after(request.reissues, random);
        request.reissues += 1;
        request.in_doubt |= failure.executed == Executed::Maybe;
        self.carry(number, after);
    }

    fn give_up(&mut self, number: u64, error: Error) {
        let trace = self.calls.remove(&number).and_then(|call| call.records.trace_id);
        let error = if trace.is_some() { error.trace_id(trace) } else { error };
        let Some(request) = self.table.remove_request(number) else { return };
        let error = if request.in_doubt { error.executed(Executed::Maybe) } else { error };
        match request.asker {
            Asker::Client => self.out.push(Out::Heard(Heard::Failed { number, error })),
            Asker::Own(Own::Actions) => {
                self.fetched.actions = Some(Err(error));
                self.catalogue_came();
            }
            Asker::Own(_) => {
                self.fetched.schemas = Some(None);
                self.catalogue_came();
            }
        }
    }
}

/// What the service would say of itself.
fn discovered((name, title): &(Arc<str>, Arc<str>)) -> String {
    let keep = KEEP_MS.to_string();
    let versions = format!(r#"["{FIRST_MODERN}"]"#);
    let (name, title) = (quote(name), quote(title));
    let info = object([("name", &*name), ("title", &*title), ("version", r#""1""#)]);
    let meta = object([("io.modelcontextprotocol/serverInfo", info)]);
    object([
        ("resultType", r#""complete""#),
        ("supportedVersions", &*versions),
        ("capabilities", r#"{"tools":{"listChanged":true},"resources":{},"prompts":{}}"#),
        ("ttlMs", &*keep),
        ("cacheScope", r#""private""#),
        ("_meta", &*meta),
    ])
}

fn empty(field: &str) -> String {
    let keep = KEEP_MS.to_string();
    let head = [("resultType", r#""complete""#), (field, "[]")];
    object(head.into_iter().chain([("ttlMs", &*keep), ("cacheScope", r#""private""#)]))
}

fn ticket(number: u64) -> Ticket {
    Ticket { upstream: UpstreamKind::Modern, number }
}
