//! Logs: on stderr or in a file, never on stdout; a reader that is gone is no failure (STD-3).
//!
//! A bridge logs through a queue, so that an unread log delays no message. Refuses the words of
//! other crates, unless `ASISTRY_LOG` names them.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::arguments::{Common, LogFormat};
use super::environment::variable;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::remote::LIMITED;
use crate::ui::stderr::{self, Line, Queue};

/// Time limit for writing the last lines.
const LAST_WORDS: Duration = Duration::from_millis(100);
const OURS: &str = "asistry";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once; the caller waits.
    Directly,
    /// On a thread; dropped if they are not read.
    Queued,
}

/// The log of this process.
#[derive(Debug)]
pub struct Log {
    file: Option<Queue>,
}

impl Log {
    /// Waits a moment until what was logged is written.
    pub fn finish(self) {
        if let Some(file) = self.file {
            file.finish(LAST_WORDS);
        }
    }
}

/// Waits a moment until what was said on stderr is written.
pub fn finish_stderr() {
    stderr::finish(LAST_WORDS);
}

/// Starts logging as the options, or `ASISTRY_LOG`, ask for.
///
/// # Errors
/// [`Kind::Usage`] for a file that cannot be opened or a level that does not exist.
pub fn start(common: &Common, manner: Manner) -> Result<Log> {
    let mut targets = targets(common, variable("ASISTRY_LOG").as_deref())?;
    // Without a terminal there is no countdown; a bridge reports waits to its client.
    // Beside a failure in JSON nothing else stands on stderr.
    if common.output.is_json() && common.log_file.is_none() && manner == Manner::Directly {
        return Ok(Log { file: None });
    }
    let unseen = manner == Manner::Directly && !std::io::stderr().is_terminal();
    if unseen && !common.quiet && !common.output.is_json() {
        targets = targets.with_target(LIMITED, LevelFilter::INFO);
    }
    let note: fn(&str) -> String = match common.log_format {
        LogFormat::Text => |text| format!(" WARN {text}\n"),
        LogFormat::Json => {
            |text| format!("{}\n", serde_json::json!({"level": "WARN", "fields": {"message": text}}))
        }
    };
    if manner == Manner::Queued {
        stderr::detach(note);
    }
    let mut queue = None;
    let out = match &common.log_file {
        None => Out::Stderr(common.log_format),
        Some(path) => {
            let wrong = |e| {
                Error::new(Kind::Usage, format!("--log-file {} cannot be written: {e}", path.display()))
                    .caused_by(e)
            };
            let (file, mended) = files::append_private(path).map_err(wrong)?;
            if mended {
                crate::ui::say(&files::now_private(path));
            }
            match manner {
                Manner::Directly => Out::File(Mutex::new(file)),
                Manner::Queued => {
                    let lines = Queue::new(file, note);
                    Out::Queue(queue.insert(lines).clone(), common.log_format)
                }
            }
        }
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(out);
    let registry = tracing_subscriber::registry().with(targets);
    match common.log_format {
        LogFormat::Text => registry.with(layer.without_time().compact()).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
    Ok(Log { file: queue })
}

/// Reads which crate logs how much: `LEVEL` is for us, `CRATE=LEVEL` for another one.
fn targets(common: &Common, named: Option<&str>) -> Result<Targets> {
    let mut ours = match common.verbose {
        _ if common.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let mut targets = Targets::new();
    for directive in named.unwrap_or_default().split(',').filter(|part| !part.trim().is_empty()) {
        let (target, level) = directive.trim().split_once('=').unwrap_or((OURS, directive.trim()));
        let level: LevelFilter = level.parse().map_err(|_| {
            Error::new(Kind::Usage, format!("ASISTRY_LOG={directive}: {level} is not a log level"))
                .hint("error, warn, info, debug or trace; another crate's as CRATE=LEVEL")
        })?;
        match target {
            OURS if common.quiet || common.verbose > 0 => {}
            OURS => ours = level,
            target => targets = targets.with_target(target, level),
        }
    }
    Ok(targets.with_target(OURS, ours))
}

/// Where log lines go.
enum Out {
    Stderr(LogFormat),
    File(Mutex<std::fs::File>),
    Queue(Queue, LogFormat),
}

/// One line on its way.
enum Writer<'a> {
    Line(Line<'a>),
    File(std::sync::MutexGuard<'a, std::fs::File>),
}

impl<'a> Writer<'a> {
    /// JSON has no line break that a stranger could have put there.
    fn line(line: Line<'a>, format: LogFormat) -> Self {
        Self::Line(if format == LogFormat::Json { line.exactly() } else { line })
    }
}

impl<'a> MakeWriter<'a> for Out {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        match self {
            Self::Stderr(format) => Writer::line(stderr::stderr(), *format),
            Self::Queue(queue, format) => Writer::line(queue.line(), *format),
            Self::File(file) => Writer::File(file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Writer<'a> {
        match self.make_writer() {
            // Lines that somebody asked for come all of them.
            Writer::Line(line) if *metadata.level() == Level::WARN => Writer::Line(line.limited()),
            writer => writer,
        }
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Line(line) => line.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Card {
        #[command(flatten)]
        common: Common,
    }

    fn read(options: &str, named: &str) -> Result<Targets> {
        targets(&Card::parse_from(options.split_whitespace()).common, Some(named))
    }

    #[test]
    fn other_crates_log_only_where_they_are_named() {
        for (options, named, ours, of_h2) in [
            ("asistry", "", Level::WARN, None),
            ("asistry -vv", "", Level::DEBUG, None),
            ("asistry", "trace", Level::TRACE, None),
            ("asistry", "h2=debug", Level::WARN, Some(Level::DEBUG)),
            ("asistry -v", "error,h2=info", Level::INFO, Some(Level::INFO)),
            ("asistry -q", "debug", Level::ERROR, None),
        ] {
            let targets = read(options, named).unwrap();
            assert!(targets.would_enable("asistry::remote", &ours), "{options} {named}");
            let finer = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
            let most = |target| finer.iter().rev().find(|level| targets.would_enable(target, level)).copied();
            assert_eq!(most("asistry::remote"), Some(ours), "{options} {named}");
            assert_eq!(most("h2::codec"), of_h2, "{options} {named}");
        }
        assert!(read("asistry", "loud").is_err());
        assert!(read("asistry", "h2=loud").is_err());
    }
}
