//! `asistry resources`: what a service offers to read.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments::Common;
use super::call::result::{Outcome, check_save};
use super::conversation::{Conversation, not_offered, parsed_json};
use super::environment::Environment;
use super::output::Output;
use crate::protocol::message::{METHOD_NOT_FOUND, quote};
use crate::ui::json::Json;

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
/// The service's errors.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    if let Some(Action::Read { save, .. }) = &arguments.action {
        check_save(save.as_deref())?;
    }
    let mut conversation = Conversation::begin(common, environment).await?;
    let answered = match &arguments.action {
        None | Some(Action::List) => list(&mut conversation).await,
        Some(Action::Read { uri, .. }) => {
            let params = format!(r#"{{"uri":{}}}"#, quote(uri));
            conversation
                .ask("resources/read", &params, |_| {})
                .await
                .and_then(|text| Ok(vec![parsed_json("resources/read", &text)?]))
        }
    };
    let options = conversation.options();
    let answered = answered.map_err(|error| match (&arguments.action, error.details().code) {
        (Some(Action::Read { .. }), Some(code)) if code != METHOD_NOT_FOUND => {
            error.hint(format!("list them: asistry resources list{options}"))
        }
        _ => not_offered(error, &options),
    });
    Ok(conversation.end_with(answered, move |answered| show(&answered, &arguments)).await?)
}

fn show(answered: &[Json], arguments: &Arguments) -> crate::error::Result<u8> {
    match (&arguments.action, answered) {
        (None | Some(Action::List), _) => arguments.output.print_list(answered, &summaries(answered))?,
        (Some(Action::Read { .. }), [deep @ Json::Text(_), ..]) => arguments.output.print_json(deep, None)?,
        (Some(Action::Read { save, .. }), _) => {
            let answered = answered.first().cloned().map(Json::into_value).unwrap_or_default();
            // A content is what a tool embeds as a resource.
            let contents = answered["contents"].as_array().cloned().unwrap_or_default();
            let single = contents.len() == 1;
            let block = |content: &Value| match (single, content["text"].as_str()) {
                (true, Some(text)) => json!({"type": "text", "text": text}),
                _ => json!({"type": "resource", "resource": content}),
            };
            let blocks: Vec<Value> = contents.iter().map(block).collect();
            let outcome = Outcome::read(Json::Value(json!({ "content": blocks })), save.as_deref())?;
            arguments.output.print_text(&answered["contents"], &outcome.text)?;
        }
    }
    Ok(0)
}

async fn list(conversation: &mut Conversation) -> crate::error::Result<Vec<Json>> {
    let mut all = conversation.list("resources/list", "resources").await?;
    // A service without templates need not know the method.
    match conversation.list("resources/templates/list", "resourceTemplates").await {
        Ok(templates) => all.extend(templates),
        Err(error) if error.details().code.is_some() => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

fn summaries(all: &[Json]) -> Value {
    let word = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
    let summary = |entry: &Value| {
        let uri = word(entry, "uri").or_else(|| word(entry, "uriTemplate"));
        let about = word(entry, "title").or_else(|| word(entry, "name"));
        json!({"uri": uri, "name": about, "type": word(entry, "mimeType").unwrap_or_default()})
    };
    all.iter().map(|entry| summary(entry.value())).collect()
}
