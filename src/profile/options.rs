//! Every option of asistry, one row each: the command line, the profiles, `profiles show`, the README, the
//! manual pages and the completions are made from [`OPTIONS`] or compared with it by a test.
//!
//! A new option is a row here, and the field it fills: in [`Options`] if a profile can store it, else in
//! `commands`. What only one command takes (`keys add --stdin`) is described at that command. `values` reads and
//! shows the values. Knows nothing of clap, of the terminal and of the environment.

mod values;

use std::path::PathBuf;
use std::time::Duration;

use super::proxy::Proxy;
use crate::protocol::revision::Era;
use crate::protocol::settings::WireChoice;
use values::{COLORS, FORMS, LOG_FORMATS, Slot};

/// The options that a profile can store; `None` where an option is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Longest silence on one request.
    pub timeout: Option<Duration>,
    /// Hard limit for one request.
    pub max_time: Option<Duration>,
    /// Longest total wait for 429 and 503 responses to one request.
    pub max_wait: Option<Duration>,
    /// Whether a 503 repeats a call that may change something.
    pub retry_503: Option<bool>,
    /// Additional root certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its private key, PEM.
    pub client_cert: Option<PathBuf>,
    /// Whether certificates are not verified.
    pub insecure: Option<bool>,
    /// Whether a credential may go over plain http beyond this machine.
    pub allow_http: Option<bool>,
    /// The only proxy.
    pub proxy: Option<Proxy>,
    /// How messages travel over HTTP.
    pub transport: Option<WireChoice>,
    /// What is spoken to a service that has more than one dialect.
    pub dialect: Option<Dialect>,
    /// The era of the service; `Some(None)` is `auto`, said aloud.
    pub era: Option<Option<Era>>,
    /// Only matching tools are listed and called.
    pub allow_tools: Option<Vec<String>>,
    /// Matching tools are neither listed nor called.
    pub deny_tools: Option<Vec<String>>,
    /// Tools that are not listed; replaces the service's own list.
    pub hidden_tools: Option<Vec<String>>,
    /// Only tools annotated `readOnlyHint: true`.
    pub read_only: Option<bool>,
    /// The form of tool names.
    pub tool_names: Option<ToolNames>,
    /// How long to wait for answers after the client is gone.
    pub drain: Option<Duration>,
    /// The id of an OAuth client that was registered beforehand.
    pub client_id: Option<String>,
    /// The variable that holds its secret.
    pub client_secret_env: Option<String>,
    /// The file that holds its private key.
    pub client_key: Option<PathBuf>,
    /// The variable that holds its private key.
    pub client_key_env: Option<String>,
    /// The id of that key at the authorization server.
    pub client_key_id: Option<String>,
    /// The URL of an OAuth client's metadata document.
    pub client_metadata_url: Option<String>,
    /// Whether the client logs in for itself.
    pub client_credentials: Option<bool>,
    /// Where the token that identifies a workload comes from.
    pub identity_token: Option<IdentitySource>,
    /// The issuer of the identity provider that exchanges that token.
    pub idp_issuer: Option<String>,
    /// The client there.
    pub idp_client_id: Option<String>,
    /// The variable that holds its secret.
    pub idp_client_secret_env: Option<String>,
    /// The OAuth scopes to ask for.
    pub scopes: Option<Vec<String>>,
    /// What to do when a service wants a login.
    pub login: Option<LoginMode>,
    /// Results larger than this are written to a file (bytes).
    pub max_result: Option<usize>,
}

/// The forms of tool names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolNames {
    /// As the service names them.
    Original,
    /// In the form that every client takes.
    Safe,
}

/// What to do when a service wants a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginMode {
    /// Open a browser.
    #[default]
    Auto,
    /// Offer a tool that logs in.
    Tool,
    /// Fail with the command that logs in.
    Never,
}

/// Where the token that identifies a workload comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// GitHub Actions, for this audience; none is the issuer of the authorization server.
    Github(Option<String>),
    /// The variable of this name.
    Variable(String),
    /// This file.
    File(PathBuf),
}

/// What is spoken to a service that answers both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The service's own REST calls.
    Rest,
    /// MCP.
    Mcp,
}

/// One option.
pub struct Row {
    /// Its long name on the command line, without dashes; none if only a profile has it.
    pub flag: Option<&'static str>,
    /// Its short name.
    pub short: Option<char>,
    /// Its name in a profile; none if no profile can store it.
    pub key: Option<&'static str>,
    /// The variable that is read where the command line does not have it.
    pub env: Option<&'static str>,
    /// The commands that take it.
    pub takers: Takers,
    /// The form of its value, such as `DUR`; empty for a switch.
    pub value: &'static str,
    /// Its description for people.
    pub about: &'static str,
    /// Its default, for people; empty where there is nothing to say.
    pub default: &'static str,
    /// The option that it cannot be combined with.
    pub conflict: Option<&'static str>,
    slot: Slot,
}

