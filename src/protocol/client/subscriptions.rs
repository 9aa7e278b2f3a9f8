//! Subscriptions of a client with a handshake at a service of the stateless era: what it may hear unasked is one
//! `subscriptions/listen` there (section 3.4).
//!
//! Refuses to subscribe to what the service does not offer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Client, INVALID_PARAMS, METHOD_NOT_FOUND, Said};
use crate::error::{Error, Executed, Kind};
use crate::protocol::Instant;
use crate::protocol::effect::Effect;
use crate::protocol::message::{Message, quote};
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::request::{Outgoing, covers};
use crate::protocol::subscriptions::{LISTS, RESOURCES, TOOLS, UPDATED};
use crate::protocol::upstream::{Acknowledged, Gap};

/// How long a subscription may wait for its acknowledgement.
const WITHIN: Duration = Duration::from_secs(60);

/// What the client wants to hear.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// The fields of the lists whose changes the service reports.
    lists: Vec<&'static str>,
    offers_resources: bool,
    /// The resources, as JSON texts of their URIs.
    uris: BTreeSet<String>,
    /// The subscriptions that are not answered yet, with their URIs.
    pending: Vec<Pending>,
}

/// A subscription that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct Pending {
    number: u64,
    uri: String,
    until: Instant,
}

impl Subscriptions {
    /// Reads what a service offers from its capabilities.
    pub fn of(capabilities: &str) -> Self {
        let capabilities = fields(capabilities);
        let flag = |area: &str, name: &str| {
            let area = fields(value(&capabilities, area).unwrap_or_default());
            value(&area, name) == Some("true")
        };
        let lists = LISTS.iter().filter(|list| flag(list.capability, "listChanged")).map(|list| list.field);
        let offers_resources = flag("resources", "subscribe");
        Self { lists: lists.collect(), offers_resources, ..Self::default() }
    }

    /// Says whether the client wants to hear this: an update of a resource, or of a part of it, only as long as it is
    /// subscribed to.
    pub fn want(&self, notification: &Message) -> bool {
        if notification.method() != UPDATED {
            return true;
        }
        let params = fields(notification.params().unwrap_or_default());
        let updated = value(&params, "uri").and_then(string).unwrap_or_default();
        let is_covered = |uri: &String| covers(&string(uri).unwrap_or_default(), &updated);
        self.uris.iter().any(is_covered)
    }

    /// Takes over a subscription of a session, with its `params`.
    pub fn keep(&mut self, params: &str) {
        let uri = fields(params).into_iter().find(|(name, raw)| name == "uri" && raw.get().starts_with('"'));
        self.uris.extend(uri.map(|(_, raw)| canonical(raw.get())));
    }

    /// Returns the JSON text of the filter; `None` where there is nothing to hear.
    fn filter(&self) -> Option<String> {
        let uris = format!("[{}]", self.uris.iter().map(String::as_str).collect::<Vec<_>>().join(","));
        let resources = (!self.uris.is_empty()).then_some((RESOURCES, &*uris));
        let lists = self.lists.iter().map(|field| (*field, "true"));
        let filter = object(lists.chain(resources));
        (filter != "{}").then_some(filter)
    }
}

impl Client {
    /// The client has confirmed its session: what it may hear is asked for.
    pub(in crate::protocol) fn subscribes(&mut self) {
        self.said.push(Said::Listens(self.door.subscriptions.filter()));
    }

    /// What the client heard in a session is asked for without one.
    pub(in crate::protocol) fn subscribes_again(&mut self) {
        if self.door.subscriptions.filter().is_some() {
            self.subscribes();
        }
    }

    /// Takes `resources/subscribe` or `resources/unsubscribe`, which are answered here.
    pub(super) fn edit_subscriptions(&mut self, outgoing: &Outgoing) {
        let (number, request) = (outgoing.number, &outgoing.message);
        let Some(id) = request.id() else { return };
        let params = fields(request.params().unwrap_or_default());
        let Some(uri) = value(&params, "uri").filter(|raw| raw.starts_with('"')) else {
            let refusal = Message::refusal(id, INVALID_PARAMS, "Invalid params: uri is missing");
            return self.answer_here(number, &refusal);
        };
        let uri = canonical(uri);
        if !self.door.subscriptions.offers_resources {
            let why = format!("Method not found: {}", request.method());
            return self.answer_here(number, &Message::refusal(id, METHOD_NOT_FOUND, &why));
        }
        if request.method() == "resources/unsubscribe" {
            self.door.subscriptions.uris.remove(&uri);
            // What was asked for before is done with, too.
            let is_it = |pending: &mut Pending| pending.uri == uri;
            for earlier in self.door.subscriptions.pending.extract_if(.., is_it).collect::<Vec<_>>() {
                self.done(earlier.number);
            }
            self.done(number);
        } else {
            let until = outgoing.promise.deadline().map_or(self.now + WITHIN, |at| at.min(self.now + WITHIN));
            self.effects.push(Effect::Alarm(until.saturating_duration_since(self.now)));
            self.door.subscriptions.uris.insert(uri.clone());
            self.door.subscriptions.pending.push(Pending { number, uri, until });
        }
        self.subscribes();
    }

