//! Time logs, appointments, the booking page and recordings.

use super::*;

async fn category(sandbox: &Sandbox, name: &str) -> Value {
    let listed = call(sandbox, "list_time_categories", json!({})).await;
    listed.as_array().unwrap().iter().find(|category| category["name"] == name).unwrap()["id"].clone()
}

fn log(more: Value) -> Value {
    let mut log = json!({"date": "2026-11-30", "startTime": "09:00", "endTime": "10:30"});
    log.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    log
}

#[tokio::test]
async fn a_time_log_is_of_exactly_one_of_task_and_category() {
    let sandbox = memory().await;
    let task = id_of(&sandbox, "list_tasks", "Set up the shop").await;
    let project = id_of(&sandbox, "list_projects", "Website relaunch").await;
    let meeting = category(&sandbox, "Internal meeting").await;
    for both in [json!({}), json!({"taskId": task, "categoryId": meeting}), json!({"projectId": project})] {
        assert_eq!(
            refused(&sandbox, "create_time_log", log(both)).await,
            "exactly one of `taskId` and `categoryId` must be given"
        );
    }
    let said = refused(&sandbox, "create_time_log", log(json!({"taskId": task, "projectId": project}))).await;
    assert_eq!(said, "`projectId` is for time of a category only: a task has its own project");
    let of_task = log(json!({"taskId": task, "description": "d", "isBillable": false, "hourlyRate": 80.5}));
    let made = call(&sandbox, "create_time_log", of_task.clone()).await;
    for (field, value) in of_task.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!((&made["durationMinutes"], &made["categoryId"]), (&json!(90), &json!(null)));
    assert_eq!(call(&sandbox, "create_time_log", log(json!({"taskId": task}))).await["isBillable"], true);
    let made =
        call(&sandbox, "create_time_log", log(json!({"categoryId": meeting, "projectId": project}))).await;
    assert_eq!((&made["projectId"], &made["isBillable"]), (&project, &json!(false)));
    for (start, end) in [("10:00", "10:00"), ("10:00", "09:59"), ("23:00", "01:00")] {
        let mut wrong = log(json!({"taskId": task}));
        (wrong["startTime"], wrong["endTime"]) = (json!(start), json!(end));
        assert!(refused(&sandbox, "create_time_log", wrong).await.contains("must be later than"));
    }
    for (field, value) in [("taskId", NO_ID), ("categoryId", NO_ID)] {
        let said = refused(&sandbox, "create_time_log", log(json!({field: value}))).await;
        assert!(said.contains("that this key can see"), "{said}");
    }
}

#[tokio::test]
async fn a_swap_clears_the_other_side() {
    let sandbox = memory().await;
    let task = id_of(&sandbox, "list_tasks", "Set up the shop").await;
    let project = id_of(&sandbox, "list_projects", "Website relaunch").await;
    let (meeting, training) =
        (category(&sandbox, "Internal meeting").await, category(&sandbox, "Training").await);
    let made =
        call(&sandbox, "create_time_log", log(json!({"categoryId": meeting, "projectId": project}))).await;
    let id = made["id"].clone();
    let update = async |more: Value| {
        let mut arguments = json!({"timeLogId": id});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        said(&sandbox, "copilot_key", "update_time_log", arguments).await
    };
    let sides = async |more: Value| {
        let (is_error, text) = update(more).await;
        assert!(!is_error, "{text}");
        let log: Value = serde_json::from_str(&text).unwrap();
        (log["taskId"].clone(), log["categoryId"].clone(), log["projectId"].clone())
    };
    let none = Value::Null;
    assert_eq!(
        sides(json!({"categoryId": training})).await,
        (none.clone(), training.clone(), project.clone())
    );
    assert_eq!(sides(json!({"taskId": task})).await, (task.clone(), none.clone(), none.clone()));
    for wrong in [
        json!({"projectId": project}),
        json!({"taskId": task, "projectId": project}),
        json!({"taskId": task, "categoryId": meeting}),
        json!({"endTime": "08:00"}),
    ] {
        let (is_error, text) = update(wrong.clone()).await;
        assert!(is_error, "{wrong}: {text}");
    }
    assert_eq!(sides(json!({})).await, (task.clone(), none.clone(), none.clone()));
    let swapped = sides(json!({"categoryId": meeting, "projectId": project})).await;
    assert_eq!(swapped, (none.clone(), meeting.clone(), project.clone()));
    assert_eq!(sides(json!({"taskId": task})).await, (task.clone(), none.clone(), none.clone()));
    assert_eq!(sides(json!({"categoryId": meeting})).await, (none.clone(), meeting.clone(), none.clone()));
    assert_eq!(sides(json!({"projectId": project})).await, (none, meeting, project));
    let rest = json!({"date": "2026-12-01", "startTime": "08:00", "endTime": "08:15", "description": "d",
        "isBillable": true, "hourlyRate": 0});
    let (_, text) = update(rest.clone()).await;
    let after: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in rest.as_object().unwrap() {
        assert_eq!(&after[field], value, "{field}");
    }
    assert_eq!(after["durationMinutes"], 15);
}

