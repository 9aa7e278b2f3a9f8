//! Messages, batches, streams: what MCP says of them.

use super::*;

#[tokio::test]
async fn the_documented_curl_example_works() {
    let sandbox = memory().await;
    call(&sandbox, "create_task", json!({"title": "Fix login bug", "status": "in_progress"})).await;
    let body = r#"{
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
          "name": "list_tasks",
          "arguments": { "status": "in_progress", "limit": 10 }
        }
      }"#;
    for path in [PATH, "/api/mcp/public"] {
        for accept in [None, Some("*/*")] {
            let sent = Sent::text(&sandbox, body).at(path);
            let sent = if let Some(accept) = accept { sent.with("accept", accept) } else { sent };
            let got = sent.go().await;
            assert_eq!((got.status, got.header("content-type")), (200, "application/json"), "{got:?}");
            let result = &got.json()["result"];
            let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
            assert_eq!(text["tasks"][0]["title"], "Fix login bug");
            assert!(result.get("structuredContent").is_none(), "2025-03-26 has none");
        }
    }
}

#[tokio::test]
async fn an_endpoint_names_its_url_and_a_key_of_the_documented_form() {
    let sandbox = memory().await;
    let endpoint = &sandbox.endpoints()[0];
    assert_eq!((sandbox.endpoints().len(), endpoint.service), (5, "asistry"));
    assert_eq!(endpoint.url, format!("http://{}{PATH}", sandbox.address()));
    assert_ne!(sandbox.address().port(), 0);
    assert_eq!(endpoint.key.strip_prefix("ask_").unwrap().len(), 43);
    assert!(!format!("{sandbox:?} {endpoint:?}").contains(&endpoint.key), "a key is not printed by accident");
}

