//! How a conversation ends: EOF, signals, a client that is gone (STD-7, STD-8, LEG-8, LEG-12).

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bridge::{Bridge, SHUTDOWN, Start, bridge, json_rpc, request};
use crate::support::service::{Gate, Received, Reply, SESSION, Service, mcp};

fn with_a_hanging_tool() -> Service {
    Service::start(|received| (received.tool() == "hang").then(Reply::never))
}

fn is_delete(received: &Received) -> bool {
    received.verb == "DELETE"
}

fn cancels(received: &Received, id: &Value) -> bool {
    received.method == "notifications/cancelled" && received.message()["params"]["requestId"] == *id
}

/// What every end owes: an error for the open call, its cancellation, and the end of the session.
fn has_parted(bridge: &mut Bridge, service: &Service, since: Instant) {
    let took = bridge.ends(0, since, SHUTDOWN);
    println!("the end took {took:?}");
    let rest = bridge.rest();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0]["id"], 7);
    assert_eq!(rest[0]["error"]["code"], -32603, "{rest:?}");
    assert_eq!(rest[0]["error"]["data"]["mayHaveExecuted"], true, "{rest:?}");
    let delete = service.awaits("DELETE", is_delete);
    assert_eq!(delete.header("mcp-session-id"), Some(SESSION));
    service.awaits("the cancellation", |r| cancels(r, &json!(7)));
}

fn hanging(service: &Service, arguments: &[&str]) -> Bridge {
    let mut bridge = bridge(service, arguments).spawn();
    bridge.open("2025-06-18");
    bridge.call(7, "hang");
    service.awaits_call("hang");
    bridge
}

#[test]
fn eof_answers_the_open_call_cancels_it_and_leaves_the_session_in_time() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &[]);
    let since = Instant::now();
    bridge.close();
    has_parted(&mut bridge, &service, since);
}

#[test]
fn sigterm_ends_it_like_eof() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &[]);
    let since = Instant::now();
    bridge.signal(Signal::TERM);
    has_parted(&mut bridge, &service, since);
}

#[test]
fn sigint_ends_it_like_eof() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &[]);
    let since = Instant::now();
    bridge.signal(Signal::INT);
    has_parted(&mut bridge, &service, since);
}

#[test]
fn a_signal_bounds_a_longer_drain() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &["--drain", "20s"]);
    let since = Instant::now();
    bridge.signal(Signal::TERM);
    has_parted(&mut bridge, &service, since);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let service = with_a_hanging_tool();
        let mut bridge = hanging(&service, &[]);
        bridge.signal(Signal::TERM);
        bridge.runs_for(Duration::from_millis(200));
        let since = Instant::now();
        bridge.signal(second);
        bridge.ends(130, since, Duration::from_millis(500));
        assert!(bridge.stderr().contains("a second signal"), "{}", bridge.stderr());
    }
}

#[test]
fn a_service_that_does_not_take_the_farewell_holds_up_no_end() {
    let service = Service::start(|received| {
        let hangs = is_delete(received) || received.method == "notifications/cancelled";
        (hangs || received.tool() == "hang").then(Reply::never)
    });
    let mut bridge = hanging(&service, &[]);
    let since = Instant::now();
    bridge.close();
    has_parted(&mut bridge, &service, since);
}

#[test]
fn what_waits_for_the_answer_to_initialize_is_answered_at_the_end() {
    let service = Service::start(|received| (received.method == "initialize").then(Reply::never));
    let mut bridge = bridge(&service, &[]).spawn();
    let params = r#"{"protocolVersion":"2025-03-26","capabilities":{}}"#;
    bridge.say(request("\"open\"", "initialize", params));
    bridge.say(format!("[{},{}]", request("1", "a/b", "{}"), request("2", "a/b", "{}")));
    bridge.say(request("3", "a/b", "{}"));
    service.awaits("initialize", |r| r.method == "initialize");
    let since = Instant::now();
    bridge.close();
    bridge.ends(0, since, SHUTDOWN);
    let mut rest = bridge.rest();
    let waited: Vec<Value> = rest.extract_if(.., |answer| answer["id"] != "open").collect();
    assert_eq!((waited.len(), rest.len()), (3, 1), "{waited:?} {rest:?}");
    for (answer, id) in waited.iter().zip(1..) {
        assert_eq!(answer["id"], id, "{waited:?}");
        assert_eq!(answer["error"]["data"]["kind"], "interrupted", "{waited:?}");
        assert_eq!(answer["error"]["data"]["mayHaveExecuted"], false, "{waited:?}");
    }
}

