//! The real client: a login through the pages, then calls, a bridge, a refresh, a revocation.
#![cfg(unix)]

use super::*;
use crate::oauth::server::Browser;
use crate::support::home::{Home, Ran};
use std::process::{Child, Command, Stdio};

/// A person's machine, and a sandbox on it.
struct Machine {
    home: Home,
    browser: Browser,
    data: tempfile::TempDir,
    sandbox: Sandbox,
    runtime: tokio::runtime::Runtime,
}

impl Machine {
    fn new() -> Self {
        let (home, runtime) = (Home::new(), tokio::runtime::Runtime::new().unwrap());
        let (browser, data) = (Browser::in_directory(home.path()), tempfile::tempdir().unwrap());
        let sandbox = runtime.block_on(directory(data.path()));
        Self { home, browser, data, sandbox, runtime }
    }

    fn start(&self, words: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(["--url", &resource(&self.sandbox)]).args(words);
        command.env_clear().envs(self.home.environment()).env("BROWSER", &self.browser.command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command that opens no window.
    fn run(&self, words: &[&str]) -> Ran {
        let ran = ended(self.start(words), "");
        assert_eq!(self.browser.more(), 0, "{words:?} opened a window");
        ran
    }

    /// Runs a command that opens a window, in which the person allows these scopes.
    fn run_allowing(&self, words: &[&str], scopes: &[&str]) -> Ran {
        let child = self.start(words);
        let window = self.browser.opens();
        let fields: Vec<_> = window.query_pairs().into_owned().collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let callback = self.runtime.block_on(Browsing::new(&self.sandbox).allows(&fields, (DANA, scopes)));
        let ((status, page), _) = crate::oauth::server::get(&Url::parse(&callback).unwrap());
        assert_eq!(status, 200, "{page}");
        ended(child, "")
    }

    fn count(&self, table: &str) -> i64 {
        let database = rusqlite::Connection::open(self.data.path().join("sandbox.db")).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    fn change(&self, sql: &str) {
        let database = rusqlite::Connection::open(self.data.path().join("sandbox.db")).unwrap();
        database.execute_batch(sql).unwrap();
    }
}

fn ended(mut child: Child, input: &str) -> Ran {
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_login_serves_calls_and_a_bridge_is_refreshed_and_revoked() {
    let machine = Machine::new();
    machine.run(&["call", "list_tasks", "--login", "never"]).fails(4).says(&["needs a login"]);
    machine.run_allowing(&["login"], &SCOPES).succeeds();
    let shown = machine.run(&["whoami", "--json"]).succeeds().json();
    assert_eq!(shown["scopes"], json!(SCOPES));
    let created = machine.run(&["call", "create_task", "title=Hello", "organizationId=1", "--jq", ".id"]);
    assert_eq!(created.succeeds().stdout, "6\n");
    // No token that was issued so far is valid any more.
    machine.change("DELETE FROM zuko_signing_key");
    assert_eq!(machine.run(&["call", "list_tasks", "--jq", ".[0].title"]).succeeds().stdout, "Hello\n");
    assert_eq!(machine.count("zuko_refresh"), 2, "refreshed once");
    let lines = [
        request(
            0,
            "initialize",
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        ),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        tools_call("list_organizations", json!({})),
    ];
    let lines = lines.map(|line| format!("{line}\n")).concat();
    let bridged = ended(machine.start(&["bridge"]), &lines).succeeds();
    assert!(bridged.stdout.contains("Globex"), "{bridged:?}");
    machine.run(&["logout", "--revoke"]).succeeds();
    assert_eq!((machine.count("zuko_grant"), machine.count("zuko_refresh")), (0, 0));
    machine.run(&["call", "list_tasks", "--login", "never"]).fails(4);
}

#[test]
fn a_call_that_lacks_its_scope_opens_the_window_again() {
    let machine = Machine::new();
    machine.run_allowing(&["login"], &SCOPES[..2]).succeeds();
    let create = ["call", "create_task", "title=x", "organizationId=2", "--jq", ".title"];
    machine.run(&[&create[..], &["--login", "never"]].concat()).fails(4);
    assert_eq!(machine.run_allowing(&create, &SCOPES).succeeds().stdout, "x\n");
    machine.run(&create).succeeds();
}

#[test]
fn a_refresh_token_that_someone_else_used_ends_the_login() {
    let machine = Machine::new();
    machine.run_allowing(&["login"], &SCOPES).succeeds();
    machine.change("UPDATE zuko_refresh SET is_used = 1; DELETE FROM zuko_signing_key;");
    machine.run(&["call", "list_tasks", "--login", "never"]).fails(4);
    assert_eq!(machine.count("zuko_grant"), 0);
    machine.run_allowing(&["call", "list_tasks"], &SCOPES).succeeds();
}

#[test]
fn the_profile_sandbox_zuko_needs_no_login() {
    let home = Home::new();
    let tools = home.run(&["-p", "sandbox-zuko", "tools", "--jq", ".[].name"]).succeeds().stdout;
    assert_eq!(tools, "list_organizations\nlist_tasks\nget_task\ncreate_task\nupdate_task\n");
    let call = ["-p", "sandbox-zuko", "call", "create_task", "title=Mine", "organizationId=2", "--jq", ".id"];
    assert_eq!(home.run(&call).succeeds().stdout, "6\n");
    let found = home.run(&["-p", "sandbox-zuko", "call", "get_task", "taskId=6", "--jq", ".title"]);
    assert_eq!(found.succeeds().stdout, "Mine\n");
    home.run(&["-p", "sandbox-zuko", "call", "create_task", "title=x"])
        .fails(1)
        .says(&["`organizationId` is required: you belong to 2 organizations, see list_organizations"]);
    home.run(&["-p", "sandbox-zuko", "login"]).fails(2).says(&["the sandbox's Zuko needs no login"]);
}

#[test]
fn what_the_sandbox_prints_works_when_pasted() {
    let machine = Machine::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.args(["sandbox", "--memory", "--listen", "127.0.0.1:0", "--json"]);
    command.env_clear().envs(machine.home.environment()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut served = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(served.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    let printed: Value = serde_json::from_str(&line).unwrap();
    let zuko = &printed["services"]["zuko"];
    let url = zuko["url"].as_str().unwrap();
    assert_eq!(*zuko, json!({"url": url, "login": format!("asistry login --url {url}")}));
    let refusal =
        crate::oauth::server::ask("POST", &Url::parse(url).unwrap(), url.split('/').nth(2).unwrap());
    assert_eq!(refusal.0.0, 401, "it is served there");
    served.kill().unwrap();
    served.wait().unwrap();
}
