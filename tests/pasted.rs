//! Everything that help, README and remedies tell a person to type, pasted into a real shell.
//!
//! Refuses placeholders: what is shown must run as it is. Only servers, questions, AgentStack and keys of real services
//! are replaced, by the shell functions of [`PRELUDE`].
#![cfg(all(unix, feature = "sandbox"))]

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use asistry::sandbox::{Data, Faults, Options, Sandbox};
use serde_json::{Value, json};

use crate::agentstack::new_keys;
use crate::call;
use crate::support::home::{Home, Ran};
use crate::support::service::{Reply, Service};

/// Starts no server, takes keys from a file without trying them, and asks no questions.
const PRELUDE: &str = r#"
cargo() { while [ "$1" != -- ]; do shift; done; shift; asistry "$@"; }
man() { cat >/dev/null; }
read() { :; }
asistry() {
  case " $* " in
    *" sandbox --memory "*) return 0 ;;
    *" -p agentstack "*) ASISTRY_KEY_STORE=file env -u ASISTRY_API_KEY asistry "$@" --url "$AGENTSTACK" ;;
    *" keys add "*" --stdin "*) command asistry "$@" --no-verify --force ;;
    *" keys add "*) command asistry "$@" --stdin --no-verify --force <key.txt ;;
    *" keys rotate "*--resume*|*" keys rotate "*--undo*) command asistry "$@" ;;
    *" --yes "*) command asistry "$@" ;;
    *" keys rotate "*) command asistry "$@" --stdin --no-verify --force <new-key.txt ;;
    *" keys remove "*|*" sandbox reset "*) command asistry "$@" --yes ;;
    *" profiles add mcp "|*" profiles add crm ") command asistry "$@" --set url=https://h.example/mcp ;;
    *" profiles add task-tracking ") command asistry "$@" --set base_url=https://h.example --set workspace_id=1 ;;
    *) command asistry "$@" ;;
  esac
}
"#;

/// Words that stand for something else.
const PLACEHOLDERS: [&str; 10] =
    ["FILE", "OUTPUT", "PROFILE", "NAME", "VALUE", "TOOL", "EXPR", "FIELD", "VAR", "…"];

/// A shell in a home, in front of a running sandbox.
struct Pasting {
    home: Home,
    url: String,
    key: String,
    /// Started when it is first used.
    agentstack: OnceCell<Service>,
    _sandbox: (Sandbox, tokio::runtime::Runtime),
}

impl Pasting {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = Options {
            data: Data::Memory,
            listen: "127.0.0.1:0".parse().unwrap(),
            embedded: false,
            faults: Faults::default(),
        };
        let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
        let (url, key) = (sandbox.endpoints()[0].url.clone(), sandbox.endpoints()[0].key.clone());
        let home = Home::new();
        home.write("key.txt", "a-key-of-the-test-0123456789");
        home.write("new-key.txt", "another-key-of-the-test-98765");
        home.write("calls.jsonl", r#"{"tool":"list_tasks","arguments":{}}"#);
        home.write("work.toml", format!("[profiles.work]\nservice = 'mcp'\nurl = '{url}'\n"));
        std::fs::create_dir_all(home.file(".local/share/bash-completion/completions")).unwrap();
        Self { home, url, key, agentstack: OnceCell::new(), _sandbox: (sandbox, runtime) }
    }

    fn paste(&self, lines: &str) -> Ran {
        let mut shell = shell(lines, self.home.path());
        shell.envs(self.home.environment()).env("ASISTRY_API_KEY", &self.key);
        shell.env("USER", "ada").env("ASISTRY_CACHE_DIR", self.home.file("cache"));
        if lines.contains(" -p agentstack ") {
            shell.env("AGENTSTACK", self.agentstack.get_or_init(new_keys::service).url());
        }
        ran(shell)
    }
}

