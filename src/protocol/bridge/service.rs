//! What the service says, and what came of what was sent to it.
//!
//! Refuses answers that nobody asked for: they are noted and dropped (HTTP-12).

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::cancelled_id;
use super::foreign::disowned;
use super::requests::{self, Errand, Notice, Origin, Own, Request};
use super::session::Phase;
use super::{Asked, Bridge, Effect, MOST_QUESTIONS, Spilled, Tag};
use crate::error::{Error, Kind as ErrorKind};
use crate::protocol::message::{Kind, Message, quote};
use crate::protocol::passage::{Failure, Item, Outcome, Processed};

/// Milliseconds until a request that waits for a rate limit goes out again, in the `_meta` of a progress
/// notification of ours.
pub const RETRY_AFTER: &str = "com.asistry/retryAfterMs";

impl Bridge {
    /// Takes what came out of a reply to the passage of this tag.
    pub fn item(&mut self, tag: Tag, item: Item) {
        match item {
            Item::Message(message) => match message.kind() {
                Kind::Response => self.service_answers(tag, message),
                Kind::Request => self.service_asks(message),
                Kind::Notification => self.service_tells(&message),
            },
            Item::Opening(head) if self.session.opening == Some(tag.errand) => self.session.head = Some(head),
            Item::Endpoint(text) if self.session.stream == Some(tag.errand) => self.endpoint_named(&text),
            // A last report of a passage that was given up.
            Item::Opening(_) | Item::Endpoint(_) => {}
        }
    }

    /// Takes what came of a passage.
    pub fn ended(&mut self, tag: Tag, outcome: Outcome, die: f64) {
        match self.errands.errand(tag.errand) {
            None => {}
            Some(Errand::Request(request)) if request.attempt == tag.attempt => {
                self.request_ended(tag.errand, outcome, die);
            }
            Some(Errand::Notice(notice)) if notice.attempt == tag.attempt => {
                self.notice_ended(tag.errand, outcome)
            }
            Some(Errand::Listen) => self.listening_ended(tag.errand, &outcome),
            Some(Errand::Stream) => self.stream_ended(tag.errand, outcome, die),
            Some(_) => {}
        }
    }

