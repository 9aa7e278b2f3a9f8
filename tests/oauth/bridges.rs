//! Bridges whose service wants a login.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use url::Url;

use super::Desk;
use super::server::{Login, denial_of, follow, get};
use crate::support::bridge::{Bridge, request};
use crate::support::home::Ran;
use crate::support::service::{Gate, Received};

const REVISION: &str = "2025-11-25";

fn bridge(desk: &Desk, login: &Login, options: &[&str]) -> Bridge {
    let url = login.url();
    let words: Vec<&str> = ["bridge", "--url", &url].into_iter().chain(options.iter().copied()).collect();
    desk.home.start(&words).env("BROWSER", &desk.browser.command).spawn()
}

fn lists(bridge: &Bridge, id: u64) {
    bridge.say(request(&id.to_string(), "tools/list", "{}"));
}

fn callback_of(page: &Url) -> Url {
    let uri = page.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    Url::parse(&uri).unwrap()
}

#[test]
fn the_handshake_is_answered_at_once_and_the_first_request_logs_in() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &[]);
    let opened = bridge.open(REVISION);
    assert_eq!(opened["result"]["protocolVersion"], REVISION);
    assert_eq!(opened["result"]["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(desk.browser.more(), 0, "a handshake opens no window");
    lists(&bridge, 1);
    bridge.say(request("2", "prompts/list", "{}"));
    let page = desk.browser.opens();
    bridge.say(request("3", "ping", "{}"));
    assert_eq!(bridge.answer(3)["result"], json!({}));
    get(&follow(&page));
    assert_eq!(bridge.answer(1)["result"]["tools"][0]["name"], "read");
    bridge.answer(2);
    bridge.call(4, "read");
    assert!(bridge.answer(4)["result"].is_object());
    let signed = |r: &&Received| r.method == "initialize" && r.header("authorization").is_some();
    assert_eq!(login.service.received().iter().filter(signed).count(), 1);
    login.service.awaits("the confirmation", |r| r.method == "notifications/initialized");
    assert_eq!(desk.browser.more(), 0);
    assert!(bridge.stderr().contains("to log in, open http"));
}

#[test]
fn what_is_sent_before_the_handshake_is_answered_logs_in_too() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &[]);
    let params =
        json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    bridge.say(request("1", "initialize", &params.to_string()));
    bridge.call(2, "read");
    assert_eq!(desk.browser.logs_in().0, 200);
    assert_eq!(bridge.answer(1)["result"]["protocolVersion"], REVISION);
    assert!(bridge.answer(2)["result"].is_object());
}

#[test]
fn eight_calls_that_are_refused_refresh_once() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    let mut bridge = bridge(&desk, &login, &[]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    bridge.answer(1);
    login.set(|server| server.access.clear());
    for id in 10..18 {
        bridge.call(id, "read");
    }
    for id in 10..18 {
        assert!(bridge.answer(id)["result"].is_object());
    }
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn two_processes_that_are_refused_refresh_once() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    let mut bridges: Vec<Bridge> = (0..2).map(|_| bridge(&desk, &login, &[])).collect();
    for bridge in &mut bridges {
        bridge.open(REVISION);
        lists(bridge, 1);
        bridge.answer(1);
    }
    login.set(|server| server.access.clear());
    bridges.iter().for_each(|bridge| bridge.call(2, "read"));
    for bridge in &mut bridges {
        assert!(bridge.answer(2)["result"].is_object());
    }
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
}

#[test]
fn five_processes_open_one_window() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridges: Vec<Bridge> = (0..5).map(|_| bridge(&desk, &login, &[])).collect();
    for bridge in &mut bridges {
        bridge.open(REVISION);
        lists(bridge, 1);
    }
    assert_eq!(desk.browser.logs_in().0, 200);
    for bridge in &mut bridges {
        assert_eq!(bridge.answer(1)["result"]["tools"][0]["name"], "read");
    }
    assert_eq!((login.count("/register"), login.count("/authorize"), desk.browser.more()), (1, 1, 0));
    assert_eq!(login.grants(), ["authorization_code"]);
}

#[test]
fn another_process_takes_over_from_one_that_was_killed() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut first = bridge(&desk, &login, &[]);
    first.open(REVISION);
    lists(&first, 1);
    let lost = callback_of(&desk.browser.opens());
    let mut second = bridge(&desk, &login, &[]);
    second.open(REVISION);
    lists(&second, 1);
    login.service.awaits_many(4, "refused openings", |r| r.method == "initialize");
    assert_eq!(desk.browser.more(), 0, "a window is open already");
    first.signal(Signal::KILL);
    let page = desk.browser.opens();
    get(&follow(&page));
    assert!(second.answer(1)["result"]["tools"].is_array());
    assert!(std::net::TcpStream::connect(("127.0.0.1", lost.port().unwrap())).is_err(), "the port is free");
}

