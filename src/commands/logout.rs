//! `asistry logout`: deletes the login.

use anyhow::Result;
use clap::Args;

use super::arguments::Common;
use super::browser::Reach;
use super::environment::Environment;
use super::login::{login_of, prepared};
use crate::auth::oauth::Leaving;
use crate::protocol::http::origin_and_path;
use crate::ui;

/// Options of `asistry logout`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Revoke the tokens at the authorization server first
    #[arg(long)]
    revoke: bool,
    /// Forget the registered client too
    #[arg(long)]
    forget_client: bool,
}

/// Logs out.
///
/// # Errors
/// The key store's, and with `--revoke` those of the authorization server; the login is deleted all the same.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    let prepared = prepared(common, environment, Reach::Window).await?;
    let leaving = Leaving { revokes: arguments.revoke, forgets_client: arguments.forget_client };
    let name = &prepared.profile.name;
    match login_of(&prepared)?.leave(leaving).await? {
        true => ui::say(&format!("{name}: logged out")),
        false => ui::say(&format!("{name}: there was no login at {}", origin_and_path(&prepared.endpoint))),
    }
    Ok(0)
}
