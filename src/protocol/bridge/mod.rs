//! The pure translation between a client and a service: every decision about messages is made here.
//!
//! Refuses IO and waiting: lines, items and outcomes come in, [`Effect`]s go out. One answer leaves for
//! each request that came, whatever happens; what may have run is not sent again.

mod client;
mod foreign;
mod requests;
mod service;
mod session;
mod streams;
mod tools;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::error::{Advise, Error, Kind, Remedy};
use crate::protocol::dialect::Dialect;
use crate::protocol::http::HttpCall;
use crate::protocol::message::{self, Id, Message};
use crate::protocol::passage::{Passage, Purpose, Terms};
use crate::protocol::retry::RetryPolicy;

use requests::{Class, Errand, Errands, MOST_REISSUES, Notice, Origin, Own, Request};
pub use service::RETRY_AFTER;
use session::Session;
pub use tools::ToolRules;
use tools::Tools;

/// Which wire to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP, and HTTP+SSE where the service refuses the opening message (SSE-1).
    #[default]
    Auto,
    /// Streamable HTTP only.
    Http,
    /// HTTP+SSE only.
    Sse,
}

/// What a bridge is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service's endpoint.
    pub endpoint: Arc<Url>,
    /// The service as it is named in errors.
    pub place: Arc<str>,
    /// Which wire to speak.
    pub transport: Transport,
    /// The wire that this endpoint was last seen to speak; only [`Transport::Auto`] asks.
    pub remembered: Option<Transport>,
    /// The service pushes on a standalone stream; where it does not, none is opened.
    pub pushes: bool,
    /// How long refusals are waited out.
    pub retry: RetryPolicy,
    /// The longest silence on a `tools/call`.
    pub call_silence: Duration,
    /// The longest silence on every other request.
    pub silence: Duration,
    /// What a client may see and call.
    pub tools: ToolRules,
    /// A larger result of a tool is handed out in a file (bytes).
    pub max_result: Option<usize>,
    /// JSON of the `clientInfo` with which the bridge opens a session where the client did not.
    pub client_info: String,
    /// Writes the remedies of errors for this client.
    pub advise: Advise,
}

/// Names a passage, so that its reports find back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// What is under way.
    pub errand: u64,
    /// Which passage of it.
    pub attempt: u32,
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Write this line to the client.
    Deliver(Bytes, message::Origin),
    /// The result of this response is too large for the client: keep it in a file, and give the shorter
    /// response back with [`Bridge::spilled`].
    Spill(Message, Spilled),
    /// Carry this passage out, after a pause.
    Carry(Tag, Box<Passage>, Duration),
    /// Give up what is under way for this errand.
    Abort(u64),
    /// Call [`Bridge::alarm`] after this pause.
    Alarm(Duration),
    /// Make this last call and do not wait long for it.
    Farewell(HttpCall),
    /// Remember that the endpoint speaks this wire.
    Learned(Transport),
    /// Tell whoever reads the log.
    Note(String),
}

/// Says where the shorter response belongs that stands for a large one.
#[derive(Clone, Copy, Debug)]
pub struct Spilled {
    batch: Option<u64>,
}

/// So many questions of the service may wait for the client, and so many notices for the service, before
/// further questions are dropped: a service that floods us does not fill the memory.
const MOST_QUESTIONS: usize = 4_096;

/// A client's conversation with a service.
#[derive(Debug)]
pub struct Bridge {
    settings: Settings,
    dialect: Dialect,
    session: Session,
    errands: Errands,
    batches: HashMap<u64, Batch>,
    batch_count: u64,
    asked: HashMap<Id, Asked>,
    tools: Tools,
    awaiting_tools: Vec<u64>,
    effects: Vec<Effect>,
}

/// A batch of the client that is answered as one array.
#[derive(Debug, Default)]
struct Batch {
    missing: usize,
    answers: Vec<Bytes>,
}

/// A request of the service that waits for the client's answer.
#[derive(Debug)]
struct Asked {
    by_service: Id,
    generation: u64,
}

