//! A mode of the terminal for the time of a question.
//!
//! Refuses to leave the terminal in another mode than it was: [`restore`] also ends a mode whose thread still
//! waits for input when the process exits.

use std::io::Result;
use std::sync::{Mutex, PoisonError};

use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The mode before the outermost question.
static USUAL: Mutex<Option<Termios>> = Mutex::new(None);

/// A mode of the terminal; the mode before it returns when this is dropped.
pub struct Mode {
    before: Termios,
    is_outermost: bool,
    at_end: OptionalActions,
}

impl Mode {
    /// Changes the mode.
    ///
    /// # Errors
    /// The terminal's errors.
    pub fn begin(change: impl FnOnce(&mut Termios)) -> Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut usual = USUAL.lock().unwrap_or_else(PoisonError::into_inner);
        let is_outermost = usual.is_none();
        usual.get_or_insert_with(|| before.clone());
        let mut mode = before.clone();
        change(&mut mode);
        tcsetattr(stdin(), OptionalActions::Now, &mode)?;
        Ok(Self { before, is_outermost, at_end: OptionalActions::Now })
    }

    /// Shows nothing of what is typed ahead of a hidden prompt, and drops what is left of it at the end.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn quiet() -> Result<Self> {
        let mut quiet = Self::begin(|mode| mode.local_modes -= LocalModes::ECHO | LocalModes::ECHONL)?;
        quiet.at_end = OptionalActions::Flush;
        Ok(quiet)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), self.at_end, &self.before);
        if self.is_outermost {
            *USUAL.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Restores the mode that the terminal had before any question; for the end of the process.
pub fn restore() {
    if let Some(usual) = USUAL.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &usual);
    }
}
