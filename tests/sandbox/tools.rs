//! The seven documented tools.

use super::*;

#[tokio::test]
async fn a_created_task_has_the_documented_defaults() {
    let sandbox = memory().await;
    let task = call(&sandbox, "create_task", json!({"title": "Write it"})).await;
    let id = task["id"].as_str().unwrap();
    assert!(id.len() == 36 && id.matches('-').count() == 4, "{id}");
    assert_eq!((&task["title"], &task["description"]), (&json!("Write it"), &json!(null)));
    assert_eq!((&task["status"], &task["priority"]), (&json!("backlog"), &json!("medium")));
    assert_eq!(
        (&task["assignee"], &task["due_date"], &task["labels"]),
        (&json!(null), &json!(null), &json!([]))
    );
    assert_eq!(call(&sandbox, "get_task", json!({"id": id.to_uppercase()})).await, task);
}

#[tokio::test]
async fn a_created_task_keeps_what_it_was_given_and_lowercases_labels() {
    let sandbox = memory().await;
    let given = json!({
        "title": "Größe prüfen", "description": "<b>now</b>\n'; DROP TABLE", "status": "review", "assignee": "Ana",
        "priority": "urgent", "due_date": "2026-11-30T17:00:00+01:00", "labels": ["Bug", "BACKEND", "ÄRGER"]
    });
    let task = call(&sandbox, "create_task", given.clone()).await;
    for (name, value) in given.as_object().unwrap().iter().filter(|(name, _)| *name != "labels") {
        assert_eq!(&task[name], value);
    }
    assert_eq!(task["labels"], json!(["bug", "backend", "ärger"]));
}

#[tokio::test]
async fn bad_arguments_are_a_result_that_names_the_argument_and_what_was_expected() {
    let sandbox = memory().await;
    for (tool, arguments, said) in [
        ("create_task", json!({}), "`title` is required: a string that is not blank"),
        ("create_task", json!({"title": "  "}), "`title` must be a string that is not blank, not \"  \""),
        ("create_task", json!({"title": 7}), "`title` must be a string that is not blank, not 7"),
        (
            "create_task",
            json!({"title": "x", "status": "doing"}),
            "`status` must be one of backlog, todo, in_progress, review, done, not \"doing\"",
        ),
        (
            "create_task",
            json!({"title": "x", "priority": "HIGH"}),
            "`priority` must be one of low, medium, high, urgent, not \"HIGH\"",
        ),
        (
            "create_task",
            json!({"title": "x", "labels": "bug"}),
            "`labels` must be an array of strings, not \"bug\"",
        ),
        (
            "create_task",
            json!({"title": "x", "labels": ["a", 1]}),
            "`labels` must be an array of strings, not [\"a\",1]",
        ),
        (
            "create_task",
            json!({"title": "x", "due_date": "tomorrow"}),
            "`due_date` must be an ISO-8601 date or date-time such as 2026-11-30 or 2026-11-30T17:00:00Z, not \"tomorrow\"",
        ),
        (
            "create_task",
            json!({"title": "x", "due": "2026-11-30"}),
            "\"due\" is not an argument of create_task, which takes title, description, status, assignee, priority, due_date, labels",
        ),
        ("get_task", json!({}), "`id` is required: a UUID"),
        ("get_task", json!({"id": "7"}), "`id` must be a UUID, not \"7\""),
        ("update_task", json!({"title": "x"}), "`id` is required: a UUID"),
        (
            "update_task",
            json!({"id": NO_ID, "status": "doing"}),
            "`status` must be one of backlog, todo, in_progress, review, done, not \"doing\"",
        ),
        ("search_tasks", json!({}), "`query` is required: a string that is not blank"),
        ("list_tasks", json!({"limit": 0}), "`limit` must be an integer from 1 to 100, not 0"),
        ("list_tasks", json!({"limit": 101}), "`limit` must be an integer from 1 to 100, not 101"),
        (
            "search_tasks",
            json!({"query": "x", "limit": 101}),
            "`limit` must be an integer from 1 to 100, not 101",
        ),
        ("list_projects", json!({"limit": "5"}), "`limit` must be an integer from 1 to 100, not \"5\""),
        (
            "get_workspace_info",
            json!({"x": 1}),
            "\"x\" is not an argument of get_workspace_info, which takes no arguments",
        ),
    ] {
        assert_eq!(refused(&sandbox, tool, arguments).await, said);
    }
    for tool in ["get_task", "update_task"] {
        let said = refused(&sandbox, tool, json!({"id": NO_ID})).await;
        assert_eq!(said, format!("`id`: there is no task {NO_ID} in your workspace"));
    }
    assert!(titles(&sandbox, "list_tasks", json!({})).await.is_empty(), "nothing was made of a bad call");
}

