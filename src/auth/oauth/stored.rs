//! Where a login is kept: the key store, or the memory of this process where no store opens.
//!
//! Refuses to hand out a token that is not stored yet.

use std::sync::atomic::Ordering;

use super::grant::Grant;
use super::{Inner, Token};
use crate::error::{Error, Kind, Result};
use crate::files::Lock;
use crate::profile::StoreKind;
use crate::state::keys::Place as Item;
use crate::state::logins::LoginRecord;
use crate::state::short_hash;

/// Whether the service has already taken a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new.
    None,
    /// Another process has used it, or may have.
    Elsewhere,
}

impl Inner {
    /// Returns the newest login in the list.
    pub fn listed(&self) -> Option<LoginRecord> {
        self.state.logins().find(&self.place.profile, self.place.endpoint.as_str()).cloned()
    }

    /// Reads the stored login, once.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if the store is unavailable.
    pub async fn read_once(&self) -> Result<()> {
        if self.current().is_read {
            return Ok(());
        }
        let grant = self.stored().await?;
        self.adopt(grant, Acceptance::Elsewhere);
        Ok(())
    }

    /// Reads the login as it is stored now: another process may have changed it.
    ///
    /// # Errors
    /// As [`Self::read_once`].
    pub async fn stored(&self) -> Result<Option<Grant>> {
        if self.current().in_memory || self.options.machine.is_some() {
            return Ok(self.current().grant.clone());
        }
        let Some(login) = self.listed() else { return Ok(None) };
        self.read(&login).await
    }

    /// Reads the login with this issuer.
    ///
    /// # Errors
    /// As [`Self::read_once`].
    pub async fn stored_with(&self, issuer: &str) -> Result<Option<Grant>> {
        if self.current().in_memory {
            return Ok(self.current().grant.clone().filter(|grant| grant.issuer == issuer));
        }
        let (profile, endpoint) = (&self.place.profile, self.place.endpoint.as_str());
        let list = self.state.logins();
        let Some(login) = list.with_issuer(profile, endpoint, issuer) else { return Ok(None) };
        self.read(login).await
    }

    /// Reads a login of the list; `None` for one of another client than the user names.
    ///
    /// # Errors
    /// As [`Self::read_once`].
    pub async fn read(&self, login: &LoginRecord) -> Result<Option<Grant>> {
        Ok(self.read_any(login).await?.filter(|grant| self.is_of_client(grant)))
    }

    /// Reads a login of the list, whatever its client; `None` if it is damaged.
    ///
    /// # Errors
    /// As [`Self::read_once`].
    pub async fn read_any(&self, login: &LoginRecord) -> Result<Option<Grant>> {
        let secret = self.keys.read_item(&login.place).await?;
        // The list can be edited; the issuer in the store decides (AUTH-11).
        let grant = secret.as_ref().and_then(Grant::read).filter(|grant| grant.issuer == login.issuer);
        Ok(grant.map(|mut grant| {
            if self.is_of_client(&grant) {
                grant.client.prove_as(&self.options);
            }
            grant
        }))
    }

    /// Says whether a login is one of the client that the user names.
    pub fn is_of_client(&self, grant: &Grant) -> bool {
        let given = self.options.client_id.as_ref();
        given.is_none_or(|given| *given == grant.client.id)
    }

    /// Stores a login, then uses it.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if it cannot be stored.
    pub async fn save(&self, grant: Grant, store: Option<StoreKind>, acceptance: Acceptance) -> Result<()> {
        let kept = self.listed().map(|login| login.place.store);
        let in_memory = self.current().in_memory;
        match store.or(kept).filter(|_| store.is_some() || !in_memory) {
            Some(store) => {
                self.write(&grant, store).await?;
                self.current().in_memory = false;
            }
            None => self.current().in_memory = true,
        }
        self.adopt(Some(grant), acceptance);
        Ok(())
    }

