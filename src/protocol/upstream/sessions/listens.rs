//! `subscriptions/listen` at a service with sessions: its standalone stream and `resources/subscribe` (section 3.4).
//!
//! Refuses to say anything on a subscription before its acknowledgement.

use std::collections::{BTreeSet, HashMap};

use super::{Came, Own, Sessions};
use crate::protocol::message::{Id, Message, quote};
use crate::protocol::object::{fields, object, value};
use crate::protocol::request::{Outgoing, covers};
use crate::protocol::subscriptions::{self, LISTS, RESOURCES, TOOLS, UPDATED};
use crate::protocol::upstream::{Heard, Out, end_of_listen};

/// What is kept for a subscription that is not acknowledged yet.
const MOST_EARLY: usize = 256;

/// The resources that a session is subscribed to.
pub(super) type Uris = HashMap<String, Held>;

/// Who holds a resource.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How many subscriptions.
    count: usize,
    /// The request for it that is not answered yet.
    asked: Option<u64>,
}

/// A subscription of the client.
#[derive(Debug)]
pub(super) struct Listen {
    /// Its request, as the client's side knows it.
    number: u64,
    id: Id,
    pub session: u64,
    /// The notifications that it wants.
    lists: Vec<&'static str>,
    uris: BTreeSet<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The session is being opened.
    Opening,
    /// Resources are being subscribed to: the numbers of the requests, each with its URI.
    Subscribing(HashMap<u64, String>, Vec<Message>),
    Acknowledged,
}

impl Sessions {
    pub(super) fn open_listen(&mut self, session: u64, outgoing: &Outgoing) {
        let Some(id) = outgoing.message.id().cloned() else { return };
        let filter = fields(subscriptions::filter_in(&outgoing.message));
        let wanted = LISTS.iter().filter(|list| value(&filter, list.field) == Some("true"));
        let lists = wanted.map(|list| list.method).collect();
        let uris = value(&filter, RESOURCES).and_then(|list| serde_json::from_str(list).ok());
        let listen = Listen {
            number: outgoing.number,
            id,
            session,
            lists,
            uris: uris.unwrap_or_default(),
            state: State::Opening,
        };
        self.listens.push(listen);
        self.ask(session, Own::Open, ("server/discover", None));
    }

    /// The session is open, or cannot be opened.
    pub(super) fn opened_for_listens(&mut self, session: u64, came: Came) {
        let is_new =
            |listen: &&mut Listen| listen.session == session && matches!(listen.state, State::Opening);
        if !came.is_good() {
            let failed: Vec<u64> =
                self.listens.iter_mut().filter(is_new).map(|listen| listen.number).collect();
            self.listens.retain(|listen| !failed.contains(&listen.number));
            let heard = failed.into_iter().map(|number| Out::Heard(came.clone().heard(number)));
            return self.out.extend(heard);
        }
        let new: Vec<u64> = self.listens.iter_mut().filter(is_new).map(|listen| listen.number).collect();
        for number in new {
            self.subscribe(session, number);
        }
    }

    /// Narrows what a subscription wants to what the service offers, and subscribes to its resources.
    fn subscribe(&mut self, session: u64, number: u64) {
        let Some(pooled) = self.pool.iter_mut().find(|pooled| pooled.name == session) else { return };
        let Some(listen) = self.listens.iter_mut().find(|listen| listen.number == number) else { return };
        let service = pooled.service.as_ref();
        let says = |capability, flag| service.is_some_and(|service| service.says(capability, flag));
        let offered = LISTS.iter().filter(|list| says(list.capability, "listChanged"));
        let offered: Vec<&str> = offered.map(|list| list.method).collect();
        listen.lists.retain(|method| offered.contains(method));
        if !says("resources", "subscribe") {
            listen.uris.clear();
        }
        // Not after the first list (LEG-5): what changes from now on is to be heard.
        pooled.legacy.listen_soon();
        let mut pending = HashMap::new();
        for uri in listen.uris.clone() {
            let Some(pooled) = self.pooled(session) else { return };
            let held = pooled.uris.entry(uri.clone()).or_default();
            held.count += 1;
            match held.asked {
                Some(asked) => drop(pending.insert(asked, uri)),
                None if held.count > 1 => {}
                None => {
                    let params = object([("uri", quote(&uri))]);
                    let asked = self.ask(session, Own::Subscribe, ("resources/subscribe", Some(&params)));
                    if let Some(held) = self.pooled(session).and_then(|pooled| pooled.uris.get_mut(&uri)) {
                        held.asked = Some(asked);
                    }
                    pending.insert(asked, uri);
                }
            }
        }
        if let Some(listen) = self.listens.iter_mut().find(|listen| listen.number == number) {
            listen.state = State::Subscribing(pending, Vec::new());
        }
        self.acknowledge(number);
    }

