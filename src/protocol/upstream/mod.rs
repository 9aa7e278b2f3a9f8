//! The conversation with one service: `legacy` opens a session, `modern` needs none.
//!
//! Takes messages from `bridge` and reports of their drivers, and says what is to be done ([`Out::Do`]) and what the
//! service said ([`Heard`]). Refuses to know the client: a request is known by its [`Ticket`].

pub mod legacy;
pub mod modern;
mod under_way;

use std::time::Duration;

pub use under_way::Class;

use crate::error::{Error, Kind};
use crate::protocol::Moment;
use crate::protocol::bridge::Effect;
use crate::protocol::driver::{Failure, Outcome, Processed};
use crate::protocol::message::Message;
use crate::protocol::request::Promise;
use crate::protocol::revision::{Era, Revision};

/// Names what is under way to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Which upstream has it.
    pub era: Era,
    /// Its number there.
    pub number: u64,
}

/// Names one driver of something under way, so that its reports find back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// What is under way.
    pub ticket: Ticket,
    /// Which driver of it.
    pub attempt: u32,
}

/// A request of the client on its way to an upstream.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// What may be done if it may have run.
    pub class: Class,
    /// What is promised.
    pub promise: Promise,
}

/// What came of a driver, and what it has left of the promise.
#[derive(Debug)]
pub struct Ended {
    /// Which driver.
    pub tag: Tag,
    /// What came of it.
    pub outcome: Outcome,
    /// What is left of the promise.
    pub promise: Promise,
}

impl Ended {
    /// Reports that a driver's task has crashed.
    pub fn crashed(tag: Tag, moment: Moment) -> Self {
        let error = Error::new(Kind::Bug, "asistry failed inside while it waited for the answer")
            .hint("report this to the makers of asistry");
        let failure = Failure { error, processed: Processed::Maybe, transient: false };
        let promise = Promise::new(moment.now, None);
        Self { tag, outcome: Outcome::Failed(Box::new(failure)), promise }
    }
}

/// What an upstream says.
#[derive(Debug)]
pub(super) enum Out {
    /// This is to be done.
    Do(Effect),
    /// The service said this.
    Heard(Heard),
}

/// What the service said, or what came of a request without its words.
#[derive(Debug)]
pub(super) enum Heard {
    /// The response to a request of the client, under the service's id, and the status that carried it.
    Answer { ticket: Ticket, message: Message, status: u16 },
    /// No response comes.
    Failed { ticket: Ticket, error: Error },
    /// A session was opened in this revision.
    Opened(Option<&'static Revision>),
    /// A request of the service.
    Asked { during: Option<Ticket>, message: Message, generation: u64 },
    /// A notification of the service.
    Told { during: Option<Ticket>, message: Message, generation: u64 },
    /// A request waits this much longer for a rate limit.
    Waits { ticket: Ticket, remaining: Duration },
    /// A page of the list of tools that was asked for on our own account.
    Tools(Result<Message, Error>),
}
