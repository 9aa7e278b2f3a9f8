//! Faults on purpose: decides which request gets which fault of `--faults SPEC`.
//!
//! Does no IO and reads no clock. The fate of the n-th request that a rule concerns depends on the seed, on the rule's
//! place in SPEC and on n only. All rules count under one lock, so that concurrent requests share out the same fates.

mod spec;

use super::service::Manner;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const MILLION: u64 = 1_000_000;

/// Describes a kind of fault.
#[derive(Clone, Copy, Debug)]
pub struct FaultKind {
    /// How SPEC names it.
    pub form: &'static str,
    /// Whether the call runs.
    pub runs: bool,
    /// What the client gets.
    pub about: &'static str,
}

/// All kinds of faults.
pub const FAULT_KINDS: &[FaultKind] = &[
    kind("429[=DUR]", false, "Too many requests; with DUR also Retry-After"),
    kind("500", false, "Internal error"),
    kind("502", false, "Bad gateway, with a page of HTML"),
    kind("503[=DUR]", false, "Unavailable; with DUR also Retry-After"),
    kind("reset", false, "The connection is reset"),
    kind("lost", true, "The connection is reset before the answer"),
    kind("slow=DUR", true, "The answer comes DUR later"),
    kind("session", false, "404, the session is forgotten (asistry)"),
    kind("drop", true, "The event stream ends before the answer (asistry, agentstack's /stream)"),
    kind("expired", false, "401 invalid_token"),
];

const fn kind(form: &'static str, runs: bool, about: &'static str) -> FaultKind {
    FaultKind { form, runs, about }
}

/// The faults of a sandbox; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    seed: u64,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    kind: Kind,
    /// A pattern of services; `None` for all.
    service: Option<String>,
    what: What,
    rate: Rate,
}

/// A fault. Seconds are those of `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    TooMany(Option<u64>),
    Internal,
    BadGateway,
    Unavailable(Option<u64>),
    Reset,
    Lost,
    Slow(Duration),
    Session,
    Drop,
    Expired,
}

/// What the requests ask for that a rule concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Any tool.
    Calls,
    /// Tools that match a pattern.
    Tools(String),
    /// Another method of MCP.
    Method(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rate {
    /// The n-th, the 2n-th and so on.
    Every(u64),
    /// This share, in millionths.
    Share(u64),
}

/// A service that SPEC can name.
pub(super) struct Known {
    pub service: &'static str,
    pub manner: Manner,
    pub tools: Vec<String>,
}

/// What a request asks for.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub service: &'a str,
    /// The tools that it calls.
    pub tools: Vec<&'a str>,
    /// The other methods that it calls.
    pub methods: Vec<&'a str>,
    /// Whether it belongs to a session.
    pub in_session: bool,
    /// Whether an event stream may answer it.
    pub takes_events: bool,
    /// Whether it carries a key or token.
    pub has_key: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// How much later its answer comes.
    pub wait: Duration,
    /// Its fault, other than [`Kind::Slow`].
    pub kind: Option<Kind>,
}

/// The faults of a running sandbox, and how many requests each rule has concerned.
#[derive(Debug)]
pub(super) struct Turns {
    faults: Faults,
    counts: Mutex<Vec<u64>>,
}

impl Turns {
    /// Begins to count.
    pub fn new(faults: Faults) -> Self {
        let counts = Mutex::new(vec![0; faults.rules.len()]);
        Self { faults, counts }
    }

    /// Counts a request and decides its fate: the first rule that hits, and the waits of all.
    pub fn fate(&self, asked: &Asked<'_>) -> Fate {
        let mut fate = Fate::default();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for ((at, rule), count) in (0..).zip(&self.faults.rules).zip(counts.iter_mut()) {
            if !rule.concerns(asked) {
                continue;
            }
            *count += 1;
            match rule.kind {
                _ if !rule.rate.hits(*count, self.faults.seed, at) => {}
                Kind::Slow(wait) => fate.wait += wait,
                kind => fate.kind = fate.kind.or(Some(kind)),
            }
        }
        drop(counts);
        if fate != Fate::default() {
            tracing::info!(service = asked.service, tools = ?asked.tools, ?fate, "a fault on purpose");
        }
        fate
    }
}

impl Rule {
    fn concerns(&self, asked: &Asked<'_>) -> bool {
        let can_have_it = match self.kind {
            Kind::Session => asked.in_session,
            Kind::Drop => asked.takes_events,
            Kind::Expired => asked.has_key,
            _ => true,
        };
        can_have_it
            && self.is_about(asked.service)
            && match &self.what {
                What::Calls => !asked.tools.is_empty(),
                What::Tools(glob) => asked.tools.iter().any(|tool| matches(glob, tool)),
                What::Method(method) => asked.methods.contains(method),
            }
    }

