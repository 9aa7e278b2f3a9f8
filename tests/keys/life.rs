//! What happens to a stored key: shown, tried, put into use, replaced, removed.

use serde_json::Value;

use super::{Accepted, NEW, NOWHERE, OLD, origin};
use crate::support::home::{Home, Ran};
use crate::support::service::{Reply, Service};

/// A home with a stored key for this service.
fn home_with(url: &str, key: &str) -> Home {
    let home = Home::new();
    home.told(&["keys", "add", "-p", "asistry", "--url", url, "--no-verify", "--stdin"], key).succeeds();
    home
}

fn revealed(home: &Home) -> String {
    home.run(&["keys", "show", "-p", "asistry", "--reveal", "--yes"]).succeeds().stdout.trim_end().to_owned()
}

/// Runs a command that a hint names.
fn typed(home: &Home, command: &[String], more: &[&str]) -> Ran {
    let words: Vec<&str> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
    home.run(&words)
}

#[test]
fn a_key_that_the_service_takes_is_stored_with_what_was_tried() {
    let service = Accepted::only(&[NEW]).service();
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"];
    let said = home.told(&add, NEW).succeeds().says(&["asistry/default", "ask_…07Kd", "it works", "0 tools"]);
    assert!(said.stderr.contains(&origin(&service.url())) && said.stdout.is_empty(), "{said:?}");
    home.run(&["-p", "asistry", "--url", &service.url(), "tools"]).succeeds();
}

#[test]
fn a_key_that_the_service_rejects_is_not_stored() {
    let service = Accepted::only(&[NEW]).service();
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"];
    let said = home.told(&add, OLD).fails(4).says(&["does not accept the key", "Settings → API Keys"]);
    assert!(!said.stderr.contains("rotate"), "there is nothing to replace: {}", said.stderr);
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[cfg(unix)]
#[test]
fn an_interruption_of_the_trial_stores_nothing_and_leaves_the_old_key() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let interrupted = |home: &Home, action: &str, service: &Service| {
        let url = service.url();
        let mut child = Command::new(env!("CARGO_BIN_EXE_asistry"))
            .args(["keys", action, "-p", "asistry", "--url", &url, "--stdin"])
            .env_clear()
            .envs(home.environment())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(NEW.as_bytes()).unwrap();
        service.awaits("the trial", |received| received.method == "initialize");
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let silent = || Service::start(|_| Some(Reply::never()));
    let (home, service) = (Home::new(), silent());
    interrupted(&home, "add", &service);
    assert!(home.files().is_empty(), "{:?}", home.files());
    let service = silent();
    let home = home_with(&service.url(), OLD);
    interrupted(&home, "rotate", &service);
    assert_eq!(revealed(&home), OLD);
    // Nothing is left to be finished or undone.
    home.run(&["keys", "rotate", "-p", "asistry", "--undo"]).fails(2);
}

#[test]
fn a_rejection_is_known_by_its_status_whatever_stands_in_its_body() {
    let bodies = [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Unauthorized"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Unauthorized"}}"#,
        r#"{"error":"invalid_token","error_description":"unknown"}"#,
        r#"{"error":{"code":"unauthorized","message":"unknown"}}"#,
        "<h1>no</h1>",
        "",
    ];
    for body in bodies {
        let service = Service::start(move |_| Some(Reply::status(401, "application/json", body)));
        let home = Home::new();
        let add = ["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"];
        home.told(&add, NEW).fails(4).says(&["nothing was stored", "Settings → API Keys"]);
        assert!(home.files().is_empty(), "{body}: {:?}", home.files());
        let tools = ["-p", "asistry", "--url", &service.url(), "tools"];
        let mut given = home.command(tools);
        let said = Ran::of(given.env("ASISTRY_API_KEY", NEW)).fails(4);
        said.says(&["try: set a valid key in ASISTRY_API_KEY"]);
    }
}

#[test]
fn a_key_of_an_unreachable_service_is_stored_and_said_to_be_untried() {
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--url", NOWHERE, "--stdin"];
    home.told(&add, NEW).succeeds().says(&["NOT TRIED", "cannot be reached"]);
    assert_eq!(revealed(&home), NEW);
}

