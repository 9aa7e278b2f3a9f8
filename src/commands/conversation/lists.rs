//! Lists of the service, page by page; the tools are remembered.
//!
//! Refuses a list without an end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;

use super::answer::{self, nonsense, parsed_json};
use super::{Conversation, LAST_WORD, Tool};
use crate::commands::profile_in_use::ProfileInUse;
use crate::error::{Error, Kind, Result};
use crate::protocol::message::{METHOD_NOT_FOUND, quote};
use crate::protocol::settings::{ETAG, KnownTools, Protocol};
use crate::protocol::upstream::local::tools_without_catalogue;
use crate::state::State;
use crate::state::tools::ToolListKey;
use crate::ui::{self, json::Json};

/// The most pages of one list, and bytes in them.
const MOST_PAGES: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

impl Conversation {
    /// Returns the tools that were listed a short while ago with this credential, without a request.
    ///
    /// # Errors
    /// The credential's.
    pub async fn remembered_tools(&mut self) -> Result<Option<Vec<Tool>>> {
        let Some((cache, of)) = cache(&self.in_use).await? else { return Ok(None) };
        let Some(kept) = cache.fresh_tools(&of) else { return Ok(None) };
        Ok(Some(Tool::read_all(&kept, self.in_use.settings().tools, |_| {})))
    }

