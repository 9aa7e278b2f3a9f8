//! How many requests a call costs, when it asks again, and what an interruption leaves behind.

use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Shell, answer, text, tools};
use crate::support::service::{Reply, mcp};

fn methods(shell: &Shell) -> Vec<String> {
    let named = |received: &crate::support::service::Received| match received.method.as_str() {
        "" => received.verb.clone(),
        method => method.to_owned(),
    };
    shell.service.received().iter().map(named).collect()
}

#[test]
fn a_second_call_needs_no_list_of_tools() {
    let shell = Shell::new();
    shell.echo(&["title=x"]);
    let first = ["initialize", "notifications/initialized", "tools/list", "tools/call", "DELETE"];
    assert_eq!(methods(&shell), first);
    shell.echo(&["title=x"]);
    let second = ["initialize", "notifications/initialized", "tools/call", "DELETE"];
    assert_eq!(methods(&shell)[first.len()..], second);
}

/// MOD-14: absent and negative hints are 0, and the shortest one of all pages holds.
#[test]
fn a_stateless_service_says_for_how_long_its_list_of_tools_is_kept() {
    for (hints, is_kept) in [
        ([json!({"ttlMs": 60000}), json!({"ttlMs": 90000.5})], true),
        ([json!({"ttlMs": 0}), json!({"ttlMs": 60000})], false),
        ([json!({"ttlMs": 60000}), json!({"ttlMs": -5})], false),
        ([json!({}), json!({"ttlMs": 60000})], false),
    ] {
        let told = format!("{hints:?}");
        let changed = Arc::new(AtomicBool::new(false));
        let now = changed.clone();
        let shell = Shell::with(move |received| match received.method.as_str() {
            "initialize" => {
                let refusal = json!({"jsonrpc": "2.0", "id": received.message()["id"], "error": {"code": -32022,
                    "message": "?", "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"}}});
                Some(Reply::status(400, "application/json", refusal.to_string()))
            }
            "server/discover" => Some(Reply::result(
                received,
                json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
            )),
            "tools/list" if received.message()["params"]["cursor"].is_null() => {
                let mut page = hints[0].clone();
                (page["tools"], page["nextCursor"]) = (json!([]), json!("2"));
                Some(Reply::result(received, page))
            }
            "tools/list" => {
                let mut page = hints[1].clone();
                page["tools"] = tools();
                if now.load(Ordering::Relaxed) {
                    page["tools"][0]["inputSchema"]["required"] = json!(["title", "status"]);
                }
                Some(Reply::result(received, page))
            }
            _ => answer(received),
        });
        shell.echo(&["title=x"]);
        changed.store(true, Ordering::Relaxed);
        // The list that is kept lets the call go.
        let code = shell.run(&["call", "echo", "title=x"]).status.code();
        assert_eq!(code, Some(if is_kept { 0 } else { 2 }), "{told}: {:?}", methods(&shell));
    }
}

#[test]
fn an_old_list_is_asked_for_anew_where_it_does_not_fit() {
    let changed = Arc::new(AtomicBool::new(false));
    let now = changed.clone();
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/list" if now.load(Ordering::Relaxed) => {
            let mut tools = tools();
            tools[0]["inputSchema"]["properties"]["owner"] = json!({"type": "string"});
            tools[0]["inputSchema"]["required"] = json!(["title", "owner"]);
            Some(Reply::result(received, json!({"tools": tools})))
        }
        "tools/call" if now.load(Ordering::Relaxed) => {
            let owned = received.message()["params"]["arguments"]["owner"].is_string();
            let refusal = format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32602,"message":"no owner"}}}}"#,
                received.id
            );
            if owned { answer(received) } else { Some(Reply::json(refusal)) }
        }
        _ => answer(received),
    });
    shell.echo(&["title=x"]);
    changed.store(true, Ordering::Relaxed);
    // Refused by the service for its arguments: the present list says what is missing.
    let told = shell.fails(&["call", "echo", "title=x"], 2);
    assert!(told.contains("needs owner (string)"), "{told}");
    assert_eq!(shell.echo(&["title=x", "owner=me"]), json!({"title": "x", "owner": "me"}));
}

#[test]
fn a_list_that_does_not_know_an_argument_yet_is_asked_for_anew() {
    let changed = Arc::new(AtomicBool::new(false));
    let now = changed.clone();
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/list" if now.load(Ordering::Relaxed) => {
            let mut tools = tools();
            tools[0]["inputSchema"]["properties"]["owner"] = json!({"type": "string"});
            Some(Reply::result(received, json!({"tools": tools})))
        }
        _ => answer(received),
    });
    shell.echo(&["title=x"]);
    changed.store(true, Ordering::Relaxed);
    assert_eq!(shell.echo(&["title=x", "owner=me"]), json!({"title": "x", "owner": "me"}));
}

