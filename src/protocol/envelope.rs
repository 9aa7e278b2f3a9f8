//! The envelope of the stateless era: what each request says about its client in `_meta` (ERA-1, MOD-1).
//!
//! Refuses to change a message.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{Message, quote};

/// What names of the specification begin with.
pub const PREFIX: &str = "io.modelcontextprotocol/";
/// The extension for tasks; of the older era, tasks of another form are part of the specification (section 3.7).
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The fields of an envelope.
const FIELDS: [&str; 3] = ["protocolVersion", "clientCapabilities", "clientInfo"];

/// The field that asks for messages of the log.
const LOG_LEVEL: &str = "logLevel";
/// The levels of the specification's "Logging", section "Log levels", the most talkative first.
pub const LOG_LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Where a modern request says which revision it speaks; the slash before it may be escaped.
static VERSION: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("protocolVersion"));

/// Says whether a request carries the envelope.
pub fn is_modern(message: &Message) -> bool {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "_meta")]
        _meta: Envelope<'a>,
    }
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
        _version: Cow<'a, str>,
    }
    // Most messages of legacy clients need not be read for it.
    VERSION.find(message.text()).is_some()
        && message.params().is_some_and(|params| serde_json::from_str::<Params>(params).is_ok())
}

/// Says whether a field of `_meta` belongs to the envelope.
pub fn is_field(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|name| name == LOG_LEVEL || FIELDS.contains(&name))
}

/// Returns the envelope of a request as the JSON of a `_meta` that holds nothing else.
pub fn of(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "_meta")]
        meta: BTreeMap<Cow<'a, str>, &'a RawValue>,
    }
    let params: Params = serde_json::from_str(message.params()?).ok()?;
    let field = |name| Some((name, params.meta.get(&*format!("{PREFIX}{name}"))?.get()));
    Some(json(FIELDS.into_iter().filter_map(field)))
}

/// Makes an envelope: `version` is a date, `info` the JSON of a `clientInfo`.
pub fn new(version: &str, info: &str) -> String {
    json([(FIELDS[0], &*quote(version)), (FIELDS[1], "{}"), (FIELDS[2], info)].into_iter())
}

fn json<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let fields: Vec<String> = fields.map(|(name, raw)| format!(r#""{PREFIX}{name}":{raw}"#)).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_of_a_request_is_taken_without_the_rest_of_its_meta() {
        let envelope = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1.0}}"#;
        let meta = envelope.replacen('{', r#"{"progressToken":1,"#, 1);
        let request = format!(r#"{{"id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
        let request = Message::read(request).unwrap();
        assert!(is_modern(&request));
        assert_eq!(of(&request).as_deref(), Some(envelope));
        let plain = Message::read(r#"{"id":1,"method":"tools/list","params":{}}"#).unwrap();
        assert!(!is_modern(&plain) && of(&plain).is_none());
        assert!(
            new("2026-07-28", r#"{"name":"x"}"#)
                .contains(r#""io.modelcontextprotocol/clientInfo":{"name":"x"}"#)
        );
    }
}
