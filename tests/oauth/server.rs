//! A service that wants a login, its authorization server, and the browser of a person who logs in.
//!
//! Strict: a code, a refresh token and a redirect URI are good once, or exactly; what is wrong is answered with an error.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::proofs::Ledger;
use crate::support::DEADLINE;
use crate::support::service::{Gate, Received, Reply, Service};

/// A mark in every secret that the server makes.
pub const MARK: &str = "marked-secret";

/// What the authorization server knows, and how it behaves.
pub struct Server {
    pub clients: HashMap<String, String>,
    codes: HashMap<String, Code>,
    pub access: HashMap<String, String>,
    pub refresh: HashMap<String, String>,
    used: HashSet<String>,
    count: usize,
    /// Seconds that an access token lives.
    pub lifetime: Option<u64>,
    /// The token endpoint fails with this status, this many times.
    pub fails: (u16, u32),
    /// The endpoint refuses every token.
    pub refuses_all: bool,
    /// The scope that the tool `write` needs.
    pub scope_of_write: &'static str,
    /// Scopes that are never granted.
    pub withheld: Vec<&'static str>,
    /// The issuer that comes with the response to a login.
    pub iss: Option<String>,
    /// The name of the authorization server: its path.
    pub name: &'static str,
    /// Whether its metadata offers PKCE.
    pub pkce: bool,
    /// Whether the service names its authorization server.
    pub names_server: bool,
    /// A change of the list is told on the standalone stream when this opens.
    pub pushes: Option<Gate>,
    /// A mark in every secret.
    pub mark: &'static str,
    /// Whether refresh tokens are issued.
    pub refreshes: bool,
    /// The path of metadata that the server answers with 500.
    pub broken: &'static str,
    /// How often a device must ask; none where there is no device grant.
    pub device: Option<usize>,
    /// The public key by which the client `robot` proves itself; none where it has a secret.
    pub robot: Option<Vec<u8>>,
    /// Identity tokens that are taken, and what they were exchanged for.
    pub identities: HashSet<String>,
    /// The nonces that the authorization server and the service want; none where tokens are bound to no key.
    pub nonces: Option<[&'static str; 2]>,
    pub ledger: Ledger,
    /// The schemes of challenges, and whether the metadata of the service demands bound tokens.
    pub schemes: &'static [&'static str],
    pub demands_bound: bool,
    /// The type of a token that was exchanged.
    pub exchanged_type: Option<&'static str>,
    /// The key of the token request that is answered.
    key: Option<String>,
}

struct Code {
    client: String,
    redirect_uri: String,
    challenge: String,
    key: Option<String>,
    scope: String,
    resource: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            clients: HashMap::new(),
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            used: HashSet::new(),
            count: 0,
            lifetime: Some(3600),
            fails: (0, 0),
            refuses_all: false,
            scope_of_write: "",
            withheld: Vec::new(),
            iss: None,
            name: "auth",
            pkce: true,
            names_server: true,
            pushes: None,
            mark: MARK,
            refreshes: true,
            broken: "",
            device: None,
            robot: None,
            identities: HashSet::new(),
            nonces: None,
            ledger: Ledger::default(),
            schemes: &[],
            demands_bound: false,
            exchanged_type: None,
            key: None,
        }
    }
}

/// Both, on one port.
pub struct Login {
    pub service: Service,
    server: Arc<Mutex<Server>>,
}

impl Login {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(set: impl FnOnce(&mut Server)) -> Self {
        let mut server = Server::default();
        set(&mut server);
        let server = Arc::new(Mutex::new(server));
        let shared = server.clone();
        Self { service: Service::start(move |received| shared.lock().unwrap().answer(received)), server }
    }

    pub fn set<T>(&self, set: impl FnOnce(&mut Server) -> T) -> T {
        set(&mut self.server.lock().unwrap())
    }

    pub fn url(&self) -> String {
        self.service.url()
    }

    /// How many requests came with this path's end.
    pub fn count(&self, end: &str) -> usize {
        self.service.received().iter().filter(|received| received.path.ends_with(end)).count()
    }

    /// The grant types that the token endpoint was asked for.
    pub fn grants(&self) -> Vec<String> {
        let all = self.service.received();
        let tokens = all.iter().filter(|received| received.path.ends_with("/token"));
        tokens.filter_map(|received| received.field("grant_type")).collect()
    }
}

