//! `asistry tools`: lists the tools, or shows one of them.

use std::fmt::Write as _;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments::Common;
use super::call::schema::{Schema, Work};
use super::conversation::{Conversation, Filters, Tool};
use super::environment::Environment;
use super::output::Output;
use super::remedy::shell_quoted;
use crate::ui::{self, json::Json, table::wrapped};

/// Fields in fields are shown to this depth.
const DEEPEST: usize = 4;

/// Options of `asistry tools`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// List only tools with this text in their name or description
    #[arg(long, value_name = "TEXT", global = true)]
    grep: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the tools
    List,
    /// Show one tool: its arguments, types, limits, defaults and enum values, its result, and an example
    Show {
        /// Tool
        tool: String,
    },
}

/// Lists or shows.
///
/// # Errors
/// The service's errors, or an unknown tool.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let mut conversation = Conversation::begin(common, environment).await?;
    let tools = match &arguments.action {
        Some(Action::Show { tool }) => conversation.tools_with(tool).await,
        None | Some(Action::List) => conversation.tools_or_known().await,
    };
    let options = match &arguments.action {
        Some(Action::Show { tool }) => conversation.options_of(tool),
        None | Some(Action::List) => conversation.options(),
    };
    let filters = conversation.filters();
    let shown = move |tools: Vec<Tool>| show(&tools, &filters, &options, &arguments);
    Ok(conversation.end_with(tools, shown).await?)
}

fn show(tools: &[Tool], filters: &Filters, options: &str, arguments: &Arguments) -> crate::error::Result<u8> {
    let parsed = |tool: &Tool| Json::read(&tool.raw).unwrap_or_else(|_| Json::Text(tool.raw.clone()));
    let output = &arguments.output;
    match &arguments.action {
        None | Some(Action::List) => {
            let text = arguments.grep.as_deref().unwrap_or_default().to_lowercase();
            let has = |tool: &&Tool| {
                [&tool.name, &tool.safe_name, &tool.description]
                    .iter()
                    .any(|words| words.to_lowercase().contains(&text))
            };
            let found: Vec<&Tool> = tools.iter().filter(has).collect();
            if found.is_empty() && !text.is_empty() && !output.wants_value() {
                ui::say(&format!("no tool has {text} in its name or description"));
                return Ok(0);
            }
            let whole: Vec<Json> = found.iter().map(|tool| parsed(tool)).collect();
            output.print_list(&whole, &found.into_iter().map(summary).collect())?;
        }
        Some(Action::Show { tool }) => {
            let found = filters.find(tools, tool)?;
            match (&parsed(found), output.wants_value()) {
                (Json::Text(_), false) => ui::print(&described(found, options))?,
                (whole, _) => output.print_json(whole, Some(&described(found, options)))?,
            }
        }
    }
    Ok(0)
}

fn summary(tool: &Tool) -> Value {
    let about = tool.description.lines().next().unwrap_or_default();
    json!({"tool": tool.name, "marks": marks(tool).join(", "), "about": about})
}

/// Returns what a tool says of itself: that it only reads, that it may destroy, that it runs as a task.
fn marks(tool: &Tool) -> Vec<&'static str> {
    let whole: Value = serde_json::from_str(&tool.raw).unwrap_or_default();
    let says = |name: &str| whole["annotations"][name] == true;
    let task = matches!(whole["execution"]["taskSupport"].as_str(), Some("optional" | "required"));
    let all = [
        (says("readOnlyHint"), "read-only"),
        (says("destructiveHint") && !says("readOnlyHint"), "destructive"),
        (task, "task"),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect()
}

/// Returns what a tool is and takes, and a line that calls it with these options.
pub fn described(tool: &Tool, options: &str) -> String {
    let mut text = format!("{}\n", tool.name);
    if !tool.description.is_empty() {
        let _ = writeln!(text, "{}\n", wrapped(&tool.description, width_of_text()).join("\n"));
    }
    let marks = marks(tool);
    if !marks.is_empty() {
        let _ = writeln!(text, "{}\n", marks.join(", "));
    }
    let work = Work::default();
    let schema = Schema::new(tool.input_schema(), &work);
    describe(schema, &mut text);
    let whole: Value = serde_json::from_str(&tool.raw).unwrap_or_default();
    let result = Schema::new(&whole["outputSchema"], &work);
    if !result.properties().is_empty() {
        text.push_str("\nResult:\n");
        describe(result, &mut text);
    }
    let _ = write!(text, "\nasistry call {}{options}{}", shell_quoted(&tool.name), schema.typed_example());
    text
}

/// Whether a property must be given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Required {
    Yes,
    No,
}

impl Required {
    fn of(name: &str, required: &[&str]) -> Self {
        if required.contains(&name) { Self::Yes } else { Self::No }
    }
}

/// Writes a row for each property.
fn describe(schema: Schema<'_>, text: &mut String) {
    let required = schema.required();
    let properties = schema.properties();
    let width = properties.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let room = width_of_text().saturating_sub(width + 4).max(20);
    for (name, property) in &properties {
        let lines = lines_about(*property, Required::of(name, &required), (room, DEEPEST));
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(text, "  {name:width$}  {line}");
        }
    }
}

/// Returns the type of a property with its default and limits, what it is, and the fields in it.
fn lines_about(property: Schema<'_>, required: Required, (room, depth): (usize, usize)) -> Vec<String> {
    let mut kind = property.shown();
    if required == Required::Yes {
        kind.push_str(", required");
    }
    if let Some(default) = property.word("default") {
        let _ = write!(kind, ", default {default}");
    }
    property.limits().iter().for_each(|limit| kind.extend([", ", limit]));
    let about = property.word("description").and_then(Value::as_str).unwrap_or_default();
    let indented = |line: String| format!("  {line}");
    let mut lines = wrapped(&kind, room);
    lines.extend(wrapped(&about.replace('\n', " "), room - 2).into_iter().map(indented));
    let (nested, needed) = property.nested();
    for (name, field) in nested.into_iter().filter(|_| depth > 0 && room > 24) {
        let mut inner = lines_about(field, Required::of(name, &needed), (room - 2, depth - 1));
        if let Some(first) = inner.first_mut() {
            first.insert_str(0, &format!("{name}: "));
        }
        lines.extend(inner.into_iter().map(indented));
    }
    lines
}

/// Returns how wide a text is that is still easy to read.
fn width_of_text() -> usize {
    ui::width().clamp(40, 100)
}
