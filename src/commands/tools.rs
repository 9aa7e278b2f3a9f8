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

/// Options of `asistry tools`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the tools
    List,
    /// Show one tool: its arguments, types, defaults and enum values
    Show {
        /// Tool
        tool: String,
    },
}

/// Lists or shows.
///
/// # Errors
/// What the service says, or an unknown tool.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let mut conversation = Conversation::begin(common, environment).await?;
    let tools = conversation.tools().await;
    let (filters, options) = (conversation.filters(), conversation.options());
    let shown = move |tools: Vec<Tool>| show(&tools, &filters, &options, &arguments);
    Ok(conversation.end_with(tools, shown).await?)
}

fn show(tools: &[Tool], filters: &Filters, options: &str, arguments: &Arguments) -> crate::error::Result<u8> {
    let parsed = |tool: &Tool| Json::read(&tool.raw).unwrap_or_else(|_| Json::Text(tool.raw.clone()));
    let output = &arguments.output;
    match &arguments.action {
        None | Some(Action::List) => {
            let whole: Vec<Json> = tools.iter().map(parsed).collect();
            output.print_list(&whole, &tools.iter().map(summary).collect())?;
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
    json!({"tool": tool.name, "about": tool.description.lines().next().unwrap_or_default()})
}

/// Returns what a tool is and takes, and a line that calls it with these options.
pub fn described(tool: &Tool, options: &str) -> String {
    let mut text = format!("{}\n", tool.name);
    if !tool.description.is_empty() {
        let _ = writeln!(text, "{}\n", wrapped(&tool.description, width_of_text()).join("\n"));
    }
    let work = Work::default();
    let schema = Schema::new(&tool.input_schema, &work);
    let required = schema.required();
    let properties = schema.properties();
    let width = properties.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, property) in &properties {
        let mut kind = property.shown();
        if required.contains(name) {
            kind.push_str(", required");
        }
        if let Some(default) = property.word("default") {
            let _ = write!(kind, ", default {default}");
        }
        let about = property.word("description").and_then(Value::as_str).unwrap_or_default();
        let room = width_of_text().saturating_sub(width + 4).max(20);
        let kind = wrapped(&kind, room);
        let about = wrapped(&about.replace('\n', " "), room - 2).into_iter().map(|line| format!("  {line}"));
        for (at, line) in kind.into_iter().chain(about).enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(text, "  {name:width$}  {line}");
        }
    }
    let _ = write!(text, "\nasistry call {}{options}{}", shell_quoted(&tool.name), schema.typed_example());
    text
}

/// Returns how wide a text is that is still easy to read.
fn width_of_text() -> usize {
    ui::width().clamp(40, 100)
}
