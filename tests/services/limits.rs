//! Limits of a service: 429, busy, its documented rate.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Six;
use crate::support::bridge::request;
use crate::support::service::{Reply, Service};

/// What agentstack.toml says of busy services.
const BUSY: &str = "[busy]\nstatuses = [503]\nerrors = ['server_busy']\nfields = ['error', 'error.code']\n\
    seconds = ['retryAfterSeconds']\n";

/// A service whose first POSTs are answered so, and the others done.
fn after(first: Vec<Reply>) -> Service {
    let posts = AtomicUsize::new(0);
    Service::start(move |received| {
        if received.verb != "POST" {
            return Some(Reply::json(json!({"actions": ["a.b"]})));
        }
        let done = || Reply::json(json!({"success": true, "data": {"n": 1}}));
        Some(first.get(posts.fetch_add(1, Ordering::Relaxed)).cloned().unwrap_or_else(done))
    })
}

fn call(six: &Six, more: &[&str]) -> (i32, Value) {
    let arguments = ["call", "a.b", "--no-check", "--json"].iter().chain(more).copied().collect::<Vec<_>>();
    let ran = six.run(&arguments);
    let said = if ran.code == 0 { &ran.stdout } else { &ran.stderr };
    (ran.code, serde_json::from_str(said).unwrap_or_else(|_| panic!("{ran:?}")))
}

fn limited() -> Reply {
    let body = json!({"success": false, "error": {"code": 429, "message": "Too many"}, "trace_id": "t-429"});
    Reply::status(429, "application/json", body.to_string())
}

