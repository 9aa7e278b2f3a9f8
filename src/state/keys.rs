//! The list of stored keys: profile, name, store item, origins. Never a key.
//!
//! The list decides which store item is current, so a change replaces one file atomically: after a crash the old key
//! or the new one is current. Never overwrites a list that it cannot read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Durability, State, now};
use crate::error::{Error, Kind, Remedy, Result};
use crate::profile::StoreKind;

const FILE: &str = "keys.json";
const USED: &str = "used.json";
const VERSION: u32 = 1;

/// All stored keys.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    version: u32,
    /// The name of each profile's current key.
    #[serde(default)]
    pub current: BTreeMap<String, String>,
    /// In order of creation.
    #[serde(default)]
    pub keys: Vec<KeyRecord>,
}

/// One named key of a profile.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The profile.
    pub profile: String,
    /// Its name among the keys of the profile.
    pub name: String,
    /// The stored key; absent while the first one is being stored and while it is being removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposit: Option<Deposit>,
    /// A new key that is stored but not yet current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Successor>,
    /// Former items to delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Place>,
    /// Additional origins from `keys bind`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound: Vec<String>,
}

/// Describes a stored key, without its secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// The store item.
    pub place: Place,
    /// The origin that it is bound to.
    pub origin: String,
    /// Its masked form.
    pub shown: String,
    /// When it was stored, in seconds since 1970.
    pub added: u64,
    /// Whether `--force` overrode the check of its form.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// The name of the key that it came with: a further secret, which is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_with: Option<String>,
}

/// A key that is to replace another.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// The store item.
    pub deposit: Deposit,
    /// Whether it is a rotation, which the user finishes or undoes; other interrupted changes are undone automatically.
    pub rotation: bool,
}

/// An item of a key store.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The store.
    pub store: StoreKind,
    /// The item's name.
    pub item: String,
}

/// Modification time and length of the list; changes when the list changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<(SystemTime, u64)>);

impl KeyList {
    /// Finds a key by profile and name.
    pub fn find(&self, profile: &str, name: &str) -> Option<&KeyRecord> {
        self.keys.iter().find(|record| record.profile == profile && record.name == name)
    }

    /// Finds a key by profile and name, or inserts an empty record.
    pub fn record(&mut self, profile: &str, name: &str) -> &mut KeyRecord {
        let found = self.keys.iter().position(|record| record.profile == profile && record.name == name);
        let at = found.unwrap_or_else(|| {
            self.keys.push(KeyRecord::new(profile, name));
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    /// Returns the usable keys of a profile.
    pub fn of_profile<'a>(&'a self, profile: &'a str) -> impl Iterator<Item = &'a KeyRecord> {
        let is_key = |record: &&KeyRecord| record.deposit.as_ref().is_some_and(|d| d.came_with.is_none());
        self.keys.iter().filter(move |record| record.profile == profile && is_key(record))
    }

    /// Returns the names of the secrets that came with a key.
    pub fn with_key(&self, profile: &str, name: &str) -> Vec<String> {
        let came_with = |record: &&KeyRecord| {
            let with = record.deposit.as_ref().and_then(|deposit| deposit.came_with.as_deref());
            record.profile == profile && with == Some(name)
        };
        self.keys.iter().filter(came_with).map(|record| record.name.clone()).collect()
    }

    /// Returns whether a key is its profile's current key.
    pub fn is_current(&self, record: &KeyRecord) -> bool {
        self.current.get(&record.profile) == Some(&record.name)
    }

    /// Removes empty records, and current keys that do not exist.
    pub fn tidy(&mut self) {
        self.keys
            .retain(|record| record.deposit.is_some() || record.next.is_some() || !record.retired.is_empty());
        let keys = &self.keys;
        self.current.retain(|profile, name| {
            keys.iter().any(|key| key.profile == *profile && key.name == *name && key.deposit.is_some())
        });
    }
}

impl KeyRecord {
    fn new(profile: &str, name: &str) -> Self {
        Self {
            profile: profile.to_owned(),
            name: name.to_owned(),
            deposit: None,
            next: None,
            retired: Vec::new(),
            bound: Vec::new(),
        }
    }

    /// Returns whether the key is bound to an origin.
    pub fn may_go_to(&self, origin: &str) -> bool {
        self.deposit.as_ref().is_some_and(|deposit| deposit.origin == origin)
            || self.bound.iter().any(|bound| bound == origin)
    }

    /// Returns whether a rotation of the key was interrupted.
    pub fn is_rotating(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.rotation)
    }
}

impl State {
    /// Reads the list of stored keys; a missing file is an empty list.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] for a list that cannot be read.
    pub fn keys(&self) -> Result<KeyList> {
        let path = self.directory().join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(KeyList { version: VERSION, ..KeyList::default() });
            }
            Err(e) => {
                let why = format!("the key list {} cannot be read: {e}", path.display());
                return Err(Error::new(Kind::KeyStore, why).hint("fix the file's permissions"));
            }
        };
        let unreadable = |why: String| {
            Error::new(Kind::KeyStore, format!("the list of keys {} {why}", path.display()))
                .remedy(Remedy::AddKeysAgain { path: path.display().to_string() })
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } =
            serde_json::from_slice(&text).map_err(|e| unreadable(format!("is damaged: {e}")))?;
        if version != VERSION {
            return Err(Error::new(
                Kind::KeyStore,
                format!("the key list {} has the unknown version {version}", path.display()),
            )
            .hint("use the asistry that wrote it, or a newer one"));
        }
        serde_json::from_slice(&text).map_err(|e| unreadable(format!("is damaged: {e}")))
    }