    /// Stores a login, or a registration for one.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub async fn write(&self, grant: &Grant, store: StoreKind) -> Result<()> {
        let endpoint = self.place.endpoint.as_str();
        let mark = short_hash(&format!("{endpoint}\n{}", grant.issuer));
        // Key names cannot contain `+`.
        let place = Item { store, item: format!("v1/{}/+login/{mark}", self.place.profile) };
        self.keys.write_item(&place, &grant.write()).await?;
        let record = LoginRecord {
            profile: self.place.profile.clone(),
            endpoint: endpoint.to_owned(),
            issuer: grant.issuer.clone(),
            place,
            active: grant.tokens.is_some(),
            unproven: grant.tokens.is_some() && !grant.has_refresh(),
        };
        if self.listed().as_ref() == Some(&record) {
            return Ok(());
        }
        self.state.put_login(record).map_err(|e| self.state.unwritable(&e))
    }

    /// Returns all logins of this profile at this endpoint, whatever their issuer.
    pub fn all_listed(&self) -> Vec<LoginRecord> {
        let (profile, endpoint) = (&self.place.profile, self.place.endpoint.as_str());
        let mut logins = self.state.logins().logins;
        logins.retain(|login| login.profile == *profile && login.endpoint == endpoint);
        logins
    }

    /// Deletes a login from its store and from the list.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub async fn delete(&self, login: &LoginRecord) -> Result<()> {
        self.keys.delete_item(&login.place).await?;
        self.state.remove_login(&login.place).map_err(|e| self.state.unwritable(&e))
    }

    /// Deletes the newest login, and uses it no longer.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub async fn delete_current(&self) -> Result<()> {
        if let Some(login) = self.listed() {
            self.delete(&login).await?;
        }
        self.current().in_memory = false;
        self.adopt(None, Acceptance::Elsewhere);
        Ok(())
    }

    /// Returns the issuer that took the client which the user names.
    pub fn noted_issuer(&self) -> Option<String> {
        let client = self.options.client_id.as_ref()?;
        let list = self.state.logins();
        list.issuer_of(&self.place.profile, self.place.endpoint.as_str(), client).map(str::to_owned)
    }

    fn is_listed_unproven(&self) -> bool {
        self.listed().is_some_and(|login| login.unproven)
    }

    /// Notes that the service has accepted the newest token, for other processes too.
    pub fn accepted(&self) {
        self.is_unproven.store(false, Ordering::Relaxed);
        let current = self.current();
        let issuer = current.grant.as_ref().filter(|_| !current.in_memory).map(|grant| grant.issuer.clone());
        drop(current);
        let is_own = |login: &LoginRecord| login.unproven && Some(&login.issuer) == issuer.as_ref();
        if let Some(login) = self.listed().filter(is_own) {
            // Without the note, a refusal within another process would end the login: no more.
            let _ = self.state.login_accepted(&login.place);
        }
    }

    /// Uses a login from now on.
    pub fn adopt(&self, grant: Option<Grant>, acceptance: Acceptance) -> Option<Token> {
        let mut current = self.current();
        current.is_read = true;
        current.unfinished =
            current.unfinished.filter(|_| grant.as_ref().is_none_or(|grant| grant.tokens.is_none()));
        let has_tokens = grant.as_ref().is_some_and(|grant| grant.tokens.is_some());
        let is_unproven =
            acceptance == Acceptance::None || (has_tokens && !current.in_memory && self.is_listed_unproven());
        self.is_unproven.store(is_unproven, Ordering::Relaxed);
        let former = current.grant.take().and_then(|grant| grant.binding);
        let grant = grant.map(|grant| grant.sharing_nonces(former.as_ref()));
        current.fresh_until = grant.as_ref().and_then(|grant| grant.tokens.as_ref()?.fresh_until());
        current.grant = grant;
        current.token()
    }

    /// Locks the logins of this profile at this endpoint, across processes.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if the state directory cannot be written.
    pub async fn lock(&self, within: std::time::Duration) -> Result<Option<Lock>> {
        let name = format!("{}\n{}", self.place.profile, self.place.endpoint);
        let name = format!("login-{}.lock", short_hash(&name));
        self.state.lock(&name, within).await.map_err(|e| {
            let why = format!("the login cannot be locked in {}: {e}", self.state.directory().display());
            Error::new(Kind::KeyStore, why)
                .hint("make the directory writable, or name another one in ASISTRY_STATE_DIR")
        })
    }
}
