//! Answers `asistry __complete SHELL …`, which the scripts in `completions/` call on TAB.
//!
//! `shells` and `bash` parse the request, `place` and `tool` find what can be typed at the cursor, `known` looks
//! names up without the network. Refuses the network, key stores and logs; unreadable input yields no candidates
//! and no message.
//!
//! Why not `clap_complete::engine`: its bash script passes words split at `=` and `:` (`COMP_WORDBREAKS`), so
//! `status=to<TAB>` completes nothing (tried with 4.6.11; zsh and fish work), and its completers do not see the
//! words before the cursor, which select the tool and the endpoint.

mod bash;
mod known;
mod place;
mod shells;
mod tool;

use std::ffi::OsString;

use clap::Command;

use self::known::Known;
use self::place::{Place, Want};
use super::conversation::Tool;
use super::environment::Environment;
use crate::ui;

/// The hidden subcommand that completion scripts call.
const WORD: &str = "__complete";
/// Maximum length of a description, in characters.
const LONGEST: usize = 80;

/// One completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Replaces the typed word after its first [`Answer::prefix_len`] bytes.
    text: String,
    /// Description; may be empty.
    about: String,
    /// Whether no space follows, as after `status=`.
    open: bool,
}

impl Candidate {
    fn new(text: impl Into<String>, about: &str) -> Self {
        Self { text: text.into(), about: about.to_owned(), open: false }
    }

    fn open(self) -> Self {
        Self { open: true, ..self }
    }

    /// Drops names with control characters, which services could send, and shortens the description to one line.
    fn cleaned(self) -> Option<Self> {
        if self.text.is_empty() || self.text.chars().any(char::is_control) {
            return None;
        }
        let line = ui::clean(self.about.lines().next().unwrap_or_default()).replace('\t', " ");
        let about = match line.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        };
        Some(Self { about, ..self })
    }
}

/// All completions at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Length in bytes of the part of the typed word to keep: `status=`, `--profile=`.
    prefix_len: usize,
    candidates: Vec<Candidate>,
    /// Whether the shell should add file names.
    files: bool,
}

/// Prints completions if the arguments are a completion request; returns whether they were.
pub fn answer(words: &[OsString], card: impl FnOnce() -> Command) -> bool {
    if words.get(1).is_none_or(|word| word != WORD) {
        return false;
    }
    let words: Vec<String> = words.iter().skip(2).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(request) = shells::read(&words) {
        let mut card = card();
        card.build();
        let found = found(request.before(), request.typed(), &card);
        let _ = ui::print_exactly(&request.written(&found));
    }
    true
}

fn found(before: &[String], typed: &str, card: &Command) -> Answer {
    let place = Place::of(before, typed, card);
    let known = Known::at(&place, &Environment::read());
    offered(&place, typed, &known)
}

/// Returns all completions at a place. Shells filter them by the typed word, each with its own matching rules.
fn offered(place: &Place<'_>, typed: &str, known: &Known) -> Answer {
    let mut answer = Answer { prefix_len: place.prefix_len, ..Answer::default() };
    for want in &place.wants {
        match want {
            Want::Subcommands(command) => answer.candidates.extend(subcommands(command)),
            Want::Options(command) => answer.candidates.extend(options(command, typed)),
            Want::Values(argument) => answer.candidates.extend(values(argument)),
            Want::Profiles => answer.candidates.extend(known.profiles.iter().cloned()),
            Want::Keys => answer.candidates.extend(known.keys.iter().cloned()),
            Want::Services => answer.candidates.extend(known.services.iter().cloned()),
            Want::Tools => {
                let spelling = Spelling::of(&known.tools, typed);
                let named = |tool: &Tool| Candidate::new(spelling.name(tool), &tool.description);
                answer.candidates.extend(known.tools.iter().map(named));
            }
            Want::ToolArgument { tool, words, own_options } => {
                if let Some(tool) = known.tools.iter().find(|known| known.is_named(tool)) {
                    let more = tool::words(tool, words, typed, own_options);
                    answer.prefix_len = answer.prefix_len.max(more.prefix_len);
                    answer.files |= more.files;
                    answer.candidates.extend(more.candidates);
                }
            }
            Want::Files => answer.files = true,
        }
    }
    answer.candidates = answer.candidates.into_iter().filter_map(Candidate::cleaned).collect();
    answer
}

/// The spelling of tool names that the typed word has begun.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// The service's own.
    Original,
    /// That of `--tool-names safe`.
    Safe,
}

impl Spelling {
    fn of(tools: &[Tool], typed: &str) -> Self {
        let fits = |name: &str| name.starts_with(typed);
        let safe =
            !tools.iter().any(|tool| fits(&tool.name)) && tools.iter().any(|tool| fits(&tool.safe_name));
        if safe { Self::Safe } else { Self::Original }
    }

    fn name(self, tool: &Tool) -> &str {
        match self {
            Self::Original => &tool.name,
            Self::Safe => &tool.safe_name,
        }
    }
}

fn subcommands(command: &Command) -> impl Iterator<Item = Candidate> {
    let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    shown.map(|subcommand| {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        Candidate::new(subcommand.get_name(), &about)
    })
}

fn options(command: &Command, typed: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let about = argument.get_help().map(ToString::to_string).unwrap_or_default();
        found.extend(argument.get_long().map(|name| Candidate::new(format!("--{name}"), &about)));
        let short = argument.get_short().filter(|_| !typed.starts_with("--"));
        found.extend(short.map(|name| Candidate::new(format!("-{name}"), &about)));
    }
    found
}

