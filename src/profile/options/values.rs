//! The values of options: their forms, how each is read, shown and merged.
//!
//! Refuses any value that its use would refuse.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{Arity, Dialect, IdentitySource, LoginMode, Options, Row, ToolNames};
use crate::profile::config::Place;
use crate::profile::proxy::Proxy;
use crate::protocol::revision::Era;
use crate::protocol::settings::WireChoice;
use crate::protocol::wire::WireKind;
use crate::service::{nearest, units};

/// Maximum characters of a variable's name.
const LONGEST_VARIABLE: usize = 64;

pub(super) type Of<T> = fn(&mut Options) -> &mut Option<T>;
pub(super) type Words<T> = &'static [(&'static str, T, &'static str)];

/// How a value is parsed, and the field it fills. The last five have their field in `commands`.
pub(super) enum Slot {
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
    /// The name of a variable that holds a secret.
    Variable(Of<String>),
    /// The file of a private key.
    Key(Of<PathBuf>),
    Identity(Of<IdentitySource>),
    /// The issuer of an identity provider.
    Issuer(Of<String>),
    Scopes(Of<Vec<String>>),
    Text,
    File,
    Texts,
    Choice(Words<()>),
    Flag(Arity),
}

pub(super) const WIRES: Words<WireChoice> = &[
    ("auto", WireChoice::Auto, "Streamable HTTP, else HTTP+SSE"),
    ("http", WireChoice::Only(WireKind::StreamableHttp), "Streamable HTTP"),
    ("sse", WireChoice::Only(WireKind::HttpSse), "HTTP+SSE of revision 2024-11-05"),
];
pub(super) const ERAS: Words<Option<Era>> = &[
    ("auto", None, "Found out from client and service"),
    ("legacy", Some(Era::Legacy), "Legacy service (2024-11-05 to 2025-11-25)"),
    ("modern", Some(Era::Modern), "Modern service (2026-07-28)"),
];
pub(super) const TOOL_NAMES: Words<ToolNames> = &[
    ("original", ToolNames::Original, "As the service names them"),
    ("safe", ToolNames::Safe, "Other characters than a-z, A-Z, 0-9, _ and - become _"),
];
pub(super) const DIALECTS: Words<Dialect> = &[
    ("rest", Dialect::Rest, "The service's own REST calls"),
    ("mcp", Dialect::Mcp, "MCP at the same endpoint"),
];
pub(super) const LOGINS: Words<LoginMode> = &[
    ("auto", LoginMode::Auto, "Open a browser window when the first request needs it"),
    ("tool", LoginMode::Tool, "List one tool, sign_in, that logs in"),
    ("never", LoginMode::Never, "Fail with the command that logs in"),
];
pub(super) const FORMS: Words<()> = &[
    ("auto", (), "Table or text on a terminal, TSV or plain text when piped"),
    ("text", (), "Text"),
    ("json", (), "Indented JSON"),
    ("jsonl", (), "One JSON value per line"),
    ("table", (), "Table"),
    ("tsv", (), "Tab-separated values"),
];
pub(super) const COLORS: Words<()> = &[
    ("auto", (), "On a terminal, unless NO_COLOR is set"),
    ("always", (), "Always"),
    ("never", (), "Never"),
];
pub(super) const LOG_FORMATS: Words<()> =
    &[("text", (), "For people"), ("json", (), "One JSON object per line")];

impl Row {
    /// Says whether a profile stores a list.
    pub fn is_list(&self) -> bool {
        matches!(self.slot, Slot::Globs(_) | Slot::Scopes(_))
    }

    /// Says whether its value is the path of a file.
    pub fn is_path(&self) -> bool {
        matches!(self.slot, Slot::Path(_) | Slot::Key(_) | Slot::File) || self.value == "FILE"
    }

    /// Says whether it names where a secret is, so that the secret itself may be typed there by mistake.
    pub fn is_near_secret(&self) -> bool {
        matches!(self.slot, Slot::Variable(_) | Slot::Key(_) | Slot::Identity(_))
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
            Slot::Variable(of) => *of(options) = Some(variable_name(text)?),
            Slot::Key(of) => *of(options) = Some(key_file(text, place)?),
            Slot::Identity(of) => *of(options) = Some(identity(text, place)?),
            Slot::Issuer(of) => *of(options) = Some(issuer(text)?),
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
            Slot::Word(of) | Slot::Variable(of) | Slot::Issuer(of) => of(o).take().map(Value::from),
            Slot::Key(of) => of(o).as_ref().map(|path| path.display().to_string().into()),
            Slot::Identity(of) => of(o).as_ref().map(|source| source.to_string().into()),
            Slot::Scopes(of) => of(o).take().map(Value::from),
            Slot::Text | Slot::File | Slot::Texts | Slot::Choice(_) | Slot::Flag(_) => None,
        }
    }

    /// Takes the value of `below` where `above` has none.
    pub(super) fn fill(&self, above: &mut Options, below: &mut Options) {
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
            Slot::Word(of) | Slot::Variable(of) | Slot::Issuer(of) => filled(of, above, below),
            Slot::Key(of) => filled(of, above, below),
            Slot::Identity(of) => filled(of, above, below),
            Slot::Scopes(of) => filled(of, above, below),
            Slot::Text | Slot::File | Slot::Texts | Slot::Choice(_) | Slot::Flag(_) => {}
        }
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
        text if text.contains(|c: char| c.is_control() || c.is_whitespace()) => Err("write one word".into()),
        text => Ok(text.to_owned()),
    }
}

/// Reads the name of a variable; never repeats what may be the secret itself.
fn variable_name(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= LONGEST_VARIABLE;
    match is_name {
        true => Ok(text.to_owned()),
        false => {
            Err("write the name of an environment variable, such as CLIENT_SECRET, not its value".into())
        }
    }
}

/// Reads the path of a private key; never repeats what may be the key itself.
fn key_file(text: &str, place: &Place) -> Result<PathBuf, String> {
    match text.starts_with('-') || text.contains(['\n', '\r']) || text.contains("-----BEGIN") {
        true => Err("write the path of the file that holds the key, not the key".into()),
        false => path(text, place),
    }
}

/// Reads the source of an identity token; never repeats what may be the token itself.
fn identity(text: &str, place: &Place) -> Result<IdentitySource, String> {
    match text.split_once(':') {
        None if text == "github" => Ok(IdentitySource::Github(None)),
        Some(("github", audience)) if !audience.is_empty() => {
            Ok(IdentitySource::Github(Some(one_word(audience)?)))
        }
        Some(("env", name)) => variable_name(name).map(IdentitySource::Variable),
        // A token begins so: the base64 of {".
        Some(("file", file)) if !file.starts_with("eyJ") => path(file, place).map(IdentitySource::File),
        _ => Err("write github, github:AUDIENCE, env:VAR or file:FILE".into()),
    }
}

fn issuer(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "https" | "http") && url.has_host() => Ok(text.to_owned()),
        _ => Err("write the issuer as in the provider's metadata, such as https://idp.example".into()),
    }
}

impl fmt::Display for IdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Github(None) => f.write_str("github"),
            Self::Github(Some(audience)) => write!(f, "github:{audience}"),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
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
                Slot::Path(_) | Slot::Key(_) => "/etc/roots.pem",
                Slot::Variable(_) => "CLIENT_SECRET",
                Slot::Identity(_) => "github:api://x",
                Slot::Issuer(_) => "https://idp.example",
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
