//! The table of what is under way to a service.
//!
//! Refuses to send.

use std::collections::HashSet;
use std::time::Duration;

use super::Heard;
use crate::error::Executed;
use crate::protocol::message::{Id, Message};
use crate::protocol::request::{Class, Outgoing, Promise, Wait};
use crate::protocol::retry;
use crate::protocol::{FastMap, Instant};

/// Prefix of the ids that asistry makes.
const OWN_ID: &str = "asistry-";
/// Maximum ids kept because a late answer may bear them; past it every request gets an id that asistry makes.
const MOST_SPENT: usize = 4_096;

/// Who wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The client.
    Client,
    /// The upstream itself.
    Own(Own),
}

/// Requests that asistry makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// `initialize`, where the client's own is not there to be sent.
    Initialize,
    /// `tools/list`, for the rules about tools.
    Tools,
    /// `tools/list`, for the headers of calls (section 4).
    Headers,
    /// `subscriptions/listen`, for what a client with a handshake may hear.
    Listen,
    /// `server/discover`, for the era of the service.
    Probe,
    /// The catalogue of a service without MCP; its schemas.
    Actions,
    Schemas,
    /// Whether the session still exists.
    Ping,
    /// `logging/setLevel` and subscriptions after a session was opened anew.
    Restore,
}

/// Something under way.
#[derive(Debug)]
pub enum Entry {
    /// A request.
    Request(Request),
    /// A notification, or an answer to a request of the service.
    Notice(Notice),
    /// The standalone stream (LEG-5).
    Listen,
    /// The stream of HTTP+SSE.
    Stream,
}

/// Whether a request has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It waits for the session, or for the list of tools.
    Waiting,
    /// A driver has it.
    Sent,
}

/// A request, with everything that is promised about it.
#[derive(Debug)]
pub struct Request {
    /// The message; its own id is the client's, or the one that we gave it.
    pub message: Message,
    /// The id that the service sees.
    pub upstream: Id,
    /// Who wants the answer.
    pub asker: Asker,
    /// What to do if it may have run.
    pub class: Class,
    /// Its limits over all attempts.
    pub promise: Promise,
    /// Number of the current driver; reports of earlier ones are ignored.
    pub attempt: u32,
    /// How often it was issued anew.
    pub reissues: u32,
    /// The session it was last sent in.
    pub generation: u64,
    /// Whether it has left.
    pub sending: Sending,
    /// An earlier attempt may have run, whatever becomes of the next one.
    pub in_doubt: bool,
    /// It was sent again because its session was gone or its headers were refused (LEG-10, MOD-10: once); a
    /// subscription was acknowledged.
    pub replayed: bool,
    /// Since when its stream stands (`subscriptions/listen`).
    pub stands_since: Option<Instant>,
    /// It waits for a rate limit until then, and nothing was sent that may have run.
    pub held: Option<Instant>,
}

/// A notification, or a response to a request of the service.
#[derive(Debug)]
pub struct Notice {
    /// The message.
    pub message: Message,
    /// It is `notifications/initialized`.
    pub confirms_session: bool,
    /// It was sent again because its session was gone.
    pub replayed: bool,
    /// Counts drivers.
    pub attempt: u32,
    /// The session it belongs to.
    pub generation: u64,
}

impl Notice {
    /// Makes a notice for the session of this generation.
    pub fn new(message: Message, generation: u64) -> Self {
        Self { message, confirms_session: false, replayed: false, attempt: 0, generation }
    }
}

impl Request {
    /// Makes a request that has not left yet.
    pub fn new(message: Message, upstream: Id, asker: Asker, terms: (Class, Promise)) -> Self {
        Self {
            message,
            upstream,
            asker,
            class: terms.0,
            promise: terms.1,
            attempt: 0,
            reissues: 0,
            generation: 0,
            sending: Sending::Waiting,
            in_doubt: false,
            replayed: false,
            stands_since: None,
            held: None,
        }
    }

    /// Its driver waits for a rate limit.
    pub fn waits(&mut self, wait: Wait) {
        self.held = (wait.executed == Executed::No).then_some(wait.until);
    }

    /// Says whether it waits for a rate limit and cannot have run.
    pub fn is_held(&self, now: Instant) -> bool {
        !self.in_doubt && self.held.is_some_and(|until| now < until)
    }
}

/// The table of all that is under way.
#[derive(Debug, Default)]
pub struct UnderWay {
    all: FastMap<u64, Entry>,
    /// How many entries of our own there were.
    count: u64,
    own_ids: u64,
    requests: usize,
    /// How many notices there are, and their bytes.
    notices: (usize, usize),
    bytes: usize,
    /// Requests whose id is a text that looks like a number.
    numeric_texts: usize,
    /// Requests of the client whose id looks like one that asistry makes.
    own_texts: usize,
    /// The kinds of asistry's own requests, one for each request.
    own: Vec<Own>,
    /// Ids that an answer may still bear although its request is gone, without their JSON type.
    spent: HashSet<Box<str>>,
}

