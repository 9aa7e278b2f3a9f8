//! Keys that the service makes: stored before anyone is told, shown masked, and opened only where they may go back.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::text;
use crate::support::bridge::{Start, asistry, request};
use crate::support::service::{Gate, Received, Reply, Service};

pub const CREATE: &str = "projects.create_project_anonymous";
/// What the stand-in hands out; none of it may be seen anywhere.
pub const SECRETS: [&str; 6] = [
    "anon_ask_u1025xMARKED",
    "anon_ask_u1026xMARKED",
    "ask_p1025-MARKED",
    "auth+1025/MARKED",
    "sess=1025MARKED",
    "ask_new1025MARKED",
];
const PASSPHRASE: &str = "correct horse";

/// Makes a project at each creation, numbered from 1025.
pub fn service() -> Service {
    let count = Arc::new(AtomicU64::new(1025));
    Service::start(move |received| Some(answer(received, &count)))
}

pub fn answer(received: &Received, count: &AtomicU64) -> Reply {
    let tool = received.path.rsplit('/').next().unwrap_or_default();
    Reply::json(match tool {
        "actions" => {
            json!({"actions": {"projects": ["create_project_anonymous", "attach_to_user", "get_projects"], "auth": ["convert_anonymous_user"]}})
        }
        "tools" => json!({"tools": []}),
        CREATE => {
            let id = count.fetch_add(1, Ordering::SeqCst);
            let key = format!("anon_ask_u{id}xMARKED");
            json!({"success": true, "trace_id": "t-1", "data": {
                "project_id": id, "user_api_key": key, "project_api_key": "ask_p1025-MARKED", "auth_key": "auth+1025/MARKED",
                "session_token": "sess=1025MARKED", "user_id": 7, "n": 1.50,
                "message": format!("Your key is {key}, keep it"),
            }})
        }
        "projects.attach_to_user" => {
            json!({"success": true, "data": {"project_id": 1025, "new_api_key": "ask_new1025MARKED"}})
        }
        "auth.convert_anonymous_user" if received.message()["params"]["email"].is_null() => {
            json!({"success": true, "data": {"message": "converted"}})
        }
        "auth.convert_anonymous_user" => {
            let given = &received.message()["params"]["key"];
            let key = given.as_str().unwrap_or("ask_conv-MARKED9");
            json!({"success": true, "data": {"userApiKey": key}})
        }
        _ if key_sent(received) == Some("ask_refused_0123456789") => {
            let body = r#"{"success":false,"error":"HTTP 401: no such key"}"#;
            return Reply::status(401, "application/json", body);
        }
        _ => {
            json!({"success": true, "data": {"sent": received.message(), "key": received.header("authorization")}})
        }
    })
}

pub struct Home {
    pub home: TempDir,
    pub service: Service,
}

