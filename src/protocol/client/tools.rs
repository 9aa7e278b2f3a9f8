//! Tools as the client sees them: the rules applied to lists and calls, names, annotations.
//!
//! Refuses to rewrite an entry beyond its name: an entry is kept as the service wrote it, or left out.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::tool_list::{Known, Reading, Tool};
use crate::error::{Error, Filter, Kind, Remedy};
use crate::protocol::message::{Message, quote};
use crate::protocol::request::Class;
use crate::protocol::tool_names::Names;
use crate::protocol::tool_rules::{ToolPage, ToolRules, cursor_of, matches_glob, tool_name};

/// No list of tools is read further than this many pages and bytes on our own account.
const MOST_PAGES: usize = 1_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// A list that changes while it is read is read again at most this often.
const MOST_RESTARTS: u32 = 3;

/// The rules, and the tools seen so far.
#[derive(Debug, Default)]
pub(super) struct Tools {
    rules: ToolRules,
    /// The tools of the newest pages; a list that was read whole replaces them.
    seen: Known,
    names: Names,
    /// `seen` is a whole list, and the service has reported no change since.
    complete: bool,
    warned: bool,
    /// How often the service reported that its tools changed.
    changes: u64,
    /// The list that the client reads.
    by_client: Reading,
    /// The list that is read on our own account.
    own: Option<Own>,
}

/// A list that is read on our own account.
#[derive(Debug, Default)]
struct Own {
    reading: Reading,
    /// The pages asked for since it was last begun, and the bytes that came in all.
    cursors: HashSet<String>,
    bytes: usize,
    restarts: u32,
}

/// Where a page belongs.
enum Place<'a> {
    /// It is the next page of this list.
    Next(&'a mut Reading),
    /// Somewhere in a list that was not read from its beginning.
    Apart,
    /// In a list from before a change.
    Stale,
}

/// A page of `tools/list` for the client.
pub(super) struct Page {
    /// The message with other tools in it; `None` where nothing changed.
    pub text: Option<Bytes>,
    /// JSON text of the cursor of the next page.
    pub next_cursor: Option<String>,
    /// Warnings for the person.
    pub warnings: Vec<String>,
}

/// Whether a call may go.
pub(super) enum Permit {
    /// As it is.
    Go,
    /// Under the tool's own name.
    Renamed(Message),
    /// The list of tools must be known first.
    ListFirst,
}

