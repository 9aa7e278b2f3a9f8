//! Projects, tasks, what is only created, and the reach of keys.

use super::*;

#[tokio::test]
async fn a_project_is_created_read_changed_and_filtered() {
    let sandbox = memory().await;
    let external = |tool, arguments| called(&sandbox, "key", tool, arguments);
    let client = external("create_client", json!({"companyName": "Atlas", "email": "a@atlas.example"})).await;
    let given = json!({
        "name": "Annual report", "clientId": client["id"], "description": "64 pages", "startDate": "2026-12-01",
        "endDate": "2027-02-26T17:00:00Z", "budget": 1250.5, "estimatedHours": 40, "notes": "n", "currency": "CHF"
    });
    let project = external("create_project", given.clone()).await;
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(&project[field], value, "{field}");
    }
    assert_eq!((&project["status"], &project["companyId"]), (&json!("in_progress"), &json!(null)));
    let id = &project["id"];
    let got = external("get_project", json!({"projectId": id})).await;
    assert_eq!((&got["client"]["companyName"], &got["taskCount"]), (&json!("Atlas"), &json!(0)));
    assert_eq!(got["company"], json!(null));
    assert_eq!(external("list_projects", json!({})).await[0]["id"], *id, "newest first");
    let changes = json!({
        "name": "Report", "description": "", "status": "completed", "startDate": "2026-12-02", "endDate": "2026-12-03",
        "budget": 0, "estimatedHours": 0.5, "notes": "m", "taskPrefix": "REP"
    });
    for (field, value) in changes.as_object().unwrap() {
        let before = external("get_project", json!({"projectId": id})).await;
        let after = external("update_project", json!({"projectId": id, field.as_str(): value})).await;
        for (name, kept) in after.as_object().unwrap().iter().filter(|(name, _)| *name != "updatedAt") {
            assert_eq!(kept, if name == field { value } else { &before[name] }, "{field}: {name}");
        }
    }
    let same = external("update_project", json!({"projectId": id})).await;
    assert_eq!(same["name"], "Report");
    for status in ["in_progress", "completed", "invoiced"] {
        external("update_project_status", json!({"projectId": id, "status": status})).await;
        let listed = external("list_projects", json!({"status": status})).await;
        assert!(listed.as_array().unwrap().iter().all(|project| project["status"] == status));
        assert!(each(&listed, "name").contains(&"Report"));
    }
    let wrong = json!({"projectId": id, "endDate": "2026-01-01"});
    assert!(refused(&sandbox, "update_project", wrong).await.contains("is before `startDate`"));
    assert_eq!(external("get_project", json!({"projectId": id})).await["endDate"], "2026-12-03", "undone");
}

#[tokio::test]
async fn tasks_are_listed_without_subtasks_and_shown_with_them() {
    let sandbox = memory().await;
    let listed = called(&sandbox, "key", "list_tasks", json!({})).await;
    let counts: Vec<_> = listed.as_array().unwrap().iter().map(|task| &task["childTaskCount"]).collect();
    assert_eq!(each(&listed, "title")[0], "Design the start page");
    assert_eq!(counts, [2, 0, 0, 0]);
    let project = id_of(&sandbox, "list_projects", "Website relaunch").await;
    let of_project = called(&sandbox, "key", "list_tasks", json!({"projectId": project})).await;
    assert_eq!(each(&of_project, "title"), ["Design the start page", "Set up the shop"]);
    let task = called(&sandbox, "key", "get_task", json!({"taskId": listed[0]["id"]})).await;
    assert_eq!(each(&task["subtasks"], "title"), ["Collect photos", "Draft two layouts"]);
    assert_eq!(each(&task["comments"], "text"), ["The client prefers blue."]);
    assert_eq!(each(&task["assignees"], "name"), ["Ines Moretti", "You"]);
    assert_eq!(task["project"]["name"], "Website relaunch");
    let subtasks = called(&sandbox, "key", "list_subtasks", json!({"parentTaskId": task["id"]})).await;
    assert_eq!(subtasks, task["subtasks"]);
}

