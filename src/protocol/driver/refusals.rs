//! Replies that refuse a message for now: they are waited out, or the message fails.
//!
//! Refuses to wait out what may have run, unless the service declares that it did not.

use std::time::Instant;

use bytes::Bytes;

use super::{Answers, Cause, Driver, Failure, GateNews, Item, LINGER, Next, Outcome, Purpose, State};
use crate::protocol::Moment;
use crate::protocol::exchange::status::{self, Failing, Key};
use crate::protocol::http::Head;
use crate::protocol::request::Repeat;
use crate::protocol::retry::{self, Refusal, Verdict, Why};

/// Busy records of the stream of one reply.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// A record told of progress: the call runs.
    has_begun: bool,
    /// The record that refused the call.
    refusal: Option<(Refusal, Bytes)>,
}

impl Driver {
    /// Reads whether a reply refuses the message for now.
    pub(super) fn refusal_of(&self, head: &Head, body: &Bytes, moment: Moment) -> Option<Refusal> {
        if head.is_success() && self.terms.answers != Answers::AsData {
            return None;
        }
        let hint = retry::retry_after(&head.headers, moment.wall);
        if let Some(busy) = self.terms.retry.busy.in_reply(head.status, hint, body) {
            return Some(Refusal { hint: hint.or(busy.hint), ..busy });
        }
        let why = match head.status {
            429 => Why::RateLimit,
            503 if hint.is_some() && self.may_wait_out_503() => Why::Unavailable,
            _ => return None,
        };
        Some(Refusal { why, hint })
    }

    /// Section 6.1: gateways say 503 for what may be running; only who declares it says that it is not.
    fn may_wait_out_503(&self) -> bool {
        self.resuming.is_some() || self.terms.retry.repeats_503 || self.terms.repeat == Repeat::Harmless
    }

    /// Says whether only the content of a successful reply tells that the message was accepted.
    pub(super) fn is_accepted_by_content(&self) -> bool {
        self.terms.answers == Answers::AsData && self.terms.retry.busy.is_in_bodies()
    }

    /// The service refused the message for now.
    pub(super) fn refused(&mut self, head: Head, body: Bytes, refusal: Refusal, moment: Moment) -> Next {
        let verdict = self.promise.refused(&self.terms.retry, refusal, moment);
        self.state = State::Between;
        let news = |wait| match refusal.why {
            Why::RateLimit => GateNews::Refused(wait),
            Why::Busy | Why::Unavailable => GateNews::Busy(wait),
        };
        self.in_doubt |= refusal.why == Why::Unavailable && !self.terms.retry.repeats_503;
        match verdict {
            Verdict::Wait(wait) => {
                self.sent = None;
                self.news = Some(news(wait));
                Next::Admit
            }
            Verdict::GiveUp => {
                self.news = refusal.hint.map(news);
                if refusal.why == Why::Busy && self.resuming.is_none() && self.purpose != Purpose::Listen {
                    return self.too_busy(&head, &body, refusal, moment);
                }
                self.failing(&head, &body, Key::Sent, moment)
            }
        }
    }

    fn too_busy(&self, head: &Head, body: &Bytes, refusal: Refusal, moment: Moment) -> Next {
        let failing = Failing { head, body, wall: moment.wall, place: &self.terms.place, key: Key::Sent };
        let mut error = status::too_busy(&failing, refusal.hint).executed(self.unanswered());
        if let Some(remedy) = self.promise.remedy_of_refusal(&self.terms.retry, refusal.hint, moment.now) {
            error = error.remedy(remedy);
        }
        let failure = Failure { error, executed: self.unanswered(), cause: Cause::Permanent };
        Next::Over(Outcome::Failed(Box::new(failure)))
    }

    /// Takes one record of a reply that is no message.
    pub(super) fn record(&mut self, text: Bytes, now: Instant) {
        if self.records.refusal.is_some() {
            return;
        }
        if !self.records.has_begun
            && let Some(refusal) = self.terms.retry.busy.in_record(&text)
        {
            self.records.refusal = Some((refusal, text));
            self.state = State::Lingering { until: now + LINGER };
            return;
        }
        self.records.has_begun |= retry::tells_progress(&text);
        if self.is_accepted_by_content() {
            self.news = Some(GateNews::Accepted);
        }
        self.items.push(Item::Record(crate::protocol::message::on_one_line(text)));
    }

    /// The stream of a reply has ended, or is no longer waited for: says what a busy record in it means.
    pub(super) fn refused_by_record(&mut self, moment: Moment) -> Option<Next> {
        let (refusal, text) = std::mem::take(&mut self.records).refusal?;
        let head = self.head.take()?;
        Some(self.refused(head, text, refusal, moment))
    }
}
