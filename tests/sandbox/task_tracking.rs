//! Task Tracking: its path, its tokens, its six tools.

mod comments;

use super::*;
use asistry::sandbox::Endpoint;

const TOOLS: [&str; 6] = [
    "workspaceSummary",
    "listWorkspaceTasks",
    "searchWorkspaceTasks",
    "getTaskDetails",
    "listTaskComments",
    "addCustomerComment",
];
const TASK_FIELDS: &str = "id taskNumber title status priority assignedUser customer createdAt updatedAt";

fn endpoint(sandbox: &Sandbox) -> &Endpoint {
    sandbox.endpoints().iter().find(|endpoint| endpoint.service == "task-tracking").unwrap()
}

fn path(sandbox: &Sandbox) -> &str {
    endpoint(sandbox).url.split_once(&sandbox.address().to_string()).unwrap().1
}

fn without_comments(sandbox: &Sandbox) -> &str {
    let (field, key) = &endpoint(sandbox).more_keys[0];
    assert_eq!(*field, "key_without_comments");
    key
}

fn post<'a>(sandbox: &'a Sandbox, message: &Value) -> Sent<'a> {
    let bearer = format!("Bearer {}", endpoint(sandbox).key);
    Sent::post(sandbox, message).at(path(sandbox)).with("authorization", &bearer)
}

/// Calls a tool and returns the text of its result, and whether it is an error.
async fn said(sandbox: &Sandbox, tool: &str, arguments: Value) -> (bool, String) {
    let got = post(sandbox, &tools_call(tool, arguments)).go().await;
    assert_eq!(got.status, 200, "{got:?}");
    let result = got.json()["result"].clone();
    assert!(result.get("structuredContent").is_none(), "2024-11-05 has none");
    (result["isError"].as_bool().unwrap(), result["content"][0]["text"].as_str().unwrap().to_owned())
}

async fn call(sandbox: &Sandbox, tool: &str, arguments: Value) -> Value {
    let (is_error, text) = said(sandbox, tool, arguments).await;
    assert!(!is_error, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn refused(sandbox: &Sandbox, tool: &str, arguments: Value) -> String {
    let (is_error, text) = said(sandbox, tool, arguments).await;
    assert!(is_error, "{text}");
    text
}

/// Returns the numbers of the tasks that a search finds.
async fn found(sandbox: &Sandbox, query: &str) -> Vec<String> {
    numbers(&call(sandbox, "searchWorkspaceTasks", json!({"query": query})).await)
}

fn numbers(result: &Value) -> Vec<String> {
    let tasks = result["tasks"].as_array().unwrap();
    assert_eq!(result["count"], json!(tasks.len()));
    tasks.iter().map(|task| task["taskNumber"].as_str().unwrap().to_owned()).collect()
}

/// Returns the id of Russell's open task, 1005.
async fn task(sandbox: &Sandbox) -> Value {
    call(sandbox, "searchWorkspaceTasks", json!({"query": "#1005"})).await["tasks"][0]["id"].clone()
}

#[tokio::test]
async fn the_requests_of_the_page_are_answered_as_it_says() {
    let sandbox = memory().await;
    let opened = post(
        &sandbox,
        &json!({
            "jsonrpc": "2.0", "id": "init-1", "method": "initialize",
            "params": {
                "protocolVersion": "2024-11-05",
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}}
            }
        }),
    );
    let opened = opened.go().await;
    assert_eq!((opened.status, opened.header("mcp-session-id")), (200, ""));
    assert_eq!(opened.json()["id"], "init-1");
    assert_eq!(opened.json()["result"]["protocolVersion"], "2024-11-05");
    let listed =
        post(&sandbox, &json!({"jsonrpc": "2.0", "id": "tools-1", "method": "tools/list", "params": {}}));
    let listed = listed.go().await.json();
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), TOOLS);
    assert!(tools.iter().all(|tool| tool.get("annotations").is_none()), "2024-11-05 has none");
    let search = json!({
        "jsonrpc": "2.0", "id": "search-1", "method": "tools/call",
        "params": {"name": "searchWorkspaceTasks", "arguments": {"query": "russell", "limit": 10}}
    });
    let got = post(&sandbox, &search).go().await.json();
    let result: Value = serde_json::from_str(got["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&got["id"], numbers(&result)),
        (&json!("search-1"), vec!["1005".into(), "1003".into(), "1002".into()])
    );
    assert_eq!(found(&sandbox, "7035974534").await, ["1005", "1003"]);
}

