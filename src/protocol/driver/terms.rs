//! The types between a driver and its caller: what a message is, its conditions, what is to be done, what came.
//!
//! Refuses behaviour: these are plain values.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Failure, Key};
use crate::error::Error;
use crate::protocol::http::{Data, Head, HttpCall};
use crate::protocol::message::{Id, Malformed, Message};
use crate::protocol::request::Repeat;
use crate::protocol::retry::RetryPolicy;

/// The kind of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request under the id that the service sees.
    Request(Id),
    /// A notification, or a response to a request of the service.
    Notice,
    /// The standalone stream of Streamable HTTP (LEG-5).
    Listen,
    /// The stream of the HTTP+SSE transport, whose first event names the endpoint (SSE-2).
    Stream,
}

/// How the exchange relates to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It opens one: the headers of the reply matter (LEG-1).
    Opens(Fallback),
    /// A session id goes along, so a 404 may mean that the session is gone.
    InSession,
    /// There is no session.
    Free,
}

/// Whether another wire may be tried where the endpoint refuses the opening message (SSE-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The wire is not known yet.
    Possible,
    /// It is known, or forced.
    Excluded,
}

/// Where the answer to a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// In the reply to its POST.
    Here,
    /// On the service's own stream (HTTP+SSE).
    OnTheStream,
    /// In the reply, which holds no message: the upstream reads it, whatever its status.
    AsData,
}

/// Whether the stream of a reply may be silent for any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rests {
    /// It may not.
    Never,
    /// It may, once it was opened (`subscriptions/listen`); that its connection is dead is found out by TCP.
    OnceOpened,
}

/// Whether a message may begin a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// It may, as the user configured it.
    Allowed,
    /// It may not: it must be answered at once.
    Forbidden,
}

/// The conditions of one message.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long refusals are waited out.
    pub retry: Arc<RetryPolicy>,
    /// How the exchange relates to a session.
    pub standing: Standing,
    /// Where its answer arrives.
    pub answers: Answers,
    /// Whether it may be sent again although it may have run.
    pub repeat: Repeat,
    /// The longest silence.
    pub silence: Duration,
    /// Whether its stream may rest.
    pub rests: Rests,
    /// Whether a person may be asked to log in for it.
    pub login: Prompt,
    /// The service as it is named in errors.
    pub place: Arc<str>,
}

/// The driver's next step.
#[derive(Debug)]
pub enum Next {
    /// Ask the gate of the key, then call [`super::Driver::admitted`].
    Admit,
    /// Make this exchange and report its head or its failure.
    Exchange(HttpCall),
    /// Do nothing until [`super::Driver::wake`], then call [`super::Driver::tick`].
    Rest,
    /// The credential was rejected: see [`super::Driver::challenge`], then call [`super::Driver::challenged`].
    Challenge,
    /// It is over.
    Over(Outcome),
}

/// The outcome of a message.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The response was handed out, or the notification was accepted.
    Done,
    /// The session is gone, the service says.
    SessionLost(Box<Loss>),
    /// There is no standalone stream.
    NoStream,
    /// The standalone stream needs a credential that is accepted.
    StreamDenied,
    /// The endpoint does not take the opening message; another wire may be spoken there.
    NoEndpoint(Option<Box<Message>>, Box<Failure>),
    /// It failed.
    Failed(Box<Failure>),
}

/// A refusal that says that the session is gone.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The service's own error, if it sent one.
    pub answer: Option<Message>,
    /// Ours, where it sent none.
    pub failure: Failure,
    /// When the message was sent.
    pub sent: Option<Instant>,
    /// How long after the sending it came (LEG-10).
    pub after: Duration,
}

/// A part of a reply.
#[derive(Clone, Debug)]
pub enum Item {
    /// A message of the service, and the status of the reply that held it.
    Message(Message, u16),
    /// The endpoint of the HTTP+SSE transport, as the service wrote it.
    Endpoint(String),
    /// The headers of the reply to the opening message.
    Opening(Head),
    /// A notification was accepted; its reply goes on.
    Accepted,
    /// An event, or a message in one, that cannot be read.
    Malformed(Malformed),
    /// A reply that is no message.
    Data(Data),
    /// An event of such a reply: the text of its `data`.
    Record(Bytes),
}

/// How the body of a reply is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Feed each event to [`super::Driver::event`].
    Events,
    /// Collect it and hand it to [`super::Driver::body`].
    Whole,
}

/// The result of an exchange for the rate limit of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateNews {
    /// The service took it.
    Accepted,
    /// It ended without a word about the limit.
    Released,
    /// It was refused; the service wants this much time.
    Refused(Duration),
    /// It was refused because the service is busy, which wants this much time.
    Busy(Duration),
}

/// The next step after a challenge.
#[derive(Clone, Debug)]
pub enum Again {
    /// The credential has changed, or is gone: the exchange is made again.
    Yes(Key),
    /// The rejection is final.
    No,
    /// No credential was sent, and there is none.
    NoKey,
    /// A login is needed, or has failed.
    LoggedOut(Error),
    /// The credential could not be looked up again.
    Unknown(Error),
}