impl Home {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory"), service: service() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.env_clear().env("HOME", self.home.path()).env("ASISTRY_KEY_STORE", "file");
        command.env("ASISTRY_KEY_PASSPHRASE", PASSPHRASE).stdin(Stdio::null());
        command.args(["-p", "agentstack", "--url", &self.service.url()]);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let trace = self.home.path().join("trace-%p").display().to_string();
        self.command().args(arguments).args(["--trace", &trace, "-vv"]).output().expect("the binary")
    }

    fn gives(&self, arguments: &[&str]) -> (Value, String) {
        let output = self.run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        for secret in SECRETS {
            assert!(!said.contains(secret) && !text(&output.stdout).contains(secret), "{said}");
        }
        (serde_json::from_slice(&output.stdout).expect("JSON"), said)
    }

    pub fn bridge(&self) -> Start {
        let trace = self.home.path().join("trace-%p").display().to_string();
        asistry(
            ["-p", "agentstack", "--url", &self.service.url(), "--trace", &trace, "bridge"]
                .map(str::to_owned),
        )
        .env("HOME", &self.home.path().display().to_string())
        .env("ASISTRY_KEY_STORE", "file")
        .env("ASISTRY_KEY_PASSPHRASE", PASSPHRASE)
    }

    /// The requests for an action, so far.
    pub fn calls(&self, action: &str) -> Vec<Received> {
        self.service.received().into_iter().filter(|r| r.path.ends_with(action)).collect()
    }

    /// No file holds a secret, in any form that is easily read.
    fn holds_no_secret(&self) {
        for file in files(self.home.path()) {
            let content = std::fs::read(&file).expect("a file");
            let found = memchr::memmem::find(&content, b"MARKED").is_some();
            assert!(!found, "{} holds a secret", file.display());
        }
        let traces =
            files(self.home.path()).into_iter().filter(|file| file.to_string_lossy().contains("trace-"));
        let masked = |file: std::path::PathBuf| {
            std::fs::read_to_string(file).is_ok_and(|text| text.contains("MASKED_"))
        };
        assert!(traces.into_iter().any(masked), "no trace of a masked value");
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub fn key_sent(received: &Received) -> Option<&str> {
    received.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
}

#[test]
fn a_new_key_that_would_be_lost_is_not_made() {
    let home = Home::new();
    let said = |output: &Output| text(&output.stderr);
    for arguments in
        [vec!["call", CREATE, "name=x"], vec!["call", "projects_create_project_anonymous", "name=x"]]
    {
        let output = home.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(
            said(&output).contains("add --save-key to store the key, or --reveal to see it"),
            "{}",
            said(&output)
        );
    }
    let no_store = |name: &str, value: &str| {
        let mut command = home.command();
        command.env(name, value).args(["call", CREATE, "name=x", "--save-key"]);
        command.output().expect("the binary")
    };
    for (name, value) in [("ASISTRY_KEY_STORE", "env"), ("ASISTRY_API_KEY", "ask_0123456789abcdef")] {
        let output = no_store(name, value);
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    }
    assert_eq!(home.service.received().len(), 0, "nothing is sent before");
    // By way of `execute` the catalogue is read first.
    let output = home.run(&["call", "agentstack.execute", &format!("action={CREATE}")]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(home.calls(CREATE).len(), 0);
}

#[test]
fn an_anonymous_start_from_an_empty_home() {
    let home = Home::new();
    let (made, said) = home.gives(&["call", CREATE, "name=Mine", "--save-key", "--json"]);
    let masked = made["user_api_key"].as_str().expect("a text").to_owned();
    assert!(
        masked.starts_with("MASKED_") && made["message"] == format!("Your key is {masked}, keep it"),
        "{made}"
    );
    assert_eq!((&made["project_id"], made["n"].to_string()), (&json!(1025), "1.5".to_owned()));
    assert!(
        said.contains("stored agentstack/default (anon_ask_…") && said.contains("in the encrypted file"),
        "{said}"
    );
    let calls = home.calls(CREATE);
    assert_eq!(calls.len(), 1);
    assert!(calls[0].header("authorization").is_none() && calls[0].header("x-api-key").is_none());
    assert_eq!(calls[0].message(), json!({"tool": CREATE, "params": {"name": "Mine"}}));
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some(SECRETS[0]));
    // A masked value is opened in another process, in an argument for secrets and nowhere else.
    let auth_key = made["auth_key"].as_str().expect("a text");
    let (told, _) = home.gives(&["call", "projects.get_projects", &format!("name={auth_key}"), "--json"]);
    assert_eq!(told["sent"]["params"]["name"], auth_key);
    let argument = format!("auth_key={auth_key}");
    home.gives(&["call", "projects.attach_to_user", "project_id:=1025", "user_id:=5", &argument, "--json"]);
    let attached = home.calls("attach_to_user")[0].message();
    assert_eq!(attached["params"], json!({"project_id": 1025, "user_id": 5, "auth_key": SECRETS[3]}));
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(&home.calls("get_projects")[2]), Some(SECRETS[5]), "the key is switched");
    let keys = text(&home.run(&["keys", "list"]).stdout);
    assert!(!keys.contains("default.auth_key") && keys.contains("default.session_token"), "{keys}");
    home.holds_no_secret();
}

