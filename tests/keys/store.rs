//! The encrypted file and the list of keys: two processes at once, and whatever can be wrong with either.

use std::collections::BTreeSet;
use std::process::Stdio;

use super::{Accepted, NEW, NOWHERE, OLD};
use crate::support::home::{Home, PASSPHRASE, Ran};
use crate::support::service::Service;

const ADD: [&str; 8] = ["keys", "add", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"];
const TOOLS: [&str; 5] = ["-p", "asistry", "--url", NOWHERE, "tools"];
/// Every command that changes something.
const CHANGES: [&[&str]; 6] = [
    &ADD,
    &["keys", "add", "--name", "spare", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"],
    &["keys", "rotate", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"],
    &["keys", "remove", "--yes"],
    &["keys", "bind", "https://elsewhere.example", "--yes"],
    &["keys", "use", "default"],
];

fn home_with_a_key() -> Home {
    let home = Home::new();
    home.told(&ADD, OLD).succeeds();
    home
}

/// Both files that hold what is stored.
fn content(home: &Home) -> [Option<Vec<u8>>; 2] {
    ["state/keys.json", "data/keys.enc"].map(|name| std::fs::read(home.file(name)).ok())
}

#[test]
fn two_processes_that_add_keys_at_once_lose_none() {
    let home = Home::new();
    let names = |who: &str| (0..10).map(|n| format!("{who}{n}")).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        for who in ["a", "b"] {
            let home = &home;
            scope.spawn(move || {
                for name in names(who) {
                    let key = format!("ask_{name}Vq8sTz31LmXw07Kd");
                    home.told(&[&ADD[..], &["--name", &name]].concat(), key).succeeds();
                }
            });
        }
    });
    let listed = home.json(&["keys", "list", "--json"]);
    let found: BTreeSet<String> =
        listed.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, names("a").into_iter().chain(names("b")).collect());
    for name in ["a0", "a9", "b0", "b9"] {
        let shown = home.run(&["keys", "show", "--name", name, "--reveal", "--yes"]).succeeds().stdout;
        assert_eq!(shown, format!("ask_{name}Vq8sTz31LmXw07Kd\n"));
    }
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_changes_nothing() {
    let home = home_with_a_key();
    let before = content(&home);
    let commands: [&[&str]; 5] = [
        &TOOLS,
        &["keys", "show", "--reveal", "--yes"],
        &["keys", "test", "-p", "asistry", "--url", NOWHERE],
        CHANGES[1],
        CHANGES[3],
    ];
    for arguments in commands {
        let wrong = "w0rngWr0ngWrong";
        let mut command = home.command(arguments);
        let ran = Ran::of(command.env("ASISTRY_KEY_PASSPHRASE", wrong).write_stdin(NEW)).fails(4);
        let ran = ran.says(&["does not open", "ASISTRY_KEY_PASSPHRASE"]);
        assert!(!ran.stderr.contains(wrong) && !ran.stderr.contains(NEW), "{}", ran.stderr);
        assert_eq!(content(&home), before, "{arguments:?}");
    }
    let mut command = home.command(TOOLS);
    Ran::of(command.env_remove("ASISTRY_KEY_PASSPHRASE"))
        .fails(4)
        .says(&["passphrase", "ASISTRY_KEY_PASSPHRASE_FILE"]);
    // What needs no key needs no passphrase.
    let mut command = home.command(["keys", "list"]);
    Ran::of(command.env_remove("ASISTRY_KEY_PASSPHRASE")).succeeds();
}

#[test]
fn the_passphrase_can_lie_in_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let home = home_with_a_key();
    let private = |file: String| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    };
    let show = ["keys", "show", "--reveal", "--yes"];
    let run = |file: &str| {
        let mut command = home.command(show);
        Ran::of(command.env_remove("ASISTRY_KEY_PASSPHRASE").env("ASISTRY_KEY_PASSPHRASE_FILE", file))
    };
    let right = private(home.write("passphrase", format!("{PASSPHRASE}\nmore\n")));
    assert_eq!(run(&right).succeeds().stdout, format!("{OLD}\n"));
    run("/no/such/file").fails(4).says(&["/no/such/file", "ASISTRY_KEY_PASSPHRASE_FILE"]);
    run(&private(home.write("empty", ""))).fails(4).says(&["is empty"]);
    home.write("config/config.toml", format!("key_passphrase_file = {right:?}\n"));
    let mut command = home.command(show);
    let ran = Ran::of(command.env_remove("ASISTRY_KEY_PASSPHRASE")).succeeds();
    assert_eq!(ran.stdout, format!("{OLD}\n"));
}

