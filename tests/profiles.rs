//! Profiles, with the real binary: what is written into `config.toml`, what is refused, and that it takes effect.

mod effect;
#[cfg(target_os = "linux")]
mod terminal;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A home of its own.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A home with a configuration.
    fn with(text: &str) -> Self {
        let home = Self::new();
        std::fs::create_dir(home.directory()).expect("a directory");
        std::fs::write(home.config(), text).expect("a file");
        home
    }

    /// A home with a service of the user.
    fn with_service(name: &str, text: &str) -> Self {
        let home = Self::with("");
        home.add_service(name, text);
        home
    }

    fn add_service(&self, name: &str, text: &str) {
        let services = self.directory().join("services");
        std::fs::create_dir_all(&services).expect("a directory");
        std::fs::write(services.join(format!("{name}.toml")), text).expect("a file");
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("config")
    }

    fn config(&self) -> PathBuf {
        self.directory().join("config.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.config()).expect("the configuration")
    }

    /// The binary with nothing else in its environment.
    fn asistry(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(arguments).env_clear().env("HOME", self.0.path());
        command.env("ASISTRY_CONFIG_DIR", self.directory());
        command
    }

    /// What it prints on stdout.
    fn prints(&self, arguments: &[&str]) -> String {
        let assert = self.asistry(arguments).assert().success();
        String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.prints(arguments)).expect("JSON")
    }

    /// What it says on stderr when it fails with this code.
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let assert = self.asistry(arguments).assert().code(code);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    }

    /// Fails, and leaves every byte of the configuration as it is.
    fn refuses(&self, arguments: &[&str], code: i32) -> String {
        let before = std::fs::read(self.config()).ok();
        let said = self.fails(arguments, code);
        assert_eq!(std::fs::read(self.config()).ok(), before, "{arguments:?}");
        said
    }
}

const WORK: &str =
    "[profiles.work]\nservice = \"task-tracking\"\nbase_url = \"https://h\"\nworkspace_id = \"7\"\n";

#[test]
fn a_profile_is_added_shown_changed_used_and_removed() {
    let home = Home::new();
    let added = ["profiles", "add", "work", "--service", "task-tracking"];
    let values = ["--set", "base_url=https://h", "--set", "workspace_id=7", "--use"];
    home.prints(&[&added[..], &values[..]].concat());
    assert_eq!(home.text(), format!("profile = \"work\"\n\n{WORK}"));
    home.prints(&["profiles", "set", "work", "timeout=5m", "headers.X-Project-ID=${P}", "deny_tools=a_*,b"]);
    let shown = home.json(&["profiles", "show", "--json"]);
    assert_eq!(shown["name"], "work");
    assert_eq!(shown["endpoint"], "https://h/app/api/mcp/server/7");
    assert_eq!(shown["values"]["workspace_id"]["value"], "7");
    assert_eq!(shown["headers"]["X-Project-ID"], "${P}");
    assert_eq!(shown["options"]["timeout"]["value"], "5m");
    assert_eq!(shown["options"]["timeout"]["source"], "profile");
    assert_eq!(shown["options"]["deny_tools"]["value"], serde_json::json!(["a_*", "b"]));
    assert_eq!(shown["options"]["max_wait"]["source"], "default");
    let over = home.json(&["profiles", "show", "--json", "--timeout", "1s"]);
    assert_eq!(over["options"]["timeout"]["value"], "1s");
    let text = home.prints(&["profiles", "show", "work"]);
    assert!(text.contains("headers.X-Project-ID\t${P}\tprofile\n"), "{text}");
    let listed = home.json(&["profiles", "list", "--json"]);
    let names: Vec<&str> =
        listed.as_array().expect("a list").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "work",
            "asistry",
            "zuko",
            "agentstack",
            "bob-studio",
            "sandbox",
            "sandbox-zuko",
            "sandbox-task-tracking",
            "sandbox-bob-studio",
            "sandbox-agentstack"
        ]
    );
    assert!(
        home.prints(&["profiles"]).contains("work\ttask-tracking\thttps://h/app/api/mcp/server/7\tdefault\n")
    );
    home.prints(&["profiles", "use", "asistry"]);
    home.prints(&[
        "profiles",
        "set",
        "work",
        "timeout=",
        "deny_tools=",
        "headers.x-project-id=",
        "--unset",
        "base_url",
    ]);
    let last = "[profiles.work]\nservice = \"task-tracking\"\nworkspace_id = \"7\"\ndeny_tools = []\n";
    assert_eq!(home.text(), format!("profile = \"asistry\"\n\n{last}"));
    assert!(home.prints(&["profiles", "list"]).contains("needs base_url"));
    home.prints(&["profiles", "use", "asistry"]);
    home.prints(&["profiles", "remove", "work", "--yes"]);
    assert_eq!(home.text(), "profile = \"asistry\"\n");
}

