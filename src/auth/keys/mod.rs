//! The stored keys of all profiles: which one is current, to which origins it may be sent, and changes of them.
//!
//! A change stores the new key under a new item name, then replaces the list (one file, atomically), then deletes
//! the old item; if interrupted at any point, the old key or the new one is current. Refuses every origin that a key
//! is not bound to, and never falls back to a store that the user did not choose.

mod change;

use std::time::Duration;

use super::store::{Passphrase, PassphraseFor, Stores};
use crate::error::{Error, Kind, Remedy, Result};
use crate::files::Lock;
use crate::profile::{Profile, StoreKind};
use crate::secret::Secret;
use crate::state::State;
use crate::state::keys::{Deposit, KeyList, KeyRecord, Place, Stamp};

pub use change::{Change, Staging};

const LOCK: &str = "keys.lock";
const PROBE_LOCK: &str = "probe.lock";
/// Another process may hold the lock while the service checks its new key.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// The default name of a key.
pub const DEFAULT: &str = "default";
/// Maximum length of a key's name.
pub const LONGEST_NAME: usize = 64;
/// How often to read a key again if the list changes meanwhile.
const READ_ATTEMPTS: usize = 10;

/// Identifies a stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// The profile.
    pub profile: String,
    /// Its name among the keys of the profile.
    pub name: String,
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.profile, self.name)
    }
}

/// A key to store.
#[derive(Debug)]
pub struct NewKey {
    /// The key itself.
    pub secret: Secret,
    /// The origin that it is bound to.
    pub origin: String,
    /// Where to store it.
    pub store: StoreKind,
    /// Its masked form.
    pub shown: String,
    /// Whether `--force` overrode the check of its form.
    pub forced: bool,
    /// The key that it came with, if it is a further secret and no key.
    pub came_with: Option<String>,
}

/// A key and where it was found.
#[derive(Debug)]
pub struct Found {
    /// The key itself.
    pub secret: Secret,
    /// Whether `--force` overrode the check of its form.
    pub forced: bool,
    /// Where it came from.
    pub source: KeySource,
}

/// Where a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `ASISTRY_API_KEY`.
    Environment,
    /// A key store.
    Stored {
        /// Its name among the keys of its profile.
        name: String,
        /// The store.
        store: StoreKind,
    },
    /// An extra header that replaces the key.
    Header {
        /// The name of the header.
        name: String,
    },
    /// A login.
    Login,
    /// The login of a machine.
    Machine,
    /// None; the request carries no key.
    Absent,
    /// A new key that is tried before it is stored.
    New,
    /// The sandbox in this process.
    Sandbox,
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("in ASISTRY_API_KEY"),
            Self::Stored { store, .. } => write!(f, "in {}", store.about()),
            Self::Header { name } => write!(f, "in the header {name}"),
            Self::Login | Self::Machine => f.write_str("of the login"),
            Self::Absent => f.write_str("that is missing"),
            Self::New => f.write_str("to be tried"),
            Self::Sandbox => f.write_str("of the sandbox"),
        }
    }
}

/// The result of looking up a key.
#[derive(Debug)]
pub enum Lookup {
    /// A key.
    Found(Found),
    /// No key.
    Nothing,
    /// No key is listed, and the key store, which might have an unlisted one, is unavailable.
    StoreUnavailable(Error),
}

/// All stored keys.
#[derive(Debug)]
pub struct Keys {
    state: State,
    stores: Stores,
    configured: Option<StoreKind>,
}

impl Keys {
    /// Uses the key list in `state` and the encrypted file in the directory `data`; `configured` is the store set by
    /// the environment or the configuration.
    pub fn new(
        state: State,
        data: std::path::PathBuf,
        configured: Option<StoreKind>,
        passphrase: Passphrase,
    ) -> Self {
        Self { state, stores: Stores::new(data, passphrase), configured }
    }

    /// Returns the list of all keys.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] for a list that cannot be read.
    pub fn list(&self) -> Result<KeyList> {
        self.state.keys()
    }

    /// Returns when a key was last used, in seconds since 1970.
    pub fn last_used(&self, id: &KeyId) -> Option<u64> {
        self.state.key_uses().get(&id.to_string()).copied()
    }

