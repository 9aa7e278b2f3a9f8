//! What is under way to the service, and how each kind of message may be treated when it fails.
//!
//! Refuses to send: it keeps the table and knows the classes of section 6.3.

use std::collections::HashMap;
use std::time::Duration;

use crate::protocol::message::{Id, Message};
use crate::protocol::retry;

/// How the ids of our own requests begin.
const OWN_ID: &str = "asistry-";

/// Who wants the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The client, perhaps in a batch.
    Client { batch: Option<u64> },
    /// The bridge itself.
    Own(Own),
}

/// What the bridge asks on its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Initialize,
    Tools,
    /// Whether the session still stands.
    Ping,
    /// `logging/setLevel` and subscriptions after a session was opened anew.
    Restore,
}

/// Something under way.
#[derive(Debug)]
pub(super) enum Errand {
    Request(Request),
    Notice(Notice),
    /// The standalone stream (LEG-5).
    Listen,
    /// The stream of HTTP+SSE.
    Stream,
}

#[derive(Debug)]
pub(super) struct Request {
    pub message: Message,
    /// The id that the service sees.
    pub upstream: Id,
    pub origin: Origin,
    /// Counts passages, so that reports of an abandoned one are told apart.
    pub attempt: u32,
    pub reissues: u32,
    /// The session it was last sent in.
    pub generation: u64,
    pub sent: bool,
    /// An earlier attempt may have run, whatever becomes of the next one.
    pub in_doubt: bool,
    pub replayed: bool,
    pub heartbeats: u32,
}

#[derive(Debug)]
pub(super) struct Notice {
    pub message: Message,
    pub confirms_session: bool,
    pub replayed: bool,
    pub attempt: u32,
    /// The session it was last sent in.
    pub generation: u64,
}

impl Notice {
    pub fn new(message: Message) -> Self {
        Self { message, confirms_session: false, replayed: false, attempt: 0, generation: 0 }
    }

    /// `notifications/initialized`.
    pub fn confirmation(message: Message) -> Self {
        Self { confirms_session: true, ..Self::new(message) }
    }
}

impl Request {
    pub fn new(message: Message, upstream: Id, origin: Origin) -> Self {
        Self {
            message,
            upstream,
            origin,
            attempt: 0,
            reissues: 0,
            generation: 0,
            sent: false,
            in_doubt: false,
            replayed: false,
            heartbeats: 0,
        }
    }

    pub fn is_own(&self, own: Own) -> bool {
        self.origin == Origin::Own(own)
    }
}

/// The table of all that is under way.
#[derive(Debug, Default)]
pub(super) struct Errands {
    all: HashMap<u64, Errand>,
    by_client_id: HashMap<Id, u64>,
    count: u64,
    own_ids: u64,
    notices: usize,
    held: usize,
}

impl Errands {
    pub fn insert(&mut self, errand: Errand) -> u64 {
        self.count += 1;
        match &errand {
            Errand::Request(Request { message, origin: Origin::Client { .. }, .. }) => {
                self.held += message.text().len();
                if let Some(id) = message.id() {
                    self.by_client_id.insert(id.clone(), self.count);
                }
            }
            Errand::Notice(Notice { message, .. }) => {
                self.held += message.text().len();
                self.notices += 1;
            }
            _ => {}
        }
        self.all.insert(self.count, errand);
        self.count
    }

    pub fn errand(&mut self, number: u64) -> Option<&mut Errand> {
        self.all.get_mut(&number)
    }

    pub fn request(&mut self, number: u64) -> Option<&mut Request> {
        match self.all.get_mut(&number) {
            Some(Errand::Request(request)) => Some(request),
            _ => None,
        }
    }

    pub fn remove(&mut self, number: u64) -> Option<Errand> {
        let errand = self.all.remove(&number)?;
        match &errand {
            Errand::Request(Request { message, origin: Origin::Client { .. }, .. }) => {
                self.held -= message.text().len();
                if let Some(id) = message.id() {
                    self.by_client_id.remove(id);
                }
            }
            Errand::Notice(Notice { message, .. }) => {
                self.held -= message.text().len();
                self.notices -= 1;
            }
            _ => {}
        }
        Some(errand)
    }

