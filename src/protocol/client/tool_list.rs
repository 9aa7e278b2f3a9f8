//! The service's known tools: their names and hints, and how a list is read page by page.
//!
//! Refuses to keep more than a bounded number of tools, whatever the service lists.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Maximum tools kept of a list, and bytes of their names.
const MOST_TOOLS: usize = 65_536;
const MOST_NAMES: usize = 4 * 1024 * 1024;

/// A tool's annotations; only hints (specification, "Tool annotations").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Hints {
    pub read_only_hint: bool,
    pub idempotent_hint: bool,
}

/// The name and the annotations of an entry of a list.
#[derive(Deserialize)]
pub(super) struct Tool<'a> {
    /// JSON text of the name.
    #[serde(borrow)]
    pub name: &'a RawValue,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

impl<'a> Tool<'a> {
    pub fn read(raw: &'a str) -> Option<Self> {
        serde_json::from_str(raw).ok()
    }

    pub fn name(&self) -> Option<String> {
        serde_json::from_str(self.name.get()).ok()
    }

    /// Returns its hints, or `None` if its annotations cannot be read.
    pub fn hints(&self) -> Option<Hints> {
        let read = |raw: &RawValue| serde_json::from_str::<Option<Hints>>(raw.get()).ok();
        self.annotations.map_or(Some(None), read).map(Option::unwrap_or_default)
    }
}

/// Tools by name.
#[derive(Debug, Default)]
pub(super) struct Known {
    hints: HashMap<String, Hints>,
    bytes: usize,
    /// A tool was left out because of the limits.
    overflowed: bool,
    /// A tool gave a hint.
    hinted: bool,
}

impl Known {
    /// Reads the entries of a page. A tool whose hints cannot be read gives none.
    pub fn of(entries: &[&RawValue]) -> Self {
        let mut known = Self::default();
        for tool in entries.iter().filter_map(|entry| Tool::read(entry.get())) {
            if let Some(name) = tool.name() {
                known.narrow(name, tool.hints().unwrap_or_default());
            }
        }
        known
    }

    pub fn hints(&self, name: &str) -> Option<Hints> {
        self.hints.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hints.keys().map(String::as_str)
    }

    /// Says whether a tool gave a hint, so that it is worth to look one up.
    pub fn has_hints(&self) -> bool {
        self.hinted
    }

    /// Says whether nothing was left out.
    pub fn is_whole(&self) -> bool {
        !self.overflowed
    }

    /// Adds the tools of a page; what it says of a known tool replaces what was known.
    pub fn update(&mut self, page: &Self) {
        for (name, hints) in &page.hints {
            self.put(name.clone(), *hints);
        }
    }

    /// Adds a tool; one that the list has twice keeps only the hints that both entries give.
    fn narrow(&mut self, name: String, hints: Hints) {
        let earlier = self.hints(&name).unwrap_or(hints);
        let both = Hints {
            read_only_hint: earlier.read_only_hint && hints.read_only_hint,
            idempotent_hint: earlier.idempotent_hint && hints.idempotent_hint,
        };
        self.put(name, both);
    }

    fn put(&mut self, name: String, hints: Hints) {
        self.hinted |= hints != Hints::default();
        if let Some(known) = self.hints.get_mut(&name) {
            *known = hints;
        } else if self.hints.len() < MOST_TOOLS && self.bytes + name.len() <= MOST_NAMES {
            self.bytes += name.len();
            self.hints.insert(name, hints);
        } else {
            self.overflowed = true;
        }
    }
}

/// A list that is read page by page from its beginning.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// How often the tools had changed when its first page was asked for.
    since: u64,
    fresh: Known,
    /// JSON text of the cursor of its next page.
    next: Option<String>,
}

impl Reading {
    pub fn begun(since: u64) -> Self {
        Self { since, ..Self::default() }
    }

    /// Says whether the tools have changed since it began.
    pub fn is_stale(&self, changes: u64) -> bool {
        self.since != changes
    }

    /// Says whether the page of this cursor is its next one.
    pub fn continues_with(&self, cursor: Option<&str>) -> bool {
        self.next.as_deref() == cursor
    }

    /// Adds a page; returns the whole list after the last one.
    pub fn add(&mut self, page: &Known, next: Option<&str>) -> Option<Known> {
        for (name, hints) in &page.hints {
            self.fresh.narrow(name.clone(), *hints);
        }
        self.fresh.overflowed |= page.overflowed;
        self.next = next.map(str::to_owned);
        next.is_none().then(|| std::mem::take(&mut self.fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_measure_fills_no_memory() {
        let mut known = Known::default();
        for number in 0..=MOST_TOOLS {
            known.put(number.to_string(), Hints::default());
        }
        assert_eq!((known.hints.len(), known.is_whole()), (MOST_TOOLS, false));
        let mut known = Known::default();
        known.put("x".repeat(MOST_NAMES), Hints::default());
        assert!(known.is_whole());
        known.put("y".into(), Hints::default());
        assert!(!known.is_whole() && known.hints("y").is_none());
        known.put("x".repeat(MOST_NAMES), Hints { read_only_hint: true, ..Hints::default() });
        assert!(known.hints(&"x".repeat(MOST_NAMES)).is_some_and(|hints| hints.read_only_hint));
    }
}
