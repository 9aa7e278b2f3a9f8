//! `asistry keys` and the stored keys, with the real binary and the encrypted file.

mod bridge;
mod given;
mod hygiene;
mod life;
mod origins;
mod store;
#[cfg(target_os = "linux")]
mod terminal;

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::service::{Received, Reply, Service};

/// A profile for each of the five services, and a key of the right form.
const SERVICES: [(&str, &str); 5] = [
    ("asistry", "ask_Vq8sTz31LmXw07Kd"),
    ("zuko", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"),
    ("task-tracking", "mcp_live_Vq8sTz31LmXw07Kd"),
    ("agentstack", "anon_ask_Vq8sTz31LmXw07Kd"),
    ("bob-studio", "bsk_Vq8sTz31LmXw07Kd"),
];
const OLD: &str = "ask_old0Vq8sTz31LmXw07Kd";
const NEW: &str = "ask_new0Vq8sTz31LmXw07Kd";
/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/mcp";

/// The keys that a service takes.
#[derive(Clone, Default)]
struct Accepted(Arc<Mutex<Vec<String>>>);

impl Accepted {
    fn only(keys: &[&str]) -> Self {
        let accepted = Self::default();
        accepted.become_only(keys);
        accepted
    }

    fn become_only(&self, keys: &[&str]) {
        *self.0.lock().unwrap() = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    /// The answer to a request with any other key.
    fn refusal(&self, received: &Received) -> Option<Reply> {
        let keys = self.0.lock().unwrap();
        let fits = key_of(received).is_some_and(|key| keys.contains(&key));
        let error = json!({"error": "this key is not known"});
        (!fits).then(|| Reply::status(401, "application/json", error.to_string()))
    }

    /// A service that takes these keys and no other.
    fn service(&self) -> Service {
        let accepted = self.clone();
        Service::start(move |received| accepted.refusal(received))
    }
}

fn key_of(received: &Received) -> Option<String> {
    let bearer = received.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    bearer.or(received.header("x-api-key")).map(str::to_owned)
}

fn origin(url: &str) -> String {
    url.trim_end_matches("/mcp").to_owned()
}
