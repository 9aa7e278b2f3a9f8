//! Every option of asistry, one row each: the command line, the profiles, `profiles show`, the README, the
//! manual pages and the completions are made from [`OPTIONS`] or compared with it by a test.
//!
//! A new option is a row here, and the field it fills: in [`Options`] if a profile can store it, else in
//! `commands`. What only one command takes (`keys add --stdin`) is described at that command. Refuses any
//! value that its use would refuse. Knows nothing of clap, of the terminal and of the environment.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::config::Place;
use super::proxy::Proxy;
use super::units;
use crate::protocol::revision::Era;
use crate::protocol::settings::WireChoice;
use crate::protocol::wire::WireKind;
use crate::service::nearest;

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
    /// The URL of an OAuth client's metadata document.
    pub client_metadata_url: Option<String>,
    /// Whether the client logs in for itself.
    pub client_credentials: Option<bool>,
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

type Of<T> = fn(&mut Options) -> &mut Option<T>;
type Words<T> = &'static [(&'static str, T, &'static str)];

/// How a value is parsed, and the field it fills. The last five have their field in `commands`.
enum Slot {
    Duration(Of<Duration>),
    /// A duration above 0.
    Limit(Of<Duration>),
    Bytes(Of<usize>),
    Path(Of<PathBuf>),
    Switch(Of<bool>),
    Globs(Of<Vec<String>>),
    Proxy(Of<Proxy>),
    Wire(Of<WireChoice>),
    Era(Of<Option<Era>>),
    ToolNames(Of<ToolNames>),
    Dialect(Of<Dialect>),
    Login(Of<LoginMode>),
    Word(Of<String>),
    Scopes(Of<Vec<String>>),
    Text,
    File,
    Texts,
    Choice(Words<()>),
    Flag(Arity),
}

