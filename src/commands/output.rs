//! How results are printed: `--jq` filters, `--fields` chooses, `--output` draws; for people on a terminal and for
//! programs elsewhere.
//!
//! Refuses to fail once there is a result: no form of output makes a value unprintable.

mod envelope;

use std::collections::HashSet;
use std::io::IsTerminal;

use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::{Map, Value};

use self::envelope::{fields_of, list_in, sole_list};
use super::arguments::{self, Color};
use super::call::schema::Schema;
use super::environment::variable;
use super::jq;
use super::remedy::shell_quoted;
use crate::error::{Error, Kind, Result};
use crate::profile::{Takers, nearest};
use crate::ui::json::{self, Json};
use crate::ui::{self, table::Rows};

/// How results are printed: the options of the commands that print one.
#[derive(Clone, Debug, Default)]
pub struct Output {
    output: Option<Form>,
    json: bool,
    jq: Option<String>,
    fields: Vec<String>,
    unknown_field: UnknownField,
    color: Color,
}

/// What is done about a field of `--fields` that no object has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum UnknownField {
    /// It is an error.
    #[default]
    Refused,
    /// It is left out, and a note on stderr says so.
    Noted,
    /// It is null.
    Null,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// A table or text on a terminal, TSV or plain text when piped.
    #[default]
    Auto,
    /// Text.
    Text,
    /// Indented JSON.
    Json,
    /// One JSON value per line.
    Jsonl,
    /// A table.
    Table,
    /// Tab-separated values.
    Tsv,
}

/// The forms by name.
const FORMS: [(&str, Form); 6] = [
    ("auto", Form::Auto),
    ("text", Form::Text),
    ("json", Form::Json),
    ("jsonl", Form::Jsonl),
    ("table", Form::Table),
    ("tsv", Form::Tsv),
];

impl Form {
    fn named(name: &str) -> Self {
        FORMS.iter().find(|(known, _)| *known == name).map_or(Self::Auto, |(_, form)| *form)
    }
}

