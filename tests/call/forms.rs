//! How arguments are typed, and what is refused before anything is sent.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use super::{Shell, answer, text};
use crate::support::service::Reply;

#[test]
fn every_form_of_an_argument_reaches_the_tool_with_its_type() {
    let shell = Shell::new();
    let file = shell.home.path().join("note.txt");
    std::fs::write(&file, "from a file\n").expect("a file");
    let (at, raw) = (format!("title=@{}", file.display()), "filter:={\"by\":\"a\"}");
    assert_eq!(
        shell.echo(&[
            "title=a=b",
            "count=5",
            "ratio=-1.5",
            "done=true",
            "status=todo",
            "labels=x",
            "labels=y"
        ]),
        json!({"title": "a=b", "count": 5, "ratio": -1.5, "done": true, "status": "todo", "labels": ["x", "y"]})
    );
    assert_eq!(shell.echo(&[&at, raw]), json!({"title": "from a file\n", "filter": {"by": "a"}}));
    assert_eq!(shell.echo(&["title=@@bob", "labels:=[\"a\"]"]), json!({"title": "@bob", "labels": ["a"]}));
    assert_eq!(
        shell.echo(&["--title", "x", "--due-date", "2026-01-01", "--count=2", "--done", "--ratio", "-2"]),
        json!({"title": "x", "due_date": "2026-01-01", "count": 2, "done": true, "ratio": -2})
    );
    assert_eq!(shell.echo(&["title=x", "json=y"]), json!({"title": "x", "json": "y"}));
    assert_eq!(
        shell.echo(&["--args", r#"{"title":"x","count":1}"#, "count=2"]),
        json!({"title": "x", "count": 2})
    );
    assert_eq!(shell.echo(&["title=x", "due_date=null"]), json!({"title": "x", "due_date": "null"}));
}

#[test]
fn standard_input_can_be_one_argument_or_all_of_them() {
    let shell = Shell::new();
    let piped = |arguments: &[&str], input: &str| {
        let mut child = shell
            .asistry(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("input");
        child.wait_with_output().expect("an end")
    };
    let one = piped(&["call", "echo", "title=@-", "--jq", ".title"], "typed");
    assert_eq!(text(&one.stdout), "typed\n", "{}", text(&one.stderr));
    let all = piped(&["call", "echo", "--args", "-", "--jq", ".title"], r#"{"title":"all"}"#);
    assert_eq!(text(&all.stdout), "all\n", "{}", text(&all.stderr));
    let twice = piped(&["call", "echo", "title=@-", "json=@-"], "x");
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("read already"), "{}", text(&twice.stderr));
}

#[test]
fn options_of_asistry_may_stand_anywhere() {
    let shell = Shell::new();
    for arguments in [
        ["call", "--jq", ".title", "echo", "title=x"],
        ["call", "echo", "--jq", ".title", "title=x"],
        ["call", "echo", "title=x", "--jq", ".title"],
    ] {
        assert_eq!(shell.prints(&arguments), "x\n", "{arguments:?}");
    }
    assert_eq!(shell.prints(&["call", "echo", "--jq=.json", "--", "title=x", "--json", "y"]), "y\n");
}

#[test]
fn what_cannot_be_right_is_refused_before_the_tool_is_called() {
    let shell = Shell::new();
    for (words, said) in [
        (&["call", "ecko", "title=x"][..], "did you mean echo?"),
        (&["call", "echo", "titel=x"], "did you mean title?"),
        (&["call", "echo"], "echo needs title (string)"),
        (&["call", "echo", "title=x", "count=many"], "count must be integer, not “many”"),
        (&["call", "echo", "title=x", "count=0"], "count must be at least 1"),
        (&["call", "echo", "title=x", "status=tood"], "did you mean todo?"),
        (&["call", "echo", "title=x", "filter:={\"by\":\"c\"}"], "filter.by must be one of \"a\" | \"b\""),
        (&["call", "echo", "title=x", "title=y"], "given twice"),
        (&["call", "echo", "title=x", "labels:=["], "not JSON"),
        (&["call", "echo", "title=@/no/such/file"], "cannot be read"),
        (&["call", "echo", "title=x", "--fulll"], "did you mean the option --full?"),
        (&["call", "echo", "title=x", "--jq", ".["], "not a jq expression"),
        (&["call", "--jsno", "echo"], "--jsno"),
        (&["call"], "TOOL"),
    ] {
        let told = shell.fails(words, 2);
        assert!(told.contains(said), "{words:?}: {told}");
    }
    let called = shell.service.received().iter().any(|received| received.method == "tools/call");
    assert!(!called, "a wrong call was sent");
}

#[test]
fn unchecked_it_is_sent_as_typed() {
    let shell = Shell::new();
    let sent = shell.echo(&["--no-check", "count=many", "other=1"]);
    assert_eq!(sent, json!({"count": "many", "other": "1"}));
}

#[test]
fn a_tool_explains_itself() {
    let shell = Shell::new();
    for arguments in [&["call", "echo", "--help"][..], &["tools", "show", "echo"]] {
        let help = shell.prints(arguments);
        for part in [
            "Gives back what it got.",
            "title     string, required",
            "What it is called.",
            "count     integer, default 3",
            "\"todo\" | \"in_progress\" | \"done\"",
            "array of string",
            "asistry call echo --url http",
            " title=text",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }
}

#[test]
fn a_tool_shows_limits_nested_fields_and_its_result() {
    let tool = json!({
        "name": "deep", "execution": {"taskSupport": "optional"},
        "annotations": {"destructiveHint": true},
        "inputSchema": {"properties": {
            "code": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
            "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "items": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer", "exclusiveMinimum": 0, "description": "How many."},
            }}},
        }},
        "outputSchema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string", "format": "uuid"}}},
    });
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/list" => Some(Reply::result(received, json!({"tools": [tool]}))),
        _ => answer(received),
    });
    let refused = shell.run(&["call", "deep", "day=tomorrow"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = super::text(&refused.stderr);
    assert!(said.contains("day must be a date such as 2026-12-31"), "{said}");
    assert!(shell.service.received().iter().all(|received| received.method != "tools/call"));
    let shown = shell.prints(&["tools", "show", "deep"]);
    for part in [
        "destructive, task",
        "string, 2 to 4 characters, pattern ^[a-z]+$",
        "string or null, format date",
        "array of object, at least 1 items",
        "n: integer, required, more than 0",
        "How many.",
        "Result:\n  id  string, required, format uuid",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
