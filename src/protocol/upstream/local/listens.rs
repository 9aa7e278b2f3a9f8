//! Who hears that the list of tools has changed: it does when a new key opens the catalogue.
//!
//! Refuses other subscriptions: nothing else changes here.

use super::Local;
use crate::protocol::message::{Id, Message};
use crate::protocol::object::{fields, object, value};
use crate::protocol::subscriptions::{self, TOOLS};
use crate::protocol::upstream::{Heard, Out, end_of_listen};

/// The subscriptions to the list.
#[derive(Debug, Default)]
pub(super) struct Listens {
    /// A client with a handshake hears of it.
    has_session: bool,
    open: Vec<Listen>,
}

/// A `subscriptions/listen` of the client.
#[derive(Debug)]
struct Listen {
    number: u64,
    id: Id,
    wants_tools: bool,
}

impl Listens {
    /// The client ends a subscription; false where there is none of this number.
    pub fn close(&mut self, number: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|listen| listen.number != number);
        self.open.len() < before
    }

    /// Returns the ends of all subscriptions.
    pub fn end(&mut self) -> impl Iterator<Item = Out> {
        std::mem::take(&mut self.open).into_iter().flat_map(|listen| end_of_listen(listen.number, &listen.id))
    }
}

impl Local {
    /// A client with a handshake listens to what this filter says (JSON text), or to nothing.
    pub(in crate::protocol) fn listen(&mut self, filter: Option<&str>) {
        self.listens.has_session = filter.is_some_and(wants_tools);
    }

    pub(super) fn open_listen(&mut self, number: u64) {
        let Some(request) = self.table.remove_request(number) else { return };
        let Some(id) = request.message.id().cloned() else { return };
        let wants_tools = wants_tools(subscriptions::filter_in(&request.message));
        let filter = object(wants_tools.then_some((TOOLS.field, "true")));
        let message = subscriptions::acknowledged(&filter, &id);
        self.out.push(Out::Heard(Heard::Told { during: Some(number), message, generation: None }));
        self.listens.open.push(Listen { number, id, wants_tools });
    }

    /// A new key gives the whole list; the client hears of it if it was shown another one.
    pub(super) fn list_opens(&mut self) {
        if self.catalogue.is_some() {
            return;
        }
        self.out.push(Out::Heard(Heard::ToolsChanged));
        if !std::mem::take(&mut self.is_list_short) {
            return;
        }
        let changed = Message::notification(TOOLS.method, None);
        let session = self.listens.has_session.then(|| (None, changed.clone()));
        let wanting = self.listens.open.iter().filter(|listen| listen.wants_tools);
        let wanting = wanting.map(|listen| (Some(listen.number), subscriptions::under(&changed, &listen.id)));
        let told = session.into_iter().chain(wanting);
        let told = told.map(|(during, message)| Heard::Told { during, message, generation: None });
        self.out.extend(told.map(Out::Heard));
    }
}

fn wants_tools(filter: &str) -> bool {
    value(&fields(filter), TOOLS.field) == Some("true")
}
