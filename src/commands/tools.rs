//! `asistry tools`: lists the tools, or shows one of them.

use std::fmt::Write as _;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::arguments::Common;
use super::conversation::{Conversation, Tool, find_tool};
use super::environment::Environment;
use crate::ui;

/// Options of `asistry tools`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the tools
    List,
    /// Show one tool: its arguments, types, defaults and enum values
    Show {
        /// The tool
        tool: String,
    },
}

/// Lists or shows.
///
/// # Errors
/// What the service says, or an unknown tool.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    let mut conversation = Conversation::begin(common, environment).await?;
    let tools = conversation.tools().await;
    conversation.end().await;
    let tools = tools?;
    let text = match arguments.action {
        None | Some(Action::List) if arguments.json => {
            format!("[{}]", tools.iter().map(|tool| tool.raw.as_str()).collect::<Vec<_>>().join(","))
        }
        None | Some(Action::List) => {
            let line = |tool: &Tool| {
                format!("{}\t{}", tool.name, tool.description.lines().next().unwrap_or_default())
            };
            tools.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Some(Action::Show { tool }) => {
            let found = find_tool(&tools, &tool)?;
            if arguments.json { found.raw.clone() } else { described(found) }
        }
    };
    if !text.is_empty() {
        ui::print(&text)?;
    }
    Ok(0)
}

fn described(tool: &Tool) -> String {
    let mut text = format!("{}\n", tool.name);
    if !tool.description.is_empty() {
        let _ = writeln!(text, "{}\n", tool.description);
    }
    let required: Vec<&str> =
        tool.input_schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, schema) in tool.input_schema["properties"].as_object().into_iter().flatten() {
        let kind = schema["type"].as_str().unwrap_or("any");
        let _ = write!(text, "  {name}\t{kind}");
        if required.contains(&name.as_str()) {
            text.push_str(", required");
        }
        if let Some(default) = schema.get("default") {
            let _ = write!(text, ", default {default}");
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> =
                values.iter().map(|v| v.as_str().map_or(v.to_string(), str::to_owned)).collect();
            let _ = write!(text, ": {}", values.join(" | "));
        }
        if let Some(about) = schema["description"].as_str() {
            let _ = write!(text, "\t{about}");
        }
        text.push('\n');
    }
    let example: Vec<String> = required.iter().map(|name| format!(" {name}=…")).collect();
    let _ = write!(text, "\nasistry call {}{}", tool.name, example.concat());
    text
}