#[test]
fn a_second_project_leaves_the_key_in_use_alone() {
    let home = Home::new();
    home.gives(&["call", CREATE, "--save-key", "--json"]);
    let (_, said) = home.gives(&["call", CREATE, "--save-key", "--json"]);
    assert!(
        said.contains("stored agentstack/anon-1026 (")
            && said.contains("agentstack/default is still the key in use"),
        "{said}"
    );
    assert!(home.calls(CREATE).iter().all(|call| call.header("authorization").is_none()));
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some(SECRETS[0]));
    // None in the answer leaves the stored one.
    home.gives(&["call", "agentstack.execute", "action=auth.convert_anonymous_user", "--json"]);
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(&home.calls("get_projects")[1]), Some(SECRETS[0]));
    home.holds_no_secret();
}

#[test]
fn a_key_is_tried_with_an_action_that_needs_it() {
    let home = Home::new();
    let add = |key: &str| {
        let mut command = home.command();
        command.args(["keys", "add", "--from-env", "K", "--replace"]).env("K", key);
        command.output().expect("the binary")
    };
    let added = add("ask_0123456789abcdef");
    assert!(text(&added.stderr).contains("projects.get_projects answered in"), "{}", text(&added.stderr));
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some("ask_0123456789abcdef"));
    let refused = add("ask_refused_0123456789");
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    for pings in 1..3 {
        let pinged = text(&home.run(&["ping", "-o", "text"]).stdout);
        assert!(pinged.contains(": agentstack, REST; asistry speaks MCP for it, "), "{pinged}");
        assert_eq!(home.calls("actions").len(), pings, "a ping reaches the service");
    }
}

#[test]
fn no_request_carries_two_credentials() {
    let home = Home::new();
    home.gives(&["call", CREATE, "--save-key", "--json"]);
    let with = |headers: &[&str]| {
        let mut command = home.command();
        for header in headers {
            command.args(["--header", header]);
        }
        command.env("K", "ask_other").args(["call", "projects.get_projects"]).output().expect("the binary")
    };
    assert_eq!(with(&["X-API-Key: ${K}"]).status.code(), Some(0));
    let call = &home.calls("get_projects")[0];
    assert_eq!((call.header("x-api-key"), call.header("authorization")), (Some("ask_other"), None));
    let mut command = home.command();
    command.env("K", "ask_other").env("ASISTRY_API_KEY", "ask_0123456789abcdef");
    command.args(["--header", "X-API-Key: ${K}", "call", "projects.get_projects"]);
    assert_eq!(command.output().expect("the binary").status.code(), Some(0));
    let call = &home.calls("get_projects")[1];
    assert_eq!((call.header("x-api-key"), call.header("authorization")), (Some("ask_other"), None));
    let both = with(&["X-API-Key: ${K}", "Authorization: Bearer ${K}"]);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
    let mut command = home.command();
    command.env("K", "ask_other").args(["--header", "X-API-Key: ${K}", "--header", "X-Project-ID: 7"]);
    let output = command.args(["call", CREATE, "--reveal"]).output().expect("the binary");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let made = home.calls(CREATE).pop().expect("a call");
    assert_eq!((made.header("x-api-key"), made.header("x-project-id")), (None, Some("7")));
}

#[test]
fn a_person_may_see_the_key() {
    let home = Home::new();
    let output = home.command().args(["call", CREATE, "--reveal", "--json"]).output().expect("the binary");
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&made["user_api_key"], &made["auth_key"]), (&json!(SECRETS[0]), &json!(SECRETS[3])));
    assert!(text(&home.run(&["keys", "list"]).stdout).is_empty(), "it is nowhere stored");
    let output =
        home.command().args(["call", CREATE, "--reveal", "--save-key"]).output().expect("the binary");
    assert!(
        text(&output.stdout).contains(SECRETS[1])
            && text(&output.stderr).contains("stored agentstack/default")
    );
}

