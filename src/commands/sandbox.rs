//! `asistry sandbox`: stand-in services on this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::environment::Environment;
use super::remedy::shell_quoted;
use crate::error::{Error, Kind};
use crate::files;
use crate::sandbox::{self, Data, Faults, Import, Options, Sandbox};
use crate::ui;

const ADDRESS: &str = "127.0.0.1:7700";

/// Returns what is said once, after the first call of an embedded sandbox.
pub fn board_hint() -> String {
    format!("The sandbox's tasks are on a live board too: run asistry sandbox and open http://{ADDRESS}/")
}

/// Options of `asistry sandbox`.
#[derive(Debug, Args)]
#[command(after_help = "The sandbox is a legacy service for now: asistry help eras.")]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS)]
    listen: SocketAddr,
    /// Directory of its data [default: sandbox in the data directory]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Keep the data in memory only
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    /// Inject faults, such as 429=2s@create_task:10%,lost:1/20 (asistry help faults)
    #[arg(long, value_name = "SPEC")]
    faults: Option<String>,
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
    /// Write the data of all services as one JSON file, without keys and secrets
    Export {
        /// File to write, or - for standard output
        #[arg(default_value = "-", hide_default_value = true)]
        file: PathBuf,
    },
    /// Replace all data by that of an exported file
    Import {
        /// File to read, or - for standard input
        file: PathBuf,
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
    let faults = arguments.faults.as_deref().map_or(Ok(Faults::default()), sandbox::faults)?;
    let directory = || match &arguments.data {
        Some(directory) => Ok(directory.clone()),
        None => environment.data_dir().map(|data| data.join("sandbox")),
    };
    let given = arguments.data.as_deref();
    match &arguments.action {
        Some(_) if arguments.memory => {
            return Err(Error::new(Kind::Usage, "--memory is for serving only").hint("leave it out").into());
        }
        Some(Action::Export { file }) => return export(&directory()?, file).map(|()| 0),
        Some(Action::Import { file, yes }) => {
            let import = read(file)?;
            if !yes {
                let question =
                    format!("Replace all sandbox data in {} by {}?", directory()?.display(), file.display());
                let file = shell_quoted(&file.to_string_lossy()).into_owned();
                let otherwise = format!("asistry sandbox{} import {file} --yes", data_option(given));
                environment.asker(false).consent(&question, &otherwise)?;
            }
            import.into_directory(&directory()?).context("the sandbox's data cannot be replaced")?;
            ui::say("the sandbox has the data of the file");
            return Ok(0);
        }
        Some(Action::Reset { .. }) | None => {}
    }
    if let Some(Action::Reset { yes }) = arguments.action {
        if let Some(given) = arguments.data.as_deref().filter(|given| !given.is_dir()) {
            let why = format!("--data {}: there is no such directory", given.display());
            return Err(Error::new(Kind::Usage, why)
                .hint("name the directory that the sandbox was started with")
                .into());
        }
        if !yes {
            let question = format!("Delete all sandbox data in {}?", directory()?.display());
            let otherwise = format!("asistry sandbox{} reset --yes", data_option(given));
            environment.asker(false).consent(&question, &otherwise)?;
        }
        sandbox::reset(&directory()?).context("the sandbox cannot be emptied")?;
        ui::say("the sandbox is empty again");
        return Ok(0);
    }
    let data = if arguments.memory { Data::Memory } else { Data::Directory(directory()?) };
    let sandbox = Sandbox::start(Options { data, listen: arguments.listen, embedded: false, faults })
        .await
        .context("the sandbox cannot start")?;
    announce(&sandbox, arguments.json)?;
    super::bridge::stop_signal()?.await;
    sandbox.stop().await;
    Ok(0)
}

/// Writes the data of a directory to a file, or to standard output.
fn export(data: &Path, file: &Path) -> Result<()> {
    let text = sandbox::export(data)?;
    if file.as_os_str() == "-" {
        return Ok(ui::print(text.trim_end())?);
    }
    // A device or a pipe is written to, not replaced.
    let written = match file.metadata().is_ok_and(|found| !found.is_file()) {
        true => std::fs::write(file, text),
        false => std::path::absolute(file)
            .and_then(|file| files::replace(&file, text.as_bytes(), files::Durability::Durable)),
    };
    written.map_err(|error| unusable("written", file, &error))?;
    ui::say(&format!("the data is in {}", file.display()));
    Ok(())
}

/// Reads an exported file, or standard input, and checks it.
fn read(file: &Path) -> Result<Import> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| unusable("read", file, &error))?;
    Import::read(&text).with_context(|| format!("{} cannot be imported", file.display()))
}

/// Returns the option that names a directory, after a space.
fn data_option(given: Option<&Path>) -> String {
    given.map(|data| format!(" --data {}", shell_quoted(&data.to_string_lossy()))).unwrap_or_default()
}

fn unusable(what: &str, file: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Usage, format!("{} cannot be {what}: {error}", file.display()))
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
        let mut announced = json!({ "services": services });
        if let Some(board) = sandbox.board() {
            announced["board"] = board.into();
        }
        return Ok(ui::print(&announced.to_string())?);
    }
    for endpoint in sandbox.endpoints() {
        ui::print(&format!("{}\t{}\t{}", endpoint.service, endpoint.url, way_in(endpoint).1))?;
        for (field, key) in &endpoint.more_keys {
            ui::print(&format!("{}.{field}\t{}\t{key}", endpoint.service, endpoint.url))?;
        }
    }
    if let Some(board) = sandbox.board() {
        ui::print(&format!("board\t{board}"))?;
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