#[tokio::test]
async fn a_task_has_the_documented_fields_and_one_level_of_subtasks() {
    let sandbox = memory().await;
    let project = id_of(&sandbox, "list_projects", "Seasonal menu cards").await;
    let design = id_of(&sandbox, "list_tasks", "Design the start page").await;
    let members = call(&sandbox, "get_task", json!({"taskId": design})).await["assigneeIds"].clone();
    let given = json!({
        "title": "Print", "description": "d", "status": "frozen", "priority": "urgent", "estimatedHours": 1.5,
        "dueDate": "2026-12-24", "projectId": project, "assigneeIds": members
    });
    let task = call(&sandbox, "create_task", given.clone()).await;
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(&task[field], value, "{field}");
    }
    let plain = call(&sandbox, "create_task", json!({"title": "Plain"})).await;
    assert_eq!((&plain["status"], &plain["priority"]), (&json!("todo"), &json!("medium")));
    let given = json!({"parentTaskId": task["id"], "title": "Proof", "isPrivate": true, "priority": "low"});
    let subtask = call(&sandbox, "create_subtask", given).await;
    assert_eq!((&subtask["projectId"], &subtask["isPrivate"]), (&project, &json!(true)));
    let deeper = json!({"parentTaskId": subtask["id"], "title": "no"});
    assert!(refused(&sandbox, "create_subtask", deeper).await.contains("is a subtask itself"));
    let website = id_of(&sandbox, "list_projects", "Website relaunch").await;
    let moved = json!({"taskId": subtask["id"], "projectId": website});
    assert!(refused(&sandbox, "update_task", moved).await.contains("stays in its parent's project"));
    let moved =
        called(&sandbox, "key", "update_task", json!({"taskId": task["id"], "projectId": website})).await;
    let after = call(&sandbox, "get_task", json!({"taskId": subtask["id"]})).await;
    assert_eq!((&after["projectId"], &after["companyId"]), (&website, &moved["companyId"]));
    let unknown = json!({"taskId": task["id"], "assigneeIds": [NO_ID]});
    assert_eq!(
        refused(&sandbox, "update_task", unknown).await,
        format!("`assigneeIds`: there is no member {NO_ID} that this key can see")
    );
    for status in ["todo", "in_progress", "frozen", "done"] {
        for id in [&task["id"], &subtask["id"]] {
            let after = json!({"taskId": id, "status": status});
            assert_eq!(called(&sandbox, "key", "update_task_status", after).await["status"], status);
        }
    }
    for (field, value) in [
        ("title", json!("New")),
        ("description", json!("")),
        ("status", json!("todo")),
        ("priority", json!("high")),
        ("estimatedHours", json!(3)),
        ("actualHours", json!(2.25)),
        ("dueDate", json!("2027-01-01T10:00:00Z")),
        ("sortOrder", json!(-3)),
        ("assigneeIds", json!([])),
        ("isPrivate", json!(false)),
    ] {
        let arguments = json!({"taskId": subtask["id"], field: value});
        assert_eq!(called(&sandbox, "key", "update_task", arguments).await[field], value);
    }
    call(&sandbox, "update_task", json!({"taskId": plain["id"], "sortOrder": -1})).await;
    assert_eq!(call(&sandbox, "list_tasks", json!({})).await[0]["title"], "Plain");
}

#[tokio::test]
async fn papers_keep_what_they_were_given_and_are_numbered() {
    let sandbox = memory().await;
    let project = id_of(&sandbox, "list_projects", "Website relaunch").await;
    let shown = call(&sandbox, "get_project", json!({"projectId": project})).await;
    let (client, company) = (&shown["clientId"], &shown["companyId"]);
    for (kind, tool, given) in [
        (
            "key",
            "create_client",
            json!({"companyName": "A", "firstName": "B", "lastName": "C", "email": "d@e", "phone": "1", "vatNumber": "2",
                "address": "3", "postalCode": "4", "city": "5", "country": "6", "companyId": company}),
        ),
        (
            "copilot_key",
            "create_offer",
            json!({"subject": "s", "description": "d", "clientId": client, "companyId": company,
                "offerDate": "2026-12-01", "validUntil": "2026-12-31", "currency": "USD", "notes": "n"}),
        ),
        (
            "key",
            "create_invoice",
            json!({"clientId": client, "companyId": company, "projectId": project, "subject": "s", "description": "d",
                "invoiceDate": "2026-12-01", "dueDate": "2026-12-31", "currency": "USD", "notes": "n",
                "paymentMethod": "bank transfer"}),
        ),
        (
            "copilot_key",
            "create_idea",
            json!({"title": "t", "description": "d", "estimatedBudget": 10.5, "currency": "USD", "priority": "low",
                "notes": "n", "companyId": company, "clientId": client}),
        ),
        (
            "key",
            "create_contact",
            json!({"companyName": "A", "contactName": "B", "email": "c@d", "phone": "1", "website": "w", "address": "2",
                "city": "3", "country": "4", "source": "fair", "status": "warm", "notes": "n",
                "nextFollowUp": "2026-12-01"}),
        ),
    ] {
        let made = called(&sandbox, kind, tool, given.clone()).await;
        for (field, value) in given.as_object().unwrap() {
            assert_eq!(&made[field], value, "{tool}: {field}");
        }
    }
    let second = called(&sandbox, "key", "create_invoice", json!({"projectId": project})).await;
    assert_eq!((&second["number"], &second["status"]), (&json!(2), &json!("draft")));
    assert_eq!(
        (&second["companyId"], &second["currency"]),
        (company, &json!("EUR")),
        "the project's company"
    );
    let wrong = json!({"invoiceDate": "2026-12-02", "dueDate": "2026-12-01"});
    assert!(refused(&sandbox, "create_invoice", wrong).await.contains("is before `invoiceDate`"));
    let wrong = json!({"offerDate": "2026-12-02", "validUntil": "2026-12-01"});
    assert!(refused(&sandbox, "create_offer", wrong).await.contains("is before `offerDate`"));
}

