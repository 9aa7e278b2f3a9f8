//! `asistry profiles add`, `set`, `remove` and `use`.
//!
//! Refuses half of a change: what is wrong with one part is said, and nothing is written.

use clap::Args;

use crate::auth::keys::Keys;
use crate::commands::arguments::Common;
use crate::commands::ask::Asker;
use crate::commands::environment::{Environment, way_to_profiles};
use crate::commands::profile_in_use::{HIDDEN, check_certificates};
use crate::commands::remedy::shell_quoted;
use crate::error::{Error, Kind, Remedy, Result};
use crate::net::TlsOptions;
use crate::profile::{self, Change, Config, Document, Options, Profile, Row};
use crate::service::{Service, Variable, check_name, unknown};
use crate::ui;

/// The options whose files are looked at when they are set.
const FILES: &[&str] = &["ca_file", "client_cert"];

/// Options of `asistry profiles add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Name of the profile
    name: String,
    /// Service of the profile
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Variable of the service, option or headers.NAME (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Make it the default profile
    #[arg(long = "use")]
    use_: bool,
}

/// Options of `asistry profiles set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Name of the profile
    name: String,
    /// Variable of the service, option or headers.NAME; an empty value removes it, or empties a list
    #[arg(value_name = "NAME=VALUE", required_unless_present = "unset")]
    settings: Vec<String>,
    /// Remove a field (repeatable)
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
}

/// Options of `asistry profiles remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Name of the profile
    name: String,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

/// Adds a profile, and asks for what is missing where somebody can be asked.
pub fn add(common: &Common, arguments: Add, environment: &Environment) -> Result<()> {
    let Add { name, service, set, use_ } = arguments;
    check_name(&name).map_err(|error| error.with_kind(Kind::Usage))?;
    let config = Config::read(environment.config_place()?)?;
    let asker = environment.asker(common.no_input);
    // A URL alone means any MCP service.
    let by_url = common.url.is_some() && service.is_none();
    let typed = Typed { settings: repeatable(&set), is_default: use_ };
    if by_url && config.catalog.find(&name)?.is_some() {
        let why = format!("{name} is the profile of a service, and a URL would hide that service");
        return Err(Error::new(Kind::Usage, why).hint(format!(
            "choose another name, or leave --url out: asistry profiles add {name}{}",
            typed.after("")
        )));
    }
    let service = if by_url { Some("mcp".to_owned()) } else { service };
    let service = chosen_service(service, (&name, &typed), &config, asker)?;
    let mut changes = vec![Change::set("service", &service.name)];
    for setting in &set {
        changes.push(Change::read(setting)?);
    }
    if let Some(url) = &common.url {
        changes.push(url_of((&name, &typed), &service, url)?);
    }
    ask_for_missing((&name, &typed), &service, &mut changes, asker)?;
    let profile = edit(environment, |document, config| {
        if config.has(&name) {
            let why = format!("there is a profile {name} already");
            let profile = name.clone();
            let settings = typed.settings.clone();
            return Err(Error::new(Kind::Config, why).remedy(match settings.is_empty() {
                true => Remedy::ShowProfile { profile },
                false => Remedy::SetFields { profile, settings },
            }));
        }
        let profile = profile::apply(document, &name, &changes, &config.place)?;
        check_files(&profile, &changes)?;
        if use_ {
            document.set(&["profile"], name.as_str().into())?;
        }
        Ok(profile)
    })?;
    let place = profile.endpoint().map_or(profile.service.title.clone(), String::from);
    ui::say(&format!("added profile {name} ({place})"));
    let service = &profile.service;
    let wants_key = service.embedded.is_none() && !service.auth.optional && environment.key().is_none();
    if environment.hides_profiles() {
        note_hidden(environment);
    } else if wants_key && has_no_key(&name, environment)? {
        ui::say(&format!("to store its key: asistry keys add -p {name}"));
    } else {
        ui::say(&format!("to list what it offers: asistry tools -p {name}"));
    }
    Ok(())
}

/// Says that the other commands do not read what was written, where that is so.
fn note_hidden(environment: &Environment) {
    if environment.hides_profiles() {
        ui::say(&format!("note: {HIDDEN}; {}", way_to_profiles()));
    }
}

/// Sets the variable of a service that holds its whole URL.
fn url_of(of: (&str, &Typed), service: &Service, url: &str) -> Result<Change> {
    if service.variables.contains_key("url") {
        return Ok(Change::set("url", url));
    }
    let error = Error::new(Kind::Usage, format!("a profile of {} does not take a whole URL", service.name));
    let all: Vec<_> = service.variables.iter().map(|(name, variable)| (name.as_str(), variable)).collect();
    Err(error.hint(match all.is_empty() {
        true => {
            let ((name, typed), url) = (of, shell_quoted(url));
            format!("leave --service out: asistry profiles add {name} --url {url}{}", typed.after(""))
        }
        false => example(of, service, &all),
    }))
}

