//! Bob Studio: its keys, its thirty tools as documented, and what they refuse.

mod records;
mod time;

use super::*;
use asistry::sandbox::Endpoint;

/// The documented tools: required arguments, then optional ones.
const TOOLS: [(&str, &str, &str); 30] = [
    ("list_projects", "", "status"),
    ("get_project", "projectId", ""),
    (
        "create_project",
        "name",
        "clientId companyId description startDate endDate budget estimatedHours notes currency",
    ),
    (
        "update_project",
        "projectId",
        "name description status startDate endDate budget estimatedHours notes taskPrefix",
    ),
    ("update_project_status", "projectId status", ""),
    ("list_tasks", "", "projectId"),
    ("get_task", "taskId", ""),
    ("create_task", "title", "description status priority estimatedHours dueDate projectId assigneeIds"),
    (
        "create_subtask",
        "parentTaskId title",
        "description status priority estimatedHours dueDate assigneeIds isPrivate",
    ),
    ("list_subtasks", "parentTaskId", ""),
    (
        "update_task",
        "taskId",
        "title description status priority estimatedHours actualHours dueDate sortOrder projectId assigneeIds isPrivate",
    ),
    ("update_task_status", "taskId status", ""),
    (
        "create_client",
        "companyName",
        "firstName lastName email phone vatNumber address postalCode city country companyId",
    ),
    ("create_offer", "", "subject description clientId companyId offerDate validUntil currency notes"),
    (
        "create_invoice",
        "",
        "clientId companyId projectId subject description invoiceDate dueDate currency notes paymentMethod",
    ),
    ("create_idea", "title", "description estimatedBudget currency priority notes companyId clientId"),
    (
        "create_contact",
        "",
        "companyName contactName email phone website address city country source status notes nextFollowUp",
    ),
    ("list_recordings", "", "limit"),
    ("get_recording", "recordingId", ""),
    ("list_time_logs", "", "startDate endDate"),
    ("list_time_categories", "", ""),
    (
        "create_time_log",
        "date startTime endTime",
        "taskId categoryId projectId description isBillable hourlyRate",
    ),
    (
        "update_time_log",
        "timeLogId",
        "date startTime endTime description taskId categoryId projectId isBillable hourlyRate",
    ),
    ("delete_time_log", "timeLogId", ""),
    ("list_calendars", "", ""),
    ("list_appointments", "", "startDate endDate"),
    (
        "create_appointment",
        "date startTime endTime",
        "title clientName clientEmail clientPhone isAllDay location address onlinePlatform onlineLink notes status projectId",
    ),
    (
        "update_appointment",
        "appointmentId",
        "title clientName clientEmail date startTime endTime isAllDay location address onlinePlatform onlineLink notes status projectId",
    ),
    ("get_booking_settings", "", ""),
    (
        "update_booking_settings",
        "",
        "isActive slotDuration bufferMinutes weeklyHours maxDaysAhead minimumNoticeMinutes welcomeMessage locationType locationAddress bookingCalendarId companyId",
    ),
];
/// The tools that the page says external keys cannot call.
const INTERNAL: &str = "create_task create_subtask create_offer create_idea list_recordings get_recording list_time_logs \
    list_time_categories create_time_log update_time_log delete_time_log list_calendars list_appointments \
    create_appointment update_appointment get_booking_settings update_booking_settings";
const REASON: &str =
    "this tool needs a user's context: only the AI Copilot can call it, external API keys cannot";

fn endpoint(sandbox: &Sandbox) -> &Endpoint {
    sandbox.endpoints().iter().find(|endpoint| endpoint.service == "bob-studio").unwrap()
}

/// Returns the key of a kind: `key`, `company_key` or `copilot_key`.
fn key_of<'a>(sandbox: &'a Sandbox, kind: &str) -> &'a str {
    let more = endpoint(sandbox).more_keys.iter().find(|(field, _)| *field == kind);
    more.map_or(&endpoint(sandbox).key, |(_, key)| key)
}

fn post<'a>(sandbox: &'a Sandbox, kind: &str, message: &Value) -> Sent<'a> {
    let sent = Sent::post(sandbox, message).at("/mcp").without("authorization");
    sent.with("x-api-key", key_of(sandbox, kind))
}

