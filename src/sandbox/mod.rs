//! The sandbox: a local stand-in for the remote services, on SQLite, behind a loopback HTTP server.
//!
//! For users who want to try asistry without an account; it shares no code with the bridge. From the outside in:
//! `front` (HTTP, Host, Origin, paths), `mcp` (the shared server: key, rate, session, method), `arguments`, a
//! service's tools (`asistry`, `zuko`, `task_tracking`, `bob_studio`; `agentstack`, with a server of its own), `store`
//! (SQLite); `faults` decides what fails on purpose. `board` shows Asistry's tasks in a browser, with what `recent` records;
//! `transfer` exports and imports all data. [`SERVICES`] lists the services as data; a new one is a directory beside
//! `asistry` and a row there.
//!
//! The data directory (0700) contains `sandbox.db` with its two side files, `server.secret` (the key of the hashes of
//! API keys) and a `NAME.embedded.key` for each service, all 0600.

mod agentstack;
mod arguments;
mod asistry;
mod board;
mod bob_studio;
mod connections;
mod date;
mod faults;
mod files;
mod front;
mod keys;
mod mcp;
mod rate;
mod recent;
mod reply;
mod service;
mod shapes;
mod store;
mod task_tracking;
mod text;
mod transfer;
mod zuko;

pub use self::faults::{FAULT_KINDS, FaultKind, Faults};
pub use self::transfer::{Import, export};

use self::board::Board;
use self::faults::{Known, Turns};
use self::front::{Front, Site};
use self::keys::Keys;
use self::service::{Manner, Service};
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

/// The services in listed order.
static SERVICES: &[Service] =
    &[asistry::SERVICE, zuko::SERVICE, task_tracking::SERVICE, bob_studio::SERVICE, agentstack::SERVICE];

/// How long [`Sandbox::stop`] waits for running requests.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Where the sandbox keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A directory, created if missing. Several processes may share it.
    Directory(PathBuf),
    /// Memory only.
    Memory,
}

/// How to start a sandbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to keep the data.
    pub data: Data,
    /// Listening address; port 0 selects a free port.
    pub listen: SocketAddr,
    /// Whether it runs inside the bridge: then it uses one permanent key. Otherwise each start creates a user key and,
    /// if the account has ten active ones, revokes the oldest one created by a start.
    pub embedded: bool,
    /// The faults to inject.
    pub faults: Faults,
}

/// The URL and key of one service.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The service's name, such as `asistry`.
    pub service: &'static str,
    /// Its URL on this machine.
    pub url: String,
    /// The full key. Unless it is the embedded one, it is not stored anywhere. Empty for a service that takes access
    /// tokens: [`Sandbox::credential`].
    pub key: String,
    /// Further keys, which may do other things, by the names of their fields.
    pub more_keys: Vec<(&'static str, String)>,
    /// A tool for a first call: it only reads, and needs no arguments.
    pub first_call: &'static str,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("service", &self.service)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A running sandbox; stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    endpoints: Vec<Endpoint>,
    board: Option<String>,
    is_new: bool,
    quit: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Sandbox {
    /// Opens the data, creates the keys, and returns once it listens; requests are served in tasks.
    ///
    /// # Errors
    /// `Config` if the address is in use or the data directory or database cannot be used.
    pub async fn start(options: Options) -> Result<Sandbox> {
        let Options { data, listen, embedded, faults } = options;
        let listener = TcpListener::bind(listen).await.map_err(|error| not_bound(listen, &error))?;
        let address = listener.local_addr().map_err(|error| not_bound(listen, &error))?;
        let is_new = matches!(&data, Data::Directory(path) if !has_data(path));
        // Another process may hold the database for as long as the busy timeout.
        let opened = tokio::task::spawn_blocking(move || open(&data, embedded)).await;
        let (connection, keys, opened) =
            opened.map_err(|error| Error::new(Kind::Bug, format!("the sandbox did not open: {error}")))??;
        let (quit, quitting) = watch::channel(false);
        let store = Store::new(connection);
        let faults = Arc::new(Turns::new(faults));
        let shared = mcp::Shared { store: store.clone(), keys: keys.clone(), faults, quit: quitting.clone() };
        let site = |service: &'static Service| match service.manner {
            Manner::Rest => Site::AgentStack(agentstack::Server::new(service, shared.clone())),
            _ => Site::Mcp(Arc::new(mcp::Server::new(service, shared.clone()))),
        };
        let mut sites: Vec<Site> = SERVICES.iter().map(site).collect();
        sites.push(Site::Logins(zuko::Logins::new(store.clone(), keys.clone(), embedded)));
        let has_board = !embedded && address.ip().is_loopback();
        if has_board {
            sites.push(Site::Board(Board::new(store.clone(), quitting.clone())));
        }
        let front = Front { address, sites };
        let served = tokio::spawn(front::serve(listener, Arc::new(front), quitting.clone()));
        let reached = reached(address);
        let endpoint = |(service, opened): (&Service, Opened)| Endpoint {
            service: service.name,
            url: format!("http://{reached}{}", opened.path),
            key: opened.key,
            more_keys: opened.more_keys,
            first_call: service.first_call,
        };
        let endpoints = SERVICES.iter().zip(opened).map(endpoint).collect();
        let board = has_board.then(|| format!("http://{reached}{}", board::PATH));
        Ok(Sandbox { address, endpoints, board, is_new, quit, served })
    }

    /// Returns the listening address with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the live board. An embedded sandbox, or one that other machines can reach, has none.
    pub fn board(&self) -> Option<&str> {
        self.board.as_deref()
    }

    /// Says whether its start created the directory's data.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns the URL and key of each service.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Returns the key of an endpoint; where the service takes access tokens, logs in at its own pages and returns one.
    ///
    /// # Errors
    /// `Bug` if the pages do not work.
    pub async fn credential(&self, endpoint: &Endpoint) -> Result<String> {
        match endpoint.key.as_str() {
            "" => zuko::log_in(reached(self.address)).await,
            key => Ok(key.to_owned()),
        }
    }

    /// Stops accepting connections, ends the streams, and waits at most 500 ms for running requests.
    pub async fn stop(mut self) {
        self.quit.send_replace(true);
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.served).await.is_err() {
            self.served.abort();
        }
    }
}

