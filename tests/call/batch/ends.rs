//! How a batch ends before its last line, and what it then owes.

use std::io::Read;

use super::*;

/// A result that no pipe takes at once.
const LONG: usize = 300_000;

/// `call --batch` with its output in a pipe.
fn piped(shell: &Shell, options: &[&str]) -> Child {
    let mut command = shell.asistry(&["call", "--batch"]);
    command.arg(shell.home.path().join("batch")).args(options);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary")
}

#[test]
fn what_an_interruption_kept_from_being_written_is_remembered() {
    let shell = Shell::new();
    shell.batch(&["x".repeat(LONG).as_str()]);
    let mut child = piped(&shell, &[]);
    let mut stdout = child.stdout.take().expect("stdout");
    // It is being written now, and the pipe is full.
    stdout.read_exact(&mut [0]).expect("a byte");
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait_with_output().expect("an end").status.code(), Some(130));
    drop(stdout);
    assert_eq!(shell.records(), 1);

    shell.file("output", "");
    let (code, said) = shell.append(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(shell.entries()[0]["error"]["mayHaveExecuted"], true);
    assert_eq!(shell.called().into_values().collect::<Vec<_>>(), [1]);
}

#[test]
fn answers_that_have_come_are_written_after_an_interruption() {
    let shell = Shell::new();
    shell.batch(&["x".repeat(LONG).as_str(), "b"]);
    let mut child = piped(&shell, &["--jobs", "2"]);
    let mut stdout = child.stdout.take().expect("stdout");
    stdout.read_exact(&mut [0]).expect("a byte");
    shell.service.awaits("b", |received| title(received).as_deref() == Some("b"));
    shell.service.awaits_quiet(Duration::from_millis(300));
    signal(&child, rustix::process::Signal::INT);
    // It ends the session once it has noticed; else it could end before, with all answers written.
    shell.service.awaits("the end of the session", |received| received.verb == "DELETE");
    let mut printed = String::from("{");
    stdout.read_to_string(&mut printed).expect("text");
    assert_eq!(child.wait_with_output().expect("an end").status.code(), Some(130));
    let entries: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(kinds(&entries), ["done", "done"]);
    assert_eq!(shell.records(), 0);
}

