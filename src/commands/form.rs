//! Asks a service's question (`elicitation/create`) on the terminal as a form.
//!
//! Declines where the user cannot be asked. Shows a URL that the service wants opened, and never opens it.
//!
//! Why not a library: dialoguer (tried) takes an Enter typed before the prompt as the answer and raises SIGINT on
//! Ctrl-C; inquire adds 15 crates; either would replace only `ask/line.rs`.

use serde_json::{Map, Value, json};

use super::ask::Asker;
use super::call::schema::{Misfit, Schema, Work};
use crate::error::Result;
use crate::ui;

const OTHERWISE: &str = "the service can do without an answer only if it says so";

const YES: &str = "yes";
const EDIT: &str = "edit";
const DECLINE: &str = "decline";

/// The outcome of a question.
#[derive(Debug)]
pub enum Outcome {
    /// The result of the request: accepted with the answers, or declined.
    Answered(Value),
    /// The user wants to end: Ctrl-C, or the end of the input.
    Interrupted,
    /// The call ended, or the service cancelled its question.
    Closed,
}

/// Asks.
pub fn ask(asker: Asker, params: &Value) -> Outcome {
    match filled_in(asker, params) {
        Ok(Some(content)) => Outcome::Answered(json!({"action": "accept", "content": content})),
        Ok(None) => Outcome::Answered(json!({"action": "decline"})),
        Err(_) => Outcome::Interrupted,
    }
}

fn filled_in(asker: Asker, params: &Value) -> Result<Option<Value>> {
    let message = params["message"].as_str().unwrap_or_default();
    ui::say("");
    ui::say(&format!("The service asks: {message}"));
    asker.discard_typed();
    if let Some(url) = params["url"].as_str() {
        ui::say(&format!("It wants you to open {url}"));
        let done =
            chosen(asker, "Look at the address first. Have you done what is asked there?", &[YES, DECLINE])?;
        return Ok((done == YES).then(|| json!({})));
    }
    if chosen(asker, "Answer it?", &[YES, DECLINE])? == DECLINE {
        return Ok(None);
    }
    loop {
        let content = answers(asker, params)?;
        asker.discard_typed();
        match chosen(asker, "Send it?", &[YES, EDIT, DECLINE])? {
            YES => return Ok(Some(content)),
            DECLINE => return Ok(None),
            _ => {}
        }
    }
}

/// Asks until one of these words was typed, or `y` or `n`: no other stray key answers for a person.
fn chosen(asker: Asker, question: &str, words: &[&'static str]) -> Result<&'static str> {
    let question = format!("{question} [{}]", words.join("/"));
    loop {
        let typed = asker.line(&question, OTHERWISE)?.to_ascii_lowercase();
        let typed = match typed.as_str() {
            "y" => YES,
            "n" | "no" => DECLINE,
            typed => typed,
        };
        match words.iter().find(|word| **word == typed) {
            Some(word) => return Ok(word),
            None => ui::say(&format!("  type {}", words.join(" or "))),
        }
    }
}

fn answers(asker: Asker, params: &Value) -> Result<Value> {
    let schema = &params["requestedSchema"];
    let work = Work::default();
    let schema = Schema::new(schema, &work);
    let required = schema.required();
    let mut content = Map::new();
    for (name, property) in schema.properties() {
        let field = Field { name, schema: property, required: required.contains(&name) };
        if let Some(value) = field.ask(asker)? {
            content.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(content))
}

struct Field<'a> {
    name: &'a str,
    schema: Schema<'a>,
    required: bool,
}

impl Field<'_> {
    /// Asks until the answer fits; an empty answer means the default, or no value for an optional field.
    fn ask(&self, asker: Asker) -> Result<Option<Value>> {
        loop {
            let typed = asker.line(&self.question(), OTHERWISE)?;
            if typed.is_empty() {
                match self.schema.word("default") {
                    Some(default) => return Ok(Some(default.clone())),
                    None if !self.required => return Ok(None),
                    None => ui::say(&format!("  {} is required", self.title())),
                }
                continue;
            }
            match self.read(&typed) {
                Ok(value) => return Ok(Some(value)),
                Err(misfit) => {
                    let hint = misfit.hint.map_or(String::new(), |hint| format!("; {hint}"));
                    ui::say(&format!("  {} must be {}{hint}", self.name, misfit.expected));
                }
            }
        }
    }

    fn read(&self, typed: &str) -> std::result::Result<Value, Misfit> {
        let typed = match typed.to_ascii_lowercase().as_str() {
            "y" | "yes" if self.schema.is_boolean() => "true",
            "n" | "no" if self.schema.is_boolean() => "false",
            _ => typed,
        };
        let value = if self.schema.is_array() && !typed.starts_with('[') {
            let items = typed.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| self.schema.read_item(item)).collect()
        } else {
            self.schema.read(typed)
        };
        self.schema.check(&value, self.name).map(|()| value)
    }

    fn question(&self) -> String {
        let about = self.text("description").map_or(String::new(), |about| format!(" – {about}"));
        let several = if self.schema.is_array() { ", several with commas between" } else { "" };
        let end = match (self.schema.word("default"), self.required) {
            (Some(default), _) => format!(" [{default}]"),
            (None, true) => String::new(),
            (None, false) => " [none]".into(),
        };
        format!("  {}{about} ({}{several}){end}:", self.title(), self.schema.shown())
    }

    fn title(&self) -> &str {
        self.text("title").unwrap_or(self.name)
    }

    fn text(&self, word: &str) -> Option<&str> {
        self.schema.word(word).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(schema: &Value, typed: &str) -> std::result::Result<Value, String> {
        let work = Work::default();
        let field = Field { name: "f", schema: Schema::new(schema, &work), required: true };
        field.read(typed).map_err(|misfit| misfit.expected)
    }

    #[test]
    fn an_answer_takes_the_type_that_is_asked_for() {
        assert_eq!(read(&json!({"type": "boolean"}), "yes"), Ok(json!(true)));
        assert_eq!(read(&json!({"type": "integer", "maximum": 5}), "3"), Ok(json!(3)));
        assert_eq!(read(&json!({"type": "integer", "maximum": 5}), "9"), Err("at most 5".into()));
        let choices = json!({"type": "array", "items": {"enum": ["a", "b"]}});
        assert_eq!(read(&choices, "a, b"), Ok(json!(["a", "b"])));
        assert!(read(&choices, "a, c").is_err());
        let titled = json!({"oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]});
        assert_eq!(read(&titled, "r"), Ok(json!("r")));
        assert_eq!(read(&json!({"type": "string", "minLength": 1}), ""), Err("at least 1 characters".into()));
    }
}
