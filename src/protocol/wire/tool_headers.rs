//! Arguments of tools that a header repeats: `x-mcp-header` in their schemas, `Mcp-Param-*` on their calls
//! (section 4, MOD-2, MOD-9).
//!
//! Refuses a declaration that section 4 does not allow: its tool is left out of the list.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::stateless::encoded;
use crate::protocol::message::{MAX_SAFE_INTEGER, Message};
use crate::protocol::tool_rules::{ToolPage, tool_name};

const DECLARATION: &str = "x-mcp-header";
/// Maximum bytes that are remembered of all tools; past it they are forgotten and read again.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Memory of a tool beside its texts, in bytes.
const OVERHEAD: usize = 128;
/// Maximum arguments of one tool that headers repeat.
const MOST_PARAMS: usize = 64;

/// The headers of all tools that were listed.
#[derive(Debug, Default)]
pub struct ToolHeaders {
    tools: HashMap<String, Vec<Param>>,
    bytes: usize,
    /// Where the list is read on that was begun last.
    walk: Walk,
}

/// How far the list was read, page by page from its beginning, since the service last reported a change.
#[derive(Debug, Default, PartialEq, Eq)]
enum Walk {
    #[default]
    NotBegun,
    /// The next page is that of this cursor (JSON text).
    At(String),
    /// To its end.
    Whole,
}

/// An argument that a header repeats.
#[derive(Debug)]
struct Param {
    header: HeaderName,
    /// The keys that lead to it.
    path: Vec<String>,
}

/// A page of the list of tools.
#[derive(Debug, Default)]
pub struct ListedTools {
    /// The message without the tools that were left out; `None` where there are none.
    pub text: Option<Bytes>,
    /// JSON text of the cursor of the next page.
    pub next: Option<String>,
    /// Says of each tool that was left out why.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default, rename = "inputSchema")]
    input_schema: Option<&'a RawValue>,
}

impl ToolHeaders {
    /// Says whether this call can be sent with all its headers.
    pub fn know(&self, call: &Message) -> bool {
        self.walk == Walk::Whole || tool_name(call).is_none_or(|tool| self.tools.contains_key(&*tool))
    }

    /// The service reports a change, or refused the headers of a call.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Learns from the answer to a `tools/list` of this cursor (JSON text).
    pub fn learn(&mut self, cursor: Option<&str>, answer: &Message) -> ListedTools {
        let mut listed = ListedTools::default();
        let Some(ToolPage { list, entries, next }) = ToolPage::of(answer) else { return listed };
        listed.next = next.map(str::to_owned);
        let mut kept = Vec::with_capacity(entries.len());
        for entry in &entries {
            match self.learn_tool(entry.get()) {
                Ok(()) => kept.push(entry.get()),
                Err(note) => listed.notes.push(note),
            }
        }
        let goes_on = match (&self.walk, cursor) {
            (_, None) => true,
            (Walk::At(next), Some(cursor)) => next == cursor,
            _ => false,
        };
        if goes_on {
            self.walk = listed.next.clone().map_or(Walk::Whole, Walk::At);
        }
        if kept.len() < entries.len() {
            listed.text = Some(answer.with_part(list, &format!("[{}]", kept.join(","))));
        }
        listed
    }

    fn learn_tool(&mut self, entry: &str) -> Result<(), String> {
        // What cannot be read is passed on: it declares nothing.
        let Ok(tool) = serde_json::from_str::<Tool>(entry) else { return Ok(()) };
        let schema = tool.input_schema.map(RawValue::get).unwrap_or_default();
        let params = match memmem::find(schema.as_bytes(), DECLARATION.as_bytes()) {
            None => Ok(Vec::new()),
            Some(_) => declared(&serde_json::from_str(schema).unwrap_or_default()),
        };
        match params {
            Ok(params) => {
                self.remember(&tool.name, params);
                Ok(())
            }
            Err(why) => {
                self.tools.remove(&*tool.name);
                Err(format!("left out the tool {}: its {DECLARATION} {why}", tool.name))
            }
        }
    }

    fn remember(&mut self, name: &str, params: Vec<Param>) {
        let texts = params.iter().flat_map(|param| &param.path).map(String::len).sum::<usize>();
        self.bytes += OVERHEAD + name.len() + texts;
        if self.bytes > MOST_BYTES {
            self.forget();
            self.bytes = OVERHEAD + name.len() + texts;
        }
        if self.bytes <= MOST_BYTES {
            self.tools.insert(name.to_owned(), params);
        }
    }

