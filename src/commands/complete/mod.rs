//! What a shell asks on TAB: `asistry __complete SHELL …`, as the scripts in `completions/` do.
//!
//! From the words before the cursor (`shells`, `bash`) to the place where it stands (`place`, `tool`), to the
//! names that are known without the network (`known`), to candidates. Refuses the network, key stores and
//! logs; what cannot be read is no candidate, and no message ever gets in front of the person who types.

mod bash;
mod known;
mod place;
mod shells;
mod tool;

use std::ffi::OsString;

use clap::Command;

use self::known::Known;
use self::place::{Place, Want};
use super::environment::Environment;
use crate::ui;

/// The word behind which a shell asks; no command that a person types.
const WORD: &str = "__complete";
/// Longer explanations are cut off.
const LONGEST: usize = 80;

/// What may follow the typed word, or take its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What stands instead of the typed word, after the part of it that stays.
    text: String,
    /// What it is, for people; may be empty.
    about: String,
    /// The word goes on after it: `status=`.
    open: bool,
}

impl Candidate {
    fn new(text: impl Into<String>, about: &str) -> Self {
        Self { text: text.into(), about: about.to_owned(), open: false }
    }

    fn open(self) -> Self {
        Self { open: true, ..self }
    }

    /// Names come from services: a control character could do harm in a terminal, a long text has no room.
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

/// All that fits at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many bytes of the typed word stay: `status=`, `--profile=`.
    stays: usize,
    candidates: Vec<Candidate>,
    /// The shell knows best which files there are.
    files: bool,
}

/// Answers a shell, if one asks.
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

/// Returns what fits at a place. Which of it begins like the typed word, the shells decide: some know more
/// than one way to be alike.
fn offered(place: &Place<'_>, typed: &str, known: &Known) -> Answer {
    let mut answer = Answer { stays: place.stays, ..Answer::default() };
    for want in &place.wants {
        match want {
            Want::Subcommands(command) => answer.candidates.extend(subcommands(command)),
            Want::Options(command) => answer.candidates.extend(options(command, typed)),
            Want::Values(argument) => answer.candidates.extend(values(argument)),
            Want::Profiles => answer.candidates.extend(known.profiles.iter().cloned()),
            Want::Keys => answer.candidates.extend(known.keys.iter().cloned()),
            Want::Services => answer.candidates.extend(known.services.iter().cloned()),
            Want::Tools => {
                let about = |tool: &super::conversation::Tool| Candidate::new(&tool.name, &tool.description);
                answer.candidates.extend(known.tools.iter().map(about));
            }
            Want::OfTool { tool, words, ours } => {
                if let Some(tool) = known.tools.iter().find(|known| known.name == *tool) {
                    let more = tool::words(tool, words, typed, ours);
                    answer.stays = answer.stays.max(more.stays);
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

    use super::super::conversation::Tool;
    use super::*;

    fn known() -> Known {
        let tool = |name: &str, schema: serde_json::Value| {
            let raw = json!({"name": name, "description": "What it does.\nMore.", "inputSchema": schema});
            Tool::read(&serde_json::value::to_raw_value(&raw).unwrap()).unwrap()
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
            tools: vec![tool("list_tasks", list), tool("re\u{1b}set", json!({}))],
            keys: vec![Candidate::new("default", ""), Candidate::new("second", "")],
            services: vec![Candidate::new("zuko", "Zuko")],
        }
    }

    /// Returns the texts of what is offered, after the part that stays.
    fn offered(line: &str) -> String {
        let mut card = super::super::card();
        card.build();
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let typed = words.pop().unwrap();
        let place = Place::of(&words, &typed, &card);
        let answer = super::offered(&place, &typed, &known());
        let stays = &typed[..answer.stays];
        let texts = answer.candidates.iter().filter(|found| found.text.starts_with(&typed[answer.stays..]));
        let mut all: Vec<String> = texts.map(|found| format!("{stays}{}", found.text)).collect();
        all.extend(answer.files.then(|| format!("{stays}FILE")));
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
            ("tools -p work show ", "list_tasks"),
            ("bridge --deny-tool ", "list_tasks"),
            ("keys use ", "default second"),
            ("keys remove --name s", "second"),
            ("keys add --name ", ""),
            ("profiles use w", "work"),
            ("profiles add ", ""),
            ("profiles add x --service ", "zuko"),
            ("help keys ro", "rotate"),
            ("man keys ro", "rotate"),
            ("completions ", "bash elvish fish powershell zsh"),
            ("nonsense ", ""),
            ("__complete ", ""),
            ("call ", "list_tasks"),
            ("call --json ", "list_tasks"),
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
