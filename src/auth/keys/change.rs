//! Every change of the stored keys.
//!
//! An interruption at any point leaves the old key in use or the new one. Refuses to write over or to delete an
//! item that the list names for another key.

use super::{KeyId, Keys, NewKey, Slot, check_sealed, edited, mark, mark_of, nothing_staged, unknown};
use crate::error::{Error, Kind, Remedy, Result};
use crate::files::Lock;
use crate::profile::StoreKind;
use crate::secret::Secret;
use crate::state::keys::{Deposit, KeyList, KeyRecord, Place, Successor};
use crate::state::now;

/// The right to change keys, until it is dropped.
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

    /// Returns the list as it is now.
    pub fn list(&self) -> &KeyList {
        &self.list
    }

    /// Stores a key beside the one that counts; it does not count yet.
    ///
    /// # Errors
    /// [`Kind::KeyStore`]; the old key stays in use.
    pub async fn stage(&mut self, id: &KeyId, new: NewKey, rotation: bool) -> Result<()> {
        if let Some(deposit) =
            self.list.find(&id.profile, &id.name).and_then(|record| record.deposit.as_ref())
        {
            check_sealed(id, deposit)?;
        }
        self.settle(id, new.store).await?;
        // Whatever record it is listed under: a record may have been edited.
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
        };
        record.next = Some(Successor { deposit, rotation });
        self.save()?;
        let written = self.keys.stores.write(&place, &new.secret).await;
        if written.is_err() {
            // A store that did not answer may yet write it: it is deleted with the next change.
            let record = self.list.record(&id.profile, &id.name);
            record.next = None;
            record.retired.push(place);
            self.save()?;
        }
        written
    }

    /// Puts the staged key into use and deletes the old one.
    ///
    /// # Errors
    /// [`Kind::KeyStore`]; where the list cannot be written the old key stays in use.
    pub async fn commit(&mut self, id: &KeyId) -> Result<()> {
        let record = self.list.record(&id.profile, &id.name);
        let Some(next) = record.next.take() else { return Err(nothing_staged(id)) };
        let store = next.deposit.place.store;
        let mut bound = record.bound.clone();
        if let Some(old) = record.deposit.replace(next.deposit) {
            if record.deposit.as_ref().is_some_and(|new| new.origin != old.origin) && !next.rotation {
                record.bound.clear();
                record.retired.extend(bound.drain(..).map(|origin| mark_of(id, old.place.store, &origin)));
            } else if store == old.place.store {
                bound.clear();
            }
            record.retired.extend(bound.iter().map(|origin| mark_of(id, old.place.store, origin)));
            record.retired.push(old.place);
        }
        for origin in &bound {
            self.keys.stores.write(&mark_of(id, store, origin), &mark()).await?;
        }
        let record = self.list.record(&id.profile, &id.name);
        let retired = record.retired.clone();
        self.list.current.entry(id.profile.clone()).or_insert_with(|| id.name.clone());
        self.save()?;
        self.clean(&retired).await;
        Ok(())
    }

    /// Deletes the staged key; the old one stays in use.
    ///
    /// # Errors
    /// [`Kind::KeyStore`].
    pub async fn discard(&mut self, id: &KeyId) -> Result<()> {
        let record = self.list.record(&id.profile, &id.name);
        let Some(next) = record.next.take() else { return Err(nothing_staged(id)) };
        record.retired.push(next.deposit.place);
        let retired = record.retired.clone();
        self.save()?;
        self.clean(&retired).await;
        Ok(())
    }

    /// Reads the staged key of a rotation; `None` when the interruption came before it was stored.
    ///
    /// # Errors
    /// [`Kind::Usage`] where no rotation waits.
    pub async fn staged(&self, id: &KeyId) -> Result<Option<Secret>> {
        let record = self.list.find(&id.profile, &id.name);
        match record.and_then(|record| record.next.as_ref()) {
            Some(next) => {
                check_sealed(id, &next.deposit)?;
                self.keys.stores.read(&next.deposit.place).await
            }
            None => Err(nothing_staged(id)),
        }
    }

    /// Removes a key: from the moment the list says so, nobody finds it. A running bridge that has read it keeps
    /// it until it is rejected.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key; [`Kind::KeyStore`], where it could not be deleted from its
    /// store: then it is kept.
    pub async fn remove(&mut self, id: &KeyId) -> Result<()> {
        let before = self.list.clone();
        if self.list.find(&id.profile, &id.name).is_none() {
            return Err(unknown(&self.list, id));
        }
        let record = self.list.record(&id.profile, &id.name);
        let gone: Vec<_> =
            record.deposit.take().into_iter().chain(record.next.take().map(|next| next.deposit)).collect();
        for deposit in gone {
            let store = deposit.place.store;
            record.retired.extend(record.bound.iter().map(|origin| mark_of(id, store, origin)));
            // An edited name may be that of another key's item.
            record.retired.extend(check_sealed(id, &deposit).is_ok().then_some(deposit.place));
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
        self.list.record(&id.profile, &id.name).retired.clear();
        self.list.tidy();
        self.choose_only_one(&id.profile);
        self.save()?;
        self.clean(&places).await;
        Ok(())
    }

    /// Makes the only key that a profile has left its current one.
    fn choose_only_one(&mut self, profile: &str) {
        let mut left = self.list.of_profile(profile);
        if let (Some(only), None) = (left.next(), left.next()) {
            let name = only.name.clone();
            drop(left);
            self.list.current.entry(profile.to_owned()).or_insert(name);
        }
    }

    /// Makes a key the one that counts in its profile.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key.
    pub fn choose(&mut self, id: &KeyId) -> Result<()> {
        let known = self.list.of_profile(&id.profile).any(|record| record.name == id.name);
        if !known {
            return Err(unknown(&self.list, id));
        }
        self.list.current.insert(id.profile.clone(), id.name.clone());
        self.save()
    }

    /// Allows a key for one more origin: the store holds a mark of it, which the list alone cannot replace.
    ///
    /// # Errors
    /// [`Kind::AuthRequired`] for an unknown key; [`Kind::KeyStore`] where the mark cannot be stored.
    pub async fn bind(&mut self, id: &KeyId, origin: &str) -> Result<()> {
        let record = self.list.find(&id.profile, &id.name);
        let Some(deposit) = record.and_then(|record| record.deposit.as_ref()) else {
            return Err(unknown(&self.list, id));
        };
        check_sealed(id, deposit)?;
        self.keys.stores.write(&mark_of(id, deposit.place.store, origin), &mark()).await?;
        let record = self.list.record(&id.profile, &id.name);
        if !record.may_go_to(origin) {
            record.bound.push(origin.to_owned());
        }
        self.save()
    }

    /// Ends what interrupted changes left undone in a store. A rotation waits for a person.
    async fn settle(&mut self, id: &KeyId, store: StoreKind) -> Result<()> {
        if self.list.find(&id.profile, &id.name).is_some_and(KeyRecord::is_rotating) {
            let why = format!("a rotation of the key {id} was interrupted; the old key is still in use");
            let remedy = Remedy::EndRotation { name: id.name.clone() };
            return Err(Error::new(Kind::Usage, why).remedy(remedy));
        }
        // The right to change keys is ours: nobody is in the middle of these.
        for record in &mut self.list.keys {
            let left = record.next.take_if(|next| !next.rotation);
            record.retired.extend(left.map(|next| next.deposit.place));
        }
        self.delete_retired(store).await
    }

    /// Deletes what no longer counts in the stores of these places; what cannot be deleted now is deleted
    /// with the next change.
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