impl Tools {
    pub fn new(rules: ToolRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Returns the class of a call: B where its tool says that repeating it does no harm.
    pub fn class_of(&self, call: &Message) -> Class {
        // Most services give no hints; then the call is not read for its name.
        let name = self.seen.has_hints().then(|| tool_name(call)).flatten();
        let hints = name.and_then(|name| self.seen.hints(self.names.original(&name)));
        let harmless = hints.is_some_and(|hints| hints.read_only_hint || hints.idempotent_hint);
        if harmless { Class::B } else { Class::C }
    }

    /// Notes the cursor of the next page of our own list and the size of the last one (bytes); false past the limits
    /// or where the cursor came before.
    pub fn is_new_page(&mut self, cursor: &str, bytes: usize) -> bool {
        let own = self.own.get_or_insert_default();
        own.bytes += bytes;
        own.cursors.len() < MOST_PAGES && own.bytes <= MOST_BYTES && own.cursors.insert(cursor.to_owned())
    }

    /// Says whether the whole list must be known before a page of it can be shown.
    pub fn needs_whole_list(&self) -> bool {
        self.rules.safe_names && !self.complete
    }

    /// The service reports that its tools changed: what was known of them no longer counts.
    pub fn changed(&mut self) {
        self.seen = Known::default();
        self.complete = false;
        self.changes += 1;
    }

    /// Returns how often the service reported that its tools changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The list is to be read on our own account, unless that is under way.
    pub fn begin(&mut self) {
        let reading = Reading::begun(self.changes);
        self.own.get_or_insert_with(|| Own { reading, ..Own::default() });
    }

    /// Says whether our own list must be read again because the tools changed meanwhile.
    pub fn begins_again(&mut self) -> bool {
        let changes = self.changes;
        let own = self.own.as_mut();
        let Some(own) = own.filter(|own| own.restarts < MOST_RESTARTS && own.reading.is_stale(changes))
        else {
            return false;
        };
        own.restarts += 1;
        own.reading = Reading::begun(changes);
        own.cursors.clear();
        true
    }

    /// Our own list was read, or given up.
    pub fn learned(&mut self) {
        self.own = None;
    }

    /// Decides whether a `tools/call` may go.
    ///
    /// # Errors
    /// [`Kind::ToolDenied`] with the rule that forbids it.
    pub fn permit(&self, call: &Message) -> Result<Permit, Error> {
        if !self.rules.change_lists() {
            return Ok(Permit::Go);
        }
        let Some(shown) = tool_name(call) else {
            return Err(Error::new(
                Kind::ToolDenied,
                "the call names no single tool, so no rule can let it through",
            ));
        };
        let original = self.names.original(&shown);
        let hints = self.seen.hints(original);
        let is_unknown = hints.is_none() && !self.complete;
        // It may be the shown name of a tool that the rules let through.
        if is_unknown && self.rules.safe_names {
            return Ok(Permit::ListFirst);
        }
        if let Some(refusal) = self.rules.refusal(original, self.shown(original)) {
            return Err(refusal);
        }
        if is_unknown && self.rules.read_only {
            return Ok(Permit::ListFirst);
        }
        if self.rules.read_only && !hints.is_some_and(|hints| hints.read_only_hint) {
            return Err(not_read_only(original));
        }
        Ok(if *original == *shown { Permit::Go } else { Permit::Renamed(renamed_call(call, original)) })
    }

    /// Learns from a page of `tools/list` that the client asked for after this many changes, and applies the rules to it.
    pub fn page_for_client(&mut self, request: &Message, message: &Message, since: u64) -> Page {
        let cursor = cursor_of(request);
        let mut reading = match cursor {
            None => Reading::begun(since),
            Some(_) => std::mem::take(&mut self.by_client),
        };
        let place = match reading.continues_with(cursor) && !reading.is_stale(self.changes) {
            true => Place::Next(&mut reading),
            false if since == self.changes => Place::Apart,
            false => Place::Stale,
        };
        let page = self.page(message, place);
        self.by_client = reading;
        page
    }

    /// Learns from a page that was asked for on our own account.
    pub fn own_page(&mut self, message: &Message) -> Page {
        let mut own = self.own.take().unwrap_or_default();
        // Tools that change whenever they are listed: nothing better than the last list can be known.
        let place = match own.reading.is_stale(self.changes) && own.restarts < MOST_RESTARTS {
            false => Place::Next(&mut own.reading),
            true => Place::Stale,
        };
        let page = self.page(message, place);
        self.own = Some(own);
        page
    }

    fn page(&mut self, message: &Message, place: Place<'_>) -> Page {
        let mut page = Page { text: None, next_cursor: None, warnings: Vec::new() };
        let Some(ToolPage { list, entries, next }) = ToolPage::of(message) else { return page };
        page.next_cursor = next.map(str::to_owned);
        let listed = Known::of(&entries);
        self.learn(&listed, page.next_cursor.as_deref(), place);
        let mut kept: Vec<Cow<'_, str>> = Vec::with_capacity(entries.len());
        for entry in entries {
            kept.extend(self.entry(entry.get(), &listed));
        }
        if self.complete && !self.warned {
            self.warned = true;
            page.warnings = self.idle_patterns();
        }
        if self.rules.change_lists() {
            page.text = Some(message.with_part(list, &format!("[{}]", kept.join(","))));
        }
        page
    }

    fn learn(&mut self, listed: &Known, next: Option<&str>, place: Place<'_>) {
        let whole = match place {
            Place::Next(reading) => {
                let is_current = !reading.is_stale(self.changes);
                reading.add(listed, next).map(|whole| (whole, is_current))
            }
            Place::Apart => None,
            Place::Stale => return,
        };
        let was_read = whole.is_some();
        match whole {
            Some((whole, is_current)) => {
                self.complete = is_current && whole.is_whole();
                self.seen = whole;
            }
            None => self.seen.update(listed),
        }
        if self.rules.safe_names && (self.complete || was_read) {
            self.names = Names::of(self.seen.names());
        }
    }

    /// Returns the entry of one tool as the client may see it.
    fn entry<'a>(&self, raw: &'a str, listed: &Known) -> Option<Cow<'a, str>> {
        // An unreadable entry is passed on unless a rule depends on it.
        let Some(tool) = Tool::read(raw) else {
            return (!self.rules.change_lists()).then_some(Cow::Borrowed(raw));
        };
        let name = tool.name()?;
        if self.rules.safe_names && self.names.shown(&name).is_none() {
            return None;
        }
        let safe = self.shown(&name);
        if !self.passes(&name, safe, listed) {
            return None;
        }
        if safe == name {
            return Some(Cow::Borrowed(raw));
        }
        let start = tool.name.get().as_ptr() as usize - raw.as_ptr() as usize;
        let end = start + tool.name.get().len();
        Some(Cow::Owned(format!("{}{}{}", &raw[..start], quote(safe), &raw[end..])))
    }

    fn passes(&self, name: &str, shown: &str, listed: &Known) -> bool {
        let reads = listed.hints(name).is_some_and(|hints| hints.read_only_hint);
        self.rules.refusal(name, shown).is_none() && (reads || !self.rules.read_only)
    }

    /// Returns the name under which the client sees a tool.
    fn shown<'a>(&'a self, original: &'a str) -> &'a str {
        self.names.shown(original).unwrap_or(original)
    }

    fn idle_patterns(&self) -> Vec<String> {
        let matches = |glob: &str, name| matches_glob(glob, name) || matches_glob(glob, self.shown(name));
        let idle = |glob: &&String| !self.seen.names().any(|name| matches(glob, name));
        let allow = self.rules.allow.iter().filter(idle).map(|glob| ("allowed", glob));
        let deny = self.rules.deny.iter().filter(idle).map(|glob| ("denied", glob));
        allow
            .chain(deny)
            .map(|(what, glob)| format!("the pattern {glob} of {what} tools matches no tool of the service"))
            .collect()
    }
}

