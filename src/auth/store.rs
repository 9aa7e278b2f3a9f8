//! The operating system's keyring, where a key can lie instead of in a file or a variable.
//!
//! Reads only; putting keys in comes with the key store proper. An item's name is a file format: service
//! `asistry`, user `v1/PROFILE/KEY/ORIGIN`, so a key is found for the origin it was stored for and for no
//! other. Refuses to hang: every call has [`DEADLINE`].

use std::time::Duration;

use keyring::{Entry, Error as Fault};

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// No call to the keyring may take longer: a locked one can wait for a person who is not there.
const DEADLINE: Duration = Duration::from_secs(3);
const SERVICE: &str = "asistry";

/// Names one stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyName(String);

impl KeyName {
    /// The current key of a profile for one origin.
    pub fn new(profile: &str, origin: &str) -> Self {
        Self(format!("v1/{profile}/default/{origin}"))
    }

    /// Returns the name as it stands in the keyring.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Looks a key up; `None` when the keyring has none of this name.
///
/// # Errors
/// [`Kind::AuthRequired`] where there is no keyring, [`Kind::KeyStore`] where it fails or does not answer.
pub(super) async fn stored(name: &KeyName) -> Result<Option<Secret>> {
    let name = name.clone();
    let read = tokio::task::spawn_blocking(move || read(&name));
    match tokio::time::timeout(DEADLINE, read).await {
        Ok(Ok(read)) => read,
        Ok(Err(e)) => Err(Error::new(Kind::Bug, format!("the keyring was not read: {e}"))),
        Err(_) => {
            Err(unusable(Kind::KeyStore, "did not answer within 3 s; it may be locked and wait for you"))
        }
    }
}

fn read(name: &KeyName) -> Result<Option<Secret>> {
    if let Err(fault) = Entry::store_status() {
        return Err(unusable(Kind::AuthRequired, &format!("cannot be opened ({})", reason(fault))));
    }
    match Entry::new(SERVICE, name.as_str()).and_then(|entry| entry.get_password()) {
        Ok(key) => Ok(Some(Secret::new(key))),
        Err(Fault::NoEntry) => Ok(None),
        Err(Fault::Ambiguous(_)) => Err(unusable(Kind::KeyStore, "holds more than one key of this name")),
        Err(Fault::BadEncoding(_)) => Err(unusable(Kind::KeyStore, "holds something that is no key")),
        Err(Fault::NoStorageAccess(e)) => Err(unusable(Kind::KeyStore, &format!("is locked ({e})"))),
        Err(fault) => Err(unusable(Kind::KeyStore, &format!("failed ({})", reason(&fault)))),
    }
}

fn unusable(kind: Kind, why: &str) -> Error {
    Error::new(kind, format!("no key in ASISTRY_API_KEY, and the system's keyring {why}"))
        .hint("set ASISTRY_API_KEY to your key, or unlock the keyring")
}

/// Faults of the keyring hold names and reasons, never a secret; only the variants with raw data could.
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
    fn the_name_of_a_stored_key_is_a_format() {
        assert_eq!(KeyName::new("work", "https://h:8443").as_str(), "v1/work/default/https://h:8443");
    }
}
