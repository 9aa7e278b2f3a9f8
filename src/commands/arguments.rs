//! From the table of options to clap's arguments, and from what was typed to [`Options`] and [`Common`].
//!
//! Refuses to describe an option: that is a row of `profile/options.rs`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint};

use super::environment::variable;
use super::output::Output;
use crate::profile::{Arity, Options, Place, Row, Takers};

/// The options that every command takes, and those of the commands that print a result: both can precede the
/// command.
#[derive(Clone, Debug, Default)]
pub struct Common {
    pub profile: Option<String>,
    pub url: Option<String>,
    pub header: Vec<String>,
    pub header_file: Option<PathBuf>,
    pub no_input: bool,
    pub verbose: u8,
    pub quiet: bool,
    pub log_file: Option<PathBuf>,
    pub log_format: LogFormat,
    pub trace: Option<String>,
    pub output: Output,
    connection: Options,
}

/// The form of logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Common {
    /// Returns the connection options that were typed or come from the environment.
    pub fn options(&self) -> Options {
        self.connection.clone()
    }

    /// Adds the same options without their help, which takes time at each start.
    pub fn augment_args_without_help(command: Command) -> Command {
        let bare = Row::taken_by(Takers::Every).map(|(flag, row)| argument(flag, row));
        command.args(bare).args(hidden_readers())
    }
}

impl FromArgMatches for Common {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let text = |flag| text(matches, flag);
        Ok(Self {
            profile: text("profile"),
            url: text("url"),
            header: texts(matches, "header"),
            header_file: text("header-file").map(PathBuf::from),
            no_input: matches.get_flag("no-input"),
            verbose: matches.get_count("verbose"),
            quiet: matches.get_flag("quiet"),
            log_file: text("log-file").map(PathBuf::from),
            log_format: match text("log-format").as_deref() {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            trace: text("trace"),
            output: Output::from_arg_matches(matches)?,
            connection: options(matches, Takers::Every)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Common {
    fn augment_args(command: Command) -> Command {
        with_options(command, Takers::Every).args(hidden_readers())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Color {
    /// Reads `--color`.
    pub fn read(matches: &ArgMatches) -> Self {
        match text(matches, "color").as_deref() {
            Some("always") => Self::Always,
            Some("never") => Self::Never,
            _ => Self::Auto,
        }
    }
}

/// Adds the options that these commands take.
pub fn with_options(command: Command, takers: Takers) -> Command {
    command.args(Row::taken_by(takers).map(|(flag, row)| argument(flag, row).help(sentence(row))))
}

/// Reads the options of these commands that a profile can store too.
///
/// # Errors
/// A value of the wrong form.
pub fn options(matches: &ArgMatches, takers: Takers) -> Result<Options, Error> {
    let (mut options, here) = (Options::default(), Place::default());
    for (flag, row) in Row::taken_by(takers) {
        let texts = match row.arity() {
            Arity::Count => continue,
            Arity::Switch if matches.get_flag(flag) => vec!["true".to_owned()],
            Arity::Switch => continue,
            Arity::Once | Arity::Many => texts(matches, flag),
        };
        if texts.is_empty() {
            continue;
        }
        row.set(&mut options, &texts, &here).map_err(|why| {
            let place = match row.env.filter(|_| !matches.contains_id(flag)) {
                Some(variable) => format!("in {variable}"),
                None => format!("for '--{flag} <{}>'", row.value),
            };
            let is_key = |text: &String| text.contains(['\n', '\r']) || text.contains("-----BEGIN");
            let value = if row.is_near_secret() || texts.iter().any(is_key) {
                String::new()
            } else {
                format!(" '{}'", texts.join(", "))
            };
            let why = format!("invalid value{value} {place}: {why}");
            Error::raw(ErrorKind::ValueValidation, format!("{why}\n\n"))
        })?;
    }
    Ok(options)
}

/// Returns the value of an option: as typed, else from its variable. A variable that is set but empty counts as
/// unset.
pub fn text(matches: &ArgMatches, flag: &str) -> Option<String> {
    texts(matches, flag).pop()
}

fn texts(matches: &ArgMatches, flag: &str) -> Vec<String> {
    let typed: Vec<String> = matches.get_many(flag).into_iter().flatten().cloned().collect();
    if !typed.is_empty() {
        return typed;
    }
    let row = crate::profile::OPTIONS.iter().find(|row| row.flag == Some(flag));
    row.and_then(|row| row.env).and_then(variable).into_iter().collect()
}

/// Returns the options of output as asistry itself takes them, before the command; shown at the commands only.
fn hidden_readers() -> impl Iterator<Item = Arg> {
    Row::taken_by(Takers::Readers).map(|(flag, row)| argument(flag, row).hide(true))
}

fn argument(flag: &'static str, row: &Row) -> Arg {
    let argument = Arg::new(flag).long(flag).short(row.short);
    let argument = argument.global(row.takers != Takers::Bridge).action(match row.arity() {
        Arity::Switch => ArgAction::SetTrue,
        Arity::Count => ArgAction::Count,
        Arity::Once => ArgAction::Set,
        Arity::Many => ArgAction::Append,
    });
    let argument = match row.takers {
        Takers::Every => argument.help_heading("Common options"),
        Takers::Readers => argument.help_heading("Output options"),
        Takers::Bridge | Takers::None => argument,
    };
    let argument = if row.value.is_empty() { argument } else { argument.value_name(row.value) };
    // A pasted key begins with dashes.
    let argument = argument.allow_hyphen_values(row.is_near_secret());
    let argument = if row.is_path() { argument.value_hint(ValueHint::FilePath) } else { argument };
    let argument = match row.conflict {
        Some(other) => argument.conflicts_with(other),
        None => argument,
    };
    match row.choices() {
        choices if choices.is_empty() => argument,
        choices => {
            let value = |(word, about)| PossibleValue::new(word).help(about);
            argument.value_parser(PossibleValuesParser::new(choices.into_iter().map(value)))
        }
    }
}

/// Returns the help of an option: what it does, its default, its variable.
fn sentence(row: &Row) -> String {
    let default = if row.default.is_empty() || row.arity() == Arity::Switch {
        String::new()
    } else {
        format!(" [default: {}]", row.default)
    };
    let variable = row.env.map(|name| format!(" [env: {name}]")).unwrap_or_default();
    format!("{}{default}{variable}", row.about)
}
