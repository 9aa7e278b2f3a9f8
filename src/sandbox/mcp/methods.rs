//! Implements the server's MCP methods.
//!
//! Independent of HTTP: an [`Answer`] has the message to send and whether to prefer an event stream.

use super::reading::Request;
use super::refusal::{self, INTERNAL};
use super::revision::{self, Revision};
use crate::sandbox::arguments::{self, Arguments};
use crate::sandbox::keys::Caller;
use crate::sandbox::service::{Access, Outcome, Refusal, Service, Tool};
use crate::sandbox::store::Store;
use serde_json::{Map, Value, json};

const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// The caller and the revision of a request.
#[derive(Clone)]
pub(super) struct Asked {
    pub service: &'static Service,
    pub store: Store,
    pub caller: Caller,
    pub revision: &'static Revision,
}

/// The answer to one request.
#[derive(Debug)]
pub(super) struct Answer {
    /// Messages to send before it on an event stream.
    pub progress: Vec<Value>,
    /// The JSON-RPC response.
    pub message: Value,
    /// Whether to send it as an event stream if the client accepts one.
    pub streams: bool,
    /// Whether the server failed, not the caller.
    pub broken: bool,
}

/// Code and message of a JSON-RPC error.
struct Fault(i64, String);

impl Answer {
    /// Creates a JSON-RPC error response.
    pub fn error(id: &Value, code: i64, message: &str) -> Self {
        Self::plain(id, Err(Fault(code, message.to_owned())))
    }

    fn plain(id: &Value, result: Result<Value, Fault>) -> Self {
        let broken = matches!(result, Err(Fault(INTERNAL, _)));
        let message = match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(Fault(code, message)) => refusal::error(id, code, &message),
        };
        Self { progress: Vec::new(), message, streams: false, broken }
    }
}

impl Asked {
    /// Answers one request.
    pub async fn answer(&self, request: Request) -> Answer {
        let Request { id, method, params } = request;
        let result = match method.as_str() {
            "initialize" => self.initialize(&params),
            "ping" => Ok(json!({})),
            "tools/list" => self.list_tools(&params),
            "tools/call" => return self.call(&id, params).await,
            _ => Err(Fault(METHOD_NOT_FOUND, format!("there is no method {method}"))),
        };
        Answer::plain(&id, result)
    }

    fn initialize(&self, params: &Map<String, Value>) -> Result<Value, Fault> {
        let revision = wanted(params, self.service.newest)
            .ok_or_else(|| Fault(INVALID_PARAMS, "`protocolVersion` is required: a string".into()))?;
        let mut server = json!({"name": "asistry-sandbox", "version": env!("CARGO_PKG_VERSION")});
        if revision.structured {
            server["title"] = self.service.title.into();
        }
        Ok(json!({
            "protocolVersion": revision.date,
            "capabilities": {"tools": {}},
            "serverInfo": server,
            "instructions": self.service.instructions,
        }))
    }

    fn list_tools(&self, params: &Map<String, Value>) -> Result<Value, Fault> {
        if params.contains_key("cursor") {
            return Err(Fault(
                INVALID_PARAMS,
                "`cursor` is none of this server's: the list has one page".into(),
            ));
        }
        let tools = self.service.tools.iter().filter(|tool| self.is_there(tool));
        let tools: Vec<_> = tools.map(|tool| self.describe(tool)).collect();
        Ok(json!({ "tools": tools }))
    }

    fn describe(&self, tool: &Tool) -> Value {
        let mut described = json!({"name": tool.name});
        if self.revision.structured {
            described["title"] = tool.title.into();
        }
        described["description"] = tool.description.into();
        described["inputSchema"] = arguments::schema(tool.params);
        if self.revision.annotations {
            described["annotations"] = tool.effect.annotations();
        }
        described
    }

