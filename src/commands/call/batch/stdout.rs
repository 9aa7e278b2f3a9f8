//! Where stdout goes.
//!
//! Refuses to take a terminal or a pipe for a file: only what stays can be written over, or read back.

#[cfg(not(unix))]
use std::fs::File;
#[cfg(unix)]
use std::os::fd::AsFd;

/// How stdout writes into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// From its beginning, or wherever the last one stopped.
    Over,
    /// At its end.
    Behind,
}

/// Says how stdout writes into this file, if it does.
#[cfg(unix)]
pub fn is(file: impl AsFd) -> Option<Writes> {
    use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
    let stdout = std::io::stdout();
    let (there, here) = (fstat(file).ok()?, fstat(&stdout).ok()?);
    let same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino);
    if !same || FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
        return None;
    }
    let appends = fcntl_getfl(&stdout).is_ok_and(|flags| flags.contains(OFlags::APPEND));
    Some(if appends { Writes::Behind } else { Writes::Over })
}

#[cfg(not(unix))]
pub fn is(_: &File) -> Option<Writes> {
    None
}

/// Says whether stdout writes into the file that stdin reads.
#[cfg(unix)]
pub fn is_stdin() -> bool {
    is(std::io::stdin()).is_some()
}

#[cfg(not(unix))]
pub fn is_stdin() -> bool {
    false
}

/// Returns the path of the file that stdout writes into, below the working directory without it.
#[cfg(target_os = "linux")]
pub fn path() -> Option<String> {
    let path = std::fs::read_link("/proc/self/fd/1").ok()?;
    // A file that was deleted, or that has another place in this namespace, is not there.
    is(std::fs::File::open(&path).ok()?)?;
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(std::path::Path::to_owned));
    Some(below.unwrap_or(path).display().to_string())
}

#[cfg(not(target_os = "linux"))]
pub fn path() -> Option<String> {
    None
}
