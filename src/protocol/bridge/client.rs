//! What the client says.
//!
//! Refuses nothing silently: a line that cannot be taken is answered, unless it asked for no answer.

use bytes::Bytes;

use super::requests::{Errand, Notice, Origin, Request};
use super::session::Phase;
use super::tools::Permit;
use super::{Batch, Bridge, Effect};
use crate::error::{Error, Kind::Bug as Defect};
use crate::protocol::MAX_MESSAGE;
use crate::protocol::message::{self, Id, Kind, Malformed, Message, Parcel, quote};

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;

impl Bridge {
    /// Takes one line of the client.
    pub fn from_client(&mut self, line: Bytes) {
        match Parcel::read(line) {
            Ok(Parcel::One(message)) => self.client_message(message, None),
            Ok(Parcel::Batch(parts)) => self.client_batch(parts),
            Err(malformed) => self.deliver_malformed(malformed, None),
        }
    }

    /// The client sent a line longer than [`MAX_MESSAGE`]; its bytes are gone.
    pub fn line_too_long(&mut self) {
        self.deliver_malformed(
            Malformed::Json(format!("a line longer than {} MiB", MAX_MESSAGE >> 20)),
            None,
        );
    }

    fn client_batch(&mut self, parts: Vec<Result<Message, Malformed>>) {
        if !self.session.revision.is_some_and(|revision| revision.batches) {
            let why = "batches belong to revision 2025-03-26 only";
            return self.deliver_malformed(Malformed::Shape(None, why), None);
        }
        self.batch_count += 1;
        let number = self.batch_count;
        let asks =
            |part: &Result<Message, Malformed>| part.as_ref().map_or(true, |m| m.kind() == Kind::Request);
        // One more than there are, so that the batch cannot be settled before all of it was read.
        let missing = parts.iter().filter(|part| asks(part)).count() + 1;
        self.batches.insert(number, Batch { missing, answers: Vec::new() });
        for part in parts {
            match part {
                Ok(message) => self.client_message(message, Some(number)),
                Err(malformed) => self.deliver_malformed(malformed, Some(number)),
            }
        }
        self.settle(number);
    }

    fn deliver_malformed(&mut self, malformed: Malformed, batch: Option<u64>) {
        let (code, id, why) = match malformed {
            Malformed::Json(why) => (PARSE_ERROR, None, format!("Parse error: {why}")),
            Malformed::Shape(id, why) => (INVALID_REQUEST, id, format!("Invalid request: {why}")),
        };
        self.answer_invalid(id.as_ref(), (code, &why), batch);
    }

    /// Answers what is no valid request. Clients inside the process never send such a thing: there it is a defect.
    fn answer_invalid(&mut self, id: Option<&Id>, (code, why): (i32, &str), batch: Option<u64>) {
        let text = self.error_text(id, code, why);
        self.answer(text, batch, message::Origin::Ours(Box::new(Error::new(Defect, why))));
    }

