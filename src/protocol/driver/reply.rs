//! The JSON-RPC messages of a reply: which of them is the answer, and what a reply without one means.
//!
//! Refuses to judge a message beyond its id: `upstream` and `client` do.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Answers, Cause, Driver, Failure, Fallback, GateNews, Item, Loss, Next, Outcome, Purpose, Standing, State,
};
use crate::error::{Error, Executed, Kind};
use crate::protocol::Moment;
use crate::protocol::http::{self, Data, ErrorFields, Head};
use crate::protocol::message::{self, Frame, Malformed, Message, UNSUPPORTED_VERSION};
use crate::protocol::revision::FIRST_MODERN;

impl Driver {
    pub(super) fn read_event(&mut self, data: Bytes) {
        let status = self.head.as_ref().map_or(200, |head| head.status);
        match Frame::read(data) {
            Ok(frame) => self.hand_out(frame, status),
            Err(malformed) => self.items.push(Item::Malformed(malformed)),
        }
    }

    /// Hands out a reply that is no message.
    pub(super) fn data(&mut self, head: &Head, body: Bytes) -> Next {
        let body = message::on_one_line(body);
        let trace_id = http::trace_id(head, &body);
        let etag = head.header("etag").map(str::to_owned);
        self.items.push(Item::Data(Data { status: head.status, etag, trace_id, body }));
        self.answered = true;
        Next::Over(Outcome::Done)
    }

    /// Takes the body of a reply with a status of 2xx.
    pub(super) fn success(&mut self, head: &Head, body: Bytes, now: Instant) -> Next {
        if self.terms.answers == Answers::AsData {
            self.news = Some(GateNews::Accepted);
            return self.data(head, body);
        }
        match self.purpose {
            Purpose::Notice => return Next::Over(Outcome::Done),
            Purpose::Request(_) if self.terms.answers == Answers::OnTheStream => {
                self.state = State::Elsewhere { heard: now };
                return Next::Rest;
            }
            Purpose::Request(_) if self.resuming.is_none() => {}
            Purpose::Listen => return Next::Over(Outcome::NoStream),
            Purpose::Stream => return self.lost("it offers no event stream"),
            Purpose::Request(_) => return self.lost("the stream cannot be resumed"),
        }
        let why = match Frame::read(body.clone()) {
            Ok(frame) => {
                self.hand_out(frame, head.status);
                if self.answered {
                    return Next::Over(Outcome::Done);
                }
                "answered with a message that is no answer to the request".to_owned()
            }
            Err(_) if body.is_empty() => format!("answered HTTP {} without a message", head.status),
            Err(Malformed::Shape(_, why)) => format!("answered JSON that is no JSON-RPC message: {why}"),
            Err(Malformed::Json(_)) => {
                format!("answered something that is no JSON: “{}”", http::excerpt(&body))
            }
        };
        let error = Error::new(Kind::ProtocolViolation, format!("{} {why}", self.terms.place))
            .http_status(head.status)
            .trace_id(http::trace_id(head, &body))
            .hint("check that the URL is the MCP endpoint of the service");
        self.fail(error, Executed::Maybe, Cause::Permanent)
    }

    /// Takes a reply whose status is a failure, with all that HTTP says of it.
    pub(super) fn unsuccessful(
        &mut self,
        status: u16,
        body: &Bytes,
        failure: Failure,
        moment: Moment,
    ) -> Next {
        let is_message = self.terms.answers != Answers::AsData;
        let error_message = is_message.then(|| http::json_rpc_error(body)).flatten();
        let gone = match (self.terms.standing, self.terms.answers) {
            (Standing::InSession, _) => {
                http::is_session_lost(status, body) || left_sessions(status, error_message.as_ref())
            }
            // SSE-4: the message endpoint is gone, and the session with it.
            (Standing::Free, Answers::OnTheStream) => matches!(status, 404 | 410),
            _ => false,
        };
        if gone {
            let after = self.sent.map(|sent| moment.now.saturating_duration_since(sent)).unwrap_or_default();
            return Next::Over(Outcome::SessionLost(Box::new(Loss {
                answer: error_message,
                failure,
                sent: self.sent,
                after,
            })));
        }
        if self.purpose == Purpose::Listen {
            return self.not_listening(status, moment);
        }
        if self.terms.standing == Standing::Opens(Fallback::Possible) && matches!(status, 400 | 404 | 405) {
            return Next::Over(Outcome::NoEndpoint(error_message.map(Box::new), Box::new(failure)));
        }
        match (&self.purpose, error_message) {
            // HTTP-5: under our id, whatever id the body has.
            (Purpose::Request(id), Some(message)) => {
                self.items.push(Item::Message(message.under_id(id), status));
                self.answered = true;
                Next::Over(Outcome::Done)
            }
            _ => Next::Over(Outcome::Failed(Box::new(failure))),
        }
    }

    fn not_listening(&mut self, status: u16, moment: Moment) -> Next {
        if status == 401 {
            return Next::Over(Outcome::StreamDenied);
        }
        match self.resumption.after_refusal(status, moment) {
            Some(wait) => self.rest(wait, moment.now),
            None => Next::Over(Outcome::NoStream),
        }
    }

    fn hand_out(&mut self, frame: Frame, status: u16) {
        let (parts, alone) = match frame {
            Frame::One(message) => (vec![Ok(message)], Alone::Yes),
            Frame::Batch(parts) => (parts, Alone::No),
        };
        for part in parts {
            let item = match part {
                Ok(mut message) => {
                    self.recognise(&mut message, alone);
                    Item::Message(message, status)
                }
                Err(malformed) => Item::Malformed(malformed),
            };
            self.items.push(item);
        }
    }

    /// Notes whether a message is the answer, and gives it back our id where it came in another JSON
    /// type, or as an error without one (HTTP-5, T-21).
    fn recognise(&mut self, message: &mut Message, alone: Alone) {
        let Purpose::Request(ours) = &self.purpose else { return };
        if self.answered || message.kind() != message::Kind::Response {
            return;
        }
        match message.id() {
            Some(id) if id == ours => self.answered = true,
            Some(id) if id.resembles(ours) => {
                *message = message.under_id(ours);
                self.answered = true;
            }
            None if alone == Alone::Yes && message.error_text().is_some() => {
                *message = message.under_id(ours);
                self.answered = true;
            }
            _ => {}
        }
    }
}

/// Says whether a service refuses a request in its session because it speaks the stateless era by now (PROBE 4): the
/// next opening shows whether it still opens sessions.
fn left_sessions(status: u16, answer: Option<&Message>) -> bool {
    let Some(error) = answer.and_then(ErrorFields::of) else { return false };
    let is_modern = |version: &serde_json::Value| version.as_str().is_some_and(|date| date >= FIRST_MODERN);
    let supported = error.data["supported"].as_array();
    status == 400
        && error.code == UNSUPPORTED_VERSION
        && supported.is_some_and(|versions| versions.iter().any(is_modern))
        && !is_modern(&error.data["requested"])
}

/// Whether a message is the only one of its frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alone {
    Yes,
    No,
}
