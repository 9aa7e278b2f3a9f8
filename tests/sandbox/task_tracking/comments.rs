//! The optional comment tool and the verification of customers.

use super::*;

/// Sets what every key may do; `place` stays.
fn set(home: &Path, comments: bool, factors: Value) {
    let database = rusqlite::Connection::open(home.join("sandbox.db")).unwrap();
    let change =
        "UPDATE api_key SET settings = json_set(settings, '$.comments', json(?1), '$.factors', json(?2))
        WHERE service = 'task-tracking'";
    database.execute(change, [comments.to_string(), factors.to_string()]).unwrap();
}

#[tokio::test]
async fn a_key_without_the_comment_tool_neither_lists_nor_calls_it() {
    let sandbox = memory().await;
    let bearer = format!("Bearer {}", without_comments(&sandbox));
    let sent = |message: &Value| post(&sandbox, message).with("authorization", &bearer);
    let listed = sent(&request(1, "tools/list", json!({}))).go().await.json();
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, TOOLS[..5]);
    let arguments = json!({"taskId": task(&sandbox).await, "comment": "x"});
    let got = sent(&tools_call("addCustomerComment", arguments)).go().await;
    assert_eq!(got.error(), (200, -32602, json!(1)));
    assert_eq!(got.json()["error"]["message"], "there is no tool addCustomerComment");
}

#[tokio::test]
async fn a_comment_is_taken_once_two_factors_match() {
    let sandbox = memory().await;
    let id = task(&sandbox).await;
    let right =
        [("taskNumber", "#1005"), ("customerName", " russell  HAYES "), ("phoneNumber", "+1 703 597 4534")];
    for given in [&right[..0], &right[..1], &right[1..2], &right[2..]] {
        let mut arguments = json!({"taskId": id, "comment": "x"});
        for (name, value) in given {
            arguments[name] = json!(value);
        }
        let said = refused(&sandbox, "addCustomerComment", arguments).await;
        assert!(said.starts_with("customer verification required: 2 of these 3 factors"), "{said}");
        assert!(said.ends_with(&format!("Given: {}.", given.len())), "{said}");
        for factor in ["task number", "customer name", "phone number"] {
            assert!(said.contains(factor), "{said}");
        }
    }
    for left_out in 0..3 {
        let mut arguments =
            json!({"taskId": id, "comment": format!("'); DROP TABLE tracking_task; -- {left_out}")});
        for (at, (name, value)) in right.iter().enumerate().filter(|(at, _)| *at != left_out) {
            arguments[name] = json!(value);
            assert_ne!(at, left_out);
        }
        let added = call(&sandbox, "addCustomerComment", arguments.clone()).await;
        assert_eq!((&added["taskId"], &added["comment"]["text"]), (&id, &arguments["comment"]));
        assert_eq!(added["comment"]["author"], "Russell Hayes");
        assert_eq!(added["comment"]["byCustomer"], true);
        let listed = call(&sandbox, "listTaskComments", json!({"taskId": id})).await;
        assert_eq!(listed["comments"][0], added["comment"]);
        assert_eq!(listed["count"], 3 + left_out);
    }
    let two = call(&sandbox, "listTaskComments", json!({"taskId": id, "limit": 2})).await;
    assert_eq!(two["count"], 2);
    let seeded = call(&sandbox, "listTaskComments", json!({"taskId": id})).await["comments"][4].clone();
    let fields: Vec<_> = seeded.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["id", "author", "byCustomer", "text", "createdAt"]);
    assert_eq!((&seeded["author"], &seeded["byCustomer"]), (&json!("Priya Shah"), &json!(false)));
}

#[tokio::test]
async fn a_wrong_factor_refuses_the_comment_and_is_not_named() {
    let sandbox = memory().await;
    let id = task(&sandbox).await;
    let right = json!({
        "taskId": id, "comment": "x", "taskNumber": "1005", "customerName": "Russell Hayes", "phoneNumber": "7035974534"
    });
    let mut sentences = Vec::new();
    for (name, wrong) in [
        ("taskNumber", "1004"),
        ("taskNumber", ""),
        ("customerName", "Russell"),
        ("phoneNumber", "5974534"),
        ("phoneNumber", ""),
        ("phoneNumber", "7035974535"),
    ] {
        let mut arguments = right.clone();
        arguments[name] = json!(wrong);
        sentences.push(refused(&sandbox, "addCustomerComment", arguments).await);
    }
    assert!(sentences[0].ends_with("What was given does not match this task."), "{sentences:?}");
    assert!(sentences.iter().all(|sentence| *sentence == sentences[0]), "{sentences:?}");
    assert_eq!(call(&sandbox, "listTaskComments", json!({"taskId": id})).await["count"], 2);
    call(&sandbox, "addCustomerComment", right).await;
}

#[tokio::test]
async fn the_keys_settings_say_how_many_factors_are_needed() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let id = task(&sandbox).await;
    let factors =
        [("taskNumber", "1005"), ("customerName", "Russell Hayes"), ("phoneNumber", "703.597.4534")];
    for (setting, needed) in [(json!(0), 0), (json!(1), 1), (json!(3), 3), (json!(null), 3), (json!(9), 3)] {
        set(home.path(), true, setting);
        for given in 0..=3 {
            let mut arguments = json!({"taskId": id, "comment": "x"});
            for (name, value) in &factors[..given] {
                arguments[name] = json!(value);
            }
            let (is_error, said) = said(&sandbox, "addCustomerComment", arguments).await;
            assert_eq!(is_error, given < needed, "{given} of {needed}: {said}");
        }
    }
    set(home.path(), false, json!(0));
    let got = post(&sandbox, &tools_call("addCustomerComment", json!({}))).go().await;
    assert_eq!(got.error(), (200, -32602, json!(1)));
}
