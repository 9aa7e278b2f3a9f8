//! Private files: made for their owner only, replaced as a whole, locked with a deadline.
//!
//! Refuses to wait forever for a lock, to leave half a file behind, and to write into a file that others can read:
//! it is made private first.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A lock that another process holds is tried again after this time.
const AGAIN: Duration = Duration::from_millis(10);

/// Holds the right to change something, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Locks a file, which is made where there is none; `None` when another process still has it after `patience`.
///
/// # Errors
/// A directory or a file that cannot be made.
pub async fn lock(path: &Path, patience: Duration) -> io::Result<Option<Lock>> {
    let mut attempts = Attempts::begin(path, patience)?;
    loop {
        match attempts.next()? {
            Attempt::Locked(lock) => return Ok(Some(lock)),
            Attempt::Again => tokio::time::sleep(AGAIN).await,
            Attempt::TooLate => return Ok(None),
        }
    }
}

/// As [`lock`], and blocks the thread.
///
/// # Errors
/// As [`lock`].
#[expect(
    clippy::disallowed_methods,
    reason = "the system tells nobody that a lock is free; there is a deadline"
)]
pub fn lock_blocking(path: &Path, patience: Duration) -> io::Result<Option<Lock>> {
    let mut attempts = Attempts::begin(path, patience)?;
    loop {
        match attempts.next()? {
            Attempt::Locked(lock) => return Ok(Some(lock)),
            Attempt::Again => std::thread::sleep(AGAIN),
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
    fn begin(path: &Path, patience: Duration) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            private_directory(directory)?;
        }
        Ok(Self { file: Some(private_file(path)?), until: Instant::now() + patience })
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

/// Whether a change must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk when the call returns.
    Durable,
    /// The system writes it when it likes.
    Lazy,
}

/// Replaces a file as a whole: after a crash it holds the old content or the new one. Readable by its owner
/// only. Whoever replaces it holds its lock, so what an interrupted replacement left is nobody's.
///
/// # Errors
/// What the file system says.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    // Who keeps the file elsewhere and links to it goes on keeping it there.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = OsString::from(".asistry-");
    name.push(path.file_name().unwrap_or_default());
    if let Err(e) = fs::remove_file(directory.join(&name))
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    // A temporary file is 0600 from the beginning.
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

/// Opens a file for locking, and makes it where there is none; readable by its owner only.
///
/// # Errors
/// What the file system says.
pub fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a directory that only its owner may enter, and those above it.
///
/// # Errors
/// What the file system says.
pub fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Opens a file to write at its end, 0600; returns whether it was open to others until now.
///
/// # Errors
/// What the system says; [`io::ErrorKind::PermissionDenied`] where it cannot be made private.
pub fn append_private(path: &Path) -> io::Result<(File, bool)> {
    open_private(path, File::options().append(true))
}

/// Opens an emptied file to write, 0600; returns whether it was open to others until now.
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

/// Says what [`append_private`] and [`create_private`] have changed.
pub fn mended(path: &Path) -> String {
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
            io::Error::new(e.kind(), format!("other users can read it, and it cannot be closed to them: {e}"))
        })?;
    }
    Ok((file, is_open))
}

#[cfg(not(unix))]
fn open_private(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<(File, bool)> {
    Ok((options.create(true).open(path)?, false))
}

/// Returns the command that takes a file away from others, where they can read it.
///
/// # Errors
/// What the file system says.
pub fn remedy_for_shared(path: &Path) -> io::Result<Option<String>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path)?;
        let shared = metadata.is_file() && metadata.permissions().mode() & 0o044 != 0;
        Ok(shared.then(|| format!("chmod 600 '{}'", path.display().to_string().replace('\'', r"'\''"))))
    }
    #[cfg(not(unix))]
    fs::metadata(path).map(|_| None)
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
