//! What a client may see and call, through the options of the command line.

use serde_json::{Value, json};

use crate::support::bridge::{Bridge, bridge, request};
use crate::support::service::{Reply, Service};

const TOOLS: &[(&str, bool)] =
    &[("list_tasks", true), ("task.create", false), ("delete_task", false), ("delete_all", true)];

fn with_tools() -> Service {
    Service::start(|received| {
        let tool = |(name, reads): &(&str, bool)| json!({"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": reads}});
        match received.method.as_str() {
            "tools/list" => {
                let tools: Vec<Value> = TOOLS.iter().map(tool).collect();
                Some(Reply::result(received, json!({"tools": tools})))
            }
            "tools/call" => {
                let text = json!({"type": "text", "text": received.tool()});
                Some(Reply::result(received, json!({"content": [text]})))
            }
            _ => None,
        }
    })
}

fn opened(service: &Service, arguments: &[&str]) -> Bridge {
    let mut bridge = bridge(service, arguments).spawn();
    bridge.open("2025-06-18");
    bridge
}

fn names(bridge: &mut Bridge) -> Vec<String> {
    bridge.say(request("\"list\"", "tools/list", "{}"));
    let answer = bridge.answer("list");
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// What the service was called with, or the kind of the refusal.
fn outcome(bridge: &mut Bridge, tool: &str) -> String {
    bridge.call("\"call\"", tool);
    let answer = bridge.answer("call");
    match answer["result"]["content"][0]["text"].as_str() {
        Some(text) => text.to_owned(),
        None => {
            assert_eq!(answer["error"]["code"], -32603, "{answer}");
            assert_eq!(answer["error"]["data"]["mayHaveExecuted"], false, "{answer}");
            answer["error"]["data"]["kind"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        }
    }
}

#[test]
fn allowed_and_denied_tools_are_so_in_lists_and_in_calls() {
    let service = with_tools();
    let options = ["--allow-tool", "*task*", "--deny-tool", "delete_*", "--deny-tool", "nothing?like"];
    let mut bridge = opened(&service, &options);
    assert_eq!(outcome(&mut bridge, "delete_task"), "tool_denied", "before any list");
    assert_eq!(names(&mut bridge), ["list_tasks", "task.create"]);
    assert_eq!(outcome(&mut bridge, "list_tasks"), "list_tasks");
    assert_eq!(outcome(&mut bridge, "task.create"), "task.create");
    assert_eq!(outcome(&mut bridge, "delete_all"), "tool_denied");
    assert_eq!(outcome(&mut bridge, "unheard_of"), "tool_denied");
    let called: Vec<String> =
        service.received().iter().filter(|r| r.method == "tools/call").map(|r| r.tool()).collect();
    assert_eq!(called, ["list_tasks", "task.create"]);
    bridge.close();
    bridge.exit();
    let warned = bridge.stderr();
    assert!(warned.contains("the pattern nothing?like of denied tools matches no tool"), "{warned}");
    assert!(!warned.contains("delete_* matches no"), "{warned}");
}

#[test]
fn read_only_lets_only_those_tools_through_that_say_so() {
    let service = with_tools();
    let mut bridge = opened(&service, &["--read-only"]);
    assert_eq!(outcome(&mut bridge, "list_tasks"), "list_tasks", "before any list of the client");
    assert_eq!(outcome(&mut bridge, "task.create"), "tool_denied");
    assert_eq!(names(&mut bridge), ["list_tasks", "delete_all"]);
    assert_eq!(outcome(&mut bridge, "unheard_of"), "tool_denied");
}

#[test]
fn safe_names_are_shown_and_both_spellings_are_taken() {
    let service = with_tools();
    let mut bridge = opened(&service, &["--tool-names", "safe"]);
    assert_eq!(outcome(&mut bridge, "task_create"), "task.create", "before any list of the client");
    assert_eq!(names(&mut bridge), ["list_tasks", "task_create", "delete_task", "delete_all"]);
    assert_eq!(outcome(&mut bridge, "task_create"), "task.create");
    assert_eq!(outcome(&mut bridge, "task.create"), "task.create");
}

#[test]
fn a_larger_result_goes_into_a_file_of_the_user() {
    let long = format!("é{}", "y".repeat(9_000));
    let text = long.clone();
    let service = Service::start(move |received| {
        let block = json!({"type": "text", "text": text});
        (received.tool() == "long").then(|| Reply::result(received, json!({"content": [block]})))
    });
    let mut bridge = bridge(&service, &["--max-result", "8k"]);
    let temporary = tempfile::tempdir().unwrap();
    bridge = bridge.env("TMPDIR", temporary.path().to_str().unwrap());
    let mut bridge = bridge.spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "short");
    assert_eq!(bridge.answer(1)["result"]["content"][0]["text"], "done");
    bridge.call(2, "long");
    let answer = bridge.answer(2);
    let shown = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(shown.len() < 8 << 10 && shown.contains("yyyy"), "{shown}");
    let file = std::fs::read_dir(temporary.path()).unwrap().next().expect("a file").unwrap().path();
    assert!(shown.contains(file.to_str().unwrap()), "{shown}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["content"][0]["text"], *long);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_large_result_in_a_batch_is_written_into_a_file_too() {
    let long = "y".repeat(100_000);
    let service = Service::start(move |received| {
        let block = json!({"type": "text", "text": long});
        (received.tool() == "long").then(|| Reply::result(received, json!({"content": [block]})))
    });
    let temporary = tempfile::tempdir().unwrap();
    let start = bridge(&service, &["--max-result", "8k"]);
    let mut bridge = start.env("TMPDIR", temporary.path().to_str().unwrap()).spawn();
    bridge.open("2025-03-26");
    let call = |id, tool| request(id, "tools/call", &json!({"name": tool}).to_string());
    bridge.say(format!("[{},{}]", call("1", "long"), call("2", "short")));
    bridge.close();
    let rest = bridge.rest();
    let answers = rest[0].as_array().expect("an array");
    let of =
        |id: u64| &answers.iter().find(|answer| answer["id"] == id).unwrap()["result"]["content"][0]["text"];
    let shown = of(1).as_str().unwrap();
    let file = std::fs::read_dir(temporary.path()).unwrap().next().expect("a file").unwrap().path();
    assert!(shown.len() < 8 << 10 && shown.contains(file.to_str().unwrap()), "{shown}");
    assert_eq!(of(2), "done");
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn large_results_on_their_way_into_files_are_delivered_before_the_end() {
    let long = "y".repeat(2 << 20);
    let service = Service::start(move |received| {
        let block = json!({"type": "text", "text": long});
        (received.tool() == "long").then(|| Reply::result(received, json!({"content": [block]})))
    });
    let temporary = tempfile::tempdir().unwrap();
    let start = bridge(&service, &["--max-result", "8k", "--drain", "20s"]);
    let mut bridge = start.env("TMPDIR", temporary.path().to_str().unwrap()).spawn();
    bridge.open("2025-06-18");
    for id in 1..=20 {
        bridge.call(id, "long");
    }
    bridge.close();
    let rest = bridge.rest();
    assert_eq!(rest.len(), 20);
    let shown =
        |answer: &Value| answer["result"]["content"][0]["text"].to_string().contains("asistry-result-");
    assert!(rest.iter().all(shown), "{rest:?}");
    assert_eq!(bridge.exit_code(), 0);
}
