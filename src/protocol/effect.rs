//! The bridge's effects, and the tags by which reports refer to them.
//!
//! Refuses to perform them: `relay` does.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Executed, Kind, RemedyWriter};
use crate::protocol::Moment;
use crate::protocol::driver::{Cause, Driver, Failure, Outcome};
use crate::protocol::http::HttpCall;
use crate::protocol::message::{Id, Message};
use crate::protocol::request::Promise;
use crate::protocol::revision::Era;
use crate::protocol::secrets::KeyWork;
use crate::protocol::wire::WireKind;

/// An effect for `relay` to perform.
#[derive(Debug)]
pub enum Effect {
    /// Write this line to the client.
    Deliver(Delivery),
    /// The result of this response is too large for the client: keep it in a file, and give the shorter
    /// response back with [`super::bridge::Bridge::spilled`].
    Spill(Message, Spilled),
    /// Run this driver.
    Run(Tag, Box<Driver>),
    /// Give up what is under way.
    Abort(Ticket),
    /// Call [`super::bridge::Bridge::alarm`] after this pause.
    Alarm(Duration),
    /// Make this last call and do not wait long for it.
    Farewell(HttpCall),
    /// Remember this of the endpoint.
    Learned(Lesson),
    /// Do this with the key store for the request of this number, and give what came of it back with
    /// [`super::bridge::Bridge::keys_done`].
    Keys(u64, KeyWork),
    /// Log in for the call of this number, and give what came of it back with
    /// [`super::bridge::Bridge::signed_in`].
    SignIn(u64),
    /// Write this into the log.
    Note(String),
}

/// What was learned about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It speaks this wire.
    Wire(WireKind),
    /// It opens no sessions.
    NoSessions,
    /// It opens sessions after all.
    Sessions,
}

/// Says which response is being shortened.
#[derive(Clone, Debug)]
pub struct Spilled {
    pub(super) about: About,
    pub(super) origin: Origin,
    pub(super) batch: Option<u64>,
}

/// One of the bridge's conversations with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamKind {
    /// With a session (`upstream/legacy`).
    Legacy,
    /// Without one (`upstream/modern`).
    Modern,
    /// With the session of this name, for a client that has none (`upstream/sessions`).
    Session(u64),
}

/// Names what is under way to a service: a request of the client, or something of the upstream's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Which upstream has it.
    pub upstream: UpstreamKind,
    /// Even: the number that the client's side gave to a request. Odd: the upstream's own.
    pub number: u64,
}

/// Names one driver of something under way, so that its reports find back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The message under way.
    pub ticket: Ticket,
    /// Which driver of it.
    pub attempt: u32,
}

/// The end of a driver.
#[derive(Debug)]
pub struct Ended {
    /// Which driver.
    pub tag: Tag,
    /// Its outcome.
    pub outcome: Outcome,
    /// The rest of the promise.
    pub promise: Promise,
}

impl Ended {
    /// Reports that a driver's task has crashed.
    pub fn crashed(tag: Tag, moment: Moment) -> Self {
        let error = Error::new(Kind::Bug, "asistry failed inside while it waited for the answer")
            .hint("report this to the makers of asistry");
        let failure = Failure { error, executed: Executed::Maybe, cause: Cause::Permanent };
        let promise = Promise::new(moment.now, None);
        Self { tag, outcome: Outcome::Failed(Box::new(failure)), promise }
    }
}

/// The subject of a line for the client.
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
        /// The era in which it was asked.
        era: Era,
    },
    /// asistry, because of this error.
    Ours(Box<Error>),
    /// asistry, in the course of the protocol.
    Bridge,
}

/// A line for the client.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its subject.
    pub about: About,
    /// The line, without its end.
    pub text: Bytes,
    /// Who says it; in-process clients go by this, never by the text.
    pub origin: Origin,
}

impl Delivery {
    /// Makes the answer to a request that failed here.
    pub(super) fn failure(id: &Id, error: Error, advise: &RemedyWriter) -> Self {
        let text = Message::failure(id, &error.clone().with_hint_text(advise)).text().clone();
        Self { about: About::Answer(id.clone()), text, origin: Origin::Ours(Box::new(error)) }
    }
}
