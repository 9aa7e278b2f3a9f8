//! Key stores: the system's keyring and an encrypted file.
//!
//! A store is used because the user chose it, never because another failed. Every call has [`DEADLINE`]; a store
//! that misses it is opened again for the next call.

mod file;
mod keyring;
mod parts;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::files::Lock;
use crate::profile::StoreKind;
use crate::secret::Secret;
use crate::state::State;
use crate::state::keys::Place;

use self::file::EncryptedFile;
use self::keyring::SystemKeyring;

/// Time limit of one call: a locked keyring waits for a user who may not be there.
const DEADLINE: Duration = Duration::from_secs(3);
/// A test item without a key, deleted at once. Its name is fixed, so a leftover of an interrupted probe is
/// overwritten by the next one.
const PROBE: &str = "v1/probe";
const FILE: &str = "keys.enc";
const FILE_LOCK: &str = "keys.enc.lock";

/// Stores secrets by item name. Calls block.
pub(super) trait KeyStore: fmt::Debug + Send + Sync {
    /// Returns the secret of an item, if there is such an item.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with what is wrong with the store.
    fn read(&self, item: &str) -> Result<Option<Secret>>;

    /// Stores a secret, replacing the item's previous one.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn write(&self, item: &str, secret: &Secret) -> Result<()>;

    /// Deletes an item; a missing one is no error.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn delete(&self, item: &str) -> Result<()>;

    /// Returns whether another process has recreated the store, so that it must be opened again.
    fn is_stale(&self) -> bool {
        false
    }

    /// Returns whether an item is lost at the end of the session.
    fn is_volatile(&self, _item: &str) -> bool {
        false
    }
}

/// The purpose of a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphraseFor {
    /// To open an existing file.
    Opening,
    /// To create a file.
    Creating,
}

/// Returns the passphrase of the encrypted file: from the environment, from a file, or from the user.
pub type Passphrase = Arc<dyn Fn(PassphraseFor) -> Result<Secret> + Send + Sync>;

/// The stores, each opened on first use.
pub(super) struct Stores {
    directory: PathBuf,
    passphrase: Passphrase,
    opened: Mutex<HashMap<StoreKind, Arc<dyn KeyStore>>>,
}

impl Stores {
    /// Uses the encrypted file in this directory.
    pub fn new(directory: PathBuf, passphrase: Passphrase) -> Self {
        Self { directory, passphrase, opened: Mutex::default() }
    }

    /// Checks that a store accepts keys: only a write shows that a keyring is locked. The caller holds a lock, because
    /// two probes would delete each other's item.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with the cause and a remedy.
    pub async fn probe(&self, kind: StoreKind) -> Result<()> {
        let store = self.open(kind, PassphraseFor::Creating).await?;
        if kind == StoreKind::Keyring {
            let probe = move || {
                store.write(PROBE, &Secret::new("probe".into()))?;
                if store.is_volatile(PROBE) {
                    tracing::warn!(
                        "the keyring's default collection is the session collection, which is deleted at logout"
                    );
                }
                store.delete(PROBE)
            };
            self.call(kind, probe).await?;
        }
        Ok(())
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with the cause and a remedy.
    pub async fn open(&self, kind: StoreKind, why: PassphraseFor) -> Result<Arc<dyn KeyStore>> {
        let opened = self.opened().get(&kind).cloned();
        if let Some(store) = opened
            && !is_stale(kind, &store).await?
        {
            return Ok(store);
        }
        let store: Arc<dyn KeyStore> = match kind {
            StoreKind::Keyring => Arc::new(bounded(kind, SystemKeyring::open).await?),
            StoreKind::File => self.open_file(why).await?,
            StoreKind::Env => return Err(nothing_stored()),
        };
        self.opened().insert(kind, store.clone());
        Ok(store)
    }

    /// Returns the secret stored at a place, if any.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with the cause and a remedy.
    pub async fn read(&self, place: &Place) -> Result<Option<Secret>> {
        if place.store == StoreKind::File && !self.has_file()? {
            return Ok(None);
        }
        tracing::debug!(store = place.store.name(), "reading the key store");
        let mut store = self.open(place.store, PassphraseFor::Opening).await?;
        loop {
            let (item, asked) = (place.item.clone(), store.clone());
            let read = self.call(place.store, move || asked.read(&item)).await;
            if read.is_ok() || !is_stale(place.store, &store).await.unwrap_or(false) {
                return read;
            }
            // Another process has created the file since it was opened.
            store = self.open(place.store, PassphraseFor::Opening).await?;
        }
    }

    /// Stores a secret.
    ///
    /// # Errors
    /// As [`Self::read`]; after a timeout the secret may be stored nevertheless.
    pub async fn write(&self, place: &Place, secret: &Secret) -> Result<()> {
        let _lock = self.lock_file(place.store).await?;
        let store = self.open(place.store, PassphraseFor::Creating).await?;
        let (item, secret) = (place.item.clone(), secret.clone());
        self.call(place.store, move || store.write(&item, &secret)).await
    }

    /// Deletes the secret at a place.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn delete(&self, place: &Place) -> Result<()> {
        if place.store == StoreKind::File && !self.has_file()? {
            return Ok(());
        }
        let _lock = self.lock_file(place.store).await?;
        let store = self.open(place.store, PassphraseFor::Opening).await?;
        let item = place.item.clone();
        self.call(place.store, move || store.delete(&item)).await
    }