/// Returns the tools of an embedded service without starting a sandbox, for completion.
pub fn embedded_tools(service: &str) -> Vec<serde_json::Value> {
    let service = SERVICES.iter().find(|known| known.name == service);
    if service.is_some_and(|service| service.manner == Manner::Rest) {
        return agentstack::listed();
    }
    let tools = service.map_or(&[] as &[service::Tool], |service| service.tools);
    let listed = |tool: &service::Tool| {
        serde_json::json!({
            "name": tool.name,
            "description": tool.description,
            "inputSchema": arguments::schema(tool.params),
        })
    };
    tools.iter().map(listed).collect()
}

/// Reads the faults of `asistry sandbox --faults SPEC`.
///
/// # Errors
/// `Usage` if SPEC is wrong.
pub fn faults(spec: &str) -> Result<Faults> {
    let known = |service: &Service| {
        let tools = embedded_tools(service.name).into_iter();
        let tools = tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect();
        Known { service: service.name, manner: service.manner, tools }
    };
    Faults::read(spec, &SERVICES.iter().map(known).collect::<Vec<_>>())
}

/// Deletes all data: tasks, boards, keys and secrets.
///
/// All former keys are invalid from then on, even those of a running sandbox. A missing directory is no error; the
/// directory itself and foreign files are kept.
///
/// # Errors
/// `Config` if the files cannot be written.
pub fn reset(data: &Path) -> Result<()> {
    store::reset(data, SERVICES)?;
    files::remove(&secret_path(data))?;
    SERVICES.iter().try_for_each(|service| files::remove(&embedded_path(data, service)))
}

/// Says whether a directory has a sandbox's data.
fn has_data(data: &Path) -> bool {
    store::path(data).exists()
}

fn secret_path(data: &Path) -> PathBuf {
    data.join("server.secret")
}

fn embedded_path(data: &Path, service: &Service) -> PathBuf {
    data.join(format!("{}.embedded.key", service.name))
}

/// The place and the keys of a service that was opened.
struct Opened {
    path: String,
    key: String,
    more_keys: Vec<(&'static str, String)>,
}

/// Opens the database and creates the keys of each service.
fn open(data: &Data, embedded: bool) -> Result<(Connection, Keys, Vec<Opened>)> {
    let (mut connection, secret) = match data {
        Data::Directory(path) => {
            files::make_directory(path)?;
            let secret = files::read_or_make(&secret_path(path), keys::fresh_secret)?;
            (store::open(path, SERVICES)?, secret)
        }
        Data::Memory => (store::open_in_memory(SERVICES)?, keys::fresh_secret()?),
    };
    let keys = Keys::new(&secret)?;
    let opened = SERVICES.iter().map(|service| {
        let mut more_keys = Vec::new();
        let key = match (data, embedded) {
            _ if service.keys.is_empty() => String::new(),
            (_, false) => {
                for kind in service.keys.iter().skip(1) {
                    more_keys.push((kind.field, keys.make(&mut connection, service, kind)?));
                }
                keys.make(&mut connection, service, &service.keys[0])?
            }
            (Data::Memory, true) => {
                embed(&keys, &mut connection, service, keys::fresh_key(service.key_prefix)?)?
            }
            (Data::Directory(path), true) => {
                let fresh = || keys::fresh_key(service.key_prefix);
                let key = files::read_or_make(&embedded_path(path, service), fresh)?;
                embed(&keys, &mut connection, service, key)?
            }
        };
        let path = service.path(&connection).map_err(|error| store::failed(&error))?;
        Ok(Opened { path, key, more_keys })
    });
    let opened = opened.collect::<Result<_>>()?;
    Ok((connection, keys, opened))
}

fn embed(keys: &Keys, connection: &mut Connection, service: &Service, key: String) -> Result<String> {
    keys.keep_embedded(connection, service, &key)?;
    Ok(key)
}

/// Returns an address to connect to from this machine.
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