#[test]
fn only_a_call_that_may_have_run_is_to_be_checked() {
    for (limited, executed) in [(true, false), (false, true)] {
        let service = Service::start(move |received| match (received.tool().as_str(), limited) {
            ("hang", true) => Some(Reply::empty(429).header("retry-after", "30")),
            ("hang", false) => Some(Reply::never()),
            _ => None,
        });
        let mut bridge = hanging(&service, &[]);
        bridge.close();
        bridge.exit();
        let rest = bridge.rest();
        let data = &rest[0]["error"]["data"];
        assert_eq!(data["mayHaveExecuted"], executed, "{rest:?}");
        let hint = match executed {
            true => {
                "check whether the call took effect before repeating it, or add --drain 30s to allow more time"
            }
            false => "add --drain 30s to allow more time",
        };
        assert_eq!(data["hint"], hint, "{rest:?}");
    }
}

#[test]
fn what_waits_for_the_answer_to_server_discover_is_answered_at_the_end() {
    let service = Service::start(|received| (received.method == "server/discover").then(Reply::never));
    let mut bridge = bridge(&service, &[]).spawn();
    let meta = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#;
    for id in ["1", "2"] {
        bridge.say(request(id, "a/b", meta));
    }
    service.awaits("server/discover", |r| r.method == "server/discover");
    let since = Instant::now();
    bridge.close();
    bridge.ends(0, since, SHUTDOWN);
    let rest = bridge.rest();
    assert_eq!(rest.len(), 2, "{rest:?}");
    for (answer, id) in rest.iter().zip(1..) {
        assert_eq!(answer["id"], id, "{rest:?}");
        assert_eq!(answer["error"]["data"]["kind"], "interrupted", "{rest:?}");
        assert_eq!(answer["error"]["data"]["mayHaveExecuted"], false, "{rest:?}");
    }
}

/// A service that has ended the session need not understand a cancellation in it.
#[test]
fn the_session_is_left_after_the_cancellation_was_taken() {
    let taken = Gate::default();
    let waits = taken.clone();
    let service = Service::start(move |received| match received.method.as_str() {
        "notifications/cancelled" => Some(Reply::empty(202).after(&waits)),
        _ => (received.tool() == "hang").then(Reply::never),
    });
    let mut bridge = hanging(&service, &[]);
    bridge.signal(Signal::TERM);
    service.awaits("the cancellation", |r| cancels(r, &json!(7)));
    service.awaits_quiet(Duration::from_millis(40));
    assert!(!service.received().iter().any(is_delete), "the session ended before the cancellation was taken");
    taken.open();
    service.awaits("DELETE", is_delete);
    bridge.exit();
}

#[test]
fn an_idle_conversation_ends_at_once() {
    let service = Service::start(|_| None);
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "echo");
    bridge.answer(1);
    let since = Instant::now();
    bridge.close();
    let took = bridge.ends(0, since, Duration::from_millis(700));
    println!("the end took {took:?}");
    let delete = service.awaits("DELETE", is_delete);
    assert_eq!(delete.header("mcp-session-id"), Some(SESSION));
}

