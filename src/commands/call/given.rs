//! The arguments of a tool as they are typed: `name=value`, `name:=JSON`, `name=@file`, `--name value`,
//! `--args JSON`.
//!
//! Refuses, before anything is sent, what the tool's schema says cannot be right; names the argument, what was
//! expected, and the nearest name.

use std::io::Read;

use serde_json::{Map, Value};

use super::schema::{Misfit, Problem, Schema};
use crate::commands::remedy::shell_quoted;
use crate::error::{Error, Kind, Remedy, Result};
use crate::profile::nearest;

/// The option that takes all arguments at once.
const ARGS: &str = "--args";
const ARGS_HINT: &str =
    r#"write --args '{"name": "value"}'; @ before a file name reads the file, - reads standard input"#;

/// Reads what was typed for one tool.
pub struct Reader<'a> {
    /// The name of the tool.
    pub tool: &'a str,
    /// The schema of its arguments.
    pub schema: Schema<'a>,
    /// Whether what does not fit is refused.
    pub checked: bool,
    /// Draws up the names of our own options, for hints: that takes longer than all the reading.
    pub options: fn() -> Vec<String>,
}

/// One argument, before its value has a type.
struct Typed<'t> {
    name: String,
    value: Raw<'t>,
}

enum Raw<'t> {
    Text(&'t str),
    Json(&'t str),
    Bare,
}

impl Reader<'_> {
    /// Reads all arguments; those in `words` stand over those of the object `base`.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the argument, what was expected, and the nearest name.
    pub fn read(
        &self,
        words: &[String],
        base: Option<&str>,
        sources: &mut Sources,
    ) -> Result<Map<String, Value>> {
        sources.begin();
        let mut given = match base {
            Some(text) => self.object(&sources.text(text, ARGS)?)?,
            None => Map::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        let mut rest = words;
        while let Some((typed, after)) = self.next(rest)? {
            rest = after;
            let again = seen.contains(&typed.name);
            let value = self.value(&typed, again, sources)?;
            match again {
                false => drop(given.insert(typed.name.clone(), value)),
                true => self.add(given.get_mut(&typed.name), value, &typed.name)?,
            }
            seen.push(typed.name);
        }
        self.fits(given)
    }

    /// Checks arguments that are an object already.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn check(&self, given: Map<String, Value>) -> Result<()> {
        self.all_known(&given)?;
        self.fits(given).map(drop)
    }

    fn fits(&self, given: Map<String, Value>) -> Result<Map<String, Value>> {
        if !self.checked {
            return Ok(given);
        }
        let value = Value::Object(given);
        self.schema.check(&value, "").map_err(|misfit| self.misfit(&misfit, &value))?;
        let Value::Object(given) = value else { return Ok(Map::new()) };
        Ok(given)
    }

    fn all_known(&self, given: &Map<String, Value>) -> Result<()> {
        given.keys().try_for_each(|name| self.known(name).map(drop))
    }

    fn object(&self, text: &str) -> Result<Map<String, Value>> {
        match json(ARGS, text).map_err(|error| error.hint(ARGS_HINT))? {
            Value::Object(fields) => {
                self.all_known(&fields)?;
                Ok(fields)
            }
            _ => Err(Error::new(Kind::Usage, "--args is not a JSON object").hint(ARGS_HINT)),
        }
    }

    /// Takes the next argument off the words.
    fn next<'t>(&self, words: &'t [String]) -> Result<Option<(Typed<'t>, &'t [String])>> {
        let Some((word, after)) = words.split_first() else { return Ok(None) };
        if let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) {
            return self.option(option, after).map(Some);
        }
        let Some((name, value)) = word.split_once('=').filter(|(name, _)| !matches!(*name, "" | ":")) else {
            let why = format!("“{word}” is not an argument of {}", self.tool);
            let names = self.schema.properties();
            let first = self.schema.required().first().copied().or(names.first().map(|(name, _)| *name));
            let example = first.map_or_else(String::new, |name| {
                let example = self.schema.typed_argument(name);
                format!(", such as{example}")
            });
            return Err(
                Error::new(Kind::Usage, why).hint(format!("an argument is written NAME=VALUE{example}"))
            );
        };
        let typed = match name.strip_suffix(':') {
            Some(name) => Typed { name: self.known(name)?, value: Raw::Json(value) },
            None => Typed { name: self.known(name)?, value: Raw::Text(value) },
        };
        Ok(Some((typed, after)))
    }

    fn option<'t>(&self, option: &'t str, after: &'t [String]) -> Result<(Typed<'t>, &'t [String])> {
        if let Some((name, value)) = option.split_once('=') {
            let (name, json) = name.strip_suffix(':').map_or((name, false), |name| (name, true));
            let value = if json { Raw::Json(value) } else { Raw::Text(value) };
            return Ok((Typed { name: self.dashed(name)?, value }, after));
        }
        let name = self.dashed(option)?;
        let bare = self.schema.property(&name).is_some_and(Schema::is_boolean);
        match after.split_first() {
            // A boolean takes a value only where the next word can be one.
            Some((value, rest)) if bare && matches!(value.as_str(), "true" | "false") => {
                Ok((Typed { name, value: Raw::Text(value) }, rest))
            }
            Some((value, _)) if !bare && is_argument(value, self.schema) => {
                let why = format!("--{option} needs a value, and “{value}” looks like another argument");
                Err(Error::new(Kind::Usage, why)
                    .hint(format!("if it is the value, write {}", shell_quoted(&format!("{name}={value}")))))
            }
            Some((value, rest)) if !bare => Ok((Typed { name, value: Raw::Text(value) }, rest)),
            _ if bare => Ok((Typed { name, value: Raw::Bare }, after)),
            _ => Err(Error::new(Kind::Usage, format!("--{option} needs a value"))
                .hint(format!("write{}", self.schema.typed_argument(&name)))),
        }
    }

    /// Returns the value of an argument; of a name that comes again, one more item.
    fn value(&self, typed: &Typed<'_>, again: bool, sources: &mut Sources) -> Result<Value> {
        let schema = self.schema.property(&typed.name);
        match typed.value {
            Raw::Bare => Ok(Value::Bool(true)),
            Raw::Json(text) => json(&typed.name, &sources.text(text, &typed.name)?)
                .map_err(|error| error.hint(format!("write{}", self.schema.typed_argument(&typed.name)))),
            Raw::Text(text) => {
                let text = match text.strip_prefix("@@") {
                    Some(rest) => format!("@{rest}"),
                    None => sources.text(text, &typed.name)?,
                };
                let read = if again { Schema::read_item } else { Schema::read };
                Ok(schema.map_or_else(|| Value::from(text.as_str()), |schema| read(schema, &text)))
            }
        }
    }

    /// A name that comes again adds an item to its array.
    fn add(&self, there: Option<&mut Value>, item: Value, name: &str) -> Result<()> {
        match there {
            Some(Value::Array(items)) if self.schema.property(name).is_none_or(Schema::is_array) => {
                items.push(item);
                Ok(())
            }
            _ => Err(Error::new(Kind::Usage, format!("{name} is given twice, and takes one value"))
                .hint("leave one of them out")),
        }
    }

    /// Returns the name of a property as it was typed after `=`.
    fn known(&self, name: &str) -> Result<String> {
        let found = self.schema.property(name).is_some() || self.schema.is_cut_off();
        let there = found || self.schema.is_open() || !self.checked;
        if there { Ok(name.to_owned()) } else { Err(self.unknown(name)) }
    }

    /// Returns the name of a property that was typed as an option.
    fn dashed(&self, option: &str) -> Result<String> {
        match self.schema.meant(option) {
            Some(name) => Ok(name.to_owned()),
            None if !self.checked || self.schema.is_cut_off() => Ok(option.replace('-', "_")),
            None => Err(self.unknown(option)),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let properties = self.schema.properties();
        let error = Error::new(Kind::Usage, format!("{} has no argument {name}", self.tool));
        let options = (self.options)();
        let option = nearest(name, options.iter().map(String::as_str));
        match (nearest(name, properties.iter().map(|(known, _)| *known)), option) {
            (Some(near), _) => error.hint(format!("did you mean {near}?")),
            (None, Some(option)) => error.hint(format!("did you mean the option --{option}?")),
            (None, None) if self.schema.is_open() => error.hint(format!(
                "the tool takes names that it does not list: write {}=text",
                name.replace('-', "_")
            )),
            (None, None) => error.remedy(Remedy::ShowArguments { tool: self.tool.to_owned() }),
        }
    }

    fn misfit(&self, misfit: &Misfit, value: &Value) -> Error {
        let Misfit { place, expected, problem, hint } = misfit;
        let found = place.split(['.', '[']).try_fold(value, |value, part| {
            match part.strip_suffix(']').map(str::parse::<usize>) {
                Some(Ok(at)) => value.get(at),
                _ => value.get(part),
            }
        });
        let shown = match found {
            Some(Value::String(text)) => format!(", not “{}”", shortened(text)),
            Some(value) => format!(", not {}", shortened(&value.to_string())),
            None => String::new(),
        };
        let why = match problem {
            Problem::Missing => format!("{} needs {place} ({expected})", self.tool),
            Problem::Unknown => format!("{} has no argument {place}", self.tool),
            Problem::Unfit => format!("{}: {place} must be {expected}{shown}", self.tool),
        };
        let error = Error::new(Kind::Usage, why);
        match hint {
            Some(hint) => error.hint(hint.clone()),
            None => error.remedy(Remedy::ShowArguments { tool: self.tool.to_owned() }),
        }
    }
}

