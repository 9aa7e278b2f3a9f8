//! Tools that make keys: what is to become of a new key is checked before anything is sent.
//!
//! Refuses a call whose new key would be lost.

use super::Conversation;
use crate::error::{Error, Executed, Kind, Remedy, Result};
use crate::protocol::secrets::{KeyWork, NewKeys, Purpose};
use crate::protocol::settings::Protocol;

impl Conversation {
    /// Checks, before anything is sent, that no new key of a tool would be lost.
    ///
    /// # Errors
    /// [`Kind::Usage`] where nothing is to become of it; [`Kind::KeyStore`] where it cannot be stored.
    pub async fn check_new_keys(&self, tool: Option<&str>, wanted: NewKeys) -> Result<()> {
        let service = &self.in_use.profile.service;
        let rule = tool.and_then(|tool| service.secrets.new_key(tool));
        let speaks_mcp = self.wire() == Protocol::Mcp;
        match (wanted, rule.map(|rule| rule.purpose)) {
            (_, Some(_)) if speaks_mcp => {
                let why =
                    format!("{} makes a key, which can be stored only over REST", tool.unwrap_or_default());
                Err(Error::new(Kind::ToolDenied, why).remedy(Remedy::UseRest))
            }
            (NewKeys::Refused, Some(Purpose::Added)) => {
                let why = format!("{} makes a key; nothing was sent", tool.unwrap_or_default());
                Err(Error::new(Kind::Usage, why).remedy(Remedy::SaveNewKey))
            }
            (NewKeys::Stored, _) if service.secrets.new_keys.is_empty() => {
                let why = format!("--save-key: {} is not known to make keys", service.title);
                Err(Error::new(Kind::Usage, why).hint("leave --save-key out"))
            }
            (NewKeys::Stored, _) | (NewKeys::Refused, Some(Purpose::Switched)) => {
                let checked = self.in_use.remote.key_work(KeyWork::Check).await.map(drop);
                checked.map_err(|error| match error.next_step() {
                    Some(Remedy::FixKeyring { .. }) => {
                        error.hint("use the encrypted file: set ASISTRY_KEY_STORE=file, and run this again")
                    }
                    _ => error,
                })
            }
            _ => Ok(()),
        }
        .map_err(|error| error.executed(Executed::No).with_hint_text(&self.in_use.advise()))
    }

    /// Says whether a tool adds a key.
    pub fn adds_key(&self, tool: Option<&str>) -> bool {
        let rule = tool.and_then(|tool| self.in_use.profile.service.secrets.new_key(tool));
        rule.is_some_and(|rule| rule.purpose == Purpose::Added)
    }

    /// As [`Self::options`], with what a tool that makes a key needs.
    pub fn options_of(&self, tool: &str) -> String {
        let save = if self.adds_key(Some(tool)) { " --save-key" } else { "" };
        format!("{}{save}", self.options())
    }
}