#[test]
fn the_default_goes_with_its_profile() {
    let home = Home::with(&format!("# mine\n\nprofile = \"work\" # daily\n\n{WORK}"));
    let assert = home.asistry(&["profiles", "remove", "work", "--yes"]).assert().success();
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("asistry again"));
    assert_eq!(home.text(), "# mine\n\n");
}

#[test]
fn a_profile_whose_keys_are_stored_stays() {
    let home = Home::with(&format!("key_store = 'file'\n{WORK}"));
    let run = |arguments: &[&str]| {
        let mut command = home.asistry(arguments);
        command.env("ASISTRY_KEY_PASSPHRASE", "correct horse").env("K", "mcp_live_0123456789abcdef").assert()
    };
    run(&["keys", "add", "-p", "work", "--from-env", "K", "--no-verify"]).success();
    let refused = run(&["profiles", "remove", "work", "--yes"]).code(3);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("still stored") && said.contains("asistry keys remove -p work"), "{said}");
    run(&["keys", "remove", "-p", "work", "--yes"]).success();
    run(&["profiles", "remove", "work", "--yes"]).success();
}

#[test]
fn a_profile_hides_no_service_and_keeps_what_it_needs() {
    let home = Home::new();
    for name in ["sandbox", "bob-studio", "asistry"] {
        let said = home.refuses(&["profiles", "add", name, "--url", "https://h.example/mcp"], 2);
        assert!(said.contains("another name"), "{said}");
    }
    let home = Home::with("[profiles.w]\nservice='mcp'\nurl='https://h.example/mcp'\n");
    assert!(home.refuses(&["profiles", "set", "w", "url="], 2).contains("url cannot be empty"));
}

#[test]
fn where_nobody_can_be_asked_the_options_are_named() {
    let home = Home::new();
    let said = home.refuses(&["profiles", "add", "work", "--service", "task-tracking"], 2);
    assert!(said.contains("--set base_url=https://host.example --set workspace_id=1"), "{said}");
    assert!(home.refuses(&["profiles", "add", "work"], 2).contains("add work --url https://"));
    let home = Home::with(WORK);
    assert!(home.refuses(&["profiles", "remove", "work"], 2).contains("--yes"));
    assert!(
        home.refuses(&["profiles", "add", "work", "--service", "zuko"], 3).contains("profiles show work")
    );
    assert!(
        home.refuses(&["profiles", "add", "zuko", "--service", "mcp", "--set", "url=https://h"], 2)
            .contains("another name")
    );
    assert!(home.refuses(&["profiles", "add", "a/b", "--service", "zuko"], 2).contains("cannot be a name"));
    assert!(
        home.refuses(&["profiles", "add", "x", "--service", "asisty"], 2).contains("did you mean asistry?")
    );
}

