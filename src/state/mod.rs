//! What is remembered between runs: one JSON file for each subject.
//!
//! Versioned, 0600, replaced as a whole under a lock. Refuses secrets, and to overwrite what it cannot read
//! where forgetting would do harm.

pub mod keys;
pub mod started;
pub mod tools;
mod wires;

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// A lock that another process holds is tried again after this time.
const AGAIN: Duration = Duration::from_millis(10);

/// The directory in which things are remembered.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

/// Holds the right to change something, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl State {
    /// Remembers in this directory, which is made when it is first written to.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits at most `patience` for the right to change what this name stands for; `None` when another
    /// process still has it.
    ///
    /// # Errors
    /// A directory or a file that cannot be made.
    pub async fn lock(&self, name: &str, patience: Duration) -> io::Result<Option<Lock>> {
        private_directory(&self.directory)?;
        let file = private_file(&self.directory.join(name))?;
        let until = tokio::time::Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock(file))),
                Err(TryLockError::Error(e)) => return Err(e),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() >= until => return Ok(None),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Changes a file whose loss does no harm: what cannot be read is begun anew.
    fn change<T>(&self, name: &str, change: impl FnOnce(&mut T)) -> io::Result<()>
    where
        T: Default + DeserializeOwned + Serialize,
    {
        private_directory(&self.directory)?;
        let lock = private_file(&self.directory.join("lock"))?;
        lock.lock()?;
        let mut value = self.read::<T>(name).unwrap_or_default();
        change(&mut value);
        self.write(name, &value, Durability::Lazy)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.directory.join(name)).ok()?).ok()
    }

    fn write(&self, name: &str, value: &impl Serialize, durability: Durability) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        replace(&self.directory.join(name), &text, durability)
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

/// Returns the seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns a short name for a text, which does not give it away.
pub fn digits(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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
}
