//! Logins of machines, and tokens that are bound to a key.

use serde_json::json;

use super::Desk;
use super::proofs::{identity, key_pair};
use super::server::{Login, MARK};
use crate::support::bridge::Bridge;
use crate::support::home::Ran;
use crate::support::service::{Gate, Reply, Service};

const REVISION: &str = "2025-11-25";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A server that knows the client `robot`, and the words that call a tool as it.
fn robot(options: &[&str]) -> (Desk, Login, Vec<String>) {
    let (desk, login) = (Desk::new(), Login::start());
    login.set(|server| server.clients.insert("robot".into(), String::new()));
    let url = login.url();
    let words = [&["call", "read", "--url", &url, "--client-id", "robot"], options].concat();
    (desk, login, words.into_iter().map(str::to_owned).collect())
}

fn issuer(login: &Login) -> String {
    login.url().replace("/mcp", "/auth")
}

#[test]
fn a_client_proves_itself_with_its_private_key() {
    let (desk, login, words) =
        robot(&["--client-credentials", "--client-key-env", "KEY", "--client-key-id", "k1", "-vv"]);
    let (pem, point) = key_pair();
    login.set(|server| (server.robot, server.fails) = (Some(point), (503, 1)));
    // Each attempt has its own assertion; some put a key on one line.
    for pem in [pem.clone(), pem.trim().replace('\n', "\\n")] {
        let ran = Ran::of(desk.home.command(&words).env("KEY", pem)).succeeds();
        assert!(!ran.stderr.contains("eyJ"), "{}", ran.stderr);
    }
    assert_eq!(login.grants(), ["client_credentials"; 3]);
    let (other, _) = key_pair();
    Ran::of(desk.home.command(&words).env("KEY", &other))
        .fails(4)
        .says(&["does not accept the client robot with its private key: invalid_client: the signature"]);
    let file = desk.home.write("client.pem", &pem);
    let words: Vec<&str> =
        words.iter().map(|word| if word == "--client-key-env" { "--client-key" } else { word }).collect();
    let words = words.iter().map(|word| if *word == "KEY" { &file } else { *word }).collect::<Vec<_>>();
    desk.home.run(&words).succeeds();
}

#[test]
fn what_a_machine_cannot_log_in_with_is_refused_before_anything_is_sent() {
    let (desk, service) = (Desk::new(), Service::never_called());
    let url = service.url();
    let missing = desk.home.file("none").to_str().unwrap().to_owned();
    let garbage = desk.home.write("garbage", format!("{MARK}\n"));
    for (options, says) in [
        (&["--client-credentials", "--client-id", "x", "--client-key", &missing][..], "No such file"),
        (
            &["--client-credentials", "--client-id", "x", "--client-key", &garbage],
            "is not a private key in PEM",
        ),
        (&["--client-credentials", "--client-id", "x"], "needs the client's secret or key"),
        (&["--client-key-id", "x"], "add --client-key FILE"),
        (&["--client-key", &garbage, "--client-key-env", "HOME"], "cannot be combined with"),
        (&["--client-credentials", "--identity-token", "env:HOME"], "cannot be combined with"),
        (&["--identity-token", "env:NOT_SET"], "export NOT_SET=…"),
        (&["--identity-token", MARK], "write github, github:AUDIENCE, env:VAR or file:FILE"),
        (&["--identity-token", "github"], "add to the job: permissions: { id-token: write"),
        (&["--identity-token", &format!("file:{missing}")], "there is no such file"),
        (&["--identity-token", "env:HOME", "--idp-client-id", "x"], "add --idp-issuer URL"),
        (&["--idp-issuer", &url], "add --identity-token SOURCE"),
        (&["--identity-token", "env:HOME", "--idp-issuer", &url], "add --idp-client-id ID"),
    ] {
        let ran = desk.home.run(&[&["call", "read", "--url", &url], options].concat()).fails(2).says(&[says]);
        assert!(!ran.stderr.contains(MARK), "{}", ran.stderr);
    }
}

