//! Which tools a client may see and call, as options, profile and service data say.
//!
//! Refuses to read lists: `client/tools.rs` applies the rules to them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Filter, Kind, Remedy};
use crate::protocol::message::Message;
use crate::protocol::object::{fields, string, value};
use crate::protocol::secrets::NewKeyRule;
use crate::protocol::tool_names::replaced;

/// The rules about tools, from options and profile.
#[derive(Clone, Debug, Default)]
pub struct ToolRules {
    /// Only these, if there are any; patterns match the service's name of a tool or the shown one.
    pub allow: Vec<String>,
    /// None of these, whatever is allowed; patterns as in `allow`.
    pub deny: Vec<String>,
    /// Tools that the service's data, or the profile, hides.
    pub hidden: Vec<String>,
    /// Only tools that say `readOnlyHint: true`.
    pub read_only: bool,
    /// Tools that make keys where no new key can be stored.
    pub without_store: Vec<NewKeyRule>,
    /// The tool that runs others, which its arguments name: the rules bind those too.
    pub runner: Option<String>,
    /// Names match `^[a-zA-Z0-9_-]{1,64}$`.
    pub safe_names: bool,
}

impl ToolRules {
    pub(super) fn change_lists(&self) -> bool {
        self.read_only
            || self.safe_names
            || !self.allow.is_empty()
            || !self.deny.is_empty()
            || !self.hidden.is_empty()
            || !self.without_store.is_empty()
    }

    /// Says why one of the tools that a call runs by name is not let through.
    pub fn refusal_within(&self, call: &Message) -> Option<Error> {
        let (runner, name) = (self.runner.as_deref()?, tool_name(call)?);
        if name != runner && name != replaced(runner) {
            return None;
        }
        let params = fields(call.params().unwrap_or_default());
        let given = fields(value(&params, "arguments").unwrap_or_default());
        // Each field of a name, not only the first: a service may read another one.
        let steps = given.iter().filter(|(name, _)| name == "steps");
        let steps = steps.filter_map(|(_, raw)| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let steps = steps.flatten().map(|step| fields(step.get()));
        std::iter::once(given.clone()).chain(steps).flatten().find_map(|(field, raw)| {
            let name = string(raw.get()).filter(|_| field == "action" || field == "tool")?;
            self.refusal(&name, &replaced(&name))
        })
    }

    /// Says why a tool of this name, shown to the client as `shown`, is not let through.
    pub fn refusal(&self, name: &str, shown: &str) -> Option<Error> {
        let matches = |glob: &String| matches_glob(glob, name) || matches_glob(glob, shown);
        let denied = |why: String| Some(Error::new(Kind::ToolDenied, why));
        let filtered = |why: String, filter| denied(why).map(|e| e.remedy(Remedy::SeeFilter(filter)));
        if self.deny.iter().any(matches) {
            return filtered(format!("the tool {name} is denied here"), Filter::Denied);
        }
        if !self.allow.is_empty() && !self.allow.iter().any(matches) {
            return filtered(format!("the tool {name} is not among the allowed ones"), Filter::Allowed);
        }
        if self.hidden.iter().any(|glob| matches_glob(glob, name)) {
            return denied(format!(
                "the service keeps the tool {name} for its own use: a key cannot call it"
            ));
        }
        if self.without_store.iter().any(|rule| rule.is_named(name) || rule.is_named(shown)) {
            let why = format!("{name} makes a key, which can be stored only over REST");
            return denied(why).map(|error| error.remedy(Remedy::UseRest));
        }
        None
    }
}

/// Matches a name against a pattern of `*` (any characters) and `?` (one character).
pub(super) fn matches_glob(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut g, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if g < glob.len() && (glob[g] == '?' || glob[g] == name[n]) && glob[g] != '*' {
            (g, n) = (g + 1, n + 1);
        } else if g < glob.len() && glob[g] == '*' {
            star = Some((g, n));
            g += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (g, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

/// A page of `tools/list`, each part a slice of the answer that holds it.
#[derive(Debug, Default)]
pub struct ToolPage<'a> {
    /// JSON text of the list.
    pub list: &'a str,
    /// Its entries.
    pub entries: Vec<&'a RawValue>,
    /// JSON text of the cursor of the next page.
    pub next: Option<&'a str>,
}

impl<'a> ToolPage<'a> {
    /// Reads the answer to a `tools/list`; `None` where it is no list.
    pub fn of(answer: &'a Message) -> Option<Self> {
        #[derive(Deserialize)]
        struct Page<'a> {
            #[serde(borrow)]
            tools: &'a RawValue,
            #[serde(borrow, default, rename = "nextCursor")]
            next_cursor: Option<&'a RawValue>,
        }
        let page: Page = serde_json::from_str(answer.result_text()?).ok()?;
        let list = page.tools.get();
        let next = page.next_cursor.map(RawValue::get).filter(|raw| *raw != "null");
        Some(Self { list, entries: serde_json::from_str(list).ok()?, next })
    }
}

/// Returns the name of the tool that a `tools/call` calls.
pub fn tool_name(call: &Message) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    serde_json::from_str::<Params>(call.params()?).ok().map(|params| params.name)
}

/// Returns the JSON text of the cursor that a `tools/list` asks for.
pub fn cursor_of(request: &Message) -> Option<&str> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        cursor: Option<&'a RawValue>,
    }
    serde_json::from_str::<Params>(request.params()?).ok()?.cursor.map(RawValue::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_knows_star_and_question_mark() {
        assert!(
            matches_glob("list_*", "list_tasks") && matches_glob("*", "") && matches_glob("a?c*", "abcd")
        );
        assert!(
            !matches_glob("list_*", "relist_x") && !matches_glob("?", "") && matches_glob("*_*", "a_b_c")
        );
    }
}