    /// Returns whether the encrypted file exists.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if the directory cannot be read.
    pub fn has_file(&self) -> Result<bool> {
        self.file().try_exists().map_err(|e| {
            let why = format!("cannot check for the key file {}: {e}", self.file().display());
            Error::new(Kind::KeyStore, why)
                .hint("make the directory readable, or name another one in ASISTRY_DATA_DIR")
        })
    }

    /// Returns the path of the encrypted file.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    async fn open_file(&self, why: PassphraseFor) -> Result<Arc<dyn KeyStore>> {
        let path = self.file();
        let why = if self.has_file()? { PassphraseFor::Opening } else { why };
        // No deadline: the user may take time to type.
        let ask = self.passphrase.clone();
        let asked = tokio::task::spawn_blocking(move || ask(why));
        let passphrase = asked.await.map_err(|e| panicked(StoreKind::File, &e))??;
        Ok(Arc::new(bounded(StoreKind::File, move || EncryptedFile::open(path, &passphrase)).await?))
    }

    /// Locks the encrypted file, which two processes must not change at once; a keyring does so itself.
    async fn lock_file(&self, kind: StoreKind) -> Result<Option<Lock>> {
        if kind != StoreKind::File {
            return Ok(None);
        }
        let fail = |why: String| Error::new(Kind::KeyStore, format!("the key file {why}"));
        match State::new(self.directory.clone()).lock(FILE_LOCK, DEADLINE).await {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(fail("is being changed by another process".into()).hint("try again")),
            Err(e) => Err(fail(format!("in {} cannot be locked: {e}", self.directory.display()))
                .hint("make the directory writable, or name another one in ASISTRY_DATA_DIR")),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        kind: StoreKind,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = bounded(kind, work).await;
        if done.is_err() {
            // Drops a connection that failed or hangs.
            self.opened().remove(&kind);
        }
        done
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashMap<StoreKind, Arc<dyn KeyStore>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("directory", &self.directory).finish_non_exhaustive()
    }
}

async fn is_stale(kind: StoreKind, store: &Arc<dyn KeyStore>) -> Result<bool> {
    let store = store.clone();
    bounded(kind, move || Ok(store.is_stale())).await
}

async fn bounded<T: Send + 'static>(
    kind: StoreKind,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(e)) => Err(panicked(kind, &e)),
        Err(_) => Err(timed_out(kind)),
    }
}

fn timed_out(kind: StoreKind) -> Error {
    match kind {
        StoreKind::Keyring => keyring::timed_out(),
        _ => Error::new(Kind::KeyStore, "the key file could not be read or written within 3 s")
            .hint("check that its disk responds"),
    }
}

fn panicked(kind: StoreKind, e: &tokio::task::JoinError) -> Error {
    Error::new(Kind::Bug, format!("the key store {} panicked: {e}", kind.name()))
}

fn nothing_stored() -> Error {
    Error::new(Kind::KeyStore, "the key store is set to env, which stores nothing")
        .hint("set ASISTRY_API_KEY, or choose a store: --store keyring or --store file")
}
