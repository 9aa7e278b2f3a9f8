//! Remote services as data, one `.toml` each.
//!
//! Contains no code for a single service: every difference is a field.

mod catalog;
mod file;
pub mod units;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::protocol::retry::{Busy, seconds};
use crate::protocol::secrets::{NewKeyRule, Purpose, SecretRules};
use crate::protocol::settings::WireChoice;
use crate::protocol::wire::WireKind;

pub use catalog::{Catalog, check_name};
pub use file::{line_of, nearest, parse, unknown};

const BUILT_IN: &[(&str, &str)] = &[
    ("asistry", include_str!("asistry.toml")),
    ("zuko", include_str!("zuko.toml")),
    ("task-tracking", include_str!("task-tracking.toml")),
    ("agentstack", include_str!("agentstack.toml")),
    ("bob-studio", include_str!("bob-studio.toml")),
    (SANDBOX, include_str!("sandbox.toml")),
    ("mcp", include_str!("mcp.toml")),
];

const SANDBOX: &str = "sandbox";

/// Stand-ins of built-in services inside this process, beside `sandbox`, which is Asistry's.
const EMBEDDED: &[(&str, &str)] = &[
    ("sandbox-zuko", "zuko"),
    ("sandbox-task-tracking", "task-tracking"),
    ("sandbox-bob-studio", "bob-studio"),
    ("sandbox-agentstack", "agentstack"),
];

/// Characters that are not percent-encoded in a path segment (RFC 3986, section 2.3, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Describes a remote service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its id: the file name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// Display name.
    pub title: String,
    /// Endpoint URL; `{name}` is replaced by the variable's value.
    pub endpoint: String,
    /// The wire protocol.
    #[serde(alias = "dialect")]
    pub wire: ServiceWire,
    /// How requests are authenticated.
    pub auth: Auth,
    /// Whether it sends messages on the standalone GET stream.
    #[serde(default)]
    pub pushes: bool,
    /// Its documented rate limit.
    pub rate: Option<Rate>,
    /// Pauses after 429 responses without `Retry-After`; the one after them is final. None: a backoff.
    #[serde(default, deserialize_with = "units::read_limits")]
    pub unhinted_429_pauses: Option<Vec<Duration>>,
    /// The replies that say that it is busy.
    #[serde(default)]
    pub busy: Busy,
    /// Tools that always fail with an API key.
    #[serde(default)]
    pub hidden_tools: Vec<String>,
    /// Whether tool names are converted to characters that all clients accept.
    #[serde(default)]
    pub safe_tool_names: bool,
    /// Where its results hold secrets, and which actions make keys.
    #[serde(default)]
    pub secrets: SecretRules,
    /// What to add to its refusals.
    #[serde(default)]
    pub hints: Vec<Hint>,
    /// The sandbox's service that runs inside this process in its place.
    #[serde(default)]
    pub embedded: Option<String>,
    /// Whether it answers with JSON only, never with an event stream.
    #[serde(default)]
    pub json_only: bool,
    /// The tool that runs other tools, which its arguments name.
    pub action_runner: Option<String>,
    /// The variables of its endpoint.
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
}

/// What to add to a refusal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// The HTTP status of the refusal.
    pub status: u16,
    /// A sentence for the reader.
    pub text: String,
}

/// The documented rate limit of one key.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Maximum number of requests.
    pub requests: NonZeroU32,
    /// The time in which they count.
    #[serde(deserialize_with = "units::read_limit")]
    pub per: Duration,
}

/// The wire of a service, as its data names it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceWire {
    /// The service speaks MCP.
    Mcp,
    /// AgentStack's REST calls.
    #[serde(rename = "agentstack")]
    AgentStack,
}

/// How requests are authenticated.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The scheme.
    pub scheme: AuthScheme,
    /// The header of [`AuthScheme::Header`].
    #[serde(default)]
    pub header: String,
    /// Prefixes of valid keys.
    #[serde(default)]
    pub key_prefixes: Vec<String>,
    /// Further headers that carry a credential.
    #[serde(default)]
    pub other_headers: Vec<String>,
    /// An action that only reads and needs the key [default: the list of tools].
    #[serde(default)]
    pub test_action: String,
    /// URL of the page where users create keys.
    #[serde(default)]
    pub key_page: String,
    /// Maximum number of active keys of one account, if documented.
    pub active_keys: Option<u32>,
    /// Whether the key is optional.
    #[serde(default)]
    pub optional: bool,
    /// Whether the service may want a login where there is no key.
    #[serde(default)]
    pub logins: bool,
    /// The scopes of [`AuthScheme::Oauth`].
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// Authentication schemes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AuthScheme {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The header named in [`Auth::header`].
    Header,
    /// `Authorization: Bearer TOKEN` with a token from a login.
    Oauth,
}

