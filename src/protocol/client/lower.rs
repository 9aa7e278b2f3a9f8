//! Answers of the stateless era as a client with a handshake knows them (sections 3.2, 3.8, X-4, X-5).
//!
//! Refuses to touch what both eras have in common.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::INTERNAL_ERROR;
use crate::error::{Error, Executed, Kind};
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{
    HEADER_MISMATCH, Id, MISSING_CAPABILITY, Message, UNSUPPORTED_VERSION, quote,
};
use crate::protocol::object::{fields, object, string, try_fields, value};
use crate::protocol::revision::{self, FIRST_MODERN};
use crate::protocol::tool_rules::tool_name;

/// The fields of a result, as they came.
pub(super) type Came<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;
type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Maximum tools whose results are wrapped, and bytes of a name; what is forgotten is wrapped where it is no object.
const MOST_WRAPPED: usize = 16_384;
const LONGEST_NAME: usize = 256;

/// What is remembered of lists to bring later answers down.
#[derive(Debug, Default)]
pub(super) struct Lowering {
    /// Tools whose structured content goes into an object, as their schema says it.
    wrapped: HashSet<String>,
}

/// Returns the type of a result; one without is complete (T-5).
pub(super) fn result_type<'a>(result: &Came<'a>) -> Cow<'a, str> {
    value(result, "resultType").and_then(string).unwrap_or(Cow::Borrowed("complete"))
}

/// Says that the service speaks these versions only, and asistry none of them.
pub(super) fn no_version_in_common(offered: &str) -> Error {
    let why = format!(
        "incompatible protocol versions: the service speaks {offered} only, and asistry {FIRST_MODERN}"
    );
    Error::new(Kind::EraMismatch, why).hint("look for a newer asistry").executed(Executed::No)
}

/// Returns an error without the codes that only the stateless era knows.
///
/// # Errors
/// [`no_version_in_common`].
pub(super) fn error(id: &Id, answer: &Message) -> Result<Message, Error> {
    let Some(error) = ErrorFields::of(answer) else { return Ok(answer.under_id(id)) };
    let why = match error.code {
        HEADER_MISMATCH => format!("the service refused the headers of the request: {}", error.message),
        MISSING_CAPABILITY => {
            let needed = error.data["requiredCapabilities"].as_object();
            let needed: Vec<&str> =
                needed.into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
            format!("the service needs a capability that this client does not have: {}", needed.join(", "))
        }
        UNSUPPORTED_VERSION => {
            let offered = error.data["supported"].as_array();
            let offered: Vec<&str> = offered.into_iter().flatten().filter_map(Value::as_str).collect();
            let is_known = |version: &&str| *version == FIRST_MODERN || revision::named(version).is_some();
            if !offered.is_empty() && !offered.iter().any(is_known) {
                return Err(no_version_in_common(&offered.join(", ")));
            }
            let offered = if offered.is_empty() { &*error.message } else { &*offered.join(", ") };
            format!("incompatible protocol versions: the service speaks {offered}")
        }
        _ => return Ok(answer.under_id(id)),
    };
    let data = (!error.data.is_null()).then(|| ("data", error.data.to_string()));
    let parts = [("code", INTERNAL_ERROR.to_string()), ("message", quote(&why))];
    Ok(Message::error(id, &object(parts.into_iter().chain(data))))
}

