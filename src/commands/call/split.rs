//! Tells the options of asistry from the arguments of a tool, on a command line where both look alike.
//!
//! After the tool, an option that asistry knows is asistry's; every other word is the tool's. Refuses nothing:
//! what is wrong is reported later, by its reader.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// The hidden flag that `TOOL --help` becomes.
pub const TOOL_HELP: &str = "tool-help";

/// Moves the options of asistry before a `--`, and the tool with its words behind it.
pub fn sorted(words: Vec<OsString>, card: &Command) -> Vec<OsString> {
    let Some(at) = place_of_call(&words, card) else { return words };
    let Some(call) = card.find_subcommand("call") else { return words };
    let known = |word: &str| find(word, call).or_else(|| find(word, card));
    let (mut options, mut tool) = (words[..=at].to_vec(), Vec::new());
    let mut rest = words[at + 1..].iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        match known(&text) {
            _ if text == "--" => tool.extend(rest.by_ref().cloned()),
            _ if !tool.is_empty() && matches!(&*text, "--help" | "-h") => {
                options.push(format!("--{TOOL_HELP}").into());
            }
            Some(takes_more) => {
                options.push(word.clone());
                if takes_more {
                    options.extend(rest.next().cloned());
                }
            }
            // A wrong option before the tool can only be meant for asistry.
            None if text.starts_with('-') && text.len() > 1 && tool.is_empty() => options.push(word.clone()),
            None => tool.push(word.clone()),
        }
    }
    if !tool.is_empty() {
        options.push("--".into());
        options.extend(tool);
    }
    options
}

/// Finds the subcommand, if it is `call`.
fn place_of_call(words: &[OsString], card: &Command) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let text = word.to_string_lossy();
        if !text.starts_with('-') {
            return (text == "call").then_some(at);
        }
        at += if find(&text, card) == Some(true) { 2 } else { 1 };
    }
    None
}

/// Finds an option of a command; says whether its value is the next word.
fn find(word: &str, command: &Command) -> Option<bool> {
    option_in(word, command).map(|option| option.takes_more)
}

/// An option as it was typed.
pub struct TypedOption<'c, 'w> {
    /// Which one; of several short ones in one word, the last.
    pub argument: &'c Arg,
    /// Its value, if it is in the same word.
    pub value: Option<&'w str>,
    /// Its value is the next word.
    pub takes_more: bool,
}

/// Finds the option that a word names.
pub fn option_in<'c, 'w>(word: &'w str, command: &'c Command) -> Option<TypedOption<'c, 'w>> {
    let takes_value = |arg: &Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let argument =
            command.get_arguments().find(|arg| arg.get_long() == Some(name) && !name.is_empty())?;
        return Some(TypedOption { argument, value, takes_more: takes_value(argument) && value.is_none() });
    }
    let mut flags = word.strip_prefix('-')?.chars();
    let mut last = None;
    while let Some(flag) = flags.next() {
        let argument = command.get_arguments().find(|arg| arg.get_short() == Some(flag))?;
        if takes_value(argument) {
            let value = Some(flags.as_str()).filter(|value| !value.is_empty());
            return Some(TypedOption { argument, value, takes_more: value.is_none() });
        }
        last = Some(TypedOption { argument, value: None, takes_more: false });
    }
    last
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn card() -> Command {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        Command::new("asistry")
            .arg(Arg::new("profile").short('p').long("profile").global(true))
            .arg(Arg::new("verbose").short('v').action(ArgAction::Count).global(true))
            .subcommand(
                Command::new("call").arg(flag("json")).arg(Arg::new("jq").long("jq")).arg(flag("full")),
            )
            .subcommand(Command::new("tools"))
    }

    fn sorted(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let sorted = super::sorted(words, &card());
        sorted.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_of_ours_and_words_of_the_tool_are_told_apart() {
        for (typed, told_apart) in [
            ("a call t x=1 --json", "a call --json -- t x=1"),
            ("a -p w call t --json x=1 -v", "a -p w call --json -v -- t x=1"),
            ("a -pw -vv call t --title x --jq .a y=1", "a -pw -vv call --jq .a -- t --title x y=1"),
            ("a --profile=call call t --limit -5", "a --profile=call call -- t --limit -5"),
            ("a call t -- --json", "a call -- t --json"),
            ("a call --jsn t", "a call --jsn -- t"),
            ("a call --help", "a call --help"),
            ("a call t --help", "a call --tool-help -- t"),
            ("a call t - x=@-", "a call -- t - x=@-"),
            ("a tools call --title", "a tools call --title"),
            ("a call --json", "a call --json"),
            ("a -p call tools", "a -p call tools"),
        ] {
            assert_eq!(sorted(typed), told_apart, "{typed}");
        }
    }
}