#[test]
fn with_a_key_in_the_environment_no_list_is_kept() {
    let shell = Shell::new();
    for _ in 0..2 {
        let output = shell
            .asistry(&["call", "echo", "title=x"])
            .env("ASISTRY_API_KEY", "k0")
            .output()
            .expect("the binary");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    assert_eq!(methods(&shell).iter().filter(|method| *method == "tools/list").count(), 2);
    assert_eq!(std::fs::read_dir(shell.home.path()).expect("the home").count(), 0);
}

#[cfg(unix)]
#[test]
fn an_interruption_cancels_the_call_at_the_service() {
    let shell = Shell::with(|received| match received.method.as_str() {
        "tools/call" => Some(Reply::never()),
        _ => answer(received),
    });
    let child = shell
        .asistry(&["call", "echo", "title=x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let call = shell.service.awaits_call("echo");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let cancelled =
        shell.service.awaits("a cancellation", |received| received.method == "notifications/cancelled");
    assert_eq!(cancelled.message()["params"]["requestId"].to_string(), call.id);
    shell.service.awaits("the end of the session", |received| received.verb == "DELETE");
}

#[cfg(unix)]
#[test]
fn a_result_that_nobody_takes_can_be_interrupted() {
    let shell = Shell::new();
    let large = shell.home.path().join("large.json");
    let result = json!({"content": [{"type": "text", "text": "x".repeat(1_000_000)}]});
    std::fs::write(&large, result.to_string()).expect("a file");
    let argument = format!("result:=@{}", large.display());
    let mut command = shell.asistry(&["call", "say", &argument]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    let mut stdout = child.stdout.take().expect("stdout");
    // Now it writes, and the pipe is soon full.
    stdout.read_exact(&mut [0]).expect("a byte");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(130) && said.contains("what was asked for is done"), "{said}");
    shell.service.awaits("the end of the session", |received| received.verb == "DELETE");
}

#[test]
fn a_ping_is_one_handshake() {
    let shell = Shell::new();
    let told: Value = serde_json::from_str(&shell.prints(&["ping", "--json"])).expect("JSON");
    assert_eq!(told["server"]["name"], "stand-in");
    assert_eq!((&told["protocolVersion"], &told["era"]), (&json!("2025-11-25"), &json!("legacy")));
    shell.service.awaits_quiet(Duration::from_millis(50));
    assert_eq!(methods(&shell)[..1], ["initialize"]);
    assert!(!methods(&shell).contains(&"tools/list".to_owned()));
}

#[test]
fn resources_and_prompts_are_listed_and_read() {
    let shell = Shell::with(|received| {
        let result = match received.method.as_str() {
            "resources/list" => {
                json!({"resources": [{"uri": "file:///a", "name": "A", "mimeType": "text/plain"}]})
            }
            "resources/read" => json!({"contents": [{"uri": "file:///a", "text": "content of a"}]}),
            "prompts/list" => {
                json!({"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": true}]}]})
            }
            "prompts/get" => json!({"messages": [{"role": "user", "content": {"type": "text", "text":
                format!("Greet {}", received.message()["params"]["arguments"]["who"].as_str().unwrap_or("?"))}}]}),
            "resources/templates/list" => {
                let refusal = format!(
                    r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"?"}}}}"#,
                    received.id
                );
                return Some(Reply::json(refusal));
            }
            _ => return Some(mcp(received)),
        };
        Some(Reply::result(received, result))
    });
    assert_eq!(shell.prints(&["resources", "list"]), "file:///a\tA\ttext/plain\n");
    assert_eq!(shell.prints(&["resources", "read", "file:///a"]), "content of a\n");
    assert_eq!(shell.prints(&["prompts", "list"]), "greet\twho\t\n");
    assert_eq!(shell.prints(&["prompts", "get", "greet", "who=Ada"]), "user: Greet Ada\n");
    assert!(shell.fails(&["prompts", "get", "gret"], 2).contains("did you mean greet?"));
    assert!(shell.fails(&["prompts", "get", "greet"], 2).contains("needs the argument who"));
    assert!(shell.fails(&["prompts", "get", "greet", "wh=x"], 2).contains("did you mean who?"));
}