impl FromArgMatches for Output {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            output: arguments::text(matches, "output").as_deref().map(Form::named),
            json: matches.get_flag("json"),
            jq: arguments::text(matches, "jq"),
            fields: arguments::text(matches, "fields")
                .map(|fields| {
                    fields.split(',').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect()
                })
                .unwrap_or_default(),
            unknown_field: UnknownField::default(),
            color: Color::read(matches),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Output {
    fn augment_args(command: clap::Command) -> clap::Command {
        arguments::with_options(command, Takers::Readers)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl Output {
    /// Says whether JSON was asked for: then failures are JSON too.
    pub fn is_json(&self) -> bool {
        matches!(self.form(), Form::Json | Form::Jsonl)
    }

    /// Says whether the value is wanted, rather than what people read of it.
    pub fn wants_value(&self) -> bool {
        self.is_json() || self.jq.is_some()
    }

    /// Says whether any of its options was given.
    pub fn is_given(&self) -> bool {
        self.json || self.jq.is_some() || self.output.is_some() || !self.fields.is_empty()
    }

    /// Returns the options that were given, as a command repeats them.
    pub fn repeated(&self) -> String {
        let form = FORMS.iter().find(|(_, form)| Some(*form) == self.output).map(|(name, _)| *name);
        let options = [
            form.map(|name| format!(" -o {name}")),
            self.json.then(|| " --json".to_owned()),
            self.jq.as_deref().map(|jq| format!(" --jq {}", shell_quoted(jq))),
            (!self.fields.is_empty()).then(|| format!(" --fields {}", shell_quoted(&self.fields.join(",")))),
        ];
        options.into_iter().flatten().collect()
    }

    /// Returns these options for the result of a call: a field that it does not have is noted, not refused.
    pub fn of_a_call(&self) -> Self {
        Self { unknown_field: UnknownField::Noted, ..self.clone() }
    }

    /// Checks what can be checked before anything is sent.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an expression that is none.
    pub fn check(&self) -> Result<()> {
        self.jq.as_deref().map_or(Ok(()), jq::check)
    }

    /// Checks that the whole result of the protocol can be printed.
    ///
    /// # Errors
    /// [`Kind::Usage`] for `--fields`, which it does not have.
    pub fn check_whole(&self) -> Result<()> {
        if self.fields.is_empty() || self.jq.is_some() {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, "--fields does not go with --full, which prints the whole result")
            .hint("leave one of them out"))
    }

    /// Checks `--fields` against the fields that a result can have, where that is known.
    ///
    /// # Errors
    /// [`Kind::Usage`] for one that it cannot have.
    pub fn check_result(&self, schema: Schema<'_>) -> Result<()> {
        if self.jq.is_some() || self.fields.is_empty() {
            return Ok(());
        }
        fields_of(schema).map_or(Ok(()), |fields| self.check_fields(fields.into_iter()))
    }

    /// Checks that the result may be one line of JSON after the other.
    ///
    /// # Errors
    /// [`Kind::Usage`] for every other form.
    pub fn check_for_lines(&self) -> Result<()> {
        match (&self.jq, self.output) {
            (None, None | Some(Form::Json | Form::Jsonl)) if self.fields.is_empty() => Ok(()),
            _ => Err(Error::new(
                Kind::Usage,
                "a batch writes one line of JSON for each call, and nothing else",
            )
            .hint("filter its output: jq -c .result")),
        }
    }

    /// Prints a value; `text` is what a person reads of it where it is no table.
    ///
    /// # Errors
    /// [`Kind::Output`] where it cannot be written, [`Kind::Usage`] where `--jq` fails.
    pub fn print(&self, value: &Value, text: Option<&str>) -> Result<()> {
        match &self.jq {
            Some(expression) => self.print_filtered(expression, &value.to_string()),
            None => self.draw(value, text),
        }
    }

    /// Prints what may be nested too deeply to be a value.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_json(&self, json: &Json, text: Option<&str>) -> Result<()> {
        match (json, &self.jq) {
            (Json::Value(value), _) => self.print(value, text),
            (Json::Text(json), Some(expression)) => self.print_filtered(expression, json),
            (Json::Text(json), None) => ui::print_exactly(&json::harmless(json)),
        }
    }

    /// Prints a value that says more than the `text` beside it, which is printed where it is asked for.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_over_text(&self, json: &Json, text: &str) -> Result<()> {
        self.print_json(json, (self.form() == Form::Text).then_some(text))
    }

