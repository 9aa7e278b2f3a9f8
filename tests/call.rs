//! `asistry call` and the other reading commands, with the real binary.

#[cfg(unix)]
mod batch;
mod bounds;
mod forms;
mod output;
mod requests;
mod rounds;
mod secrets;
mod tasks;
#[cfg(target_os = "linux")]
mod terminal;

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::service::{Received, Reply, Service, mcp};

/// A home of its own, and a service whose tools give back what they were called with.
pub struct Shell {
    pub home: TempDir,
    pub service: Service,
}

/// A tool with an argument of every kind, and one for each way a result can look.
pub fn tools() -> Value {
    json!([
        {"name": "echo", "description": "Gives back what it got.", "inputSchema": {
            "type": "object", "required": ["title"], "properties": {
                "title": {"type": "string", "description": "What it is called."},
                "count": {"type": "integer", "minimum": 1, "default": 3},
                "ratio": {"type": "number"},
                "done": {"type": "boolean"},
                "due_date": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "status": {"enum": ["todo", "in_progress", "done"]},
                "labels": {"type": "array", "items": {"type": "string"}},
                "json": {"type": "string"},
                "filter": {"$ref": "#/$defs/filter"},
            },
            "$defs": {"filter": {"type": "object", "required": ["by"], "properties": {"by": {"enum": ["a", "b"]}}}},
        }},
        {"name": "say", "inputSchema": {"type": "object"}},
    ])
}

/// `echo` gives its arguments back; `say` the result that it was given as its argument `result`.
pub fn answer(received: &Received) -> Option<Reply> {
    match (received.method.as_str(), received.tool().as_str()) {
        ("tools/list", _) => Some(Reply::result(received, json!({"tools": tools()}))),
        ("tools/call", "echo") => {
            let arguments = received.message()["params"]["arguments"].to_string();
            Some(Reply::result(received, json!({"content": [{"type": "text", "text": arguments}]})))
        }
        ("tools/call", "say") => {
            Some(Reply::result(received, &received.message()["params"]["arguments"]["result"]))
        }
        _ => Some(mcp(received)),
    }
}

impl Shell {
    pub fn new() -> Self {
        Self::with(answer)
    }

    pub fn with(answer: impl Fn(&Received) -> Option<Reply> + Send + Sync + 'static) -> Self {
        Self { home: tempfile::tempdir().expect("a directory"), service: Service::start(answer) }
    }

    /// The binary with nothing else in its environment, in front of the service.
    pub fn asistry(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(["--url", &self.service.url()]).args(arguments).env_clear();
        command.env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.asistry(arguments).output().expect("the binary")
    }

    /// What a successful run prints on stdout.
    pub fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What a failing run says on stderr; stdout stays empty.
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        text(&output.stderr)
    }

    /// What `echo` was called with.
    pub fn echo(&self, words: &[&str]) -> Value {
        let arguments: Vec<&str> = ["call", "echo", "--json"].iter().chain(words).copied().collect();
        serde_json::from_str(&self.prints(&arguments)).expect("JSON")
    }

    /// Prints the result that `say` gives.
    pub fn say(&self, result: &Value, options: &[&str]) -> String {
        let result = format!("result:={result}");
        let arguments: Vec<&str> = ["call", "say", &result].iter().chain(options).copied().collect();
        self.prints(&arguments)
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
