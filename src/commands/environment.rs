//! The environment, read once at the start; and where our files are.
//!
//! Refuses to read or write anything itself.

use std::path::PathBuf;

use directories::ProjectDirs;

use crate::error::Result;
#[cfg(feature = "sandbox")]
use crate::error::{Error, Kind};
use crate::profile::Config;
use crate::secret::Secret;
use crate::state::State;

/// What the environment says.
#[derive(Debug)]
pub struct Environment {
    key: Option<Secret>,
    config_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    #[cfg(feature = "sandbox")]
    data_dir: Option<PathBuf>,
}

impl Environment {
    /// Reads it.
    pub fn read() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            key: variable("ASISTRY_API_KEY").map(Secret::new),
            config_dir: path("ASISTRY_CONFIG_DIR"),
            state_dir: path("ASISTRY_STATE_DIR"),
            #[cfg(feature = "sandbox")]
            data_dir: path("ASISTRY_DATA_DIR"),
        }
    }

    /// Returns the key, which stands over every store.
    pub fn key(&self) -> Option<Secret> {
        self.key.clone()
    }

    /// Reads the configuration; with a key in the environment only where its directory is named there too.
    ///
    /// # Errors
    /// [`Kind::Config`] where it cannot be read.
    pub fn config(&self) -> Result<Config> {
        let directory = match (&self.config_dir, &self.key) {
            (Some(directory), _) => directory.clone(),
            (None, Some(_)) => return Ok(Config::default()),
            (None, None) => match directories() {
                Some(directories) => directories.config_dir().to_owned(),
                None => return Ok(Config::default()),
            },
        };
        Config::read(&directory.join("config.toml"))
    }

    /// Returns where things are remembered; with a key in the environment only where that is named there too.
    pub fn state(&self) -> Option<State> {
        let directory = match (&self.state_dir, &self.key) {
            (Some(directory), _) => directory.clone(),
            (None, Some(_)) => return None,
            (None, None) => {
                let directories = directories()?;
                directories.state_dir().unwrap_or_else(|| directories.data_local_dir()).to_owned()
            }
        };
        Some(State::new(directory))
    }

    /// Returns where data is kept.
    ///
    /// # Errors
    /// [`Kind::Config`] where there is no home directory.
    #[cfg(feature = "sandbox")]
    pub fn data_dir(&self) -> Result<PathBuf> {
        let found = self.data_dir.clone().or_else(|| directories().map(|dirs| dirs.data_dir().to_owned()));
        found.ok_or_else(|| {
            Error::new(Kind::Config, "there is no home directory to keep data in")
                .hint("set ASISTRY_DATA_DIR")
        })
    }
}

fn directories() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "asistry")
}

/// Looks one variable up; an empty one counts as absent.
#[allow(clippy::disallowed_methods)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