#[test]
fn a_list_shows_what_is_known_and_no_key() {
    let home = home_with(NOWHERE, OLD);
    let add = ["keys", "add", "--name", "spare", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"];
    home.told(&add, "ask_short").succeeds();
    let list = home.json(&["keys", "list", "--json"]);
    let first = &list[0];
    for (field, value) in [
        ("profile", Value::from("asistry")),
        ("name", "default".into()),
        ("current", true.into()),
        ("masked", "ask_…07Kd".into()),
        ("origin", "http://127.0.0.1:9".into()),
        ("boundTo", Value::Array(Vec::new())),
        ("store", "file".into()),
        ("ageDays", 0.into()),
        ("lastUsed", Value::Null),
        ("rotationInterrupted", false.into()),
        ("forced", false.into()),
    ] {
        assert_eq!(first[field], value, "{field} of {first}");
    }
    assert!(first["added"].as_str().is_some_and(|added| added.ends_with('Z')), "{first}");
    assert_eq!(list[1]["masked"], "ask_…", "a short key shows nothing of itself");
    let text = home.run(&["keys", "list"]).succeeds().stdout;
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.starts_with("*\tasistry\tdefault\task_…07Kd\thttp://127.0.0.1:9\tfile\tjust now\tnever\n"),
        "{text}"
    );
    assert_eq!(home.run(&["keys", "list", "-p", "zuko"]).succeeds().stdout, "");
    assert_eq!(home.json(&["keys", "list", "-p", "zuko", "--json"]), Value::Array(Vec::new()));
    assert!(!text.contains("Vq8s"), "{text}");
}

#[test]
fn with_no_key_a_list_says_how_to_store_one_and_json_is_an_empty_list() {
    let home = Home::new();
    home.run(&["keys", "list"]).succeeds().says(&["asistry keys add"]);
    let embedded = home.run(&["keys", "list", "-p", "sandbox"]).succeeds().says(&["makes its own key"]);
    assert!(!embedded.stderr.contains("keys add"), "{embedded:?}");
    assert_eq!(home.json(&["keys", "list", "--json"]), Value::Array(Vec::new()));
    for arguments in
        [["keys", "show"], ["keys", "test"], ["keys", "remove"], ["keys", "rotate"], ["keys", "bind"]]
    {
        home.run(&arguments).fails(4).says(&["no stored key", "asistry keys add -p asistry"]);
    }
    home.run(&["keys", "use", "spare"]).fails(4).says(&["no key of that name"]);
    // A variable is no help to a command that works on the store.
    for arguments in [
        &["keys", "use", "spare"][..],
        &["keys", "show"],
        &["keys", "remove"],
        &["keys", "rotate", "--resume"],
    ] {
        let ran = home.run(arguments).fails(4).says(&["store one: asistry keys add -p asistry\n"]);
        assert!(!ran.stderr.contains("ASISTRY_API_KEY"), "{ran:?}");
    }
    assert_eq!(home.run(&["keys", "show", "--json"]).fails(4).error()["kind"], "auth_required");
}

#[test]
fn a_key_is_shown_masked_and_revealed_only_where_somebody_wants_it() {
    let home = home_with(NOWHERE, OLD);
    let shown = home.run(&["keys", "show"]).succeeds();
    assert!(shown.stdout.contains("ask_…07Kd") && !shown.stdout.contains(OLD), "{}", shown.stdout);
    let json = home.json(&["keys", "show", "--json"]);
    assert_eq!((&json["masked"], json.get("key")), (&"ask_…07Kd".into(), None));
    let refused = home.run(&["keys", "show", "--reveal"]).fails(2).says(&["terminal", "--yes"]);
    assert_eq!(refused.stdout, "");
    assert_eq!(revealed(&home), OLD);
    assert_eq!(home.json(&["keys", "show", "--reveal", "--yes", "--json"])["key"], OLD);
    home.run(&["keys", "show", "--yes"]).fails(2);
}

#[test]
fn a_test_says_whether_the_key_works_and_exits_so() {
    let accepted = Accepted::only(&[OLD]);
    let service = accepted.service();
    let url = service.url();
    let home = home_with(&url, OLD);
    let test = ["keys", "test", "-p", "asistry", "--url", &url];
    assert!(home.run(&test).succeeds().stdout.contains("it works"));
    let told = home.json(&[&test[..], &["--json"]].concat());
    assert_eq!((&told["works"], &told["name"], &told["tools"]), (&true.into(), &"default".into(), &0.into()));
    accepted.become_only(&[]);
    home.run(&test).fails(4).says(&["does not accept the key"]);
    let error = home.run(&[&test[..], &["--json"]].concat()).fails(4).error();
    assert_eq!((&error["kind"], &error["httpStatus"]), (&"auth_denied".into(), &401.into()), "{error}");
    drop(service);
    home.run(&test).fails(6).says(&["cannot be reached"]);
}

