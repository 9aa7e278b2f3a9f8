//! Every page in `tests/sessions/`: what a person types, and exactly what comes of it. The pages are the
//! contract of `asistry call`, clause by clause.
//!
//! The real binary, typed into a real shell, with nothing in its environment but a home of its own and the
//! address of a stand-in service, which is shown as `[SERVICE]`. `ASISTRY_SESSIONS=overwrite` writes what came
//! into the pages. On Linux only, whose words for failures of the system stand in the pages.
#![cfg(all(target_os = "linux", feature = "sandbox"))]

mod script;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use self::script::{Came, Script};
use crate::call;
use crate::pasted::{commands, wrong_with};
use crate::support::service::{Received, Reply, Service};

/// A page whose commands speak to the embedded sandbox says so.
const IN_THE_SANDBOX: &str = "<!-- in the sandbox -->";

#[test]
fn every_session_goes_as_it_is_written() {
    let pages = Mutex::new(pages());
    let differing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(page) = { pages.lock().expect("no panic").pop() } {
                    let found = checked(&page);
                    differing.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    let differing = differing.into_inner().expect("no panic");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions");
    let entries = std::fs::read_dir(folder).expect("the folder of sessions");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut pages: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    assert!(pages.len() > 5, "where are the sessions?");
    pages.sort();
    pages
}

/// Plays a page; returns what came otherwise.
fn checked(page: &Path) -> Vec<String> {
    let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(page).expect("a page");
    if text.starts_with(IN_THE_SANDBOX) && !cfg!(feature = "sandbox") {
        return Vec::new();
    }
    let (script, came, wrong) = played(&text);
    let mut differing = differing(&name, &script, &came);
    if std::env::var_os("ASISTRY_SESSIONS").is_some_and(|mode| mode == "overwrite") && !differing.is_empty() {
        std::fs::write(page, script.rewritten(&text, &came)).expect("a page that can be written");
        // A run that wrote has checked nothing.
        return vec![format!("{name} was rewritten: read what changed, and run again")];
    }
    differing.extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}")));
    differing
}

fn differing(name: &str, script: &Script, came: &[String]) -> Vec<String> {
    assert!(!script.steps.is_empty(), "{name} has no command");
    assert_eq!(script.steps.len(), came.len());
    let pairs = script.steps.iter().zip(came).filter(|(step, came)| step.expected != **came);
    pairs
        .map(|(step, came)| {
            let (line, command, expected) = (step.place.start, &step.command, &step.expected);
            format!("{name}:{line}\n$ {command}\n--- expected\n{expected}--- came\n{came}")
        })
        .collect()
}

/// Types every command of a page, one after the other, in one home; and pastes every command that a remedy names.
/// Returns what came, and which of the pasted ones did not work.
fn played(text: &str) -> (Script, Vec<String>, Vec<String>) {
    let script = Script::read(text);
    let home = tempfile::tempdir().expect("a directory");
    for (name, content) in &script.files {
        std::fs::write(home.path().join(name), content).expect("a file");
    }
    let service = (!text.starts_with(IN_THE_SANDBOX)).then(|| Service::start(answer));
    let environment = match &service {
        Some(service) => ("ASISTRY_URL", service.url()),
        None => ("ASISTRY_PROFILE", "sandbox".to_owned()),
    };
    let (mut all, mut wrong, mut pasted) = (Vec::new(), Vec::new(), BTreeSet::new());
    for step in &script.steps {
        let came = typed(&step.command, home.path(), service.as_ref());
        all.push(came.shown());
        for command in commands(&came.stderr) {
            let command = match &service {
                Some(service) => {
                    command.replace("[SERVICE]", service.url().split('/').nth(2).unwrap_or_default())
                }
                None => command,
            };
            if pasted.insert(command.clone()) {
                wrong.extend(wrong_with(&command, home.path(), std::slice::from_ref(&environment)));
            }
        }
    }
    (script, all, wrong)
}

