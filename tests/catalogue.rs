//! A catalogue of 700 actions in the shell: names in either spelling, `--grep`, completion, and how long it is kept.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::text;
use crate::support::bridge::{asistry, request};
use crate::support::service::{Received, Reply, Service};

const KEY: &str = "ask_0123456789abcdef";

/// Returns the names of 700 actions, two pairs of which meet in the safe spelling.
fn names() -> Vec<String> {
    let known = ["projects.get_projects", "a.b_c", "a_b.c", "x.y_z", "x_y_z", "scheduler.create_task"];
    let generated = (0..694).map(|n| format!("domain{}.action_{n}", n / 13));
    known.map(str::to_owned).into_iter().chain(generated).collect()
}

fn schemas() -> Value {
    let parameters = json!({
        "limit": {"type": "integer", "description": "How many"},
        "status": {"type": "string", "enum": ["active", "archived"]},
        "project_id": {"type": "integer", "description": "The project"},
    });
    let tool = |name: String| {
        let about = match name.starts_with("scheduler") {
            true => "Runs a JOB later".to_owned(),
            false => format!("What {name} does, in a sentence of the usual length."),
        };
        json!({"name": name, "description": about, "parameters": parameters})
    };
    json!({"tools": names().into_iter().map(tool).collect::<Vec<_>>()})
}

fn answer(received: &Received) -> Option<Reply> {
    Some(match (received.verb.as_str(), received.path.as_str()) {
        ("GET", "/mcp/actions") => Reply::json(json!({"actions": names()})),
        ("GET", "/mcp/tools") => Reply::json(schemas()),
        _ => Reply::json(json!({"success": true, "data": {"ran": received.message()["tool"]}})),
    })
}

struct Shell {
    home: TempDir,
    service: Service,
}

impl Shell {
    fn new() -> Self {
        Self::of(answer)
    }

    fn of(answer: impl Fn(&Received) -> Option<Reply> + Send + Sync + 'static) -> Self {
        Self { home: tempfile::tempdir().expect("a directory"), service: Service::start(answer) }
    }

