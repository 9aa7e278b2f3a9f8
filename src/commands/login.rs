//! `asistry login`: logs in with OAuth, and stores the login.
//!
//! Refuses to begin where the login could not be stored.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::arguments::Common;
use super::ask::Asker;
use super::browser::{self, Reach};
use super::client;
use super::environment::Environment;
use super::output::Output;
use super::profile_in_use::ProfileInUse;
use crate::auth::oauth::{Keeping, Need, OAuth, Status, Way};
use crate::error::{Error, Kind};
use crate::profile::Options;
use crate::ui;

/// Options of `asistry login`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Open no browser: print the URL, and take the pasted callback URL or code
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    /// Log in on another device, with a code
    #[arg(long)]
    device: bool,
    #[command(flatten)]
    pub output: Output,
}

/// Logs in.
///
/// # Errors
/// [`Kind::AuthRequired`] if the login is not finished, [`Kind::AuthDenied`] if the login is refused, [`Kind::KeyStore`] if it
/// could not be stored.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let reach = if arguments.no_browser { Reach::Paste } else { Reach::Window };
    let way = if arguments.device { Way::Device } else { Way::Browser };
    let prepared = prepared(common, environment, reach).await?;
    let login = login_of(&prepared)?;
    if client::is_machine(&prepared.options) {
        let why = "login is for people: with --client-credentials or --identity-token each command logs in by itself";
        let hint = format!("asistry ping{}", prepared.target_options());
        return Err(Error::new(Kind::Usage, why).hint(hint).into());
    }
    if !browser::may_log_in(&prepared.options, environment.asker(common.no_input), reach) {
        let why = "login needs a terminal or a browser, and input is disabled (CI or --no-input)";
        return Err(Error::new(Kind::Usage, why)
            .hint("log in on a terminal, add --login auto, or use --client-credentials")
            .into());
    }
    login.renew(Need::of_user(way)).await?;
    let Some(status) = login.status().await? else {
        return Err(Error::new(Kind::Bug, "the login was not kept").into());
    };
    note_key(&prepared, environment)?;
    print(&prepared, &status, &arguments.output)?;
    Ok(0)
}

/// Prepares the profile for work on its login, whatever key the environment has.
///
/// # Errors
/// Errors of the command line or the configuration.
pub async fn prepared(common: &Common, environment: &Environment, reach: Reach) -> Result<ProfileInUse> {
    let environment = environment.without_key();
    let way = (reach, Keeping::Stored);
    Ok(ProfileInUse::prepare_login(common, Options::default(), &environment, way).await?)
}

/// Warns where a key is used instead of the login.
///
/// # Errors
/// The key list's.
pub fn note_key(prepared: &ProfileInUse, environment: &Environment) -> crate::error::Result<()> {
    let key = match environment.key() {
        Some(_) => Some("ASISTRY_API_KEY is used instead of this login: unset ASISTRY_API_KEY".to_owned()),
        None => {
            let keys = environment.keys(&environment.config()?, Asker::never())?;
            let origin = prepared.endpoint.origin().ascii_serialization();
            let is_listed = keys.is_listed(&prepared.profile, &origin)?;
            let options = prepared.target_options();
            is_listed
                .then(|| format!("a stored key is used instead of this login: asistry keys remove{options}"))
        }
    };
    key.iter().for_each(|line| ui::warn(line));
    Ok(())
}

/// Returns the logins of the profile.
///
/// # Errors
/// [`Kind::Usage`] for a service that takes keys only.
pub fn login_of(prepared: &ProfileInUse) -> crate::error::Result<&OAuth> {
    prepared.remote.login().ok_or_else(|| {
        let service = &prepared.profile.service.title;
        if prepared.profile.service.embedded.is_some() {
            return Error::new(Kind::Usage, format!("{service} needs no login"))
                .hint("name another profile with -p");
        }
        Error::new(Kind::Usage, format!("{service} takes a key, not a login"))
            .hint(format!("asistry keys add{}", prepared.target_options()))
    })
}

/// Prints who is logged in; never a token.
///
/// # Errors
/// [`Kind::Output`] where it cannot be written.
pub fn print(prepared: &ProfileInUse, status: &Status, output: &Output) -> crate::error::Result<()> {
    let when = status.expires_at.and_then(|at| jiff::Timestamp::from_second(i64::try_from(at).ok()?).ok());
    let expires = when.map_or(Value::Null, |when| when.to_string().into());
    let value = json!({
        "profile": prepared.profile.name,
        "url": &*prepared.settings().place,
        "issuer": status.issuer,
        "clientId": status.client_id,
        "scopes": status.scopes,
        "expiresAt": expires,
        "renewsItself": status.renews,
        "store": status.store,
    });
    let scopes = match status.scopes.as_slice() {
        [] => String::new(),
        scopes => format!(", scopes {}", scopes.join(" ")),
    };
    let until = match (status.renews, when) {
        (true, _) => "renews automatically".to_owned(),
        (false, Some(when)) => format!("until {when}"),
        (false, None) => "with no known end".to_owned(),
    };
    let text = format!("{}: logged in through {}{scopes}; {until}", prepared.profile.name, status.issuer);
    output.print(&value, Some(&text))
}