impl UnderWay {
    /// Adds an entry of our own and returns its number, which is odd.
    pub fn insert(&mut self, entry: Entry) -> u64 {
        self.count += 1;
        let number = self.count * 2 - 1;
        self.put(number, entry);
        number
    }

    /// Puts an entry under its number.
    pub fn put(&mut self, number: u64, entry: Entry) {
        self.measure(&entry, 1);
        self.all.insert(number, entry);
    }

    /// Adds a request of the client.
    pub fn put_request(&mut self, outgoing: Outgoing) {
        let Outgoing { number, message, class, promise, .. } = outgoing;
        let upstream = self.id_for(message.id());
        self.put(number, Entry::Request(Request::new(message, upstream, Asker::Client, (class, promise))));
    }

    /// Removes an entry.
    pub fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.all.remove(&number)?;
        self.measure(&entry, -1);
        Some(entry)
    }

    /// Removes a request.
    pub fn remove_request(&mut self, number: u64) -> Option<Request> {
        self.request(number)?;
        match self.remove(number) {
            Some(Entry::Request(request)) => Some(request),
            _ => None,
        }
    }

    /// Removes a request that the service may still answer: its id is not used again (LEG-8).
    pub fn abandon(&mut self, number: u64) -> Option<Request> {
        let request = self.remove_request(number)?;
        if request.sending == Sending::Sent {
            self.spend(&request.upstream);
        }
        Some(request)
    }

    /// Keeps an id from being used again.
    pub fn spend(&mut self, id: &Id) {
        if self.spent.len() < MOST_SPENT {
            self.spent.insert(id.bare().into());
        }
    }

    /// Says whether an answer may still bear this id: some services change its JSON type.
    fn is_spent(&self, id: &Id) -> bool {
        !self.spent.is_empty() && self.spent.contains(&*id.bare())
    }

    fn measure(&mut self, entry: &Entry, sign: isize) {
        let (requests, notices, bytes) = match entry {
            Entry::Request(Request { message, asker: Asker::Client, .. }) => (1, 0, message.text().len()),
            Entry::Notice(notice) => (0, 1, notice.message.text().len()),
            _ => (0, 0, 0),
        };
        let add = |to: usize, n: usize| to.wrapping_add_signed(sign * n.cast_signed());
        self.requests = add(self.requests, requests);
        self.notices = (add(self.notices.0, notices), add(self.notices.1, notices * bytes));
        self.bytes = add(self.bytes, bytes);
        if let Entry::Request(Request { asker: Asker::Own(own), .. }) = entry {
            match self.own.iter().position(|known| known == own).filter(|_| sign < 0) {
                Some(at) => drop(self.own.swap_remove(at)),
                None => self.own.push(*own),
            }
        }
        let numeric = matches!(entry, Entry::Request(r) if r.message.id().is_some_and(looks_like_a_number));
        self.numeric_texts = add(self.numeric_texts, usize::from(numeric));
        let is_own = |r: &Request| r.asker == Asker::Client && r.message.id().is_some_and(looks_like_our_own);
        let own = matches!(entry, Entry::Request(r) if is_own(r));
        self.own_texts = add(self.own_texts, usize::from(own));
    }

    /// Returns an entry.
    pub fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.all.get_mut(&number)
    }

    /// Returns a request.
    pub fn request(&mut self, number: u64) -> Option<&mut Request> {
        match self.all.get_mut(&number) {
            Some(Entry::Request(request)) => Some(request),
            _ => None,
        }
    }

    /// Finds a request by the id that the service sees: the one of this number first, then all others.
    pub fn by_upstream_id(&mut self, id: &Id, likely: u64) -> Option<u64> {
        if self.request(likely).is_some_and(|request| &request.upstream == id) {
            return Some(likely);
        }
        let sent = |entry: &Entry, is_it: &dyn Fn(&Id) -> bool| matches!(entry, Entry::Request(r) if r.sending == Sending::Sent && is_it(&r.upstream));
        let find = |is_it: &dyn Fn(&Id) -> bool| self.all.iter().find(|(_, entry)| sent(entry, is_it));
        // Some services change the JSON type of an id; `id_for` lets no two such ids be in flight.
        let found = find(&|known| known == id).or_else(|| find(&|known| known.resembles(id)));
        found.map(|(number, _)| *number)
    }

    /// Returns how many requests of the client and notices are under way, and the bytes they hold.
    pub fn open(&self) -> (usize, usize) {
        (self.requests + self.notices.0, self.bytes)
    }

    /// Returns how many notices are under way, and the bytes they hold.
    pub fn notices(&self) -> (usize, usize) {
        self.notices
    }

    /// Returns the numbers of all requests, oldest first.
    pub fn requests(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.all.iter().filter(|(_, e)| matches!(e, Entry::Request(_))).map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        numbers
    }

    /// A held request goes as this message now, which may have another length; false where there is none.
    pub fn becomes(&mut self, number: u64, message: Message, class: Class) -> bool {
        let Some(request) = self.remove_request(number) else { return false };
        self.put(number, Entry::Request(Request { message, class, ..request }));
        true
    }

    /// A driver waits for a rate limit; returns what its client is told.
    pub fn waits(&mut self, number: u64, wait: Wait, now: Instant) -> Option<Heard> {
        let request = self.request(number)?;
        request.waits(wait);
        let remaining = wait.until.saturating_duration_since(now);
        (request.asker == Asker::Client).then_some(Heard::Waits { number, remaining, why: wait.why })
    }

    /// Returns the requests that wait although their `--max-time`, given with each, has passed.
    pub fn overdue(&self, now: Instant) -> Vec<(u64, Duration)> {
        let limit = |request: &Request| {
            request.promise.broken_at(now).filter(|_| request.sending == Sending::Waiting)
        };
        let overdue = self.all.iter().filter_map(|(number, entry)| match entry {
            Entry::Request(request) => Some((*number, limit(request)?)),
            _ => None,
        });
        let mut overdue: Vec<(u64, Duration)> = overdue.collect();
        overdue.sort_unstable();
        overdue
    }

    /// Returns the requests of the client with this method that have not left.
    pub fn waiting(&self, method: &str) -> Vec<u64> {
        let waits = |r: &Request| {
            r.asker == Asker::Client && r.sending == Sending::Waiting && r.message.method() == method
        };
        let all = self.all.iter();
        all.filter(|(_, entry)| matches!(entry, Entry::Request(r) if waits(r)))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Says whether asistry's own request of this kind is under way.
    pub fn asks(&self, own: Own) -> bool {
        self.own.contains(&own)
    }

    /// Says whether a request is under way in the session of this generation.
    pub fn is_used(&self, generation: u64) -> bool {
        let uses = |r: &Request| r.generation == generation && r.sending == Sending::Sent;
        self.all.values().any(|entry| matches!(entry, Entry::Request(r) if uses(r)))
    }

    /// Says whether a notice is under way in the session of this generation.
    pub fn is_spoken_in(&self, generation: u64) -> bool {
        self.all.values().any(|entry| matches!(entry, Entry::Notice(n) if n.generation == generation))
    }

    /// Returns the id under which the service sees a request: the client's own, unless a service may hand that back
    /// changed, or would confuse it with another one that is or was under way.
    pub fn id_for(&mut self, id: Option<&Id>) -> Id {
        let is_fresh = |id: &Id| self.spent.len() < MOST_SPENT && !self.is_spent(id);
        match id {
            Some(id) if id.is_portable() && is_fresh(id) && !self.is_ambiguous(id) => id.clone(),
            _ => self.own_id(),
        }
    }

    /// Makes an id for the service that no request under way bears.
    pub fn own_id(&mut self) -> Id {
        loop {
            self.own_ids += 1;
            let id = Id::Text(format!("{OWN_ID}{}", self.own_ids).into());
            let is_taken = self.is_spent(&id) || (self.own_texts > 0 && self.is_ambiguous(&id));
            if !is_taken {
                return id;
            }
        }
    }

    /// Some services answer `"1"` to `1`, so both must not be in flight at once.
    fn is_ambiguous(&self, id: &Id) -> bool {
        let may_be = match id {
            Id::Integer(_) => self.numeric_texts > 0,
            Id::Text(_) => looks_like_our_own(id) || looks_like_a_number(id),
            Id::Odd(_) => true,
        };
        may_be
            && self.all.values().any(|entry| matches!(entry, Entry::Request(r) if r.upstream.resembles(id)))
    }
}