#[test]
fn a_429_without_retry_after_is_asked_again_after_each_pause_and_is_then_final() {
    let pauses = "unhinted_429_pauses = ['10ms', '20ms']";
    let six = Six::new("agentstack", pauses, after(vec![limited(), limited()]));
    assert_eq!(call(&six, &[]), (0, json!({"n": 1})));
    assert_eq!(six.came("POST"), 3);

    let six = Six::new("agentstack", pauses, after(vec![limited(); 4]));
    let (code, error) = call(&six, &[]);
    let error = &error["error"];
    assert_eq!((code, &error["kind"], &error["httpStatus"]), (5, &json!("rate_limited"), &json!(429)));
    assert_eq!(error["traceId"], "t-429");
    assert!(error["message"].as_str().unwrap().contains("Too many"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("plan"), "{error}");
    assert_eq!(six.came("POST"), 3);

    let six = Six::new("agentstack", pauses, after(vec![limited().header("retry-after", "0"); 3]));
    assert_eq!(call(&six, &[]), (0, json!({"n": 1})), "what names a time is waited out");
}

#[test]
fn a_limit_that_hides_in_a_body_is_waited_out_like_any_other() {
    let busy = |status, body: Value| Reply::status(status, "application/json", body.to_string());
    let nested = json!({"success": false, "error": {"code": "server_busy"}, "retryAfterSeconds": 0});
    let plain = json!({"success": false, "error": "server_busy", "retryAfterSeconds": 0});
    for (status, body) in [(200, &plain), (503, &plain), (200, &nested), (503, &nested)] {
        let six = Six::new("agentstack", BUSY, after(vec![busy(status, body.clone())]));
        assert_eq!(call(&six, &[]), (0, json!({"n": 1})), "{status} {body}");
        assert_eq!(six.came("POST"), 2, "{status} {body}");
    }
    let late = json!({"success": false, "error": "server_busy", "retryAfterSeconds": 7, "trace_id": "t-b"});
    for status in [200, 503] {
        let six = Six::new("agentstack", BUSY, after(vec![busy(status, late.clone())]));
        let (code, error) = call(&six, &["--max-wait", "1s"]);
        let error = &error["error"];
        assert_eq!((code, &error["kind"], &error["traceId"]), (5, &json!("rate_limited"), &json!("t-b")));
        assert_eq!(error["httpStatus"], status);
        assert!(error["message"].as_str().unwrap().contains("busy and asks to wait 7 s"), "{error}");
        assert_eq!(six.came("POST"), 1);
    }
}

#[test]
fn a_busy_503_repeats_a_call_only_where_the_data_says_that_it_did_not_run() {
    let unavailable = || Reply::status(503, "text/html", "<html>busy</html>").header("retry-after", "0");
    let six = Six::new("agentstack", BUSY, after(vec![unavailable()]));
    assert_eq!(call(&six, &[]), (0, json!({"n": 1})));
    // A gateway says 503 for what may be running.
    let gateway = Reply::status(503, "text/html", "<html>busy</html>");
    let six = Six::new("agentstack", BUSY, after(vec![gateway]));
    assert_eq!(call(&six, &[]).0, 7);
    assert_eq!(six.came("POST"), 1, "it may have run");
    let six = Six::new("agentstack", "", after(vec![unavailable()]));
    assert_eq!(call(&six, &[]).0, 7);
    assert_eq!(six.came("POST"), 1, "it may have run");
    let six = Six::new("agentstack", BUSY, after(vec![unavailable()]));
    six.home.write("config/config.toml", "[profiles.six]\nservice = 'six'\nretry_503 = false\n");
    assert_eq!(call(&six, &[]).0, 7, "the profile overrides the service");
    assert_eq!(six.came("POST"), 1);
}

#[test]
fn a_busy_record_of_a_stream_is_waited_out_unless_the_call_runs() {
    let busy = json!({"status": "error", "error": "server_busy", "retryAfterSeconds": 0, "trace_id": "t-1"});
    let started = |trace: &str| json!({"status": "started", "trace_id": trace});
    let done = || Reply::events([started("t-2"), json!({"status": "completed", "result": {"n": 2}})]);
    let stream = |first: Reply| {
        let replies = vec![first, done()];
        let six = Six::new("agentstack", BUSY, after(replies));
        let start = six.home.start(&["-p", "six", "bridge"]);
        let mut bridge = start.env("ASISTRY_API_KEY", super::KEY).spawn();
        bridge.open("2025-11-25");
        let params =
            r#"{"name":"agentstack.execute","arguments":{"action":"a.b"},"_meta":{"progressToken":1}}"#;
        bridge.say(request("1", "tools/call", params));
        loop {
            let heard = bridge.hear();
            if heard["id"] == 1 {
                return (heard["result"].clone(), six.came("POST"));
            }
        }
    };
    let (result, posts) = stream(Reply::events([started("t-1"), busy.clone()]));
    assert_eq!((&result["structuredContent"], posts), (&json!({"n": 2}), 2));
    assert_eq!(result["_meta"]["asistry/traceId"], "t-2");
    let (result, posts) = stream(Reply::events([started("t-1"), busy.clone()]).stalled());
    assert_eq!((&result["structuredContent"], posts), (&json!({"n": 2}), 2));
    let runs = json!({"status": "processing", "progress": 5});
    let (result, posts) = stream(Reply::events([started("t-1"), runs, busy]));
    assert_eq!((&result["isError"], posts), (&json!(true), 1));
}

#[test]
fn a_burst_beyond_the_documented_rate_collects_no_429() {
    let taken = Mutex::new(Vec::<Instant>::new());
    // Three in a second, however they fall.
    let service = Service::start(move |received| {
        let (now, mut taken) = (Instant::now(), taken.lock().unwrap());
        taken.retain(|at| now - *at < Duration::from_secs(1));
        taken.push(now);
        let is_call = received.verb == "POST";
        let actions = || Reply::json(json!({"actions": ["a.b"]}));
        let done = || Reply::json(json!({"success": true, "data": received.message()["params"]}));
        Some(match taken.len() {
            4.. => limited(),
            _ if is_call => done(),
            _ => actions(),
        })
    });
    let six = Six::new("agentstack", "[rate]\nrequests = 3\nper = '1s'\n", service);
    let calls = (1..=8).map(|n| format!("{{\"tool\":\"a.b\",\"arguments\":{{\"n\":{n}}}}}\n"));
    let file = six.home.write("calls", calls.collect::<String>());
    let ran = six.run(&["call", "--batch", &file, "--jobs", "8", "--no-check"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 8), "{ran:?}");
    assert_eq!(six.came("POST"), 8, "none was refused");
    let shown = six.home.run(&["profiles", "show", "six"]).succeeds();
    assert!(shown.stdout.contains("limits\t3 requests in 1 s for a key"), "{shown:?}");
    let shown = six.home.run(&["profiles", "show", "asistry"]).succeeds();
    let limits = "limits\t100 requests in 60 s for a key, 10 active keys for an account\tservice";
    assert!(shown.stdout.contains(limits), "{shown:?}");
}