#[test]
fn a_model_starts_without_a_key_and_goes_on_with_masked_values() {
    let home = Home::new();
    let mut bridge = home.bridge().spawn();
    let mut heard = vec![bridge.open("2025-11-25")];
    let mut call = |id: u64, tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments}).to_string();
        bridge.say(request(&id.to_string(), "tools/call", &params));
        let answer = bridge.answer(id);
        heard.push(answer.clone());
        answer["result"].clone()
    };
    let made = call(1, "projects_create_project_anonymous", json!({"name": "Mine"}));
    let note = made["content"][1]["text"].as_str().expect("a note").to_owned();
    assert!(note.contains("stored the new key as agentstack/default (anon_ask_…"), "{note}");
    let data = &made["structuredContent"];
    let masked = |name: &str| data[name].as_str().filter(|text| text.starts_with("MASKED_")).expect("masked");
    assert!(data["message"].as_str().expect("a text").contains(masked("user_api_key")));
    call(2, "projects.get_projects", json!({}));
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some(SECRETS[0]), "without a restart");
    // Not in another argument, nor deeper, nor as a part of a text.
    for arguments in [
        json!({"note": masked("auth_key")}),
        json!({"x": {"auth_key": masked("auth_key")}}),
        json!({"auth_key": format!("is {}", masked("auth_key"))}),
    ] {
        call(3, "projects_get_projects", arguments.clone());
        assert_eq!(home.calls("get_projects").last().expect("a call").message()["params"], arguments);
    }
    let steps = json!({"steps": [{"action": CREATE}]});
    assert!(call(4, "agentstack.execute", steps).is_null());
    call(
        5,
        "projects_attach_to_user",
        json!({"project_id": 1025, "user_id": 5, "auth_key": masked("auth_key")}),
    );
    assert_eq!(home.calls("attach_to_user")[0].message()["params"]["auth_key"], SECRETS[3]);
    call(6, "projects_get_projects", json!({}));
    assert_eq!(key_sent(home.calls("get_projects").last().expect("a call")), Some(SECRETS[5]));
    let unknown = call(7, "projects_attach_to_user", json!({"auth_key": "MASKED_0123456789ab"}));
    assert!(unknown.is_null() && home.calls("attach_to_user").len() == 1);
    bridge.close();
    assert!(bridge.exit().success());
    let all = format!("{heard:?} {}", bridge.stderr());
    assert!(!SECRETS.iter().any(|secret| all.contains(secret)), "{all}");
    assert_eq!(home.calls(CREATE).len(), 1);
    home.holds_no_secret();
}

