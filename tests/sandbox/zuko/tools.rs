//! The five documented tools.

use super::*;

fn titles(tasks: &Value) -> Vec<&str> {
    tasks.as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn list_organizations_is_an_array_of_the_callers_organizations() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    assert_eq!(
        dana.calls("list_organizations", json!({})).await,
        json!([
            {"id": 1, "name": "Acme", "slug": "acme", "role": "owner"},
            {"id": 2, "name": "Globex", "slug": "globex", "role": "member"},
        ])
    );
    let sam = User::new(&sandbox, SAM).await;
    let his = json!([{"id": 1, "name": "Acme", "slug": "acme", "role": "member"}]);
    assert_eq!(sam.calls("list_organizations", json!({})).await, his);
    let newest = Sent::post(&sandbox, &tools_call("list_organizations", json!({}))).at(MCP);
    let newest = newest.with("authorization", &format!("Bearer {}", sam.token));
    let got = newest.with("mcp-protocol-version", "2025-11-25").go().await;
    assert!(got.json()["result"].get("structuredContent").is_none(), "a list is no object: {got:?}");
}

#[tokio::test]
async fn a_task_has_its_owners_subtasks_and_parent() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    let mut task = dana.calls("get_task", json!({"taskId": 1})).await;
    for name in ["createdAt", "updatedAt"] {
        assert!(task.as_object_mut().unwrap().remove(name).unwrap().as_str().unwrap().ends_with('Z'));
    }
    let members = [
        json!({"id": 11, "name": "Dana Demo", "email": "dana@zuko.example"}),
        json!({"id": 12, "name": "Sam Solo", "email": "sam@zuko.example"}),
    ];
    assert_eq!(
        task,
        json!({
            "id": 1, "title": "Prepare the spring launch", "status": "IN_PROGRESS", "organizationId": 1,
            "owners": members, "completedAt": null,
            "description": {"text": "Everything until the first of March."},
            "subtasks": [
                {"id": 2, "title": "Write the announcement", "status": "TODO"},
                {"id": 3, "title": "Book the venue", "status": "DONE"},
            ],
            "parentTask": null,
        })
    );
    let venue = dana.calls("get_task", json!({"taskId": 3.0})).await;
    let parent = json!({"id": 1, "title": "Prepare the spring launch", "status": "IN_PROGRESS"});
    assert_eq!((&venue["parentTask"], &venue["subtasks"]), (&parent, &json!([])));
    assert_eq!((&venue["completedAt"], &venue["owners"]), (&json!("2026-02-02T09:30:00Z"), &json!([])));
}

#[tokio::test]
async fn a_created_task_has_defaults_and_keeps_what_it_was_given() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    let plain = dana.calls("create_task", json!({"title": "Plain", "organizationId": 2})).await;
    assert!(plain["id"].as_i64().unwrap() > 5);
    assert_eq!(
        [
            &plain["status"],
            &plain["description"],
            &plain["completedAt"],
            &plain["owners"],
            &plain["organizationId"]
        ],
        [&json!("TODO"), &json!(null), &json!(null), &json!([]), &json!(2)]
    );
    assert_eq!(dana.calls("get_task", json!({"taskId": plain["id"]})).await, plain);
    for description in [
        json!(null),
        json!("text"),
        json!(7),
        json!([1, {"a": null}]),
        json!({"type": "doc", "content": [{"type": "paragraph"}], "größe": "𝄞\u{0}"}),
    ] {
        let given = json!({"title": "Größe '); DROP TABLE zuko_task; --", "organizationId": 1, "description": description});
        let task = dana.calls("create_task", given.clone()).await;
        assert_eq!((&task["title"], &task["description"]), (&given["title"], &description));
    }
    for status in ["TODO", "IN_PROGRESS", "DONE", "CANCELLED"] {
        for assignee in ["12", "SAM@zuko.example", "Sam Solo"] {
            let given = json!({"title": "x", "organizationId": 1, "status": status, "assignee": assignee});
            let task = dana.calls("create_task", given).await;
            assert_eq!((&task["status"], &task["owners"][0]["id"]), (&json!(status), &json!(12)));
            assert_eq!(task["completedAt"], json!(null), "only supplied fields");
        }
    }
}