/// A tool that the rules let through.
#[derive(Debug)]
pub struct Passed<'a> {
    /// The entry as the service wrote it.
    pub raw: &'a RawValue,
    /// Its name under `--tool-names safe`, made from the whole list; `None` if the entry has no readable name.
    pub safe_name: Option<String>,
}

/// Applies the rules to a whole list, for a client that shows the service's own names and accepts both spellings.
/// Returns the tools that pass, and warnings for the person. An unreadable entry passes unless a rule depends on it.
pub fn let_through<'a>(rules: ToolRules, entries: &'a [Box<RawValue>]) -> (Vec<Passed<'a>>, Vec<String>) {
    let entries: Vec<&RawValue> = entries.iter().map(|entry| &**entry).collect();
    let listed = Known::of(&entries);
    let names = Names::of(listed.names());
    let mut tools = Tools::new(rules);
    let pass = |raw: &'a RawValue| {
        let Some(name) = Tool::read(raw.get()).and_then(|tool| tool.name()) else {
            return (!tools.rules.change_lists()).then_some(Passed { raw, safe_name: None });
        };
        let safe_name = names.shown(&name)?;
        let shown = if tools.rules.safe_names { safe_name } else { &name };
        tools.passes(&name, shown, &listed).then(|| Passed { raw, safe_name: Some(safe_name.to_owned()) })
    };
    let passed = entries.into_iter().filter_map(pass).collect();
    if tools.rules.safe_names {
        tools.names = names;
    }
    tools.seen = listed;
    (passed, tools.idle_patterns())
}