fn values(argument: &clap::Arg) -> Vec<Candidate> {
    let shown = argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
    let about = |value: &clap::builder::PossibleValue| value.get_help().map(ToString::to_string);
    shown.map(|value| Candidate::new(value.get_name(), &about(&value).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::protocol::tool_rules::ToolRules;

    use super::*;

    fn known() -> Known {
        let tool = |name: &str, schema: serde_json::Value| {
            let raw = json!({"name": name, "description": "What it does.\nMore.", "inputSchema": schema});
            serde_json::value::to_raw_value(&raw).unwrap()
        };
        let list = json!({"properties": {
            "status": {"type": "string", "enum": ["todo", "in progress", "@home"]},
            "due_before": {"type": "string"},
            "urgent": {"type": "boolean"},
            "url": {"enum": ["a", "b"]},
            "labels": {"type": "array", "items": {"enum": ["bug", "idea"]}},
        }});
        Known {
            profiles: vec![Candidate::new("work", ""), Candidate::new("asistry", "Asistry")],
            tools: Tool::read_all(
                &[tool("list_tasks", list), tool("re\u{1b}set", json!({})), tool("a.b", json!({}))],
                ToolRules::default(),
                |_| {},
            ),
            keys: vec![Candidate::new("default", ""), Candidate::new("second", "")],
            services: vec![Candidate::new("zuko", "Zuko")],
        }
    }

    /// Returns the texts of what is offered, after the part that stays.
    fn offered(line: &str) -> String {
        let mut card = super::super::card(&[]);
        card.build();
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let typed = words.pop().unwrap();
        let place = Place::of(&words, &typed, &card);
        let answer = super::offered(&place, &typed, &known());
        let prefix = &typed[..answer.prefix_len];
        let texts =
            answer.candidates.iter().filter(|found| found.text.starts_with(&typed[answer.prefix_len..]));
        let mut all: Vec<String> = texts.map(|found| format!("{prefix}{}", found.text)).collect();
        all.extend(answer.files.then(|| format!("{prefix}FILE")));
        all.join(" ")
    }

    #[test]
    fn each_place_has_its_candidates() {
        for (line, fits) in [
            ("pi", "ping"),
            ("-p ", "work asistry"),
            ("-p wo", "work"),
            ("-pa", "-pasistry"),
            ("--profile=", "--profile=work --profile=asistry"),
            ("-vp ", "work asistry"),
            ("call --prof", "--profile"),
            ("--log-format ", "text json"),
            ("--log-format=j", "--log-format=json"),
            ("--trace ", "FILE"),
            ("--ca-file=", "--ca-file=FILE"),
            ("--timeout ", ""),
            ("tools s", "show"),
            ("tools -p work show ", "list_tasks a.b"),
            ("bridge --deny-tool ", "list_tasks a.b"),
            ("keys use ", "default second"),
            ("keys remove --name s", "second"),
            ("keys remove ", "default second"),
            ("keys test s", "second"),
            ("keys rotate ", "default second"),
            ("keys show ", "default second"),
            ("keys add ", ""),
            ("keys add --name ", ""),
            ("profiles use w", "work"),
            ("profiles add ", ""),
            ("profiles add x --service ", "zuko"),
            ("help keys ro", "rotate"),
            ("man keys ro", "rotate"),
            ("completions ", "bash elvish fish powershell zsh"),
            ("nonsense ", ""),
            ("__complete ", ""),
            ("call ", "list_tasks a.b"),
            ("call a", "a.b"),
            ("call a_", "a_b"),
            ("call --json ", "list_tasks a.b"),
            ("call list_tasks ", "status= due_before= urgent= url= labels="),
            ("-p work call list_tasks --json st", "status="),
            ("call list_tasks status=", "status=todo status=in progress status=@@home"),
            ("call list_tasks status=in", "status=in progress"),
            ("call list_tasks status=todo ", "due_before= urgent= url= labels="),
            ("call list_tasks labels=bug la", "labels="),
            ("call list_tasks labels=", "labels=bug labels=idea"),
            ("call list_tasks due_before=", ""),
            ("call list_tasks due_before=@", "due_before=@FILE"),
            ("call list_tasks due_before=@@", ""),
            ("call list_tasks labels:=@", "labels:=@FILE"),
            ("call list_tasks urgent:=t", "urgent:=true"),
            ("call list_tasks status:=", ""),
            ("call list_tasks --st", "--status"),
            ("call list_tasks --du", "--due-before"),
            ("call list_tasks --Due-Before=@", "--Due-Before=@FILE"),
            ("call list_tasks --status ", "todo in progress @@home"),
            ("call list_tasks --status=t", "--status=todo"),
            ("call list_tasks --urgent ", "true false status= due_before= url= labels="),
            ("call list_tasks --urgent status=t", "status=todo"),
            ("call list_tasks --status todo lab", "labels="),
            // A property that bears the name of an option is written without dashes.
            ("call list_tasks --ur", "--url --urgent"),
            ("call list_tasks --url ", ""),
            ("call list_tasks url=", "url=a url=b"),
            ("call list_tasks -- --js", ""),
            ("call list_tasks --jq .x st", "status="),
            ("call --args @", "@FILE"),
            ("call --args ", ""),
            ("call nonsense ", ""),
        ] {
            assert_eq!(offered(line), fits, "{line}");
        }
    }

    #[test]
    fn explanations_are_one_short_clean_line() {
        let cleaned = |text: &str, about: &str| Candidate::new(text, about).cleaned().map(|c| c.about);
        assert_eq!(cleaned("x", "a\u{1b}[1m\tb\nc").as_deref(), Some("a\u{fffd}[1m b"));
        assert_eq!(cleaned("x", &"ü".repeat(200)).map(|about| about.chars().count()), Some(LONGEST + 1));
        assert_eq!(cleaned("a\nb", ""), None);
    }
}
