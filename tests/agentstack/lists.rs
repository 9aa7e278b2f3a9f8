//! The list of tools, where the catalogue wants a key, changes or fails.

use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};

use super::new_keys::{CREATE, Home, answer, key_sent};
use crate::support::bridge::request;
use crate::support::service::{Reply, Service};

const CHANGED: &str = "notifications/tools/list_changed";
const ENVELOPE: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A service whose catalogue wants a key, and a home without one.
fn keyless() -> Home {
    let count = AtomicU64::new(1025);
    let service = Service::start(move |received| {
        let is_list = received.path.ends_with("actions") || received.path.ends_with("tools");
        let refused =
            Reply::status(401, "application/json", r#"{"success":false,"error":"HTTP 401: no key"}"#);
        Some(if is_list && key_sent(received).is_none() { refused } else { answer(received, &count) })
    });
    Home { home: tempfile::tempdir().expect("a directory"), service }
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().expect("tools");
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[test]
fn a_shown_name_means_its_action_once_the_key_gives_the_list() {
    let home = keyless();
    let mut bridge = home.bridge().spawn();
    bridge.open("2025-11-25");
    bridge.say(request("1", "tools/list", "{}"));
    let listed = bridge.answer(1)["result"]["tools"].clone();
    let names: Vec<&str> =
        listed.as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(
        names.contains(&"projects_create_project_anonymous") && !names.contains(&"projects_get_projects"),
        "{names:?}"
    );
    for (id, name) in [(2, "projects_create_project_anonymous"), (3, "projects_get_projects")] {
        bridge.say(request(
            &id.to_string(),
            "tools/call",
            &format!(r#"{{"name":"{name}","arguments":{{}}}}"#),
        ));
        let answer = bridge.answer(id);
        assert!(answer["error"].is_null(), "{answer}");
    }
    assert_eq!(home.calls("projects.get_projects")[0].message()["tool"], "projects.get_projects");
}

#[test]
fn a_client_with_a_handshake_hears_that_a_new_key_opens_the_list() {
    let home = keyless();
    let mut bridge = home.bridge().spawn();
    let opened = bridge.open("2025-11-25");
    assert_eq!(opened["result"]["capabilities"]["tools"], json!({"listChanged": true}), "{opened}");
    bridge.say(request("1", "tools/list", "{}"));
    assert!(!names(&bridge.answer(1)).contains(&"projects_get_projects"));
    bridge.say(request("2", "tools/call", &format!(r#"{{"name":"{CREATE}","arguments":{{}}}}"#)));
    let heard = bridge.hear();
    assert_eq!((&heard["method"], &heard["params"]), (&json!(CHANGED), &Value::Null), "{heard}");
    bridge.answer(2);
    bridge.say(request("3", "tools/list", "{}"));
    assert!(names(&bridge.answer(3)).contains(&"projects_get_projects"));
    // A second key changes no list.
    bridge.say(request("4", "tools/call", &format!(r#"{{"name":"{CREATE}","arguments":{{}}}}"#)));
    assert_eq!(bridge.hear()["id"], 4);
}

#[test]
fn a_client_without_a_handshake_subscribes_to_the_list() {
    let home = keyless();
    let mut bridge = home.bridge().spawn();
    let ask = |id: u64, method: &str, more: &str| {
        request(&id.to_string(), method, &format!("{{{ENVELOPE}{more}}}"))
    };
    let filter = r#","notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["x:1"]}"#;
    for (id, filter, honoured) in
        [(1, filter, json!({"toolsListChanged": true})), (2, r#","notifications":{}"#, json!({}))]
    {
        bridge.say(ask(id, "subscriptions/listen", filter));
        let heard = bridge.hear();
        assert_eq!(heard["method"], "notifications/subscriptions/acknowledged", "{heard}");
        let of = json!({"io.modelcontextprotocol/subscriptionId": id});
        assert_eq!(heard["params"], json!({"_meta": of, "notifications": honoured}));
    }
    bridge.say(ask(3, "subscriptions/listen", filter));
    bridge.hear();
    bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#);
    bridge.say(ask(4, "tools/list", ""));
    assert!(!names(&bridge.answer(4)).contains(&"projects_get_projects"));
    bridge.say(ask(5, "tools/call", &format!(r#","name":"{CREATE}","arguments":{{}}"#)));
    let heard = bridge.hear();
    let of = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": 1}});
    assert_eq!((&heard["method"], &heard["params"]), (&json!(CHANGED), &of), "{heard}");
    // Only the subscription that wants it, and is still open.
    assert_eq!(bridge.hear()["id"], 5);
    bridge.close();
    let rest = bridge.rest();
    let ended = |id: u64| rest.iter().any(|m| m["id"] == id && m["result"]["resultType"] == "complete");
    assert!(ended(1) && ended(2) && !ended(3), "{rest:?}");
}
