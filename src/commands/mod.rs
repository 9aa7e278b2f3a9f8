//! What a person types: one file for each subcommand.
//!
//! The only room that reads the environment and decides where files are. Refuses work: a command says
//! what is to be done, the rooms below do it.

mod arguments;
mod ask;
mod bridge;
mod call;
mod complete;
mod completions;
mod conversation;
mod environment;
mod examples;
mod form;
mod help;
mod jq;
mod keys;
mod log;
mod man;
mod output;
mod ping;
mod profile_in_use;
mod profiles;
mod prompts;
mod quick;
mod remedy;
mod resources;
#[cfg(feature = "sandbox")]
mod sandbox;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, Kind};
use crate::net::descriptors;
use crate::ui;
use arguments::Common;
use environment::Environment;
use remedy::Target;

/// The runtime holds six descriptors, a connection one.
const FEWEST_DESCRIPTORS: usize = 7;

/// Connects AI desktop clients, shells and CI jobs to remote MCP services.
#[derive(Debug, Parser)]
#[command(
    name = "asistry",
    version,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Commands that print a result also take -o, --json and --jq: asistry tools --help.\n\
        Topics: asistry help environment | files | exit-codes | arguments | security."
)]
struct Card {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an MCP server on stdio in front of a remote service
    Bridge(bridge::Arguments),
    /// Call a tool and print its result
    #[command(long_about = call::FORMS)]
    Call(call::Arguments),
    /// List the tools, or show one
    Tools(tools::Arguments),
    /// List the resources, or read one
    Resources(resources::Arguments),
    /// List the prompts, or fill one in
    Prompts(prompts::Arguments),
    /// Make one round trip and show the server, the protocol version and the time
    Ping(ping::Arguments),
    /// Store, list, test, rotate and remove keys
    Keys(keys::Arguments),
    /// List, show, add, change and remove profiles
    Profiles(profiles::Arguments),
    /// Run stand-in services on this machine
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
    /// Print a shell completion script
    Completions(completions::Arguments),
    /// Print a manual page, or write all of them
    Man(man::Arguments),
    /// Show the help of a command or a topic
    Help(help::Arguments),
}

/// Runs what the command line asks for; a panic is a defect like any other.
pub fn main() -> ExitCode {
    std::panic::catch_unwind(run_card).unwrap_or_else(|_| ExitCode::from(Kind::Bug.exit_code()))
}

fn run_card() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if complete::answer(&words, card) {
        return ExitCode::SUCCESS;
    }
    if words.len() < 2 {
        let _ = Card::command().print_help();
        return ExitCode::SUCCESS;
    }
    if let Some(code) = jq::answer(&words) {
        return ExitCode::from(code);
    }
    let card = match quick::read(&words).map_or_else(|| read(words), Ok) {
        Ok(card) => card,
        Err(code) => return code,
    };
    let environment = Environment::read();
    let (json, annotated) = (card.common.output.is_json(), environment.is_github_action());
    let (profile, url) = (card.common.profile.clone(), card.common.url.clone());
    if annotated {
        ui::read_by_github_actions();
    }
    let code = match run(card, &environment) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let config = environment.config().unwrap_or_default();
            let advise = Target::of(profile, url.as_deref(), &config).advise(|| None);
            let error = told(&error).with_hint_text(&advise);
            ui::failure(&error, json);
            if annotated && !json {
                ui::annotation(&error);
            }
            ExitCode::from(error.kind().exit_code())
        }
    };
    log::finish_stderr();
    code
}

/// Returns what to tell of a failure: our own error with what was being done around it; anything else is a
/// defect.
fn told(failure: &anyhow::Error) -> Error {
    let Some(error) = failure.downcast_ref::<Error>() else {
        return Error::new(Kind::Bug, format!("{failure:#}"));
    };
    // What caused our error is in its message already.
    let before = failure.chain().take_while(|cause| !cause.is::<Error>()).map(|cause| format!("{cause}: "));
    error.clone().with_message(before.collect::<String>() + error.message())
}

