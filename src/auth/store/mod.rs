//! Where keys lie: the system's keyring, or an encrypted file.
//!
//! One store is used because somebody chose it, never because another failed. Refuses to hang: every call
//! has [`DEADLINE`], and a store that missed it is opened anew.

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

/// No call to a store may take longer: a locked one can wait for a person who is not there.
const DEADLINE: Duration = Duration::from_secs(3);
/// An item that holds no key, and is deleted at once. It has one name: the next probe takes along what one
/// that was interrupted left.
const PROBE: &str = "v1/probe";
const FILE: &str = "keys.enc";
const FILE_LOCK: &str = "keys.enc.lock";

/// A place for secrets. Calls block.
pub(super) trait KeyStore: fmt::Debug + Send + Sync {
    /// Returns the secret of an item, if there is such an item.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with what is wrong with the store.
    fn read(&self, item: &str) -> Result<Option<Secret>>;

    /// Stores a secret, in place of what the item held.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn write(&self, item: &str, secret: &Secret) -> Result<()>;

    /// Deletes an item; none is as good.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn delete(&self, item: &str) -> Result<()>;

    /// Says whether the store must be opened again: another process has made it anew.
    fn is_stale(&self) -> bool {
        false
    }

    /// Says whether an item will be forgotten at the end of the session.
    fn is_volatile(&self, _item: &str) -> bool {
        false
    }
}

/// What a passphrase is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphraseFor {
    /// A file that is there.
    Opening,
    /// A file that is to be made.
    Creating,
}

/// Finds the passphrase of the encrypted file: in the environment, in a file, or by asking.
pub type Passphrase = Arc<dyn Fn(PassphraseFor) -> Result<Secret> + Send + Sync>;

/// The stores, each opened when it is first needed.
pub(super) struct Stores {
    directory: PathBuf,
    passphrase: Passphrase,
    opened: Mutex<HashMap<StoreKind, Arc<dyn KeyStore>>>,
}

impl Stores {
    /// The encrypted file lies in this directory.
    pub fn new(directory: PathBuf, passphrase: Passphrase) -> Self {
        Self { directory, passphrase, opened: Mutex::default() }
    }

    /// Tries whether a store takes keys: only a write shows that a keyring is locked. Two at once would
    /// delete each other's item.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with what is wrong and the way on.
    pub async fn probe(&self, kind: StoreKind) -> Result<()> {
        let store = self.open(kind, PassphraseFor::Creating).await?;
        if kind == StoreKind::Keyring {
            let probe = move || {
                store.write(PROBE, &Secret::new("probe".into()))?;
                if store.is_volatile(PROBE) {
                    tracing::warn!(
                        "the keyring's default collection is that of the session: it forgets keys at logout"
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
    /// [`Kind::KeyStore`] with what is wrong and the way on.
    pub async fn open(&self, kind: StoreKind, why: PassphraseFor) -> Result<Arc<dyn KeyStore>> {
        let opened = self.opened().get(&kind).cloned();
        if let Some(store) = opened.filter(|store| !store.is_stale()) {
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

    /// Returns the secret that lies in a place, if there is one.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with what is wrong and the way on.
    pub async fn read(&self, place: &Place) -> Result<Option<Secret>> {
        if place.store == StoreKind::File && !self.has_file()? {
            return Ok(None);
        }
        tracing::debug!(store = place.store.name(), "the key store is read");
        let mut store = self.open(place.store, PassphraseFor::Opening).await?;
        loop {
            let (item, asked) = (place.item.clone(), store.clone());
            match self.call(place.store, move || asked.read(&item)).await {
                // Another process has made it since it was opened.
                Err(_) if store.is_stale() => store = self.open(place.store, PassphraseFor::Opening).await?,
                read => return read,
            }
        }
    }

    /// Stores a secret.
    ///
    /// # Errors
    /// As [`Self::read`]; the secret may be stored all the same where the store did not answer.
    pub async fn write(&self, place: &Place, secret: &Secret) -> Result<()> {
        let _lock = self.lock_file(place.store).await?;
        let store = self.open(place.store, PassphraseFor::Creating).await?;
        let (item, secret) = (place.item.clone(), secret.clone());
        self.call(place.store, move || store.write(&item, &secret)).await
    }

    /// Deletes what lies in a place.
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

    /// Says whether there is an encrypted file at all.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] for a directory that cannot be looked into.
    pub fn has_file(&self) -> Result<bool> {
        self.file().try_exists().map_err(|e| {
            let why = format!("the file of keys {} cannot be looked for: {e}", self.file().display());
            Error::new(Kind::KeyStore, why)
                .hint("make the directory readable, or name another one in ASISTRY_DATA_DIR")
        })
    }

    /// Returns where the encrypted file is looked for.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    async fn open_file(&self, why: PassphraseFor) -> Result<Arc<dyn KeyStore>> {
        let path = self.file();
        let why = if self.has_file()? { PassphraseFor::Opening } else { why };
        // A person may take their time for it.
        let ask = self.passphrase.clone();
        let asked = tokio::task::spawn_blocking(move || ask(why));
        let passphrase = asked.await.map_err(|e| panicked(StoreKind::File, &e))??;
        Ok(Arc::new(bounded(StoreKind::File, move || EncryptedFile::open(path, &passphrase)).await?))
    }

    /// Two processes that change the file at once would lose a key; a keyring sees to that itself.
    async fn lock_file(&self, kind: StoreKind) -> Result<Option<Lock>> {
        if kind != StoreKind::File {
            return Ok(None);
        }
        let fail = |why: String| Error::new(Kind::KeyStore, format!("the file of keys {why}"));
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
            // A connection that failed, or hangs, is of no use to the next call.
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
        _ => Error::new(Kind::KeyStore, "the file of keys could not be read or written within 3 s")
            .hint("look whether its disk answers"),
    }
}

fn panicked(kind: StoreKind, e: &tokio::task::JoinError) -> Error {
    Error::new(Kind::Bug, format!("the key store {} broke off: {e}", kind.name()))
}

fn nothing_stored() -> Error {
    Error::new(Kind::KeyStore, "the key store is the environment: nothing is stored")
        .hint("set ASISTRY_API_KEY, or choose a store: --store keyring or --store file")
}