/// Says whether a word looks like an option, or like an argument of the tool; a number, and `-` alone, do not.
pub fn is_argument(word: &str, schema: Schema<'_>) -> bool {
    if word.len() > 1 && word.starts_with('-') {
        return word.parse::<f64>().is_err();
    }
    let name = word.split_once('=').map(|(name, _)| name.strip_suffix(':').unwrap_or(name));
    name.is_some_and(|name| schema.property(name).is_some())
}

fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(MOST).collect::<String>())
}

fn json(name: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| Error::new(Kind::Usage, format!("the value of {name} is not JSON: {e}")).caused_by(e))
}

/// Files and standard input that values are read from.
#[derive(Default)]
pub struct Sources {
    stdin: Option<String>,
    stdin_is_taken: bool,
}

impl Sources {
    /// The same words are read once more, by another schema.
    fn begin(&mut self) {
        self.stdin_is_taken = false;
    }

    /// Returns a text as it is, or what is in the file after `@`; `@-` (and `-` for `--args`) is standard
    /// input, which one argument alone can have.
    fn text(&mut self, text: &str, name: &str) -> Result<String> {
        let path = match text.strip_prefix('@') {
            Some(path) => path,
            None if name == ARGS && text == "-" => "-",
            None => return Ok(text.to_owned()),
        };
        let fail =
            |why: String| Error::new(Kind::Usage, format!("the value of {name} cannot be read: {why}"));
        if path != "-" {
            let hint = match name {
                ARGS => ARGS_HINT.to_owned(),
                _ => format!("a text that begins with @ is written with two: {name}=@@text"),
            };
            return std::fs::read_to_string(path).map_err(|e| fail(format!("{path}: {e}")).hint(hint));
        }
        if std::mem::replace(&mut self.stdin_is_taken, true) {
            return Err(fail("standard input is read already".into()).hint("use a file for one of them"));
        }
        if let Some(text) = &self.stdin {
            return Ok(text.clone());
        }
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|e| fail(e.to_string()).hint("only text can be an argument"))?;
        self.stdin = Some(text.clone());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::call::schema::Work;

