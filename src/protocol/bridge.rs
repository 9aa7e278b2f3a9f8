//! Routes between a client and its service: what one side says goes to the other.
//!
//! Refuses IO and waiting: lines, items and outcomes come in, [`Effect`]s go out. One answer leaves for each request
//! that came, whatever happens. Neither room reaches into the other: a request is known to both by its ticket.
//!
//! | client \ service | legacy | modern |
//! |---|---|---|
//! | legacy | `client/legacy` to `upstream/legacy` | part 5 |
//! | modern | part 5 | `client/modern` to `upstream/modern`, the text as it came |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::error::{Advise, Error};
use crate::protocol::Moment;
pub use crate::protocol::client::RETRY_AFTER;
pub use crate::protocol::client::tools::ToolRules;
use crate::protocol::client::{Asked, Client, Said, ToolsPage};
use crate::protocol::driver::{Driver, Fallback, Item};
use crate::protocol::http::HttpCall;
use crate::protocol::message::{Id, Message};
use crate::protocol::request::Promise;
use crate::protocol::retry::RetryPolicy;
use crate::protocol::revision::Era;
use crate::protocol::upstream::legacy::Legacy;
use crate::protocol::upstream::modern::Modern;
use crate::protocol::upstream::{Class, Heard, Out, Outgoing};
pub use crate::protocol::upstream::{Ended, Tag, Ticket};
use crate::protocol::wire::Wire;

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

/// What a conversation is about, and its limits.
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
    /// The era that is forced upon the service, if any.
    pub era: Option<Era>,
    /// The service pushes on a standalone stream; where it does not, none is opened.
    pub pushes: bool,
    /// How long refusals are waited out.
    pub retry: RetryPolicy,
    /// The longest that one request may take, over all its attempts.
    pub max_time: Option<Duration>,
    /// The longest silence on a `tools/call`.
    pub call_silence: Duration,
    /// The longest silence on every other request.
    pub silence: Duration,
    /// What a client may see and call.
    pub tools: ToolRules,
    /// A larger result of a tool is handed out in a file (bytes).
    pub max_result: Option<usize>,
    /// Writes the remedies of errors for this client.
    pub advise: Advise,
    /// JSON of the `clientInfo` with which a session is opened where the client did not.
    pub client_info: String,
}

impl Settings {
    /// Returns the longest silence on a request of this method.
    pub(super) fn silence_of(&self, method: &str) -> Duration {
        if method == "tools/call" { self.call_silence } else { self.silence }
    }

    /// Returns the wire to begin with.
    pub(super) fn first_wire(&self) -> Wire {
        match self.is_remembered_as_sse() || self.transport == Transport::Sse {
            true => Wire::http_sse(self.endpoint.clone()),
            false => Wire::streamable_http(self.endpoint.clone()),
        }
    }

    /// Says whether HTTP+SSE is spoken only because it was last time.
    pub(super) fn is_remembered_as_sse(&self) -> bool {
        self.transport == Transport::Auto && self.remembered == Some(Transport::Sse)
    }

    pub(super) fn fallback(&self) -> Fallback {
        if self.transport == Transport::Auto { Fallback::Possible } else { Fallback::Excluded }
    }
}

/// What a line for the client is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// It answers this request.
    Answer(Id),
    /// It came while this request was under way, on its stream.
    During(Id),
    /// Anything else.
    Anyone,
}

/// Who says it.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The service, in a reply of this status.
    Service {
        /// The HTTP status.
        status: u16,
    },
    /// asistry, because of this error.
    Ours(Box<Error>),
    /// asistry, in the course of the protocol.
    Bridge,
}

/// A line for the client.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What it is about.
    pub about: About,
    /// The line, without its end.
    pub text: Bytes,
    /// Who says it; in-process clients go by this, never by the text.
    pub origin: Origin,
}

impl Delivery {
    /// Makes the answer to a request that failed here.
    pub(super) fn failure(id: &Id, error: Error, advise: &Advise) -> Self {
        let text = Message::failure(id, &error.clone().advised(advise)).text().clone();
        Self { about: About::Answer(id.clone()), text, origin: Origin::Ours(Box::new(error)) }
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Write this line to the client.
    Deliver(Delivery),
    /// The result of this response is too large for the client: keep it in a file, and give the shorter
    /// response back with [`Bridge::spilled`].
    Spill(Message, Spilled),
    /// Run this driver.
    Run(Tag, Box<Driver>),
    /// Give up what is under way.
    Abort(Ticket),
    /// Call [`Bridge::alarm`] after this pause.
    Alarm(Duration),
    /// Make this last call and do not wait long for it.
    Farewell(HttpCall),
    /// Remember that the endpoint speaks this wire.
    Learned(Transport),
    /// Write this into the log.
    Note(String),
}

/// Says where the shorter response belongs that stands for a large one.
#[derive(Clone, Copy, Debug)]
pub struct Spilled {
    pub(super) batch: Option<u64>,
}

/// A client's conversation with a service.
#[derive(Debug)]
pub struct Bridge {
    settings: Arc<Settings>,
    client: Client,
    legacy: Legacy,
    modern: Modern,
    effects: Vec<Effect>,
}

impl Bridge {
    /// Makes a bridge that has said nothing yet.
    pub fn new(settings: Settings, moment: Moment) -> Self {
        let settings = Arc::new(settings);
        Self {
            client: Client::new(settings.clone()),
            legacy: Legacy::new(settings.clone(), moment),
            modern: Modern::new(settings.clone(), moment),
            effects: Vec::new(),
            settings,
        }
    }