#[test]
fn a_test_runs_no_tool_and_tries_the_key_that_is_named() {
    let service = Accepted::only(&[OLD, NEW]).service();
    let url = service.url();
    let home = home_with(&url, OLD);
    let add = ["keys", "add", "--name", "spare", "-p", "asistry", "--url", &url, "--no-verify", "--stdin"];
    home.told(&add, NEW).succeeds();
    home.run(&["keys", "test", "--name", "spare", "-p", "asistry", "--url", &url]).succeeds();
    let came = service.received();
    assert!(came.iter().all(|received| super::key_of(received).as_deref() == Some(NEW)));
    let methods: Vec<&str> = came.iter().map(|received| received.method.as_str()).collect();
    assert!(methods.contains(&"tools/list") && !methods.contains(&"tools/call"), "{methods:?}");
}

#[test]
fn another_key_is_put_into_use() {
    let service = Accepted::only(&[OLD, NEW]).service();
    let url = service.url();
    let home = home_with(&url, OLD);
    let add = ["keys", "add", "--name", "spare", "-p", "asistry", "--url", &url, "--no-verify", "--stdin"];
    let said = home.told(&add, NEW).succeeds().says(&["asistry/default is still the key in use"]);
    // The command that was named is the one that does it.
    let [command] = said.commands().try_into().unwrap();
    typed(&home, &command, &[]).succeeds().says(&["asistry/spare"]);
    home.run(&["-p", "asistry", "--url", &url, "tools"]).succeeds();
    let used = service.awaits("a list of tools", |received| received.method == "tools/list");
    assert_eq!(super::key_of(&used).as_deref(), Some(NEW));
    home.run(&["keys", "use", "no-such"]).fails(4).says(&["default", "spare"]);
}

#[test]
fn removing_the_key_in_use_puts_the_one_that_is_left_into_use() {
    let home = home_with(NOWHERE, OLD);
    let add = |name: &str| {
        let add =
            ["keys", "add", "--name", name, "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"];
        home.told(&add, NEW).succeeds();
    };
    add("spare");
    home.run(&["keys", "remove"]).fails(2).says(&["--yes"]);
    home.run(&["keys", "remove", "--yes"]).succeeds().says(&[
        "asistry/default",
        "revoked",
        "the current key of asistry is now spare",
    ]);
    home.run(&["-p", "asistry", "--url", NOWHERE, "tools"]).fails(6);
    // Of several, a person chooses.
    add("second");
    add("third");
    let said = home.run(&["keys", "remove", "--yes"]).succeeds().says(&["asistry has no current key"]);
    let refused =
        home.run(&["-p", "asistry", "--url", NOWHERE, "tools"]).fails(4).says(&["none of them is current"]);
    assert_eq!(said.commands(), refused.commands());
    typed(&home, &refused.commands()[0], &[]).succeeds();
    home.run(&["-p", "asistry", "--url", NOWHERE, "tools"]).fails(6);
    home.run(&["keys", "remove", "--yes"]).succeeds();
    home.run(&["keys", "remove", "--yes"]).succeeds();
    assert_eq!(home.json(&["keys", "list", "--json"]), Value::Array(Vec::new()));
    let list = std::fs::read_to_string(home.file("state/keys.json")).unwrap();
    assert!(!list.contains("asistry"), "nothing is left: {list}");
}

#[test]
fn a_rotation_puts_the_new_key_in_the_old_one_s_place() {
    let service = Accepted::only(&[OLD, NEW]).service();
    let url = service.url();
    let home = home_with(&url, OLD);
    let rotate = ["keys", "rotate", "-p", "asistry", "--url", &url, "--stdin"];
    home.told(&rotate, OLD).fails(2).says(&["the new key is the old one", "nothing was changed"]);
    home.told(&rotate, "bsk_1234567890").fails(2).says(&["Bob Studio"]);
    assert_eq!(revealed(&home), OLD);
    home.told(&rotate, NEW).succeeds().says(&["the new key is in use", "revoke the old key"]);
    assert_eq!(revealed(&home), NEW);
    let list = home.json(&["keys", "list", "--json"]);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    home.told(&rotate, OLD).succeeds();
    assert_eq!(revealed(&home), OLD);
}

