//! The changes that `profiles add` and `profiles set` make: fields of a profile, set or removed.
//!
//! Refuses all of it where one part is wrong: the changed text is read again as its use would read it.

use super::config::{Config, Place};
use super::document::Document;
use super::options::Row;
use super::{OWN_FIELDS, Profile, nearest};
use crate::error::{Error, Kind, Result};
use crate::service::{Service, check_name, unknown};

/// One field, set to a text or taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    field: String,
    value: Option<String>,
}

impl Change {
    /// Reads `name=value`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what has no `=` in it.
    pub fn read(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((field, value)) if !field.trim().is_empty() => Ok(Self::set(field.trim(), value.trim())),
            _ => {
                let why = format!("{} is not a setting", serde_json::Value::from(text));
                Err(Error::new(Kind::Usage, why).hint("write name=value"))
            }
        }
    }

    /// Sets a field.
    pub fn set(field: &str, value: &str) -> Self {
        Self { field: field.to_owned(), value: Some(value.to_owned()) }
    }

    /// Takes a field out.
    pub fn unset(field: &str) -> Self {
        Self { field: field.to_owned(), value: None }
    }

    /// Returns the field.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns the text that the field is set to; empty where it is taken out.
    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

/// Changes a profile in the text, and returns it as it is then; a service that has no profile in the
/// configuration yet gets one.
///
/// # Errors
/// [`Kind::Usage`] for a change that is wrong, [`Kind::Config`] for what was wrong before.
pub fn apply(document: &mut Document, name: &str, changes: &[Change], place: &Place) -> Result<Profile> {
    check_name(name)?;
    let config = Config::parse(&document.text(), place.clone())?;
    let before = Profile::find(name, &config);
    let service = service_of(name, changes, &config, &before)?;
    if changes.iter().any(|change| change.field == "service") {
        config.catalog.check_profile(name, &service.name)?;
    }
    if !config.has(name) {
        document.set(&["profiles", name, "service"], service.name.as_str().into())?;
    }
    for change in merged(changes)? {
        change_field(document, name, &change, &service)?;
    }
    let after = Config::parse(&document.text(), place.clone())?;
    let profile = Profile::find(name, &after).and_then(|profile| profile.check().map(|()| profile));
    profile.map_err(|error| match before {
        Err(known) if known.message() == error.message() => error,
        _ => error.with_kind(Kind::Usage),
    })
}

fn service_of(name: &str, changes: &[Change], config: &Config, before: &Result<Profile>) -> Result<Service> {
    let told = changes.iter().rev().find(|change| change.field == "service" && !change.text().is_empty());
    let entry = config.profiles.get(name).and_then(|entry| entry.get("service")?.as_str());
    match (told, entry, before) {
        (Some(change), ..) => {
            let known = config.catalog.names();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let found = config.catalog.find(change.text())?;
            found.ok_or_else(|| unknown("service", change.text(), &known).with_kind(Kind::Usage))
        }
        (None, _, Ok(profile)) => Ok(profile.service.clone()),
        (None, Some(service), Err(error)) => config.catalog.find(service)?.ok_or_else(|| error.clone()),
        (None, None, Err(error)) => Err(error.clone()),
    }
}

/// Joins what is said about one list; what is said twice about anything else is refused.
fn merged(changes: &[Change]) -> Result<Vec<Change>> {
    let mut merged: Vec<Change> = Vec::new();
    for change in changes {
        let is_list = Row::named(&change.field).is_some_and(Row::is_list);
        match merged.iter_mut().find(|known| known.field == change.field) {
            None => merged.push(change.clone()),
            Some(known) if is_list && known.value.is_some() && change.value.is_some() => {
                known.value = Some(format!("{},{}", known.text(), change.text()));
            }
            Some(_) => {
                let why = format!("{} is set twice", change.field);
                return Err(Error::new(Kind::Usage, why).hint("set it once"));
            }
        }
    }
    Ok(merged)
}

fn change_field(document: &mut Document, profile: &str, change: &Change, service: &Service) -> Result<()> {
    let (field, text) = (change.field.as_str(), change.text());
    let path = ["profiles", profile, field];
    if let Some(header) = field.strip_prefix("headers.") {
        let header = written(document, profile, header);
        let path = ["profiles", profile, "headers", &header];
        return if text.is_empty() { document.unset(&path) } else { document.set(&path, text.into()) };
    }
    match Row::named(field) {
        Some(row) if row.is_list() && change.value.is_some() => document.set(&path, row.to_toml(text)),
        Some(_) if text.is_empty() => document.unset(&path),
        Some(row) => document.set(&path, row.to_toml(text)),
        None if service.variables.contains_key(field) && text.is_empty() => document.unset(&path),
        None if service.variables.contains_key(field) => document.set(&path, text.into()),
        None if field == "service" && !text.is_empty() => document.set(&path, text.into()),
        None if field == "service" => {
            Err(Error::new(Kind::Usage, "a profile is always one of a service").hint("service=NAME"))
        }
        // Any field in the file can be removed.
        None if text.is_empty() && document.names(&path[..2]).iter().any(|known| known == field) => {
            document.unset(&path)
        }
        None => Err(unknown_field(field, service)),
    }
}

/// Returns the name of a header as it is written there already: case does not matter in it.
fn written(document: &Document, profile: &str, header: &str) -> String {
    let known = document.names(&["profiles", profile, "headers"]);
    let same = known.into_iter().find(|known| known.eq_ignore_ascii_case(header));
    same.unwrap_or_else(|| header.to_owned())
}

fn unknown_field(field: &str, service: &Service) -> Error {
    let error = Error::new(Kind::Usage, format!("a profile of {} has no {field}", service.name));
    let variables = service.variables.keys().map(String::as_str);
    let known: Vec<&str> =
        variables.chain(Row::stored().map(|(key, _)| key)).chain(OWN_FIELDS.iter().copied()).collect();
    let header = field.strip_prefix("header.").unwrap_or(field);
    match nearest(field, known.iter().copied()) {
        _ if header != field || field.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-")) => {
            error.hint(format!("did you mean headers.{header}?"))
        }
        Some("headers") => error.hint("write headers.NAME=value"),
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("known are {}", known.join(", "))),
    }
}
