//! `asistry profiles`: the user's instances of services, in `config.toml`.
//!
//! Ignores a key in the environment. Refuses to write settings that could not be used.

mod changed;
mod shown;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::arguments::Common;
use super::environment::Environment;
use super::output::Output;

/// Options of `asistry profiles`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the profiles
    List,
    /// Show a profile: values, options and headers, and where each comes from
    Show {
        /// Name of the profile [default: the default profile]
        name: Option<String>,
    },
    /// Add a profile
    Add(changed::Add),
    /// Change a profile, all or nothing
    Set(changed::Set),
    /// Remove a profile
    Remove(changed::Remove),
    /// Make a profile the default profile
    Use {
        /// Name of the profile
        name: String,
    },
}

/// Does what is asked for.
///
/// # Errors
/// Errors of the command line or the configuration.
pub fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    match arguments.action {
        None | Some(Action::List) => shown::list(environment, &arguments.output)?,
        Some(Action::Show { name }) => {
            shown::show(common, name.as_deref(), environment, &arguments.output)?;
        }
        Some(Action::Add(add)) => changed::add(common, add, environment)?,
        Some(Action::Set(set)) => changed::set(set, environment)?,
        Some(Action::Remove(remove)) => changed::remove(common, &remove, environment)?,
        Some(Action::Use { name }) => changed::use_(&name, environment)?,
    }
    Ok(0)
}
