//! A tool that requires a task is run as one: polled, shown, asked about, cancelled; called once.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{Shell, answer, text};
use crate::support::service::{Received, Reply};

/// The JSON of an entry of the list of tools.
fn research() -> Value {
    json!({"name": "research", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}})
}

fn task(status: &str, said: &str) -> Value {
    json!({"taskId": "t-1", "status": status, "statusMessage": said, "ttl": 60000, "pollInterval": 10,
        "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"})
}

fn error(received: &Received, code: i64, why: &str) -> Reply {
    Reply::json(
        json!({"jsonrpc": "2.0", "id": received.message()["id"], "error": {"code": code, "message": why}}),
    )
}

/// A service with a tool whose task passes through these states, one for each `tasks/get`, the last one for ever.
fn tasked(states: &'static [(&'static str, &'static str)], result: Value) -> Shell {
    let asked = AtomicUsize::new(0);
    Shell::with(move |received| match received.method.as_str() {
        "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
        "tools/call" if received.message()["params"]["task"] != json!({}) => {
            Some(error(received, -32601, "Tool research requires task augmentation"))
        }
        "tools/call" => Some(Reply::result(received, json!({"task": task("working", "begun")}))),
        "tasks/get" => {
            let (status, said) = states[asked.fetch_add(1, Ordering::Relaxed).min(states.len() - 1)];
            Some(Reply::result(received, task(status, said)))
        }
        "tasks/result" => Some(Reply::result(received, &result)),
        "tasks/cancel" => Some(Reply::result(received, task("cancelled", "as you wish"))),
        _ => answer(received),
    })
}

fn done() -> Value {
    json!({"content": [{"type": "text", "text": "a report"}],
        "_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t-1"}}})
}

fn count(shell: &Shell, method: &str) -> usize {
    shell.service.received().iter().filter(|received| received.method == method).count()
}

fn is_about_the_task(received: &Received, method: &str) -> bool {
    received.method == method && received.message()["params"]["taskId"] == "t-1"
}

#[test]
fn a_tool_that_requires_a_task_runs_to_its_result() {
    let shell = tasked(&[("working", "half"), ("completed", "")], done());
    assert_eq!(shell.prints(&["call", "research"]), "a report\n");
    assert_eq!((count(&shell, "tools/call"), count(&shell, "tasks/get")), (1, 2));
    shell.service.awaits("its result", |received| is_about_the_task(received, "tasks/result"));
    // Also with the list that is remembered.
    assert_eq!(shell.prints(&["call", "research"]), "a report\n");
    assert_eq!((count(&shell, "tools/call"), count(&shell, "tools/list")), (2, 1));
    assert_eq!(count(&shell, "tasks/cancel"), 0);
}

#[test]
fn a_tool_that_requires_a_task_by_now_is_known_to_do_so_the_next_time() {
    let listed = AtomicUsize::new(0);
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/list" if listed.fetch_add(1, Ordering::Relaxed) == 0 => {
            let before = json!({"name": "research", "inputSchema": {"type": "object"}});
            Some(Reply::result(received, json!({"tools": [before]})))
        }
        "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
        "tools/call" if received.message()["params"]["task"].is_null() => {
            Some(error(received, -32601, "Tool research requires task augmentation"))
        }
        "tools/call" => Some(Reply::result(received, json!({"task": task("completed", "")}))),
        "tasks/result" => Some(Reply::result(received, done())),
        _ => answer(received),
    });
    // Its list is read here, and is old at the second call.
    shell.fails(&["call", "research"], 1);
    assert!(shell.fails(&["call", "research"], 1).contains("call it again"));
    assert_eq!(shell.prints(&["call", "research"]), "a report\n");
}

#[test]
fn a_failed_task_gives_its_result_or_its_error() {
    let failed = json!({"content": [{"type": "text", "text": "no sources"}], "isError": true});
    let shell = tasked(&[("failed", "it failed")], failed);
    assert!(shell.fails(&["call", "research"], 1).contains("no sources"));

    let shell = tasked(&[("cancelled", "nobody wants it")], done());
    let said = shell.fails(&["call", "research"], 1);
    assert!(said.contains("cancelled the task: nobody wants it"), "{said}");
    assert_eq!(count(&shell, "tasks/result"), 0);
}

#[test]
fn a_service_that_makes_no_task_of_it_is_taken_at_its_result() {
    let shell = Shell::with(|received| match received.method.as_str() {
        "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
        _ => answer(received),
    });
    assert_eq!(shell.prints(&["call", "research"]), "done\n");
    assert_eq!((count(&shell, "tools/call"), count(&shell, "tasks/get")), (1, 0));
}