    /// Records that a key is used, in the background; ignores errors.
    pub fn record_use(&self, id: KeyId) {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || state.key_used(&id.profile, &id.name));
    }

    /// Returns a stamp that changes when the list changes.
    pub fn stamp(&self) -> Stamp {
        self.state.keys_stamp()
    }

    /// Returns the store for a new key, after checking that it works: `asked`, else the configured one, else the one
    /// that holds all keys, else the keyring.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with what is wrong with the store.
    pub async fn store_for_new(&self, asked: Option<StoreKind>) -> Result<StoreKind> {
        let kind = asked.or(self.configured).or(self.only_store()).unwrap_or(StoreKind::Keyring);
        // Opened first, so that an unavailable store leaves no lock file.
        self.stores.open(kind, PassphraseFor::Creating).await?;
        let _alone = match kind {
            StoreKind::Keyring => Some(self.lock(PROBE_LOCK).await?),
            _ => None,
        };
        self.stores.probe(kind).await?;
        Ok(kind)
    }

    /// Reads an item of a store.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] for an unavailable store.
    pub(super) async fn read_item(&self, place: &Place) -> Result<Option<Secret>> {
        self.stores.read(place).await
    }

    /// Writes an item of a store.
    ///
    /// # Errors
    /// As [`Self::read_item`].
    pub(super) async fn write_item(&self, place: &Place, secret: &Secret) -> Result<()> {
        self.stores.write(place, secret).await
    }

    /// Deletes an item of a store.
    ///
    /// # Errors
    /// As [`Self::read_item`].
    pub(super) async fn delete_item(&self, place: &Place) -> Result<()> {
        self.stores.delete(place).await
    }

    /// Returns the store that holds all keys, if there is exactly one.
    fn only_store(&self) -> Option<StoreKind> {
        let list = self.list().ok()?;
        let mut stores = list.keys.iter().filter_map(|key| Some(key.deposit.as_ref()?.place.store));
        let first = stores.next()?;
        stores.all(|store| store == first).then_some(first)
    }

    /// Returns the configured store if it differs from `store`.
    pub fn configured_instead_of(&self, store: StoreKind) -> Option<StoreKind> {
        self.configured.filter(|configured| *configured != store)
    }

    /// Returns whether a key is listed for a profile, or for the origin of a bare URL; opens no store.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn is_listed(&self, profile: &Profile, origin: &str) -> Result<bool> {
        if self.configured == Some(StoreKind::Env) {
            return Ok(false);
        }
        let list = self.list()?;
        Ok(if profile.bare {
            current_record(&list, profile, origin).is_some()
        } else {
            list.of_profile(&profile.name).next().is_some()
        })
    }

    /// Reads the current key of a profile.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for a key bound to another origin, [`Kind::KeyStore`] for an unavailable store,
    /// [`Kind::AuthRequired`] for a listed key that is missing in its store.
    pub async fn current(&self, profile: &Profile, origin: &str) -> Result<Lookup> {
        if self.configured == Some(StoreKind::Env) {
            let why = "no key: the key store is set to env, and ASISTRY_API_KEY is not set";
            return Err(Error::new(Kind::AuthRequired, why).hint(
                "set ASISTRY_API_KEY, or choose another ASISTRY_KEY_STORE or key_store: keyring or file",
            ));
        }
        for _ in 0..READ_ATTEMPTS {
            let list = self.list()?;
            let Some(record) = current_record(&list, profile, origin) else {
                if let Some(one) = list.of_profile(&profile.name).next().filter(|_| !profile.bare) {
                    return Err(none_in_use(one));
                }
                return Ok(self.find_unlisted(&list, profile, origin).await);
            };
            let Some(deposit) = &record.deposit else { return Ok(Lookup::Nothing) };
            let id = KeyId { profile: record.profile.clone(), name: record.name.clone() };
            self.check_origin(record, origin).await?;
            let place = &deposit.place;
            self.check_choice(&id, place)?;
            let Some(secret) = self.read_listed(&list, &id, place).await? else { continue };
            let source = KeySource::Stored { name: id.name.clone(), store: place.store };
            self.record_use(id);
            return Ok(Lookup::Found(Found { secret, forced: deposit.forced, source }));
        }
        Err(unsteady(&profile.name))
    }

    /// Checks that a key may be sent to an origin. Users can edit the list, so the item names in the key store decide.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for another origin; [`Kind::KeyStore`] for an edited list.
    pub async fn check_origin(&self, record: &KeyRecord, origin: &str) -> Result<()> {
        let Some(deposit) = &record.deposit else { return Ok(()) };
        let id = KeyId { profile: record.profile.clone(), name: record.name.clone() };
        check_item_name(&id, deposit)?;
        if deposit.origin == origin {
            return Ok(());
        }
        if !record.may_go_to(origin) {
            return Err(other_origin(&id, &deposit.origin, origin));
        }
        let mark = binding_item(&id, deposit.place.store, origin);
        match self.stores.read(&mark).await? {
            Some(_) => Ok(()),
            None => Err(other_origin(&id, &deposit.origin, origin)),
        }
    }

    /// Reads one key without checking an origin.
    ///
    /// # Errors
    /// As [`Self::current`]; [`Kind::AuthRequired`] where there is none of this name.
    pub async fn secret(&self, id: &KeyId) -> Result<Secret> {
        for _ in 0..READ_ATTEMPTS {
            let list = self.list()?;
            let record = list.find(&id.profile, &id.name);
            let deposit =
                record.and_then(|record| record.deposit.as_ref()).ok_or_else(|| unknown(&list, id))?;
            check_item_name(id, deposit)?;
            if let Some(secret) = self.read_listed(&list, id, &deposit.place).await? {
                return Ok(secret);
            }
        }
        Err(unsteady(&id.profile))
    }

    /// Reads a listed item; `None` if another process has just replaced the key, so that the list must be read again.
    async fn read_listed(&self, list: &KeyList, id: &KeyId, place: &Place) -> Result<Option<Secret>> {
        match self.stores.read(place).await {
            Ok(Some(secret)) => Ok(Some(secret)),
            // A store may also report an error for an item deleted during the read.
            _ if self.list()? != *list => Ok(None),
            Ok(None) if place.store == StoreKind::File && !self.stores.has_file()? => {
                let why = format!(
                    "the key {id} is stored in the encrypted file {}, which does not exist",
                    self.stores.file().display()
                );
                Err(Error::new(Kind::KeyStore, why)
                    .hint("check ASISTRY_DATA_DIR: the file is in the data directory"))
            }
            Ok(None) => Err(lost(id, place)),
            Err(error) => Err(error),
        }
    }

    /// Finds the default key by its item name alone, in case the list was lost or the key was added to the keyring by
    /// hand. Ignores items that the list marks as deleted.
    async fn find_unlisted(&self, list: &KeyList, profile: &Profile, origin: &str) -> Lookup {
        let store = self.configured.unwrap_or(StoreKind::Keyring);
        let id = KeyId { profile: profile.name.clone(), name: default_name(profile, origin) };
        for slot in Slot::ALL {
            let place = Place { store, item: slot.item(&id, origin) };
            if list.keys.iter().any(|record| record.retired.contains(&place)) {
                continue;
            }
            match self.stores.read(&place).await {
                Ok(Some(secret)) => {
                    let source = KeySource::Stored { name: id.name, store };
                    return Lookup::Found(Found { secret, forced: false, source });
                }
                Ok(None) => {}
                Err(error) => return Lookup::StoreUnavailable(error),
            }
        }
        Lookup::Nothing
    }

    fn check_choice(&self, id: &KeyId, place: &Place) -> Result<()> {
        match self.configured {
            Some(configured) if configured != place.store => {
                let (configured, there) = (configured.name(), place.store);
                let why = format!(
                    "the key {id} is stored in {}, but the key store is set to {configured}",
                    there.about()
                );
                let remedy = Remedy::MoveKey { name: id.name.clone(), from: there.name(), to: configured };
                Err(Error::new(Kind::KeyStore, why).remedy(remedy))
            }
            _ => Ok(()),
        }
    }

    /// Locks the keys for a change and completes an interrupted one.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if another process holds the lock, or if the list cannot be read or written.
    pub async fn change(&self) -> Result<Change<'_>> {
        let lock = self.lock(LOCK).await?;
        Ok(Change::begin(self, self.list()?, lock))
    }

    async fn lock(&self, name: &str) -> Result<Lock> {
        let lock = self.state.lock(name, LOCK_TIMEOUT).await.map_err(|e| self.state.unwritable(&e))?;
        lock.ok_or_else(|| {
            Error::new(Kind::KeyStore, "another asistry process is changing keys")
                .hint("try again when it is done")
        })
    }
}

