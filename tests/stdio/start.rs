//! How it starts, and what it refuses: profiles, options, keys.

use base64::Engine;
use serde_json::json;

use crate::support::bridge::{asistry, bridge, request};
use crate::support::service::{Reply, Service};

#[test]
fn without_a_key_each_request_is_told_so_and_the_exit_code_says_it() {
    let mut bridge = asistry(["bridge"]).spawn();
    for (id, method) in [(1, "initialize"), (2, "tools/list"), (3, "tools/call")] {
        bridge.say(request(&id.to_string(), method, "{}"));
        let answer = bridge.answer(id);
        assert_eq!(answer["error"]["code"], -32001, "{answer}");
        let data = &answer["error"]["data"];
        assert_eq!(data["kind"], "auth_required", "{answer}");
        assert!(data["hint"].as_str().unwrap().contains("ASISTRY_API_KEY"), "{answer}");
    }
    bridge.close();
    assert_eq!(bridge.exit_code(), 4);
    assert!(bridge.stderr().contains("ASISTRY_API_KEY"), "{}", bridge.stderr());
}

#[test]
fn an_unknown_profile_is_named_with_the_nearest_one() {
    let mut bridge = asistry(["bridge", "-p", "asisty"]).spawn();
    assert_eq!(bridge.exit_code(), 3);
    assert!(bridge.stderr().contains("did you mean asistry?"), "{}", bridge.stderr());
    assert!(bridge.rest().is_empty());
}

#[test]
fn wrong_options_are_refused_before_anything_is_sent() {
    let service = Service::never_called();
    let cases: &[&[&str]] = &[
        &["--no-such-option"],
        &["--drain", "soon"],
        &["--max-result", "many"],
        &["--tool-names", "pretty"],
        &["--transport", "pigeon"],
        &["--header", "no colon"],
        &["--header", "Content-Type: text/plain"],
        &["--log-file", "/no/such/directory/log"],
        &["--trace", "/no/such/directory/trace"],
    ];
    for options in cases {
        let mut bridge = bridge(&service, options).spawn();
        assert_eq!(bridge.exit_code(), 2, "{options:?} {}", bridge.stderr());
        assert!(!bridge.stderr().is_empty() && bridge.rest().is_empty(), "{options:?}");
    }
    let mut bridge = asistry(["bridge", "--url", "not a url"]).spawn();
    assert_eq!(bridge.exit_code(), 2, "{}", bridge.stderr());
}

#[test]
fn a_literal_credential_on_the_command_line_is_refused_and_not_repeated() {
    let service = Service::never_called();
    for header in ["Authorization: Bearer s3cr3t-marked", "Cookie: s3cr3t-marked", "X-API-Key:s3cr3t-marked"]
    {
        let mut bridge = bridge(&service, &["--header", header]).spawn();
        assert_eq!(bridge.exit_code(), 2, "{}", bridge.stderr());
        let told = bridge.stderr();
        assert!(told.contains("--header-file") && !told.contains("s3cr3t"), "{told}");
    }
}

const KEY: &str = "ask_MARKEDKEYjx81hq7Zt0Pw3bN6";
const OTHER: &str = "MARKEDHEADERu7Yw2Lk9";

#[test]
fn a_key_is_in_no_output_no_trace_and_no_log() {
    let service = Service::start(|received| {
        let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "no"}});
        match received.tool().as_str() {
            "refused" => Some(Reply::status(401, "application/json", error.to_string())),
            "broken" => Some(Reply::status(500, "text/html", "<h1>broken</h1>")),
            "moved" => Some(Reply::empty(307).header("location", "https://elsewhere.invalid/mcp")),
            _ => None,
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();
    for form in ["text", "json"] {
        let (trace, log) = (path(&format!("trace-{form}")), path(&format!("log-{form}")));
        let options = [
            "-p",
            "asistry",
            "-vv",
            "--trace",
            &trace,
            "--log-file",
            &log,
            "--log-format",
            form,
            "--header",
            "X-Api-Key: ${OTHER}",
        ];
        let mut bridge = bridge(&service, &options).env("ASISTRY_API_KEY", KEY).env("OTHER", OTHER).spawn();
        bridge.open("2025-06-18");
        let tools = ["echo", "refused", "broken", "moved"];
        for tool in tools {
            bridge.call(json!(tool), tool);
            let answer = bridge.answer(tool);
            outputs.push((format!("the answer to {tool}"), answer.to_string().into()));
        }
        bridge.close();
        assert_eq!(bridge.exit_code(), 0);
        outputs.push(("stderr".into(), bridge.stderr().into()));
        for file in [trace, log] {
            let text = std::fs::read(&file).unwrap();
            assert!(text.len() > 100, "{file} is empty: nothing was tried");
            outputs.push((file, text));
        }
    }
    // And once with the logs on stderr.
    let mut bridge =
        bridge(&service, &["-vv"]).env("ASISTRY_API_KEY", KEY).env("ASISTRY_LOG", "trace").spawn();
    bridge.open("2025-06-18");
    bridge.close();
    bridge.exit();
    outputs.push(("stderr with -vv".into(), bridge.stderr().into()));
    let call = service.awaits_call("echo");
    assert_eq!(call.header("authorization"), Some(&*format!("Bearer {KEY}")), "the key went along");
    assert_eq!(call.header("x-api-key"), Some(OTHER));
    for (place, text) in &outputs {
        for secret in [KEY, OTHER] {
            for shape in shapes(secret) {
                let found = memchr::memmem::find(text, shape.as_bytes()).is_some();
                assert!(!found, "{shape} is in {place}: {}", String::from_utf8_lossy(text));
            }
        }
    }
}

/// A secret plain, its parts, and its base64 at each of the three alignments.
fn shapes(secret: &str) -> Vec<String> {
    let mut shapes = vec![secret.to_owned(), secret[4..].to_owned(), secret[..secret.len() - 4].to_owned()];
    for shift in 0..3 {
        let padded = [&"   "[..shift], secret].concat();
        let encoded = base64::engine::general_purpose::STANDARD.encode(padded);
        // The first and the last group depend on what stands beside the secret.
        shapes.push(encoded[4..encoded.len() - 4].to_owned());
    }
    shapes
}

/// On a terminal nobody speaks JSON-RPC: it says what to do instead of hanging.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_it_refuses_with_the_configuration_to_write() {
    let (_leader, terminal) = crate::support::terminal::pseudo_terminal();
    let mut bridge = asistry(["bridge", "--url", "https://mcp.example/mcp"]).stdin(terminal).spawn();
    assert_eq!(bridge.exit_code(), 2);
    let told = bridge.stderr();
    assert!(told.contains("mcpServers") && told.contains("https://mcp.example/mcp"), "{told}");
    assert!(bridge.rest().is_empty());
}