async fn said(sandbox: &Sandbox, kind: &str, tool: &str, arguments: Value) -> (bool, String) {
    let got = post(sandbox, kind, &tools_call(tool, arguments)).go().await;
    assert_eq!(got.status, 200, "{tool}: {got:?}");
    let result = got.json()["result"].clone();
    assert!(result.get("structuredContent").is_none(), "2025-03-26 has none");
    (result["isError"].as_bool().unwrap(), result["content"][0]["text"].as_str().unwrap().to_owned())
}

async fn called(sandbox: &Sandbox, kind: &str, tool: &str, arguments: Value) -> Value {
    let (is_error, text) = said(sandbox, kind, tool, arguments).await;
    assert!(!is_error, "{tool}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Calls with the Copilot's key, which may do everything.
async fn call(sandbox: &Sandbox, tool: &str, arguments: Value) -> Value {
    called(sandbox, "copilot_key", tool, arguments).await
}

async fn refused(sandbox: &Sandbox, tool: &str, arguments: Value) -> String {
    let (is_error, text) = said(sandbox, "copilot_key", tool, arguments).await;
    assert!(is_error, "{tool}: {text}");
    text
}

/// Returns the values of a field of each item of a list.
fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

/// Returns the id of the listed project or task of this name.
async fn id_of(sandbox: &Sandbox, list: &str, name: &str) -> Value {
    let listed = call(sandbox, list, json!({})).await;
    let found = listed.as_array().unwrap().iter().find(|item| item["name"] == name || item["title"] == name);
    found.unwrap_or_else(|| panic!("{name}: {listed}"))["id"].clone()
}

#[tokio::test]
async fn the_requests_of_the_page_are_answered_as_it_says() {
    let sandbox = memory().await;
    assert!(endpoint(&sandbox).url.ends_with("/mcp"));
    let opened = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-03-26", "capabilities": {},
            "clientInfo": {"name": "my-client", "version": "1.0.0"}
        }
    });
    let got = post(&sandbox, "key", &opened).with(BOTH.0, BOTH.1).go().await;
    assert_eq!((got.status, got.header("content-type")), (200, "application/json"));
    assert_eq!(got.header("mcp-session-id"), "", "there are no sessions");
    assert_eq!(got.json()["result"]["protocolVersion"], "2025-03-26");
    let call = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "list_projects", "arguments": {"status": "in_progress"}}
    });
    let got = post(&sandbox, "key", &call).go().await.json();
    let text: Value = serde_json::from_str(got["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(each(&text, "name"), ["Website relaunch", "Seasonal menu cards"]);
    let fields: Vec<_> = text[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.join(" "), "id name status budget currency startDate endDate companyId client");
    assert_eq!(
        (&text[0]["budget"], &text[0]["client"]["companyName"]),
        (&json!(8000), &json!("Harbor Cafe"))
    );
}

#[tokio::test]
async fn the_key_is_in_x_api_key_and_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let ping = request("p", "ping", json!({}));
    let good = key_of(&sandbox, "key").to_owned();
    assert!(good.starts_with("bsk_"));
    let bearer = post(&sandbox, "key", &ping).without("x-api-key");
    let got = bearer.with("authorization", &format!("Bearer {good}")).go().await;
    assert_eq!(got.error(), (401, -32001, json!("p")));
    assert!(got.headers.get("www-authenticate").is_none(), "the key is no Bearer token: {got:?}");
    assert!(got.json()["error"]["message"].as_str().unwrap().contains("x-api-key: bsk_"));
    for wrong in ["", "bsk_", &format!("{good}x"), &format!("Bearer {good}"), &key(&sandbox)] {
        let got = post(&sandbox, "key", &ping).with("x-api-key", wrong).go().await;
        assert_eq!(got.error(), (401, -32001, json!("p")), "{wrong}");
        assert!(got.headers.get("www-authenticate").is_none(), "{got:?}");
    }
    for method in ["GET", "DELETE"] {
        let sent = Sent::new(&sandbox, method).at("/mcp").with("x-api-key", &good).go().await;
        assert_eq!((sent.status, sent.header("allow")), (405, "POST"));
    }
    let events = post(&sandbox, "key", &ping).with("accept", "text/event-stream").go().await;
    assert_eq!((events.status, events.header("content-type")), (200, "application/json"));
    let unknown = post(&sandbox, "key", &ping).with("mcp-session-id", "none").go().await;
    assert_eq!(unknown.status, 200, "a session id means nothing");
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    database
        .execute("UPDATE api_key SET revoked_at = 'now' WHERE service = 'bob-studio' AND kind = 'key'", [])
        .unwrap();
    assert_eq!(post(&sandbox, "key", &ping).go().await.status, 401);
    assert_eq!(post(&sandbox, "company_key", &ping).go().await.status, 200);
}