    /// The service has answered a `resources/subscribe`.
    pub(super) fn subscribed(&mut self, session: u64, asked: u64, is_good: bool) {
        let mut done = Vec::new();
        for listen in &mut self.listens {
            let State::Subscribing(pending, _) = &mut listen.state else { continue };
            let Some(uri) = pending.remove(&asked) else { continue };
            done.push(listen.number);
            if !is_good {
                listen.uris.remove(&uri);
            }
        }
        let Some(pooled) = self.pooled(session) else { return };
        let is_it = |(_, held): &(&String, &mut Held)| held.asked == Some(asked);
        let found = pooled.uris.iter_mut().find(is_it).map(|(uri, held)| {
            held.asked = None;
            (uri.clone(), held.count)
        });
        match found {
            Some((uri, _)) if !is_good => drop(pooled.uris.remove(&uri)),
            Some((uri, 0)) => self.unsubscribe(session, &uri),
            _ => {}
        }
        done.into_iter().for_each(|number| self.acknowledge(number));
    }

    /// Ends a subscription that no listen stream needs any more.
    fn unsubscribe(&mut self, session: u64, uri: &str) {
        let Some(pooled) = self.pooled(session) else { return };
        pooled.uris.remove(uri);
        let params = object([("uri", quote(uri))]);
        self.ask(session, Own::Ignored, ("resources/unsubscribe", Some(&params)));
    }

    /// Acknowledges a subscription as soon as nothing is missing.
    fn acknowledge(&mut self, number: u64) {
        let Some(listen) = self.listens.iter_mut().find(|listen| listen.number == number) else { return };
        let early = match &mut listen.state {
            State::Subscribing(pending, early) if pending.is_empty() => std::mem::take(early),
            _ => return,
        };
        listen.state = State::Acknowledged;
        let lists = LISTS.iter().filter(|list| listen.lists.contains(&list.method));
        let uris = serde_json::to_string(&listen.uris).unwrap_or_default();
        let uris = (!listen.uris.is_empty()).then_some((RESOURCES, &*uris));
        let filter = object(lists.map(|list| (list.field, "true")).chain(uris));
        let early = early.iter().map(|message| subscriptions::under(message, &listen.id));
        let said = std::iter::once(subscriptions::acknowledged(&filter, &listen.id)).chain(early);
        let said = said.map(|message| Heard::Told { during: Some(number), message, generation: None });
        self.out.extend(said.map(Out::Heard));
    }

    /// Hands a notification to the subscriptions that want it; false where it is none that is subscribed to.
    pub(super) fn fan_out(&mut self, session: u64, message: &Message) -> bool {
        let method = message.method();
        let is_update = method == UPDATED;
        if !is_update && !LISTS.iter().any(|list| list.method == method) {
            return false;
        }
        let params = fields(message.params().unwrap_or_default());
        let uri: String =
            value(&params, "uri").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        let is_covered = |held: &String| covers(held, &uri);
        let mut is_wanted = false;
        for listen in self.listens.iter_mut().filter(|listen| listen.session == session) {
            let wants =
                if is_update { listen.uris.iter().any(is_covered) } else { listen.lists.contains(&method) };
            if !wants {
                continue;
            }
            match &mut listen.state {
                State::Opening => {}
                State::Subscribing(_, early) if early.len() < MOST_EARLY => early.push(message.clone()),
                State::Subscribing(..) => {}
                State::Acknowledged => {
                    is_wanted = true;
                    let message = subscriptions::under(message, &listen.id);
                    let heard = Heard::Told { during: Some(listen.number), message, generation: None };
                    self.out.push(Out::Heard(heard));
                }
            }
        }
        if !is_wanted && method == TOOLS.method {
            self.out.push(Out::Heard(Heard::ToolsChanged));
        }
        true
    }

    /// The client ends a subscription; false where there is none of this number.
    pub(super) fn close_listen(&mut self, number: u64) -> bool {
        let Some(at) = self.listens.iter().position(|listen| listen.number == number) else { return false };
        let listen = self.listens.swap_remove(at);
        if matches!(listen.state, State::Opening) {
            return true;
        }
        for uri in listen.uris {
            let Some(pooled) = self.pooled(listen.session) else { break };
            let Some(held) = pooled.uris.get_mut(&uri) else { continue };
            held.count -= 1;
            // One that is asked for ends once the service has answered.
            if held.count == 0 && held.asked.is_none() {
                self.unsubscribe(listen.session, &uri);
            }
        }
        true
    }

    /// The end: each subscription gets its result, and the word that ends it on stdio (T-9).
    pub(super) fn end_listens(&mut self) {
        for listen in std::mem::take(&mut self.listens) {
            self.out.extend(end_of_listen(listen.number, &listen.id));
        }
    }
}
