//! A person at a terminal is asked; the terminal is a real one (a pty).

use std::process::Command;

use serde_json::json;

use super::{Home, WORK};
use crate::support::service::{Reply, Service};
use crate::support::terminal::Terminal;

/// Runs with a terminal as stdin and stderr; types each answer when its question has come.
fn at_a_terminal(home: &Home, arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.args(arguments).env_clear().env("HOME", home.0.path());
    command.env("ASISTRY_CONFIG_DIR", home.directory());
    let mut seated = Terminal::start_piped(command);
    for (question, answer) in answers {
        seated.answers(question, answer);
    }
    let left = seated.leaves();
    (left.code, left.said)
}

#[test]
fn what_is_missing_is_asked_for_until_it_fits() {
    let home = Home::new();
    let answers = [
        ("Which service (", "task-tracking"),
        ("shop.example)? ", "ftp://h"),
        ("shop.example)? ", "https://h"),
        ("workspace)? ", "7"),
    ];
    let (code, said) = at_a_terminal(&home, &["profiles", "add", "work"], &answers);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("neither http nor https"), "{said}");
    assert_eq!(home.text(), WORK);
}

#[test]
fn a_profile_is_removed_after_a_yes_only() {
    let home = Home::with(WORK);
    let question = "Remove the profile work? [y/N] ";
    let (code, _) = at_a_terminal(&home, &["profiles", "remove", "work"], &[(question, "")]);
    assert_eq!((code, home.text().as_str()), (1, WORK));
    let (code, said) = at_a_terminal(&home, &["profiles", "remove", "work", "--no-input"], &[]);
    assert_eq!(code, 2, "{said}");
    let (code, said) = at_a_terminal(&home, &["profiles", "remove", "work"], &[(question, "y")]);
    assert_eq!((code, home.text().as_str()), (0, ""), "{said}");
}

#[test]
fn an_era_that_a_profile_forces_is_told_after_an_opening_that_was_refused() {
    let service = Service::start(|received| {
        let id = received.message()["id"].clone();
        let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "no session"}});
        (!id.is_null()).then(|| Reply::status(400, "application/json", error.to_string()))
    });
    let url = service.url();
    let home = Home::with(&format!("[profiles.work]\nservice = 'mcp'\nurl = '{url}'\nera = 'modern'\n"));
    let (code, said) = at_a_terminal(&home, &["-p", "work", "call", "echo", "title=x"], &[]);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("does not speak the modern era, which profile work forces: no session"), "{said}");
}
