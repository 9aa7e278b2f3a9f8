//! What stands in a profile takes effect, and the command line stands over it.

use serde_json::{Value, json};

use super::Home;
use crate::support::bridge::{asistry, request};
use crate::support::service::{Received, Reply, Service};

/// A service with three tools.
fn with_tools() -> Service {
    Service::start(|received| {
        let tools = r#"{"tools":[{"name":"list_a","inputSchema":{}},{"name":"delete_a","inputSchema":{}},{"name":"odd.name","inputSchema":{}}]}"#;
        (received.method == "tools/list").then(|| Reply::result(received, tools))
    })
}

/// A home whose profile `work` leads to a service.
fn home(service: &Service, more: &str) -> Home {
    Home::with(&format!(
        "profile = 'work'\n[profiles.work]\nservice = 'mcp'\nurl = '{}'\n{more}\n",
        service.url()
    ))
}

#[test]
fn a_service_of_the_user_gets_its_key_in_its_own_header() {
    let service = with_tools();
    let base = service.url().replace("/mcp", "");
    let crm = format!(
        "title = 'CRM'\nendpoint = '{{base}}/{{tenant}}/mcp'\nwire = 'mcp'\nhidden_tools = ['delete_a']\n\
         [auth]\nscheme = 'header'\nheader = 'X-CRM-Key'\nkey_prefixes = ['crm_']\n\
         [variables.base]\nkind = 'url'\ndefault = '{base}'\nabout = 'where it is'\n\
         [variables.tenant]\nkind = 'segment'\ndefault = 'acme'\nabout = 'your tenant'\n"
    );
    let home = Home::with_service("crm", &crm);
    let run = |key: &str| home.asistry(&["-p", "crm", "tools"]).env("ASISTRY_API_KEY", key).assert();
    run("ask_1").code(4);
    let listed = run("crm_1").success();
    assert_eq!(listed.get_output().stdout, b"list_a\t\t\nodd.name\t\t\n");
    assert_eq!(service.awaits("tools/list", |r| r.method == "tools/list").header("x-crm-key"), Some("crm_1"));
}

#[test]
fn an_era_that_a_profile_forces_and_the_service_does_not_speak_is_told() {
    let failed = |status: u16, code: i64, data: Value| {
        move |received: &Received| {
            let error = json!({"code": code, "message": "no such thing", "data": data});
            let id = received.message()["id"].clone();
            let text = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
            (!id.is_null()).then(|| Reply::status(status, "application/json", text))
        }
    };
    let told = |service: &Service, era: &str, command: &[&str], code: i32| {
        home(service, &format!("era = '{era}'")).fails(command, code)
    };
    let sentence = |era: &str| {
        format!(
            "asistry: the service does not speak the {era} era, which profile work forces: no such thing\n  \
             try: asistry profiles set work era=auto\n"
        )
    };
    // A legacy service without sessions; one that wants its session first.
    let service = Service::start(failed(200, -32601, Value::Null));
    assert_eq!(told(&service, "modern", &["ping"], 7), sentence("modern"));
    // A modern service may have no prompts.
    assert!(!told(&service, "modern", &["prompts"], 1).contains("era"));
    let service = Service::start(failed(400, -32000, Value::Null));
    for command in ["ping", "tools"] {
        assert_eq!(told(&service, "modern", &[command], 7), sentence("modern"));
    }
    assert!(!told(&service, "auto", &["ping"], 1).contains("era"));
    // Modern services without sessions; a legacy service without prompts may answer as the first one does.
    let service = Service::start(failed(404, -32601, Value::Null));
    assert_eq!(told(&service, "legacy", &["ping"], 7), sentence("legacy"));
    assert!(!told(&service, "legacy", &["prompts"], 1).contains("era"));
    let service = Service::start(failed(400, -32022, json!({"supported": ["2026-07-28"]})));
    for command in ["ping", "tools", "prompts"] {
        assert_eq!(told(&service, "legacy", &[command], 7), sentence("legacy"));
    }
}

#[test]
fn headers_go_along_with_what_the_environment_adds_and_the_command_line_stands_over_them() {
    let service = with_tools();
    let home =
        home(&service, "headers = { X-Project-ID = 'p-${N}', X-Other = 'o', Authorization = 'Bearer ${T}' }");
    let mut command = home.asistry(&["tools", "--header", "x-other: mine"]);
    command.env("N", "7").env("T", "t0").assert().success();
    let list = service.awaits("tools/list", |r| r.method == "tools/list");
    assert_eq!(list.header("x-project-id"), Some("p-7"));
    assert_eq!(list.header("x-other"), Some("mine"));
    assert_eq!(list.header("authorization"), Some("Bearer t0"));
    assert!(home.fails(&["tools"], 3).contains("is not set"));
    let shown = home.asistry(&["profiles", "show"]).env("T", "t0").assert().success();
    assert!(!String::from_utf8_lossy(&shown.get_output().stdout).contains("t0"));
    let elsewhere = ["-p", "work", "--url", "http://127.0.0.1:9/mcp", "tools"];
    let refused = home.asistry(&elsewhere).env("N", "7").env("T", "t0").assert().code(3);
    assert!(
        String::from_utf8_lossy(&refused.get_output().stderr).contains("may not go to http://127.0.0.1:9")
    );
}

