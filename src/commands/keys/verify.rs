//! `asistry keys test`, and the same call before a new key is trusted: a handshake and one list of tools.
//!
//! Refuses to run a tool.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::Desk;
use super::input::Given;
use crate::auth::keys::{Found, KeySource};
use crate::commands::conversation::Conversation;
use crate::error::{Error, Kind};
use crate::secret::Secret;
use crate::service::ServiceWire;

/// A service that does not answer must not hold up the storing of its key for longer.
const PATIENCE: Duration = Duration::from_secs(15);

const VARIABLE: &str = "ASISTRY_API_KEY";

/// Options of `asistry keys test`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the key [default: the current key]
    #[arg(value_name = "NAME", conflicts_with = "name")]
    key: Option<String>,
    /// Same as NAME
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// A service's answer to a key.
pub enum Verdict {
    /// It takes the key.
    Works(Tried),
    /// It could not be asked.
    Untried(Error),
}

/// A call that a service answered.
pub struct Tried {
    tools: usize,
    took: Duration,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it works: {} tools in {} ms", self.tools, self.took.as_millis())
    }
}

/// Tries a stored key, or the one of the environment where that stands over it.
///
/// # Errors
/// The service's answer, with its exit code.
pub async fn run(desk: &Desk<'_>, arguments: Arguments, given: Option<Secret>) -> Result<()> {
    let (name, about, found) = match given.filter(|_| arguments.key.is_none() && arguments.name.is_none()) {
        Some(secret) => {
            let found = Found { secret, forced: false, source: KeySource::Environment };
            (VARIABLE.to_owned(), format!("the key in {VARIABLE}"), found)
        }
        None => {
            let list = desk.keys.list()?;
            let id = desk.named_key(arguments.key, arguments.name, &list)?;
            desk.check_origin(&id, &list).await?;
            let deposit = list.find(&id.profile, &id.name).and_then(|record| record.deposit.as_ref());
            let forced = deposit.is_some_and(|deposit| deposit.forced);
            let found = Found { secret: desk.keys.secret(&id).await?, forced, source: KeySource::New };
            desk.keys.record_use(id.clone());
            (id.name.clone(), id.to_string(), found)
        }
    };
    let tried = match tried(desk, found).await? {
        Verdict::Works(tried) => tried,
        Verdict::Untried(error) => return Err(error.into()),
    };
    let milliseconds = u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX);
    let told = serde_json::json!({
        "profile": desk.profile_name()?, "name": name, "works": true, "tools": tried.tools,
        "milliseconds": milliseconds,
    });
    Ok(desk.output.print(&told, Some(&format!("{about}: {tried}")))?)
}

/// Tries a key, stored or not.
///
/// # Errors
/// [`Kind::AuthDenied`] or [`Kind::AuthRequired`] where the service rejects it; what is wrong with the
/// profile.
pub async fn verify(desk: &Desk<'_>, key: &Given) -> Result<Verdict> {
    tried(desk, Found { secret: key.secret.clone(), forced: key.forced, source: KeySource::New }).await
}

async fn tried(desk: &Desk<'_>, found: Found) -> Result<Verdict> {
    let (profile, _) = desk.profile()?;
    if profile.service.wire != ServiceWire::Mcp {
        let why = format!("this version of asistry cannot try keys of {}", profile.service.title);
        return Ok(Verdict::Untried(Error::new(Kind::Config, why).hint("use it, and see")));
    }
    let begun = Instant::now();
    let asked = async {
        let mut conversation = Conversation::begin_with(desk.common, &desk.environment, found).await?;
        let tools = conversation.tools().await;
        conversation.end().await;
        tools
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
        let why = format!("the service did not answer within {} s", PATIENCE.as_secs());
        Err(Error::new(Kind::Timeout, why)
            .hint(format!("try again later: asistry keys test{}", desk.target().options())))
    });
    match answered {
        Ok(tools) => Ok(Verdict::Works(Tried { tools: tools.len(), took: begun.elapsed() })),
        Err(error) => match error.kind() {
            Kind::AuthDenied
            | Kind::AuthRequired
            | Kind::Config
            | Kind::OriginMismatch
            | Kind::Usage
            | Kind::Interrupted => Err(error.into()),
            _ => Ok(Verdict::Untried(error)),
        },
    }
}
