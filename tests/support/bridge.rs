//! Runs the real binary as `asistry bridge`, with a cleared environment and a temporary home.
//!
//! Refuses to wait without an end, and to leave a process behind.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::DEADLINE;
use super::service::Service;

/// How long an end may take (STD-7).
pub const SHUTDOWN: Duration = Duration::from_millis(1500);

/// A bridge that is about to be started.
pub struct Start {
    command: Command,
    home: tempfile::TempDir,
    reads: bool,
    ends: (bool, bool, bool),
}

/// A bridge that runs.
pub struct Bridge {
    /// Its process id.
    pub pid: u32,
    /// Its home directory, which goes with it.
    _home: tempfile::TempDir,
    input: Option<Sender<Vec<u8>>>,
    output: Option<ChildStdout>,
    lines: Receiver<Vec<u8>>,
    to_lines: Option<Sender<Vec<u8>>>,
    aside: Vec<Value>,
    errors: Arc<Mutex<Vec<u8>>>,
    errors_end: Option<JoinHandle<()>>,
    exit: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

/// `asistry` with these arguments, in a cleared environment with an empty home.
pub fn asistry<I: Into<OsString>>(arguments: impl IntoIterator<Item = I>) -> Start {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.args(arguments.into_iter().map(Into::into)).env_clear().current_dir(home.path());
    command.env("HOME", home.path()).env("ASISTRY_CONFIG_DIR", home.path());
    Start { command, home, reads: true, ends: (false, false, false) }
}

/// `asistry bridge` in front of a service.
pub fn bridge(service: &Service, arguments: &[&str]) -> Start {
    let url = service.url();
    asistry(["bridge", "--url", &url].iter().chain(arguments).map(|argument| argument.to_string()))
}

impl Start {
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// May hold this many descriptors at once.
    #[must_use]
    pub fn descriptors(self, most: u32) -> Self {
        self.after(&format!("ulimit -n {most}"))
    }

    /// A shell says this before it becomes asistry.
    #[must_use]
    pub fn after(self, said: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{said}; exec \"$0\" \"$@\"")]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.home.path());
        Self { command, ..self }
    }

    /// Nobody reads its answers before [`Bridge::read`].
    #[must_use]
    pub fn unread(self) -> Self {
        Self { reads: false, ..self }
    }

    /// Something else than a pipe as stdin.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self.ends.0 = true;
        self
    }

    /// Something else than a pipe as stdout.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self.ends.1 = true;
        self
    }

    /// Something else than a pipe as stderr.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.command.stderr(stderr);
        self.ends.2 = true;
        self
    }

    pub fn spawn(mut self) -> Bridge {
        let piped = |command: &mut Command| {
            if !self.ends.0 {
                command.stdin(Stdio::piped());
            }
            if !self.ends.1 {
                command.stdout(Stdio::piped());
            }
            if !self.ends.2 {
                command.stderr(Stdio::piped());
            }
        };
        piped(&mut self.command);
        let mut child = self.command.spawn().unwrap();
        // The command holds the other ends of sockets and pipes that were given to it.
        drop(self.command);
        let pid = child.id();
        let (input, from_test) = channel::<Vec<u8>>();
        let stdin = child.stdin.take();
        std::thread::spawn(move || {
            let Some(mut stdin) = stdin else { return };
            for bytes in from_test {
                if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        });
        let errors = Arc::<Mutex<Vec<u8>>>::default();
        let errors_end = child.stderr.take().map(|mut stderr| {
            let errors = errors.clone();
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                    errors.lock().unwrap().extend_from_slice(&chunk[..n]);
                }
            })
        });
        let (to_lines, lines) = channel();
        let output = child.stdout.take();
        let (exited, exit) = channel();
        std::thread::spawn(move || exited.send(child.wait().unwrap()));
        let mut bridge = Bridge {
            pid,
            _home: self.home,
            input: Some(input),
            output,
            lines,
            to_lines: Some(to_lines),
            aside: Vec::new(),
            errors,
            errors_end,
            exit,
            status: None,
        };
        if self.reads {
            bridge.read();
        }
        bridge
    }
}