#[tokio::test]
async fn list_tasks_filters_and_keeps_to_the_limit_newest_first() {
    let sandbox = memory().await;
    for n in 0..60 {
        let status = if n % 2 == 0 { "todo" } else { "done" };
        let assignee = if n % 3 == 0 { "ana" } else { "Ben" };
        call(
            &sandbox,
            "create_task",
            json!({"title": n.to_string(), "status": status, "assignee": assignee}),
        )
        .await;
    }
    let all = titles(&sandbox, "list_tasks", json!({})).await;
    assert_eq!(
        (all.len(), all[0].as_str(), all[49].as_str()),
        (50, "59", "10"),
        "50 by default, newest first"
    );
    assert_eq!(titles(&sandbox, "list_tasks", json!({"limit": 100})).await.len(), 60);
    assert_eq!(titles(&sandbox, "list_tasks", json!({"limit": 1})).await, ["59"]);
    assert_eq!(titles(&sandbox, "list_tasks", json!({"status": "todo"})).await.len(), 30);
    assert_eq!(titles(&sandbox, "list_tasks", json!({"status": "review"})).await.len(), 0);
    assert_eq!(titles(&sandbox, "list_tasks", json!({"assignee": "ana"})).await.len(), 20);
    assert_eq!(titles(&sandbox, "list_tasks", json!({"assignee": "Ana"})).await.len(), 0);
    let both = json!({"status": "todo", "assignee": "ana", "limit": 3});
    assert_eq!(titles(&sandbox, "list_tasks", both).await, ["54", "48", "42"]);
}

#[tokio::test]
async fn search_is_a_partial_match_in_any_case_and_no_character_is_a_wildcard() {
    let sandbox = memory().await;
    for (title, description) in [
        ("Fix LOGIN bug", "button"),
        ("Pay", "the login page of ÄRGER"),
        ("100% done", "under_score"),
        ("1000 done", "underscore"),
    ] {
        call(&sandbox, "create_task", json!({"title": title, "description": description, "status": "todo"}))
            .await;
    }
    call(&sandbox, "create_task", json!({"title": "no description", "assignee": "ana"})).await;
    for (query, expected) in [
        ("login", vec!["Pay", "Fix LOGIN bug"]),
        ("OGIN B", vec!["Fix LOGIN bug"]),
        ("ärger", vec!["Pay"]),
        ("0% d", vec!["100% done"]),
        ("r_s", vec!["100% done"]),
        ("%", vec!["100% done"]),
        ("_", vec!["100% done"]),
        ("bugbutton", vec![]),
        ("'", vec![]),
    ] {
        assert_eq!(titles(&sandbox, "search_tasks", json!({"query": query})).await, expected, "{query}");
    }
    assert_eq!(titles(&sandbox, "search_tasks", json!({"query": "done", "limit": 1})).await, ["1000 done"]);
    assert!(titles(&sandbox, "search_tasks", json!({"query": "done", "status": "review"})).await.is_empty());
    let mine = json!({"query": "DESC", "assignee": "ana", "status": "backlog"});
    assert_eq!(titles(&sandbox, "search_tasks", mine).await, ["no description"]);
}

#[tokio::test]
async fn search_stops_at_fifty_when_no_limit_is_given() {
    let sandbox = memory().await;
    for _ in 0..51 {
        call(&sandbox, "create_task", json!({"title": "same"})).await;
    }
    assert_eq!(titles(&sandbox, "search_tasks", json!({"query": "same"})).await.len(), 50);
}

