//! `asistry keys list` and `keys show`: what is known of the stored keys.
//!
//! Opens no key store, except to reveal a key to a person who asks for it.

use std::io::IsTerminal;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::Desk;
use crate::auth::keys::KeyId;
use crate::auth::revealed;
use crate::commands::profile_in_use;
use crate::error::{Error, Kind};
use crate::state::keys::{Deposit, KeyRecord};
use crate::state::now;
use crate::ui;

const DAY: u64 = 24 * 60 * 60;

/// Options of `asistry keys show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Name of the key [default: the current key]
    #[arg(value_name = "NAME", conflicts_with = "name")]
    key: Option<String>,
    /// Same as NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print the key in clear
    #[arg(long)]
    reveal: bool,
    /// Reveal it without a terminal
    #[arg(long, short, requires = "reveal")]
    yes: bool,
}

/// Lists the keys of all profiles, or of the one named.
///
/// # Errors
/// A list that cannot be read.
pub fn list(desk: &Desk<'_>, given: bool) -> Result<()> {
    let list = desk.keys.list()?;
    let named = desk.common.profile.as_deref();
    let wanted = |record: &&KeyRecord| named.is_none_or(|name| record.profile == name);
    let shown = list.keys.iter().filter(wanted).filter_map(|record| Some((record, record.deposit.as_ref()?)));
    let described: Vec<_> = shown
        .map(|(record, deposit)| Described { record, deposit, current: list.is_current(record), desk })
        .collect();
    if described.is_empty() && !given && !desk.output.is_json() {
        let whose = named.map_or(String::new(), |name| format!(" of {name}"));
        let next = match profile_in_use::find(desk.common, &desk.environment) {
            Ok(profile) if profile.service.embedded.is_some() => {
                format!("{} makes its own key", profile.service.title)
            }
            _ => format!("to store one: asistry keys add{}", desk.target().options()),
        };
        ui::say(&format!("no keys{whose} are stored; {next}"));
        return Ok(());
    }
    let all: Vec<Value> = described.iter().map(Described::json).collect();
    let rows: Vec<Vec<String>> = described.iter().map(Described::row).collect();
    let heads = ["", "PROFILE", "NAME", "KEY", "ORIGIN", "STORED IN", "ADDED", "LAST USED"];
    Ok(desk.output.print_rows(&all.into(), &heads, &rows)?)
}

/// Shows one key, masked or itself.
///
/// # Errors
/// An unknown key; a key that would be revealed where there is no terminal.
pub async fn show(desk: &Desk<'_>, arguments: ShowArguments) -> Result<()> {
    let list = desk.keys.list()?;
    let id = desk.named_key(arguments.key, arguments.name, &list)?;
    if arguments.reveal && !arguments.yes && !std::io::stdout().is_terminal() {
        let why = "a key is revealed on a terminal, or with --yes";
        let way = desk.target().keys("show", &id.name) + &desk.output.repeated();
        return Err(Error::new(Kind::Usage, why).hint(format!("{way} --reveal --yes")).into());
    }
    let found = list.find(&id.profile, &id.name).and_then(|record| Some((record, record.deposit.as_ref()?)));
    let Some((record, deposit)) = found else {
        // Says which keys there are.
        desk.keys.secret(&id).await?;
        return Err(Error::new(Kind::Bug, "a key that is not listed was found").into());
    };
    let described = Described { record, deposit, current: list.is_current(record), desk };
    let key = if arguments.reveal { Some(desk.keys.secret(&id).await?) } else { None };
    if let Some(key) = key.as_ref().filter(|_| desk.environment.is_github_action()) {
        ui::mask(revealed(key));
    }
    let mut value = described.json();
    let Some(key) = key else {
        return Ok(desk.output.print_rows(&value, &["", ""], &described.fields())?);
    };
    value["key"] = revealed(&key).into();
    Ok(desk.output.print(&value, Some(revealed(&key)))?)
}

struct Described<'a> {
    record: &'a KeyRecord,
    deposit: &'a Deposit,
    current: bool,
    desk: &'a Desk<'a>,
}

impl Described<'_> {
    fn last_used(&self) -> Option<u64> {
        let id = KeyId { profile: self.record.profile.clone(), name: self.record.name.clone() };
        self.desk.keys.last_used(&id)
    }

    fn origins(&self) -> Vec<&str> {
        [&self.deposit.origin].into_iter().chain(&self.record.bound).map(String::as_str).collect()
    }

    fn way(&self, verb: &str) -> String {
        self.desk.target().keys(verb, &self.record.name)
    }

    fn row(&self) -> Vec<String> {
        let rotating = if self.record.is_rotating() { " (rotation interrupted)" } else { "" };
        vec![
            if self.current { "*" } else { "" }.to_owned(),
            self.record.profile.clone(),
            self.record.name.clone(),
            format!("{}{rotating}", self.deposit.shown),
            self.origins().join(" "),
            self.deposit.place.store.name().to_owned(),
            ago(self.deposit.added),
            self.last_used().map_or("never".into(), ago),
        ]
    }

    fn fields(&self) -> Vec<Vec<String>> {
        let field = |name: &str, value: String| vec![name.to_owned(), value];
        let mut fields = vec![
            field("profile", self.record.profile.clone()),
            field("name", self.record.name.clone()),
            field("in use", if self.current { "yes" } else { "no" }.into()),
            field("key", format!("{} ({} --reveal prints it)", self.deposit.shown, self.way("show"))),
            field("origin", self.origins().join(" ")),
            field("stored in", self.deposit.place.store.about().into()),
            field("item", self.deposit.place.item.clone()),
            field("added", ago(self.deposit.added)),
            field("last used", self.last_used().map_or("never".into(), ago)),
        ];
        if self.record.is_rotating() {
            let way = self.way("rotate");
            fields.push(field("rotation", format!("interrupted; finish it: {way} --resume")));
            fields.push(field("", format!("or undo it: {way} --undo")));
        }
        fields
    }

    fn json(&self) -> Value {
        json!({
            "profile": self.record.profile,
            "name": self.record.name,
            "current": self.current,
            "masked": self.deposit.shown,
            "origin": self.deposit.origin,
            "boundTo": self.record.bound,
            "store": self.deposit.place.store.name(),
            "item": self.deposit.place.item,
            "added": timestamp(self.deposit.added),
            "ageDays": now().saturating_sub(self.deposit.added) / DAY,
            "lastUsed": self.last_used().map(timestamp),
            "rotationInterrupted": self.record.is_rotating(),
            "forced": self.deposit.forced,
        })
    }
}

fn ago(then: u64) -> String {
    let seconds = now().saturating_sub(then);
    let counted = |n: u64, unit: &str| format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" });
    match seconds {
        0..60 => "just now".into(),
        60..3600 => counted(seconds / 60, "minute"),
        3600..DAY => counted(seconds / 3600, "hour"),
        _ => counted(seconds / DAY, "day"),
    }
}

/// Formats seconds since 1970 as RFC 3339, in UTC.
fn timestamp(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_programs_and_people_read_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_253_399, "2026-11-21T09:29:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
        assert_eq!(ago(now()), "just now");
        assert_eq!(ago(now() - 3600), "1 hour ago");
        assert_eq!(ago(now() - 3 * DAY), "3 days ago");
    }
}