    /// Lists all tools, page by page, and remembers them.
    ///
    /// # Errors
    /// The service's error, or a list that makes no sense.
    pub async fn tools(&mut self) -> Result<Vec<Tool>> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default, rename = "ttlMs")]
            ttl: Option<Value>,
            #[serde(default, rename = "_meta")]
            meta: Value,
            tools: Vec<Box<RawValue>>,
        }
        let (mut raws, mut ttl, mut etag) = (Vec::new(), None, None);
        for page in self.pages("tools/list").await? {
            let page: Page = serde_json::from_str(&page).map_err(|e| nonsense("tools/list", &e))?;
            // The list is as old as its oldest page (T-25).
            let of_page = page.ttl.as_ref().and_then(Value::as_f64).map(|ttl| ttl.max(0.0) as u64);
            ttl = of_page.into_iter().chain(ttl).min();
            etag = page.meta[ETAG].as_str().map(str::to_owned);
            raws.extend(page.tools);
        }
        let report = |why: &str| tracing::warn!("{}", self.in_use.remote.without_secrets_in_text(why));
        let tools = Tool::read_all(&raws, self.in_use.settings().tools, report);
        if let Some((cache, of)) = cache(&self.in_use).await? {
            cache.remember_tools(&of, self.masked(raws), (ttl.map(Duration::from_millis), etag));
        }
        Ok(tools)
    }

    /// As [`Self::tools`]; where the list cannot be had, the tools that are known without it, if this is one of them.
    ///
    /// # Errors
    /// As [`Self::tools`].
    pub async fn tools_with(&mut self, name: &str) -> Result<Vec<Tool>> {
        match self.tools().await {
            Ok(tools) => Ok(tools),
            Err(error) => {
                let known = self.tools_without_list();
                if known.iter().any(|tool| tool.is_named(name)) { Ok(known) } else { Err(error) }
            }
        }
    }

    /// As [`Self::tools`]; where only a key is missing, the tools that are known without it.
    ///
    /// # Errors
    /// As [`Self::tools`].
    pub async fn tools_or_known(&mut self) -> Result<Vec<Tool>> {
        match self.tools().await {
            Err(error) if error.kind() == Kind::AuthRequired => {
                let known = self.tools_without_list();
                if known.is_empty() {
                    return Err(error);
                }
                ui::warn(&format!("{}; these tools are known without it", error.message()));
                Ok(known)
            }
            listed => listed,
        }
    }

    fn tools_without_list(&self) -> Vec<Tool> {
        let settings = self.in_use.settings();
        match settings.protocol {
            Protocol::Mcp => Vec::new(),
            Protocol::AgentStack => {
                Tool::read_all(&tools_without_catalogue(&settings.secrets), settings.tools, |_| {})
            }
        }
    }

    /// Masks the credential in what is stored, even if it may be shown on the screen.
    fn masked(&self, raws: Vec<Box<RawValue>>) -> Vec<Box<RawValue>> {
        let mask = |raw: Box<RawValue>| {
            let text = self.in_use.remote.without_secrets(Bytes::copy_from_slice(raw.get().as_bytes()));
            serde_json::from_slice(&text).ok()
        };
        raws.into_iter().filter_map(mask).collect()
    }

    /// Returns all entries of a list.
    ///
    /// # Errors
    /// The service's error, or a list that makes no sense.
    pub async fn list(&mut self, method: &str, field: &str) -> Result<Vec<Json>> {
        let mut all = Vec::new();
        for page in self.pages(method).await? {
            let page: HashMap<String, Box<RawValue>> =
                answer::read(&page).map_err(|e| nonsense(method, &e))?;
            let entries = page.get(field).map(|raw| answer::read::<Vec<Box<RawValue>>>(raw.get()));
            match entries {
                Some(Ok(entries)) => {
                    for entry in entries {
                        all.push(parsed_json(method, entry.get())?);
                    }
                }
                _ => {
                    let why = format!("the answer to {method} holds no {field}");
                    return Err(Error::new(Kind::ProtocolViolation, why).hint("report this to the service"));
                }
            }
        }
        Ok(all)
    }

    /// Asks for a list, and for all that follows its `nextCursor`.
    ///
    /// # Errors
    /// The service's error, or a list that makes no sense.
    pub async fn pages(&mut self, method: &str) -> Result<Vec<String>> {
        // A batch has no end as a whole, but each of its lists has.
        let before = self.deadline;
        self.deadline = before.or_else(|| self.max_time.map(|time| Instant::now() + time + LAST_WORD));
        let pages = self.bounded_pages(method).await;
        self.deadline = before;
        pages
    }

    async fn bounded_pages(&mut self, method: &str) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Cursor {
            #[serde(default, rename = "nextCursor")]
            next: Option<String>,
        }
        let (mut pages, mut params) = (Vec::new(), "{}".to_owned());
        let mut seen = HashSet::new();
        let mut bytes = 0;
        loop {
            let page = self.ask(method, &params, |_| {}).await?;
            let cursor: Cursor = serde_json::from_str(&page).map_err(|e| nonsense(method, &e))?;
            bytes += page.len();
            pages.push(page);
            let Some(cursor) = cursor.next else { return Ok(pages) };
            params = format!(r#"{{"cursor":{}}}"#, quote(&cursor));
            let why = if !seen.insert(cursor) {
                format!("{method} comes back to the same page again and again")
            } else if pages.len() >= MOST_PAGES || bytes > MOST_BYTES {
                format!("{method} has no end: {} pages, {} KiB so far", pages.len(), bytes >> 10)
            } else {
                continue;
            };
            return Err(Error::new(Kind::ProtocolViolation, why).hint("report this to the service"));
        }
    }
}

/// Returns the list that an earlier command kept, for a service whose list is made here.
pub(super) async fn known_tools(in_use: &ProfileInUse) -> Option<Arc<KnownTools>> {
    if in_use.settings().protocol == Protocol::Mcp {
        return None;
    }
    // A credential that cannot be had is reported where it is needed.
    let (cache, of) = cache(in_use).await.ok()??;
    cache.known_tools(&of).map(Arc::new)
}

async fn cache(in_use: &ProfileInUse) -> Result<Option<(State, ToolListKey)>> {
    let Some(cache) = in_use.cache.clone() else { return Ok(None) };
    let fingerprint = in_use.remote.identity().await?.as_str().to_owned();
    let (endpoint, protocol) = (in_use.endpoint.clone(), in_use.settings().protocol);
    Ok(Some((cache, ToolListKey { endpoint, protocol, fingerprint })))
}

/// Adds a remedy to the error of a service that does not have the method; `options` choose the service.
pub fn not_offered(error: Error, options: &str) -> Error {
    match error.details().code {
        Some(METHOD_NOT_FOUND) => {
            error.hint(format!("see what the service offers: asistry ping{options} --jq .capabilities"))
        }
        _ => error,
    }
}
