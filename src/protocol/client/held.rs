//! Calls and lists of the client that wait until the whole list of tools is known.
//!
//! Refuses to let one go that the rules do not let through.

use super::tools::Permit;
use super::{Client, ErrorKind, Open};
use crate::error::Error;
use crate::protocol::message::Message;
use crate::protocol::request::Class;
use crate::protocol::revision::Era;

impl Client {
    /// Takes a page of the list that was asked for on our own account; returns the cursor of the next one to ask for.
    pub(in crate::protocol) fn tools_page(&mut self, page: Result<&Message, &Error>) -> ToolsPage {
        let message = match page {
            Ok(message) if message.error_text().is_none() => message,
            Ok(_) => {
                let why = "the service did not list its tools";
                return ToolsPage::Known(Err(Error::new(ErrorKind::ServiceError, why)));
            }
            Err(error) => return ToolsPage::Known(Err(error.clone())),
        };
        let page = self.tools.own_page(message);
        for warning in page.warnings {
            self.note(warning);
        }
        match page.next_cursor {
            _ if self.tools.begins_again() => ToolsPage::Next(None),
            Some(cursor) if self.tools.is_new_page(&cursor, message.text().len()) => {
                ToolsPage::Next(Some(cursor))
            }
            Some(_) => {
                let error =
                    Error::new(ErrorKind::ProtocolViolation, "the service's list of tools has no end");
                ToolsPage::Known(Err(error.hint("report this to the operator of the service")))
            }
            None => ToolsPage::Known(Ok(())),
        }
    }

    /// Decides about the calls of this era that had to wait for the list.
    pub(in crate::protocol) fn decide_held(&mut self, era: Era, failed: Option<&Error>) -> Vec<Decided> {
        self.tools.learned();
        let goes = |open: &Open| if open.is_lifted { Era::Modern } else { open.era };
        let is_of_era = |number: &mut u64| self.open.get(number).is_some_and(|open| goes(open) == era);
        let held: Vec<u64> = self.held.extract_if(.., is_of_era).collect();
        let door = &self.door;
        let written = |open: &Open, message: Message| match open.is_lifted {
            true => door.written(&message),
            false => message,
        };
        let decide = |number: u64| {
            let open = self.open.get_mut(&number)?;
            open.changes = self.tools.changes();
            if open.message.method() == "tools/list" {
                let known = failed.map_or(Ok(()), |error| Err(error.clone()));
                return Some((number, known.map(|()| (written(open, open.message.clone()), Class::A))));
            }
            let class = self.tools.class_of(&open.message);
            let decision = match (failed, self.tools.permit(&open.message)) {
                (None, Ok(Permit::Renamed(renamed))) => {
                    // What is made of it later names the same tool.
                    open.message = renamed.clone();
                    Ok((written(open, renamed), class))
                }
                (None, Ok(Permit::Go)) => Ok((written(open, open.message.clone()), class)),
                (failed, permit) => Err(permit.err().or_else(|| failed.cloned()).unwrap_or_else(|| {
                    Error::new(ErrorKind::ToolDenied, "the service does not list this tool")
                })),
            };
            Some((number, decision))
        };
        held.into_iter().filter_map(decide).collect()
    }
}

/// A call that had to wait for the list, and what is to be sent of it.
pub(in crate::protocol) type Decided = (u64, Result<(Message, Class), Error>);

/// The next step after a page of the list of tools.
#[derive(Debug)]
pub(in crate::protocol) enum ToolsPage {
    /// The page behind this cursor (JSON text) is to be asked for; the first one without a cursor.
    Next(Option<String>),
    /// The list is known, or cannot be.
    Known(Result<(), Error>),
}