#[test]
fn the_end_of_stdin_ends_a_login_within_a_second() {
    let (desk, login) = (Desk::new(), Login::start());
    for signal in [None, Some(Signal::TERM)] {
        let mut bridge = bridge(&desk, &login, &[]);
        bridge.open(REVISION);
        lists(&bridge, 1);
        let port = callback_of(&desk.browser.opens()).port().unwrap();
        let since = Instant::now();
        match signal {
            Some(signal) => bridge.signal(signal),
            None => bridge.close(),
        }
        bridge.ends(0, since, Duration::from_secs(1));
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free");
    }
    // The lock is free, too: the next one logs in.
    desk.logs_in(&login);
}

#[test]
fn a_declined_login_opens_no_window_again() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &[]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    let page = desk.browser.opens();
    assert_eq!(get(&denial_of(&page, &login)).0.0, 400);
    let error = bridge.answer(1)["error"].clone();
    assert_eq!((error["code"].as_i64(), error["data"]["kind"].as_str()), (Some(-32001), Some("auth_denied")));
    lists(&bridge, 2);
    let error = bridge.answer(2)["error"].clone();
    assert_eq!(error["data"]["kind"], "auth_required");
    assert!(error["data"]["hint"].as_str().unwrap().starts_with("asistry login --url"), "{error}");
    assert_eq!(desk.browser.more(), 0);
    // A person who asks for the login gets it, and the bridge goes on with it.
    desk.logs_in(&login);
    lists(&bridge, 3);
    assert!(bridge.answer(3)["result"]["tools"].is_array());
}

#[test]
fn a_tool_logs_in_where_the_user_wants_it() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &["--login", "tool"]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    let tools = bridge.answer(1)["result"]["tools"].clone();
    assert_eq!(tools.as_array().map(Vec::len), Some(1));
    assert_eq!(tools[0]["name"], "sign_in");
    assert_eq!(desk.browser.more(), 0);
    bridge.call(2, "sign_in");
    assert_eq!(desk.browser.logs_in().0, 200);
    let result = bridge.answer(2)["result"].clone();
    assert!(result["content"][0]["text"].as_str().unwrap().contains("logged in"), "{result}");
    assert_eq!(bridge.hear()["method"], "notifications/tools/list_changed");
    lists(&bridge, 3);
    assert_eq!(bridge.answer(3)["result"]["tools"][0]["name"], "read");
}

#[test]
fn a_login_that_is_never_made_is_named_in_the_error() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &["--login", "never"]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    let error = bridge.answer(1)["error"].clone();
    assert_eq!(
        (error["code"].as_i64(), error["data"]["kind"].as_str()),
        (Some(-32001), Some("auth_required"))
    );
    assert_eq!(error["data"]["mayHaveExecuted"], false);
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn without_a_browser_the_error_has_the_url_and_the_login_goes_on() {
    let (desk, login) = (Desk::new(), Login::start());
    let url = login.url();
    let mut bridge = desk.home.start(&["bridge", "--url", &url]).env("BROWSER", "/nowhere/browser").spawn();
    bridge.open(REVISION);
    lists(&bridge, 1);
    let error = bridge.answer(1)["error"]["message"].as_str().unwrap().to_owned();
    let page = error.split_whitespace().find(|word| word.starts_with("http") && word.contains("/authorize"));
    get(&follow(&Url::parse(page.expect("a URL")).unwrap()));
    lists(&bridge, 2);
    assert!(bridge.answer(2)["result"]["tools"].is_array());
}

#[test]
fn no_store_is_no_hindrance_to_a_bridge() {
    let (desk, login) = (Desk::new(), Login::start());
    let url = login.url();
    let start = desk.home.start(&["bridge", "--url", &url]).env("BROWSER", &desk.browser.command);
    let mut bridge = start.env("ASISTRY_KEY_STORE", "env").spawn();
    bridge.open(REVISION);
    lists(&bridge, 1);
    assert_eq!(desk.browser.logs_in().0, 200);
    assert!(bridge.answer(1)["result"]["tools"].is_array());
    login.set(|server| server.access.clear());
    bridge.call(2, "read");
    assert!(bridge.answer(2)["result"].is_object());
    assert!(bridge.stderr().contains("will end with this process"), "{}", bridge.stderr());
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
}

