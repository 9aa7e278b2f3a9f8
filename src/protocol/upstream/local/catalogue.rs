//! The catalogue of a service without MCP, in each of the shapes in which it was seen, as tools of MCP.
//!
//! Refuses to call a reply a catalogue that names no action.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::protocol::message::quote;
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::secrets::{NewKeyRule, SecretRules};
use crate::protocol::settings::ETAG;
use crate::protocol::tool_names::Names;
use crate::protocol::wire::AgentStack;

/// The tool that runs any action by its name.
pub const EXECUTE: &str = "agentstack.execute";
/// Tools of one page.
const PAGE: usize = 200;
/// How long a list may be kept, in milliseconds.
pub const KEEP_MS: u64 = 600_000;
/// What holds the actions, where they are not the reply itself.
const WRAPPERS: [&str; 4] = ["data", "actions", "domains", "tools"];

/// The tools that the actions are.
#[derive(Debug)]
pub struct Catalogue {
    /// JSON text of each.
    tools: Vec<String>,
    names: Names,
    /// The service's tag of it, from the reply's body.
    pub etag: Option<String>,
}

/// Returns the tools that can be called where there is no catalogue.
pub fn tools_without_catalogue(rules: &SecretRules) -> Vec<Box<RawValue>> {
    let tools = Catalogue::unread(rules).tools.into_iter();
    tools.filter_map(|tool| RawValue::from_string(tool).ok()).collect()
}

/// How long a page may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// Milliseconds.
    pub keep_ms: u64,
    /// With this tag the service says later whether the list has changed; for a client that keeps lists.
    pub etag: Option<&'a str>,
}

/// An action, as one of the shapes names it.
#[derive(Debug, Default)]
struct Entry {
    name: String,
    about: Option<String>,
    schema: Option<Value>,
}

