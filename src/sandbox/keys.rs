//! The API keys of the services: creates, hashes, checks and revokes them.
//!
//! The database holds only HMAC-SHA-256 of a key under the server's secret, so a reader of the database can neither
//! use nor guess a key. Only the embedded key is stored in a file, mode 0600, for the bridge in the same process.
//!
//! An account has at most [`MOST`] active user keys. Each start of `asistry sandbox` creates one; if that exceeds the
//! limit, the oldest one created by a start is revoked first. The embedded key does not count.

use super::service::{KeyKind, Service};
use super::store;
use crate::error::{Error, Kind, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::Value;
use sha2::Sha256;
use std::fmt::{self, Write};

/// Maximum active user keys of an account per service.
const MOST: i64 = 10;

/// The caller of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Caller {
    /// The key's id.
    pub key: String,
    /// The key's name.
    pub name: String,
    /// Its user.
    pub user: String,
    /// What it may do, as its service says.
    pub settings: Value,
}

/// Creates and checks keys under the server's secret.
#[derive(Clone)]
pub(super) struct Keys {
    mac: Hmac<Sha256>,
}

impl Keys {
    /// Parses the server's secret from its file.
    pub fn new(secret: &str) -> Result<Self> {
        let damaged = || {
            Error::new(Kind::Config, "the sandbox's server secret is not 64 hexadecimal digits")
                .hint("asistry sandbox reset")
        };
        let secret = bytes_of(secret).filter(|bytes| bytes.len() == 32).ok_or_else(damaged)?;
        let mac = Hmac::new_from_slice(&secret).map_err(|_| damaged())?;
        Ok(Self { mac })
    }

    /// Returns the keyed hash of a key in hexadecimal, as stored in the database.
    pub fn hash(&self, key: &str) -> String {
        hex(&self.of(key).finalize().into_bytes())
    }

    /// Creates a user key of a kind for the service's account; its text is not stored.
    pub fn make(&self, connection: &mut Connection, service: &Service, kind: &KeyKind) -> Result<String> {
        let key = fresh_key(service.key_prefix)?;
        self.insert_user_key(connection, (service.name, kind), &key)
            .map_err(|error| store::failed(&error))?;
        Ok(key)
    }

