//! What moves on stderr while somebody waits: a spinner, a bar, a countdown; on a terminal only.
//!
//! Refuses to animate without a terminal.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle, WeakProgressBar};

use super::{clean, foreign, print_to_reader};
use crate::error::Result;
use crate::protocol::retry::Why;

const TICK: Duration = Duration::from_millis(120);

/// Columns for all but the bar.
const TEXT: usize = 50;
/// Columns for all but the message and the bar: a spinner, counts, the time.
const COUNTS: usize = 20;

/// What is shown now: a line that is written meanwhile takes it away for a moment.
static SHOWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Writes on stderr, without what is shown there.
pub(super) fn aside<T>(writes: impl FnOnce() -> T) -> T {
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(bar) = shown.as_ref().and_then(WeakProgressBar::upgrade) else { return writes() };
    let done = bar.suspend(writes);
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = shown.take();
    done
}

/// A bar, or a spinner where the length is unknown; on a terminal only. Clones are the same one.
#[derive(Clone)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Starts a spinner that says what is waited for.
    pub fn start(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new_spinner().with_message(message(what));
        style(&bar, "{spinner} {msg} {elapsed}");
        bar.enable_steady_tick(TICK);
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
        Self(Some(bar))
    }

    /// Starts nothing.
    pub fn hidden() -> Self {
        Self(None)
    }

    /// Shows how many of `total` things are done; an unknown total is left out.
    pub fn count(&mut self, done: u64, total: Option<u64>, what: &str) {
        let Some(bar) = &self.0 else { return };
        bar.set_position(done);
        bar.set_message(message(what));
        match total {
            Some(total) => {
                style(bar, "{spinner} {BAR}{pos}/{len} {msg} {elapsed}");
                bar.set_length(total);
            }
            None => style(bar, "{spinner} {pos} {msg} {elapsed}"),
        }
    }

    /// Says whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Shows how far it is.
    pub fn advance(&mut self, progress: Option<f64>, total: Option<f64>, message: Option<&str>) {
        let Some(bar) = &self.0 else { return };
        if bar.is_hidden() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
        if let (Some(progress), Some(total)) = (progress, total.filter(|total| *total > 0.0)) {
            style(bar, "{spinner} {BAR}{percent}% {msg} {elapsed}");
            bar.set_length(1000);
            bar.set_position((progress / total * 1000.0).clamp(0.0, 1000.0) as u64);
        } else {
            style(bar, "{spinner} {msg} {elapsed}");
        }
        if let Some(message) = message {
            bar.set_message(self::message(message));
        }
    }

    /// Counts the wait for a rate limit, or for a busy service, down.
    pub fn count_down(&mut self, wait: Duration, why: Why) {
        let Some(bar) = &self.0 else { return };
        let until = Instant::now() + wait;
        let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let left = until.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
            let _ = write!(out, "{left} s");
        };
        // The count stays visible.
        let count = match (bar.position(), bar.length()) {
            (0, _) => "",
            (_, None) => "{pos} {msg}; ",
            _ => "{pos}/{len} {msg}; ",
        };
        let (long, short) = match why {
            Why::RateLimit => ("the service limits the rate; again in", "limited for"),
            Why::Busy | Why::Unavailable => ("the service asks to wait; again in", "busy for"),
        };
        let why = if bar_width() > 0 { long } else { short };
        if let Ok(style) = template(&format!("{{spinner}} {count}{why} {{left}}")) {
            bar.set_style(style.with_key("left", left));
        }
    }

    /// Prints a line above it; without a terminal nothing.
    pub fn say(&self, line: &str) {
        if let Some(bar) = &self.0 {
            bar.println(foreign::remark(&foreign::not_ours(line)));
        }
    }

    /// Does something that writes on the same terminal.
    pub fn aside<T>(&self, writes: impl FnOnce() -> T) -> T {
        aside(writes)
    }

    /// Prints a result on stdout, without the progress line where that is a terminal too; says whether stdout is still
    /// read.
    ///
    /// # Errors
    /// [`crate::error::Kind::Output`] where it cannot be written.
    pub fn print(&self, shown: &str) -> Result<bool> {
        // A write to a full pipe may block for ever, and would keep the progress line away.
        if std::io::stdout().is_terminal() {
            return self.aside(|| print_to_reader(shown));
        }
        print_to_reader(shown)
    }

    /// Takes it away until it advances again: a question needs the place.
    pub fn pause(&self) {
        if let Some(bar) = &self.0 {
            bar.disable_steady_tick();
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
            let _ = console::Term::stderr().clear_line();
        }
    }

    /// Takes it away.
    pub fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, text: &str) {
    if let Ok(style) = template(text) {
        bar.set_style(style);
    }
}

/// Reads a template in which `{BAR}` is as wide as the terminal allows.
fn template(text: &str) -> std::result::Result<ProgressStyle, indicatif::style::TemplateError> {
    let drawn = match bar_width() {
        0 => String::new(),
        width => format!("[{{bar:{width}}}] "),
    };
    ProgressStyle::with_template(&text.replace("{BAR}", &drawn))
}

/// Returns the width of a bar: none on a narrow terminal.
fn bar_width() -> usize {
    let width = columns().saturating_sub(TEXT).min(30);
    if width < 10 { 0 } else { width }
}

fn columns() -> usize {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

/// Returns one line for which there is room.
fn message(text: &str) -> String {
    let room = columns().saturating_sub(bar_width() + COUNTS);
    console::truncate_str(&clean(text).replace('\n', " "), room, "…").into_owned()
}
