//! A short conversation with a service, for commands that are clients themselves.
//!
//! The same relay as the bridge's, with the client inside the process. Refuses what it cannot answer: a
//! question of the service is declined.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::arguments::Common;
use super::environment::Environment;
use super::profile_in_use::ProfileInUse;
use crate::auth::keys::Found;
use crate::error::{Error, Kind, Result};
use crate::local::inside::{self, Client};
use crate::profile::{Options, nearest};
use crate::protocol::message::{Id, Kind as MessageKind, Message, quote};
use crate::relay::{Ending, Relay};

const NOT_FOUND: i32 = -32601;
const REPLACE_KEY: &str =
    "set a valid one in ASISTRY_API_KEY, or replace the stored one: asistry keys rotate -p PROFILE";

/// Finds a tool by its name.
///
/// # Errors
/// [`Kind::Usage`] with the nearest name.
pub fn find_tool<'a>(tools: &'a [Tool], name: &str) -> Result<&'a Tool> {
    tools.iter().find(|tool| tool.name == name).ok_or_else(|| {
        let error = Error::new(Kind::Usage, format!("the service has no tool named {name}"));
        match nearest(name, tools.iter().map(|tool| tool.name.as_str())) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("asistry tools lists them"),
        }
    })
}

/// One client's conversation.
pub struct Conversation {
    client: Client,
    relay: tokio::task::JoinHandle<()>,
    in_use: ProfileInUse,
    count: i64,
}

/// A tool as the service lists it.
#[derive(Debug, serde::Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of its arguments.
    #[serde(default, rename = "inputSchema")]
    pub input_schema: Value,
    /// The entry as it came.
    #[serde(skip)]
    pub raw: String,
}

impl Conversation {
    /// Makes everything ready; the first request opens the session.
    ///
    /// # Errors
    /// What is wrong with the command line, the configuration or the key.
    pub async fn begin(common: &Common, environment: &Environment) -> Result<Self> {
        let in_use = ProfileInUse::prepare(common, Options::default(), environment).await?;
        Ok(Self::with(in_use))
    }

    /// As [`Self::begin`], with this key instead of any other.
    ///
    /// # Errors
    /// What is wrong with the command line, the configuration or the key.
    pub async fn begin_with(common: &Common, environment: &Environment, key: Found) -> Result<Self> {
        let in_use = ProfileInUse::prepare_with(common, Options::default(), environment, Some(key)).await?;
        Ok(Self::with(in_use))
    }

    fn with(in_use: ProfileInUse) -> Self {
        let mut settings = in_use.settings();
        // A short conversation hears what it asked for.
        settings.pushes = false;
        let (port, client) = inside::pair();
        let ending = Ending { drain: Duration::ZERO };
        let endpoint = settings.endpoint.clone();
        let relay = Relay::new(port, in_use.remote.clone(), settings, ending)
            .remembering(in_use.state.clone(), endpoint)
            .traced(in_use.trace.clone());
        let relay = tokio::spawn(relay.run(std::future::pending()));
        Self { client, relay, in_use: in_use, count: 0 }
    }

    /// Asks, and returns the JSON text of the result; `progress` hears how far it is.
    ///
    /// # Errors
    /// The service's error, or ours.
    pub async fn ask(
        &mut self,
        method: &str,
        params: &str,
        mut progress: impl FnMut(&Message),
    ) -> Result<String> {
        self.count += 1;
        let id = Id::Integer(self.count);
        self.client.say(Message::request(&id, method, Some(params)).text().clone());
        while let Some(line) = self.client.hear().await {
            let Ok(message) = Message::read(line) else { continue };
            match message.kind() {
                MessageKind::Response if message.id() == Some(&id) => {
                    return answer(&message, self.in_use.remote.was_rejected());
                }
                MessageKind::Request => self.decline(&message),
                MessageKind::Notification => progress(&message),
                MessageKind::Response => {}
            }
        }
        Err(Error::new(Kind::Bug, "the conversation ended without an answer"))
    }

    /// Lists all tools, page by page.
    ///
    /// # Errors
    /// The service's error, or a list that makes no sense.
    pub async fn tools(&mut self) -> Result<Vec<Tool>> {
        #[derive(serde::Deserialize)]
        struct Page {
            tools: Vec<Box<RawValue>>,
            #[serde(default, rename = "nextCursor")]
            next_cursor: Option<String>,
        }
        let nonsense = |e: serde_json::Error| {
            Error::new(Kind::ProtocolViolation, format!("the list of tools makes no sense: {e}"))
        };
        let (mut tools, mut params) = (Vec::new(), "{}".to_owned());
        loop {
            let page: Page =
                serde_json::from_str(&self.ask("tools/list", &params, |_| {}).await?).map_err(nonsense)?;
            for raw in page.tools {
                let tool: Tool = serde_json::from_str(raw.get()).map_err(nonsense)?;
                tools.push(Tool { raw: raw.get().to_owned(), ..tool });
            }
            match page.next_cursor {
                Some(cursor) => params = format!(r#"{{"cursor":{}}}"#, quote(&cursor)),
                None => return Ok(tools),
            }
        }
    }

    /// Ends the conversation and leaves the session.
    pub async fn end(self) {
        let Self { client, relay, .. } = self;
        drop(client);
        let _ = relay.await;
    }

    fn decline(&self, question: &Message) {
        let Some(id) = question.id() else { return };
        let why = quote("this client answers no questions of a service");
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{NOT_FOUND},"message":{why}}}}}"#,
            id.json()
        );
        self.client.say(Bytes::from(text));
    }
}

/// `rejected` says that the service has rejected the key: the status does not come along with an error of its
/// own.
fn answer(message: &Message, rejected: bool) -> Result<String> {
    let Some(error) = message.error_text() else {
        return Ok(message.result_text().unwrap_or("null").to_owned());
    };
    #[derive(Default, serde::Deserialize)]
    struct Failed {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
        #[serde(default)]
        data: Value,
    }
    let failed: Failed = serde_json::from_str(error).unwrap_or_default();
    let data = &failed.data;
    let ours = data["source"] == "asistry";
    let kind = match (ours, failed.code) {
        (true, _) => data["kind"].as_str().and_then(Kind::named).unwrap_or(Kind::Bug),
        (false, -32001) => Kind::AuthDenied,
        (false, -32029) => Kind::RateLimited,
        (false, _) if rejected => Kind::AuthDenied,
        (false, _) => Kind::ServiceError,
    };
    let hint = match data["hint"].as_str() {
        Some(hint) if ours => hint,
        _ if kind == Kind::AuthDenied => REPLACE_KEY,
        _ => "",
    };
    let message = failed.message.strip_suffix(&format!(": {hint}")).unwrap_or(&failed.message);
    let trace_id = data["traceId"].as_str().map(str::to_owned);
    let mut told = Error::new(kind, message).code(failed.code).trace_id(trace_id);
    if let Some(status) = data["httpStatus"].as_u64().and_then(|status| u16::try_from(status).ok()) {
        told = told.http_status(status);
    }
    Err(if hint.is_empty() { told } else { told.hint(hint) })
}
