//! A profile that forces an era which its service does not speak.
//!
//! Refuses to say so where the service may mean something else.

use super::Conversation;
use crate::commands::remedy::shell_quoted;
use crate::error::{Error, Kind};
use crate::protocol::effect::Origin;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{INVALID_PARAMS, METHOD_NOT_FOUND, Message};
use crate::protocol::revision::Era;
use crate::protocol::upstream::probe::{self, Probed};

impl Conversation {
    /// Returns an error of the service, as one of the forced era where it shows that.
    pub(super) fn in_forced_era(&self, error: Error, message: &Message, origin: &Origin) -> Error {
        let (Some(forced), Origin::Service { status, .. }) = (self.in_use.options.era.flatten(), origin)
        else {
            return error;
        };
        let is_other = match forced {
            Era::Legacy => probe::refuses_sessions(message, *status),
            Era::Modern => matches!(probe::of_response(message, *status), Probed::Legacy),
        };
        if error.kind() != Kind::ServiceError || !is_other || !self.is_about_the_era(message, *status) {
            return error;
        }
        let name = if forced == Era::Legacy { "legacy" } else { "modern" };
        let profile = &self.in_use.profile.name;
        let why =
            format!("the service does not speak the {name} era, which profile {profile} forces: {error}");
        let way = format!("asistry profiles set {} era=auto", shell_quoted(profile));
        error.with_kind(Kind::EraMismatch).with_message(why).hint(way)
    }

    /// A service also refuses a method or a resource that it does not have, but not our opening for that.
    fn is_about_the_era(&self, message: &Message, status: u16) -> bool {
        let is_opening = message.id() == self.opening.as_ref();
        let code = message.error_text().and_then(|_| ErrorFields::of(message)).map(|error| error.code);
        let is_about_the_request = matches!(code, Some(METHOD_NOT_FOUND | INVALID_PARAMS)) || status < 400;
        self.era.is_none() && (is_opening || !is_about_the_request)
    }
}
