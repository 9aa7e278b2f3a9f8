//! Where a new key comes from: a hidden prompt, stdin, a variable, a file.
//!
//! Refuses what is no text or longer than any key, and never repeats what it was given.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::Desk;
use crate::auth::form;
use crate::commands::environment::variable;
use crate::commands::remedy::shell_quoted;
use crate::error::{Error, Kind, Result};
use crate::profile::Profile;
use crate::secret::Secret;

/// The key itself, and some white space around it.
const MOST: u64 = form::LONGEST as u64 + 1024;

const OTHERWISE: &str = "use --stdin, --from-env VAR or --from-file FILE";

/// Where the new key comes from.
#[derive(Debug, Args)]
pub struct Source {
    /// Read the key from standard input
    #[arg(long, group = "source")]
    stdin: bool,
    /// Read the key from an environment variable
    #[arg(long, value_name = "VAR", group = "source")]
    from_env: Option<String>,
    /// Read the key from a file
    #[arg(long, value_name = "FILE", group = "source")]
    from_file: Option<PathBuf>,
    /// Accept a key of the wrong form
    #[arg(long)]
    pub force: bool,
    /// A key where none may be, taken so that no error repeats it.
    #[arg(hide = true)]
    typed: Vec<OsString>,
}

/// A key of the right form, or one that is wanted all the same.
pub struct Given {
    /// The key.
    pub secret: Secret,
    /// Its form is wrong.
    pub forced: bool,
}

impl Source {
    /// Refuses a key among the arguments.
    ///
    /// # Errors
    /// [`Kind::Usage`] without the key.
    pub fn not_typed(&self) -> Result<()> {
        if self.typed.is_empty() {
            return Ok(());
        }
        let why = "Don't pass the key as an argument: other processes can read it; nothing was stored";
        Err(Error::new(Kind::Usage, why).hint(format!(
            "leave it out, then it is asked for, or {OTHERWISE}; what was typed is in your shell's history: make a new key"
        )))
    }

    /// Returns these options as a command repeats them. What `--from-env` names is repeated only if it is set: it may
    /// be a key that was typed there.
    pub fn repeated(&self) -> String {
        let name = self.from_env.as_deref().filter(|name| variable(name).is_some());
        let file = self.from_file.as_deref().map(std::path::Path::to_string_lossy);
        [
            self.stdin.then(|| " --stdin".to_owned()),
            name.map(|name| format!(" --from-env {}", shell_quoted(name))),
            file.map(|file| format!(" --from-file {}", shell_quoted(&file))),
            self.force.then(|| " --force".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Hides what is typed from now on, where the key is asked for on the terminal; until the value is dropped.
    pub fn quiet(&self, desk: &Desk<'_>) -> Option<impl Sized + use<>> {
        let asks = self.from_env.is_none() && self.from_file.is_none() && !self.stdin;
        asks.then(|| desk.asker.quiet()).flatten()
    }

    /// Reads the key, and checks its form.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what cannot be read, and for what cannot be a key of the service.
    pub fn read(&self, desk: &Desk<'_>, profile: &Profile) -> Result<Given> {
        let (text, place) = self.text(desk, profile)?;
        let secret = form::trimmed(&text);
        let Err(unfit) = form::checked_new(&profile.service, &secret) else {
            return Ok(Given { secret, forced: false });
        };
        if unfit.can_be_forced && self.force {
            return Ok(Given { secret, forced: true });
        }
        let error = unfit.into_error(&place, profile);
        let mut hint = error.advice().unwrap_or_default().to_owned();
        if unfit.can_be_forced {
            hint.push_str("; --force stores it all the same");
        }
        Err(Error::new(Kind::Usage, format!("{}; nothing was stored", error.message())).hint(hint))
    }

    fn text(&self, desk: &Desk<'_>, profile: &Profile) -> Result<(Secret, String)> {
        if let Some(name) = &self.from_env {
            let text = variable(name).ok_or_else(|| {
                // Its name is not repeated: --from-env "$KEY" is typed easily.
                let why = "the variable that --from-env names is not set, empty, or no text";
                Error::new(Kind::Usage, why)
                    .hint("write its name without $, after export NAME=…; or use --stdin")
            })?;
            return Ok((Secret::new(text), "in the variable".into()));
        }
        if let Some(path) = &self.from_file {
            let place = "in the file".to_owned();
            let file = File::open(path).map_err(|e| not_opened(desk, path, &e))?;
            return Ok((read(file, &place)?, place));
        }
        if self.stdin {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                return Err(Error::new(Kind::Usage, "--stdin on a terminal would show the key")
                    .hint("leave --stdin out: then it is asked for without echo"));
            }
            return Ok((read(stdin.lock(), "on standard input")?, "on standard input".into()));
        }
        let page = &profile.service.auth.key_page;
        let whence = if page.is_empty() { String::new() } else { format!(" (from {page})") };
        let question = format!("Key for {}{whence}:", profile.service.title);
        let what = format!("the key for {}", profile.service.title);
        Ok((desk.asker.hidden(&what, &question, OTHERWISE)?, "that was typed".into()))
    }
}

fn read(source: impl Read, place: &str) -> Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST as usize + 1));
    source.take(MOST + 1).read_to_end(&mut bytes).map_err(|e| unreadable(place, &e.to_string()))?;
    if bytes.len() as u64 > MOST {
        return Err(unreadable(place, "it is longer than any key"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(unreadable(place, "it is binary, not text")),
    }
}

fn not_opened(desk: &Desk<'_>, path: &Path, fault: &std::io::Error) -> Error {
    let text = path.to_string_lossy();
    // A key may have been typed where its file belongs.
    let is_short = |extension: &std::ffi::OsStr| extension.len() <= 5;
    let is_file = path.components().count() > 1 || path.extension().is_some_and(is_short);
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    let is_a_key = parts.any(|part| desk.is_a_key(&part));
    let place = if is_file && !is_a_key { &text } else { "that --from-file names" };
    let why = match fault.kind() {
        ErrorKind::NotFound => format!("the file {place} does not exist"),
        _ => format!("the file {place} cannot be read: {fault}"),
    };
    Error::new(Kind::Usage, format!("{why}; nothing was stored")).hint("check the path")
}

fn unreadable(place: &str, why: &str) -> Error {
    Error::new(Kind::Usage, format!("the key {place} cannot be read: {why}; nothing was stored"))
        .hint("give the key alone, as text on one line")
}
