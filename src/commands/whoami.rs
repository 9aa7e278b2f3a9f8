//! `asistry whoami`: who is logged in; sends nothing.

use anyhow::Result;
use clap::Args;

use super::arguments::Common;
use super::browser::Reach;
use super::environment::Environment;
use super::login::{login_of, note_key, prepared, print};
use super::output::Output;
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
    let Some(status) = login_of(&prepared)?.status().await? else {
        let why = format!("not logged in at {}", origin_and_path(&prepared.endpoint));
        return Err(Error::new(Kind::AuthRequired, why).remedy(Remedy::Login).into());
    };
    note_key(&prepared, environment)?;
    print(&prepared, &status, &arguments.output)?;
    Ok(0)
}