    /// The service has acknowledged a filter.
    pub(in crate::protocol) fn acknowledged(&mut self, came: &Acknowledged) {
        let asked = uris_in(&came.asked);
        let honoured = uris_in(&came.honoured);
        let is_asked = |pending: &mut Pending| asked.contains(&pending.uri);
        for Pending { number, uri, .. } in
            self.door.subscriptions.pending.extract_if(.., is_asked).collect::<Vec<_>>()
        {
            let Some(id) = self.open.get(&number).and_then(|open| open.message.id()).cloned() else {
                continue;
            };
            let answer = if honoured.contains(&uri) {
                Message::result(&id, "{}")
            } else {
                self.door.subscriptions.uris.remove(&uri);
                Message::refusal(&id, INVALID_PARAMS, "the service takes no subscription to this resource")
            };
            self.answer_here(number, &answer);
        }
        if came.after == Gap::Some {
            self.report_gap(&came.honoured);
        }
    }

    /// Something may have been missed: a hint too many is legal, one that is missed is not.
    fn report_gap(&mut self, honoured: &str) {
        let filter = fields(honoured);
        for list in LISTS {
            if value(&filter, list.field) == Some("true") {
                if list == TOOLS {
                    self.tools.changed();
                }
                self.deliver_aside(Message::notification(list.method, None).text().clone(), None);
            }
        }
        for uri in uris_in(honoured) {
            let params = object([("uri", &*uri)]);
            let updated = Message::notification(UPDATED, Some(&params));
            self.deliver_aside(updated.text().clone(), None);
        }
    }

    /// The service refuses a filter: what was asked for in it fails, the rest is asked for anew.
    pub(in crate::protocol) fn not_acknowledged(&mut self, asked: &str, error: &Error) {
        let asked = uris_in(asked);
        self.fail_subscriptions(|pending| asked.contains(&pending.uri), error);
        if !self.door.subscriptions.pending.is_empty() {
            self.subscribes();
        }
    }

    /// Fails the subscriptions that wait for their acknowledgement.
    pub(super) fn fail_subscriptions(&mut self, which: impl Fn(&Pending) -> bool, error: &Error) {
        let failed = self.door.subscriptions.pending.extract_if(.., |pending| which(pending));
        for Pending { number, uri, .. } in failed.collect::<Vec<_>>() {
            self.door.subscriptions.uris.remove(&uri);
            self.failed(number, error.clone());
        }
    }

    /// Gives up the subscriptions that were not acknowledged in time.
    pub(super) fn end_late_subscriptions(&mut self) {
        let now = self.now;
        let error = Error::new(Kind::Timeout, "the service did not acknowledge the subscription in time");
        let error = error.hint("try again later").executed(Executed::Maybe);
        self.fail_subscriptions(|pending| pending.until <= now, &error);
    }

    /// A request about a subscription needs nothing more.
    fn done(&mut self, number: u64) {
        if let Some(id) = self.open.get(&number).and_then(|open| open.message.id()).cloned() {
            self.answer_here(number, &Message::result(&id, "{}"));
        }
    }
}

/// Returns the JSON texts of the URIs in a filter.
fn uris_in(filter: &str) -> BTreeSet<String> {
    let filter = fields(filter);
    let list = value(&filter, RESOURCES).unwrap_or("[]");
    let list: Vec<&serde_json::value::RawValue> = serde_json::from_str(list).unwrap_or_default();
    list.into_iter().map(|uri| canonical(uri.get())).collect()
}

/// Returns a string as we write it: others escape it otherwise.
fn canonical(raw: &str) -> String {
    string(raw).map_or_else(|| raw.to_owned(), |text| quote(&text))
}
