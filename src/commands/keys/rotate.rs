//! `asistry keys rotate`: a new key for an old one, without a moment in which there is none.
//!
//! Stores the new key beside the old, tries it, and only then puts it in the old one's place. Refuses to put
//! an untried key into use, unless that is asked for.

use anyhow::Result;
use clap::Args;

use super::input::{Given, Source};
use super::verify::{Verdict, verify};
use super::{Desk, Store};
use crate::auth::form;
use crate::auth::keys::{Change, KeyId, NewKey, Staging};
use crate::error::{Error, Kind, Remedy};
use crate::ui;

/// Options of `asistry keys rotate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the key [default: the current key]
    #[arg(value_name = "NAME", conflicts_with = "name")]
    key: Option<String>,
    /// Same as NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Key store of the new key [default: that of the old one]
    #[arg(long, value_enum)]
    store: Option<Store>,
    /// Use the new key without a test call
    #[arg(long)]
    no_verify: bool,
    /// Finish an interrupted rotation
    #[arg(long, conflicts_with_all = ["undo", "source", "store", "force"])]
    resume: bool,
    /// Undo an interrupted rotation and keep the old key
    #[arg(long, conflicts_with_all = ["source", "store", "force", "no_verify"])]
    undo: bool,
}

/// Begins, finishes or undoes a rotation.
///
/// # Errors
/// Errors of the new key or the key store; the old key stays in use.
pub async fn run(desk: &Desk<'_>, arguments: Arguments) -> Result<()> {
    arguments.source.not_typed()?;
    let list = desk.keys.list()?;
    let id = desk.named_key(arguments.key.clone(), arguments.name.clone(), &list)?;
    if arguments.undo {
        let mut change = desk.keys.change().await?;
        change.discard(&id).await?;
        ui::say(&format!("{id}: the rotation is undone, the old key stays in use"));
        return Ok(());
    }
    if arguments.resume {
        return resume(desk, &id, arguments.no_verify).await;
    }
    begin(desk, &id, arguments).await
}

async fn begin(desk: &Desk<'_>, id: &KeyId, arguments: Arguments) -> Result<()> {
    let (profile, _) = desk.profile()?;
    let _quiet = arguments.source.quiet(desk);
    let old = desk.keys.secret(id).await?;
    let list = desk.keys.list()?;
    let deposit = list.find(&id.profile, &id.name).and_then(|record| record.deposit.clone());
    let Some(deposit) = deposit else { return Err(gone(id).into()) };
    if !arguments.no_verify {
        desk.check_origin(id, &list).await?;
    }
    let store = arguments.store.map_or(deposit.place.store, Into::into);
    let store = desk.keys.store_for_new(Some(store)).await?;
    let given = arguments.source.read(desk, &profile)?;
    // The same key in another store is a way to move it there.
    if given.secret == old && store == deposit.place.store {
        let why = "the new key is the old one; nothing was changed";
        return Err(Error::new(Kind::Usage, why).hint("make a new key at the service first").into());
    }
    let new = NewKey {
        secret: given.secret.clone(),
        origin: deposit.origin,
        store,
        shown: form::masked(&profile.service, &given.secret),
        forced: given.forced,
        came_with: None,
    };
    let mut change = desk.keys.change().await?;
    if change.list().find(&id.profile, &id.name).is_none_or(|record| record.deposit.is_none()) {
        return Err(gone(id).into());
    }
    change.stage(id, new, Staging::Rotation).await?;
    finish(desk, &mut change, id, &given, arguments.no_verify).await
}

async fn resume(desk: &Desk<'_>, id: &KeyId, no_verify: bool) -> Result<()> {
    let mut change = desk.keys.change().await?;
    let Some(secret) = change.staged(id).await? else {
        change.discard(id).await?;
        let why = format!("the new key of {id} was not stored yet when the rotation was interrupted");
        return Err(Error::new(Kind::AuthRequired, format!("{why}; the old one is in use"))
            .hint(format!("begin again: {}", desk.target().keys("rotate", &id.name)))
            .into());
    };
    if !no_verify {
        desk.check_origin(id, change.list()).await?;
    }
    let record = change.list().find(&id.profile, &id.name);
    let forced = record.and_then(|record| record.next.as_ref()).is_some_and(|next| next.deposit.forced);
    finish(desk, &mut change, id, &Given { secret, forced }, no_verify).await
}

async fn finish(
    desk: &Desk<'_>,
    change: &mut Change<'_>,
    id: &KeyId,
    new: &Given,
    no_verify: bool,
) -> Result<()> {
    let tried = if no_verify {
        "not tried".to_owned()
    } else {
        match verify(desk, new).await {
            Ok(Verdict::Works(tried)) => tried.to_string(),
            Ok(Verdict::Untried(error)) => return Err(undecided(desk, id, error).into()),
            Err(error) => {
                change.discard(id).await?;
                return Err(error.context(format!("{id}: the old key stays in use")));
            }
        }
    };
    change.commit(id).await?;
    ui::say(&format!("{id}: the new key is in use, the old one is deleted here; {tried}"));
    ui::say("do not forget to revoke the old key at the service");
    Ok(())
}

fn undecided(desk: &Desk<'_>, id: &KeyId, error: Error) -> Error {
    let way = desk.target().keys("rotate", &id.name);
    let why =
        format!("the new key of {id} is stored and could not be tried, the old one stays in use: {error}");
    error.with_message(why).hint(format!(
        "finish it later (without a test: --no-verify): {way} --resume\n  or give it up: {way} --undo"
    ))
}

fn gone(id: &KeyId) -> Error {
    Error::new(Kind::AuthRequired, format!("there is no stored key {id}")).remedy(Remedy::StoreKey)
}