    fn schema() -> Value {
        json!({"type": "object", "required": ["title"], "properties": {
            "title": {"type": "string"}, "due_date": {"type": "string"}, "workspaceId": {"type": "string"},
            "limit": {"type": "integer", "minimum": 1}, "done": {"type": "boolean"},
            "labels": {"type": "array", "items": {"type": "string"}},
            "numbers": {"type": "array", "items": {"type": "integer"}},
            "status": {"enum": ["todo", "in_progress"]}, "filter": {"type": "object", "properties": {"a": {"type": "integer"}}},
        }})
    }

    fn read_with(checked: bool, words: &[&str], base: Option<&str>) -> Result<Value> {
        let document = schema();
        let options = || vec!["json".to_owned(), "full".to_owned()];
        let work = Work::default();
        let schema = Schema::new(&document, &work);
        let reader = Reader { tool: "t", schema, checked, options };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        reader.read(&words, base, &mut Sources::default()).map(Value::Object)
    }

    fn read(words: &[&str]) -> Value {
        read_with(true, words, None).unwrap()
    }

    fn told(words: &[&str]) -> String {
        let error = read_with(true, words, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        format!("{error} | {}", error.advice().unwrap_or_default())
    }

    #[test]
    fn every_form_of_an_argument_is_read() {
        assert_eq!(read(&["title=a=b"]), json!({"title": "a=b"}));
        assert_eq!(read(&["title=@@bob", "limit=5"]), json!({"title": "@bob", "limit": 5}));
        assert_eq!(read(&["title:=\"5\"", "filter:={\"a\":1}"]), json!({"title": "5", "filter": {"a": 1}}));
        assert_eq!(
            read(&["--title", "x", "--due-date", "1", "--workspace-id=w", "--done", "--limit", "3"]),
            json!({"title": "x", "due_date": "1", "workspaceId": "w", "done": true, "limit": 3})
        );
        assert_eq!(read(&["--done", "false", "title="]), json!({"done": false, "title": ""}));
        assert_eq!(read(&["--title", "a=b", "--due-date", "-5"]), json!({"title": "a=b", "due_date": "-5"}));
        assert_eq!(read(&["--title", "-"]), json!({"title": "-"}));
        assert_eq!(read(&["--title:=\"x\""]), json!({"title": "x"}));
        assert_eq!(
            read(&["title=x", "labels=a,b", "labels=c", "numbers=1", "numbers=2"]),
            json!({"title": "x", "labels": ["a,b", "c"], "numbers": [1, 2]})
        );
        assert_eq!(
            read(&["title=x", "labels:=[\"a\"]", "labels=b"]),
            json!({"title": "x", "labels": ["a", "b"]})
        );
        let base = read_with(true, &["limit=2"], Some(r#"{"title":"x","limit":1}"#)).unwrap();
        assert_eq!(base, json!({"title": "x", "limit": 2}));
    }

    #[test]
    fn files_are_read_and_a_missing_one_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        std::fs::write(&path, "[\"a\",\"b\"]").unwrap();
        let file = path.display();
        let both = read(&[&format!("title=@{file}"), &format!("labels:=@{file}")]);
        assert_eq!(both, json!({"title": "[\"a\",\"b\"]", "labels": ["a", "b"]}));
        std::fs::write(&path, "7").unwrap();
        let (number, label) = (format!("numbers=@{file}"), format!("labels=@{file}"));
        assert_eq!(
            read(&["title=x", "numbers=1", &number, &number, &label, &label, "labels=@@bob"]),
            json!({"title": "x", "numbers": [1, 7, 7], "labels": ["7", "7", "@bob"]})
        );
        assert!(told(&["title=@/no/such/file"]).contains("title=@@"));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(told(&[&format!("title=@{file}")]).contains("cannot be read"));
    }

    #[test]
    fn what_cannot_be_right_names_the_argument_and_the_way_on() {
        for (words, said) in [
            (&["titel=x"][..], "t has no argument titel | did you mean title?"),
            (&["title=x", "--jsno"], "t has no argument jsno | did you mean the option --json?"),
            (&["title=x", "limit=many"], "t: limit must be integer, not “many”"),
            (&["title=x", "limit=0"], "t: limit must be at least 1, not 0"),
            (&["title=x", "status=tood"], "| did you mean todo?"),
            (&["title=x", "filter:={\"a\":\"b\"}"], "t: filter.a must be integer, not “b”"),
            (&["title=x", "numbers=a"], "t: numbers[0] must be integer, not “a”"),
            (&["limit=1"], "t needs title (string)"),
            (&["title=x", "title=y"], "title is given twice"),
            (&["title"], "| an argument is written NAME=VALUE, such as title=text"),
            (&["--title"], "--title needs a value | write title=text"),
            (&["title=x", "--limit"], "--limit needs a value | write limit=1"),
            (&["title=x", "filter:=b"], "| write 'filter:={}'"),
            (
                &["--title", "--priority=high"],
                "“--priority=high” looks like another argument | if it is the value, write title=--priority=high",
            ),
            (&["--title", "-x"], "“-x” looks like another argument"),
            (
                &["--title", "limit=5 a"],
                "looks like another argument | if it is the value, write 'title=limit=5 a'",
            ),
            (&["--title", "limit:=5"], "looks like another argument"),
            (&[":=5"], "“:=5” is not an argument of t"),
            (&["title:=x"], "the value of title is not JSON"),
        ] {
            let told = told(words);
            assert!(told.contains(said), "{words:?}: {told}");
        }
        for (base, hint) in [("{", "--args '{"), ("[]", "--args '{"), ("@/no/such/file", "--args '{")] {
            let error = read_with(true, &[], Some(base)).unwrap_err();
            assert!(error.advice().is_some_and(|told| told.contains(hint)), "{base}: {error:?}");
        }
        assert!(read_with(true, &[], Some(r#"{"titel":1}"#)).is_err());
    }

    #[test]
    fn an_example_has_the_type_of_the_argument() {
        let document = json!({"properties": {"b": {"type": "boolean"}}});
        let work = Work::default();
        let schema = Schema::new(&document, &work);
        let reader = Reader { tool: "t", schema, checked: true, options: Vec::new };
        let error = reader.read(&["x".to_owned()], None, &mut Sources::default()).unwrap_err();
        assert_eq!(error.advice(), Some("an argument is written NAME=VALUE, such as b=true"));
    }

    #[test]
    fn unchecked_it_goes_as_typed() {
        let read = read_with(false, &["limit=many", "other=1"], None).unwrap();
        assert_eq!(read, json!({"limit": "many", "other": "1"}));
    }
}
