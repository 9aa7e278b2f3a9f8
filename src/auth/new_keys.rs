//! Stores keys that the service creates, before the caller gets its answer.
//!
//! Refuses to store one where a key was passed in: it would not be used. Never replaces a key that the new one was not
//! made for.

use std::sync::PoisonError;

use super::key::header_of;
use super::keys::{
    Change, DEFAULT, Found, KeyId, KeySource, Keys, LONGEST_NAME, NewKey as KeyToStore, Staging,
};
use super::{Authorizer, Source, form};
use crate::error::{Error, Kind, Result};
use crate::profile::StoreKind;
use crate::protocol::secrets::{KeyWork, NewKey, Replaced, StoredKey, is_masked};
use crate::secret::Secret;
use crate::state::keys::KeyList;

impl Authorizer {
    /// Does one piece of work with the key store.
    ///
    /// # Errors
    /// [`Kind::KeyStore`] if no key can be stored here.
    pub async fn key_work(&self, work: KeyWork) -> Result<Option<StoredKey>> {
        match work {
            KeyWork::Check => {
                let (keys, store) = self.store_for_new_key().await?;
                keys.change().await?.check(store).await?;
                Ok(None)
            }
            KeyWork::Store(new) => {
                let stored = self.store_new_key(&new).await;
                if stored.is_err() {
                    self.use_unstored(&new);
                }
                let mut log = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(stored.clone());
                stored.map(Some)
            }
        }
    }