#[test]
fn a_rotation_to_a_key_that_is_rejected_leaves_the_old_one() {
    let service = Accepted::only(&[OLD]).service();
    let url = service.url();
    let home = home_with(&url, OLD);
    let rotate = ["keys", "rotate", "-p", "asistry", "--url", &url, "--stdin"];
    home.told(&rotate, NEW).fails(4).says(&["the old key stays in use"]);
    assert_eq!(revealed(&home), OLD);
    assert_eq!(home.json(&["keys", "list", "--json"])[0]["rotationInterrupted"], false);
    home.run(&["-p", "asistry", "--url", &url, "tools"]).succeeds();
    home.run(&["keys", "rotate", "--resume"]).fails(2).says(&["no rotation"]);
    home.run(&["keys", "rotate", "--undo"]).fails(2).says(&["no rotation"]);
}

#[test]
fn a_rotation_whose_service_is_unreachable_waits_for_its_end() {
    let service = Accepted::only(&[OLD, NEW]).service();
    let url = service.url();
    for resumed in [true, false] {
        let home = home_with(&url, OLD);
        home.write("config/config.toml", "");
        let bind = ["keys", "bind", "http://127.0.0.1:9", "-p", "asistry", "--yes"];
        home.run(&bind).succeeds();
        let rotate = ["keys", "rotate", "-p", "asistry", "--url", NOWHERE, "--stdin"];
        let staged =
            home.told(&rotate, NEW).fails(6).says(&["the old one stays in use", "cannot be reached"]);
        assert_eq!(revealed(&home), OLD);
        assert_eq!(home.json(&["keys", "list", "--json"])[0]["rotationInterrupted"], true);
        assert!(home.run(&["keys", "list"]).succeeds().stdout.contains("rotation interrupted"));
        home.run(&["-p", "asistry", "--url", &url, "tools"]).succeeds();
        // Neither a second rotation nor an add may bury it.
        home.told(&rotate, "ask_third0000000000000000").fails(2).says(&["--resume", "--undo"]);
        let [resume, undo] = staged.commands().try_into().unwrap();
        if resumed {
            typed(&home, &resume, &[]).fails(6).says(&["--resume"]);
            assert_eq!(revealed(&home), OLD);
            let there = |word: &String| if word == NOWHERE { url.clone() } else { word.clone() };
            let resume: Vec<String> = resume.iter().map(there).collect();
            typed(&home, &resume, &[]).succeeds().says(&["the new key is in use"]);
            assert_eq!(revealed(&home), NEW);
        } else {
            typed(&home, &undo, &[]).succeeds().says(&["undone"]);
            assert_eq!(revealed(&home), OLD);
        }
        let list = home.json(&["keys", "list", "--json"]);
        assert_eq!(list[0]["rotationInterrupted"], false, "{list}");
        assert_eq!(list[0]["boundTo"][0], "http://127.0.0.1:9", "a rotation keeps what was allowed: {list}");
    }
    assert!(!service.received().is_empty());
}

