//! What a line is, and what an id is (STD-1…6).

use serde_json::{Value, json};

use crate::support::bridge::{bridge, request};
use crate::support::service::{Gate, Reply, Service, mcp};

#[test]
fn nothing_but_json_rpc_is_on_stdout_even_when_everything_fails() {
    let service = Service::start(|received| match received.tool().as_str() {
        "html" => Some(Reply::status(500, "text/html", "<h1>broken\r\nhere</h1>")),
        "lines" => Some(Reply::status(
            200,
            "application/json",
            format!("{{\r\n\"jsonrpc\": \"2.0\",\n \"id\":{},\r\"result\":{{}}\n}}\r\n", received.id),
        )),
        "short" => Some(Reply::json("{\"jsonrpc\":")),
        "nothing" => Some(Reply::empty(202)),
        "events" => Some(Reply::status(200, "text/event-stream", "data: x\r\n\r\ndata: {\"a\"\n\n")),
        _ => None,
    });
    let mut bridge = bridge(&service, &["-vv"]).spawn();
    bridge.open("2025-06-18");
    for tool in ["html", "lines", "short", "nothing", "events", "good"] {
        bridge.call(json!(tool), tool);
    }
    for tool in ["html", "short", "nothing", "events"] {
        let answer = bridge.answer(tool);
        assert_eq!(answer["error"]["data"]["source"], "asistry", "{tool}: {answer}");
    }
    assert_eq!(bridge.answer("lines")["result"], json!({}));
    assert_eq!(bridge.answer("good")["result"]["content"][0]["text"], "done");
    bridge.say("not json");
    bridge.close();
    assert_eq!(bridge.rest().len(), 1);
    assert_eq!(bridge.exit_code(), 0);
    assert!(!bridge.stderr().is_empty(), "-vv tells nothing");
}

#[test]
fn a_closed_stderr_is_harmless() {
    let service = Service::start(|_| None);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut bridge = bridge(&service, &["-vv"]).stderr(writer).spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "echo");
    assert!(bridge.answer(1)["result"].is_object());
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

/// Reads a number as JavaScript does, and writes it so.
fn as_javascript(id: &str) -> String {
    match serde_json::from_str::<Value>(id).unwrap() {
        Value::Number(number) => number.as_f64().unwrap().to_string(),
        other => other.to_string(),
    }
}

#[test]
fn an_id_comes_back_as_it_was_even_from_a_service_that_rounds_numbers() {
    assert_eq!(as_javascript("9007199254740993"), "9007199254740992", "the stand-in rounds");
    assert_eq!(as_javascript("1.0"), "1");
    let gate = Gate::default();
    let held = gate.clone();
    let service = Service::start(move |received| match received.method.as_str() {
        "tools/call" => {
            let id = as_javascript(&received.id);
            let name = Value::from(received.tool());
            let text = format!(r#"{{"result":{{"of":{name}}},"jsonrpc":"2.0","id":{id}}}"#);
            Some(Reply::json(text).after(&held))
        }
        _ => None,
    });
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    let ids = [
        "0",
        "\"0\"",
        "\"1\"",
        "1",
        "-5",
        "9007199254740991",
        "9007199254740993",
        // The number that the one above is rounded to.
        "9007199254740992",
        "1.0",
        "\"a\\\"b\\\\c\\n\\u0007/é\u{1f980}\"",
        "\"\"",
        "12345678901234567890123",
        "1e3",
    ];
    for (n, id) in ids.iter().enumerate() {
        bridge.call(id, &format!("tool-{n}"));
    }
    // All are in flight at once: then an id that was rounded meets another one.
    service.awaits_many(ids.len(), "calls", |r| r.method == "tools/call");
    gate.open();
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        id: &'a serde_json::value::RawValue,
        result: Value,
    }
    for _ in ids {
        let line = bridge.line().expect("an answer");
        let answer: Answer = serde_json::from_slice(&line).unwrap();
        let of = answer.result["of"].as_str().and_then(|of| of.strip_prefix("tool-")).unwrap();
        let (sent, came) = (ids[of.parse::<usize>().unwrap()], answer.id.get());
        // A string may be escaped in another way; a number may not change at all.
        let text = |id| serde_json::from_str::<String>(id).ok();
        assert!(sent == came || (text(sent).is_some() && text(sent) == text(came)), "{sent} became {came}");
    }
}

