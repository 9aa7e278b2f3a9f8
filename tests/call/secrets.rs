//! What becomes of the key where a service repeats it, and what GitHub Actions is told.

use std::process::Output;

use serde_json::{Value, json};

use super::{Shell, answer, text};
use crate::support::service::Reply;

const KEY: &str = "key-that-nobody-may-see";

/// A service that repeats the key wherever it can.
fn telltale() -> Shell {
    Shell::with(|received| {
        let key = received.header("authorization").unwrap_or_default().to_owned();
        match (received.method.as_str(), received.tool().as_str()) {
            ("tools/call", "say") => {
                let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": key}});
                let result = json!({"content": [{"type": "text", "text": format!("you came with {key}")}],
                    "structuredContent": {"key": key}});
                let id: Value = serde_json::from_str(&received.id).expect("an id");
                Some(Reply::events([log, json!({"jsonrpc": "2.0", "id": id, "result": result})]))
            }
            ("tools/call", _) => Some(Reply::json(format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32000,"message":"not with {key}\nbut 100% else"}}}}"#,
                received.id
            ).replace('\n', "\\n"))),
            ("resources/read", _) => {
                Some(Reply::result(received, json!({"contents": [{"uri": "a", "text": key}]})))
            }
            _ => answer(received),
        }
    })
}

fn run(shell: &Shell, words: &[&str], in_actions: bool) -> Output {
    let mut command = shell.asistry(words);
    command.env("ASISTRY_API_KEY", KEY);
    if in_actions {
        command.env("GITHUB_ACTIONS", "true");
    }
    command.output().expect("the binary")
}

#[test]
fn a_key_that_the_service_repeats_is_masked() {
    let shell = telltale();
    for words in [
        &["call", "say"][..],
        &["call", "say", "--json", "--full"],
        &["call", "say", "--jq", ".key"],
        &["call", "echo", "title=x"],
        &["call", "echo", "title=x", "--json"],
        &["resources", "read", "a"],
    ] {
        for in_actions in [false, true] {
            let output = run(&shell, words, in_actions);
            let all = text(&output.stdout) + &text(&output.stderr);
            assert!(!all.contains(KEY) && all.contains("MASKED"), "{words:?}: {all}");
        }
    }
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, r#"{"tool":"say"}"#).expect("a file");
    let output = run(&shell, &["call", "--batch", batch.to_str().expect("a path")], false);
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(!all.contains(KEY) && all.contains("MASKED"), "{all}");
}

#[test]
fn whoever_wants_it_sees_it_and_the_log_of_github_actions_does_not() {
    let shell = telltale();
    let shown = run(&shell, &["call", "say", "--reveal", "--jq", ".key"], false);
    assert_eq!(text(&shown.stdout), format!("Bearer {KEY}\n"));
    assert!(!text(&shown.stderr).contains("::add-mask::"));
    let masked = run(&shell, &["call", "say", "--reveal", "--jq", ".key"], true);
    assert_eq!(text(&masked.stdout), format!("Bearer {KEY}\n"));
    let told = text(&masked.stderr);
    assert!(told.lines().any(|line| line == format!("::add-mask::{KEY}")), "{told}");
    let silent = run(&shell, &["call", "echo", "title=x", "--reveal", "--no-check", "n=1"], false);
    assert_eq!(silent.status.code(), Some(1));
}

#[test]
fn a_failure_is_an_annotation_of_github_actions() {
    let shell = telltale();
    let output = run(&shell, &["call", "echo", "title=x"], true);
    let said = text(&output.stderr);
    let annotation =
        said.lines().find(|line| line.starts_with("::error title=asistry::")).expect("an annotation");
    assert!(annotation.contains("not with MASKED%0Abut 100%25 else"), "{annotation}");
    assert!(!text(&run(&shell, &["call", "echo", "title=x"], false).stderr).contains("::error"));
}
