//! Creates the data directory and small private files in it.
//!
//! Never overwrites a file: of several processes the first one writes it, and the others read it.

use crate::error::{Error, Kind, Result};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Creates the directory with mode 0700; an existing one keeps its mode.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| failed("make the directory", path, &error))
}

/// Creates an empty file with mode 0600 if it is missing; SQLite gives its side files the same mode.
pub(super) fn make_private(path: &Path) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(|error| failed("open", path, &error))
}

/// Returns the file's content, or creates it atomically with mode 0600 from `make`.
///
/// If two processes create it at once, both return the content of the winner.
pub(super) fn read_or_make(path: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", path, &error)),
    }
    place(path, &make()?).map_err(|error| failed("write", path, &error))?;
    let text = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    Ok(text.trim().to_owned())
}

/// Writes a temporary file and links it to the name, unless the name is already taken.
fn place(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(refused) if refused.error.kind() != io::ErrorKind::AlreadyExists => Err(refused.error),
        _ => Ok(()),
    }
}

/// Removes the file; a missing one is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Config, format!("the sandbox cannot {what} {}: {error}", path.display()))
        .hint("asistry sandbox --data DIR with a directory of your own, or asistry sandbox --memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writer_is_right_and_the_second_reads_its_text() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        assert_eq!(read_or_make(&path, || Ok("first".into())).unwrap(), "first");
        assert_eq!(read_or_make(&path, || Ok("second".into())).unwrap(), "first");
        place(&path, "third").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
    }

    #[test]
    fn removing_what_is_not_there_is_no_failure() {
        let home = tempfile::tempdir().unwrap();
        remove(&home.path().join("nothing")).unwrap();
    }
}
