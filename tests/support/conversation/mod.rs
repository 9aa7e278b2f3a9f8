//! Conversations: readable scripts of what passes between a client, the bridge and a service.
//!
//! Each runs twice: against the pure `Bridge` (no IO, virtual time) and through the real binary against a
//! real HTTP peer. `--trace FILE` writes the same form. The lines:
//!
//! ```text
//! options ARG…                                      further arguments of `asistry bridge`
//! client says LINE
//! service receives LABEL METHOD BODY                any request not matched yet; names it LABEL
//!   … with HEADER: VALUE; …  /  without HEADER      further conditions, at the end of the line; `path` is one too
//! service replies LABEL STATUS HEADER: VALUE; …
//! service replies LABEL body TEXT                   ends the reply
//! service replies LABEL part TEXT                   breaks off within the body
//! service replies LABEL event [id=…] [retry=…] [name=…] DATA
//! service replies LABEL raw TEXT                    bytes of the stream; \n \r \xNN are escapes
//! service replies LABEL end  /  reset
//! service is down  /  service is up
//! client receives LINE
//! each A..B REST                                    REST once for each n, `<n>` filled in
//! opened SESSION REVISION                           the usual handshake
//! catalogue ACTION…                                 the handshake and the list of tools with `options -p agentstack`
//! ```
//! A text is compared byte for byte, unless it holds `"<any>"`: then as JSON, where `"<any>"` is any value
//! and a key `"..."` allows further ones. `<id LABEL>` is the id or `idempotency_key` of that request, `<x*N>` is N times x, `<state>` is the
//! `requestState` that the client received last.
//! In the end every request of the client has exactly one answer, nothing is left over, and a `ping` is
//! answered: the process lives.

pub mod peer;
pub mod process;
pub mod pure;

use std::collections::HashMap;
use std::path::Path;

use asistry::protocol::message::replace_lone_surrogates;
use serde_json::Value;

/// One request as the service sees it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// One piece of a reply.
#[derive(Clone, Debug)]
pub enum Piece {
    Head(u16, Vec<(String, String)>),
    Body(Vec<u8>),
    /// The beginning of a body whose rest never comes.
    Part(Vec<u8>),
    Event {
        id: Option<String>,
        retry: Option<u64>,
        name: Option<String>,
        data: String,
    },
    Raw(Vec<u8>),
    End,
    Reset,
}

/// A bridge under test, with both its sides in the hands of the script.
pub trait Stage {
    fn client_says(&mut self, line: &str);
    /// Waits for a request that `fits`; `None` when none comes.
    fn service_receives(&mut self, label: &str, fits: &dyn Fn(&Received) -> bool) -> Option<Received>;
    fn service_replies(&mut self, label: &str, piece: Piece);
    fn service_is(&mut self, up: bool);
    /// Waits for a line that `fits`; `None` when none comes.
    fn client_receives(&mut self, fits: &dyn Fn(&str) -> bool) -> Option<String>;
    /// What came and was not asked for: lines of the client, requests of the service.
    fn left_over(&mut self) -> (Vec<String>, Vec<Received>);
}

/// Reads a script; returns the options, and the lines with all shorthands written out.
pub fn read(path: &Path) -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut options = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("options ") {
            options.extend(rest.split_whitespace().map(str::to_owned));
        } else if let Some(rest) = line.strip_prefix("each ") {
            let (range, rest) = rest.split_once(' ').expect("each A..B REST");
            let (from, to) = range.split_once("..").expect("A..B");
            let (from, to): (u32, u32) = (from.parse().unwrap(), to.parse().unwrap());
            lines.extend((from..=to).map(|n| rest.replace("<n>", &n.to_string())));
        } else if let Some(rest) = line.strip_prefix("opened ") {
            let (session, revision) = rest.split_once(' ').expect("opened SESSION REVISION");
            lines.extend(handshake(session, revision));
        } else if let Some(actions) = line.strip_prefix("catalogue ") {
            lines.extend(catalogue(actions));
        } else {
            lines.push(line.to_owned());
        }
    }
    (options, lines)
}

