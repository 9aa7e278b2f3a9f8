//! `asistry whoami`: who is logged in; sends nothing.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::arguments::Common;
use super::browser::Reach;
use super::client;
use super::environment::Environment;
use super::login::{login_of, note_key, prepared, print};
use super::output::Output;
use super::profile_in_use::ProfileInUse;
use crate::error::{Error, Kind, Remedy};
use crate::protocol::http::origin_and_path;

/// Options of `asistry whoami`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub output: Output,
}

/// Shows profile, issuer, scopes and expiry.
///
/// # Errors
/// [`Kind::AuthRequired`] without a login.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let prepared = prepared(common, environment, Reach::Window).await?;
    if client::is_machine(&prepared.options) {
        return print_machine(&prepared, &arguments.output).map(|()| 0).map_err(Into::into);
    }
    let Some(status) = login_of(&prepared)?.status().await? else {
        let why = format!("not logged in at {}", origin_and_path(&prepared.endpoint));
        return Err(Error::new(Kind::AuthRequired, why).remedy(Remedy::Login).into());
    };
    note_key(&prepared, environment)?;
    print(&prepared, &status, &arguments.output)?;
    Ok(0)
}

/// Prints how a machine logs in; that is stored nowhere.
fn print_machine(prepared: &ProfileInUse, output: &Output) -> crate::error::Result<()> {
    let options = &prepared.options;
    let (name, client) = (&prepared.profile.name, options.client_id.as_deref());
    let (kind, by) = match &options.identity_token {
        Some(source) => ("identity_token", format!("the identity token of {source}")),
        None => ("client_credentials", "client credentials".to_owned()),
    };
    let value = json!({
        "profile": name,
        "url": &*prepared.settings().place,
        "clientId": client,
        "login": kind,
    });
    let who = client.map(|client| format!(" as the client {client}")).unwrap_or_default();
    output.print(&value, Some(&format!("{name}: each command logs in by itself{who}, with {by}")))
}