/// What was typed beside the name and the service of a new profile, as far as commands in remedies repeat it.
struct Typed {
    settings: Vec<String>,
    /// `--use`.
    is_default: bool,
}

impl Typed {
    /// Returns it as options, with further ones in between.
    fn after(&self, more: &str) -> String {
        let settings: String =
            self.settings.iter().map(|setting| format!(" --set {}", shell_quoted(setting))).collect();
        format!("{settings}{more}{}", if self.is_default { " --use" } else { "" })
    }

    fn has(&self, name: &str) -> bool {
        self.settings.iter().any(|setting| setting.split_once('=').is_some_and(|(of, _)| of == name))
    }
}

/// Returns the settings without headers, whose values may be secrets.
fn repeatable(settings: &[String]) -> Vec<String> {
    settings.iter().filter(|one| !one.starts_with("headers.")).cloned().collect()
}

/// Returns the command that adds a profile with these values, for example.
fn example((name, typed): (&str, &Typed), service: &Service, values: &[(&str, &Variable)]) -> String {
    let service = if service.name == name { String::new() } else { format!(" --service {}", service.name) };
    let value = |(name, variable): &(&str, &Variable)| format!(" --set {name}={}", variable.kind.example());
    let values: String = values.iter().filter(|(name, _)| !typed.has(name)).map(value).collect();
    format!("for example: asistry profiles add {name}{service}{}", typed.after(&values))
}

fn has_no_key(profile: &str, environment: &Environment) -> Result<bool> {
    let config = environment.config()?;
    let keys = environment.keys(&config, Asker::never())?.list()?;
    Ok(keys.of_profile(profile).next().is_none())
}

/// Changes a profile.
pub fn set(arguments: Set, environment: &Environment) -> Result<()> {
    let Set { name, settings, unset } = arguments;
    let mut changes = settings.iter().map(|setting| Change::read(setting)).collect::<Result<Vec<_>>>()?;
    changes.extend(unset.iter().map(|field| Change::unset(field)));
    let profile = edit(environment, |document, config| {
        let profile = profile::apply(document, &name, &changes, &config.place)
            .map_err(|error| unchanged(error, &name, &changes))?;
        check_files(&profile, &changes)?;
        check_needed(&profile, &settings)?;
        Ok(profile)
    })?;
    ui::say(&format!("changed profile {name}"));
    let missing = profile.service.missing(&profile.values);
    if !missing.is_empty() && profile.service.embedded.is_none() {
        let missing: Vec<&str> = missing.into_iter().map(|(name, _)| name).collect();
        ui::say(&format!("{name} still needs {}", missing.join(" and ")));
    }
    note_hidden(environment);
    Ok(())
}

/// Says that a refused setting has changed nothing. The remedy for a stored value would remove a good one.
fn unchanged(error: Error, profile: &str, changes: &[Change]) -> Error {
    let Some(Remedy::UnsetField { field, .. }) = error.next_step() else { return error };
    let change = changes.iter().find(|change| change.field() == field);
    let choice = Row::named(field).zip(change).and_then(|(row, change)| row.nearest_choice(change.text()));
    let message = error.message().replacen(&format!(" of the profile {profile}:"), ":", 1);
    let error = error.with_message(format!("{message}; nothing was changed"));
    if let Some(near) = choice {
        return error.hint(format!("did you mean {near}?"));
    }
    error.remedy(Remedy::ShowProfile { profile: profile.to_owned() })
}

/// Refuses an empty value for what the profile needs; `--unset` is meant.
fn check_needed(profile: &Profile, settings: &[String]) -> Result<()> {
    let is_emptied = |name: &&str| settings.iter().any(|setting| setting.strip_suffix('=') == Some(*name));
    let missing = profile.service.missing(&profile.values);
    let Some(name) = missing.into_iter().map(|(name, _)| name).find(is_emptied) else { return Ok(()) };
    let why = format!("{name} cannot be empty: the profile {} needs it", profile.name);
    Err(Error::new(Kind::Usage, why)
        .hint(format!("remove the profile: asistry profiles remove {}", profile.name)))
}

/// Removes a profile; where it is the default, that as well.
pub fn remove(common: &Common, arguments: &Remove, environment: &Environment) -> Result<()> {
    let name = arguments.name.as_str();
    let config = Config::read(environment.config_place()?)?;
    if !config.has(name) {
        Profile::find(name, &config)?;
        let why = format!("the profile {name} comes with its service and is not in the configuration");
        return Err(Error::new(Kind::Config, why).hint("list the profiles: asistry profiles list"));
    }
    let asker = environment.asker(common.no_input);
    check_unused(name, &environment.without_key().keys(&config, asker)?)?;
    check_logged_out(name, environment)?;
    if !arguments.yes {
        let otherwise = format!("asistry profiles remove {} --yes", shell_quoted(name));
        asker.consent(&format!("Remove the profile {name}?"), &otherwise)?;
    }
    let was_default = edit(environment, |document, config| {
        document.unset(&["profiles", name])?;
        let was_default = config.profile.as_deref() == Some(name);
        if was_default {
            document.unset(&["profile"])?;
        }
        Ok(was_default)
    })?;
    ui::say(&format!("{name} is removed"));
    if was_default {
        ui::say(&format!("it was the default; that is {} again", profile::DEFAULT));
    }
    Ok(())
}

