//! AgentStack on the wire: credentials, paths, bodies, streams, batches, jobs, the catalogue.

use super::agentstack::{ANONYMOUS, BASE, Stack};
use super::*;
use std::collections::BTreeSet;

const ACTIONS: [&str; 8] = [
    "projects.create_project",
    "projects.create_project_anonymous",
    "projects.attach_to_user",
    "projects.get_projects",
    "projects.add_user",
    "projects.remove_user",
    "auth.convert_anonymous_user",
    "agentstack.execute",
];
const LIST: &str = "/agentstack/mcp/tools/projects.get_projects";

fn list() -> Value {
    json!({"tool": "projects.get_projects", "params": {}})
}

/// Reads the records of a stream: lines of data and nothing else.
fn records(got: &Got) -> Vec<Value> {
    assert_eq!((got.status, got.header("content-type")), (200, "text/event-stream"), "{got:?}");
    let blocks = got.body.strip_suffix("\n\n").unwrap().split("\n\n");
    blocks.map(|block| serde_json::from_str(block.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

pub fn refusal(got: &Got) -> (u16, String) {
    let body = got.json();
    assert_eq!(
        (&body["success"], got.header("content-type")),
        (&json!(false), "application/json"),
        "{got:?}"
    );
    assert_eq!(body["trace_id"], got.header("x-trace-id"), "{got:?}");
    (got.status, body["error"].as_str().unwrap().to_owned())
}

pub fn create(name: &str) -> Value {
    json!({"action": "projects.create_project", "params": {"name": name}})
}

#[tokio::test]
async fn every_documented_command_works_as_it_stands() {
    let stack = Stack::new().await;
    let post = async |path: &str, key: &str, body: &str| {
        let mut sent =
            stack.ask("POST", path, key).with("content-type", "application/json").with("accept", "*/*");
        sent.body = body.to_owned().into();
        sent.go().await
    };
    let made = post(
        "/mcp/tools/projects.create_project_anonymous",
        "",
        r#"{
    "tool": "projects.create_project_anonymous",
    "params": {
      "name": "My AI Project",
      "description": "Created by AI agent"
    }
  }"#,
    )
    .await
    .json();
    assert_eq!((&made["success"], &made["data"]["project_id"]), (&json!(true), &json!(1025)));
    let auth_key = made["data"]["auth_key"].as_str().unwrap();
    let attach = format!(
        r#"{{"tool": "projects.attach_to_user", "params": {{"project_id": 1025, "auth_key": "{auth_key}", "user_id": 123}}}}"#
    );
    let attached = post("/mcp/tools/projects.attach_to_user", &stack.free, &attach).await.json();
    assert_eq!(attached["data"]["message"], "Project 1025 successfully attached to user 123");
    let body = r#"{"tool": "projects.get_projects", "params": {"is_active": true, "limit": 10}}"#;
    let listed = post("/mcp/tools/projects.get_projects", &stack.free, body).await.json();
    assert_eq!(listed["data"]["projects"][0]["name"], "My AI Project");
    let body = r#"{"tool": "projects.add_user",
        "params": {"project_id": 1025, "email": "user@example.com", "role": "member"}}"#;
    let (status, error) = refusal(&post("/mcp/tools/projects.add_user", &stack.free, body).await);
    assert_eq!(status, 403);
    assert_eq!(
        error,
        "HTTP 403: Professional subscription required for adding/removing project users. Please upgrade your subscription."
    );
    let body = r#"{"tool": "projects.create_project", "params": {"name": "Streaming Project"}}"#;
    let streamed = post("/mcp/tools/projects.create_project/stream", &stack.free, body).await;
    let records = records(&streamed);
    assert_eq!(records[0], json!({"status": "started", "trace_id": streamed.header("x-trace-id")}));
    assert_eq!(records[1], json!({"status": "processing", "progress": 50}));
    assert_eq!((records.len(), &records[2]["status"]), (3, &json!("completed")));
    assert_eq!(records[2]["result"]["project"]["name"], "Streaming Project");
    assert_eq!(records[2].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn one_credential_in_either_header_and_never_two() {
    let stack = Stack::new().await;
    let ask = || stack.post(LIST, "", &list());
    let bearer = format!("Bearer {}", stack.free);
    assert_eq!(ask().with("x-api-key", &stack.free).go().await.status, 200);
    assert_eq!(ask().with("authorization", &bearer).go().await.status, 200);
    assert_eq!(ask().with("authorization", &bearer.replace("Bearer", "bearer ")).go().await.status, 200);
    let both = "HTTP 400: send one credential, in Authorization or in X-API-Key, not two";
    for path in [LIST, &format!("{BASE}/tools/{ANONYMOUS}"), BASE] {
        let sent = stack.post(path, &stack.free, &list()).with("x-api-key", &stack.free);
        assert_eq!(refusal(&sent.go().await), (400, both.into()), "{path}");
    }
    let get = stack.ask("GET", "/agentstack/mcp/actions", &stack.free).with("x-api-key", "");
    assert_eq!(refusal(&get.go().await), (400, both.into()));
    for (name, value) in [
        ("authorization", "Bearer ask_wrong"),
        ("authorization", "Bearer "),
        ("authorization", "Basic x"),
        ("authorization", &stack.free),
        ("x-api-key", "ask_wrong"),
        ("x-api-key", ""),
        ("x-api-key", &bearer),
    ] {
        let got = ask().with(name, value).go().await;
        assert_eq!((refusal(&got).0, got.header("www-authenticate")), (401, "Bearer"), "{name}: {value}");
    }
    let none = "HTTP 401: an API key is required: Authorization: Bearer ask_… or X-API-Key: ask_…";
    assert_eq!(refusal(&ask().go().await), (401, none.into()));
    assert_eq!(refusal(&stack.post(BASE, "", &json!({"steps": []})).go().await), (401, none.into()));
    assert_eq!(refusal(&stack.ask("GET", "/agentstack/mcp/jobs/x", "").go().await), (401, none.into()));
    // Asistry's key is none of AgentStack's.
    assert_eq!(ask().with("x-api-key", &key(&stack.sandbox)).go().await.status, 401);
    let wrong = stack.call("ask_wrong", ANONYMOUS, json!({"name": "x"})).await;
    assert_eq!(wrong.status, 401);
}

#[tokio::test]
async fn the_project_of_the_header_stands_in_for_a_missing_one() {
    let stack = Stack::new().await;
    stack.gives(&stack.professional, "projects.create_project", json!({"name": "x"})).await;
    let add = |params: Value| {
        let path = "/agentstack/mcp/tools/projects.add_user";
        stack.post(path, &stack.professional, &json!({"tool": "projects.add_user", "params": params}))
    };
    let added = add(json!({"user_id": 123})).with("x-project-id", "1025").go().await.json();
    assert_eq!(added["data"]["project_id"], 1025);
    let named = add(json!({"user_id": 123, "project_id": 9})).with("x-project-id", "1025").go().await;
    assert_eq!(refusal(&named), (404, "HTTP 404: there is no project 9".into()));
    for wrong in ["abc", "", "-1", "0", "1025'; --"] {
        let got = stack.post(LIST, &stack.free, &list()).with("x-project-id", wrong).go().await;
        assert_eq!(
            refusal(&got),
            (400, "HTTP 400: X-Project-ID must be one positive integer".into()),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn other_paths_methods_and_bodies_are_refused_with_a_trace() {
    let stack = Stack::new().await;
    for path in
        ["/agentstack/mcp/", "/mcp/x", "/mcp/tools/", "/mcp/tools/a/b", "/mcp/tools/a/stream/x", "/mcp/jobs/"]
    {
        assert_eq!(refusal(&stack.post(path, &stack.free, &list()).go().await).0, 404, "{path}");
    }
    assert_eq!(stack.post("/agentstack/mcpx", &stack.free, &list()).go().await.status, 404);
    for (method, path, allow) in [
        ("GET", LIST, "POST"),
        ("PUT", BASE, "POST"),
        ("DELETE", "/mcp/jobs/x", "GET"),
        ("POST", "/mcp/actions", "GET"),
        ("HEAD", "/mcp/tools", "GET"),
    ] {
        let got = stack.ask(method, path, &stack.free).go().await;
        assert_eq!((got.status, got.header("allow")), (405, allow), "{method} {path}");
        assert!(!got.header("x-trace-id").is_empty());
    }
    for name in ["nothing.there", "projects", "logic.execute", "projects.get_projects'--"] {
        for end in ["", "/stream"] {
            let path = format!("{BASE}/tools/{name}{end}");
            let got = stack.post(&path, &stack.free, &json!({"tool": name, "params": {}})).go().await;
            let said = format!("HTTP 404: there is no action {name}; GET /mcp/actions lists them");
            assert_eq!(refusal(&got), (404, said));
        }
    }
    let exact = "HTTP 422: the body must be {\"tool\": \"projects.get_projects\", \"params\": {…}}";
    for body in [
        json!({"tool": "projects.get_projects"}),
        json!({"params": {}}),
        json!({"tool": "projects.create_project", "params": {}}),
        json!({"tool": "projects.get_projects", "params": []}),
        json!({"tool": "projects.get_projects", "params": null}),
        json!({"tool": "projects.get_projects", "params": {}, "options": {}}),
        json!({"tool": 7, "params": {}}),
    ] {
        let got = stack.post(LIST, &stack.free, &body).go().await;
        assert_eq!(refusal(&got), (422, exact.into()), "{body}");
    }
    let raw = |body: &str| {
        let mut sent = stack.post(LIST, &stack.free, &Value::Null);
        sent.body = body.to_owned().into();
        sent
    };
    for body in ["", "{", "\u{feff}{}", "{} {}", &"[".repeat(1000), r#"{"tool":"\ud800","params":{}}"#] {
        assert_eq!(refusal(&raw(body).go().await), (400, "HTTP 400: the body is no JSON".into()));
    }
    assert_eq!(refusal(&raw("[]").go().await).0, 422);
    let nested = |levels: usize| {
        let config = format!("{}{}", "{\"a\":".repeat(levels), "1".to_owned() + &"}".repeat(levels));
        format!(
            r#"{{"steps":[{{"action":"projects.create_project","params":{{"name":"x","config":{config}}}}}],"options":{{"idempotency_key":"{levels}"}}}}"#
        )
    };
    for (levels, status) in [(96, 200), (96, 200), (97, 422), (120, 422), (200, 400)] {
        let got = raw(&nested(levels)).at(BASE).go().await;
        assert_eq!(got.status, status, "{levels}: {got:?}");
    }
    let plain = raw(&list().to_string()).with("content-type", "text/plain").go().await;
    assert_eq!(refusal(&plain).0, 415);
    let large = raw(&" ".repeat((16 << 20) + 1)).go().await;
    assert_eq!(refusal(&large), (413, "HTTP 413: the body is larger than 16 MiB".into()));
    let foreign = stack.post(LIST, &stack.free, &list()).with("origin", "https://evil.example").go().await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn a_stream_ends_with_its_refusal() {
    let stack = Stack::new().await;
    let path = |tool: &str| format!("{BASE}/tools/{tool}/stream");
    let body = json!({"tool": "projects.add_user", "params": {"project_id": 1025, "user_id": 1}});
    let got = stack.post(&path("projects.add_user"), &stack.free, &body).go().await;
    let records = records(&got);
    assert_eq!((records.len(), &records[2]["status"]), (3, &json!("error")));
    assert!(records[2]["error"].as_str().unwrap().starts_with("HTTP 403: Professional"), "{records:?}");
    assert_eq!(records[2]["trace_id"], records[0]["trace_id"]);
    let early = stack.post(&path("projects.get_projects"), "", &list()).go().await;
    assert_eq!(refusal(&early).0, 401);
    let body = json!({"tool": "projects.create_project", "params": {}});
    let early = stack.post(&path("projects.create_project"), &stack.free, &body).go().await;
    assert_eq!(refusal(&early).0, 422);
}

#[tokio::test]
async fn the_catalogue_names_the_documented_actions_and_knows_its_tag() {
    let stack = Stack::new().await;
    let get = |path: &'static str| stack.ask("GET", path, "");
    let got = get("/mcp/actions").go().await;
    let body = got.json();
    let names: Vec<&str> =
        body["actions"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(names, ACTIONS);
    assert_eq!((&body["success"], &body["total"]), (&json!(true), &json!(8)));
    assert_eq!(body["actions"][1]["category"], "projects");
    assert_eq!(body["actions"][1]["required_cap"], json!(null));
    let etag = body["catalog_etag"].as_str().unwrap();
    assert_eq!(got.header("etag"), format!("\"{etag}\""));
    for tag in [etag, got.header("etag"), &format!("W/\"{etag}\""), "*"] {
        let same = get("/agentstack/mcp/actions").with("if-none-match", tag).go().await;
        assert_eq!(
            (same.status, same.body.as_str(), same.header("etag")),
            (304, "", got.header("etag")),
            "{tag}"
        );
        assert!(!same.header("x-trace-id").is_empty());
    }
    assert_eq!(get("/mcp/actions").with("if-none-match", "\"other\"").go().await.status, 200);
    let tools = get("/mcp/tools").go().await.json();
    let described: BTreeSet<&str> =
        tools["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(described, BTreeSet::from(ACTIONS));
    let attach = &tools["tools"][2]["parameters"];
    assert_eq!(attach["required"], json!(["project_id", "auth_key"]));
    assert_eq!(attach["properties"]["project_id"]["type"], "integer");
}

#[tokio::test]
async fn handed_out_keys_are_hashes_that_survive_restarts_and_starts() {
    let home = tempfile::tempdir().unwrap();
    let stack = Stack::of(directory(home.path()).await).await;
    let made = stack.gives("", ANONYMOUS, json!({"name": "x"})).await;
    let secrets = ["user_api_key", "project_api_key", "session_token"]
        .map(|name| made[name].as_str().unwrap().to_owned());
    stack.sandbox.stop().await;
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds =
            |secret: &str| bytes.windows(16).any(|part| part == &secret.as_bytes()[secret.len() - 16..]);
        assert!(!secrets.iter().any(|secret| holds(secret)));
    }
    for _ in 0..11 {
        directory(home.path()).await.stop().await;
    }
    let stack = Stack::of(directory(home.path()).await).await;
    for secret in &secrets {
        assert_eq!(stack.gives(secret, "projects.get_projects", json!({})).await["total"], 1);
    }
}

#[tokio::test]
async fn a_failing_database_is_500_and_a_locked_one_is_busy() {
    let home = tempfile::tempdir().unwrap();
    let stack = Stack::of(directory(home.path()).await).await;
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let got = stack.call(&stack.free, "projects.create_project", json!({"name": "x"})).await;
    assert_eq!((got.status, got.header("retry-after")), (503, "1"));
    assert_eq!((&got.json()["error"], &got.json()["retryAfterSeconds"]), (&json!("server_busy"), &json!(1)));
    database.execute_batch("COMMIT; ALTER TABLE agentstack_project RENAME TO gone").unwrap();
    let got = stack.call(&stack.free, "projects.create_project", json!({"name": "x"})).await;
    assert_eq!((got.status, &got.json()["error"]), (500, &json!("HTTP 500: internal error")));
    let got = stack.post(BASE, &stack.free, &json!({"steps": [create("x")]})).go().await;
    assert_eq!(refusal(&got), (500, "HTTP 500: internal error".into()));
}
