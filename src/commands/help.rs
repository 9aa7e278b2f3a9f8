//! `asistry help`: the help of a command, or a page about a topic.
//!
//! Refuses to repeat a table: options, variables, files and exit codes come from theirs.

use std::fmt::Write as _;
use std::io::IsTerminal;

use anyhow::Result;
use clap::{Args, Command};

use super::environment::{FILES, VARIABLES};
use crate::error::{EXIT_CODES, Error, Kind};
use crate::profile::{OPTIONS, nearest};
use crate::ui;

/// Options of `asistry help`.
#[derive(Debug, Args)]
#[command(after_help = "\
Topics: environment   variables that asistry reads
        files         files that asistry reads and writes
        exit-codes    exit codes
        arguments     how to write the arguments of a tool
        eras          clients and services of different revisions
        faults        how to make the sandbox fail on purpose
        security      where keys are stored and sent")]
pub struct Arguments {
    /// A command, or environment, files, exit-codes, arguments, eras, faults or security
    #[arg(value_name = "COMMAND|TOPIC")]
    command: Vec<String>,
}

/// Terminal width (columns) below which a description goes under its name.
const NARROWEST: usize = 24;

type Page = fn() -> String;

/// The topics, each with its page.
const TOPICS: &[(&str, Page)] = &[
    ("environment", || rows(&variables())),
    ("files", files),
    ("exit-codes", || rows(&exit_codes())),
    ("arguments", || ARGUMENTS.to_owned()),
    ("eras", || ERAS.to_owned()),
    ("faults", faults),
    ("security", || SECURITY.to_owned()),
];

const ARGUMENTS: &str = "\
name=value             Text, converted to the type in the tool's schema
name=a name=b          One item of an array each
name:=JSON             JSON, sent as it is
name=@FILE             Text from a file; @- reads standard input, @@ is a literal @
name:=@FILE.json       JSON from a file
--name VALUE           Same as name=value, with - for _ in the name
--name                 true, for a boolean
--args JSON            All arguments in one object; @FILE and - read it; single arguments override it

Examples:
  asistry -p sandbox call create_task title='Fix the login' labels=bug labels=backend
  asistry -p sandbox call create_task --args '{\"title\":\"Fix the login\",\"priority\":\"high\"}'

A property with the name of an asistry option is written name=value. A name that the schema does not list but allows is
written name=value too; --name is for listed names only. Other unknown names, missing required arguments and wrong
types are refused before anything is sent; --no-check sends them as typed.
asistry tools show TOOL lists the arguments of a tool.";

const ERAS: &str = "\
MCP has two eras:
  legacy   Revisions 2024-11-05 to 2025-11-25. A legacy client begins with a
           handshake (initialize); most legacy services then keep a session.
  modern   Revision 2026-07-28: no handshake and no sessions. Each request says
           who its client is and what it can do.

asistry finds out what client and service speak, and translates where they
differ:
  legacy client, modern service
      It answers initialize from server/discover, adds to each request what
      the service needs, and asks the client what the service wants to know;
      the client has 10 minutes to answer. One subscription brings changes of
      lists and resources. A call that the service runs as a task is followed
      to its result.
  modern client, legacy service
      One session for each set of capabilities that clients declare;
      server/discover is answered from it. The service's questions go out as
      input_required; the call goes on when the client answers, within 15
      minutes. Log levels, subscriptions and tools that must run as tasks work,
      too.

The shell (call, tools, resources, prompts, ping) counts as a legacy client.
asistry ping shows which era the service speaks. The sandbox is a legacy
service for now.

How the era is found: the client's own initialize or server/discover tells;
before any other modern request asistry sends server/discover. If the service's
error belongs to the other era, asistry uses that era. That a service is modern
only is remembered for a day.

If asistry takes a service for the wrong era, or it speaks both and one of
them badly, say which one to use:
  asistry bridge --era modern --url URL
  asistry profiles set NAME era=modern                    for all commands
  asistry profiles add NAME --url URL --set era=modern    with a new profile

What cannot be translated:
  - tasks/list, for a modern client
  - a question that the service asks while no call is under way, for a modern
    client: it is refused
  - a question about something that the client does not offer: it is refused,
    or the call fails

asistry -v bridge logs each request; --trace FILE records the conversation.";

#[cfg(feature = "sandbox")]
const FAULTS: &str = "\
asistry sandbox --faults SPEC makes the sandbox fail as real services do, to try an agent or a client with it:
  asistry sandbox --faults '429=2s@create_task:10%,lost:1/20,seed=7'

SPEC is KIND[=VALUE][@TOOL][:RATE], several with commas between them, and seed=N.";

#[cfg(feature = "sandbox")]
const FAULT_RULES: &str = "\
DUR   500ms, 2s or 1m; for Retry-After whole seconds.
TOOL  A tool, as TOOL or SERVICE/TOOL (* and ? match any), or the method initialize, ping or tools/list
      of the services that speak MCP. Without TOOL: all calls of tools.
RATE  A share (10%, 0.1), or 1/20: the 20th, the 40th, and so on. Without RATE: each time.
seed  Decides which requests a share hits. The n-th request that a fault is about always fares the same under the
      same SPEC; without seed it is 0. Repeated requests count again.

If several faults hit a request, the first one in SPEC happens; the waits of slow come on top.
Faults come after the checks of key, session and body, and before the tool runs. A request that is refused on purpose
changes nothing, and does not count in the service's own rate limit.

