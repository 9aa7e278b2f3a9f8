//! The lines that `asistry sandbox` prints to be pasted: each runs in a shell, against that sandbox.
#![cfg(unix)]

use super::zuko::{Browsing, DANA, SCOPES};
use super::*;
use crate::oauth::server::{Browser, get};
use crate::support::home::Home;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// Services in printed order, with a text that their first call shows.
const FIRST_CALLS: [(&str, &str); 5] = [
    ("asistry", "My Workspace"),
    ("zuko", "Globex"),
    ("task-tracking", "Main Street Garage"),
    ("bob-studio", "Website relaunch"),
    ("agentstack", "\"projects\":[]"),
];

/// `asistry sandbox` in a process of its own.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it; returns the indented lines below the name of each service.
fn serve(home: &Home) -> (Served, Vec<(String, Vec<String>)>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.args(["sandbox", "--memory", "--listen", "127.0.0.1:0"]);
    command.env_clear().envs(home.environment()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut served = Served(command.spawn().unwrap());
    let mut printed: Vec<(String, Vec<String>)> = Vec::new();
    for line in BufReader::new(served.0.stderr.take().unwrap()).lines() {
        match line.unwrap() {
            line if line == "Ctrl-C ends it." => break,
            line if line.starts_with("  ") => printed.last_mut().unwrap().1.push(line.trim().to_owned()),
            line if FIRST_CALLS.iter().any(|(service, _)| *service == line) => {
                printed.push((line, Vec::new()))
            }
            line => assert!(line.is_empty() || line.ends_with(':'), "{line}"),
        }
    }
    (served, printed)
}

/// Runs lines in one shell; the person allows everything in each window that a login opens.
fn paste(home: &Home, browser: &Browser, lines: &[String]) -> Output {
    let folder = Path::new(env!("CARGO_BIN_EXE_asistry")).parent().unwrap().display();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("set -e\n{}", lines.join("\n"))]).env_clear().envs(home.environment());
    shell.env("PATH", format!("{folder}:/usr/bin:/bin")).env("BROWSER", &browser.command);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shell = shell.spawn().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in lines.iter().filter(|line| line.contains("asistry login")) {
        let window = browser.opens();
        let address = *window.socket_addrs(|| None).unwrap().first().unwrap();
        let fields: Vec<_> = window.query_pairs().into_owned().collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let callback = runtime.block_on(Browsing::at(address).allows(&fields, (DANA, &SCOPES)));
        assert_eq!(get(&url::Url::parse(&callback).unwrap()).0.0, 200);
    }
    shell.wait_with_output().unwrap()
}

#[test]
fn the_two_lines_of_each_service_work_in_a_new_shell_and_all_of_them_in_one() {
    let home = Home::new();
    let browser = Browser::in_directory(home.path());
    let (_served, printed) = serve(&home);
    let services: Vec<_> = printed.iter().map(|(service, lines)| (service.as_str(), lines.len())).collect();
    assert_eq!(services, FIRST_CALLS.map(|(service, _)| (service, 2)));
    let shows = |output: &Output, shown: &str| {
        let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{said}");
        let out: String = out.split_whitespace().collect();
        let shown: String = shown.split_whitespace().collect();
        assert!(out.contains(&shown), "{shown}: {out}{said}");
    };
    for ((_, lines), (_, shown)) in printed.iter().zip(FIRST_CALLS) {
        shows(&paste(&home, &browser, lines), shown);
    }
    let forward = printed.iter().flat_map(|(_, lines)| lines);
    let backward = printed.iter().rev().flat_map(|(_, lines)| lines);
    let output = paste(&home, &browser, &forward.chain(backward).cloned().collect::<Vec<_>>());
    FIRST_CALLS.iter().for_each(|(_, shown)| shows(&output, shown));
}
