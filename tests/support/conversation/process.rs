//! The stage of the real binary, between pipes and a real HTTP peer.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Piece, Received, Stage};

/// Nothing in a script takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Process {
    child: Killed,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: VecDeque<String>,
    peer: Peer,
    replies: HashMap<String, Sender<Piece>>,
    home: tempfile::TempDir,
}

/// Nobody outlives a test.
struct Killed(Child);

impl Process {
    pub fn start(options: &[String]) -> Self {
        Self::start_at(Peer::start(), tempfile::tempdir().expect("a directory"), options)
    }

    fn start_at(peer: Peer, home: tempfile::TempDir, options: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
        command
            .args(["bridge", "--login", "never", "--url", &peer.url()])
            .args(options)
            .env_clear()
            .env("HOME", home.path());
        if options.iter().any(|option| option == "-p") {
            command.env("ASISTRY_API_KEY", "ask_0123456789abcdef");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the binary");
        let stdout = child.stdout.take().expect("a pipe");
        let (heard, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if heard.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let (heard, replies) = (VecDeque::new(), HashMap::new());
        Self { child: Killed(child), stdin, lines, heard, peer, replies, home }
    }

    /// Ends the process and starts another one, with the same home in front of the same service.
    pub fn again(self, options: &[String]) -> Self {
        let Self { mut child, stdin, peer, home, .. } = self;
        drop(stdin);
        assert!(child.0.wait().expect("the process").success());
        Self::start_at(peer, home, options)
    }

    /// Closes stdin; returns how the process ended.
    pub fn finish(mut self) -> std::process::ExitStatus {
        self.stdin = None;
        let until = Instant::now() + PATIENCE;
        // Whoever waits for its farewell gets it.
        while Instant::now() < until {
            if let Some((_, reply)) =
                self.peer.receive(&|got| got.method == "DELETE", Duration::from_millis(5))
            {
                let _ = reply.send(Piece::Head(204, Vec::new()));
                let _ = reply.send(Piece::End);
            }
            if let Ok(Some(status)) = self.child.0.try_wait() {
                return status;
            }
        }
        panic!("the process does not end");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage for Process {
    fn client_says(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).expect("the process reads");
    }

    fn service_receives(&mut self, label: &str, fits: &dyn Fn(&Received) -> bool) -> Option<Received> {
        let (received, reply) = self.peer.receive(fits, PATIENCE)?;
        self.replies.insert(label.to_owned(), reply);
        Some(received)
    }

    fn service_replies(&mut self, label: &str, piece: Piece) {
        let reply = self.replies.get(label).unwrap_or_else(|| panic!("nothing is labelled {label}"));
        // The connection may be gone: then the script is about that.
        let _ = reply.send(piece);
    }

    fn service_is(&mut self, up: bool) {
        if up { self.peer.up() } else { self.peer.down() }
    }

    fn client_receives(&mut self, fits: &dyn Fn(&str) -> bool) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(|line| fits(line)) {
                return self.heard.remove(at);
            }
            let left = until.saturating_duration_since(Instant::now());
            self.heard.push_back(self.lines.recv_timeout(left).ok()?);
        }
    }

    fn left_over(&mut self) -> (Vec<String>, Vec<Received>) {
        self.heard.extend(self.lines.try_iter());
        (self.heard.drain(..).collect(), self.peer.left_over())
    }
}
