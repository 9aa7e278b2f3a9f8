//! The JSON Schema of a tool's arguments: what a typed text becomes by it, and whether a value fits.
//!
//! Knows types, enums, constants, bounds, required and unknown names, nested objects and arrays, `$ref` inside
//! the schema, `anyOf`, `oneOf`, `allOf` and common formats. Refuses to guess: what it does not know (other formats,
//! patterns, conditions) is left to the service, and so is all that lies past a bound of work.
//!
//! The crate jsonschema 0.61 without default features was tried for the check: it adds 39 crates.

mod example;
mod format;
mod limits;

use std::cell::Cell;
use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::profile::nearest;

/// Deeper `$ref`s are taken for a circle.
const DEEPEST: usize = 32;

/// The most steps that one reading of a schema takes: a small schema can describe exponentially many
/// (`{"allOf": [{"$ref": "#"}, {"$ref": "#"}]}`).
const MOST_STEPS: u32 = 200_000;
/// The longest description of a type that is shown.
const LONGEST_SHOWN: usize = 4000;

/// The remaining work allowed for reading a schema.
#[derive(Debug)]
pub struct Work(Cell<u32>);

impl Default for Work {
    fn default() -> Self {
        Self(Cell::new(MOST_STEPS))
    }
}

impl Work {
    /// Takes steps off; returns whether there were enough.
    fn take(&self, steps: usize) -> bool {
        let left = self.0.get().saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        self.0.set(left);
        left > 0
    }

    fn is_done(&self) -> bool {
        self.0.get() == 0
    }
}

/// A schema, and the document that its references point into.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    document: &'a Value,
    work: &'a Work,
    here: &'a Value,
    depth: usize,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which value: `filter.status`, `labels[1]`.
    pub place: String,
    /// The expected value.
    pub expected: String,
    /// The fault.
    pub problem: Problem,
    /// A name that was probably meant, or the command that helps.
    pub hint: Option<String>,
}

/// The fault of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not what was expected.
    Unfit,
    /// It is required and not there.
    Missing,
    /// The schema does not have that name.
    Unknown,
}

impl Misfit {
    fn at(place: &str, expected: impl Into<String>) -> Self {
        Self { place: place.to_owned(), expected: expected.into(), problem: Problem::Unfit, hint: None }
    }
}

impl<'a> Schema<'a> {
    /// Takes the whole schema of a tool, and how much work may be spent on it.
    pub fn new(document: &'a Value, work: &'a Work) -> Self {
        Self { document, work, here: document, depth: 0 }.resolved()
    }

    /// Says whether the work ran out: then what was not found may be there all the same.
    pub fn is_cut_off(self) -> bool {
        self.work.is_done()
    }

    fn at(self, here: &'a Value) -> Self {
        Self { here, depth: self.depth + 1, ..self }.resolved()
    }

