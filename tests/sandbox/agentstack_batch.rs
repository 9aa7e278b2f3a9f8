//! AgentStack's batches, jobs and `agentstack.execute`.

use super::agentstack::{ANONYMOUS, BASE, Stack};
use super::agentstack_wire::{create, refusal};
use super::*;

const EXECUTE: &str = "agentstack.execute";

async fn batch(stack: &Stack, body: Value) -> Value {
    let got = stack.post(BASE, &stack.free, &body).go().await;
    assert_eq!((got.status, &got.json()["trace_id"]), (200, &json!(got.header("x-trace-id"))), "{got:?}");
    got.json()
}

fn statuses(answer: &Value) -> Vec<&str> {
    answer["steps"].as_array().unwrap().iter().map(|step| step["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_batch_runs_in_order_and_stops_at_the_first_failure_unless_told_to_go_on() {
    let stack = Stack::new().await;
    let bad =
        json!({"id": "bad", "action": "projects.add_user", "params": {"project_id": 1025, "user_id": 1}});
    let steps = json!([create("a"), bad, create("b")]);
    let stopped = batch(&stack, json!({"steps": steps})).await;
    assert_eq!(
        (&stopped["success"], statuses(&stopped)),
        (&json!(false), vec!["completed", "error", "skipped"])
    );
    assert_eq!(stopped["steps"][0]["result"]["project_id"], 1025);
    assert_eq!((&stopped["steps"][0]["id"], &stopped["steps"][1]["id"]), (&json!("1"), &json!("bad")));
    assert!(stopped["steps"][1]["error"].as_str().unwrap().starts_with("HTTP 403: Professional"));
    for options in [json!({"continueOnError": true}), json!({"stopOnError": false})] {
        let went_on = batch(&stack, json!({"steps": steps, "options": options})).await;
        assert_eq!(statuses(&went_on), ["completed", "error", "completed"], "{options}");
    }
    let good = batch(&stack, json!({"steps": [create("c")], "options": {"stopOnError": true}})).await;
    assert_eq!((&good["success"], statuses(&good)), (&json!(true), vec!["completed"]));
    let conditions = json!([
        {"id": "bad", "action": "nothing.there"},
        {"action": "projects.get_projects", "if": "bad"},
        {"id": "off", "action": "projects.get_projects", "if": false},
        {"id": "on", "action": "projects.get_projects", "if": true},
        {"action": "projects.get_projects", "if": "on"}
    ]);
    let went = batch(&stack, json!({"steps": conditions, "options": {"continueOnError": true}})).await;
    assert_eq!(statuses(&went), ["error", "skipped", "skipped", "completed", "completed"]);
    let made = batch(&stack, json!({"steps": [{"action": ANONYMOUS, "params": {"name": "x"}}]})).await;
    assert!(made["steps"][0]["result"]["user_api_key"].as_str().unwrap().starts_with("anon_ask_"));
    let context = json!({"steps": [{"action": "projects.get_projects"}], "context": {"project_id": 1025, "user_id": 123}});
    assert_eq!(batch(&stack, context).await["success"], true);
}

#[tokio::test]
async fn a_batch_of_the_wrong_form_runs_nothing() {
    let stack = Stack::new().await;
    let one = json!([create("x")]);
    let keyed = json!({"steps": [{"action": ANONYMOUS, "params": {"name": "x"}}], "options": {"idempotency_key": "k"}});
    for (body, status, said) in [
        (json!({}), 422, "`steps` is required: an array of objects"),
        (json!({"steps": []}), 422, "a batch has 1 to 100 steps"),
        (json!({"steps": vec![create("x"); 101]}), 422, "a batch has 1 to 100 steps"),
        (json!({"steps": [7]}), 422, "`steps` must be an array of objects, not [7]"),
        (json!({"steps": [{}]}), 422, "`action` is required: a string that is not blank"),
        (
            json!({"steps": [create("x"), {"action": "a", "tool": "b"}]}),
            422,
            "\"tool\" is not an argument of a step, which takes id, action, params",
        ),
        (
            json!({"steps": [{"action": "a", "if": 7}]}),
            422,
            "`if` must be true, false or the id of an earlier step",
        ),
        (
            json!({"steps": [{"action": "a", "if": "later"}, {"action": "a", "id": "later"}]}),
            422,
            "`if` of step 1 names no earlier step",
        ),
        (json!({"steps": [{"action": "a", "id": "2"}, {"action": "a"}]}), 422, "two steps have the id 2"),
        (
            json!({"steps": one, "options": {"stopOnError": true, "continueOnError": true}}),
            422,
            "`stopOnError` and `continueOnError` contradict each other",
        ),
        (
            json!({"steps": one, "options": {"async": "yes"}}),
            422,
            "`async` must be true or false, not \"yes\"",
        ),
        (
            json!({"steps": one, "options": {"idempotency_key": ""}}),
            422,
            "`idempotency_key` must be a string that is not blank, not \"\"",
        ),
        (
            json!({"steps": one, "options": {"idempotency_key": "k".repeat(256)}}),
            422,
            "`idempotency_key` has more than 255 characters",
        ),
        (
            json!({"steps": one, "context": {"project_id": "1"}}),
            422,
            "`project_id` must be a positive integer, not \"1\"",
        ),
        (json!({"steps": one, "context": {"user_id": 124}}), 403, "Insufficient permissions"),
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}),
            422,
            "this stand-in takes {\"steps\": […]} here, and does not speak MCP",
        ),
        (
            keyed,
            422,
            "projects.create_project_anonymous makes keys, which are shown once: call it without async and idempotency_key",
        ),
    ] {
        let got = stack.post(BASE, &stack.free, &body).go().await;
        assert_eq!(refusal(&got), (status, format!("HTTP {status}: {said}")), "{body}");
    }
    assert_eq!(stack.gives(&stack.free, "projects.get_projects", json!({})).await["total"], 0);
}

