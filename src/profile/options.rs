//! The options of a connection, as a profile can store them: one table.
//!
//! Refuses what the use of an option would refuse. Knows nothing of the command line, which fills the same
//! [`Options`] and stands over those of the profile.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::config::Place;
use super::proxy::Proxy;
use super::units;
use crate::protocol::bridge::Transport;
use crate::service::nearest;

/// How a connection is made and what a client sees of it; `None` where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The longest silence on one request.
    pub timeout: Option<Duration>,
    /// Hard limit for one request.
    pub max_time: Option<Duration>,
    /// The longest total wait for 429 and 503 answers to one request.
    pub max_wait: Option<Duration>,
    /// Further root certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its private key, PEM.
    pub client_cert: Option<PathBuf>,
    /// Certificates are not checked.
    pub insecure: Option<bool>,
    /// A credential may go over plain http beyond this machine.
    pub allow_http: Option<bool>,
    /// The one proxy.
    pub proxy: Option<Proxy>,
    /// Which wire to speak.
    pub transport: Option<Transport>,
    /// Which era of the protocol to speak.
    pub era: Option<Era>,
    /// Only tools that match are shown and called.
    pub allow_tools: Option<Vec<String>>,
    /// Tools that match are neither shown nor called.
    pub deny_tools: Option<Vec<String>>,
    /// Tools that are not shown, over the service's own list.
    pub hidden_tools: Option<Vec<String>>,
    /// Only tools that say that they only read.
    pub read_only: Option<bool>,
    /// In which form tool names are shown.
    pub tool_names: Option<ToolNames>,
    /// How long answers are still awaited after the client has gone.
    pub drain: Option<Duration>,
    /// A larger result of a tool is written into a file (bytes).
    pub max_result: Option<usize>,
    /// Key and HTTP client are made ready before the first message.
    pub warm_start: Option<bool>,
}

/// The eras of the protocol, as an option names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// As client and service speak.
    Auto,
    /// With a handshake.
    Legacy,
    /// Stateless.
    Modern,
}

/// The forms in which tool names are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolNames {
    /// As the service calls them.
    Original,
    /// In the form that every client takes.
    Safe,
}

/// One option: what it is called, what it is, and where its value stands.
pub struct Row {
    /// Its name in a profile.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// What is meant where nothing is said, for people.
    pub default: &'static str,
    slot: Slot,
}

type Of<T> = fn(&mut Options) -> &mut Option<T>;

enum Slot {
    Duration(Of<Duration>),
    Bytes(Of<usize>),
    Path(Of<PathBuf>),
    Switch(Of<bool>),
    Globs(Of<Vec<String>>),
    Proxy(Of<Proxy>),
    Transport(Of<Transport>),
    Era(Of<Era>),
    ToolNames(Of<ToolNames>),
}

const TRANSPORTS: &[(&str, Transport)] =
    &[("auto", Transport::Auto), ("http", Transport::Http), ("sse", Transport::Sse)];
const ERAS: &[(&str, Era)] = &[("auto", Era::Auto), ("legacy", Era::Legacy), ("modern", Era::Modern)];
const TOOL_NAMES: &[(&str, ToolNames)] = &[("original", ToolNames::Original), ("safe", ToolNames::Safe)];

const fn row(name: &'static str, slot: Slot, default: &'static str, about: &'static str) -> Row {
    Row { name, about, default, slot }
}

