//! `asistry bridge`: a stdio MCP server in front of the profile's service.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::arguments::Common;
use super::environment::Environment;
use super::profile_in_use::ProfileInUse;
use crate::error::{Error, Kind};
use crate::local::stdio::Stdio;
use crate::profile::{self, Options, ToolNames, units};
use crate::protocol::bridge::{Settings, Transport};
use crate::relay::{Ending, Relay};

/// What a warning may take of the end.
const LAST_WORDS: Duration = Duration::from_millis(100);
const CALL_SILENCE: Duration = Duration::from_secs(600);
const DRAIN: Duration = Duration::from_secs(1);

/// Options of `asistry bridge`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which wire to speak [default: auto]
    #[arg(long, value_enum, value_name = "WIRE")]
    transport: Option<Wire>,
    /// Which era of the protocol to speak [default: auto]
    #[arg(long, value_enum, value_name = "ERA")]
    era: Option<Era>,
    /// Show and call only tools that match (repeatable; * and ?)
    #[arg(long, value_name = "GLOB")]
    allow_tool: Vec<String>,
    /// Neither show nor call tools that match (repeatable; * and ?)
    #[arg(long, value_name = "GLOB")]
    deny_tool: Vec<String>,
    /// Only tools that say that they only read
    #[arg(long)]
    read_only: bool,
    /// Show tool names as they are, or in the form that every client takes
    #[arg(long, value_enum, value_name = "FORM")]
    tool_names: Option<Names>,
    /// How long answers are still awaited after the client has gone [default: 1s]
    #[arg(long, value_name = "DUR", value_parser = units::duration)]
    drain: Option<Duration>,
    /// Get neither key nor HTTP client ready before the first message
    #[arg(long)]
    no_warm_start: bool,
    /// Write a larger result of a tool into a file, and tell the client where
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    max_result: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wire {
    /// Streamable HTTP, else HTTP+SSE
    Auto,
    /// Streamable HTTP
    Http,
    /// HTTP+SSE of 2024-11-05
    Sse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Era {
    /// As client and service speak
    Auto,
    /// With a handshake
    Legacy,
    /// Stateless (not spoken by this version yet)
    Modern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Names {
    /// As the service calls them
    Original,
    /// With _ for every character outside a-z, A-Z, 0-9, _ and -
    Safe,
}

/// Runs until the client goes.
///
/// # Errors
/// What is wrong with the command line, the configuration or the key.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    if arguments.era == Some(Era::Modern) {
        let why = "--era modern: this version of asistry does not speak the stateless era yet";
        return Err(Error::new(Kind::Usage, why).hint("leave --era out").into());
    }
    if std::io::stdin().is_terminal() {
        return Err(on_a_terminal(common).into());
    }
    let prepared = ProfileInUse::prepare(common, arguments.options(), environment).await?;
    let settings = settings(&prepared);
    let endpoint = settings.endpoint.clone();
    let stop = stop_signal()?;
    let (remote, advise) = (prepared.remote.clone(), prepared.advise());
    let warm_start = prepared.options.warm_start.unwrap_or(true);
    let warm_up = tokio::spawn(async move {
        if !warm_start {
            return;
        }
        if let Err(error) = remote.warm_up().await {
            // Each request will say so too; this is for whoever reads the client's log.
            crate::ui::error(&error.advised(&advise));
        }
    });
    let ending = Ending { drain: prepared.options.drain.unwrap_or(DRAIN) };
    let relay = Relay::new(Stdio::take(), prepared.remote.clone(), settings, ending);
    let relay = relay.remembering(prepared.state.clone(), endpoint).traced(prepared.trace.clone());
    let ended = relay.run(stop).await;
    // Whoever reads the client's log learns why even a short conversation failed.
    let _ = tokio::time::timeout(LAST_WORDS, warm_up).await;
    ended?;
    Ok(0)
}

impl Arguments {
    /// Returns what was said about the connection.
    fn options(&self) -> Options {
        let listed = |globs: &Vec<String>| (!globs.is_empty()).then(|| globs.clone());
        Options {
            transport: self.transport.map(|wire| match wire {
                Wire::Auto => Transport::Auto,
                Wire::Http => Transport::Http,
                Wire::Sse => Transport::Sse,
            }),
            era: self.era.map(|era| match era {
                Era::Auto => profile::Era::Auto,
                Era::Legacy => profile::Era::Legacy,
                Era::Modern => profile::Era::Modern,
            }),
            allow_tools: listed(&self.allow_tool),
            deny_tools: listed(&self.deny_tool),
            read_only: self.read_only.then_some(true),
            tool_names: self.tool_names.map(|names| match names {
                Names::Original => ToolNames::Original,
                Names::Safe => ToolNames::Safe,
            }),
            drain: self.drain,
            max_result: self.max_result,
            warm_start: self.no_warm_start.then_some(false),
            ..Options::default()
        }
    }
}

fn settings(prepared: &ProfileInUse) -> Settings {
    let mut settings = prepared.settings();
    let options = &prepared.options;
    settings.call_silence = options.timeout.unwrap_or(CALL_SILENCE);
    settings.tools.safe_names = match options.tool_names {
        Some(names) => names == ToolNames::Safe,
        None => prepared.profile.service.safe_tool_names,
    };
    settings.max_result = options.max_result;
    settings
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
         or call a tool from here: asistry call TOOL name=value"
    ))
}

/// Resolves when the process is told to end.
pub fn stop_signal() -> crate::error::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| uncaught("SIGTERM", &e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| uncaught("SIGINT", &e))?;
        // nohup(1) starts us with SIGHUP ignored, and means it.
        let mut hangup = match hangup_is_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup()).map_err(|e| uncaught("SIGHUP", &e))?),
        };
        let hung_up = async move {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = hung_up => {}
            }
        })
    }
    #[cfg(windows)]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c().map_err(|e| uncaught("Ctrl-C", &e))?;
        Ok(async move {
            interrupt.recv().await;
        })
    }
}

/// Reads from /proc whether SIGHUP was ignored when this process began; elsewhere than on Linux it is not known.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn uncaught(signal: &str, e: &std::io::Error) -> Error {
    Error::new(Kind::Bug, format!("{signal} cannot be caught: {e}"))
}
