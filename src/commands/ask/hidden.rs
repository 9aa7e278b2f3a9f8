//! One line from the terminal that is not shown while it is typed.
//!
//! Refuses to leave the terminal in another mode than it was: Ctrl-C is read here as a key, since its signal
//! would end the process before the mode is put back.

use std::io::{Error, ErrorKind, Result};

use rustix::io::Errno;
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, SpecialCodeIndex};
use zeroize::Zeroizing;

use super::mode::Mode;

/// No secret that is typed or pasted is longer, in bytes; what is typed behind it is dropped.
const MOST: usize = 16 * 1024;
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// Prints a question on stderr and reads the answer from stdin, which must be a terminal.
///
/// # Errors
/// [`ErrorKind::Interrupted`] after Ctrl-C, [`ErrorKind::UnexpectedEof`] after Ctrl-D or where the terminal is
/// gone, [`ErrorKind::InvalidData`] for what is no text.
pub fn read(question: &str) -> Result<Zeroizing<String>> {
    // The mode is set first, so that a key pasted at once is hidden too.
    let mode = Mode::begin(|mode| {
        // Not line by line: the kernel keeps no more than 4095 bytes of a line, and a token may be longer.
        mode.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    })?;
    crate::ui::ask(question);
    let line = read_line();
    drop(mode);
    crate::ui::say("");
    let line = line?;
    let text = std::str::from_utf8(&line).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_line() -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MOST));
    loop {
        let mut byte = [0];
        match rustix::io::read(stdin(), &mut byte) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        match byte[0] {
            b'\n' | b'\r' => return Ok(line),
            CTRL_C => return Err(ErrorKind::Interrupted.into()),
            CTRL_D if line.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => {
                // A character of several bytes goes as a whole.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte if line.len() < MOST => line.push(byte),
            _ => {}
        }
    }
}
