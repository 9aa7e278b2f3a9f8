//! The client of the bridge: the real binary as a child, one message a line over its pipes.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::messages::{Client, EVENTS, INITIALIZE, INITIALIZED, LARGE, LIST, Tool, call, id_of};
use crate::process::Owned;
use crate::way::Way;

/// The program that is measured.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_asistry");

/// A bridge under way.
pub struct Bridge {
    process: Owned,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read behind the last line that was taken.
    rest: Vec<u8>,
    scratch: Vec<u8>,
    next_id: u64,
}

impl Bridge {
    /// Starts a bridge and opens its session; returns how long the answer to `initialize` took.
    pub fn start(program: &Path, port: u16) -> (Self, Duration) {
        let start = Instant::now();
        let mut bridge = Self::spawn(program, &[], port);
        let answer = bridge.ask(INITIALIZE);
        let took = start.elapsed();
        assert!(memchr::memmem::find(&answer, b"protocolVersion").is_some(), "initialize is answered");
        (bridge, took)
    }

    fn spawn(program: &Path, options: &[&str], port: u16) -> Self {
        let mut child = Command::new(program)
            .args(["bridge", "--url", &format!("http://127.0.0.1:{port}/mcp")])
            .args(options)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bridge starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self {
            process: Owned(child),
            input,
            output,
            rest: Vec::new(),
            scratch: vec![0; 256 * 1024],
            next_id: 2,
        }
    }

    /// Starts a bridge and goes on until its tools are known.
    pub fn ready(program: &Path, port: u16) -> Self {
        let (mut bridge, _) = Self::start(program, port);
        bridge.confirm_and_list();
        bridge
    }

    /// Confirms the session and asks for the tools.
    pub fn confirm_and_list(&mut self) {
        self.say(INITIALIZED);
        let answer = self.ask(LIST);
        assert!(memchr::memmem::find(&answer, b"inputSchema").is_some(), "tools/list is answered");
    }

    /// Starts a bridge between a client and a service of these eras, and goes on until its tools are known.
    pub fn between(client: Client, service: &str, port: u16) -> Self {
        let mut bridge = Self::spawn(Path::new(PROGRAM), &["--era", service], port);
        for line in client.opening() {
            match line.contains("\"id\"") {
                true => drop(bridge.ask(&line)),
                false => bridge.say(&line),
            }
        }
        bridge
    }

    /// Makes calls of a kilobyte, one at a time; returns how long each took.
    pub fn kilobytes(&mut self, client: Client, count: usize) -> Vec<Duration> {
        let ask = |_| {
            let id = self.fresh_id();
            let line = client.kilobyte(id);
            let start = Instant::now();
            let answer = self.ask(&line);
            let took = start.elapsed();
            assert!(memchr::memmem::find(&answer, b"\"content\"").is_some(), "a result");
            took
        };
        (0..count).map(ask).collect()
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

impl Way for Bridge {
    fn one_at_a_time(&mut self, tool: Tool, count: usize) -> Vec<Duration> {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let id = self.fresh_id();
            let line = call(tool, id);
            let start = Instant::now();
            let answer = self.ask(&line);
            took.push(start.elapsed());
            assert_eq!(id_of(&answer), Some(id));
            assert!(memchr::memmem::find(&answer, b"\"result\"").is_some());
        }
        took
    }

    fn in_flight(&mut self, count: usize, in_flight: usize) -> Duration {
        let first = self.next_id;
        self.next_id += count as u64;
        let mut answered = vec![false; count];
        let (mut sent, mut done) = (0, 0);
        let mut lines = String::new();
        let start = Instant::now();
        while done < count {
            while sent < count && sent < done + in_flight {
                lines.push_str(&call(Tool::Json, first + sent as u64));
                lines.push('\n');
                sent += 1;
            }
            self.input.write_all(lines.as_bytes()).expect("the bridge reads");
            lines.clear();
            self.read();
            let mut from = 0;
            for end in memchr::memchr_iter(b'\n', &self.rest) {
                let id = id_of(&self.rest[from..end]).expect("every answer has an id");
                let was = std::mem::replace(&mut answered[(id - first) as usize], true);
                assert!(!was, "one answer for each call");
                from = end + 1;
                done += 1;
            }
            self.rest.drain(..from);
        }
        start.elapsed()
    }

    fn large(&mut self, tool: Tool) -> Duration {
        let id = self.fresh_id();
        let start = Instant::now();
        self.say(&call(tool, id));
        let mut length = 0;
        loop {
            let n = self.output.read(&mut self.scratch).expect("the bridge answers");
            assert!(n > 0, "the bridge ended");
            length += n;
            if memchr::memchr(b'\n', &self.scratch[..n]).is_some() {
                assert_eq!(self.scratch[n - 1], b'\n');
                break;
            }
        }
        assert!(length > LARGE && length < LARGE + 1024, "the answer is whole: {length} bytes");
        start.elapsed()
    }

    fn progress(&mut self, tool: Tool) -> Duration {
        let id = self.fresh_id();
        let start = Instant::now();
        self.say(&call(tool, id));
        let (mut lines, mut last) = (0, Vec::new());
        while lines <= EVENTS {
            let n = self.output.read(&mut self.scratch).expect("the bridge answers");
            assert!(n > 0, "the bridge ended");
            lines += memchr::memchr_iter(b'\n', &self.scratch[..n]).count();
            last.drain(..last.len().saturating_sub(4096));
            last.extend_from_slice(&self.scratch[n.saturating_sub(4096)..n]);
        }
        let took = start.elapsed();
        let last = last.trim_ascii_end();
        let line = &last[memchr::memrchr(b'\n', last).map_or(0, |at| at + 1)..];
        assert_eq!((lines, id_of(line)), (EVENTS + 1, Some(id)), "all events, then the result");
        took
    }
}

impl Bridge {
    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).expect("the bridge reads");
    }

    /// Says one line and waits for one.
    fn ask(&mut self, line: &str) -> Vec<u8> {
        self.say(line);
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest) {
                let behind = self.rest.split_off(end + 1);
                return std::mem::replace(&mut self.rest, behind);
            }
            self.read();
        }
    }

    fn read(&mut self) {
        let n = self.output.read(&mut self.scratch).expect("the bridge answers");
        assert!(n > 0, "the bridge ended");
        self.rest.extend_from_slice(&self.scratch[..n]);
    }
}
