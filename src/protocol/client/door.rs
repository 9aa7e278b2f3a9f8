//! A client with a handshake in front of a service of the stateless era: its requests are written anew (sections 3.1,
//! 3.2), answers come back through `lower`.
//!
//! Refuses to send what the stateless era does not know, and to let its words reach the client (X-4).

use std::borrow::Cow;

use super::lower::{self, Came, Lowering};
use super::rounds::violation;
use super::subscriptions::Subscriptions;
use super::{Client, INVALID_PARAMS, Open, Said};
use crate::error::{Error, Executed, Kind, Remedy};
use crate::protocol::effect::{About, Delivery, Origin};
use crate::protocol::envelope::{LOG_LEVELS, PREFIX, TASKS};
use crate::protocol::message::{Id, Message, quote};
use crate::protocol::object::{extended, fields, object, says, string, try_fields, value};
use crate::protocol::request::{Class, Leaves, Outgoing};
use crate::protocol::revision::{self, Era, FIRST_MODERN, Revision};

/// The capabilities of a client, each with the request that it allows.
const QUESTIONS: &[(&str, &str)] =
    &[("sampling", "sampling/createMessage"), ("elicitation", "elicitation/create"), ("roots", "roots/list")];
/// Elicitation by URL: the same method, with a separate capability.
const BY_URL: &str = "elicitation/create by URL";
/// Sampling with tools, likewise.
const WITH_TOOLS: &str = "sampling/createMessage with tools";

/// What the client has said once and every request of the stateless era repeats.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The fields of the envelope, with the log level once it was asked for.
    envelope: Vec<(String, String)>,
    /// The capabilities in the envelope of what may become a task, or is about one (section 3.7).
    with_tasks: String,
    /// The envelope as JSON text; with those capabilities.
    stamp: String,
    stamp_with_tasks: String,
    /// The version it asked for.
    version: String,
    /// What the service may ask the client for.
    offers: Vec<&'static str>,
    pub lowering: Lowering,
    pub subscriptions: Subscriptions,
}