    /// An error without an id leaves the field out where the peer's revision allows it, else says null.
    fn error_text(&self, id: Option<&Id>, code: i32, why: &str) -> Bytes {
        let id = match id {
            Some(id) => format!(r#""id":{},"#, id.json()),
            None if self.session.revision.is_none_or(|revision| revision.errors_without_id) => String::new(),
            None => r#""id":null,"#.to_owned(),
        };
        format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":{}}}}}"#, quote(why)).into()
    }

    fn client_message(&mut self, message: Message, batch: Option<u64>) {
        match message.kind() {
            Kind::Request => self.client_request(message, batch),
            Kind::Notification => self.client_notification(message),
            Kind::Response => self.client_response(&message),
        }
    }

    fn client_request(&mut self, message: Message, batch: Option<u64>) {
        let Some(id) = message.id().cloned() else { return };
        if self.errands.by_client_id(&id).is_some() {
            let why = "Invalid request: a request with this id is still in flight";
            return self.answer_invalid(Some(&id), (INVALID_REQUEST, why), batch);
        }
        match message.method() {
            "ping" => {
                let pong = Message::result(&id, "{}");
                self.answer(pong.text().clone(), batch, pong.origin());
            }
            // The stateless era is not spoken yet; this answer makes a client of both eras open with
            // `initialize`, and costs no request (T-3).
            "server/discover" => {
                let why = "Method not found: server/discover";
                self.answer_invalid(Some(&id), (METHOD_NOT_FOUND, why), batch);
            }
            "initialize" if batch.is_some() => {
                let why = "Invalid request: initialize is never part of a batch";
                self.answer_invalid(Some(&id), (INVALID_REQUEST, why), batch);
            }
            "initialize" => {
                let number = self.client_errand(message, None);
                self.client_opens(number);
            }
            "tools/call" => self.client_call(message, batch),
            _ => {
                let number = self.client_errand(message, batch);
                self.submit(number);
            }
        }
    }

    fn client_call(&mut self, message: Message, batch: Option<u64>) {
        match self.tools.permit(&message) {
            Ok(Permit::Go) => {
                let number = self.client_errand(message, batch);
                self.submit(number);
            }
            Ok(Permit::Renamed(renamed)) => {
                let number = self.client_errand(renamed, batch);
                self.submit(number);
            }
            Ok(Permit::ListFirst) => {
                let number = self.client_errand(message, batch);
                self.awaiting_tools.push(number);
                self.learn_tools(None);
            }
            Err(error) => self.deny(&message, batch, error),
        }
    }

    fn deny(&mut self, message: &Message, batch: Option<u64>, error: Error) {
        if let Some(id) = message.id() {
            let error = error.may_have_executed(false).advised(&self.settings.advise);
            let text = Message::failure(id, &error).text().clone();
            self.answer(text, batch, message::Origin::Ours(Box::new(error)));
        }
    }

    fn client_errand(&mut self, message: Message, batch: Option<u64>) -> u64 {
        let upstream = match message.id() {
            Some(id) if id.is_portable() && !self.errands.is_taken(id) => id.clone(),
            // A service may round such a number, or one of our own requests bears it: it gets another id.
            _ => self.errands.own_id(),
        };
        self.errands.insert(Errand::Request(Request::new(message, upstream, Origin::Client { batch })))
    }

    /// Lets the calls go that had to wait for the list of tools, or says why not.
    pub(super) fn tools_are_known(&mut self, failed: Option<&Error>) {
        self.tools.learned();
        for number in std::mem::take(&mut self.awaiting_tools) {
            let Some(request) = self.errands.request(number) else { continue };
            match (failed, self.tools.permit(&request.message)) {
                (None, Ok(Permit::Renamed(renamed))) => {
                    request.message = renamed;
                    self.submit(number);
                }
                (None, Ok(Permit::Go)) => self.submit(number),
                (failed, permit) => {
                    let why = permit.err().or_else(|| failed.cloned()).unwrap_or_else(|| {
                        Error::new(crate::error::Kind::ToolDenied, "the service does not list this tool")
                    });
                    self.give_up(number, &why.may_have_executed(false));
                }
            }
        }
    }

    fn client_notification(&mut self, message: Message) {
        match message.method() {
            "notifications/initialized" => self.client_confirms(),
            "notifications/cancelled" => self.client_cancels(&message),
            _ => {
                let number = self.errands.insert(Errand::Notice(Notice::new(message)));
                self.submit(number);
            }
        }
    }

    fn client_cancels(&mut self, message: &Message) {
        let Some((raw, id)) = cancelled_id(message) else {
            return self.note("the client cancelled a request without naming it");
        };
        let Some(number) = self.errands.by_client_id(&id) else { return };
        // T-35: some clients cancel `initialize` although they must not; the session stays whole.
        if self.errands.request(number).is_some_and(|request| request.message.method() == "initialize") {
            return;
        }
        let Some(Errand::Request(request)) = self.errands.remove(number) else { return };
        self.effects.push(Effect::Abort(number));
        if request.sent && self.session.phase == Phase::Ready {
            let text = message.with_part(raw, &request.upstream.json());
            if let Ok(message) = Message::read(text) {
                self.notify(message);
            }
        }
        if let Origin::Client { batch: Some(batch) } = request.origin {
            self.settle(batch);
        }
    }

    fn client_response(&mut self, message: &Message) {
        let asked = message.id().and_then(|id| self.asked.remove(id));
        match asked {
            Some(asked) if asked.generation == self.session.generation && self.session.stands() => {
                let answer = message.under_id(&asked.by_service);
                self.notify(answer);
            }
            Some(_) => self.note("dropped an answer of the client: the session that asked is gone"),
            None => self.note("dropped an answer of the client to a question that nobody asked"),
        }
    }
}

/// Returns the request id that a `notifications/cancelled` names, raw and read.
pub(super) fn cancelled_id(message: &Message) -> Option<(&str, Id)> {
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "requestId")]
        request_id: &'a serde_json::value::RawValue,
    }
    let params: Params = serde_json::from_str(message.params()?).ok()?;
    let raw = params.request_id.get();
    let probe = Message::read(format!(r#"{{"id":{raw},"method":"-"}}"#)).ok()?;
    Some((raw, probe.id()?.clone()))
}
