//! AgentStack: a REST call for each action, and the catalogue of them.
//!
//! Refuses an action whose name could lead to another path.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH};
use serde_json::value::RawValue;
use url::Url;

use crate::protocol::http::{CredentialUse, HttpCall, Signing};
use crate::protocol::message::quote;
use crate::protocol::object::{fields, object, value};

/// The longest name of an action, in bytes.
const LONGEST_NAME: usize = 256;

/// How the reply to an action comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// As one JSON body.
    Whole,
    /// As events, the last of which holds the result.
    Events,
}

/// The calls of AgentStack below one base URL.
#[derive(Clone, Debug)]
pub struct AgentStack {
    base: Arc<Url>,
}

impl AgentStack {
    /// Speaks to this base URL, such as `https://agentstack.tech/mcp`.
    pub fn new(base: Arc<Url>) -> Self {
        Self { base }
    }

    /// Says whether an action can have this name.
    pub fn is_action(name: &str) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        name.len() <= LONGEST_NAME && name.chars().all(is_plain) && !name.trim_matches('.').is_empty()
    }

    /// Returns the GET of the catalogue, which may answer that it is still the one of this tag.
    pub fn actions(&self, etag: Option<&str>) -> HttpCall {
        let mut call = self.get(&["actions"]);
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            Arc::make_mut(&mut call.headers).insert(IF_NONE_MATCH, etag);
        }
        call
    }

    /// Returns the GET of the actions with the schemas of their parameters.
    pub fn schemas(&self) -> HttpCall {
        self.get(&["tools"])
    }

    /// Returns the POST of an action; `params` is JSON text.
    pub fn action(&self, name: &str, params: &str, reply: Reply) -> HttpCall {
        let body = object([("tool", &*quote(name)), ("params", params)]);
        match reply {
            Reply::Whole => self.post(&["tools", name], body, "application/json"),
            Reply::Events => {
                self.post(&["tools", name, "stream"], body, "text/event-stream, application/json")
            }
        }
    }

    /// Returns the POST of several steps; `body` is JSON text.
    pub fn batch(&self, body: String) -> HttpCall {
        self.post(&[], body, "application/json")
    }

    /// Returns the GET of the state of a job.
    pub fn job(&self, id: &str) -> HttpCall {
        self.get(&["jobs", id])
    }

    /// Returns where in a body these arguments of an action, or of its steps, hold a string; in order.
    pub fn arguments_in(body: &str, names: &[String]) -> Vec<Range<usize>> {
        let whole = fields(body);
        let steps: Vec<&RawValue> =
            value(&whole, "steps").and_then(|steps| serde_json::from_str(steps).ok()).unwrap_or_default();
        let of_steps = steps.iter().filter_map(|step| value(&fields(step.get()), "params"));
        let params = value(&whole, "params").into_iter().chain(of_steps).map(fields);
        let named = |name: &str| names.iter().any(|known| known == name);
        let strings = params.flatten().filter(|(name, raw)| named(name) && raw.get().starts_with('"'));
        let mut places: Vec<Range<usize>> = strings
            .map(|(_, raw)| {
                // A part of the body: no JSON text is copied.
                let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
                start..start + raw.get().len()
            })
            .collect();
        places.sort_by_key(|place| place.start);
        places
    }

    fn get(&self, path: &[&str]) -> HttpCall {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let (method, body) = (http::Method::GET, Bytes::new());
        // The catalogue is read without a key, too.
        let signing = Signing { credential: CredentialUse::Optional, ..Signing::default() };
        HttpCall { method, url: self.at(path), headers: headers.into(), body, signing }
    }

    fn post(&self, path: &[&str], body: String, accept: &'static str) -> HttpCall {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (ACCEPT, HeaderValue::from_static(accept)),
        ]);
        let (method, body) = (http::Method::POST, Bytes::from(body));
        HttpCall { method, url: self.at(path), headers: headers.into(), body, signing: Signing::default() }
    }

    fn at(&self, path: &[&str]) -> Arc<Url> {
        if path.is_empty() {
            return self.base.clone();
        }
        let mut url = (*self.base).clone();
        // Only a URL without a host has no segments, and such an endpoint is refused before.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_goes_below_the_base() {
        for base in ["https://h/mcp", "https://h/mcp/"] {
            let wire = AgentStack::new(Arc::new(Url::parse(base).unwrap()));
            assert_eq!(wire.actions(None).url.as_str(), "https://h/mcp/actions");
            let call = wire.action("projects.get", r#"{"n":1.0}"#, Reply::Events);
            assert_eq!(call.url.as_str(), "https://h/mcp/tools/projects.get/stream");
            assert_eq!(call.body, r#"{"tool":"projects.get","params":{"n":1.0}}"#);
            assert_eq!(wire.batch(String::new()).url.as_str(), base);
        }
    }

    #[test]
    fn an_argument_is_found_in_params_and_in_steps_but_not_deeper() {
        let names = ["auth_key".to_owned()];
        for (body, found) in [
            (r#"{"tool":"t","params":{"auth_key":"x","n":{"auth_key":"y"}},"auth_key":"z"}"#, &["\"x\""][..]),
            (
                r#"{"steps":[{"params":{"auth_key":"a"}},{"params":{"auth_key":7}},{"auth_key":"b"}]}"#,
                &["\"a\""],
            ),
            (r#"{"steps":[{"params":{"auth_key":"a"}}],"params":{"auth_key":"b"}}"#, &["\"a\"", "\"b\""]),
            ("{}", &[]),
        ] {
            let ranges = AgentStack::arguments_in(body, &names);
            let there: Vec<&str> = ranges.into_iter().map(|range| &body[range]).collect();
            assert_eq!(there, found, "{body}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_action() {
        for name in ["", ".", "..", "a/b", "a b", "a%2fb", "a?b", "ä", &"a".repeat(300)] {
            assert!(!AgentStack::is_action(name), "{name}");
        }
        assert!(AgentStack::is_action("projects.create_project"));
    }
}
