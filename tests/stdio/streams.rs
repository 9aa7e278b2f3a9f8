//! Streams of a service that never pause, or stop in the middle (STD-9, HTTP-11).

use std::time::{Duration, Instant};

use crate::support::bridge::{Bridge, SHUTDOWN, bridge};
use crate::support::service::{Reply, Service};
use bytes::Bytes;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(10);

/// The same piece of a stream again and again, far longer than a test.
fn flood(piece: &str) -> Vec<Bytes> {
    vec![Bytes::from(piece.repeat(1_000)); 100_000]
}

fn flooding(piece: &'static str) -> (Service, Bridge) {
    let service = Service::start(move |r| (r.tool() == "flood").then(|| Reply::stream(flood(piece))));
    let mut bridge = bridge(&service, &["--max-time", "2s"]).spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "flood");
    service.awaits_call("flood");
    (service, bridge)
}

#[test]
fn a_stream_that_never_pauses_ends_at_max_time() {
    let since = Instant::now();
    let (_service, mut bridge) = flooding(": x\n\n");
    let answer = bridge.answer(1);
    assert_eq!(answer["error"]["data"]["kind"], "timeout", "{answer}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

const NOTIFICATION: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n";

#[test]
fn a_flood_of_notifications_holds_up_neither_a_ping_nor_the_end() {
    let service = Service::start(move |r| (r.tool() == "flood").then(|| Reply::stream(flood(NOTIFICATION))));
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    for id in 0..4 {
        bridge.call(id, "flood");
    }
    bridge.hear();
    let since = Instant::now();
    bridge.say(r#"{"jsonrpc":"2.0","id":"ping","method":"ping"}"#);
    while bridge.hear()["id"] != "ping" {}
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let since = Instant::now();
    bridge.close();
    let took = bridge.ends(0, since, SHUTDOWN);
    println!("the end took {took:?}");
}

/// The beginning of an event past the memory that large answers may hold at once.
fn stopped() -> Reply {
    let mib = Bytes::from(vec![b'x'; 1 << 20]);
    let mut parts = vec![Bytes::from_static(b"data: ")];
    parts.extend(std::iter::repeat_n(mib, 34));
    Reply::stream(parts).stalled()
}

#[test]
fn a_large_event_that_stops_in_the_middle_holds_up_no_other_answer() {
    let service = Service::start(|r| match r.tool().as_str() {
        "stops" => Some(stopped()),
        "large" => Some(Reply::result(r, json!({"t": "y".repeat(200_000)}))),
        _ => None,
    });
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    bridge.call("\"stops\"", "stops");
    service.awaits_call("stops");
    service.awaits_quiet(Duration::from_millis(300));
    let since = Instant::now();
    for id in 0..3 {
        bridge.call(id, "large");
    }
    for id in 0..3 {
        assert!(bridge.answer(id)["result"].is_object());
    }
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
}
