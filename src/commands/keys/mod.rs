//! `asistry keys`: the keys of the profiles.
//!
//! Refuses a key on the command line, where every process can read it. Works on the key store whatever
//! `ASISTRY_API_KEY` says.

mod add;
mod change;
mod input;
mod list;
mod rotate;
mod verify;

use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use super::arguments::Common;
use super::ask::Asker;
use super::environment::Environment;
use super::output::Output;
use super::profile_in_use;
use super::remedy::Target;
use crate::auth::form;
use crate::auth::keys::{DEFAULT, KeyId, Keys, LONGEST_NAME, current_name};
use crate::error::{Error, Kind, Remedy};
use crate::profile::{self, Profile, StoreKind};
use crate::secret::Secret;
use crate::service::Catalog;
use crate::state::keys::KeyList;

/// Time limit for undoing an interrupted change.
const UNDOING: Duration = Duration::from_secs(3);

/// Options of `asistry keys`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Store a key, asked for without echo
    Add(add::Arguments),
    /// List the stored keys, masked
    List,
    /// Show one key, masked
    Show(list::ShowArguments),
    /// Test the current key, or another, with one cheap call
    Test(verify::Arguments),
    /// Make another key the profile's current key
    Use {
        /// Name of the key
        name: String,
    },
    /// Allow a key for another origin
    Bind(change::BindArguments),
    /// Replace a key: store the new one, test it, then delete the old one
    Rotate(rotate::Arguments),
    /// Remove a key
    Remove(change::RemoveArguments),
}

/// A store that a person chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// System keyring
    Keyring,
    /// File encrypted with a passphrase
    File,
}

impl From<Store> for StoreKind {
    fn from(store: Store) -> Self {
        match store {
            Store::Keyring => Self::Keyring,
            Store::File => Self::File,
        }
    }
}

/// What every one of these commands works with.
struct Desk<'a> {
    common: &'a Common,
    environment: Environment,
    asker: Asker,
    keys: Keys,
    catalog: Catalog,
    output: Output,
}

/// Does what the subcommand says.
///
/// # Errors
/// Errors of the profile, the key or the key store.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let key = environment.key();
    let given = key.is_some();
    let environment = environment.without_key();
    let asker = environment.asker(common.no_input);
    let config = environment.config()?;
    let keys = environment.keys(&config, asker)?;
    let desk = Desk { common, environment, asker, keys, catalog: config.catalog, output: arguments.output };
    let mut action = pin!(act(&desk, arguments.action.unwrap_or(Action::List), key));
    // A signal would end the process before the terminal is restored, or what was begun is undone.
    tokio::select! {
        done = &mut action => done?,
        () = super::bridge::stop_signal()? => match tokio::time::timeout(UNDOING, action).await {
            Ok(done) => done?,
            Err(_) => {
                let why = "interrupted; what was begun may be stored";
                return Err(Error::new(Kind::Interrupted, why).remedy(Remedy::ListKeys).into());
            }
        },
    }
    if given {
        crate::ui::say("note: ASISTRY_API_KEY is set and overrides all stored keys");
    }
    Ok(0)
}

async fn act(desk: &Desk<'_>, action: Action, given: Option<Secret>) -> Result<()> {
    match action {
        Action::Add(arguments) => add::run(desk, arguments).await?,
        Action::List => list::list(desk, given.is_some())?,
        Action::Show(arguments) => list::show(desk, arguments).await?,
        Action::Test(arguments) => verify::run(desk, arguments, given).await?,
        Action::Use { name } => change::choose(desk, name).await?,
        Action::Bind(arguments) => change::bind(desk, arguments).await?,
        Action::Rotate(arguments) => rotate::run(desk, arguments).await?,
        Action::Remove(arguments) => change::remove(desk, arguments).await?,
    }
    Ok(())
}

impl Desk<'_> {
    /// Returns the profile, and the origin of its service.
    fn profile(&self) -> crate::error::Result<(Profile, String)> {
        let profile = profile_in_use::find(self.common, &self.environment)?;
        if profile.service.embedded.is_some() {
            return Err(Error::new(Kind::Usage, format!("{} makes its own key", profile.service.title))
                .hint("name another profile with -p"));
        }
        let origin = profile.endpoint()?.origin().ascii_serialization();
        Ok((profile, origin))
    }

    /// Returns what commands in remedies repeat.
    fn target(&self) -> Target {
        let config = self.environment.config().unwrap_or_default();
        Target::of(self.common.profile.clone(), self.common.url.as_deref(), &config)
    }

    /// Returns the name of the profile, which need not be configured any more.
    fn profile_name(&self) -> crate::error::Result<String> {
        match (&self.common.profile, &self.common.url) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(_)) => Ok(self.profile()?.0.name),
            (None, None) => {
                let config = self.environment.config()?;
                Ok(config.profile.unwrap_or_else(|| profile::DEFAULT.to_owned()))
            }
        }
    }

    /// Returns the key that was named, as an argument or by `--name`, or the one in use. An argument that names no
    /// key is not repeated: it may be a key.
    fn named_key(
        &self,
        argument: Option<String>,
        option: Option<String>,
        list: &KeyList,
    ) -> crate::error::Result<KeyId> {
        let is_argument = argument.is_some();
        let id = self.key(argument.or(option), list)?;
        if is_argument && list.find(&id.profile, &id.name).is_none() {
            let why = format!("the profile {} has no key of that name", id.profile);
            let names: Vec<&str> = list.of_profile(&id.profile).map(|key| key.name.as_str()).collect();
            let error = Error::new(Kind::AuthRequired, why);
            return Err(match names.as_slice() {
                [] => error.remedy(Remedy::StoreKey),
                names => error.hint(format!("its keys are: {}", names.join(", "))),
            });
        }
        Ok(id)
    }

    /// Returns the key of this name, or the one in use.
    fn key(&self, name: Option<String>, list: &KeyList) -> crate::error::Result<KeyId> {
        let profile = self.profile_name()?;
        let name = match (name, &self.common.profile, &self.common.url) {
            (Some(name), ..) => name,
            (None, None, Some(_)) => {
                let (profile, origin) = self.profile()?;
                current_name(list, &profile, &origin)
            }
            (None, ..) => list.current.get(&profile).cloned().unwrap_or_else(|| DEFAULT.to_owned()),
        };
        self.check_name(&name)?;
        Ok(KeyId { profile, name })
    }
}

impl Desk<'_> {
    /// Refuses to try a key, or what is to take its place, anywhere but where it may go.
    async fn check_origin(&self, id: &KeyId, list: &KeyList) -> crate::error::Result<()> {
        let (_, origin) = self.profile()?;
        match list.find(&id.profile, &id.name) {
            Some(record) => self.keys.check_origin(record, &origin).await,
            None => Ok(()),
        }
    }

    /// A name is a part of the names in the store.
    fn check_name(&self, name: &str) -> crate::error::Result<()> {
        if self.is_a_key(name) {
            let why = "a key was given instead of the name of a key";
            return Err(Error::new(Kind::Usage, why).remedy(Remedy::ListKeys));
        }
        let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if fits && (1..=LONGEST_NAME).contains(&name.len()) && !name.starts_with('.') {
            return Ok(());
        }
        let why = format!("a key cannot be named {}", serde_json::Value::from(name));
        Err(Error::new(Kind::Usage, why).hint("use up to 64 letters, digits, “-”, “_” and “.”"))
    }

    /// Says whether a text that was typed elsewhere is a key.
    fn is_a_key(&self, text: &str) -> bool {
        form::is_known(text, &self.catalog)
    }
}
