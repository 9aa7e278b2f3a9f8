//! `asistry call`: calls one tool and prints its result.

mod batch;
pub mod given;
pub mod result;
pub mod schema;
pub mod split;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory};
use serde_json::Value;

use self::given::{Reader, Sources};
use self::result::{Outcome, check_save};
use self::schema::{Schema, Work};
use super::arguments::Common;
use super::conversation::{Conversation, Reveals, Tool, parsed_json};
use super::environment::Environment;
use super::output::Output;
use super::tools;
use crate::error::{Error, Executed, Kind, Result, shell_quoted};
use crate::protocol::client::{BUSY, RETRY_AFTER, WAIT_REASON};
use crate::protocol::message::{INVALID_PARAMS, METHOD_NOT_FOUND, Message};
use crate::protocol::retry::Why;
use crate::protocol::secrets::{NewKeys, StoredKey};
use crate::ui::{self, json::Json};

/// The beginning of the help.
pub const FORMS: &str = "\
Call one tool and print its result

  asistry -p sandbox call create_task title=Tea labels=kitchen labels=home

Arguments of the tool:
  title=Tea            text; becomes a number or true/false where the tool's schema says so
  labels=a labels=b    a repeated name adds an item to an array
  filter:='{\"by\":1}'   JSON, sent as it is
  body=@note.txt       the content of a file; @- reads standard input, @@ stands for one @
  --title Tea          the same as title=Tea, for every argument of the tool
  --args '{…}'         all arguments as one JSON object; also @FILE, or - for standard input
  TOOL --help          the arguments of one tool";

/// Options of `asistry call`.
#[derive(Debug, Args)]
#[command(override_usage = "asistry call [OPTIONS] <TOOL> [NAME=VALUE]...\n       \
    asistry call [OPTIONS] --batch <FILE>")]
pub struct Arguments {
    /// Tool to call
    #[arg(required_unless_present = "batch")]
    tool: Option<String>,
    /// Arguments of the tool
    #[arg(value_name = "NAME=VALUE", allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
    /// All arguments as one JSON object; @FILE and - read it
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    args: Option<String>,
    /// Send the arguments as typed, without checking them against the tool's schema
    #[arg(long)]
    no_check: bool,
    /// Print the whole MCP result as JSON
    #[arg(long)]
    full: bool,
    /// Show secrets in the result instead of MASKED
    #[arg(long)]
    reveal: bool,
    /// Store new keys of the result in the key store
    #[arg(long)]
    save_key: bool,
    /// Save images, audio and binary resources to this directory
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Make one call per line {"tool": NAME, "arguments": {…}} of FILE, or of standard input (-); prints one line
    /// of JSON per call, in input order
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
        conflicts_with_all = ["tool", "words", "args"])]
    batch: Option<PathBuf>,
    /// Maximum batch calls in flight [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Skip calls already answered in FILE, the output of an earlier run; never repeat one that may have run
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    resume: Option<PathBuf>,
    #[arg(long, hide = true)]
    tool_help: bool,
    #[command(flatten)]
    pub output: Output,
}

