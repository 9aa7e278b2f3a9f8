//! The stored keys of all profiles: which one counts, where it may go, and every change of them.
//!
//! A change is made in an order that an interruption at any point leaves the old key in use or the new one:
//! the new key is stored beside the old under a name of its own, then the list (one file, replaced as a
//! whole) says that it counts, then the old one is deleted. Refuses every origin a key was not made for, and
//! a store that nobody chose.

use std::time::Duration;

use super::store::{Passphrase, PassphraseFor, Stores};
use crate::error::{Error, KeyHome, Kind, Remedy, Result};
use crate::profile::{Profile, StoreKind};
use crate::secret::Secret;
use crate::state::keys::{Deposit, KeyList, KeyRecord, Place, Stamp, Successor};
use crate::state::{Lock, State, now};

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
            if !record.may_go_to(origin) {
                return Err(other_origin(&id, &deposit.origin, origin));
            }
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

    /// Reads one key, wherever it may go.
    ///
    /// # Errors
    /// As [`Self::current`]; [`Kind::AuthRequired`] where there is none of this name.
    pub async fn secret(&self, id: &KeyId) -> Result<Secret> {
        for _ in 0..LOOKS {
            let list = self.list()?;
            let deposit = list.find(&id.profile, &id.name).and_then(|record| record.deposit.as_ref());
            let deposit = deposit.ok_or_else(|| unknown(&list, id))?;
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
            Ok(None) if place.store == StoreKind::File && !self.stores.has_file() => {
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
                Err(Error::new(Kind::KeyStore, why).hint(format!(
                    "set ASISTRY_KEY_STORE={}, or store it again: asistry keys rotate -p {} --store {chosen}",
                    there.name(),
                    id.profile
                )))
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
        Ok(Change { keys: self, list: self.list()?, _lock: lock })
    }

    async fn lock(&self, name: &str) -> Result<Lock> {
        let lock = self.state.lock(name, PATIENCE).await.map_err(|e| self.state.unwritable(&e))?;
        lock.ok_or_else(|| {
            Error::new(Kind::KeyStore, "another asistry is changing keys").hint("try again when it is done")
        })
    }
}

/// The right to change keys, until it is dropped.
#[derive(Debug)]
pub struct Change<'a> {
    keys: &'a Keys,
    list: KeyList,
    _lock: Lock,
}

