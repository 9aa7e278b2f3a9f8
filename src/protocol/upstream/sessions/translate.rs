//! Requests of the stateless era as a service with sessions knows them, and its answers as that era wants them
//! (sections 3.3, X-4, X-5).
//!
//! Refuses to touch what both eras have in common.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::protocol::envelope::{self, PREFIX, TASKS};
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{INVALID_PARAMS, Message, RESOURCE_NOT_FOUND, quote};
use crate::protocol::object::{fields, object, try_fields, value};
use crate::protocol::revision::{FIRST_MODERN, NEWEST_LEGACY};

/// How long a client may keep what the service says of itself, in milliseconds (section 3.3).
const KEEP_MS: u64 = 60_000;
/// The methods whose results say how long they may be kept.
const CACHEABLE: [&str; 6] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
];
/// What a request says of itself in its `params`, read once.
pub(super) struct Said<'a> {
    pub params: Vec<(Cow<'a, str>, &'a RawValue)>,
    pub meta: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Said<'a> {
    pub fn of(message: &'a Message) -> Self {
        let params = fields(message.params().unwrap_or_default());
        let meta = params.iter().find(|(name, _)| name == "_meta").map(|(_, raw)| fields(raw.get()));
        Self { meta: meta.unwrap_or_default(), params }
    }

    /// Returns the JSON text of a field of the envelope.
    pub fn envelope(&self, name: &str) -> Option<&'a str> {
        let is_it = |key: &str| key.strip_prefix(PREFIX) == Some(name);
        self.meta.iter().find(|(key, _)| is_it(key)).map(|(_, raw)| raw.get())
    }

    /// Returns the JSON text of the progress token.
    pub fn token(&self) -> Option<&'a str> {
        self.meta.iter().find(|(name, _)| name == "progressToken").map(|(_, raw)| raw.get())
    }

    /// Says whether its client follows tasks itself.
    pub fn declares_tasks(&self) -> bool {
        let declared = fields(self.envelope("clientCapabilities").unwrap_or_default());
        value(&fields(value(&declared, "extensions").unwrap_or_default()), TASKS).is_some()
    }
}

/// Returns the `params` of a request or notification without the words of the stateless era; `None` where nothing is
/// left.
pub(super) fn params(said: &Said<'_>) -> Option<String> {
    let meta = said.meta.iter().filter(|(name, _)| !envelope::is_field(name));
    let meta = object(meta.map(|(name, raw)| (name, raw.get())));
    let kept = said.params.iter().filter_map(|(name, raw)| match &**name {
        "_meta" => (meta != "{}").then_some(("_meta", &*meta)),
        "inputResponses" | "requestState" => None,
        name => Some((name, raw.get())),
    });
    let kept = object(kept);
    (kept != "{}").then_some(kept)
}

/// Returns a request as the service knows it.
pub(super) fn request(message: &Message, said: &Said<'_>) -> Message {
    let params = params(said);
    message
        .id()
        .map_or_else(|| message.clone(), |id| Message::request(id, message.method(), params.as_deref()))
}

/// Returns a call as one that the service runs as a task.
pub(super) fn as_task(message: &Message, said: &Said<'_>) -> Message {
    let params = params(said).unwrap_or_default();
    let params = fields(&params);
    let params = params.iter().filter(|(name, _)| name != "task").map(|(name, raw)| (&**name, raw.get()));
    let params = object(params.chain([("task", "{}")]));
    message.id().map_or_else(|| message.clone(), |id| Message::request(id, message.method(), Some(&params)))
}

/// Says whether a field of `_meta` names a task of the older era.
pub(super) fn is_related_task(name: &str) -> bool {
    name.strip_prefix(PREFIX) == Some("related-task")
}

/// Returns a result without the word by which the older era names its task.
pub(super) fn without_related_task(result: &str) -> String {
    let kept = fields(result).into_iter().filter_map(|(name, raw)| match &*name {
        "_meta" => {
            let meta = fields(raw.get()).into_iter().filter(|(name, _)| !is_related_task(name));
            let meta = object(meta.map(|(name, raw)| (name, raw.get())));
            (meta != "{}").then_some((name, Cow::Owned(meta)))
        }
        _ => Some((name, Cow::Borrowed(raw.get()))),
    });
    object(kept)
}

/// Returns the capabilities of a client as they are declared in a handshake. A client may declare the extension for tasks
/// on calls only, which is not to open another session.
pub(super) fn capabilities(declared: &str) -> String {
    object(fields(declared).iter().filter_map(|(name, raw)| match &**name {
        "roots" => Some((&**name, Cow::Borrowed("{}"))),
        "extensions" => {
            let kept = without(raw, TASKS);
            (kept != "{}" || raw.get() == "{}").then_some((&**name, Cow::Owned(kept)))
        }
        name => Some((name, Cow::Borrowed(raw.get()))),
    }))
}

fn without(map: &RawValue, unwanted: &str) -> String {
    let Some(fields) = try_fields(map.get()) else { return map.get().to_owned() };
    let kept = fields.into_iter().filter(|(name, _)| name != unwanted);
    object(kept.map(|(name, raw)| (name, raw.get())))
}

/// Returns the `params` of an `initialize`.
pub(super) fn handshake(capabilities: &str, client_info: &str) -> String {
    let version = quote(NEWEST_LEGACY.date);
    object([("protocolVersion", &*version), ("capabilities", capabilities), ("clientInfo", client_info)])
}

/// What a service says of itself in the answer to `initialize`.
#[derive(Debug)]
pub(super) struct Service {
    described: String,
    /// JSON text of its `serverInfo`.
    info: Option<String>,
    runs_tasks: bool,
    logs: bool,
}