#[tokio::test]
async fn inactive_categories_are_neither_listed_nor_taken() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let listed = call(&sandbox, "list_time_categories", json!({})).await;
    assert_eq!(each(&listed, "name"), ["Internal meeting", "Sick leave", "Training", "Vacation"]);
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let inactive: String =
        database.query_row("SELECT id FROM bob_category WHERE NOT isActive", [], |row| row.get(0)).unwrap();
    let said = refused(&sandbox, "create_time_log", log(json!({"categoryId": inactive}))).await;
    assert!(said.contains("not active"), "{said}");
}

#[tokio::test]
async fn time_logs_are_listed_by_range_and_deleted() {
    let sandbox = memory().await;
    let training = category(&sandbox, "Training").await;
    for date in ["2026-12-02", "2026-11-30", "2026-12-01"] {
        let mut made = log(json!({"categoryId": training}));
        made["date"] = json!(date);
        call(&sandbox, "create_time_log", made).await;
    }
    for (range, expected) in [
        (json!({}), vec!["2026-11-30", "2026-12-01", "2026-12-02"]),
        (json!({"startDate": "2026-12-01"}), vec!["2026-12-01", "2026-12-02"]),
        (json!({"endDate": "2026-12-01"}), vec!["2026-11-30", "2026-12-01"]),
        (json!({"startDate": "2026-12-01", "endDate": "2026-12-01"}), vec!["2026-12-01"]),
    ] {
        assert_eq!(each(&call(&sandbox, "list_time_logs", range).await, "date"), expected);
    }
    let wrong = json!({"startDate": "2026-12-02", "endDate": "2026-12-01"});
    assert!(refused(&sandbox, "list_time_logs", wrong).await.contains("is before `startDate`"));
    let id = call(&sandbox, "list_time_logs", json!({})).await[0]["id"].clone();
    let deleted = call(&sandbox, "delete_time_log", json!({"timeLogId": id})).await;
    assert_eq!(deleted, json!({"id": id, "deleted": true}));
    assert!(
        refused(&sandbox, "delete_time_log", json!({"timeLogId": id})).await.contains("there is no time log")
    );
    assert_eq!(call(&sandbox, "list_time_logs", json!({})).await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn appointments_are_made_changed_and_listed() {
    let sandbox = memory().await;
    let calendars = call(&sandbox, "list_calendars", json!({})).await;
    assert_eq!(each(&calendars, "name"), ["Studio", "Private"]);
    let project = id_of(&sandbox, "list_projects", "Website relaunch").await;
    let given = json!({
        "date": "2026-12-01", "startTime": "09:00", "endTime": "10:00", "title": "t", "clientName": "n",
        "clientEmail": "a@b", "clientPhone": "1", "isAllDay": false, "location": "online", "address": "a",
        "onlinePlatform": "meet", "onlineLink": "l", "notes": "n", "status": "confirmed", "projectId": project
    });
    let made = call(&sandbox, "create_appointment", given.clone()).await;
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!(made["calendarId"], calendars[0]["id"], "the default calendar");
    let plain = log(json!({}));
    let plain = call(&sandbox, "create_appointment", plain).await;
    assert_eq!((&plain["status"], &plain["isAllDay"]), (&json!("scheduled"), &json!(false)));
    for location in ["studio", "online", "home"] {
        let change = json!({"appointmentId": made["id"], "location": location});
        assert_eq!(call(&sandbox, "update_appointment", change).await["location"], location);
    }
    let wrong = json!({"appointmentId": made["id"], "startTime": "11:00"});
    assert!(refused(&sandbox, "update_appointment", wrong).await.contains("must be later than"));
    let whole = json!({"appointmentId": made["id"], "startTime": "11:00", "isAllDay": true});
    assert_eq!(call(&sandbox, "update_appointment", whole).await["startTime"], "11:00");
    let phone = json!({"appointmentId": made["id"], "clientPhone": "2"});
    assert!(refused(&sandbox, "update_appointment", phone).await.contains("is not an argument"));
    let all = call(&sandbox, "list_appointments", json!({})).await;
    assert_eq!(each(&all, "date"), ["2026-11-30", "2026-12-01"]);
    let one = call(&sandbox, "list_appointments", json!({"startDate": "2026-12-01"})).await;
    assert_eq!(each(&one, "id"), [made["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn the_booking_page_is_changed_field_by_field_and_made_if_missing() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let before = call(&sandbox, "get_booking_settings", json!({})).await;
    assert_eq!((&before["slug"], &before["isActive"]), (&json!("sandbox-studio"), &json!(false)));
    assert_eq!(before["weeklyHours"]["1"][0], json!({"start": "09:00", "end": "12:30"}));
    let calendars = call(&sandbox, "list_calendars", json!({})).await;
    let company = call(&sandbox, "list_projects", json!({})).await[0]["companyId"].clone();
    let changes = json!({
        "isActive": true, "slotDuration": 45, "bufferMinutes": 10, "maxDaysAhead": 30, "minimumNoticeMinutes": 120,
        "weeklyHours": {"7": [], "2": [{"start": "08:00", "end": "09:00"}]}, "welcomeMessage": "Hi",
        "locationType": "in_person", "locationAddress": "Main St 1", "bookingCalendarId": calendars[1]["id"],
        "companyId": company
    });
    for (field, value) in changes.as_object().unwrap() {
        let after = call(&sandbox, "update_booking_settings", json!({field.as_str(): value})).await;
        assert_eq!(&after[field], value, "{field}");
    }
    for location in ["none", "in_person", "google_meet"] {
        let after = call(&sandbox, "update_booking_settings", json!({"locationType": location})).await;
        assert_eq!(after["locationType"], location);
    }
    for week in [
        json!({"0": []}),
        json!({"1": [{"start": "09:00"}]}),
        json!({"1": [{"start": "09:00", "end": "10:00", "x": 1}]}),
        json!({"1": [{"start": "9:00", "end": "10:00"}]}),
    ] {
        refused(&sandbox, "update_booking_settings", json!({"weeklyHours": week})).await;
    }
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    database.execute("DELETE FROM bob_booking", []).unwrap();
    assert!(refused(&sandbox, "get_booking_settings", json!({})).await.contains("no booking page"));
    let made = call(&sandbox, "update_booking_settings", json!({"slotDuration": 20})).await;
    assert_eq!(call(&sandbox, "get_booking_settings", json!({})).await, made);
}

#[tokio::test]
async fn recordings_are_listed_ten_at_most_and_read_whole() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let listed = call(&sandbox, "list_recordings", json!({})).await;
    assert_eq!(each(&listed, "title"), ["Note on paper stock", "Kickoff with Harbor Cafe"]);
    let one = call(&sandbox, "get_recording", json!({"recordingId": listed[1]["id"]})).await;
    assert_eq!(one["actionItems"], json!(["Send two layouts", "Ask for photos"]));
    for field in ["summary", "notes", "transcription"] {
        assert!(one[field].is_string(), "{field}");
    }
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let more = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12)
        INSERT INTO bob_recording (id, workspaceId, userId, title, durationSeconds)
        SELECT 'r' || n, workspaceId, userId, title, 1 FROM n, (SELECT * FROM bob_recording LIMIT 1)";
    database.execute(more, []).unwrap();
    let count =
        async |arguments| call(&sandbox, "list_recordings", arguments).await.as_array().unwrap().len();
    assert_eq!((count(json!({})).await, count(json!({"limit": 3})).await), (10, 3));
    for limit in [0, 11] {
        let said = refused(&sandbox, "list_recordings", json!({"limit": limit})).await;
        assert_eq!(said, format!("`limit` must be an integer from 1 to 10, not {limit}"));
    }
}
