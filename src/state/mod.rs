//! State kept between runs: one JSON file per subject.
//!
//! Files are versioned, 0600, replaced atomically under a lock. Refuses secrets, and never overwrites an unreadable
//! file whose loss would do harm.

pub mod keys;
pub mod logins;
pub mod started;
pub mod tools;
mod wires;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::files::{self, Durability, Lock, private_directory, private_file, replace};

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// Uses this directory, which is created when it is first written to.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Locks the file `name`, waiting at most `timeout`; `None` if another process still holds the lock.
    ///
    /// # Errors
    /// The directory or the file cannot be created.
    pub async fn lock(&self, name: &str, timeout: Duration) -> io::Result<Option<Lock>> {
        files::lock(&self.directory.join(name), timeout).await
    }

    /// Changes a file whose loss does no harm; an unreadable one starts empty.
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

/// Returns the seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns a 16-digit hexadecimal hash of a text, for file names.
pub fn short_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