session  Concerns requests that carry Mcp-Session-Id.
drop     Concerns calls that accept an event stream. In a session the answer is kept: GET with Last-Event-ID has it.
expired  An access token (zuko) stays refused, and its refresh token works; a key works again the next time.

asistry -v sandbox logs each fault.";

const SECURITY: &str = "\
Keys are stored in the system keyring, or in an encrypted file (keys add --store file). They are never written to
config.toml, to a client's configuration, to logs or to traces, and are never accepted as an argument: other
processes can read the command line.

A stored key is bound to the origin (scheme, host and port) it was added for and is sent to no other;
asistry keys bind allows another one.

ASISTRY_API_KEY is bound to no origin: it is sent to whatever endpoint is in use, and overrides all stored keys. With
it set, no key store is opened, and nothing in our directories is read or written unless ASISTRY_CONFIG_DIR,
ASISTRY_STATE_DIR or ASISTRY_CACHE_DIR is set; asistry profiles and asistry keys work on the stored profiles and keys
all the same.

Secrets that a service puts into its results (AgentStack's new keys) are shown as MASKED_ and twelve digits, in the
shell and to MCP clients. asistry puts the secret back only in the arguments that the service has for it (auth_key,
session_token), and only for the origin that it came from. call --save-key stores a new key, --reveal shows it.

The tokens of an OAuth login are kept in the key store, bound to the service's endpoint and to the issuer that gave
them, and are sent nowhere else. Authorization servers are asked over https only (http on this machine), and their
certificates are always verified. The callback of a login listens on 127.0.0.1 while the login is under way.

Private keys of clients and identity tokens are read from the file or variable that an option names, and are not stored.
An identity token is sent only to a server that its audience names. The key of a DPoP login is stored with its tokens.

A credential goes over plain http to this machine only, unless --allow-http is given. --insecure turns off the
verification of certificates: anyone on the network path can then read the key.";

/// Prints the help of asistry, of a command or of a topic.
///
/// # Errors
/// An unknown command or topic.
pub fn run(arguments: &Arguments, mut card: Command) -> Result<u8> {
    let words = &arguments.command;
    if let [word] = words.as_slice()
        && let Some((_, page)) = TOPICS.iter().find(|(topic, _)| topic == word)
    {
        ui::print(&page())?;
        return Ok(0);
    }
    let names: Vec<String> = card.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let line = ["asistry"].into_iter().chain(words.iter().map(String::as_str)).chain(["--help"]);
    match card.try_get_matches_from_mut(line) {
        Err(help) if !help.use_stderr() => {
            help.print()?;
            Ok(0)
        }
        _ => {
            let word = words.join(" ");
            let topics = || TOPICS.iter().map(|(topic, _)| *topic);
            let known = names.iter().map(String::as_str).chain(topics());
            let last = topics().find(|topic| words.last().is_some_and(|word| word == topic));
            let hint = match last.or_else(|| nearest(&word, known)) {
                Some(near) => format!("asistry help {near}"),
                None => "asistry help".to_owned(),
            };
            Err(Error::new(Kind::Usage, format!("there is no command or topic {word}")).hint(hint).into())
        }
    }
}

/// Returns the variables that asistry reads, those of the options first.
pub fn variables() -> Vec<(String, String)> {
    let of_option = |row: &crate::profile::Row| Some((row.env?.to_owned(), format!("--{}", row.flag?)));
    let others = VARIABLES.iter().map(|(name, about)| ((*name).to_owned(), (*about).to_owned()));
    OPTIONS.iter().filter_map(of_option).chain(others).collect()
}

/// Returns the exit codes.
pub fn exit_codes() -> Vec<(String, String)> {
    EXIT_CODES.iter().map(|(code, about)| (code.to_string(), (*about).to_owned())).collect()
}

fn files() -> String {
    let row = |(path, about): &(&str, &str)| ((*path).to_owned(), (*about).to_owned());
    let listed = rows(&FILES.iter().map(row).collect::<Vec<_>>());
    format!("{listed}\n\nOn macOS and Windows the directories are those of the platform.")
}

#[cfg(feature = "sandbox")]
fn faults() -> String {
    let row = |kind: &crate::sandbox::FaultKind| {
        let ran = if kind.runs { "the call runs" } else { "the call does not run" };
        (kind.form.to_owned(), format!("{} ({ran})", kind.about))
    };
    let kinds = rows(&crate::sandbox::FAULT_KINDS.iter().map(row).collect::<Vec<_>>());
    format!("{FAULTS}\n\n{kinds}\n\n{FAULT_RULES}")
}

#[cfg(not(feature = "sandbox"))]
fn faults() -> String {
    "This asistry was built without the sandbox.".to_owned()
}

fn rows(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    let all = if std::io::stdout().is_terminal() { ui::width() } else { usize::MAX };
    for (name, about) in rows {
        // Where little room is left beside the names, what they mean stands below them.
        let (begin, indent) = match all < width + 2 + NARROWEST {
            true => (format!("{name}\n    "), 4),
            false => (format!("{name:width$}  "), width + 2),
        };
        let lines = ui::table::wrapped(about, all.saturating_sub(indent));
        let _ = writeln!(text, "{begin}{}", lines.join(&format!("\n{:indent$}", "")));
    }
    text.trim_end().to_owned()
}
