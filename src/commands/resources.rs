//! `asistry resources`: what a service offers to read.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments::Common;
use super::call::result::Outcome;
use super::conversation::{Conversation, parsed};
use super::environment::Environment;
use super::output::Output;
use crate::protocol::message::quote;
use crate::ui;

/// Options of `asistry resources`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List resources and resource templates
    List,
    /// Read one resource
    Read {
        /// URI of the resource
        uri: String,
        /// Save binary contents to this directory
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
    },
}

/// Lists or reads.
///
/// # Errors
/// What the service says.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let mut conversation = Conversation::begin(common, environment).await?;
    let answered = match &arguments.action {
        None | Some(Action::List) => list(&mut conversation).await,
        Some(Action::Read { uri, .. }) => {
            let params = format!(r#"{{"uri":{}}}"#, quote(uri));
            conversation
                .ask("resources/read", &params, |_| {})
                .await
                .and_then(|text| parsed("resources/read", &text))
        }
    };
    Ok(conversation.end_with(answered, move |answered| show(&answered, &arguments)).await?)
}

fn show(answered: &Value, arguments: &Arguments) -> crate::error::Result<u8> {
    match &arguments.action {
        None | Some(Action::List) if arguments.output.is_json() => arguments.output.print(answered, None)?,
        None | Some(Action::List) => arguments.output.print(&summaries(answered), None)?,
        Some(Action::Read { save, .. }) => {
            // A content is what a tool embeds as a resource.
            let contents = answered["contents"].as_array().cloned().unwrap_or_default();
            let single = contents.len() == 1;
            let block = |content: &Value| match (single, content["text"].as_str()) {
                (true, Some(text)) => json!({"type": "text", "text": text}),
                _ => json!({"type": "resource", "resource": content}),
            };
            let blocks: Vec<Value> = contents.iter().map(block).collect();
            let outcome = Outcome::read(json!({ "content": blocks }), save.as_deref())?;
            if arguments.output.is_json() {
                arguments.output.print(&answered["contents"], None)?;
            } else {
                ui::print(&outcome.text)?;
            }
        }
    }
    Ok(0)
}

async fn list(conversation: &mut Conversation) -> crate::error::Result<Value> {
    let mut all = conversation.list("resources/list", "resources").await?;
    // A service without templates need not know the method.
    match conversation.list("resources/templates/list", "resourceTemplates").await {
        Ok(templates) => all.extend(templates),
        Err(error) if error.details().code.is_some() => {}
        Err(error) => return Err(error),
    }
    Ok(Value::from(all))
}

fn summaries(all: &Value) -> Value {
    let word = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
    let summary = |entry: &Value| {
        let uri = word(entry, "uri").or_else(|| word(entry, "uriTemplate"));
        let about = word(entry, "title").or_else(|| word(entry, "name"));
        json!({"uri": uri, "name": about, "type": word(entry, "mimeType").unwrap_or_default()})
    };
    all.as_array().into_iter().flatten().map(summary).collect()
}