const WIRES: Words<WireChoice> = &[
    ("auto", WireChoice::Auto, "Streamable HTTP, else HTTP+SSE"),
    ("http", WireChoice::Only(WireKind::StreamableHttp), "Streamable HTTP"),
    ("sse", WireChoice::Only(WireKind::HttpSse), "HTTP+SSE of revision 2024-11-05"),
];
const ERAS: Words<Option<Era>> = &[
    ("auto", None, "Found out from client and service"),
    ("legacy", Some(Era::Legacy), "Legacy service (2024-11-05 to 2025-11-25)"),
    ("modern", Some(Era::Modern), "Modern service (2026-07-28)"),
];
const TOOL_NAMES: Words<ToolNames> = &[
    ("original", ToolNames::Original, "As the service names them"),
    ("safe", ToolNames::Safe, "Other characters than a-z, A-Z, 0-9, _ and - become _"),
];
const DIALECTS: Words<Dialect> = &[
    ("rest", Dialect::Rest, "The service's own REST calls"),
    ("mcp", Dialect::Mcp, "MCP at the same endpoint"),
];
const LOGINS: Words<LoginMode> = &[
    ("auto", LoginMode::Auto, "Open a browser window when the first request needs it"),
    ("tool", LoginMode::Tool, "List one tool, sign_in, that logs in"),
    ("never", LoginMode::Never, "Fail with the command that logs in"),
];
const FORMS: Words<()> = &[
    ("auto", (), "Table or text on a terminal, TSV or plain text when piped"),
    ("text", (), "Text"),
    ("json", (), "Indented JSON"),
    ("jsonl", (), "One JSON value per line"),
    ("table", (), "Table"),
    ("tsv", (), "Tab-separated values"),
];
const COLORS: Words<()> = &[
    ("auto", (), "On a terminal, unless NO_COLOR is set"),
    ("always", (), "Always"),
    ("never", (), "Never"),
];
const LOG_FORMATS: Words<()> = &[("text", (), "For people"), ("json", (), "One JSON object per line")];

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
    every("client-secret-env", "VAR", Slot::Word(|o| &mut o.client_secret_env),
        "Environment variable that holds the client's secret")
        .key("client_secret_env").default("none"),
    every("client-metadata-url", "URL", Slot::Word(|o| &mut o.client_metadata_url),
        "URL of the OAuth client's metadata document, its id where the server takes such ids")
        .key("client_metadata_url").default("none"),
    every("client-credentials", "", Slot::Switch(|o| &mut o.client_credentials),
        "Log in as the client itself, without a person (OAuth client credentials)")
        .key("client_credentials").default("false"),
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

    /// Says whether a profile stores a list.
    pub fn is_list(&self) -> bool {
        matches!(self.slot, Slot::Globs(_) | Slot::Scopes(_))
    }

    /// Says whether its value is the path of a file.
    pub fn is_path(&self) -> bool {
        matches!(self.slot, Slot::Path(_) | Slot::File) || self.value == "FILE"
    }

    /// Returns how often it can be given.
    pub fn arity(&self) -> Arity {
        match self.slot {
            Slot::Flag(arity) => arity,
            Slot::Switch(_) => Arity::Switch,
            Slot::Globs(_) | Slot::Scopes(_) | Slot::Texts => Arity::Many,
            _ => Arity::Once,
        }
    }

    /// Returns the words that its value can be, each with what it means; none where it can be any.
    pub fn choices(&self) -> Vec<(&'static str, &'static str)> {
        match self.slot {
            Slot::Wire(_) => listed(WIRES),
            Slot::Era(_) => listed(ERAS),
            Slot::ToolNames(_) => listed(TOOL_NAMES),
            Slot::Dialect(_) => listed(DIALECTS),
            Slot::Login(_) => listed(LOGINS),
            Slot::Choice(words) => listed(words),
            _ => Vec::new(),
        }
    }

    /// Returns the choice that is nearest to a text.
    pub fn nearest_choice(&self, text: &str) -> Option<&'static str> {
        nearest(text, self.choices().into_iter().map(|(word, _)| word))
    }

    /// Reads a value of the configuration; relative paths begin at `place`.
    ///
    /// # Errors
    /// A sentence that shows the form.
    pub fn read(&self, options: &mut Options, value: &toml::Value, place: &Place) -> Result<(), String> {
        let form = || "write a list like [\"list_*\", \"get_task\"]".to_owned();
        let texts: Result<Vec<String>, String> = match (value, &self.slot) {
            (toml::Value::Array(items), Slot::Globs(_) | Slot::Scopes(_)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(form)).collect()
            }
            (toml::Value::String(text), _) => Ok(vec![text.clone()]),
            (_, Slot::Globs(_) | Slot::Scopes(_)) => Err(form()),
            (toml::Value::Array(_) | toml::Value::Table(_), _) => Err("write one value".to_owned()),
            (other, _) => Ok(vec![other.to_string()]),
        };
        self.set(options, &texts?, place)
    }

    /// Sets a value as it is typed: one text, or several of a list.
    ///
    /// # Errors
    /// A sentence that shows the form.
    pub fn set(&self, options: &mut Options, texts: &[String], place: &Place) -> Result<(), String> {
        let text = texts.last().map_or("", String::as_str);
        match self.slot {
            Slot::Duration(of) => *of(options) = Some(units::duration(text)?),
            Slot::Limit(of) => *of(options) = Some(units::limit(text)?),
            Slot::Bytes(of) => *of(options) = Some(units::bytes(text)?),
            Slot::Path(of) => *of(options) = Some(path(text, place)?),
            Slot::Switch(of) => *of(options) = Some(switch(text)?),
            Slot::Globs(of) => *of(options) = Some(globs(texts)?),
            Slot::Proxy(of) => *of(options) = Some(Proxy::read(text)?),
            Slot::Wire(of) => *of(options) = Some(word(text, WIRES)?),
            Slot::ToolNames(of) => *of(options) = Some(word(text, TOOL_NAMES)?),
            Slot::Era(of) => *of(options) = Some(word(text, ERAS)?),
            Slot::Dialect(of) => *of(options) = Some(word(text, DIALECTS)?),
            Slot::Login(of) => *of(options) = Some(word(text, LOGINS)?),
            Slot::Word(of) => *of(options) = Some(one_word(text)?),
            Slot::Scopes(of) => *of(options) = Some(scopes(texts)?),
            Slot::Choice(words) => word(text, words)?,
            Slot::Text | Slot::File | Slot::Texts | Slot::Flag(_) => {}
        }
        Ok(())
    }

    /// Returns how a profile stores a value that was typed as text.
    pub fn to_toml(&self, text: &str) -> toml_edit::Value {
        match (&self.slot, text) {
            (Slot::Switch(_), "true") => true.into(),
            (Slot::Switch(_), "false") => false.into(),
            (Slot::Globs(_), _) => text.split(',').map(str::trim).filter(|glob| !glob.is_empty()).collect(),
            (Slot::Scopes(_), _) => {
                text.split([',', ' ']).map(str::trim).filter(|scope| !scope.is_empty()).collect()
            }
            _ => text.into(),
        }
    }

    /// Returns the value in these options as it would be typed; a `${VAR}` is shown as it is.
    pub fn shown(&self, options: &Options) -> Option<Value> {
        let mut options = options.clone();
        let o = &mut options;
        match self.slot {
            Slot::Duration(of) | Slot::Limit(of) => {
                of(o).map(|duration| units::duration_text(duration).into())
            }
            Slot::Bytes(of) => of(o).map(|bytes| units::bytes_text(bytes).into()),
            Slot::Path(of) => of(o).as_ref().map(|path| path.display().to_string().into()),
            Slot::Switch(of) => of(o).map(Value::from),
            Slot::Globs(of) => of(o).take().map(Value::from),
            Slot::Proxy(of) => of(o).as_ref().map(|proxy| proxy.to_string().into()),
            Slot::Wire(of) => of(o).and_then(|value| named(value, WIRES)),
            Slot::Era(of) => of(o).and_then(|value| named(value, ERAS)),
            Slot::ToolNames(of) => of(o).and_then(|value| named(value, TOOL_NAMES)),
            Slot::Dialect(of) => of(o).and_then(|value| named(value, DIALECTS)),
            Slot::Login(of) => of(o).and_then(|value| named(value, LOGINS)),
            Slot::Word(of) => of(o).take().map(Value::from),
            Slot::Scopes(of) => of(o).take().map(Value::from),
            Slot::Text | Slot::File | Slot::Texts | Slot::Choice(_) | Slot::Flag(_) => None,
        }
    }

    /// Takes the value of `below` where `above` has none.
    fn fill(&self, above: &mut Options, below: &mut Options) {
        fn filled<T>(of: Of<T>, above: &mut Options, below: &mut Options) {
            if of(above).is_none() {
                *of(above) = of(below).take();
            }
        }
        match self.slot {
            Slot::Duration(of) | Slot::Limit(of) => filled(of, above, below),
            Slot::Bytes(of) => filled(of, above, below),
            Slot::Path(of) => filled(of, above, below),
            Slot::Switch(of) => filled(of, above, below),
            Slot::Globs(of) => filled(of, above, below),
            Slot::Proxy(of) => filled(of, above, below),
            Slot::Wire(of) => filled(of, above, below),
            Slot::Era(of) => filled(of, above, below),
            Slot::ToolNames(of) => filled(of, above, below),
            Slot::Dialect(of) => filled(of, above, below),
            Slot::Login(of) => filled(of, above, below),
            Slot::Word(of) => filled(of, above, below),
            Slot::Scopes(of) => filled(of, above, below),
            Slot::Text | Slot::File | Slot::Texts | Slot::Choice(_) | Slot::Flag(_) => {}
        }
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

fn path(text: &str, place: &Place) -> Result<PathBuf, String> {
    match text {
        "" => Err("write the path of a file".into()),
        text => Ok(place.path(text)),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".to_owned())
}

fn globs(globs: &[String]) -> Result<Vec<String>, String> {
    for glob in globs {
        if glob.is_empty() || glob.contains(|c: char| c.is_control() || "[]{}".contains(c)) {
            let shown = Value::from(glob.as_str());
            return Err(format!("{shown} is not a pattern: write the characters of a name, * and ?"));
        }
    }
    Ok(globs.to_vec())
}

/// Returns a text without spaces and control characters.
fn one_word(text: &str) -> Result<String, String> {
    match text {
        "" => Err("write a value".into()),
        text if text.contains(|c: char| c.is_control() || c.is_whitespace()) => {
            Err(format!("{} has a space in it", Value::from(text)))
        }
        text => Ok(text.to_owned()),
    }
}

/// Reads scopes: words of printable ASCII (RFC 6749 section 3.3).
fn scopes(texts: &[String]) -> Result<Vec<String>, String> {
    let words: Vec<String> =
        texts.iter().flat_map(|text| text.split_ascii_whitespace()).map(str::to_owned).collect();
    let is_scope = |word: &&String| word.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    match words.iter().find(|word| !is_scope(word)) {
        Some(word) => Err(format!("{} is not a scope", Value::from(word.as_str()))),
        None => Ok(words),
    }
}

fn word<T: Copy>(text: &str, words: Words<T>) -> Result<T, String> {
    if let Some((_, value, _)) = words.iter().find(|(word, ..)| *word == text) {
        return Ok(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, ..)| *word).collect();
    let known = match all.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        all => all.join(", "),
    };
    Err(format!("{} is not {known}", Value::from(text)))
}

fn named<T: PartialEq>(value: T, words: Words<T>) -> Option<Value> {
    words.iter().find(|(_, known, _)| *known == value).map(|(word, ..)| Value::from(*word))
}

fn listed<T>(words: Words<T>) -> Vec<(&'static str, &'static str)> {
    words.iter().map(|(word, _, about)| (*word, *about)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, typed: &str) -> Result<Options, String> {
        let row = Row::named(name).unwrap();
        let text = format!("x = {}", row.to_toml(typed));
        let table: toml::Table = toml::from_str(&text).unwrap();
        let mut options = Options::default();
        row.read(&mut options, &table["x"], &Place::default()).map(|()| options)
    }

    #[test]
    fn every_option_is_read_as_it_is_shown_and_keeps_to_its_own_place() {
        let mut all = Options::default();
        for (key, row) in Row::stored() {
            let typed = match row.slot {
                Slot::Duration(_) | Slot::Limit(_) => "90s",
                Slot::Bytes(_) => "64k",
                Slot::Path(_) => "/etc/roots.pem",
                Slot::Switch(_) => "true",
                Slot::Globs(_) => "a_*, b",
                Slot::Proxy(_) => "http://${U}:${P}@h:1",
                Slot::Wire(_) => "sse",
                Slot::Era(_) => "legacy",
                Slot::ToolNames(_) => "safe",
                Slot::Dialect(_) => "mcp",
                Slot::Login(_) => "tool",
                Slot::Word(_) => "word",
                Slot::Scopes(_) => "a:read, b",
                Slot::Text | Slot::File | Slot::Texts | Slot::Choice(_) | Slot::Flag(_) => {
                    panic!("{key} has no field in Options")
                }
            };
            let options = read(key, typed).unwrap();
            let shown = row.shown(&options).unwrap();
            let words = shown.as_array().map(|a| a.iter().filter_map(Value::as_str).collect::<Vec<_>>());
            let again = words.map_or_else(|| shown.to_string().replace('"', ""), |words| words.join(", "));
            assert_eq!(again, typed, "{key}");
            assert!(Row::stored().all(|(other, row)| other == key || row.shown(&options).is_none()));
            all = all.over(options);
        }
        assert!(Row::stored().all(|(_, row)| row.shown(&all).is_some()), "{all:?}");
        assert_eq!(Options::default().over(all.clone()), all);
    }

    #[test]
    fn what_the_use_would_refuse_is_refused() {
        for (name, wrong) in [
            ("timeout", "soon"),
            ("timeout", "0"),
            ("max_time", "0ms"),
            ("max_result", "many"),
            ("insecure", "yes"),
            ("deny_tools", "delete_[ab]"),
            ("transport", "htp"),
            ("tool_names", "short"),
            ("proxy", "http://u:p@h"),
            ("ca_file", ""),
        ] {
            assert!(read(name, wrong).is_err(), "{name}={wrong}");
        }
        assert_eq!(read("transport", "htp").unwrap_err(), "\"htp\" is not auto, http or sse");
        assert_eq!(read("max_wait", "0").unwrap().max_wait, Some(Duration::ZERO));
        assert_eq!(read("hidden_tools", "").unwrap().hidden_tools, Some(Vec::new()));
    }
}