fn typed(command: &str, home: &Path, service: Option<&Service>) -> Came {
    let binary = Path::new(env!("CARGO_BIN_EXE_asistry"));
    let folder = binary.parent().expect("a folder").display();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).current_dir(home).stdin(Stdio::null()).env_clear();
    shell.env("HOME", home).env("PATH", format!("{folder}:/usr/bin:/bin"));
    match service {
        Some(service) => shell.env("ASISTRY_URL", service.url()),
        None => shell.env("ASISTRY_PROFILE", "sandbox"),
    };
    let before = service.map(calls);
    let output = shell.output().expect("a shell");
    let url = service.map(Service::url);
    let authority = url.as_ref().and_then(|url| url.split('/').nth(2));
    let shown = |bytes: &[u8]| {
        let text = call::text(bytes).replace(&*home.to_string_lossy(), "[HOME]");
        authority.map_or(text.clone(), |authority| text.replace(authority, "[SERVICE]"))
    };
    Came {
        code: output.status.code().expect("an end of its own"),
        stdout: shown(&output.stdout),
        stderr: shown(&output.stderr),
        nothing_sent: service.is_some_and(|service| {
            // Other programs of the shell send nothing anyway.
            command.contains("asistry") && Some(calls(service)) == before
        }),
    }
}

fn calls(service: &Service) -> usize {
    service.received().iter().filter(|received| received.method == "tools/call").count()
}

/// `echo` and `say` as in the other tests of calls; `fail` fails in the way that it is asked for.
fn answer(received: &Received) -> Option<Reply> {
    match (received.method.as_str(), received.tool().as_str()) {
        ("tools/list", _) => {
            let mut tools = call::tools();
            let way = json!({"type": "object", "required": ["as"], "properties": {"as": {"type": "string"}}});
            tools.as_array_mut()?.push(json!({"name": "fail", "inputSchema": way}));
            Some(Reply::result(received, json!({ "tools": tools })))
        }
        ("tools/call", "fail") => {
            Some(failed(received, received.message()["params"]["arguments"]["as"].as_str()?))
        }
        _ => call::answer(received),
    }
}

fn failed(received: &Received, way: &str) -> Reply {
    let error = |code: i64, message: &str| {
        let id: Value = serde_json::from_str(&received.id).expect("an id");
        Reply::json(
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": {"n": 1}}}),
        )
    };
    match way {
        "silence" => Reply::never(),
        "elsewhere" => Reply::empty(307).header("location", "http://127.0.0.2:9/mcp"),
        "html" => Reply::status(200, "text/html", "<html>"),
        "limited" => Reply::empty(429).header("retry-after", "7"),
        "limited for a second" => Reply::empty(429).header("retry-after", "1"),
        "limited for no known time" => Reply::empty(429),
        "limited by code" => error(-32029, "slow down"),
        "refused arguments" => error(-32602, "no such workspace"),
        "error" => error(-32050, "the board is frozen"),
        status => {
            let status = status.parse().expect("a way to fail");
            Reply::status(status, "text/plain", "no").header("x-trace-id", "r-42")
        }
    }
}

/// What makes the test above worth anything.
#[test]
fn a_session_that_says_something_else_is_told() {
    const PAGE: &str = "```console
$ asistry call echo titel=x
? 2, nothing sent
2> asistry: echo has no argument titel
2>   try: did you mean title?

$ asistry call echo title=x --jq .title
x
```
";
    let differences = |from: &str, to: &str| {
        let page = PAGE.replacen(from, to, 1);
        assert!(from == to || page != PAGE, "{from} is not there");
        let (script, came, _) = played(&page);
        differing("page", &script, &came).len()
    };
    assert_eq!(differences("", ""), 0);
    for (from, to) in [
        ("? 2", "? 1"),
        (", nothing sent", ""),
        ("2> asistry", "asistry"),
        ("titel\n", "title\n"),
        ("2>   try: did you mean title?\n", ""),
        ("\nx\n", "\ny\n"),
        ("\nx\n", "\n"),
        ("\nx\n", "\nx\nx\n"),
        ("\nx\n", "\n? 0, nothing sent\nx\n"),
        ("title=x", "title=y"),
    ] {
        assert_eq!(differences(from, to), 1, "{from:?} → {to:?}");
    }
}
