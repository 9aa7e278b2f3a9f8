//! AgentStack's REST calls behind the shell and the bridge, with the real binary.

pub mod busy;
pub mod lists;
pub mod new_keys;

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::text;
use crate::support::bridge::{Start, asistry, request};
use crate::support::service::{Received, Reply, Service};

const KEY: &str = "ask_0123456789abcdef";
/// Where the stand-in's wire begins.
const BASE: &str = "/mcp";

/// Answers as its own pages say; other actions give back what they were sent.
fn answer(received: &Received) -> Option<Reply> {
    let path = received.path.strip_prefix(BASE).unwrap_or_default();
    let reply = match (received.verb.as_str(), path) {
        ("GET", "/actions") => {
            json!({"actions": {"projects": ["get_projects", "create_project"], "auth": [{"action": "whoami", "summary": "Who you are"}]}})
        }
        ("GET", "/tools") => {
            json!({"tools": [{"name": "projects.get_projects", "description": "Lists projects", "parameters": {"limit": {"type": "integer"}}}]})
        }
        ("GET", "/jobs/j-1") => json!({"status": "completed", "result": {"n": 1.5}}),
        ("POST", "/tools/projects.add_user") => {
            let body = json!({"success": false, "error": "HTTP 403: Professional subscription required.", "trace_id": "t-403"});
            return Some(Reply::status(403, "application/json", body.to_string()));
        }
        ("POST", "/tools/scheduler.long") => {
            json!({"success": true, "data": {"job_id": "j-1", "status": "queued"}})
        }
        ("POST", "/tools/projects.create_project/stream") => {
            return Some(Reply::events([
                json!({"status": "started", "trace_id": "t-9"}),
                json!({"status": "processing", "progress": 50}),
                json!({"status": "completed", "result": {"id": 7}}),
            ]));
        }
        ("POST", "/tools/projects.cut/stream") => {
            return Some(Reply::events([json!({"status": "started", "trace_id": "t-cut"})]));
        }
        ("POST", "/tools/projects.pretty") => {
            let body = serde_json::to_string_pretty(&json!({"success": true, "data": {"a": [1, 2]}}));
            return Some(Reply::status(200, "application/json", body.expect("JSON")));
        }
        ("POST", "") => json!({"success": true, "steps": [{"status": "completed", "result": 1}]}),
        _ => json!({"success": true, "data": received.message(), "trace_id": "t-1"}),
    };
    Some(Reply::json(reply))
}

struct Shell {
    home: TempDir,
    service: Service,
}

