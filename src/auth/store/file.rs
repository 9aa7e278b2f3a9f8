//! The encrypted key file, for machines without a keyring: argon2id derives a key from the passphrase,
//! XChaCha20-Poly1305 encrypts all items together.
//!
//! Line 1 is a JSON header, authenticated as associated data; line 2 is the encrypted JSON object of all items, in
//! base64. Mode 0600, replaced atomically, changed under a lock. Refuses a header of another version and argon2
//! parameters above [`HIGHEST`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::KeyStore;
use crate::error::{Error, Kind, Result};
use crate::files::{Durability, private_directory, replace};
use crate::secret::Secret;

const VERSION: u32 = 1;
/// RFC 9106, section 4, second recommendation, with one lane: 64 MiB, three passes.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
/// Highest accepted parameters; asistry never writes higher ones.
const HIGHEST: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };
const SALT: usize = 16;
const NONCE: usize = 24;

/// The encrypted file, opened with its passphrase.
#[derive(Debug)]
pub struct EncryptedFile {
    path: PathBuf,
    /// Derived once from the passphrase, which is not kept.
    derived: Derived,
}

struct Derived {
    salt: Vec<u8>,
    cost: Cost,
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived(…)")
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    kdf: String,
    cost: Cost,
    salt: String,
    cipher: String,
    nonce: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

type Items = BTreeMap<String, Zeroizing<String>>;

impl EncryptedFile {
    /// Opens the file; a missing one is created when the first item is written.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] for a wrong passphrase, a damaged file, or another version.
    pub fn open(path: PathBuf, passphrase: &Secret) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::new(Kind::KeyStore, "the passphrase of the key file is empty")
                .hint("set ASISTRY_KEY_PASSPHRASE or ASISTRY_KEY_PASSPHRASE_FILE"));
        }
        // Read once: another process may create the file meanwhile.
        let text = read(&path)?;
        let (salt, cost) = match &text {
            Some(text) => {
                let header = first_line(&path, text)?;
                (decoded(&path, &header.salt)?, header.cost)
            }
            None => (random::<SALT>(&path)?.to_vec(), COST),
        };
        let key = derived(&path, passphrase, (&salt, cost))?;
        let file = Self { path, derived: Derived { salt, cost, key } };
        text.map(|text| file.unsealed(&text)).transpose()?;
        Ok(file)
    }

    fn items(&self) -> Result<Items> {
        read(&self.path)?.map_or_else(|| Ok(Items::new()), |text| self.unsealed(&text))
    }

    fn unsealed(&self, text: &str) -> Result<Items> {
        let damaged = || damaged(&self.path);
        let (first, sealed) = text.split_once('\n').ok_or_else(damaged)?;
        let header = header(&self.path, first)?;
        if !self.derived.is_of(&header) {
            return Err(fail(&self.path, "was recreated by another process: try again"));
        }
        let nonce = decoded(&self.path, &header.nonce)?;
        let sealed = decoded(&self.path, sealed.trim_end())?;
        let nonce = XNonce::try_from(nonce.as_slice()).map_err(|_| damaged())?;
        let payload = Payload { msg: &sealed, aad: first.as_bytes() };
        let plain = self.derived.cipher().decrypt(&nonce, payload);
        let plain = Zeroizing::new(plain.map_err(|_| wrong_passphrase(&self.path))?);
        serde_json::from_slice(&plain).map_err(|_| damaged())
    }

    fn seal(&self, items: &Items) -> Result<()> {
        let nonce = random::<NONCE>(&self.path)?;
        let header = Header {
            format: "asistry-keys".into(),
            version: VERSION,
            kdf: "argon2id".into(),
            cost: self.derived.cost,
            salt: BASE64_STANDARD.encode(&self.derived.salt),
            cipher: "xchacha20poly1305".into(),
            nonce: BASE64_STANDARD.encode(nonce),
        };
        let unwritable = |e: String| fail(&self.path, &format!("cannot be written: {e}"));
        let header = serde_json::to_string(&header).map_err(|e| unwritable(e.to_string()))?;
        let plain = Zeroizing::new(serde_json::to_vec(items).map_err(|e| unwritable(e.to_string()))?);
        let payload = Payload { msg: &plain, aad: header.as_bytes() };
        let sealed = self.derived.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| unwritable("it could not be sealed".into()))?;
        let text = format!("{header}\n{}\n", BASE64_STANDARD.encode(sealed));
        if let Some(directory) = self.path.parent() {
            private_directory(directory).map_err(|e| unwritable(e.to_string()))?;
        }
        replace(&self.path, text.as_bytes(), Durability::Durable).map_err(|e| unwritable(e.to_string()))
    }
}

impl Derived {
    fn is_of(&self, header: &Header) -> bool {
        self.cost == header.cost && BASE64_STANDARD.encode(&self.salt) == header.salt
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.key))
    }
}

/// Derives a key from a passphrase; takes about 0.1 s.
fn derived(path: &Path, passphrase: &Secret, (salt, cost): (&[u8], Cost)) -> Result<Zeroizing<[u8; 32]>> {
    let unfit = |e: argon2::Error| fail(path, &format!("has invalid argon2 parameters: {e}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(unfit)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, &mut *key)
        .map_err(unfit)?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fail(path, &format!("cannot be read: {e}"))),
    }
}

