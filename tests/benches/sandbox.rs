//! What Asistry's stand-in takes for lists and searches with 10,000 tasks: the real binary, over HTTP.
//!
//! Refuses an answer with another number of tasks than there should be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::functions::FunctionFlags;
use serde_json::Value;

const TASKS: usize = 10_000;

/// Rounds of all queries that the rate limit of a key allows in a minute.
pub const ROUNDS: usize = 100 / QUERIES.len();

/// A tool with its arguments, and the number of tasks that it must return.
pub const QUERIES: [(&str, &str, usize); 8] = [
    ("list_tasks", "{}", 50),
    ("list_tasks", r#"{"status":"todo","limit":100}"#, 100),
    ("list_tasks", r#"{"status":"done"}"#, 0),
    ("list_tasks", r#"{"assignee":"nobody"}"#, 0),
    ("search_tasks", r#"{"query":"LOGIN"}"#, 50),
    ("search_tasks", r#"{"query":"run 9999"}"#, 1),
    ("search_tasks", r#"{"query":"nowhere to be found"}"#, 0),
    ("search_tasks", r#"{"query":"qx"}"#, 0),
];

/// A sandbox in a process of its own, with 10,000 tasks.
pub struct Sandbox {
    /// A shell that ends the sandbox when its stdin ends.
    shell: Child,
    stream: BufReader<TcpStream>,
    path: String,
    key: String,
    _data: tempfile::TempDir,
}

impl Sandbox {
    pub fn filled(program: &Path) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let script = r#""$0" sandbox --data "$1" --listen 127.0.0.1:0 --json & read -r _; kill $!"#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(program).arg(data.path()).env_clear();
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let printed: Value = serde_json::from_str(&line).expect("JSON");
        let field = |name: &str| printed["services"]["asistry"][name].as_str().expect("a text");
        let (host, path) = field("url")["http://".len()..].split_once('/').expect("a path");
        fill(data.path());
        let stream = TcpStream::connect(host).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let (path, key) = (format!("/{path}"), field("key").to_owned());
        Self { shell, stream: BufReader::new(stream), path, key, _data: data }
    }

    /// Calls a tool; returns how long it took.
    pub fn call(&mut self, (tool, arguments, count): (&str, &str, usize)) -> Duration {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.key,
            body.len()
        );
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes()).expect("a write");
        let answer = self.answer();
        let took = begun.elapsed();
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let found: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(found["tasks"].as_array().map(Vec::len), Some(count), "{tool} {arguments}");
        took
    }

    fn answer(&mut self) -> Vec<u8> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a head");
            match line.trim_end().split_once(": ") {
                None if line.trim().is_empty() => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a length");
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        body
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Inserts tasks: through HTTP, the rate limit would take an hour and a half.
fn fill(data: &Path) {
    let mut database = rusqlite::Connection::open(data.join("sandbox.db")).expect("a database");
    // The texts are ASCII: in lower case they are folded.
    let folded = |context: &rusqlite::functions::Context<'_>| {
        Ok(context.get::<Option<String>>(0)?.map(|text| text.to_lowercase()))
    };
    database.create_scalar_function("folded", 1, FunctionFlags::SQLITE_UTF8, folded).expect("a function");
    let change = database.transaction().expect("a transaction");
    let mut insert = change
        .prepare(
            "INSERT INTO asistry_task (id, workspace_id, board_id, column_id, title, description, status, priority,
                 assignee, labels)
             SELECT ?1, b.workspace_id, b.id, c.id, ?2, ?3, c.status, 'medium', 'ana', '[]'
             FROM asistry_board b JOIN asistry_column c ON c.board_id = b.id
             WHERE b.position = 0 AND c.position = ?4",
        )
        .expect("a statement");
    let words = ["Login", "payment", "invoice", "delivery", "customer", "backup", "report"];
    for n in 0..TASKS {
        let word = |at: usize| words[at % words.len()];
        let description =
            format!("<p>{} {} {} of run {n}</p>", word(n / 7), word(n / 3), word(n * 5 + 2)).repeat(4);
        let id = format!("00000000-0000-4000-8000-{n:012}");
        let title = format!("Task {n}: {} {}", word(n), word(n / 9));
        insert.execute((id, title, description, (n % 3) as i64)).expect("a task");
    }
    drop(insert);
    change.commit().expect("a commit");
}
