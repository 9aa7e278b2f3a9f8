//! What a person types, with the real binary: results, refusals, exit codes.

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// The binary with a home of its own and nothing else in its environment.
pub fn asistry(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.env_clear().env("HOME", home.path());
    command
}

pub fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn fails(home: &TempDir, arguments: &[&str], code: i32) -> String {
    let assert = asistry(home).args(arguments).assert().code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn prints(home: &TempDir, arguments: &[&str]) -> String {
    let assert = asistry(home).args(arguments).assert().success();
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

#[test]
fn the_first_command_of_the_readme_creates_a_task_and_lists_it() {
    let home = home();
    let readme = include_str!("../README.md");
    let line = readme.lines().find(|line| line.starts_with("cargo run -- ")).expect("the command");
    let calls: Vec<Vec<&str>> = line
        .split(" && ")
        .map(|call| call.split_once(" -- ").expect("cargo run -- …").1.split(' ').collect())
        .collect();
    assert_eq!(calls.len(), 2);
    prints(&home, &calls[0]);
    assert!(prints(&home, &calls[1]).contains("Hello"));
}

#[test]
fn tools_are_listed_and_shown() {
    let home = home();
    let list = prints(&home, &["-p", "sandbox", "tools"]);
    assert_eq!(list.lines().count(), 7);
    assert!(list.lines().all(|line| line.contains('\t')));
    let json: Value =
        serde_json::from_str(&prints(&home, &["-p", "sandbox", "tools", "--json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(7));
    let shown = prints(&home, &["-p", "sandbox", "tools", "show", "create_task"]);
    assert!(
        shown.contains(r#""low" | "medium" | "high" | "urgent""#) && shown.contains("required"),
        "{shown}"
    );
}

#[test]
fn the_help_of_call_begins_with_the_forms_of_arguments() {
    let help = prints(&home(), &["call", "--help"]);
    let place = |words: &str| help.find(words).unwrap_or_else(|| panic!("{words}: {help}"));
    assert!(place("asistry -p sandbox call create_task title=Tea") < place("labels=a labels=b"), "{help}");
    assert!(place("labels=a labels=b") < place("Options:"), "{help}");
}

#[test]
fn tools_are_found_by_text_and_have_marks() {
    let home = home();
    let list = prints(&home, &["-p", "sandbox", "tools", "--grep", "WORKSPACE"]);
    assert!(list.lines().count() == 3 && list.contains("get_workspace_info\tread-only\t"), "{list}");
    assert!(prints(&home, &["-p", "sandbox", "tools", "list"]).contains("update_task\tdestructive\t"));
    assert_eq!(prints(&home, &["-p", "sandbox", "tools", "--grep", "task", "--jq", "length"]), "6\n");
}

#[test]
fn a_bridge_without_a_key_exits_4() {
    let home = home();
    asistry(&home).args(["bridge", "-p", "bob-studio"]).assert().code(4);
    asistry(&home).args(["bridge", "-p", "sandbox"]).assert().success();
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_sent() {
    let home = home();
    let call = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["-p", "sandbox", "call"].iter().chain(arguments).copied().collect();
        fails(&home, &arguments, 2)
    };
    assert!(call(&["creat_task"]).contains("did you mean create_task?"));
    assert!(call(&["create_task", "titel=x"]).contains("did you mean title?"));
    assert!(call(&["create_task"]).contains("create_task needs title (string)"));
    assert!(call(&["list_tasks", "limit=many"]).contains("limit must be integer, not “many”"));
    assert!(call(&["list_tasks", "status=tood"]).contains("did you mean todo?"));
    let file = home.path().join("a-file");
    std::fs::write(&file, "").expect("a file");
    assert!(fails(&home, &["man", "--dir", file.to_str().expect("a path")], 2).contains("--dir"));
    assert!(fails(&home, &["nonsense"], 2).contains("nonsense"));
    assert!(fails(&home, &["bridge", "--drain", "soon"], 2).contains("1500ms, 30s or 5m"));
    assert!(fails(&home, &["bridge", "--era", "later"], 2).contains("--era"));
    let literal = ["--header", "Authorization: Bearer x", "--url", "http://127.0.0.1:9/mcp", "tools"];
    assert!(fails(&home, &literal, 2).contains("--header-file"));
}

#[test]
fn every_refusal_has_its_exit_code_and_a_way_on() {
    let home = home();
    assert!(fails(&home, &["-p", "sandbox", "call", "get_task", "id=x"], 1).contains("UUID"));
    assert!(fails(&home, &["-p", "asisty", "tools"], 3).contains("did you mean asistry?"));
    assert!(fails(&home, &["-p", "task-tracking", "tools"], 3).contains("base_url"));
    assert!(fails(&home, &["tools"], 4).contains("ASISTRY_API_KEY"));
    assert!(fails(&home, &["-p", "zuko", "--login", "never", "tools"], 4).contains("asistry login -p zuko"));
    assert!(fails(&home, &["--url", "http://127.0.0.1:9/mcp", "tools"], 6).contains("cannot be reached"));
    let clear = ["--url", "http://192.0.2.1/mcp", "--header", "X-Api-Key: ${HOME}", "tools"];
    assert!(fails(&home, &clear, 3).contains("--allow-http"));
}

#[test]
fn with_json_a_failure_is_one_object_on_stderr() {
    let home = home();
    let said = fails(&home, &["--url", "http://127.0.0.1:9/mcp", "tools", "--json"], 6);
    let error: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(error["error"]["kind"], "upstream_unreachable");
    assert!(error["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{said}");
}

#[test]
fn a_profile_of_the_configuration_leads_to_its_service() {
    let home = home();
    let folder = home.path().join("config");
    std::fs::create_dir(&folder).expect("a directory");
    let write = |text: &str| std::fs::write(folder.join("config.toml"), text).expect("a file");
    let work = |code: i32| {
        let assert = asistry(&home).env("ASISTRY_CONFIG_DIR", &folder).args(["-p", "work", "tools"]).assert();
        String::from_utf8_lossy(&assert.code(code).get_output().stderr).into_owned()
    };
    write("[profiles.work]\nservice = 'task-tracking'\nbase_url = 'https://h'\nworkspace_id = 'a/b'\n");
    assert!(work(3).contains("workspace_id cannot be \"a/b\""));
    write("[profiles.work]\nservice = 'task-tracking'\nbase_ul = 'https://h'\n");
    assert!(work(3).contains("did you mean base_url?"));
    write("[profiles.work\n");
    assert!(work(3).contains("config.toml is not valid"));
}

#[test]
fn with_a_key_in_the_environment_nothing_of_ours_is_read_or_written() {
    let home = home();
    let folder = home.path().join(".config/asistry");
    std::fs::create_dir_all(&folder).expect("a directory");
    std::fs::write(folder.join("config.toml"), "this is not TOML").expect("a file");
    let run = |key: Option<&str>| {
        let mut command = asistry(&home);
        if let Some(key) = key {
            command.env("ASISTRY_API_KEY", key);
        }
        command.args(["-p", "asistry", "--url", "http://127.0.0.1:9/mcp", "tools"]).assert()
    };
    run(None).code(3);
    run(Some("ask_1")).code(6);
    let kept: Vec<_> = std::fs::read_dir(home.path()).expect("the home").collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[test]
fn help_does_not_show_what_stands_in_the_environment() {
    let home = home();
    let assert =
        asistry(&home).env("ASISTRY_URL", "https://h.example/?key=marked").arg("--help").assert().success();
    let help = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(help.contains("ASISTRY_URL") && !help.contains("marked"), "{help}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_none() {
    let home = home();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let run = |stdout: std::process::Stdio| {
        std::process::Command::new(env!("CARGO_BIN_EXE_asistry"))
            .args(["-p", "sandbox", "call", "create_task", "title=x"])
            .env_clear()
            .env("HOME", home.path())
            .stdout(stdout)
            .output()
            .expect("the binary")
    };
    let failed = run(full.into());
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be written") && said.contains("was made"), "{said}");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(run(writer.into()).status.code(), Some(0));
}

#[test]
fn every_command_has_a_manual_page() {
    let home = home();
    let page = prints(&home, &["man"]);
    assert!(page.contains(".TH asistry 1"), "{page}");
    assert!(page.contains("asistry\\-call(1)") && page.contains(".SH \"EXIT STATUS\""), "{page}");
    assert!(prints(&home, &["man", "keys", "add"]).contains(".TH asistry-keys-add 1"));
    let folder = home.path().join("man");
    prints(&home, &["man", "--dir", folder.to_str().expect("a path")]);
    let keys = std::fs::read_to_string(folder.join("asistry-keys.1")).expect("a page");
    assert_eq!(keys, prints(&home, &["man", "keys"]));
    assert!(folder.join("asistry.1").exists() && folder.join("asistry-tools-show.1").exists());
    assert!(fails(&home, &["man", "nonsense"], 2).contains("nonsense"));
}
