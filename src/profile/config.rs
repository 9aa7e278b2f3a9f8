//! Reads `config.toml`.
//!
//! Refuses fields that it does not know, with the nearest name; and a file that is no TOML, with the line.
//! A profile's fields are checked when the profile is used.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::service::{Catalog, parse};

/// Where the configuration is, and what its paths begin with.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The directory of `config.toml`.
    pub directory: PathBuf,
    /// The directory that `~` means.
    pub home: Option<PathBuf>,
}

/// Where keys are stored.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// The keyring of the operating system.
    Keyring,
    /// A file, encrypted with a passphrase.
    File,
    /// Nowhere: the environment gives the key.
    Env,
}

impl StoreKind {
    const ALL: [Self; 3] = [Self::Keyring, Self::File, Self::Env];

    /// Returns its name in options, the environment and the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::File => "file",
            Self::Env => "env",
        }
    }

    /// Returns what it is, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Keyring => "the system's keyring",
            Self::File => "the encrypted file",
            Self::Env => "the environment",
        }
    }

    /// Finds a store by its name; `whence` says who named it.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unknown name.
    pub fn named(name: &str, whence: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::new(Kind::Config, format!("{whence}: there is no key store named {name}"))
                .hint("keyring, file or env")
        })
    }
}

/// What `config.toml` says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The profile that is meant where none is named.
    pub profile: Option<String>,
    /// Where keys are stored.
    pub key_store: Option<StoreKind>,
    /// The file with the passphrase of the encrypted file.
    pub key_passphrase_file: Option<PathBuf>,
    /// The services that profiles can be of.
    pub catalog: Catalog,
    /// Where it was read.
    pub place: Place,
    pub(super) profiles: BTreeMap<String, toml::Table>,
}

/// The fields as written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    profile: Option<String>,
    key_store: Option<StoreKind>,
    key_passphrase_file: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, toml::Table>,
}

impl Place {
    /// Returns the configuration file.
    pub fn file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// Returns a path of the configuration: from home after `~/`, else from the directory of the file.
    pub fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.directory.join(text),
        }
    }
}

impl Config {
    /// Reads the configuration file of a directory; there may be none.
    ///
    /// # Errors
    /// [`Kind::Config`] with file and line where it cannot be read.
    pub fn read(place: Place) -> Result<Self> {
        Self::parse(&text(&place.file())?, place)
    }

    /// Reads what a configuration file says.
    ///
    /// # Errors
    /// [`Kind::Config`] with file and line where it makes no sense.
    pub fn parse(text: &str, place: Place) -> Result<Self> {
        let fields: Fields = parse(text, &place.file())?;
        Ok(Self {
            profile: fields.profile,
            key_store: fields.key_store,
            key_passphrase_file: fields.key_passphrase_file.map(|path| place.path(&path)),
            catalog: Catalog::new(place.directory.join("services")),
            place,
            profiles: fields.profiles,
        })
    }

    /// Says whether the file itself has a profile of this name.
    pub fn has(&self, profile: &str) -> bool {
        self.profiles.contains_key(profile)
    }
}

/// Returns the text of a configuration file; nothing where there is none.
///
/// # Errors
/// [`Kind::Config`] where it cannot be read.
pub(super) fn text(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(e) => {
            Err(Error::new(Kind::Config, format!("{} cannot be read: {e}", path.display())).caused_by(e))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { directory: "/etc/asistry".into(), home: Some("/home/me".into()) }
    }

    #[test]
    fn the_fields_of_the_whole_are_read_and_checked() {
        let text = "profile = 'work'\nkey_store = 'file'\nkey_passphrase_file = '~/pass'\n";
        let config = Config::parse(text, place()).unwrap();
        assert_eq!(config.key_store, Some(StoreKind::File));
        assert_eq!(config.key_passphrase_file.unwrap(), Path::new("/home/me/pass"));
        for (wrong, line, near) in [
            ("# a\nprofle = 'x'", "line 2", "did you mean profile?"),
            ("key_store = 'keyrng'", "line 1", "did you mean keyring?"),
            ("\n\n[profile.x]\nservice='mcp'", "line 3", "fix the file; it was not changed"),
        ] {
            let error = Config::parse(wrong, place()).unwrap_err();
            assert!(error.message().contains(line), "{error}");
            assert_eq!(error.advice(), Some(near));
        }
    }

    #[test]
    fn paths_begin_at_the_configuration_or_at_home() {
        for (text, path) in [
            ("roots.pem", "/etc/asistry/roots.pem"),
            ("/roots.pem", "/roots.pem"),
            ("~/roots.pem", "/home/me/roots.pem"),
            ("~roots.pem", "/etc/asistry/~roots.pem"),
        ] {
            assert_eq!(place().path(text), Path::new(path));
        }
    }
}