/// A variable of an endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its kind.
    pub kind: VariableKind,
    /// The default value.
    pub default: Option<String>,
    /// Description for display.
    pub about: String,
}

/// Kinds of variables.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum VariableKind {
    /// A base URL.
    Url,
    /// One path segment.
    Segment,
}

impl VariableKind {
    /// Returns an example value.
    pub fn example(self) -> &'static str {
        match self {
            Self::Url => "https://host.example",
            Self::Segment => "1",
        }
    }
}

impl Auth {
    /// Says whether a header carries the key.
    pub fn carries_key(&self, header: &str) -> bool {
        let others = self.other_headers.iter();
        header.eq_ignore_ascii_case(&self.header_name())
            || others.into_iter().any(|other| header.eq_ignore_ascii_case(other))
    }

    /// Says whether a login can take the place of a key.
    pub fn takes_logins(&self) -> bool {
        self.logins || self.scheme == AuthScheme::Oauth
    }

    /// Returns the name of the credential's header, in lower case.
    pub fn header_name(&self) -> String {
        match self.scheme {
            AuthScheme::Header => self.header.to_ascii_lowercase(),
            AuthScheme::Bearer | AuthScheme::Oauth => "authorization".to_owned(),
        }
    }
}

impl Service {
    /// Returns the built-in service of this id.
    pub fn built_in(name: &str) -> Option<Self> {
        if let Some((_, like)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
            return Self::built_in(like).map(|service| service.embedded_as(name));
        }
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        // A test parses every built-in file.
        let service: Self = toml::from_str(text).expect("a built-in service file is valid");
        Some(Self { name: (*name).to_owned(), ..service })
    }

    /// Returns the sandbox's stand-in of this service: the same, inside this process.
    fn embedded_as(self, name: &str) -> Self {
        let stand_in = Self::built_in(SANDBOX).expect("the sandbox is a built-in service");
        Self {
            name: name.to_owned(),
            title: format!("the sandbox's {}", self.title),
            endpoint: stand_in.endpoint,
            variables: stand_in.variables,
            embedded: Some(self.name.clone()),
            rate: None,
            ..self
        }
    }

    /// Returns the prefixes by which its keys are masked; not those of access tokens: cursors also begin like a JWT.
    pub fn masked_prefixes(&self) -> &[String] {
        if self.auth.scheme == AuthScheme::Oauth { &[] } else { &self.auth.key_prefixes }
    }

    /// Returns the call that makes a key without one, if the service has such an action.
    pub fn starter(&self) -> Option<String> {
        let adds = |rule: &&NewKeyRule| rule.purpose == Purpose::Added && self.wire != ServiceWire::Mcp;
        let rule = self.secrets.new_keys.iter().find(adds)?;
        Some(format!("{} {}", rule.action, rule.example).trim_end().to_owned())
    }

    /// Returns the ids of all built-in services.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().chain(EMBEDDED).map(|(name, _)| *name)
    }

    /// Returns the endpoint with its variables filled in.
    ///
    /// # Errors
    /// [`Kind::Config`] for a missing or invalid value.
    pub fn endpoint(&self, values: &BTreeMap<String, String>) -> Result<Url> {
        let mut text = self.endpoint.clone();
        for (name, variable) in &self.variables {
            let value = values.get(name).or(variable.default.as_ref()).ok_or_else(|| {
                Error::new(Kind::Config, format!("{} needs {name}: {}", self.title, variable.about))
            })?;
            text = text.replace(&format!("{{{name}}}"), &variable.filled(name, value)?);
        }
        let no_url = |why: &str| Error::new(Kind::Config, format!("the endpoint of {} {why}", self.name));
        let url = Url::parse(&text).map_err(|e| no_url(&format!("is no URL: {e}")))?;
        match url.scheme() {
            "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
                Err(no_url("has a user or a password in it"))
            }
            "http" | "https" => Ok(url),
            _ => Err(no_url("is neither http nor https")),
        }
    }

    /// Returns the wires of MCP to try: HTTP+SSE needs event streams.
    pub fn wire_choice(&self) -> WireChoice {
        if self.json_only { WireChoice::Only(WireKind::StreamableHttp) } else { WireChoice::Auto }
    }

    /// Returns its documented limits, for display; empty if there are none.
    pub fn limits(&self) -> String {
        let rate =
            self.rate.map(|rate| format!("{} requests in {} for a key", rate.requests, seconds(rate.per)));
        let keys = self.auth.active_keys.map(|keys| format!("{keys} active keys for an account"));
        rate.into_iter().chain(keys).collect::<Vec<_>>().join(", ")
    }

    /// Returns the variables that have no value and no default.
    pub fn missing<'a>(&'a self, values: &BTreeMap<String, String>) -> Vec<(&'a str, &'a Variable)> {
        let given = |name: &str, variable: &Variable| values.contains_key(name) || variable.default.is_some();
        let all = self.variables.iter().map(|(name, variable)| (name.as_str(), variable));
        all.filter(|(name, variable)| !given(name, variable)).collect()
    }
}

