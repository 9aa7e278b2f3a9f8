//! Other clients for the command line, as they are installed in the directory `ASISTRY_BENCH_NODE`.
//!
//! Refuses to install anything: `clients.txt` says what to install. Each makes the call in the way its own manual
//! gives for a single call of a service at a URL.

use std::path::Path;

use crate::messages::{NOTE, TASK};
use crate::oneshot::{AtLast, Contender, Line};

/// They take a second and more each.
const ROUNDS: usize = 5;
const DIRECTORY: &str = "ASISTRY_BENCH_NODE";

/// Returns those that are installed.
pub fn contenders(port: u16, home: &Path) -> Vec<Contender> {
    let Some(directory) = std::env::var_os(DIRECTORY).map(std::path::PathBuf::from) else {
        return Vec::new();
    };
    let home = home.join("node");
    std::fs::create_dir_all(&home).expect("a directory");
    let programs = directory.join("node_modules/.bin");
    // A Node among the packages comes before that of the system.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs.clone()].into_iter().chain(std::env::split_paths(&path)));
    let environment = vec![("PATH", path.expect("a path")), ("HOME", home.into_os_string())];
    let line = |words: &[&str]| Line { environment: environment.clone(), ..Line::new(words) };
    let url = format!("http://127.0.0.1:{port}/mcp");
    let [task, note] = [format!("task={TASK}"), format!("note={NOTE}")];
    let of_mcpc = |session: &str| format!("mcpc {session} tools-call json 'task:={TASK}' 'note:={NOTE}'");
    // A single call takes three processes: they make a session, use it and close it.
    let once = format!("mcpc connect {url} @once && {} && mcpc close @once", of_mcpc("@once"));
    let mcporter = ["mcporter", "call", "--allow-http", "--http-url", &url, "--tool", "json", &task, &note];
    let inspector = ["mcp-inspector", "--cli", &url, "--method", "tools/call", "--tool-name", "json"];
    let inspector = [&inspector[..], &["--tool-arg", &task, &note]].concat();
    let kept = of_mcpc("@kept");
    let all = [
        ("mcporter", Contender::any("mcporter", line(&mcporter))),
        ("mcp-inspector", Contender::any("Inspector, `--cli`", line(&inspector))),
        ("mcpc", Contender::any("mcpc, connect and call and close", line(&["sh", "-c", &once]))),
        (
            "mcpc",
            Contender {
                before: Some(line(&["mcpc", "connect", &url, "@kept"])),
                _after: Some(AtLast(line(&["mcpc", "close", "@kept"]))),
                ..Contender::any(
                    "mcpc, the call alone (a process in the background holds the session)",
                    line(&["sh", "-c", &format!("exec {kept}")]),
                )
            },
        ),
    ];
    let is_there = |(program, _): &(&str, Contender)| {
        let is = programs.join(program).exists();
        if !is {
            eprintln!("cargo bench: {program} is not installed in {}", directory.display());
        }
        is
    };
    let all = all.into_iter().filter(is_there);
    all.map(|(_, contender)| Contender { rounds: ROUNDS, ..contender }).collect()
}