#[tokio::test]
async fn update_task_changes_what_is_named_and_nothing_else() {
    let sandbox = memory().await;
    let given = json!({"title": "a", "description": "d", "assignee": "ana", "labels": ["x", "y"], "due_date": "2026-01-01"});
    let before = call(&sandbox, "create_task", given).await;
    let id = &before["id"];
    assert_eq!(call(&sandbox, "update_task", json!({"id": id})).await, before, "no field, no change");
    for (name, value) in [
        ("title", json!("b")),
        ("description", json!("")),
        ("assignee", json!("Ben")),
        ("priority", json!("low")),
        ("due_date", json!("2027-02-28")),
        ("labels", json!(["Z"])),
        ("status", json!("done")),
    ] {
        let was = call(&sandbox, "get_task", json!({"id": id})).await;
        let now = call(&sandbox, "update_task", json!({"id": id, name: value.clone()})).await;
        let expected = if name == "labels" { json!(["z"]) } else { value };
        assert_eq!(now[name], expected);
        for (field, value) in was.as_object().unwrap() {
            let moves = name == "status" && field == "column_id";
            if field != name && field != "updated_at" && !moves {
                assert_eq!(&now[field], value, "{field} after {name}");
            }
        }
        assert_eq!(call(&sandbox, "get_task", json!({"id": id})).await, now);
    }
    assert_eq!(call(&sandbox, "update_task", json!({"id": id, "labels": []})).await["labels"], json!([]));
}

#[tokio::test]
async fn a_new_status_moves_the_task_to_the_matching_column_of_its_board() {
    let sandbox = memory().await;
    let projects = call(&sandbox, "list_projects", json!({})).await["projects"].clone();
    let task = call(&sandbox, "create_task", json!({"title": "x"})).await;
    assert_eq!(task["board_id"], projects[0]["id"], "a new task goes to the first board");
    for status in STATUSES {
        let moved = call(&sandbox, "update_task", json!({"id": task["id"], "status": status})).await;
        let column =
            projects[0]["columns"].as_array().unwrap().iter().find(|c| c["status"] == status).unwrap();
        assert_eq!((&moved["column_id"], &moved["board_id"]), (&column["id"], &task["board_id"]));
    }
}

#[tokio::test]
async fn list_projects_lists_three_boards_with_their_columns() {
    let sandbox = memory().await;
    call(&sandbox, "create_task", json!({"title": "x"})).await;
    let projects = call(&sandbox, "list_projects", json!({})).await["projects"].clone();
    let projects = projects.as_array().unwrap();
    assert_eq!(projects.len(), 3);
    for project in projects {
        let statuses: Vec<_> = project["columns"].as_array().unwrap().iter().map(|c| &c["status"]).collect();
        assert_eq!(statuses, STATUSES);
        assert!(project["name"].is_string() && project["id"].is_string());
    }
    let counts: Vec<_> = projects.iter().map(|project| &project["task_count"]).collect();
    assert_eq!(counts, [1, 0, 0]);
    let two = call(&sandbox, "list_projects", json!({"limit": 2})).await;
    assert_eq!(two["projects"].as_array().unwrap()[..], projects[..2]);
}

#[tokio::test]
async fn get_workspace_info_has_exactly_the_documented_fields() {
    let sandbox = memory().await;
    for (status, count) in STATUSES.iter().zip([1, 2, 3, 4, 5]) {
        for _ in 0..count {
            call(&sandbox, "create_task", json!({"title": "x", "status": status})).await;
        }
    }
    let summary = call(&sandbox, "get_workspace_info", json!({})).await;
    let fields: Vec<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = "workspace_name board_count boards total_tasks active_tasks tasks_by_status authenticated_key user_id";
    assert_eq!(fields.join(" "), documented);
    assert_eq!((&summary["workspace_name"], &summary["board_count"]), (&json!("My Workspace"), &json!(3)));
    for board in summary["boards"].as_array().unwrap() {
        assert_eq!(board.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "name"]);
    }
    assert_eq!((&summary["total_tasks"], &summary["active_tasks"]), (&json!(15), &json!(5)));
    let counts = json!({"backlog": 1, "todo": 2, "in_progress": 3, "review": 4, "done": 5});
    assert_eq!(summary["tasks_by_status"].to_string(), counts.to_string());
    assert_eq!(summary["authenticated_key"], "Sandbox key 1");
    assert_eq!(summary["user_id"].as_str().unwrap().len(), 36);
}
