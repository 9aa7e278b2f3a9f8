//! The stored keys of all profiles: which one counts, where it may go, and every change of them.
//!
//! A change is made in an order that an interruption at any point leaves the old key in use or the new one:
//! the new key is stored beside the old under a name of its own, then the list (one file, replaced as a
//! whole) says that it counts, then the old one is deleted. Refuses every origin a key was not made for, and
//! a store that nobody chose.

mod change;

use std::time::Duration;

use super::store::{Passphrase, PassphraseFor, Stores};
use crate::error::{Error, KeyHome, Kind, Remedy, Result};
use crate::files::Lock;
use crate::profile::{Profile, StoreKind};
use crate::secret::Secret;
use crate::state::State;
use crate::state::keys::{Deposit, KeyList, KeyRecord, Place, Stamp};

pub use change::Change;

const LOCK: &str = "keys.lock";
const PROBE_LOCK: &str = "probe.lock";
/// Another process may be waiting for a service that verifies its new key.
const PATIENCE: Duration = Duration::from_secs(20);
/// The name of a key for which none was given.
pub const DEFAULT: &str = "default";
/// No name of a key is longer.
pub const LONGEST_NAME: usize = 64;
/// A reader that finds its key gone looks so often whether another one counts by now.
const LOOKS: usize = 10;

/// Names one key.
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

/// A key that is to be stored.
#[derive(Debug)]
pub struct NewKey {
    /// The key itself.
    pub secret: Secret,
    /// The origin that it is for.
    pub origin: String,
    /// Where to store it.
    pub store: StoreKind,
    /// Its masked form.
    pub shown: String,
    /// Its form is wrong, and somebody wants it all the same.
    pub forced: bool,
}

/// A stored key, read.
#[derive(Debug)]
pub struct Found {
    /// The key itself.
    pub secret: Secret,
    /// Its form is wrong, and somebody wanted it all the same.
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
    /// A header that somebody added, in the place of a key.
    Header {
        /// The name of the header.
        name: String,
    },
    /// There is none: the service was asked without a key.
    Absent,
    /// It is about to be stored, and tried first.
    New,
    /// The sandbox of this process.
    Sandbox,
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("in ASISTRY_API_KEY"),
            Self::Stored { store, .. } => write!(f, "in {}", store.about()),
            Self::Header { name } => write!(f, "in the header {name}"),
            Self::Absent => f.write_str("that is not there"),
            Self::New => f.write_str("to be tried"),
            Self::Sandbox => f.write_str("of the sandbox"),
        }
    }
}

/// What a look for a key brought.
#[derive(Debug)]
pub enum Looked {
    /// A key.
    Found(Found),
    /// There is none.
    Nothing,
    /// None is listed, and the store where one might lie all the same cannot be asked.
    NobodyToAsk(Error),
}

/// All stored keys.
#[derive(Debug)]
pub struct Keys {
    state: State,
    stores: Stores,
    chosen: Option<StoreKind>,
}