    /// Returns the keys that were stored, or could not be, since the last look.
    pub fn take_stored(&self) -> Vec<Result<StoredKey>> {
        std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn store_for_new_key(&self) -> Result<(&Keys, StoreKind)> {
        let Source::Stored(keys) = &self.source else {
            if self.key_source() == Some(KeySource::Sandbox) {
                let why = "the sandbox inside this process has its own key, so a new key cannot be stored";
                return Err(Error::new(Kind::KeyStore, why)
                    .hint("see the key with --reveal, or start asistry sandbox and use its URL with --url"));
            }
            let why = "ASISTRY_API_KEY or a header overrides the key store, so a new key cannot be stored";
            return Err(Error::new(Kind::KeyStore, why)
                .hint("run it without ASISTRY_API_KEY (env -u ASISTRY_API_KEY) and without such a header"));
        };
        if let Some(error) = &self.cleartext_error {
            return Err(error.clone());
        }
        Ok((keys, keys.store_for_new(None).await?))
    }

    async fn store_new_key(&self, new: &NewKey) -> Result<StoredKey> {
        let secret =
            self.vault.open(&new.key).filter(|secret| form::sendable(secret).is_ok()).ok_or_else(|| {
                let why = "the service's new key cannot be sent in a header, and replaces none";
                Error::new(Kind::ProtocolViolation, why).hint("see the result with --reveal")
            })?;
        let (keys, store) = self.store_for_new_key().await?;
        let replaced = self.replaced(keys, &new.replaced).await?;
        let mut change = keys.change().await?;
        let name = self.name_of(change.list(), replaced.as_ref(), new);
        let id = KeyId { profile: self.profile.name.clone(), name };
        let shown = form::masked(&self.profile.service, &secret);
        self.put(&mut change, &id, (secret, store), None).await?;
        for (field, masked) in &new.others {
            let name: String = format!("{}.{field}", id.name).chars().take(LONGEST_NAME).collect();
            let Some(secret) = self.vault.open(masked) else { continue };
            let other = KeyId { name, ..id.clone() };
            // The key itself is stored by now.
            if let Err(error) = self.put(&mut change, &other, (secret, store), Some(&id.name)).await {
                tracing::warn!("{field} of the result could not be stored: {error}");
            }
        }
        let is_new = |name: &str| new.others.iter().any(|(field, _)| name == format!("{}.{field}", id.name));
        if let Some(used) = replaced.filter(|used| used.name != id.name && !is_new(&used.name)) {
            // It no longer works.
            if let Err(error) = change.remove(&used).await {
                tracing::warn!("{used}, which no longer works, could not be removed: {error}");
            }
        }
        let current = change.list().current.get(&id.profile).filter(|current| **current != id.name);
        let still_current = current.map(|name| format!("{}/{name}", id.profile));
        drop(change);
        self.read_again(keys).await;
        let (id, store, origin) = (id.to_string(), store.about().to_owned(), self.shown_origin.clone());
        Ok(StoredKey { id, store, shown, origin, still_current })
    }

    async fn put(
        &self,
        change: &mut Change<'_>,
        id: &KeyId,
        (secret, store): (Secret, StoreKind),
        came_with: Option<&str>,
    ) -> Result<()> {
        let shown = form::masked(&self.profile.service, &secret);
        // The service made it: whatever its form is, it is good.
        let new = KeyToStore {
            secret,
            origin: self.shown_origin.clone(),
            store,
            shown,
            forced: true,
            came_with: came_with.map(str::to_owned),
        };
        change.stage(id, new, Staging::Addition).await?;
        change.commit(id).await
    }

    /// Finds the stored key that the new one is made for.
    async fn replaced(&self, keys: &Keys, replaced: &Replaced) -> Result<Option<KeyId>> {
        let list = keys.list()?;
        match replaced {
            Replaced::Nothing => Ok(None),
            // The key that signed the call, which need not be current any more.
            Replaced::Current => match self.key_source() {
                Some(KeySource::Stored { name, .. }) => {
                    let found = list.find(&self.profile.name, &name);
                    Ok(found.map(|_| KeyId { profile: self.profile.name.clone(), name }))
                }
                _ => Ok(None),
            },
            Replaced::This(secret) => {
                let text = secret.expose();
                let masked = if is_masked(text) { text.to_owned() } else { self.vault.masked(text) };
                self.stored_as(keys, &masked).await.map(|found| found.map(|(id, _)| id))
            }
        }
    }

    /// Finds the stored key of this profile and origin that a reference names.
    pub(super) async fn stored_as(&self, keys: &Keys, masked: &str) -> Result<Option<(KeyId, Secret)>> {
        let list = keys.list()?;
        for record in list.keys.iter().filter(|record| record.profile == self.profile.name) {
            if !record.may_go_to(&self.shown_origin)
                || keys.check_origin(record, &self.shown_origin).await.is_err()
            {
                continue;
            }
            let id = KeyId { profile: record.profile.clone(), name: record.name.clone() };
            let secret = keys.secret(&id).await?;
            if self.vault.masked(secret.expose()) == masked {
                return Ok(Some((id, secret)));
            }
        }
        Ok(None)
    }

    /// Returns the name for a new key.
    fn name_of(&self, list: &KeyList, replaced: Option<&KeyId>, new: &NewKey) -> String {
        let profile = &self.profile.name;
        let is_key = |name: &str| list.find(profile, name).is_some_and(|record| record.deposit.is_some());
        if let Some(replaced) = replaced {
            let record = list.find(profile, &replaced.name).and_then(|record| record.deposit.as_ref());
            let Some(base) = record.and_then(|deposit| deposit.came_with.as_deref()) else {
                return replaced.name.clone();
            };
            // A key that was stored later is another one, and stays.
            let added = |name: &str| Some(list.find(profile, name)?.deposit.as_ref()?.added);
            if is_key(base) && added(base) <= added(&replaced.name) {
                return base.to_owned();
            }
        }
        if list.of_profile(profile).next().is_none() {
            return DEFAULT.to_owned();
        }
        let numbered = (2..).map(|number| format!("{}-{number}", new.name));
        let mut names = std::iter::once(new.name.clone()).chain(numbered);
        names.find(|name| !is_key(name)).unwrap_or_else(|| new.name.clone())
    }

    /// Signs with a new key that could not be stored, where there is no other or the other one works no more, as long as
    /// this process runs.
    fn use_unstored(&self, new: &NewKey) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_free = state.credential.is_none() || !matches!(new.replaced, Replaced::Nothing);
        let Some(secret) = self.vault.open(&new.key).filter(|_| is_free) else { return };
        let found = Found { secret, forced: true, source: KeySource::New };
        if let Ok(header) = header_of(&self.profile, &found) {
            state.mask.add(&header.1);
            state.which.0 += 1;
            (state.credential, state.came_from) = (Some(header), Some(found.source));
            (state.asked, state.failed) = (true, None);
        }
    }

    /// Signs with the key in use from now on.
    async fn read_again(&self, keys: &Keys) {
        let _one_reader = self.reading.lock().await;
        if let Err(error) = self.read_key(keys).await {
            tracing::warn!("the new key is stored, but cannot be read back: {error}");
        }
    }
}
