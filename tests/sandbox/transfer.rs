//! Export and import: all data, no key, and nothing half done.

use super::*;
use asistry::sandbox::{Import, export};
use assert_cmd::Command;

fn import(data: &Path, text: &str) -> Result<(), asistry::error::Error> {
    Import::read(text)?.into_directory(data)
}

/// Makes a directory with something of its own in several services.
async fn furnished(home: &Path) -> (Sandbox, Value) {
    let sandbox = directory(home).await;
    let task =
        call(&sandbox, "create_task", json!({"title": "Ünïcode \u{1F980} \"quoted\"", "labels": ["a"]}))
            .await;
    call(&sandbox, "create_task", json!({"title": "Second", "description": "<b>\n\0</b>"})).await;
    (sandbox, task)
}

/// Returns the file with a change of its JSON, without its checksum.
fn changed(file: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(file).unwrap();
    value.as_object_mut().unwrap().remove("sha256");
    change(&mut value);
    value.to_string()
}

#[tokio::test]
async fn an_export_imported_into_an_empty_directory_gives_the_same_export() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_sandbox, task) = furnished(one.path()).await;
    let file = export(one.path()).unwrap();
    let empty = two.path().join("not/there/yet");
    import(&empty, &file).unwrap();
    assert_eq!(export(&empty).unwrap(), file);
    import(one.path(), &file).unwrap();
    assert_eq!(export(one.path()).unwrap(), file);
    let sandbox = directory(&empty).await;
    assert_eq!(call(&sandbox, "get_task", json!({"id": task["id"]})).await, task);
    assert_eq!(titles(&sandbox, "list_tasks", json!({})).await[0], "Second", "newest first, as before");
    let edited = changed(&file, |_| {});
    import(&empty, &edited).unwrap();
    assert_eq!(export(&empty).unwrap(), file);
}

#[tokio::test]
async fn an_export_holds_no_key_and_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let (sandbox, _) = furnished(home.path()).await;
    let embedded = start(Data::Directory(home.path().into()), true).await;
    let mut secrets: Vec<String> =
        ["server.secret", "asistry.embedded.key", "agentstack.embedded.key", "bob-studio.embedded.key"]
            .map(|name| std::fs::read_to_string(home.path().join(name)).unwrap().trim().to_owned())
            .into();
    for endpoint in sandbox.endpoints().iter().chain(embedded.endpoints()) {
        secrets.push(endpoint.key.clone());
        secrets.extend(endpoint.more_keys.iter().map(|(_, key)| key.clone()));
    }
    let zuko = embedded.endpoints().iter().find(|endpoint| endpoint.key.is_empty()).unwrap();
    secrets.push(embedded.credential(zuko).await.unwrap());
    let file = export(home.path()).unwrap();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        assert!(!file.contains(secret.as_str()), "{secret}");
    }
    for table in ["api_key", "signing", "session", "refresh", "batch", "recent_call"] {
        assert!(!file.contains(table), "{table}");
    }
}

#[tokio::test]
async fn a_running_sandbox_serves_the_imported_data_to_its_keys() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (exported, task) = furnished(one.path()).await;
    let running = directory(two.path()).await;
    call(&running, "create_task", json!({"title": "Replaced"})).await;
    import(two.path(), &export(one.path()).unwrap()).unwrap();
    assert_eq!(call(&running, "get_task", json!({"id": task["id"]})).await, task);
    assert_eq!(titles(&running, "search_tasks", json!({"query": "Replaced"})).await, [""; 0]);
    call(&running, "create_task", json!({"title": "After"})).await;
    // The workspace of Task Tracking is in its path and in its keys.
    let again = directory(two.path()).await;
    let other = |sandbox: &Sandbox| sandbox.endpoints()[2].url.rsplit('/').next().unwrap().to_owned();
    assert_eq!(other(&again), other(&exported));
    let path = format!("/{}", again.endpoints()[2].url.splitn(4, '/').nth(3).unwrap());
    let old = &running.endpoints()[2];
    let ping = Sent::post(&again, &request(1, "ping", json!({})));
    let ping = ping.at(&path).with("authorization", &format!("Bearer {}", old.key));
    assert_eq!(ping.go().await.status, 200, "a key printed before the import");
}

