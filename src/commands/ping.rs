//! `asistry ping`: one round trip, and who answered.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::arguments::Common;
use super::conversation::{Conversation, parsed};
use super::environment::Environment;
use super::output::Output;
use crate::protocol::revision::{Era, FIRST_MODERN};
use crate::protocol::settings::Protocol;

/// Options of `asistry ping`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub output: Output,
}

/// Opens a session, and says what the service said of itself.
///
/// # Errors
/// The service's errors.
pub async fn run(common: &Common, arguments: Arguments, environment: &Environment) -> Result<u8> {
    arguments.output.check()?;
    let mut conversation = Conversation::begin_anew(common, environment).await?;
    let begun = Instant::now();
    let mut opened = conversation.open().await;
    let wire = conversation.wire();
    if wire != Protocol::Mcp && opened.is_ok() {
        // The handshake is answered here; the list is the service's.
        opened = conversation.tools().await.and(opened);
    }
    let took = begun.elapsed();
    let (place, era) = (conversation.place(), conversation.era());
    let shown = move |opened: String| {
        let opened = parsed("initialize", &opened)?;
        show(&opened, (&place, era, wire), took, &arguments.output)
    };
    Ok(conversation.end_with(opened, shown).await?)
}

fn show(
    opened: &Value,
    (place, era, wire): (&str, Era, Protocol),
    took: Duration,
    output: &Output,
) -> crate::error::Result<u8> {
    let server = &opened["serverInfo"];
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (name, version) = (word(&server["name"]), word(&server["version"]));
    let (protocol, era) = match era {
        Era::Legacy => (word(&opened["protocolVersion"]), "legacy"),
        Era::Modern => (FIRST_MODERN.to_owned(), "modern"),
    };
    let milliseconds = took.as_secs_f64() * 1e3;
    let value = json!({
        "endpoint": place,
        "era": era,
        "protocolVersion": protocol,
        "server": server,
        "capabilities": opened["capabilities"],
        "milliseconds": (milliseconds * 10.0).round() / 10.0,
    });
    let spoken = match wire {
        Protocol::Mcp => format!("{name} {version}, protocol {protocol} ({era})"),
        Protocol::AgentStack => format!("{name}, REST; asistry speaks MCP for it"),
    };
    let text = format!("{place}: {spoken}, {milliseconds:.0} ms");
    output.print(&value, Some(&text))?;
    Ok(0)
}
