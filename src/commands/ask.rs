//! Asks questions on the terminal.
//!
//! Refuses to ask without a terminal: the error names the option that makes the question needless.

#[cfg(unix)]
mod hidden;
#[cfg(unix)]
mod line;
#[cfg(unix)]
mod mode;

use std::io::{ErrorKind, IsTerminal};

#[cfg(unix)]
pub use mode::restore;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::ui;

const NO_TERMINAL: &str = "there is no terminal to ask on";

/// Asks, where somebody can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Why it does not ask.
    refusal: Option<&'static str>,
    /// What the user or the environment says against asking.
    forbidden: Option<&'static str>,
}

impl Asker {
    /// Asks on a terminal only, and only if nothing forbids it.
    pub fn new(forbidden: Option<&'static str>) -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self { refusal: if terminal { forbidden } else { Some(NO_TERMINAL) }, forbidden }
    }

    /// Never asks.
    pub fn never() -> Self {
        let forbidden = Some("asistry does not ask here");
        Self { refusal: forbidden, forbidden }
    }

    /// Says whether anybody can be asked.
    pub fn is_allowed(self) -> bool {
        self.refusal.is_none()
    }

    /// Returns what forbids asking, besides the lack of a terminal.
    pub fn is_forbidden(self) -> Option<&'static str> {
        self.forbidden
    }

    /// Returns why it does not ask.
    pub fn refusal(self) -> Option<&'static str> {
        self.refusal
    }

    /// Asks for a yes; everything else is a no. `otherwise` is the option that avoids the question.
    ///
    /// # Errors
    /// [`Kind::Usage`] with `otherwise` as its hint where it does not ask.
    pub fn confirm(self, question: &str, otherwise: &str) -> Result<bool> {
        self.check(question, otherwise)?;
        let answer = self.line(&format!("{question} [y/N]"), otherwise)?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a yes before something is done. `otherwise` as in [`Self::confirm`].
    ///
    /// # Errors
    /// [`Kind::Declined`] after a no, and as [`Self::confirm`].
    pub fn consent(self, question: &str, otherwise: &str) -> Result<()> {
        match self.confirm(question, otherwise)? {
            true => Ok(()),
            false => Err(Error::new(Kind::Declined, "not confirmed; nothing was changed")),
        }
    }

    /// Fails where it does not ask.
    fn check(self, question: &str, otherwise: &str) -> Result<()> {
        match self.refusal {
            Some(why) => Err(Error::new(Kind::Usage, format!("{why}: {question}")).hint(otherwise)),
            None => Ok(()),
        }
    }

    /// Stops showing what is typed, until the value is dropped: before work that ends in a hidden prompt.
    #[cfg(unix)]
    pub fn quiet(self) -> Option<mode::Mode> {
        self.is_allowed().then(|| mode::Mode::quiet().ok()).flatten()
    }

    /// As on Unix; here a hidden prompt begins only when it asks.
    #[cfg(not(unix))]
    pub fn quiet(self) -> Option<()> {
        None
    }

    /// Asks for one line, and returns it without the white space around it.
    ///
    /// # Errors
    /// [`Kind::Usage`] with `otherwise` as its hint where it does not ask, [`Kind::Interrupted`] where the
    /// input ends instead.
    pub fn line(self, question: &str, otherwise: &str) -> Result<String> {
        self.check(question, otherwise)?;
        ui::ask(question);
        match read_line() {
            Ok(answer) => Ok(answer.trim().to_owned()),
            Err(e) => {
                ui::say("");
                let interrupted = e.kind() == ErrorKind::Interrupted;
                let why = if interrupted { "interrupted" } else { "the question was not answered" };
                Err(Error::new(Kind::Interrupted, why).hint(otherwise))
            }
        }
    }

    /// Drops what was typed before a question was there to be answered.
    pub fn discard_typed(self) {
        #[cfg(unix)]
        let _ = rustix::termios::tcflush(rustix::stdio::stdin(), rustix::termios::QueueSelector::IFlush);
    }

    /// Asks for a secret, which is not shown while it is typed. `what` names it in errors.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn hidden(self, what: &str, question: &str, otherwise: &str) -> Result<Secret> {
        if self.refusal == Some(NO_TERMINAL) {
            let why = format!("no terminal to type {what} on");
            return Err(Error::new(Kind::Usage, why).hint(otherwise));
        }
        self.check(question, otherwise)?;
        #[cfg(unix)]
        let typed = hidden::read(question).map(Secret::from);
        #[cfg(not(unix))]
        let typed = rpassword::prompt_password(format!("{question} ")).map(Secret::new);
        match typed {
            Ok(typed) => Ok(typed),
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                Err(Error::new(Kind::Interrupted, "interrupted; nothing was changed"))
            }
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                Err(Error::new(Kind::Usage, "the input is not UTF-8").hint(otherwise))
            }
            Err(_) => Err(Error::new(Kind::Interrupted, "the question was not answered").hint(otherwise)),
        }
    }
}

#[cfg(unix)]
use line::read as read_line;

#[cfg(not(unix))]
fn read_line() -> std::io::Result<String> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_can_be_asked_the_option_is_named() {
        let asker = Asker::never();
        let error = asker.confirm("Remove work?", "--yes").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.message().contains("Remove work?"), "{error}");
        assert_eq!(error.advice(), Some("--yes"));
        assert!(!asker.is_allowed());
    }
}