impl Shell {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory"), service: Service::start(answer) }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(["-p", "agentstack", "--url", &self.service.url()]).args(arguments).env_clear();
        command.env("HOME", self.home.path()).env("ASISTRY_API_KEY", KEY).stdin(Stdio::null());
        command.output().expect("the binary")
    }

    fn gives(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn bridge(service: &Service) -> Start {
    asistry(["-p", "agentstack", "--url", &service.url(), "bridge"].map(str::to_owned))
        .env("ASISTRY_API_KEY", KEY)
}

#[test]
fn an_action_is_called_by_its_name_with_exactly_its_parameters() {
    let shell = Shell::new();
    let given = shell.gives(&["call", "projects.get_projects", "limit=3", "--json"]);
    assert_eq!(given, json!({"tool": "projects.get_projects", "params": {"limit": 3}}));
    let calls = shell.service.awaits_many(1, "calls", |r| r.verb == "POST");
    assert_eq!(calls[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert!(calls[0].header("mcp-protocol-version").is_none() && calls[0].header("x-api-key").is_none());
}

#[test]
fn the_catalogue_is_the_list_of_tools() {
    let shell = Shell::new();
    let tools = text(&shell.run(&["tools"]).stdout);
    for name in
        ["agentstack.execute", "projects.get_projects\t", "projects.create_project\t", "auth.whoami\t"]
    {
        assert!(tools.contains(name), "{name} in {tools}");
    }
    assert!(tools.contains("Lists projects") && tools.contains("Who you are"), "{tools}");
}

#[test]
fn an_action_that_is_not_listed_and_steps_go_through_execute() {
    let shell = Shell::new();
    let given = shell.gives(&["call", "agentstack.execute", "action=x.y", r#"params:={"a":1.50}"#, "--json"]);
    assert_eq!(given.to_string(), r#"{"tool":"x.y","params":{"a":1.50}}"#);
    let given = shell.gives(&["call", "agentstack.execute", r#"steps:=[{"action":"x.y"}]"#, "--json"]);
    assert_eq!(given["steps"][0]["result"], 1);
    let batches = shell.service.awaits_many(1, "batches", |r| r.verb == "POST" && r.path == BASE);
    let key = batches[0].message()["options"]["idempotency_key"].clone();
    assert!(
        key.as_str().is_some_and(|key| key.starts_with("asistry-") && !key.contains("00000000")),
        "{key}"
    );
}

#[test]
fn a_refusal_is_the_services_own_text_with_its_trace() {
    let shell = Shell::new();
    let output = shell.run(&["call", "agentstack.execute", "action=projects.add_user"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("HTTP 403: Professional subscription required.") && said.contains("t-403"),
        "{said}"
    );
}

#[test]
fn a_reply_of_several_lines_is_one_line_for_the_client() {
    let service = Service::start(answer);
    let mut bridge = bridge(&service).spawn();
    bridge.open("2025-11-25");
    let params = r#"{"name":"agentstack.execute","arguments":{"action":"projects.pretty"}}"#;
    bridge.say(request("1", "tools/call", params));
    assert_eq!(bridge.answer(1)["result"]["structuredContent"], json!({"a": [1, 2]}));
}

#[test]
fn what_a_rule_denies_is_not_run_by_another_way() {
    let service = Service::start(answer);
    let arguments = ["-p", "agentstack", "--url", &service.url(), "bridge", "--deny-tool", "x.denied"];
    let mut bridge = asistry(arguments.map(str::to_owned)).env("ASISTRY_API_KEY", KEY).spawn();
    bridge.open("2025-11-25");
    for (id, arguments) in [
        r#"{"action":"x.denied"}"#,
        r#"{"tool":"x.denied"}"#,
        r#"{"action":"x.ok","action":"x.denied"}"#,
        r#"{"steps":[{"action":"x.denied"}]}"#,
        r#"{"steps":[{"tool":"x.denied"}]}"#,
        r#"{"steps":[{"action":"x.ok","action":"x.denied"}]}"#,
        r#"{"steps":[],"steps":[{"action":"x.denied"}]}"#,
        r#"{"steps":{"action":"x.denied"}}"#,
        r#"{"steps":[],"action":"x.denied"}"#,
        r#"{"steps":null,"action":"x.denied"}"#,
        r#"{"steps":[],"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x.denied"}}"#,
        r#"{"action":"agentstack.execute","params":{"action":"x.denied"}}"#,
        r#"{"steps":[{"action":"agentstack.execute","params":{"action":"x.denied"}}]}"#,
        r#"{"steps":[{"\ud800":1,"action":"x.denied"}]}"#,
        r#"{"steps":[{"action":" x.denied"}]}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let params = format!(r#"{{"name":"agentstack.execute","arguments":{arguments}}}"#);
        bridge.say(request(&id.to_string(), "tools/call", &params));
        assert!(bridge.answer(id)["error"].is_object(), "{arguments}");
    }
    let sent = |received: &Received| received.verb == "POST";
    assert!(!service.received().iter().any(sent), "{:?}", service.received());
}

#[test]
fn a_job_is_looked_at_until_it_has_ended() {
    let shell = Shell::new();
    let given = shell.gives(&["call", "agentstack.execute", "action=scheduler.long", "--json"]);
    assert_eq!(given, json!({"n": 1.5}));
}

#[test]
fn both_eras_get_progress_and_the_result_of_a_stream() {
    let service = Service::start(answer);
    let mut legacy = bridge(&service).spawn();
    legacy.open("2025-11-25");
    let params = r#"{"name":"projects_create_project","arguments":{},"_meta":{"progressToken":"p"}}"#;
    legacy.say(request("1", "tools/call", params));
    let told = legacy.hear();
    assert_eq!(told["params"], json!({"progressToken": "p", "progress": 50, "message": "processing"}));
    let result = &legacy.answer(1)["result"];
    assert_eq!(result["structuredContent"], json!({"id": 7}));
    assert_eq!(result["_meta"], json!({"asistry/traceId": "t-9"}));
    let mut modern = bridge(&service).spawn();
    let envelope = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
    let params = format!(r#"{{"name":"projects.create_project","_meta":{{{envelope},"progressToken":9}}}}"#);
    modern.say(request("1", "tools/call", &params));
    assert_eq!(modern.hear()["params"]["progress"], 50);
    assert_eq!(modern.answer(1)["result"]["resultType"], "complete");
}

#[test]
fn a_stream_that_ends_without_a_result_may_have_run() {
    let service = Service::start(answer);
    let mut bridge = bridge(&service).spawn();
    bridge.open("2025-11-25");
    let params =
        r#"{"name":"agentstack.execute","arguments":{"action":"projects.cut"},"_meta":{"progressToken":1}}"#;
    bridge.say(request("1", "tools/call", params));
    let error = &bridge.answer(1)["error"];
    assert_eq!(
        (&error["data"]["mayHaveExecuted"], &error["data"]["traceId"]),
        (&json!(true), &json!("t-cut"))
    );
    assert_eq!(service.awaits_many(1, "calls", |r| r.verb == "POST").len(), 1);
}
