//! The table of options, seen from outside: the command line, the help, the README, the manual pages.

use std::collections::BTreeSet;

use asistry::error::EXIT_CODES;
use asistry::profile::{OPTIONS, Takers};
use tempfile::TempDir;

use crate::commands::{asistry, home};

fn prints(home: &TempDir, arguments: &[&str]) -> String {
    let assert = asistry(home).args(arguments).assert().success();
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

fn fails(home: &TempDir, arguments: &[&str], code: i32) -> String {
    let assert = asistry(home).args(arguments).assert().code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn a_variable_that_is_set_but_empty_counts_as_unset() {
    let home = home();
    let own: Vec<String> = prints(&home, &["help", "environment"])
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name.starts_with("ASISTRY_"))
        .collect();
    assert!(own.len() > 10, "{own:?}");
    for name in own.iter().map(String::as_str).chain(["CI", "NO_COLOR", "SSL_CERT_FILE"]) {
        asistry(&home).env(name, "").args(["-p", "sandbox", "ping"]).assert().success();
        // Also where it would choose: the default profile has no key here.
        asistry(&home).env(name, "").arg("tools").assert().code(4);
    }
    let wrong =
        asistry(&home).env("ASISTRY_TIMEOUT", "soon").args(["-p", "sandbox", "ping"]).assert().code(2);
    let said = String::from_utf8_lossy(&wrong.get_output().stderr).into_owned();
    assert!(said.contains("ASISTRY_TIMEOUT") && said.contains("30s"), "{said}");
    let over = ["-p", "sandbox", "--timeout", "5s", "ping"];
    asistry(&home).env("ASISTRY_TIMEOUT", "soon").args(over).assert().success();
}

#[test]
fn options_can_precede_the_command() {
    let home = home();
    let after = prints(&home, &["tools", "-p", "sandbox", "--json", "--color", "always"]);
    assert_eq!(prints(&home, &["--color", "always", "--json", "-p", "sandbox", "tools"]), after);
    assert!(after.contains('\u{1b}'), "{after}");
    let name = ["--jq", ".[0].name", "-p", "sandbox", "tools"];
    assert_eq!(prints(&home, &name), "list_tasks\n");
    // On the card of one command too.
    let call = ["-o", "json", "-p", "sandbox", "--timeout", "9s", "call", "list_tasks", "limit=1"];
    assert!(prints(&home, &call).starts_with('{'));
    assert!(fails(&home, &["--json", "call"], 2).starts_with('{'));
}

#[test]
fn every_command_takes_color_and_only_readers_a_form_of_output() {
    let home = home();
    for command in [["completions", "bash"], ["man", "ping"], ["help", "files"]] {
        prints(&home, &[command[0], command[1], "--color", "never"]);
        assert!(fails(&home, &[command[0], command[1], "--jq", "."], 2).contains("--jq"));
    }
    for command in ["bridge", "sandbox"] {
        assert!(fails(&home, &[command, "--color", "sometimes"], 2).contains("sometimes"));
        prints(&home, &[command, "--color", "never", "--help"]);
    }
    assert!(fails(&home, &["bridge", "--jq", "."], 2).contains("--jq"));
}

#[test]
fn an_option_of_bridge_is_set_in_the_profile_for_other_commands() {
    let home = home();
    let told = |arguments: &[&str]| fails(&home, arguments, 2);
    let way = "try: --era is an option of bridge; for all commands, set it in the profile: asistry profiles";
    assert!(
        told(&["-p", "sandbox", "ping", "--era", "modern"])
            .contains(&format!("{way} set sandbox era=modern\n"))
    );
    assert!(told(&["ping", "--era=legacy", "-p", "zuko"]).contains(&format!("{way} set zuko era=legacy\n")));
    assert!(told(&["--era", "modern", "ping"]).contains(&format!("{way} set asistry era=modern\n")));
    let by_url = told(&["--url", "http://h.example/mcp?key=1", "tools", "--era", "modern"]);
    let way = format!("{way} add work --url http://h.example/mcp --set era=modern\n");
    assert!(by_url.contains(&way), "{by_url}");
    assert!(told(&["tools", "--deny-tool", "a_*"]).contains("profiles set asistry 'deny_tools=a_*'\n"));
    assert!(told(&["tools", "--read-only", "--json"]).contains("profiles set asistry read_only=true\""));
    // What a profile would refuse too, and what can only be a slip before the command that takes it.
    assert!(told(&["ping", "--era", "newest"]).contains("try: asistry ping --help\n"));
    assert!(told(&["--era", "modern", "bridge"]).contains("try: asistry bridge --help\n"));
}

#[test]
fn what_is_typed_without_more_lists_or_helps() {
    let home = home();
    let assert = asistry(&home).assert().success().stderr("");
    let help = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(help.contains("Usage: asistry") && help.contains("exit-codes"), "{help}");
    for command in ["resources", "prompts", "tools"] {
        // The sandbox has tools only, and says so of the others.
        let run = |arguments: &[&str]| {
            let output = asistry(&home).args(["-p", "sandbox"]).args(arguments).output().expect("the binary");
            (output.status.code(), String::from_utf8(output.stdout), String::from_utf8(output.stderr))
        };
        assert_eq!(run(&[command]), run(&[command, "list"]));
    }
    for command in ["keys", "profiles"] {
        assert_eq!(prints(&home, &[command]), prints(&home, &[command, "list"]));
    }
}

#[test]
fn help_knows_commands_and_topics() {
    let home = home();
    assert_eq!(prints(&home, &["help", "keys", "add"]), prints(&home, &["keys", "add", "--help"]));
    assert_eq!(prints(&home, &["help"]), prints(&home, &["--help"]));
    assert!(prints(&home, &["help", "arguments"]).contains("name:=JSON"));
    let bound = "ASISTRY_API_KEY is bound to no origin";
    assert!(prints(&home, &["help", "security"]).contains(bound));
    assert!(include_str!("../README.md").contains(bound));
    assert!(fails(&home, &["help", "enviroment"], 2).contains("asistry help environment"));
    let topic_of_a_command = fails(&home, &["help", "bridge", "eras"], 2);
    assert!(topic_of_a_command.contains("try: asistry help eras\n"), "{topic_of_a_command}");
    assert!(fails(&home, &["help", "bridge", "nothing"], 2).contains("try: asistry help\n"));
    for (code, about) in EXIT_CODES {
        let codes = prints(&home, &["help", "exit-codes"]);
        assert!(codes.lines().any(|line| {
            line.split_once(' ')
                .is_some_and(|(first, rest)| first == code.to_string() && rest.trim() == *about)
        }));
    }
}

#[test]
fn every_variable_and_file_in_the_source_is_in_help() {
    let home = home();
    let listed = prints(&home, &["help", "environment"]);
    let mut named = BTreeSet::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).expect("source");
            for part in text.split("ASISTRY_").skip(1) {
                let name = part.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(part.len());
                named.insert(format!("ASISTRY_{}", part[..name].trim_end_matches('_')));
            }
        }
    }
    named.remove("ASISTRY_");
    for name in named {
        assert!(listed.lines().any(|line| line.split_whitespace().next() == Some(&name)), "{name}");
    }
}

