//! The card of the commands that programs start over and over, with no other command on it.
//!
//! Describing every option of every command takes longer than all the rest of a start. Refuses to say what is
//! wrong: a line that this card does not take is read by the whole one.

use std::ffi::OsString;

use clap::{Args, FromArgMatches};

use super::arguments::Common;
use super::{Card, bridge, call};

/// Every word that is a command; with what describes it, where it is started often.
const COMMANDS: &[(&str, Option<Describe>)] = &[
    ("bridge", Some(bridge::Arguments::augment_args)),
    ("call", Some(call::Arguments::augment_args)),
    ("tools", None),
    ("resources", None),
    ("prompts", None),
    ("ping", None),
    ("keys", None),
    ("login", None),
    ("logout", None),
    ("whoami", None),
    ("profiles", None),
    #[cfg(feature = "sandbox")]
    ("sandbox", None),
    ("completions", None),
    ("man", None),
    ("help", None),
];

type Describe = fn(clap::Command) -> clap::Command;

/// Reads a line that names no command but those, and that nothing is wrong with.
pub fn read(words: &[OsString]) -> Option<Card> {
    // The command is found later, so any word that may be one is taken for it.
    let named = COMMANDS.iter().filter(|(name, _)| words.iter().any(|word| word == name));
    let card = clap::Command::new("asistry").subcommand_required(true);
    let mut card = Common::augment_args_without_help(card);
    for (name, describe) in named {
        card = card.subcommand((*describe)?(clap::Command::new(*name)));
    }
    let words = call::split::sorted(words.to_vec(), &card);
    Card::from_arg_matches_mut(&mut card.try_get_matches_from_mut(words).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn every_command_of_the_card_is_known_here() {
        let mut card = Card::command();
        card.build();
        let of_card: Vec<&str> = card.get_subcommands().map(clap::Command::get_name).collect();
        let known: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(known, of_card);
    }

    #[test]
    fn a_line_is_read_as_the_whole_card_reads_it() {
        for line in [
            "a call t x=1 --json",
            "a -p w call t --json x=1 -vv",
            "a --profile=call call t --limit -5 --jq .a --full --no-check",
            "a -p bridge call bridge call=bridge",
            "a call --url http://h/mcp t -- --json",
            "a call t --args - --save DIR --timeout 3s --header k:v --header l:w",
            "a call t --help",
            "a bridge",
            "a bridge --url http://h/mcp --read-only --timeout 1m",
            "a -q bridge -p call --allow-tool a --allow-tool b",
            "a --color always call t x=1",
            "a -o json --timeout 5s call t",
            "a --jq .a call t",
        ] {
            let whole = Card::try_parse_from(call::split::sorted(words(line), &Card::command()));
            let quick = read(&words(line)).unwrap_or_else(|| panic!("{line} is read by the whole card"));
            assert_eq!(format!("{quick:?}"), format!("{:?}", whole.unwrap()), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_or_asks_for_help_is_left_to_the_whole_card() {
        for line in [
            "a",
            "a call",
            "a call --help",
            "a --version",
            "a help call",
            "a -p call",
            "a call --nonsense t",
            "a bridge stray",
            "a tools",
            "a tools call",
            "a caal t",
        ] {
            assert!(read(&words(line)).is_none(), "{line}");
        }
    }
}
