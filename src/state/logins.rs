//! The list of OAuth logins: profile, endpoint, issuer, store item. Never a token.
//!
//! The key store holds the login itself; this list says where, so that no store is opened for a service without one.

use std::io;

use serde::{Deserialize, Serialize};

use super::keys::Place;
use super::{State, now};
use crate::error::{Error, Kind, Result, shell_quoted};

const FILE: &str = "logins.json";
const VERSION: u32 = 1;

/// All logins.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct LoginList {
    version: u32,
    /// The newest of each profile and endpoint last.
    #[serde(default)]
    pub logins: Vec<LoginRecord>,
    /// Which authorization server knows a client that the user named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clients: Vec<ClientRecord>,
    /// Logins that a person declined or did not finish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unfinished: Vec<Unfinished>,
}

impl Default for LoginList {
    fn default() -> Self {
        Self { version: VERSION, logins: Vec::new(), clients: Vec::new(), unfinished: Vec::new() }
    }
}

/// Where a login is stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct LoginRecord {
    /// The profile.
    pub profile: String,
    /// The endpoint.
    pub endpoint: String,
    /// The authorization server's issuer identifier.
    pub issuer: String,
    /// The item of the key store.
    pub place: Place,
    /// Whether it has tokens; a client's registration may outlive them.
    pub active: bool,
    /// Whether its token cannot be refreshed, and no process has seen the service accept it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

/// A client that the user named, and the issuer that took it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ClientRecord {
    /// The profile.
    pub profile: String,
    /// The endpoint.
    pub endpoint: String,
    /// The client's id.
    pub id: String,
    /// The issuer.
    pub issuer: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Unfinished {
    profile: String,
    endpoint: String,
    /// Seconds since 1970.
    at: u64,
}

impl LoginList {
    /// Finds the newest login of a profile at an endpoint.
    pub fn find(&self, profile: &str, endpoint: &str) -> Option<&LoginRecord> {
        self.logins.iter().rev().find(|login| login.profile == profile && login.endpoint == endpoint)
    }

    /// Finds the login of a profile at an endpoint with this issuer.
    pub fn with_issuer(&self, profile: &str, endpoint: &str, issuer: &str) -> Option<&LoginRecord> {
        let fits = |login: &&LoginRecord| {
            login.profile == profile && login.endpoint == endpoint && login.issuer == issuer
        };
        self.logins.iter().find(fits)
    }

    /// Returns the issuer that took a client which the user named.
    pub fn issuer_of(&self, profile: &str, endpoint: &str, id: &str) -> Option<&str> {
        let fits = |one: &&ClientRecord| (&*one.profile, &*one.endpoint, &*one.id) == (profile, endpoint, id);
        self.clients.iter().find(fits).map(|one| one.issuer.as_str())
    }

    /// Returns when a login was last declined or not finished, in seconds since 1970.
    pub fn unfinished_at(&self, profile: &str, endpoint: &str) -> Option<u64> {
        let fits = |one: &&Unfinished| one.profile == profile && one.endpoint == endpoint;
        self.unfinished.iter().find(fits).map(|one| one.at)
    }

    /// Puts a login last.
    fn put(&mut self, login: LoginRecord) {
        self.logins.retain(|known| known.place != login.place);
        self.forget_unfinished(&login.profile, &login.endpoint);
        self.logins.push(login);
    }

    fn forget_unfinished(&mut self, profile: &str, endpoint: &str) {
        self.unfinished.retain(|one| (one.profile.as_str(), one.endpoint.as_str()) != (profile, endpoint));
    }
}

impl State {
    /// Returns the list of logins; an unreadable one is empty.
    pub fn logins(&self) -> LoginList {
        self.read(FILE).unwrap_or_default()
    }

    /// Checks that the list can be read: it is replaced as a whole.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] for a damaged list, or one of a later version.
    pub fn check_logins(&self) -> Result<()> {
        let path = self.directory().join(FILE);
        let Ok(text) = std::fs::read(&path) else { return Ok(()) };
        let read = serde_json::from_slice::<LoginList>(&text);
        if read.is_ok_and(|list| list.version == VERSION) {
            return Ok(());
        }
        let why = format!("the list of logins {} is damaged, or of a later asistry", path.display());
        let path = path.display().to_string();
        let (from, to) = (shell_quoted(&path), format!("{path}.damaged"));
        Err(Error::new(Kind::KeyStore, why).hint(format!("mv {from} {} && log in again", shell_quoted(&to))))
    }

    /// Adds or replaces a login.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn put_login(&self, login: LoginRecord) -> io::Result<()> {
        self.change(FILE, |list: &mut LoginList| list.put(login))
    }

    /// Notes that the service has accepted the token of a login.
    ///
    /// # Errors
    /// As [`Self::put_login`].
    pub fn login_accepted(&self, place: &Place) -> io::Result<()> {
        self.change(FILE, |list: &mut LoginList| {
            list.logins
                .iter_mut()
                .filter(|login| login.place == *place)
                .for_each(|login| login.unproven = false);
        })
    }

    /// Notes which issuer took a client that the user named.
    ///
    /// # Errors
    /// As [`Self::put_login`].
    pub fn put_client(&self, client: ClientRecord) -> io::Result<()> {
        let list = self.logins();
        if list.clients.contains(&client) {
            return Ok(());
        }
        self.change(FILE, |list: &mut LoginList| list.clients.push(client))
    }

    /// Forgets the clients that the user named for an endpoint.
    ///
    /// # Errors
    /// As [`Self::put_login`].
    pub fn forget_clients(&self, profile: &str, endpoint: &str) -> io::Result<()> {
        let is_other = |one: &ClientRecord| (&*one.profile, &*one.endpoint) != (profile, endpoint);
        if self.logins().clients.iter().all(is_other) {
            return Ok(());
        }
        self.change(FILE, |list: &mut LoginList| list.clients.retain(is_other))
    }

    /// Removes the login that is stored at a place.
    ///
    /// # Errors
    /// As [`Self::put_login`].
    pub fn remove_login(&self, place: &Place) -> io::Result<()> {
        self.change(FILE, |list: &mut LoginList| list.logins.retain(|login| login.place != *place))
    }

    /// Records that a login was declined or not finished.
    ///
    /// # Errors
    /// As [`Self::put_login`].
    pub fn login_unfinished(&self, profile: &str, endpoint: &str) -> io::Result<()> {
        self.change(FILE, |list: &mut LoginList| {
            list.forget_unfinished(profile, endpoint);
            let (profile, endpoint) = (profile.to_owned(), endpoint.to_owned());
            list.unfinished.push(Unfinished { profile, endpoint, at: now() });
        })
    }
}