    /// Adds the headers of a call.
    pub(super) fn add(&self, tool: &str, arguments: Option<&RawValue>, headers: &mut HeaderMap) {
        let params = self.tools.get(tool).filter(|params| !params.is_empty());
        let (Some(params), Some(arguments)) = (params, arguments) else { return };
        let Ok(arguments) = serde_json::from_str::<Value>(arguments.get()) else { return };
        for param in params {
            let value = param.path.iter().try_fold(&arguments, |value, key| value.get(key));
            let text = value.and_then(text_of).and_then(|text| HeaderValue::from_str(&text).ok());
            if let Some(text) = text {
                headers.insert(param.header.clone(), text);
            }
        }
    }
}

/// Returns a value as a header holds it; `None` for one that no header repeats.
fn text_of(value: &Value) -> Option<String> {
    let whole = |n: &serde_json::Number| match n.as_i64() {
        Some(whole) => Some(whole),
        None => {
            n.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= MAX_SAFE_INTEGER as f64).map(|n| n as i64)
        }
    };
    match value {
        Value::String(text) => Some(encoded(text)),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => whole(number)
            .filter(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs())
            .map(|n| n.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the arguments that headers repeat.
///
/// # Errors
/// What is wrong with a declaration.
fn declared(schema: &Value) -> Result<Vec<Param>, String> {
    let mut found = Found::default();
    walk(schema, &mut Vec::new(), Chain::Unbroken, &mut found)?;
    Ok(found.params)
}

/// The declarations of a schema.
#[derive(Default)]
struct Found {
    params: Vec<Param>,
    headers: HashSet<HeaderName>,
}

/// Whether only `properties` lead from the root to a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    Unbroken,
    Broken,
}

fn walk<'a>(
    schema: &'a Value,
    path: &mut Vec<&'a str>,
    chain: Chain,
    found: &mut Found,
) -> Result<(), String> {
    let Some(fields) = schema.as_object() else { return Ok(()) };
    if let Some(name) = fields.get(DECLARATION) {
        if chain == Chain::Broken || path.is_empty() {
            return Err("stands where no argument can be found".into());
        }
        let param = param(name, schema, path)?;
        if !found.headers.insert(param.header.clone()) {
            return Err("occurs twice with the same name".into());
        }
        if found.params.len() >= MOST_PARAMS {
            return Err(format!("occurs more than {MOST_PARAMS} times"));
        }
        found.params.push(param);
    }
    for (keyword, value) in fields {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    path.push(name);
                    walk(property, path, chain, found)?;
                    path.pop();
                }
            }
            (DECLARATION | "default" | "const" | "enum" | "examples", _) => {}
            ("patternProperties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(schemas)) => {
                schemas.values().try_for_each(|value| walk(value, path, Chain::Broken, found))?;
            }
            (_, Value::Array(schemas)) => {
                schemas.iter().try_for_each(|value| walk(value, path, Chain::Broken, found))?;
            }
            (_, value) => walk(value, path, Chain::Broken, found)?,
        }
    }
    Ok(())
}