/// Describes every command, with its examples.
fn card() -> clap::Command {
    examples::added(Card::command())
}

fn read(words: Vec<OsString>) -> Result<Card, ExitCode> {
    let mut card = card();
    let words = call::split::sorted(words, &card);
    let asks_json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let matches = card.try_get_matches_from_mut(words);
    matches
        .and_then(|mut matches| Card::from_arg_matches_mut(&mut matches))
        .map_err(|refusal| usage(&refusal, asks_json))
}

fn usage(refusal: &clap::Error, json: bool) -> ExitCode {
    if !refusal.use_stderr() || !json {
        let _ = refusal.print();
        return ExitCode::from(if refusal.use_stderr() { Kind::Usage.exit_code() } else { 0 });
    }
    let text = refusal.render().to_string();
    // The first of its paragraphs says what is wrong; the others are for people.
    let why = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    ui::failure(&Error::new(Kind::Usage, why).hint("--help shows what can be typed"), json);
    ExitCode::from(Kind::Usage.exit_code())
}

fn run(card: Card, environment: &Environment) -> Result<u8> {
    if card.common.output.is_given() && !card.command.prints_a_result() {
        let why = "-o, --json and --jq are for commands that print a result";
        return Err(Error::new(Kind::Usage, why).hint("asistry --help lists the commands").into());
    }
    let manner = match card.command {
        Command::Bridge(_) => log::Manner::Queued,
        _ => log::Manner::Directly,
    };
    let log = log::start(&card.common, manner)?;
    room_for_a_connection()?;
    // One thread: a request costs 24 µs here against 42 with several.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let result = runtime.block_on(async {
        match card.command {
            Command::Bridge(arguments) => bridge::run(&card.common, arguments, environment).await,
            Command::Call(arguments) => call::run(&card.common, arguments, environment).await,
            Command::Tools(arguments) => tools::run(&card.common, arguments, environment).await,
            Command::Resources(arguments) => resources::run(&card.common, arguments, environment).await,
            Command::Prompts(arguments) => prompts::run(&card.common, arguments, environment).await,
            Command::Ping(arguments) => ping::run(&card.common, arguments, environment).await,
            Command::Keys(arguments) => keys::run(&card.common, arguments, environment).await,
            Command::Profiles(arguments) => profiles::run(&card.common, arguments, environment),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(arguments) => sandbox::run(arguments, environment).await,
            Command::Completions(arguments) => completions::run(&arguments),
            Command::Man(arguments) => man::run(&arguments, self::card()),
            Command::Help(arguments) => help::run(&arguments, self::card()),
        }
    });
    // What still blocks (a read of stdin, a name being resolved) must not hold up the end.
    runtime.shutdown_background();
    #[cfg(unix)]
    ask::restore();
    log.finish();
    result
}

/// Makes sure that the runtime, which panics without descriptors, and one connection find some.
fn room_for_a_connection() -> Result<(), Error> {
    descriptors::raise_limit();
    if descriptors::free() < FEWEST_DESCRIPTORS {
        return Err(no_runtime(descriptors::none_left()));
    }
    Ok(())
}

fn no_runtime(cause: std::io::Error) -> Error {
    Error::new(Kind::Bug, format!("no runtime could be started: {cause}"))
        .caused_by(cause)
        .hint("ulimit -n 64 allows more open files")
}

/// Writes remedies for a profile and a URL, as the commands do that were given these.
pub fn advise(profile: Option<String>, url: Option<&str>) -> crate::error::RemedyWriter {
    Target::of(profile, url, &crate::profile::Config::default()).advise(|| None)
}

impl Command {
    fn prints_a_result(&self) -> bool {
        !matches!(self, Self::Bridge(_) | Self::Completions(_) | Self::Man(_) | Self::Help(_))
    }
}