impl Keys {
    /// Keeps the list in `state` and the encrypted file in the directory of `data`; `chosen` is the store
    /// that the environment or the configuration names.
    pub fn new(
        state: State,
        data: std::path::PathBuf,
        chosen: Option<StoreKind>,
        passphrase: Passphrase,
    ) -> Self {
        Self { state, stores: Stores::new(data, passphrase), chosen }
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

    /// Tells one state of the list from another.
    pub fn stamp(&self) -> Stamp {
        self.state.keys_stamp()
    }

    /// Returns the store for a new key: the one asked for, the one chosen, the one in which all
    /// keys lie, else the keyring. It is tried,
    /// so that what is wrong with it is known before anybody is asked for a key.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with what is wrong with the store.
    pub async fn store_for_new(&self, asked: Option<StoreKind>) -> Result<StoreKind> {
        let kind = asked.or(self.chosen).or(self.only_store()).unwrap_or(StoreKind::Keyring);
        // A store that is not there leaves nothing behind, not even a lock.
        self.stores.open(kind, PassphraseFor::Creating).await?;
        let _alone = match kind {
            StoreKind::Keyring => Some(self.lock(PROBE_LOCK).await?),
            _ => None,
        };
        self.stores.probe(kind).await?;
        Ok(kind)
    }

    /// Returns the store in which all keys lie, if that is one.
    fn only_store(&self) -> Option<StoreKind> {
        let list = self.list().ok()?;
        let mut stores = list.keys.iter().filter_map(|key| Some(key.deposit.as_ref()?.place.store));
        let first = stores.next()?;
        stores.all(|store| store == first).then_some(first)
    }

    /// Returns the store that was chosen, where that is another one.
    pub fn chosen_instead_of(&self, store: StoreKind) -> Option<StoreKind> {
        self.chosen.filter(|chosen| *chosen != store)
    }

    /// Says whether a key is listed for a profile, or for the origin of a bare URL, without opening a store.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn knows(&self, profile: &Profile, origin: &str) -> Result<bool> {
        if self.chosen == Some(StoreKind::Env) {
            return Ok(false);
        }
        let list = self.list()?;
        Ok(if profile.bare {
            wanted(&list, profile, origin).is_some()
        } else {
            list.of_profile(&profile.name).next().is_some()
        })
    }

    /// Reads the key of a profile that counts.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for a key of another origin, [`Kind::KeyStore`] for a store that cannot be
    /// used, [`Kind::AuthRequired`] for a key that is listed and not there.
    pub async fn current(&self, profile: &Profile, origin: &str) -> Result<Looked> {
        if self.chosen == Some(StoreKind::Env) {
            let why = "there is no key: the key store is set to env, and ASISTRY_API_KEY is not set";
            return Err(Error::new(Kind::AuthRequired, why).hint(
                "set ASISTRY_API_KEY, or choose another ASISTRY_KEY_STORE or key_store: keyring or file",
            ));
        }
        for _ in 0..LOOKS {
            let list = self.list()?;
            let Some(record) = wanted(&list, profile, origin) else {
                if let Some(one) = list.of_profile(&profile.name).next().filter(|_| !profile.bare) {
                    return Err(none_in_use(one));
                }
                return Ok(self.unlisted(&list, profile, origin).await);
            };
            let Some(deposit) = &record.deposit else { return Ok(Looked::Nothing) };
            let id = KeyId { profile: record.profile.clone(), name: record.name.clone() };
            self.check_origin(record, origin).await?;
            let place = &deposit.place;
            self.check_choice(&id, place)?;
            let Some(secret) = self.read_steadily(&list, &id, place).await? else { continue };
            let source = KeySource::Stored { name: id.name.clone(), store: place.store };
            let (state, profile, name) = (self.state.clone(), id.profile, id.name);
            tokio::task::spawn_blocking(move || state.key_used(&profile, &name));
            return Ok(Looked::Found(Found { secret, forced: deposit.forced, source }));
        }
        Err(unsteady(&profile.name))
    }

    /// Checks that a key may go to an origin. The list can be edited by hand, so the names of the items decide,
    /// which the store seals.
    ///
    /// # Errors
    /// [`Kind::OriginMismatch`] for another origin; [`Kind::KeyStore`] for a list that was edited.
    pub async fn check_origin(&self, record: &KeyRecord, origin: &str) -> Result<()> {
        let Some(deposit) = &record.deposit else { return Ok(()) };
        let id = KeyId { profile: record.profile.clone(), name: record.name.clone() };
        check_sealed(&id, deposit)?;
        if deposit.origin == origin {
            return Ok(());
        }
        if !record.may_go_to(origin) {
            return Err(other_origin(&id, &deposit.origin, origin));
        }
        let mark = mark_of(&id, deposit.place.store, origin);
        match self.stores.read(&mark).await? {
            Some(_) => Ok(()),
            None => Err(other_origin(&id, &deposit.origin, origin)),
        }
    }