    /// Takes what is to be done since the last call, in order.
    pub fn effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Returns how many messages are under way to the service, and the bytes they hold.
    pub fn open(&self) -> (usize, usize) {
        let (legacy, modern) = (self.legacy.open(), self.modern.open());
        (legacy.0 + modern.0, legacy.1 + modern.1)
    }

    /// Says whether a request of the client waits for its answer.
    pub fn owes_an_answer(&self) -> bool {
        self.client.is_owed_an_answer()
    }

    /// Takes one line of the client.
    pub fn from_client(&mut self, line: Bytes, moment: Moment) {
        self.client.line(line);
        for said in self.client.take_said() {
            self.route(said, moment);
        }
        self.settle(moment);
    }

    /// The client sent a line longer than [`super::MAX_MESSAGE`]; its bytes are gone.
    pub fn line_too_long(&mut self, moment: Moment) {
        self.client.line_too_long();
        self.settle(moment);
    }

    /// Takes what came out of a reply to the driver of this tag.
    pub fn item(&mut self, tag: Tag, item: Item, moment: Moment) {
        match tag.ticket.era {
            Era::Legacy => self.legacy.item(tag, item, moment),
            Era::Modern => self.modern.item(tag, item, moment),
        }
        self.settle(moment);
    }

    /// Takes what came of a driver.
    pub fn ended(&mut self, ended: Ended, moment: Moment) {
        match ended.tag.ticket.era {
            Era::Legacy => self.legacy.ended(ended, moment),
            Era::Modern => self.modern.ended(ended, moment),
        }
        self.settle(moment);
    }

    /// The driver of this tag waits this much longer for a rate limit.
    pub fn waiting(&mut self, tag: Tag, remaining: Duration, moment: Moment) {
        match tag.ticket.era {
            Era::Legacy => self.legacy.waits(tag, remaining),
            Era::Modern => self.modern.waits(tag, remaining),
        }
        self.settle(moment);
    }

    /// Takes the response that stands for one that was too large.
    pub fn spilled(&mut self, to: Spilled, text: Bytes, moment: Moment) {
        self.client.spilled(text, to.batch);
        self.settle(moment);
    }

    /// A pause asked for by [`Effect::Alarm`] is over.
    pub fn alarm(&mut self, moment: Moment) {
        self.legacy.alarm(moment);
        self.settle(moment);
    }

    /// The end: answers what is unanswered, cancels it at the service, and leaves the session.
    pub fn close(&mut self, moment: Moment) {
        self.legacy.close(moment);
        self.modern.close(moment);
        self.settle(moment);
    }

    fn route(&mut self, said: Said, moment: Moment) {
        match said {
            Said::Opens(asked) => {
                let ticket = self.legacy.opens(self.outgoing(&asked, Class::A, moment), moment);
                self.client.opened(ticket, asked);
            }
            Said::Confirms => self.legacy.confirms(moment),
            Said::Request(asked, class) => {
                let ticket = self.legacy.request(self.outgoing(&asked, class, moment), moment);
                self.client.opened(ticket, asked);
            }
            Said::Modern(asked, class) => {
                let ticket = self.modern.request(self.outgoing(&asked, class, moment), moment);
                self.client.opened(ticket, asked);
            }
            Said::Held(asked) => {
                let ticket = self.legacy.hold(self.outgoing(&asked, Class::C, moment), moment);
                self.client.held(ticket, asked);
                self.legacy.list_tools(None, moment);
            }
            Said::Notice(message) => self.legacy.notice(message, moment),
            Said::Cancels(ticket, message) => {
                let cancelled = match ticket.era {
                    Era::Legacy => self.legacy.cancel(ticket, &message, moment),
                    Era::Modern => self.modern.cancel(ticket),
                };
                if cancelled {
                    self.client.cancelled(ticket);
                }
            }
            Said::Answers(message, generation) => self.legacy.answer(message, generation, moment),
        }
    }

    fn outgoing(&self, asked: &Asked, class: Class, moment: Moment) -> Outgoing {
        let promise = Promise::new(moment.now, self.settings.max_time);
        Outgoing { message: asked.message.clone(), class, promise }
    }

    /// Routes what the upstreams have heard until nothing is left.
    fn settle(&mut self, moment: Moment) {
        loop {
            let mut out = self.legacy.take();
            out.append(&mut self.modern.take());
            if out.is_empty() {
                return self.client.take_effects(&mut self.effects);
            }
            for out in out {
                match out {
                    Out::Do(effect) => self.effects.push(effect),
                    Out::Heard(heard) => {
                        self.heard(heard, moment);
                        self.client.take_effects(&mut self.effects);
                    }
                }
            }
        }
    }

    fn heard(&mut self, heard: Heard, moment: Moment) {
        match heard {
            Heard::Answer { ticket, message, status } => self.client.answered(ticket, &message, status),
            Heard::Failed { ticket, error } => self.client.failed(ticket, error),
            Heard::Opened(revision) => self.client.agreed_on(revision),
            Heard::Asked { during, message, generation } => {
                self.client.asks(&message, during, generation);
            }
            Heard::Told { during, message, generation } => self.client.told(&message, during, generation),
            Heard::Waits { ticket, remaining } => self.client.waits(ticket, remaining),
            Heard::Tools(page) => match self.client.tools_page(page.as_ref()) {
                ToolsPage::Next(cursor) => self.legacy.list_tools(Some(&cursor), moment),
                ToolsPage::Known(known) => self.tools_are_known(known.err().as_ref()),
            },
        }
    }

    fn tools_are_known(&mut self, failed: Option<&Error>) {
        for (ticket, decision) in self.client.decide_held(failed) {
            match decision {
                Ok((message, class)) => self.legacy.release(ticket, message, class),
                Err(error) => self.legacy.refuse(ticket, &error),
            }
        }
    }
}