#[tokio::test]
async fn every_documented_tool_is_listed_with_every_documented_argument() {
    let sandbox = memory().await;
    for kind in ["key", "company_key", "copilot_key"] {
        let got = post(&sandbox, kind, &request(1, "tools/list", json!({}))).go().await.json();
        let tools = got["result"]["tools"].as_array().unwrap();
        assert_eq!(tools.len(), TOOLS.len());
        for (tool, (name, required, optional)) in tools.iter().zip(TOOLS) {
            let schema = &tool["inputSchema"];
            let mut expected: Vec<_> =
                format!("{required} {optional}").split_whitespace().map(str::to_owned).collect();
            expected.sort();
            let mut given: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
            given.sort();
            assert_eq!((tool["name"].as_str().unwrap(), given), (name, expected));
            let needed: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
            assert_eq!(needed, required.split_whitespace().collect::<Vec<_>>(), "{name}");
            let reads = name.starts_with("list_") || name.starts_with("get_");
            assert_eq!(tool["annotations"]["readOnlyHint"], reads, "{name}");
        }
    }
}

#[tokio::test]
async fn internal_tools_are_refused_to_external_keys_whatever_is_given() {
    let sandbox = memory().await;
    let internal: Vec<_> = INTERNAL.split_whitespace().collect();
    assert_eq!(internal.len(), 17);
    for (tool, required, _) in TOOLS {
        for kind in ["key", "company_key"] {
            for arguments in [json!({}), json!({"title": "x", "x": 1})] {
                let (is_error, text) = said(&sandbox, kind, tool, arguments).await;
                assert_eq!(text == REASON, internal.contains(&tool), "{tool}: {text}");
                assert!(is_error || !internal.contains(&tool));
            }
        }
        let (is_error, text) = said(&sandbox, "copilot_key", tool, json!({})).await;
        assert!(text != REASON && (required.is_empty() || is_error), "{tool}: {text}");
    }
    let got = post(&sandbox, "key", &tools_call("delete_project", json!({}))).go().await;
    assert_eq!(got.error(), (200, -32602, json!(1)));
}

/// Values of the wrong type, range or length for a property.
fn wrong(schema: &Value) -> Vec<Value> {
    let long = json!("x".repeat(1 << 20));
    let mut wrong = vec![json!(null), json!({"a": 1, "8": []})];
    match schema["type"].as_str().unwrap() {
        "string" => wrong.extend([json!(7), json!(true), json!(["a"]), long]),
        "number" | "integer" => wrong.extend([json!("7"), json!(1e300), json!([1]), long]),
        "boolean" => wrong.extend([json!("true"), json!(1), long]),
        "array" => wrong.extend([json!("a"), json!([7]), json!(["' OR 1=1 --"]), long]),
        _ => wrong.extend([
            json!([]),
            json!({"1": [{"start": "10:00", "end": "09:00"}]}),
            json!({"1": 7}),
            long,
        ]),
    }
    if schema["minimum"] == 0 {
        wrong.push(json!(-1));
    }
    if schema.get("enum").or(schema.get("format")).or(schema.get("pattern")).is_some() {
        wrong.extend([json!(""), json!("DONE"), json!("' OR 1=1 --")]);
    }
    wrong
}

