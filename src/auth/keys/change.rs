//! Changes of the stored keys.
//!
//! If interrupted at any point, the old key or the new one is current. Never overwrites or deletes an item that the
//! list assigns to another key.

use super::{
    KeyId, Keys, NewKey, Slot, binding_item, binding_value, check_item_name, edited, nothing_staged, unknown,
};
use crate::error::{Error, Kind, Remedy, Result};
use crate::files::Lock;
use crate::profile::StoreKind;
use crate::secret::Secret;
use crate::state::keys::{Deposit, KeyList, KeyRecord, Place, Successor};
use crate::state::now;

/// Item that is written and deleted to check a store; no key has such a name.
const PROBE: &str = "v1/probe";

/// Why a key is stored beside the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staging {
    /// It is added, or replaces the current one at once.
    Addition,
    /// It replaces the current one once it was tried; if interrupted, the user finishes or undoes it.
    Rotation,
}

/// The lock on the stored keys, until it is dropped.
#[derive(Debug)]
pub struct Change<'a> {
    keys: &'a Keys,
    list: KeyList,
    _lock: Lock,
}

impl<'a> Change<'a> {
    pub(super) fn begin(keys: &'a Keys, list: KeyList, lock: Lock) -> Self {
        Self { keys, list, _lock: lock }
    }

    /// Returns the current list.
    pub fn list(&self) -> &KeyList {
        &self.list
    }

    /// Checks that a key could be stored: the list can be written, and the encrypted file takes an item.
    ///
    /// # Errors
    /// [`Kind::KeyStore`].
    pub async fn check(&self, store: StoreKind) -> Result<()> {
        self.save()?;
        if store == StoreKind::File {
            let place = Place { store, item: PROBE.to_owned() };
            self.keys.stores.write(&place, &Secret::new("probe".into())).await?;
            self.keys.stores.delete(&place).await?;
        }
        Ok(())
    }

    /// Stores a new key beside the current one, without using it yet.
    ///
    /// # Errors
    /// [`Kind::KeyStore`]; the old key stays current.
    pub async fn stage(&mut self, id: &KeyId, new: NewKey, staging: Staging) -> Result<()> {
        if let Some(deposit) =
            self.list.find(&id.profile, &id.name).and_then(|record| record.deposit.as_ref())
        {
            check_item_name(id, deposit)?;
        }
        self.undo_interrupted(id, new.store).await?;
        // Any record counts, since the list may have been edited.
        let listed = |item: &str| {
            let deposits = self.list.keys.iter().filter_map(|record| record.deposit.as_ref());
            deposits.into_iter().any(|deposit| deposit.place.item == item)
        };
        let free = |slot: &Slot| !listed(&slot.item(id, &new.origin));
        let slot = Slot::ALL.into_iter().find(free).ok_or_else(|| edited(id))?;
        let record = self.list.record(&id.profile, &id.name);
        let place = Place { store: new.store, item: slot.item(id, &new.origin) };
        let deposit = Deposit {
            place: place.clone(),
            origin: new.origin,
            shown: new.shown,
            added: now(),
            forced: new.forced,
            came_with: new.came_with,
        };
        record.next = Some(Successor { deposit, rotation: staging == Staging::Rotation });
        self.save()?;
        let written = self.keys.stores.write(&place, &new.secret).await;
        if written.is_err() {
            // A store that timed out may still write it, so the next change deletes it.
            let record = self.list.record(&id.profile, &id.name);
            record.next = None;
            record.retired.push(place);
            self.save()?;
        }
        written
    }

    /// Makes the staged key current and deletes the old one.
    ///
    /// # Errors
    /// [`Kind::KeyStore`]; if the list cannot be written, the old key stays current.
    pub async fn commit(&mut self, id: &KeyId) -> Result<()> {
        let record = self.list.record(&id.profile, &id.name);
        let Some(next) = record.next.take() else { return Err(nothing_staged(&self.list, id)) };
        let store = next.deposit.place.store;
        let mut bound = record.bound.clone();
        if let Some(old) = record.deposit.replace(next.deposit) {
            self.keys.state.forget_key_use(&id.profile, &id.name);
            if record.deposit.as_ref().is_some_and(|new| new.origin != old.origin) && !next.rotation {
                record.bound.clear();
                record
                    .retired
                    .extend(bound.drain(..).map(|origin| binding_item(id, old.place.store, &origin)));
            } else if store == old.place.store {
                bound.clear();
            }
            record.retired.extend(bound.iter().map(|origin| binding_item(id, old.place.store, origin)));
            record.retired.push(old.place);
        }
        for origin in &bound {
            self.keys.stores.write(&binding_item(id, store, origin), &binding_value()).await?;
        }
        let record = self.list.record(&id.profile, &id.name);
        let retired = record.retired.clone();
        let is_key = self.list.of_profile(&id.profile).any(|record| record.name == id.name);
        if is_key {
            self.list.current.entry(id.profile.clone()).or_insert_with(|| id.name.clone());
        }
        self.save()?;
        self.clean(&retired).await;
        Ok(())
    }

    /// Deletes the staged key; the old one stays current.
    ///
    /// # Errors
    /// [`Kind::KeyStore`].
    pub async fn discard(&mut self, id: &KeyId) -> Result<()> {
        let record = self.list.record(&id.profile, &id.name);
        let Some(next) = record.next.take() else { return Err(nothing_staged(&self.list, id)) };
        record.retired.push(next.deposit.place);
        let retired = record.retired.clone();
        self.save()?;
        self.clean(&retired).await;
        Ok(())
    }

