//! Faults on purpose: what arrives, whether the call ran, and the real bridge in the midst of them.

mod bridge;
mod kinds;

use super::*;
use asistry::sandbox::{FAULT_KINDS, faults};
use std::io;

pub async fn failing(spec: &str) -> Sandbox {
    failing_in(Data::Memory, spec).await
}

async fn failing_in(data: Data, spec: &str) -> Sandbox {
    let faults = faults(spec).unwrap();
    start_with(Options { data, listen: LISTEN.parse().unwrap(), embedded: false, faults }).await
}

fn create(title: &str) -> Value {
    tools_call("create_task", json!({ "title": title }))
}

/// Sends a request on a connection of its own, and reads until that ends, without any client between.
async fn raw(sent: Sent<'_>) -> io::Result<String> {
    let mut stream = TcpStream::connect(sent.address).await.unwrap();
    let sent = sent.with("connection", "close");
    let mut head =
        format!("{} {} HTTP/1.1\r\ncontent-length: {}\r\n", sent.method, sent.path, sent.body.len());
    for (name, value) in &sent.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(&[head.as_bytes(), b"\r\n", &sent.body].concat()).await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.map(|_| text)
}

/// The statuses of sixty calls.
async fn statuses(spec: &str) -> Vec<u16> {
    let sandbox = failing(spec).await;
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(Sent::post(&sandbox, &tools_call("list_tasks", json!({}))).go().await.status);
    }
    statuses
}

#[tokio::test]
async fn two_sandboxes_with_one_seed_fare_alike_and_another_seed_otherwise() {
    let seven = statuses("429:20%,502:10%,seed=7").await;
    assert_eq!(statuses("429:20%,502:10%,seed=7").await, seven);
    assert_ne!(statuses("429:20%,502:10%,seed=8").await, seven);
    for status in [200, 429, 502] {
        assert!(seven.contains(&status), "{seven:?}");
    }
}

#[tokio::test]
async fn a_rule_hits_its_tools_and_methods_only_and_by_its_rate() {
    let sandbox = failing("500@asistry/create_*:1/2,502@tools/list,503@zuko/*").await;
    let status = async |message: Value| Sent::post(&sandbox, &message).go().await.status;
    for expected in [200, 500, 200, 500] {
        assert_eq!(status(tools_call("list_tasks", json!({}))).await, 200);
        assert_eq!(status(create("x")).await, expected);
    }
    assert_eq!(status(request(1, "tools/list", json!({}))).await, 502);
    assert_eq!(status(request(1, "ping", json!({}))).await, 200);
    let batch = json!([tools_call("list_tasks", json!({})), create("x"), create("y")]);
    assert_eq!(status(batch.clone()).await, 200);
    assert_eq!(status(batch).await, 500, "a batch with a call is one request");
    assert_eq!(titles(&sandbox, "list_tasks", json!({})).await.len(), 4);
}

#[tokio::test]
async fn what_is_refused_on_purpose_does_not_count_in_the_rate_limit() {
    let sandbox = failing("503@create_task").await;
    for _ in 0..120 {
        assert_eq!(Sent::post(&sandbox, &create("x")).go().await.status, 503);
    }
    assert!(titles(&sandbox, "list_tasks", json!({})).await.is_empty());
}

#[test]
fn a_wrong_spec_ends_before_anything_starts() {
    let home = crate::support::home::Home::new();
    let ran = home.run(&["sandbox", "--faults", "429=1s@creat_task"]).fails(2);
    let ran = ran.says(&[
        "there is no tool or method \"creat_task\"",
        "KIND[=VALUE][@TOOL][:RATE]",
        "asistry help faults",
    ]);
    let ran = ran.says(&["try: asistry sandbox --faults '429=2s@create_task:10%,lost:1/20,seed=7'"]);
    assert_eq!(ran.stdout, "");
    assert!(!home.file("data").exists());
}

#[test]
fn help_and_readme_have_each_kind_and_say_whether_the_call_runs() {
    let help = crate::support::home::Home::new().run(&["help", "faults"]).succeeds().stdout;
    let readme = include_str!("../../README.md");
    for kind in FAULT_KINDS {
        let runs = if kind.runs { "the call runs" } else { "the call does not run" };
        let line = help.lines().find(|line| line.starts_with(kind.form)).unwrap_or_else(|| panic!("{help}"));
        assert!(line.ends_with(&format!("{} ({runs})", kind.about)), "{line}");
        let runs = if kind.runs { "yes" } else { "no" };
        let row = format!("| `{}` | {runs} | {} |", kind.form, kind.about);
        assert!(readme.contains(&row), "{row}");
    }
}