    /// Replaces the list of stored keys; the caller holds its lock.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if it cannot be written.
    pub fn save_keys(&self, list: &KeyList) -> Result<()> {
        self.write(FILE, list, Durability::Durable).map_err(|e| self.unwritable(&e))
    }

    /// Returns the error for a state directory that is not writable.
    pub fn unwritable(&self, e: &io::Error) -> Error {
        let directory = self.directory().display();
        Error::new(Kind::KeyStore, format!("the key list in {directory} cannot be written: {e}"))
            .hint("make the directory writable, or name another one in ASISTRY_STATE_DIR")
    }

    /// Returns a stamp that changes when the list changes; does not read the list.
    pub fn keys_stamp(&self) -> Stamp {
        let metadata = fs::metadata(self.directory().join(FILE)).ok();
        Stamp(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }

    /// Returns when each key was last used, in seconds since 1970, by `PROFILE/NAME`.
    pub fn key_uses(&self) -> BTreeMap<String, u64> {
        self.read(USED).unwrap_or_default()
    }

    /// Records that a key is used; ignores errors.
    pub fn key_used(&self, profile: &str, name: &str) {
        let (key, now) = (format!("{profile}/{name}"), now());
        if self.key_uses().get(&key) != Some(&now) {
            let _ = self.change(USED, |uses: &mut BTreeMap<String, u64>| {
                uses.insert(key, now);
            });
        }
    }

    /// Forgets when a key was used, as it is removed or replaced; ignores errors.
    pub fn forget_key_use(&self, profile: &str, name: &str) {
        let key = format!("{profile}/{name}");
        if self.key_uses().contains_key(&key) {
            let _ = self.change(USED, |uses: &mut BTreeMap<String, u64>| {
                uses.remove(&key);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deposit(origin: &str) -> Deposit {
        let place = Place { store: StoreKind::Keyring, item: format!("v1/work/default/{origin}") };
        Deposit {
            place,
            origin: origin.into(),
            shown: "ask_…1234".into(),
            added: 1,
            forced: false,
            came_with: None,
        }
    }

    #[test]
    fn a_list_comes_back_as_it_was_written() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        assert_eq!(state.keys().unwrap().keys.len(), 0);
        assert_eq!(state.keys_stamp(), Stamp::default());
        let mut list = state.keys().unwrap();
        list.record("work", "default").deposit = Some(deposit("https://h"));
        list.record("work", "default").next =
            Some(Successor { deposit: deposit("https://h"), rotation: true });
        list.current.insert("work".into(), "default".into());
        state.save_keys(&list).unwrap();
        assert_eq!(state.keys().unwrap(), list);
        assert_ne!(state.keys_stamp(), Stamp::default());
    }

    #[test]
    fn what_cannot_be_read_is_refused_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().to_owned());
        for text in ["garbage", r#"{"version":2}"#, r#"{"version":1,"more":1}"#, ""] {
            fs::write(home.path().join(FILE), text).unwrap();
            assert_eq!(state.keys().unwrap_err().kind(), Kind::KeyStore, "{text}");
        }
    }

    #[test]
    fn a_key_goes_to_its_origin_and_to_those_bound() {
        let mut record = KeyRecord::new("work", "default");
        assert!(!record.may_go_to("https://h"));
        record.deposit = Some(deposit("https://h"));
        record.bound.push("https://other:8443".into());
        assert!(record.may_go_to("https://h") && record.may_go_to("https://other:8443"));
        assert!(!record.may_go_to("https://h:8443"));
    }

    #[test]
    fn nothing_is_left_of_a_key_without_items() {
        let mut list = KeyList::default();
        list.record("work", "default").deposit = Some(deposit("https://h"));
        list.current.insert("work".into(), "default".into());
        list.tidy();
        assert_eq!(list.keys.len(), 1);
        let gone = list.record("work", "default").deposit.take().unwrap();
        list.record("work", "default").retired.push(gone.place);
        list.tidy();
        assert!(list.current.is_empty() && list.keys.len() == 1);
        list.record("work", "default").retired.clear();
        list.tidy();
        assert!(list.keys.is_empty());
    }

    #[test]
    fn a_use_is_recorded_and_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let state = State::new(home.path().join("state"));
        state.forget_key_use("work", "default");
        assert!(!home.path().join("state").exists());
        state.key_used("work", "default");
        state.key_used("work", "spare");
        assert!(state.key_uses()["work/default"] > 1_700_000_000);
        state.forget_key_use("work", "default");
        assert_eq!(state.key_uses().into_keys().collect::<Vec<_>>(), ["work/spare"]);
    }
}
