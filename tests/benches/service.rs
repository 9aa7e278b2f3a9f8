//! The service of the benches: one thread, epoll, HTTP/1.1 with keep-alive, on 127.0.0.1 only.
//!
//! A process of its own, so that its work is not counted as anybody else's; it ends when its stdin does.
//! Refuses to understand more HTTP than the benches speak, so that it is never the bottleneck.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::messages::{ANSWER, EVENTS, LARGE, SESSION, TOOLS, Tool, id_text};
use crate::process::Owned;

/// The argument that makes this program the service.
pub const ARGUMENT: &str = "--be-the-service";

const LISTENER: u64 = 0;
const STDIN: u64 = 1;

/// The running service.
pub struct Service {
    pub port: u16,
    _process: Owned,
}

impl Service {
    /// Starts it on a port of the system's choice.
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child: Child = Command::new(program)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut told = [0; 2];
        child.stdout.take().expect("piped").read_exact(&mut told).expect("the service tells its port");
        Self { port: u16::from_be_bytes(told), _process: Owned(child) }
    }
}

/// Serves until stdin ends.
pub fn run() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("non-blocking");
    let port = listener.local_addr().expect("bound").port();
    std::io::stdout().write_all(&port.to_be_bytes()).expect("somebody started the service");
    std::io::stdout().flush().expect("somebody started the service");
    let poll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).expect("epoll");
    epoll::add(&poll, std::io::stdin(), EventData::new_u64(STDIN), EventFlags::IN).expect("epoll");
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut answers = Answers::default();
    let mut events = Vec::with_capacity(256);
    let mut count = STDIN;
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None).expect("epoll");
        for event in &events {
            match event.data.u64() {
                STDIN => return,
                LISTENER => {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nonblocking(true).expect("non-blocking");
                        stream.set_nodelay(true).expect("no delay");
                        count += 1;
                        epoll::add(&poll, &stream, EventData::new_u64(count), EventFlags::IN).expect("epoll");
                        connections.insert(count, Connection::new(stream));
                    }
                }
                number => {
                    let Some(connection) = connections.get_mut(&number) else { continue };
                    let goes = connection.turn(event.flags, &mut answers);
                    let waits = connection.output.is_empty() == connection.wants_room;
                    if goes && waits {
                        connection.wants_room = !connection.wants_room;
                        let flags = if connection.wants_room { EventFlags::OUT } else { EventFlags::empty() };
                        let data = EventData::new_u64(number);
                        epoll::modify(&poll, &connection.stream, data, flags | EventFlags::IN)
                            .expect("epoll");
                    }
                    if !goes {
                        connections.remove(&number);
                    }
                }
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    scratch: Vec<u8>,
    output: VecDeque<Bytes>,
    wants_room: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let scratch = vec![0; 64 * 1024];
        Self { stream, input: Vec::new(), scratch, output: VecDeque::new(), wants_room: false }
    }

    /// Reads, answers and writes what there is; returns whether the connection goes on.
    fn turn(&mut self, flags: EventFlags, answers: &mut Answers) -> bool {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            match self.stream.read(&mut self.scratch) {
                Ok(0) => return false,
                Ok(n) => self.input.extend_from_slice(&self.scratch[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            while let Some(length) = answers.answer(&self.input, &mut self.output) {
                self.input.drain(..length);
            }
        }
        self.write()
    }

    fn write(&mut self) -> bool {
        while let Some(part) = self.output.front_mut() {
            match self.stream.write(part) {
                Ok(n) if n == part.len() => drop(self.output.pop_front()),
                Ok(n) => *part = part.slice(n..),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

/// Knows the answers, and counts the requests.
#[derive(Default)]
struct Answers {
    requests: usize,
    large_text: Option<Bytes>,
    progress: Option<Bytes>,
    packed_progress: Option<Bytes>,
    crlf_progress: Option<Bytes>,
}

impl Answers {
    /// Answers the request at the front of the input; returns its length once it is whole.
    fn answer(&mut self, input: &[u8], output: &mut VecDeque<Bytes>) -> Option<usize> {
        let head = memchr::memmem::find(input, b"\r\n\r\n")? + 4;
        let length = content_length(&input[..head]);
        let body = input.get(head..head + length)?;
        match &input[..5] {
            b"POST " => {
                self.requests += 1;
                self.post(body, output);
            }
            b"GET /" if input.starts_with(b"GET /requests ") => {
                output.push_back(json(&self.requests.to_string(), ""));
                self.requests = 0;
            }
            b"GET /" => {
                self.requests += 1;
                output.push_back(Bytes::from_static(
                    b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n",
                ));
            }
            _ => {
                self.requests += 1;
                output.push_back(Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
            }
        }
        Some(head + length)
    }

    fn post(&mut self, body: &[u8], output: &mut VecDeque<Bytes>) {
        let method = between(body, b"\"method\":\"", b'"').unwrap_or_default();
        let Some(id) = id_text(body) else {
            let accepted = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
            return output.push_back(Bytes::from_static(accepted));
        };
        match method {
            b"initialize" => output.push_back(json(
                &result(
                    id,
                    r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#,
                ),
                &format!("mcp-session-id: {SESSION}\r\n"),
            )),
            b"server/discover" => output.push_back(json(
                &result(
                    id,
                    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1"}}}"#,
                ),
                "",
            )),
            b"tools/list" => output.push_back(json(
                &result(
                    id,
                    r#"{"tools":[{"name":"json","description":"Answers","inputSchema":{"type":"object","properties":{"task":{"type":"string"},"note":{"type":"string"}}}}]}"#,
                ),
                "",
            )),
            b"tools/call" => self.call(id, body, output),
            b"ping" => output.push_back(json(&result(id, "{}"), "")),
            _ => output.push_back(json(
                &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#),
                "",
            )),
        }
    }

    fn call(&mut self, id: &str, body: &[u8], output: &mut VecDeque<Bytes>) {
        let name = between(body, b"\"name\":\"", b'"').unwrap_or_default();
        let tool = TOOLS.iter().find(|(_, known)| known.as_bytes() == name).map(|(tool, _)| *tool);
        let small =
            || result(id, &format!(r#"{{"content":[{{"type":"text","text":"{ANSWER}"}}],"isError":false}}"#));
        match tool {
            None | Some(Tool::Json) => output.push_back(json(&small(), "")),
            Some(Tool::Sse) => {
                let event = format!("event: message\ndata: {}\n\n", small());
                output.push_back(format!("{EVENT_STREAM}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).into());
            }
            Some(Tool::LargeJson) => self.large_json(id, output),
            Some(Tool::LargeSse) => self.large_sse(id, output),
            Some(Tool::Progress) => {
                let events = self.progress.get_or_insert_with(|| progress(1, "\n")).clone();
                stream(events, &small(), output);
            }
            Some(Tool::PackedProgress) => {
                let events = self.packed_progress.get_or_insert_with(|| progress(16 * 1024, "\n")).clone();
                stream(events, &small(), output);
            }
            Some(Tool::CrlfProgress) => {
                let events = self.crlf_progress.get_or_insert_with(|| progress(16 * 1024, "\r\n")).clone();
                stream(events, &small(), output);
            }
        }
    }

    fn large_text(&mut self) -> Bytes {
        let line = r"a line of text, and the end of the line: \n";
        self.large_text.get_or_insert_with(|| line.repeat(LARGE / line.len() + 1).into()).clone()
    }

    fn large_json(&mut self, id: &str, output: &mut VecDeque<Bytes>) {
        let text = self.large_text();
        let (before, after) = around_large(id);
        let length = before.len() + text.len() + after.len();
        output.push_back(
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{before}")
                .into(),
        );
        output.push_back(text);
        output.push_back(after.into());
    }

    fn large_sse(&mut self, id: &str, output: &mut VecDeque<Bytes>) {
        let text = self.large_text();
        let (before, after) = around_large(id);
        let before = format!("data: {before}");
        output.push_back(format!("{EVENT_STREAM}{:x}\r\n{before}\r\n", before.len()).into());
        for start in (0..text.len()).step_by(64 * 1024) {
            let part = text.slice(start..text.len().min(start + 64 * 1024));
            output.push_back(format!("{:x}\r\n", part.len()).into());
            output.push_back(part);
            output.push_back(Bytes::from_static(b"\r\n"));
        }
        let after = format!("{after}\n\n");
        output.push_back(format!("{:x}\r\n{after}\r\n0\r\n\r\n", after.len()).into());
    }
}

const EVENT_STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn around_large(id: &str) -> (String, &'static str) {
    let before = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    (before, r#""}],"isError":false}}"#)
}

/// The chunks of all progress notifications, each of at least this many bytes.
fn progress(least: usize, line_end: &str) -> Bytes {
    let (mut chunks, mut chunk) = (Vec::new(), String::new());
    for number in 1..=EVENTS {
        chunk.push_str(&format!(
            "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":\"p\",\"progress\":{number},\"total\":{EVENTS}}}}}{line_end}{line_end}"
        ));
        if chunk.len() >= least || number == EVENTS {
            chunks.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
            chunk.clear();
        }
    }
    chunks.into()
}

fn stream(events: Bytes, answer: &str, output: &mut VecDeque<Bytes>) {
    output.push_back(Bytes::from_static(EVENT_STREAM.as_bytes()));
    output.push_back(events);
    let event = format!("data: {answer}\n\n");
    output.push_back(format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).into());
}

fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn json(body: &str, headers: &str) -> Bytes {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn content_length(head: &[u8]) -> usize {
    let name = b"content-length: ";
    let found = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let digits = found.map(|at| head[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit()));
    digits.into_iter().flatten().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

fn between<'a>(text: &'a [u8], start: &[u8], end: u8) -> Option<&'a [u8]> {
    let from = memchr::memmem::find(text, start)? + start.len();
    let length = memchr::memchr(end, &text[from..])?;
    Some(&text[from..from + length])
}
