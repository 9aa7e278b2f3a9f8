//! `asistry prompts`: what a service suggests to say to a model.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::arguments::Common;
use super::call::result::Outcome;
use super::conversation::{Conversation, not_offered, parsed_json};
use super::environment::Environment;
use super::output::Output;
use crate::error::{Error, Kind, Remedy};
use crate::profile::nearest;
use crate::protocol::message::quote;
use crate::ui::json::Json;

/// Options of `asistry prompts`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the prompts
    List,
    /// Fill one prompt in
    Get {
        /// Name of the prompt
        name: String,
        /// Arguments of the prompt, all text
        #[arg(value_name = "NAME=VALUE")]
        arguments: Vec<String>,
    },
}

/// Lists or fills in.
///
/// # Errors
/// The service's errors, or an unknown prompt or argument.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let mut conversation = Conversation::begin(common, environment).await?;
    let answered = match &arguments.action {
        None | Some(Action::List) => conversation.list("prompts/list", "prompts").await,
        Some(Action::Get { name, arguments }) => fill_in(&mut conversation, name, arguments).await,
    };
    let options = conversation.options();
    let answered = answered.map_err(|error| not_offered(error, &options));
    Ok(conversation.end_with(answered, move |answered| show(&answered, &arguments)).await?)
}

fn show(answered: &[Json], arguments: &Arguments) -> crate::error::Result<u8> {
    let output = &arguments.output;
    match (&arguments.action, answered) {
        (None | Some(Action::List), _) => {
            let summaries = answered.iter().map(|prompt| summary(prompt.value())).collect();
            output.print_list(answered, &summaries)?;
        }
        (Some(Action::Get { .. }), [deep @ Json::Text(_), ..]) => output.print_json(deep, None)?,
        (Some(Action::Get { .. }), _) => {
            let answered = answered.first().cloned().map(Json::into_value).unwrap_or_default();
            let messages = answered["messages"].as_array().into_iter().flatten();
            let shown: Result<Vec<String>, Error> = messages
                .map(|message| {
                    let whole = json!({"content": [message["content"]]});
                    let role = message["role"].as_str().unwrap_or("?");
                    Outcome::read(Json::Value(whole), None).map(|outcome| format!("{role}: {}", outcome.text))
                })
                .collect();
            output.print_text(&answered, &shown?.join("\n"))?;
        }
    }
    Ok(0)
}

fn summary(prompt: &Value) -> Value {
    let arguments = prompt["arguments"].as_array().into_iter().flatten();
    let named = arguments.map(|argument| {
        let mark = if argument["required"] == Value::Bool(true) { "" } else { "?" };
        format!("{}{mark}", argument["name"].as_str().unwrap_or_default())
    });
    json!({
        "prompt": prompt["name"],
        "arguments": named.collect::<Vec<_>>().join(" "),
        "about": prompt["description"].as_str().unwrap_or_default(),
    })
}

/// The list of prompts says which arguments there are: what is wrong is told before the prompt is asked for.
async fn fill_in(
    conversation: &mut Conversation,
    name: &str,
    words: &[String],
) -> crate::error::Result<Vec<Json>> {
    let all = conversation.list("prompts/list", "prompts").await?;
    let all: Vec<Value> = all.into_iter().map(Json::into_value).collect();
    let names = || all.iter().filter_map(|prompt| prompt["name"].as_str());
    let Some(prompt) = all.iter().find(|prompt| prompt["name"] == name) else {
        let error = Error::new(Kind::Usage, format!("the service has no prompt named {name}"));
        return Err(match nearest(name, names()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.remedy(Remedy::ListPrompts),
        });
    };
    let known = prompt["arguments"].as_array().cloned().unwrap_or_default();
    let mut given = Map::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err(
                Error::new(Kind::Usage, format!("“{word}” is not an argument")).hint("write name=text")
            );
        };
        if !known.iter().any(|argument| argument["name"] == key) {
            let error = Error::new(Kind::Usage, format!("{name} has no argument {key}"));
            let near = nearest(key, known.iter().filter_map(|argument| argument["name"].as_str()));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.remedy(Remedy::ListPrompts),
            });
        }
        given.insert(key.to_owned(), value.into());
    }
    let required = known.iter().filter(|argument| argument["required"] == Value::Bool(true));
    let mut missing = required.filter_map(|argument| argument["name"].as_str());
    if let Some(missing) = missing.find(|missing| !given.contains_key(*missing)) {
        let words = words.iter().cloned().chain([format!("{missing}=text")]).collect();
        return Err(Error::new(Kind::Usage, format!("{name} needs the argument {missing}"))
            .remedy(Remedy::FillPrompt { prompt: name.to_owned(), words }));
    }
    let params = format!(r#"{{"name":{},"arguments":{}}}"#, quote(name), Value::Object(given));
    let answer = conversation.ask("prompts/get", &params, |_| {}).await?;
    Ok(vec![parsed_json("prompts/get", &answer)?])
}
