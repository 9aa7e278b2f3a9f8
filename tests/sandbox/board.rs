//! The live board: what its page may do, and what it is sent when tasks change.

use super::*;
use assert_cmd::Command;

const FILES: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/board.css", "text/css; charset=utf-8"),
    ("/board.js", "text/javascript; charset=utf-8"),
    ("/board.svg", "image/svg+xml"),
];
const EVENTS: &str = "/board/events";

/// A request without a key, as a browser sends it.
fn browse<'a>(sandbox: &'a Sandbox, path: &'a str) -> Sent<'a> {
    Sent::new(sandbox, "GET").without("authorization").at(path)
}

/// An open page: the events that it is sent.
struct Page {
    body: Incoming,
    text: String,
}

impl Page {
    async fn open(sandbox: &Sandbox) -> Self {
        let reply = browse(sandbox, EVENTS).open().await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        Self { body: reply.into_body(), text: String::new() }
    }

    /// Returns the next snapshot; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(data) = event.strip_prefix("event: board\ndata: ") else { continue };
                assert!(!data.contains('\n'), "{data}");
                return Some(serde_json::from_str(data).unwrap());
            }
            let frame = soon(self.body.frame()).await?.ok()?;
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// Returns the first snapshot in which something is true.
    async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let board = self.next().await.expect("another snapshot");
            if holds(&board) {
                return board;
            }
        }
    }
}

/// Returns the titles in the column of a status on the first board.
fn column(board: &Value, status: &str) -> Vec<String> {
    let columns = board["boards"][0]["columns"].as_array().unwrap();
    let column = columns.iter().find(|column| column["status"] == status).unwrap();
    column["tasks"].as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap().into()).collect()
}

/// Returns tool, key and title of the recent calls.
fn calls(board: &Value) -> Vec<(String, String, String)> {
    let field = |call: &Value, name: &str| call[name].as_str().unwrap().to_owned();
    let calls = board["calls"].as_array().unwrap();
    calls.iter().map(|call| (field(call, "tool"), field(call, "key"), field(call, "title"))).collect()
}

fn asistry(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.env_clear().env("HOME", home).env("ASISTRY_DATA_DIR", home.join("data"));
    command
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let sandbox = memory().await;
    for (path, kind) in FILES {
        let got = browse(&sandbox, path).go().await;
        assert_eq!((got.status, got.header("content-type")), (200, kind), "{path}");
        for foreign in
            ["https://", "http://www", "//cdn", "innerHTML", "eval(", "insertAdjacentHTML", "@import"]
        {
            let text = got.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(foreign), "{path}: {foreign}");
        }
        let head = Sent { method: "HEAD", ..browse(&sandbox, path) }.go().await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-length"), got.body.len().to_string());
    }
    let page = browse(&sandbox, "/").go().await.body;
    let scripts: Vec<&str> = page.split("<script").skip(1).collect();
    assert_eq!(scripts, [scripts[0]]);
    assert!(scripts[0].starts_with(" src=\"/board.js\" type=\"module\"></script>"), "{page}");
    for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn every_reply_of_the_board_has_the_strict_headers() {
    let sandbox = memory().await;
    let paths = FILES.iter().map(|(path, _)| *path).chain([EVENTS]);
    for (path, method) in
        paths.flat_map(|path| ["GET", "HEAD", "POST", "DELETE"].map(|method| (path, method)))
    {
        let reply = Sent { method, ..browse(&sandbox, path) }.open().await;
        let header = |name: &str| reply.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.split("; ").any(|known| known == part), "{method} {path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("access-control-allow-origin"), "");
        let is_read = method == "GET" || method == "HEAD";
        assert_eq!(reply.status(), if is_read { 200 } else { 405 }, "{method} {path}");
        assert_eq!(header("allow"), if is_read { "" } else { "GET, HEAD" });
    }
}

#[tokio::test]
async fn foreign_pages_and_rebound_names_are_turned_away() {
    let sandbox = memory().await;
    for path in FILES.map(|(path, _)| path).into_iter().chain([EVENTS]) {
        for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
            assert_eq!(
                browse(&sandbox, path).with("origin", origin).go().await.status,
                403,
                "{path} {origin}"
            );
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1"] {
            assert_eq!(browse(&sandbox, path).with("host", host).go().await.status, 421, "{path} {host}");
        }
        assert_eq!(browse(&sandbox, path).without("host").go().await.status, 400, "{path}");
    }
    let near = browse(&sandbox, "/").with("host", "localhost").with("origin", "http://localhost:7700");
    assert_eq!(near.go().await.status, 200);
}