fn read_header(path: &Path) -> Result<Option<Header>> {
    read(path)?.map(|text| first_line(path, &text)).transpose()
}

fn first_line(path: &Path, text: &str) -> Result<Header> {
    let (first, _) = text.split_once('\n').ok_or_else(|| damaged(path))?;
    header(path, first)
}

fn header(path: &Path, line: &str) -> Result<Header> {
    #[derive(Deserialize)]
    struct Any {
        format: String,
        version: u32,
    }
    let any: Any = serde_json::from_str(line).map_err(|_| damaged(path))?;
    if any.format != "asistry-keys" {
        return Err(damaged(path));
    }
    if any.version != VERSION {
        let why =
            format!("has the unknown version {}: use the asistry that wrote it, or a newer one", any.version);
        return Err(fail(path, &why));
    }
    let header: Header = serde_json::from_str(line).map_err(|_| damaged(path))?;
    let Cost { memory_kib, passes, lanes } = header.cost;
    let high = memory_kib > HIGHEST.memory_kib || passes > HIGHEST.passes || lanes > HIGHEST.lanes;
    if high || header.kdf != "argon2id" || header.cipher != "xchacha20poly1305" {
        return Err(fail(path, "uses parameters that this version does not support"));
    }
    Ok(header)
}

fn decoded(path: &Path, text: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(text).map_err(|_| damaged(path))
}

fn random<const LENGTH: usize>(path: &Path) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)
        .map_err(|e| fail(path, &format!("needs random numbers, but the system returned none: {e}")))?;
    Ok(bytes)
}

fn damaged(path: &Path) -> Error {
    fail(path, "is damaged or not a key file")
}

fn fail(path: &Path, why: &str) -> Error {
    Error::new(Kind::KeyStore, format!("the key file {} {why}", path.display()))
        .hint("use the keyring (--store keyring) or set ASISTRY_API_KEY")
}

fn wrong_passphrase(path: &Path) -> Error {
    let why = format!("the passphrase does not open {}, or the file is damaged", path.display());
    Error::new(Kind::KeyStore, why)
        .hint("check ASISTRY_KEY_PASSPHRASE, ASISTRY_KEY_PASSPHRASE_FILE or your typing")
}

impl KeyStore for EncryptedFile {
    fn is_stale(&self) -> bool {
        read_header(&self.path).is_ok_and(|header| header.is_some_and(|header| !self.derived.is_of(&header)))
    }

    fn read(&self, item: &str) -> Result<Option<Secret>> {
        Ok(self.items()?.remove(item).map(Secret::from))
    }

    fn write(&self, item: &str, secret: &Secret) -> Result<()> {
        let mut items = self.items()?;
        items.insert(item.to_owned(), Zeroizing::new(secret.expose().to_owned()));
        self.seal(&items)
    }

    fn delete(&self, item: &str) -> Result<()> {
        let mut items = self.items()?;
        match items.remove(item) {
            Some(_) => self.seal(&items),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(home: &tempfile::TempDir, passphrase: &str) -> Result<EncryptedFile> {
        EncryptedFile::open(home.path().join("keys.enc"), &Secret::new(passphrase.into()))
    }

    #[test]
    fn what_is_sealed_comes_back_with_the_passphrase_only() {
        let home = tempfile::tempdir().unwrap();
        let secret = Secret::new("ask_marked_key".into());
        let file = open(&home, "correct horse").unwrap();
        assert_eq!(file.read("item").unwrap(), None);
        file.write("item", &secret).unwrap();
        file.write("other", &Secret::new("x".into())).unwrap();
        file.delete("other").unwrap();
        let again = open(&home, "correct horse").unwrap();
        assert_eq!(again.read("item").unwrap(), Some(secret));
        assert_eq!(again.read("other").unwrap(), None);
        assert!(open(&home, "wrong").unwrap_err().message().contains("passphrase"));
        assert!(open(&home, "").is_err());
        let text = fs::read_to_string(home.path().join("keys.enc")).unwrap();
        assert!(!text.contains("marked") && !text.contains("item"), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(home.path().join("keys.enc")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_changed_byte_or_header_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        open(&home, "p").unwrap().write("item", &Secret::new("s".into())).unwrap();
        let path = home.path().join("keys.enc");
        let text = fs::read_to_string(&path).unwrap();
        let changes = [
            text.replace(r#""passes":3"#, r#""passes":4"#),
            text.replace(r#""version":1"#, r#""version":2"#),
            text.replace(r#""memory_kib":65536"#, r#""memory_kib":4000000"#),
            text.replace("argon2id", "argon2i"),
            text[..text.len() - 6].to_owned(),
            text.lines().next().unwrap().to_owned(),
            String::new(),
            "garbage\ngarbage".into(),
        ];
        for changed in changes {
            assert_ne!(changed, text);
            fs::write(&path, &changed).unwrap();
            assert_eq!(open(&home, "p").unwrap_err().kind(), Kind::KeyStore, "{changed}");
            assert_eq!(fs::read_to_string(&path).unwrap(), changed);
        }
    }
}