#[test]
fn a_rotation_without_a_trial_is_done_at_once() {
    let home = home_with(NOWHERE, OLD);
    let rotate = ["keys", "rotate", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"];
    home.told(&rotate, NEW).succeeds().says(&["not tried"]);
    assert_eq!(revealed(&home), NEW);
}

#[test]
fn a_key_that_is_given_in_the_environment_changes_nothing_about_the_stored_ones() {
    let home = home_with(NOWHERE, OLD);
    let run = |arguments: &[&str]| Ran::of(home.command(arguments).env("ASISTRY_API_KEY", NEW));
    let shown = run(&["keys", "show", "--reveal", "--yes"]).succeeds().says(&["ASISTRY_API_KEY is set"]);
    assert_eq!(shown.stdout, format!("{OLD}\n"));
    run(&["keys", "list"]).succeeds().says(&["ASISTRY_API_KEY is set"]);
    run(&["keys", "remove", "--yes"]).succeeds();
    assert_eq!(home.json(&["keys", "list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn the_last_use_of_a_key_is_told() {
    let service = Service::start(|_| None);
    let home = home_with(&service.url(), OLD);
    home.run(&["-p", "asistry", "--url", &service.url(), "tools"]).succeeds();
    let list = home.json(&["keys", "list", "--json"]);
    assert!(list[0]["lastUsed"].as_str().is_some_and(|used| used.ends_with('Z')), "{list}");

    // A use is recorded however recent the last one is.
    let used = home.file("state/used.json");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    std::fs::write(&used, format!("{{\"asistry/default\":{}}}", now - 59)).unwrap();
    home.run(&["-p", "asistry", "--url", &service.url(), "tools"]).succeeds();
    let text = home.run(&["keys", "list"]).succeeds().stdout;
    assert!(text.trim_end().ends_with("just now"), "{text}");
    let uses = std::fs::read_to_string(&used).unwrap();
    let uses: std::collections::BTreeMap<String, u64> = serde_json::from_str(&uses).unwrap();
    assert!(uses["asistry/default"] >= now, "{uses:?}");

    // A new key was not used, whatever its name.
    let stored = ["-p", "asistry", "--url", &service.url(), "--no-verify", "--stdin"];
    home.told(&[&["keys", "rotate"], &stored[..]].concat(), NEW).succeeds();
    assert_eq!(home.json(&["keys", "list", "--json"])[0]["lastUsed"], Value::Null);
    home.run(&["-p", "asistry", "--url", &service.url(), "tools"]).succeeds();
    home.run(&["keys", "remove", "-p", "asistry", "--yes"]).succeeds();
    home.told(&[&["keys", "add"], &stored[..]].concat(), OLD).succeeds();
    assert_eq!(home.json(&["keys", "list", "--json"])[0]["lastUsed"], Value::Null);
    // A test is a use.
    home.run(&["keys", "test", "-p", "asistry", "--url", &service.url()]).succeeds();
    assert_ne!(home.json(&["keys", "list", "--json"])[0]["lastUsed"], Value::Null);
}

#[test]
fn a_service_that_answers_nonsense_leaves_a_new_key_untried() {
    let service = Service::start(|_| Some(Reply::status(500, "text/html", "<h1>broken</h1>")));
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"];
    home.told(&add, NEW).succeeds().says(&["NOT TRIED", "HTTP 500"]);
}

#[test]
fn a_key_can_be_named_as_an_argument() {
    let home = Home::new();
    let add = |name: &str| {
        let arguments = ["keys", "add", "-p", "asistry", "--name", name, "--stdin", "--no-verify", "--force"];
        home.told(&arguments, format!("the-key-named-{name}-0123456789")).succeeds();
    };
    add("one");
    add("two");
    home.run(&["keys", "show", "two"]).succeeds();
    assert_eq!(home.json(&["keys", "show", "one", "--json"])["name"], "one");
    let rotate = ["keys", "rotate", "two", "--stdin", "--no-verify", "--force"];
    home.told(&rotate, "another-key-0123456789").succeeds();
    home.run(&["keys", "remove", "two", "--yes"]).succeeds();
    for verb in ["show", "test", "rotate", "remove", "use"] {
        let ran = home.run(&["keys", verb, "a-pasted-key-0123456789"]).fails(4).says(&["its keys are: "]);
        assert!(!ran.stderr.contains("pasted"), "{}", ran.stderr);
        home.run(&["keys", verb, "one", "--name", "one"]).fails(2);
    }
}

#[test]
fn the_only_key_of_a_url_is_bound_to_another_url_without_its_name() {
    let home = Home::new();
    let add = |url: &str| {
        let words = ["keys", "add", "--url", url, "--stdin", "--no-verify"];
        home.told(&words, "a-key-0123456789").succeeds();
    };
    add("https://a.example/mcp");
    let bind = ["keys", "bind", "--url", "https://b.example/mcp", "--yes"];
    home.run(&bind).succeeds().says(&["mcp/a.example may go to https://b.example now"]);
    add("https://c.example/mcp");
    let said = home.run(&["keys", "bind", "--url", "https://d.example/mcp", "--yes"]).fails(2);
    said.says(&["a.example, c.example", "asistry keys bind --url https://d.example/mcp --name a.example"]);
}