#[tokio::test]
async fn a_call_here_or_in_another_process_appears_with_its_tool_and_key() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(&home.path().join("data/sandbox")).await;
    let mut page = Page::open(&sandbox).await;
    let first = page.next().await.unwrap();
    assert_eq!((&first["workspace"], &first["calls"]), (&json!("My Workspace"), &json!([])));
    let names: Vec<_> = first["boards"].as_array().unwrap().iter().map(|board| &board["name"]).collect();
    assert_eq!(names, ["Product", "Marketing", "Operations"]);
    assert_eq!(first["boards"][0]["columns"].as_array().unwrap().len(), 5);

    let task =
        call(&sandbox, "create_task", json!({"title": "Here", "labels": ["One"], "assignee": "ada"})).await;
    let board = page.until(|board| !column(board, "backlog").is_empty()).await;
    assert_eq!(column(&board, "backlog"), ["Here"]);
    assert_eq!(calls(&board), [("create_task".into(), "Sandbox key 1".into(), "Here".into())]);
    let shown = &board["boards"][0]["columns"][0]["tasks"][0];
    assert_eq!((&shown["labels"], &shown["assignee"]), (&json!(["one"]), &json!("ada")));
    assert_eq!(board["calls"][0]["task"], task["id"]);
    assert_eq!(board["calls"][0]["at"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());

    let there = home.path().to_owned();
    let called = tokio::task::spawn_blocking(move || {
        asistry(&there).args(["-p", "sandbox", "call", "create_task", "title=There"]).assert().success();
    });
    let board = page.until(|board| column(board, "backlog").len() == 2).await;
    called.await.unwrap();
    assert_eq!(column(&board, "backlog"), ["There", "Here"]);
    assert_eq!(calls(&board)[0], ("create_task".into(), "Embedded".into(), "There".into()));

    call(&sandbox, "update_task", json!({"id": task["id"], "status": "done", "title": "Moved"})).await;
    let board = page.until(|board| !column(board, "done").is_empty()).await;
    assert_eq!(
        (column(&board, "done"), column(&board, "backlog")),
        (vec!["Moved".into()], vec!["There".into()])
    );
    assert_eq!(calls(&board)[0], ("update_task".into(), "Sandbox key 1".into(), "Moved".into()));
}

#[tokio::test]
async fn calls_that_change_nothing_are_not_among_the_recent_ones() {
    let sandbox = memory().await;
    let task = call(&sandbox, "create_task", json!({"title": "One"})).await;
    call(&sandbox, "list_tasks", json!({})).await;
    call(&sandbox, "update_task", json!({"id": task["id"]})).await;
    refused(&sandbox, "update_task", json!({"id": NO_ID, "title": "x"})).await;
    refused(&sandbox, "create_task", json!({"title": ""})).await;
    let board = Page::open(&sandbox).await.next().await.unwrap();
    assert_eq!(calls(&board), [("create_task".into(), "Sandbox key 1".into(), "One".into())]);
}

#[tokio::test]
async fn markup_stays_text_and_long_texts_are_cut() {
    let sandbox = memory().await;
    let markup = "</script><script>alert('x')</script>\n\ndata: {}\r\n\u{2028}&lt;";
    call(&sandbox, "create_task", json!({"title": markup, "description": "<img src=x onerror=alert(1)>"}))
        .await;
    let long = "ü".repeat(1 << 20);
    let labels: Vec<_> = (0..50).map(|n| format!("{n}{}", "l".repeat(100))).collect();
    call(
        &sandbox,
        "create_task",
        json!({"title": long, "description": long, "assignee": long, "labels": labels, "status": "todo"}),
    )
    .await;
    let board = Page::open(&sandbox).await.next().await.unwrap();
    assert_eq!(column(&board, "backlog"), [markup]);
    assert_eq!(board["boards"][0]["columns"][0]["tasks"][0]["description"], "<img src=x onerror=alert(1)>");
    assert_eq!(column(&board, "todo"), [format!("{}…", "ü".repeat(300))]);
    assert!(board.to_string().len() < 20_000, "{}", board.to_string().len());
}

