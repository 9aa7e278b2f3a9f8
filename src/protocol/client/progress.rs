//! Progress notifications about requests that wait for a rate limit, or for a busy service.
//!
//! Never lets progress fall (specification, "Progress"; T-27).

use std::cell::OnceCell;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Client;
use crate::protocol::effect::{About, Delivery, Effect, Origin};
use crate::protocol::message::{Message, quote};
use crate::protocol::object::object;
use crate::protocol::retry::Why;

/// Milliseconds until a request that waits for a rate limit goes out again, in the `_meta` of our
/// own progress notifications.
pub const RETRY_AFTER: &str = "com.asistry/retryAfterMs";
/// Beside it: [`BUSY`] where it waits for a busy service instead.
pub const WAIT_REASON: &str = "com.asistry/waitReason";
/// The value of [`WAIT_REASON`].
pub const BUSY: &str = "busy";
/// Our own steps are below everything that a service counts.
const STEP: f64 = 1e-6;

/// Longer parameters of a notification are read at once instead of being kept, in bytes.
const LONG: usize = 1024;

/// The progress that was reported of a request.
#[derive(Debug, Default)]
pub(super) struct Progress {
    token: OnceCell<Option<Token>>,
    count: Count,
    /// Parameters of the service's last notification; read before asistry adds its own, which is rare.
    unread: String,
}

/// A request's progress token.
#[derive(Debug)]
struct Token {
    raw: String,
    /// How most services write it into a notification.
    field: String,
}

#[derive(Debug, Default)]
struct Count {
    last: f64,
    /// Some of it was our own.
    ours: bool,
}

impl Token {
    fn of(request: &Message) -> Option<Self> {
        let raw = token_of(request)?.to_owned();
        let field = format!(r#""progressToken":{raw}"#);
        Some(Self { raw, field })
    }

    fn is_plainly_in(&self, params: &str) -> bool {
        let behind = params.find(&self.field).map(|at| &params[at + self.field.len()..]);
        behind.is_some_and(|rest| rest.starts_with([',', '}']))
    }

    fn is(&self, raw: &str) -> bool {
        let value = |raw: &str| serde_json::from_str::<serde_json::Value>(raw).ok();
        self.raw == raw || value(&self.raw) == value(raw)
    }
}

impl Count {
    /// Returns the next value of our own, unless no number is higher.
    fn step(&mut self) -> Option<f64> {
        let next = (self.last + STEP).max(self.last.next_up());
        next.is_finite().then(|| {
            self.ours = true;
            self.last = next;
            next
        })
    }

    /// Reads a value of the service; false if it must not be passed on after our own.
    fn read(&mut self, params: &str, token: &Token) -> bool {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, rename = "progressToken")]
            token: &'a RawValue,
            progress: f64,
        }
        let Ok(params) = serde_json::from_str::<Params>(params) else { return true };
        if !token.is(params.token.get()) {
            return true;
        }
        let rises = params.progress > self.last || !self.ours;
        self.last = self.last.max(params.progress);
        rises
    }
}

impl Progress {
    /// Returns the token and the next value of our own.
    fn step(&mut self, request: &Message) -> Option<(&str, f64)> {
        let token = self.token.get_or_init(|| Token::of(request)).as_ref()?;
        self.count.read(&std::mem::take(&mut self.unread), token);
        Some((&token.raw, self.count.step()?))
    }

    /// Says whether a notification of the service with these parameters may be passed on.
    fn passes(&mut self, request: &Message, params: &str) -> bool {
        let Some(token) = self.token.get_or_init(|| Token::of(request)) else { return true };
        if !self.count.ours && params.len() <= LONG && token.is_plainly_in(params) {
            self.unread.clear();
            self.unread.push_str(params);
            return true;
        }
        self.count.read(params, token)
    }
}

impl Client {
    /// A request waits for a rate limit, or for a busy service: reports that to the client if it asked for progress.
    pub(in crate::protocol) fn waits(&mut self, number: u64, remaining: Duration, why: Why) {
        let seconds = remaining.as_secs_f64().ceil();
        let (does, reason) = match why {
            Why::RateLimit => ("limits the rate", None),
            Why::Busy | Why::Unavailable => ("asks to wait", Some((WAIT_REASON, quote(BUSY)))),
        };
        let text = quote(&format!("{} {does}; trying again in {seconds} s", self.settings.place));
        let meta = object([(RETRY_AFTER, remaining.as_millis().to_string())].into_iter().chain(reason));
        self.report_step(number, &[("message", &*text), ("_meta", &*meta)]);
    }

    /// Reports a step of our own, with these fields, to the client if it asked for progress.
    pub(super) fn report_step(&mut self, number: u64, more: &[(&str, &str)]) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let Some((token, progress)) = open.progress.step(&open.message) else { return };
        let progress = progress.to_string();
        let step = [("progressToken", token), ("progress", &*progress)];
        let params = object(step.into_iter().chain(more.iter().copied()));
        let heartbeat = Message::notification("notifications/progress", Some(&params));
        let about = open.message.id().map_or(About::Anyone, |id| About::During(id.clone()));
        let delivery = Delivery { about, text: heartbeat.text().clone(), origin: Origin::Bridge };
        self.effects.push(Effect::Deliver(delivery));
    }

    /// Says whether a progress notification of the service may be passed on.
    pub(super) fn progresses(&mut self, message: &Message, during: Option<u64>) -> bool {
        let open = during.and_then(|number| self.open.get_mut(&number));
        let (Some(params), Some(open)) = (message.params(), open) else { return true };
        open.progress.passes(&open.message, params)
    }
}

/// Returns the raw progress token of a request.
fn token_of(message: &Message) -> Option<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Id;

    fn request() -> Message {
        Message::request(&Id::Integer(1), "tools/call", Some(r#"{"_meta":{"progressToken":"tok"}}"#))
    }

    #[test]
    fn progress_rises_whatever_the_service_counts() {
        let params = |token: &str, value: f64| format!(r#"{{"progressToken":{token},"progress":{value:?}}}"#);
        for last in [0.0, 3.0, 1e12, 1e300] {
            let (mut progress, request) = (Progress::default(), request());
            let mine = params(r#""tok""#, last);
            assert!(progress.passes(&request, &mine) && progress.passes(&request, &mine), "before our own");
            let other = params(r#""tok2""#, last * 3.0);
            assert!(progress.passes(&request, &other), "another request's does not count");
            let (token, ours) = progress.step(&request).unwrap();
            assert_eq!(token, r#""tok""#);
            assert!(ours > last && ours < last + 0.001 || last > 1e11, "{ours}");
            assert!(ours > last && progress.step(&request).unwrap().1 > ours);
            assert!(progress.passes(&request, &other));
            assert!(!progress.passes(&request, &mine));
            assert!(!progress.passes(&request, &params(r#""t\u006fk""#, last)), "the same token");
            assert!(progress.passes(&request, &params(r#""tok""#, last * 2.0 + 1.0)));
        }
    }

    #[test]
    fn where_no_number_is_higher_nothing_of_our_own_is_said() {
        let (mut progress, request) = (Progress::default(), request());
        let most = format!(r#"{{"progressToken":"tok","progress":{:?}}}"#, f64::MAX);
        assert!(progress.passes(&request, &most));
        assert_eq!(progress.step(&request), None);
    }
}