    /// Makes the kept list older than ten minutes.
    fn age(&self) {
        let files = std::fs::read_dir(self.home.path().join("cache")).expect("a directory");
        let lists = files.map(|file| file.expect("a file").path());
        for list in lists.filter(|path| path.extension().is_some_and(|end| end == "json")) {
            let mut kept: Value =
                serde_json::from_slice(&std::fs::read(&list).expect("a file")).expect("JSON");
            kept["at"] = (kept["at"].as_u64().expect("seconds") - 601).into();
            std::fs::write(&list, kept.to_string()).expect("a file");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(arguments).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        // With a key in the environment files are kept only in named directories.
        command.env("ASISTRY_CACHE_DIR", self.home.path().join("cache"));
        command.env("ASISTRY_CONFIG_DIR", self.home.path().join("config"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let url = self.service.url();
        let all = [&["-p", "agentstack", "--url", &url], arguments].concat();
        self.command(&all).env("ASISTRY_API_KEY", KEY).output().expect("the binary")
    }

    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn ran(&self, tool: &str) -> String {
        let printed: Value = serde_json::from_str(&self.prints(&["call", tool, "--json"])).expect("JSON");
        printed["ran"].as_str().expect("a name").to_owned()
    }

    /// Returns what TAB offers after these words and this beginning of one, and how long it took.
    fn tab(&self, words: &[&str]) -> (Vec<String>, Duration) {
        let url = self.service.url();
        let before = ["asistry", "-p", "agentstack", "--url", &url];
        let index = (before.len() + words.len() - 1).to_string();
        let all = [&["__complete", "fish", &index], before.as_slice(), words].concat();
        let begun = Instant::now();
        let output = self.command(&all).output().expect("the binary");
        let took = begun.elapsed();
        let typed = words.last().copied().unwrap_or_default();
        let printed = text(&output.stdout);
        let offered = printed.lines().skip(1).filter_map(|line| line.split('\t').next());
        (offered.filter(|word| word.starts_with(typed)).map(str::to_owned).collect(), took)
    }

    /// Returns how often this path was asked for.
    fn asked(&self, path: &str) -> usize {
        self.service.received().iter().filter(|r| r.verb == "GET" && r.path == path).count()
    }
}

/// Returns the names of the tools that a bridge shows, page by page.
fn shown(service: &Service, options: &[&str]) -> Vec<String> {
    let url = service.url();
    let all = [&["-p", "agentstack", "--url", &url, "bridge"], options].concat();
    let mut bridge = asistry(all.iter().map(|word| (*word).to_owned())).env("ASISTRY_API_KEY", KEY).spawn();
    bridge.open("2025-11-25");
    let (mut names, mut cursor) = (Vec::new(), None);
    for page in 1.. {
        let params = cursor.map_or(json!({}), |cursor: String| json!({ "cursor": cursor }));
        bridge.say(request(&page.to_string(), "tools/list", &params.to_string()));
        let result = bridge.answer(page)["result"].clone();
        let tools = result["tools"].as_array().expect("a list");
        names.extend(tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned));
        cursor = result["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    bridge.close();
    names
}

#[test]
fn both_spellings_of_seven_hundred_names_run_their_tool() {
    let shell = Shell::new();
    assert_eq!(shell.ran("projects_get_projects"), "projects.get_projects");
    assert_eq!(shell.ran("projects.get_projects"), "projects.get_projects");
    assert!(shell.prints(&["tools", "show", "projects_get_projects"]).starts_with("projects.get_projects\n"));
    assert!(
        shell.prints(&["call", "projects_get_projects", "--help"]).starts_with("projects.get_projects\n")
    );
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, r#"{"tool":"projects_get_projects"}"#).expect("a file");
    let batch = shell.prints(&["call", "--batch", &batch.to_string_lossy()]);
    assert!(batch.contains("projects.get_projects"), "{batch}");
    // Pairs that meet: a name that fits keeps itself, the others get a suffix, and the bridge shows the same ones.
    let refused = shell.run(&["call", "a_b_c"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert_eq!(shell.ran("x_y_z"), "x_y_z");
    let shown = shown(&shell.service, &[]);
    assert_eq!(shown.len(), 701);
    for original in ["a.b_c", "a_b.c", "x.y_z"] {
        let safe = &shown[1 + names().iter().position(|name| name == original).expect("an action")];
        assert_ne!(safe, &original.replace('.', "_"));
        assert_eq!((shell.ran(safe), shell.ran(original)), (original.to_owned(), original.to_owned()));
    }
}

#[test]
fn a_filter_means_the_same_tools_in_the_shell_and_in_the_bridge() {
    let shell = Shell::new();
    let config = shell.home.path().join("config");
    std::fs::create_dir_all(&config).expect("a directory");
    for (filter, option) in [
        ("allow_tools = ['projects_*']", ["--allow-tool", "projects_*"]),
        ("allow_tools = ['projects.*']", ["--allow-tool", "projects.*"]),
        ("allow_tools = ['a_b*']", ["--allow-tool", "a_b*"]),
        ("allow_tools = ['x_y_z']", ["--allow-tool", "x_y_z"]),
        ("deny_tools = ['domain*', 'x_y_z']", ["--deny-tool", "domain*"]),
    ] {
        let profile = format!("[profiles.agentstack]\nservice = 'agentstack'\n{filter}\n");
        std::fs::write(config.join("config.toml"), profile).expect("a file");
        let listed: Vec<Value> = serde_json::from_str(&shell.prints(&["tools", "--json"])).expect("a list");
        let denied = usize::from(filter.contains("x_y_z") && filter.contains("deny"));
        assert_eq!(listed.len(), shown(&shell.service, &option).len() - denied, "{filter}");
        assert!(!listed.is_empty());
    }
    // Another tool's name in the safe spelling does not stand for a denied tool.
    let refused = shell.run(&["call", "x_y_z"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("denied"), "{}", text(&refused.stderr));
    assert_eq!(shell.ran("x.y_z"), "x.y_z");
    assert!(shell.tab(&["call", "x_"]).0.iter().all(|name| name != "x_y_z"));
}

#[test]
fn grep_searches_names_and_descriptions_in_every_form() {
    let shell = Shell::new();
    for (form, lines) in [
        (["--output", "tsv"], 1),
        (["--output", "table"], 3),
        (["--output", "jsonl"], 1),
        (["--jq", ".[].name"], 1),
        (["--fields", "tool"], 1),
    ] {
        for wanted in ["SCHEDUL", "a job", "scheduler_create"] {
            let all = ["tools", "--grep", wanted, form[0], form[1]];
            let printed = shell.prints(&all);
            let found = printed.lines().filter(|line| line.contains("scheduler.create_task")).count();
            assert_eq!(found, 1, "{all:?}: {printed}");
            assert!(printed.lines().count() <= lines, "{all:?}: {printed}");
        }
    }
    let nothing = shell.run(&["tools", "--grep", "nosuch"]);
    assert_eq!((nothing.status.code(), &*text(&nothing.stdout)), (Some(0), ""));
    assert!(text(&nothing.stderr).contains("no tool"), "{}", text(&nothing.stderr));
}

#[test]
fn tab_knows_seven_hundred_actions_from_the_last_list() {
    let shell = Shell::new();
    shell.prints(&["tools"]);
    let (offered, _) = shell.tab(&["call", "projects."]);
    assert_eq!(offered, ["projects.get_projects"]);
    assert_eq!(shell.tab(&["call", "projects_"]).0, ["projects_get_projects"]);
    assert_eq!(shell.tab(&["tools", "show", "projects_"]).0, ["projects_get_projects"]);
    assert_eq!(shell.tab(&["call", "domain1."]).0.len(), 13);
    for tool in ["projects.get_projects", "projects_get_projects"] {
        assert_eq!(shell.tab(&["call", tool, "li"]).0, ["limit="]);
        assert_eq!(shell.tab(&["call", tool, "--project-"]).0, ["--project-id"]);
        assert_eq!(shell.tab(&["call", tool, "status="]).0, ["status=active", "status=archived"]);
    }
    let (all, took) = shell.tab(&["call", ""]);
    assert_eq!(all.len(), 701);
    // Usually 50 ms at most.
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(shell.asked("/mcp/actions"), 1, "TAB asks no service");
}

#[test]
fn a_catalogue_without_a_tag_is_kept_for_ten_minutes() {
    let shell = Shell::new();
    for _ in 0..2 {
        shell.prints(&["tools"]);
        assert_eq!(shell.ran("projects.get_projects"), "projects.get_projects");
    }
    assert_eq!((shell.asked("/mcp/actions"), shell.asked("/mcp/tools")), (1, 1));
    shell.age();
    assert_eq!(shell.ran("projects.get_projects"), "projects.get_projects");
    assert_eq!((shell.asked("/mcp/actions"), shell.asked("/mcp/tools")), (2, 2));
}

#[test]
fn an_old_catalogue_with_a_tag_is_asked_for_only_if_it_has_changed() {
    // In the header, and in the body.
    for body in [json!({"actions": names()}), json!({"catalog_etag": "\"v1\"", "actions": names()})] {
        let has_tag = body.get("catalog_etag").is_some();
        let shell = Shell::of(move |received| {
            if received.path != "/mcp/actions" {
                return answer(received);
            }
            Some(match received.header("if-none-match") {
                Some("\"v1\"") => Reply::empty(304),
                _ if has_tag => Reply::json(&body),
                _ => Reply::json(&body).header("etag", "\"v1\""),
            })
        });
        let listed = shell.prints(&["tools"]);
        for _ in 0..2 {
            shell.age();
            assert_eq!(shell.prints(&["tools"]), listed);
        }
        assert_eq!((shell.asked("/mcp/actions"), shell.asked("/mcp/tools")), (3, 1));
        let asked = shell.service.received().into_iter().filter(|r| r.header("if-none-match").is_some());
        assert_eq!(asked.count(), 2);
        // It is fresh again.
        assert_eq!(shell.ran("projects_get_projects"), "projects.get_projects");
        assert_eq!(shell.asked("/mcp/actions"), 3);
    }
}

#[test]
fn a_catalogue_that_has_changed_replaces_the_kept_one() {
    let shell = Shell::of(|received| match received.path.as_str() {
        "/mcp/actions" if received.header("if-none-match").is_some() => {
            Some(Reply::json(json!({"actions": ["new.one"]})))
        }
        "/mcp/actions" => Some(Reply::json(json!({"actions": names()})).header("etag", "W/\"1\"")),
        _ => answer(received),
    });
    shell.prints(&["tools"]);
    shell.age();
    let listed = shell.prints(&["tools"]);
    assert!(listed.contains("new.one\t") && listed.lines().count() == 2, "{listed}");
    assert_eq!(shell.asked("/mcp/tools"), 2);
}

#[test]
fn a_list_in_one_dialect_is_not_taken_for_that_of_the_other() {
    let shell = Shell::of(|received| match received.method.as_str() {
        "initialize" => {
            let (version, info) = ("2025-11-25", json!({"name": "a", "version": "1"}));
            let offered =
                json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info});
            Some(Reply::result(received, offered))
        }
        "tools/list" => {
            let tools = json!([{"name": "mcp.only", "inputSchema": {"type": "object"}}]);
            Some(Reply::result(received, json!({ "tools": tools })))
        }
        _ if received.verb == "POST" => Some(Reply::empty(202)),
        _ => answer(received),
    });
    let rest = shell.prints(&["tools"]);
    shell.prints(&["profiles", "set", "agentstack", "dialect=mcp"]);
    let before = ["projects.get_projects".to_owned()];
    assert_eq!(shell.tab(&["call", "projects.get_"]).0, [""; 0], "not listed in this dialect yet");
    let mcp = shell.prints(&["tools"]);
    assert!(mcp.contains("mcp.only\t") && mcp.lines().count() == 1, "{mcp}");
    assert_eq!(shell.tab(&["call", "mcp"]).0, ["mcp.only"]);
    shell.prints(&["profiles", "set", "agentstack", "dialect=rest"]);
    assert_eq!(shell.tab(&["call", "projects.get_"]).0, before);
    assert_eq!(shell.tab(&["call", "mcp"]).0, [""; 0]);
    assert_eq!(shell.prints(&["tools"]), rest);
    assert_eq!(shell.asked("/mcp/actions"), 1);
}

/// Refuses the catalogue in this way; actions run.
fn refusing(status: u16) -> Shell {
    Shell::of(move |received| match received.verb.as_str() {
        "GET" => {
            let body = json!({"success": false, "error": "Authentication required", "trace_id": "t-1"});
            Some(Reply::status(status, "application/json", body.to_string()))
        }
        _ => answer(received),
    })
}

/// Returns a command whose home holds no key.
fn keyless(shell: &Shell, arguments: &[&str]) -> Output {
    let url = shell.service.url();
    let all = [&["-p", "agentstack", "--url", &url], arguments].concat();
    shell
        .command(&all)
        .env("ASISTRY_KEY_STORE", "file")
        .env("ASISTRY_KEY_PASSPHRASE", "x")
        .output()
        .expect("it")
}

#[test]
fn without_a_key_the_tools_are_those_that_the_services_data_names() {
    let shell = refusing(401);
    let listed = keyless(&shell, &["tools"]);
    let (out, said) = (text(&listed.stdout), text(&listed.stderr));
    assert_eq!(listed.status.code(), Some(0), "{said}");
    assert!(out.contains("agentstack.execute") && out.contains("projects.create_project_anonymous"), "{out}");
    assert!(said.contains("wants a key") && said.contains("known without it"), "{said}");
    let shown = keyless(&shell, &["tools", "show", "projects_create_project_anonymous"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let made = ["call", "projects.create_project_anonymous", "name=x", "--reveal", "--json"];
    assert_eq!(keyless(&shell, &made).status.code(), Some(0));
    // Any other action needs the key, and says so.
    let other = keyless(&shell, &["call", "projects.get_projects"]);
    assert_eq!(other.status.code(), Some(4));
    assert!(text(&other.stderr).contains("wants a key"), "{}", text(&other.stderr));
    // A key that the service rejects is another failure.
    assert_eq!(shell.run(&["tools"]).status.code(), Some(4));
    let url = shell.service.url();
    let mut bridge = asistry(["-p", "agentstack", "--url", &url, "bridge"].map(str::to_owned))
        .env("HOME", &shell.home.path().display().to_string())
        .env("ASISTRY_KEY_STORE", "file")
        .env("ASISTRY_KEY_PASSPHRASE", "x")
        .spawn();
    bridge.open("2025-11-25");
    bridge.say(request("1", "tools/list", "{}"));
    let tools = bridge.answer(1)["result"]["tools"].clone();
    assert!(tools.to_string().contains(r#""name":"projects_create_project_anonymous""#), "{tools}");
}

#[test]
fn any_action_runs_by_its_name_where_the_catalogue_fails() {
    let shell = refusing(500);
    assert_eq!(shell.run(&["tools"]).status.code(), Some(1));
    let ran = shell.prints(&["call", "agentstack.execute", "action=x.y", "--json"]);
    assert!(ran.contains("x.y"), "{ran}");
}
