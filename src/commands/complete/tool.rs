//! Completes the arguments of a tool: `name=`, `--name`, and the values that its schema lists.
//!
//! Pure. Follows the same rules as `call/given.rs`, which parses the whole line.

use super::{Answer, Candidate};
use crate::commands::call::given::is_argument;
use crate::commands::call::schema::{Schema, Work};
use crate::commands::conversation::Tool;

/// Returns completions after these words; `own_options` are asistry's long options, which take precedence.
pub fn words(tool: &Tool, before: &[String], typed: &str, own_options: &[&str]) -> Answer {
    let work = Work::default();
    let schema = Schema::new(tool.input_schema(), &work);
    let mut parser = Parser { schema, given: Vec::new(), pending: None };
    before.iter().for_each(|word| parser.read_word(word));
    if let Some(name) = parser.pending {
        let property = schema.property(name);
        let bare = property.is_some_and(Schema::is_boolean);
        if !bare {
            return value(property, typed, 0);
        }
        if !typed.starts_with('-') && !typed.contains('=') {
            let mut answer = value(property, typed, 0);
            answer.candidates.extend(parser.names());
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
            None => Answer { candidates: parser.options(own_options), ..Answer::default() },
        };
    }
    match typed.split_once('=') {
        Some((name, text)) => {
            let property = schema.property(name.strip_suffix(':').unwrap_or(name));
            value_typed(property, name.ends_with(':'), text, typed.len() - text.len())
        }
        None if typed.starts_with('-') => {
            Answer { candidates: parser.options(own_options), ..Answer::default() }
        }
        None => Answer { candidates: parser.names(), ..Answer::default() },
    }
}

/// Parser state.
struct Parser<'a> {
    schema: Schema<'a>,
    given: Vec<&'a str>,
    /// The property that takes the next word as its value.
    pending: Option<&'a str>,
}

impl<'a> Parser<'a> {
    fn read_word(&mut self, word: &str) {
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

    /// Returns the properties not given yet; an array can be given again.
    fn open(&self) -> impl Iterator<Item = (&'a str, Schema<'a>)> {
        let is_open =
            |(name, property): &(&'a str, Schema<'a>)| !self.given.contains(name) || property.is_array();
        self.schema.properties().into_iter().filter(is_open)
    }

    fn names(&self) -> Vec<Candidate> {
        let named = self.open().filter(|(name, _)| !name.contains('='));
        named.map(|(name, property)| Candidate::new(format!("{name}="), &about(property)).open()).collect()
    }

    fn options(&self, own_options: &[&str]) -> Vec<Candidate> {
        let dashed = self.open().map(|(name, property)| (name.replace('_', "-"), property));
        let free = dashed.filter(|(name, _)| !own_options.contains(&name.as_str()) && !name.contains('='));
        free.map(|(name, property)| Candidate::new(format!("--{name}"), &about(property))).collect()
    }
}

fn about(property: Schema<'_>) -> String {
    let described = property.word("description").and_then(serde_json::Value::as_str);
    described.map_or_else(|| property.shown(), str::to_owned)
}

/// Completes the value after `name=`, or after `name:=`, where JSON is typed.
fn value_typed(property: Option<Schema<'_>>, json: bool, text: &str, prefix_len: usize) -> Answer {
    match property {
        Some(property) if json && !property.is_boolean() && !text.starts_with('@') => Answer::default(),
        property => value(property, text, prefix_len),
    }
}

fn value(property: Option<Schema<'_>>, text: &str, prefix_len: usize) -> Answer {
    if text.starts_with('@') && !text.starts_with("@@") {
        return Answer { prefix_len: prefix_len + 1, files: true, ..Answer::default() };
    }
    let choices = property.map(Schema::choices).unwrap_or_default();
    let default = property.and_then(|property| property.word("default"));
    let candidate = |choice: String| {
        let is_default = default.is_some_and(|default| default.as_str() == Some(choice.as_str()));
        let about = if is_default { "default" } else { "" };
        // A single @ would name a file.
        let text = if choice.starts_with('@') { format!("@{choice}") } else { choice };
        Candidate::new(text, about)
    };
    Answer { prefix_len, candidates: choices.into_iter().map(candidate).collect(), files: false }
}