    fn resolved(self) -> Self {
        self.work.take(1);
        let Some(target) = self.here["$ref"].as_str().filter(|_| self.depth < DEEPEST) else { return self };
        match target.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer)) {
            Some(here) => Self { here, depth: self.depth + 1, ..self }.resolved(),
            None => Self { here: &Value::Null, ..self },
        }
    }

    /// Returns the properties of an object, those of `allOf` included; each name once.
    pub fn properties(self) -> Vec<(&'a str, Self)> {
        let own = self.here["properties"].as_object().into_iter().flatten();
        let mut found: Vec<_> = own.map(|(name, schema)| (name.as_str(), self.at(schema))).collect();
        let parts = self.branches("allOf");
        if !parts.is_empty() {
            found.extend(parts.into_iter().flat_map(Self::properties));
            let mut seen = HashSet::new();
            found.retain(|(name, _)| seen.insert(*name));
        }
        found
    }

    /// Returns the schema of one property.
    pub fn property(self, name: &str) -> Option<Self> {
        if let Some(own) = self.here["properties"].get(name) {
            return Some(self.at(own));
        }
        self.branches("allOf").into_iter().find_map(|part| part.property(name))
    }

    /// Returns the name of the property that was typed as an option: dashes stand for underscores, and case
    /// and separators do not matter where one property alone can be meant.
    pub fn meant(self, option: &str) -> Option<&'a str> {
        let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
        let properties = self.properties();
        if let Some((name, _)) = properties.iter().find(|(name, _)| *name == option) {
            return Some(name);
        }
        let mut same = properties.iter().filter(|(name, _)| plain(name) == plain(option));
        match (same.next(), same.next()) {
            (Some((name, _)), None) => Some(name),
            _ => None,
        }
    }

    /// Returns the names that must be given.
    pub fn required(self) -> Vec<&'a str> {
        let own = self.here["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut names: Vec<&str> = own.collect();
        for part in self.branches("allOf") {
            names.extend(part.required());
        }
        names
    }

    /// Returns a word of the schema, such as `description` or `default`.
    pub fn word(self, name: &str) -> Option<&'a Value> {
        self.here.get(name).filter(|value| !value.is_null())
    }

    /// Says whether names that are not listed may be given too.
    pub fn is_open(self) -> bool {
        match &self.here["additionalProperties"] {
            Value::Bool(open) => *open,
            Value::Object(_) => true,
            _ => self.here.get("properties").is_none() && self.branches("allOf").is_empty(),
        }
    }

    /// Returns what may stand here, for people: `integer`, `"todo" | "done"`, `array of string`.
    pub fn shown(self) -> String {
        if let Some(value) = self.word("const") {
            return value.to_string();
        }
        if let Some(values) = self.here["enum"].as_array() {
            // MCP 2025-06-18, elicitation: names for people, one for each value.
            let names = &self.here["enumNames"];
            let shown = values.iter().enumerate().map(|(at, value)| named(value.to_string(), &names[at]));
            return shown.collect::<Vec<_>>().join(" | ");
        }
        let branches = self.alternatives();
        if !branches.is_empty() {
            let mut all: Vec<String> = Vec::new();
            for branch in branches {
                let name = branch.word("const").map_or(&Value::Null, |_| &branch.here["title"]);
                let shown = named(branch.shown(), name);
                if self.is_cut_off() || all.iter().map(String::len).sum::<usize>() > LONGEST_SHOWN {
                    break;
                }
                if !all.contains(&shown) {
                    all.push(shown);
                }
            }
            return if all.is_empty() { "any value".into() } else { all.join(" or ") };
        }
        match self.types().as_slice() {
            [] => "any value".into(),
            ["array"] => match self.items().map(Self::shown).as_deref() {
                None | Some("any value") => "array".into(),
                Some(items) => format!("array of {items}"),
            },
            types => types.join(" or "),
        }
    }

    /// Returns the values of an enumeration, as they are typed; those of its alternatives and of the items of
    /// an array too.
    pub fn choices(self) -> Vec<String> {
        let listed = self.here["enum"].as_array().filter(|values| self.work.take(values.len()));
        let mut found: Vec<String> =
            listed.into_iter().flatten().chain(self.word("const")).map(plain).collect();
        for branch in self.alternatives().into_iter().chain(self.items()) {
            found.extend(branch.choices());
        }
        if found.is_empty() && self.is_boolean() {
            found.extend(["true".to_owned(), "false".to_owned()]);
        }
        found
    }

    /// Says whether a bare `--name` can mean true.
    pub fn is_boolean(self) -> bool {
        self.types() == ["boolean"] || self.alternatives().into_iter().any(Self::is_boolean)
    }

    /// Says whether a name may be repeated, each time for one more item.
    pub fn is_array(self) -> bool {
        self.types().contains(&"array") || self.alternatives().into_iter().any(Self::is_array)
    }

    fn types(self) -> Vec<&'a str> {
        match &self.here["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ if self.here["properties"].is_object() => vec!["object"],
            _ => Vec::new(),
        }
    }

    fn items(self) -> Option<Self> {
        self.here.get("items").filter(|items| items.is_object()).map(|items| self.at(items))
    }

    /// Returns the schema of an item, also of an array that is one of several alternatives.
    pub fn item(self) -> Option<Self> {
        let is_array = |schema: &Self| schema.types().contains(&"array");
        let array = Some(self).filter(is_array).or_else(|| self.alternatives().into_iter().find(is_array));
        array.and_then(Self::items)
    }

    fn branches(self, word: &str) -> Vec<Self> {
        if self.depth >= DEEPEST {
            return Vec::new();
        }
        let branches = self.here[word].as_array().into_iter().flatten();
        branches.take_while(|_| !self.is_cut_off()).map(|branch| self.at(branch)).collect()
    }

    fn alternatives(self) -> Vec<Self> {
        let mut all = self.branches("anyOf");
        all.extend(self.branches("oneOf"));
        all
    }

    /// Makes a value of a typed text: the first reading that fits, in the order in which the schema names
    /// its types; a text that fits nothing stays a text.
    pub fn read(self, text: &str) -> Value {
        self.reading(text).unwrap_or_else(|| Value::from(text))
    }

    fn reading(self, text: &str) -> Option<Value> {
        let listed = self.here["enum"].as_array().into_iter().flatten().chain(self.word("const"));
        let mut listed = listed.peekable();
        if listed.peek().is_some() {
            // A word out of a file or a pipe ends with its line.
            let same = |value: &&Value| [text, text.trim()].contains(&plain(value).as_str());
            return listed.find(same).cloned();
        }
        let alternatives = self.alternatives();
        if !alternatives.is_empty() {
            let readings = alternatives.iter().filter_map(|branch| {
                let value = branch.reading(text)?;
                branch.check(&value, "").is_ok().then_some(value)
            });
            // `null` is typed only where nothing else takes it.
            let readings: Vec<Value> = readings.collect();
            return readings.iter().find(|value| !value.is_null()).or(readings.first()).cloned();
        }
        let types = self.types();
        if types.is_empty() {
            return Some(Value::from(text));
        }
        types.iter().find_map(|kind| self.reading_as(kind, text))
    }

    fn reading_as(self, kind: &str, text: &str) -> Option<Value> {
        let json = || serde_json::from_str::<Value>(text.trim()).ok();
        match kind {
            "string" => Some(Value::from(text)),
            "integer" => json().filter(is_integer),
            "number" => json().filter(Value::is_number),
            "boolean" => json().filter(Value::is_boolean),
            "null" => json().filter(Value::is_null),
            "object" => json().filter(Value::is_object),
            "array" => match json().filter(Value::is_array) {
                Some(whole) => Some(whole),
                None => Some(Value::Array(vec![self.read_item(text)])),
            },
            _ => None,
        }
    }

    /// Makes one item of an array of a typed text.
    pub fn read_item(self, text: &str) -> Value {
        self.item().map_or_else(|| Value::from(text), |items| items.read(text))
    }

    /// Checks a value and all that is in it.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(self, value: &Value, place: &str) -> Result<(), Misfit> {
        match self.checked(value, place) {
            // A branch that was not checked may accept what this one does not.
            Err(_) if self.is_cut_off() => Ok(()),
            checked => checked,
        }
    }

    fn checked(self, value: &Value, place: &str) -> Result<(), Misfit> {
        if !self.work.take(1) {
            return Ok(());
        }
        if self.here == &Value::Bool(false) {
            return Err(Misfit::at(place, "nothing at all"));
        }
        let listed = self.here["enum"]
            .as_array()
            .is_none_or(|values| !self.work.take(values.len()) || values.contains(value));
        if !listed || self.word("const").is_some_and(|only| only != value) {
            return Err(self.not_listed(value, place));
        }
        if !self.takes_type_of(value) {
            return Err(Misfit::at(place, self.shown()));
        }
        for part in self.branches("allOf") {
            part.check(value, place)?;
        }
        self.check_alternatives(value, place)?;
        self.check_bounds(value, place)?;
        match value {
            Value::String(text) => {
                let format = self.word("format").and_then(Value::as_str);
                match format.and_then(|format| format::mismatch(format, text)) {
                    Some(expected) => Err(Misfit::at(place, expected)),
                    None => Ok(()),
                }
            }
            Value::Object(fields) => self.check_object(fields, place),
            Value::Array(items) => match self.items() {
                Some(schema) => items
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, item)| schema.check(item, &format!("{place}[{at}]"))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn takes_type_of(self, value: &Value) -> bool {
        let types = self.types();
        types.is_empty() || types.iter().any(|kind| is_of(kind, value))
    }

    fn not_listed(self, value: &Value, place: &str) -> Misfit {
        let mut misfit = Misfit::at(place, format!("one of {}", self.shown()));
        let choices = self.choices();
        let near = value.as_str().and_then(|text| nearest(text, choices.iter().map(String::as_str)));
        misfit.hint = near.map(|near| format!("did you mean {near}?"));
        misfit
    }

    fn check_alternatives(self, value: &Value, place: &str) -> Result<(), Misfit> {
        for word in ["anyOf", "oneOf"] {
            let branches = self.branches(word);
            let mut misfits = Vec::new();
            for branch in &branches {
                match branch.check(value, place) {
                    Ok(()) => misfits.clear(),
                    Err(misfit) => misfits.push(misfit),
                }
                if misfits.is_empty() {
                    break;
                }
            }
            // Where one branch alone can be meant, what is wrong with that one says more.
            let deeper: Vec<&Misfit> = misfits.iter().filter(|misfit| misfit.place != place).collect();
            match (misfits.is_empty(), deeper.as_slice()) {
                (true, _) => {}
                (false, [only]) => return Err((*only).clone()),
                (false, _) => {
                    let of_its_type =
                        branches.iter().zip(&misfits).filter(|(branch, _)| branch.takes_type_of(value));
                    let formats: Option<Vec<&str>> = of_its_type
                        .map(|(branch, misfit)| branch.word("format").map(|_| misfit.expected.as_str()))
                        .collect();
                    let formats = formats.filter(|formats| !formats.is_empty());
                    return Err(Misfit::at(
                        place,
                        formats.map_or_else(|| self.shown(), |all| all.join(" or ")),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_bounds(self, value: &Value, place: &str) -> Result<(), Misfit> {
        let bound = |name: &str| self.here[name].as_f64();
        let size = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => Some(text.chars().count() as f64),
            Value::Array(items) => Some(items.len() as f64),
            _ => None,
        };
        let Some(size) = size else { return Ok(()) };
        let (least, most, unit) = match value {
            Value::Number(_) => ("minimum", "maximum", ""),
            Value::String(_) => ("minLength", "maxLength", " characters"),
            _ => ("minItems", "maxItems", " items"),
        };
        let number = value.is_number();
        let wrong = |words: &str, bound: f64| Err(Misfit::at(place, format!("{words} {bound}{unit}")));
        match (bound(least), bound(most)) {
            (Some(bound), _) if size < bound => return wrong("at least", bound),
            (_, Some(bound)) if size > bound => return wrong("at most", bound),
            _ => {}
        }
        match (bound("exclusiveMinimum"), bound("exclusiveMaximum")) {
            (Some(bound), _) if number && size <= bound => wrong("more than", bound),
            (_, Some(bound)) if number && size >= bound => wrong("less than", bound),
            _ => Ok(()),
        }
    }

    fn check_object(self, fields: &Map<String, Value>, place: &str) -> Result<(), Misfit> {
        let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
        for (name, value) in fields {
            match self.property(name) {
                Some(schema) => schema.check(value, &below(name))?,
                None if self.is_closed() => {
                    let known = self.properties().into_iter().map(|(known, _)| known);
                    let mut misfit = Misfit::at(&below(name), "no such name");
                    misfit.problem = Problem::Unknown;
                    misfit.hint = nearest(name, known).map(|near| format!("did you mean {}?", below(near)));
                    return Err(misfit);
                }
                None => {}
            }
        }
        match self.required().into_iter().find(|name| !fields.contains_key(*name)) {
            Some(missing) => {
                let schema = self.property(missing).map_or_else(|| "a value".to_owned(), Self::shown);
                Err(Misfit { problem: Problem::Missing, ..Misfit::at(&below(missing), schema) })
            }
            None => Ok(()),
        }
    }

    fn is_closed(self) -> bool {
        self.here["additionalProperties"] == Value::Bool(false)
    }
}

/// Returns a value with its name for people, where it has one.
fn named(value: String, name: &Value) -> String {
    match name.as_str() {
        Some(name) => format!("{value} ({name})"),
        None => value,
    }
}

/// Returns a value of an enumeration as it is typed.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => is_integer(value),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
