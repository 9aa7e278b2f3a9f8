//! Somebody at the terminal: what is asked, what is shown, and what is left behind.

use std::process::Command;

use super::{NEW, NOWHERE, OLD};
use crate::support::home::{Home, PASSPHRASE};
use crate::support::terminal::Terminal;

const ADD: [&str; 6] = ["keys", "add", "-p", "asistry", "--url", NOWHERE];
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

/// The binary in this home, where the passphrase may be asked for too.
fn asistry(home: &Home, arguments: &[&str], with_passphrase: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    let kept = home
        .environment()
        .into_iter()
        .filter(|(name, _)| with_passphrase || *name != "ASISTRY_KEY_PASSPHRASE");
    command.args(arguments).env_clear().envs(kept);
    command
}

fn terminal(home: &Home, arguments: &[&str]) -> Terminal {
    Terminal::start(asistry(home, arguments, true))
}

fn no_verify() -> Vec<&'static str> {
    [&ADD[..], &["--no-verify"]].concat()
}

fn stored(home: &Home) -> String {
    home.run(&["keys", "show", "-p", "asistry", "--reveal", "--yes"]).succeeds().stdout.trim_end().to_owned()
}

fn home_with(key: &str) -> Home {
    let home = Home::new();
    home.told(&[&no_verify()[..], &["--stdin"]].concat(), key).succeeds();
    home
}

#[test]
fn a_key_is_asked_for_and_not_shown() {
    let home = Home::new();
    let mut terminal = terminal(&home, &no_verify());
    terminal.awaits("Key for Asistry (from Settings → API Keys in Asistry): ");
    assert!(!terminal.is_as_usual());
    terminal.types(&format!("{NEW}\r"));
    terminal.awaits("stored asistry/default (ask_…07Kd)");
    let screen = terminal.ends(0);
    assert!(!screen.contains(NEW) && !screen.contains("Vq8s"), "{screen}");
    assert_eq!(stored(&home), NEW);
}

#[test]
fn a_line_that_is_typed_can_be_mended_and_may_be_long() {
    let home = Home::new();
    let mut command = asistry(&home, &["keys", "add", "-p", "zuko", "--url", NOWHERE, "--no-verify"], true);
    command.env("ASISTRY_PROFILE", "zuko");
    let mut terminal = Terminal::start(command);
    terminal.awaits("Key for Zuko: ");
    let token = format!("eyJ{}", "a".repeat(6000));
    terminal.types(&format!("wrong\u{15}{token}ü\u{7f}x\u{8}\r"));
    terminal.awaits("stored zuko/default");
    let screen = terminal.ends(0);
    assert!(!screen.contains("aaaaa") && !screen.contains("wrong"), "{screen}");
    let shown = home.run(&["keys", "show", "-p", "zuko", "--reveal", "--yes"]).succeeds();
    assert_eq!(shown.stdout.trim_end(), token);
}

#[test]
fn ctrl_c_at_the_hidden_prompt_leaves_the_terminal_as_it_was() {
    let home = Home::new();
    for (typed, said) in [(CTRL_C, "interrupted"), (CTRL_D, "not answered")] {
        let mut terminal = terminal(&home, &no_verify());
        terminal.awaits("Key for Asistry");
        terminal.types(&if typed == CTRL_C { format!("ask_half{typed}") } else { typed.to_owned() });
        terminal.awaits(said);
        let screen = terminal.ends(130);
        assert!(!screen.contains("ask_half"), "{screen}");
        assert!(home.files().is_empty(), "{:?}", home.files());
    }
}