#[test]
fn what_a_header_takes_from_the_environment_goes_to_the_origin_of_the_profile_only() {
    let (service, other) = (with_tools(), Service::never_called());
    let home = home(&service, "headers = { X-Auth-Key = '${T}' }");
    let tools = |url: &str| {
        let mut command = home.asistry(&["-p", "work", "--url", url, "tools"]);
        command.env("T", "t0").assert()
    };
    let refused = tools(&other.url()).code(3);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("X-Auth-Key"));
    tools(&format!("{}?x=1", service.url())).success();
    assert_eq!(service.awaits("tools/list", |r| r.method == "tools/list").header("x-auth-key"), Some("t0"));
}

#[test]
fn tools_are_denied_hidden_and_renamed_as_the_profile_says() {
    let service = with_tools();
    let home = home(&service, "deny_tools = ['delete_*']\ntool_names = 'safe'\nhidden_tools = ['list_*']");
    assert!(home.fails(&["call", "delete_a"], 2).contains("delete_a"));
    let names = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["bridge"].iter().chain(arguments).copied().collect();
        let mut bridge =
            asistry(arguments).env("ASISTRY_CONFIG_DIR", &home.directory().to_string_lossy()).spawn();
        bridge.open("2025-06-18");
        bridge.say(request("\"list\"", "tools/list", "{}"));
        let tools = bridge.answer("list")["result"]["tools"].clone();
        bridge.close();
        let names = tools.as_array().expect("a list").iter().filter_map(|tool| tool["name"].as_str());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["odd_name"]);
    assert_eq!(names(&["--tool-names", "original", "--deny-tool", "none"]), ["delete_a", "odd.name"]);
    home.prints(&["profiles", "set", "work", "hidden_tools="]);
    assert_eq!(names(&[]), ["list_a", "odd_name"]);
}

#[test]
fn a_timeout_of_the_profile_ends_the_wait_and_the_command_line_can_give_more() {
    let service = Service::start(|received| (received.method == "tools/list").then(Reply::never));
    let home = home(&service, "timeout = '100ms'");
    assert!(home.fails(&["tools"], 6).contains("within 0.1 s"));
    assert!(home.fails(&["tools", "--timeout", "200ms"], 6).contains("within 0.2 s"));
}

#[test]
fn a_wait_for_a_rate_limit_is_as_long_as_the_profile_says() {
    let service = Service::start(|received| {
        let limited = Reply::status(429, "text/plain", "slow down").header("retry-after", "1");
        (received.method == "tools/list").then_some(limited)
    });
    let home = home(&service, "max_wait = '0'");
    home.fails(&["tools"], 5);
    assert_eq!(service.received().iter().filter(|r| r.method == "tools/list").count(), 1);
}

#[test]
fn everything_goes_through_the_proxy_of_the_profile() {
    let proxy = with_tools();
    let at = proxy.url().replace("http://", "http://me:${PASSWORD}@").replace("/mcp", "");
    let home = Home::with(&format!(
        "[profiles.far]\nservice = 'mcp'\nurl = 'http://far.invalid/mcp'\nproxy = '{at}'\n"
    ));
    let run = |arguments: &[&str]| {
        let mut command = home.asistry(arguments);
        command.env("PASSWORD", "p@ss").env("HTTP_PROXY", "http://127.0.0.1:9").assert()
    };
    run(&["-p", "far", "tools"]).success();
    let list = proxy.awaits("tools/list", |r| r.method == "tools/list");
    assert_eq!(list.header("host"), Some("far.invalid"));
    // me:p@ss
    assert_eq!(list.header("proxy-authorization"), Some("Basic bWU6cEBzcw=="));
    assert!(home.fails(&["-p", "far", "tools"], 3).contains("the environment has no PASSWORD"));
}

#[test]
fn a_key_does_not_travel_in_the_clear_by_way_of_a_proxy() {
    let service = Service::never_called();
    for proxy in ["http://192.0.2.1:3128", "socks5h://192.0.2.1:1080"] {
        let home = home(&service, &format!("proxy = '{proxy}'"));
        let said = home.asistry(&["tools"]).env("ASISTRY_API_KEY", "k1").assert().code(3);
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(said.contains("proxy 192.0.2.1") && said.contains("--allow-http"), "{said}");
    }
}

#[test]
fn a_proxy_of_the_environment_does_not_read_what_stays_on_this_machine() {
    let (service, proxy) = (with_tools(), Service::never_called());
    let home = home(&service, "");
    let mut command = home.asistry(&["tools"]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, proxy.url());
    }
    command.env("ASISTRY_API_KEY", "k1").assert().success();
    assert_eq!(
        service.awaits("tools/list", |r| r.method == "tools/list").header("authorization"),
        Some("Bearer k1")
    );
}

#[test]
fn a_certificate_of_the_profile_is_read_beside_the_configuration() {
    let service = Service::never_called();
    let url = service.url().replace("http://", "https://");
    let home =
        Home::with(&format!("[profiles.tls]\nservice = 'mcp'\nurl = '{url}'\nca_file = 'roots.pem'\n"));
    let path = home.directory().join("roots.pem");
    let said = home.fails(&["-p", "tls", "tools"], 3);
    assert!(said.contains(&*path.to_string_lossy()), "{said}");
}

#[test]
fn the_sandbox_takes_options_too() {
    let home = Home::new();
    home.prints(&["profiles", "add", "play", "--service", "sandbox", "--set", "allow_tools=list_*", "--use"]);
    let listed = home.prints(&["tools"]);
    assert!(!listed.is_empty() && listed.lines().all(|line| line.starts_with("list_")), "{listed}");
}
