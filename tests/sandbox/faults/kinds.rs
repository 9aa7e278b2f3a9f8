//! Each kind on the wire.

use super::*;
use crate::sandbox::agentstack::{BASE, CREATE, LIST, Stack};

#[tokio::test]
async fn a_call_runs_or_not_as_the_table_of_kinds_says() {
    for kind in FAULT_KINDS {
        let name = kind.form.split(['=', '[']).next().unwrap();
        let spec = if name == "slow" { "slow=1ms" } else { name };
        let sandbox = failing(&format!("{spec}@create_task:1/2")).await;
        let (id, _) = session(&sandbox, "2025-11-25").await;
        for title in ["first", "second"] {
            // What arrives is another test's.
            let _ =
                raw(Sent::post(&sandbox, &create(title)).with("mcp-session-id", &id).with(BOTH.0, BOTH.1))
                    .await;
        }
        let expected: &[&str] = if kind.runs { &["first", "second"] } else { &["first"] };
        let mut found = titles(&sandbox, "list_tasks", json!({})).await;
        found.sort();
        assert_eq!(found, expected, "{}", kind.form);
    }
}

#[tokio::test]
async fn a_refusal_has_its_status_its_form_and_its_wait() {
    for (spec, status, code, wait) in [
        ("429", 429, -32029, ""),
        ("429=2s", 429, -32029, "2"),
        ("500", 500, -32603, ""),
        ("503", 503, -32603, ""),
        ("503=1m", 503, -32603, "60"),
        ("expired", 401, -32001, ""),
    ] {
        let got = Sent::post(&failing(spec).await, &create("x")).go().await;
        assert_eq!((got.error(), got.header("retry-after")), ((status, code, json!(1)), wait), "{spec}");
        let challenge = if spec == "expired" { "Bearer error=\"invalid_token\"" } else { "" };
        assert_eq!(got.header("www-authenticate"), challenge);
    }
    let got = Sent::post(&failing("502").await, &create("x")).go().await;
    assert_eq!((got.status, got.header("content-type")), (502, "text/html"));
    assert!(got.body.contains("<h1>502 Bad Gateway</h1>"));
}

#[tokio::test]
async fn a_connection_is_reset_and_the_next_one_works() {
    for spec in ["reset", "lost"] {
        let sandbox = failing(&format!("{spec}@create_task")).await;
        let error = raw(Sent::post(&sandbox, &create("x"))).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(raw(Sent::post(&sandbox, &request(1, "ping", json!({})))).await.unwrap().contains("200 OK"));
    }
}

#[tokio::test]
async fn a_slow_answer_comes_later_and_alongside_other_faults() {
    let sandbox = failing("slow=200ms@create_task,503@create_task:1/2").await;
    for status in [200, 503] {
        let begin = Instant::now();
        assert_eq!(Sent::post(&sandbox, &create("x")).go().await.status, status);
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }
}

#[tokio::test]
async fn a_forgotten_session_stays_forgotten_and_calls_without_one_are_not_concerned() {
    let sandbox = failing("session:1/2").await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let status = async |message: &Value| Sent::post(&sandbox, message).with("mcp-session-id", &id).go().await;
    assert_eq!(status(&create("x")).await.status, 200);
    for _ in 0..3 {
        assert_eq!(Sent::post(&sandbox, &create("y")).go().await.status, 200);
    }
    assert_eq!(status(&create("x")).await.error(), (404, -32600, json!(1)));
    assert_eq!(status(&request(2, "ping", json!({}))).await.error(), (404, -32600, json!(2)));
}