/// A value that fits a property; ids are unknown ones.
fn right(name: &str, schema: &Value) -> Value {
    match (name, schema["type"].as_str().unwrap(), schema["format"].as_str()) {
        _ if schema.get("enum").is_some() => schema["enum"][0].clone(),
        (_, _, Some("uuid")) => json!(NO_ID),
        (_, _, Some("email")) => json!("'@--"),
        ("startTime", ..) => json!("09:00"),
        ("endTime", ..) => json!("10:00"),
        ("currency", ..) => json!("USD"),
        (_, _, Some("date"))
        | ("dueDate" | "offerDate" | "validUntil" | "invoiceDate" | "nextFollowUp", ..) => {
            json!("2026-11-30")
        }
        ("startDate" | "endDate", ..) => json!("2026-11-30"),
        (_, "string", _) => json!("'); DROP TABLE bob_task; --"),
        (_, "number" | "integer", _) => json!(2),
        (_, "boolean", _) => json!(true),
        (_, "array", _) => json!([]),
        _ => json!({"1": [{"start": "09:00", "end": "10:00"}]}),
    }
}

#[tokio::test]
async fn wrong_types_long_texts_and_unknown_ids_are_refused_by_name_for_every_argument() {
    let sandbox = memory().await;
    let got = post(&sandbox, "copilot_key", &request(1, "tools/list", json!({}))).go().await.json();
    for tool in got["result"]["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        let schema = &tool["inputSchema"];
        let required: Vec<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().unwrap();
        let base: Value =
            required.iter().map(|name| (name.to_string(), right(name, &properties[*name]))).collect();
        for (property, schema) in properties {
            for value in wrong(schema) {
                let mut arguments = base.clone();
                arguments[property] = value.clone();
                let text = refused(&sandbox, name, arguments).await;
                assert!(text.starts_with(&format!("`{property}` must be ")), "{name}: {text}");
                assert!(text.len() < 400, "{text}");
            }
            if schema["format"] == "uuid" && name != "create_time_log" {
                let mut arguments = base.clone();
                arguments[property] = json!(NO_ID);
                let text = refused(&sandbox, name, arguments).await;
                assert!(text.contains(&format!(" {NO_ID} that this key can see")), "{name}: {text}");
            }
        }
        for missing in &required {
            let mut arguments = base.clone();
            arguments.as_object_mut().unwrap().remove(*missing);
            let text = refused(&sandbox, name, arguments).await;
            assert!(text.starts_with(&format!("`{missing}` is required: ")), "{name}: {text}");
        }
        assert!(refused(&sandbox, name, json!({"' OR 1=1": 1})).await.contains("is not an argument of"));
    }
}

#[tokio::test]
async fn sql_in_every_text_is_stored_as_text() {
    let sandbox = memory().await;
    let got = post(&sandbox, "copilot_key", &request(1, "tools/list", json!({}))).go().await.json();
    for tool in got["result"]["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        let is_id = |schema: &Value| schema["format"] == "uuid";
        let properties = tool["inputSchema"]["properties"].as_object().unwrap();
        let mut given: Value = properties
            .iter()
            .filter(|(_, schema)| !is_id(schema))
            .map(|(name, schema)| (name.clone(), right(name, schema)))
            .collect();
        match name {
            "update_project" => given["projectId"] = id_of(&sandbox, "list_projects", "Spring catalog").await,
            "update_task" => given["taskId"] = id_of(&sandbox, "list_tasks", "Set up the shop").await,
            "create_time_log" => {
                given["categoryId"] =
                    call(&sandbox, "list_time_categories", json!({})).await[0]["id"].clone();
            }
            "update_time_log" => {
                given["timeLogId"] = call(&sandbox, "list_time_logs", json!({})).await[0]["id"].clone()
            }
            "update_appointment" => {
                given["appointmentId"] =
                    call(&sandbox, "list_appointments", json!({})).await[0]["id"].clone();
            }
            _ if given.as_object().unwrap().is_empty() || name.starts_with("list_") => continue,
            _ if properties.iter().any(|(name, schema)| is_id(schema) && name == "parentTaskId") => continue,
            "update_project_status" | "update_task_status" => continue,
            _ => {}
        }
        let stored = call(&sandbox, name, given.clone()).await;
        for (field, value) in given.as_object().unwrap() {
            let is_own_id = ["projectId", "taskId", "timeLogId", "appointmentId"].contains(&field.as_str());
            assert!(is_own_id || stored[field] == *value, "{name}: {field}: {stored}");
        }
    }
    assert!(call(&sandbox, "list_tasks", json!({})).await.as_array().unwrap().len() > 3);
}
