//! When to wait and when to give up: 429 and 503 answers.
//!
//! Refuses to look at a clock or to draw random numbers: both are passed in. No hint of a service
//! is believed beyond its cap, since a hostile header could otherwise stop everything for years.

mod busy;

use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;

pub use busy::{Busy, tells_progress};

/// The first step of the backoff without a hint; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// Section 6.1: no request is sent more often than this, whatever is hinted.
const MOST_ATTEMPTS: u32 = 10;
/// Without a hint no more than this many waits, however short they are.
const MOST_UNHINTED: u32 = 8;
/// A hinted wait is spread over this much more, so that callers do not come back at one instant.
const SPREAD: Duration = Duration::from_millis(100);

/// A reply that refuses a request for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// How long the service asks to wait.
    pub hint: Option<Duration>,
}

/// Why a request was refused for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// 429: nothing was processed.
    #[default]
    RateLimit,
    /// The service says that it is busy, in the way that its data declares: nothing was processed.
    Busy,
    /// 503 with `Retry-After`, which alone proves nothing.
    Unavailable,
}

/// What one request has waited so far, over all its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// For how long.
    pub spent: Duration,
    /// After how many refusals.
    pub refusals: u32,
    /// How many of those were a 429 that named no time.
    pub unhinted: u32,
}

impl Waited {
    /// Says whether the attempts are used up (section 6.1): no longer wait would help.
    pub fn is_spent(&self, hint: Option<Duration>) -> bool {
        self.refusals >= MOST_ATTEMPTS || (hint.is_none() && self.refusals > MOST_UNHINTED)
    }
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this long.
    Wait(Duration),
    /// The wait would pass the budget, or waiting cannot help.
    GiveUp,
}

/// How long one request may wait for its turn, over all its attempts.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// `--max-wait`: the only cap on waiting; zero means never wait.
    pub max_wait: Duration,
    /// The pauses after a 429 without a hint, after which it is final; none: a backoff.
    pub unhinted_pauses: Option<Vec<Duration>>,
    /// A 503 with `Retry-After` proves that nothing was processed (the profile or the service's data says so).
    pub repeats_503: bool,
    /// The replies that say that the service is busy.
    pub busy: Busy,
}

impl RetryPolicy {
    /// Waits this long at a service that declares nothing.
    pub fn waiting(max_wait: Duration) -> Self {
        Self { max_wait, unhinted_pauses: None, repeats_503: false, busy: Busy::default() }
    }

    /// Decides about a refusal; `random` lies in 0..1. A wait follows the hint exactly or longer; without a hint it is
    /// the declared pause, or full jitter.
    pub fn after_refusal(&self, refusal: Refusal, waited: Waited, random: f64) -> Verdict {
        if waited.refusals + 1 >= MOST_ATTEMPTS {
            return Verdict::GiveUp;
        }
        // A service that says 0 again and again is not asked ten times a second.
        let hint = refusal.hint.map(|hint| hint.max(backoff(SPREAD, waited.refusals, FIRST_BACKOFF)));
        let pauses = self.unhinted_pauses.as_ref().filter(|_| refusal.why == Why::RateLimit);
        let pause = pauses.map(|pauses| pauses.get(waited.unhinted as usize));
        let (asked, wait) = match (hint, pause) {
            (Some(asked), _) | (None, Some(Some(&asked))) => {
                // The spread is ours, not the service's: it may not make a wait fail that just fits.
                (asked, asked.saturating_add(SPREAD.mul_f64(random)))
            }
            (None, Some(None)) => return Verdict::GiveUp,
            (None, None) if waited.refusals >= MOST_UNHINTED => return Verdict::GiveUp,
            (None, None) => {
                let wait = backoff(FIRST_BACKOFF, waited.refusals, LONGEST_BACKOFF).mul_f64(random);
                (wait, wait)
            }
        };
        if asked.saturating_add(waited.spent) > self.max_wait { Verdict::GiveUp } else { Verdict::Wait(wait) }
    }
}

/// Returns `first` doubled `times` times, `most` at the most.
pub fn backoff(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times.min(16))).min(most)
}

/// Reads how long a service asks to wait: `Retry-After` in seconds or as a date (RFC 9110 10.2.3),
/// `X-Retry-After`, `RateLimit-Reset`, or `t` or `reset` of `RateLimit` (draft-ietf-httpapi-ratelimit).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    ["retry-after", "x-retry-after"]
        .iter()
        .find_map(|name| seconds_or_date(text(name)?, now))
        .or_else(|| read_seconds(text("ratelimit-reset")?))
        .or_else(|| reset_of(text("ratelimit")?))
}

fn seconds_or_date(text: &str, now: SystemTime) -> Option<Duration> {
    read_seconds(text).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })
}

fn read_seconds(text: &str) -> Option<Duration> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u32::MAX.into())));
    }
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `"default";r=0;t=30` (now) or `limit=100, remaining=0, reset=30` (earlier drafts).
fn reset_of(text: &str) -> Option<Duration> {
    text.split([';', ',']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        matches!(name.trim(), "t" | "reset").then(|| read_seconds(value.trim())).flatten()
    })
}

/// Writes a duration for a person.
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) && duration.subsec_millis() != 0 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    format!("{} s", duration.as_secs())
}

