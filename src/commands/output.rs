//! How results are printed: `--output`, `--json`, `--jq`, for people on a terminal and for programs elsewhere.
//!
//! Refuses to cut anything off.

use std::io::IsTerminal;

use clap::{ArgMatches, Args, FromArgMatches};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;
use serde_json::Value;

use super::arguments::{self, Color};
use super::environment::variable;
use crate::error::{Error, Kind, Result};
use crate::profile::Takers;
use crate::ui::{self, json, table::Rows};

/// How results are printed: the options of the commands that print one.
#[derive(Clone, Debug, Default)]
pub struct Output {
    output: Option<Form>,
    json: bool,
    jq: Option<String>,
    color: Color,
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

impl Form {
    fn named(name: &str) -> Self {
        match name {
            "text" => Self::Text,
            "json" => Self::Json,
            "jsonl" => Self::Jsonl,
            "table" => Self::Table,
            "tsv" => Self::Tsv,
            _ => Self::Auto,
        }
    }
}

impl FromArgMatches for Output {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            output: arguments::text(matches, "output").as_deref().map(Form::named),
            json: matches.get_flag("json"),
            jq: arguments::text(matches, "jq"),
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
    /// Says whether a program reads the result: then failures are JSON too.
    pub fn is_json(&self) -> bool {
        self.json || self.jq.is_some() || matches!(self.output, Some(Form::Json | Form::Jsonl))
    }

    /// Says whether any of its options was given.
    pub fn is_given(&self) -> bool {
        self.json || self.jq.is_some() || self.output.is_some()
    }

    /// Checks what can be checked before anything is sent.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an expression that is none.
    pub fn check(&self) -> Result<()> {
        match &self.jq {
            Some(expression) => filtered(expression, "null", true).map(drop),
            None => Ok(()),
        }
    }

    /// Checks that the result may be one line of JSON after the other.
    ///
    /// # Errors
    /// [`Kind::Usage`] for every other form.
    pub fn check_for_lines(&self) -> Result<()> {
        match (&self.jq, self.output) {
            (None, None | Some(Form::Json | Form::Jsonl)) => Ok(()),
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
    /// [`Kind::Output`] where it cannot be written, [`Kind::Usage`] for a form that it cannot take.
    pub fn print(&self, value: &Value, text: Option<&str>) -> Result<()> {
        self.print_as(value, text, self.form())
    }

    /// Prints a value that says more than the `text` beside it, which is printed where it is asked for.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_value(&self, value: &Value, text: &str) -> Result<()> {
        let text = (self.form() == Form::Text).then_some(text);
        self.print_as(value, text, self.form())
    }

    /// Prints a value of ours, for people as rows under these heads.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_rows(&self, value: &Value, heads: &[&str], rows: &[Vec<String>]) -> Result<()> {
        match (&self.jq, self.form()) {
            (None, Form::Auto | Form::Text) => ui::rows(heads, rows, std::io::stdout().is_terminal()),
            (None, Form::Table) => ui::rows(heads, rows, true),
            (None, Form::Tsv) => ui::rows(heads, rows, false),
            _ => self.print(value, None),
        }
    }

    fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output.unwrap_or_default() }
    }

    fn print_as(&self, value: &Value, text: Option<&str>, form: Form) -> Result<()> {
        if let Some(expression) = &self.jq {
            return self.print_filtered(expression, value);
        }
        let terminal = std::io::stdout().is_terminal();
        match form {
            Form::Json => self.print_json(value),
            Form::Jsonl => match value {
                Value::Array(items) if items.is_empty() => Ok(()),
                Value::Array(items) => {
                    let lines: Vec<String> = items.iter().map(Value::to_string).collect();
                    ui::print_exactly(&json::harmless(&lines.join("\n")))
                }
                value => ui::print_exactly(&json::harmless(&value.to_string())),
            },
            Form::Table | Form::Tsv => {
                let list = list_in(value);
                match Rows::read(list) {
                    Some(rows) => print_rows(&rows, form == Form::Table)?,
                    None if list.as_array().is_some_and(Vec::is_empty) => {}
                    None => return Err(no_table()),
                }
                tell_rest(value);
                Ok(())
            }
            Form::Text => self.print_text(value, text),
            Form::Auto => match Rows::read(sole_list(value)) {
                Some(rows) => print_rows(&rows, terminal),
                None if sole_list(value).as_array().is_some_and(Vec::is_empty) => {
                    if terminal {
                        ui::say("the list is empty");
                    }
                    Ok(())
                }
                None => self.print_text(value, text),
            },
        }
    }

    fn print_text(&self, value: &Value, text: Option<&str>) -> Result<()> {
        match (value, text) {
            (_, Some(text)) => ui::print(text),
            (Value::String(text), None) => ui::print(text),
            (value, None) => self.print_json(value),
        }
    }

    fn print_json(&self, value: &Value) -> Result<()> {
        ui::print_exactly(&json::pretty(value, self.is_coloured()))
    }

    fn print_filtered(&self, expression: &str, value: &Value) -> Result<()> {
        for output in filtered(expression, &value.to_string(), false)? {
            match serde_json::from_str::<Value>(&output) {
                Ok(Value::String(text)) => ui::print(&text)?,
                Ok(value) if std::io::stdout().is_terminal() => self.print_json(&value)?,
                _ => ui::print_exactly(&json::harmless(&output))?,
            }
        }
        Ok(())
    }

    fn is_coloured(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && variable("NO_COLOR").is_none(),
        }
    }
}

