//! Writes `config.toml`: under a lock, as a whole, or not at all.
//!
//! Refuses a file that is read-only, and one that somebody else changed meanwhile. Keeps its mode, and a link
//! that leads to it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::config::{self, Place};
use super::document::Document;
use crate::error::{Error, Kind, Result};

/// Changes the configuration; what `change` refuses is not written. Others who do the same wait at `lock`.
///
/// # Errors
/// What `change` says, and [`Kind::Config`] where the file cannot be read, edited or written.
pub fn edit<T>(place: &Place, lock: &Path, change: impl FnOnce(&mut Document) -> Result<T>) -> Result<T> {
    let _lock = locked(lock).map_err(|e| {
        Error::new(Kind::Config, format!("{} cannot be locked: {e}", lock.display()))
            .hint("set ASISTRY_STATE_DIR to a directory that can be written")
    })?;
    let path = resolved(place.file())?;
    let before = config::text(&path)?;
    let mut document = Document::read(&before, &path)?;
    let done = change(&mut document)?;
    let after = document.text();
    if after != before {
        write(&path, &before, &after)?;
    }
    Ok(done)
}

fn locked(path: &Path) -> std::io::Result<File> {
    if let Some(directory) = path.parent() {
        make_directory(directory)?;
    }
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    file.lock()?;
    Ok(file)
}

/// Makes a directory that others cannot look into, where there is none.
fn make_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Follows a link to the file that is to be replaced, which need not be there.
fn resolved(path: PathBuf) -> Result<PathBuf> {
    match fs::canonicalize(&path) {
        Ok(target) => Ok(target),
        Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(path),
        Err(e) => Err(Error::new(Kind::Config, format!("{} leads nowhere: {e}", path.display()))
            .hint("mend the link, or remove it")),
    }
}

fn write(path: &Path, before: &str, after: &str) -> Result<()> {
    let refused = |why: &dyn std::fmt::Display| {
        Error::new(Kind::Config, format!("{} cannot be written: {why}", path.display()))
            .hint("nothing in it was changed")
    };
    let permissions = fs::metadata(path).map(|metadata| metadata.permissions()).ok();
    if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
        return Err(refused(&"it is read-only"));
    }
    let directory = path.parent().ok_or_else(|| refused(&"it has no directory"))?;
    let replace = || -> std::io::Result<()> {
        make_directory(directory)?;
        // A temporary file is 0600 from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(after.as_bytes())?;
        if let Some(permissions) = permissions {
            file.as_file().set_permissions(permissions)?;
        }
        file.as_file().sync_all()?;
        if fs::read(path).unwrap_or_default() != before.as_bytes() {
            return Err(std::io::Error::other("somebody else has just changed it"));
        }
        file.persist(path)?;
        #[cfg(unix)]
        File::open(directory)?.sync_all()?;
        Ok(())
    };
    replace().map_err(|e| refused(&e))
}