impl Bridge {
    /// Begins to read its answers.
    pub fn read(&mut self) {
        let (Some(stdout), Some(lines)) = (self.output.take(), self.to_lines.take()) else { return };
        std::thread::spawn(move || {
            let mut stdout = BufReader::with_capacity(1 << 20, stdout);
            loop {
                let mut line = Vec::new();
                match stdout.read_until(b'\n', &mut line) {
                    Ok(1..) if lines.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
    }

    /// Closes the unread end.
    pub fn close_output(&mut self) {
        assert!(self.output.take().is_some(), "only an unread output can be closed");
    }

    /// Writes a line; never blocks.
    pub fn say(&self, line: impl ToString) {
        let mut line = line.to_string().into_bytes();
        line.push(b'\n');
        self.write(line);
    }

    /// Writes bytes as they are; never blocks. A bridge that has ended does not get them.
    pub fn write(&self, bytes: impl Into<Vec<u8>>) {
        let _ = self.input.as_ref().expect("stdin is open").send(bytes.into());
    }

    /// Closes stdin, when everything is written.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// The handshake in some revision; returns the answer.
    pub fn open(&mut self, revision: &str) -> Value {
        let params = serde_json::json!({
            "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
        });
        self.say(request("\"open\"", "initialize", &params.to_string()));
        let answer = self.answer("open");
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer
    }

    /// Calls a tool.
    pub fn call(&self, id: impl ToString, tool: &str) {
        let params = serde_json::json!({"name": tool, "arguments": {}});
        self.say(request(&id.to_string(), "tools/call", &params.to_string()));
    }

    /// Waits for the next line, with its end; `None` when the output has ended.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line came; stderr: {}", self.stderr()),
        }
    }

    /// Waits for the next line, which must be JSON-RPC.
    pub fn hear(&mut self) -> Value {
        let line = self.line().unwrap_or_else(|| panic!("the output has ended; stderr: {}", self.stderr()));
        json_rpc(&line)
    }

    /// Waits for the answer to this id; what else comes before it is kept for later calls.
    pub fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        if let Some(at) = self.aside.iter().position(|message| message["id"] == id) {
            return self.aside.remove(at);
        }
        loop {
            let message = self.hear();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
            self.aside.push(message);
        }
    }

    /// Waits for the end of the output, and returns all lines until then.
    pub fn rest(&mut self) -> Vec<Value> {
        let mut rest = std::mem::take(&mut self.aside);
        while let Some(line) = self.line() {
            rest.push(json_rpc(&line));
        }
        rest
    }

    /// Waits for the end of the process.
    pub fn exit(&mut self) -> ExitStatus {
        if self.is_running_after(DEADLINE) {
            panic!("it does not end; stderr: {}", self.stderr());
        }
        if let Some(end) = self.errors_end.take() {
            let _ = end.join();
        }
        self.status.unwrap()
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn exit_code(&mut self) -> i32 {
        self.exit().code().unwrap_or_else(|| panic!("ended by a signal: {:?}", self.status))
    }

    /// Waits this long for its end; says whether it still runs.
    pub fn is_running_after(&mut self, time: Duration) -> bool {
        if self.status.is_none() {
            self.status = self.exit.recv_timeout(time).ok();
        }
        self.status.is_none()
    }

    /// Says that it must not end for this long.
    pub fn runs_for(&mut self, time: Duration) {
        let ended = self.exit.recv_timeout(time);
        assert!(ended.is_err(), "it has ended: {ended:?} {}", self.stderr());
    }

    /// Waits for the end; it must come with this code, within this time after `since`.
    pub fn ends(&mut self, code: i32, since: Instant, within: Duration) -> Duration {
        let status = self.exit();
        let took = since.elapsed();
        assert_eq!(status.code(), Some(code), "{status:?} {}", self.stderr());
        assert!(took < within, "the end took {took:?}");
        took
    }

    /// What it has written on stderr; all of it after [`Bridge::exit`].
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock().unwrap()).into_owned()
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        assert!(self.status.is_none());
        let pid = rustix::process::Pid::from_raw(self.pid as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The most memory that it ever held (bytes).
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:").parse::<usize>().unwrap() * 1024
    }

    /// What the system says of it under this name (`/proc/PID/status`).
    #[cfg(target_os = "linux")]
    pub fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.status.is_none() && self.exit.try_recv().is_err() {
            // It may have ended by itself just now.
            #[cfg(unix)]
            let _ = rustix::process::Pid::from_raw(self.pid as i32)
                .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            let _ = self.exit.recv_timeout(DEADLINE);
        }
        if std::thread::panicking() {
            eprintln!("stderr of the bridge:\n{}", self.stderr());
        }
    }
}

/// A request as text.
pub fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// Reads a line that must be JSON-RPC, ended by LF alone.
pub fn json_rpc(line: &[u8]) -> Value {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(300)]).into_owned();
    let text = line.strip_suffix(b"\n").unwrap_or_else(|| panic!("no LF at the end of {}", shown()));
    assert!(!text.contains(&b'\r'), "CR in {}", shown());
    let message: Value = serde_json::from_slice(text).unwrap_or_else(|e| panic!("no JSON: {e}: {}", shown()));
    let whole = |m: &Value| {
        m["jsonrpc"] == "2.0"
            && (m.get("id").is_some() || m.get("method").is_some() || m.get("error").is_some())
    };
    assert!(message.as_array().map_or_else(|| whole(&message), |all| all.iter().all(whole)), "{}", shown());
    message
}