fn shell(lines: &str, home: &Path) -> Command {
    let folder = Path::new(env!("CARGO_BIN_EXE_asistry")).parent().expect("a folder").display();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{PRELUDE}{lines}")]).current_dir(home).stdin(Stdio::null()).env_clear();
    shell.env("HOME", home).env("PATH", format!("{folder}:/usr/bin:/bin"));
    shell
}

fn ran(mut shell: Command) -> Ran {
    let output = shell.output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().expect("an end"),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Returns the commands that remedies name: from `asistry COMMAND` to the end of the line.
pub fn commands(stderr: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    let mut is_remedy = false;
    for line in stderr.lines() {
        let hint = serde_json::from_str::<Value>(line)
            .ok()
            .and_then(|json| json["error"]["hint"].as_str().map(str::to_owned));
        is_remedy = hint.is_some() || line.starts_with("  try: ") || is_remedy && line.starts_with("  ");
        let text = hint.unwrap_or_else(|| line.to_owned());
        for line in text.lines().filter(|_| is_remedy) {
            let begins =
                |at: &usize| line[*at + 8..].starts_with(|c: char| c.is_ascii_lowercase() || c == '-');
            let found = line.match_indices("asistry ").map(|(at, _)| at).find(begins);
            commands.extend(found.map(|at| line[at..].trim_end().to_owned()));
        }
    }
    commands
}

/// Runs a command that a remedy names, in a copy of the home; returns why it is no good.
pub fn wrong_with(command: &str, home: &Path, environment: &[(&str, String)]) -> Option<String> {
    if let Some(word) = PLACEHOLDERS.iter().find(|word| has_word(command, word)) {
        return Some(format!("{command}: {word} is a placeholder"));
    }
    let copy = tempfile::tempdir().expect("a directory");
    let copied = Command::new("cp").arg("-R").arg(home.join(".")).arg(copy.path()).status();
    assert!(copied.expect("cp").success());
    std::fs::write(copy.path().join("key.txt"), "a-key-of-the-test-0123456789").expect("a file");
    std::fs::write(copy.path().join("new-key.txt"), "another-key-of-the-test-98765").expect("a file");
    let mut shell = shell(command, copy.path());
    shell.env("ASISTRY_KEY_STORE", "file").env("ASISTRY_KEY_PASSPHRASE", "correct horse battery");
    shell.envs(environment.iter().map(|(name, value)| (*name, value)));
    let ran = ran(shell);
    // What is made again may fail again, but not for how it was typed.
    let goes_on = command.contains("--resume") && ran.stderr.contains("calls failed");
    (ran.code != 0 && !goes_on).then(|| format!("{command}: exit {}\n{}{}", ran.code, ran.stdout, ran.stderr))
}

fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(joins) && !text[at + word.len()..].starts_with(joins))
}