#[test]
fn manual_pages_have_examples_environment_files_and_exit_status() {
    let home = home();
    for page in [prints(&home, &["man"]), prints(&home, &["man", "call"])] {
        for section in ["EXAMPLES", "ENVIRONMENT", "FILES"] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}: {page}");
        }
        assert!(page.contains(".SH \"EXIT STATUS\"\n"), "{page}");
        assert!(page.contains("ASISTRY_API_KEY") && page.contains("config.toml"), "{page}");
        assert!(!page.contains("Examples:"), "{page}");
    }
}

#[test]
fn the_readme_has_every_option_and_exit_code() {
    let cell = |text: &str| text.replace('|', "\\|");
    let code = |text: Option<String>| text.map(|text| format!("`{text}`")).unwrap_or_default();
    let mut expected =
        "| option | in a profile | variable | meaning | default |\n|---|---|---|---|---|\n".to_owned();
    for row in OPTIONS {
        let value = if row.value.is_empty() { String::new() } else { format!(" {}", row.value) };
        let short = row.short.map(|short| format!("-{short}, ")).unwrap_or_default();
        let flag = code(row.flag.map(|flag| format!("{short}--{flag}{value}")));
        let flag = if row.takers == Takers::Bridge { flag + " (bridge)" } else { flag };
        let (key, env) = (code(row.key.map(str::to_owned)), code(row.env.map(str::to_owned)));
        let words: Vec<String> = row.choices().iter().map(|(word, _)| format!("`{word}`")).collect();
        let about = cell(row.about) + if words.is_empty() { "" } else { ": " } + &words.join(", ");
        let line = format!("| {flag} | {key} | {env} | {about} | {} |\n", cell(row.default));
        expected += &line.replace("|  |", "| |").replace("|  |", "| |");
    }
    let readme = include_str!("../README.md");
    assert!(readme.contains(&expected), "README.md needs this table:\n{expected}");
    let mut codes = "| exit code | meaning |\n|---|---|\n".to_owned();
    for (code, about) in EXIT_CODES {
        codes += &format!("| {code} | {about} |\n");
    }
    assert!(readme.contains(&codes), "README.md needs this table:\n{codes}");
}

#[test]
#[cfg(unix)]
fn the_examples_of_the_sandbox_work_when_pasted() {
    let home = home();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_asistry")).parent().expect("a folder");
    let calls = r#"{"tool":"list_tasks","arguments":{}}"#;
    std::fs::write(home.path().join("calls.jsonl"), calls).expect("a file");
    let mut examples = BTreeSet::new();
    for page in ["", "call", "tools", "ping", "arguments"] {
        let help = prints(&home, &["help", page][..if page.is_empty() { 1 } else { 2 }]);
        let lines = help.lines().map(str::trim).filter(|line| line.starts_with("asistry -p sandbox"));
        examples.extend(lines.map(str::to_owned));
    }
    assert!(examples.len() >= 6, "{examples:?}");
    for example in examples {
        let path = format!("{}:/usr/bin:/bin", folder.display());
        let mut shell = assert_cmd::Command::new("/bin/sh");
        shell.env_clear().env("PATH", path).env("HOME", home.path()).current_dir(home.path());
        shell.args(["-c", &example]).assert().success();
    }
}
