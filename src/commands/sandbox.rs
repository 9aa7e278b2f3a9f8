//! `asistry sandbox`: stand-in services on this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::environment::Environment;
use super::remedy::shell_quoted;
use crate::error::{Error, Kind};
use crate::sandbox::{self, Data, Options, Sandbox};
use crate::ui;

/// Options of `asistry sandbox`.
#[derive(Debug, Args)]
#[command(after_help = "The sandbox is a legacy service for now: asistry help eras.")]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
    /// Directory of its data [default: sandbox in the data directory]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Keep the data in memory only
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    /// Print endpoints and keys as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Delete all data
    Reset {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Serves until it is interrupted.
///
/// # Errors
/// An address or a directory that cannot be used.
pub async fn run(arguments: Arguments, environment: &Environment) -> Result<u8> {
    let directory = || match &arguments.data {
        Some(directory) => Ok(directory.clone()),
        None => environment.data_dir().map(|data| data.join("sandbox")),
    };
    if let Some(Action::Reset { yes }) = arguments.action {
        if let Some(given) = arguments.data.as_deref().filter(|given| !given.is_dir()) {
            let why = format!("--data {}: there is no such directory", given.display());
            return Err(Error::new(Kind::Usage, why)
                .hint("name the directory that the sandbox was started with")
                .into());
        }
        if !yes {
            let question = format!("Delete all sandbox data in {}?", directory()?.display());
            let data = arguments
                .data
                .as_deref()
                .map(|data| format!(" --data {}", shell_quoted(&data.to_string_lossy())));
            let otherwise = format!("asistry sandbox{} reset --yes", data.unwrap_or_default());
            environment.asker(false).consent(&question, &otherwise)?;
        }
        sandbox::reset(&directory()?).context("the sandbox cannot be emptied")?;
        ui::say("the sandbox is empty again");
        return Ok(0);
    }
    let data = if arguments.memory { Data::Memory } else { Data::Directory(directory()?) };
    let sandbox = Sandbox::start(Options { data, listen: arguments.listen, embedded: false })
        .await
        .context("the sandbox cannot start")?;
    announce(&sandbox, arguments.json)?;
    super::bridge::stop_signal()?.await;
    sandbox.stop().await;
    Ok(0)
}

fn announce(sandbox: &Sandbox, as_json: bool) -> Result<()> {
    if as_json {
        let entry = |e: &sandbox::Endpoint| {
            let (field, way) = way_in(e);
            let mut fields = Map::from_iter([
                ("url".to_owned(), Value::from(e.url.as_str())),
                (field.to_owned(), Value::from(way)),
            ]);
            let more =
                e.more_keys.iter().map(|(field, key)| ((*field).to_owned(), Value::from(key.as_str())));
            fields.extend(more);
            (e.service.to_owned(), Value::Object(fields))
        };
        let services: Map<String, Value> = sandbox.endpoints().iter().map(entry).collect();
        return Ok(ui::print(&json!({ "services": services }).to_string())?);
    }
    for endpoint in sandbox.endpoints() {
        ui::print(&format!("{}\t{}\t{}", endpoint.service, endpoint.url, way_in(endpoint).1))?;
        for (field, key) in &endpoint.more_keys {
            ui::print(&format!("{}.{field}\t{}\t{key}", endpoint.service, endpoint.url))?;
        }
    }
    ui::say("");
    ui::say("In another shell, the two lines of a service:");
    for endpoint in sandbox.endpoints() {
        ui::say(endpoint.service);
        to_paste(endpoint).iter().for_each(|line| ui::say(&format!("  {line}")));
    }
    ui::say("Ctrl-C ends it.");
    Ok(())
}

/// Returns the line that makes a shell use an endpoint, and the line that makes the first call.
///
/// The first replaces all that the line of another endpoint sets.
fn to_paste(endpoint: &sandbox::Endpoint) -> [String; 2] {
    let (profile, url) = (shell_quoted(endpoint.service), shell_quoted(&endpoint.url));
    let choose = format!("export ASISTRY_PROFILE={profile} ASISTRY_URL={url}");
    let call = format!("asistry call {}", shell_quoted(endpoint.first_call));
    match endpoint.key.as_str() {
        // A key in the environment would be sent in place of the login's token.
        "" => [format!("unset ASISTRY_API_KEY; {choose}"), format!("asistry login && {call}")],
        key => [format!("{choose} ASISTRY_API_KEY={}", shell_quoted(key)), call],
    }
}

/// Returns the key of an endpoint or, where it takes access tokens, the command that logs in, with the field's name.
fn way_in(endpoint: &sandbox::Endpoint) -> (&'static str, String) {
    match endpoint.key.as_str() {
        "" => ("login", format!("asistry login --url {}", endpoint.url)),
        key => ("key", key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        let endpoint = sandbox::Endpoint {
            service: "asistry",
            url: "http://[::1]:7700/mcp?a=b&c".into(),
            key: "ask_it's".into(),
            more_keys: Vec::new(),
            first_call: "list_tasks",
        };
        let [choose, call] = to_paste(&endpoint);
        let keys = r"ASISTRY_API_KEY='ask_it'\''s'";
        assert_eq!(choose, format!("export ASISTRY_PROFILE=asistry ASISTRY_URL='{}' {keys}", endpoint.url));
        assert_eq!(call, "asistry call list_tasks");
    }
}
