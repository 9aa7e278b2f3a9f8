//! What a bridge writes on stderr and into files, and that nobody need read it (STD-3).

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::bridge::{Bridge, SHUTDOWN, Start, asistry, bridge};
use crate::support::service::{Reply, Service, mcp};

/// A service that answers each call twice: the second answer is a warning.
fn answers_twice() -> Service {
    Service::start(|received| {
        (received.method == "tools/call").then(|| {
            let id = &received.id;
            let answer = format!(r#"data: {{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            Reply::status(200, "text/event-stream", format!("{answer}\n\n{answer}\n\n"))
        })
    })
}

/// Calls until far more warnings than a pipe holds were written.
fn warned(start: Start) -> Bridge {
    let mut bridge = start.spawn();
    bridge.open("2025-06-18");
    for id in 0..3000 {
        bridge.call(id, "echo");
        bridge.answer(id);
    }
    bridge
}

/// Runs a bridge for one call, and returns its stderr.
fn log_of_a_call(start: Start) -> String {
    let mut bridge = start.spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "echo");
    bridge.answer(1);
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    bridge.stderr()
}

#[test]
fn a_client_that_does_not_read_stderr_is_served_and_eof_ends_it_in_time() {
    let service = answers_twice();
    for verbose in ["-v", "--no-input"] {
        let (_unread, stderr) = std::io::pipe().unwrap();
        let mut bridge = warned(bridge(&service, &[verbose]).stderr(stderr));
        let since = Instant::now();
        bridge.close();
        bridge.ends(0, since, SHUTDOWN);
    }
}

#[test]
fn sigterm_ends_it_in_time_while_nobody_reads_stderr() {
    let service = answers_twice();
    let (_unread, stderr) = std::io::pipe().unwrap();
    let mut bridge = warned(bridge(&service, &["-vv"]).stderr(stderr));
    let since = Instant::now();
    bridge.signal(Signal::TERM);
    bridge.ends(0, since, SHUTDOWN);
}

#[test]
fn dropped_lines_are_reported_once_there_is_room() {
    let service = answers_twice();
    let (mut unread, stderr) = std::io::pipe().unwrap();
    let mut bridge = warned(bridge(&service, &["-vv"]).stderr(stderr));
    bridge.close();
    let mut text = String::new();
    unread.read_to_string(&mut text).unwrap();
    assert!(text.contains("lines were dropped here, unread"), "{}", text.len());
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn a_warning_of_each_call_is_limited_and_counted() {
    let service = answers_twice();
    let mut bridge = warned(bridge(&service, &[]));
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    let text = bridge.stderr();
    assert!(text.lines().count() < 50, "{text}");
    assert!(text.contains("more lines like this one were left out"), "{text}");
}

/// HTTP-12: what cannot be read is dropped, and never without a word.
#[test]
fn an_event_that_is_no_message_is_reported() {
    let service = Service::start(|received| {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, received.id);
        let events = ["{\"jsonrpc\":".to_owned(), format!(r#"[{{"id":1}},{answer}]"#)];
        (received.method == "tools/call").then(|| Reply::events(events))
    });
    let text = log_of_a_call(bridge(&service, &[]));
    assert!(text.contains("dropped an event of the service: it is no JSON"), "{text}");
    assert!(text.contains("dropped a message of the service: "), "{text}");
}

#[test]
fn v_writes_a_line_for_each_exchange_and_wait() {
    let limits = std::sync::atomic::AtomicBool::new(true);
    let service = Service::start(move |received| {
        let limited = received.tool() == "echo" && limits.swap(false, std::sync::atomic::Ordering::Relaxed);
        limited.then(|| Reply::status(429, "application/json", "{}").header("retry-after", "1"))
    });
    let url = format!("{}?token=hidden", service.url());
    let mut bridge = asistry(["bridge", "-v", "--url", &url]).env("ASISTRY_API_KEY", "secret-key-1").spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "echo");
    bridge.answer(1);
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    let text = bridge.stderr();
    let line = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    let place = service.url();
    assert!(line(&["POST", &place, " 429 ", " ms, attempt 1"]), "{text}");
    assert!(line(&["POST", &place, " 200 ", " ms, attempt 2"]), "{text}");
    assert!(line(&["waiting ", "the service limits the rate"]), "{text}");
    for hidden in ["hidden", "secret-key", "authorization", "DEBUG"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
}

#[test]
fn vv_masks_a_key_that_the_service_repeats_in_headers_and_as_its_version() {
    const KEY: &str = "Secret-key-1";
    const KEY_AS_A_NAME: &str = "x-secret-key-1";
    let service = Service::start(|received| {
        let answer = |result: serde_json::Value| {
            let id: serde_json::Value = serde_json::from_str(&received.id).unwrap();
            let message = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result});
            let media = format!("application/json; of={KEY}");
            Some(
                Reply::status(200, &media, message.to_string())
                    .header("server", KEY)
                    .header(KEY_AS_A_NAME, "v"),
            )
        };
        match received.method.as_str() {
            "initialize" => answer(serde_json::json!({
                "protocolVersion": KEY, "capabilities": {}, "serverInfo": {"name": KEY, "version": "1"}
            })),
            "tools/call" => answer(serde_json::json!({"content": []})),
            _ => None,
        }
    });
    let text = log_of_a_call(bridge(&service, &["-vv"]).env("ASISTRY_API_KEY", KEY));
    assert!(text.contains("application/json; of=MASKED"), "{text}");
    assert!(!text.to_lowercase().contains(&KEY.to_lowercase()), "{text}");
}

#[test]
fn vv_adds_masked_headers_and_sizes_and_no_other_crate_speaks() {
    let service = Service::start(|received| Some(mcp(received)));
    let text = log_of_a_call(
        bridge(&service, &["-vv", "--header", "X-Team: seven"]).env("ASISTRY_API_KEY", "secret-key-1"),
    );
    assert!(text.contains("content-type: application/json"), "{text}");
    assert!(text.contains("mcp-session-id: MASKED"), "{text}");
    assert!(text.contains(" bytes"), "{text}");
    assert!(!text.contains("secret-key"), "{text}");
}

#[test]
fn traces_and_logs_that_others_could_read_are_closed_to_them() {
    let service = Service::start(|received| Some(mcp(received)));
    let home = tempfile::tempdir().unwrap();
    let files = ["log", "trace"].map(|name| home.path().join(name));
    for file in &files {
        std::fs::write(file, "").unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
    }
    let [log, trace] = files.clone().map(|file| file.display().to_string());
    let mut bridge = bridge(&service, &["-v", "--log-file", &log, "--trace", &trace]).spawn();
    bridge.open("2025-06-18");
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    for file in &files {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    let said = bridge.stderr() + &std::fs::read_to_string(&log).unwrap();
    for file in [&log, &trace] {
        assert!(said.contains(&format!("{file} was readable by other users")), "{said}");
    }
    assert!(std::fs::read_to_string(&log).unwrap().contains("POST "));
}
