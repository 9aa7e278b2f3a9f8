//! A home directory for the real binary, with the encrypted file as its key store.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

use super::DEADLINE;
use super::bridge::{Start, asistry};

/// The passphrase of the encrypted file.
pub const PASSPHRASE: &str = "correct horse battery";

/// A home directory, and what is set in the environment beside it.
pub struct Home {
    directory: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("config")).unwrap();
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The variables that make it a home.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.file(name).to_str().unwrap().to_owned();
        vec![
            ("HOME", below("")),
            ("ASISTRY_CONFIG_DIR", below("config")),
            ("ASISTRY_STATE_DIR", below("state")),
            ("ASISTRY_DATA_DIR", below("data")),
            ("ASISTRY_KEY_STORE", "file".into()),
            ("ASISTRY_KEY_PASSPHRASE", PASSPHRASE.into()),
        ]
    }

    /// The binary, in this home and with nothing else in its environment.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(arguments).env_clear().envs(self.environment()).timeout(DEADLINE);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs a command that reads this.
    pub fn told(&self, arguments: &[&str], stdin: impl Into<Vec<u8>>) -> Ran {
        Ran::of(self.command(arguments).write_stdin(stdin))
    }

    /// The JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(arguments).succeeds().json()
    }

    /// `asistry bridge`, or anything else that runs for longer, in this home.
    pub fn start(&self, arguments: &[&str]) -> Start {
        let start = asistry(arguments.iter().map(|argument| (*argument).to_owned()));
        self.environment().iter().fold(start, |start, (name, value)| start.env(name, value))
    }

    /// Every file below it.
    pub fn files(&self) -> Vec<PathBuf> {
        files_below(self.path())
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(files_below(&entry));
        } else {
            files.push(entry);
        }
    }
    files
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}", output.status)),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.fails(0)
    }

    /// It must end with this code.
    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// It must say these things on stderr.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "nothing of “{word}” in: {}", self.stderr);
        }
        self
    }

    /// The commands that its hint names, ready to be run.
    pub fn commands(&self) -> Vec<Vec<String>> {
        let words = |rest: &str| {
            let line = rest.lines().next().unwrap_or_default();
            let end = line.find([';', ',', '(', ')', '…']).unwrap_or(line.len());
            let words = line[..end].split_whitespace().map(str::to_owned);
            std::iter::once("keys".to_owned()).chain(words).collect()
        };
        self.stderr.split("asistry keys ").skip(1).map(words).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// The error that it tells as JSON.
    pub fn error(&self) -> Value {
        let told: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|e| panic!("{e}: {}", self.stderr));
        told["error"].clone()
    }
}