#[test]
fn a_call_that_failed_beside_a_rejected_key_is_not_made_again() {
    let (gate, refused) = (Gate::default(), AtomicBool::new(false));
    let held = gate.clone();
    let shell = Shell::with(move |received| match title(received).as_deref() {
        Some("a") if !refused.swap(true, Ordering::SeqCst) => Some(Reply::empty(401)),
        Some("b") => {
            let error = json!({"code": -32000, "message": "half of it is done"});
            let id: Value = serde_json::from_str(&received.id).expect("an id");
            Some(Reply::json(json!({"jsonrpc": "2.0", "id": id, "error": error})).after(&held))
        }
        _ => answer(received),
    });
    shell.batch(&["a", "b"]);
    let mut child = piped(&shell, &["--jobs", "2"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
    shell.service.awaits("b", |received| title(received).as_deref() == Some("b"));
    let mut printed = String::new();
    stdout.read_line(&mut printed).expect("a line");
    gate.open();
    stdout.read_to_string(&mut printed).expect("text");
    assert_eq!(child.wait_with_output().expect("an end").status.code(), Some(4));
    shell.file("output", &printed);
    let (code, said) = shell.append(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(shell.called(), [("a", 2), ("b", 1)].map(|(t, n)| (t.to_owned(), n)).into());
}

#[test]
fn the_code_of_a_rejected_key_alone_proves_nothing() {
    // Official SDKs use the same code for a request that took too long.
    let shell = Shell::with(|received| match title(received) {
        Some(_) => {
            let error = json!({"code": -32001, "message": "Request timed out"});
            let id: Value = serde_json::from_str(&received.id).expect("an id");
            Some(Reply::json(json!({"jsonrpc": "2.0", "id": id, "error": error})))
        }
        None => answer(received),
    });
    shell.batch(&["a"]);
    assert_eq!(shell.append(&[]).0, Some(4));
    let (code, said) = shell.append(&[]);
    assert!(code == Some(1) && said.contains("1 of them in an earlier run"), "{said}");
    assert_eq!(shell.called()["a"], 1);
}

#[test]
fn where_results_cannot_be_saved_nothing_more_is_called() {
    let home = tempfile::tempdir().expect("a directory");
    let (save, taken) = (home.path().join("save"), home.path().join("save"));
    let shell = Shell::with(move |received| {
        if received.tool() == "say" {
            // Gone since it was found to be writable.
            let _ = fs::remove_dir(&taken);
            fs::write(&taken, "").expect("a file");
        }
        answer(received)
    });
    let image = json!({"content": [{"type": "image", "mimeType": "image/png", "data": "AAAA"}]});
    let line = format!("{}\n", json!({"tool": "say", "arguments": {"result": image}}));
    shell.file("batch", &line.repeat(3));
    let (code, said) = shell.append(&["--save", save.to_str().expect("a path")]);
    assert!(code == Some(1) && said.contains("2 calls not made"), "{said}");
    assert_eq!(kinds(&shell.entries()), ["output"]);
    assert_eq!(shell.service.received().iter().filter(|received| received.tool() == "say").count(), 1);
}

#[test]
fn a_no_of_the_tool_is_a_failure_in_full_too() {
    let shell = Shell::new();
    let no = json!({"content": [{"type": "text", "text": "not today"}], "isError": true});
    shell.file("batch", &json!({"tool": "say", "arguments": {"result": no}}).to_string());
    let (code, said) = shell.append(&["--full"]);
    assert!(code == Some(1) && said.contains("1 of 1 call failed (line 1)"), "{said}");
    assert_eq!(shell.entries()[0]["result"], no);
    let (code, said) = shell.append(&["--full"]);
    assert!(code == Some(1) && said.contains("1 of them in an earlier run"), "{said}");
    assert_eq!(shell.entries().len(), 1);
}

#[test]
fn a_call_that_waited_for_a_rate_limit_when_it_was_interrupted_is_made_by_resume() {
    let limited = AtomicBool::new(true);
    let shell = Shell::with(move |received| match title(received).as_deref() {
        Some("b") if limited.swap(false, Ordering::SeqCst) => {
            Some(Reply::empty(429).header("retry-after", "50"))
        }
        _ => answer(received),
    });
    shell.batch(&["a", "b"]);
    let mut child = shell.appending(&[]).spawn().expect("the binary");
    let mut stderr = awaits_the_limit(&mut child);
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.contains("no call was under way") && !said.contains("may have run"), "{said}");
    let entries = shell.entries();
    assert_eq!(entries[1]["error"]["mayHaveExecuted"], false, "{entries:?}");
    assert_eq!(shell.records(), 0);
    let (code, said) = shell.append(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(shell.called(), [("a", 1), ("b", 2)].map(|(t, n)| (t.to_owned(), n)).into());
}

#[test]
fn a_call_that_waits_for_a_rate_limit_has_not_run_when_it_is_interrupted() {
    let shell = Shell::with(|received| match title(received) {
        Some(_) => Some(Reply::empty(429).header("retry-after", "50")),
        None => answer(received),
    });
    let mut child =
        shell.asistry(&["call", "echo", "title=x"]).stderr(Stdio::piped()).spawn().expect("the binary");
    let mut stderr = awaits_the_limit(&mut child);
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert!(
        said.contains("interrupted before the call was sent") && !said.contains("may have run"),
        "{said}"
    );
}

/// Waits until the command says that it waits for a rate limit.
fn awaits_the_limit(child: &mut Child) -> impl Read + use<> {
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
    let mut line = String::new();
    while !line.contains("limit") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("a line") > 0);
    }
    stderr
}
