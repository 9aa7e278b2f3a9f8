//! What is said while a busy service is waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::bridge;
use crate::support::bridge::request;
use crate::support::service::{Reply, Service};

#[test]
fn a_wait_for_a_busy_service_speaks_of_no_rate() {
    for (busy, said) in [
        (
            Reply::json(json!({"success": false, "error": "server_busy", "retryAfterSeconds": 1})),
            "asks to wait",
        ),
        (Reply::status(429, "application/json", "{}").header("retry-after", "1"), "limits the rate"),
    ] {
        let calls = AtomicU64::new(0);
        let service = Service::start(move |received| match received.verb.as_str() {
            "POST" if calls.fetch_add(1, Ordering::SeqCst) == 0 => Some(busy.clone()),
            _ => super::answer(received),
        });
        let mut bridge = bridge(&service).env("ASISTRY_LOG", "info").spawn();
        bridge.open("2025-11-25");
        let params = r#"{"name":"x.y","arguments":{},"_meta":{"progressToken":"p"}}"#;
        bridge.say(request("1", "tools/call", params));
        let heard = bridge.hear()["params"].clone();
        let (text, reason) =
            (heard["message"].as_str().expect("a text"), &heard["_meta"]["com.asistry/waitReason"]);
        assert!(text.contains(said), "{text}");
        assert_eq!(*reason, if said == "asks to wait" { json!("busy") } else { json!(null) });
        bridge.answer(1);
        bridge.close();
        bridge.exit();
        let logged = if said == "asks to wait" {
            "ms: the service asks for it"
        } else {
            "ms: the service limits the rate"
        };
        assert!(bridge.stderr().contains(logged), "{}", bridge.stderr());
    }
}