impl Bridge {
    /// Makes a bridge that has said nothing yet.
    pub fn new(settings: Settings) -> Self {
        let from_memory =
            settings.transport == Transport::Auto && settings.remembered == Some(Transport::Sse);
        let dialect = if from_memory || settings.transport == Transport::Sse {
            Dialect::http_sse(settings.endpoint.clone())
        } else {
            Dialect::streamable_http(settings.endpoint.clone())
        };
        let mut session = Session::new(settings.transport == Transport::Auto);
        session.from_memory = from_memory;
        Self {
            session,
            tools: Tools::new(settings.tools.clone()),
            settings,
            dialect,
            errands: Errands::default(),
            batches: HashMap::new(),
            batch_count: 0,
            asked: HashMap::new(),
            awaiting_tools: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Takes what is to be done since the last call, in order.
    pub fn effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Returns how many messages are under way to the service, and the bytes they hold.
    pub fn open(&self) -> (usize, usize) {
        self.errands.open()
    }

    /// Says whether a request of the client waits for its answer.
    pub fn owes_an_answer(&self) -> bool {
        self.errands.owe_an_answer()
    }

    /// A pause asked for by [`Effect::Alarm`] is over.
    pub fn alarm(&mut self) {
        self.listen();
    }

    /// Takes the response that stands for one that was too large.
    pub fn spilled(&mut self, to: Spilled, text: Bytes) {
        self.answer(text, to.batch, message::Origin::Service { status: None });
    }

    /// The end: answers what is unanswered, cancels it at the service, and leaves the session.
    pub fn close(&mut self) {
        for number in self.errands.requests() {
            let Some(Errand::Request(request)) = self.errands.remove(number) else { continue };
            if request.sent && request.message.method() != "initialize" {
                let params =
                    format!(r#"{{"requestId":{},"reason":"the client is gone"}}"#, request.upstream.json());
                self.notify(Message::notification("notifications/cancelled", Some(&params)));
            }
            self.effects.push(Effect::Abort(number));
            let error = Error::new(Kind::Interrupted, "asistry was told to end before the answer came")
                .remedy(Remedy::AllowDrain)
                .may_have_executed(request.sent);
            self.answer_error(&request, &error);
        }
        self.effects.extend(self.dialect.farewell().map(Effect::Farewell));
        self.leave_session();
    }

    fn note(&mut self, note: impl Into<String>) {
        self.effects.push(Effect::Note(note.into()));
    }

    /// Puts a passage of this errand on its way.
    fn carry(&mut self, number: u64, after: Duration) {
        let generation = self.session.generation;
        let (purpose, body, silence, attempt) = match self.errands.errand(number) {
            Some(Errand::Request(request)) => {
                request.attempt += 1;
                request.sent = true;
                request.generation = generation;
                let method = request.message.method();
                let silence =
                    if method == "tools/call" { self.settings.call_silence } else { self.settings.silence };
                let body = request.message.text_with_id(&request.upstream);
                (Purpose::Request(request.upstream.clone()), body, silence, request.attempt)
            }
            Some(Errand::Notice(notice)) => {
                notice.attempt += 1;
                notice.generation = generation;
                (Purpose::Notice, notice.message.text().clone(), self.settings.silence, notice.attempt)
            }
            Some(Errand::Listen) => (Purpose::Listen, Bytes::new(), self.settings.silence, 0),
            Some(Errand::Stream) => (Purpose::Stream, Bytes::new(), self.settings.silence, 0),
            None => return,
        };
        let opening = self.session.opening == Some(number);
        let call = match purpose {
            Purpose::Listen | Purpose::Stream => self.dialect.listen(),
            _ => self.dialect.draw(body, opening),
        };
        let terms = Terms {
            retry: self.settings.retry,
            session: self.dialect.has_session() && !opening,
            answers_elsewhere: self.dialect.answers_elsewhere() && matches!(purpose, Purpose::Request(_)),
            may_fall_back: opening && self.session.may_fall_back,
            opens_session: opening,
            silence,
            place: self.settings.place.clone(),
        };
        let tag = Tag { errand: number, attempt };
        self.effects.push(Effect::Carry(tag, Box::new(Passage::new(call, purpose, terms)), after));
    }

    /// Sends a notification or a response to the service.
    fn notify(&mut self, message: Message) {
        let number = self.errands.insert(Errand::Notice(Notice::new(message)));
        self.carry(number, Duration::ZERO);
    }

    /// Asks the service something on the bridge's own account.
    fn ask(&mut self, own: Own, method: &str, params: Option<&str>) -> u64 {
        let id = self.errands.own_id();
        let message = Message::request(&id, method, params);
        self.errands.insert(Errand::Request(Request::new(message, id, Origin::Own(own))))
    }

    /// Answers a request of the client with an error of ours.
    fn answer_error(&mut self, request: &Request, error: &Error) {
        if let (Origin::Client { batch }, Some(id)) = (&request.origin, request.message.id()) {
            let error = error.clone().advised(&self.settings.advise);
            let error = if request.in_doubt { error.may_have_executed(true) } else { error };
            let text = Message::failure(id, &error).text().clone();
            self.answer(text, *batch, message::Origin::Ours(Box::new(error)));
        }
    }

    /// Hands an answer to the client, or to the batch it belongs to.
    fn answer(&mut self, text: Bytes, batch: Option<u64>, origin: message::Origin) {
        let Some(number) = batch else {
            self.effects.push(Effect::Deliver(text, origin));
            return;
        };
        if let Some(batch) = self.batches.get_mut(&number) {
            // A copy: an answer that is kept here must not hold up the others, for which it waits itself.
            batch.answers.push(Bytes::copy_from_slice(&text));
            self.settle(number);
        }
    }

    /// One member of a batch is done; delivers the array when it was the last.
    fn settle(&mut self, number: u64) {
        let Some(batch) = self.batches.get_mut(&number) else { return };
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let answers = self.batches.remove(&number).map(|batch| batch.answers).unwrap_or_default();
        if !answers.is_empty() {
            let mut array = Vec::with_capacity(answers.iter().map(|text| text.len() + 1).sum::<usize>() + 1);
            for text in &answers {
                array.push(if array.is_empty() { b'[' } else { b',' });
                array.extend_from_slice(text);
            }
            array.push(b']');
            // Only clients outside the process send batches, and they get bytes.
            self.effects.push(Effect::Deliver(Bytes::from(array), message::Origin::Service { status: None }));
        }
    }

    /// Says whether a request that may have run may be sent again on our own account (section 6.3).
    fn may_reissue(&mut self, number: u64) -> bool {
        let Some(request) = self.errands.request(number) else { return false };
        match requests::class_of(request.message.method()) {
            Class::A => request.reissues < MOST_REISSUES,
            Class::B => request.reissues == 0 && self.tools.is_harmless(&request.message),
            Class::C => false,
        }
    }
}
