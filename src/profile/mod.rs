//! A user's instance of a service: which service, and the values of its variables, from `config.toml`.
//!
//! Refuses to hold a key, and to guess: an unknown name is an error with the nearest one.

pub mod units;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::service::{Service, unknown};

pub use crate::service::nearest;

/// The profile that is meant where none is named.
pub const DEFAULT: &str = "asistry";

/// A user's instance of a service.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: Service,
    /// The values of the service's variables.
    pub values: BTreeMap<String, String>,
    /// It is no profile of anybody, only a URL.
    pub bare: bool,
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

/// The profiles in `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The profile that is meant where none is named.
    #[serde(default)]
    pub profile: Option<String>,
    /// Where keys are stored.
    #[serde(default)]
    pub key_store: Option<String>,
    /// The file with the passphrase of the encrypted file.
    #[serde(default)]
    pub key_passphrase_file: Option<std::path::PathBuf>,
    #[serde(default)]
    profiles: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    service: String,
    #[serde(flatten)]
    values: BTreeMap<String, toml::Value>,
}

impl Config {
    /// Reads a configuration file; there may be none.
    ///
    /// # Errors
    /// [`Kind::Config`] with file and place where it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => {
                return Err(Error::new(Kind::Config, format!("{} cannot be read: {e}", path.display())));
            }
        };
        toml::from_str(&text).map_err(|e| {
            Error::new(Kind::Config, format!("{} is not valid: {}", path.display(), e.to_string().trim()))
                .hint("mend the file; nothing in it was changed")
        })
    }
}

impl Profile {
    /// Finds the profile of this name, in the configuration or among the built-in services.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unknown name, an unknown service or an unknown value.
    pub fn find(name: &str, config: &Config) -> Result<Self> {
        if let Some(entry) = config.profiles.get(name) {
            return Self::configured(name, entry);
        }
        match Service::built_in(name) {
            Some(service) => {
                Ok(Self { name: name.to_owned(), service, values: BTreeMap::new(), bare: false })
            }
            None => {
                let mut known: Vec<&str> = config.profiles.keys().map(String::as_str).collect();
                known.extend(Service::names().map(|name| name as &str));
                Err(unknown("profile", name, &known))
            }
        }
    }

    /// Makes the profile of a bare URL: service `mcp`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what is no URL of an endpoint.
    pub fn of_url(url: &str) -> Result<Self> {
        let mut profile = Self::find("mcp", &Config::default())?;
        profile.values.insert("url".into(), url.into());
        profile.bare = true;
        profile.endpoint().map_err(|e| Error::new(Kind::Usage, e.message().replacen("url ", "--url ", 1)))?;
        Ok(profile)
    }

    fn configured(name: &str, entry: &Entry) -> Result<Self> {
        let service = Service::built_in(&entry.service)
            .ok_or_else(|| unknown("service", &entry.service, &Service::names().collect::<Vec<_>>()))?;
        let mut values = BTreeMap::new();
        for (field, value) in &entry.values {
            if !service.variables.contains_key(field) {
                let known: Vec<&str> =
                    service.variables.keys().map(String::as_str).chain(["service"]).collect();
                return Err(unknown(&format!("value of the profile {name}"), field, &known));
            }
            let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
            values.insert(field.clone(), text);
        }
        Ok(Self { name: name.to_owned(), service, values, bare: false })
    }

    /// Returns where the profile's service is.
    ///
    /// # Errors
    /// [`Kind::Config`] for a missing or an unfit value.
    pub fn endpoint(&self) -> Result<Url> {
        self.service.endpoint(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_of_the_configuration_has_values() {
        let config: Config =
            toml::from_str("[profiles.work]\nservice='task-tracking'\nbase_url='https://h'\nworkspace_id=7")
                .unwrap();
        let profile = Profile::find("work", &config).unwrap();
        assert_eq!(profile.endpoint().unwrap().as_str(), "https://h/app/api/mcp/server/7");
    }

    #[test]
    fn an_unknown_value_names_the_nearest() {
        let config: Config =
            toml::from_str("[profiles.work]\nservice='task-tracking'\nbase_ul='https://h'").unwrap();
        let error = Profile::find("work", &config).unwrap_err();
        assert_eq!(error.details().hint.as_deref(), Some("did you mean base_url?"));
    }

    #[test]
    fn a_bare_url_means_any_mcp_service() {
        assert_eq!(
            Profile::of_url("http://127.0.0.1:1/mcp?x=1").unwrap().endpoint().unwrap().as_str(),
            "http://127.0.0.1:1/mcp?x=1"
        );
        assert_eq!(Profile::of_url("nonsense").unwrap_err().kind(), Kind::Usage);
    }
}