    /// Reads one key, wherever it may go.
    ///
    /// # Errors
    /// As [`Self::current`]; [`Kind::AuthRequired`] where there is none of this name.
    pub async fn secret(&self, id: &KeyId) -> Result<Secret> {
        for _ in 0..LOOKS {
            let list = self.list()?;
            let record = list.find(&id.profile, &id.name);
            let deposit =
                record.and_then(|record| record.deposit.as_ref()).ok_or_else(|| unknown(&list, id))?;
            check_sealed(id, deposit)?;
            if let Some(secret) = self.read_steadily(&list, id, &deposit.place).await? {
                return Ok(secret);
            }
        }
        Err(unsteady(&id.profile))
    }

    /// Reads what a place of the list holds; `None` where another process has just put another key in its
    /// place, which the next look at the list shows.
    async fn read_steadily(&self, list: &KeyList, id: &KeyId, place: &Place) -> Result<Option<Secret>> {
        match self.stores.read(place).await {
            Ok(Some(secret)) => Ok(Some(secret)),
            // A store can also fail for an item that vanishes while it is read.
            _ if self.list()? != *list => Ok(None),
            Ok(None) if place.store == StoreKind::File && !self.stores.has_file()? => {
                let why = format!(
                    "the key {id} lies in an encrypted file, and {} is not there",
                    self.stores.file().display()
                );
                Err(Error::new(Kind::KeyStore, why)
                    .hint("check ASISTRY_DATA_DIR: the file is in the data directory"))
            }
            Ok(None) => Err(lost(id, place)),
            Err(error) => Err(error),
        }
    }

    /// A list can be lost, and a key be put into the keyring by hand: the first key of a profile is found by
    /// its name alone. What the list calls deleted is not, even while it is still there.
    async fn unlisted(&self, list: &KeyList, profile: &Profile, origin: &str) -> Looked {
        let store = self.chosen.unwrap_or(StoreKind::Keyring);
        let id = KeyId { profile: profile.name.clone(), name: default_name(profile, origin) };
        for slot in Slot::ALL {
            let place = Place { store, item: slot.item(&id, origin) };
            if list.keys.iter().any(|record| record.retired.contains(&place)) {
                continue;
            }
            match self.stores.read(&place).await {
                Ok(Some(secret)) => {
                    let source = KeySource::Stored { name: id.name, store };
                    return Looked::Found(Found { secret, forced: false, source });
                }
                Ok(None) => {}
                Err(error) => return Looked::NobodyToAsk(error),
            }
        }
        Looked::Nothing
    }

    fn check_choice(&self, id: &KeyId, place: &Place) -> Result<()> {
        match self.chosen {
            Some(chosen) if chosen != place.store => {
                let (chosen, there) = (chosen.name(), place.store);
                let why =
                    format!("the key {id} lies in {}, and the key store is set to {chosen}", there.about());
                let remedy = Remedy::MoveKey { name: id.name.clone(), from: there.name(), to: chosen };
                Err(Error::new(Kind::KeyStore, why).remedy(remedy))
            }
            _ => Ok(()),
        }
    }

    /// Takes the right to change keys, and ends what an interrupted change left undone.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] when another process keeps it, or the list cannot be read or written.
    pub async fn change(&self) -> Result<Change<'_>> {
        let lock = self.lock(LOCK).await?;
        Ok(Change::begin(self, self.list()?, lock))
    }

    async fn lock(&self, name: &str) -> Result<Lock> {
        let lock = self.state.lock(name, PATIENCE).await.map_err(|e| self.state.unwritable(&e))?;
        lock.ok_or_else(|| {
            Error::new(Kind::KeyStore, "another asistry is changing keys").hint("try again when it is done")
        })
    }
}

/// A key and its successor lie in two items, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    First,
    Second,
}

