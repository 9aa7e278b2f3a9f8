//! A service that repeats the key where errors and log lines are made from: it reaches neither.

use std::sync::{Arc, Mutex};

use crate::support::bridge::{Bridge, asistry, bridge};
use crate::support::service::{Received, Reply, Service};

const KEY: &str = "secret-key-0123456789";

fn repeats(received: &Received) -> Option<Reply> {
    let to = |status: u16, place: &str| Some(Reply::empty(status).header("location", place));
    let traced = |status: u16| Some(Reply::empty(status).header("x-trace-id", KEY));
    match received.tool().as_str() {
        "see other" => to(302, &format!("/echo/{KEY}")),
        "redirect" => to(307, &format!("/echo/{KEY}")),
        "elsewhere" => to(307, &format!("http://127.0.0.1:1/echo/{KEY}")),
        "other host" => to(308, &format!("http://{KEY}.example/echo")),
        "trace 200" => traced(200),
        "trace 304" => traced(304),
        "trace 500" => traced(500),
        "body" => Some(Reply::json(format!(r#"{{"trace_id":"{KEY}"}}"#))),
        "page" => Some(Reply::status(500, "text/plain", format!("no access for {KEY}"))),
        "resume" => Some(Reply::status(200, "text/event-stream", format!("id: {KEY}\nretry: 9999999\n\n"))),
        _ => None,
    }
}

fn is_silent_about_the_key(mut bridge: Bridge) {
    bridge.close();
    let said: Vec<String> = bridge.rest().iter().map(ToString::to_string).collect();
    assert_eq!(bridge.exit_code(), 0, "{}", bridge.stderr());
    let said = said.join("\n") + &bridge.stderr();
    assert!(!said.contains(KEY), "{said}");
}

#[test]
fn no_error_and_no_line_of_the_log_shows_the_key() {
    let service = Service::start(repeats);
    let mut bridge = bridge(&service, &["-vv"]).env("ASISTRY_API_KEY", KEY).spawn();
    bridge.open("2025-06-18");
    let tools = [
        "see other",
        "redirect",
        "elsewhere",
        "other host",
        "trace 200",
        "trace 304",
        "trace 500",
        "body",
        "page",
        "resume",
    ];
    for (id, tool) in tools.iter().enumerate() {
        bridge.call(id, tool);
        let answer = bridge.answer(id as u64);
        assert!(answer["error"].is_object(), "{tool}: {answer}");
        assert!(!answer.to_string().contains(KEY), "{tool}: {answer}");
    }
    is_silent_about_the_key(bridge);
}

#[test]
fn an_endpoint_that_repeats_the_key_is_refused_without_it() {
    for endpoint in [format!("http://127.0.0.1:1/x/{KEY}"), format!("http://{KEY}.example/x")] {
        let event = Arc::new(Mutex::new(format!("event: endpoint\ndata: {endpoint}\n\n")));
        let service = Service::start(move |r| {
            let event = event.lock().unwrap().clone();
            (r.verb == "GET").then(|| Reply::stream(vec![event.into()]).stalled())
        });
        let url = service.url();
        let arguments = ["bridge", "--url", &url, "--transport", "sse", "-vv"];
        let mut bridge = asistry(arguments).env("ASISTRY_API_KEY", KEY).spawn();
        let answer = bridge.open("2024-11-05");
        assert!(answer["error"].is_object() && !answer.to_string().contains(KEY), "{answer}");
        is_silent_about_the_key(bridge);
    }
}