#[tokio::test]
async fn a_later_revision_is_answered_with_2024_11_05_and_events_are_never_sent() {
    let sandbox = memory().await;
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let got = post(&sandbox, &request(1, "initialize", params)).with(BOTH.0, BOTH.1).go().await;
    assert_eq!(got.json()["result"]["protocolVersion"], "2024-11-05");
    for method in ["GET", "DELETE"] {
        let sent = Sent::new(&sandbox, method).at(path(&sandbox)).go().await;
        assert_eq!((sent.status, sent.header("allow")), (405, "POST"));
    }
}

#[tokio::test]
async fn the_path_names_the_workspace_and_the_token_belongs_to_it() {
    let sandbox = memory().await;
    let ping = request(1, "ping", json!({}));
    let other = format!("/app/api/mcp/server/{NO_ID}");
    assert_eq!(post(&sandbox, &ping).at(&other).go().await.status, 404);
    let nobodys = Sent::post(&sandbox, &ping).at(&other).without("authorization").go().await;
    assert_eq!(nobodys.error().0, 401, "who has no token learns of no workspace");
    for elsewhere in ["/app/api/mcp/server/", "/app/api/mcp/server", &format!("{}/x", path(&sandbox))] {
        assert_eq!(post(&sandbox, &ping).at(elsewhere).go().await.status, 404, "{elsewhere}");
    }
    assert_eq!(post(&sandbox, &ping).go().await.status, 200);
}

#[tokio::test]
async fn a_missing_foreign_previewed_or_revoked_token_is_401() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let ping = request("p", "ping", json!({}));
    let token = endpoint(&sandbox).key.clone();
    assert!(token.starts_with("mcp_live_") && token.len() > 40, "{token}");
    let preview = format!("{}...{}", &token[..13], &token[token.len() - 4..]);
    let dots = format!("{}…{}", &token[..13], &token[token.len() - 4..]);
    for wrong in [preview, dots, key(&sandbox), format!("{token}x"), "mcp_live_".into(), String::new()] {
        let got = post(&sandbox, &ping).with("authorization", &format!("Bearer {wrong}")).go().await;
        assert_eq!(got.error(), (401, -32001, json!("p")), "{wrong}");
    }
    let missing = post(&sandbox, &ping).without("authorization").go().await;
    assert_eq!(missing.error(), (401, -32001, json!("p")));
    assert!(missing.json()["error"]["message"].as_str().unwrap().contains("Bearer mcp_live_"));
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let revoke =
        "UPDATE api_key SET revoked_at = '2026-01-01' WHERE service = 'task-tracking' AND kind = 'key'";
    assert_eq!(database.execute(revoke, []).unwrap(), 1);
    assert_eq!(post(&sandbox, &ping).go().await.error(), (401, -32001, json!("p")));
    let other = format!("Bearer {}", without_comments(&sandbox));
    assert_eq!(post(&sandbox, &ping).with("authorization", &other).go().await.status, 200);
}

