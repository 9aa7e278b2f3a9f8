//! Questions of a stateless service (`input_required`): between two rounds nothing runs there.

use serde_json::{Value, json};

use super::Shell;
use crate::support::service::{Received, Reply};

/// The answer of a service to a request whose version it does not speak.
fn refusal(received: &Received, supported: &str) -> Reply {
    let data = json!({"supported": [supported], "requested": "2025-11-25"});
    let error = json!({"code": -32022, "message": "?", "data": data});
    let answer = json!({"jsonrpc": "2.0", "id": received.message()["id"], "error": error});
    Reply::status(400, "application/json", answer.to_string())
}

/// A stateless service whose `ask` answers with this at first.
fn asking(first: Value) -> Shell {
    let described =
        json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}});
    let listed =
        json!({"resultType": "complete", "tools": [{"name": "ask", "inputSchema": {"type": "object"}}]});
    Shell::with(move |received| {
        let result = match received.method.as_str() {
            "server/discover" => described.clone(),
            "tools/list" => listed.clone(),
            "tools/call" => first.clone(),
            "tasks/get" => {
                let mut state = first.clone();
                state["resultType"] = json!("complete");
                state
            }
            "tasks/cancel" | "tasks/update" => json!({"resultType": "complete"}),
            _ => return Some(refusal(received, "2026-07-28")),
        };
        Some(Reply::result(received, result))
    })
}

fn question(method: &str) -> Value {
    let params = json!({"message": "Which?", "requestedSchema": {"type": "object", "properties": {}}});
    json!({"resultType": "input_required", "inputRequests": {"k": {"method": method, "params": params}}})
}

fn task(status: &str) -> Value {
    json!({"resultType": "task", "taskId": "t-1", "status": status, "pollIntervalMs": 10,
        "inputRequests": {"k": {"method": "elicitation/create", "params": {"message": "Which?",
            "requestedSchema": {"type": "object", "properties": {}}}}}})
}

#[test]
fn a_question_that_cannot_be_asked_says_why_and_blames_no_service() {
    for (method, options, said, tried) in [
        (
            "elicitation/create",
            &[][..],
            "the service asks a question, and there is no terminal to ask on",
            "try: run it on a terminal, without --no-input or --batch",
        ),
        (
            "sampling/createMessage",
            &[],
            "asistry call cannot answer sampling/createMessage",
            "try: use an MCP client that offers sampling, with asistry bridge",
        ),
        (
            "roots/list",
            &[],
            "asistry call cannot answer roots/list",
            "try: use an MCP client that offers roots, with asistry bridge",
        ),
    ] {
        let words = [&["call", "ask"][..], options].concat();
        let told = asking(question(method)).fails(&words, 1);
        assert!(told.contains(said) && told.contains(tried), "{method}: {told}");
        let told = asking(question(method)).fails(&[&words[..], &["--json"]].concat(), 1);
        assert!(told.contains(r#""kind":"service_error""#), "{method}: {told}");
    }
}

#[test]
fn a_service_of_a_later_version_only_is_named_with_the_next_step() {
    let shell = Shell::with(|received| Some(refusal(received, "2027-01-01")));
    let told = shell.fails(&["ping"], 7);
    assert!(told.contains("the service speaks 2027-01-01 only, and asistry 2026-07-28"), "{told}");
    assert!(told.contains("try: look for a newer asistry"), "{told}");
}

#[test]
fn a_task_that_outlasts_max_time_is_named() {
    let shell = asking(task("working"));
    let told = shell.fails(&["call", "ask", "--max-time", "1s"], 6);
    assert!(told.contains("the task did not end within 1 s"), "{told}");
    shell.service.awaits("its end", |received| received.method == "tasks/cancel");
}

#[cfg(target_os = "linux")]
mod terminal {
    use super::{asking, question, task};
    use crate::call::Shell;
    use crate::support::terminal::Terminal;

    fn seated(shell: &Shell, options: &[&str]) -> Terminal {
        let mut command = shell.asistry(&[&["call", "ask"][..], options].concat());
        command.env("TERM", "xterm");
        Terminal::start_piped(command)
    }

    #[test]
    fn without_input_a_question_says_that_it_is_switched_off() {
        let left = seated(&asking(question("elicitation/create")), &["--no-input"]).leaves();
        assert_eq!(left.code, 1, "{}", left.said);
        assert!(left.said.contains("the service asks a question, and --no-input is given"), "{}", left.said);
    }

    #[test]
    fn ctrl_c_in_a_question_says_what_runs_at_the_service() {
        let interrupted_in = |shell: &Shell, said: &str| {
            let mut leaving = seated(shell, &[]);
            leaving.awaits("Answer it? [yes/decline]");
            leaving.types("\u{3}");
            let left = leaving.leaves();
            assert_eq!(left.code, 130, "{}", left.said);
            assert!(left.said.contains(said), "{}", left.said);
        };
        let shell = asking(question("elicitation/create"));
        interrupted_in(&shell, "interrupted; nothing is running at the service");
        let calls =
            shell.service.received().iter().filter(|received| received.method == "tools/call").count();
        assert_eq!(calls, 1);

        let shell = asking(task("input_required"));
        interrupted_in(&shell, "interrupted; the request is cancelled at the service");
        shell.service.awaits("its end", |received| received.method == "tasks/cancel");
    }

    #[test]
    fn a_question_that_outlasts_max_time_is_named() {
        for first in [question("elicitation/create"), task("input_required")] {
            let shell = asking(first);
            let mut late = seated(&shell, &["--max-time", "1s"]);
            late.awaits("Answer it? [yes/decline]");
            let left = late.leaves();
            assert_eq!(left.code, 6, "{}", left.said);
            assert!(left.said.contains("the question was not answered within 1 s"), "{}", left.said);
        }
    }
}
