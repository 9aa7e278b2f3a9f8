//! `asistry call`: calls one tool and prints its result.

use clap::Args;
use serde_json::{Map, Value};

use super::arguments::Common;
use super::conversation::{Conversation, Tool, find_tool};
use super::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::profile::nearest;
use crate::protocol::message::{Message, quote};
use crate::ui;

/// Options of `asistry call`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The tool
    tool: String,
    /// Arguments: name=value, or name:=JSON
    #[arg(value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Calls the tool.
///
/// # Errors
/// What is wrong with the arguments, or what the service says.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> anyhow::Result<u8> {
    let mut conversation = Conversation::begin(common, environment).await?;
    let result = call(&mut conversation, &arguments).await;
    conversation.end().await;
    let result = result?;
    let is_error = result["isError"] == Value::Bool(true);
    let shown = if arguments.json { value_of(&result).to_string() } else { text_of(&result) };
    if is_error {
        return Err(Error::new(Kind::ServiceError, text_of(&result)).into());
    }
    ui::print(&shown)?;
    Ok(0)
}

async fn call(conversation: &mut Conversation, arguments: &Arguments) -> Result<Value> {
    let tools = conversation.tools().await?;
    let tool = find_tool(&tools, &arguments.tool)?;
    let given = read_arguments(&arguments.arguments, tool)?;
    let mut bar = ui::Progress::start(&arguments.tool);
    let meta = if bar.is_shown() { r#","_meta":{"progressToken":"call"}"# } else { "" };
    let params = format!(r#"{{"name":{},"arguments":{}{meta}}}"#, quote(&tool.name), Value::Object(given));
    let result = conversation.ask("tools/call", &params, |message| advance(&mut bar, message)).await;
    bar.finish();
    let nonsense = |e| Error::new(Kind::ProtocolViolation, format!("the result makes no sense: {e}"));
    serde_json::from_str(&result?).map_err(nonsense)
}

fn advance(bar: &mut ui::Progress, message: &Message) {
    let params: Value =
        message.params().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
    if message.method() == "notifications/progress" {
        bar.advance(params["progress"].as_f64(), params["total"].as_f64(), params["message"].as_str());
    }
}

/// Reads `name=value` by the types of the tool's schema, `name:=JSON` as it is.
fn read_arguments(arguments: &[String], tool: &Tool) -> Result<Map<String, Value>> {
    let properties = &tool.input_schema["properties"];
    let mut given = Map::new();
    for argument in arguments {
        let Some((name, text)) = argument.split_once('=') else {
            return Err(
                Error::new(Kind::Usage, format!("“{argument}” is no argument")).hint("write name=value")
            );
        };
        let (name, raw) = match name.strip_suffix(':') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if properties.as_object().is_some_and(|known| !known.contains_key(name)) {
            return Err(unknown_argument(name, tool));
        }
        let value = if raw { json(name, text)? } else { coerced(name, text, &properties[name])? };
        given.insert(name.to_owned(), value);
    }
    let required = tool.input_schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match required.into_iter().find(|name| !given.contains_key(*name)) {
        Some(missing) => Err(Error::new(Kind::Usage, format!("{} needs the argument {missing}", tool.name))
            .hint(format!("asistry tools show {}", tool.name))),
        None => Ok(given),
    }
}

fn unknown_argument(name: &str, tool: &Tool) -> Error {
    let known = tool.input_schema["properties"].as_object().into_iter().flat_map(Map::keys);
    let error = Error::new(Kind::Usage, format!("{} has no argument {name}", tool.name));
    match nearest(name, known.map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("asistry tools show {}", tool.name)),
    }
}

fn json(name: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| {
        Error::new(Kind::Usage, format!("the value of {name} is no JSON: {e}"))
            .hint(format!("write {name}=text, or {name}:='\"text\"'"))
    })
}

fn coerced(name: &str, text: &str, schema: &Value) -> Result<Value> {
    let wrong = |what: &str| Err(Error::new(Kind::Usage, format!("{name} is {what}, not “{text}”")));
    match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().map(Value::from).or_else(|_| wrong("an integer")),
        Some("number") => match serde_json::from_str::<Value>(text) {
            Ok(number) if number.is_number() => Ok(number),
            _ => wrong("a number"),
        },
        Some("boolean") => text.parse::<bool>().map(Value::from).or_else(|_| wrong("true or false")),
        Some("array") if !text.trim_start().starts_with('[') => {
            Ok(Value::Array(text.split(',').map(Value::from).collect()))
        }
        Some("array" | "object") => json(name, text),
        _ => match schema["enum"].as_array() {
            Some(allowed) if !allowed.iter().any(|value| value == text) => {
                let listed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                wrong(&format!("one of {}", listed.join(", ")))
            }
            _ => Ok(Value::from(text)),
        },
    }
}

/// The value of a result: `structuredContent`, else the JSON of its text, else the text itself.
fn value_of(result: &Value) -> Value {
    match result.get("structuredContent") {
        Some(structured) => structured.clone(),
        None => {
            let text = text_of(result);
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
    }
}

fn text_of(result: &Value) -> String {
    let blocks = result["content"].as_array().into_iter().flatten();
    let shown = blocks.map(|block| match block["type"].as_str() {
        Some("text") => block["text"].as_str().unwrap_or_default().to_owned(),
        Some("resource_link") => format!("[{}]", block["uri"].as_str().unwrap_or_default()),
        Some(other) => format!("[{other} {}]", block["mimeType"].as_str().unwrap_or_default()),
        None => String::new(),
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> Tool {
        let schema = r#"{"properties":{"n":{"type":"integer"},"x":{"type":"number"},"b":{"type":"boolean"},
            "l":{"type":"array"},"s":{"type":"string","enum":["todo","done"]},"t":{}},"required":["n"]}"#;
        Tool {
            name: "t".into(),
            description: String::new(),
            input_schema: serde_json::from_str(schema).unwrap(),
            raw: String::new(),
        }
    }

    fn read(arguments: &[&str]) -> Result<String> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        read_arguments(&arguments, &tool()).map(|given| Value::Object(given).to_string())
    }

    #[test]
    fn arguments_take_the_types_of_the_schema() {
        let read = read(&["n=5", "x=1.5", "b=true", "l=a,b", "s=done", "t=a=b", "l:=[1]"]).unwrap();
        assert_eq!(read, r#"{"n":5,"x":1.5,"b":true,"l":[1],"s":"done","t":"a=b"}"#);
    }

    #[test]
    fn what_cannot_be_right_is_refused_before_it_is_sent() {
        for wrong in ["n=x", "n=1.5", "x=NaN", "b=yes", "s=tood", "l:=[", "nn=1", "n"] {
            assert_eq!(read(&[wrong]).unwrap_err().kind(), Kind::Usage, "{wrong}");
        }
        assert!(read(&[]).unwrap_err().message().contains("needs the argument n"));
    }
}
