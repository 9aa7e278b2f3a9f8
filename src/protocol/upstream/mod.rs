//! The conversation with one service: `legacy` opens a session, `modern` needs none, `sessions` opens them for clients
//! that know none.
//!
//! Takes messages from `bridge` and reports of their drivers, and says what is to be done ([`Out::Do`]) and what the
//! service said ([`Heard`]). Refuses to know the client: a request is known by its number.

pub mod legacy;
pub mod local;
pub mod modern;
pub mod probe;
pub mod sessions;
mod under_way;

use std::time::Duration;

use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::Moment;
use crate::protocol::driver::Item;
use crate::protocol::effect::{Effect, Ended, Tag};
use crate::protocol::message::{Id, Malformed, Message};
use crate::protocol::request::{Class, Outgoing, Wait};
use crate::protocol::retry::{Why, seconds};
use crate::protocol::revision::Revision;
use crate::protocol::subscriptions;
use probe::Probed;

/// A conversation with a service.
pub(super) trait Upstream {
    /// Takes a request of the client. One that leaves after the list of tools asks for that list too.
    fn request(&mut self, outgoing: Outgoing, moment: Moment);

    /// Sends a request that waited for the list of tools, with the message that it became.
    fn release(&mut self, number: u64, message: Message, class: Class);

    /// Answers a request that waited for the list of tools with an error.
    fn refuse(&mut self, number: u64, error: &Error);

    /// Asks for a page of the list of tools, unless that is under way; the first one without a cursor (JSON text).
    fn list_tools(&mut self, cursor: Option<&str>, moment: Moment);

    /// The client cancels a request, and `notification` names it; false where that is not under way here, or cannot be
    /// cancelled.
    fn cancel(&mut self, number: u64, notification: &Message, moment: Moment) -> bool;

    /// Takes what came out of a reply to the driver of this tag.
    fn item(&mut self, tag: Tag, item: Item, moment: Moment);

    /// Takes what came of a driver.
    fn ended(&mut self, ended: Ended, moment: Moment);

    /// A driver waits for a rate limit.
    fn waits(&mut self, tag: Tag, wait: Wait, moment: Moment);

    /// A pause asked for by [`Effect::Alarm`] is over.
    fn alarm(&mut self, moment: Moment);

    /// The end: gives up what is under way, cancels it at the service, and leaves the session.
    fn close(&mut self, moment: Moment);

    /// Moves what is to be done and what was heard since the last call, in order, to the end of `out`.
    fn take(&mut self, out: &mut Vec<Out>);

    /// Returns how many messages are under way, and the bytes they hold.
    fn open(&self) -> (usize, usize);
}

/// An upstream's output.
#[derive(Debug)]
pub(super) enum Out {
    /// This is to be done.
    Do(Effect),
    /// The service said this.
    Heard(Heard),
}

/// A message of the service, or the end of a request without one.
#[derive(Debug)]
pub(super) enum Heard {
    /// The response to a request of the client, under the service's id, and the status that carried it.
    Answer { number: u64, message: Message, status: u16 },
    /// No response comes.
    Failed { number: u64, error: Error },
    /// asistry answers a request of the client in the place of the service.
    Ours { number: u64, message: Message },
    /// A session was opened in this revision, by this answer to `initialize`.
    Opened { revision: Option<&'static Revision>, answer: Message },
    /// The list of tools has changed, and no open subscription covers it.
    ToolsChanged,
    /// The service refuses sessions as one of the stateless era does; these requests have not been sent.
    NoSessions(Vec<Outgoing>),
    /// The service acknowledges what a client with a handshake may hear.
    Acknowledged(Acknowledged),
    /// It does not; JSON text of the filter that was asked for.
    NotAcknowledged { asked: String, error: Error },
    /// The service refuses the opening message as one of the stateless era may do that misses the envelope.
    Unsure,
    /// A request of the service, on the stream of the client's request of this number.
    Asked { during: Option<u64>, message: Message, generation: u64 },
    /// A notification of the service; without a generation where there are no sessions.
    Told { during: Option<u64>, message: Message, generation: Option<u64> },
    /// The task of a request goes on; JSON text of what the service says of it.
    Lives { number: u64, said: Option<String> },
    /// A request waits this much longer for a rate limit, or for a busy service.
    Waits { number: u64, remaining: Duration, why: Why },
    /// What the answer to the `server/discover` of this number tells. Where the service does not speak the stateless era,
    /// nothing else is said of that request.
    Probed { number: u64, came: Probed },
    /// A page of the list of tools that was asked for on our own account.
    Tools(Result<Message, Error>),
}

/// An acknowledgement of the service.
#[derive(Debug)]
pub(in crate::protocol) struct Acknowledged {
    /// JSON text of the filter that was asked for.
    pub asked: String,
    /// JSON text of the filter that is honoured.
    pub honoured: String,
    /// Something may have been missed since the last one.
    pub after: Gap,
}

/// Whether a stream was broken before it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Gap {
    /// It was not.
    None,
    /// It was, and nothing was heard meanwhile.
    Some,
}

/// Says that a request waited until its `--max-time` had passed, and was not sent.
pub(super) fn overdue(place: &str, limit: Duration) -> Error {
    Error::new(Kind::Timeout, format!("no answer from {place} within {}", seconds(limit)))
        .remedy(Remedy::AllowTime(limit))
        .executed(Executed::No)
}

/// Ends the subscription that the client knows by this id.
fn end_of_listen(number: u64, id: &Id) -> [Out; 2] {
    let (message, word) = subscriptions::end(id);
    let told = Heard::Told { during: None, message: word, generation: None };
    [Out::Heard(Heard::Ours { number, message }), Out::Heard(told)]
}

/// Says that an event, or a message in one, cannot be read.
fn dropped(malformed: &Malformed) -> String {
    match malformed {
        Malformed::Json(_) => "dropped an event of the service: it is no JSON".to_owned(),
        Malformed::Shape(_, why) => format!("dropped a message of the service: {why}"),
    }
}