#[test]
fn a_setting_is_checked_when_it_is_set_and_all_or_nothing_is_written() {
    let home = Home::with(WORK);
    std::fs::write(home.directory().join("empty.pem"), "").expect("a file");
    for (setting, why) in [
        ("timout=5m", "did you mean timeout?"),
        ("ca-file=x", "did you mean ca_file?"),
        ("X-Project-ID=7", "did you mean headers.X-Project-ID?"),
        ("header.X-A=7", "did you mean headers.X-A?"),
        ("timeout=soon", "1500ms, 30s or 5m"),
        ("insecure=yes", "true or false"),
        ("era=moden", "modern"),
        ("transport=stdio", "is not auto, http or sse"),
        ("deny_tools=[a]", "is not a pattern"),
        ("base_url=ftp://h", "neither http nor https"),
        ("workspace_id=a/b", "one part of a path"),
        ("ca_file=nowhere.pem", "nowhere.pem"),
        ("ca_file=empty.pem", "empty.pem"),
        ("client_cert=empty.pem", "empty.pem"),
        ("proxy=http://u:p@h", "${VAR}"),
        ("headers.Authorization=Bearer x", "asistry keys add"),
        ("headers.Host=h", "belongs to the protocol"),
        ("headers.X A=h", "not a header name"),
        ("headers=h", "headers.NAME=value"),
        ("service=zuko", "base_url"),
        ("service=nothing", "no service named nothing"),
        ("service=", "service=NAME"),
        ("timeout", "name=value"),
    ] {
        let said = home.refuses(&["profiles", "set", "work", "max_time=1h", setting], 2);
        assert!(said.contains(why), "{setting}: {said}");
        // It would remove a good value: the wrong one was not stored.
        assert!(!said.contains("--unset timeout"), "{setting}: {said}");
    }
    let twice = ["profiles", "set", "work", "timeout=1s", "timeout=2s"];
    assert!(home.refuses(&twice, 2).contains("twice"));
    assert!(home.refuses(&["profiles", "set", "wrok", "timeout=1s"], 3).contains("did you mean work?"));
    assert!(home.refuses(&["profiles", "use", "task-tracking"], 3).contains("profiles add task-tracking"));
    home.prints(&[
        "profiles",
        "set",
        "work",
        "service=mcp",
        "base_url=",
        "workspace_id=",
        "url=https://m/mcp",
    ]);
    assert_eq!(home.text(), "[profiles.work]\nservice = \"mcp\"\nurl = \"https://m/mcp\"\n");
}

#[test]
fn a_built_in_profile_gets_an_entry_when_it_is_set() {
    let home = Home::new();
    home.prints(&["profiles", "set", "bob-studio", "hidden_tools="]);
    assert_eq!(home.text(), "[profiles.bob-studio]\nservice = \"bob-studio\"\nhidden_tools = []\n");
    home.prints(&["profiles", "set", "task-tracking", "base_url=https://h", "workspace_id=7"]);
    assert!(home.prints(&["profiles", "list"]).contains("https://h/app/api/mcp/server/7"));
    assert!(home.refuses(&["profiles", "remove", "zuko", "--yes"], 3).contains("not in the configuration"));
}

#[test]
fn a_built_in_profile_cannot_become_one_of_another_service() {
    let home = Home::with("# mine\n");
    let said = home.refuses(&["profiles", "set", "bob-studio", "service=mcp", "url=https://h.example"], 2);
    assert!(said.contains("bob-studio is the name of a service"), "{said}");
    home.prints(&["profiles", "set", "bob-studio", "service=bob-studio", "timeout=5m"]);
}

#[test]
fn what_is_wrong_in_the_file_is_told_and_can_be_mended() {
    let home = Home::with("profile = \"work\"\n\n[profiles.work\n");
    for arguments in
        [&["profiles"][..], &["profiles", "set", "work", "timeout=1s"], &["profiles", "use", "zuko"]]
    {
        assert!(home.refuses(arguments, 3).contains("config.toml is not valid: line 3"));
    }
    let home = Home::with("profle = \"work\"\n");
    assert!(home.refuses(&["profiles", "use", "zuko"], 3).contains("did you mean profile?"));
    let home = Home::with(&format!("{WORK}timout = '5m'\n"));
    let listed = home.prints(&["profiles", "list"]);
    assert!(listed.contains("timout") && listed.contains("zuko"), "{listed}");
    assert!(home.refuses(&["profiles", "set", "work", "drain=1s"], 3).contains("did you mean timeout?"));
    home.prints(&["profiles", "set", "work", "timout=", "timeout=5m"]);
    assert_eq!(home.text(), format!("{WORK}timeout = \"5m\"\n"));
}

