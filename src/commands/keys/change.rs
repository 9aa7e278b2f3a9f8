//! `asistry keys use`, `bind`, `remove`: what is done with a stored key without reading it.
//!
//! Refuses to remove a key or to widen where it may go without a yes.

use anyhow::Result;
use clap::Args;
use url::Url;

use super::Desk;
use crate::error::{Error, Kind, Remedy};
use crate::state::keys::KeyList;
use crate::ui;

/// Options of `asistry keys bind`.
#[derive(Debug, Args)]
pub struct BindArguments {
    /// New origin, such as https://host.example [default: the origin of the profile's URL]
    origin: Option<String>,
    /// Name of the key [default: the current key]
    #[arg(long)]
    name: Option<String>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// Options of `asistry keys remove`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Name of the key [default: the current key]
    #[arg(value_name = "NAME", conflicts_with = "name")]
    key: Option<String>,
    /// Same as NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// Puts another key of the profile into use.
///
/// # Errors
/// An unknown key.
pub async fn choose(desk: &Desk<'_>, name: String) -> Result<()> {
    let id = desk.named_key(Some(name), None, &desk.keys.list()?)?;
    desk.keys.change().await?.set_current(&id)?;
    ui::say(&format!(
        "{id} is now the key in use; a running bridge changes when its key is rejected, or restarts"
    ));
    Ok(())
}

/// Allows a key for one more origin.
///
/// # Errors
/// An unknown key, or an origin that is none.
pub async fn bind(desk: &Desk<'_>, arguments: BindArguments) -> Result<()> {
    let list = desk.keys.list()?;
    let (id, origin) = match &arguments.origin {
        Some(text) => (desk.key(arguments.name, &list)?, origin_of(text)?),
        None => (desk.key(arguments.name.or(only_key(desk, &list)?), &list)?, desk.profile()?.1),
    };
    let record = list.find(&id.profile, &id.name).and_then(|record| Some((record, record.deposit.as_ref()?)));
    if let Some((record, deposit)) = record {
        if record.may_go_to(&origin) {
            ui::say(&format!("{id} may go to {origin} already"));
            return Ok(());
        }
        let question = format!(
            "The key {id} is for {}. The operator of {origin} will be able to use it. Allow it?",
            deposit.origin
        );
        if !arguments.yes {
            let otherwise = format!("{} {origin} --yes", desk.target().keys("bind", &id.name));
            desk.asker.consent(&question, &otherwise)?;
        }
    }
    desk.keys.change().await?.bind(&id, &origin).await?;
    ui::say(&format!("{id} may go to {origin} now"));
    Ok(())
}

/// Returns the only key of a bare URL: none of its keys is for the new URL yet.
fn only_key(desk: &Desk<'_>, list: &KeyList) -> Result<Option<String>> {
    if desk.common.profile.is_some() || desk.common.url.is_none() {
        return Ok(None);
    }
    let profile = desk.profile_name()?;
    let names: Vec<&str> = list.of_profile(&profile).map(|record| record.name.as_str()).collect();
    match names.as_slice() {
        [first, _, ..] => {
            Err(Error::new(Kind::Usage, format!("{profile} has several keys: {}", names.join(", ")))
                .hint(format!("name one: {}", desk.target().keys("bind", first)))
                .into())
        }
        names => Ok(names.first().map(|name| (*name).to_owned())),
    }
}

fn origin_of(text: &str) -> Result<String> {
    let wrong =
        || Error::new(Kind::Usage, "that is not an origin").hint("write it like https://host.example:8443");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
    if fits { Ok(url.origin().ascii_serialization()) } else { Err(wrong().into()) }
}

/// Removes a key.
///
/// # Errors
/// An unknown key, or a key store that does not delete it.
pub async fn remove(desk: &Desk<'_>, arguments: RemoveArguments) -> Result<()> {
    let list = desk.keys.list()?;
    let id = desk.named_key(arguments.key, arguments.name, &list)?;
    let shown = list.find(&id.profile, &id.name).and_then(|record| record.deposit.as_ref());
    let shown = shown.map_or(String::new(), |deposit| format!(" ({})", deposit.shown));
    let known = list.find(&id.profile, &id.name).is_some();
    let question = format!("Remove the key {id}{shown}? It cannot be brought back.");
    if known && !arguments.yes {
        desk.asker.consent(&question, &format!("{} --yes", desk.target().keys("remove", &id.name)))?;
    }
    let mut change = desk.keys.change().await?;
    let was_current = change.list().current.get(&id.profile) == Some(&id.name);
    change.remove(&id).await?;
    ui::say(&format!("removed {id}{shown} here; at the service it works until it is revoked there"));
    if was_current && let Some(current) = change.list().current.get(&id.profile) {
        ui::say(&format!("the current key of {} is now {current}", id.profile));
    } else if was_current && let Some(other) = change.list().of_profile(&id.profile).next() {
        let way = desk.target().line(&Remedy::UseKey { name: other.name.clone() }, None);
        ui::say(&format!("{} has no current key; choose one: {way}", id.profile));
    }
    Ok(())
}