#[test]
fn without_a_session_id_nothing_is_deleted() {
    let service = Service::start(|received| {
        (received.method == "initialize").then(|| {
            let info = json!({"name": "s", "version": "1"});
            let result = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": info});
            Reply::result(received, result)
        })
    });
    let mut bridge = bridge(&service, &[]).spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "echo");
    bridge.answer(1);
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    assert!(!service.received().iter().any(is_delete));
}

#[test]
fn a_call_that_is_answered_within_the_drain_is_still_delivered() {
    let (gate, held) = (Gate::default(), Gate::default());
    let inner = gate.clone();
    let service = Service::start(move |received| match received.tool().as_str() {
        "late" => Some(mcp(received).after(&inner)),
        "never" => Some(mcp(received).after(&held)),
        _ => None,
    });
    let mut bridge = bridge(&service, &["--drain", "20s"]).spawn();
    bridge.open("2025-06-18");
    bridge.call(1, "late");
    bridge.close();
    service.awaits_call("late");
    gate.open();
    assert!(bridge.answer(1)["result"].is_object());
    let since = Instant::now();
    bridge.ends(0, since, Duration::from_secs(5));
    assert!(!service.received().iter().any(|r| r.method == "notifications/cancelled"));
}

#[test]
fn a_longer_drain_waits_longer_and_not_for_ever() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &["--drain", "3s"]);
    let since = Instant::now();
    bridge.close();
    let took = bridge.ends(0, since, Duration::from_millis(4500));
    assert!(took >= Duration::from_secs(3), "it waited {took:?} only");
    assert_eq!(bridge.rest()[0]["error"]["data"]["mayHaveExecuted"], true);
}

#[test]
fn a_drain_of_nothing_waits_for_nothing() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &["--drain", "0s"]);
    let since = Instant::now();
    bridge.close();
    bridge.ends(0, since, Duration::from_millis(900));
    assert_eq!(bridge.rest()[0]["error"]["data"]["mayHaveExecuted"], true);
}

