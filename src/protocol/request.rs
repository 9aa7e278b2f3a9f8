//! The limits of one request over all its attempts: its deadline, how long it may wait, whether it may be
//! sent again.
//!
//! The upstream keeps one [`Promise`] for each request and lends a copy to each attempt, which hands it back with
//! every report. Refuses to read a clock: `now` is passed in.

use std::time::{Duration, Instant};

use crate::error::{Executed, Remedy};
use crate::protocol::Moment;
use crate::protocol::message::Message;
use crate::protocol::retry::{Refusal, RetryPolicy, Verdict, Waited, Why};
use crate::protocol::revision::Era;

/// How often a request is issued anew on our own account.
const MOST_REISSUES: u32 = 2;

/// Limits of one request that outlive its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    deadline: Option<(Instant, Duration)>,
    waited: Waited,
    renewals: u8,
    step_ups: u8,
    nonces: u8,
}

impl Promise {
    /// Makes the promise of a request that came at `now`; `max_time` is `--max-time`.
    pub fn new(now: Instant, max_time: Option<Duration>) -> Self {
        let deadline = max_time.map(|limit| (now + limit, limit));
        Self { deadline, waited: Waited::default(), renewals: 0, step_ups: 0, nonces: 0 }
    }

    /// Ends it at this instant, if not before.
    #[must_use]
    pub fn until(mut self, end: Instant) -> Self {
        self.deadline = self.deadline.map(|(at, limit)| (at.min(end), limit));
        self
    }

    /// Returns the instant by which the request ends, whatever happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.map(|(at, _)| at)
    }

    /// Returns `--max-time`, if it has passed.
    pub fn broken_at(&self, now: Instant) -> Option<Duration> {
        self.deadline.filter(|(at, _)| *at <= now).map(|(_, limit)| limit)
    }

    /// Decides about a refusal that may be waited out and counts it.
    pub fn refused(&mut self, policy: &RetryPolicy, refusal: Refusal, moment: Moment) -> Verdict {
        let verdict = policy.after_refusal(refusal, self.waited, moment.random);
        self.waited.refusals += 1;
        self.waited.unhinted += u32::from(refusal.why == Why::RateLimit && refusal.hint.is_none());
        match verdict {
            Verdict::Wait(wait) if self.outlasts(moment.now, wait) => Verdict::GiveUp,
            verdict => verdict,
        }
    }

    /// Says whether the request may wait this much longer for a rate limit (`--max-wait`, `--max-time`).
    pub fn allows_wait(&self, policy: &RetryPolicy, wait: Duration, now: Instant) -> bool {
        self.waited.spent.saturating_add(wait) <= policy.max_wait && !self.outlasts(now, wait)
    }

    /// Returns what to do after the last refusal, which asked to wait this long; none without such a time, unless the
    /// attempts are used up.
    pub fn remedy_of_refusal(
        &self,
        policy: &RetryPolicy,
        hint: Option<Duration>,
        now: Instant,
    ) -> Option<Remedy> {
        if self.waited.is_spent(hint) {
            let all = format!("try again later: all {} attempts were refused", self.waited.refusals);
            return Some(Remedy::Advice(all.into()));
        }
        hint.map(|wait| self.remedy(policy, wait, now))
    }

    /// Returns what would allow a wait that [`Self::allows_wait`] refuses.
    pub fn remedy(&self, policy: &RetryPolicy, wait: Duration, now: Instant) -> Remedy {
        let total = self.waited.spent.saturating_add(wait);
        match self.deadline {
            Some((at, limit)) if total <= policy.max_wait && self.outlasts(now, wait) => {
                Remedy::AllowTime(limit + (now + wait).saturating_duration_since(at))
            }
            _ => Remedy::AllowWait(Duration::from_secs(total.as_secs() + 1)),
        }
    }

    /// Returns how much longer the request may wait for a rate limit.
    pub fn patience(&self, policy: &RetryPolicy) -> Duration {
        policy.max_wait.saturating_sub(self.waited.spent)
    }

    /// Counts a wait for a rate limit.
    pub fn waits(&mut self, wait: Duration) {
        self.waited.spent += wait;
    }

    /// Counts a renewal of the credential; false where there was one already (AUTH-14).
    pub fn renews(&mut self) -> bool {
        self.renewals += 1;
        self.renewals == 1
    }

    /// Counts a login for more scopes; false where there were two already (AUTH-15).
    pub fn steps_up(&mut self) -> bool {
        self.step_ups += 1;
        self.step_ups <= 2
    }

    /// Counts a nonce that a proof lacked; false where there were three already (RFC 9449 section 9).
    pub fn takes_nonce(&mut self) -> bool {
        self.nonces = self.nonces.saturating_add(1);
        self.nonces <= 3
    }

    /// A credential was accepted: the next rejection may renew it again.
    pub fn accepted(&mut self) {
        self.renewals = 0;
    }

    fn outlasts(&self, now: Instant, wait: Duration) -> bool {
        self.deadline.is_some_and(|(at, _)| now + wait >= at)
    }
}