impl Service {
    pub fn new(described: &str) -> Self {
        let mut service = Self {
            info: value(&fields(described), "serverInfo").map(str::to_owned),
            described: described.to_owned(),
            runs_tasks: false,
            logs: false,
        };
        let capabilities = fields(service.capabilities());
        let tasks = fields(value(&capabilities, "tasks").unwrap_or_default());
        let requests = fields(value(&tasks, "requests").unwrap_or_default());
        let runs_tasks = value(&fields(value(&requests, "tools").unwrap_or_default()), "call").is_some();
        let logs = value(&capabilities, "logging").is_some();
        (service.runs_tasks, service.logs) = (runs_tasks, logs);
        service
    }

    /// Says whether it sends messages of its log.
    pub fn logs(&self) -> bool {
        self.logs
    }

    /// Says whether this flag of a capability is set.
    pub fn says(&self, capability: &str, flag: &str) -> bool {
        let capabilities = fields(self.capabilities());
        value(&fields(value(&capabilities, capability).unwrap_or_default()), flag) == Some("true")
    }

    /// Says whether it runs calls of tools as tasks.
    pub fn runs_tasks(&self) -> bool {
        self.runs_tasks
    }

    fn capabilities(&self) -> &str {
        value(&fields(&self.described), "capabilities").unwrap_or_default()
    }

    fn info(&self) -> Option<&str> {
        self.info.as_deref()
    }

    /// Returns the result of `server/discover`.
    pub fn discovered(&self) -> String {
        let described = fields(&self.described);
        let capabilities = fields(self.capabilities());
        let capabilities = capabilities.iter().filter(|(name, _)| name != "tasks");
        let mut capabilities: Vec<(&str, Cow<'_, str>)> = capabilities
            .map(|(name, raw)| match &**name {
                "extensions" => (&**name, Cow::Owned(without(raw, TASKS))),
                name => (name, Cow::Borrowed(raw.get())),
            })
            .collect();
        if self.runs_tasks() {
            let tasks = [(TASKS, "{}")].into_iter();
            match capabilities.iter_mut().find(|(name, _)| *name == "extensions") {
                Some((_, map)) => {
                    let others = map.clone();
                    let others = fields(&others);
                    let others = others.iter().map(|(name, raw)| (&**name, raw.get()));
                    *map = Cow::Owned(object(others.chain(tasks)));
                }
                None => capabilities.push(("extensions", Cow::Owned(object(tasks)))),
            }
        }
        let capabilities = object(capabilities);
        let versions = format!("[{}]", quote(FIRST_MODERN));
        let keep = KEEP_MS.to_string();
        let mut result = vec![("supportedVersions", &*versions), ("capabilities", &*capabilities)];
        result.extend(value(&described, "instructions").map(|raw| ("instructions", raw)));
        result.extend([("ttlMs", &*keep), ("cacheScope", r#""private""#)]);
        result.extend(value(&described, "_meta").map(|raw| ("_meta", raw)));
        completed("server/discover", &object(result), Some(self))
    }
}

/// Returns the result of a request of this method with all that the stateless era expects of one; as it came where its
/// fields cannot be read.
pub(super) fn completed(method: &str, result: &str, service: Option<&Service>) -> String {
    let Some(result) = try_fields(result) else { return result.to_owned() };
    let meta = completed_meta(value(&result, "_meta").unwrap_or("{}"), service);
    let has = |name: &str| value(&result, name).is_some();
    let caches = CACHEABLE.contains(&method);
    let added = [
        ("resultType", r#""complete""#, !has("resultType")),
        ("ttlMs", "0", caches && !has("ttlMs")),
        ("cacheScope", r#""private""#, caches && !has("cacheScope")),
        ("_meta", &*meta, meta != "{}"),
    ];
    let added = added.into_iter().filter(|(.., is_added)| *is_added);
    let added = added.map(|(name, raw, _)| (name, Cow::Borrowed(raw)));
    let kept = result.iter().filter(|(name, _)| name != "_meta").map(|(name, raw)| match &**name {
        "tools" if method == "tools/list" => (&**name, tools(raw.get())),
        name => (name, Cow::Borrowed(raw.get())),
    });
    object(kept.chain(added))
}

/// Returns the `_meta` of a result with the name of the service in it.
fn completed_meta<'a>(meta: &'a str, service: Option<&Service>) -> Cow<'a, str> {
    let Some(fields) = try_fields(meta) else { return meta.into() };
    let server = format!("{PREFIX}serverInfo");
    let info = service.and_then(Service::info);
    let info = info.filter(|_| value(&fields, &server).is_none()).map(|info| (&*server, info));
    let fields = fields.iter().filter(|(name, _)| !is_related_task(name));
    object(fields.map(|(name, raw)| (&**name, raw.get())).chain(info)).into()
}

/// `execution` is a word of the older era.
fn tools(list: &str) -> Cow<'_, str> {
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(list) else { return list.into() };
    if !list.contains(r#""execution""#) {
        return list.into();
    }
    let tools = tools.into_iter().map(|tool| match tool.get().contains(r#""execution""#) {
        true => without(tool, "execution"),
        false => tool.get().to_owned(),
    });
    format!("[{}]", tools.collect::<Vec<_>>().join(",")).into()
}

/// Returns an error with the code that the stateless era has for it.
pub(super) fn error(answer: &Message) -> Message {
    match (ErrorFields::of(answer), answer.error_text()) {
        (Some(error), Some(text)) if error.code == RESOURCE_NOT_FOUND => {
            let parts = fields(text);
            let code = INVALID_PARAMS.to_string();
            let parts =
                parts.iter().map(|(name, raw)| (&**name, if name == "code" { &*code } else { raw.get() }));
            Message::read(answer.with_part(text, &object(parts))).unwrap_or_else(|_| answer.clone())
        }
        _ => answer.clone(),
    }
}