#[test]
fn a_client_that_closes_its_end_ends_it_with_the_next_answer() {
    let gate = Gate::default();
    let inner = gate.clone();
    let service =
        Service::start(move |received| (received.tool() == "late").then(|| mcp(received).after(&inner)));
    let mut bridge = bridge(&service, &[]).unread().spawn();
    bridge.say(request("1", "initialize", r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#));
    bridge.call(2, "late");
    service.awaits_call("late");
    bridge.close_output();
    let since = Instant::now();
    gate.open();
    // A process forked by another test holds the pipe's end until it executes, and may take an answer.
    let echo = request("3", "ping", "{}");
    while since.elapsed() < SHUTDOWN && bridge.is_running_after(Duration::from_millis(50)) {
        bridge.say(&echo);
    }
    bridge.ends(0, since, SHUTDOWN);
    // Nothing was said at the end of stdin, which is still open.
    service.awaits("DELETE", is_delete);
}

#[test]
fn sighup_ends_it_like_eof() {
    let service = with_a_hanging_tool();
    let mut bridge = hanging(&service, &[]);
    let since = Instant::now();
    bridge.signal(Signal::HUP);
    has_parted(&mut bridge, &service, since);
}

/// nohup(1) begins it so.
#[cfg(target_os = "linux")]
#[test]
fn sighup_that_was_ignored_from_the_beginning_ends_nothing() {
    let service = with_a_hanging_tool();
    let mut bridge = bridge(&service, &[]).after("trap '' HUP").spawn();
    bridge.open("2025-06-18");
    let ignored = u64::from_str_radix(&bridge.status("SigIgn:"), 16).unwrap();
    assert_eq!(ignored & 1, 1, "{ignored:x}");
    bridge.signal(Signal::HUP);
    bridge.say(request("1", "ping", "{}"));
    assert_eq!(bridge.answer(1)["result"], json!({}));
    let since = Instant::now();
    bridge.close();
    bridge.ends(0, since, SHUTDOWN);
}

fn with_large_answers() -> Service {
    Service::start(|received| {
        (received.method == "tools/call").then(|| Reply::result(received, json!({"t": "x".repeat(1 << 20)})))
    })
}

/// A bridge full of answers that the client does not read.
fn unread(service: &Service, start: Start) -> Bridge {
    let bridge = start.unread().spawn();
    bridge.say(request("0", "initialize", r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#));
    for id in 1..40 {
        bridge.call(id, "large");
    }
    service.awaits_many(39, "calls", |r| r.method == "tools/call");
    bridge
}

/// What is not delivered is never passed over in silence.
fn ends_undelivered(bridge: &mut Bridge, service: &Service, since: Instant, within: Duration) {
    let took = bridge.ends(1, since, within);
    println!("the end took {took:?}");
    assert!(bridge.stderr().contains("the client did not read"), "{}", bridge.stderr());
    service.awaits("DELETE", is_delete);
}

#[test]
fn sigterm_ends_it_in_time_while_the_client_does_not_read() {
    let service = with_large_answers();
    let mut bridge = unread(&service, bridge(&service, &[]));
    let since = Instant::now();
    bridge.signal(Signal::TERM);
    ends_undelivered(&mut bridge, &service, since, SHUTDOWN);
}

#[test]
fn eof_ends_it_in_time_while_the_client_does_not_read() {
    let service = with_large_answers();
    let mut bridge = unread(&service, bridge(&service, &[]));
    let since = Instant::now();
    bridge.close();
    ends_undelivered(&mut bridge, &service, since, SHUTDOWN);
}

#[test]
fn eof_behind_unread_lines_ends_it_in_time_on_a_socket() {
    let service = with_large_answers();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let start = bridge(&service, &[]).stdin(std::os::fd::OwnedFd::from(theirs)).unread();
    let mut bridge = start.spawn();
    let mut script = request("0", "initialize", r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#);
    for id in 1..40 {
        script += &format!("\n{}", request(&id.to_string(), "tools/call", r#"{"name":"large"}"#));
    }
    ours.write_all(format!("{script}\n").as_bytes()).unwrap();
    service.awaits_many(39, "calls", |r| r.method == "tools/call");
    service.awaits_quiet(Duration::from_millis(100));
    let since = Instant::now();
    ours.write_all(format!("{}\n", request("99", "ping", "{}")).as_bytes()).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    ends_undelivered(&mut bridge, &service, since, SHUTDOWN);
}

#[test]
fn a_longer_drain_bounds_the_wait_for_a_client_that_does_not_read() {
    let service = with_large_answers();
    let mut bridge = unread(&service, bridge(&service, &["--drain", "2s"]));
    let since = Instant::now();
    bridge.close();
    ends_undelivered(&mut bridge, &service, since, Duration::from_millis(2500));
}

/// The end takes the drain, and not the 300 ms for the farewell too: the service takes that at once. A busy machine makes
/// a single end longer, so the quickest of a few decides.
#[test]
fn a_client_that_reads_nothing_gets_no_time_after_the_drain() {
    let end = || {
        let service = with_large_answers();
        let mut bridge = unread(&service, bridge(&service, &["--drain", "600ms"]));
        let since = Instant::now();
        bridge.close();
        assert_eq!(bridge.exit_code(), 1, "{}", bridge.stderr());
        since.elapsed()
    };
    assert!((0..8).any(|_| end() < Duration::from_millis(880)), "the end takes the farewell's time too");
}

#[test]
fn a_second_signal_cuts_the_drain_short() {
    let service = with_large_answers();
    let mut bridge = unread(&service, bridge(&service, &["--drain", "60s"]));
    bridge.close();
    bridge.runs_for(Duration::from_millis(300));
    let since = Instant::now();
    bridge.signal(Signal::TERM);
    ends_undelivered(&mut bridge, &service, since, SHUTDOWN);
}

#[test]
fn a_slow_reader_gets_all_its_answers_within_the_drain() {
    let service = with_large_answers();
    let mut bridge = unread(&service, bridge(&service, &["--drain", "30s"]));
    // A line that is read only when the client has taken something.
    bridge.say(request("99", "ping", "{}"));
    bridge.close();
    bridge.runs_for(Duration::from_millis(1700));
    bridge.read();
    let rest = bridge.rest();
    assert_eq!(rest.len(), 41);
    assert_eq!(bridge.exit_code(), 0, "{}", bridge.stderr());
    service.awaits("DELETE", is_delete);
}

#[test]
fn a_large_answer_after_eof_is_delivered_whole_to_a_slow_reader() {
    let gate = Gate::default();
    let inner = gate.clone();
    let large = "x".repeat(8 << 20);
    let service = Service::start(move |received| {
        (received.tool() == "late").then(|| Reply::result(received, json!({"t": large})).after(&inner))
    });
    let mut bridge = bridge(&service, &["--drain", "30s"]).unread().spawn();
    bridge.say(request("0", "initialize", r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#));
    bridge.call(1, "late");
    bridge.close();
    service.awaits_call("late");
    bridge.runs_for(Duration::from_millis(200));
    gate.open();
    bridge.runs_for(Duration::from_millis(1500));
    bridge.read();
    assert_eq!(bridge.answer(1)["result"]["t"].as_str().map(str::len), Some(8 << 20));
    assert_eq!(bridge.exit_code(), 0, "{}", bridge.stderr());
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Pipe,
    File,
    Socket,
}

#[test]
fn a_script_is_answered_whatever_stdin_and_stdout_are() {
    for input in [Stream::Pipe, Stream::File, Stream::Socket] {
        for output in [Stream::Pipe, Stream::File, Stream::Socket] {
            let answers = run_script(input, output);
            assert_eq!(answers.len(), 3, "{input:?} to {output:?}: {answers:?}");
            for id in [1, 2, 3] {
                let answer = answers.iter().find(|answer| answer["id"] == id);
                let good = answer.is_some_and(|answer| answer["result"].is_object());
                assert!(good, "{input:?} to {output:?}: {answers:?}");
            }
        }
    }
}

/// `printf … | asistry bridge`, with each kind of stream.
fn run_script(input: Stream, output: Stream) -> Vec<Value> {
    let service = Service::start(|_| None);
    let directory = tempfile::tempdir().unwrap();
    let (script, answers) = (directory.path().join("script"), directory.path().join("answers"));
    let text = format!(
        "{}\n{}\n{}\n{}",
        request("1", "initialize", r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        request("2", "tools/call", r#"{"name":"echo"}"#),
        // Without an end, as printf leaves it.
        request("3", "ping", "{}"),
    );
    std::fs::write(&script, &text).unwrap();
    let start = bridge(&service, &[]);
    let (start, socket_in) = match input {
        Stream::Pipe => (start, None),
        Stream::File => (start.stdin(File::open(&script).unwrap()), None),
        Stream::Socket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (start.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))), Some(ours))
        }
    };
    let (start, socket_out) = match output {
        Stream::Pipe => (start, None),
        Stream::File => (start.stdout(File::create(&answers).unwrap()), None),
        Stream::Socket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (start.stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs))), Some(ours))
        }
    };
    let mut bridge = start.spawn();
    match socket_in {
        Some(mut socket) => socket.write_all(text.as_bytes()).unwrap(),
        None if matches!(input, Stream::Pipe) => bridge.write(text),
        None => {}
    }
    bridge.close();
    let written = match (socket_out, output) {
        (Some(mut socket), _) => {
            let mut all = Vec::new();
            socket.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
            socket.read_to_end(&mut all).unwrap();
            all
        }
        (None, Stream::File) => {
            bridge.exit();
            std::fs::read(&answers).unwrap()
        }
        _ => return bridge.rest(),
    };
    assert_eq!(bridge.exit_code(), 0, "{}", bridge.stderr());
    written.split_inclusive(|byte| *byte == b'\n').map(json_rpc).collect()
}