#[test]
fn a_profile_that_a_key_in_the_environment_hides_is_told() {
    let mut command = Home::new().asistry(&["-p", "work", "tools"]);
    let said = command.env_remove("ASISTRY_CONFIG_DIR").env("ASISTRY_API_KEY", "k1").assert().code(3);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    let (what, way) = said.trim_end().split_once("\n  try: ").expect("a remedy");
    assert_eq!(
        what,
        "asistry: there is no profile named work: profiles are not read while ASISTRY_API_KEY is set"
    );
    assert!(way.starts_with("unset ASISTRY_API_KEY, or: export ASISTRY_CONFIG_DIR=/"), "{way}");
}

/// What the commands propose works when pasted.
#[test]
#[cfg(unix)]
fn a_profile_that_is_changed_while_a_key_hides_it_is_told_so() {
    let home = Home::new();
    let run = |arguments: &[&str], directory: Option<&str>| {
        let mut command = home.asistry(arguments);
        command.env_remove("ASISTRY_CONFIG_DIR").env("ASISTRY_API_KEY", "ask_1");
        let said = command.envs(directory.map(|path| ("ASISTRY_CONFIG_DIR", path))).assert();
        (said.get_output().status.code(), String::from_utf8_lossy(&said.get_output().stderr).into_owned())
    };
    let note = "note: profiles are not read while ASISTRY_API_KEY is set; unset ASISTRY_API_KEY, or: export ASISTRY_CONFIG_DIR=";
    let (code, added) = run(&["profiles", "add", "local", "--url", "http://127.0.0.1:9/mcp"], None);
    let (first, rest) = added.split_once('\n').expect("lines");
    assert_eq!((code, first), (Some(0), "added profile local (http://127.0.0.1:9/mcp)"));
    let directory = rest.strip_prefix(note).expect(rest).trim_end();
    for change in [&["profiles", "set", "local", "timeout=5m"][..], &["profiles", "use", "local"]] {
        let (code, changed) = run(change, None);
        assert!(code == Some(0) && changed.contains(note), "{changed}");
        assert!(!run(change, Some(directory)).1.contains("note"));
    }
    // It is found there: nothing listens.
    assert_eq!(run(&["-p", "local", "tools"], Some(directory)).0, Some(6));
    assert_eq!(run(&["-p", "local", "tools"], None).0, Some(3));
}

#[test]
fn profiles_are_worked_on_whatever_key_the_environment_has() {
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let mut command = home.asistry(arguments);
        command.env_remove("ASISTRY_CONFIG_DIR").env("ASISTRY_API_KEY", "ask_1").assert().success()
    };
    run(&["profiles", "use", "zuko"]);
    let listed = run(&["profiles", "list"]);
    let listed = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    assert!(listed.contains("http://localhost:3001/api/mcp\tdefault"), "{listed}");
}

#[test]
#[cfg(unix)]
fn a_new_file_is_private_and_an_old_one_keeps_its_mode_and_its_link() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let home = Home::new();
    home.prints(&["profiles", "use", "zuko"]);
    assert_eq!((mode(&home.config()), mode(&home.directory())), (0o600, 0o700));

    let home = Home::with("");
    std::fs::remove_file(home.config()).expect("a file");
    let target = home.0.path().join("dotfiles.toml");
    std::fs::write(&target, "# mine\r\n").expect("a file");
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    std::os::unix::fs::symlink("../dotfiles.toml", home.config()).expect("a link");
    home.prints(&["profiles", "add", "z", "--service", "zuko"]);
    assert!(home.config().is_symlink());
    assert_eq!(
        std::fs::read_to_string(&target).expect("a file"),
        "# mine\r\n\r\n[profiles.z]\r\nservice = \"zuko\"\r\n"
    );
    assert_eq!(mode(&target), 0o640);

    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o440)).expect("a mode");
    assert!(home.refuses(&["profiles", "use", "z"], 3).contains("read-only"));
    std::fs::remove_file(&target).expect("a file");
    assert!(home.refuses(&["profiles", "use", "z"], 3).contains("leads nowhere"));
}