/// Returns why a tool is not let through that does not say that it only reads.
pub fn not_read_only(name: &str) -> Error {
    let why =
        format!("the tool {name} does not say that it only reads, and nothing else is let through here");
    Error::new(Kind::ToolDenied, why).remedy(Remedy::SeeFilter(Filter::ReadOnly))
}

fn renamed_call(call: &Message, name: &str) -> Message {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        name: &'a RawValue,
    }
    let params = call.params().and_then(|params| serde_json::from_str::<Params>(params).ok());
    let text = params.map(|params| call.with_part(params.name.get(), &quote(name)));
    text.and_then(|text| Message::read(text).ok()).unwrap_or_else(|| call.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Message {
        let tools: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    r#"{{"x":1e2, "name":"{name}","annotations":{{"readOnlyHint":{}}}}}"#,
                    name.starts_with("list")
                )
            })
            .collect();
        Message::read(format!(r#"{{"id":1,"result":{{"tools":[{}],"y":[1]}}}}"#, tools.join(", "))).unwrap()
    }

    fn call(name: &str) -> Message {
        Message::read(format!(r#"{{"id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#)).unwrap()
    }

    #[test]
    fn a_denied_tool_is_neither_listed_nor_called() {
        let mut tools =
            Tools::new(ToolRules { deny: vec!["delete_*".into(), "none*".into()], ..Default::default() });
        let page = tools.own_page(&list(&["list_a", "delete_a"]));
        let text = page.text.unwrap();
        assert_eq!(
            text,
            r#"{"id":1,"result":{"tools":[{"x":1e2, "name":"list_a","annotations":{"readOnlyHint":true}}],"y":[1]}}"#
        );
        assert_eq!(page.warnings, ["the pattern none* of denied tools matches no tool of the service"]);
        assert!(tools.permit(&call("delete_a")).is_err());
        assert!(matches!(tools.permit(&call("list_a")), Ok(Permit::Go)));
    }

    #[test]
    fn read_only_needs_to_see_the_list_first() {
        let mut tools = Tools::new(ToolRules { read_only: true, ..Default::default() });
        assert!(matches!(tools.permit(&call("list_a")), Ok(Permit::ListFirst)));
        tools.own_page(&list(&["list_a", "delete_a"]));
        assert!(matches!(tools.permit(&call("list_a")), Ok(Permit::Go)));
        assert!(tools.permit(&call("delete_a")).is_err());
        assert!(tools.permit(&call("unheard_of")).is_err());
    }

    #[test]
    fn a_name_may_be_the_safe_one_of_an_allowed_tool_until_the_list_is_known() {
        let rules = ToolRules { safe_names: true, allow: vec!["x.y".into()], ..Default::default() };
        let mut tools = Tools::new(rules);
        assert!(matches!(tools.permit(&call("x_y")), Ok(Permit::ListFirst)));
        tools.own_page(&list(&["x.y", "z"]));
        assert!(matches!(tools.permit(&call("x_y")), Ok(Permit::Renamed(_))));
        assert!(tools.permit(&call("z")).is_err());
    }

    #[test]
    fn a_list_without_an_end_is_given_up() {
        let mut tools = Tools::new(ToolRules::default());
        assert!((0..MOST_PAGES).all(|page| tools.is_new_page(&page.to_string(), 10)));
        assert!(!tools.is_new_page("one more", 10), "too many pages");
        tools.learned();
        assert!(tools.is_new_page("1", MOST_BYTES) && !tools.is_new_page("2", 1), "too many bytes");
    }
}
