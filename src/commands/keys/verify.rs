//! `asistry keys test`, and the same call before a new key is trusted: a handshake and one list of tools, or the action
//! that the service's data names for it.
//!
//! Refuses to run any other tool.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::Desk;
use super::input::Given;
use crate::auth::keys::{Found, KeySource};
use crate::commands::conversation::{Conversation, parsed};
use crate::error::{Error, Kind};
use crate::protocol::message::quote;
use crate::secret::Secret;

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
    answered: Answered,
    took: Duration,
}

/// What the service answered.
enum Answered {
    /// A list of this many tools.
    Tools(usize),
    /// This action.
    Action(String),
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.took.as_millis();
        match &self.answered {
            Answered::Tools(count) => write!(f, "it works: {count} tools in {milliseconds} ms"),
            Answered::Action(name) => write!(f, "it works: {name} answered in {milliseconds} ms"),
        }
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
    let mut told = serde_json::json!({
        "profile": desk.profile_name()?, "name": name, "works": true, "milliseconds": milliseconds,
    });
    match &tried.answered {
        Answered::Tools(count) => told["tools"] = (*count).into(),
        Answered::Action(name) => told["action"] = name.as_str().into(),
    }
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
    let speaks_mcp = profile.speaks_mcp();
    let action = profile.service.auth.test_action;
    let begun = Instant::now();
    let asked = async {
        let mut conversation = Conversation::begin_with(desk.common, &desk.environment, found).await?;
        let answered = if action.is_empty() || speaks_mcp {
            conversation.tools().await.map(|tools| Answered::Tools(tools.len()))
        } else {
            answer_of(&mut conversation, &action).await.map(|()| Answered::Action(action))
        };
        conversation.end().await;
        answered
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
        let why = format!("the service did not answer within {} s", PATIENCE.as_secs());
        Err(Error::new(Kind::Timeout, why)
            .hint(format!("try again later: asistry keys test{}", desk.target().options())))
    });
    match answered {
        Ok(answered) => Ok(Verdict::Works(Tried { answered, took: begun.elapsed() })),
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

/// Runs an action that only reads and needs the key.
async fn answer_of(conversation: &mut Conversation, action: &str) -> crate::error::Result<()> {
    let params = format!(r#"{{"name":{},"arguments":{{}}}}"#, quote(action));
    let result = parsed("tools/call", &conversation.ask("tools/call", &params, |_| {}).await?)?;
    // The status of what the service has called itself.
    let said = result["content"][0]["text"].as_str().unwrap_or_default();
    match result["isError"] == true {
        true if said.starts_with("HTTP 401") => {
            Err(Error::new(Kind::AuthDenied, "the service rejected the key").http_status(401))
        }
        true => Err(Error::new(Kind::ServiceError, format!("{action}: {said}"))),
        false => Ok(()),
    }
}
