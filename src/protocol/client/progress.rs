//! Progress notifications about requests that wait for a rate limit.
//!
//! Refuses to let progress fall, whoever reports it (specification, "Progress"; T-27).

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Client;
use crate::protocol::effect::{About, Delivery, Effect, Origin, Ticket};
use crate::protocol::message::{Message, quote};

/// Milliseconds until a request that waits for a rate limit goes out again, in the `_meta` of our
/// own progress notifications.
pub const RETRY_AFTER: &str = "com.asistry/retryAfterMs";
/// Our own steps are below everything that a service counts.
const STEP: f64 = 1e-6;

/// Longer parameters of a notification are read at once instead of being kept, in bytes.
const LONG: usize = 1024;

/// The progress that was reported of a request.
#[derive(Debug, Default)]
pub(super) struct Progress {
    last: f64,
    /// Some of it was our own.
    ours: bool,
    /// Parameters of the service's last notification; read before asistry adds its own, which is rare.
    unread: String,
}

impl Progress {
    /// Returns the next value of asistry's own.
    fn step(&mut self, token: &str) -> f64 {
        let unread = std::mem::take(&mut self.unread);
        self.read(&unread, token);
        self.last = (self.last + STEP).max(self.last.next_up());
        self.ours = true;
        self.last
    }

    /// Reads a value of the service; false if it must not be passed on after our own.
    fn read(&mut self, params: &str, token: &str) -> bool {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, rename = "progressToken")]
            token: &'a RawValue,
            progress: f64,
        }
        let Ok(params) = serde_json::from_str::<Params>(params) else { return true };
        if params.token.get() != token {
            return true;
        }
        let rises = params.progress > self.last || !self.ours;
        self.last = self.last.max(params.progress);
        rises
    }
}

impl Client {
    /// A request waits for a rate limit: the client is told if it asked for progress.
    pub(in crate::protocol) fn waits(&mut self, ticket: Ticket, remaining: Duration) {
        let place = self.settings.place.clone();
        let Some(open) = self.open.get_mut(&ticket) else { return };
        let Some(token) = token_of(&open.message) else { return };
        let progress = open.progress.step(token);
        let seconds = remaining.as_secs_f64().ceil();
        let text = quote(&format!("{place} limits the rate; trying again in {seconds} s"));
        let meta = format!(r#"{{"{RETRY_AFTER}":{}}}"#, remaining.as_millis());
        let params =
            format!(r#"{{"progressToken":{token},"progress":{progress},"message":{text},"_meta":{meta}}}"#);
        let heartbeat = Message::notification("notifications/progress", Some(&params));
        let about = open.message.id().map_or(About::Anyone, |id| About::During(id.clone()));
        let delivery = Delivery { about, text: heartbeat.text().clone(), origin: Origin::Bridge };
        self.effects.push(Effect::Deliver(delivery));
    }

    /// Says whether a progress notification of the service may be passed on.
    pub(super) fn progresses(&mut self, message: &Message, during: Option<Ticket>) -> bool {
        let open = during.and_then(|ticket| self.open.get_mut(&ticket));
        let (Some(params), Some(open)) = (message.params(), open) else { return true };
        if !open.progress.ours && params.len() <= LONG {
            open.progress.unread.clear();
            open.progress.unread.push_str(params);
            return true;
        }
        token_of(&open.message).is_none_or(|token| open.progress.read(params, token))
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

    #[test]
    fn progress_rises_whatever_the_service_counts() {
        let params = |value: f64| format!(r#"{{"progressToken":1,"progress":{value:?}}}"#);
        for last in [0.0, 3.0, 1e12, 1e300] {
            let mut progress = Progress::default();
            assert!(progress.read(&params(last), "1") && progress.read(&params(last), "1"), "before our own");
            let ours = progress.step("1");
            assert!(ours > last && ours < last + 0.001 || last > 1e11, "{ours}");
            assert!(ours > last && progress.step("1") > ours);
            assert!(progress.read(&params(last), "2"), "another request's");
            assert!(!progress.read(&params(last), "1") && progress.read(&params(last * 2.0 + 1.0), "1"));
        }
    }
}