#[test]
fn what_is_pasted_in_the_place_of_its_source_is_never_repeated() {
    let desk = Desk::new();
    let (pem, _) = key_pair();
    desk.home.run(&["profiles", "add", "ci", "--url", "https://h.example/mcp"]).succeeds();
    let secrets = [pem.as_str(), "eyJhbGciOi.marked-secret.c2ln", "marked-secret-9", "marked secret"];
    let body = pem.lines().nth(1).unwrap();
    for option in
        ["client-key", "client-key-env", "client-secret-env", "identity-token", "idp-client-secret-env"]
    {
        for secret in secrets.iter().filter(|secret| option != "client-key" || secret.len() > 100) {
            let flag = format!("--{option}");
            let joined = format!("--{option}={secret}");
            let stored = format!("{}={secret}", option.replace('-', "_"));
            for words in [
                &["call", "read", "--url", "https://h.example/mcp", &flag, secret][..],
                &["tools", "--url", "https://h.example/mcp", &joined],
                &["profiles", "set", "ci", &stored],
            ] {
                let ran = desk.home.run(words).fails(2);
                let said = format!("{}{}", ran.stdout, ran.stderr);
                assert!(!said.contains("marked") && !said.contains(body), "{words:?}: {said}");
            }
        }
    }
    desk.holds_no_secret();
}

#[test]
fn a_machines_options_leave_a_persons_login_and_a_key_alone() {
    let (desk, login, words) = robot(&["--client-credentials", "--client-secret-env", "SECRET"]);
    desk.logs_in(&login);
    let url = login.url();
    let of_robot = &words.iter().map(String::as_str).collect::<Vec<_>>()[2..];
    let run = |command: &str| {
        let mut command = desk.home.command([&[command], of_robot].concat());
        Ran::of(command.env("SECRET", MARK))
    };
    let shown = run("whoami").succeeds();
    assert!(shown.stdout.contains("logs in by itself as the client robot"), "{}", shown.stdout);
    run("login").fails(2).says(&["login is for people"]);
    run("tools").succeeds();
    // The person's login is another client's.
    run("logout").succeeds();
    desk.run(&login, &["--login", "never", "call", "read"]).succeeds();
    let mut command = desk.home.command(&words);
    Ran::of(command.env("SECRET", MARK).env("ASISTRY_API_KEY", "ask_1"))
        .fails(2)
        .says(&["--client-credentials and ASISTRY_API_KEY are two credentials"]);
    // A stored key is used where no machine is named.
    desk.home.told(&["keys", "add", "--url", &url, "--stdin", "--no-verify"], "ask_marked").succeeds();
    Ran::of(desk.home.command(&words).env("SECRET", MARK)).succeeds();
    assert_eq!(login.grants(), ["authorization_code", "client_credentials", "client_credentials"]);
}

#[test]
fn a_workload_logs_in_with_its_token_which_is_read_each_time() {
    let (desk, login, words) = robot(&[]);
    let tokens = ["one", "two"].map(|mark| identity(&issuer(&login), mark));
    let file = desk.home.write("token", &tokens[0]);
    login.set(|server| server.identities.extend(tokens.clone()));
    let source = format!("file:{file}");
    let words = [&["bridge"], &words.iter().map(String::as_str).collect::<Vec<_>>()[2..]].concat();
    let words = [&words[..], &["--identity-token", &source]].concat();
    let mut bridge: Bridge = desk.home.start(&words).spawn();
    bridge.open(REVISION);
    bridge.call(1, "read");
    assert!(bridge.answer(1)["result"].is_object());
    desk.home.write("token", &tokens[1]);
    login.set(|server| server.access.clear());
    bridge.call(2, "read");
    assert!(bridge.answer(2)["result"].is_object());
    let sent = login.service.awaits_many(2, "exchanges", |r| r.path.ends_with("/token"));
    let assertions: Vec<_> = sent.iter().map(|r| r.field("assertion").unwrap()).collect();
    assert_eq!(assertions, tokens);
    assert_eq!(sent[0].field("client_id").as_deref(), Some("robot"));
    assert_eq!(login.grants(), [JWT_BEARER; 2]);
}

