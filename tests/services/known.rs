//! What the built-in services need known.

use serde_json::{Value, json};

use crate::support::bridge::request;
use crate::support::home::Home;
use crate::support::service::{Received, Reply, Service};

/// Where a stand-in is, without its path.
fn base(service: &Service) -> String {
    service.url().trim_end_matches("/mcp").to_owned()
}

fn bob() -> Service {
    Service::start(|received| {
        let tool = |name: &&str| json!({"name": name, "inputSchema": {"type": "object"}});
        let names = ["get_task", "create_task", "list_recordings", "update_booking_settings"];
        let tools = json!({"tools": names.iter().map(tool).collect::<Vec<_>>()});
        (received.method == "tools/list").then(|| Reply::result(received, tools))
    })
}

/// A home whose profile of this name has these lines, and a key.
fn home(name: &str, lines: &str, key: &str) -> Home {
    let home = Home::new();
    home.write("config/config.toml", format!("[profiles.{name}]\nservice = '{name}'\n{lines}\n"));
    home.told(&["-p", name, "keys", "add", "--stdin", "--no-verify"], key).succeeds();
    home
}

#[test]
fn a_verification_refusal_of_task_tracking_is_shown_whole() {
    const REFUSAL: &str = "Customer verification required: 2 of 3 factors.\n- Task number\n- Customer name\n\
        - Phone number\nProvided: Task number (7035974534 does not match “Russell”).";
    for is_error_of_protocol in [false, true] {
        let service = Service::start(move |received| {
            if received.method == "tools/list" {
                let tool = json!({"name": "addCustomerComment", "inputSchema": {"type": "object"}});
                return Some(Reply::result(received, json!({"tools": [tool]})));
            }
            if received.method != "tools/call" {
                return None;
            }
            if !is_error_of_protocol {
                let result = json!({"content": [{"type": "text", "text": REFUSAL}], "isError": true});
                return Some(Reply::result(received, result));
            }
            let id = received.message()["id"].clone();
            let error = json!({"code": -32010, "message": REFUSAL, "data": {"required": 2}});
            Some(Reply::json(json!({"jsonrpc": "2.0", "id": id, "error": error})))
        });
        let values = format!("base_url = '{}'\nworkspace_id = 'w-1'", base(&service));
        let home = home("task-tracking", &values, "mcp_live_0123456789abcdef");
        let call = ["-p", "task-tracking", "call", "addCustomerComment", "comment=x", "--no-check"];
        let ran = home.run(&call).fails(1);
        for line in REFUSAL.lines() {
            assert!(ran.stderr.contains(line), "{line}: {ran:?}");
        }
        let mut bridge = home.start(&["-p", "task-tracking", "bridge"]).spawn();
        bridge.open("2024-11-05");
        bridge.say(request("1", "tools/call", r#"{"name":"addCustomerComment","arguments":{}}"#));
        let answer = bridge.answer(1);
        let said = if is_error_of_protocol {
            assert_eq!(answer["error"]["data"], json!({"required": 2}));
            &answer["error"]["message"]
        } else {
            &answer["result"]["content"][0]["text"]
        };
        assert_eq!(said, REFUSAL);
        assert_eq!(service.received()[0].path, "/app/api/mcp/server/w-1");
    }
}

#[test]
fn task_tracking_says_without_a_terminal_which_command_gives_what_is_missing() {
    let ran = Home::new().run(&["-p", "task-tracking", "tools"]).fails(3);
    assert!(ran.stderr.contains("base_url") && ran.stderr.contains("profiles add task-tracking"), "{ran:?}");
    let ran = Home::new().run(&["profiles", "add", "task-tracking", "--no-input"]).fails(2);
    assert!(ran.stderr.contains("--set base_url=") && ran.stderr.contains("--set workspace_id="), "{ran:?}");
}

#[test]
fn the_scopes_of_zuko_are_named_and_a_login_that_is_never_made_sends_nothing() {
    let scopes = "organizations:read tasks:read tasks:write";
    let ran = Home::new().run(&["-p", "zuko", "--login", "never", "tools"]).fails(4);
    assert!(ran.stderr.contains("needs a login") && ran.stderr.contains("asistry login -p zuko"), "{ran:?}");
    let shown = Home::new().run(&["profiles", "show", "zuko"]).succeeds();
    assert!(shown.stdout.contains(&format!("scopes\t{scopes}\tservice")), "{shown:?}");
}

#[test]
fn the_internal_tools_of_bob_studio_are_hidden_until_the_profile_shows_them() {
    let service = bob();
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let url = service.url();
        let mut all = vec!["-p", "bob-studio", "--url", &url];
        all.extend(arguments);
        let mut command = home.command(all);
        crate::support::home::Ran::of(command.env("ASISTRY_API_KEY", "bsk_0123456789"))
    };
    let internal = ["create_task", "list_recordings", "update_booking_settings"];
    let listed = run(&["tools"]).succeeds().stdout;
    assert!(listed.contains("get_task") && internal.iter().all(|name| !listed.contains(name)), "{listed}");
    run(&["call", "create_task"]).fails(2);
    home.run(&["profiles", "set", "bob-studio", "hidden_tools="]).succeeds();
    let listed = run(&["tools"]).succeeds().stdout;
    assert!(internal.iter().all(|name| listed.contains(name)), "{listed}");
}

#[test]
fn a_service_that_answers_json_only_is_never_asked_for_a_stream() {
    let gets = |profile: &str| {
        let service = Service::start(|_| Some(Reply::empty(405)));
        let url = service.url();
        let home = Home::new();
        let mut command = home.command(["-p", profile, "--url", &url, "tools"]);
        command.env("ASISTRY_API_KEY", "bsk_0123456789").assert().failure();
        service.received().iter().filter(|received| received.verb == "GET").count()
    };
    assert_eq!(gets("bob-studio"), 0);
    assert!(gets("mcp") > 0, "which may speak HTTP+SSE");
    let shown = Home::new().run(&["profiles", "show", "bob-studio"]).succeeds();
    assert!(shown.stdout.contains("transport\thttp\tservice"), "{shown:?}");
}

/// AgentStack's own MCP: one tool, which runs actions.
fn agentstack(received: &Received) -> Option<Reply> {
    match received.method.as_str() {
        "tools/list" => {
            let tool = json!({"name": "agentstack.execute", "inputSchema": {"type": "object"}});
            Some(Reply::result(received, json!({"tools": [tool]})))
        }
        "tools/call" => {
            let given = received.message()["params"]["arguments"].clone();
            Some(Reply::result(received, json!({"content": [], "structuredContent": given})))
        }
        _ => None,
    }
}

#[test]
fn agentstack_is_spoken_to_in_mcp_where_the_profile_says_so() {
    let service = Service::start(agentstack);
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let url = service.url();
        let mut all = vec!["-p", "agentstack", "--url", &url];
        all.extend(arguments);
        let mut command = home.command(all);
        crate::support::home::Ran::of(command.env("ASISTRY_API_KEY", "ask_0123456789"))
    };
    let shown = home.run(&["profiles", "show", "agentstack"]).succeeds();
    assert!(shown.stdout.contains("dialect\trest\tservice"), "{shown:?}");
    home.run(&["profiles", "set", "agentstack", "dialect=mcp", "deny_tools=x.*"]).succeeds();
    let given = run(&["call", "agentstack.execute", "action=a.b", "--json", "--no-check"]).succeeds();
    assert_eq!(serde_json::from_str::<Value>(&given.stdout).unwrap(), json!({"action": "a.b"}));
    let received = service.received();
    assert!(received.iter().all(|r| r.path == "/mcp"), "{received:?}");
    assert!(received.iter().all(|r| r.header("authorization") == Some("Bearer ask_0123456789")));
    let calls = || service.received().iter().filter(|r| r.method == "tools/call").count();
    assert_eq!(calls(), 1);
    // What a rule denies, or would lose a key, is not sent under another name either.
    for action in ["x.y", "projects.create_project_anonymous", "projects.attach_to_user"] {
        let named = format!("action={action}");
        let steps = json!([{"action": "a.b"}, {"action": action}]);
        let steps = format!("steps:={steps}");
        for argument in [&named, &steps] {
            let ran = run(&["call", "agentstack.execute", argument, "--no-check"]).fails(2);
            assert!(ran.stderr.contains(action), "{ran:?}");
        }
    }
    assert_eq!(calls(), 1, "nothing was sent");
    let wrong = home.run(&["profiles", "set", "asistry", "dialect=rest"]);
    assert!(wrong.code != 0 && wrong.stderr.contains("Asistry speaks MCP only"), "{wrong:?}");
}