fn handshake(session: &str, revision: &str) -> Vec<String> {
    let ask = format!(
        r#"{{"jsonrpc":"2.0","id":"open","method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
    );
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":"open","result":{{"protocolVersion":"{revision}","capabilities":{{}},"serverInfo":{{"name":"s","version":"1"}}}}}}"#
    );
    let session_header = if session == "-" { String::new() } else { format!(" mcp-session-id: {session};") };
    let with = if session == "-" { String::new() } else { format!("; mcp-session-id: {session}") };
    vec![
        format!("client says {ask}"),
        format!("service receives open POST {ask} without mcp-session-id"),
        format!("service replies open 200 content-type: application/json;{session_header}"),
        format!("service replies open body {answer}"),
        format!("client receives {answer}"),
        r#"client says {"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
        format!(
            r#"service receives confirmed POST {{"jsonrpc":"2.0","method":"notifications/initialized"}} with mcp-protocol-version: {revision}{with}"#
        ),
        "service replies confirmed 202".to_owned(),
    ]
}

/// A service that does not speak MCP is asked for its actions only.
fn catalogue(actions: &str) -> Vec<String> {
    let listed: Vec<&str> = actions.split_whitespace().collect();
    let listed = serde_json::to_string(&listed).expect("JSON");
    format!(
        r#"client says {{"jsonrpc":"2.0","id":"open","method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}
client receives {{"jsonrpc":"2.0","id":"open","result":{{"protocolVersion":"2025-11-25","serverInfo":"<any>","capabilities":"<any>"}}}}
client says {{"jsonrpc":"2.0","method":"notifications/initialized"}}
client says {{"jsonrpc":"2.0","id":"tools","method":"tools/list"}}
service receives actions GET - with path: /mcp/actions
service receives schemas GET - with path: /mcp/tools
service replies actions 200 content-type: application/json
service replies actions body {listed}
service replies schemas 404
client receives {{"jsonrpc":"2.0","id":"tools","result":{{"tools":"<any>"}}}}"#
    )
    .lines()
    .map(str::to_owned)
    .collect()
}

/// Plays a script on a stage, and checks what must hold in the end.
pub fn play(name: &str, lines: &[String], stage: &mut dyn Stage) {
    let mut told = Told::default();
    let mut number = 0;
    while number < lines.len() {
        let line = &lines[number];
        let next = lines.get(number + 1);
        told.play(name, line, next, stage);
        number += 1;
    }
    told.finish(name, stage);
}

/// What a script has said so far.
#[derive(Default)]
pub struct Told {
    ids: HashMap<String, String>,
    asked: Vec<String>,
    answered: Vec<String>,
    cancelled: Vec<String>,
    state: String,
}