#[tokio::test]
async fn a_dropped_stream_ends_before_the_answer_and_a_session_resumes_it() {
    let sandbox = failing("drop").await;
    for (revision, opening) in [("2025-11-25", "data: \n\n"), ("2025-06-18", "\n")] {
        let (session, _) = session(&sandbox, revision).await;
        let sent = Sent::post(&sandbox, &create("x")).with("mcp-session-id", &session).with(BOTH.0, BOTH.1);
        let got = sent.go().await;
        assert_eq!((got.status, got.header("content-type")), (200, "text/event-stream"));
        let (id, rest) = got.body.strip_prefix("id: ").unwrap().split_once('\n').unwrap();
        assert_eq!(rest, opening);
        let get = Sent::new(&sandbox, "GET").with("accept", "text/event-stream");
        let events = get.with("mcp-session-id", &session).with("last-event-id", id).go().await.events();
        assert_eq!((events.len(), &events[0].1["result"]["isError"]), (1, &json!(false)));
    }
    let got = Sent::post(&sandbox, &create("x")).with(BOTH.0, BOTH.1).go().await;
    assert_eq!((got.status, got.body.as_str()), (200, ":\n\n"), "without a session nothing is kept");
    assert_eq!(
        call(&sandbox, "create_task", json!({"title": "x"})).await["title"],
        "x",
        "plain JSON has no stream"
    );
    let mut progress = create("x");
    progress["params"]["_meta"] = json!({"progressToken": 7});
    progress["params"]["name"] = "list_tasks".into();
    progress["params"]["arguments"] = json!({});
    let got = Sent::post(&sandbox, &progress).with(BOTH.0, BOTH.1).go().await;
    assert_eq!(got.body.matches("notifications/progress").count(), 2, "progress comes before the end");
    assert!(!got.body.contains("result"));
}

#[tokio::test]
async fn agentstack_has_the_same_faults_in_its_own_forms() {
    for (spec, status, text, wait) in [
        ("429=2s", 429, "HTTP 429: rate limit exceeded", "2"),
        ("500", 500, "HTTP 500: internal error", ""),
        ("503=2s", 503, "server_busy", "2"),
        ("expired", 401, "HTTP 401: the API key has expired", ""),
    ] {
        let stack = Stack::of(failing(&format!("{spec}@projects.create*")).await).await;
        let got = stack.call(&stack.free, CREATE, json!({"name": "x"})).await;
        let said = got.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((got.status, said.as_str(), got.header("retry-after")), (status, text, wait));
        let seconds = if text == "server_busy" { json!(2) } else { Value::Null };
        assert_eq!(got.json()["retryAfterSeconds"], seconds);
        assert_eq!(projects(&stack).await, 0, "{spec}");
        let steps = json!({"steps": [{"action": CREATE, "params": {"name": "x"}}]});
        assert_eq!(stack.post(BASE, &stack.free, &steps).go().await.status, status, "a step is a call, too");
        let execute = json!({"action": CREATE, "params": {"name": "x"}});
        assert_eq!(stack.call(&stack.free, "agentstack.execute", execute).await.status, status);
        assert_eq!(projects(&stack).await, 0, "{spec}");
    }
}

#[tokio::test]
async fn agentstacks_connections_and_streams_break_before_or_after_the_action() {
    let body = json!({"tool": CREATE, "params": {"name": "x"}});
    for (spec, path, made) in [
        ("reset", CREATE.to_owned(), 0),
        ("lost", CREATE.to_owned(), 1),
        ("lost", format!("{CREATE}/stream"), 1),
    ] {
        let stack = Stack::of(failing(&format!("{spec}@{CREATE}")).await).await;
        let path = format!("{BASE}/tools/{path}");
        let error = raw(stack.post(&path, &stack.free, &body)).await.unwrap_err();
        assert_eq!((error.kind(), projects(&stack).await), (io::ErrorKind::ConnectionReset, made));
    }
    let stack = Stack::of(failing("drop").await).await;
    let got = stack.post(&format!("{BASE}/tools/{CREATE}/stream"), &stack.free, &body).go().await;
    let last = got.body.trim_end().rsplit("data: ").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["status"], "processing");
    assert_eq!(projects(&stack).await, 1);
}

async fn projects(stack: &Stack) -> usize {
    stack.gives(&stack.free, LIST, json!({})).await["projects"].as_array().unwrap().len()
}