#[tokio::test]
async fn a_companys_key_sees_and_changes_that_companys_data_only() {
    let sandbox = memory().await;
    let mine = |tool, arguments| called(&sandbox, "company_key", tool, arguments);
    let no = async |tool, arguments| {
        let (is_error, text) = said(&sandbox, "company_key", tool, arguments).await;
        assert!(is_error && text.contains("that this key can see"), "{tool}: {text}");
    };
    let projects = mine("list_projects", json!({})).await;
    assert_eq!(each(&projects, "name"), ["Website relaunch", "Trade fair stand"]);
    let tasks = mine("list_tasks", json!({})).await;
    assert_eq!(each(&tasks, "title"), ["Design the start page", "Set up the shop"]);
    assert_eq!(tasks[0]["childTaskCount"], 2);
    let other = id_of(&sandbox, "list_projects", "Seasonal menu cards").await;
    let others = call(&sandbox, "get_project", json!({"projectId": other})).await;
    let task = id_of(&sandbox, "list_tasks", "Proof the menu cards").await;
    let nobodys = id_of(&sandbox, "list_tasks", "Renew the insurance").await;
    no("get_project", json!({"projectId": other})).await;
    no("update_project", json!({"projectId": other, "name": "x"})).await;
    no("update_project_status", json!({"projectId": other, "status": "invoiced"})).await;
    no("list_tasks", json!({"projectId": other})).await;
    for id in [&task, &nobodys] {
        no("get_task", json!({"taskId": id})).await;
        no("update_task", json!({"taskId": id, "title": "x"})).await;
        no("update_task_status", json!({"taskId": id, "status": "done"})).await;
        no("list_subtasks", json!({"parentTaskId": id})).await;
    }
    no("update_task", json!({"taskId": tasks[0]["id"], "projectId": other})).await;
    for field in ["companyId", "clientId"] {
        no("create_project", json!({"name": "x", field: others[field]})).await;
        no("create_invoice", json!({field: others[field]})).await;
    }
    no("create_client", json!({"companyName": "x", "companyId": others["companyId"]})).await;
    no("create_invoice", json!({"projectId": other})).await;
    let made = mine("create_project", json!({"name": "Ours"})).await;
    assert_eq!(made["companyId"], projects[0]["companyId"]);
    assert_eq!(mine("create_contact", json!({})).await["companyId"], made["companyId"]);
    assert_eq!(call(&sandbox, "get_project", json!({"projectId": other})).await, others, "unchanged");
}

#[tokio::test]
async fn another_workspaces_data_is_not_there_and_ones_own_survives_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let other = format!(
        "INSERT INTO bob_workspace SELECT 'other', user_id, 'Other' FROM account;
         INSERT INTO bob_project (id, workspaceId, name) VALUES ('{NO_ID}', 'other', 'hidden');
         INSERT INTO bob_task (id, workspaceId, title) VALUES ('{NO_ID}', 'other', 'hidden');"
    );
    database.execute_batch(&other).unwrap();
    assert!(!each(&call(&sandbox, "list_projects", json!({})).await, "name").contains(&"hidden"));
    assert!(!each(&call(&sandbox, "list_tasks", json!({})).await, "title").contains(&"hidden"));
    refused(&sandbox, "get_project", json!({"projectId": NO_ID})).await;
    refused(&sandbox, "update_task", json!({"taskId": NO_ID, "title": "x"})).await;
    let kept = call(&sandbox, "create_task", json!({"title": "kept"})).await;
    sandbox.stop().await;
    let again = directory(home.path()).await;
    assert_eq!(call(&again, "get_task", json!({"taskId": kept["id"]})).await["title"], "kept");
}
