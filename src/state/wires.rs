//! Remembers which wire an endpoint speaks, and whether it speaks the stateless era (SSE-5, PROBE 1).
//!
//! Contains no secrets: an endpoint is identified by scheme, host, port and path, never by its query. Errors are
//! ignored, since a lost entry does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{State, now};
use crate::protocol::http::origin_and_path;
use crate::protocol::settings::Spoken;
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
    #[serde(default)]
    stateless: BTreeMap<String, Stateless>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Verdict {
    wire: WireKind,
    /// Seconds since 1970.
    since: u64,
}

/// Whether an endpoint speaks the stateless era.
#[derive(Debug, Deserialize, Serialize)]
struct Stateless {
    spoken: bool,
    /// Seconds since 1970.
    since: u64,
}

fn is_valid(since: u64) -> bool {
    now().saturating_sub(since) < VALID.as_secs()
}

impl State {
    /// Returns whether an endpoint last spoke the stateless era.
    pub fn modern_of(&self, endpoint: &Url) -> Spoken {
        match self.verdicts().stateless.get(&origin_and_path(endpoint)) {
            Some(known) if is_valid(known.since) => {
                if known.spoken {
                    Spoken::Yes
                } else {
                    Spoken::No
                }
            }
            _ => Spoken::Unknown,
        }
    }

    /// Remembers whether an endpoint speaks the stateless era.
    pub fn remember_modern(&self, endpoint: &Url, spoken: Spoken) {
        self.change_verdicts(|verdicts| {
            let stateless = &mut verdicts.stateless;
            stateless.retain(|_, known| is_valid(known.since));
            let key = origin_and_path(endpoint);
            if stateless.len() < MOST || stateless.contains_key(&key) {
                stateless.insert(key, Stateless { spoken: spoken == Spoken::Yes, since: now() });
            }
        });
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
    fn the_era_of_an_endpoint_is_remembered_beside_its_wire() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(state.modern_of(&url("https://h/mcp")), Spoken::Unknown);
        state.remember_wire(&url("https://h/sse"), WireKind::HttpSse);
        state.remember_modern(&url("https://h/mcp"), Spoken::Yes);
        state.remember_modern(&url("https://h/old?key=ask_secret"), Spoken::No);
        assert_eq!(state.modern_of(&url("https://h/mcp")), Spoken::Yes);
        assert_eq!(state.modern_of(&url("https://h/old")), Spoken::No);
        assert_eq!(state.wire_of(&url("https://h/sse")), Some(WireKind::HttpSse));
        let text = fs::read_to_string(home.path().join("wires.json")).unwrap();
        assert!(!text.contains("secret"));
        let old =
            r#"{"version":1,"endpoints":{},"stateless":{"https://h/mcp":{"spoken":true,"since":1000}}}"#;
        fs::write(home.path().join("wires.json"), old).unwrap();
        assert_eq!(state.modern_of(&url("https://h/mcp")), Spoken::Unknown, "a day later");
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