impl Told {
    /// Plays one line.
    pub fn play(&mut self, name: &str, line: &str, next: Option<&String>, stage: &mut dyn Stage) {
        let line = self.filled_in(line);
        let line = line.as_str();
        if let Some(text) = line.strip_prefix("client says ") {
            self.note_said(text);
            stage.client_says(text);
        } else if let Some(text) = line.strip_prefix("client receives ") {
            let got = stage.client_receives(&|got| matches(text, got));
            match got {
                Some(got) => self.note_received(&got),
                None => {
                    let left = stage.left_over();
                    panic!(
                        "{name}: the client never received {}\n  left over: {}",
                        short(text),
                        shown(&left)
                    );
                }
            }
        } else if let Some(rest) = line.strip_prefix("service receives ") {
            let wanted = Wanted::read(rest);
            match stage.service_receives(&wanted.label, &|got| wanted.fits(got)) {
                Some(got) => {
                    let body: Value = serde_json::from_str(&got.body).unwrap_or_default();
                    let id = body.get("id").unwrap_or(&body["options"]["idempotency_key"]);
                    self.ids.insert(wanted.label.clone(), id.to_string());
                }
                None => {
                    let left = stage.left_over();
                    panic!(
                        "{name}: the service never received {}\n  left over: {}",
                        short(rest),
                        shown(&left)
                    );
                }
            }
        } else if let Some(rest) = line.strip_prefix("service replies ") {
            let (label, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let piece = read_piece(rest);
            let bare =
                matches!(&piece, Piece::Head(_, headers) if headers.iter().all(|(n, _)| n != "content-type"));
            stage.service_replies(label, piece);
            let goes_on = next.is_some_and(|next| next.starts_with(&format!("service replies {label} ")));
            if bare && !goes_on {
                stage.service_replies(label, Piece::End);
            }
        } else if let Some(rest) = line.strip_prefix("service is ") {
            stage.service_is(rest == "up");
        } else {
            panic!("{name}: what is “{}”?", short(line));
        }
    }

    fn finish(mut self, name: &str, stage: &mut dyn Stage) {
        stage.client_says(r#"{"jsonrpc":"2.0","id":"last ping","method":"ping"}"#);
        let alive =
            stage.client_receives(&|line| line == r#"{"jsonrpc":"2.0","id":"last ping","result":{}}"#);
        assert!(alive.is_some(), "{name}: the process does not live");
        let (lines, requests) = stage.left_over();
        assert!(lines.is_empty(), "{name}: the client received more than it should: {lines:#?}");
        assert!(requests.is_empty(), "{name}: the service received more than it should: {requests:#?}");
        for cancelled in &self.cancelled {
            if let Some(at) = self.asked.iter().position(|id| id == cancelled) {
                self.asked.remove(at);
            }
        }
        self.asked.sort();
        self.answered.sort();
        assert_eq!(self.asked, self.answered, "{name}: each request has exactly one answer");
    }

    fn note_said(&mut self, text: &str) {
        let parts = match serde_json::from_str::<Value>(&replace_lone_surrogates(text)) {
            Ok(Value::Array(parts)) => parts,
            Ok(one) => vec![one],
            Err(_) => return,
        };
        for part in parts {
            match (part.get("method").and_then(Value::as_str), part.get("id")) {
                (Some("notifications/cancelled"), _) => {
                    self.cancelled.push(part["params"]["requestId"].to_string());
                }
                (Some(_), Some(id)) if id.is_string() || id.is_number() => self.asked.push(raw_id(text, id)),
                _ => {}
            }
        }
    }

    fn note_received(&mut self, text: &str) {
        let parts = match serde_json::from_str::<Value>(&replace_lone_surrogates(text)) {
            Ok(Value::Array(parts)) => parts,
            Ok(one) => vec![one],
            Err(e) => panic!("the client received a line that is no JSON: {e}: {}", short(text)),
        };
        for part in parts {
            if let Some(state) = part["result"]["requestState"].as_str() {
                state.clone_into(&mut self.state);
            }
            if part.get("method").is_none()
                && let Some(id) = part.get("id").filter(|id| !id.is_null())
            {
                self.answered.push(raw_id(text, id));
            }
        }
    }

    fn filled_in(&self, line: &str) -> String {
        let mut line = line.replace("<state>", &self.state);
        while let Some(start) = line.find("<id ") {
            let end = start + line[start..].find('>').expect("<id LABEL>");
            let id = self.ids.get(&line[start + 4..end]).cloned().unwrap_or_default();
            line.replace_range(start..=end, &id);
        }
        while let Some(start) = line.find("<x*") {
            let end = start + line[start..].find('>').expect("<x*N>");
            let count: usize = line[start + 3..end].parse().expect("a number");
            line.replace_range(start..=end, &"x".repeat(count));
        }
        line
    }
}

/// Large numbers lose digits in `Value`: the id is taken from the text itself.
fn raw_id(text: &str, id: &Value) -> String {
    let raw =
        text.split(r#""id":"#).nth(1).map(|rest| rest.split([',', '}']).next().unwrap_or_default().trim());
    match raw {
        Some(raw) if id.is_number() && !text.starts_with('[') => raw.to_owned(),
        _ => id.to_string(),
    }
}

struct Wanted {
    label: String,
    method: String,
    body: String,
    with: Vec<(String, String)>,
    without: Vec<String>,
}

impl Wanted {
    fn read(rest: &str) -> Self {
        let (rest, without) = match rest.rsplit_once(" without ") {
            Some((rest, names)) => (rest, names.split(';').map(|name| name.trim().to_owned()).collect()),
            None => (rest, Vec::new()),
        };
        let (rest, with) = match rest.rsplit_once(" with ") {
            Some((rest, headers)) => (rest, read_headers(headers)),
            None => (rest, Vec::new()),
        };
        let mut words = rest.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        Self { label: word(), method: word(), body: word(), with, without }
    }

    fn fits(&self, got: &Received) -> bool {
        let header = |name: &String| got.headers.get(name);
        got.method == self.method
            && (self.body == "-" && got.body.is_empty() || matches(&self.body, &got.body))
            && self.with.iter().all(|(name, value)| header(name) == Some(value))
            && self.without.iter().all(|name| header(name).is_none())
    }
}

fn read_headers(text: &str) -> Vec<(String, String)> {
    text.split(';')
        .filter_map(|part| part.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect()
}

fn read_piece(rest: &str) -> Piece {
    let (what, text) = rest.split_once(' ').unwrap_or((rest, ""));
    match what {
        "body" => Piece::Body(unescaped(text)),
        "part" => Piece::Part(unescaped(text)),
        "raw" => Piece::Raw(unescaped(text)),
        "end" => Piece::End,
        "reset" => Piece::Reset,
        "event" => {
            let (mut id, mut retry, mut name, mut rest) = (None, None, None, text);
            while let Some((word, after)) = rest.split_once(' ').or((!rest.is_empty()).then_some((rest, "")))
            {
                match word.split_once('=') {
                    Some(("id", value)) => id = Some(value.to_owned()),
                    Some(("retry", value)) => retry = value.parse().ok(),
                    Some(("name", value)) => name = Some(value.to_owned()),
                    _ => break,
                }
                rest = after;
            }
            Piece::Event { id, retry, name, data: rest.to_owned() }
        }
        status => {
            Piece::Head(status.parse().unwrap_or_else(|_| panic!("what is “{rest}”?")), read_headers(text))
        }
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'\\').then(|| bytes.get(at + 1)).flatten();
        match escape {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') if text.is_char_boundary(at + 4) => {
                out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).expect("\\xNN"));
                at += 2;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    out
}

/// Compares byte for byte, or as JSON where the pattern holds `"<any>"`.
fn matches(pattern: &str, got: &str) -> bool {
    if !pattern.contains("\"<any>\"") {
        return pattern == got;
    }
    match (serde_json::from_str::<Value>(pattern), serde_json::from_str::<Value>(got)) {
        (Ok(pattern), Ok(got)) => fits(&pattern, &got),
        _ => false,
    }
}

fn fits(pattern: &Value, got: &Value) -> bool {
    match (pattern, got) {
        (Value::String(text), _) if text == "<any>" => true,
        (Value::Object(pattern), Value::Object(got)) => {
            let open = pattern.contains_key("...");
            let known = pattern.iter().filter(|(key, _)| *key != "...");
            known.clone().all(|(key, value)| got.get(key).is_some_and(|got| fits(value, got)))
                && (open || got.len() == known.count())
        }
        (Value::Array(pattern), Value::Array(got)) => {
            pattern.len() == got.len() && pattern.iter().zip(got).all(|(pattern, got)| fits(pattern, got))
        }
        _ => pattern == got,
    }
}

fn short(text: &str) -> String {
    text.chars().take(400).collect()
}

fn shown((lines, requests): &(Vec<String>, Vec<Received>)) -> String {
    let lines: Vec<String> = lines.iter().map(|line| short(line)).collect();
    let requests: Vec<String> = requests.iter().map(|r| short(&format!("{r:?}"))).collect();
    format!("{lines:#?} {requests:#?}")
}
