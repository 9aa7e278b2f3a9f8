//! A sixth service by its file alone, on either wire: from the shell and through the bridge, its keys masked.

use serde_json::json;

use super::{KEY, Six};
use crate::support::bridge::request;
use crate::support::service::{Received, Reply, Service};

/// A key of the service that is not in use.
const OTHER: &str = "six_another0123456789abcdef";

/// Calls of `echo` give back what they were sent, those of `refuse` are refused; on both wires.
fn stand_in(wire: &str) -> Service {
    let answers = if wire == "mcp" { mcp } else { rest };
    Service::start(answers)
}

fn mcp(received: &Received) -> Option<Reply> {
    match (received.method.as_str(), received.tool().as_str()) {
        ("tools/list", _) => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            Some(Reply::result(received, json!({"tools": [tool("echo"), tool("refuse")]})))
        }
        ("tools/call", "refuse") => Some(Reply::status(403, "text/plain", format!("no, {KEY}"))),
        ("tools/call", _) => {
            let arguments = received.message()["params"]["arguments"].clone();
            Some(Reply::result(received, json!({"content": [], "structuredContent": arguments})))
        }
        _ => None,
    }
}

fn rest(received: &Received) -> Option<Reply> {
    let reply = match received.path.as_str() {
        "/mcp/actions" => json!({"actions": ["echo", "refuse"]}),
        "/mcp/tools" => json!({"tools": []}),
        "/mcp/tools/refuse" => return Some(Reply::status(403, "text/plain", format!("no, {KEY}"))),
        _ => json!({"success": true, "data": received.message()["params"]}),
    };
    Some(Reply::json(reply))
}

#[test]
fn a_sixth_service_is_used_from_the_shell_and_through_the_bridge() {
    for wire in ["mcp", "agentstack"] {
        let six = Six::new(wire, "hidden_tools = ['refuse']", stand_in(wire));
        let stored = six.home.told(&["-p", "six", "keys", "add", "--stdin", "--no-verify"], KEY);
        assert_eq!(stored.code, 0, "{stored:?}");
        let ran = six.home.run(&["-p", "six", "tools"]).succeeds();
        assert!(ran.stdout.contains("echo") && !ran.stdout.contains("refuse"), "{ran:?}");
        let given = six.home.json(&["-p", "six", "call", "echo", "n:=1.50", "--json"]);
        assert_eq!(given.to_string(), r#"{"n":1.50}"#, "{wire}");

        let mut bridge = six.home.start(&["-p", "six", "bridge"]).spawn();
        bridge.open("2025-11-25");
        bridge.say(request("1", "tools/list", "{}"));
        let listed = bridge.answer(1)["result"]["tools"].to_string();
        assert!(listed.contains("\"echo\"") && !listed.contains("\"refuse\""), "{listed}");
        bridge.say(request("2", "tools/call", r#"{"name":"echo","arguments":{"n":2}}"#));
        assert_eq!(bridge.answer(2)["result"]["structuredContent"], json!({"n": 2}), "{wire}");
        bridge.close();

        let received = six.service.received();
        assert!(received.iter().all(|received| received.header("x-six-key") == Some(KEY)), "{wire}");
        assert!(received.iter().all(|received| received.header("authorization").is_none()), "{wire}");
    }
}

#[test]
fn keys_of_a_sixth_service_are_masked_wherever_they_recur() {
    for wire in ["mcp", "agentstack"] {
        let six = Six::new(wire, "", stand_in(wire));
        six.home.told(&["-p", "six", "keys", "add", "--stdin", "--no-verify"], KEY).succeeds();
        let listed = six.home.run(&["keys", "list"]).succeeds();
        assert!(listed.stdout.contains("six_…6789"), "{listed:?}");

        let trace = six.home.file("trace").to_str().unwrap().to_owned();
        let said = format!("text={OTHER}");
        six.home.run(&["-p", "six", "--trace", &trace, "call", "echo", &said, "--no-check"]).succeeds();
        let refused = six.home.run(&["-p", "six", "call", "refuse", "--no-check"]).fails(4);
        let named = six.home.run(&["-p", "six", "keys", "use", OTHER]).fails(2);
        assert!(named.stderr.contains("a key was given instead of the name"), "{named:?}");
        let text = std::fs::read_to_string(trace).unwrap();
        assert!(text.contains("six_MASKED"), "{text}");
        for secret in [&KEY[4..], &OTHER[4..]] {
            for shown in [&text, &listed.stdout, &refused.stderr, &named.stderr] {
                assert!(!shown.contains(secret), "{wire}: {shown}");
            }
        }
        let wrong = six.home.told(&["-p", "six", "keys", "rotate", "--stdin"], "bsk_0123456789").fails(2);
        assert!(wrong.stderr.contains("keys of Six begin with six_"), "{wrong:?}");
    }
}