/// Which of two item names a key uses; a key and its successor alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    First,
    Second,
}

impl Slot {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    /// Item names are a stored format, version 1: `v1/PROFILE/NAME/ORIGIN`, and `v1/PROFILE/NAME~b/ORIGIN`.
    fn item(self, id: &KeyId, origin: &str) -> String {
        let mark = if self == Self::First { "" } else { "~b" };
        format!("v1/{}/{}{mark}/{origin}", id.profile, id.name)
    }
}

/// Returns the item that marks a key as bound to one more origin: `v1/PROFILE/NAME+bound/ORIGIN`. Key names cannot
/// contain `+`.
fn binding_item(id: &KeyId, store: StoreKind, origin: &str) -> Place {
    Place { store, item: format!("v1/{}/{}+bound/{origin}", id.profile, id.name) }
}

fn binding_value() -> Secret {
    Secret::new("bound".into())
}

/// Checks a list entry against the name of its item.
fn check_item_name(id: &KeyId, deposit: &Deposit) -> Result<()> {
    let is_own = |slot: Slot| deposit.place.item == slot.item(id, &deposit.origin);
    if Slot::ALL.into_iter().any(is_own) { Ok(()) } else { Err(edited(id)) }
}

fn edited(id: &KeyId) -> Error {
    let why = format!("the key list was edited: its entry for {id} does not match the key store");
    Error::new(Kind::KeyStore, why).remedy(Remedy::AddAgain { name: id.name.clone() })
}