/// What one exchange asks the gate of its key.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// How long its request may still wait.
    pub patience: Duration,
    /// The turn that it was given before.
    pub turn: Option<Instant>,
}

/// The gate's decision about one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may go.
    Go,
    /// It goes a moment later, so that not all leave at one instant; no rate limit is known.
    Staggered(Duration),
    /// The rate is limited: it asks again after this long.
    Wait(Duration),
    /// The service is busy, and asks for this pause.
    Paused(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_wait: Duration::from_secs(60),
        unhinted_pauses: None,
        repeats_503: false,
        busy: Busy { statuses: Vec::new(), errors: Vec::new(), fields: Vec::new(), seconds: Vec::new() },
    };

    fn limited(hint: Option<Duration>) -> Refusal {
        Refusal { why: Why::RateLimit, hint }
    }

    fn waited(spent: Duration, refusals: u32) -> Waited {
        Waited { spent, refusals, unhinted: 0 }
    }

    fn hint(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        retry_after(&headers, now)
    }

    #[test]
    fn every_way_to_ask_for_a_wait_is_read() {
        let thirty = Some(Duration::from_secs(30));
        assert_eq!(hint("retry-after", "30"), thirty);
        assert_eq!(hint("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), thirty);
        assert_eq!(hint("x-retry-after", " 30 "), thirty);
        assert_eq!(hint("ratelimit-reset", "30"), thirty);
        assert_eq!(hint("ratelimit", r#""default";r=0;t=30"#), thirty);
        assert_eq!(hint("ratelimit", "limit=100, remaining=0, reset=30"), thirty);
        assert_eq!(hint("retry-after", "Wed, 06 Nov 1974 08:49:37 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_no_hint() {
        for value in ["-5", "soon", "", "NaN", "inf", "1e400"] {
            assert_eq!(hint("retry-after", value), None, "{value}");
        }
    }

    #[test]
    fn ten_years_are_past_every_budget_and_do_not_overflow() {
        for value in ["315360000", "99999999999999999999999999"] {
            let asked = limited(hint("retry-after", value));
            assert_eq!(POLICY.after_refusal(asked, Waited::default(), 0.5), Verdict::GiveUp);
        }
    }

    #[test]
    fn a_hint_is_never_cut_short_and_the_budget_counts_all_waits() {
        let ten = limited(Some(Duration::from_secs(10)));
        let Verdict::Wait(wait) = POLICY.after_refusal(ten, Waited::default(), 0.9) else { panic!() };
        assert!(wait >= Duration::from_secs(10) && wait < Duration::from_secs(11));
        let fifty_one = waited(Duration::from_secs(51), 5);
        assert_eq!(POLICY.after_refusal(ten, fifty_one, 0.0), Verdict::GiveUp);
        let never = RetryPolicy { max_wait: Duration::ZERO, ..POLICY };
        let one = limited(Some(Duration::from_secs(1)));
        assert_eq!(never.after_refusal(one, Waited::default(), 0.0), Verdict::GiveUp);
    }

    #[test]
    fn a_hint_of_zero_does_not_hammer_the_service() {
        let (mut spent, mut waits) = (Duration::ZERO, 0);
        let zero = limited(Some(Duration::ZERO));
        while let Verdict::Wait(wait) = POLICY.after_refusal(zero, waited(spent, waits), 0.0) {
            (spent, waits) = (spent + wait, waits + 1);
            assert!(waits < MOST_ATTEMPTS, "{spent:?}");
        }
        assert!(spent <= POLICY.max_wait);
    }

    #[test]
    fn without_a_hint_the_wait_is_full_jitter() {
        let wait = |waits, random| {
            let waited = Waited { unhinted: waits, ..waited(Duration::ZERO, waits) };
            POLICY.after_refusal(limited(None), waited, random)
        };
        assert_eq!(wait(0, 0.5), Verdict::Wait(Duration::from_millis(500)));
        assert_eq!(wait(3, 0.5), Verdict::Wait(Duration::from_secs(4)));
        assert_eq!(wait(MOST_UNHINTED, 0.0), Verdict::GiveUp);
    }

    #[test]
    fn a_429_without_a_hint_is_final_after_the_declared_pauses() {
        let pauses = [1, 2].map(Duration::from_secs);
        let policy = RetryPolicy { unhinted_pauses: Some(pauses.to_vec()), ..POLICY };
        let verdict = |why, hint, unhinted| {
            let waited = Waited { unhinted, ..waited(Duration::ZERO, unhinted + 1) };
            policy.after_refusal(Refusal { why, hint }, waited, 0.0)
        };
        assert_eq!(verdict(Why::RateLimit, None, 0), Verdict::Wait(pauses[0]), "a hinted one came before");
        assert_eq!(verdict(Why::RateLimit, None, 1), Verdict::Wait(pauses[1]));
        assert_eq!(verdict(Why::RateLimit, None, 2), Verdict::GiveUp);
        assert_eq!(verdict(Why::RateLimit, Some(pauses[1]), 2), Verdict::Wait(pauses[1]));
        assert!(matches!(verdict(Why::Busy, None, 2), Verdict::Wait(_)), "busy is no limit of a plan");
    }
}
