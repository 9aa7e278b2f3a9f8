//! The environment, read once at the start; and where our files are.
//!
//! Refuses to read or write anything itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use directories::{BaseDirs, ProjectDirs};
use zeroize::Zeroizing;

use super::ask::Asker;
use crate::auth::keys::Keys;
use crate::auth::{Passphrase, PassphraseFor};
use crate::error::{Error, Kind, Result, shell_quoted};
use crate::files::remedy_for_shared;
use crate::profile::{Config, Place, StoreKind};
use crate::secret::Secret;
use crate::state::State;

/// The variables that asistry reads beside those of the options, for people.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "ASISTRY_API_KEY",
        "The key; overrides all stored keys, is bound to no origin, and no key store is opened",
    ),
    ("ASISTRY_CONFIG_DIR", "Directory of config.toml"),
    ("ASISTRY_DATA_DIR", "Directory of the encrypted key file and of the sandbox's data"),
    ("ASISTRY_STATE_DIR", "Directory of the list of keys, of locks and of what is remembered about services"),
    ("ASISTRY_CACHE_DIR", "Directory of the remembered lists of tools"),
    ("ASISTRY_KEY_STORE", "Where keys are stored: keyring, file or env"),
    ("ASISTRY_KEY_PASSPHRASE", "Passphrase of the encrypted key file"),
    ("ASISTRY_KEY_PASSPHRASE_FILE", "File that holds that passphrase in its first line"),
    (
        "ASISTRY_LOG",
        "Log level without -v or -q: error, warn, info, debug or trace; CRATE=LEVEL for other crates",
    ),
    ("BROWSER", "Command that opens the browser for a login; the URL is its argument"),
    ("CI", "If true, asistry never asks, as with --no-input"),
    (
        "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "Where a job of GitHub Actions gets its identity token, for --identity-token github",
    ),
    ("GITHUB_ACTIONS", "If true, a failure is also printed as an annotation"),
    ("NO_COLOR", "If set, no color is used, as with --color never"),
    ("SSL_CERT_FILE", "Additional root certificates, as with --ca-file"),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "Proxies; a proxy in the profile overrides them"),
];

/// The files that asistry reads and writes on Linux, for people.
pub const FILES: &[(&str, &str)] = &[
    ("~/.config/asistry/config.toml", "Profiles; ASISTRY_CONFIG_DIR changes the directory"),
    ("~/.config/asistry/services/NAME.toml", "Your own services"),
    (
        "~/.local/share/asistry/keys.enc",
        "Encrypted key file, if used; ASISTRY_DATA_DIR changes the directory",
    ),
    ("~/.local/share/asistry/sandbox/", "Data of the sandbox"),
    ("~/.local/state/asistry/", "Which keys are stored where, never a key; ASISTRY_STATE_DIR changes it"),
    ("~/.cache/asistry/", "Remembered lists of tools; ASISTRY_CACHE_DIR changes it"),
];

/// The environment's settings.
#[derive(Clone, Debug)]
pub struct Environment {
    key: Option<Secret>,
    ci: bool,
    github_action: bool,
    config_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    key_store: Option<String>,
    passphrase_file: Option<PathBuf>,
}