    fn insert_user_key(
        &self,
        connection: &mut Connection,
        (service, kind): (&str, &KeyKind),
        key: &str,
    ) -> rusqlite::Result<()> {
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let settings = (kind.settings)(&change)?;
        change.execute(
            "UPDATE api_key SET revoked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE rowid IN (
                 SELECT rowid FROM api_key
                 WHERE service = ?1 AND kind = ?3 AND maker = 'command' AND revoked_at IS NULL
                 ORDER BY rowid LIMIT max(0, 1 - ?2 + (
                     SELECT count(*) FROM api_key
                     WHERE service = ?1 AND kind = ?3 AND maker <> 'embedded' AND revoked_at IS NULL)))",
            params![service, MOST, kind.field],
        )?;
        change.execute(
            "INSERT INTO api_key (id, service, user_id, name, maker, hash, kind, settings)
             SELECT ?1, ?2, user_id, 'Sandbox key ' || (
                 SELECT count(*) + 1 FROM api_key WHERE service = ?2 AND maker = 'command'), 'command', ?3, ?4, ?5
             FROM account",
            params![
                uuid::Uuid::new_v4().to_string(),
                service,
                self.hash(key),
                kind.field,
                settings.to_string()
            ],
        )?;
        change.commit()
    }

    /// Creates a key that a service hands out while it runs; no start revokes it. Its text is not stored.
    pub fn hand_out(
        &self,
        change: &Connection,
        service: &str,
        (prefix, field): (&str, &str),
        settings: &Value,
    ) -> Result<String> {
        let key = fresh_key(prefix)?;
        let inserted = change.execute(
            "INSERT INTO api_key (id, service, user_id, name, maker, hash, kind, settings)
             SELECT ?1, ?2, user_id, 'Handed out', 'command', ?3, ?4, ?5 FROM account",
            params![uuid::Uuid::new_v4().to_string(), service, self.hash(&key), field, settings.to_string()],
        );
        inserted.map_err(|error| store::failed(&error))?;
        Ok(key)
    }

    /// Registers the embedded key; writes only if it is not registered.
    pub fn keep_embedded(&self, connection: &mut Connection, service: &Service, key: &str) -> Result<()> {
        self.insert_embedded(connection, service, key).map_err(|error| store::failed(&error))
    }

    fn insert_embedded(
        &self,
        connection: &mut Connection,
        service: &Service,
        key: &str,
    ) -> rusqlite::Result<()> {
        if self.find(connection, service.name, key)?.is_some() {
            return Ok(());
        }
        let settings = match service.keys.first() {
            Some(kind) => (kind.settings)(connection)?,
            None => Value::Null,
        };
        connection.execute(
            "INSERT INTO api_key (id, service, user_id, name, maker, hash, settings)
             SELECT ?1, ?2, user_id, 'Embedded', 'embedded', ?3, ?4 FROM account WHERE true
             ON CONFLICT (hash) DO UPDATE SET revoked_at = NULL",
            params![uuid::Uuid::new_v4().to_string(), service.name, self.hash(key), settings.to_string()],
        )?;
        Ok(())
    }

    /// Returns the caller of a key; `None` if it is unknown or revoked.
    ///
    /// Compares every active key of the service (about a dozen, and those that were handed out), each in constant time.
    pub fn find(
        &self,
        connection: &Connection,
        service: &str,
        key: &str,
    ) -> rusqlite::Result<Option<Caller>> {
        let presented = self.of(key);
        let mut statement = connection.prepare_cached(
            "SELECT id, name, user_id, hash, settings FROM api_key WHERE service = ?1 AND revoked_at IS NULL",
        )?;
        let mut rows = statement.query([service])?;
        let mut found = None;
        while let Some(row) = rows.next()? {
            let stored = bytes_of(row.get_ref(3)?.as_str()?).unwrap_or_default();
            if presented.clone().verify_slice(&stored).is_ok() {
                let settings = serde_json::from_str(row.get_ref(4)?.as_str()?).unwrap_or_default();
                found = Some(Caller { key: row.get(0)?, name: row.get(1)?, user: row.get(2)?, settings });
            }
        }
        Ok(found)
    }

    fn of(&self, key: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(key.as_bytes());
        mac
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// Creates a key: its prefix and 32 random bytes in base64url, 43 characters.
pub(super) fn fresh_key(prefix: &str) -> Result<String> {
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// Creates a server secret in the form of its file.
pub(super) fn fresh_secret() -> Result<String> {
    Ok(hex(&random::<32>()?))
}

/// Returns random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(Kind::Bug, format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

/// Formats bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{SERVICES, store};
    use super::*;

    fn keys() -> (Keys, Connection) {
        (Keys::new(&fresh_secret().unwrap()).unwrap(), store::open_in_memory(SERVICES).unwrap())
    }

    fn make(keys: &Keys, connection: &mut Connection) -> Result<String> {
        keys.make(connection, &SERVICES[0], &SERVICES[0].keys[0])
    }

    fn works(keys: &Keys, connection: &Connection, key: &str) -> bool {
        keys.find(connection, "asistry", key).unwrap().is_some()
    }

    #[test]
    fn a_key_is_ask_and_forty_three_characters_of_base64url() {
        let key = fresh_key("ask_").unwrap();
        let body = key.strip_prefix("ask_").unwrap();
        assert_eq!(body.len(), 43);
        assert!(body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(fresh_key("ask_").unwrap(), key);
    }

    #[test]
    fn the_eleventh_user_key_revokes_the_oldest_and_no_other() {
        let (keys, mut connection) = keys();
        let made: Vec<_> = (0..11).map(|_| make(&keys, &mut connection).unwrap()).collect();
        let working: Vec<_> = made.iter().map(|key| works(&keys, &connection, key)).collect();
        assert!(!working[0]);
        assert!(working[1..].iter().all(|works| *works), "{working:?}");
    }

    #[test]
    fn the_embedded_key_stands_outside_the_ten() {
        let (keys, mut connection) = keys();
        let embedded = fresh_key("ask_").unwrap();
        keys.keep_embedded(&mut connection, &SERVICES[0], &embedded).unwrap();
        let made: Vec<_> = (0..10).map(|_| make(&keys, &mut connection).unwrap()).collect();
        assert!(made.iter().all(|key| works(&keys, &connection, key)));
        make(&keys, &mut connection).unwrap();
        assert!(works(&keys, &connection, &embedded));
        assert!(!works(&keys, &connection, &made[0]));
    }

    #[test]
    fn a_revoked_key_a_cut_key_and_another_services_key_are_nobodys() {
        let (keys, mut connection) = keys();
        let key = make(&keys, &mut connection).unwrap();
        assert!(!works(&keys, &connection, &key[..key.len() - 1]));
        assert!(!works(&keys, &connection, ""));
        assert!(keys.find(&connection, "another", &key).unwrap().is_none());
        connection.execute("UPDATE api_key SET revoked_at = 'now'", []).unwrap();
        assert!(!works(&keys, &connection, &key));
    }

    #[test]
    fn the_same_key_under_another_server_secret_is_nobodys() {
        let (keys, mut connection) = keys();
        let key = make(&keys, &mut connection).unwrap();
        let other = Keys::new(&fresh_secret().unwrap()).unwrap();
        assert_ne!(keys.hash(&key), other.hash(&key));
        assert!(!works(&other, &connection, &key));
    }

    #[test]
    fn a_damaged_server_secret_is_refused() {
        for text in ["", "abc", "zz", &"g".repeat(64), &"a".repeat(62)] {
            assert!(Keys::new(text).is_err(), "{text}");
        }
    }
}