impl Door {
    /// Reads the client's `initialize` (section 3.2); any other message says nothing.
    pub fn of(initialize: &Message, client_info: &str) -> Self {
        let params = fields(initialize.params().unwrap_or_default());
        let field = |name: &str| params.iter().find(|(key, _)| key == name).map(|(_, raw)| raw.get());
        let version = field("protocolVersion").and_then(string);
        let capabilities = fields(field("capabilities").unwrap_or_default());
        let kept = capabilities.iter().filter_map(|(name, raw)| match &**name {
            "roots" => Some(("roots", Cow::Borrowed("{}"))),
            "extensions" => {
                let kept = fields(raw.get()).into_iter().filter(|(name, _)| name != TASKS);
                Some(("extensions", object(kept.map(|(name, raw)| (name, raw.get()))).into()))
            }
            name @ ("sampling" | "elicitation" | "experimental") => Some((name, raw.get().into())),
            _ => None,
        });
        let kept: Vec<(&str, Cow<'_, str>)> = kept.collect();
        let envelope = [
            ("protocolVersion", quote(FIRST_MODERN)),
            ("clientCapabilities", object(kept.iter().map(|(name, raw)| (*name, &**raw)))),
            ("clientInfo", field("clientInfo").unwrap_or(client_info).to_owned()),
        ];
        let envelope = envelope.map(|(name, raw)| (format!("{PREFIX}{name}"), raw)).to_vec();
        let elicitation = fields(value(&capabilities, "elicitation").unwrap_or_default());
        let mut offers: Vec<&'static str> = Vec::new();
        for (capability, method) in QUESTIONS {
            offers.extend(value(&capabilities, capability).map(|_| *method));
        }
        // T-13: `{}` means forms only.
        offers.extend(value(&elicitation, "url").map(|_| BY_URL));
        let sampling = fields(value(&capabilities, "sampling").unwrap_or_default());
        offers.extend(value(&sampling, "tools").map(|_| WITH_TOOLS));
        let with_tasks = with_tasks(&kept);
        let version = version.unwrap_or_default().into_owned();
        let mut door = Self { envelope, with_tasks, version, offers, ..Self::default() };
        door.write_stamps();
        door
    }

    fn write_stamps(&mut self) {
        let fields = self.envelope.iter().map(|(name, raw)| (name, &**raw));
        self.stamp = object(fields.clone());
        self.stamp_with_tasks =
            object(fields.map(|(name, raw)| match name.ends_with("clientCapabilities") {
                true => (name, &*self.with_tasks),
                false => (name, raw),
            }));
    }

    /// A session was opened by this answer: what the service offers is kept for when it opens no sessions any more.
    pub fn has_session_with(&mut self, answer: &Message) {
        let result = fields(answer.result_text().unwrap_or_default());
        self.subscriptions = Subscriptions::of(value(&result, "capabilities").unwrap_or_default());
    }

    /// Each later request asks for messages of the log from this level on, a JSON text.
    fn set_level(&mut self, level: &str) {
        let name = format!("{PREFIX}logLevel");
        self.envelope.retain(|(field, _)| *field != name);
        self.envelope.push((name, level.to_owned()));
        self.write_stamps();
    }

    /// Returns the `params` of a question as a client of this revision knows them (section 3.5).
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn question(
        &self,
        (key, method): (&str, &str),
        params: Option<&str>,
        revision: Option<&'static Revision>,
    ) -> Result<Option<String>, Error> {
        let Some(params) = try_fields(params.unwrap_or("{}")) else {
            return Err(violation(format!("the service asks for {method} with params that cannot be read")));
        };
        let by_url = method == "elicitation/create" && says(&params, "mode", "url");
        let with_tools = ["tools", "toolChoice"].iter().any(|name| value(&params, name).is_some());
        let needed = match method {
            "elicitation/create" if by_url => BY_URL,
            "sampling/createMessage" if with_tools => WITH_TOOLS,
            method => method,
        };
        if !self.offers.contains(&needed) {
            let why = format!("the service asks for {method}, which this client does not offer");
            let error = Error::new(Kind::ServiceError, why).executed(Executed::Maybe);
            return Err(error.remedy(Remedy::AnswerQuestions(method.to_owned())));
        }
        let names_mode = revision.is_some_and(|revision| revision.elicitation_modes);
        let kept =
            params.iter().filter(|(name, _)| names_mode || name != "mode" || method != "elicitation/create");
        let kept = kept.map(|(name, raw)| (&**name, raw.get()));
        // The older schema requires an id there.
        let needs_id = by_url && value(&params, "elicitationId").is_none();
        let id = quote(&format!("asistry-{key}"));
        let id = needs_id.then_some(("elicitationId", &*id));
        let params = object(kept.chain(id));
        Ok((params != "{}").then_some(params))
    }

    /// Returns a request as a service of the stateless era wants it.
    pub fn written(&self, request: &Message) -> Message {
        let params = self.stamped(request.method(), request.params().unwrap_or("{}"));
        match (request.id(), params) {
            (Some(id), Some(params)) => Message::request(id, request.method(), Some(&params)),
            _ => request.clone(),
        }
    }

    /// Returns the `params` of a request of this method with the envelope in it; `None` where they are no object, or
    /// cannot be read.
    pub fn stamped(&self, method: &str, params: &str) -> Option<String> {
        let mut params = try_fields(params)?;
        // Tasks of the older era are not offered to the client, so the field means nothing (section 3.7).
        params.retain(|(name, _)| name != "task");
        // Some clients write null for what they leave out.
        let meta = value(&params, "_meta").filter(|raw| *raw != "null");
        let meta = meta.map_or(Some(Vec::new()), try_fields)?;
        let may_be_task = method == "tools/call" || method.starts_with("tasks/");
        let own = if may_be_task { &self.stamp_with_tasks } else { &self.stamp };
        let theirs = meta.into_iter().map(|(name, raw)| (name, raw.get()));
        let theirs = theirs.filter(|(name, _)| !self.envelope.iter().any(|(ours, _)| ours == name));
        let meta = extended(own, theirs);
        let rest = params.iter().filter(|(name, _)| name != "_meta").map(|(name, raw)| (&**name, raw.get()));
        Some(object([("_meta", &*meta)].into_iter().chain(rest)))
    }
}

/// Returns capabilities with the extension for tasks among them.
fn with_tasks(capabilities: &[(&str, Cow<'_, str>)]) -> String {
    let known = capabilities.iter().find(|(name, _)| *name == "extensions");
    let known = fields(known.map_or("{}", |(_, raw)| raw));
    let known = known.iter().map(|(name, raw)| (&**name, raw.get()));
    let extensions = object(known.chain([(TASKS, "{}")]));
    let rest = capabilities.iter().filter(|(name, _)| *name != "extensions");
    object(rest.map(|(name, raw)| (*name, &**raw)).chain([("extensions", &*extensions)]))
}

impl Client {
    /// Writes a request of the client anew for a service of the stateless era; `None` where nothing is to be sent.
    pub(in crate::protocol) fn lift(&mut self, mut outgoing: Outgoing) -> Option<Outgoing> {
        let number = outgoing.number;
        let id = outgoing.message.id().cloned()?;
        let method = outgoing.message.method().to_owned();
        let (method, params) = match &*method {
            "initialize" => {
                // ERA-9: a second opening subscribes to nothing yet.
                self.said.push(Said::Listens(None));
                ("server/discover", None)
            }
            "logging/setLevel" => {
                self.set_level(number, &outgoing.message);
                return None;
            }
            "resources/subscribe" | "resources/unsubscribe" => {
                self.edit_subscriptions(&outgoing);
                return None;
            }
            method => (method, outgoing.message.params()),
        };
        let Some(params) = self.door.stamped(method, params.unwrap_or("{}")) else {
            let why = "Invalid params: params or _meta is no object that can be read";
            self.answer_here(number, &Message::refusal(&id, INVALID_PARAMS, why));
            return None;
        };
        outgoing.message = Message::request(&id, method, Some(&params));
        outgoing.era = Era::Modern;
        if let Some(open) = self.open.get_mut(&number) {
            open.is_lifted = true;
        }
        Some(outgoing)
    }

    /// Reads the client's `initialize`: what it says is needed at a service of the stateless era, also at one that
    /// becomes one later.
    pub(super) fn open_door(&mut self, initialize: &Message) {
        let error = Error::new(Kind::Interrupted, "a second initialize came before it was acknowledged");
        self.fail_subscriptions(|_| true, &error.executed(Executed::Maybe));
        self.door = Door::of(initialize, &self.settings.client_info);
    }

    /// The service opens no sessions any more: what the client asked for in its session goes on without one (PROBE 4).
    pub(in crate::protocol) fn leaves_session(&mut self, words: (Option<&str>, Vec<&str>)) {
        let (level, subscriptions) = words;
        let level = level.map(fields);
        if let Some(level) = level.as_ref().and_then(|params| value(params, "level")) {
            self.door.set_level(level);
        }
        for params in subscriptions {
            self.door.subscriptions.keep(params);
        }
    }

    /// Returns a request that was written anew as its client wrote it.
    pub(in crate::protocol) fn unlifted(&mut self, number: u64) -> Option<Outgoing> {
        let open = self.open.get_mut(&number).filter(|open| open.is_lifted)?;
        open.is_lifted = false;
        self.outgoing(number)
    }

    /// Returns a request that was not sent yet, once more.
    pub(in crate::protocol) fn outgoing(&self, number: u64) -> Option<Outgoing> {
        let open = self.open.get(&number)?;
        let (message, era, promise) = (open.message.clone(), open.era, open.promise);
        let class = Class::of(message.method());
        // No rule was applied yet to what waits for the list of tools.
        let leaves = if self.held.contains(&number) { Leaves::AfterTools } else { Leaves::AtOnce };
        Some(Outgoing { number, message, class, promise, leaves, era })
    }

    /// `logging/setLevel` is no request of the stateless era: each later one repeats the level (section 3.1).
    fn set_level(&mut self, number: u64, request: &Message) {
        let Some(id) = request.id() else { return };
        let params = fields(request.params().unwrap_or_default());
        let level = params.iter().find(|(name, _)| name == "level").map(|(_, raw)| raw.get());
        let is_level =
            |raw: &&str| serde_json::from_str::<Cow<'_, str>>(raw).is_ok_and(|l| LOG_LEVELS.contains(&&*l));
        let answer = match level.filter(is_level) {
            Some(level) => {
                self.door.set_level(level);
                Message::result(id, "{}")
            }
            None => Message::refusal(id, INVALID_PARAMS, "Invalid params: no such log level"),
        };
        self.answer_here(number, &answer);
    }

    /// Answers a request that does not reach the service.
    pub(in crate::protocol) fn answer_here(&mut self, number: u64, answer: &Message) {
        let Some(open) = self.close(number) else { return };
        if let Some(id) = open.message.id() {
            let text = answer.text().clone();
            let delivery = Delivery { about: About::Answer(id.clone()), text, origin: Origin::Bridge };
            self.answer(delivery, open.batch);
        }
    }

    /// The answer to a request that was written anew, as its client may see it.
    ///
    /// # Errors
    /// Where it cannot be brought into the older era.
    pub(super) fn lowered(
        &mut self,
        open: &Open,
        id: &Id,
        answer: &Message,
        came: &Came<'_>,
    ) -> Result<Message, Error> {
        if answer.error_text().is_some() {
            return lower::error(id, answer);
        }
        let method = open.message.method();
        if method == "initialize" {
            return self.initialized(id, came);
        }
        // What cannot be read is not brought down: nothing of it is lost.
        if came.is_empty() {
            return Ok(answer.under_id(id));
        }
        let kind = lower::result_type(came);
        if kind != "complete" {
            let why = format!(
                "the service answered with a result of the type {kind}, which this client's era does not know"
            );
            return Err(violation(why).with_kind(Kind::EraMismatch));
        }
        let mut lowered = self.door.lowering.result(&open.message, came);
        if self.settings.keeps_lists && method == "tools/list" {
            lowered = lower::with_lifetime(&lowered, came);
        }
        Ok(Message::result(id, &lowered))
    }

    /// Makes the answer to `initialize` from what the service says of itself (section 3.2).
    fn initialized(&mut self, id: &Id, discovered: &Came<'_>) -> Result<Message, Error> {
        let field = |name: &str| value(discovered, name);
        let versions: Vec<String> =
            field("supportedVersions").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        if !versions.is_empty() && !versions.iter().any(|version| version == FIRST_MODERN) {
            return Err(lower::no_version_in_common(&versions.join(", ")));
        }
        let revision = revision::named(&self.door.version).unwrap_or(revision::NEWEST_LEGACY);
        self.revision = Some(revision);
        let capabilities = field("capabilities").unwrap_or_default();
        self.door.subscriptions = Subscriptions::of(capabilities);
        let capabilities = fields(capabilities);
        let capabilities = capabilities.iter().map(|(name, raw)| match &**name {
            "extensions" => {
                let kept = fields(raw.get()).into_iter().filter(|(name, _)| name != TASKS);
                (&**name, Cow::Owned(object(kept.map(|(name, raw)| (name, raw.get())))))
            }
            name => (name, Cow::Borrowed(raw.get())),
        });
        let meta = fields(field("_meta").unwrap_or_default());
        let server = meta.iter().find(|(name, _)| name.strip_prefix(PREFIX) == Some("serverInfo"));
        let server = server.map(|(_, raw)| raw.get()).or(field("serverInfo")).map(str::to_owned);
        let host = self.settings.endpoint.host_str().unwrap_or("service");
        let server = server.unwrap_or_else(|| format!(r#"{{"name":{},"version":"0"}}"#, quote(host)));
        let mut result = vec![
            ("protocolVersion", Cow::Owned(quote(revision.date))),
            ("capabilities", Cow::Owned(object(capabilities))),
            ("serverInfo", Cow::Owned(server)),
        ];
        result.extend(field("instructions").map(|raw| ("instructions", Cow::Borrowed(raw))));
        Ok(Message::result(id, &object(result)))
    }
}