#[tokio::test]
async fn initialize_answers_the_asked_revision_or_the_newest_and_mints_a_session() {
    let sandbox = memory().await;
    for (asked, answered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let (id, result) = session(&sandbox, asked).await;
        assert_eq!(result["protocolVersion"], answered);
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        assert!(id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }
    let got = Sent::post(&sandbox, &request(1, "initialize", json!({}))).go().await;
    assert_eq!(got.error(), (200, -32602, json!(1)));
    assert_eq!(got.header("mcp-session-id"), "", "no session without an answer");
}

#[tokio::test]
async fn structured_content_agrees_with_the_text_and_comes_with_2025_06_18() {
    let sandbox = memory().await;
    for (revision, has) in
        [("2024-11-05", false), ("2025-03-26", false), ("2025-06-18", true), ("2025-11-25", true)]
    {
        let (id, _) = session(&sandbox, revision).await;
        for tool in ["get_workspace_info", "list_tasks", "list_projects"] {
            let got =
                Sent::post(&sandbox, &tools_call(tool, json!({}))).with("mcp-session-id", &id).go().await;
            let result = got.json()["result"].clone();
            let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
            assert_eq!(result.get("structuredContent").cloned(), has.then_some(text), "{revision} {tool}");
        }
        let named =
            Sent::post(&sandbox, &tools_call("list_tasks", json!({}))).with("mcp-protocol-version", revision);
        assert_eq!(named.go().await.json()["result"].get("structuredContent").is_some(), has, "{revision}");
    }
}

#[tokio::test]
async fn tools_list_has_the_seven_tools_with_whole_schemas() {
    let sandbox = memory().await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let got =
        Sent::post(&sandbox, &request("l", "tools/list", json!({}))).with("mcp-session-id", &id).go().await;
    let tools = got.json()["result"]["tools"].as_array().unwrap().clone();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let documented =
        "list_tasks search_tasks get_task create_task update_task list_projects get_workspace_info";
    assert_eq!(names.join(" "), documented);
    for tool in &tools {
        let schema = &tool["inputSchema"];
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
        assert!(schema["properties"].as_object().unwrap().values().all(|p| p["description"].is_string()));
        let reads = !["create_task", "update_task"].contains(&tool["name"].as_str().unwrap());
        assert_eq!(tool["annotations"]["readOnlyHint"], json!(reads), "{tool}");
    }
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 50});
    for tool in [0, 1, 5] {
        let mut drawn = tools[tool]["inputSchema"]["properties"]["limit"].clone();
        drawn.as_object_mut().unwrap().remove("description");
        assert_eq!(drawn, limit);
    }
    let create = &tools[3]["inputSchema"];
    assert_eq!(create["required"], json!(["title"]));
    assert_eq!(create["properties"]["status"]["default"], "backlog");
    assert_eq!(create["properties"]["status"]["enum"], json!(STATUSES));
    assert_eq!(create["properties"]["priority"]["default"], "medium");
    assert_eq!(create["properties"]["priority"]["enum"], json!(["low", "medium", "high", "urgent"]));
    assert_eq!(create["properties"]["labels"]["items"], json!({"type": "string"}));
    assert_eq!(tools[4]["inputSchema"]["required"], json!(["id"]));
    assert!(tools[4]["inputSchema"]["properties"]["status"].get("default").is_none());
    assert_eq!(
        (&tools[3]["annotations"]["destructiveHint"], &tools[4]["annotations"]["idempotentHint"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn old_revisions_see_no_annotations_and_no_titles() {
    let sandbox = memory().await;
    for (revision, annotations, title) in
        [("2024-11-05", false, false), ("2025-03-26", true, false), ("2025-06-18", true, true)]
    {
        let (id, _) = session(&sandbox, revision).await;
        let got =
            Sent::post(&sandbox, &request(1, "tools/list", json!({}))).with("mcp-session-id", &id).go().await;
        let tool = got.json()["result"]["tools"][0].clone();
        assert_eq!((tool.get("annotations").is_some(), tool.get("title").is_some()), (annotations, title));
    }
}

#[tokio::test]
async fn ping_answers_and_ids_come_back_as_they_were() {
    let sandbox = memory().await;
    for id in [json!(0), json!(-7), json!("0"), json!(9_007_199_254_740_993_i64), json!("")] {
        let got = Sent::post(&sandbox, &json!({"jsonrpc": "2.0", "id": id, "method": "ping"})).go().await;
        assert_eq!((got.status, got.json()), (200, json!({"jsonrpc": "2.0", "id": id, "result": {}})));
    }
}

#[tokio::test]
async fn what_is_no_json_rpc_is_400_and_what_is_unknown_is_an_error_of_its_own() {
    let sandbox = memory().await;
    let cases = [
        ("{", (400, -32700, json!(null))),
        ("", (400, -32700, json!(null))),
        ("[]", (400, -32600, json!(null))),
        ("7", (400, -32600, json!(null))),
        (r#"{"jsonrpc":"2.0","id":3}"#, (400, -32600, json!(3))),
        (r#"{"jsonrpc":"1.0","id":3,"method":"ping"}"#, (400, -32600, json!(3))),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, (400, -32600, json!(null))),
        (r#"{"jsonrpc":"2.0","id":"x","method":"ping","params":[1]}"#, (400, -32600, json!("x"))),
        (r#"{"jsonrpc":"2.0","id":3,"method":"server/discover"}"#, (200, -32601, json!(3))),
        (
            r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"nothing"}}"#,
            (200, -32602, json!(3)),
        ),
        (r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#, (200, -32602, json!(3))),
        (
            r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"get_task","arguments":[]}}"#,
            (200, -32602, json!(3)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":"x"}}"#,
            (200, -32602, json!(3)),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Sent::text(&sandbox, text).go().await.error(), expected, "{text}");
    }
}

#[tokio::test]
async fn notifications_and_responses_are_202_without_a_body() {
    let sandbox = memory().await;
    for text in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
    ] {
        let got = Sent::text(&sandbox, text).go().await;
        assert_eq!((got.status, got.body.as_str()), (202, ""), "{text}");
    }
}

#[tokio::test]
async fn lists_and_searches_stream_where_the_caller_takes_events() {
    let sandbox = memory().await;
    for (tool, arguments, streams) in [
        ("list_tasks", json!({}), true),
        ("search_tasks", json!({"query": "x"}), true),
        ("list_projects", json!({}), true),
        ("get_workspace_info", json!({}), false),
        ("create_task", json!({"title": "x"}), false),
        ("get_task", json!({"id": NO_ID}), false),
        ("update_task", json!({"id": NO_ID}), false),
    ] {
        let got = Sent::post(&sandbox, &tools_call(tool, arguments.clone())).with(BOTH.0, BOTH.1).go().await;
        if streams {
            assert_eq!((got.header("x-accel-buffering"), got.header("cache-control")), ("no", "no-cache"));
            let events = got.events();
            assert_eq!(events.len(), 1, "no progress without a token");
            assert_eq!(events[0].1["id"], 1);
        } else {
            assert_eq!(got.header("content-type"), "application/json", "{tool}");
        }
        let plain =
            Sent::post(&sandbox, &tools_call(tool, arguments)).with("accept", "application/json").go().await;
        assert_eq!(plain.header("content-type"), "application/json", "{tool}");
    }
    let ping = Sent::post(&sandbox, &request(1, "ping", json!({})));
    assert_eq!(ping.with("accept", "text/event-stream").go().await.events()[0].1["result"], json!({}));
    let html = Sent::post(&sandbox, &request(1, "ping", json!({}))).with("accept", "text/html").go().await;
    assert_eq!(html.status, 406);
}

#[tokio::test]
async fn a_progress_token_brings_progress_ahead_of_the_result() {
    let sandbox = memory().await;
    for token in [json!("t"), json!(0)] {
        let mut message = tools_call("list_tasks", json!({}));
        message["params"]["_meta"] = json!({"progressToken": token});
        let got = Sent::post(&sandbox, &message).with(BOTH.0, BOTH.1).go().await;
        let events = got.events();
        let (last, before) = events.split_last().unwrap();
        assert!(!before.is_empty() && last.1["result"].is_object());
        let mut least = 0.0;
        for (_, event) in before {
            assert_eq!(
                (&event["method"], &event["params"]["progressToken"]),
                (&json!("notifications/progress"), &token)
            );
            let at = event["params"]["progress"].as_f64().unwrap();
            assert!(at > least, "progress increases");
            least = at;
        }
        let mut ids: Vec<_> = events.iter().map(|(id, _)| id).collect();
        ids.dedup();
        assert_eq!(ids.len(), events.len(), "each event has an id of its own");
    }
}

#[tokio::test]
async fn a_stream_that_broke_is_fetched_with_last_event_id() {
    let sandbox = memory().await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let mut message = tools_call("list_tasks", json!({}));
    message["params"]["_meta"] = json!({"progressToken": 1});
    let got = Sent::post(&sandbox, &message).with(BOTH.0, BOTH.1).with("mcp-session-id", &id).go().await;
    let events = got.events();
    let again = Sent::new(&sandbox, "GET").with("accept", "text/event-stream").with("mcp-session-id", &id);
    let rest = again.with("last-event-id", &events[0].0).go().await;
    assert_eq!(rest.events(), events[1..]);
}

#[tokio::test]
async fn batches_are_of_2025_03_26_and_of_requests_without_a_session() {
    let sandbox = memory().await;
    let batch = json!([
        request("a", "ping", json!({})),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "b"},
        request("c", "initialize", json!({"protocolVersion": "2025-03-26"})),
        tools_call("get_workspace_info", json!({})),
    ]);
    let (of_batches, _) = session(&sandbox, "2025-03-26").await;
    for sent in
        [Sent::post(&sandbox, &batch), Sent::post(&sandbox, &batch).with("mcp-session-id", &of_batches)]
    {
        let got = sent.go().await;
        let answers = got.json().as_array().unwrap().clone();
        let ids: Vec<_> = answers.iter().map(|answer| &answer["id"]).collect();
        assert_eq!((got.status, ids), (200, vec![&json!("a"), &json!("b"), &json!("c"), &json!(1)]));
        assert_eq!(
            (&answers[1]["error"]["code"], &answers[2]["error"]["code"]),
            (&json!(-32600), &json!(-32600))
        );
        assert!(answers[0]["result"].is_object() && answers[3]["result"].is_object());
    }
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let (id, _) = session(&sandbox, revision).await;
        let got = Sent::post(&sandbox, &batch).with("mcp-session-id", &id).go().await;
        assert_eq!(got.error(), (400, -32600, json!(null)), "{revision}");
    }
    let silent = json!([{"jsonrpc": "2.0", "method": "x"}, {"jsonrpc": "2.0", "id": 1, "result": {}}]);
    assert_eq!(Sent::post(&sandbox, &silent).go().await.status, 202);
    let streamed =
        Sent::post(&sandbox, &json!([request(1, "ping", json!({})), tools_call("list_tasks", json!({}))]));
    assert_eq!(streamed.with(BOTH.0, BOTH.1).go().await.events().len(), 2);
    let many: Vec<_> = (0..101).map(|id| request(id, "ping", json!({}))).collect();
    assert_eq!(Sent::post(&sandbox, &json!(many)).go().await.error().0, 400);
}
