//! The operating system's keyring: Secret Service, Keychain, Credential Manager.
//!
//! Items have the service name `asistry`. Reports a missing D-Bus session, a missing keyring, a locked one and a
//! timeout as different errors.

use std::collections::HashMap;
use std::sync::Arc;

use keyring::{Entry, Error as Fault};
use keyring_core::api::CredentialStoreApi;

use super::KeyStore;
use super::parts::Manifest;
use crate::error::{Error, Kind, Remedy, Result};
use crate::secret::Secret;

const SERVICE: &str = "asistry";
const SECRET_SERVICE: bool = cfg!(all(unix, not(target_os = "macos")));
/// Windows limits an item to 2560 bytes including its own data.
const LONGEST: usize = if cfg!(windows) { 2400 } else { usize::MAX };

/// The keyring of the system.
#[derive(Debug)]
pub struct SystemKeyring {
    store: Arc<dyn CredentialStoreApi + Send + Sync>,
    longest: usize,
    /// Whether items have a label, as in the Secret Service.
    labelled: bool,
}

impl SystemKeyring {
    /// Connects. Unlike the keyring crate's default store, a failure is not cached: a bridge that runs for weeks must
    /// notice a keyring that was started later.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] with the cause.
    pub fn open() -> Result<Self> {
        let store = connect().map_err(|fault| not_there(&fault))?;
        Ok(Self { store, longest: LONGEST, labelled: SECRET_SERVICE })
    }

    fn entry(&self, item: &str) -> Result<Entry> {
        let label = format!("asistry {item}");
        let modifiers = HashMap::from([("label", label.as_str())]);
        let modifiers = self.labelled.then_some(&modifiers);
        let inner = self.store.build(SERVICE, item, modifiers).map_err(|fault| failed(&fault))?;
        Ok(Entry { inner })
    }

    fn read_item(&self, item: &str) -> Result<Option<Secret>> {
        match self.entry(item)?.get_secret() {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(Secret::new(text))),
                Err(_) => Err(damaged("contains something that is not a key")),
            },
            Err(Fault::NoEntry) => Ok(None),
            Err(fault) => Err(failed(&fault)),
        }
    }

    fn write_item(&self, item: &str, secret: &Secret) -> Result<()> {
        self.entry(item)?.set_secret(secret.expose().as_bytes()).map_err(|fault| failed(&fault))
    }

    fn delete_item(&self, item: &str) -> Result<()> {
        match self.entry(item)?.delete_credential() {
            Ok(()) | Err(Fault::NoEntry) => Ok(()),
            // Another program added an item with the same name; delete all of them.
            Err(Fault::Ambiguous(all)) => {
                all.iter().try_for_each(|one| one.delete_credential()).map_err(|fault| failed(&fault))
            }
            Err(fault) => Err(failed(&fault)),
        }
    }

    /// Reads an item's manifest, if it is split into parts; only needed where items have a maximum length.
    fn manifest(&self, item: &str) -> Result<Option<Manifest>> {
        if self.longest == usize::MAX {
            return Ok(None);
        }
        Ok(self.read_item(item)?.as_ref().and_then(Manifest::read))
    }
}

impl KeyStore for SystemKeyring {
    fn read(&self, item: &str) -> Result<Option<Secret>> {
        let Some(found) = self.read_item(item)? else { return Ok(None) };
        let Some(manifest) = Manifest::read(&found) else { return Ok(Some(found)) };
        let mut parts = Vec::new();
        for name in manifest.items(item) {
            parts.extend(self.read_item(&name)?);
        }
        match manifest.join(&parts) {
            Some(whole) => Ok(Some(whole)),
            None => Err(damaged("lost a part of the key")),
        }
    }

    fn is_volatile(&self, item: &str) -> bool {
        self.entry(item).is_ok_and(|entry| is_volatile(&entry))
    }

    fn write(&self, item: &str, secret: &Secret) -> Result<()> {
        let old = self.manifest(item)?;
        match Manifest::cut(secret, self.longest, fastrand::u64(..)) {
            None => self.write_item(item, secret)?,
            Some((manifest, parts)) => {
                for (name, part) in manifest.items(item).zip(&parts) {
                    self.write_item(&name, part)?;
                }
                self.write_item(item, &manifest.text())?;
            }
        }
        // No manifest refers to the old parts any more.
        old.iter().flat_map(|old| old.items(item)).try_for_each(|name| self.delete_item(&name))
    }

