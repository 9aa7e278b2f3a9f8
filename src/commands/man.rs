//! `asistry man`: the manual pages, made of what `--help` is made of.
//!
//! Refuses to show them: `asistry man | man -l -` does.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_mangen::Man;

use crate::error::{Error, Kind};
use crate::ui;

/// Options of `asistry man`.
#[derive(Debug, Args)]
#[command(after_help = "asistry man call | man -l - shows a page")]
pub struct Arguments {
    /// The command whose page is printed [default: asistry itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write all pages into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints one page, or writes all.
///
/// # Errors
/// An unknown command, or a directory that cannot be written to.
pub fn run(arguments: &Arguments, card: Command) -> Result<u8> {
    let mut card = card.disable_help_subcommand(true);
    card.build();
    if let Some(directory) = &arguments.dir {
        std::fs::create_dir_all(directory)
            .and_then(|()| write_all(&card, directory))
            .with_context(|| format!("the pages cannot be written into {}", directory.display()))?;
        return Ok(0);
    }
    let mut command = &card;
    for word in &arguments.command {
        command = command.find_subcommand(word).ok_or_else(|| {
            Error::new(Kind::Usage, format!("there is no command {word}")).hint("asistry --help lists them")
        })?;
    }
    let mut page = Vec::new();
    write_page(command, &mut page)?;
    ui::print(String::from_utf8_lossy(&page).trim_end())?;
    Ok(0)
}

fn write_all(command: &Command, directory: &std::path::Path) -> std::io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_all(subcommand, directory)?;
    }
    let mut page = Vec::new();
    write_page(command, &mut page)?;
    std::fs::write(directory.join(Man::new(command.clone()).get_filename()), page)
}

/// Writes a page; a command tells its exit codes, and asistry the pages of its commands.
fn write_page(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let source = concat!("asistry ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual("asistry").render(page)?;
    page.write_all(EXIT_STATUS.as_bytes())
}

/// The exit codes of `error.rs`, as roff.
const EXIT_STATUS: &str = "\
.SH EXIT STATUS
.TP
0
done
.TP
1
the service or the tool said no, or the result could not be written
.TP
2
wrong usage
.TP
3
profile or configuration; a key that is bound to another origin
.TP
4
no key, key rejected, login needed, key store unavailable
.TP
5
rate limited past \\-\\-max\\-wait
.TP
6
unreachable or timed out
.TP
7
the answer made no sense
.TP
70
a bug in asistry
.TP
130
interrupted
";