fn param(name: &Value, schema: &Value, path: &[&str]) -> Result<Param, String> {
    let name = name.as_str().filter(|name| !name.is_empty()).ok_or("is no text, or an empty one")?;
    let header = HeaderName::from_bytes(format!("mcp-param-{name}").as_bytes())
        .map_err(|_| "has a character that no header name may have")?;
    match schema["type"].as_str() {
        Some("string" | "integer" | "boolean") => {}
        _ => return Err("stands at an argument that is neither a string nor an integer nor a boolean".into()),
    }
    Ok(Param { header, path: path.iter().map(|&key| key.to_owned()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Id;

    fn list(schemas: &[&str]) -> Message {
        let tool = |(n, schema): (usize, &&str)| format!(r#"{{"name":"t{n}","inputSchema":{schema}}}"#);
        let tools: Vec<String> = schemas.iter().enumerate().map(tool).collect();
        Message::read(format!(r#"{{"id":1,"result":{{"tools":[{}]}}}}"#, tools.join(","))).unwrap()
    }

    fn call_of(tool: &str) -> Message {
        Message::request(&Id::Integer(1), "tools/call", Some(&format!(r#"{{"name":"{tool}"}}"#)))
    }

    #[test]
    fn arguments_are_repeated_as_section_4_writes_them() {
        let schema = r#"{"type":"object","properties":{
            "r":{"type":"string","x-mcp-header":"Region"},
            "n":{"type":"integer","x-mcp-header":"N"},
            "d":{"type":"object","properties":{"b":{"type":"boolean","x-mcp-header":"Method"}}},
            "x-mcp-header":{"type":"string"}}}"#;
        let mut tools = ToolHeaders::default();
        assert!(
            !tools.know(&call_of("t0"))
                && tools.learn(None, &list(&[schema])).text.is_none()
                && tools.know(&call_of("t0"))
        );
        for (arguments, expected) in [
            (
                r#"{"r":"us west 1","n":42.0,"d":{"b":true},"x-mcp-header":"v"}"#,
                &[("region", "us west 1"), ("n", "42"), ("method", "true")][..],
            ),
            (r#"{"r":"ü","n":9007199254740993}"#, &[("region", "=?base64?w7w=?=")]),
            (r#"{"r":null,"n":"4","d":[]}"#, &[("n", "4")]),
            (r#"{"n":-9223372036854775808}"#, &[]),
            (r#"{}"#, &[]),
        ] {
            let mut headers = HeaderMap::new();
            tools.add("t0", serde_json::from_str(arguments).ok(), &mut headers);
            let expected: HeaderMap = expected
                .iter()
                .map(|(name, value)| {
                    let name = HeaderName::try_from(format!("mcp-param-{name}")).unwrap();
                    (name, HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(headers, expected, "{arguments}");
        }
    }

    #[test]
    fn a_tool_with_an_invalid_declaration_is_left_out() {
        let invalid = [
            r#"{"x-mcp-header":"A","type":"string"}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":1}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#,
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":["string","null"],"x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
            r#"{"$defs":{"s":{"type":"string","x-mcp-header":"A"}}}"#,
            r#"{"additionalProperties":{"type":"string","x-mcp-header":"A"}}"#,
        ];
        let mut schemas = invalid.to_vec();
        let valid = r#"{"properties":{"a":{"type":"string","default":{"x-mcp-header":1}}}}"#;
        schemas.push(valid);
        let listed = ToolHeaders::default().learn(None, &list(&schemas));
        assert_eq!(listed.notes.len(), invalid.len(), "{:?}", listed.notes);
        let kept = format!(r#"{{"id":1,"result":{{"tools":[{{"name":"t11","inputSchema":{valid}}}]}}}}"#);
        assert_eq!(listed.text, Some(Bytes::from(kept)));
    }

    #[test]
    fn only_an_unbroken_walk_through_the_pages_makes_the_list_whole() {
        let page = |next: &str| {
            Message::read(format!(r#"{{"id":1,"result":{{"tools":[],"nextCursor":{next}}}}}"#)).unwrap()
        };
        let mut tools = ToolHeaders::default();
        tools.learn(Some(r#""2""#), &page("null"));
        assert!(!tools.know(&call_of("t")), "the last page alone");
        tools.learn(None, &page(r#""2""#));
        tools.forget();
        tools.learn(Some(r#""2""#), &page("null"));
        assert!(!tools.know(&call_of("t")), "the tools have changed between the pages");
        tools.learn(None, &page(r#""2""#));
        tools.learn(Some(r#""2""#), &page("null"));
        assert!(tools.know(&call_of("t")));
    }

    #[test]
    fn a_hostile_list_takes_neither_time_nor_memory() {
        let many: Vec<String> =
            (0..50_000).map(|n| format!(r#""p{n}":{{"type":"string","x-mcp-header":"h{n}"}}"#)).collect();
        let schema = format!(r#"{{"properties":{{{}}}}}"#, many.join(","));
        let since = std::time::Instant::now();
        assert_eq!(ToolHeaders::default().learn(None, &list(&[&schema])).notes.len(), 1);
        assert!(since.elapsed() < std::time::Duration::from_secs(10), "{:?}", since.elapsed());
        let mut tools = ToolHeaders::default();
        for _ in 0..20 {
            let name = "x".repeat(1024 * 1024);
            let text = format!(r#"{{"id":1,"result":{{"tools":[{{"name":"{name}"}}]}}}}"#);
            tools.learn(None, &Message::read(text).unwrap());
        }
        assert!(tools.bytes <= MOST_BYTES && tools.tools.len() < 10);
    }
}