    fn is_about(&self, service: &str) -> bool {
        self.service.as_ref().is_none_or(|glob| matches(glob, service))
    }
}

impl Kind {
    /// Says whether it takes the place of the service's answer, so that nothing runs.
    pub fn refuses(self) -> bool {
        !matches!(self, Self::Lost | Self::Slow(_) | Self::Drop)
    }
}

impl Rate {
    /// Says whether the n-th request is hit.
    fn hits(self, n: u64, seed: u64, rule: u64) -> bool {
        match self {
            Self::Every(step) => n.is_multiple_of(step),
            Self::Share(millionths) => mixed(mixed(mixed(seed) ^ rule) ^ n) % MILLION < millionths,
        }
    }
}

/// Mixes 64 bits (SplitMix64).
fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Says whether a name matches a pattern with `*` and `?`, in linear space.
fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    // Where to go on when what follows the last `*` does not fit.
    let mut retry = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                g += 1;
                retry = Some((g, n));
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (g, n) = (g + 1, n + 1),
            _ => {
                let Some((after, from)) = retry else { return false };
                (g, n) = (after, from + 1);
                retry = Some((after, n));
            }
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rates: &[Rate], seed: u64) -> Faults {
        let kinds = [Kind::Reset, Kind::Lost, Kind::Internal];
        let rule = |(rate, kind): (&Rate, Kind)| Rule { kind, service: None, what: What::Calls, rate: *rate };
        Faults { seed, rules: rates.iter().zip(kinds).map(rule).collect() }
    }

    fn call(tool: &str) -> Asked<'_> {
        Asked { service: "asistry", tools: vec![tool], ..Asked::default() }
    }

    fn fates(rates: &[Rate], seed: u64) -> Vec<Option<Kind>> {
        let turns = Turns::new(faults(rates, seed));
        (0..1000).map(|_| turns.fate(&call("x")).kind).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_seed_others() {
        let rates = [Rate::Share(MILLION / 5), Rate::Share(MILLION / 10)];
        assert_eq!(fates(&rates, 7), fates(&rates, 7));
        assert_ne!(fates(&rates, 7), fates(&rates, 8));
        let hit = |kind| fates(&rates, 7).iter().filter(|fate| **fate == Some(kind)).count();
        assert!((150..250).contains(&hit(Kind::Reset)), "{}", hit(Kind::Reset));
        assert!((50..120).contains(&hit(Kind::Lost)), "{}", hit(Kind::Lost));
    }

    #[test]
    fn requests_at_the_same_time_share_out_the_same_fates() {
        let rates = [Rate::Share(MILLION / 5), Rate::Share(MILLION / 10), Rate::Every(7)];
        let turns = Turns::new(faults(&rates, 7));
        let mut together: Vec<_> = std::thread::scope(|scope| {
            let ask = || (0..250).map(|_| turns.fate(&call("x")).kind).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut alone = fates(&rates, 7);
        let order = |kind: &Option<Kind>| format!("{kind:?}");
        together.sort_by_key(order);
        alone.sort_by_key(order);
        assert_eq!(together, alone);
    }

    #[test]
    fn one_in_three_is_each_third_and_a_rule_counts_what_it_concerns_only() {
        let mut third = faults(&[Rate::Every(3)], 0);
        third.rules[0].what = What::Tools("create_*".into());
        let turns = Turns::new(third);
        let hit = |tool: &str| turns.fate(&call(tool)).kind.is_some();
        let hits: Vec<_> = (0..7).map(|_| hit("list_tasks") || hit("create_task")).collect();
        assert_eq!(hits, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn waits_add_up_beside_the_first_fault_that_hits() {
        let mut all = faults(&[Rate::Every(1), Rate::Every(1)], 0);
        let slow = Rule { kind: Kind::Slow(Duration::from_secs(1)), ..all.rules[0].clone() };
        all.rules.extend([slow.clone(), slow]);
        let fate = Turns::new(all).fate(&call("x"));
        assert_eq!(fate, Fate { wait: Duration::from_secs(2), kind: Some(Kind::Reset) });
    }

    #[test]
    fn a_pattern_matches_a_whole_name() {
        for (glob, name) in [
            ("create_task", "create_task"),
            ("*", ""),
            ("*", "x"),
            ("*_task", "a_task_task"),
            ("c*_t?sk", "create_task"),
            ("a*b*c", "a-b-b-c"),
            ("**", "x"),
        ] {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in
            [("create", "create_task"), ("?", ""), ("*_task", "task"), ("a*b*c", "acb"), ("", "x")]
        {
            assert!(!matches(glob, name), "{glob} {name}");
        }
        assert!(!matches(&"*a".repeat(20), &"a".repeat(100_000).replace("aa", "ab")));
    }
}