impl Change<'_> {
    /// Returns the list as it is now.
    pub fn list(&self) -> &KeyList {
        &self.list
    }

    /// Stores a key beside the one that counts; it does not count yet.
    ///
    /// # Errors
    /// [`Kind::KeyStore`]; the old key stays in use.
    pub async fn stage(&mut self, id: &KeyId, new: NewKey, rotation: bool) -> Result<()> {
        self.settle(id, new.store).await?;
        let record = self.list.record(&id.profile, &id.name);
        let taken = record.deposit.as_ref().map(|deposit| deposit.place.clone());
        let free = |slot: &Slot| taken.as_ref().is_none_or(|taken| taken.item != slot.item(id, &new.origin));
        let slot = Slot::ALL.into_iter().find(free).unwrap_or(Slot::Second);
        let place = Place { store: new.store, item: slot.item(id, &new.origin) };
        let deposit = Deposit {
            place: place.clone(),
            origin: new.origin,
            shown: new.shown,
            added: now(),
            forced: new.forced,
        };
        record.next = Some(Successor { deposit, rotation });
        self.save()?;
        let written = self.keys.stores.write(&place, &new.secret).await;
        if written.is_err() {
            // A store that did not answer may yet write it: it is deleted with the next change.
            let record = self.list.record(&id.profile, &id.name);
            record.next = None;
            record.retired.push(place);
            self.save()?;
        }
        written
    }

    /// Puts the staged key into use and deletes the old one.
    ///
    /// # Errors
    /// [`Kind::KeyStore`]; where the list cannot be written the old key stays in use.
    pub async fn commit(&mut self, id: &KeyId) -> Result<()> {
        let record = self.list.record(&id.profile, &id.name);
        let Some(next) = record.next.take() else { return Err(nothing_staged(id)) };
        if let Some(old) = record.deposit.replace(next.deposit) {
            if record.deposit.as_ref().is_some_and(|new| new.origin != old.origin) && !next.rotation {
                record.bound.clear();
            }
            record.retired.push(old.place);
        }
        let retired = record.retired.clone();
        self.list.current.entry(id.profile.clone()).or_insert_with(|| id.name.clone());
        self.save()?;
        self.clean(&retired).await;
        Ok(())
    }

    /// Deletes the staged key; the old one stays in use.
    ///
    /// # Errors
    /// [`Kind::KeyStore`].
    pub async fn discard(&mut self, id: &KeyId) -> Result<()> {
        let record = self.list.record(&id.profile, &id.name);
        let Some(next) = record.next.take() else { return Err(nothing_staged(id)) };
        record.retired.push(next.deposit.place);
        let retired = record.retired.clone();
        self.save()?;
        self.clean(&retired).await;
        Ok(())
    }

    /// Reads the staged key of a rotation; `None` when the interruption came before it was stored.
    ///
    /// # Errors
    /// [`Kind::Usage`] where no rotation waits.
    pub async fn staged(&self, id: &KeyId) -> Result<Option<Secret>> {
        let record = self.list.find(&id.profile, &id.name);
        match record.and_then(|record| record.next.as_ref()) {
            Some(next) => self.keys.stores.read(&next.deposit.place).await,
            None => Err(nothing_staged(id)),
        }
    }

    /// Removes a key: from the moment the list says so, nobody finds it. A running bridge that has read it keeps
    /// it until it is rejected.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key; [`Kind::KeyStore`], where it could not be deleted from its
    /// store: then it is kept.
    pub async fn remove(&mut self, id: &KeyId) -> Result<()> {
        let before = self.list.clone();
        if self.list.find(&id.profile, &id.name).is_none() {
            return Err(unknown(&self.list, id));
        }
        let record = self.list.record(&id.profile, &id.name);
        let gone = record.deposit.take().into_iter().chain(record.next.take().map(|next| next.deposit));
        record.retired.extend(gone.map(|deposit| deposit.place));
        let places = record.retired.clone();
        self.list.current.retain(|profile, name| *profile != id.profile || *name != id.name);
        self.save()?;
        for place in &places {
            if let Err(error) = self.keys.stores.delete(place).await {
                self.list = before;
                self.save()?;
                return Err(error);
            }
        }
        self.list.record(&id.profile, &id.name).retired.clear();
        self.list.tidy();
        self.save()?;
        self.clean(&places).await;
        Ok(())
    }

    /// Makes a key the one that counts in its profile.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key.
    pub fn choose(&mut self, id: &KeyId) -> Result<()> {
        let known = self.list.of_profile(&id.profile).any(|record| record.name == id.name);
        if !known {
            return Err(unknown(&self.list, id));
        }
        self.list.current.insert(id.profile.clone(), id.name.clone());
        self.save()
    }

    /// Allows a key for one more origin.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key.
    pub fn bind(&mut self, id: &KeyId, origin: &str) -> Result<()> {
        if self.list.find(&id.profile, &id.name).is_none_or(|record| record.deposit.is_none()) {
            return Err(unknown(&self.list, id));
        }
        let record = self.list.record(&id.profile, &id.name);
        if !record.may_go_to(origin) {
            record.bound.push(origin.to_owned());
        }
        self.save()
    }

    /// Ends what interrupted changes left undone in a store. A rotation waits for a person.
    async fn settle(&mut self, id: &KeyId, store: StoreKind) -> Result<()> {
        if self.list.find(&id.profile, &id.name).is_some_and(KeyRecord::is_rotating) {
            let why = format!("a rotation of the key {id} was interrupted; the old key is still in use");
            let way = |end: &str| format!("asistry keys rotate -p {} --name {} {end}", id.profile, id.name);
            return Err(Error::new(Kind::Usage, why).hint(format!(
                "finish it: {}\n  or undo it: {}",
                way("--resume"),
                way("--undo")
            )));
        }
        // The right to change keys is ours: nobody is in the middle of these.
        for record in &mut self.list.keys {
            let left = record.next.take_if(|next| !next.rotation);
            record.retired.extend(left.map(|next| next.deposit.place));
        }
        self.delete_retired(store).await
    }

    /// Deletes what no longer counts in the stores of these places; what cannot be deleted now is deleted
    /// with the next change.
    async fn clean(&mut self, places: &[Place]) {
        for store in [StoreKind::Keyring, StoreKind::File] {
            if places.iter().any(|place| place.store == store)
                && let Err(error) = self.delete_retired(store).await
            {
                tracing::warn!("a key that is no longer in use could not be deleted yet: {error}");
            }
        }
    }

    async fn delete_retired(&mut self, store: StoreKind) -> Result<()> {
        let retired = self.list.keys.iter().flat_map(|record| &record.retired);
        let places: Vec<Place> = retired.filter(|place| place.store == store).cloned().collect();
        let mut done = Ok(());
        for place in &places {
            done = self.keys.stores.delete(place).await;
            if done.is_err() {
                break;
            }
            self.list.keys.iter_mut().for_each(|record| record.retired.retain(|left| left != place));
        }
        self.list.tidy();
        if !places.is_empty() {
            self.save()?;
        }
        done
    }

    fn save(&self) -> Result<()> {
        self.keys.state.save_keys(&self.list)
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
    Error::new(Kind::AuthRequired, why).hint(format!(
        "asistry keys remove -p {0} --name {1} --yes, then asistry keys add -p {0}",
        id.profile, id.name
    ))
}

fn unsteady(profile: &str) -> Error {
    Error::new(Kind::KeyStore, format!("the keys of {profile} change all the time")).hint("try again")
}

fn nothing_staged(id: &KeyId) -> Error {
    Error::new(Kind::Usage, format!("no rotation of the key {id} was interrupted"))
        .hint(format!("asistry keys rotate -p {} begins one", id.profile))
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