/// Returns the default name of a key: `default`, or the host of a bare URL.
pub fn default_name(profile: &Profile, origin: &str) -> String {
    match origin.split_once("://") {
        Some((scheme, host)) if profile.bare => {
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
            let host: String = host.chars().map(plain).collect();
            let mark = if scheme == "https" { "" } else { "http-" };
            format!("{mark}{}", host.trim_matches('-')).chars().take(LONGEST_NAME).collect()
        }
        _ => DEFAULT.to_owned(),
    }
}

/// Returns the name of the current key, or the name it would have.
pub fn current_name(list: &KeyList, profile: &Profile, origin: &str) -> String {
    current_record(list, profile, origin)
        .map_or_else(|| default_name(profile, origin), |key| key.name.clone())
}

/// Finds the current key: the profile's chosen one; for a bare URL, the one bound to its origin.
fn current_record<'a>(list: &'a KeyList, profile: &Profile, origin: &str) -> Option<&'a KeyRecord> {
    let configured = list.current.get(&profile.name).and_then(|name| list.find(&profile.name, name));
    if !profile.bare {
        return configured;
    }
    let fits = |key: &&KeyRecord| key.profile == profile.name && key.may_go_to(origin);
    configured.filter(fits).or_else(|| list.keys.iter().find(fits))
}

/// Returns the error for a key that would be sent to an origin it is not bound to.
pub fn other_origin(id: &KeyId, own: &str, asked: &str) -> Error {
    Error::new(
        Kind::OriginMismatch,
        format!("the key {id} is bound to {own} and must not be sent to {asked}"),
    )
    .remedy(Remedy::BindKey { name: id.name.clone(), origin: asked.to_owned() })
}

fn none_in_use(record: &KeyRecord) -> Error {
    let KeyRecord { profile, name, .. } = record;
    Error::new(Kind::AuthRequired, format!("the profile {profile} has keys, but none of them is current"))
        .remedy(Remedy::UseKey { name: name.clone() })
}

fn lost(id: &KeyId, place: &Place) -> Error {
    let why = format!("the key {id} is no longer in {}: it was deleted there", place.store.about());
    Error::new(Kind::AuthRequired, why).remedy(Remedy::AddAgain { name: id.name.clone() })
}

fn unsteady(profile: &str) -> Error {
    Error::new(Kind::KeyStore, format!("the keys of {profile} kept changing while they were read"))
        .hint("try again")
}

fn nothing_staged(list: &KeyList, id: &KeyId) -> Error {
    match list.find(&id.profile, &id.name).is_some_and(|record| record.deposit.is_some()) {
        true => Error::new(Kind::Usage, format!("no rotation of the key {id} was interrupted"))
            .remedy(Remedy::RotateKey { name: id.name.clone() }),
        false => unknown(list, id),
    }
}

fn unknown(list: &KeyList, id: &KeyId) -> Error {
    let names: Vec<&str> = list.of_profile(&id.profile).map(|record| record.name.as_str()).collect();
    let error = Error::new(Kind::AuthRequired, format!("there is no stored key {id}"));
    match names.as_slice() {
        [] => error.remedy(Remedy::StoreKey),
        names => error.hint(format!("its keys are: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_url_gives_its_key_a_name_that_can_be_typed() {
        let name = |url: &str| {
            let profile = Profile::of_url(url).unwrap();
            default_name(&profile, &profile.endpoint().unwrap().origin().ascii_serialization())
        };
        assert_eq!(name("https://h.example/mcp"), "h.example");
        assert_eq!(name("https://h.example:8080/mcp"), "h.example-8080");
        assert_eq!(name("http://h.example:8080/mcp"), "http-h.example-8080");
        assert_eq!(name("https://[::1]:8080/mcp"), "1--8080");
        assert!(name(&format!("https://{}.example/", ["a"; 60].concat())).len() <= LONGEST_NAME);
    }
}