impl Environment {
    /// Reads it.
    pub fn read() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            key: std::env::var_os("ASISTRY_API_KEY").filter(|key| !key.is_empty()).map(|key| {
                // A value that is not text is refused as a malformed key.
                Secret::new(key.into_string().unwrap_or_else(|key| key.to_string_lossy().into_owned()))
            }),
            ci: variable("CI").is_some_and(|value| value != "false" && value != "0"),
            github_action: variable("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
            config_dir: path("ASISTRY_CONFIG_DIR"),
            state_dir: path("ASISTRY_STATE_DIR"),
            ca_file: path("SSL_CERT_FILE"),
            data_dir: path("ASISTRY_DATA_DIR"),
            cache_dir: path("ASISTRY_CACHE_DIR"),
            key_store: variable("ASISTRY_KEY_STORE"),
            passphrase_file: path("ASISTRY_KEY_PASSPHRASE_FILE"),
        }
    }

    /// Returns the key, which overrides all stored keys.
    pub fn key(&self) -> Option<Secret> {
        self.key.clone()
    }

    /// Returns the same without the key: for commands that work on our files whatever stands over them.
    #[must_use]
    pub fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// Returns the stored keys; nothing is opened yet.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unknown key store, or where there is no home directory.
    pub fn keys(&self, config: &Config, asker: Asker) -> Result<Keys> {
        let chosen = match (&self.key_store, &config.key_store) {
            (Some(name), _) => Some(StoreKind::named(name, "ASISTRY_KEY_STORE")?),
            (None, kind) => *kind,
        };
        let state = self.state().ok_or_else(|| {
            Error::new(Kind::Config, "the list of keys needs a home directory, and there is none")
                .hint("set ASISTRY_STATE_DIR, or set the key in ASISTRY_API_KEY")
        })?;
        Ok(Keys::new(state, self.data_dir()?, chosen, self.passphrase(config, asker)))
    }

    fn passphrase(&self, config: &Config, asker: Asker) -> Passphrase {
        let file = self.passphrase_file.clone().or_else(|| config.key_passphrase_file.clone());
        // Read where it is used: no copy is kept.
        Arc::new(move |why| match (variable("ASISTRY_KEY_PASSPHRASE"), &file) {
            (Some(passphrase), _) => Ok(Secret::new(passphrase)),
            (None, Some(path)) => read_passphrase(path),
            (None, None) => ask_passphrase(asker, why),
        })
    }

    /// Says whether GitHub Actions reads what we print.
    pub fn is_github_action(&self) -> bool {
        self.github_action
    }

    /// Returns the asker; it never asks with `--no-input` or in continuous integration.
    pub fn asker(&self, no_input: bool) -> Asker {
        Asker::new(match (no_input, self.ci) {
            (true, _) => Some("--no-input is given, so asistry does not ask"),
            (false, true) => Some("CI is set, so asistry does not ask"),
            (false, false) => None,
        })
    }

    /// Returns further root certificates, of every program on this machine.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.ca_file.clone()
    }

    /// Reads the configuration, unless a key in the environment hides it.
    ///
    /// # Errors
    /// [`Kind::Config`] where it cannot be read.
    pub fn config(&self) -> Result<Config> {
        match (self.hides_profiles(), self.config_place()) {
            (false, Ok(place)) => Config::read(place),
            _ => Ok(Config::default()),
        }
    }

    /// Returns whether a key in the environment keeps the profiles from being read.
    pub fn hides_profiles(&self) -> bool {
        self.key.is_some() && self.config_dir.is_none()
    }

    /// Returns where the configuration is, whatever keys there are.
    ///
    /// # Errors
    /// [`Kind::Config`] where there is no home directory.
    pub fn config_place(&self) -> Result<Place> {
        let named = self.config_dir.clone();
        let directory = named.or_else(|| directories().map(|dirs| dirs.config_dir().to_owned()));
        let home = BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        let directory = directory.ok_or_else(|| no_home("the configuration", "ASISTRY_CONFIG_DIR"))?;
        // Relative paths in it begin there, wherever the work goes on.
        Ok(Place { directory: std::path::absolute(&directory).unwrap_or(directory), home })
    }

    /// Returns what those who change the configuration lock.
    ///
    /// # Errors
    /// [`Kind::Config`] where there is no home directory.
    pub fn config_lock(&self) -> Result<PathBuf> {
        let directory = self.state_dir.clone().or_else(state_directory);
        let directory =
            directory.ok_or_else(|| no_home("the lock of the configuration", "ASISTRY_STATE_DIR"))?;
        Ok(directory.join("config.lock"))
    }

    /// Returns where things are remembered; with a key in the environment only where that is named there too.
    pub fn state(&self) -> Option<State> {
        let directory = match (&self.state_dir, &self.key) {
            (Some(directory), _) => directory.clone(),
            (None, Some(_)) => return None,
            (None, None) => state_directory()?,
        };
        Some(State::new(directory))
    }

    /// Says whether data may be kept: not with a key in the environment, unless its directory is named there.
    #[cfg(feature = "sandbox")]
    pub fn may_keep_data(&self) -> bool {
        self.key.is_none() || self.data_dir.is_some()
    }

    /// Returns where what can be asked again is kept; as [`Self::state`].
    pub fn cache(&self) -> Option<State> {
        let directory = match (&self.cache_dir, &self.key) {
            (Some(directory), _) => directory.clone(),
            (None, Some(_)) => return None,
            (None, None) => directories()?.cache_dir().to_owned(),
        };
        Some(State::new(directory))
    }

    /// Returns where data is kept.
    ///
    /// # Errors
    /// [`Kind::Config`] where there is no home directory.
    pub fn data_dir(&self) -> Result<PathBuf> {
        let found = self.data_dir.clone().or_else(|| directories().map(|dirs| dirs.data_dir().to_owned()));
        found.ok_or_else(|| no_home("data", "ASISTRY_DATA_DIR"))
    }
}