/// Calls the tool.
///
/// # Errors
/// Errors of the arguments, or the service's.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> anyhow::Result<u8> {
    if let Some(path) = &arguments.batch {
        return batch::run(common, &arguments, path, environment).await;
    }
    if arguments.jobs.is_some() || arguments.resume.is_some() {
        let why = "--jobs and --resume go with --batch";
        let hint = "leave them out, or name a file of calls with --batch";
        return Err(Error::new(Kind::Usage, why).hint(hint).into());
    }
    arguments.output.check()?;
    if arguments.full {
        arguments.output.check_whole()?;
    }
    check_save(arguments.save.as_deref())?;
    let conversation = Conversation::begin_to_call(common, environment, arguments.new_keys()).await?;
    conversation.check_new_keys(arguments.tool.as_deref(), arguments.new_keys()).await?;
    let adds_key = arguments.save_key && conversation.adds_key(arguments.tool.as_deref());
    let mut conversation = conversation.revealing(arguments.reveals(environment));
    let result = match conversation.open_for_questions().await {
        Ok(()) => call(&mut conversation, &arguments).await,
        Err(error) => Err(not_made(error)),
    };
    let (remote, note) = (conversation.remote(), conversation.take_note());
    let shown = move |result: Option<Json>| result.map_or(Ok(0), |result| show(result, &arguments));
    let ended = conversation.end_with(result, shown).await.map_err(|error| match error.kind() {
        // Printing took too long.
        Kind::Timeout if error.details().executed.is_none() => made(error),
        _ => error,
    });
    let stored = remote.take_stored();
    let is_missing = adds_key && stored.is_empty();
    let said = say_stored(stored);
    let code = ended?;
    said?;
    if is_missing {
        let why = "the result holds no key that asistry knows, so none was stored";
        return Err(made(Error::new(Kind::ServiceError, why)).into());
    }
    note.iter().filter(|_| code == 0).for_each(|note| ui::say(note));
    Ok(code)
}

/// Says where new keys are stored.
///
/// # Errors
/// The first one that could not be stored.
fn say_stored(stored: Vec<Result<StoredKey>>) -> Result<()> {
    let mut failed = Ok(());
    for stored in stored {
        match stored {
            Ok(StoredKey { id, store, shown, origin, still_current }) => {
                ui::say(&format!("stored {id} ({shown}) in {store}, for {origin} only"));
                if let Some(current) = still_current {
                    let (profile, name) = id.split_once('/').unwrap_or_default();
                    let way = format!("asistry keys use {} -p {}", shell_quoted(name), shell_quoted(profile));
                    ui::say(&format!("{current} is still the key in use; to change that: {way}"));
                }
            }
            Err(error) => failed = failed.and(Err(made(error))),
        }
    }
    failed
}

fn show(result: Json, arguments: &Arguments) -> Result<u8> {
    let outcome = Outcome::read(result, arguments.save.as_deref()).map_err(made)?;
    let output = arguments.output.of_a_call();
    let printed = match (arguments.full, outcome.is_error, outcome.is_json) {
        (true, ..) => output.print_whole(&outcome.whole),
        (false, true, _) => return Err(outcome.error()),
        (false, false, true) => output.print_over_text(&outcome.value, &outcome.text),
        (false, false, false) => output.print_json(&outcome.value, Some(&outcome.text)),
    };
    // Wrong usage found out after the call: exit code 2 would say that nothing was sent.
    printed.map_err(|error| match error.kind() {
        Kind::Usage => {
            let why = format!("{}; the call was made, and this is its result", error.message());
            let result = if arguments.full { &outcome.whole } else { &outcome.value };
            error.with_message(why).with_kind(Kind::Output).with_result(result.clone().into_value())
        }
        _ => error,
    })?;
    if arguments.full {
        return Ok(if outcome.is_error { Kind::ServiceError.exit_code() } else { 0 });
    }
    outcome.unseen.iter().for_each(|line| ui::say(line));
    Ok(0)
}

/// Says of what cannot be read or kept that the call was made.
fn made(error: Error) -> Error {
    error.executed(Executed::Maybe)
}

/// Says of what failed before the call that it was not made.
fn not_made(error: Error) -> Error {
    error.executed(Executed::No)
}

