//! Writes `config.toml`: under a lock, as a whole, or not at all.
//!
//! Refuses a file that is read-only, and one that somebody else changed meanwhile. Keeps its mode, and a link
//! that leads to it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::{self, Place};
use super::document::Document;
use crate::error::{Error, Kind, Result};
use crate::files::{self, Lock};

/// Another process needs less to change the configuration.
const PATIENCE: Duration = Duration::from_secs(5);

/// Changes the configuration; what `change` refuses is not written. Others who do the same wait at `lock`.
///
/// # Errors
/// What `change` says, and [`Kind::Config`] where the file cannot be read, edited or written.
pub fn edit<T>(place: &Place, lock: &Path, change: impl FnOnce(&mut Document) -> Result<T>) -> Result<T> {
    let _lock = locked(lock)?;
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

fn locked(path: &Path) -> Result<Lock> {
    let lock = files::lock_blocking(path, PATIENCE).map_err(|e| {
        Error::new(Kind::Config, format!("{} cannot be locked: {e}", path.display()))
            .caused_by(e)
            .hint("set ASISTRY_STATE_DIR to a directory that can be written")
    })?;
    lock.ok_or_else(|| {
        let why = format!("another process is changing the configuration: it holds {}", path.display());
        Error::new(Kind::Config, why).hint("try again when it is done; nothing was changed")
    })
}

/// Follows a link to the file that is to be replaced, which need not be there.
fn resolved(path: PathBuf) -> Result<PathBuf> {
    match fs::canonicalize(&path) {
        Ok(target) => Ok(target),
        Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(path),
        Err(e) => Err(Error::new(Kind::Config, format!("{} leads nowhere: {e}", path.display()))
            .caused_by(e)
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
        files::private_directory(directory)?;
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
