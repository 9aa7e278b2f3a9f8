//! The sandbox: a local stand-in of the remote services, on SQLite, behind a loopback HTTP server.
//!
//! Refuses to share code with the bridge, and to be a judge of it: it is for people who want to try the tool
//! without an account. Its map, from the outside in: `front` (HTTP, Host, Origin, paths) → `mcp` (the server
//! that services share: key, rate, session, method) → `arguments` → a service's own tools (`asistry`) →
//! `store` (SQLite). `service` says what a service is, as data; [`SERVICES`] lists them; `keys`, `rate` and
//! `files` are what their names say. A further service is a directory beside `asistry` and a row here.
//!
//! In the data directory (0700) lie `sandbox.db` with its two side files, `server.secret` (what keys are
//! hashed under) and `asistry.embedded.key`, all 0600.

mod arguments;
mod asistry;
mod date;
mod files;
mod front;
mod guests;
mod keys;
mod mcp;
mod rate;
mod reply;
mod service;
mod store;

use self::front::Front;
use self::keys::Keys;
use self::mcp::Server;
use self::service::Service;
use self::store::Store;
use crate::error::{Error, Kind, Result};
use rusqlite::Connection;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The services, in the order they are listed.
static SERVICES: &[Service] = &[asistry::SERVICE];

/// How long [`Sandbox::stop`] waits for requests that are under way.
const FAREWELL: Duration = Duration::from_millis(500);

/// Says where the sandbox keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// In a directory, which is made where there is none. Several processes may share it.
    Directory(PathBuf),
    /// Nowhere: it ends with the sandbox.
    Memory,
}

/// Says how a sandbox is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the data is.
    pub data: Data,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether it runs inside the bridge. Then it uses one lasting key of its own; otherwise each start makes
    /// a fresh user key, and where that would be the eleventh active one of the account, revokes the oldest
    /// that a start has made.
    pub embedded: bool,
}

/// Names where one service answers, and the key that it takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The service's word, `asistry`.
    pub service: &'static str,
    /// Its URL on this machine.
    pub url: String,
    /// The key, in full. It is shown this once and kept nowhere, unless it is the embedded one.
    pub key: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("service", &self.service)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    endpoints: Vec<Endpoint>,
    quit: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Sandbox {
    /// Opens the data, makes the keys, and returns as soon as it listens; requests are served on tasks.
    ///
    /// # Errors
    /// `Config` where the address is taken or the data directory or database cannot be used.
    pub async fn start(options: Options) -> Result<Sandbox> {
        let Options { data, listen, embedded } = options;
        let listener = TcpListener::bind(listen).await.map_err(|error| not_bound(listen, &error))?;
        let address = listener.local_addr().map_err(|error| not_bound(listen, &error))?;
        // Another process may hold the database for as long as the busy timeout.
        let opened = tokio::task::spawn_blocking(move || open(&data, embedded)).await;
        let (connection, keys, texts) =
            opened.map_err(|error| Error::new(Kind::Bug, format!("the sandbox did not open: {error}")))??;
        let (quit, quitting) = watch::channel(false);
        let store = Store::new(connection);
        let server = |service| Arc::new(Server::new(service, store.clone(), keys.clone(), quitting.clone()));
        let front = Front { address: address.ip(), servers: SERVICES.iter().map(server).collect() };
        let served = tokio::spawn(front::serve(listener, Arc::new(front), quitting.clone()));
        let reached = reached(address);
        let endpoint = |(service, key): (&Service, String)| Endpoint {
            service: service.name,
            url: format!("http://{reached}{}", service.paths[0]),
            key,
        };
        let endpoints = SERVICES.iter().zip(texts).map(endpoint).collect();
        Ok(Sandbox { address, endpoints, quit, served })
    }

    /// Returns where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where each service answers, and with which key.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Takes no further connections, ends the streams, and waits at most 500 ms for the requests under way.
    pub async fn stop(mut self) {
        self.quit.send_replace(true);
        if tokio::time::timeout(FAREWELL, &mut self.served).await.is_err() {
            self.served.abort();
        }
    }
}

/// Returns the tools of the embedded service, as it lists them: a shell that completes starts no sandbox.
pub fn embedded_tools() -> Vec<serde_json::Value> {
    let tools = SERVICES.first().map_or(&[] as &[service::Tool], |service| service.tools);
    let listed = |tool: &service::Tool| {
        serde_json::json!({
            "name": tool.name,
            "description": tool.description,
            "inputSchema": arguments::schema(tool.params),
        })
    };
    tools.iter().map(listed).collect()
}

/// Forgets everything in the data directory: tasks, boards and keys begin anew, the secrets are removed.
///
/// Keys that were made before, also the one of a sandbox that is running, are invalid from then on. A
/// directory that is not there is as good as an empty one; the directory itself and foreign files stay.
///
/// # Errors
/// `Config` where the files cannot be written.
pub fn reset(data: &Path) -> Result<()> {
    store::reset(data, SERVICES)?;
    files::remove(&secret_path(data))?;
    SERVICES.iter().try_for_each(|service| files::remove(&embedded_path(data, service)))
}

fn secret_path(data: &Path) -> PathBuf {
    data.join("server.secret")
}

fn embedded_path(data: &Path, service: &Service) -> PathBuf {
    data.join(format!("{}.embedded.key", service.name))
}

/// Opens the database and makes a key for each service.
fn open(data: &Data, embedded: bool) -> Result<(Connection, Keys, Vec<String>)> {
    let (mut connection, secret) = match data {
        Data::Directory(path) => {
            files::make_directory(path)?;
            let secret = files::read_or_make(&secret_path(path), keys::fresh_secret)?;
            (store::open(path, SERVICES)?, secret)
        }
        Data::Memory => (store::open_in_memory(SERVICES)?, keys::fresh_secret()?),
    };
    let keys = Keys::new(&secret)?;
    let texts = SERVICES.iter().map(|service| match (data, embedded) {
        (_, false) => keys.make(&mut connection, service.name),
        (Data::Memory, true) => embed(&keys, &mut connection, service, keys::fresh_key()?),
        (Data::Directory(path), true) => {
            let key = files::read_or_make(&embedded_path(path, service), keys::fresh_key)?;
            embed(&keys, &mut connection, service, key)
        }
    });
    let texts = texts.collect::<Result<_>>()?;
    Ok((connection, keys, texts))
}

fn embed(keys: &Keys, connection: &mut Connection, service: &Service, key: String) -> Result<String> {
    keys.keep_embedded(connection, service.name, &key)?;
    Ok(key)
}

/// Returns an address that a program on this machine can connect to.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn not_bound(address: SocketAddr, error: &std::io::Error) -> Error {
    Error::new(Kind::Config, format!("the sandbox cannot listen on {address}: {error}"))
        .hint("asistry sandbox --listen 127.0.0.1:0")
}