impl Catalogue {
    /// Reads the answers to `GET …/actions` and `GET …/tools`; the second one only adds schemas and descriptions.
    ///
    /// # Errors
    /// Where the first one names no action.
    pub fn read(actions: &[u8], schemas: Option<&[u8]>) -> Result<Self, &'static str> {
        let listed = entries_of(actions);
        if listed.is_empty() {
            return Err("the service's catalogue names no action");
        }
        let described = schemas.map(entries_of).unwrap_or_default();
        let mut described: HashMap<String, Entry> =
            described.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let mut tools = vec![execute()];
        let mut seen = HashSet::from([EXECUTE.to_owned()]);
        for mut entry in listed {
            if !AgentStack::is_action(&entry.name) || !seen.insert(entry.name.clone()) {
                continue;
            }
            if let Some(more) = described.remove(&entry.name) {
                entry.about = entry.about.or(more.about);
                entry.schema = entry.schema.or(more.schema);
            }
            tools.push(entry.tool());
        }
        let names = Names::of(seen.iter().map(String::as_str));
        Ok(Self { tools, names, etag: etag_in(actions) })
    }

    /// What can be called where there is no catalogue: any action by its name, and the actions that make keys.
    pub fn unread(rules: &SecretRules) -> Self {
        let made = |rule: &NewKeyRule| {
            let (name, about) = (rule.action.clone(), Some(rule.about.clone()));
            let schema = serde_json::from_str(&rule.parameters).ok();
            Entry { name, about, schema }.tool()
        };
        let tools = std::iter::once(execute()).chain(rules.new_keys.iter().map(made)).collect();
        let names = rules.new_keys.iter().map(|rule| &*rule.action);
        Self { tools, names: Names::of(names.chain([EXECUTE])), etag: None }
    }

    /// Returns the catalogue that an earlier conversation kept; its own tools are the ones of this version.
    pub fn kept(tools: &[Box<RawValue>]) -> Self {
        let name = |tool: &str| value(&fields(tool), "name").and_then(string).map(Cow::into_owned);
        let actions =
            tools.iter().map(|tool| tool.get()).filter(|tool| name(tool).as_deref() != Some(EXECUTE));
        let tools: Vec<String> = std::iter::once(execute()).chain(actions.map(str::to_owned)).collect();
        let all: Vec<String> = tools.iter().filter_map(|tool| name(tool)).collect();
        Self { tools, names: Names::of(all.iter().map(String::as_str)), etag: None }
    }

    /// Returns the name that every client takes of an action.
    pub fn shown(&self, action: &str) -> Option<&str> {
        self.names.shown(action)
    }

    /// Returns the action of a name, in either spelling.
    pub fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.names.original(name)
    }

    /// Returns the result of a `tools/list` of this cursor, which may be kept as long as the term says; `None` for a
    /// cursor that was not given here.
    pub fn page(&self, cursor: Option<&str>, term: Term<'_>) -> Option<String> {
        let start = cursor.map_or(Some(0), |cursor| cursor.parse().ok())?;
        let page = self.tools.get(start..).filter(|rest| !rest.is_empty())?;
        let page = &page[..page.len().min(PAGE)];
        let next = start + page.len();
        let (list, keep) = (format!("[{}]", page.join(",")), term.keep_ms.to_string());
        let cursor = quote(&next.to_string());
        let cursor = (next < self.tools.len()).then_some(("nextCursor", &*cursor));
        let head = [("resultType", r#""complete""#), ("tools", &*list)];
        let tail = [("ttlMs", &*keep), ("cacheScope", r#""private""#)];
        let meta = term.etag.map(|etag| object([(ETAG, quote(etag))]));
        let meta = meta.as_deref().map(|meta| ("_meta", meta));
        Some(object(head.into_iter().chain(cursor).chain(tail).chain(meta)))
    }
}

impl Entry {
    fn tool(&self) -> String {
        let schema = self.schema.clone().unwrap_or_else(|| json!({"type": "object"})).to_string();
        let name = quote(&self.name);
        let about = self.about.as_deref().map(quote);
        let about = about.as_deref().map(|about| ("description", about));
        object([("name", &*name)].into_iter().chain(about).chain([("inputSchema", &*schema)]))
    }
}

fn execute() -> String {
    let step = json!({
        "type": "object",
        "properties": {
            "id": {"type": "string"}, "action": {"type": "string"}, "params": {"type": "object"},
            "if": {"description": "condition under which the step runs"},
        },
        "required": ["action"],
    });
    let about = "Runs any action by name, listed or not, or several in order (steps). Give action or steps.";
    json!({
        "name": EXECUTE,
        "description": about,
        "inputSchema": {
            "type": "object",
            "properties": {
                "action": {"type": "string", "description": "name of one action, such as projects.get_projects"},
                "params": {"type": "object", "description": "parameters of that action"},
                "steps": {"type": "array", "items": step, "description": "several actions, run in order"},
                "options": {"type": "object", "description": "options for steps: stopOnError, continueOnError, idempotency_key"},
                "context": {"type": "object", "description": "context for steps: project_id, user_id"},
            },
        },
    })
    .to_string()
}

fn etag_in(reply: &[u8]) -> Option<String> {
    let reply = fields(std::str::from_utf8(reply).unwrap_or_default());
    let data = fields(value(&reply, "data").unwrap_or_default());
    let etag = [&reply, &data].into_iter().find_map(|of| value(of, "catalog_etag"));
    etag.and_then(string).map(Cow::into_owned)
}

fn entries_of(reply: &[u8]) -> Vec<Entry> {
    let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
    let mut entries = Vec::new();
    collect(&reply, &mut entries);
    entries
}

fn collect(reply: &Value, to: &mut Vec<Entry>) {
    match reply {
        Value::Array(list) => to.extend(list.iter().filter_map(|item| entry(None, item))),
        Value::Object(map) => {
            let is_list = |value: &&Value| value.is_array() || value.is_object();
            match WRAPPERS.iter().find_map(|name| map.get(*name).filter(is_list)) {
                Some(inner) => collect(inner, to),
                None => map.iter().for_each(|(domain, inner)| collect_domain(domain, inner, to)),
            }
        }
        _ => {}
    }
}

fn collect_domain(domain: &str, inner: &Value, to: &mut Vec<Entry>) {
    match inner {
        Value::Array(list) => to.extend(list.iter().filter_map(|item| entry(Some(domain), item))),
        Value::Object(map) => match map.get("actions").or_else(|| map.get("tools")) {
            Some(actions) => collect_domain(domain, actions, to),
            None => to.extend(map.iter().map(|(name, about)| named(domain, name, about))),
        },
        _ => {}
    }
}

/// An action whose name is the key of what is said about it.
fn named(domain: &str, name: &str, about: &Value) -> Entry {
    let fields = about.as_object().cloned().unwrap_or_default();
    let said = about.as_str().map(str::to_owned).or_else(|| text(&fields, &["summary", "description"]));
    Entry { name: full(Some(domain), name), about: said, schema: schema(&fields) }
}

fn entry(domain: Option<&str>, item: &Value) -> Option<Entry> {
    if let Some(name) = item.as_str() {
        return Some(Entry { name: full(domain, name), ..Entry::default() });
    }
    let fields = item.as_object()?;
    let name = text(fields, &["action", "name", "tool", "id"])?;
    let category = text(fields, &["category", "domain"]);
    let about = text(fields, &["summary", "description", "title"]);
    Some(Entry { name: full(domain.or(category.as_deref()), &name), about, schema: schema(fields) })
}

fn full(domain: Option<&str>, name: &str) -> String {
    match domain {
        Some(domain) if !name.contains('.') => format!("{domain}.{name}"),
        _ => name.to_owned(),
    }
}

fn text(fields: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| fields.get(*name)?.as_str().map(str::to_owned))
}

/// MCP wants a schema of an object; some replies hold only its properties.
fn schema(fields: &Map<String, Value>) -> Option<Value> {
    let given = ["inputSchema", "parameters", "input_schema"].iter().find_map(|name| fields.get(*name))?;
    let map = given.as_object()?;
    if map.contains_key("properties") || map.get("type").is_some_and(|kind| kind == "object") {
        let mut schema = map.clone();
        schema.insert("type".to_owned(), json!("object"));
        return Some(Value::Object(schema));
    }
    let are_schemas = !map.is_empty() && map.values().all(Value::is_object);
    are_schemas.then(|| json!({"type": "object", "properties": given}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(reply: &str) -> Vec<String> {
        entries_of(reply.as_bytes()).into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn every_shape_of_the_catalogue_is_read() {
        for reply in [
            r#"{"a":["one","two"],"b":["three"],"total":3}"#,
            r#"{"actions":{"a":["one","a.two"],"b":[{"action":"three"}]},"catalog_etag":"x"}"#,
            r#"{"domains":{"a":{"actions":["one","two"]},"b":{"three":{"summary":"s"}}}}"#,
            r#"[{"category":"a","action":"one"},{"category":"a","action":"a.two"},{"action":"b.three"}]"#,
            r#"{"actions":[{"action":"a.one"},{"name":"a.two"},"b.three"]}"#,
            r#"{"success":true,"data":{"actions":[{"tool":"a.one"},"a.two","b.three"]}}"#,
        ] {
            assert_eq!(names(reply), ["a.one", "a.two", "b.three"], "{reply}");
        }
        for reply in ["", "[]", "{}", "7", r#"{"success":false,"error":"no"}"#] {
            assert!(Catalogue::read(reply.as_bytes(), None).is_err(), "{reply}");
        }
    }

    #[test]
    fn schemas_come_from_the_other_list() {
        let tools = r#"{"tools":[{"name":"a.one","description":"d","parameters":{"n":{"type":"integer"}}},
            {"name":"a.two","inputSchema":{"properties":{},"x":1.50}}]}"#;
        let catalogue =
            Catalogue::read(br#"{"a":["one","two","three","one"]}"#, Some(tools.as_bytes())).unwrap();
        assert_eq!(
            catalogue.tools[1..],
            [
                r#"{"name":"a.one","description":"d","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}}}"#,
                r#"{"name":"a.two","inputSchema":{"properties":{},"x":1.50,"type":"object"}}"#,
                r#"{"name":"a.three","inputSchema":{"type":"object"}}"#,
            ]
        );
    }

    #[test]
    fn seven_hundred_actions_come_in_pages() {
        let actions: Vec<String> = (0..700).map(|n| format!("\"d.a{n}\"")).collect();
        let catalogue = Catalogue::read(format!("[{}]", actions.join(",")).as_bytes(), None).unwrap();
        let term = Term { keep_ms: KEEP_MS, etag: None };
        let (mut cursor, mut names, mut pages) = (None, 0, 0);
        loop {
            let page: Value =
                serde_json::from_str(&catalogue.page(cursor.as_deref(), term).unwrap()).unwrap();
            names += page["tools"].as_array().unwrap().len();
            pages += 1;
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((names, pages), (701, 4));
        assert!(catalogue.page(Some("x"), term).is_none() && catalogue.page(Some("9999"), term).is_none());
    }
}