#[test]
fn a_task_that_cannot_be_followed_is_in_doubt() {
    for begun in [json!({"taskId": 5, "status": "working"}), json!({"status": "working"})] {
        let shell = Shell::with(move |received| match received.method.as_str() {
            "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
            "tools/call" => Some(Reply::result(received, json!({"task": begun}))),
            _ => answer(received),
        });
        assert!(shell.fails(&["call", "research"], 7).contains("cannot be followed"));
        assert_eq!((count(&shell, "tools/call"), count(&shell, "tasks/get")), (1, 0));
    }
    let shell = tasked(&[("completed", "")], json!({"task": task("working", "")}));
    assert!(shell.fails(&["call", "research"], 7).contains("cannot be followed"));
}

#[test]
fn a_task_that_is_lost_is_in_doubt_and_not_begun_again() {
    for lost in ["tasks/get", "tasks/result"] {
        let shell = Shell::with(move |received| match received.method.as_str() {
            method if method == lost => Some(error(received, -32603, "where is it?")),
            "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
            "tools/call" => Some(Reply::result(received, json!({"task": task("working", "begun")}))),
            "tasks/get" => Some(Reply::result(received, task("completed", ""))),
            "tasks/cancel" => Some(Reply::result(received, task("cancelled", ""))),
            _ => answer(received),
        });
        let output = shell.run(&["call", "research", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{lost}: {}", text(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(said["error"]["message"], "where is it?", "{said}");
        assert_eq!(count(&shell, "tools/call"), 1, "{lost}");
        assert_eq!(count(&shell, "tasks/cancel"), usize::from(lost == "tasks/get"));
    }
}

/// Sends Ctrl-C to a call whose task is polled, and awaits the cancellation of the task.
#[cfg(unix)]
fn interrupt_while_polled(shell: &Shell) {
    let mut command = shell.asistry(&["call", "research"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    shell.service.awaits("a poll", |received| is_about_the_task(received, "tasks/get"));
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    shell.service.awaits("its end", |received| is_about_the_task(received, "tasks/cancel"));
}

#[cfg(unix)]
#[test]
fn an_interruption_and_max_time_cancel_the_task() {
    let shell = tasked(&[("working", "")], done());
    interrupt_while_polled(&shell);
    shell.service.awaits("the end of the session", |received| received.verb == "DELETE");

    let shell = tasked(&[("working", "")], done());
    let said = shell.fails(&["call", "research", "--max-time", "1s"], 6);
    assert!(said.contains("within 1 s"), "{said}");
    shell.service.awaits("its end", |received| is_about_the_task(received, "tasks/cancel"));
}

#[test]
fn tasks_of_a_batch_run_side_by_side() {
    let shell = tasked(&[("working", "half"), ("working", "half"), ("completed", "")], done());
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, "{\"tool\":\"research\"}\n{\"tool\":\"research\",\"arguments\":{\"a\":1}}\n")
        .expect("a file");
    let printed = shell.prints(&["call", "--batch", batch.to_str().expect("a path"), "--jobs", "2", "-q"]);
    assert_eq!(printed.matches("\"result\":\"a report\"").count(), 2, "{printed}");
    assert_eq!((count(&shell, "tools/call"), count(&shell, "tasks/result")), (2, 2));
}

/// A stateless service whose task is at work until it is polled this often.
fn stateless(polls: usize) -> Shell {
    let asked = AtomicUsize::new(0);
    let state = |kind: &str, status: &str| {
        json!({"resultType": kind, "taskId": "t-1", "status": status, "statusMessage": "half", "ttlMs": null,
            "createdAt": "2026-08-01T00:00:00Z", "lastUpdatedAt": "2026-08-01T00:00:00Z", "pollIntervalMs": 10})
    };
    Shell::with(move |received| {
        match received.method.as_str() {
        "server/discover" => Some(Reply::result(
            received,
            json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
        )),
        "tools/list" => Some(Reply::result(
            received,
            json!({"resultType": "complete", "tools": [{"name": "research", "inputSchema": {"type": "object"}}]}),
        )),
        "tools/call" => Some(Reply::result(received, state("task", "working"))),
        "tasks/get" if asked.fetch_add(1, Ordering::Relaxed) < polls => {
            Some(Reply::result(received, state("complete", "working")))
        }
        "tasks/get" => {
            let mut state = state("complete", "completed");
            state["result"] = json!({"content": [{"type": "text", "text": "a report"}]});
            Some(Reply::result(received, state))
        }
        "tasks/cancel" => Some(Reply::result(received, json!({"resultType": "complete"}))),
        _ => Some(Reply::status(400, "application/json", json!({"jsonrpc": "2.0", "id": received.message()["id"],
            "error": {"code": -32022, "message": "?", "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"}}}).to_string())),
    }
    })
}

#[test]
fn ping_names_the_era_of_a_stateless_service() {
    let shell = stateless(0);
    let said = shell.prints(&["ping"]);
    assert!(said.contains("protocol 2026-07-28 (modern)"), "{said}");
}

#[test]
fn a_task_of_a_stateless_service_runs_to_its_result() {
    let shell = stateless(1);
    assert_eq!(shell.prints(&["call", "research"]), "a report\n");
    assert_eq!((count(&shell, "tools/call"), count(&shell, "tasks/get")), (1, 2));
    let poll = shell.service.awaits("a poll", |received| is_about_the_task(received, "tasks/get"));
    assert_eq!((poll.header("mcp-method"), poll.header("mcp-name")), (Some("tasks/get"), Some("t-1")));
}

#[cfg(unix)]
#[test]
fn an_interruption_and_max_time_cancel_the_task_of_a_stateless_service() {
    let shell = stateless(usize::MAX);
    interrupt_while_polled(&shell);

    let shell = stateless(usize::MAX);
    let said = shell.fails(&["call", "research", "--max-time", "1s"], 6);
    assert!(said.contains("within 1 s"), "{said}");
    shell.service.awaits("its end", |received| is_about_the_task(received, "tasks/cancel"));
}

#[cfg(target_os = "linux")]
mod terminal {
    use serde_json::json;

    use super::{answer, done, research, stateless, task, tasked};
    use crate::call::Shell;
    use crate::support::service::{Gate, Reply};
    use crate::support::terminal::Terminal;

    fn seated(shell: &Shell, arguments: &[&str]) -> Terminal {
        let mut command = shell.asistry(arguments);
        command.env("TERM", "xterm");
        Terminal::start_piped(command)
    }

    #[test]
    fn what_a_task_says_of_itself_is_shown() {
        let shell = tasked(&[("working", "half \u{1b}[31mdone"), ("completed", "")], done());
        let mut seated = seated(&shell, &["call", "research"]);
        seated.awaits("begun");
        seated.awaits("half");
        let left = seated.leaves();
        assert_eq!((left.code, left.printed.as_str()), (0, "a report\n"), "{}", left.said);
        assert!(!left.said.contains("\u{1b}[31m"), "{:?}", left.said);
    }

    #[test]
    fn what_the_task_of_a_stateless_service_says_of_itself_is_shown() {
        let shell = stateless(1);
        let mut seated = seated(&shell, &["call", "research"]);
        seated.awaits("half");
        assert_eq!(seated.leaves().code, 0);
    }

    #[test]
    fn what_a_task_asks_is_a_form() {
        let gate = Gate::default();
        let answered = gate.clone();
        let shell = Shell::with(move |received| match received.method.as_str() {
            "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
            "tools/call" => Some(Reply::result(received, json!({"task": task("working", "begun")}))),
            "tasks/get" => Some(Reply::result(received, task("input_required", "asking"))),
            "tasks/result" => {
                let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
                    "message": "Which?", "requestedSchema": {"type": "object", "properties": {"which": {"type": "string"}}},
                    "_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t-1"}}}});
                let result = json!({"jsonrpc": "2.0", "id": received.message()["id"], "result": done()});
                Some(Reply::events([question]).then(&gate, result))
            }
            _ => {
                if received.id == "\"q\"" {
                    answered.open();
                }
                answer(received)
            }
        });
        let mut seated = seated(&shell, &["call", "research"]);
        seated.answers("Answer it? [yes/decline]", "yes");
        seated.answers("which (string) [none]:", "that");
        seated.answers("Send it? [yes/edit/decline]", "yes");
        let left = seated.leaves();
        assert_eq!((left.code, left.printed.as_str()), (0, "a report\n"), "{}", left.said);
        let heard = shell.service.awaits("an answer", |received| received.id == "\"q\"").message();
        assert_eq!(heard["result"], json!({"action": "accept", "content": {"which": "that"}}));
    }

    #[test]
    fn ctrl_c_in_the_form_of_a_task_cancels_it() {
        let shell = Shell::with(|received| match received.method.as_str() {
            "tools/list" => Some(Reply::result(received, json!({"tools": [research()]}))),
            "tools/call" => Some(Reply::result(received, json!({"task": task("input_required", "asking")}))),
            "tasks/result" => {
                let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
                    "message": "Which?", "requestedSchema": {"type": "object", "properties": {"which": {"type": "string"}}}}});
                Some(Reply::events([question]).stalled())
            }
            "tasks/cancel" => Some(Reply::result(received, task("cancelled", ""))),
            _ => answer(received),
        });
        let mut seated = seated(&shell, &["call", "research"]);
        seated.awaits("Answer it? [yes/decline]");
        seated.types("\u{3}");
        let left = seated.leaves();
        assert_eq!((left.code, left.printed.as_str()), (130, ""), "{}", left.said);
        shell.service.awaits("its end", |received| received.method == "tasks/cancel");
    }
}