/// Refuses to remove a profile whose keys are still stored: they could not be found again.
fn check_unused(name: &str, keys: &Keys) -> Result<()> {
    let list = keys.list()?;
    let names: Vec<&str> = list.of_profile(name).map(|record| record.name.as_str()).collect();
    let Some(first) = names.first() else { return Ok(()) };
    let why = format!("keys of the profile {name} are still stored: {}", names.join(", "));
    let (profile, name) = (name.to_owned(), (*first).to_owned());
    Err(Error::new(Kind::Config, why).remedy(Remedy::RemoveKey { profile, name }))
}

/// Refuses to remove a profile whose login is still stored, for the same reason.
fn check_logged_out(name: &str, environment: &Environment) -> Result<()> {
    let logins = environment.without_key().state().map(|state| state.logins().logins).unwrap_or_default();
    if !logins.iter().any(|login| login.profile == name) {
        return Ok(());
    }
    let why = format!("a login of the profile {name} is still stored");
    Err(Error::new(Kind::Config, why)
        .hint(format!("asistry logout -p {} --forget-client", shell_quoted(name))))
}

/// Makes a profile the default.
pub fn use_(name: &str, environment: &Environment) -> Result<()> {
    edit(environment, |document, config| {
        let profile = Profile::find(name, config)?;
        if profile.service.embedded.is_none() {
            profile.endpoint()?;
        }
        document.set(&["profile"], name.into())
    })?;
    ui::say(&format!("{name} is the default profile"));
    note_hidden(environment);
    Ok(())
}

fn edit<T>(environment: &Environment, change: impl FnOnce(&mut Document, &Config) -> Result<T>) -> Result<T> {
    let place = environment.config_place()?;
    profile::edit(&place, &environment.config_lock()?, |document| {
        let config = Config::parse(&document.text(), place.clone())?;
        change(document, &config)
    })
}

/// Finds the service of a new profile.
fn chosen_service(
    told: Option<String>,
    (name, typed): (&str, &Typed),
    config: &Config,
    asker: Asker,
) -> Result<Service> {
    let catalog = &config.catalog;
    let own = catalog.find(name)?;
    let known = catalog.names().join(", ");
    let told = match (told, own) {
        (Some(told), _) => told,
        (None, Some(own)) => own.name,
        (None, None) => {
            let url = "https://host.example/mcp";
            let otherwise =
                format!("for example: asistry profiles add {name} --url {url}{}", typed.after(""));
            asker.line(&format!("Which service ({known})?"), &otherwise)?
        }
    };
    catalog.check_profile(name, &told)?;
    catalog.find(&told)?.ok_or_else(|| {
        let known = catalog.names();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        unknown("service", &told, &known).with_kind(Kind::Usage)
    })
}

/// Asks for each variable that has neither a value nor a default, until its answer fits.
fn ask_for_missing(
    of: (&str, &Typed),
    service: &Service,
    changes: &mut Vec<Change>,
    asker: Asker,
) -> Result<()> {
    let given = |name: &str| changes.iter().any(|change| change.field() == name);
    let mut missing = service.missing(&Default::default());
    missing.retain(|(name, _)| !given(name) && service.embedded.is_none());
    if !missing.is_empty() && !asker.is_allowed() {
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        let why = format!("the profile {} needs {}", of.0, names.join(" and "));
        return Err(Error::new(Kind::Usage, why).hint(example(of, service, &missing)));
    }
    let otherwise = example(of, service, &missing);
    for (name, variable) in missing {
        let question = format!("{name} ({})?", variable.about);
        let answer = loop {
            let answer = asker.line(&question, &otherwise)?;
            match variable.filled(name, &answer) {
                Ok(_) => break answer,
                Err(error) => ui::error(&error),
            }
        };
        changes.push(Change::set(name, &answer));
    }
    Ok(())
}

/// Reads the files that were set, as a connection would.
fn check_files(profile: &Profile, changes: &[Change]) -> Result<()> {
    if !changes.iter().any(|change| FILES.contains(&change.field())) {
        return Ok(());
    }
    let Options { ca_file, client_cert, .. } = profile.options.clone();
    check_certificates(TlsOptions { ca_file, client_cert, insecure: false })
}