fn looks_like_our_own(id: &Id) -> bool {
    matches!(id, Id::Text(text) if text.starts_with(OWN_ID))
}

fn looks_like_a_number(id: &Id) -> bool {
    matches!(id, Id::Text(text) if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

/// 0.25 s, 1 s, each with jitter.
pub fn reissue_after(reissues: u32, random: f64) -> Duration {
    let step = retry::backoff(Duration::from_millis(250), reissues * 2, Duration::from_secs(1));
    step.mul_f64(0.75 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::Leaves;
    use crate::protocol::revision::Era;

    #[test]
    fn a_notice_counts_as_long_as_it_is_under_way() {
        let mut table = UnderWay::default();
        let message = Message::notification("notifications/x", None);
        let length = message.text().len();
        let number = table.insert(Entry::Notice(Notice::new(message, 0)));
        assert_eq!(table.open(), (1, length));
        table.remove(number);
        assert_eq!(table.open(), (0, 0));
    }

    #[test]
    fn an_id_of_our_own_needs_no_look_at_all_that_is_under_way() {
        let mut table = UnderWay::default();
        let promise = Promise::new(std::time::Instant::now(), None);
        for number in 0..20_000 {
            let message = Message::read(format!(r#"{{"id":{number},"method":"x/y"}}"#)).unwrap();
            let (class, leaves, era) = (Class::C, Leaves::AtOnce, Era::Legacy);
            table.put_request(Outgoing { number: number * 2, message, class, promise, leaves, era });
        }
        let since = std::time::Instant::now();
        for _ in 0..20_000 {
            table.own_id();
        }
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
}