/// Returns `params` or a result without the words of the stateless era.
fn plain<'a>(came: &'a Came<'a>) -> Fields<'a> {
    let mut kept = Vec::with_capacity(came.len());
    for (name, raw) in came {
        match &**name {
            "resultType" | "ttlMs" | "cacheScope" => {}
            "_meta" => {
                let Some(meta) = try_fields(raw.get()) else {
                    kept.push((Cow::Borrowed(&**name), Cow::Borrowed(raw.get())));
                    continue;
                };
                let meta: Vec<(Cow<'_, str>, &RawValue)> = meta
                    .into_iter()
                    .filter(|(name, _)| {
                        !matches!(
                            &**name,
                            "io.modelcontextprotocol/serverInfo" | "io.modelcontextprotocol/subscriptionId"
                        )
                    })
                    .collect();
                if !meta.is_empty() {
                    let meta = object(meta.into_iter().map(|(name, raw)| (name, raw.get())));
                    kept.push((Cow::Borrowed(&**name), Cow::Owned(meta)));
                }
            }
            name => kept.push((Cow::Borrowed(name), Cow::Borrowed(raw.get()))),
        }
    }
    kept
}

/// Returns a list for a client that keeps it with its lifetime, which is 0 where the service gives none (MOD-14).
pub(super) fn with_lifetime(lowered: &str, came: &Came<'_>) -> String {
    let given = value(came, "ttlMs").and_then(|raw| serde_json::from_str::<f64>(raw).ok());
    let lifetime = (given.unwrap_or_default().max(0.0) as u64).to_string();
    let lowered = fields(lowered);
    let kept = lowered.iter().map(|(name, raw)| (&**name, raw.get()));
    object(kept.chain([("ttlMs", &*lifetime)]))
}

/// Returns a notification without the words of the stateless era.
pub(super) fn notification(message: &Message) -> Message {
    let params = message.params().and_then(|params| Some((params, try_fields(params)?)));
    let Some((params, came)) = params else { return message.clone() };
    Message::read(message.with_part(params, &object(plain(&came)))).unwrap_or_else(|_| message.clone())
}

impl Lowering {
    /// Returns the result of a request as its client knows it.
    pub fn result(&mut self, request: &Message, came: &Came<'_>) -> String {
        let mut kept = plain(came);
        match request.method() {
            "tools/list" => {
                for (_, tools) in kept.iter_mut().filter(|(name, _)| name == "tools") {
                    *tools = Cow::Owned(self.tools(tools));
                }
            }
            "tools/call" => self.call(request, &mut kept),
            _ => {}
        }
        object(kept)
    }

    fn tools(&mut self, list: &str) -> String {
        let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(list) else { return list.to_owned() };
        let tools: Vec<String> = tools.into_iter().map(|tool| self.tool(tool.get())).collect();
        format!("[{}]", tools.join(","))
    }

    /// An output schema of another root than an object is put into one (section 3.8).
    fn tool(&mut self, tool: &str) -> String {
        let mut tool_fields = fields(tool);
        let name = value(&tool_fields, "name").and_then(string).unwrap_or_default();
        self.wrapped.remove(&*name);
        let Some(at) = tool_fields.iter().position(|(name, _)| name == "outputSchema") else {
            return tool.to_owned();
        };
        let Ok(schema) = serde_json::from_str::<Value>(tool_fields[at].1.get()) else {
            return tool.to_owned();
        };
        if schema["type"] == "object" {
            return tool.to_owned();
        }
        if self.wrapped.len() >= MOST_WRAPPED {
            self.wrapped.clear();
        }
        if name.len() <= LONGEST_NAME {
            self.wrapped.insert(name.into_owned());
        }
        tool_fields.remove(at);
        let schema = wrapped(schema).to_string();
        let rest = tool_fields.iter().map(|(name, raw)| (&**name, raw.get()));
        object(rest.chain([("outputSchema", &*schema)]))
    }

    fn call(&self, request: &Message, result: &mut Fields<'_>) {
        let Some(at) = result.iter().position(|(name, _)| name == "structuredContent") else { return };
        let structured = result[at].1.clone();
        let is_wrapped = tool_name(request).is_some_and(|name| self.wrapped.contains(&*name));
        if is_wrapped || !structured.starts_with('{') {
            result[at].1 = Cow::Owned(object([("result", &*structured)]));
        }
        let content = result.iter().position(|(name, _)| name == "content");
        let blocks: Vec<Value> =
            content.and_then(|at| serde_json::from_str(&result[at].1).ok()).unwrap_or_default();
        if blocks.iter().any(|block| block["type"] == "text") {
            return;
        }
        let text = object([("type", r#""text""#), ("text", &*quote(&structured))]);
        match content {
            Some(at) => {
                let list = &result[at].1;
                let open = list.strip_suffix(']').unwrap_or("[").trim_end();
                let comma = if open.ends_with('[') { "" } else { "," };
                result[at].1 = Cow::Owned(format!("{open}{comma}{text}]"));
            }
            None => result.push((Cow::Borrowed("content"), Cow::Owned(format!("[{text}]")))),
        }
    }
}

/// Puts a schema into an object; pointers to its own parts follow it there.
fn wrapped(mut schema: Value) -> Value {
    let dialect = schema.as_object_mut().and_then(|fields| fields.shift_remove("$schema"));
    moved(&mut schema);
    let mut outer = serde_json::json!({
        "type": "object", "properties": {"result": schema}, "required": ["result"],
    });
    if let Some(dialect) = dialect {
        outer["$schema"] = dialect;
    }
    outer
}

/// Rewrites same-document pointers. A part with an `$id` resolves its own; values are no schemas; below `properties` and
/// the like the names of parts may be those of keywords.
fn moved(schema: &mut Value) {
    match schema {
        Value::Object(fields)
            if fields.get("$id").and_then(Value::as_str).is_some_and(|id| !id.starts_with('#')) => {}
        Value::Object(fields) => {
            for (keyword, value) in fields {
                match (&**keyword, value) {
                    ("$ref" | "$dynamicRef", Value::String(pointer))
                        if pointer == "#" || pointer.starts_with("#/") =>
                    {
                        pointer.insert_str(1, "/properties/result");
                    }
                    ("const" | "enum" | "default" | "examples", _) => {}
                    (
                        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
                        | "dependencies",
                        Value::Object(parts),
                    ) => parts.values_mut().for_each(moved),
                    (_, value) => moved(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(moved),
        _ => {}
    }
}
