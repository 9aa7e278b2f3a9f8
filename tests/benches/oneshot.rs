//! What one call of one tool costs as a whole process, from its start to its end: `asistry call`, curl, and
//! clients that run on Node where `ASISTRY_BENCH_NODE` names a directory that has them.
//!
//! All take turns within a round. Refuses a run that did not print the tool's answer, or that made another
//! number of requests than it should have.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::bridge::PROGRAM;
use crate::direct::Direct;
use crate::figures::Ranking;
use crate::messages::{ANSWER, INITIALIZE, INITIALIZED, LIST, NOTE, SESSION, TASK, Tool, call};
use crate::node;

/// How many requests a call makes that must list the tools first, and one that knows them: `initialize`,
/// `notifications/initialized`, `tools/list`, `tools/call`, DELETE.
const FIRST: usize = 5;
const NEXT: usize = 4;

/// Somebody who makes one call.
pub struct Contender {
    pub name: String,
    pub command: Line,
    /// Runs before everything.
    pub before: Option<Line>,
    /// Runs when everything is over, or has failed.
    pub _after: Option<AtLast>,
    /// The number of HTTP requests that it must make; none where any number is right.
    pub requests: Option<usize>,
    /// This directory is made anew before each time.
    pub forgets: Option<PathBuf>,
    /// It takes part in no more rounds than this.
    pub rounds: usize,
}

/// A program with its arguments and all of its environment.
#[derive(Clone)]
pub struct Line {
    pub words: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
}

/// Measures, and prints a table of its own.
pub fn measure(port: u16, rounds: usize, against: Option<&Path>) {
    let home = tempfile::tempdir().expect("a directory");
    let mut contenders = contenders(port, home.path(), against);
    contenders.extend(node::contenders(port, home.path()));
    let mut counter = Direct::new(port);
    contenders.iter().filter_map(|contender| contender.before.as_ref()).for_each(|line| drop(line.output()));
    // Everybody once, uncounted: afterwards the page cache is warm.
    for contender in &contenders {
        contender.run(&mut counter);
    }
    let mut taken = vec![(Vec::new(), 0); contenders.len()];
    for round in 0..rounds {
        for (contender, taken) in contenders.iter().zip(&mut taken).filter(|(one, _)| round < one.rounds) {
            let (took, requests) = contender.run(&mut counter);
            taken.0.push(took.as_secs_f64() * 1e3);
            taken.1 = requests;
        }
    }
    let samples = |wanted: &str| {
        let at = contenders.iter().position(|contender| contender.name == wanted);
        taken[at.expect("asistry is always there")].0.clone()
    };
    let ranking =
        Ranking::new([("the next call", samples(NEXT_CALL)), ("the first call", samples(FIRST_CALL))]);
    for (contender, (took, requests)) in contenders.iter().zip(&taken) {
        ranking.print(&contender.name, *requests, took);
    }
}

const FIRST_CALL: &str = "asistry, the first call";
const NEXT_CALL: &str = "asistry, the next call (tools remembered)";

fn contenders(port: u16, home: &Path, against: Option<&Path>) -> Vec<Contender> {
    let mut all = vec![Contender::new("`/bin/true`", Line::new(["/bin/true"]), 0)];
    let program = Path::new(PROGRAM);
    all.extend(ours(program, port, &home.join("ours"), [NEXT_CALL, FIRST_CALL]));
    if let Some(other) = against {
        all.extend(ours(
            other,
            port,
            &home.join("other"),
            ["other build, the next call", "other build, the first call"],
        ));
    }
    let key = ("ASISTRY_API_KEY", OsString::from("ask_bench"));
    let cache = ("ASISTRY_CACHE_DIR", home.join("cache").into_os_string());
    all.push(Contender::new(
        "asistry, a key in the environment (nothing is remembered)",
        asistry(program, port, [key.clone()]),
        FIRST,
    ));
    all.push(Contender::knowing(
        "asistry, a key in the environment, tools remembered",
        asistry(program, port, [key, cache]),
    ));
    if Command::new("curl").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("cargo bench: there is no curl to stand beside asistry");
        return all;
    }
    let one = call(Tool::Json, 2);
    let mut requests =
        vec![Request::Post(INITIALIZE), Request::Post(INITIALIZED), Request::Post(&one), Request::Delete];
    all.push(Contender::new("curl, one request (no session)", curl(port, &[Request::Post(&one)]), 1));
    all.push(Contender::new("curl, the requests of the next call", curl(port, &requests), NEXT));
    requests.insert(2, Request::Post(LIST));
    all.push(Contender::new("curl, the requests of the first call", curl(port, &requests), FIRST));
    all
}