/// Every option that a profile can store.
pub const OPTIONS: &[Row] = &[
    row(
        "timeout",
        Slot::Duration(|o| &mut o.timeout),
        "60s; 10m for tool calls of a bridge",
        "the longest silence on one request",
    ),
    row("max_time", Slot::Duration(|o| &mut o.max_time), "none", "hard limit for one request"),
    row(
        "max_wait",
        Slot::Duration(|o| &mut o.max_wait),
        "60s",
        "the longest total wait for 429 and 503 answers to one request",
    ),
    row("ca_file", Slot::Path(|o| &mut o.ca_file), "none", "further root certificates, PEM"),
    row(
        "client_cert",
        Slot::Path(|o| &mut o.client_cert),
        "none",
        "client certificate and its private key, PEM",
    ),
    row("insecure", Slot::Switch(|o| &mut o.insecure), "false", "check no certificate"),
    row(
        "allow_http",
        Slot::Switch(|o| &mut o.allow_http),
        "false",
        "allow a credential over plain http beyond this machine",
    ),
    row(
        "proxy",
        Slot::Proxy(|o| &mut o.proxy),
        "of the environment",
        "the one proxy: http, https, socks5 or socks5h",
    ),
    row("transport", Slot::Transport(|o| &mut o.transport), "auto", "which wire to speak: auto, http or sse"),
    row("era", Slot::Era(|o| &mut o.era), "auto", "which era of the protocol to speak: auto or legacy"),
    row("allow_tools", Slot::Globs(|o| &mut o.allow_tools), "all", "show and call only tools that match"),
    row("deny_tools", Slot::Globs(|o| &mut o.deny_tools), "none", "neither show nor call tools that match"),
    row(
        "hidden_tools",
        Slot::Globs(|o| &mut o.hidden_tools),
        "of the service",
        "tools that are not shown, over the service's own list",
    ),
    row("read_only", Slot::Switch(|o| &mut o.read_only), "false", "only tools that say that they only read"),
    row(
        "tool_names",
        Slot::ToolNames(|o| &mut o.tool_names),
        "of the service",
        "how tool names are shown: original or safe",
    ),
    row(
        "drain",
        Slot::Duration(|o| &mut o.drain),
        "1s",
        "how long answers are still awaited after the client has gone",
    ),
    row(
        "max_result",
        Slot::Bytes(|o| &mut o.max_result),
        "none",
        "write a larger result of a tool into a file",
    ),
    row(
        "warm_start",
        Slot::Switch(|o| &mut o.warm_start),
        "true",
        "get key and HTTP client ready before the first message",
    ),
];

impl Row {
    /// Finds the option of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|row| row.name == name)
    }

    /// Says whether its value is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.slot, Slot::Globs(_))
    }

    /// Reads a value of the configuration; `place` is where a relative path begins.
    ///
    /// # Errors
    /// A sentence that shows the form.
    pub fn read(&self, options: &mut Options, value: &toml::Value, place: &Place) -> Result<(), String> {
        let text = || match value {
            toml::Value::String(text) => Ok(text.clone()),
            toml::Value::Array(_) | toml::Value::Table(_) => Err("it is one value".to_owned()),
            other => Ok(other.to_string()),
        };
        match self.slot {
            Slot::Duration(of) => *of(options) = Some(units::duration(&text()?)?),
            Slot::Bytes(of) => *of(options) = Some(units::bytes(&text()?)?),
            Slot::Path(of) => *of(options) = Some(path(&text()?, place)?),
            Slot::Switch(of) => *of(options) = Some(value.as_bool().ok_or("write true or false")?),
            Slot::Globs(of) => *of(options) = Some(globs(value)?),
            Slot::Proxy(of) => *of(options) = Some(Proxy::read(&text()?)?),
            Slot::Transport(of) => *of(options) = Some(word(&text()?, TRANSPORTS)?),
            Slot::ToolNames(of) => *of(options) = Some(word(&text()?, TOOL_NAMES)?),
            Slot::Era(of) => match word(&text()?, ERAS)? {
                Era::Modern => {
                    return Err("this version of asistry does not speak the stateless era yet".into());
                }
                era => *of(options) = Some(era),
            },
        }
        Ok(())
    }

    /// Returns how a value is stored that was typed as text.
    pub fn stored(&self, text: &str) -> toml_edit::Value {
        match (&self.slot, text) {
            (Slot::Switch(_), "true") => true.into(),
            (Slot::Switch(_), "false") => false.into(),
            (Slot::Globs(_), _) => text.split(',').map(str::trim).filter(|glob| !glob.is_empty()).collect(),
            _ => text.into(),
        }
    }

    /// Returns the value that these options hold, as it would be typed; a `${VAR}` is shown as it is.
    pub fn shown(&self, options: &Options) -> Option<Value> {
        let mut options = options.clone();
        let o = &mut options;
        match self.slot {
            Slot::Duration(of) => of(o).map(|duration| units::duration_text(duration).into()),
            Slot::Bytes(of) => of(o).map(|bytes| units::bytes_text(bytes).into()),
            Slot::Path(of) => of(o).as_ref().map(|path| path.display().to_string().into()),
            Slot::Switch(of) => of(o).map(Value::from),
            Slot::Globs(of) => of(o).take().map(Value::from),
            Slot::Proxy(of) => of(o).as_ref().map(|proxy| proxy.to_string().into()),
            Slot::Transport(of) => of(o).and_then(|value| named(value, TRANSPORTS)),
            Slot::Era(of) => of(o).and_then(|value| named(value, ERAS)),
            Slot::ToolNames(of) => of(o).and_then(|value| named(value, TOOL_NAMES)),
        }
    }
}

