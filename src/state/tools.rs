//! Caches the tools that a service last listed, per endpoint, dialect and credential, for calls and for completion.
//!
//! MOD-14: a service says for how long its list is fresh (`ttlMs`); an older one, which does not, is asked again after ten
//! minutes. Lists are kept for each credential, whatever their `cacheScope`; only completion, which must not open the key
//! store, offers the names of the list that was read last. No client of a bridge is answered from here.
//!
//! Contains no secrets: a credential is identified by its hash, an endpoint by scheme, host, port and path. Unreadable
//! files are ignored.

use std::fs;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::{Durability, State, now, private_directory, short_hash};
use crate::protocol::http::origin_and_path;
use crate::protocol::settings::{KnownTools, Protocol};

const VERSION: u32 = 1;
const PREFIX: &str = "tools-";
/// How long a list is fresh if the service does not say.
const FRESH: Duration = Duration::from_secs(600);
/// Longest accepted lifetime.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of lists.
const MOST: usize = 50;

/// Identifies a list of tools.
#[derive(Clone, Debug)]
pub struct ToolListKey {
    /// The endpoint.
    pub endpoint: Url,
    /// What is spoken there: each dialect has its own names.
    pub protocol: Protocol,
    /// Hash of credential and headers.
    pub fingerprint: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    version: u32,
    endpoint: String,
    /// Seconds since 1970.
    at: u64,
    /// Lifetime in seconds.
    fresh: u64,
    /// The service's tag of the list.
    #[serde(default)]
    etag: Option<String>,
    tools: Vec<Box<RawValue>>,
}

impl State {
    /// Returns the cached tools if they are fresh.
    pub fn fresh_tools(&self, of: &ToolListKey) -> Option<Vec<Box<RawValue>>> {
        self.known_tools(of).filter(|known| !known.fresh.is_zero()).map(|known| known.tools)
    }

    /// Returns the cached tools, however old.
    pub fn known_tools(&self, of: &ToolListKey) -> Option<KnownTools> {
        let Kept { at, fresh, etag, tools, .. } = self.kept(&file_name(of))?;
        // A clock that was set back makes no list younger.
        let age = now().checked_sub(at).unwrap_or(fresh);
        Some(KnownTools { tools, etag, fresh: Duration::from_secs(fresh.saturating_sub(age)) })
    }

    /// Returns the tools last listed at an endpoint in this dialect with any credential, however old.
    pub fn last_tools(&self, endpoint: &Url, protocol: Protocol) -> Option<Vec<Box<RawValue>>> {
        let wanted = origin_and_path(endpoint);
        // Newest first, only of this endpoint: a shell waits for this.
        let mut files = self.kept_files();
        files.retain(|(_, name)| name.starts_with(&beginning(endpoint, protocol)));
        files.sort();
        let kept = files.into_iter().rev().filter_map(|(_, name)| self.kept(&name));
        kept.filter(|kept| kept.endpoint == wanted).map(|kept| kept.tools).next()
    }

    /// Caches a list of tools; `ttl` is the lifetime given by the service, `etag` its tag of the list. Ignores errors.
    pub fn remember_tools(
        &self,
        of: &ToolListKey,
        tools: Vec<Box<RawValue>>,
        (ttl, etag): (Option<Duration>, Option<String>),
    ) {
        let fresh = ttl.unwrap_or(FRESH).min(LONGEST).as_secs();
        let endpoint = origin_and_path(&of.endpoint);
        let kept = Kept { version: VERSION, endpoint, at: now(), fresh, etag, tools };
        let _ = private_directory(self.directory());
        let mut files = self.kept_files();
        files.sort();
        for (_, name) in files.iter().rev().skip(MOST - 1) {
            let _ = fs::remove_file(self.directory().join(name));
        }
        let _ = self.write(&file_name(of), &kept, Durability::Lazy);
    }

    fn kept(&self, name: &str) -> Option<Kept> {
        self.read::<Kept>(name).filter(|kept| kept.version == VERSION)
    }

    fn kept_files(&self) -> Vec<(SystemTime, String)> {
        let entries = fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((entry.metadata().ok()?.modified().ok()?, name))
        });
        named.collect()
    }
}

fn file_name(of: &ToolListKey) -> String {
    format!(
        "{}{}.json",
        beginning(&of.endpoint, of.protocol),
        short_hash(&format!("{}\n{}", of.endpoint, of.fingerprint))
    )
}

/// Returns the file name prefix of an endpoint and a dialect.
fn beginning(endpoint: &Url, protocol: Protocol) -> String {
    let dialect = match protocol {
        Protocol::Mcp => "",
        Protocol::AgentStack => "\nrest",
    };
    format!("{PREFIX}{}-", short_hash(&format!("{}{dialect}", origin_and_path(endpoint))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, fingerprint: &str) -> ToolListKey {
        let endpoint = Url::parse(url).unwrap();
        ToolListKey { endpoint, protocol: Protocol::Mcp, fingerprint: fingerprint.into() }
    }

    fn tools(text: &str) -> Vec<Box<RawValue>> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn tools_are_remembered_for_an_endpoint_and_a_credential() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().join("cache"));
        let mine = of("https://h/mcp?key=ask_secret", "a");
        assert!(state.fresh_tools(&mine).is_none());
        state.remember_tools(&mine, tools(r#"[{"name":"x", "n":1.0}]"#), (None, None));
        assert_eq!(state.fresh_tools(&mine).unwrap()[0].get(), r#"{"name":"x", "n":1.0}"#);
        assert!(state.fresh_tools(&of("https://h/mcp?key=ask_secret", "b")).is_none());
        assert!(state.fresh_tools(&of("https://h/other", "a")).is_none());
        assert!(state.last_tools(&mine.endpoint, Protocol::Mcp).is_some());
        assert!(state.last_tools(&of("https://h/other", "a").endpoint, Protocol::Mcp).is_none());
        for entry in fs::read_dir(home.path().join("cache")).unwrap() {
            assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().contains("secret"));
        }
    }

    #[test]
    fn a_service_says_for_how_long_and_the_newest_list_counts_last() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        let mine = of("https://h/mcp", "a");
        state.remember_tools(&mine, tools("[1]"), (Some(Duration::ZERO), Some("e".into())));
        assert_eq!(state.known_tools(&mine).unwrap().etag.as_deref(), Some("e"));
        assert!(state.fresh_tools(&mine).is_none());
        assert!(state.last_tools(&mine.endpoint, Protocol::Mcp).is_some());
        for n in 0..MOST + 5 {
            state.remember_tools(&of("https://h/mcp", &n.to_string()), tools("[2]"), (None, None));
        }
        assert!(fs::read_dir(home.path()).unwrap().count() <= MOST);
    }
}