    /// Reads the staged key of a rotation; `None` if it was interrupted before the key was stored.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there is no interrupted rotation.
    pub async fn staged(&self, id: &KeyId) -> Result<Option<Secret>> {
        let record = self.list.find(&id.profile, &id.name);
        match record.and_then(|record| record.next.as_ref()) {
            Some(next) => {
                check_item_name(id, &next.deposit)?;
                self.keys.stores.read(&next.deposit.place).await
            }
            None => Err(nothing_staged(&self.list, id)),
        }
    }

    /// Removes a key, and the secrets that came with it, from the list and from its store. A running bridge that has read
    /// it keeps using it until the service rejects it.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key; [`Kind::KeyStore`] if it cannot be deleted from its store, in which
    /// case it is kept.
    pub async fn remove(&mut self, id: &KeyId) -> Result<()> {
        for name in self.list.with_key(&id.profile, &id.name) {
            self.remove_one(&KeyId { name, ..id.clone() }).await?;
        }
        self.remove_one(id).await
    }

    async fn remove_one(&mut self, id: &KeyId) -> Result<()> {
        let before = self.list.clone();
        if self.list.find(&id.profile, &id.name).is_none() {
            return Err(unknown(&self.list, id));
        }
        let record = self.list.record(&id.profile, &id.name);
        let gone: Vec<_> =
            record.deposit.take().into_iter().chain(record.next.take().map(|next| next.deposit)).collect();
        for deposit in gone {
            let store = deposit.place.store;
            record.retired.extend(record.bound.iter().map(|origin| binding_item(id, store, origin)));
            // In an edited list the name may be that of another key's item.
            record.retired.extend(check_item_name(id, &deposit).is_ok().then_some(deposit.place));
        }
        record.bound.clear();
        let places = record.retired.clone();
        self.list.current.retain(|profile, name| *profile != id.profile || *name != id.name);
        self.save()?;
        for place in &places {
            if let Err(error) = self.keys.stores.delete(place).await {
                self.list = before;
                self.save()?;
                return Err(error);
            }
        }
        self.keys.state.forget_key_use(&id.profile, &id.name);
        self.list.record(&id.profile, &id.name).retired.clear();
        self.list.tidy();
        self.set_only_key_current(&id.profile);
        self.save()?;
        self.clean(&places).await;
        Ok(())
    }

    /// Makes the last remaining key of a profile current.
    fn set_only_key_current(&mut self, profile: &str) {
        let mut left = self.list.of_profile(profile);
        if let (Some(only), None) = (left.next(), left.next()) {
            let name = only.name.clone();
            drop(left);
            self.list.current.entry(profile.to_owned()).or_insert(name);
        }
    }

    /// Makes a key its profile's current key.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key.
    pub fn set_current(&mut self, id: &KeyId) -> Result<()> {
        let known = self.list.of_profile(&id.profile).any(|record| record.name == id.name);
        if !known {
            return Err(unknown(&self.list, id));
        }
        self.list.current.insert(id.profile.clone(), id.name.clone());
        self.save()
    }

    /// Allows a key for one more origin and marks it in the key store, so that editing the list is not enough.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key; [`Kind::KeyStore`] if the mark cannot be stored.
    pub async fn bind(&mut self, id: &KeyId, origin: &str) -> Result<()> {
        let record = self.list.find(&id.profile, &id.name);
        let Some(deposit) = record.and_then(|record| record.deposit.as_ref()) else {
            return Err(unknown(&self.list, id));
        };
        check_item_name(id, deposit)?;
        self.keys.stores.write(&binding_item(id, deposit.place.store, origin), &binding_value()).await?;
        let record = self.list.record(&id.profile, &id.name);
        if !record.may_go_to(origin) {
            record.bound.push(origin.to_owned());
        }
        self.save()
    }

    /// Undoes interrupted changes in a store. A rotation is left to the user.
    async fn undo_interrupted(&mut self, id: &KeyId, store: StoreKind) -> Result<()> {
        if self.list.find(&id.profile, &id.name).is_some_and(KeyRecord::is_rotating) {
            let why = format!("a rotation of the key {id} was interrupted; the old key is still current");
            let remedy = Remedy::EndRotation { name: id.name.clone() };
            return Err(Error::new(Kind::Usage, why).remedy(remedy));
        }
        // This process holds the lock, so these are leftovers of interrupted changes.
        for record in &mut self.list.keys {
            let left = record.next.take_if(|next| !next.rotation);
            record.retired.extend(left.map(|next| next.deposit.place));
        }
        self.delete_retired(store).await
    }

    /// Deletes retired items in the stores of these places; what cannot be deleted now is deleted by the next change.
    async fn clean(&mut self, places: &[Place]) {
        for store in [StoreKind::Keyring, StoreKind::File] {
            if places.iter().any(|place| place.store == store)
                && let Err(error) = self.delete_retired(store).await
            {
                tracing::warn!("a key that is no longer in use could not be deleted yet: {error}");
            }
        }
    }

    async fn delete_retired(&mut self, store: StoreKind) -> Result<()> {
        let retired = self.list.keys.iter().flat_map(|record| &record.retired);
        let places: Vec<Place> = retired.filter(|place| place.store == store).cloned().collect();
        let mut done = Ok(());
        for place in &places {
            done = self.keys.stores.delete(place).await;
            if done.is_err() {
                break;
            }
            self.list.keys.iter_mut().for_each(|record| record.retired.retain(|left| left != place));
        }
        self.list.tidy();
        if !places.is_empty() {
            self.save()?;
        }
        done
    }

    fn save(&self) -> Result<()> {
        self.keys.state.save_keys(&self.list)
    }
}