#[test]
fn a_workload_that_is_refused_asks_once_and_never_another_server() {
    let (desk, login, mut words) = robot(&["--identity-token", "env:TOKEN"]);
    words[0] = "bridge".into();
    words.remove(1);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let start = |token: &str| desk.home.start(&words).env("TOKEN", token).spawn();
    let mut bridge: Bridge = start(&identity(&issuer(&login), MARK));
    bridge.open(REVISION);
    for id in [1, 2] {
        bridge.call(id, "read");
        let error = &bridge.answer(id)["error"];
        assert_eq!(error["data"]["kind"], "auth_denied", "{error}");
        assert!(error["message"].as_str().unwrap().contains("invalid_grant"), "{error}");
    }
    assert_eq!(login.grants(), [JWT_BEARER], "a refusal is not asked for again at once");
    let mut bridge: Bridge = start(&identity("https://elsewhere.example", MARK));
    bridge.open(REVISION);
    bridge.call(1, "read");
    let error = bridge.answer(1)["error"]["message"].to_string();
    assert!(error.contains("is for https://elsewhere.example, not for") && !error.contains(MARK), "{error}");
    assert_eq!(login.grants(), [JWT_BEARER]);
}

#[test]
fn a_job_of_github_gets_its_token_itself() {
    let (desk, login, words) = robot(&["--identity-token", "github"]);
    let token = identity(&issuer(&login), MARK);
    login.set(|server| server.identities.insert(token.clone()));
    let github = Service::start(move |_| Some(Reply::json(json!({"count": 1, "value": token}))));
    let url = format!("{}?api-version=2.0", github.url());
    let run = |words: &[String], credential: &str| {
        let mut command = desk.home.command(words);
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", &url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", credential);
        Ran::of(&mut command)
    };
    run(&words, MARK).succeeds();
    let asked = github.received().remove(0);
    assert_eq!(asked.header("authorization"), Some(format!("bearer {MARK}").as_str()));
    assert_eq!(asked.query, format!("api-version=2.0&audience={}", escaped(&issuer(&login))));
    let mut words = words;
    *words.last_mut().unwrap() = "github:api://x".into();
    run(&words, MARK).succeeds();
    assert_eq!(github.received()[1].field("audience").as_deref(), Some("api://x"));
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[test]
fn an_identity_provider_exchanges_the_token_of_an_employee() {
    let (desk, login, mut words) =
        robot(&["--client-secret-env", "SECRET", "--identity-token", "env:TOKEN", "--idp-client-id", "desk"]);
    let provider = Login::with(|server| server.names_server = false);
    provider.set(|server| {
        server.clients.insert("desk".into(), String::new());
        server.identities.insert(identity("desk", "good"));
    });
    words.extend(["--idp-issuer".to_owned(), issuer(&provider)]);
    let run = |token: &str| Ran::of(desk.home.command(&words).env("TOKEN", token).env("SECRET", MARK));
    // What the provider issues is what the server takes.
    login.set(|server| server.identities.insert(format!("jag-{MARK}-1")));
    run(&identity("desk", "good")).succeeds();
    let asked = provider.service.awaits("an exchange", |r| r.path.ends_with("/token"));
    let of = |name: &str| asked.field(name).unwrap_or_default();
    assert_eq!((of("audience"), of("resource")), (issuer(&login), login.url()));
    assert_eq!((of("client_id"), of("subject_token")), ("desk".to_owned(), identity("desk", "good")));
    assert!(
        of("requested_token_type").ends_with(":id-jag") && of("subject_token_type").ends_with(":id_token")
    );
    let sent = login.service.awaits("a token request", |r| r.path.ends_with("/token"));
    assert_eq!(sent.field("assertion"), Some(format!("jag-{MARK}-1")));
    provider.set(|server| server.exchanged_type = Some("urn:ietf:params:oauth:token-type:access_token"));
    run(&identity("desk", "good")).fails(7).says(&["something else than an ID-JAG"]);
    provider.set(|server| server.exchanged_type = None);
    assert!(sent.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
    run(&identity("https://elsewhere.example", MARK)).fails(4).says(&["so it was not sent there"]);
    run(MARK).fails(4).says(&["TOKEN is not a JSON Web Token"]);
    run(&identity("desk", "bad"))
        .fails(4)
        .says(&[&issuer(&provider), "does not accept the client desk: unsupported_grant_type"]);
}

/// A server whose tokens are bound to keys.
fn bound() -> Login {
    Login::with(|server| server.nonces = Some(["of-server", "of-service"]))
}

#[test]
fn a_bound_token_goes_with_a_proof_and_its_key_is_kept_with_it() {
    let (desk, login) = (Desk::new(), bound());
    desk.logs_in(&login);
    desk.run(&login, &["call", "read"]).succeeds();
    // Another process refreshes with the same key, which the server checks.
    login.set(|server| server.access.clear());
    desk.run(&login, &["call", "read"]).succeeds();
    desk.run(&login, &["call", "read"]).succeeds();
    assert_eq!(
        login.grants(),
        ["authorization_code"; 2].iter().chain(&["refresh_token"; 2]).copied().collect::<Vec<_>>()
    );
    let bearers = login
        .service
        .received()
        .iter()
        .filter(|r| r.header("authorization").is_some_and(|value| value.starts_with("Bearer ")))
        .count();
    assert_eq!((bearers, desk.browser.more()), (0, 0));
    desk.run(&login, &["logout", "--revoke"]).succeeds();
    desk.holds_no_secret();
}

#[test]
fn a_service_that_takes_both_kinds_or_demands_one_in_its_metadata_gets_bound_tokens() {
    for (schemes, demands_bound) in [(&["Bearer", "DPoP"][..], false), (&["Bearer"], true)] {
        let (desk, login) = (Desk::new(), bound());
        login.set(|server| (server.schemes, server.demands_bound) = (schemes, demands_bound));
        desk.logs_in(&login);
        desk.run(&login, &["call", "read"]).succeeds();
        assert_eq!(login.set(|server| server.ledger.keys.len()), 2, "{schemes:?}");
    }
}

#[test]
fn a_proof_names_the_place_without_its_query_and_each_server_has_its_own_nonce() {
    let (desk, login) = (Desk::new(), bound());
    let url = format!("{}?workspace=1", login.url());
    let running = desk.start_with(&["--url", &url, "call", "read"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    running.ends().succeeds();
    // One at each server: the nonces of two servers differ, and are not tried at the other one.
    assert_eq!(login.set(|server| server.ledger.lacking), 2);
}

#[test]
fn a_person_whose_client_has_a_key_logs_in_and_refreshes_with_it() {
    let (desk, login) = (Desk::new(), Login::start());
    let (pem, point) = key_pair();
    let file = desk.home.write("client.pem", pem);
    login.set(|server| {
        server.clients.insert("robot".into(), "http://127.0.0.1:14220/callback".into());
        server.robot = Some(point);
    });
    let words = ["--client-id", "robot", "--client-key", &file, "--client-key-id", "k1"];
    let running = desk.start(&login, &[&words[..], &["call", "read"]].concat());
    let page = desk.browser.opens();
    let own = page.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    // Another test may hold the first port.
    login.set(|server| server.clients.insert("robot".into(), own));
    super::get(&super::follow(&page));
    running.ends().succeeds();
    login.set(|server| server.access.clear());
    desk.run(&login, &[&words[..], &["call", "read"]].concat()).succeeds();
    assert_eq!(login.grants(), ["authorization_code", "refresh_token"]);
    desk.run(&login, &["--client-id", "robot", "whoami"]).succeeds();
    // A wrong key is no word about the login.
    let wrong = desk.home.write("wrong.pem", key_pair().0);
    login.set(|server| server.access.clear());
    let with_wrong = ["--client-id", "robot", "--client-key", &wrong, "--client-key-id", "k1"];
    desk.run(&login, &[&with_wrong[..], &["call", "read"]].concat())
        .fails(4)
        .says(&["does not accept the client robot: invalid_client", "check the client's secret or key"]);
    desk.run(&login, &[&words[..], &["call", "read"]].concat()).succeeds();
    assert_eq!(desk.browser.more(), 0);
}

#[test]
fn a_machine_recovers_from_a_refused_token_and_asks_no_more_than_once_in_ten_seconds() {
    let (desk, login, words) = robot(&["--client-credentials", "--client-secret-env", "SECRET"]);
    let words = [&["bridge"], &words.iter().map(String::as_str).collect::<Vec<_>>()[2..]].concat();
    let mut bridge: Bridge = desk.home.start(&words).env("SECRET", MARK).spawn();
    bridge.open(REVISION);
    bridge.call(1, "read");
    assert!(bridge.answer(1)["result"].is_object());
    login.set(|server| server.refuses_all = true);
    for id in 2..8 {
        bridge.call(id, "read");
        assert_eq!(bridge.answer(id)["error"]["data"]["kind"], "auth_denied");
    }
    assert_eq!(login.grants().len(), 2);
    login.set(|server| {
        server.refuses_all = false;
        server.access.clear();
    });
    let until = std::time::Instant::now() + crate::support::DEADLINE;
    for id in 100.. {
        bridge.call(id, "read");
        if bridge.answer(id)["result"].is_object() {
            break;
        }
        assert!(std::time::Instant::now() < until, "it never recovers");
        bridge.runs_for(std::time::Duration::from_millis(500));
    }
    assert_eq!(login.grants().len(), 3);
    // A person is not kept from logging in there.
    let running = desk.start(&login, &["call", "read"]);
    assert_eq!(desk.browser.logs_in().0, 200);
    running.ends().succeeds();
}

#[test]
fn an_identity_token_that_never_comes_holds_up_nothing_else() {
    let (desk, login, words) = robot(&[]);
    let pipe = desk.home.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let source = format!("file:{}", pipe.display());
    let words = [&["bridge"], &words.iter().map(String::as_str).collect::<Vec<_>>()[2..]].concat();
    let words = [&words[..], &["--identity-token", &source]].concat();
    let mut bridge: Bridge = desk.home.start(&words).spawn();
    bridge.open(REVISION);
    bridge.call(1, "read");
    bridge.say(crate::support::bridge::request("2", "ping", "{}"));
    assert_eq!(bridge.answer(2)["result"], json!({}));
    let error = &bridge.answer(1)["error"]["message"];
    assert!(error.as_str().unwrap().contains("nothing came within 3 s"), "{error}");
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    drop(login);
}

#[test]
fn a_nonce_that_changes_loses_no_call_and_ends_no_login() {
    let (desk, login) = (Desk::new(), bound());
    let gate = Gate::default();
    login.set(|server| server.pushes = Some(gate.clone()));
    desk.logs_in(&login);
    let url = login.url();
    let mut bridge: Bridge = desk.home.start(&["bridge", "--url", &url]).spawn();
    bridge.open(REVISION);
    bridge.call(1, "read");
    bridge.answer(1);
    login.service.awaits("the stream, signed", |r| r.verb == "GET" && r.header("dpop").is_some());
    login.set(|server| server.nonces = Some(["second", "second"]));
    for id in 10..18 {
        bridge.call(id, "read");
    }
    for id in 10..18 {
        assert!(bridge.answer(id)["result"].is_object());
    }
    let lacking = login.set(|server| server.ledger.lacking);
    // A nonce that is known is not asked for again.
    bridge.call(20, "read");
    bridge.answer(20);
    assert_eq!(login.set(|server| server.ledger.lacking), lacking);
    assert_eq!(login.grants(), ["authorization_code"; 2]);
    gate.open();
    assert_eq!(bridge.hear()["method"], "notifications/tools/list_changed");
    bridge.close();
    login
        .service
        .awaits("the end of the session, signed", |r| r.verb == "DELETE" && r.header("dpop").is_some());
}

#[test]
fn a_service_that_wants_a_new_nonce_each_time_is_given_up() {
    let (desk, login) = (Desk::new(), bound());
    desk.logs_in(&login);
    login.set(|server| server.nonces = Some(["of-server", ""]));
    desk.run(&login, &["call", "read"]).fails(4);
    let signed =
        login.service.received().iter().filter(|r| r.path == "/mcp" && r.header("dpop").is_some()).count();
    assert!((4..=10).contains(&signed), "{signed} requests");
    assert_eq!(desk.browser.more(), 0);
}