/// Returns the result; none where only help was wanted.
async fn call(conversation: &mut Conversation, arguments: &Arguments) -> Result<Option<Json>> {
    let name = arguments.tool.as_deref().unwrap_or_default();
    let mut sources = Sources::default();
    let filters = conversation.filters();
    let remembered = conversation.remembered_tools().await?;
    let known = |tools: &Vec<Tool>| tools.iter().any(|tool| tool.is_named(name));
    if let Some(tools) = remembered.filter(known).filter(|_| !arguments.tool_help) {
        let tool = filters.find(&tools, name)?;
        // What does not fit an older list may fit the present one.
        if let Ok(given) = arguments.given(tool, &mut sources) {
            match ask(conversation, tool, &given).await {
                Err(error) if matches!(error.details().code, Some(INVALID_PARAMS | METHOD_NOT_FOUND)) => {
                    // The call was refused for its arguments, or for want of a task: the present list says more.
                    let tools = conversation.tools().await?;
                    let present = filters.find(&tools, name)?;
                    arguments.given(present, &mut sources)?;
                    return Err(match present.runs == tool.runs {
                        true => error,
                        false => error.hint("the tool has changed, and was not called: call it again"),
                    });
                }
                answered => return parsed_json("tools/call", &answered?).map(Some).map_err(made),
            }
        }
    }
    let tools = conversation.tools_with(name).await.map_err(not_made)?;
    let tool = filters.find(&tools, name)?;
    if arguments.tool_help {
        ui::print(&tools::described(tool, &conversation.options_of(&tool.name)))?;
        return Ok(None);
    }
    let given = arguments.given(tool, &mut sources)?;
    parsed_json("tools/call", &ask(conversation, tool, &given).await?).map(Some).map_err(made)
}

impl Arguments {
    fn new_keys(&self) -> NewKeys {
        match (self.save_key, self.reveal) {
            (true, _) => NewKeys::Stored,
            (false, true) => NewKeys::Shown,
            (false, false) => NewKeys::Refused,
        }
    }

    fn reveals(&self, environment: &Environment) -> Reveals {
        match (self.reveal, environment.is_github_action()) {
            (false, _) => Reveals::Nothing,
            (true, false) => Reveals::All,
            (true, true) => Reveals::AllButInTheLog,
        }
    }

    fn given(&self, tool: &Tool, sources: &mut Sources) -> Result<Value> {
        let work = Work::default();
        let reader = Reader {
            tool: &tool.name,
            schema: Schema::new(tool.input_schema(), &work),
            checked: !self.no_check,
            options: our_options,
        };
        let given = reader.read(&self.words, self.args.as_deref(), sources)?;
        if !self.no_check && !self.full {
            let whole: Value = serde_json::from_str(&tool.raw).unwrap_or_default();
            self.output.check_result(Schema::new(&whole["outputSchema"], &work))?;
        }
        Ok(Value::Object(given))
    }
}

async fn ask(conversation: &mut Conversation, tool: &Tool, arguments: &Value) -> Result<String> {
    let mut bar = conversation.progress(&tool.name);
    let token = bar.is_shown().then_some(r#""call""#);
    let call = (tool, &*arguments.to_string());
    let result = conversation.call(call, token, |message| advance(&mut bar, message)).await;
    bar.finish();
    result
}

fn our_options() -> Vec<String> {
    let card = super::Card::command();
    let call = card.find_subcommand("call");
    let all = call.into_iter().flat_map(clap::Command::get_arguments).chain(card.get_arguments());
    all.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

fn advance(bar: &mut ui::Progress, message: &Message) {
    let params: Value =
        message.params().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
    match message.method() {
        "notifications/progress" => match waits_for(message) {
            Some((wait, why)) => bar.count_down(wait, why),
            None => {
                bar.advance(params["progress"].as_f64(), params["total"].as_f64(), params["message"].as_str())
            }
        },
        "notifications/tasks/status" => bar.advance(None, None, params["statusMessage"].as_str()),
        "notifications/message" => {
            let level = params["level"].as_str().unwrap_or("info");
            let data = &params["data"];
            bar.say(&format!("{level}: {}", data.as_str().map_or_else(|| data.to_string(), str::to_owned)));
        }
        "elicitation/create" => bar.pause(),
        _ => {}
    }
}

/// Says how long a call waits for a rate limit, or for a busy service, where a notification is about that.
fn waits_for(message: &Message) -> Option<(Duration, Why)> {
    let params: Value = serde_json::from_str(message.params()?).ok()?;
    let meta = &params["_meta"];
    let why = if meta[WAIT_REASON] == BUSY { Why::Busy } else { Why::RateLimit };
    Some((Duration::from_millis(meta[RETRY_AFTER].as_u64()?), why))
}