/// Returns what to do where a key in the environment keeps the profiles from being read.
pub fn way_to_profiles() -> String {
    const UNSET: &str = "unset ASISTRY_API_KEY";
    let Some(directories) = directories() else { return UNSET.to_owned() };
    let directory = directories.config_dir().to_string_lossy();
    format!("{UNSET}, or: export ASISTRY_CONFIG_DIR={}", shell_quoted(&directory))
}

fn ask_passphrase(asker: Asker, why: PassphraseFor) -> Result<Secret> {
    const OTHERWISE: &str =
        "set ASISTRY_KEY_PASSPHRASE or ASISTRY_KEY_PASSPHRASE_FILE, or key_passphrase_file in config.toml";
    if !asker.is_allowed() {
        let why = "the encrypted key file needs its passphrase";
        return Err(Error::new(Kind::KeyStore, why).hint(OTHERWISE));
    }
    if why == PassphraseFor::Opening {
        return asker.hidden("the passphrase", "Passphrase of the encrypted file of keys:", OTHERWISE);
    }
    let first =
        asker.hidden("the passphrase", "New passphrase for the encrypted file of keys:", OTHERWISE)?;
    if asker.hidden("the passphrase", "The same once more:", OTHERWISE)? != first {
        return Err(
            Error::new(Kind::Usage, "the two passphrases differ").hint("try again; nothing was stored")
        );
    }
    Ok(first)
}

/// Reads a passphrase: the first line of a file, without a byte-order mark. A file that others can read is refused.
fn read_passphrase(path: &Path) -> Result<Secret> {
    let unreadable = |e: std::io::Error| {
        Error::new(Kind::KeyStore, format!("the passphrase in {} cannot be read: {e}", path.display()))
            .caused_by(e)
            .hint("check ASISTRY_KEY_PASSPHRASE_FILE, or key_passphrase_file in config.toml")
    };
    if let Some(remedy) = remedy_for_shared(path).map_err(unreadable)? {
        let why = format!("other users can read the passphrase in {}", path.display());
        return Err(Error::new(Kind::KeyStore, why).hint(remedy));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(unreadable)?;
    let first = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
    Ok(Secret::new(first.to_owned()))
}

fn no_home(what: &str, variable: &str) -> Error {
    Error::new(Kind::Config, format!("{what} needs a home directory, and there is none"))
        .hint(format!("set {variable}"))
}

fn state_directory() -> Option<PathBuf> {
    let directories = directories()?;
    Some(directories.state_dir().unwrap_or_else(|| directories.data_local_dir()).to_owned())
}

/// Returns the user's directories; without `HOME` each look at them would read the table of users.
fn directories() -> Option<&'static ProjectDirs> {
    static DIRECTORIES: OnceLock<Option<ProjectDirs>> = OnceLock::new();
    DIRECTORIES.get_or_init(|| ProjectDirs::from("", "", "asistry")).as_ref()
}

/// Reads a variable; one that is set but empty counts as unset.
#[allow(clippy::disallowed_methods)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