#[test]
fn an_empty_line_and_a_wrong_key_are_refused() {
    let home = Home::new();
    for (typed, said) in
        [("\r", "is empty"), ("mcp_live_…ab12\r", "preview"), ("bsk_1234567890\r", "Bob Studio")]
    {
        let mut terminal = terminal(&home, &no_verify());
        terminal.awaits("Key for Asistry");
        terminal.types(typed);
        terminal.awaits(said);
        let screen = terminal.ends(2);
        assert!(!screen.contains(typed.trim()) || typed == "\r", "{screen}");
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn where_nobody_wants_to_be_asked_the_options_are_named() {
    let home = Home::new();
    let quiet = [&ADD[..], &["--no-input"]].concat();
    let never = ["--stdin", "--from-env", "--from-file"];
    let screen = terminal(&home, &quiet).ends(2);
    assert!(screen.contains("--no-input is given, so asistry does not ask: Key for"), "{screen}");
    assert!(never.iter().all(|option| screen.contains(option)), "{screen}");
    for (ci, code) in [("true", 2), ("1", 2)] {
        let mut command = asistry(&home, &ADD, true);
        command.env("CI", ci);
        let screen = Terminal::start(command).ends(code);
        assert!(screen.contains("CI is set, so asistry does not ask: Key for"), "{screen}");
        assert!(never.iter().all(|option| screen.contains(option)), "{screen}");
    }
    let mut command = asistry(&home, &ADD, true);
    command.env("CI", "false");
    let mut asked = Terminal::start(command);
    asked.awaits("Key for Asistry");
    asked.types(CTRL_C);
    asked.ends(130);
    // Nor is the passphrase asked for.
    let mut command = asistry(&home, &[&no_verify()[..], &["--no-input"]].concat(), false);
    command.env("NEW_KEY", NEW).args(["--from-env", "NEW_KEY"]);
    let screen = Terminal::start(command).ends(4);
    assert!(screen.contains("ASISTRY_KEY_PASSPHRASE"), "{screen}");
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn stdin_that_is_a_terminal_would_show_the_key_and_is_refused() {
    let home = Home::new();
    let screen = terminal(&home, &[&ADD[..], &["--stdin"]].concat()).ends(2);
    assert!(screen.contains("leave --stdin out"), "{screen}");
}

#[test]
fn a_key_that_exists_is_refused_before_anything_is_asked() {
    let home = home_with(OLD);
    let refused = terminal(&home, &no_verify());
    let screen = refused.ends(2);
    assert!(screen.contains("there is a key asistry/default already"), "{screen}");
    assert!(screen.contains("keys rotate -p asistry") && screen.contains("--replace"), "{screen}");
    assert!(!screen.contains("Key for Asistry"), "{screen}");
    assert_eq!(stored(&home), OLD);
    let mut replacing = terminal(&home, &[&no_verify()[..], &["--replace"]].concat());
    replacing.awaits("Key for Asistry");
    replacing.types(&format!("{NEW}\r"));
    replacing.awaits("stored");
    replacing.ends(0);
    assert_eq!(stored(&home), NEW);
}

#[test]
fn a_key_that_is_typed_ahead_is_not_shown() {
    let home = Home::new();
    let mut terminal = Terminal::start(asistry(&home, &no_verify(), false));
    terminal.awaits("New passphrase");
    // The first prompt hides; between the prompts and while the store is opened nothing is shown either.
    terminal.types(&format!("{PASSPHRASE}\r{PASSPHRASE}\r{NEW}\r"));
    terminal.awaits("stored asistry/default");
    let screen = terminal.ends(0);
    assert!(!screen.contains(NEW) && !screen.contains(PASSPHRASE), "{screen}");
    assert_eq!(stored(&home), NEW);
}

#[test]
fn ctrl_c_behind_the_hidden_prompt_leaves_the_terminal_as_it_was() {
    let home = home_with(OLD);
    // Another process changes keys, so that the command waits.
    let lock =
        std::fs::File::options().write(true).create(true).truncate(false).open(home.file("state/keys.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let mut waiting = terminal(&home, &[&no_verify()[..], &["--name", "other"]].concat());
    waiting.awaits("Key for Asistry");
    waiting.types(&format!("{NEW}\r"));
    let until = std::time::Instant::now() + crate::support::DEADLINE;
    while !waiting.is_interruptible() && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    waiting.types(CTRL_C);
    waiting.awaits("interrupted");
    waiting.ends(130);
}

#[test]
fn to_remove_a_key_and_to_widen_where_it_goes_is_asked_first() {
    let home = home_with(OLD);
    let bind: &[&str] = &["keys", "bind", "https://elsewhere.example", "-p", "asistry"];
    let remove: &[&str] = &["keys", "remove", "-p", "asistry"];
    for (arguments, question, done) in [
        (
            bind,
            "The operator of https://elsewhere.example will be able to use it. Allow it? [y/N] ",
            "may go to",
        ),
        (remove, "Remove the key asistry/default (ask_…07Kd)? It cannot be brought back. [y/N] ", "removed"),
    ] {
        let before = home.json(&["keys", "list", "--json"]);
        let mut refused = terminal(&home, arguments);
        refused.awaits(question);
        refused.types("\r");
        refused.awaits("not confirmed; nothing was changed");
        refused.ends(1);
        assert_eq!(home.json(&["keys", "list", "--json"]), before);
        let mut allowed = terminal(&home, arguments);
        allowed.awaits(question);
        allowed.types("yes\r");
        allowed.awaits(done);
        allowed.ends(0);
        assert_ne!(home.json(&["keys", "list", "--json"]), before);
    }
}

#[test]
fn the_passphrase_is_asked_twice_for_a_new_file_and_once_later() {
    let home = Home::new();
    let differs = |home: &Home| {
        let mut terminal = Terminal::start(asistry(home, &no_verify(), false));
        terminal.awaits("New passphrase");
        terminal.types(&format!("{PASSPHRASE}\r"));
        terminal.awaits("once more");
        terminal
    };
    let mut other = differs(&home);
    other.types("another one\r");
    other.awaits("differ");
    other.ends(2);
    assert!(home.files().is_empty(), "{:?}", home.files());
    let mut first = differs(&home);
    first.types(&format!("{PASSPHRASE}\r"));
    first.awaits("Key for Asistry");
    first.types(&format!("{NEW}\r"));
    first.awaits("stored");
    let screen = first.ends(0);
    assert!(!screen.contains(PASSPHRASE), "{screen}");
    assert_eq!(stored(&home), NEW, "the variable opens what was typed");
    let show = ["keys", "show", "-p", "asistry", "--reveal"];
    let mut later = Terminal::start(asistry(&home, &show, false));
    later.awaits("Passphrase of the encrypted file of keys: ");
    later.types(&format!("{PASSPHRASE}\r"));
    // On a terminal no --yes is needed.
    later.awaits(NEW);
    let screen = later.ends(0);
    assert_eq!(screen.matches("assphrase").count(), 1, "{screen}");
    let mut wrong = Terminal::start(asistry(&home, &show, false));
    wrong.awaits("Passphrase");
    wrong.types("wrong\r");
    wrong.awaits("does not open");
    let screen = wrong.ends(4);
    assert!(!screen.contains("wrong\r") && !screen.contains(NEW), "{screen}");
}

#[test]
fn an_empty_passphrase_is_refused() {
    let home = Home::new();
    let mut terminal = Terminal::start(asistry(&home, &no_verify(), false));
    terminal.awaits("New passphrase");
    terminal.types("\r");
    terminal.awaits("once more");
    terminal.types("\r");
    terminal.awaits("is empty");
    terminal.ends(4);
    assert!(home.files().is_empty(), "{:?}", home.files());
}
