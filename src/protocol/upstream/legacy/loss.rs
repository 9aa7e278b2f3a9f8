//! A session that the service has lost: it is opened anew, once for all who noticed (LEG-10, LEG-11, SSE-4).
//!
//! Refuses to send again what may have run: a 404 is evidence, not proof.

use std::time::{Duration, Instant};

use super::super::under_way::{Asker, Entry, Notice, Own, Sending, reissue_after};
use super::super::{Heard, Out};
use super::Legacy;
use super::session::{Phase, loses_sessions};
use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::driver::{Cause, Failure, Loss};
use crate::protocol::effect::Effect;
use crate::protocol::exchange::PROMPT;
use crate::protocol::request::Class;

/// A service that loses every session at once is not opened anew for ever.
const MOST_REOPENINGS: u32 = 3;
/// Other calls of a lost session have this long to be refused too, before a new session is asked for.
const OTHERS: Duration = Duration::from_millis(100);

/// No more lost sessions are remembered.
const MOST_LOST: usize = 64;

/// A session that the service has lost.
#[derive(Debug)]
pub(super) struct Lost {
    generation: u64,
    /// When that was first heard.
    at: Instant,
    /// When a new session was asked for: a service may end the old one only then, under calls that run in it.
    replaced: Option<Instant>,
}

impl Legacy {
    /// A request was refused because its session is gone: it goes again in the next one, once, if that is safe.
    pub(super) fn lost_under(&mut self, number: u64, loss: Loss) {
        let current = self.session.generation;
        let Some(request) = self.table.request(number) else { return };
        let generation = request.generation;
        if request.asker == Asker::Own(Own::Restore) {
            // The session was opened a moment ago: what cannot be restored there is let go.
            let error = loss.failure.error;
            return self.give_up(number, &error);
        }
        if request.replayed {
            return self.pass_through(number, loss);
        }
        // Nothing runs in a session that was lost before the call was sent.
        let now = self.moment.now;
        let is_proof = |lost: &Lost| {
            lost.replaced.is_none_or(|at| now < at) || loss.sent.is_some_and(|sent| sent > lost.at)
        };
        let lost = self.lost.iter().find(|lost| lost.generation == generation);
        let was_ours = generation == current || lost.is_some_and(is_proof);
        let is_safe = request.class != Class::C || (was_ours && loss.after <= PROMPT);
        if !is_safe {
            let error =
                Error::new(Kind::ConnectionLost, "the session of this call ended before its answer came")
                    .remedy(Remedy::CheckEffect);
            self.give_up(number, &error.executed(Executed::Maybe));
            return self.session_lost(generation);
        }
        request.replayed = true;
        request.in_doubt |= loss.after > PROMPT;
        request.sending = Sending::Waiting;
        if generation < current {
            return self.submit(number);
        }
        self.enqueue(number);
        self.session_lost(generation);
    }

    /// A second refusal in a row is the service's own word (LEG-11).
    fn pass_through(&mut self, number: u64, loss: Loss) {
        match loss.answer {
            Some(message)
                if self.table.request(number).is_some_and(|r| r.asker == Asker::Own(Own::Tools)) =>
            {
                self.table.remove(number);
                self.out.push(Out::Heard(Heard::Tools(Ok(message))));
            }
            Some(_) if self.table.request(number).is_some_and(|r| r.asker != Asker::Client) => {
                self.table.remove(number);
            }
            Some(message) => {
                let status = loss.failure.error.details().http_status.unwrap_or(404);
                if self.table.remove_request(number).is_some() {
                    self.out.push(Out::Heard(Heard::Answer { number, message, status }));
                }
            }
            None => {
                let executed = if loss.after > PROMPT { Executed::Maybe } else { Executed::No };
                self.give_up(number, &loses_sessions().executed(executed));
            }
        }
    }