#[test]
fn a_state_directory_that_cannot_be_written_is_no_hindrance_to_a_bridge() {
    let (desk, login) = (Desk::new(), Login::start());
    let url = login.url();
    // Where nobody can make a directory, not even root.
    let state = "/proc/none/state";
    let start = desk.home.start(&["bridge", "--url", &url]).env("BROWSER", &desk.browser.command);
    let mut bridge = start.env("ASISTRY_STATE_DIR", state).spawn();
    bridge.open(REVISION);
    lists(&bridge, 1);
    assert_eq!(desk.browser.logs_in().0, 200);
    assert!(bridge.answer(1)["result"]["tools"].is_array());
    login.set(|server| server.access.clear());
    bridge.call(2, "read");
    assert!(bridge.answer(2)["result"].is_object());
    assert_eq!(bridge.stderr().matches("serves this process alone").count(), 1, "{}", bridge.stderr());
    // A command that must store it refuses.
    let mut command = desk.home.command(["login", "--url", &url]);
    Ran::of(command.env("ASISTRY_STATE_DIR", state)).fails(4).says(&["make the directory writable"]);
    // A machine's login stores nothing.
    login.set(|server| server.clients.insert("robot".into(), String::new()));
    let words = ["call", "read", "--url", &url, "--client-credentials", "--client-id", "robot"];
    let mut command = desk.home.command([&words[..], &["--client-secret-env", "HOME"]].concat());
    Ran::of(command.env("ASISTRY_STATE_DIR", state)).succeeds();
}

#[test]
fn the_stream_and_the_list_outlive_a_hundred_tokens() {
    let gate = Gate::default();
    let (desk, login) = (Desk::new(), Login::with(|server| server.pushes = Some(gate.clone())));
    desk.logs_in(&login);
    let mut bridge = bridge(&desk, &login, &[]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    bridge.answer(1);
    login.service.awaits("the standalone stream", |r| r.verb == "GET" && r.path == "/mcp");
    for id in 2..102 {
        // As if an hour had passed: only the newest token is taken.
        login.set(|server| server.access.clear());
        bridge.call(id, "read");
        assert!(bridge.answer(id)["result"].is_object());
    }
    gate.open();
    assert_eq!(bridge.hear()["method"], "notifications/tools/list_changed");
    let streams = login.service.received().iter().filter(|r| r.verb == "GET" && r.path == "/mcp").count();
    assert_eq!(streams, 1);
    assert!(login.grants().len() > 100, "{}", login.grants().len());
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_service_that_wants_a_key_is_told_apart_at_the_first_request() {
    let (desk, login) = (Desk::new(), Login::with(|server| server.names_server = false));
    login.set(|server| server.name = "elsewhere/auth");
    let mut bridge = bridge(&desk, &login, &[]);
    // Its 401 could be that of a service of 2025-03-26, which has no metadata at all.
    bridge.open(REVISION);
    lists(&bridge, 1);
    let error = bridge.answer(1)["error"].clone();
    assert_eq!(error["code"], -32001);
    assert!(error["data"]["hint"].as_str().unwrap().contains("asistry keys add"), "{error}");
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_bridge_whose_token_was_refused_takes_the_next_login() {
    let (desk, login) = (Desk::new(), Login::start());
    desk.logs_in(&login);
    let mut bridge = bridge(&desk, &login, &[]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    bridge.answer(1);
    login.set(|server| server.refuses_all = true);
    bridge.call(2, "read");
    assert_eq!(bridge.answer(2)["error"]["data"]["kind"], "auth_denied");
    login.set(|server| {
        server.refuses_all = false;
        server.access.clear();
    });
    desk.logs_in(&login);
    bridge.call(3, "read");
    assert!(bridge.answer(3)["result"].is_object());
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_client_without_a_handshake_logs_in_too_whatever_it_sends_at_once() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &[]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    let params = json!({ "_meta": meta }).to_string();
    bridge.say(request("1", "server/discover", &params));
    bridge.say(request("2", "tools/list", &params));
    assert_eq!(desk.browser.logs_in().0, 200);
    assert_eq!(bridge.answer(1)["result"]["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(bridge.answer(2)["result"]["tools"][0]["name"], "read");
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_tool_that_the_user_denies_logs_nobody_in() {
    let (desk, login) = (Desk::new(), Login::start());
    let mut bridge = bridge(&desk, &login, &["--login", "tool", "--deny-tool", "sign_in"]);
    bridge.open(REVISION);
    lists(&bridge, 1);
    assert_eq!(bridge.answer(1)["error"]["data"]["kind"], "auth_required");
    bridge.call(2, "sign_in");
    assert!(bridge.answer(2)["error"].is_object());
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_token_that_cannot_be_refreshed_costs_its_requests_nothing() {
    let (desk, login) = (Desk::new(), Login::start());
    login.set(|server| (server.refreshes, server.lifetime) = (false, Some(0)));
    desk.logs_in(&login);
    let mut bridge = bridge(&desk, &login, &["-vv"]);
    bridge.open(REVISION);
    let mut reads = Vec::new();
    for id in 0..20 {
        bridge.call(id, "read");
        assert!(bridge.answer(id)["result"].is_object());
        reads.push(bridge.stderr().matches("reading the key store").count());
    }
    assert_eq!(reads[1], reads[19], "the store is read for each request");
}