#[tokio::test]
async fn a_search_finds_names_phones_addresses_numbers_and_words() {
    let sandbox = memory().await;
    for (query, expected) in [
        ("Russell Hayes", vec!["1005", "1003"]),
        ("hayes RUSSELL", vec!["1005", "1003"]),
        ("maría", vec!["1006", "1001"]),
        ("MARÍA núñez", vec!["1006", "1001"]),
        ("(703) 597-4534", vec!["1005", "1003"]),
        ("703-597", vec!["1005", "1003"]),
        ("+1 202", vec!["1006", "1001"]),
        ("+442079460958", vec!["1002"]),
        ("dana.okafor@mail.example", vec!["1004"]),
        ("@MAIL.example", vec!["1005", "1004", "1003"]),
        ("1004", vec!["1004"]),
        ("#1004", vec!["1004"]),
        ("windshield", vec!["1005"]),
        ("p0420", vec!["1004"]),
        ("priya", vec!["1004", "1003"]),
        ("russell oil", vec!["1003", "1002"]),
        ("russell brake", vec![]),
        ("%", vec![]),
        ("_", vec![]),
        ("' OR 1=1 --", vec![]),
    ] {
        assert_eq!(found(&sandbox, query).await, expected, "{query}");
    }
    let one = call(&sandbox, "searchWorkspaceTasks", json!({"query": "russell", "limit": 1})).await;
    assert_eq!(numbers(&one), ["1005"]);
    assert_eq!(one["query"], "russell");
}

#[tokio::test]
async fn tasks_are_listed_newest_first_and_filtered_by_status() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let all = call(&sandbox, "listWorkspaceTasks", json!({})).await;
    assert_eq!(numbers(&all), ["1006", "1005", "1004", "1003", "1002", "1001"]);
    for task in all["tasks"].as_array().unwrap() {
        let fields: Vec<_> = task.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields.join(" "), TASK_FIELDS);
        assert_eq!(
            task["customer"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["name", "phone", "email"]
        );
    }
    for (status, expected) in [
        ("open", vec!["1006", "1005"]),
        ("in_progress", vec!["1004"]),
        ("waiting", vec!["1002"]),
        ("completed", vec!["1003", "1001"]),
    ] {
        let listed = call(&sandbox, "listWorkspaceTasks", json!({"status": status})).await;
        assert_eq!(numbers(&listed), expected);
    }
    assert_eq!(numbers(&call(&sandbox, "listWorkspaceTasks", json!({"limit": 2})).await), ["1006", "1005"]);
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let more = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 120)
        INSERT INTO tracking_task SELECT 'id' || n, workspace_id, customer_id, 2000 + n, 'many', '', 'open', 'low',
            NULL, created_at, updated_at FROM n, (SELECT * FROM tracking_task WHERE number = 1001)";
    database.execute(more, []).unwrap();
    let count = async |tool, arguments| numbers(&call(&sandbox, tool, arguments).await).len();
    assert_eq!(count("listWorkspaceTasks", json!({})).await, 20);
    assert_eq!(count("listWorkspaceTasks", json!({"limit": 100})).await, 100);
    assert_eq!(count("searchWorkspaceTasks", json!({"query": "many"})).await, 10);
}

#[tokio::test]
async fn the_details_of_a_task_have_description_and_number_of_comments() {
    let sandbox = memory().await;
    let shown = call(&sandbox, "getTaskDetails", json!({"taskId": task(&sandbox).await})).await;
    let fields: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.join(" "), format!("{TASK_FIELDS} description commentCount"));
    assert_eq!((&shown["title"], &shown["priority"]), (&json!("Quote for a new windshield"), &json!("high")));
    assert_eq!(
        shown["customer"],
        json!({"name": "Russell Hayes", "phone": "(703) 597-4534", "email": "russell.hayes@mail.example"})
    );
    assert_eq!((&shown["assignedUser"], &shown["commentCount"]), (&json!(null), &json!(2)));
}

#[tokio::test]
async fn the_summary_counts_and_shows_the_five_newest() {
    let sandbox = memory().await;
    let summary = call(&sandbox, "workspaceSummary", json!({})).await;
    assert!(path(&sandbox).ends_with(summary["workspaceId"].as_str().unwrap()));
    assert_eq!(summary["tasksByStatus"], json!({"open": 2, "in_progress": 1, "waiting": 1, "completed": 2}));
    assert_eq!((&summary["totalTasks"], &summary["recentTasks"]), (&json!(6), &json!(3)));
    assert_eq!(summary["sampleTasks"].as_array().unwrap().len(), 5);
    assert_eq!(summary["sampleTasks"][0]["taskNumber"], "1006");
}

