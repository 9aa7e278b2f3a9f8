//! No key and no passphrase is in any output, file, argument list or child's environment.
//!
//! The search itself is shown to find what it looks for.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use memchr::memmem;
use serde_json::json;

use super::{Accepted, NOWHERE};
use crate::support::bridge::request;
use crate::support::home::{Home, Ran};
use crate::support::service::{Received, Reply, Service};

/// With every character that some encoding changes.
const KEY: &str = "ask_M4rkEd+Key/x81hq7Zt0Pw3bN6Vq==";
const NEXT: &str = "ask_M4rkEd+Nxt/5dYw2Lk9Rs7Jc4Hm1==";
const REJECTED: &str = "ask_M4rkEd+Rej/7uGt6Fz8Xv3Bn0Qa==";
const PASSPHRASE: &str = "M4rkEd+Pass/9oIk3Ue5 w1th=space";
const WRONG_PASSPHRASE: &str = "M4rkEd+Wrng/2pLk8Je4==";
const TOKEN: &str = "M4rkEd+Tok/en6Yh5Tg4Rf3Ed2==";
const SECRETS: [&str; 6] = [KEY, NEXT, REJECTED, PASSPHRASE, WRONG_PASSPHRASE, TOKEN];
const REVISION: &str = "2025-06-18";