#[tokio::test]
async fn a_full_column_shows_its_newest_tasks_and_counts_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let sandboxes = [directory(home.path()).await, directory(home.path()).await];
    for n in 0..120 {
        // The limit of a key is 100 calls in a minute.
        call(&sandboxes[n % 2], "create_task", json!({"title": format!("task {n}")})).await;
    }
    let board = Page::open(&sandboxes[0]).await.next().await.unwrap();
    let backlog = &board["boards"][0]["columns"][0];
    assert_eq!((&backlog["count"], backlog["tasks"].as_array().unwrap().len()), (&json!(120), 100));
    assert_eq!(backlog["tasks"][0]["title"], "task 119");
    let calls = calls(&board);
    assert_eq!((calls.len(), calls[0].2.as_str(), calls[0].1.as_str()), (30, "task 119", "Sandbox key 2"));
}

#[tokio::test]
async fn pages_come_and_go_and_each_sees_the_board_as_it_is() {
    let sandbox = memory().await;
    for n in 1..4 {
        let (mut one, mut two) = (Page::open(&sandbox).await, Page::open(&sandbox).await);
        assert_eq!(column(&one.next().await.unwrap(), "backlog").len(), n - 1);
        call(&sandbox, "create_task", json!({"title": "another"})).await;
        one.until(|board| column(board, "backlog").len() == n).await;
        two.until(|board| column(board, "backlog").len() == n).await;
    }
    let mut last = Page::open(&sandbox).await;
    last.next().await.unwrap();
    let begun = Instant::now();
    sandbox.stop().await;
    assert!(begun.elapsed() < Duration::from_millis(450), "{:?}", begun.elapsed());
    assert!(last.next().await.is_none());
}

#[tokio::test]
async fn a_sandbox_that_is_embedded_or_that_other_machines_reach_has_no_board() {
    let embedded = start(Data::Memory, true).await;
    assert_eq!(embedded.board(), None);
    assert_eq!(browse(&embedded, "/").go().await.status, 404);
    let options = Options {
        data: Data::Memory,
        listen: "0.0.0.0:0".parse().unwrap(),
        embedded: false,
        faults: Default::default(),
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    assert_eq!(sandbox.board(), None);
    let port = sandbox.address().port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut said = String::new();
    soon(stream.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn its_address_is_printed_and_works() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    for json in [true, false] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_asistry"));
        let home = tempfile::tempdir().unwrap();
        command.env_clear().env("HOME", home.path()).kill_on_drop(true);
        command.args(["sandbox", "--memory", "--listen", "127.0.0.1:0"]);
        command.args(if json { &["--json"][..] } else { &[] });
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = soon(lines.next_line()).await.unwrap().expect("a line with the board");
            if json {
                let printed: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(printed.as_object().unwrap().keys().collect::<Vec<_>>(), ["services", "board"]);
                break printed["board"].as_str().unwrap().to_owned();
            }
            if let Some(url) = line.strip_prefix("board\t") {
                break url.to_owned();
            }
        };
        let address = url.strip_prefix("http://").unwrap().strip_suffix('/').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let get = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut said = String::new();
        soon(stream.read_to_string(&mut said)).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("<title>"), "{said}");
    }
}

#[test]
fn a_new_embedded_sandbox_says_once_where_its_board_is() {
    let said = |home: &Path, arguments: &[&str]| {
        let output = asistry(home).args(["-p", "sandbox"]).args(arguments).output().unwrap();
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let home = tempfile::tempdir().unwrap();
    let (stdout, stderr) = said(home.path(), &["call", "create_task", "title=x", "-o", "text"]);
    assert!(!stdout.contains("http"), "{stdout}");
    assert!(stderr.contains("asistry sandbox") && stderr.contains("http://127.0.0.1:7700/"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(said(home.path(), &["call", "list_tasks"]).1, "");
    assert_eq!(said(tempfile::tempdir().unwrap().path(), &["tools"]).1, "");
    for silent in ["--json", "--quiet"] {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(said(home.path(), &["call", "list_tasks", silent]).1, "", "{silent}");
    }
}
