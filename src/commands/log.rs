//! Logs: on stderr or in a file, never on stdout; a reader that is gone is no failure (STD-3).

use std::fs::File;
use std::sync::Mutex;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::arguments::{Common, LogFormat};
use super::environment::variable;
use crate::error::{Error, Kind, Result};

/// Starts logging as the options, or `ASISTRY_LOG`, ask for.
///
/// # Errors
/// [`Kind::Usage`] for a file that cannot be opened or a level that does not exist.
pub fn start(common: &Common) -> Result<()> {
    let level = match (common.quiet, common.verbose, variable("ASISTRY_LOG")) {
        (true, ..) => LevelFilter::ERROR,
        (_, 0, Some(named)) => named.parse().map_err(|_| {
            Error::new(Kind::Usage, format!("ASISTRY_LOG={named} is no level"))
                .hint("error, warn, info, debug or trace")
        })?,
        (_, 0, None) => LevelFilter::WARN,
        (_, 1, _) => LevelFilter::INFO,
        (_, _, _) => LevelFilter::DEBUG,
    };
    let writer = match &common.log_file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let mut options = File::options();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(path).map_err(|e| {
                Error::new(Kind::Usage, format!("--log-file {} cannot be written: {e}", path.display()))
            })?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(writer);
    match common.log_format {
        LogFormat::Text => builder.without_time().compact().init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