/// A request of the client on its way to an upstream.
#[derive(Debug)]
pub struct Outgoing {
    /// Its number among the client's requests; its answer is reported under it.
    pub number: u64,
    /// The message.
    pub message: Message,
    /// What to do if it may have run.
    pub class: Class,
    /// Its limits.
    pub promise: Promise,
    /// When it leaves.
    pub leaves: Leaves,
    /// The era in which it is written.
    pub era: Era,
}

/// When a request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// As soon as the service can be spoken to.
    AtOnce,
    /// After a pause that the service wants.
    After(Duration),
    /// Once the service's whole list of tools is known and the client's side has decided about it.
    AfterTools,
}

/// A wait for a rate limit, or for a busy service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whether the rate is limited, or the service is busy.
    pub why: Why,
    /// Until when.
    pub until: Instant,
    /// Whether anything that was sent before it may have run.
    pub executed: Executed,
}

/// What to do about a message that may have run (section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Only asks: issued anew by itself, twice at most.
    A,
    /// A tool call that says that repeating it is harmless: issued anew once.
    B,
    /// Never issued anew.
    C,
}

impl Class {
    /// Returns the class of a method; a `tools/call` is of class C unless its tool says otherwise.
    pub fn of(method: &str) -> Self {
        match method {
            "initialize"
            | "server/discover"
            | "resources/read"
            | "prompts/get"
            | "completion/complete"
            | "ping"
            | "tasks/get"
            | "tasks/result"
            | "tasks/cancel"
            | "subscriptions/listen"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe" => Self::A,
            _ if method.ends_with("/list") && !method.starts_with("notifications/") => Self::A,
            _ => Self::C,
        }
    }

    /// Returns whether an exchange of this class may be made again while it may have run.
    pub fn repeat(self) -> Repeat {
        if self == Self::C { Repeat::Never } else { Repeat::Harmless }
    }

    /// Says whether a request that may have run is issued once more.
    pub fn may_reissue(self, reissues: u32) -> bool {
        match self {
            Self::A => reissues < MOST_REISSUES,
            Self::B => reissues == 0,
            Self::C => false,
        }
    }
}

/// Says whether a resource is the one that is subscribed to, or a part of it.
pub fn covers(subscribed: &str, uri: &str) -> bool {
    let rest = uri.strip_prefix(subscribed);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || subscribed.ends_with('/'))
}

/// Whether the message may be sent again although it may have run (section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It only reads, or says that repeating is harmless (classes A and B).
    Harmless,
    /// It may change something (class C).
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_is_issued_anew_by_itself() {
        assert_eq!(Class::of("tools/list"), Class::A);
        assert_eq!(Class::of("resources/templates/list"), Class::A);
        assert_eq!(Class::of("tools/call"), Class::C);
        assert_eq!(Class::of("tasks/update"), Class::C);
        assert_eq!(Class::of("x/custom"), Class::C);
    }
}