    pub fn by_client_id(&self, id: &Id) -> Option<u64> {
        self.by_client_id.get(id).copied()
    }

    /// Finds a request by the id that the service sees: its own passage first, then all the others.
    pub fn by_upstream_id(&mut self, id: &Id, likely: u64) -> Option<u64> {
        if self.request(likely).is_some_and(|request| &request.upstream == id) {
            return Some(likely);
        }
        let is_it = |errand: &Errand| matches!(errand, Errand::Request(r) if &r.upstream == id && r.sent);
        self.all.iter().find(|(_, errand)| is_it(errand)).map(|(number, _)| *number)
    }

    /// Returns how many requests of the client and notices are under way, and the bytes they hold.
    pub fn open(&self) -> (usize, usize) {
        (self.by_client_id.len() + self.notices, self.held)
    }

    /// Returns how many notifications and responses are under way to the service.
    pub fn notices(&self) -> usize {
        self.notices
    }

    /// Says whether a request of the client waits for its answer.
    pub fn owe_an_answer(&self) -> bool {
        !self.by_client_id.is_empty()
    }

    /// Returns the numbers of all requests, oldest first.
    pub fn requests(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.all.iter().filter(|(_, e)| matches!(e, Errand::Request(_))).map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Makes an id for the service that no request under way bears.
    pub fn own_id(&mut self) -> Id {
        loop {
            self.own_ids += 1;
            let id = Id::Text(format!("{OWN_ID}{}", self.own_ids).into());
            if !self.by_client_id.contains_key(&id) && !self.is_taken(&id) {
                return id;
            }
        }
    }

    /// Says whether a request under way goes by this id at the service; only ids like our own can be.
    pub fn is_taken(&self, id: &Id) -> bool {
        let ours = matches!(id, Id::Text(text) if text.starts_with(OWN_ID));
        let taken = |errand: &Errand| matches!(errand, Errand::Request(r) if r.upstream == *id);
        ours && self.all.values().any(taken)
    }
}

/// What may be done about a message that may have run (section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Asks only: issued anew by itself.
    A,
    /// A tool call; issued anew only if the tool says that this is harmless.
    B,
    /// Never issued anew.
    C,
}

pub(super) fn class_of(method: &str) -> Class {
    match method {
        "initialize"
        | "server/discover"
        | "resources/read"
        | "prompts/get"
        | "completion/complete"
        | "ping"
        | "tasks/get"
        | "tasks/cancel"
        | "subscriptions/listen"
        | "logging/setLevel"
        | "resources/subscribe"
        | "resources/unsubscribe" => Class::A,
        "tools/call" => Class::B,
        _ if method.ends_with("/list") && !method.starts_with("notifications/") => Class::A,
        _ => Class::C,
    }
}

/// How often a request is issued anew on our own account.
pub(super) const MOST_REISSUES: u32 = 2;

/// 0.25 s, 1 s, each with jitter.
pub(super) fn reissue_after(reissues: u32, die: f64) -> Duration {
    let step = retry::backoff(Duration::from_millis(250), reissues * 2, Duration::from_secs(1));
    step.mul_f64(0.75 + die / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_counts_as_long_as_it_is_under_way() {
        let mut errands = Errands::default();
        let message = Message::notification("notifications/x", None);
        let length = message.text().len();
        let number = errands.insert(Errand::Notice(Notice::new(message)));
        assert_eq!((errands.open(), errands.owe_an_answer()), ((1, length), false));
        errands.remove(number);
        assert_eq!(errands.open(), (0, 0));
    }

    #[test]
    fn only_what_asks_is_issued_anew_by_itself() {
        assert_eq!(class_of("tools/list"), Class::A);
        assert_eq!(class_of("resources/templates/list"), Class::A);
        assert_eq!(class_of("tools/call"), Class::B);
        assert_eq!(class_of("tasks/update"), Class::C);
        assert_eq!(class_of("x/custom"), Class::C);
    }
}