#[test]
fn the_examples_of_every_help_text_work_when_pasted() {
    let pages = [
        "",
        "bridge",
        "call",
        "tools",
        "resources",
        "prompts",
        "ping",
        "keys",
        "profiles",
        "sandbox",
        "completions",
        "man",
        "help",
        "arguments",
    ];
    let mut wrong = Vec::new();
    for page in pages {
        let pasting = Pasting::new();
        let help = pasting.home.run(&["help", page][..if page.is_empty() { 1 } else { 2 }]).succeeds().stdout;
        if page != "profiles" {
            std::fs::rename(pasting.home.file("work.toml"), pasting.home.file("config/config.toml")).unwrap();
        }
        let is_example = |line: &&str| line.starts_with("  ") && line.trim().starts_with("asistry ");
        let examples: Vec<&str> = help
            .lines()
            .filter(is_example)
            .filter(|line| !line.contains("[OPTIONS]"))
            .map(str::trim)
            .collect();
        assert!(page == "completions" || !examples.is_empty(), "{page}: {help}");
        for example in examples {
            let typed = example
                .replace("bridge --profile asistry", "bridge --profile work")
                .replace("https://host.example/mcp", &pasting.url);
            let ran = pasting.paste(&typed);
            // The sandbox has neither resources nor prompts.
            let absent = ran.code == 1 && (typed.contains("resources read") || typed.contains("prompts get"));
            if ran.code != 0 && !absent {
                wrong.push(format!("{page}: {example}: exit {}\n{}{}", ran.code, ran.stdout, ran.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_shell_blocks_of_the_readme_work_when_pasted() {
    let pasting = Pasting::new();
    let readme = include_str!("../README.md");
    let blocks: Vec<&str> = readme
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end of the block"))
        .collect();
    assert!(blocks.len() >= 6);
    for block in blocks {
        let typed = block.replace("http://127.0.0.1:8080/api/mcp/client", &pasting.url);
        let ran = pasting.paste(&format!("set -e\n{typed}"));
        assert_eq!(ran.code, 0, "{block}\n{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn the_example_of_every_tool_of_the_sandbox_works_when_pasted() {
    let names = Pasting::new().home.run(&["tools", "-p", "sandbox", "--jq", ".[].name"]).succeeds().stdout;
    for way in ["tools show NAME -p sandbox", "call NAME --help -p sandbox", "call NAME --help --url URL"] {
        // Each limits the rate.
        let pasting = Pasting::new();
        let way = way.replace("URL", &pasting.url);
        let options = &way[way.rfind(" -").unwrap() + 1..];
        for name in names.lines() {
            let shown = pasting.paste(&format!("asistry {}", way.replace("NAME", name))).succeeds().stdout;
            let example = shown.lines().rfind(|line| line.starts_with("asistry ")).expect("an example");
            assert!(example.contains(options), "{example}");
            let ran = pasting.paste(example);
            // A task of the example's id is not there.
            let absent = ran.code == 1 && example.contains("id=00000000-");
            assert!(ran.code == 0 || absent, "{example}: exit {}\n{}{}", ran.code, ran.stdout, ran.stderr);
        }
    }
}

/// Names and values that a shell, or our own reading of arguments, would take apart.
fn odd_tools() -> Value {
    let tool = |name: &str, properties: Value| {
        let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
        json!({"name": name, "inputSchema": {
            "type": "object", "required": required, "properties": properties, "additionalProperties": false,
        }})
    };
    json!([
        tool("it's $(odd)", json!({"title": {"type": "string", "default": "it's; $HOME `x`"}})),
        tool(
            "ats",
            json!({"a": {"type": "string", "default": "@home"}, "b": {"type": "string", "default": "@@x"}})
        ),
        tool(
            "names",
            json!({"a b": {"type": "string"}, "json": {"type": "string"}, "-x": {"type": "integer"}})
        ),
        tool("equals", json!({"a=b": {"type": "integer"}, "c:": {"type": "boolean"}})),
        tool(
            "bounds",
            json!({
                "few": {"type": "integer", "minimum": 7, "maximum": 9},
                "above": {"type": "number", "exclusiveMinimum": 2.5},
                "below": {"type": "integer", "maximum": -3},
                "even": {"type": "integer", "minimum": 3, "multipleOf": 4},
                "long": {"type": "string", "minLength": 12},
                "short": {"type": "string", "maxLength": 2},
                "several": {"type": "array", "minItems": 3, "items": {"type": "string", "minLength": 2}},
            })
        ),
        tool(
            "kinds",
            json!({
                "choice": {"enum": ["not that", "x"]},
                "only": {"const": {"a": 1}},
                "day": {"type": "string", "format": "date"},
                "at": {"type": "string", "format": "date-time"},
                "id": {"type": "string", "format": "uuid"},
                "page": {"type": "string", "format": "uri"},
                "mail": {"type": "string", "format": "email"},
                "flag": {"type": "boolean"},
                "nothing": {"type": "null"},
                "digits": {"type": ["string", "integer"], "default": "12"},
                "maybe": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer"}, "minItems": 2}]},
                "nested": {"type": "object", "required": ["by", "n"], "properties": {
                    "by": {"enum": ["it's"]}, "n": {"type": "integer", "minimum": 4}, "more": {"type": "string"},
                }},
            })
        ),
        tool("optional", json!({})),
    ])
}

#[test]
fn the_example_of_an_odd_tool_passes_our_own_check_when_pasted() {
    let service = Service::start(|received| match received.method.as_str() {
        "tools/list" => Some(Reply::result(received, json!({"tools": odd_tools()}))),
        "tools/call" => {
            let arguments = received.message()["params"]["arguments"].to_string();
            Some(Reply::result(received, json!({"content": [{"type": "text", "text": arguments}]})))
        }
        _ => call::answer(received),
    });
    let home = Home::new();
    for tool in odd_tools().as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        let shown = home.run(&["tools", "show", name, "--url", &service.url()]).succeeds().stdout;
        let example = shown.lines().rfind(|line| line.starts_with("asistry ")).expect("an example");
        let mut shell = shell(example, home.path());
        shell.envs(home.environment());
        let ran = ran(shell);
        assert_eq!(ran.code, 0, "{example}\n{}", ran.stderr);
        let sent: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.stdout));
        let required = tool["inputSchema"]["required"].as_array().unwrap();
        assert_eq!(sent.as_object().unwrap().len(), required.len(), "{example}: {sent}");
        assert!(!["ats"].contains(&name) || sent == json!({"a": "@home", "b": "@@x"}), "{example}: {sent}");
        assert!(name != "it's $(odd)" || sent["title"] == "it's; $HOME `x`", "{example}: {sent}");
    }
}

#[test]
fn commands_are_found_in_remedies() {
    let found = |stderr: &str| commands(stderr).into_iter().collect::<Vec<_>>();
    assert_eq!(found("asistry: no\n  try: list them: asistry tools -p w"), ["asistry tools -p w"]);
    assert_eq!(found("  try: one: asistry a\n  or: asistry b\nasistry c"), ["asistry a", "asistry b"]);
    assert_eq!(
        found(r#"{"error":{"hint":"x: asistry keys add\n  y: asistry z"}}"#),
        ["asistry keys add", "asistry z"]
    );
    assert!(found("  try: use another asistry; asistry: x").is_empty());
    let home = tempfile::tempdir().expect("a directory");
    for wrong in ["asistry tools -p PROFILE", "asistry keys list --nonsense", "asistry profiles show nosuch"]
    {
        assert!(wrong_with(wrong, home.path(), &[]).is_some(), "{wrong}");
    }
    assert_eq!(wrong_with("asistry profiles list", home.path(), &[]), None);
}

#[test]
fn the_commands_about_a_wrong_profile_work_when_pasted() {
    let work = "[profiles.work]\nservice = 'mcp'\nurl = 'https://h.example/mcp'\n";
    for (config, arguments) in [
        (format!("{work}timeout = 'soon'\n"), &["ping", "-p", "work"][..]),
        (format!("{work}headers = {{ Authorization = 'Bearer x' }}\n"), &["ping", "-p", "work"]),
        ("[profiles.work]\nservice = 'task-tracking'\n".into(), &["ping", "-p", "work"]),
        (work.to_owned(), &["profiles", "add", "work", "--service", "mcp", "--set", "url=https://x.example"]),
        (work.to_owned(), &["profiles", "add", "work", "--url", "https://x.example"]),
        (work.to_owned(), &["profiles", "remove", "sandbox"]),
        (work.to_owned(), &["keys", "use", "ask_0123456789abcdef0123456789abcdef", "-p", "work"]),
    ] {
        let home = Home::new();
        home.write("config/config.toml", &config);
        let ran = home.run(arguments);
        let commands = commands(&ran.stderr);
        assert!(ran.code != 0 && !commands.is_empty(), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        for command in commands {
            let directory = ("ASISTRY_CONFIG_DIR", "config".to_owned());
            assert_eq!(wrong_with(&command, home.path(), &[directory]), None);
        }
    }
}
