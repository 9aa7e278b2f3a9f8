//! Private files: mode 0600, replaced atomically, locked with a deadline.
//!
//! Never waits forever for a lock, never leaves half a file, and makes a file private before writing to it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::shell_quoted;

/// How often to retry a lock that another process holds.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A file lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Locks a file and creates it if needed; `None` if another process still holds the lock after `timeout`.
///
/// # Errors
/// The directory or the file cannot be created.
pub async fn lock(path: &Path, timeout: Duration) -> io::Result<Option<Lock>> {
    let mut attempts = Attempts::begin(path, timeout)?;
    loop {
        match attempts.next()? {
            Attempt::Locked(lock) => return Ok(Some(lock)),
            Attempt::Again => tokio::time::sleep(RETRY_INTERVAL).await,
            Attempt::TooLate => return Ok(None),
        }
    }
}

/// As [`lock`], but blocks the thread.
///
/// # Errors
/// As [`lock`].
#[expect(clippy::disallowed_methods, reason = "there is no event for a released lock; there is a deadline")]
pub fn lock_blocking(path: &Path, timeout: Duration) -> io::Result<Option<Lock>> {
    let mut attempts = Attempts::begin(path, timeout)?;
    loop {
        match attempts.next()? {
            Attempt::Locked(lock) => return Ok(Some(lock)),
            Attempt::Again => std::thread::sleep(RETRY_INTERVAL),
            Attempt::TooLate => return Ok(None),
        }
    }
}

enum Attempt {
    Locked(Lock),
    Again,
    TooLate,
}

struct Attempts {
    file: Option<File>,
    until: Instant,
}

impl Attempts {
    fn begin(path: &Path, timeout: Duration) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            private_directory(directory)?;
        }
        Ok(Self { file: Some(private_file(path)?), until: Instant::now() + timeout })
    }

    fn next(&mut self) -> io::Result<Attempt> {
        let Some(file) = self.file.take() else { return Ok(Attempt::TooLate) };
        match file.try_lock() {
            Ok(()) => return Ok(Attempt::Locked(Lock(file))),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) => self.file = Some(file),
        }
        Ok(if Instant::now() >= self.until { Attempt::TooLate } else { Attempt::Again })
    }
}

/// Whether a change must survive a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to disk before the call returns.
    Durable,
    /// Written by the system later.
    Lazy,
}

/// Replaces a file atomically: after a crash it has the old content or the new one. Its mode is 0600. The caller
/// holds the file's lock, so a leftover temporary file belongs to an interrupted replacement and is removed.
///
/// # Errors
/// Any IO error.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    // Follows a symbolic link, so that the link stays.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = OsString::from(".asistry-");
    name.push(path.file_name().unwrap_or_default());
    if let Err(e) = fs::remove_file(directory.join(&name))
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    // tempfile creates it with mode 0600.
    let mut file = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(directory)?;
    file.write_all(content)?;
    if durability == Durability::Durable {
        file.as_file().sync_all()?;
    }
    file.persist(path)?;
    #[cfg(unix)]
    if durability == Durability::Durable {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Opens a file for locking and creates it with mode 0600 if needed.
///
/// # Errors
/// Any IO error.
pub fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates a directory with mode 0700, and its parents.
///
/// # Errors
/// Any IO error.
pub fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Opens a file for appending, mode 0600; returns whether other users could read or write it before.
///
/// # Errors
/// Any IO error; [`io::ErrorKind::PermissionDenied`] if the file cannot be made private.
pub fn append_private(path: &Path) -> io::Result<(File, bool)> {
    open_private(path, File::options().append(true))
}

/// Truncates a file and opens it for writing, mode 0600; returns whether other users could read or write it before.
///
/// # Errors
/// As [`append_private`].
pub fn create_private(path: &Path) -> io::Result<(File, bool)> {
    let (file, mended) = open_private(path, File::options().write(true))?;
    // Pipes and terminals have no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok((file, mended))
}

/// Returns the note for a file that [`append_private`] or [`create_private`] has made private.
pub fn now_private(path: &Path) -> String {
    format!("note: {} was readable by other users; it is now readable by you only", path.display())
}

#[cfg(unix)]
fn open_private(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<(File, bool)> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = options.create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let is_open = metadata.is_file() && metadata.permissions().mode() & 0o077 != 0;
    if is_open {
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(|e| {
            io::Error::new(e.kind(), format!("other users can read it, and its mode cannot be changed: {e}"))
        })?;
    }
    Ok((file, is_open))
}

#[cfg(not(unix))]
fn open_private(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<(File, bool)> {
    Ok((options.create(true).open(path)?, false))
}

/// Returns the command that makes a file private, if other users can read it.
///
/// # Errors
/// Any IO error.
pub fn remedy_for_shared(path: &Path) -> io::Result<Option<String>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path)?;
        let shared = metadata.is_file() && metadata.permissions().mode() & 0o044 != 0;
        Ok(shared.then(|| format!("chmod 600 {}", shell_quoted(&path.display().to_string()))))
    }
    #[cfg(not(unix))]
    fs::metadata(path).map(|_| None)
}

/// Reads a text file, or a pipe, of at most this many bytes.
///
/// # Errors
/// The system's, and one for a longer file or for what is not UTF-8.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    match text.len() as u64 > limit {
        true => Err(io::Error::other(format!("it is longer than {limit} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_takes_along_what_an_interrupted_one_left() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys.json");
        fs::write(home.path().join(".asistry-keys.json"), "half a li").unwrap();
        replace(&path, b"whole", Durability::Durable).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_closed_to_them_and_the_caller_hears_of_it() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let (mut file, mended) = append_private(&path).unwrap();
        assert!(mended);
        assert_eq!(mode(), 0o600);
        file.write_all(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
        assert!(!append_private(&path).unwrap().1);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
        assert!(create_private(&path).unwrap().1);
        assert_eq!((mode(), std::fs::read_to_string(&path).unwrap().as_str()), (0o600, ""));
        assert!(!append_private(Path::new("/dev/null")).unwrap().1);
    }
}