/// Returns the call that knows the tools, and the one that does not.
fn ours(program: &Path, port: u16, home: &Path, names: [&str; 2]) -> [Contender; 2] {
    let [next, first] = ["next", "first"].map(|name| home.join(name));
    std::fs::create_dir_all(&next).expect("a directory");
    let at = |home: &Path| asistry(program, port, [("HOME", home.into())]);
    let first = Contender { forgets: Some(first.clone()), ..Contender::new(names[1], at(&first), FIRST) };
    [Contender::knowing(names[0], at(&next)), first]
}

fn asistry<const N: usize>(program: &Path, port: u16, environment: [(&'static str, OsString); N]) -> Line {
    let words = [
        program.as_os_str().to_owned(),
        "call".into(),
        "--url".into(),
        format!("http://127.0.0.1:{port}/mcp").into(),
        "json".into(),
        format!("task={TASK}").into(),
        format!("note={NOTE}").into(),
    ];
    Line { environment: environment.to_vec(), ..Line::new(words) }
}

enum Request<'a> {
    Post(&'a str),
    Delete,
}

/// One process, one connection that is kept: the quickest way that curl has.
fn curl(port: u16, requests: &[Request<'_>]) -> Line {
    let mut words: Vec<OsString> = vec!["curl".into(), "-q".into()];
    for (number, request) in requests.iter().enumerate() {
        if number > 0 {
            words.push("--next".into());
            words.extend(["-H".into(), format!("Mcp-Session-Id: {SESSION}").into()]);
            words.extend(["-H", "MCP-Protocol-Version: 2025-11-25"].map(OsString::from));
        }
        words.extend(["-sS", "-H", "Accept: application/json, text/event-stream"].map(OsString::from));
        match request {
            Request::Post(body) => {
                words.extend(["-H", "Content-Type: application/json", "--data-binary"].map(OsString::from));
                words.push(body.into());
            }
            Request::Delete => words.extend(["-X", "DELETE"].map(OsString::from)),
        }
        words.push(format!("http://127.0.0.1:{port}/mcp").into());
    }
    Line { environment: vec![("PATH", std::env::var_os("PATH").unwrap_or_default())], ..Line::new(words) }
}

impl Contender {
    pub fn new(name: impl Into<String>, command: Line, requests: usize) -> Self {
        let name = name.into();
        Self {
            name,
            command,
            before: None,
            _after: None,
            requests: Some(requests),
            forgets: None,
            rounds: usize::MAX,
        }
    }

    /// Has called before, and remembers the tools.
    fn knowing(name: &str, command: Line) -> Self {
        Self { before: Some(command.clone()), ..Self::new(name, command, NEXT) }
    }

    /// Makes any number of requests.
    pub fn any(name: &str, command: Line) -> Self {
        Self { requests: None, ..Self::new(name, command, 0) }
    }

    /// Runs once; returns how long it took, and how many requests it made.
    fn run(&self, counter: &mut Direct) -> (Duration, usize) {
        if let Some(directory) = &self.forgets {
            let _ = std::fs::remove_dir_all(directory);
            std::fs::create_dir_all(directory).expect("a directory");
        }
        counter.requests();
        let start = Instant::now();
        let ended = self.command.output();
        let took = start.elapsed();
        let requests = counter.requests();
        let printed = String::from_utf8_lossy(&ended.stdout);
        let answered = printed.contains(ANSWER) || requests == 0 && self.requests == Some(0);
        assert!(ended.status.success() && answered, "{}: {ended:?}", self.name);
        assert!(self.requests.is_none_or(|wanted| wanted == requests), "{}: {requests} requests", self.name);
        (took, requests)
    }
}

/// What runs when nobody needs it any more.
pub struct AtLast(pub Line);

impl Drop for AtLast {
    fn drop(&mut self) {
        self.0.output();
    }
}

impl Line {
    pub fn new(words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), environment: Vec::new() }
    }

    pub fn output(&self) -> Output {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{:?}: {e}", self.words[0]))
    }
}
