//! The only printer for people.
//!
//! Refuses to let the text of a service act: what it may do to a reader, [`foreign`] knows.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod foreign;
pub mod json;
mod progress;
pub mod stderr;
pub mod table;

use std::io::{IsTerminal, Write};

use serde_json::{Map, Value};

use crate::error::{Error, Executed, Kind, Result};
pub use foreign::{clean, read_by_github_actions};
pub use progress::Progress;

/// Prints an error, whether the call may have run, and the hint on stderr.
pub fn error(error: &Error) {
    let _ = writeln!(stderr::stderr(), "asistry: {}", error.message());
    if error.details().executed == Some(Executed::Maybe) {
        // A hint says what to look at.
        let then = if error.advice().is_some() { "" } else { ": check before you repeat it" };
        let _ = writeln!(stderr::stderr(), "  the call may have run{then}");
    }
    if let Some(hint) = error.advice() {
        let _ = writeln!(stderr::stderr(), "  try: {}", hint);
    }
    if let Some(result) = &error.details().result {
        let _ = writeln!(stderr::stderr().exactly(), "{}", json::pretty(result, false));
    }
}

/// Prints clap's words about a usage error, and the command that says more.
pub fn usage(text: &str, help: &str) {
    let _ = writeln!(stderr::stderr().exactly(), "{text}  try: {help}");
}

/// Prints a failure: for people, or as one JSON object.
pub fn failure(error_: &Error, json: bool) {
    if !json {
        return error(error_);
    }
    let mut told = serde_json::json!({ "error": failure_fields(error_) });
    if let Some(result) = &error_.details().result {
        told["result"] = Value::clone(result);
    }
    let _ = writeln!(stderr::stderr().exactly(), "{}", json::harmless(&told.to_string()));
}

/// Returns a failure as the fields of a JSON object, absent ones left out.
pub fn failure_fields(error: &Error) -> Map<String, Value> {
    let details = error.details();
    let known = [
        ("kind", Some(error.kind().name().into())),
        ("message", Some(error.message().into())),
        ("hint", error.advice().map(Value::from)),
        ("httpStatus", details.http_status.map(Value::from)),
        ("code", details.code.map(Value::from)),
        ("traceId", details.trace_id.as_deref().map(Value::from)),
        ("mayHaveExecuted", details.executed.map(|executed| (executed == Executed::Maybe).into())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Shows a failure among the annotations of a GitHub Actions run.
pub fn annotation(error_: &Error) {
    let hint = error_.advice().unwrap_or_default();
    let text = clean(&format!("{}\n{hint}", error_.message()));
    let _ = writeln!(stderr::stderr().exactly(), "::error title=asistry::{}", escaped(text.trim_end()));
}

/// Tells GitHub Actions to mask a secret that is about to be printed.
pub fn mask(secret: &str) {
    let _ = writeln!(stderr::stderr().exactly(), "::add-mask::{}", escaped(secret));
}

/// Writes a value into a workflow command.
fn escaped(value: &str) -> String {
    value.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Prints one line for a person on stderr.
pub fn say(line: &str) {
    let _ = writeln!(stderr::stderr(), "{}", foreign::not_ours(line));
}

/// Prints one of asistry's warnings on stderr.
pub fn warn(line: &str) {
    let _ = writeln!(stderr::stderr(), "asistry: {line}");
}

/// Prints a question on stderr and leaves the line open for the answer.
pub fn ask(question: &str) {
    let mut stderr = std::io::stderr();
    let _ =
        write!(stderr, "{} ", foreign::remark(&foreign::not_ours(question))).and_then(|()| stderr.flush());
}

/// Prints a result on stdout; a closed pipe ends quietly.
///
/// # Errors
/// [`Kind::Output`] where it cannot be written, such as on a full disk.
pub fn print(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { print_exactly(&clean(text)) } else { print_exactly(text) }
}

/// Prints a text in which every control character is ours.
///
/// # Errors
/// As [`print`].
pub fn print_exactly(shown: &str) -> Result<()> {
    print_to_reader(shown).map(drop)
}

/// As [`print_exactly`]; says whether there is still somebody who reads it.
///
/// # Errors
/// As [`print`].
fn print_to_reader(shown: &str) -> Result<bool> {
    let shown = foreign::disarmed(shown);
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(shown.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::new(Kind::Output, format!("the result cannot be written: {e}"))
            .caused_by(e)
            .hint("make room for it; the request itself was made, so look before you repeat it")),
    }
}

/// Returns how many columns stdout has; 80 where it is no terminal.
pub fn width() -> usize {
    let columns = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    columns.unwrap_or(80)
}