#[tokio::test]
async fn an_idempotency_key_makes_a_batch_run_once() {
    let home = tempfile::tempdir().unwrap();
    let stack = Stack::of(directory(home.path()).await).await;
    let body = |name: &str| json!({"steps": [create(name)], "options": {"idempotency_key": "k"}});
    let first = batch(&stack, body("a")).await;
    let repeats = (0..8).map(|_| batch(&stack, body("a")));
    for again in futures_util::future::join_all(repeats).await {
        assert_eq!(again["steps"], first["steps"]);
        assert_ne!(again["trace_id"], first["trace_id"]);
    }
    let other = stack.post(BASE, &stack.free, &body("b")).go().await;
    assert_eq!(refusal(&other), (409, "HTTP 409: this idempotency_key belongs to another request".into()));
    let anothers = stack.post(BASE, &stack.professional, &body("b")).go().await;
    assert_eq!(anothers.json()["success"], true, "a key is its user's");
    let again = Stack::of(directory(home.path()).await).await;
    assert_eq!(batch(&again, body("a")).await["steps"], first["steps"], "it survives the process");
    assert_eq!(stack.gives(&stack.free, "projects.get_projects", json!({})).await["total"], 1);
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    database.execute("UPDATE agentstack_batch SET created_at = '2020-01-01T00:00:00.000Z'", []).unwrap();
    assert_ne!(batch(&stack, body("a")).await["steps"], first["steps"], "it is kept for a day");
}

#[tokio::test]
async fn a_job_is_looked_at_until_it_has_ended_by_its_user_only() {
    let home = tempfile::tempdir().unwrap();
    let stack = Stack::of(directory(home.path()).await).await;
    let start = async |body: Value| {
        let got = stack.post(BASE, &stack.free, &body).go().await;
        assert_eq!((got.status, &got.json()["data"]["status"]), (202, &json!("queued")), "{got:?}");
        got.json()["data"]["job_id"].as_str().unwrap().to_owned()
    };
    let look = async |id: &str, key: &str| stack.ask("GET", &format!("{BASE}/jobs/{id}"), key).go().await;
    let ended = async |id: &str| {
        soon(async {
            loop {
                let data = look(id, &stack.free).await.json()["data"].clone();
                if data["status"] != "queued" {
                    return data;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    };
    let id = start(json!({"steps": [create("a")], "options": {"async": true, "idempotency_key": "k"}})).await;
    let done = ended(&id).await;
    assert_eq!(
        (&done["job_id"], &done["status"], &done["progress"]),
        (&json!(id), &json!("completed"), &json!(100))
    );
    assert_eq!(done["result"]["steps"][0]["result"]["project_id"], 1025);
    let same =
        start(json!({"steps": [create("a")], "options": {"async": true, "idempotency_key": "k"}})).await;
    assert_eq!(same, id);
    let bad = start(json!({"steps": [create("b"), {"action": "no.such"}], "options": {"async": true}})).await;
    let failed = ended(&bad).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"].as_str().unwrap().starts_with("step 2: HTTP 404"), "{failed}");
    assert_eq!(statuses(&failed["result"]), ["completed", "error"]);
    let unknown = (404, "HTTP 404: there is no such job".to_owned());
    assert_eq!(refusal(&look(&id, &stack.professional).await), unknown);
    assert_eq!(refusal(&look("1'--", &stack.free).await), unknown);
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let lost =
        "INSERT INTO agentstack_job (id, user_id, status, created_at) VALUES ('lost', 123, 'queued', '2020')";
    database.execute(lost, []).unwrap();
    let data = look("lost", &stack.free).await.json()["data"].clone();
    assert_eq!((&data["status"], data.get("result")), (&json!("failed"), None));
}

#[tokio::test]
async fn execute_runs_an_action_or_steps_and_never_itself() {
    let stack = Stack::new().await;
    let run = async |params: Value| stack.call(&stack.free, EXECUTE, params).await;
    let one = run(json!({"action": "projects.create_project", "params": {"name": "a"}})).await.json();
    assert_eq!(one["data"]["project_id"], 1025);
    let several =
        run(json!({"steps": [create("b"), {"action": "no.such"}], "options": {"idempotency_key": "k"}}))
            .await;
    let data = &several.json()["data"];
    assert_eq!((&data["success"], statuses(data)), (&json!(false), vec!["completed", "error"]));
    for (params, status) in [
        (json!({"action": EXECUTE, "params": {"action": "projects.get_projects"}}), 422),
        (json!({"action": "no.such"}), 404),
        (json!({"action": "a", "steps": []}), 422),
        (json!({"action": "a", "options": {}}), 422),
        (json!({"steps": [create("x")], "params": {}}), 422),
        (json!({"steps": [create("x")], "options": {"async": true}}), 422),
        (json!({"steps": [create("x")], "context": {"user_id": 1}}), 403),
    ] {
        assert_eq!(refusal(&run(params.clone()).await).0, status, "{params}");
    }
    let nested = run(json!({"steps": [{"action": EXECUTE, "params": {}}]})).await.json();
    assert!(nested["data"]["steps"][0]["error"].as_str().unwrap().contains("cannot run itself"), "{nested}");
}