#[tokio::test]
async fn bad_arguments_are_a_result_that_names_the_argument() {
    let sandbox = memory().await;
    let long = "x".repeat(1 << 20);
    for (tool, arguments, expected) in [
        ("workspaceSummary", json!({"x": 1}), "\"x\" is not an argument of workspaceSummary"),
        ("listWorkspaceTasks", json!({"limit": 0}), "`limit` must be an integer from 1 to 100, not 0"),
        ("listWorkspaceTasks", json!({"limit": 101}), "`limit` must be an integer from 1 to 100, not 101"),
        ("listWorkspaceTasks", json!({"limit": "9"}), "`limit` must be an integer from 1 to 100, not \"9\""),
        (
            "listWorkspaceTasks",
            json!({"status": "OPEN"}),
            "`status` must be one of open, in_progress, waiting,",
        ),
        ("searchWorkspaceTasks", json!({}), "`query` is required"),
        ("searchWorkspaceTasks", json!({"query": " "}), "`query` must be a string of 1 to 500 characters"),
        ("searchWorkspaceTasks", json!({"query": long}), "`query` must be a string of 1 to 500 characters"),
        ("searchWorkspaceTasks", json!({"query": 7035974534_u64}), "`query` must be a string"),
        ("searchWorkspaceTasks", json!({"query": "x", "limit": -1}), "`limit` must be an integer"),
        ("getTaskDetails", json!({}), "`taskId` is required: a UUID"),
        ("getTaskDetails", json!({"taskId": "1005"}), "`taskId` must be a UUID, not \"1005\""),
        ("getTaskDetails", json!({"taskId": "' OR 1=1 --"}), "`taskId` must be a UUID"),
        ("listTaskComments", json!({"taskId": NO_ID, "limit": 1.5}), "`limit` must be an integer"),
        ("addCustomerComment", json!({"taskId": NO_ID}), "`comment` is required"),
        (
            "addCustomerComment",
            json!({"taskId": NO_ID, "comment": ""}),
            "`comment` must be a string of 1 to 50000",
        ),
        (
            "addCustomerComment",
            json!({"taskId": NO_ID, "comment": long}),
            "`comment` must be a string of 1 to 50000",
        ),
        (
            "addCustomerComment",
            json!({"taskId": NO_ID, "comment": "x", "phoneNumber": 7}),
            "`phoneNumber` must be",
        ),
        (
            "addCustomerComment",
            json!({"taskId": NO_ID, "comment": "x", "taskNumber": 7}),
            "`taskNumber` must be",
        ),
        (
            "addCustomerComment",
            json!({"taskId": NO_ID, "comment": "x", "customerName": []}),
            "`customerName` must be",
        ),
    ] {
        let said = refused(&sandbox, tool, arguments).await;
        assert!(said.starts_with(expected) && said.len() < 400, "{tool}: {said}");
    }
    for (tool, arguments) in [
        ("getTaskDetails", json!({"taskId": NO_ID})),
        ("listTaskComments", json!({"taskId": NO_ID})),
        ("addCustomerComment", json!({"taskId": NO_ID, "comment": "x"})),
    ] {
        let said = refused(&sandbox, tool, arguments).await;
        assert_eq!(said, format!("`taskId`: there is no task {NO_ID} in this workspace"));
    }
}

#[tokio::test]
async fn another_workspaces_tasks_are_not_there() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let other = format!(
        "PRAGMA foreign_keys = ON;
         INSERT INTO tracking_workspace SELECT 'other', user_id, 'Other' FROM account;
         INSERT INTO tracking_task SELECT '{NO_ID}', 'other', customer_id, 1, 'hidden', '', 'open', 'low', NULL,
             created_at, updated_at FROM tracking_task WHERE number = 1005;"
    );
    database.execute_batch(&other).unwrap();
    assert!(found(&sandbox, "hidden").await.is_empty());
    assert_eq!(call(&sandbox, "workspaceSummary", json!({})).await["totalTasks"], 6);
    refused(&sandbox, "getTaskDetails", json!({"taskId": NO_ID})).await;
    assert_eq!(
        post(&sandbox, &request(1, "ping", json!({}))).at("/app/api/mcp/server/other").go().await.status,
        404
    );
}
