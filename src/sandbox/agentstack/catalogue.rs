//! The catalogue: the actions with their tag, and the schemas of their parameters.
//!
//! Needs no credential and no database.

use super::actions::{ACTIONS, Action, Needs};
use super::head;
use crate::sandbox::arguments;
use crate::sandbox::keys;
use crate::sandbox::reply::{self, Reply};
use crate::sandbox::service::Effect;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `GET …/actions`.
pub(super) fn actions(headers: &HeaderMap, trace: &str) -> Reply {
    let actions: Vec<Value> = ACTIONS.iter().map(entry).collect();
    let etag = etag(&actions);
    let reply = if head::has_tag(headers, &etag) {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        let body = json!({
            "success": true, "total": actions.len(), "actions": actions, "catalog_etag": etag, "trace_id": trace
        });
        reply::json(StatusCode::OK, &body)
    };
    reply::with(reply, "etag", &format!("\"{etag}\""))
}

/// `GET …/tools`.
pub(super) fn tools(trace: &str) -> Reply {
    let tools: Vec<Value> = ACTIONS.iter().map(|action| described(action, "parameters")).collect();
    reply::json(StatusCode::OK, &json!({"success": true, "tools": tools, "trace_id": trace}))
}

/// Returns the actions as tools of MCP, for completion.
pub(in crate::sandbox) fn listed() -> Vec<Value> {
    ACTIONS.iter().map(|action| described(action, "inputSchema")).collect()
}

fn entry(action: &Action) -> Value {
    let category = action.name.split('.').next().unwrap_or_default();
    let cap = match (action.needs, action.effect) {
        (Needs::Nothing, _) => None,
        (Needs::Professional, _) => Some("project_admin"),
        (Needs::Key, Effect::Reads) => Some("mcp_read"),
        (Needs::Key, _) => Some("mcp_write"),
    };
    json!({"category": category, "action": action.name, "required_cap": cap, "summary": action.about})
}

fn described(action: &Action, schema: &str) -> Value {
    let mut tool = json!({"name": action.name, "description": action.about});
    tool[schema] = arguments::schema(action.params);
    tool
}

fn etag(actions: &[Value]) -> String {
    let text: String = actions.iter().map(Value::to_string).collect();
    keys::hex(&Sha256::digest(text)[..8])
}