#[test]
fn two_processes_at_once_lose_nothing() {
    let home = Home::with("# mine\n");
    std::thread::scope(|scope| {
        for half in ["a", "b"] {
            let home = &home;
            scope.spawn(move || {
                for n in 0..20 {
                    home.prints(&["profiles", "set", "asistry", &format!("headers.X-{half}{n}={n}")]);
                }
            });
        }
    });
    let shown = home.json(&["profiles", "show", "asistry", "--json"]);
    assert_eq!(shown["headers"].as_object().map(serde_json::Map::len), Some(40));
    assert!(home.text().starts_with("# mine\n"));
    let left: Vec<_> = std::fs::read_dir(home.directory()).expect("a directory").collect();
    assert_eq!(left.len(), 1, "no temporary file stays: {left:?}");
}

#[test]
fn a_service_of_the_user_is_known_everywhere_and_its_faults_are_told() {
    let crm = "title = 'CRM'\nendpoint = 'https://{tenant}.crm.example/mcp'\nwire = 'mcp'\n[auth]\nscheme = 'bearer'\n\
        [variables.tenant]\nkind = 'segment'\nabout = 'your tenant'\n";
    let home = Home::with_service("crm", crm);
    home.add_service("plain", "title = 'P'\nendpoint = 'https://p.example/mcp'\ndialect = 'mcp'\n[auth]\nscheme = 'bearer'\noptional = true\n");
    home.add_service("bad", "title = 'B'\nendpiont = 'https://p.example/mcp'\n");
    let listed = home.prints(&["profiles"]);
    assert!(listed.contains("plain\tplain\thttps://p.example/mcp"), "{listed}");
    assert!(listed.contains("bad.toml is not valid: line 2"), "{listed}");
    assert!(!listed.contains("crm\t"), "{listed}");
    let said = home.fails(&["-p", "bad", "tools"], 3);
    assert!(said.contains("bad.toml") && said.contains("did you mean endpoint?"), "{said}");
    assert!(home.refuses(&["profiles", "add", "c", "--service", "cr"], 2).contains("did you mean crm?"));
    home.prints(&["profiles", "add", "c", "--service", "crm", "--set", "tenant=acme"]);
    assert!(home.prints(&["profiles"]).contains("c\tcrm\thttps://acme.crm.example/mcp"));

    home.add_service("asistry", crm);
    assert!(home.fails(&["-p", "asistry", "tools"], 3).contains("built-in"));
    home.add_service("odd", &crm.replace("tenant", "timeout"));
    assert!(
        home.fails(&["-p", "odd", "tools"], 3).contains("the variable timeout has the name of an option")
    );
}

#[test]
fn a_profile_is_added_by_its_url_alone() {
    let home = Home::new();
    home.asistry(&["profiles", "add", "local", "--url", "http://127.0.0.1:9/mcp"]).assert().success();
    let text = home.text();
    assert!(text.contains("service = \"mcp\"") && text.contains("http://127.0.0.1:9/mcp"), "{text}");
    let refused =
        home.asistry(&["profiles", "add", "other", "--service", "zuko", "--url", "http://h"]).assert();
    refused.code(2);
    assert_eq!(home.text(), text);
}

#[test]
fn a_held_lock_is_waited_for_with_a_deadline() {
    let home = Home::with("");
    let state = home.0.path().join("state");
    std::fs::create_dir(&state).expect("a directory");
    let lock = std::fs::File::create(state.join("config.lock")).expect("a file");
    lock.lock().expect("the lock");
    let mut set = home.asistry(&["profiles", "set", "asistry", "timeout=5m"]);
    let refused = set.env("ASISTRY_STATE_DIR", &state).timeout(std::time::Duration::from_secs(60)).assert();
    let refused = refused.code(3);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("another process is changing the configuration"), "{said}");
    drop(lock);
    set.assert().success();
}

#[cfg(feature = "sandbox")]
#[test]
fn a_sandbox_is_reset_only_after_a_yes() {
    let home = Home::new();
    home.asistry(&["sandbox", "reset"]).assert().code(2);
    let missing = home.refuses(&["sandbox", "--data", "no/such/directory", "reset", "--yes"], 2);
    assert!(missing.contains("there is no such directory"), "{missing}");
    home.asistry(&["sandbox", "reset", "--yes"]).assert().success();
}
