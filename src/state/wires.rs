//! Remembers which wire an endpoint speaks, and whether it opens sessions (SSE-5, PROBE 1).
//!
//! Contains no secrets: an endpoint is identified by scheme, host, port and path, never by its query. Errors are
//! ignored, since a lost entry does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{State, now};
use crate::protocol::http::origin_and_path;
use crate::protocol::wire::WireKind;

const FILE: &str = "wires.json";
const VERSION: u32 = 1;
/// Lifetime of an entry: an upgraded service may still accept the old wire, so it is probed again (T-34).
const VALID: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of endpoints.
const MOST: usize = 200;

#[derive(Debug, Default, Deserialize, Serialize)]
struct Verdicts {
    version: u32,
    /// The endpoints with another wire than Streamable HTTP.
    endpoints: BTreeMap<String, Verdict>,
    /// The endpoints that open no sessions, each since when (seconds since 1970).
    #[serde(default)]
    no_sessions: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Verdict {
    wire: WireKind,
    /// Seconds since 1970.
    since: u64,
}

fn is_valid(since: u64) -> bool {
    now().saturating_sub(since) < VALID.as_secs()
}

impl State {
    /// Says whether an endpoint was last seen to open no sessions.
    pub fn opens_no_sessions(&self, endpoint: &Url) -> bool {
        self.verdicts().no_sessions.get(&origin_and_path(endpoint)).is_some_and(|since| is_valid(*since))
    }

    /// Remembers that an endpoint opens no sessions.
    pub fn remember_no_sessions(&self, endpoint: &Url) {
        self.change_verdicts(|verdicts| {
            let known = &mut verdicts.no_sessions;
            known.retain(|_, since| is_valid(*since));
            if known.len() < MOST {
                known.insert(origin_and_path(endpoint), now());
            }
        });
    }

    /// Remembers that an endpoint opens sessions after all.
    pub fn remember_sessions(&self, endpoint: &Url) {
        self.change_verdicts(|verdicts| _ = verdicts.no_sessions.remove(&origin_and_path(endpoint)));
    }

    /// Returns the wire that an endpoint last spoke.
    pub fn wire_of(&self, endpoint: &Url) -> Option<WireKind> {
        let verdicts = self.verdicts();
        let verdict = verdicts.endpoints.get(&origin_and_path(endpoint))?;
        is_valid(verdict.since).then_some(verdict.wire)
    }

    /// Remembers the wire that an endpoint speaks. Streamable HTTP is the default, so it only removes an entry.
    pub fn remember_wire(&self, endpoint: &Url, wire: WireKind) {
        self.change_verdicts(|verdicts| {
            let key = origin_and_path(endpoint);
            match wire {
                WireKind::HttpSse => {
                    verdicts.endpoints.retain(|_, known| is_valid(known.since));
                    if verdicts.endpoints.len() < MOST {
                        verdicts.endpoints.insert(key, Verdict { wire, since: now() });
                    }
                }
                WireKind::StreamableHttp => drop(verdicts.endpoints.remove(&key)),
            }
        });
    }

    fn change_verdicts(&self, change: impl FnOnce(&mut Verdicts)) {
        let _ = self.change(FILE, |verdicts: &mut Verdicts| {
            if verdicts.version != VERSION {
                *verdicts = Verdicts { version: VERSION, ..Verdicts::default() };
            }
            change(verdicts);
        });
    }

    fn verdicts(&self) -> Verdicts {
        let read: Option<Verdicts> = self.read(FILE);
        read.filter(|verdicts| verdicts.version == VERSION).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_wire_is_remembered_without_the_query_and_taken_back() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().join("state"));
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(state.wire_of(&url("https://h/sse")), None);
        state.remember_wire(&url("https://h/sse?key=ask_secret"), WireKind::HttpSse);
        assert_eq!(state.wire_of(&url("https://h/sse?key=other")), Some(WireKind::HttpSse));
        assert_eq!(state.wire_of(&url("https://h/mcp")), None);
        let kept = fs::read_to_string(home.path().join("state/wires.json")).unwrap();
        assert!(!kept.contains("secret"));
        state.remember_wire(&url("https://h/sse"), WireKind::StreamableHttp);
        assert_eq!(state.wire_of(&url("https://h/sse")), None);
    }

    #[test]
    fn that_an_endpoint_opens_no_sessions_is_remembered_for_a_day() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let url = |text: &str| Url::parse(text).unwrap();
        let mcp = url("https://h/mcp?key=ask_secret");
        assert!(!state.opens_no_sessions(&mcp));
        state.remember_wire(&url("https://h/sse"), WireKind::HttpSse);
        state.remember_no_sessions(&mcp);
        assert!(state.opens_no_sessions(&mcp) && !state.opens_no_sessions(&url("https://h/sse")));
        assert_eq!(state.wire_of(&url("https://h/sse")), Some(WireKind::HttpSse));
        let kept = fs::read_to_string(home.path().join("wires.json")).unwrap();
        assert!(!kept.contains("secret"));
        state.remember_sessions(&mcp);
        assert!(!state.opens_no_sessions(&mcp));
        let old = r#"{"version":1,"endpoints":{},"no_sessions":{"https://h/mcp":1000}}"#;
        fs::write(home.path().join("wires.json"), old).unwrap();
        assert!(!state.opens_no_sessions(&mcp), "a day later");
    }

    #[test]
    fn an_old_verdict_and_a_foreign_version_are_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let url = Url::parse("https://h/sse").unwrap();
        let write = |text: &str| fs::write(home.path().join("wires.json"), text).unwrap();
        write(r#"{"version":1,"endpoints":{"https://h/sse":{"wire":"http-sse","since":1000}}}"#);
        assert_eq!(state.wire_of(&url), None);
        let since = now();
        write(&format!(
            r#"{{"version":2,"endpoints":{{"https://h/sse":{{"wire":"http-sse","since":{since}}}}}}}"#
        ));
        assert_eq!(state.wire_of(&url), None);
        write("garbage");
        assert_eq!(state.wire_of(&url), None);
    }

    #[test]
    fn many_writers_lose_nothing() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let state = &state;
                scope.spawn(move || {
                    let url = Url::parse(&format!("https://h/{n}")).unwrap();
                    state.remember_wire(&url, WireKind::HttpSse);
                });
            }
        });
        assert_eq!(state.verdicts().endpoints.len(), 8);
    }
}
