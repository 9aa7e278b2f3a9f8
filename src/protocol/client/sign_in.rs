//! A client in front of a service that wants a login: its opening message is answered at once (AUTH-19), and where the
//! user wants it, a tool logs in.
//!
//! Refuses to describe a service that has described itself.

use super::{Asked, Client, Open};
use crate::error::{Error, Result};
use crate::protocol::driver::Prompt;
use crate::protocol::effect::{About, Delivery, Effect, Origin};
use crate::protocol::message::{Message, quote};
use crate::protocol::object::{fields, string, value};
use crate::protocol::request::Class;
use crate::protocol::revision::{self, Era, FIRST_MODERN};
use crate::protocol::settings::SignIn;
use crate::protocol::tool_rules::{matches_glob, tool_name};

/// The tool that logs in.
const TOOL: &str = "sign_in";
/// The capabilities to declare before the service has declared its own (ERA-6).
const CAPABILITIES: &str =
    r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}}"#;

impl Client {
    /// Returns a description of a service that has not described itself yet (ERA-6).
    pub(super) fn guess(&self) -> String {
        let info = &self.settings.client_info;
        format!(
            r#"{{"resultType":"complete","supportedVersions":["{FIRST_MODERN}"],"capabilities":{CAPABILITIES},"ttlMs":0,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#
        )
    }

    /// Returns the answer to an opening message that failed only because a login is needed.
    pub(super) fn answer_to_opening(&mut self, open: &Open, error: &Error) -> Option<String> {
        if self.settings.login_at_opening == Prompt::Allowed || !error.needs_login() {
            return None;
        }
        match open.message.method() {
            "server/discover" => {
                self.discovery.is_guess = true;
                Some(self.guess())
            }
            "initialize" => {
                self.discovery.is_guess = true;
                let params = fields(open.message.params().unwrap_or_default());
                let asked = value(&params, "protocolVersion").and_then(string).unwrap_or_default();
                let revision = revision::named(&asked).unwrap_or(revision::NEWEST_LEGACY);
                self.revision = Some(revision);
                let (name, info) = (quote(revision.date), &self.settings.client_info);
                Some(format!(
                    r#"{{"protocolVersion":{name},"capabilities":{CAPABILITIES},"serverInfo":{info}}}"#
                ))
            }
            _ => None,
        }
    }

    /// Returns the list with `sign_in` alone, for a list that failed only because a login is needed.
    pub(super) fn list_with_sign_in(&mut self, open: &Open, error: &Error) -> Option<String> {
        if !self.offers_sign_in() || !error.needs_login() {
            return None;
        }
        self.is_logged_out = true;
        if open.message.method() != "tools/list" {
            return None;
        }
        let about = quote(&format!("Logs in at {}: opens a browser window.", self.settings.service.1));
        let tool = format!(
            r#"{{"name":"{TOOL}","description":{about},"inputSchema":{{"type":"object","properties":{{}}}}}}"#
        );
        Some(match open.era {
            Era::Legacy => format!(r#"{{"tools":[{tool}]}}"#),
            Era::Modern => {
                format!(r#"{{"resultType":"complete","tools":[{tool}],"ttlMs":0,"cacheScope":"private"}}"#)
            }
        })
    }

    /// Returns whether `sign_in` is offered: configured, and not denied.
    fn offers_sign_in(&self) -> bool {
        let is_denied = self.settings.tools.deny.iter().any(|glob| matches_glob(glob, TOOL));
        self.settings.sign_in == SignIn::AsTool && !is_denied
    }

    /// Starts the login if `sign_in` is called; returns every other call.
    pub(super) fn signs_in(&mut self, asked: Asked) -> Option<Asked> {
        let calls_it = || tool_name(&asked.message).is_some_and(|name| name == TOOL);
        if !self.is_logged_out || !self.offers_sign_in() || !calls_it() {
            return Some(asked);
        }
        let outgoing = self.begin(asked, Class::C);
        self.effects.push(Effect::SignIn(outgoing.number));
        None
    }

    /// Ends a call of `sign_in`.
    pub(in crate::protocol) fn signed_in(&mut self, number: u64, came: Result<()>) {
        if let Err(error) = came {
            return self.failed(number, error);
        }
        self.is_logged_out = false;
        let Some(open) = self.close(number) else { return };
        let Some(id) = open.message.id() else { return };
        let kind = if open.era == Era::Modern { r#""resultType":"complete","# } else { "" };
        let text = "You are logged in. The tools of the service are listed now.";
        let result = format!(r#"{{{kind}"content":[{{"type":"text","text":"{text}"}}]}}"#);
        let text = Message::result(id, &result).text().clone();
        self.answer(Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge }, open.batch);
        self.tools.changed();
        if open.era == Era::Legacy {
            let changed = Message::notification("notifications/tools/list_changed", None);
            let text = changed.text().clone();
            let told = Delivery { about: About::Anyone, text, origin: Origin::Bridge };
            self.effects.push(Effect::Deliver(told));
        }
    }
}