impl Options {
    /// Returns these options, and those below where nothing is said here.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            timeout: self.timeout.or(below.timeout),
            max_time: self.max_time.or(below.max_time),
            max_wait: self.max_wait.or(below.max_wait),
            ca_file: self.ca_file.or(below.ca_file),
            client_cert: self.client_cert.or(below.client_cert),
            insecure: self.insecure.or(below.insecure),
            allow_http: self.allow_http.or(below.allow_http),
            proxy: self.proxy.or(below.proxy),
            transport: self.transport.or(below.transport),
            era: self.era.or(below.era),
            allow_tools: self.allow_tools.or(below.allow_tools),
            deny_tools: self.deny_tools.or(below.deny_tools),
            hidden_tools: self.hidden_tools.or(below.hidden_tools),
            read_only: self.read_only.or(below.read_only),
            tool_names: self.tool_names.or(below.tool_names),
            drain: self.drain.or(below.drain),
            max_result: self.max_result.or(below.max_result),
            warm_start: self.warm_start.or(below.warm_start),
        }
    }
}

fn path(text: &str, place: &Place) -> Result<PathBuf, String> {
    match text {
        "" => Err("it is the path of a file".into()),
        text => Ok(place.path(text)),
    }
}

fn globs(value: &toml::Value) -> Result<Vec<String>, String> {
    let form = || "write a list like [\"list_*\", \"get_task\"]".to_owned();
    let listed = match value {
        toml::Value::Array(globs) => globs.iter().map(|glob| glob.as_str().ok_or_else(form)).collect(),
        toml::Value::String(glob) => Ok(vec![glob.as_str()]),
        _ => Err(form()),
    };
    let globs: Vec<&str> = listed?;
    for glob in &globs {
        if glob.is_empty() || glob.contains(|c: char| c.is_control() || "[]{}".contains(c)) {
            let shown = Value::from(*glob);
            return Err(format!("{shown} is no pattern: it has the characters of names, * and ?"));
        }
    }
    Ok(globs.into_iter().map(str::to_owned).collect())
}

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all = words.iter().map(|(word, _)| *word);
    match nearest(text, all.clone()) {
        Some(near) => Err(format!("did you mean {near}?")),
        None => Err(format!("it is one of {}", all.collect::<Vec<_>>().join(", "))),
    }
}

fn named<T: PartialEq>(value: T, words: &[(&str, T)]) -> Option<Value> {
    words.iter().find(|(_, known)| *known == value).map(|(word, _)| Value::from(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, typed: &str) -> Result<Options, String> {
        let row = Row::named(name).unwrap();
        let text = format!("x = {}", row.stored(typed));
        let table: toml::Table = toml::from_str(&text).unwrap();
        let mut options = Options::default();
        row.read(&mut options, &table["x"], &Place::default()).map(|()| options)
    }

    #[test]
    fn every_option_is_read_as_it_is_shown_and_keeps_to_its_own_place() {
        let mut all = Options::default();
        for row in OPTIONS {
            let typed = match row.slot {
                Slot::Duration(_) => "90s",
                Slot::Bytes(_) => "64k",
                Slot::Path(_) => "/etc/roots.pem",
                Slot::Switch(_) => "true",
                Slot::Globs(_) => "a_*, b",
                Slot::Proxy(_) => "http://${U}:${P}@h:1",
                Slot::Transport(_) => "sse",
                Slot::Era(_) => "legacy",
                Slot::ToolNames(_) => "safe",
            };
            let options = read(row.name, typed).unwrap();
            let shown = row.shown(&options).unwrap();
            let words = shown.as_array().map(|a| a.iter().filter_map(Value::as_str).collect::<Vec<_>>());
            let again = words.map_or_else(|| shown.to_string().replace('"', ""), |words| words.join(", "));
            assert_eq!(again, typed, "{}", row.name);
            assert!(OPTIONS.iter().all(|other| other.name == row.name || other.shown(&options).is_none()));
            all = all.over(options);
        }
        assert!(OPTIONS.iter().all(|row| row.shown(&all).is_some()), "{all:?}");
        assert_eq!(Options::default().over(all.clone()), all);
    }

    #[test]
    fn what_the_use_would_refuse_is_refused() {
        for (name, wrong) in [
            ("timeout", "soon"),
            ("max_result", "many"),
            ("insecure", "yes"),
            ("deny_tools", "delete_[ab]"),
            ("transport", "htp"),
            ("era", "modern"),
            ("tool_names", "short"),
            ("proxy", "http://u:p@h"),
            ("ca_file", ""),
        ] {
            assert!(read(name, wrong).is_err(), "{name}={wrong}");
        }
        assert_eq!(read("transport", "htp").unwrap_err(), "did you mean http?");
        assert_eq!(read("hidden_tools", "").unwrap().hidden_tools, Some(Vec::new()));
    }
}