#[test]
fn a_file_of_keys_that_cannot_be_read_is_told_and_kept() {
    let home = home_with_a_key();
    let good = std::fs::read_to_string(home.file("data/keys.enc")).unwrap();
    let cases = [
        (String::new(), "damaged"),
        ("garbage\n".into(), "damaged"),
        (good[..good.len() - 20].to_owned(), "damaged"),
        (good.replacen("\"version\":1", "\"version\":2", 1), "version 2"),
        (good.replacen("argon2id", "argon3", 1), "does not support"),
    ];
    for (text, word) in cases {
        assert_ne!(text, good);
        home.write("data/keys.enc", &text);
        let before = content(&home);
        for arguments in
            [&TOOLS[..], &["keys", "show", "--reveal", "--yes"], CHANGES[1], CHANGES[2], CHANGES[3]]
        {
            home.told(arguments, NEW).fails(4).says(&["keys.enc", word, "try: "]);
            assert_eq!(content(&home), before, "{word}: {arguments:?}");
        }
    }
    home.write("data/keys.enc", &good);
    assert_eq!(home.run(&["keys", "show", "--reveal", "--yes"]).succeeds().stdout, format!("{OLD}\n"));
}

#[test]
fn a_list_of_keys_that_cannot_be_read_is_told_and_kept() {
    let service = Service::never_called();
    let home = home_with_a_key();
    let good = std::fs::read_to_string(home.file("state/keys.json")).unwrap();
    let cases = [
        (String::new(), "damaged"),
        ("{".into(), "damaged"),
        (good.replacen("\"version\": 1", "\"version\": 2", 1), "version 2"),
        (good.replacen("\"profile\"", "\"profil\"", 1), "damaged"),
    ];
    for (text, word) in cases {
        assert_ne!(text, good);
        home.write("state/keys.json", &text);
        let before = content(&home);
        let bare = ["--url", &service.url(), "tools"];
        let others: [&[&str]; 4] = [&TOOLS, &bare, &["keys", "list"], &["keys", "show"]];
        for arguments in others.iter().chain(&CHANGES) {
            home.told(arguments, NEW).fails(4).says(&["keys.json", word, "try: "]);
            assert_eq!(content(&home), before, "{word}: {arguments:?}");
        }
    }
    // The hint is to move it away and add the keys again.
    std::fs::remove_file(home.file("state/keys.json")).unwrap();
    home.told(&ADD, NEW).succeeds();
    assert_eq!(home.run(&["keys", "show", "--reveal", "--yes"]).succeeds().stdout, format!("{NEW}\n"));
}

#[test]
fn a_lost_list_does_not_lose_the_key_in_use() {
    let home = home_with_a_key();
    std::fs::remove_file(home.file("state/keys.json")).unwrap();
    home.run(&TOOLS).fails(6).says(&["cannot be reached"]);
    // But for another origin there is none.
    home.run(&["-p", "asistry", "--url", "http://127.0.0.1:8/mcp", "tools"]).fails(4).says(&["no key"]);
}

#[test]
#[cfg(target_os = "linux")]
fn where_nothing_can_be_written_that_is_told_and_nothing_is_lost() {
    let home = home_with_a_key();
    let before = content(&home);
    // Not even root may write there.
    for variable in ["ASISTRY_STATE_DIR", "ASISTRY_DATA_DIR"] {
        let mut command = home.command([&ADD[..], &["--name", "spare"]].concat());
        Ran::of(command.env(variable, "/sys/kernel").write_stdin(NEW)).fails(4).says(&[
            "/sys/kernel",
            variable,
            "try: ",
        ]);
    }
    let list = home.json(&["keys", "list", "--json"]);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(content(&home)[1], before[1]);
    home.told(&[&ADD[..], &["--name", "spare"]].concat(), NEW).succeeds();
    let mut command = home.command(["keys", "show", "--name", "spare", "--reveal", "--yes"]);
    assert_eq!(Ran::of(&mut command).succeeds().stdout, format!("{NEW}\n"));
    // A key that is there can still be used where nothing can be noted.
    let reads = Home::new();
    reads.told(&ADD, OLD).succeeds();
    let mut permissions = std::fs::metadata(reads.file("state")).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(reads.file("state"), permissions).unwrap();
    reads.run(&TOOLS).fails(6).says(&["cannot be reached"]);
}

