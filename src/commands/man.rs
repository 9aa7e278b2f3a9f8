//! `asistry man`: the manual pages, made from the same tables as `--help`.
//!
//! Refuses to show them: `asistry man | man -l -` does.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::environment::FILES;
use super::{examples, help};
use crate::error::{Error, Kind};
use crate::ui;

/// Options of `asistry man`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Command whose page is printed [default: asistry itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write all pages to this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints one page, or writes all.
///
/// # Errors
/// An unknown command, or a directory that cannot be written to.
pub fn run(arguments: &Arguments, mut card: Command) -> Result<u8> {
    card.build();
    if let Some(directory) = &arguments.dir {
        std::fs::create_dir_all(directory).and_then(|()| write_all(&card, directory)).map_err(|e| {
            let why = format!("cannot write the pages into {}: {e}", directory.display());
            Error::new(Kind::Usage, why).hint("name a directory that can be written: --dir DIR")
        })?;
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

/// Writes a page: what clap knows, and sections from our own tables.
fn write_page(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let source = concat!("asistry ", env!("CARGO_PKG_VERSION"));
    // The examples have a section of their own here.
    let about = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let about = about.split("Examples:\n").next().unwrap_or_default().trim_end().to_owned();
    let shown = if about.is_empty() {
        command.clone().after_help(None::<&str>)
    } else {
        command.clone().after_help(about)
    };
    Man::new(shown).source(source).manual("asistry").render(page)?;
    let words = command.get_bin_name().unwrap_or_default();
    let words = words.strip_prefix("asistry").unwrap_or_default().trim_start();
    write_examples(page, words)?;
    write_section(page, "ENVIRONMENT", &help::variables())?;
    write_section(page, "FILES", FILES)?;
    write_section(page, "EXIT STATUS", &help::exit_codes())
}

/// Writes the examples; a line that was filled could be hyphenated, and would not work when pasted.
fn write_examples(page: &mut Vec<u8>, words: &str) -> std::io::Result<()> {
    if examples::of(words).next().is_none() {
        return Ok(());
    }
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (_, line, about) in examples::of(words) {
        roff.control("TP", []);
        roff.text([roman(*about)]);
        roff.control("nf", []);
        roff.text([roman(*line)]);
        roff.control("fi", []);
    }
    roff.to_writer(page)
}

/// Writes a section of names, each with what it is about.
fn write_section<S: AsRef<str>>(page: &mut Vec<u8>, title: &str, rows: &[(S, S)]) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (name, about) in rows {
        roff.control("TP", []);
        roff.text([roman(name.as_ref())]);
        roff.text([roman(about.as_ref())]);
    }
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_one_line_that_nothing_fills() {
        let mut card = crate::commands::card(&[]);
        card.build();
        let mut page = Vec::new();
        write_page(card.find_subcommand("bridge").unwrap(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap().replace("\\-", "-");
        for (_, line, about) in examples::of("bridge") {
            let line = line.replace('\'', r"\*(Aq");
            assert!(page.contains(&format!("{about}\n.nf\n{line}\n.fi\n")), "{line}: {page}");
        }
    }
}