/// The commands that take an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takers {
    /// Every command.
    Every,
    /// The commands that print a result.
    Readers,
    /// `bridge`.
    Bridge,
    /// No command: only a profile stores it.
    None,
}

/// How often an option can be given, and what with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Without a value.
    Switch,
    /// Without a value; giving it twice means more.
    Count,
    /// With one value.
    Once,
    /// With one value each time.
    Many,
}

/// Every option, in the order of the help texts.
#[rustfmt::skip]
pub const OPTIONS: &[Row] = &[
    every("profile", "NAME", Slot::Text, "Profile to use").short('p').env("ASISTRY_PROFILE"),
    every("url", "URL", Slot::Text, "Endpoint URL; overrides the profile's. Without -p, any MCP service")
        .env("ASISTRY_URL"),
    every("header", "NAME: VALUE", Slot::Texts,
        "Extra request header (repeatable); ${VAR} is read from the environment"),
    every("header-file", "FILE", Slot::File, "File with extra request headers, one per line"),
    every("timeout", "DUR", Slot::Limit(|o| &mut o.timeout), "Longest silence on one request, such as 30s or 5m")
        .key("timeout").env("ASISTRY_TIMEOUT").default("60s; 10m for tool calls in a bridge"),
    every("max-time", "DUR", Slot::Limit(|o| &mut o.max_time), "Hard limit for one request")
        .key("max_time").default("none"),
    every("max-wait", "DUR", Slot::Duration(|o| &mut o.max_wait),
        "Longest total wait for 429 and 503 responses to one request; 0 = never wait")
        .key("max_wait").default("60s"),
    every("ca-file", "PEM", Slot::Path(|o| &mut o.ca_file), "Additional root certificates, PEM")
        .key("ca_file").default("none"),
    every("client-cert", "PEM", Slot::Path(|o| &mut o.client_cert), "Client certificate and private key, PEM")
        .key("client_cert").default("none"),
    every("insecure", "", Slot::Switch(|o| &mut o.insecure), "Don't verify TLS certificates")
        .key("insecure").default("false"),
    every("allow-http", "", Slot::Switch(|o| &mut o.allow_http),
        "Allow sending a credential over plain http beyond this machine")
        .key("allow_http").default("false"),
    every("client-id", "ID", Slot::Word(|o| &mut o.client_id), "OAuth client registered beforehand")
        .key("client_id").default("registered by itself"),
    every("client-secret-env", "VAR", Slot::Variable(|o| &mut o.client_secret_env),
        "Environment variable that holds the client's secret")
        .key("client_secret_env").default("none"),
    every("client-key", "PEM", Slot::Key(|o| &mut o.client_key),
        "Private key of the OAuth client, P-256 or RSA (private_key_jwt)")
        .key("client_key").default("none"),
    every("client-key-env", "VAR", Slot::Variable(|o| &mut o.client_key_env),
        "Environment variable that holds the client's private key")
        .key("client_key_env").default("none"),
    every("client-key-id", "KID", Slot::Word(|o| &mut o.client_key_id),
        "Id of the client's private key at the authorization server (kid)")
        .key("client_key_id").default("none"),
    every("client-metadata-url", "URL", Slot::Word(|o| &mut o.client_metadata_url),
        "URL of the OAuth client's metadata document, its id where the server takes such ids")
        .key("client_metadata_url").default("none"),
    every("client-credentials", "", Slot::Switch(|o| &mut o.client_credentials),
        "Log in as the client itself, without a person (OAuth client credentials)")
        .key("client_credentials").default("false"),
    every("identity-token", "SOURCE", Slot::Identity(|o| &mut o.identity_token),
        "Log in with a workload's token (JWT): github, github:AUDIENCE, env:VAR or file:FILE")
        .key("identity_token").default("none"),
    every("idp-issuer", "URL", Slot::Issuer(|o| &mut o.idp_issuer),
        "Identity provider that exchanges the identity token for an ID-JAG (enterprise-managed authorization)")
        .key("idp_issuer").default("none"),
    every("idp-client-id", "ID", Slot::Word(|o| &mut o.idp_client_id), "OAuth client at the identity provider")
        .key("idp_client_id").default("none"),
    every("idp-client-secret-env", "VAR", Slot::Variable(|o| &mut o.idp_client_secret_env),
        "Environment variable that holds the secret of the client at the identity provider")
        .key("idp_client_secret_env").default("none"),
    every("scope", "SCOPE", Slot::Scopes(|o| &mut o.scopes), "OAuth scope to ask for (repeatable)")
        .key("scopes").default("those that the service names"),
    every("login", "MODE", Slot::Login(|o| &mut o.login), "What to do when a service wants an OAuth login")
        .key("login").default("auto"),
    every("no-input", "", Slot::Flag(Arity::Switch), "Never ask; also set by CI=true"),
    every("verbose", "", Slot::Flag(Arity::Count), "Log each exchange, wait and retry; -vv adds headers and sizes; with --json only to --log-file")
        .short('v'),
    every("quiet", "", Slot::Flag(Arity::Switch), "Log errors only; show no progress").short('q'),
    every("log-file", "FILE", Slot::File, "Write logs to FILE instead of stderr"),
    every("log-format", "FORMAT", Slot::Choice(LOG_FORMATS), "Log format").default("text"),
    every("trace", "FILE", Slot::Text, "Record the conversation in FILE, secrets masked; %p in the name is the process id"),
    every("color", "WHEN", Slot::Choice(COLORS), "When to use color").default("auto"),
    readers("output", "FORM", Slot::Choice(FORMS), "Output format").short('o').default("auto"),
    readers("json", "", Slot::Flag(Arity::Switch), "Print JSON; same as -o json").conflict("output"),
    readers("jq", "EXPR", Slot::Text, "Filter the result with a jq expression; -o then prints what it returns"),
    readers("fields", "A,B", Slot::Text, "Show only these fields, as columns in this order"),
    bridge("transport", "WIRE", Slot::Wire(|o| &mut o.transport), "How messages travel over HTTP")
        .key("transport").default("auto"),
    bridge("era", "ERA", Slot::Era(|o| &mut o.era), "Era of the service").key("era").default("auto"),
    bridge("allow-tool", "GLOB", Slot::Globs(|o| &mut o.allow_tools),
        "List and call only matching tools (repeatable; * and ?)")
        .key("allow_tools").default("all"),
    bridge("deny-tool", "GLOB", Slot::Globs(|o| &mut o.deny_tools),
        "Neither list nor call matching tools (repeatable; * and ?)")
        .key("deny_tools").default("none"),
    bridge("read-only", "", Slot::Switch(|o| &mut o.read_only), "Only tools annotated readOnlyHint: true")
        .key("read_only").default("false"),
    bridge("tool-names", "FORM", Slot::ToolNames(|o| &mut o.tool_names), "Form of tool names")
        .key("tool_names").default("set by the service"),
    bridge("drain", "DUR", Slot::Duration(|o| &mut o.drain), "How long to wait for answers after the client is gone")
        .key("drain").default("800ms"),
    bridge("max-result", "BYTES", Slot::Bytes(|o| &mut o.max_result),
        "Write tool results larger than this to a file and tell the client where, such as 64k or 16m")
        .key("max_result").default("none"),
    stored("retry_503", Slot::Switch(|o| &mut o.retry_503), "Repeat a call that may change something after a 503")
        .default("false"),
    stored("hidden_tools", Slot::Globs(|o| &mut o.hidden_tools),
        "Tools that are not listed; replaces the service's own list")
        .default("set by the service"),
    stored("dialect", Slot::Dialect(|o| &mut o.dialect),
        "Protocol for a service that offers both REST and MCP: rest or mcp")
        .default("set by the service"),
    stored("proxy", Slot::Proxy(|o| &mut o.proxy),
        "Proxy URL: http, https, socks5 or socks5h; a password only as ${VAR}")
        .default("set by the environment"),
];

