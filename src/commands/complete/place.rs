//! Finds what can be typed at the cursor: which command, which option's value, which argument.
//!
//! Pure; uses only clap's description of the commands. Ignores errors in the words before the cursor.

use clap::{Arg, Command, ValueHint};

use crate::commands::call::split::option_in;

/// The words that fit a place.
#[derive(Debug)]
pub enum Want<'c> {
    /// A subcommand of this command.
    Subcommands(&'c Command),
    /// An option of this command.
    Options(&'c Command),
    /// One of the values that the argument lists.
    Values(&'c Arg),
    /// A profile name.
    Profiles,
    /// A tool name.
    Tools,
    /// The name of a stored key.
    Keys,
    /// A service name.
    Services,
    /// An argument of `tool` after these words; `own_options` are asistry's long options, which take precedence.
    ToolArgument { tool: String, words: Vec<String>, own_options: Vec<&'c str> },
    /// A file or a directory.
    Files,
}

/// Describes the cursor position.
#[derive(Debug, Default)]
pub struct Place<'c> {
    /// The words that fit.
    pub wants: Vec<Want<'c>>,
    /// Length in bytes of the part of the typed word to keep.
    pub prefix_len: usize,
    /// The profile named by `-p`.
    pub profile: Option<String>,
    /// The URL named by `--url`.
    pub url: Option<String>,
}

/// The kind of name that a value is, where clap only knows a string.
#[derive(Clone, Copy, Debug)]
enum Names {
    Profiles,
    Tools,
    Keys,
    Services,
    /// `@FILE`.
    AtFile,
    /// A command path, such as `keys rotate`.
    Command,
}

/// Command (`None`: any), argument id, what its value names.
const NAMES: &[(Option<&str>, &str, Names)] = &[
    (None, "profile", Names::Profiles),
    (Some("bridge"), "allow-tool", Names::Tools),
    (Some("bridge"), "deny-tool", Names::Tools),
    (Some("call"), "args", Names::AtFile),
    (Some("call"), "tool", Names::Tools),
    (Some("help"), "command", Names::Command),
    (Some("keys"), "key", Names::Keys),
    (Some("keys"), "name", Names::Keys),
    (Some("man"), "command", Names::Command),
    (Some("profiles"), "name", Names::Profiles),
    (Some("profiles"), "service", Names::Services),
    (Some("tools"), "tool", Names::Tools),
];

impl<'c> Place<'c> {
    /// Parses the words between the program name and the typed one; `card` must be built.
    pub fn of(before: &[String], typed: &str, card: &'c Command) -> Self {
        let mut parser = Parser {
            card,
            command: card,
            first: None,
            positionals: Vec::new(),
            pending: None,
            options_ended: false,
            place: Self::default(),
        };
        before.iter().for_each(|word| parser.read_word(word));
        parser.read_typed(typed);
        parser.place
    }
}

/// Parser state.
struct Parser<'c> {
    card: &'c Command,
    command: &'c Command,
    /// The top-level subcommand.
    first: Option<&'c str>,
    positionals: Vec<String>,
    /// The option that takes the next word as its value.
    pending: Option<&'c Arg>,
    /// Whether `--` was read.
    options_ended: bool,
    place: Place<'c>,
}

impl<'c> Parser<'c> {
    fn read_word(&mut self, word: &str) {
        if let Some(argument) = self.pending.take() {
            return self.note(argument, word);
        }
        if word == "--" && !self.options_ended {
            self.options_ended = true;
            return;
        }
        if let Some(option) = option_in(word, self.command).filter(|_| !self.options_ended) {
            self.pending = Some(option.argument).filter(|_| option.takes_more);
            return option.value.into_iter().for_each(|value| self.note(option.argument, value));
        }
        if word.starts_with('-') && word.len() > 1 && !self.options_ended && !self.is_in_tool() {
            return;
        }
        match self
            .command
            .find_subcommand(word)
            .filter(|_| self.positionals.is_empty() && !self.options_ended)
        {
            Some(subcommand) => {
                self.first = self.first.or(Some(subcommand.get_name()));
                self.command = subcommand;
            }
            None => self.positionals.push(word.to_owned()),
        }
    }

    fn note(&mut self, argument: &Arg, value: &str) {
        match argument.get_id().as_str() {
            "profile" => self.place.profile = Some(value.to_owned()),
            "url" => self.place.url = Some(value.to_owned()),
            _ => {}
        }
    }

    /// Returns whether unknown options belong to the tool of `call`.
    fn is_in_tool(&self) -> bool {
        self.first == Some("call") && !self.positionals.is_empty()
    }

    fn read_typed(&mut self, typed: &str) {
        if let Some(argument) = self.pending {
            return self.value_of(argument, typed);
        }
        let option = option_in(typed, self.command).filter(|_| !self.options_ended);
        if let Some((argument, value)) = option.and_then(|option| Some((option.argument, option.value?))) {
            self.place.prefix_len = typed.len() - value.len();
            return self.value_of(argument, value);
        }
        if typed.starts_with('-') && !typed.contains('=') && !self.options_ended {
            self.place.wants.push(Want::Options(self.command));
        }
        if self.is_in_tool() {
            let long = self.command.get_arguments().filter_map(Arg::get_long);
            let own_options = if self.options_ended { Vec::new() } else { long.collect() };
            let words = self.positionals[1..].to_vec();
            self.place.wants.push(Want::ToolArgument {
                tool: self.positionals[0].clone(),
                words,
                own_options,
            });
        } else if self.options_ended || !typed.starts_with('-') {
            if self.positionals.is_empty() && !self.options_ended {
                self.place.wants.push(Want::Subcommands(self.command));
            }
            let mut open = self.command.get_positionals().skip(self.positionals.len());
            let last = || self.command.get_positionals().last().filter(|last| takes_many(last));
            if let Some(argument) = open.next().or_else(last) {
                self.value_of(argument, typed);
            }
        }
    }

    fn value_of(&mut self, argument: &'c Arg, value: &str) {
        if !argument.get_possible_values().is_empty() {
            self.place.wants.push(Want::Values(argument));
        }
        match argument.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => {
                self.place.wants.push(Want::Files);
            }
            _ => {}
        }
        let first = self.first;
        let is_meant = |(command, id, _): &&(Option<&str>, &str, Names)| {
            argument.get_id() == *id && (command.is_none() || *command == first)
        };
        // `add` creates a new name.
        if argument.get_id() == "name" && self.command.get_name() == "add" {
            return;
        }
        match NAMES.iter().find(is_meant).map(|(_, _, names)| names) {
            Some(Names::Profiles) => self.place.wants.push(Want::Profiles),
            Some(Names::Tools) => self.place.wants.push(Want::Tools),
            Some(Names::Keys) => self.place.wants.push(Want::Keys),
            Some(Names::Services) => self.place.wants.push(Want::Services),
            Some(Names::AtFile) if value.starts_with('@') => {
                self.place.prefix_len += 1;
                self.place.wants.push(Want::Files);
            }
            Some(Names::Command) => {
                let below = |command: &'c Command, word: &String| command.find_subcommand(word);
                let command = self.positionals.iter().try_fold(self.card, below);
                self.place.wants.extend(command.map(Want::Subcommands));
            }
            Some(Names::AtFile) | None => {}
        }
    }
}

fn takes_many(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|count| count.max_values() > 1)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn card() -> Command {
        let mut card = crate::commands::Card::command();
        card.build();
        card
    }

    #[test]
    fn every_row_of_the_table_names_an_argument() {
        fn has(command: &Command, id: &str) -> bool {
            command.get_arguments().any(|argument| argument.get_id() == id)
                || command.get_subcommands().any(|below| has(below, id))
        }
        let card = card();
        for (command, id, _) in NAMES {
            let there = command.map_or(Some(&card), |name| card.find_subcommand(name));
            assert!(there.is_some_and(|there| has(there, id)), "{command:?} {id}");
        }
    }

    #[test]
    fn the_words_before_choose_the_endpoint() {
        let card = card();
        for line in ["-p w call --url=u t", "call -vpw t --url u", "--profile w --url u call -- t"] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let place = Place::of(&words, "", &card);
            assert_eq!((place.profile.as_deref(), place.url.as_deref()), (Some("w"), Some("u")), "{line}");
        }
    }
}
