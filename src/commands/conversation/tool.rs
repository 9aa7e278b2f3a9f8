//! A tool as a service lists it.
//!
//! Refuses a name that no tool has, with the nearest one.

use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::nonsense;
use crate::error::{Error, Kind, Result};
use crate::profile::nearest;

/// A tool as the service lists it.
#[derive(Debug, serde::Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of its arguments.
    #[serde(default, rename = "inputSchema")]
    pub input_schema: Value,
    /// The entry as it came.
    #[serde(skip)]
    pub raw: String,
}

impl Tool {
    /// Reads an entry of the list.
    ///
    /// # Errors
    /// [`Kind::ProtocolViolation`] for what is no tool.
    pub fn read(raw: &RawValue) -> Result<Self> {
        let tool: Self = serde_json::from_str(raw.get()).map_err(|e| nonsense("tools/list", &e))?;
        Ok(Self { raw: raw.get().to_owned(), ..tool })
    }
}

/// Finds a tool by its name.
///
/// # Errors
/// [`Kind::Usage`] with the nearest name.
pub fn find_tool<'a>(tools: &'a [Tool], name: &str) -> Result<&'a Tool> {
    tools.iter().find(|tool| tool.name == name).ok_or_else(|| {
        let error = Error::new(Kind::Usage, format!("the service has no tool named {name}"));
        match nearest(name, tools.iter().map(|tool| tool.name.as_str())) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("asistry tools lists them"),
        }
    })
}