impl Slot {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The names of items are a format, version 1: `v1/PROFILE/NAME/ORIGIN`, and `v1/PROFILE/NAME~b/ORIGIN`.
    fn item(self, id: &KeyId, origin: &str) -> String {
        let mark = if self == Self::First { "" } else { "~b" };
        format!("v1/{}/{}{mark}/{origin}", id.profile, id.name)
    }
}

/// Returns the item that marks a key as allowed for one more origin: `v1/PROFILE/NAME+bound/ORIGIN`. No name of
/// a key has a `+`.
fn mark_of(id: &KeyId, store: StoreKind, origin: &str) -> Place {
    Place { store, item: format!("v1/{}/{}+bound/{origin}", id.profile, id.name) }
}

fn mark() -> Secret {
    Secret::new("bound".into())
}

/// Checks what the list says of a key against the name of its item.
fn check_sealed(id: &KeyId, deposit: &Deposit) -> Result<()> {
    let is_own = |slot: Slot| deposit.place.item == slot.item(id, &deposit.origin);
    if Slot::ALL.into_iter().any(is_own) { Ok(()) } else { Err(edited(id)) }
}

fn edited(id: &KeyId) -> Error {
    let why = format!("the list of keys was edited: what it says of {id} is not what the store says");
    Error::new(Kind::KeyStore, why).remedy(Remedy::AddAgain { name: id.name.clone() })
}

/// Returns the name of a key for which none was given: `default`, or the host of a bare URL.
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

/// Returns the name of the key that counts, or would if there were one.
pub fn name_in_use(list: &KeyList, profile: &Profile, origin: &str) -> String {
    wanted(list, profile, origin).map_or_else(|| default_name(profile, origin), |key| key.name.clone())
}

/// Finds the key that counts: the chosen one of the profile; for a bare URL the one of its origin.
fn wanted<'a>(list: &'a KeyList, profile: &Profile, origin: &str) -> Option<&'a KeyRecord> {
    let chosen = list.current.get(&profile.name).and_then(|name| list.find(&profile.name, name));
    if !profile.bare {
        return chosen;
    }
    let fits = |key: &&KeyRecord| key.profile == profile.name && key.may_go_to(origin);
    chosen.filter(fits).or_else(|| list.keys.iter().find(fits))
}

/// Returns the error of a key that would go to an origin it is not for.
pub fn other_origin(id: &KeyId, own: &str, asked: &str) -> Error {
    Error::new(Kind::OriginMismatch, format!("the key {id} is for {own}, and may not go to {asked}"))
        .remedy(Remedy::BindKey { name: id.name.clone(), origin: asked.to_owned() })
}

fn none_in_use(record: &KeyRecord) -> Error {
    let KeyRecord { profile, name, .. } = record;
    Error::new(Kind::AuthRequired, format!("the profile {profile} has keys, and none of them is in use"))
        .remedy(Remedy::UseKey { name: name.clone() })
}

fn lost(id: &KeyId, place: &Place) -> Error {
    let why = format!("the key {id} is no longer in {}: somebody deleted it there", place.store.about());
    Error::new(Kind::AuthRequired, why).remedy(Remedy::AddAgain { name: id.name.clone() })
}

fn unsteady(profile: &str) -> Error {
    Error::new(Kind::KeyStore, format!("the keys of {profile} change all the time")).hint("try again")
}

fn nothing_staged(id: &KeyId) -> Error {
    Error::new(Kind::Usage, format!("no rotation of the key {id} was interrupted"))
        .remedy(Remedy::RotateKey { name: id.name.clone() })
}

fn unknown(list: &KeyList, id: &KeyId) -> Error {
    let names: Vec<&str> = list.of_profile(&id.profile).map(|record| record.name.as_str()).collect();
    let error = Error::new(Kind::AuthRequired, format!("there is no stored key {id}"));
    match names.as_slice() {
        [] => error.remedy(Remedy::AddKey { page: String::new(), home: KeyHome::Any }),
        names => error.hint(format!("the keys of {} are: {}", id.profile, names.join(", "))),
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
