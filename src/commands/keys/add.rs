//! `asistry keys add`: stores a key.
//!
//! Refuses to replace a key without being asked to: that is what `rotate` is for.

use anyhow::Result;
use clap::Args;

use super::input::{Given, Source};
use super::verify::{Verdict, verify};
use super::{Desk, Store, Target};
use crate::auth::form;
use crate::auth::keys::{KeyId, NewKey, Staging, default_name};
use crate::commands::remedy::shell_quoted;
use crate::error::{Error, Kind, Remedy};
use crate::profile::{Profile, StoreKind};
use crate::ui;

/// Options of `asistry keys add`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name for the key, if the profile has several [default: default]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Key store [default: the configured one, else the keyring]
    #[arg(long, value_enum)]
    store: Option<Store>,
    /// Replace the key of this name
    #[arg(long)]
    replace: bool,
    /// Store it without a test call
    #[arg(long)]
    no_verify: bool,
}

impl Arguments {
    /// Returns the options as a command for another name, or a rotation, repeats them.
    fn repeated(&self) -> String {
        let store = self.store.map(|store| format!(" --store {}", StoreKind::from(store).name()));
        let no_verify = if self.no_verify { " --no-verify" } else { "" };
        self.source.repeated() + &store.unwrap_or_default() + no_verify
    }

    /// Returns the options as a command for another store repeats them.
    fn repeated_elsewhere(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" --name {}", shell_quoted(name)));
        let replace = if self.replace { " --replace" } else { "" };
        let no_verify = if self.no_verify { " --no-verify" } else { "" };
        name.unwrap_or_default() + &self.source.repeated() + replace + no_verify
    }
}

/// Reads, tries and stores a key.
///
/// # Errors
/// Errors of the key, the profile or the key store.
pub async fn run(desk: &Desk<'_>, arguments: Arguments) -> Result<()> {
    arguments.source.not_typed()?;
    let (profile, origin) = desk.profile()?;
    let (options, elsewhere) = (arguments.repeated(), arguments.repeated_elsewhere());
    let name = arguments.name.unwrap_or_else(|| default_name(&profile, &origin));
    desk.check_name(&name)?;
    let id = KeyId { profile: profile.name.clone(), name };
    let there = desk.keys.list()?.find(&id.profile, &id.name).is_some_and(|key| key.deposit.is_some());
    if there && !arguments.replace {
        return Err(exists(&id, &desk.target(), &options).into());
    }
    // Input typed ahead of the prompt is hidden too.
    let _quiet = arguments.source.quiet(desk);
    // Errors of the store are reported before the person looks for the key.
    let store = desk.keys.store_for_new(arguments.store.map(Into::into)).await;
    let store = store.map_err(|error| not_opened(error, elsewhere))?;
    let given = arguments.source.read(desk, &profile)?;
    let tried = if arguments.no_verify {
        "not tried".to_owned()
    } else {
        match verify(desk, &given).await.map_err(|error| refused(error, &profile))? {
            Verdict::Works(tried) => tried.to_string(),
            Verdict::Untried(why) => format!("NOT TRIED: {why}"),
        }
    };
    let Given { secret, forced } = given;
    let shown = form::masked(&profile.service, &secret);
    let new = NewKey { secret, origin: origin.clone(), store, shown: shown.clone(), forced, came_with: None };
    let mut change = desk.keys.change().await?;
    let appeared = change.list().find(&id.profile, &id.name).is_some_and(|key| key.deposit.is_some());
    if appeared && !there && !arguments.replace {
        return Err(Error::new(Kind::Usage, format!("another process has just stored a key {id}"))
            .hint(format!("replace it: {}{options}", desk.target().keys("rotate", &id.name)))
            .into());
    }
    change.stage(&id, new, Staging::Addition).await?;
    change.commit(&id).await?;
    ui::say(&format!("stored {id} ({shown}) in {}, for {origin} only; {tried}", store.about()));
    if let Some(chosen) = desk.keys.configured_instead_of(store) {
        let (chosen, store) = (chosen.name(), store.name());
        ui::say(&format!(
            "the key store is set to {chosen}: this key is used where ASISTRY_KEY_STORE={store}"
        ));
    }
    let list = change.list();
    if let Some(current) = list.current.get(&id.profile).filter(|current| **current != id.name) {
        let way = desk.target().line(&Remedy::UseKey { name: id.name.clone() }, None);
        ui::say(&format!("{}/{current} is still the key in use; to change that: {way}", id.profile));
    }
    Ok(())
}

/// Repeats the options of this command for the other store.
fn not_opened(error: Error, options: String) -> Error {
    match error.next_step() {
        Some(&Remedy::FixKeyring { fix, .. }) => error.remedy(Remedy::FixKeyring { options, fix }),
        _ => error,
    }
}

/// What helps against a new key that the service rejects is another one than for a stored key.
fn refused(failure: anyhow::Error, profile: &Profile) -> anyhow::Error {
    match failure.downcast::<Error>() {
        Ok(error) if matches!(error.kind(), Kind::AuthDenied) => {
            let why = format!("{}; nothing was stored", error.message());
            let page = &profile.service.auth.key_page;
            let whence = if page.is_empty() { String::new() } else { format!(" from {page}") };
            error
                .with_message(why)
                .hint(format!("paste a valid key{whence}, or store it without testing: --no-verify"))
                .into()
        }
        Ok(error) => error.into(),
        Err(failure) => failure,
    }
}

fn exists(id: &KeyId, target: &Target, options: &str) -> Error {
    let (rotate, add) = (target.keys("rotate", &id.name), target.keys("add", &id.name));
    let other = target.keys("add", "OTHER");
    Error::new(Kind::Usage, format!("there is a key {id} already; nothing was changed"))
        .hint(format!(
            "replace it: {rotate}{options}\n  or at once: {add}{options} --replace\n  or keep both: {other}{options}"
        ))
}