impl Server {
    fn answer(&mut self, received: &Received) -> Option<Reply> {
        let base = format!("http://{}", received.header("host").unwrap_or_default());
        let issuer = format!("{base}/{}", self.name);
        let path = received.path.as_str();
        if path == "/mcp" {
            return self.guarded(received, &base);
        }
        if !self.broken.is_empty() && path.starts_with(self.broken) {
            return Some(Reply::empty(500));
        }
        let of_server = path.strip_prefix(&format!("/{}", self.name));
        Some(match (path, of_server) {
            ("/.well-known/oauth-protected-resource/mcp", _) if self.names_server => Reply::json(json!({
                "resource": format!("{base}/mcp"),
                "authorization_servers": [issuer],
                "scopes_supported": ["read"],
                "dpop_bound_access_tokens_required": if self.demands_bound { json!(true) } else { json!(null) },
            })),
            _ if path == format!("/.well-known/oauth-authorization-server/{}", self.name)
                || path == format!("/{}/.well-known/openid-configuration", self.name) =>
            {
                let mut metadata = json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "registration_endpoint": format!("{issuer}/register"),
                    "revocation_endpoint": format!("{issuer}/revoke"),
                    "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
                    "scopes_supported": ["read", "write", "offline_access"],
                    "authorization_response_iss_parameter_supported": true,
                });
                if self.nonces.is_some() {
                    metadata["dpop_signing_alg_values_supported"] = json!(["ES256"]);
                }
                if self.device.is_some() {
                    metadata["device_authorization_endpoint"] = format!("{issuer}/device").into();
                }
                if self.pkce {
                    metadata["code_challenge_methods_supported"] = json!(["S256"]);
                }
                Reply::json(metadata)
            }
            (_, Some("/register")) => self.register(&received.message()),
            (_, Some("/authorize")) => self.authorize(received, &issuer),
            (_, Some("/token")) => self.token(received, &issuer),
            (_, Some("/device")) => Reply::json(json!({
                "device_code": MARK, "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 60,
                "verification_uri": format!("{issuer}/enter"),
            })),
            (_, Some("/revoke")) => {
                let token = received.field("token").unwrap_or_default();
                self.refresh.remove(&token);
                self.access.remove(&token);
                Reply::empty(200)
            }
            _ => Reply::empty(404),
        })
    }

    /// The MCP endpoint.
    fn guarded(&mut self, received: &Received, base: &str) -> Option<Reply> {
        let place = match self.names_server {
            true => format!(r#"resource_metadata="{base}/.well-known/oauth-protected-resource/mcp""#),
            false => "realm=\"keys\"".to_owned(),
        };
        let scheme = if self.nonces.is_some() { "DPoP" } else { "Bearer" };
        let schemes = if self.schemes.is_empty() { &[scheme][..] } else { self.schemes };
        let challenge = |status, rest: &str| {
            let reply = Reply::status(status, "application/json", r#"{"error":"no"}"#);
            Some(schemes.iter().fold(reply, |reply, scheme| {
                reply.header("www-authenticate", &format!("{scheme} {place}{rest}"))
            }))
        };
        // T-33: some servers look at this first.
        let accept = received.header("accept").unwrap_or_default();
        if received.verb == "POST" && !accept.contains("text/event-stream") {
            return Some(Reply::empty(406));
        }
        let sent = received.header("authorization").and_then(|value| value.split_once(' '));
        let bearer = sent.filter(|(used, _)| *used == scheme).map(|(_, token)| token);
        if let (Some([_, nonce]), Some(token)) = (self.nonces, bearer) {
            match self.ledger.proof(received, nonce, Some(token)) {
                Ok(key) if self.ledger.keys.get(token) == Some(&key) => {}
                Ok(_) => {
                    return challenge(401, r#", error="invalid_token", error_description="another key""#);
                }
                Err(_) if self.ledger.is_lacking => {
                    let lacking = Reply::status(401, "application/json", r#"{"error":"no"}"#);
                    let lacking = lacking.header("www-authenticate", r#"DPoP error="use_dpop_nonce""#);
                    return Some(lacking.header("dpop-nonce", nonce));
                }
                Err(_) => return challenge(401, r#", error="invalid_dpop_proof""#),
            }
        }
        let scope = bearer.and_then(|token| self.access.get(token)).filter(|_| !self.refuses_all);
        let Some(scope) = scope else { return challenge(401, r#", error="invalid_token""#) };
        if received.tool() == "write" && !scope.split(' ').any(|known| known == self.scope_of_write) {
            let rest = format!(r#", error="insufficient_scope", scope="{}""#, self.scope_of_write);
            return challenge(403, &rest);
        }
        match received.method.as_str() {
            "" if received.verb == "GET" && self.pushes.is_some() => {
                let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
                let nothing: [&str; 0] = [];
                Some(Reply::events(nothing).then(self.pushes.as_ref()?, changed).stalled())
            }
            "initialize" if self.pushes.is_some() => {
                let version = received.message()["params"]["protocolVersion"].clone();
                let result = json!({"protocolVersion": version, "capabilities": {"tools": {"listChanged": true}}, "serverInfo": {"name": "s", "version": "1"}});
                Some(Reply::result(received, result).header("mcp-session-id", "s"))
            }
            "tools/list" => {
                let tools: Vec<Value> = ["read", "write"]
                    .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}))
                    .into();
                Some(Reply::result(received, json!({ "tools": tools })))
            }
            _ => None,
        }
    }

    fn register(&mut self, document: &Value) -> Reply {
        if document["application_type"] != "native" || document["grant_types"][1] != "refresh_token" {
            return refused("invalid_client_metadata");
        }
        let id = self.fresh("client");
        self.clients.insert(id.clone(), document["redirect_uris"][0].as_str().unwrap_or_default().to_owned());
        let body = json!({"client_id": id, "token_endpoint_auth_method": "none"});
        Reply::status(201, "application/json", body.to_string())
    }

    fn authorize(&mut self, received: &Received, issuer: &str) -> Reply {
        let of = |name: &str| received.field(name).unwrap_or_default();
        let (client, redirect_uri) = (of("client_id"), of("redirect_uri"));
        if self.clients.get(&client) != Some(&redirect_uri) {
            return refused("invalid_client");
        }
        let granted = of("scope");
        let granted: Vec<&str> = granted.split(' ').filter(|scope| !self.withheld.contains(scope)).collect();
        let code = self.fresh("code");
        let granted = Code {
            client,
            redirect_uri: redirect_uri.clone(),
            challenge: of("code_challenge"),
            key: received.field("dpop_jkt"),
            scope: granted.join(" "),
            resource: received.field("resource"),
        };
        self.codes.insert(code.clone(), granted);
        let mut to = Url::parse(&redirect_uri).unwrap();
        let iss = self.iss.clone().unwrap_or(issuer.to_owned());
        to.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &of("state"))
            .append_pair("iss", &iss);
        Reply::empty(302).header("location", to.as_str())
    }

    fn token(&mut self, received: &Received, issuer: &str) -> Reply {
        if self.fails.1 > 0 {
            self.fails.1 -= 1;
            return Reply::empty(self.fails.0).header("retry-after", "0");
        }
        let of = |name: &str| received.field(name).unwrap_or_default();
        let basic = received.header("authorization").is_some_and(|value| value.starts_with("Basic "));
        let is_known = basic || self.clients.contains_key(&of("client_id"));
        let proven = match &self.robot {
            Some(point) => self.ledger.assertion(received, issuer, point),
            None => is_known.then_some(()).ok_or("unknown"),
        };
        if let Err(why) = proven {
            let body = json!({"error": "invalid_client", "error_description": why});
            return Reply::status(401, "application/json", body.to_string());
        }
        self.key = match self.nonces.map(|[own, _]| self.ledger.proof(received, own, None)).transpose() {
            Ok(key) => key,
            Err(refusal) => return refusal,
        };
        let of_identity = |field: &str| self.identities.contains(&of(field));
        match of("grant_type").as_str() {
            "client_credentials" => self.issue("read"),
            "urn:ietf:params:oauth:grant-type:jwt-bearer" if of_identity("assertion") => self.issue("read"),
            "urn:ietf:params:oauth:grant-type:token-exchange" if of_identity("subject_token") => {
                let made = self.fresh("jag");
                self.identities.insert(made.clone());
                let kind = self.exchanged_type.map_or_else(|| of("requested_token_type"), str::to_owned);
                Reply::json(json!({"access_token": made, "issued_token_type": kind, "token_type": "N_A"}))
            }
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => refused("invalid_grant"),
            "urn:ietf:params:oauth:grant-type:device_code" if of("device_code") == MARK => {
                match &mut self.device {
                    Some(0) => self.issue("read"),
                    Some(left) => {
                        *left -= 1;
                        refused("authorization_pending")
                    }
                    None => refused("unsupported_grant_type"),
                }
            }
            "authorization_code" => {
                let Some(code) = self.codes.remove(&of("code")) else { return refused("invalid_grant") };
                let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier")));
                let fits = code.challenge == hash
                    && code.key == self.key
                    && code.client == of("client_id")
                    && code.redirect_uri == of("redirect_uri")
                    && code.resource == received.field("resource");
                if fits { self.issue(&code.scope) } else { refused("invalid_grant") }
            }
            "refresh_token" => {
                let token = of("refresh_token");
                if self.used.contains(&token) {
                    // A replay ends the family.
                    self.refresh.clear();
                    self.access.clear();
                }
                let Some(scope) = self.refresh.remove(&token) else { return refused("invalid_grant") };
                if self.ledger.keys.get(&token) != self.key.as_ref() {
                    return refused("invalid_grant");
                }
                self.used.insert(token);
                self.issue(&scope)
            }
            _ => refused("unsupported_grant_type"),
        }
    }

    fn issue(&mut self, scope: &str) -> Reply {
        let (access, refresh) = (self.fresh("access"), self.fresh("refresh"));
        self.access.insert(access.clone(), scope.to_owned());
        self.refresh.insert(refresh.clone(), scope.to_owned());
        let kind = if self.key.is_some() { "DPoP" } else { "Bearer" };
        let mut body = json!({"access_token": access, "token_type": kind, "scope": scope});
        if let Some(key) = self.key.take() {
            self.ledger.keys.extend([access, refresh.clone()].map(|token| (token, key.clone())));
        }
        if self.refreshes {
            body["refresh_token"] = refresh.into();
        }
        if let Some(lifetime) = self.lifetime {
            body["expires_in"] = lifetime.into();
        }
        Reply::json(body)
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.count += 1;
        let mark = if kind == "access" { self.mark } else { MARK };
        let mark = if kind == "client" { "" } else { mark };
        format!("{kind}-{mark}-{}", self.count)
    }
}

fn refused(code: &str) -> Reply {
    Reply::status(400, "application/json", json!({ "error": code }).to_string())
}

/// A person's browser: `BROWSER` hands each URL to the test.
pub struct Browser {
    pub command: String,
    opened: Receiver<String>,
}

impl Browser {
    /// Puts a command into a directory.
    pub fn in_directory(directory: &Path) -> Self {
        let (pipe, command) = (directory.join("opened"), directory.join("browser"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let script = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" >'{}'\n", pipe.display());
        std::fs::write(&command, script).unwrap();
        std::os::unix::fs::PermissionsExt::set_mode(
            &mut std::fs::metadata(&command).unwrap().permissions(),
            0o755,
        );
        std::fs::set_permissions(&command, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (send, opened) = channel();
        std::thread::spawn(move || {
            // Open for writing, too: it does not end with its first writer.
            let pipe = std::fs::File::options().read(true).write(true).open(pipe).unwrap();
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { command: command.to_str().unwrap().to_owned(), opened }
    }

    /// Waits for a window.
    pub fn opens(&self) -> Url {
        Url::parse(&self.opened.recv_timeout(DEADLINE).expect("a window opens")).unwrap()
    }

    /// Says how many more windows have opened.
    pub fn more(&self) -> usize {
        self.opened.try_iter().count()
    }

    /// Logs in: follows the redirect to the callback; returns the last page.
    pub fn logs_in(&self) -> (u16, String) {
        let callback = follow(&self.opens());
        get(&callback).0
    }
}

/// The redirect of a person who declines.
pub fn denial_of(page: &Url, login: &Login) -> Url {
    let of = |name: &str| page.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
    let mut denied = Url::parse(&of("redirect_uri")).unwrap();
    let iss = login.url().replace("/mcp", "/auth");
    denied
        .query_pairs_mut()
        .append_pair("error", "access_denied")
        .append_pair("state", &of("state"))
        .append_pair("iss", &iss);
    denied
}

/// Asks the authorization server for the redirect.
pub fn follow(url: &Url) -> Url {
    let ((status, page), location) = get(url);
    assert_eq!(status, 302, "{page}");
    Url::parse(&location.unwrap()).unwrap()
}

/// One GET: status, body, and where it redirects to.
pub fn get(url: &Url) -> ((u16, String), Option<String>) {
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    ask("GET", url, &host)
}

/// One request that names this host.
pub fn ask(verb: &str, url: &Url, host: &str) -> ((u16, String), Option<String>) {
    let mut stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    write!(stream, "{verb} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).map(str::to_owned);
    ((status, body.to_owned()), location)
}
