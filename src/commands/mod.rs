//! What a person types: one file for each subcommand.
//!
//! The only room that reads the environment and decides where files are. Refuses work: a command says
//! what is to be done, the rooms below do it.

mod arguments;
mod ask;
mod bridge;
mod browser;
mod call;
mod client;
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
mod login;
mod logout;
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
mod whoami;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, Kind};
use crate::net::descriptors;
use crate::profile::{Arity, Options, Place, Row, Takers};
use crate::ui;
use arguments::Common;
use environment::Environment;
use remedy::Target;

/// The runtime holds six descriptors, a connection one.
const FEWEST_DESCRIPTORS: usize = 7;

/// Where clap's reference to the help begins; the command replaces it.
const REFERRAL: &str = "For more information";

/// Connects AI desktop clients, shells and CI jobs to remote MCP services.
#[derive(Debug, Parser)]
#[command(
    name = "asistry",
    version,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Commands that print a result also take -o, --json and --jq: asistry tools --help.\n\
        Topics: asistry help environment | files | exit-codes | arguments | eras | faults | security."
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
    Bridge(Box<bridge::Arguments>),
    /// Call a tool and print its result
    #[command(long_about = call::FORMS)]
    Call(call::Arguments),
    /// List the tools, or show one
    Tools(tools::Arguments),
    /// List the resources, or read one
    Resources(resources::Arguments),
    /// List the prompts, or fill one in
    Prompts(prompts::Arguments),
    /// Show the server, its protocol version and era, and the response time
    Ping(ping::Arguments),
    /// Store, list, test, rotate and remove keys
    Keys(keys::Arguments),
    /// Log in with OAuth
    Login(login::Arguments),
    /// Log out
    Logout(logout::Arguments),
    /// Show who is logged in
    Whoami(whoami::Arguments),
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
    if complete::answer(&words, || card(&[])) {
        return ExitCode::SUCCESS;
    }
    if words.len() < 2 {
        let _ = Card::command().color(color(&words)).print_help();
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

/// Describes every command, with its examples, as these words say in color.
fn card(words: &[OsString]) -> clap::Command {
    examples::added(Card::command()).color(color(words))
}

/// Finds `--color`, which clap has to know before it reads the words.
fn color(words: &[OsString]) -> ColorChoice {
    let mut words = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let mut chosen = None;
    while let Some(word) = words.next() {
        match word.strip_prefix("--color") {
            Some("") => chosen = words.next(),
            Some(value) => chosen = value.strip_prefix('=').or(chosen),
            None => {}
        }
    }
    match chosen {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ if environment::variable("NO_COLOR").is_some() => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

fn read(words: Vec<OsString>) -> Result<Card, ExitCode> {
    let mut card = card(&words);
    let color = card.get_color();
    let words = call::split::sorted(words, &card);
    let asks_json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let matches = card.try_get_matches_from_mut(&words);
    matches.and_then(|mut matches| Card::from_arg_matches_mut(&mut matches)).map_err(|refusal| {
        let way = through_profile(&refusal, &words, &card);
        let near = || suggestion(&refusal).filter(|_| asks_json).map(|near| format!("did you mean {near}?"));
        let way = way.or_else(near).unwrap_or_else(|| format!("{} --help", named(&words, &card)));
        usage(&refusal, asks_json, color, &way)
    })
}

fn usage(refusal: &clap::Error, json: bool, color: ColorChoice, way: &str) -> ExitCode {
    if !refusal.use_stderr() {
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    let text = refusal.render();
    if json {
        // The first of its paragraphs says what is wrong; the others are for people.
        let text = text.to_string();
        let why = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        ui::failure(&Error::new(Kind::Usage, why).hint(way), json);
    } else {
        let is_colored = match color {
            ColorChoice::Auto => cfg!(unix) && std::io::stderr().is_terminal(),
            color => color == ColorChoice::Always,
        };
        let text = if is_colored { text.ansi().to_string() } else { text.to_string() };
        ui::usage(text.split(REFERRAL).next().unwrap_or_default(), way);
    }
    ExitCode::from(Kind::Usage.exit_code())
}

/// Returns how the profile sets an option of `bridge` that another command refuses.
fn through_profile(refusal: &clap::Error, words: &[OsString], card: &clap::Command) -> Option<String> {
    let Some(ContextValue::String(typed)) = refusal.get(ContextKind::InvalidArg) else { return None };
    let (flag, row) =
        Row::taken_by(Takers::Bridge).find(|(flag, _)| typed.strip_prefix("--") == Some(flag))?;
    let mut others: Vec<&OsString> = words.iter().collect();
    let at = others.iter().position(|word| {
        word.to_str()
            .and_then(|word| word.strip_prefix(typed))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })?;
    let given = others.remove(at).to_str()?.strip_prefix(typed)?.strip_prefix('=');
    let value = match (given, row.arity()) {
        (Some(value), _) => value,
        (None, Arity::Switch) => "true",
        (None, _) => others.get(at).is_some().then(|| others.remove(at))?.to_str()?,
    };
    row.set(&mut Options::default(), &[value.to_owned()], &Place::default()).ok()?;
    let matches = card.clone().try_get_matches_from(others).ok()?;
    let Card { common, command } = Card::from_arg_matches(&matches).ok()?;
    let setting = format!("{}={value}", row.key?);
    let target = Target::of(common.profile, common.url.as_deref(), &Environment::read().config().ok()?);
    command.prints_a_result().then(|| target.with_setting(flag, &setting))
}

/// Returns the command that these words name, as far as they name one.
fn named(words: &[OsString], card: &clap::Command) -> String {
    let (mut name, mut command) = ("asistry".to_owned(), card);
    for pair in words.windows(2) {
        let is_value = pair[0] == "-p" || pair[0] == "--profile";
        if let Some(found) = command.find_subcommand(&pair[1]).filter(|_| !is_value) {
            name.extend([" ", found.get_name()]);
            command = found;
        }
    }
    name
}

fn suggestion(refusal: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match refusal.get(kind)? {
        ContextValue::String(near) => Some(near.clone()),
        ContextValue::Strings(near) => near.first().cloned(),
        _ => None,
    })
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
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(no_runtime)?;
    let result = runtime.block_on(async {
        match card.command {
            Command::Bridge(arguments) => bridge::run(&card.common, *arguments, environment).await,
            Command::Call(arguments) => call::run(&card.common, arguments, environment).await,
            Command::Tools(arguments) => tools::run(&card.common, arguments, environment).await,
            Command::Resources(arguments) => resources::run(&card.common, arguments, environment).await,
            Command::Prompts(arguments) => prompts::run(&card.common, arguments, environment).await,
            Command::Ping(arguments) => ping::run(&card.common, arguments, environment).await,
            Command::Keys(arguments) => keys::run(&card.common, arguments, environment).await,
            Command::Login(arguments) => login::run(&card.common, arguments, environment).await,
            Command::Logout(arguments) => logout::run(&card.common, arguments, environment).await,
            Command::Whoami(arguments) => whoami::run(&card.common, arguments, environment).await,
            Command::Profiles(arguments) => profiles::run(&card.common, arguments, environment),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(arguments) => sandbox::run(arguments, environment).await,
            Command::Completions(arguments) => completions::run(&arguments),
            Command::Man(arguments) => man::run(&arguments, self::card(&[])),
            Command::Help(arguments) => {
                help::run(&arguments, self::card(&std::env::args_os().collect::<Vec<_>>()))
            }
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
        !matches!(
            self,
            Self::Bridge(_) | Self::Logout(_) | Self::Completions(_) | Self::Man(_) | Self::Help(_)
        )
    }
}