#[test]
fn what_is_no_message_is_answered_and_the_stream_goes_on() {
    let service = Service::start(|_| None);
    let mut bridge = bridge(&service, &[]).spawn();
    let cases: &[(&[u8], i64, Value)] = &[
        (b"{\"jsonrpc\":", -32700, Value::Null),
        (b"hello", -32700, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\xff\"}", -32700, Value::Null),
        (b"{} {}", -32700, Value::Null),
        (b"17", -32600, Value::Null),
        (b"\"text\"", -32600, Value::Null),
        (b"null", -32600, Value::Null),
        (b"{}", -32600, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"tools/list\"}", -32600, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":[1],\"method\":\"tools/list\"}", -32600, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":7}", -32600, json!(7)),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"8\",\"params\":{}}", -32600, json!("8")),
        (b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":5}", -32600, json!(9)),
        (b"[]", -32600, Value::Null),
    ];
    for revision in [None, Some("2025-06-18"), Some("2025-11-25")] {
        if let Some(revision) = revision {
            bridge.open(revision);
        }
        for (line, code, id) in cases {
            bridge.write([line, &b"\n"[..]].concat());
            let answer = bridge.hear();
            let shown = String::from_utf8_lossy(line);
            assert_eq!(answer["error"]["code"], *code, "{shown} {answer}");
            assert_eq!(answer["id"], *id, "{shown} {answer}");
            let leaves_out = revision != Some("2025-06-18") && id.is_null();
            assert_eq!(answer.get("id").is_none(), leaves_out, "{revision:?} {shown} {answer}");
        }
        bridge.say(request("1", "ping", "{}"));
        assert_eq!(bridge.answer(1)["result"], json!({}));
    }
    bridge.call(2, "echo");
    assert!(bridge.answer(2)["result"].is_object());
}

#[test]
fn crlf_blank_lines_and_a_byte_order_mark_are_taken_without_a_word() {
    let service = Service::start(|_| None);
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.write(format!("\u{feff}{}\r\n\r\n \t \n\n", request("1", "ping", "{}")));
    assert_eq!(bridge.hear()["id"], 1);
    bridge.open("2025-06-18");
    bridge.write(format!("\r\n{}\r\n", request("2", "tools/list", "{}")));
    assert_eq!(bridge.hear()["id"], 2);
    // The last line needs no end.
    bridge.write(request("3", "ping", "{}"));
    bridge.close();
    let rest = bridge.rest();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0]["id"], 3);
    let list = service.awaits("tools/list", |r| r.method == "tools/list");
    assert!(!list.body.contains(&b'\r'), "a line end went to the service");
}

#[test]
fn a_notification_is_never_answered_not_even_with_an_error() {
    let service = Service::start(|received| match received.method.as_str() {
        "notifications/odd" => Some(Reply::status(
            400,
            "application/json",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"no"}}"#,
        )),
        _ => None,
    });
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/odd"}"#);
    service.awaits("the notification", |r| r.method == "notifications/odd");
    bridge.call(1, "echo");
    assert_eq!(bridge.hear()["id"], 1);
    bridge.close();
    assert_eq!(bridge.rest(), Vec::<Value>::new());
}

#[test]
fn a_second_request_with_an_id_in_flight_is_refused_and_the_first_is_undisturbed() {
    let gate = Gate::default();
    let held = gate.clone();
    let service =
        Service::start(move |received| (received.tool() == "slow").then(|| mcp(received).after(&held)));
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    bridge.call(5, "slow");
    service.awaits_call("slow");
    bridge.call(5, "twin");
    let refusal = bridge.hear();
    assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&json!(5), &json!(-32600)));
    // Another JSON type is another id.
    bridge.call("\"5\"", "other");
    assert!(bridge.answer("5")["result"].is_object());
    gate.open();
    assert!(bridge.answer(5)["result"].is_object());
    bridge.call(5, "again");
    assert!(bridge.answer(5)["result"].is_object());
    assert!(service.received().iter().all(|r| r.tool() != "twin"), "the refused call went through");
}

#[test]
fn a_batch_is_refused_where_the_revision_has_none() {
    let service = Service::start(|_| None);
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    bridge.say(format!("[{},{}]", request("1", "ping", "{}"), request("2", "tools/list", "{}")));
    let answer = bridge.hear();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    assert_eq!(answer["id"], Value::Null);
    bridge.call(3, "echo");
    assert_eq!(bridge.hear()["id"], 3);
    assert!(service.received().iter().all(|r| r.method != "tools/list"));
}

#[test]
fn a_batch_of_2025_03_26_is_answered_by_one_array() {
    let service = Service::start(|_| None);
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-03-26");
    bridge.say(format!(
        r#"[{},{},{{"jsonrpc":"2.0","method":"notifications/x"}},{},17]"#,
        request("1", "ping", "{}"),
        request("\"two\"", "tools/list", "{}"),
        request("3", "initialize", "{}"),
    ));
    let answer = bridge.hear();
    let all = answer.as_array().expect("an array");
    assert_eq!(all.len(), 4, "{answer}");
    let of =
        |id: Value| all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id}: {answer}"));
    assert_eq!(of(json!(1))["result"], json!({}));
    assert_eq!(of(json!("two"))["result"], json!({"tools": []}));
    assert_eq!(of(json!(3))["error"]["code"], -32600);
    assert_eq!(of(Value::Null)["error"]["code"], -32600);
    service.awaits("the notification", |r| r.method == "notifications/x");
    // Notifications alone are answered by nothing at all.
    bridge.say(r#"[{"jsonrpc":"2.0","method":"notifications/y"}]"#);
    service.awaits("the notification", |r| r.method == "notifications/y");
    bridge.say(request("9", "ping", "{}"));
    assert_eq!(bridge.hear()["id"], 9);
}