fn no_table() -> Error {
    Error::new(Kind::Usage, "the result is no list of objects, so it makes no table")
        .hint("-o json prints it")
}

/// A list that is all there is in an object is meant itself.
fn sole_list(value: &Value) -> &Value {
    if value.as_object().is_some_and(|fields| fields.len() == 1) { list_in(value) } else { value }
}

/// Tells what stood beside a list that was printed.
fn tell_rest(value: &Value) {
    let list = list_in(value);
    for (name, field) in value.as_object().into_iter().flatten() {
        if !std::ptr::eq(field, list) {
            ui::say(&format!("{name}: {field}"));
        }
    }
}

/// A list that stands alone in an object (`{"tasks": […], "total": 3}`) can be meant too.
fn list_in(value: &Value) -> &Value {
    let lists = value.as_object().into_iter().flat_map(|fields| fields.values());
    let mut lists =
        lists.filter(|field| field.as_array().is_some_and(|items| items.iter().all(Value::is_object)));
    match (lists.next(), lists.next()) {
        (Some(list), None) => list,
        _ => value,
    }
}

fn print_rows(rows: &Rows, as_table: bool) -> Result<()> {
    if as_table { ui::print(&rows.table(ui::width())) } else { ui::print(&rows.tsv()) }
}

/// Runs a jq expression; each output as JSON text. `only_compile` says what is wrong with it, and runs nothing.
fn filtered(expression: &str, input: &str, only_compile: bool) -> Result<Vec<String>> {
    let wrong = |why: String| {
        Error::new(Kind::Usage, format!("--jq: {why}")).hint("the language is jq's: --jq '.[].title'")
    };
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let program = File { code: expression, path: () };
    let modules = Loader::new(definitions)
        .load(&arena, program)
        .map_err(|_| wrong(format!("“{expression}” is no jq expression")))?;
    let filter = jaq_core::Compiler::default()
        .with_funs(functions)
        .compile(modules)
        .map_err(|_| wrong(format!("“{expression}” uses a name that jq does not know")))?;
    if only_compile {
        return Ok(Vec::new());
    }
    let input = jaq_json::read::parse_single(input.as_bytes()).map_err(|e| wrong(format!("{e}")))?;
    let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let outputs = filter.id.run((context, input)).map(unwrap_valr);
    outputs.map(|output| output.map(|value| value.to_string()).map_err(|e| wrong(e.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jq_expressions_are_run_and_wrong_ones_told() {
        let run = |expression: &str, input: &str| filtered(expression, input, false);
        assert_eq!(run(".[].a", r#"[{"a":1},{"a":"x"}]"#).unwrap(), ["1", "\"x\""]);
        assert_eq!(run("map(select(.a > 1)) | length", r#"[{"a":1},{"a":2}]"#).unwrap(), ["1"]);
        for wrong in [".[", "nonsense", ".a | unknown(1)"] {
            assert_eq!(filtered(wrong, "null", true).unwrap_err().kind(), Kind::Usage, "{wrong}");
        }
        assert_eq!(run(".a", "[1]").unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn a_lone_list_is_found() {
        let lone = serde_json::json!({"tasks": [{"a": 1}], "total": 1});
        assert_eq!(list_in(&lone), &lone["tasks"]);
        let two = serde_json::json!({"a": [{}], "b": [{}]});
        assert_eq!(list_in(&two), &two);
        assert_eq!(sole_list(&lone), &lone);
        let sole = serde_json::json!({"tasks": [{"a": 1}]});
        assert_eq!(sole_list(&sole), &sole["tasks"]);
    }
}
