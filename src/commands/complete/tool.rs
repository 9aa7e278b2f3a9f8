//! What can be typed behind a tool: `name=`, `--name`, and the values that its schema lists.
//!
//! Pure. Follows the same rules as `call/given.rs`, which reads the whole line.

use super::{Answer, Candidate};
use crate::commands::call::given::is_argument;
use crate::commands::call::schema::{Schema, Work};
use crate::commands::conversation::Tool;

/// Returns what fits after these words of a tool; `ours` are the long options that stand over the tool's.
pub fn words(tool: &Tool, before: &[String], typed: &str, ours: &[&str]) -> Answer {
    let work = Work::default();
    let schema = Schema::new(&tool.input_schema, &work);
    let mut walk = Walk { schema, given: Vec::new(), pending: None };
    before.iter().for_each(|word| walk.pass(word));
    if let Some(name) = walk.pending {
        let property = schema.property(name);
        let bare = property.is_some_and(Schema::is_boolean);
        if !bare {
            return value(property, typed, 0);
        }
        if !typed.starts_with('-') && !typed.contains('=') {
            let mut answer = value(property, typed, 0);
            answer.candidates.extend(walk.names());
            return answer;
        }
    }
    if let Some(option) = typed.strip_prefix("--") {
        return match option.split_once('=') {
            Some((name, text)) => {
                let property = schema.meant(name.trim_end_matches(':'));
                let property = property.and_then(|name| schema.property(name));
                value_typed(property, name.ends_with(':'), text, typed.len() - text.len())
            }
            None => Answer { candidates: walk.options(ours), ..Answer::default() },
        };
    }
    match typed.split_once('=') {
        Some((name, text)) => {
            let property = schema.property(name.strip_suffix(':').unwrap_or(name));
            value_typed(property, name.ends_with(':'), text, typed.len() - text.len())
        }
        None if typed.starts_with('-') => Answer { candidates: walk.options(ours), ..Answer::default() },
        None => Answer { candidates: walk.names(), ..Answer::default() },
    }
}

/// The way along the words of a tool.
struct Walk<'a> {
    schema: Schema<'a>,
    given: Vec<&'a str>,
    /// The property whose value comes next.
    pending: Option<&'a str>,
}

impl<'a> Walk<'a> {
    fn pass(&mut self, word: &str) {
        if let Some(name) = self.pending.take() {
            let bare = self.schema.property(name).is_some_and(Schema::is_boolean);
            let is_value =
                if bare { matches!(word, "true" | "false") } else { !is_argument(word, self.schema) };
            if is_value {
                return;
            }
        }
        let (typed, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let typed = typed.trim_end_matches(':');
        let name = match typed.strip_prefix("--") {
            Some(option) => self.schema.meant(option),
            None => self.schema.properties().into_iter().map(|(name, _)| name).find(|name| *name == typed),
        };
        self.pending = name.filter(|_| value.is_none() && typed.starts_with("--"));
        self.given.extend(name);
    }

    /// Returns the properties that are still to be given; an array takes one more item.
    fn open(&self) -> impl Iterator<Item = (&'a str, Schema<'a>)> {
        let is_open =
            |(name, property): &(&'a str, Schema<'a>)| !self.given.contains(name) || property.is_array();
        self.schema.properties().into_iter().filter(is_open)
    }

    fn names(&self) -> Vec<Candidate> {
        let named = self.open().filter(|(name, _)| !name.contains('='));
        named.map(|(name, property)| Candidate::new(format!("{name}="), &about(property)).open()).collect()
    }

    fn options(&self, ours: &[&str]) -> Vec<Candidate> {
        let dashed = self.open().map(|(name, property)| (name.replace('_', "-"), property));
        let free = dashed.filter(|(name, _)| !ours.contains(&name.as_str()) && !name.contains('='));
        free.map(|(name, property)| Candidate::new(format!("--{name}"), &about(property))).collect()
    }
}

fn about(property: Schema<'_>) -> String {
    let described = property.word("description").and_then(serde_json::Value::as_str);
    described.map_or_else(|| property.shown(), str::to_owned)
}

/// Returns what fits behind `name=`, or behind `name:=`, where JSON is typed.
fn value_typed(property: Option<Schema<'_>>, json: bool, text: &str, stays: usize) -> Answer {
    match property {
        Some(property) if json && !property.is_boolean() && !text.starts_with('@') => Answer::default(),
        property => value(property, text, stays),
    }
}

fn value(property: Option<Schema<'_>>, text: &str, stays: usize) -> Answer {
    if text.starts_with('@') && !text.starts_with("@@") {
        return Answer { stays: stays + 1, files: true, ..Answer::default() };
    }
    let choices = property.map(Schema::choices).unwrap_or_default();
    let default = property.and_then(|property| property.word("default"));
    let candidate = |choice: String| {
        let is_default = default.is_some_and(|default| default.as_str() == Some(choice.as_str()));
        let about = if is_default { "default" } else { "" };
        // One @ would name a file.
        let text = if choice.starts_with('@') { format!("@{choice}") } else { choice };
        Candidate::new(text, about)
    };
    Answer { stays, candidates: choices.into_iter().map(candidate).collect(), files: false }
}