#[tokio::test]
async fn a_wrong_or_damaged_file_is_refused_before_anything_changes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_sandbox, task) = furnished(one.path()).await;
    let file = export(one.path()).unwrap();
    let id = task["id"].as_str().unwrap();
    let row = |value: &mut Value, table: &str, change: fn(&mut Value)| {
        change(&mut value["data"]["tables"][table][0])
    };
    let wrong = [
        ("JSON", file[..file.len() / 2].to_owned()),
        ("JSON", String::new()),
        ("JSON", format!("{file}x")),
        ("sha256", file.replace("Second", "Sekond")),
        ("object", "[]".into()),
        ("format", "{}".into()),
        ("version 2", changed(&file, |file| file["version"] = 2.into())),
        ("`version`", changed(&file, |file| file["version"] = "1".into())),
        ("`more`", changed(&file, |file| file["more"] = 1.into())),
        ("`data`", changed(&file, |file| file["data"] = Value::Null)),
        ("user_id", changed(&file, |file| file["data"]["user_id"] = 1.into())),
        ("tables", changed(&file, |file| file["data"]["tables"] = json!([]))),
        ("secrets", changed(&file, |file| file["data"]["tables"]["secrets"] = json!([]))),
        ("api_key", changed(&file, |file| file["data"]["tables"]["api_key"] = json!([]))),
        (
            "asistry_task",
            changed(&file, |file| {
                file["data"]["tables"].as_object_mut().unwrap().remove("asistry_task");
            }),
        ),
        ("not an object", changed(&file, |file| row(file, "asistry_task", |task| *task = 1.into()))),
        (
            "lacks title",
            changed(&file, |file| {
                row(file, "asistry_task", |task| drop(task.as_object_mut().unwrap().remove("title")));
            }),
        ),
        ("column more", changed(&file, |file| row(file, "asistry_task", |task| task["more"] = 1.into()))),
        ("title has", changed(&file, |file| row(file, "asistry_task", |task| task["title"] = 1.into()))),
        ("NOT NULL", changed(&file, |file| row(file, "asistry_task", |task| task["title"] = Value::Null))),
        ("turn has", changed(&file, |file| row(file, "zuko_task", |task| task["turn"] = "x".into()))),
        ("CHECK", changed(&file, |file| row(file, "agentstack_user", |user| user["tier"] = "x".into()))),
        (
            "UNIQUE",
            changed(&file, |file| {
                let again = file["data"]["tables"]["asistry_task"][0].clone();
                file["data"]["tables"]["asistry_task"].as_array_mut().unwrap().push(again);
            }),
        ),
        ("refers", changed(&file, |file| row(file, "asistry_task", |task| task["board_id"] = NO_ID.into()))),
        ("lacks what", changed(&file, |file| file["data"]["tables"]["tracking_workspace"] = json!([]))),
    ];
    let never = two.path().join("never");
    for (word, text) in wrong {
        for data in [one.path(), &never] {
            let error = import(data, &text).expect_err(word);
            assert!(error.message().contains(word), "{word}: {error}");
            assert!(!error.message().contains(id), "{error}");
        }
        assert_eq!(export(one.path()).unwrap(), file, "{word}");
        assert!(!never.exists(), "{word}");
    }
}

#[tokio::test]
async fn keys_that_a_service_handed_out_end_with_its_old_data() {
    let home = tempfile::tempdir().unwrap();
    let stack = agentstack::Stack::of(directory(home.path()).await).await;
    let made = stack.gives("", agentstack::ANONYMOUS, json!({"name": "Mine"})).await;
    let key = made["user_api_key"].as_str().unwrap();
    stack.gives(key, agentstack::LIST, json!({})).await;
    let file = export(home.path()).unwrap();
    assert!(!file.contains(key));
    import(home.path(), &file).unwrap();
    assert_eq!(stack.call(key, agentstack::LIST, json!({})).await.status, 401);
    stack.gives(&stack.free, agentstack::LIST, json!({})).await;
    assert_eq!(export(home.path()).unwrap(), file);
}

#[test]
fn the_commands_ask_and_write_private_files() {
    let home = tempfile::tempdir().unwrap();
    let asistry = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.env_clear().env("HOME", home.path()).current_dir(home.path());
        command.args(arguments);
        command
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let none = asistry(&["sandbox", "export"]).assert().code(3);
    assert!(text(&none.get_output().stderr).contains("there is no sandbox data"), "{none}");
    asistry(&["-p", "sandbox", "call", "create_task", "title=Kept"]).assert().success();
    asistry(&["sandbox", "export", "data.json"]).assert().success().stdout("");
    let file = std::fs::read_to_string(home.path().join("data.json")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(home.path().join("data.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let printed = asistry(&["sandbox", "export"]).assert().success();
    assert_eq!(text(&printed.get_output().stdout), file);
    let asked = asistry(&["sandbox", "--data", "other", "import", "data.json"]).assert().code(2);
    let said = text(&asked.get_output().stderr);
    assert!(said.contains("try: asistry sandbox --data other import data.json --yes"), "{said}");
    assert!(!home.path().join("other").exists());
    asistry(&["sandbox", "--data", "other", "import", "data.json", "--yes"]).assert().success().stdout("");
    asistry(&["sandbox", "--data", "more", "import", "-", "-y"]).write_stdin(file.clone()).assert().success();
    for data in ["other", "more"] {
        let exported = asistry(&["sandbox", "export", "--data", data]).assert().success();
        assert_eq!(text(&exported.get_output().stdout), file);
    }
    asistry(&["sandbox", "import", "missing.json", "--yes"]).assert().code(2);
    asistry(&["sandbox", "--memory", "export"]).assert().code(2);
    asistry(&["sandbox", "export", "no/such/directory/x.json"]).assert().code(2);
}
