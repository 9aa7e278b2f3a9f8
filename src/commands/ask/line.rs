//! One line from the terminal, shown and edited as usual; Ctrl-C ends it at once.
//!
//! Refuses to read ahead of the line. The kernel edits the line; only Ctrl-C is made an end of line instead of a
//! signal, since the signal would not wake the read.

use std::io::{Error, ErrorKind, Result};

use rustix::io::Errno;
use rustix::stdio::stdin;
use rustix::termios::SpecialCodeIndex;

use super::mode::Mode;

const CTRL_C: u8 = 0x03;
/// `_POSIX_VDISABLE`: no key has this function.
const DISABLED: u8 = if cfg!(any(target_os = "linux", target_os = "android")) { 0 } else { 0xff };

/// Reads one line from stdin, which must be a terminal.
///
/// # Errors
/// [`ErrorKind::Interrupted`] after Ctrl-C, [`ErrorKind::UnexpectedEof`] after Ctrl-D or where the terminal is
/// gone.
pub fn read() -> Result<String> {
    let _mode = Mode::begin(|mode| {
        mode.special_codes[SpecialCodeIndex::VINTR] = DISABLED;
        mode.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
    })?;
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match rustix::io::read(stdin(), &mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => line.extend_from_slice(&chunk[..n]),
            Err(Errno::INTR) => continue,
            Err(e) => return Err(Error::from(e)),
        }
        match line.last() {
            Some(&CTRL_C) => return Err(ErrorKind::Interrupted.into()),
            Some(b'\n') => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ => {}
        }
    }
}
