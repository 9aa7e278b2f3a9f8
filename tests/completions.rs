//! What shells get from us: the shipped scripts, and the answers on TAB. Real shells complete in
//! `tests/peers/completions.py`.

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;

use crate::commands::{asistry, home};

fn prints(home: &TempDir, arguments: &[&str]) -> String {
    let assert = asistry(home).args(arguments).assert().success().stderr("");
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

#[test]
fn the_scripts_in_completions_are_those_that_the_binary_prints() {
    let home = home();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let shipped: BTreeSet<_> = std::fs::read_dir(&folder)
        .expect("completions/")
        .map(|entry| entry.expect("a file").path())
        .collect();
    let mut printed = BTreeSet::new();
    for (shell, file) in [
        ("bash", "asistry.bash"),
        ("zsh", "_asistry"),
        ("fish", "asistry.fish"),
        ("powershell", "asistry.ps1"),
        ("elvish", "asistry.elv"),
    ] {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).expect("a script");
        let again = format!("cargo run -q -- completions {shell} >completions/{file}");
        assert_eq!(prints(&home, &["completions", shell]), text, "they differ; written again by: {again}");
        assert!(text.contains(&format!("asistry completions {shell}")), "{file}");
        printed.insert(path);
    }
    assert_eq!(printed, shipped);
}

#[test]
fn a_shell_hears_candidates_and_never_a_word_more() {
    let home = home();
    let status = ["__complete", "fish", "5", "asistry", "-p", "sandbox", "call", "list_tasks", "status=re"];
    assert!(prints(&home, &status).lines().any(|line| line == "status=review\t"));
    let config = home.path().join(".config/asistry");
    std::fs::create_dir_all(&config).expect("a directory");
    std::fs::write(config.join("config.toml"), "this is not TOML").expect("a file");
    let profile = ["__complete", "fish", "2", "asistry", "-p", "as"];
    assert!(prints(&home, &profile).contains("asistry\tAsistry\n"));
    for words in [
        ["__complete", "fish", "3", "asistry", "call", "x"].as_slice(),
        &["__complete", "fish", "4", "asistry", "--url", "nonsense", "call"],
        &["__complete", "fish", "4", "asistry", "-p", "nonsense", "call"],
    ] {
        assert_eq!(prints(&home, words), "words \n", "{words:?}");
    }
    for words in [["__complete"].as_slice(), &["__complete", "csh"], &["__complete", "zsh", "9", "a"]] {
        assert_eq!(prints(&home, words), "", "{words:?}");
    }
    let variables =
        [("ASISTRY_TIMEOUT", "nonsense"), ("ASISTRY_KEY_STORE", "nonsense"), ("ASISTRY_API_KEY", "x")];
    asistry(&home).envs(variables).args(profile).assert().success().stderr("");
}
