//! `asistry bridge`: a stdio MCP server in front of the profile's service.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use tokio::sync::oneshot;

use super::arguments::{self, Common};
use super::environment::Environment;
use super::profile_in_use::ProfileInUse;
use super::remedy::Target;
use crate::error::{Error, Kind};
use crate::local::stdio::Stdio;
use crate::profile::{self, Config, LoginMode, Options, Takers};
use crate::protocol::driver::Prompt;
use crate::protocol::secrets::NewKeys;
use crate::protocol::settings::{Settings, SignIn};
use crate::relay::{DRAIN, Ending, Relay};

/// Time limit for a warning at the end.
const LAST_WORDS: Duration = Duration::from_millis(100);
const CALL_SILENCE: Duration = Duration::from_secs(600);

/// Options of `asistry bridge`: those of the table of options that it takes.
#[derive(Debug)]
pub struct Arguments {
    options: Options,
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { options: arguments::options(matches, Takers::Bridge)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Arguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        arguments::with_options(command, Takers::Bridge)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Runs until the client goes.
///
/// # Errors
/// Errors of the command line, the configuration or the key.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    if std::io::stdin().is_terminal() {
        return Err(on_a_terminal(common).into());
    }
    let prepared = ProfileInUse::prepare(common, arguments.options, environment).await?;
    let settings = settings(&prepared)?;
    let endpoint = settings.endpoint.clone();
    if let Some(login) = prepared.remote.login() {
        login.outlives_requests();
    }
    let (stop, stop_at_once) = stop_signals()?;
    let (remote, advise) = (prepared.remote.clone(), prepared.advise());
    let warm_up = tokio::spawn(async move {
        let failed = remote.warm_up().await.err()?;
        // Each request will say so too; this is for the reader of the client's log.
        crate::ui::error(&failed.clone().with_hint_text(&advise));
        Some(failed.kind())
    });
    let ending = Ending { drain: prepared.options.drain.unwrap_or(DRAIN) };
    let relay = Relay::new(Stdio::take(), prepared.remote.clone(), settings, ending);
    let relay = relay.remembering(prepared.state.clone(), endpoint).traced(prepared.trace.clone());
    // In a task: what wakes the future of `block_on` costs a look at epoll each time.
    let running = tokio::spawn(relay.run(stop));
    let ended = tokio::select! {
        ended = running => ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())),
        () = stop_at_once => Err(Error::new(Kind::Interrupted, "a second signal ended the bridge at once")),
    };
    // The reader of the client's log learns why even a short conversation failed.
    let failed = tokio::time::timeout(LAST_WORDS, warm_up).await;
    ended?;
    match failed {
        Ok(Ok(Some(kind)))
            if matches!(kind, Kind::AuthRequired | Kind::KeyStore) && !has_key(&prepared).await =>
        {
            Ok(kind.exit_code())
        }
        _ => Ok(0),
    }
}

/// A key may have been stored since the bridge began.
async fn has_key(prepared: &ProfileInUse) -> bool {
    prepared.remote.warm_up().await.is_ok()
}

fn settings(prepared: &ProfileInUse) -> Result<Settings> {
    let mut settings = prepared.fresh_settings()?;
    let options = &prepared.options;
    settings.call_silence = options.timeout.unwrap_or(CALL_SILENCE);
    settings.max_result = options.max_result;
    settings.new_keys = NewKeys::Stored;
    settings.login_at_opening = Prompt::Forbidden;
    if options.login == Some(LoginMode::Tool) {
        settings.sign_in = SignIn::AsTool;
    }
    Ok(settings)
}

fn on_a_terminal(common: &Common) -> Error {
    let binary = std::env::current_exe().map_or_else(|_| "asistry".into(), |path| path.display().to_string());
    let profile = common.profile.as_deref().unwrap_or(profile::DEFAULT);
    let target = match &common.url {
        Some(url) => format!(r#""--url", {}"#, serde_json::Value::from(url.as_str())),
        None => format!(r#""--profile", "{profile}""#),
    };
    let command = serde_json::Value::from(binary);
    Error::new(Kind::Usage, "a bridge talks to an MCP client on stdin, and this is a terminal").hint(format!(
        "put this into the client's configuration (Claude Desktop: claude_desktop_config.json):\n\
         {{\"mcpServers\": {{\"{profile}\": {{\"command\": {command}, \"args\": [\"bridge\", {target}]}}}}}}\n\
         or use the tools from here: asistry tools{}",
        Target::of(common.profile.clone(), common.url.as_deref(), &Config::default()).options()
    ))
}

/// Resolves at the first signal to end.
///
/// # Errors
/// If a signal cannot be caught.
pub fn stop_signal() -> crate::error::Result<impl Future<Output = ()>> {
    Ok(stop_signals()?.0)
}

/// Resolve at the first and at the second signal to end.
fn stop_signals() -> crate::error::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let ((send_first, first), (send_second, second)) = (oneshot::channel(), oneshot::channel());
    send_signals([send_first, send_second])?;
    Ok((async move { drop(first.await) }, async move { drop(second.await) }))
}

/// Reports signals in a task, so that `select!` polls one flag instead of three signals.
#[cfg(unix)]
fn send_signals(receivers: [oneshot::Sender<()>; 2]) -> crate::error::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| uncaught("SIGTERM", &e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| uncaught("SIGINT", &e))?;
    // nohup(1) starts us with SIGHUP ignored, and means it.
    let mut hangup = match hangup_is_ignored() {
        true => None,
        false => Some(signal(SignalKind::hangup()).map_err(|e| uncaught("SIGHUP", &e))?),
    };
    tokio::spawn(async move {
        for receiver in receivers {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = hung_up => {}
            }
            let _ = receiver.send(());
        }
    });
    Ok(())
}

/// Reports signals.
#[cfg(windows)]
fn send_signals(receivers: [oneshot::Sender<()>; 2]) -> crate::error::Result<()> {
    let mut interrupt = tokio::signal::windows::ctrl_c().map_err(|e| uncaught("Ctrl-C", &e))?;
    tokio::spawn(async move {
        for receiver in receivers {
            interrupt.recv().await;
            let _ = receiver.send(());
        }
    });
    Ok(())
}

/// Reads from /proc whether SIGHUP was ignored when this process began; elsewhere than on Linux it is not known.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    use std::io::Read;
    // Larger than the file, which comes in one read. The kernel takes twice as long for /proc/self/status.
    let mut stat = [0; 1024];
    let read = std::fs::File::open("/proc/self/stat").and_then(|mut file| file.read(&mut stat));
    let stat = String::from_utf8_lossy(&stat[..read.unwrap_or_default()]);
    // proc_pid_stat(5): the name, in parentheses, may hold spaces; field 33 is the mask of ignored signals.
    let mask = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(30)?.parse::<u64>().ok());
    // Bit 0 is signal 1.
    mask.is_some_and(|mask| mask & 1 == 1)
}

fn uncaught(signal: &str, e: &std::io::Error) -> Error {
    Error::new(Kind::Bug, format!("{signal} cannot be caught: {e}"))
}