    fn delete(&self, item: &str) -> Result<()> {
        for name in self.manifest(item)?.iter().flat_map(|manifest| manifest.items(item)) {
            self.delete_item(&name)?;
        }
        self.delete_item(item)
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn connect() -> Result<Arc<dyn CredentialStoreApi + Send + Sync>, Fault> {
    Ok(zbus_secret_service_keyring_store::Store::new()?)
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn connect() -> Result<Arc<dyn CredentialStoreApi + Send + Sync>, Fault> {
    if let Err(fault) = Entry::store_status() {
        return Err(Fault::PlatformFailure(fault.to_string().into()));
    }
    keyring_core::get_default_store().map(|store| store as _).ok_or(Fault::NoDefaultStore)
}

/// Returns whether an item is in the Secret Service's session collection, which is deleted at logout.
#[cfg(all(unix, not(target_os = "macos")))]
fn is_volatile(entry: &Entry) -> bool {
    use zbus_secret_service_keyring_store::cred::Wrapper;
    let found = entry.inner.get_credential().ok();
    let item = found.as_ref().and_then(|entry| entry.as_any().downcast_ref::<Wrapper>());
    item.is_some_and(|item| item.get_path().contains("/collection/session/"))
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn is_volatile(_entry: &Entry) -> bool {
    false
}

/// Returns the error for an unusable keyring, with the command that fixes it.
fn unusable(why: &str, fix: &'static str) -> Error {
    Error::new(Kind::KeyStore, format!("the system's keyring {why}"))
        .remedy(Remedy::FixKeyring { options: String::new(), fix })
}

const UNLOCK: &str = if SECRET_SERVICE {
    "unlock it: log in to the desktop, or gnome-keyring-daemon --replace --unlock"
} else {
    "unlock it"
};

/// Returns the error for a keyring that did not answer in time.
pub fn timed_out() -> Error {
    unusable("did not answer within 3 s: it is locked and waiting to be unlocked, or it hangs", UNLOCK)
}

fn not_there(fault: &Fault) -> Error {
    let reason = reason(fault);
    if reason.contains("ServiceUnknown") || reason.contains("not provided by any") {
        let why = "was not found: no program on this D-Bus session provides a Secret Service";
        unusable(why, "start one: gnome-keyring-daemon --start --components=secrets, KWallet or KeePassXC")
    } else if SECRET_SERVICE {
        let why = format!("cannot be reached: there is no D-Bus session ({reason})");
        unusable(&why, "run it in a desktop session, or under dbus-run-session with a keyring")
    } else {
        unusable(&format!("cannot be opened ({reason})"), UNLOCK)
    }
}

fn failed(fault: &Fault) -> Error {
    match fault {
        Fault::NoStorageAccess(e) if e.to_string().contains("result not returned") => {
            unusable("has no collection for keys yet", UNLOCK)
        }
        Fault::NoStorageAccess(e) => unusable(&format!("is locked and was not unlocked ({e})"), UNLOCK),
        Fault::Ambiguous(_) => unusable("holds more than one key of this name", "delete one there"),
        Fault::TooLong(..) => unusable("does not take a key of this length", "check the key"),
        fault => unusable(&format!("failed ({})", reason(fault)), "try again"),
    }
}

fn damaged(why: &str) -> Error {
    unusable(why, "remove the key and add it again")
}

/// Formats a fault. Only variants with raw data could contain a secret; they are not printed.
fn reason(fault: &Fault) -> String {
    match fault {
        Fault::BadEncoding(_) | Fault::BadDataFormat(..) => "unreadable data".into(),
        Fault::PlatformFailure(e) | Fault::NoStorageAccess(e) => e.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_secret_lies_in_parts_and_leaves_none_behind() {
        let store = keyring_core::mock::Store::new().unwrap();
        let keyring = SystemKeyring { store, longest: 10, labelled: false };
        let long = |c: char| Secret::new(c.to_string().repeat(35));
        keyring.write("v1/work/default/https://h", &long('a')).unwrap();
        let first = keyring.manifest("v1/work/default/https://h").unwrap().unwrap();
        keyring.write("v1/work/default/https://h", &long('b')).unwrap();
        assert_eq!(keyring.read("v1/work/default/https://h").unwrap(), Some(long('b')));
        for name in first.items("v1/work/default/https://h") {
            assert_eq!(keyring.read_item(&name).unwrap(), None, "{name}");
        }
        keyring.write("v1/work/default/https://h", &Secret::new("short".into())).unwrap();
        assert_eq!(keyring.read("v1/work/default/https://h").unwrap(), Some(Secret::new("short".into())));
        keyring.delete("v1/work/default/https://h").unwrap();
        assert_eq!(keyring.read("v1/work/default/https://h").unwrap(), None);
        keyring.delete("v1/work/default/https://h").unwrap();
    }

    #[test]
    fn a_lost_part_is_told() {
        let store = keyring_core::mock::Store::new().unwrap();
        let keyring = SystemKeyring { store, longest: 10, labelled: false };
        keyring.write("item", &Secret::new("a".repeat(35))).unwrap();
        let manifest = keyring.manifest("item").unwrap().unwrap();
        keyring.delete_item(&manifest.items("item").nth(1).unwrap()).unwrap();
        assert_eq!(keyring.read("item").unwrap_err().kind(), Kind::KeyStore);
    }
}