#[test]
fn a_bridge_makes_no_key_that_it_cannot_store() {
    let home = Home::new();
    let mut bridge = home.bridge().env("ASISTRY_KEY_STORE", "env").spawn();
    bridge.open("2025-11-25");
    bridge.say(request("1", "tools/call", &format!(r#"{{"name":"{CREATE}","arguments":{{}}}}"#)));
    let error = &bridge.answer(1)["error"];
    assert_eq!(
        (&error["data"]["kind"], &error["data"]["mayHaveExecuted"]),
        (&json!("key_store"), &json!(false)),
        "{error}"
    );
    assert_eq!(home.calls(CREATE).len(), 0);
}

#[test]
fn a_key_that_cannot_be_stored_after_all_is_used_while_the_bridge_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, count) = (directory.path().join("data"), AtomicU64::new(1025));
    let in_the_way = data.join("keys.enc");
    let service = Service::start(move |received| {
        if received.path.ends_with(CREATE) {
            std::fs::write(&in_the_way, "damaged").expect("the store");
        }
        Some(answer(received, &count))
    });
    let home = Home { home: directory, service };
    let data = data.display().to_string();
    let mut bridge = home.bridge().env("ASISTRY_DATA_DIR", &data).spawn();
    bridge.open("2025-11-25");
    bridge.say(request("1", "tools/call", &format!(r#"{{"name":"{CREATE}","arguments":{{}}}}"#)));
    let made = bridge.answer(1);
    let note = made["result"]["content"][1]["text"].as_str().expect("a note");
    assert!(note.starts_with("asistry could not store the new key, which is lost when"), "{made}");
    bridge.say(request("2", "tools/call", r#"{"name":"projects.get_projects","arguments":{}}"#));
    bridge.answer(2);
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some(SECRETS[0]));
}

#[test]
fn a_creation_that_is_cancelled_has_its_key_stored() {
    let (gate, count) = (Gate::default(), AtomicU64::new(1025));
    let late = gate.clone();
    let service = Service::start(move |received| {
        let reply = answer(received, &count);
        Some(if received.path.ends_with(CREATE) { reply.after(&late) } else { reply })
    });
    let home = Home { home: tempfile::tempdir().expect("a directory"), service };
    let mut bridge = home.bridge().spawn();
    bridge.open("2025-11-25");
    bridge.say(request("1", "tools/call", &format!(r#"{{"name":"{CREATE}","arguments":{{}}}}"#)));
    home.service.awaits("the creation", |r| r.path.ends_with(CREATE));
    bridge.say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    bridge.say(request("2", "ping", "{}"));
    bridge.answer(2);
    gate.open();
    loop {
        bridge.say(request("3", "tools/call", r#"{"name":"projects.get_projects","arguments":{}}"#));
        let answer = bridge.answer(3);
        assert_ne!(answer["id"], 1, "a cancelled call is not answered");
        if answer["error"].is_null() {
            break;
        }
    }
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some(SECRETS[0]));
}

#[test]
fn a_key_of_ones_own_is_not_replaced_by_that_of_a_project() {
    let home = Home::new();
    let (made, _) = home.gives(&["call", CREATE, "--save-key", "--json"]);
    let own = "ask_my_own_account_1";
    let mut add = home.command();
    let added = add.args(["keys", "add", "--from-env", "K", "--replace"]).env("K", own).output();
    assert!(added.expect("the binary").status.success());
    // Keys are dated by the second: this one was stored later than the secrets of the project.
    let list =
        files(home.home.path()).into_iter().find(|file| file.ends_with("keys.json")).expect("the list");
    let mut keys: Value = serde_json::from_slice(&std::fs::read(&list).expect("the list")).expect("JSON");
    for key in keys["keys"].as_array_mut().expect("keys") {
        if key["name"] == "default" {
            key["deposit"]["added"] = json!(key["deposit"]["added"].as_u64().expect("seconds") + 10);
        }
    }
    std::fs::write(&list, keys.to_string()).expect("the list");
    let argument = format!("auth_key={}", made["auth_key"].as_str().expect("a text"));
    let (_, said) = home.gives(&["call", "projects.attach_to_user", "project_id:=1025", &argument, "--json"]);
    assert!(said.contains("stored agentstack/project-1025 ("), "{said}");
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(home.calls("get_projects").last().expect("a call")), Some(own));
}

#[test]
fn a_conversion_replaces_the_key_that_signed_it() {
    let home = Home::new();
    home.gives(&["call", CREATE, "--save-key", "--json"]);
    home.gives(&["call", CREATE, "--save-key", "--json"]);
    let mut bridge = home.bridge().spawn();
    bridge.open("2025-11-25");
    let mut call = |id: u64, tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments}).to_string();
        bridge.say(request(&id.to_string(), "tools/call", &params));
        bridge.answer(id)
    };
    call(1, "projects_get_projects", json!({}));
    assert!(home.run(&["keys", "use", "anon-1026"]).status.success());
    let converted = call(2, "auth_convert_anonymous_user", json!({"email": "a@b"}));
    assert!(converted.to_string().contains("as agentstack/default ("), "{converted}");
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(home.calls("get_projects").last().expect("a call")), Some(SECRETS[1]));
}

#[test]
fn a_new_key_is_stored_whatever_the_shape_of_its_reply() {
    let key = "ask_other-MARKED9";
    for body in [
        json!({"success": true, "data": {"text": json!({"user_api_key": key}).to_string()}}),
        json!({"success": true, "data": [{"userApiKey": [key]}]}),
        json!({"success": true, "data": {"project_api_key": key}}),
        json!({"success": "true", "data": {"api_key": key}}),
        json!({"success": false, "error": "late", "user_api_key": key}),
    ] {
        let reply = body.to_string();
        let service = Service::start(move |received| {
            let is_creation = received.path.ends_with(CREATE);
            is_creation.then(|| Reply::json(&reply)).or_else(|| Some(answer(received, &AtomicU64::new(1))))
        });
        let home = Home { home: tempfile::tempdir().expect("a directory"), service };
        let output = home.run(&["call", CREATE, "--save-key"]);
        assert!(
            text(&output.stderr).contains("stored agentstack/default (ask_…"),
            "{body}: {}",
            text(&output.stderr)
        );
        home.holds_no_secret();
    }
}

#[test]
fn what_cannot_be_a_key_replaces_none() {
    let home = Home::new();
    home.gives(&["call", CREATE, "--save-key", "--json"]);
    for key in
        ["a b\nc".to_owned(), "k".repeat(9000), "schlüssel-99".to_owned(), "MASKED_0123456789ab".to_owned()]
    {
        let argument = format!("key={key}");
        let output = home.run(&["call", "auth.convert_anonymous_user", "email=x", &argument]);
        assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    }
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(home.calls("get_projects").last().expect("a call")), Some(SECRETS[0]));
}

#[test]
fn a_result_without_a_key_is_a_failure_where_one_was_to_be_stored() {
    let service = Service::start(|received| {
        let is_creation = received.path.ends_with(CREATE);
        Some(if is_creation {
            Reply::json(json!({"success": true, "data": {}}))
        } else {
            answer(received, &AtomicU64::new(1))
        })
    });
    let home = Home { home: tempfile::tempdir().expect("a directory"), service };
    let output = home.run(&["call", CREATE, "--save-key"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("holds no key that asistry knows, so none was stored"));
}

#[test]
fn a_creation_under_way_has_its_key_stored_when_the_client_leaves() {
    let (gate, count) = (Gate::default(), AtomicU64::new(1025));
    let late = gate.clone();
    let service = Service::start(move |received| {
        let reply = answer(received, &count);
        Some(if received.path.ends_with(CREATE) { reply.after(&late) } else { reply })
    });
    let home = Home { home: tempfile::tempdir().expect("a directory"), service };
    let mut bridge = home.bridge().spawn();
    bridge.open("2025-11-25");
    bridge.say(request("1", "tools/call", &format!(r#"{{"name":"{CREATE}","arguments":{{}}}}"#)));
    home.service.awaits("the creation", |r| r.path.ends_with(CREATE));
    bridge.close();
    assert!(bridge.is_running_after(std::time::Duration::from_millis(1500)), "it waits for the key");
    gate.open();
    assert!(bridge.exit().success());
    home.gives(&["call", "projects.get_projects", "--json"]);
    assert_eq!(key_sent(&home.calls("get_projects")[0]), Some(SECRETS[0]));
}

#[test]
fn nothing_is_made_where_the_list_of_keys_cannot_be_written() {
    let home = Home::new();
    for (name, value) in [("ASISTRY_STATE_DIR", "/dev/null/x"), ("ASISTRY_DATA_DIR", "/proc/1/x")] {
        let mut command = home.command();
        command.env(name, value).args(["call", CREATE, "name=x", "--save-key"]);
        let output = command.output().expect("the binary");
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    }
    assert_eq!(home.service.received().len(), 0);
    home.gives(&["call", CREATE, "--save-key", "--json"]);
}

#[test]
fn an_action_is_run_by_its_shown_name_too_and_the_rules_bind_it() {
    let home = Home::new();
    let url = home.service.url();
    let options = ["-p", "agentstack", "--url", &url, "bridge", "--deny-tool", "projects.attach_to_user"];
    let mut bridge =
        asistry(options.map(str::to_owned)).env("ASISTRY_API_KEY", "ask_0123456789abcdef").spawn();
    bridge.open("2025-11-25");
    let mut call = |id: u64, arguments: Value| {
        let params = json!({"name": "agentstack_execute", "arguments": arguments}).to_string();
        bridge.say(request(&id.to_string(), "tools/call", &params));
        bridge.answer(id)
    };
    call(1, json!({"action": "projects_get_projects"}));
    assert_eq!(home.calls("/projects.get_projects")[0].message()["tool"], "projects.get_projects");
    call(2, json!({"steps": [{"id": "a", "action": "projects_get_projects", "params": {"n": 1.50}}]}));
    let batch = home.service.received().pop().expect("a batch").message();
    assert_eq!(
        batch["steps"],
        json!([{"id": "a", "action": "projects.get_projects", "params": {"n": 1.50}}])
    );
    let sent = home.service.received().len();
    for arguments in [
        json!({"action": "projects_attach_to_user"}),
        json!({"steps": [{"action": "projects_attach_to_user"}]}),
    ] {
        assert_eq!(call(3, arguments)["error"]["data"]["kind"], "tool_denied");
    }
    assert_eq!(home.service.received().len(), sent);
}

#[test]
fn further_secrets_are_no_keys_and_go_with_theirs() {
    let home = Home::new();
    home.gives(&["call", CREATE, "--save-key", "--json"]);
    assert_eq!(home.run(&["keys", "use", "default.session_token"]).status.code(), Some(4));
    let removed = home.run(&["keys", "remove", "default", "--yes"]);
    let said = text(&removed.stderr);
    assert!(removed.status.success() && !said.contains("keys use"), "{said}");
    assert!(text(&home.run(&["keys", "list"]).stdout).is_empty());
}

#[test]
fn a_word_in_an_argument_for_secrets_masks_nothing_else() {
    let home = Home::new();
    let mut bridge = home.bridge().env("ASISTRY_API_KEY", "ask_0123456789abcdef").spawn();
    bridge.open("2025-11-25");
    let mut call = |id: u64, arguments: Value| {
        let params = json!({"name": "projects.get_projects", "arguments": arguments}).to_string();
        bridge.say(request(&id.to_string(), "tools/call", &params));
        bridge.answer(id)["result"]["structuredContent"]["sent"].clone()
    };
    for (id, word) in [(1, "projects"), (3, "completed"), (5, "my-own")] {
        // The service repeats what it was sent.
        let told = call(id, json!({"auth_key": word}));
        assert!(told["params"]["auth_key"].as_str().expect("a text").starts_with("MASKED_"), "{told}");
        assert_eq!(told["tool"], "projects.get_projects");
        let told = call(id + 1, json!({"name": word}));
        assert_eq!(told, json!({"tool": "projects.get_projects", "params": {"name": word}}));
    }
    // A secret that was typed is masked wherever the service repeats it.
    call(7, json!({"auth_key": SECRETS[3]}));
    let told = call(8, json!({"name": format!("it is {}", SECRETS[3])}));
    assert!(!told.to_string().contains("MARKED"), "{told}");
}

#[test]
fn the_remedy_of_a_batch_repeats_what_becomes_of_its_keys() {
    let home = Home::new();
    let directory = home.home.path();
    std::fs::write(directory.join("calls"), "{\"tool\": \"no.such\"}\n").expect("a file");
    let output = std::fs::File::create(directory.join("output")).expect("a file");
    let mut command = home.command();
    command.current_dir(directory).stdout(output).stderr(Stdio::piped());
    command.args(["call", "--batch", "calls", "--save-key", "--save", "images"]);
    let said = text(&command.output().expect("the binary").stderr);
    assert!(said.contains(" --batch calls --save-key --save images --resume output >>output"), "{said}");
}