    /// Prints the text, unless a form of the value was asked for.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_text(&self, value: &Value, text: &str) -> Result<()> {
        match self.form() {
            Form::Auto | Form::Text if self.jq.is_none() && self.fields.is_empty() => ui::print(text),
            _ => self.print(value, Some(text)),
        }
    }

    /// Prints a whole result of the protocol: as JSON, whatever form was asked for.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_whole(&self, json: &Json) -> Result<()> {
        let form = if self.form() == Form::Jsonl { Form::Jsonl } else { Form::Json };
        let output = match self.jq {
            Some(_) => self.clone(),
            None => Self { output: Some(form), json: false, fields: Vec::new(), ..self.clone() },
        };
        output.print_json(json, None)
    }

    /// Prints a list of the service: what is left of each entry for people, the whole entries otherwise.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_list(&self, whole: &[Json], summaries: &Value) -> Result<()> {
        let known = Rows::read(summaries).is_none_or(|rows| rows.only(&self.fields).is_some());
        if !self.is_json() && self.jq.is_none() && known {
            return self.print(summaries, None);
        }
        // A column of the table can be chosen beside the fields of an entry.
        let chooses = !self.fields.is_empty() && self.jq.is_none();
        let with_columns = |(entry, summary): (&Json, &Value)| match (entry, summary) {
            (Json::Value(Value::Object(entry)), Value::Object(columns)) if chooses => {
                let mut all = columns.clone();
                all.extend(entry.clone());
                Value::Object(all).to_string()
            }
            _ => entry.line(),
        };
        let columns = summaries.as_array().into_iter().flatten().chain(std::iter::repeat(&Value::Null));
        let lines: Vec<String> = whole.iter().zip(columns).map(with_columns).collect();
        match Json::read(&format!("[{}]", lines.join(","))) {
            Ok(list) => self.print_json(&list, None),
            Err(e) => Err(Error::new(Kind::Bug, format!("the list cannot be drawn up: {e}")).caused_by(e)),
        }
    }

    /// Prints a value of ours, for people as rows under these heads.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_rows(&self, value: &Value, heads: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let rows = Rows::under(heads, rows.to_vec());
        let rows = if self.fields.is_empty() { Some(rows) } else { rows.only(&self.fields) };
        match (rows, self.form()) {
            (Some(rows), Form::Auto | Form::Text | Form::Table | Form::Tsv) if self.jq.is_none() => {
                self.draw_rows(&rows)
            }
            _ => self.print(value, None),
        }
    }

    fn form(&self) -> Form {
        match self.output {
            _ if self.json => Form::Json,
            // The text of a result has no fields.
            Some(Form::Text) if !self.fields.is_empty() => Form::Auto,
            output => output.unwrap_or_default(),
        }
    }

    fn draw(&self, value: &Value, text: Option<&str>) -> Result<()> {
        if self.unknown_field == UnknownField::Noted {
            return self.without_unknown(std::slice::from_ref(value)).draw(value, text);
        }
        let chosen = self.chosen(value)?;
        let (value, text) = chosen.as_ref().map_or((value, text), |chosen| (chosen, None));
        match self.form() {
            Form::Json => self.draw_json(value),
            Form::Jsonl => match value {
                Value::Array(items) if items.is_empty() => Ok(()),
                Value::Array(items) => {
                    let lines: Vec<String> = items.iter().map(Value::to_string).collect();
                    ui::print_exactly(&json::harmless(&lines.join("\n")))
                }
                value => ui::print_exactly(&json::harmless(&value.to_string())),
            },
            Form::Table | Form::Tsv => self.draw_table(value, text),
            Form::Text => self.draw_text(value, text),
            Form::Auto => match sole_list(value) {
                Value::Array(items) if items.is_empty() => {
                    if std::io::stdout().is_terminal() {
                        ui::say("the list is empty");
                    }
                    Ok(())
                }
                list => match self.rows(list) {
                    Some(rows) => self.draw_rows(&rows),
                    None => self.draw_text(value, text),
                },
            },
        }
    }

    fn draw_table(&self, value: &Value, text: Option<&str>) -> Result<()> {
        let list = list_in(value);
        match (self.rows(list), list) {
            (Some(rows), _) => {
                self.draw_rows(&rows)?;
                tell_rest(value);
                Ok(())
            }
            (None, Value::Array(items)) if items.is_empty() => {
                tell_rest(value);
                Ok(())
            }
            (None, Value::Array(items)) => self.draw_rows(&Rows::of_items(items)),
            (None, Value::Object(fields)) => self.draw_rows(&Rows::of_object(fields)),
            _ => self.draw_text(value, text),
        }
    }

    /// Reads a list of objects; columns that were asked for are all shown.
    fn rows(&self, list: &Value) -> Option<Rows> {
        let rows = Rows::read(list)?;
        Some(if self.fields.is_empty() { rows } else { rows.keeping_all() })
    }

    fn draw_text(&self, value: &Value, text: Option<&str>) -> Result<()> {
        match (value, text) {
            (_, Some(text)) => ui::print(text),
            (Value::String(text), None) => ui::print(text),
            (value, None) => self.draw_json(value),
        }
    }

    fn draw_json(&self, value: &Value) -> Result<()> {
        ui::print_exactly(&json::pretty(value, self.is_coloured()))
    }

    fn draw_rows(&self, rows: &Rows) -> Result<()> {
        let in_columns = match self.form() {
            Form::Table => true,
            Form::Tsv => false,
            _ => std::io::stdout().is_terminal(),
        };
        if rows.rows.is_empty() {
            return Ok(());
        }
        if !in_columns {
            return ui::print(&rows.tsv());
        }
        // Only a terminal has an edge.
        let width = if std::io::stdout().is_terminal() { ui::width() } else { usize::MAX };
        let drawn = rows.table(width);
        ui::print(&drawn.text)?;
        let omitted: Vec<&str> =
            drawn.omitted.iter().map(String::as_str).filter(|head| !head.is_empty()).collect();
        if !omitted.is_empty() {
            ui::say(&format!("no room for {}; --fields chooses columns", omitted.join(", ")));
        }
        Ok(())
    }

    /// Prints each output of an expression: as `-o` says, else a string as text and everything else as JSON.
    fn print_filtered(&self, expression: &str, json: &str) -> Result<()> {
        let outputs = jq::filtered(expression, json)?;
        let read = |output: &String| Json::read(output).unwrap_or_else(|_| Json::Text(output.clone()));
        let mut outputs: Vec<Json> = outputs.iter().map(read).collect();
        if matches!(self.form(), Form::Table | Form::Tsv) && outputs.len() > 1 {
            outputs = vec![Json::Value(outputs.into_iter().map(Json::into_value).collect())];
        }
        if self.unknown_field == UnknownField::Noted {
            let values: Vec<Value> = outputs.iter().cloned().map(Json::into_value).collect();
            let known = self.without_unknown(&values);
            return outputs.iter().try_for_each(|output| known.draw_output(output));
        }
        outputs.iter().try_for_each(|output| self.draw_output(output))
    }

    fn draw_output(&self, output: &Json) -> Result<()> {
        match output {
            Json::Text(json) => ui::print_exactly(&json::harmless(json)),
            Json::Value(value) if self.form() != Form::Auto => self.draw(value, None),
            Json::Value(value) => match self.chosen(value)?.as_ref().unwrap_or(value) {
                Value::String(text) => ui::print(text),
                value if std::io::stdout().is_terminal() => self.draw_json(value),
                value => ui::print_exactly(&json::harmless(&value.to_string())),
            },
        }
    }

    /// Notes the fields that no object in the values has, and returns these options without them.
    fn without_unknown(&self, values: &[Value]) -> Self {
        let objects = |value| match list_in(value) {
            Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
            value => Vec::from_iter(value.as_object()),
        };
        let mut seen = HashSet::new();
        let names = values.iter().flat_map(objects).flat_map(Map::keys).map(String::as_str);
        let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
        let is_known = |field: &&String| names.is_empty() || names.contains(&field.as_str());
        let (known, unknown): (Vec<_>, Vec<_>) = self.fields.iter().partition(is_known);
        for field in unknown {
            let hint = match nearest(field, names.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("its fields are {}", names.join(", ")),
            };
            ui::say(&format!("note: --fields: the result has no field {field}; {hint}"));
        }
        let fields = known.into_iter().cloned().collect();
        Self { fields, unknown_field: UnknownField::Null, ..self.clone() }
    }

    /// Returns the chosen fields of an object, or of each object of a list; of anything else, nothing.
    fn chosen(&self, value: &Value) -> Result<Option<Value>> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        let of = |object: &Map<String, Value>| -> Value {
            let field = |name: &String| (name.clone(), object.get(name).cloned().unwrap_or_default());
            Value::Object(self.fields.iter().map(field).collect())
        };
        match list_in(value) {
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
                let names = items.iter().filter_map(Value::as_object).flat_map(Map::keys);
                self.check_fields(names.map(String::as_str))?;
                Ok(Some(items.iter().filter_map(Value::as_object).map(of).collect()))
            }
            Value::Object(fields) => {
                self.check_fields(fields.keys().map(String::as_str))?;
                Ok(Some(of(fields)))
            }
            _ => Ok(None),
        }
    }

    /// Refuses `--fields` that none of the objects has.
    fn check_fields<'a>(&self, known: impl Iterator<Item = &'a str>) -> Result<()> {
        if self.unknown_field == UnknownField::Null {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let names: Vec<&str> = known.filter(|name| seen.insert(*name)).collect();
        let Some(unknown) = self.fields.iter().find(|field| !seen.contains(field.as_str())) else {
            return Ok(());
        };
        let error = Error::new(Kind::Usage, format!("--fields: there is no field {unknown}"));
        Err(match nearest(unknown, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint(format!("the fields are {}", names.join(", "))),
        })
    }

    fn is_coloured(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && variable("NO_COLOR").is_none(),
        }
    }
}

/// Prints on stderr what is beside a list that was printed.
fn tell_rest(value: &Value) {
    let list = list_in(value);
    for (name, field) in value.as_object().into_iter().flatten() {
        if !std::ptr::eq(field, list) {
            ui::say(&format!("{name}: {field}"));
        }
    }
}
