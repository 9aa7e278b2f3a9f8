//! The sessions: which request goes in which, and when one is left.
//!
//! Refuses to leave a session in which something is under way.

use super::levels::Levels;
use super::listens::Uris;
use super::tasks::Tools;
use super::translate::{self, Said, Service};
use super::{MOST_AT_ONCE, MOST_SESSIONS, Sessions};
use crate::protocol::Moment;
use crate::protocol::effect::UpstreamKind;
use crate::protocol::upstream::Upstream;
use crate::protocol::upstream::legacy::Legacy;

/// A session, and what is known of it.
#[derive(Debug)]
pub(super) struct Pooled {
    pub name: u64,
    /// JSON text of what its clients declare.
    pub capabilities: String,
    pub legacy: Legacy,
    /// Once it was opened.
    pub service: Option<Service>,
    pub levels: Levels,
    pub uris: Uris,
    pub tasks: Tools,
    /// A client follows tasks in it.
    pub has_handed_tasks: bool,
    /// When it was last used, counted in requests.
    pub used: u64,
}

impl Sessions {
    pub(super) fn pooled(&mut self, name: u64) -> Option<&mut Pooled> {
        self.pool.iter_mut().find(|pooled| pooled.name == name)
    }

    pub(super) fn legacy_of(&mut self, kind: UpstreamKind) -> Option<&mut Legacy> {
        let pooled = self.pool.iter_mut().find(|pooled| UpstreamKind::Session(pooled.name) == kind);
        pooled.map(|pooled| &mut pooled.legacy)
    }

    pub(super) fn with(&mut self, name: u64, act: impl FnOnce(&mut Legacy, Moment)) {
        let moment = self.moment;
        if let Some(pooled) = self.pooled(name) {
            act(&mut pooled.legacy, moment);
        }
    }

    /// Returns the session in which a request goes, by the capabilities that its client declares; `None` where there are
    /// too many.
    pub(super) fn session_for(&mut self, said: &Said<'_>) -> Option<u64> {
        let capabilities = translate::capabilities(said.envelope("clientCapabilities").unwrap_or_default());
        self.uses += 1;
        let used = self.uses;
        if let Some(pooled) = self.pool.iter_mut().find(|pooled| pooled.capabilities == capabilities) {
            pooled.used = used;
            return Some(pooled.name);
        }
        if self.pool.len() >= MOST_AT_ONCE {
            return None;
        }
        self.made += 1;
        let name = self.made;
        let info = said.envelope("clientInfo").unwrap_or(&self.settings.client_info);
        let handshake = translate::handshake(&capabilities, info);
        let legacy = Legacy::pooled(self.settings.clone(), self.moment, (name, handshake));
        let legacy = if self.is_forced { legacy } else { legacy.surrendering() };
        let (levels, uris, tasks) = (Levels::default(), Uris::default(), Tools::default());
        let service = None;
        let has_handed_tasks = false;
        self.pool.push(Pooled {
            name,
            capabilities,
            legacy,
            service,
            levels,
            uris,
            tasks,
            has_handed_tasks,
            used,
        });
        Some(name)
    }

    /// Leaves sessions in which nothing is under way, the longest unused ones first.
    pub(super) fn leave_idle(&mut self) {
        let mut idle: Vec<(u64, u64)> = Vec::new();
        for pooled in &self.pool {
            let is_used = pooled.legacy.open().0 > 0
                || pooled.has_handed_tasks
                || self.calls.values().any(|call| call.session == pooled.name)
                || self.listens.iter().any(|listen| listen.session == pooled.name)
                || (self.is_listing && self.lists == pooled.name)
                || !self.held.is_empty()
                || !pooled.levels.waiting().is_empty();
            if !is_used {
                idle.push((pooled.used, pooled.name));
            }
        }
        idle.sort_unstable();
        idle.truncate(self.pool.len() - MOST_SESSIONS);
        for mut pooled in self.pool.extract_if(.., |pooled| idle.iter().any(|(_, name)| *name == pooled.name))
        {
            pooled.legacy.close(self.moment);
            pooled.legacy.take(&mut self.out);
        }
    }
}