const fn row(takers: Takers, value: &'static str, slot: Slot, about: &'static str) -> Row {
    let (flag, short, key, env, conflict) = (None, None, None, None, None);
    Row { flag, short, key, env, takers, value, about, default: "", conflict, slot }
}

const fn every(flag: &'static str, value: &'static str, slot: Slot, about: &'static str) -> Row {
    Row { flag: Some(flag), ..row(Takers::Every, value, slot, about) }
}

const fn readers(flag: &'static str, value: &'static str, slot: Slot, about: &'static str) -> Row {
    Row { flag: Some(flag), ..row(Takers::Readers, value, slot, about) }
}

const fn bridge(flag: &'static str, value: &'static str, slot: Slot, about: &'static str) -> Row {
    Row { flag: Some(flag), ..row(Takers::Bridge, value, slot, about) }
}

const fn stored(key: &'static str, slot: Slot, about: &'static str) -> Row {
    row(Takers::None, "", slot, about).key(key)
}

impl Row {
    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn key(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    const fn env(self, env: &'static str) -> Self {
        Self { env: Some(env), ..self }
    }

    const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn conflict(self, flag: &'static str) -> Self {
        Self { conflict: Some(flag), ..self }
    }

    /// Returns the options that a profile can store, with their names in it.
    pub fn stored() -> impl Iterator<Item = (&'static str, &'static Self)> {
        OPTIONS.iter().filter_map(|row| Some((row.key?, row)))
    }

    /// Returns the options that these commands take, with their names on the command line.
    pub fn taken_by(takers: Takers) -> impl Iterator<Item = (&'static str, &'static Self)> {
        OPTIONS.iter().filter(move |row| row.takers == takers).filter_map(|row| Some((row.flag?, row)))
    }

    /// Finds the option that has this name in a profile.
    pub fn named(key: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|row| row.key == Some(key))
    }
}

impl Options {
    /// Returns these options, with those of `below` where one is not set here.
    #[must_use]
    pub fn over(mut self, mut below: Self) -> Self {
        OPTIONS.iter().for_each(|row| row.fill(&mut self, &mut below));
        self
    }
}