#[test]
fn a_store_that_does_not_exist_is_a_mistake_of_the_configuration() {
    let home = Home::new();
    for arguments in [&ADD[..], &TOOLS, &["keys", "list"]] {
        let mut command = home.command(arguments);
        let ran = Ran::of(command.env("ASISTRY_KEY_STORE", "vault").write_stdin(NEW)).fails(3);
        ran.says(&["ASISTRY_KEY_STORE", "vault", "keyring, file or env"]);
        home.write("config/config.toml", "key_store = 'vault'\n");
        let mut command = home.command(arguments);
        let ran = Ran::of(command.env_remove("ASISTRY_KEY_STORE").write_stdin(NEW)).fails(3);
        ran.says(&["config.toml", "expected one of"]);
        home.write("config/config.toml", "");
    }
    home.told(&[&ADD[..], &["--store", "vault"]].concat(), NEW).fails(2);
}

#[test]
fn a_key_in_another_store_than_the_chosen_one_is_not_used_in_silence() {
    let home = home_with_a_key();
    let tools = |store: &str| {
        let mut command = home.command(TOOLS);
        Ran::of(command.env("ASISTRY_KEY_STORE", store).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere"))
    };
    tools("keyring").fails(4).says(&[
        "is stored in the encrypted file",
        "set to keyring",
        "ASISTRY_KEY_STORE=file",
    ]);
    tools("env").fails(4).says(&["ASISTRY_API_KEY"]);
    tools("file").fails(6).says(&["cannot be reached"]);
    // Where nobody chose, it is taken from where it lies.
    let mut command = home.command(TOOLS);
    Ran::of(command.env_remove("ASISTRY_KEY_STORE")).fails(6).says(&["cannot be reached"]);
}

#[test]
fn with_the_environment_as_the_store_nothing_is_stored_but_where_that_is_asked_for() {
    let home = Home::new();
    let add = |more: &[&str]| {
        let mut command = home.command([&ADD[..], more].concat());
        Ran::of(command.env("ASISTRY_KEY_STORE", "env").write_stdin(NEW))
    };
    add(&[]).fails(4).says(&["stores nothing", "--store file"]);
    assert!(home.files().is_empty(), "{:?}", home.files());
    // The hint is followed, and what is still missing is said.
    add(&["--store", "file"]).succeeds().says(&["set to env", "ASISTRY_KEY_STORE=file"]);
    home.run(&TOOLS).fails(6).says(&["cannot be reached"]);
}

#[test]
fn no_other_store_takes_the_place_of_a_keyring_that_is_not_there() {
    let home = Home::new();
    let mut command = home.command(ADD);
    command.env_remove("ASISTRY_KEY_STORE").env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    if cfg!(target_os = "linux") {
        Ran::of(command.write_stdin(NEW)).fails(4).says(&["keyring", "--store file", "ASISTRY_API_KEY"]);
        assert!(home.files().is_empty(), "{:?}", home.files());
        let mut command = home.command([&ADD[..], &["--store", "file"]].concat());
        Ran::of(command.env_remove("ASISTRY_KEY_STORE").write_stdin(NEW)).succeeds();
        let mut command = home.command(TOOLS);
        Ran::of(command.env_remove("ASISTRY_KEY_STORE")).fails(6).says(&["cannot be reached"]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_remedy_for_a_keyring_that_does_not_open_repeats_the_options() {
    let home = Home::new();
    let options = ["--name", "k2", "--no-verify", "--stdin", "--force"];
    let mut command = home.command([&["keys", "add", "-p", "asistry"][..], &options].concat());
    command.env_remove("ASISTRY_KEY_STORE").env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    let remedy = "asistry keys add -p asistry --name k2 --stdin --force --no-verify --store file\n";
    Ran::of(command.write_stdin(NEW)).fails(4).says(&[remedy]);
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_home_directory_a_key_can_be_given_and_the_rest_is_told() {
    use std::os::unix::process::CommandExt;
    let service = Service::start(|_| None);
    let url = service.url();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(arguments).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            // A user whom no list of users knows has no home at all.
            command.uid(54_321);
        } else {
            command.env("HOME", "/nonexistent/home");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let tools = ["-p", "asistry", "--url", &url, "tools"];
    assert_eq!(run(&tools, &[("ASISTRY_API_KEY", NEW)]).0, Some(0));
    if rustix::process::geteuid().is_root() {
        for arguments in [&tools[..], &["keys", "list"], &["keys", "add", "--from-env", "NEW_KEY"]] {
            let (code, said) = run(arguments, &[("ASISTRY_KEY_STORE", "file"), ("NEW_KEY", NEW)]);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains("needs a home directory") && said.contains("ASISTRY_"), "{said}");
        }
    }
}

#[test]
#[cfg(unix)]
fn what_is_stored_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = home_with_a_key();
    let mode = |name: &str| std::fs::metadata(home.file(name)).unwrap().permissions().mode() & 0o777;
    for (name, wanted) in
        [("state", 0o700), ("data", 0o700), ("state/keys.json", 0o600), ("data/keys.enc", 0o600)]
    {
        assert_eq!(mode(name), wanted, "{name}");
    }
}

#[test]
fn a_passphrase_file_that_others_can_read_is_refused_and_a_byte_order_mark_is_none_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let file = home.write("given/it's", format!("\u{feff}{PASSPHRASE}\r\n"));
    let shared = |mode: u32| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let run = |arguments: &[&str], stdin: &str| {
        let mut command = home.command(arguments);
        command.env_remove("ASISTRY_KEY_PASSPHRASE").env("ASISTRY_KEY_PASSPHRASE_FILE", &file);
        Ran::of(command.write_stdin(stdin))
    };
    let add = ["keys", "add", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"];
    shared(0o644);
    let refused = run(&add, OLD).fails(4);
    let remedy =
        refused.stderr.lines().find_map(|line| Some(&line[line.find("chmod")?..])).expect("a remedy");
    assert!(std::process::Command::new("sh").args(["-c", remedy]).status().unwrap().success(), "{remedy}");
    run(&add, OLD).succeeds();
    // The file was sealed with the passphrase alone.
    let shown = home.run(&["keys", "show", "-p", "asistry", "--reveal", "--yes"]).succeeds();
    assert_eq!(shown.stdout.trim_end(), OLD);
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_reported() {
    let home = Home::new();
    home.told(&["keys", "add", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin"], OLD).succeeds();
    let file = home.write("a-file", "");
    let mut command = home.command(["keys", "show", "-p", "asistry", "--reveal", "--yes"]);
    let ran = Ran::of(command.env("ASISTRY_DATA_DIR", &file)).fails(4);
    assert!(
        !ran.stderr.contains("does not exist") && ran.stderr.contains("cannot check for"),
        "{}",
        ran.stderr
    );
}

#[test]
fn when_one_key_is_left_it_is_the_current_one() {
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--url", NOWHERE, "--no-verify", "--stdin", "--name"];
    for name in ["one", "two"] {
        home.told(&[&add[..], &[name]].concat(), OLD).succeeds();
    }
    home.run(&["keys", "remove", "-p", "asistry", "--name", "one", "--yes"]).succeeds().says(&["is now two"]);
    assert_eq!(home.json(&["keys", "list", "--json"])[0]["current"], true);
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_holds_a_key_leaves_no_core() {
    let service = Accepted::only(&[OLD]).service();
    let home = Home::new();
    home.told(&["keys", "add", "-p", "asistry", "--url", &service.url(), "--stdin"], OLD).succeeds();
    let mut bridge = home.start(&["-p", "asistry", "--url", &service.url(), "bridge"]).spawn();
    bridge.open("2025-06-18");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", bridge.pid)).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}