#[tokio::test]
async fn only_a_user_of_one_organization_may_leave_it_out() {
    let sandbox = memory().await;
    let (dana, sam) = (User::new(&sandbox, DANA).await, User::new(&sandbox, SAM).await);
    let said = dana.refused("create_task", json!({"title": "x"})).await;
    assert_eq!(said, "`organizationId` is required: you belong to 2 organizations, see list_organizations");
    assert_eq!(sam.calls("create_task", json!({"title": "His"})).await["organizationId"], 1);
    assert_eq!(titles(&dana.calls("list_tasks", json!({})).await)[0], "His", "Dana is in Acme, too");
}

#[tokio::test]
async fn another_organizations_tasks_are_as_unknown_as_missing_ones() {
    let sandbox = memory().await;
    let sam = User::new(&sandbox, SAM).await;
    for id in [4, 999_999, i64::MAX] {
        let said = format!("`taskId`: there is no task {id} in your organizations");
        assert_eq!(sam.refused("get_task", json!({"taskId": id})).await, said);
        assert_eq!(sam.refused("update_task", json!({"taskId": id, "title": "x"})).await, said);
    }
    for id in [2, 3] {
        let said = format!("`organizationId`: you do not belong to an organization {id}");
        assert_eq!(sam.refused("list_tasks", json!({"organizationId": id})).await, said);
        assert_eq!(sam.refused("create_task", json!({"title": "x", "organizationId": id})).await, said);
    }
    let tasks = sam.calls("list_tasks", json!({})).await;
    assert_eq!(titles(&tasks), ["Book the venue", "Write the announcement", "Prepare the spring launch"]);
    let said = sam.refused("create_task", json!({"title": "x", "assignee": "nobody"})).await;
    assert!(said.starts_with("`assignee` must be the id, e-mail address or name of a member"), "{said}");
    let dana = User::new(&sandbox, DANA).await;
    let elsewhere = json!({"title": "x", "organizationId": 2, "assignee": "Sam Solo"});
    assert_eq!(dana.refused("create_task", elsewhere).await, said, "Sam is not in Globex");
}

#[tokio::test]
async fn list_tasks_gives_the_fifty_most_recently_updated() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    for n in 0..50 {
        let (status, organization) = (if n % 2 == 0 { "DONE" } else { "TODO" }, 1 + n % 5 / 4);
        let task = json!({"title": format!("task {n}"), "status": status, "organizationId": organization});
        dana.calls("create_task", task).await;
    }
    dana.calls("update_task", json!({"taskId": 1, "status": "DONE"})).await;
    let all = dana.calls("list_tasks", json!({})).await;
    assert_eq!(
        (titles(&all).len(), titles(&all)[0], titles(&all)[1]),
        (50, "Prepare the spring launch", "task 49")
    );
    assert_eq!(titles(&all)[49], "task 1");
    let fields: Vec<_> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.join(" "), "id title status organizationId owners completedAt createdAt updatedAt");
    let of = |arguments| dana.calls("list_tasks", arguments);
    assert_eq!(titles(&of(json!({"status": "DONE"})).await).len(), 27);
    assert_eq!(titles(&of(json!({"status": "CANCELLED"})).await), ["Archive old invoices"]);
    assert_eq!(titles(&of(json!({"organizationId": 2})).await).len(), 12);
    let both = of(json!({"organizationId": 2, "status": "IN_PROGRESS"})).await;
    assert_eq!(titles(&both).len(), 0);
}

#[tokio::test]
async fn update_task_changes_supplied_fields_only() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    for (name, value) in [
        ("title", json!("New")),
        ("description", json!({"a": [1, 2]})),
        ("description", json!(null)),
        ("status", json!("DONE")),
        ("status", json!("CANCELLED")),
        ("completedAt", json!("2026-11-30")),
        ("completedAt", json!("2026-11-30T17:00:00.5+01:00")),
    ] {
        let before = dana.calls("get_task", json!({"taskId": 1})).await;
        let after = dana.calls("update_task", json!({"taskId": 1, name: value})).await;
        assert_eq!(after[name], value);
        for (field, value) in before.as_object().unwrap() {
            if field != name && field != "updatedAt" {
                assert_eq!(&after[field], value, "{field} after {name}");
            }
        }
        assert_eq!(dana.calls("get_task", json!({"taskId": 1})).await, after);
    }
    let owned = dana.calls("update_task", json!({"taskId": 1, "assignee": "dana@zuko.example"})).await;
    assert_eq!(owned["owners"], json!([{"id": 11, "name": "Dana Demo", "email": "dana@zuko.example"}]));
    assert_eq!(dana.calls("update_task", json!({"taskId": 1})).await, owned, "no field, no change");
}