/// How a secret may stand in something: plain, in JSON, percent-encoded, in hexadecimal, in base64.
fn shapes(secret: &str) -> Vec<Vec<u8>> {
    let hex = |upper: bool, before: &str| -> String {
        let digits =
            |byte: u8| if upper { format!("{before}{byte:02X}") } else { format!("{before}{byte:02x}") };
        secret.bytes().map(digits).collect()
    };
    let percent = |upper: bool| -> String {
        let encoded = |c: char| match c {
            c if c.is_ascii_alphanumeric() || "-_.~".contains(c) => c.to_string(),
            c if upper => format!("%{:02X}", c as u32),
            c => format!("%{:02x}", c as u32),
        };
        secret.chars().map(encoded).collect()
    };
    let mut shapes = vec![
        secret.to_owned(),
        secret.trim_start_matches("ask_").to_owned(),
        secret[..secret.len() - 6].to_owned(),
        secret.replace('/', r"\/"),
        percent(true),
        percent(false),
        hex(false, ""),
        hex(true, ""),
        hex(true, "%"),
    ];
    for shift in 0..3 {
        let padded = [&"   "[..shift], secret].concat();
        for engine in [&BASE64_STANDARD, &BASE64_URL_SAFE] {
            let encoded = engine.encode(&padded);
            // The first and the last group depend on what stands beside the secret.
            shapes.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    shapes.into_iter().map(String::into_bytes).collect()
}

/// What is looked for.
struct Marks(Vec<memmem::Finder<'static>>);

/// The marks of this file's own runs; another test may show what it likes.
static MARKS: LazyLock<Marks> = LazyLock::new(|| Marks::of(&SECRETS));

impl Marks {
    fn of(secrets: &[&str]) -> Self {
        let all = secrets.iter().flat_map(|secret| shapes(secret));
        Self(all.map(|shape| memmem::Finder::new(&shape).into_owned()).collect())
    }

    /// Returns the shape in which one of the secrets is in something.
    fn found(&self, bytes: &[u8]) -> Option<String> {
        let shape = self.0.iter().find(|shape| shape.find(bytes).is_some())?;
        Some(String::from_utf8_lossy(shape.needle()).into_owned())
    }

    /// Returns what the processes of this machine show: the arguments of all, the environment of the children
    /// of one.
    fn shown_by_processes(&self, parent: u32) -> Vec<String> {
        let mut shown = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            if let Some(shape) = self.found(&read("cmdline")) {
                shown.push(format!("{shape} is an argument of {}", entry.path().display()));
            }
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            if status.lines().any(|line| line == format!("PPid:\t{parent}"))
                && let Some(shape) = self.found(&read("environ"))
            {
                shown.push(format!("{shape} is in the environment of {}", entry.path().display()));
            }
        }
        shown
    }
}

/// A service that repeats the key wherever it refuses, and looks around while it is asked.
fn service(seen: &Arc<Mutex<Vec<String>>>) -> Service {
    let accepted = Accepted::only(&[KEY, NEXT, TOKEN]);
    let seen = seen.clone();
    Service::start(move |received| {
        seen.lock().unwrap().extend(MARKS.shown_by_processes(0));
        let key = super::key_of(received).unwrap_or_default();
        let refused = accepted.refusal(received).is_some();
        let body = json!({"error": format!("the key {key} is unknown"), "sent": key, "trace_id": key});
        let repeating = |status: u16, media: &str, body: String| {
            let challenge = format!("Bearer realm=\"{key}\", error=\"invalid_token\"");
            Reply::status(status, media, body)
                .header("www-authenticate", &challenge)
                .header("x-trace-id", &key)
        };
        match received.tool().as_str() {
            _ if refused => Some(repeating(401, "application/json", body.to_string().replace('/', r"\/"))),
            "refused" => {
                let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": key}});
                Some(repeating(401, "application/json", error.to_string()))
            }
            "forbidden" => Some(repeating(403, "application/json", body.to_string())),
            "broken" => Some(repeating(500, "text/plain", format!("cannot use {key}"))),
            "moved" => Some(Reply::empty(307).header("location", "http://127.0.0.1:9/mcp")),
            "nonsense" => Some(Reply::status(200, "text/plain", format!("hello {key}"))),
            _ => listed(received),
        }
    })
}

const TOOLS: [&str; 6] = ["echo", "refused", "forbidden", "broken", "moved", "nonsense"];

fn listed(received: &Received) -> Option<Reply> {
    let tools = TOOLS.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
    (received.method == "tools/list").then(|| Reply::result(received, json!({"tools": tools})))
}

/// Collects everything that commands say.
struct Watch {
    home: Home,
    options: Vec<String>,
    said: Vec<(String, Vec<u8>)>,
}

impl Watch {
    fn new(form: &str, into_files: bool) -> Self {
        let home = Home::new();
        let file = |name: &str| home.file(name).to_str().unwrap().to_owned();
        let mut options = vec!["-vv".into(), "--log-format".into(), form.into()];
        options.extend(["--trace".into(), file("trace-%p")]);
        if into_files {
            options.extend(["--log-file".into(), file("log")]);
        }
        Self { home, options, said: Vec::new() }
    }

    /// Runs a command with all that could make it talk, and keeps what it says.
    fn run(&mut self, arguments: &[&str], environment: &[(&str, &str)], stdin: &str) -> Ran {
        let all = arguments.iter().map(|argument| (*argument).to_owned()).chain(self.options.iter().cloned());
        let mut command = self.home.command(all.collect::<Vec<_>>());
        command.env("ASISTRY_KEY_PASSPHRASE", PASSPHRASE).envs(environment.iter().copied());
        let ran = Ran::of(command.write_stdin(stdin));
        let name = arguments.join(" ");
        self.said.push((format!("stdout of {name}"), ran.stdout.clone().into()));
        self.said.push((format!("stderr of {name}"), ran.stderr.clone().into()));
        ran
    }

    /// The life of a key.
    fn manage(&mut self, url: &str, given: &Path) {
        let add = ["keys", "add", "-p", "asistry", "--url", url];
        let with = |more: &[&'static str]| [&add[..], more].concat();
        self.run(&with(&["--stdin"]), &[], KEY).succeeds();
        self.run(&with(&["--from-env", "MARK", "--name", "env"]), &[("MARK", NEXT)], "").succeeds();
        let file = [&add[..], &["--name", "file", "--from-file", given.to_str().unwrap()]].concat();
        self.run(&file, &[], "").succeeds();
        self.run(&with(&["--name", "no", "--stdin"]), &[], REJECTED).fails(4);
        self.run(&with(&["--name", "no", "--stdin"]), &[], &format!("'{KEY}'")).fails(2);
        self.run(&with(&["--name", "no", "--stdin"]), &[], &format!("bsk_{TOKEN}")).fails(2);
        self.run(&with(&["--stdin"]), &[], KEY).fails(2);
        self.run(&["keys", "add", "-p", "asistry", "--url", NOWHERE, "--name", "late", "--stdin"], &[], KEY)
            .succeeds();
        for command in [
            &["keys", "list"][..],
            &["keys", "list", "--json"],
            &["keys", "show"],
            &["keys", "show", "--json"],
        ] {
            self.run(command, &[], "").succeeds();
        }
        self.run(&["keys", "show", "--reveal"], &[], "").fails(2);
        self.run(&["keys", "test", "-p", "asistry", "--url", url], &[], "").succeeds();
        self.run(&["keys", "test", "-p", "asistry", "--url", url, "--json"], &[], "").succeeds();
        self.run(&["keys", "test", "-p", "asistry", "--url", NOWHERE], &[], "").fails(3);
        self.run(&["keys", "bind", "http://127.0.0.1:9", "--yes"], &[], "").succeeds();
        self.run(&["keys", "test", "-p", "asistry", "--url", NOWHERE], &[], "").fails(6);
        let rotate = ["keys", "rotate", "-p", "asistry", "--url"];
        let to = |url: &'static str, more: &[&'static str]| [&rotate[..], &[url], more].concat();
        self.run(&[&rotate[..], &[url, "--stdin"]].concat(), &[], REJECTED).fails(4);
        self.run(&to(NOWHERE, &["--stdin"]), &[], NEXT).fails(6);
        self.run(&to(NOWHERE, &["--resume"]), &[], "").fails(6);
        self.run(&to(NOWHERE, &["--undo"]), &[], "").succeeds();
        self.run(&[&rotate[..], &[url, "--stdin"]].concat(), &[], NEXT).succeeds();
        self.run(&[&rotate[..], &[url, "--stdin"]].concat(), &[], KEY).succeeds();
        self.run(&["keys", "use", "env"], &[], "").succeeds();
        self.run(&["keys", "use", "default"], &[], "").succeeds();
        self.run(&["keys", "remove", "--name", "file", "--yes"], &[], "").succeeds();
        let wrong = [("ASISTRY_KEY_PASSPHRASE", WRONG_PASSPHRASE)];
        self.run(&["keys", "show", "--reveal", "--yes"], &wrong, "").fails(4);
        self.run(&["-p", "asistry", "--url", url, "tools"], &wrong, "").fails(4);
    }

    /// Commands that use a key, wherever it comes from.
    fn use_it(&mut self, target: &[&str], environment: &[(&str, &str)]) {
        let with = |more: &[&'static str]| [target, more].concat();
        self.run(&with(&["tools"]), environment, "").succeeds();
        self.run(&with(&["tools", "--json"]), environment, "").succeeds();
        self.run(&with(&["tools", "show", "echo"]), environment, "").succeeds();
        self.run(&with(&["call", "echo"]), environment, "").succeeds();
        for (tool, code) in [("refused", 4), ("forbidden", 4), ("broken", 7), ("moved", 3), ("nonsense", 7)] {
            self.run(&with(&["call", tool]), environment, "").fails(code);
            if environment.is_empty() {
                self.run(&with(&["call", tool, "--json"]), environment, "").fails(code);
            }
        }
        self.run(&with(&["call", "no-such"]), environment, "").fails(2);
        self.run(&with(&["bridge", "--no-such-option"]), environment, "").fails(2);
        let arguments: Vec<&str> =
            with(&["bridge"]).into_iter().chain(self.options.iter().map(String::as_str)).collect();
        let start = self.home.start(&arguments).env("ASISTRY_KEY_PASSPHRASE", PASSPHRASE);
        let start = environment.iter().fold(start, |start, (name, value)| start.env(name, value));
        let mut bridge = start.spawn();
        let mut heard = vec![bridge.open(REVISION)];
        for tool in TOOLS {
            bridge.call(json!(tool), tool);
            heard.push(bridge.answer(tool));
        }
        bridge.say("this is no message");
        bridge.say(request("\"list\"", "tools/list", "{}"));
        heard.push(bridge.answer("list"));
        assert_eq!(MARKS.shown_by_processes(bridge.pid), Vec::<String>::new());
        bridge.close();
        heard.extend(bridge.rest());
        assert_eq!(bridge.exit_code(), 0);
        let heard: Vec<String> = heard.iter().map(ToString::to_string).collect();
        self.said.push(("answers of the bridge".into(), heard.join("\n").into()));
        self.said.push(("stderr of the bridge".into(), bridge.stderr().into()));
    }

    /// A key where none belongs: in the configuration, among the arguments.
    fn misplace(&mut self, url: &str) {
        for text in [
            format!("api_key = \"{KEY}\"\n"),
            format!("api_key = {KEY}\n"),
            format!("key_store = \"{KEY}\"\n"),
            format!("[profiles.work]\nservice = \"asistry\"\napi_key = \"{KEY}\"\n"),
            format!("[profiles.work]\nservice = \"asistry\"\nheaders.Authorization = \"Bearer {KEY}\"\n"),
            format!("[profiles.work]\nservice = \"asistry\" # {KEY}\n\"{KEY}\n"),
        ] {
            self.home.write("config/config.toml", &text);
            for command in
                [&["-p", "work", "tools"][..], &["-p", "work", "keys", "list"], &["keys", "add", "--stdin"]]
            {
                self.run(command, &[], "x");
            }
        }
        self.home.write("config/config.toml", "");
        let header = self.home.write("given/bad-headers", format!("Authorization Bearer {KEY}\n"));
        self.run(&["--url", url, "--header-file", &header, "tools"], &[], "").fails(2);
        let bad = self.home.write("given/headers-of-ours", format!("Host: {KEY}\n"));
        self.run(&["--url", url, "--header-file", &bad, "tools"], &[], "").fails(2);
        let key = [("ASISTRY_API_KEY", KEY)];
        self.run(&["-p", "bob-studio", "--url", url, "tools"], &key, "").fails(4);
        let preview = format!("{TOKEN}…");
        self.run(&["-p", "asistry", "--url", url, "tools"], &[("ASISTRY_API_KEY", &preview)], "").fails(4);
        #[cfg(feature = "sandbox")]
        self.run(&["-p", "sandbox", "tools"], &key, "").succeeds();
    }

    /// Looks through everything that was said and written.
    fn search(&self) {
        assert!(self.said.len() > 60, "{} things were tried", self.said.len());
        for (place, bytes) in &self.said {
            assert_eq!(MARKS.found(bytes), None, "in the {place}: {}", String::from_utf8_lossy(bytes));
        }
        let given = self.home.file("given");
        let files: Vec<_> = self.home.files().into_iter().filter(|path| !path.starts_with(&given)).collect();
        assert!(files.iter().any(|path| path.ends_with("data/keys.enc")), "{files:?}");
        assert!(
            files.iter().filter(|path| path.to_string_lossy().contains("trace-")).count() > 10,
            "{files:?}"
        );
        for path in files {
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(
                MARKS.found(&bytes),
                None,
                "in {}: {}",
                path.display(),
                String::from_utf8_lossy(&bytes)
            );
            assert_eq!(MARKS.found(path.to_str().unwrap().as_bytes()), None);
        }
    }
}

fn nothing_shows_a_secret(form: &str, into_files: bool) {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let service = service(&seen);
    let url = service.url();
    let mut watch = Watch::new(form, into_files);
    let given = watch.home.write("given/key", format!("{KEY}\n"));
    watch.manage(&url, Path::new(&given));
    let profile = ["-p", "asistry", "--url", &url];
    watch.use_it(&profile, &[]);
    watch.use_it(&profile, &[("ASISTRY_API_KEY", NEXT)]);
    let variable = ["--url", &url, "--header", "Authorization: Bearer ${VAR}"];
    watch.use_it(&variable, &[("VAR", TOKEN)]);
    let headers = watch.home.write("given/headers", format!("X-Api-Key: {TOKEN}\n"));
    watch.use_it(&["--url", &url, "--header-file", &headers], &[]);
    watch.run(&["keys", "remove", "--yes"], &[], "").succeeds();
    watch.misplace(&url);
    watch.search();
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
    for key in [KEY, NEXT, REJECTED, TOKEN] {
        let sent = |received: &Received| super::key_of(received).as_deref() == Some(key);
        assert!(service.received().iter().any(sent), "{key} was never sent: nothing was tried");
    }
    if into_files {
        let log = std::fs::metadata(watch.home.file("log")).unwrap();
        assert!(log.len() > 1000, "the log is empty: nothing was tried");
    }
}

#[test]
fn no_secret_is_anywhere_with_logs_as_text_in_a_file() {
    nothing_shows_a_secret("text", true);
}

#[test]
fn no_secret_is_anywhere_with_logs_as_json_on_stderr() {
    nothing_shows_a_secret("json", false);
}

#[test]
fn a_key_of_any_form_that_the_service_sends_back_is_not_in_the_trace() {
    let service = Service::start(|received| {
        let key = super::key_of(received).unwrap_or_default();
        let content = json!({"content": [{"type": "text", "text": key}]});
        let whole = json!({"jsonrpc": "2.0", "id": received.message()["id"], "result": content});
        match received.tool().as_str() {
            "json" => Some(Reply::json(whole)),
            "events" => Some(Reply::events([whole])),
            _ => None,
        }
    });
    let home = Home::new();
    let trace = home.file("trace").to_str().unwrap().to_owned();
    home.told(&["keys", "add", "--url", &service.url(), "--stdin"], TOKEN).succeeds();
    let mut bridge = home.start(&["bridge", "--url", &service.url(), "--trace", &trace]).spawn();
    bridge.open(REVISION);
    for tool in ["json", "events"] {
        bridge.call(json!(tool), tool);
        // What a service answers is the client's, as it came.
        assert_eq!(bridge.answer(tool)["result"]["content"][0]["text"], TOKEN);
    }
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    let text = std::fs::read(&trace).unwrap();
    assert!(memmem::find(&text, b"MASKED").is_some());
    assert_eq!(MARKS.found(&text), None, "{}", String::from_utf8_lossy(&text));
}

/// Decodes escaped code points and `\/`, one level deep.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).replace(r"\/", "/");
    let mut parts = text.split(r"\u");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        out.extend(code.and_then(char::from_u32));
        out.push_str(part.get(4..).unwrap_or_default());
    }
    out.into_bytes()
}

#[test]
fn a_key_that_the_service_escapes_in_json_is_in_no_output_trace_or_list() {
    let lower = |key: &str| key.chars().map(|c| format!(r"\u{:04x}", c as u32)).collect::<String>();
    let upper = |key: &str| key.replace('+', r"\u002B").replace('=', r"\u003D").replace('/', r"\/");
    let service = Service::start(move |received| {
        let key = super::key_of(received)?;
        let id = received.id.clone();
        let answer = |result: String| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        match (received.method.as_str(), received.tool().as_str()) {
            ("tools/list", _) => Some(Reply::json(answer(format!(
                r#"{{"tools":[{{"name":"lower","description":"{}","inputSchema":{{}}}},{{"name":"upper","description":"{}","inputSchema":{{}}}}]}}"#,
                lower(&key),
                upper(&key)
            )))),
            ("tools/call", tool) => {
                let shown = if tool == "lower" { lower(&key) } else { upper(&key) };
                let result = answer(format!(r#"{{"content":[{{"type":"text","text":"{shown}"}}]}}"#));
                let events = format!("event: {key}\nid: {key}\ndata: {{}}\n\ndata: {result}\n\n");
                Some(Reply::status(200, "text/event-stream", events))
            }
            _ => None,
        }
    });
    let home = Home::new();
    let url = service.url();
    let trace = home.file("trace-%p").to_str().unwrap().to_owned();
    home.told(&["keys", "add", "--url", &url, "--no-verify", "--stdin"], TOKEN).succeeds();
    for tool in ["lower", "upper"] {
        for options in [&[][..], &["--full", "--json"], &["--reveal"]] {
            let words = [&["--url", &url, "--trace", &trace, "call", tool], options].concat();
            let ran = home.run(&words).succeeds();
            let said = unescaped((ran.stdout + &ran.stderr).as_bytes());
            let reveals = options == ["--reveal"];
            assert_eq!(MARKS.found(&said).is_some(), reveals, "{words:?} {}", String::from_utf8_lossy(&said));
        }
    }
    let files = home.files();
    for kind in ["trace-", "tools-"] {
        assert!(files.iter().any(|path| path.to_string_lossy().contains(kind)), "no {kind} in {files:?}");
    }
    for path in files {
        let bytes = unescaped(&std::fs::read(&path).unwrap());
        assert_eq!(MARKS.found(&bytes), None, "{}: {}", path.display(), String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_former_key_is_still_masked() {
    const KEYS: [&str; 3] = [TOKEN, "M4rkEd+Tok/second9Rf3Ed2==", "M4rkEd+Tok/third7Qw8Er5=="];
    let accepted = Accepted::only(&KEYS[..1]);
    let keys = accepted.clone();
    let service = Service::start(move |received| {
        let repeated = json!({"content": [{"type": "text", "text": KEYS[0]}]});
        let refusal = keys.refusal(received);
        refusal.or_else(|| (!received.tool().is_empty()).then(|| Reply::result(received, repeated)))
    });
    let home = Home::new();
    let url = service.url();
    let trace = home.file("trace").to_str().unwrap().to_owned();
    home.told(&["keys", "add", "--url", &url, "--no-verify", "--stdin"], KEYS[0]).succeeds();
    let mut bridge = home.start(&["bridge", "--url", &url, "--trace", &trace]).spawn();
    bridge.open(REVISION);
    for key in KEYS {
        accepted.become_only(&[key]);
        if key != KEYS[0] {
            home.told(&["keys", "rotate", "--url", &url, "--stdin", "--no-verify"], key).succeeds();
        }
        bridge.call(json!(key), "echo");
        assert_eq!(bridge.answer(key)["result"]["content"][0]["text"], KEYS[0]);
    }
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    let text = std::fs::read(&trace).unwrap();
    assert!(memmem::find(&text, b"MASKED").is_some());
    assert_eq!(memmem::find(&text, KEYS[0].as_bytes()), None, "{}", String::from_utf8_lossy(&text));
}

#[test]
fn the_search_finds_a_secret_in_every_shape_and_place() {
    const PLANTED: &str = "M4rkEd+Pla/nted8Uj2Ki5Mn==";
    let marks = Marks::of(&[PLANTED]);
    let all = shapes(PLANTED);
    assert_eq!(all.len(), 15);
    for shape in all {
        assert!(marks.found(&[b"before ", &shape[..], b" after"].concat()).is_some(), "{shape:?}");
    }
    for before in ["", "x", "xy"] {
        let text = format!("{before}{PLANTED}{before}");
        assert!(marks.found(BASE64_STANDARD.encode(&text).as_bytes()).is_some());
        assert!(marks.found(BASE64_URL_SAFE.encode(&text).as_bytes()).is_some());
    }
    assert_eq!(marks.found("MASKED, …ed2==, nothing else".as_bytes()), None);
    // And in the arguments and in the environment of a real process.
    let service = Service::start(|_| None);
    let url = service.url();
    let home = Home::new();
    let literal = format!("X-A: {PLANTED}");
    for (header, value, place) in
        [("X-A: ${VAR}", PLANTED, "environment"), (&literal, "harmless", "argument")]
    {
        let mut bridge = home.start(&["bridge", "--url", &url, "--header", header]).env("VAR", value).spawn();
        bridge.open(REVISION);
        let shown = marks.shown_by_processes(std::process::id());
        assert!(shown.iter().any(|shown| shown.contains(place)), "{shown:?}");
        bridge.close();
        assert_eq!(bridge.exit_code(), 0);
    }
}
