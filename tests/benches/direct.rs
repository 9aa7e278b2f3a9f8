//! The same calls without the bridge: hyper connections with keep-alive, straight to the service.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::messages::{EVENTS, LARGE, Tool, call, id_of};
use crate::way::Way;

/// Connections to the service, as many as were ever needed at once.
pub struct Direct {
    runtime: tokio::runtime::Runtime,
    port: u16,
    connections: Vec<Connection>,
    next_id: u64,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Direct {
    pub fn new(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, port, connections: Vec::new(), next_id: 0 }
    }

    /// Returns how many requests the service has got since it was last asked.
    pub fn requests(&mut self) -> usize {
        self.connect(1);
        let connection = &mut self.connections[0];
        let body = self.runtime.block_on(connection.collect("/requests", None));
        std::str::from_utf8(&body).ok().and_then(|text| text.parse().ok()).expect("a number")
    }
}

impl Way for Direct {
    fn one_at_a_time(&mut self, tool: Tool, count: usize) -> Vec<Duration> {
        self.connect(1);
        let first = self.take_ids(count);
        let connection = &mut self.connections[0];
        self.runtime.block_on(async {
            let mut took = Vec::with_capacity(count);
            for id in first..first + count as u64 {
                let body = call(tool, id);
                let start = Instant::now();
                let answer = connection.collect("/mcp", Some(body)).await;
                took.push(start.elapsed());
                let json = memchr::memchr(b'{', &answer).map_or(&answer[..], |at| &answer[at..]);
                assert_eq!(id_of(json), Some(id));
            }
            took
        })
    }

    fn in_flight(&mut self, count: usize, in_flight: usize) -> Duration {
        self.connect(in_flight);
        let share = count / in_flight;
        let connections = std::mem::take(&mut self.connections);
        let first = self.take_ids(count);
        let (took, connections) = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let start = Instant::now();
            for (number, mut connection) in connections.into_iter().enumerate() {
                let first = first + (number * share) as u64;
                let count = if number < in_flight { share as u64 } else { 0 };
                tasks.spawn(async move {
                    for id in first..first + count {
                        let answer = connection.collect("/mcp", Some(call(Tool::Json, id))).await;
                        assert_eq!(id_of(&answer), Some(id));
                    }
                    connection
                });
            }
            let connections = tasks.join_all().await;
            (start.elapsed(), connections)
        });
        self.connections = connections;
        took
    }

    fn large(&mut self, tool: Tool) -> Duration {
        let (took, length, _) = self.passing(tool);
        assert!(length > LARGE, "the answer is whole: {length} bytes");
        took
    }

    fn progress(&mut self, tool: Tool) -> Duration {
        let (took, _, breaks) = self.passing(tool);
        assert_eq!(breaks, 2 * (EVENTS + 1), "all events, then the result");
        took
    }
}

impl Direct {
    /// Returns how long a body took to pass, its length, and the line feeds in it.
    fn passing(&mut self, tool: Tool) -> (Duration, usize, usize) {
        self.connect(1);
        let id = self.take_ids(1);
        let connection = &mut self.connections[0];
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut body = connection.send("/mcp", Some(call(tool, id))).await;
            let (mut length, mut breaks) = (0, 0);
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.expect("the body goes on").into_data() else { continue };
                length += data.len();
                breaks += memchr::memchr_iter(b'\n', &data).count();
            }
            (start.elapsed(), length, breaks)
        })
    }

    fn connect(&mut self, count: usize) {
        let port = self.port;
        while self.connections.len() < count {
            let connection = self.runtime.block_on(async {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the service listens");
                stream.set_nodelay(true).expect("no delay");
                let (sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
                tokio::spawn(connection);
                Connection { sender, host: format!("127.0.0.1:{port}") }
            });
            self.connections.push(connection);
        }
    }

    fn take_ids(&mut self, count: usize) -> u64 {
        let first = self.next_id;
        self.next_id += count as u64;
        first
    }
}

impl Connection {
    async fn collect(&mut self, path: &str, body: Option<String>) -> Bytes {
        self.send(path, body).await.collect().await.expect("a whole body").to_bytes()
    }

    async fn send(&mut self, path: &str, body: Option<String>) -> hyper::body::Incoming {
        let method = if body.is_some() { "POST" } else { "GET" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::from(body.unwrap_or_default()))
            .expect("a request");
        self.sender.ready().await.expect("the connection stands");
        let response = self.sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.into_body()
    }
}