    async fn call(&self, id: &Value, mut params: Map<String, Value>) -> Answer {
        let token = params.get("_meta").and_then(|meta| meta.get("progressToken")).cloned();
        let (tool, given) = match self.named(&mut params) {
            Ok(named) => named,
            Err(fault) => return Answer::plain(id, Err(fault)),
        };
        let mut answer = Answer::plain(id, self.run(tool, given).await);
        answer.streams = tool.streams && !answer.broken;
        if let Some(token) = token.filter(|token| token.is_string() || token.is_i64() || token.is_u64())
            && answer.streams
        {
            answer.progress = progress(&token, tool.name);
        }
        answer
    }

    /// Parses the tool and the arguments of a call.
    fn named(&self, params: &mut Map<String, Value>) -> Result<(&'static Tool, Map<String, Value>), Fault> {
        let Some(Value::String(name)) = params.get("name") else {
            return Err(Fault(INVALID_PARAMS, "`name` is required: a tool's name".into()));
        };
        let tool = self.service.tools.iter().find(|tool| tool.name == name && self.is_there(tool));
        let tool = tool.ok_or_else(|| Fault(INVALID_PARAMS, format!("there is no tool {name}")))?;
        match params.remove("arguments") {
            None | Some(Value::Null) => Ok((tool, Map::new())),
            Some(Value::Object(given)) => Ok((tool, given)),
            Some(_) => Err(Fault(INVALID_PARAMS, "`arguments` must be an object".into())),
        }
    }

    fn is_there(&self, tool: &Tool) -> bool {
        (tool.access)(&self.caller) != Access::Hidden
    }

    /// Returns the scope that a call needs and its token lacks.
    pub fn lacks(&self, request: &Request) -> Option<&'static str> {
        let name = request.params.get("name").filter(|_| request.method == "tools/call")?;
        let tool = self.service.tools.iter().find(|tool| name == tool.name)?;
        match (tool.access)(&self.caller) {
            Access::NeedsScope(scope) => Some(scope),
            _ => None,
        }
    }

    async fn run(&self, tool: &'static Tool, given: Map<String, Value>) -> Result<Value, Fault> {
        match (tool.access)(&self.caller) {
            Access::Refused(why) => return Ok(refused(why)),
            Access::NeedsScope(scope) => return Ok(refused(&format!("the access token lacks {scope}"))),
            Access::Open | Access::Hidden => {}
        }
        let checked = match Arguments::check(tool.name, tool.params, given) {
            Ok(checked) => checked,
            Err(mistake) => return Ok(refused(&mistake)),
        };
        let caller = self.caller.clone();
        let ran = self.store.run(move |connection| sort((tool.run)(connection, &caller, &checked))).await;
        match ran {
            Ok(Ok(result)) => Ok(self.result(result)),
            Ok(Err(mistake)) => Ok(refused(&mistake)),
            Err(error) => {
                tracing::warn!(%error, tool = tool.name, "the sandbox failed");
                Err(Fault(INTERNAL, "internal error".into()))
            }
        }
    }

    fn result(&self, value: Value) -> Value {
        let mut result = json!({"content": [{"type": "text", "text": value.to_string()}]});
        if self.revision.structured && value.is_object() {
            result["structuredContent"] = value;
        }
        result["isError"] = false.into();
        result
    }
}

/// Returns the revision that an `initialize` negotiates.
pub(super) fn wanted(params: &Map<String, Value>, newest: &str) -> Option<&'static Revision> {
    let date = params.get("protocolVersion")?.as_str()?;
    revision::find(date).filter(|revision| revision.date <= newest).or_else(|| revision::find(newest))
}

/// Separates the caller's mistake, which is a result, from a database error, which is not.
fn sort(outcome: Outcome) -> rusqlite::Result<Result<Value, String>> {
    match outcome {
        Ok(result) => Ok(Ok(result)),
        Err(Refusal::Mistake(text)) => Ok(Err(text)),
        Err(Refusal::Broken(error)) => Err(error),
    }
}

fn refused(mistake: &str) -> Value {
    json!({"content": [{"type": "text", "text": mistake}], "isError": true})
}

fn progress(token: &Value, tool: &str) -> Vec<Value> {
    let step = |at: u8, message: String| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": at, "total": 2, "message": message}})
    };
    vec![step(1, format!("{tool} is reading")), step(2, format!("{tool} is done"))]
}
