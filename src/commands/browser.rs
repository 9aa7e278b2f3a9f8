//! How a login reaches a person: the URL on stderr, a browser window, a line that is pasted.
//!
//! Refuses a shell, and hands no secret of the environment to the browser. With `--no-input` or `CI`, opens a window only if
//! `BROWSER` or `--login auto` asks for it.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::ask::Asker;
use super::client;
use super::environment::variable;
use crate::auth::oauth::{Boxed, Person};
use crate::error::{Error, Kind, Result};
use crate::profile::{LoginMode, Options};
use crate::ui;

/// How long an opener may take to say that it could not open anything.
const OPENER: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);
/// Variables that a browser must not see.
const SECRETS: [&str; 4] = [
    "ASISTRY_API_KEY",
    "ASISTRY_KEY_PASSPHRASE",
    "ASISTRY_KEY_PASSPHRASE_FILE",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
];

/// How a person is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A browser window, where one may be opened.
    Window,
    /// The URL is shown, and the one that the browser ends at is pasted.
    Paste,
}

/// Returns how logins reach the person in front of this process.
pub fn person(options: &Options, asker: Asker, reach: Reach, mut hidden: Vec<String>) -> Person {
    let may_open = reach == Reach::Window && (asker.is_forbidden().is_none() || is_wished(options));
    hidden.extend(SECRETS.iter().map(|name| (*name).to_owned()).chain(client::secret_variables(options)));
    let hidden = Arc::new(hidden);
    let pasted = (reach == Reach::Paste)
        .then(|| Arc::new(paste) as Arc<dyn Fn() -> Boxed<Result<String>> + Send + Sync>);
    Person {
        open: Arc::new(move |url| {
            let hidden = hidden.clone();
            Box::pin(async move { show(&url, may_open, &hidden).await })
        }),
        pasted,
        say: Arc::new(ui::warn),
    }
}

/// Returns the variables that a header reads.
pub fn variables_in(value: &str) -> Vec<String> {
    let named = value.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    named.map(|(name, _)| name.to_owned()).collect()
}

/// Returns whether a login may begin.
pub fn may_log_in(options: &Options, asker: Asker, reach: Reach) -> bool {
    let needs_no_window = reach == Reach::Paste || client::is_machine(options);
    asker.is_forbidden().is_none() || needs_no_window || is_wished(options)
}

/// Returns whether `BROWSER` or `--login auto` asks for a window despite `--no-input`.
fn is_wished(options: &Options) -> bool {
    variable("BROWSER").is_some() || options.login == Some(LoginMode::Auto)
}

/// Shows a URL, and opens it if it may.
async fn show(url: &Url, may_open: bool, hidden: &[String]) -> bool {
    ui::warn(&format!("to log in, open {url}"));
    if !may_open {
        return false;
    }
    for mut command in openers(url) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for name in hidden {
            command.env_remove(name);
        }
        if let Ok(child) = command.spawn()
            && has_opened(child).await
        {
            return true;
        }
    }
    ui::warn("no browser was opened; the login waits five minutes for it");
    false
}

/// Returns what may open a browser: the commands in `BROWSER`, else those of the system.
fn openers(url: &Url) -> Vec<Command> {
    let Some(browsers) = variable("BROWSER") else { return open::commands(url.as_str()) };
    if std::path::Path::new(&browsers).is_file() {
        let mut command = Command::new(&browsers);
        command.arg(url.as_str());
        return vec![command];
    }
    let listed = std::env::split_paths(&browsers).filter_map(|browser| {
        let words: Vec<String> = browser.to_str()?.split_whitespace().map(str::to_owned).collect();
        let (program, rest) = words.split_first()?;
        let mut command = Command::new(program);
        command.args(rest.iter().map(|word| word.replace("%s", url.as_str())));
        if !rest.iter().any(|word| word.contains("%s")) {
            command.arg(url.as_str());
        }
        Some(command)
    });
    listed.collect()
}

/// Says whether an opener works: it has succeeded, or is the browser itself.
async fn has_opened(mut child: Child) -> bool {
    let until = tokio::time::Instant::now() + OPENER;
    while tokio::time::Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => tokio::time::sleep(STEP).await,
            Err(_) => return false,
        }
    }
    // Reaps the child.
    std::thread::spawn(move || drop(child.wait()));
    true
}

/// Reads one line of stdin.
fn paste() -> Boxed<Result<String>> {
    Box::pin(async {
        ui::ask("Paste the URL that the browser shows at the end, or the code in it:");
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line))
        });
        match read.await {
            Ok(Ok(Some(line))) => Ok(line),
            _ => Err(Error::new(Kind::AuthRequired, "nothing was pasted").hint("begin the login again")),
        }
    })
}