    pub(super) fn lost_under_notice(&mut self, notice: Notice) {
        let generation = notice.generation;
        // Neither an answer nor a cancellation means anything in another session.
        let method = notice.message.method();
        let survives = !matches!(method, "" | "notifications/cancelled" | "notifications/progress");
        if method.is_empty() {
            self.note("dropped an answer of the client: the session that asked is gone");
        }
        if survives && !notice.replayed && !notice.confirms_session {
            let is_current = generation == self.session.generation;
            // It belongs to the next session now.
            let next = if is_current { generation + 1 } else { self.session.generation };
            let again = Notice { replayed: true, generation: next, ..notice };
            let again = self.table.insert(Entry::Notice(again));
            if !is_current {
                return self.submit(again);
            }
            self.queue.push_back(again);
        }
        self.session_lost(generation);
    }

    /// Opens the session anew, once for all who lost it.
    pub(super) fn session_lost(&mut self, generation: u64) {
        if generation != self.session.generation {
            return;
        }
        self.lost_in_a_row += 1;
        let streams = self.session.wire.answers_elsewhere();
        self.forget_session();
        self.lost.truncate(MOST_LOST - 1);
        self.lost.insert(0, Lost { generation, at: self.moment.now, replaced: None });
        if streams {
            let error = Error::new(Kind::ConnectionLost, "the service has ended the session")
                .remedy(Remedy::CheckEffect);
            self.lose_with_stream(generation, &error);
        }
        if self.lost_in_a_row > MOST_REOPENINGS {
            self.lost_in_a_row = 0;
            return self.fail_queue(&loses_sessions());
        }
        let grace = if self.table.is_used(generation) { OTHERS } else { Duration::ZERO };
        let after = match self.lost_in_a_row {
            0 | 1 => grace,
            again => reissue_after(again - 2, self.moment.random).max(grace),
        };
        self.open_ourselves(after);
    }

    /// A new session is asked for after this pause.
    pub(super) fn lost_are_replaced(&mut self, after: Duration) {
        let at = self.moment.now + after;
        self.lost.iter_mut().for_each(|lost| lost.replaced = lost.replaced.or(Some(at)));
    }

    /// The stream of HTTP+SSE ended: the session is gone with it (SSE-4).
    pub(super) fn session_ended_with_stream(&mut self, error: &Error) {
        let generation = self.session.generation;
        self.lost_in_a_row += 1;
        self.forget_session();
        self.lose_with_stream(generation, error);
        if self.lost_in_a_row > MOST_REOPENINGS {
            return self.fail_queue(error);
        }
        if self.words.params.is_some() || !self.queue.is_empty() {
            let number = self.ask_to_open();
            self.session.phase = Phase::Opening { number, head: None };
            let after = reissue_after(self.lost_in_a_row, self.moment.random);
            self.open_stream(after);
        }
    }

    /// The stream on which the answers of a session come is gone.
    pub(super) fn lose_with_stream(&mut self, generation: u64, error: &Error) {
        for number in self.table.requests() {
            self.lost_with_stream(number, generation, error);
        }
    }

    /// In doubt: what may be asked again is asked in the next session; the rest fails.
    fn lost_with_stream(&mut self, number: u64, generation: u64, error: &Error) {
        let fresh = self.table.own_id();
        let Some(request) = self.table.request(number) else { return };
        if request.sending == Sending::Waiting || request.generation != generation {
            return;
        }
        if request.class.may_reissue(request.reissues) {
            request.reissues += 1;
            let earlier = std::mem::replace(&mut request.upstream, fresh);
            request.in_doubt = true;
            request.sending = Sending::Waiting;
            self.table.spend(&earlier);
            self.enqueue(number);
            return self.effect(Effect::Abort(self.ticket(number)));
        }
        self.effect(Effect::Abort(self.ticket(number)));
        let failure = Failure { error: error.clone(), executed: Executed::Maybe, cause: Cause::Permanent };
        self.request_failed(number, failure);
    }
}
