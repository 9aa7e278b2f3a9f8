//! AgentStack's stand-in behind the real binary: in its own process, and at the URL that `asistry sandbox` prints.

use super::agentstack::Stack;
use super::*;
use crate::support::bridge::{Bridge, asistry, request as line};
use std::process::{Command, Output, Stdio};

const CREATE: &str = "projects.create_project_anonymous";

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.args(arguments).env_clear().env("HOME", home).stdin(Stdio::null());
    command.env("ASISTRY_KEY_STORE", "file").env("ASISTRY_KEY_PASSPHRASE", "correct horse");
    command
}

async fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(command(home, arguments));
    soon(command.output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn gives(home: &Path, arguments: &[&str]) -> (Value, String) {
    let output = run(home, arguments).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

/// The URL of the stand-in.
fn url(stack: &Stack) -> String {
    let endpoint = stack.sandbox.endpoints().iter().find(|endpoint| endpoint.service == "agentstack");
    endpoint.unwrap().url.clone()
}

#[tokio::test]
async fn the_profile_works_without_a_key_and_keeps_its_data() {
    let home = tempfile::tempdir().unwrap();
    let profile = |rest: &[&'static str]| [&["-p", "sandbox-agentstack"], rest].concat();
    let tools = run(home.path(), &profile(&["tools"])).await;
    let listed = text(&tools.stdout);
    assert_eq!((tools.status.code(), listed.lines().count()), (Some(0), 8), "{listed}");
    gives(home.path(), &profile(&["call", "projects.create_project", "name=Mine"])).await;
    let (projects, _) = gives(home.path(), &profile(&["call", "projects_get_projects", "--json"])).await;
    assert_eq!((&projects["total"], &projects["projects"][0]["name"]), (&json!(1), &json!("Mine")));
    let steps = r#"steps:=[{"action":"projects.create_project","params":{"name":"B"}}]"#;
    let (batch, _) = gives(home.path(), &profile(&["call", "agentstack.execute", steps, "--json"])).await;
    assert_eq!(batch["steps"][0]["status"], "completed");
    let options = r#"options:={"async":true}"#;
    let (job, _) =
        gives(home.path(), &profile(&["call", "agentstack.execute", steps, options, "--json"])).await;
    assert_eq!(job["data"]["steps"][0]["status"], "completed", "{job}");
    let refused =
        run(home.path(), &profile(&["call", "projects.add_user", "project_id=1025", "user_id=1"])).await;
    let said = text(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && said.contains("HTTP 403: Professional subscription"),
        "{said}"
    );
    assert!(said.contains("trace id: "), "{said}");
    let unknown = run(home.path(), &profile(&["call", "agentstack.execute", "action=logic.execute"])).await;
    assert!(text(&unknown.stderr).contains("HTTP 404: there is no action logic.execute"));
    let create = profile(&["call", CREATE, "name=x"]);
    let unsaved = run(home.path(), &[&create[..], &["--save-key"]].concat()).await;
    let said = text(&unsaved.stderr);
    assert!(unsaved.status.code() == Some(4) && said.contains("the sandbox inside this process"), "{said}");
    let (shown, _) = gives(home.path(), &[&create[..], &["--reveal", "--json"]].concat()).await;
    assert!(shown["user_api_key"].as_str().unwrap().starts_with("anon_ask_"), "{shown}");
}

#[tokio::test]
async fn an_anonymous_key_is_saved_used_and_converted() {
    let (stack, home) = (Stack::new().await, tempfile::tempdir().unwrap());
    let url = url(&stack);
    let at = |rest: &[&str]| -> Vec<String> {
        [&["-p", "agentstack", "--url", &url], rest].concat().into_iter().map(str::to_owned).collect()
    };
    let gives = async |rest: &[&str]| {
        let arguments = at(rest);
        gives(home.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let (made, said) = gives(&["call", CREATE, "name=Mine", "--save-key", "--json"]).await;
    assert!(said.contains("stored agentstack/default (anon_ask_"), "{said}");
    for name in ["user_api_key", "project_api_key", "auth_key", "session_token"] {
        assert!(made[name].as_str().unwrap().starts_with("MASKED_"), "{made}");
    }
    let (projects, _) = gives(&["call", "projects.get_projects", "--json"]).await;
    assert_eq!(projects["projects"][0]["tier"], "ANONYMOUS");
    let session = format!("session_token={}", made["session_token"].as_str().unwrap());
    gives(&["call", "auth.convert_anonymous_user", "email=ada@example.com", &session, "--json"]).await;
    let (projects, _) = gives(&["call", "projects.get_projects", "--json"]).await;
    assert_eq!(projects["projects"][0]["tier"], "FREE", "the new key replaced the anonymous one");
}

#[tokio::test]
async fn an_old_list_is_asked_for_by_its_tag() {
    let (stack, home) = (Stack::new().await, tempfile::tempdir().unwrap());
    let url = url(&stack);
    let trace = home.path().join("trace");
    let tools = ["-p", "agentstack", "--url", &url, "tools", "--trace", trace.to_str().unwrap()];
    let first = run(home.path(), &tools).await;
    for entry in std::fs::read_dir(home.path().join(".cache/asistry")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(mut kept) = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()) else { continue };
        kept["at"] = (kept["at"].as_u64().unwrap() - 601).into();
        std::fs::write(path, kept.to_string()).unwrap();
    }
    std::fs::remove_file(&trace).unwrap();
    let again = run(home.path(), &tools).await;
    assert_eq!((again.status.code(), &again.stdout), (Some(0), &first.stdout));
    let traced = std::fs::read_to_string(&trace).unwrap();
    assert!(traced.contains(" 304") && !traced.contains("catalog_etag"), "{traced}");
}

#[tokio::test]
async fn a_project_is_attached_by_a_masked_reference() {
    let (stack, home) = (Stack::new().await, tempfile::tempdir().unwrap());
    let url = url(&stack);
    let target = ["-p", "agentstack", "--url", &url];
    let gives = async |rest: &[&str]| gives(home.path(), &[&target[..], rest].concat()).await;
    std::fs::write(home.path().join("key"), &stack.free).unwrap();
    let mut add = command(home.path(), &[&target[..], &["keys", "add", "--stdin"]].concat());
    add.stdin(std::fs::File::open(home.path().join("key")).unwrap());
    let added = soon(tokio::process::Command::from(add).output()).await.unwrap();
    assert_eq!(added.status.code(), Some(0), "{}", text(&added.stderr));
    let (made, said) = gives(&["call", CREATE, "name=Mine", "--save-key", "--json"]).await;
    assert!(said.contains("stored agentstack/anon-1025 ("), "{said}");
    let auth_key = format!("auth_key={}", made["auth_key"].as_str().unwrap());
    assert!(auth_key.starts_with("auth_key=MASKED_"));
    let (attached, _) =
        gives(&["call", "projects.attach_to_user", "project_id=1025", "user_id=123", &auth_key, "--json"])
            .await;
    assert_eq!(attached["message"], "Project 1025 successfully attached to user 123");
    let (projects, _) = gives(&["call", "projects.get_projects", "--json"]).await;
    assert_eq!((&projects["total"], &projects["projects"][0]["user_id"]), (&json!(1), &json!(123)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_shows_progress_and_the_trace_of_a_stream() {
    let stack = Stack::new().await;
    let (url, key) = (url(&stack), stack.free.clone());
    let spoken = tokio::task::spawn_blocking(move || {
        let arguments = ["-p", "agentstack", "--url", &url, "bridge"].map(str::to_owned);
        let mut bridge: Bridge = asistry(arguments).env("ASISTRY_API_KEY", &key).spawn();
        bridge.open("2025-11-25");
        let params =
            r#"{"name":"projects_create_project","arguments":{"name":"x"},"_meta":{"progressToken":"p"}}"#;
        bridge.say(line("1", "tools/call", params));
        let told = bridge.hear();
        let result = bridge.answer(1)["result"].clone();
        (told, result)
    });
    let (told, result) = soon(spoken).await.unwrap();
    assert_eq!(told["params"], json!({"progressToken": "p", "progress": 50, "message": "processing"}));
    assert_eq!(result["structuredContent"]["project"]["name"], "x");
    assert_eq!(result["_meta"]["asistry/traceId"].as_str().unwrap().len(), 36);
}