    /// The passage of this tag waits for a rate limit: the client hears of it if it asked for progress.
    pub fn waiting(&mut self, tag: Tag, remaining: Duration) {
        let place = self.settings.place.clone();
        let Some(request) = self.errands.request(tag.errand) else { return };
        let Some(token) = progress_token(&request.message).map(str::to_owned) else { return };
        request.heartbeats += 1;
        // Below everything that a service counts, and rising: progress must increase.
        let progress = f64::from(request.heartbeats) / 1e6;
        let seconds = remaining.as_secs_f64().ceil();
        let text = quote(&format!("{place} limits the rate; trying again in {seconds} s"));
        let meta = format!(r#"{{"{RETRY_AFTER}":{}}}"#, remaining.as_millis());
        let params =
            format!(r#"{{"progressToken":{token},"progress":{progress},"message":{text},"_meta":{meta}}}"#);
        let heartbeat = Message::notification("notifications/progress", Some(&params));
        self.effects.push(Effect::Deliver(heartbeat.text().clone(), heartbeat.origin()));
    }

    fn service_answers(&mut self, tag: Tag, message: Message) {
        let found = message.id().and_then(|id| self.errands.by_upstream_id(id, tag.errand));
        let Some(Errand::Request(request)) = found.and_then(|number| self.errands.remove(number)) else {
            return self.note("dropped an answer of the service to a question that nobody asked");
        };
        let Some(number) = found else { return };
        if number != tag.errand {
            self.effects.push(Effect::Abort(number));
        }
        if request.message.method() != "initialize" {
            self.session.lost_in_a_row = 0;
        }
        match request.origin {
            _ if request.message.method() == "initialize" => self.opening_answered(number, request, message),
            Origin::Own(own) => self.own_answer(own, &message),
            Origin::Client { batch } => self.client_answer(&request, batch, message),
        }
    }

    fn client_answer(&mut self, request: &Request, batch: Option<u64>, message: Message) {
        let Some(id) = request.message.id() else { return };
        self.session.learn(&request.message, &message);
        let origin = message.origin();
        let message = disowned(message);
        let mut text = message.text_with_id(id);
        match request.message.method() {
            "tools/list" => {
                let page = self.tools.page(&message);
                for warning in page.warnings {
                    self.note(warning);
                }
                if let Some(Ok(changed)) = page.text.map(Message::read) {
                    text = changed.text_with_id(id);
                }
            }
            "tools/call" if self.is_too_large(&message) => {
                return self.effects.push(Effect::Spill(message.under_id(id), Spilled { batch }));
            }
            _ => {}
        }
        self.answer(text, batch, origin);
        if request.message.method().ends_with("/list") {
            self.listen();
        }
    }

    fn is_too_large(&self, message: &Message) -> bool {
        let limit = self.settings.max_result.unwrap_or(usize::MAX);
        message.result_len().is_some_and(|length| length > limit)
    }

    fn own_answer(&mut self, own: Own, message: &Message) {
        match own {
            Own::Initialize | Own::Restore | Own::Ping => {}
            Own::Tools if message.error_text().is_some() => {
                let error = Error::new(ErrorKind::ServiceError, "the service did not list its tools");
                self.tools_are_known(Some(&error));
            }
            Own::Tools => {
                let page = self.tools.page(message);
                for warning in page.warnings {
                    self.note(warning);
                }
                match page.next_cursor {
                    Some(cursor) if self.tools.is_new_page(&cursor) => self.learn_tools(Some(&cursor)),
                    Some(_) => self.tools_are_known(Some(&endless_list())),
                    None => self.tools_are_known(None),
                }
            }
        }
    }

    /// Asks for the list of tools, unless that is under way.
    pub(super) fn learn_tools(&mut self, cursor: Option<&str>) {
        let asking = self.errands.requests();
        let asked =
            |bridge: &mut Self, number| bridge.errands.request(number).is_some_and(|r| r.is_own(Own::Tools));
        if asking.into_iter().any(|number| asked(self, number)) {
            return;
        }
        let params = cursor.map(|cursor| format!(r#"{{"cursor":{cursor}}}"#));
        let number = self.ask(Own::Tools, "tools/list", params.as_deref());
        self.submit(number);
    }

    fn service_asks(&mut self, message: Message) {
        let Some(id) = message.id().cloned() else { return };
        if self.asked.len() >= MOST_QUESTIONS {
            let generation = self.session.generation;
            self.asked.retain(|_, asked| asked.generation == generation);
        }
        if self.asked.len() >= MOST_QUESTIONS || self.errands.notices() >= MOST_QUESTIONS {
            return self.note("dropped a question of the service: too many are open");
        }
        if message.method() == "ping" {
            return self.notify(Message::result(&id, "{}"));
        }
        // Two sessions may use the same id; the client must be able to tell them apart.
        let shown = if self.asked.contains_key(&id) || !id.is_portable() {
            self.errands.own_id()
        } else {
            id.clone()
        };
        let text = message.text_with_id(&shown);
        self.asked.insert(shown, Asked { by_service: id, generation: self.session.generation });
        self.effects.push(Effect::Deliver(text, message.origin()));
    }

    fn service_tells(&mut self, message: &Message) {
        let mut text = message.text().clone();
        if message.method() == "notifications/tools/list_changed" {
            self.tools.changed();
        }
        if message.method() == "notifications/cancelled"
            && let Some((raw, id)) = cancelled_id(message)
        {
            let generation = self.session.generation;
            let is_it = |asked: &Asked| asked.by_service == id && asked.generation == generation;
            let shown = self.asked.iter().find(|(_, asked)| is_it(asked)).map(|(shown, _)| shown.clone());
            if let Some(shown) = shown {
                self.asked.remove(&shown);
                text = message.with_part(raw, &shown.json());
            }
        }
        self.effects.push(Effect::Deliver(text, message.origin()));
    }

    fn request_ended(&mut self, number: u64, outcome: Outcome, die: f64) {
        match outcome {
            Outcome::SessionLost => self.lost_under(number),
            Outcome::NoEndpoint(answer, failure) => {
                self.no_endpoint(number, answer.map(|answer| *answer), *failure)
            }
            Outcome::Failed(failure) => self.request_failed(number, *failure, die),
            Outcome::Done | Outcome::NoStream => {
                let error = Error::new(
                    ErrorKind::ProtocolViolation,
                    format!("{} ended its reply without an answer", self.settings.place),
                );
                self.give_up(number, &error.may_have_executed(true));
            }
        }
    }

    pub(super) fn request_failed(&mut self, number: u64, failure: Failure, die: f64) {
        let Some(request) = self.errands.request(number) else { return };
        let reissues = request.reissues;
        let again = failure.transient
            && match failure.processed {
                Processed::No => reissues < requests::MOST_REISSUES,
                Processed::Maybe => self.may_reissue(number),
            };
        if again {
            return self.reissue(number, failure.processed, die);
        }
        let error = failure.error.may_have_executed(failure.processed == Processed::Maybe);
        self.give_up(number, &error);
        self.opening_failed(number, &error);
    }

    /// Sends a request once more; under a new id if the service may know the old one.
    fn reissue(&mut self, number: u64, processed: Processed, die: f64) {
        let fresh = self.errands.own_id();
        let Some(request) = self.errands.request(number) else { return };
        let after = requests::reissue_after(request.reissues, die);
        request.reissues += 1;
        if processed == Processed::Maybe {
            request.upstream = fresh;
            request.in_doubt = true;
        }
        if self.session.phase != Phase::Ready && self.session.opening != Some(number) {
            request.sent = false;
            return self.submit(number);
        }
        self.carry(number, after);
    }

    /// Answers a request with an error and forgets it.
    pub(super) fn give_up(&mut self, number: u64, error: &Error) {
        let Some(Errand::Request(request)) = self.errands.remove(number) else { return };
        let opens = request.message.method() == "initialize";
        if error.kind() == ErrorKind::Timeout && request.sent && !opens {
            let params = format!(r#"{{"requestId":{},"reason":"timeout"}}"#, request.upstream.json());
            self.notify(Message::notification("notifications/cancelled", Some(&params)));
        }
        self.dropped(&request, error);
    }

    /// Tells whoever wanted the answer that none comes.
    pub(super) fn dropped(&mut self, request: &Request, error: &Error) {
        match request.origin {
            Origin::Client { .. } => self.answer_error(request, error),
            Origin::Own(Own::Tools) => self.tools_are_known(Some(error)),
            Origin::Own(Own::Restore) => self.note(format!("could not restore the session: {error}")),
            Origin::Own(Own::Initialize | Own::Ping) => {}
        }
    }

    fn notice_ended(&mut self, number: u64, outcome: Outcome) {
        let Some(Errand::Notice(notice)) = self.errands.remove(number) else { return };
        let generation = notice.generation;
        let method = notice.message.method().to_owned();
        match outcome {
            Outcome::SessionLost => {
                // Neither an answer nor a cancellation means anything in another session.
                let worth = !matches!(&*method, "" | "notifications/cancelled" | "notifications/progress");
                if worth && !notice.replayed && !notice.confirms_session {
                    let again = self.errands.insert(Errand::Notice(Notice { replayed: true, ..notice }));
                    if generation < self.session.generation {
                        return self.submit(again);
                    }
                    self.session.queue.push_back(again);
                }
                self.session_lost(generation);
            }
            _ if notice.confirms_session && generation == self.session.generation => self.confirmed(),
            _ if notice.confirms_session => {}
            Outcome::Failed(failure) => {
                let what = if method.is_empty() { "an answer of the client" } else { &method };
                self.note(format!("{what} did not reach the service: {}", failure.error));
            }
            _ => {}
        }
    }
}

fn endless_list() -> Error {
    Error::new(ErrorKind::ProtocolViolation, "the service's list of tools has no end")
        .hint("report this to whoever runs the service")
}

/// Returns the raw progress token of a request.
fn progress_token(message: &Message) -> Option<&str> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "_meta")]
        meta: Meta<'a>,
    }
    #[derive(Deserialize)]
    struct Meta<'a> {
        #[serde(borrow, rename = "progressToken")]
        token: &'a RawValue,
    }
    serde_json::from_str::<Params>(message.params()?).ok().map(|params| params.meta.token.get())
}
