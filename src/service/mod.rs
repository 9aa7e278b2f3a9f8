//! The remote systems we know, as data: one `.toml` for each.
//!
//! Refuses code for a single service: what differs is a field here.

mod catalog;
mod file;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use url::Url;

use crate::error::{Error, Kind, Result};

pub use catalog::{Catalog, check_name};
pub use file::{line_of, nearest, parse, unknown};

const BUILT_IN: &[(&str, &str)] = &[
    ("asistry", include_str!("asistry.toml")),
    ("zuko", include_str!("zuko.toml")),
    ("task-tracking", include_str!("task-tracking.toml")),
    ("agentstack", include_str!("agentstack.toml")),
    ("bob-studio", include_str!("bob-studio.toml")),
    ("sandbox", include_str!("sandbox.toml")),
    ("mcp", include_str!("mcp.toml")),
];

/// What stands for itself in a path segment (RFC 3986 unreserved characters).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A remote system, described.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its id, the name of its file.
    #[serde(skip)]
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The endpoint; `{name}` stands for a variable.
    pub endpoint: String,
    /// How messages are drawn.
    #[serde(alias = "dialect")]
    pub wire: ServiceWire,
    /// How a credential goes along.
    pub auth: Auth,
    /// Whether it says anything on a stream of its own.
    #[serde(default)]
    pub pushes: bool,
    /// What it documents about its limits, for people.
    #[serde(default)]
    pub limits: String,
    /// A 429 without a hint means that waiting does not help.
    #[serde(default)]
    pub unhinted_429_is_final: bool,
    /// Tools that can only fail for a key.
    #[serde(default)]
    pub hidden_tools: Vec<String>,
    /// Tool names are shown in the form that all clients take.
    #[serde(default)]
    pub safe_tool_names: bool,
    /// It runs inside this process.
    #[serde(default)]
    pub embedded: bool,
    /// The variables of its endpoint.
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
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

/// How a credential goes along.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// In which form.
    pub scheme: AuthScheme,
    /// The header of [`AuthScheme::Header`].
    #[serde(default)]
    pub header: String,
    /// How a right key begins.
    #[serde(default)]
    pub key_prefixes: Vec<String>,
    /// Where a person makes a key.
    #[serde(default)]
    pub key_page: String,
    /// The service may do without one.
    #[serde(default)]
    pub optional: bool,
    /// The scopes of [`AuthScheme::Oauth`].
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// The forms in which a credential goes along.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AuthScheme {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header of the service's own.
    Header,
    /// `Authorization: Bearer TOKEN`, where the token comes from a login.
    Oauth,
}

/// A variable of an endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What it may be.
    pub kind: VariableKind,
    /// Its value where the profile has none.
    pub default: Option<String>,
    /// What it is, for people.
    pub about: String,
}

/// What a variable may be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum VariableKind {
    /// The beginning of a URL.
    Url,
    /// One segment of a path.
    Segment,
}

impl VariableKind {
    /// Returns a value of this kind, to be shown in examples.
    pub fn example(self) -> &'static str {
        match self {
            Self::Url => "https://host.example",
            Self::Segment => "1",
        }
    }
}

/// Returns how the keys of the built-in services begin. Access tokens are left out: a cursor begins like a JWT.
pub fn key_prefixes() -> &'static [String] {
    static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
        let services = Service::names().filter_map(Service::built_in);
        let with_keys = services.filter(|service| service.auth.scheme != AuthScheme::Oauth);
        with_keys.flat_map(|service| service.auth.key_prefixes).collect()
    });
    &ALL
}

impl Auth {
    /// Returns the header in which a credential goes along, in lower case.
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
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        // A test reads every file; a file that cannot be read never leaves this house.
        let service: Self = toml::from_str(text).expect("a built-in service file is valid");
        Some(Self { name: (*name).to_owned(), ..service })
    }

    /// Returns the ids of all built-in services.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Fills the variables of the endpoint in.
    ///
    /// # Errors
    /// [`Kind::Config`] for a missing or an unfit value.
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

    /// Returns the variables that have neither a value here nor a default.
    pub fn missing<'a>(&'a self, values: &BTreeMap<String, String>) -> Vec<(&'a str, &'a Variable)> {
        let given = |name: &str, variable: &Variable| values.contains_key(name) || variable.default.is_some();
        let all = self.variables.iter().map(|(name, variable)| (name.as_str(), variable));
        all.filter(|(name, variable)| !given(name, variable)).collect()
    }
}

impl Variable {
    /// Returns a value as it stands in the endpoint.
    ///
    /// # Errors
    /// [`Kind::Config`] for an unfit value.
    pub fn filled(&self, name: &str, value: &str) -> Result<String> {
        match self.kind {
            VariableKind::Url => base_url(name, value),
            VariableKind::Segment => segment(name, value),
        }
    }
}

/// Reads the beginning of a URL: http or https, a host, no user, no query.
fn base_url(name: &str, value: &str) -> Result<String> {
    let refuse = |why: &str| {
        Error::new(Kind::Config, format!("{name} {why}"))
            .hint("write it like https://host.example or https://host.example/path")
    };
    if value.chars().any(char::is_control) {
        return Err(refuse("has control characters in it"));
    }
    let url = Url::parse(value).map_err(|e| refuse(&format!("is no URL: {e}")))?;
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

/// Reads one path segment; what could lead out of its place is refused, the rest percent-encoded.
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
