//! A tool as a service lists it.
//!
//! Refuses a name that no tool has, with the nearest one.

use std::sync::OnceLock;

use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::{nonsense, read};
use crate::error::{Error, Filter, Kind, Remedy, RemedyWriter, Result};
use crate::profile::nearest;
use crate::protocol::client::tools::{Passed, let_through};
use crate::protocol::tool_rules::ToolRules;

/// A tool as the service lists it.
#[derive(Debug)]
pub struct Tool {
    /// Its name, as the service writes it.
    pub name: String,
    /// Its name as a bridge shows it under `--tool-names safe`.
    pub safe_name: String,
    /// Its description.
    pub description: String,
    /// How it is called.
    pub runs: Runs,
    /// The entry as it came.
    pub raw: String,
    input_schema: OnceLock<Value>,
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    name: String,
    #[serde(borrow, default)]
    description: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "inputSchema")]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    execution: Option<&'a RawValue>,
}

/// How a tool is called (2025-11-25, "Tasks", section "Tool-Level Negotiation").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// Its answer is its result.
    #[default]
    AtOnce,
    /// It requires a task.
    AsTask,
}

#[derive(Default, serde::Deserialize)]
struct Execution {
    #[serde(default, rename = "taskSupport")]
    task_support: String,
}

impl Tool {
    /// Reads a whole list; returns the tools that the rules let through, and reports what cannot be read.
    pub fn read_all(raws: &[Box<RawValue>], rules: ToolRules, mut report: impl FnMut(&str)) -> Vec<Self> {
        let (passed, warnings) = let_through(rules, raws);
        warnings.iter().for_each(|warning| report(warning));
        let read = |passed: Passed<'_>| {
            let tool = Self::read(passed.raw);
            let tool = tool
                .map_err(|e| report(&format!("an entry of the list of tools is left out: {}", e.message())));
            let tool = tool.ok()?;
            Some(Self { safe_name: passed.safe_name.unwrap_or_else(|| tool.name.clone()), ..tool })
        };
        passed.into_iter().filter_map(read).collect()
    }

    /// Returns the JSON Schema of its arguments; null where there is none, or one that is nested too deeply to be read.
    pub fn input_schema(&self) -> &Value {
        // Only when it is needed: a list of 700 tools is read for one of them.
        self.input_schema.get_or_init(|| {
            let entry = serde_json::from_str::<Entry<'_>>(&self.raw).ok();
            entry.and_then(|entry| read(entry.input_schema?.get()).ok()).unwrap_or_default()
        })
    }

    /// Says whether a name in either spelling means this tool.
    pub fn is_named(&self, name: &str) -> bool {
        self.safe_name == name || self.name == name
    }

    /// Reads an entry of the list.
    ///
    /// # Errors
    /// [`Kind::ProtocolViolation`] for what is no tool.
    fn read(raw: &RawValue) -> Result<Self> {
        let entry: Entry<'_> = serde_json::from_str(raw.get()).map_err(|e| nonsense("tools/list", &e))?;
        let description = entry.description.and_then(|raw| read(raw.get()).ok());
        let execution = entry.execution.and_then(|raw| read::<Execution>(raw.get()).ok());
        Ok(Self {
            runs: if execution.unwrap_or_default().task_support == "required" {
                Runs::AsTask
            } else {
                Runs::AtOnce
            },
            safe_name: entry.name.clone(),
            name: entry.name,
            description: description.unwrap_or_default(),
            raw: raw.get().to_owned(),
            input_schema: OnceLock::new(),
        })
    }
}

/// What keeps tools back here: it is named instead of "no such tool".
pub struct Filters {
    rules: ToolRules,
    advise: RemedyWriter,
}

impl Filters {
    pub(super) fn new(rules: ToolRules, advise: RemedyWriter) -> Self {
        Self { rules, advise }
    }

    /// Finds a tool by its name, in either spelling.
    ///
    /// # Errors
    /// [`Kind::ToolDenied`] with the filter that keeps it back, [`Kind::Usage`] with the nearest name.
    pub fn find<'a>(&self, tools: &'a [Tool], name: &str) -> Result<&'a Tool> {
        let found = tools.iter().find(|tool| tool.is_named(name));
        found.ok_or_else(|| self.missing(tools, name).with_hint_text(&self.advise))
    }

    fn missing(&self, tools: &[Tool], name: &str) -> Error {
        if let Some(refusal) = self.rules.refusal(name, name) {
            return match refusal.next_step() {
                Some(Remedy::SeeFilter(filter)) => {
                    let filter = *filter;
                    refusal.remedy(Remedy::SeeProfileFilter(filter))
                }
                _ => refusal,
            };
        }
        let near = nearest(name, tools.iter().map(|tool| tool.name.as_str()));
        if self.rules.read_only && near.is_none() {
            let why = format!("the service has no tool named {name} that says that it only reads");
            return Error::new(Kind::ToolDenied, why).remedy(Remedy::SeeProfileFilter(Filter::ReadOnly));
        }
        let error = Error::new(Kind::Usage, format!("the service has no tool named {name}"));
        match near {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.remedy(Remedy::ListTools),
        }
    }
}
