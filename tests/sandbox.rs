//! The sandbox as a client meets it: over real HTTP on a free port of loopback.
#![cfg(feature = "sandbox")]

mod agentstack;
mod agentstack_batch;
mod agentstack_client;
mod agentstack_plans;
mod agentstack_wire;
mod board;
mod bob_studio;
mod data;
mod door;
mod durability;
mod facts;
mod faults;
mod judge;
mod keys;
mod printed;
mod search;
mod sessions;
mod task_tracking;
mod tools;
mod transfer;
mod wire;
mod zuko;

use asistry::sandbox::{Data, Faults, Options, Sandbox, reset};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATH: &str = "/api/mcp/client";
const STATUSES: [&str; 5] = ["backlog", "todo", "in_progress", "review", "done"];
const LISTEN: &str = "127.0.0.1:0";
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const NO_ID: &str = "00000000-0000-4000-8000-000000000000";

async fn start(data: Data, embedded: bool) -> Sandbox {
    start_with(Options { data, listen: LISTEN.parse().unwrap(), embedded, faults: Faults::default() }).await
}

async fn start_with(options: Options) -> Sandbox {
    Sandbox::start(options).await.unwrap()
}

async fn memory() -> Sandbox {
    start(Data::Memory, false).await
}

async fn directory(home: &Path) -> Sandbox {
    start(Data::Directory(home.to_owned()), false).await
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in 20 seconds")
}

fn key(sandbox: &Sandbox) -> String {
    sandbox.endpoints()[0].key.clone()
}

/// A request that is put together header by header, so that a test shows all that it sends.
struct Sent<'a> {
    address: SocketAddr,
    method: &'a str,
    path: &'a str,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl<'a> Sent<'a> {
    fn new(sandbox: &'a Sandbox, method: &'a str) -> Self {
        Self::to(sandbox.address(), method).with("authorization", &format!("Bearer {}", key(sandbox)))
    }

    /// A request without a key, to a sandbox that may be another process.
    fn to(address: SocketAddr, method: &'a str) -> Self {
        Self { address, method, path: PATH, headers: Vec::new(), body: Bytes::new() }
            .with("host", &address.to_string())
    }

    fn post(sandbox: &'a Sandbox, body: &Value) -> Self {
        Self::new(sandbox, "POST").json(body)
    }

    fn json(self, body: &Value) -> Self {
        let mut sent = self.with("content-type", "application/json");
        sent.body = body.to_string().into();
        sent
    }

    fn text(sandbox: &'a Sandbox, body: &str) -> Self {
        Self { body: body.to_owned().into(), ..Self::post(sandbox, &Value::Null) }
    }

    fn at(mut self, path: &'a str) -> Self {
        self.path = path;
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Sends it on a connection of its own and returns the reply's head with the body still to come.
    async fn open(self) -> Response<Incoming> {
        self.try_open().await.unwrap()
    }

    async fn try_open(self) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(soon(sender.send_request(request.body(Full::new(self.body))?)).await?)
    }

    async fn go(self) -> Got {
        self.try_go().await.unwrap()
    }

    async fn try_go(self) -> Result<Got, Box<dyn std::error::Error>> {
        let (head, body) = self.try_open().await?.into_parts();
        let body = soon(body.collect()).await?.to_bytes();
        let body = String::from_utf8(body.to_vec())?;
        Ok(Got { status: head.status.as_u16(), headers: head.headers, body })
    }
}

#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Reads the events, each with an `event: message` line, an id and one line of data.
    fn events(&self) -> Vec<(String, Value)> {
        assert_eq!(self.header("content-type"), "text/event-stream", "{self:?}");
        let blocks = self.body.strip_suffix("\n\n").unwrap().split("\n\n");
        blocks
            .map(|block| {
                let lines: Vec<_> = block.lines().collect();
                assert_eq!((lines.len(), lines[0]), (3, "event: message"), "{block}");
                let data = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
                (lines[1].strip_prefix("id: ").unwrap().to_owned(), data)
            })
            .collect()
    }

    fn error(&self) -> (u16, i64, Value) {
        let body = self.json();
        assert_eq!(body["jsonrpc"], "2.0", "{body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
        (self.status, body["error"]["code"].as_i64().unwrap(), body["id"].clone())
    }
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

fn tools_call(tool: &str, arguments: Value) -> Value {
    request(1, "tools/call", json!({"name": tool, "arguments": arguments}))
}

/// Calls a tool without a session, and returns the object in its text.
async fn call(sandbox: &Sandbox, tool: &str, arguments: Value) -> Value {
    let got = Sent::post(sandbox, &tools_call(tool, arguments)).go().await;
    let result = got.json()["result"].clone();
    assert_eq!((got.status, &result["isError"]), (200, &json!(false)), "{got:?}");
    assert_eq!(result["content"].as_array().unwrap().len(), 1);
    serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
}

/// Calls a tool that must refuse, and returns its sentence.
async fn refused(sandbox: &Sandbox, tool: &str, arguments: Value) -> String {
    let got = Sent::post(sandbox, &tools_call(tool, arguments)).go().await;
    let result = got.json()["result"].clone();
    assert_eq!((got.status, &result["isError"]), (200, &json!(true)), "{got:?}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

async fn titles(sandbox: &Sandbox, tool: &str, arguments: Value) -> Vec<String> {
    let found = call(sandbox, tool, arguments).await;
    found["tasks"].as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap().into()).collect()
}

/// Opens a session and returns its id and the answer to `initialize`.
async fn session(sandbox: &Sandbox, revision: &str) -> (String, Value) {
    let params =
        json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let got = Sent::post(sandbox, &request(0, "initialize", params)).with(BOTH.0, BOTH.1).go().await;
    assert_eq!(got.status, 200, "{got:?}");
    let id = got.header("mcp-session-id").to_owned();
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let said = Sent::post(sandbox, &ready).with("mcp-session-id", &id).go().await;
    assert_eq!((said.status, said.body.as_str()), (202, ""));
    (id, got.json()["result"].clone())
}