impl Variable {
    /// Returns a value in the form used in the endpoint.
    ///
    /// # Errors
    /// [`Kind::Config`] for an invalid value.
    pub fn filled(&self, name: &str, value: &str) -> Result<String> {
        match self.kind {
            VariableKind::Url => base_url(name, value),
            VariableKind::Segment => segment(name, value),
        }
    }
}

/// Checks a base URL: http or https, a host, no user, no query.
fn base_url(name: &str, value: &str) -> Result<String> {
    let refuse = |why: &str| {
        Error::new(Kind::Config, format!("{name} {why}"))
            .hint("write it like https://host.example or https://host.example/path")
    };
    if value.chars().any(char::is_control) {
        return Err(refuse("has control characters in it"));
    }
    let example = if name == "url" { "https://host.example/mcp" } else { "https://host.example" };
    let url = Url::parse(value).map_err(|_| refuse(&format!("needs a full URL, such as {example}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("has a user or a password in it"));
    }
    if url.fragment().is_some() {
        return Err(refuse("has a fragment in it"));
    }
    if name != "url" && url.query().is_some() {
        return Err(refuse("has a query in it"));
    }
    if name == "url" {
        Ok(value.trim().to_owned())
    } else {
        Ok(value.trim().trim_end_matches('/').to_owned())
    }
}

/// Percent-encodes one path segment; refuses anything that could leave its place in the path.
fn segment(name: &str, value: &str) -> Result<String> {
    let bad = value.is_empty()
        || value == "."
        || value.contains("..")
        || value.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '@'));
    if bad {
        let why = format!("{name} cannot be {}", serde_json::Value::from(value));
        return Err(Error::new(Kind::Config, why)
            .hint("it is one part of a path: no “/”, “..”, “@” or control characters"));
    }
    Ok(utf8_percent_encode(value, SEGMENT).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_built_in_service_can_be_read() {
        for name in Service::names() {
            let service = Service::built_in(name).unwrap();
            assert_eq!(service.name, name);
            assert!(service.auth.scheme != AuthScheme::Header || !service.auth.header.is_empty());
            assert_eq!(service.secrets.check(), Ok(()), "{name}");
        }
    }

    #[test]
    fn variables_are_filled_in_and_encoded() {
        let service = Service::built_in("task-tracking").unwrap();
        let url =
            service.endpoint(&values(&[("base_url", "https://shop.example/"), ("workspace_id", "a b?ü#1")]));
        assert_eq!(url.unwrap().as_str(), "https://shop.example/app/api/mcp/server/a%20b%3F%C3%BC%231");
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let service = Service::built_in("task-tracking").unwrap();
        for id in ["a/b", "..", "a..b", "x@y", "a\nb", "", ".", "a\\b"] {
            let error =
                service.endpoint(&values(&[("base_url", "https://h"), ("workspace_id", id)])).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{id:?}");
        }
        for base in ["ftp://h", "https://u:p@h", "https://h?x=1", "h", "https://h#f", "https://h\u{7}"] {
            assert!(
                service.endpoint(&values(&[("base_url", base), ("workspace_id", "1")])).is_err(),
                "{base}"
            );
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Service::built_in("task-tracking").unwrap().endpoint(&BTreeMap::new()).unwrap_err();
        assert!(error.message().contains("base_url"), "{error}");
    }
}