#[tokio::test]
async fn bad_arguments_are_results_that_name_the_argument() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    let before = dana.calls("list_tasks", json!({})).await;
    let long = "x".repeat(1 << 20);
    for (tool, arguments, said) in [
        ("list_organizations", json!({"x": 1}), "\"x\" is not an argument of list_organizations"),
        (
            "list_tasks",
            json!({"status": "todo"}),
            "`status` must be one of TODO, IN_PROGRESS, DONE, CANCELLED, not",
        ),
        ("list_tasks", json!({"status": null}), "`status` must be one of"),
        (
            "list_tasks",
            json!({"organizationId": "1"}),
            "`organizationId` must be a positive integer, not \"1\"",
        ),
        ("list_tasks", json!({"organizationId": 1.5}), "`organizationId` must be a positive integer"),
        ("list_tasks", json!({"organizationId": -1}), "`organizationId` must be a positive integer"),
        ("get_task", json!({}), "`taskId` is required: a positive integer"),
        ("get_task", json!({"taskId": "1 OR 1=1"}), "`taskId` must be a positive integer"),
        ("get_task", json!({"taskId": 0}), "`taskId` must be a positive integer"),
        ("get_task", json!({"taskId": 1e300}), "`taskId` must be a positive integer"),
        (
            "get_task",
            json!({"taskId": "6f9619ff-8b86-4011-b42d-00c04fc964ff"}),
            "`taskId` must be a positive",
        ),
        ("create_task", json!({"organizationId": 1}), "`title` is required"),
        (
            "create_task",
            json!({"title": " ", "organizationId": 1}),
            "`title` must be a string that is not blank",
        ),
        ("create_task", json!({"title": 7, "organizationId": 1}), "`title` must be a string"),
        (
            "create_task",
            json!({"title": long, "organizationId": 1}),
            "`title` must have at most 1000 characters",
        ),
        (
            "create_task",
            json!({"title": "x", "organizationId": 1, "status": "OPEN"}),
            "`status` must be one of",
        ),
        (
            "create_task",
            json!({"title": "x", "organizationId": 1, "assignee": 12}),
            "`assignee` must be a string",
        ),
        (
            "create_task",
            json!({"title": "x", "organizationId": 1, "assignee": long}),
            "`assignee` must be the id",
        ),
        (
            "create_task",
            json!({"title": "x", "organizationId": 1, "assignee": "' OR 1=1 --"}),
            "`assignee` must",
        ),
        (
            "create_task",
            json!({"title": "x", "organizationId": 1, "completedAt": "2026-11-30"}),
            "\"completedAt\" is not",
        ),
        (
            "create_task",
            json!({"title": "x", "organizationId": 1, "parentTaskId": 1}),
            "\"parentTaskId\" is not",
        ),
        ("update_task", json!({"title": "x"}), "`taskId` is required"),
        ("update_task", json!({"taskId": 1, "title": long}), "`title` must have at most 1000 characters"),
        ("update_task", json!({"taskId": 1, "status": 1}), "`status` must be one of"),
        (
            "update_task",
            json!({"taskId": 1, "completedAt": "yesterday"}),
            "`completedAt` must be an ISO-8601 date",
        ),
        ("update_task", json!({"taskId": 1, "completedAt": null}), "`completedAt` must be an ISO-8601 date"),
        ("update_task", json!({"taskId": 1, "assignee": "", "title": "x"}), "`assignee` must be a string"),
        ("update_task", json!({"taskId": 1, "organizationId": 2}), "\"organizationId\" is not an argument"),
    ] {
        let answer = dana.refused(tool, arguments.clone()).await;
        assert!(answer.starts_with(said) && answer.len() < 400, "{tool}: {answer}");
    }
    assert_eq!(dana.calls("list_tasks", json!({})).await, before, "nothing was made of a bad call");
}

#[tokio::test]
async fn a_large_description_is_kept() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    let description = json!({"text": "é'\"\\".repeat(1 << 18)});
    let given = json!({"title": "x".repeat(1000), "organizationId": 1, "description": description});
    assert_eq!(dana.calls("create_task", given).await["description"], description);
}
