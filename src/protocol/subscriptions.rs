//! Subscriptions of the stateless era: the lists whose changes a client may hear, and the messages of a
//! `subscriptions/listen` (section 3.4).
//!
//! Refuses to know who listens: a door, sessions, or a service that does not speak MCP.

use super::message::{Id, Message};
use super::object::{fields, object, value};

/// A list whose changes may be heard.
#[derive(Debug, PartialEq, Eq)]
pub struct List {
    /// Its capability.
    pub capability: &'static str,
    /// Its field in a filter.
    pub field: &'static str,
    /// The notification that reports a change.
    pub method: &'static str,
}

/// The list of tools.
pub const TOOLS: List =
    List { capability: "tools", field: "toolsListChanged", method: "notifications/tools/list_changed" };
/// All of them.
pub const LISTS: [List; 3] = [
    TOOLS,
    List { capability: "prompts", field: "promptsListChanged", method: "notifications/prompts/list_changed" },
    List {
        capability: "resources",
        field: "resourcesListChanged",
        method: "notifications/resources/list_changed",
    },
];
/// The field of a filter that names resources.
pub const RESOURCES: &str = "resourceSubscriptions";
/// The notification of an update of a resource.
pub const UPDATED: &str = "notifications/resources/updated";
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// Says whether a request opens a subscription.
pub fn is_listen(message: &Message) -> bool {
    message.method() == "subscriptions/listen"
}

/// Returns the JSON text of the filter in a request or an acknowledgement.
pub fn filter_in(message: &Message) -> &str {
    value(&fields(message.params().unwrap_or_default()), "notifications").unwrap_or("{}")
}

/// Says whether a notification acknowledges a subscription.
pub fn is_acknowledgement(message: &Message) -> bool {
    message.method() == ACKNOWLEDGED
}

/// Acknowledges the subscription of this id with the filter that is honoured (JSON text).
pub fn acknowledged(filter: &str, id: &Id) -> Message {
    under(&Message::notification(ACKNOWLEDGED, Some(&object([("notifications", filter)]))), id)
}

/// Returns a notification on the stream of the subscription that the client knows by this id.
pub fn under(message: &Message, id: &Id) -> Message {
    let params = fields(message.params().unwrap_or_default());
    let meta = fields(value(&params, "_meta").unwrap_or_default());
    let id = id.json();
    let meta = meta.iter().map(|(name, raw)| (&**name, raw.get()));
    let meta = object([(SUBSCRIPTION_ID, &*id)].into_iter().chain(meta));
    let rest = params.iter().filter(|(name, _)| name != "_meta").map(|(name, raw)| (&**name, raw.get()));
    let params = object([("_meta", &*meta)].into_iter().chain(rest));
    Message::notification(message.method(), Some(&params))
}

/// Finds the JSON text of the subscription's id in the `params` of a notification, or in a result.
pub fn id_in(params: &str) -> Option<&str> {
    value(&fields(value(&fields(params), "_meta")?), SUBSCRIPTION_ID)
}

/// Returns what ends the subscription of this id: its result, and the word for it (STD-7, T-9).
pub fn end(id: &Id) -> (Message, Message) {
    let id_text = id.json();
    let meta = object([(SUBSCRIPTION_ID, &*id_text)]);
    let result = object([("resultType", r#""complete""#), ("_meta", &*meta)]);
    let word = object([("requestId", &*id_text)]);
    (Message::result(id, &result), Message::notification("notifications/cancelled", Some(&word)))
}
