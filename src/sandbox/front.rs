//! The HTTP listener: accepts connections, checks `Host` and `Origin`, and routes requests to sites by path.
//!
//! Refuses requests of web pages before reading the body, since any page can reach loopback ports and DNS rebinding
//! makes it same-origin: a foreign, `null` or unreadable `Origin` gets 403, a foreign `Host` 421.

use super::board::Board;
use super::connections::{Admitted, Connections};
use super::reply::{self, Reply};
use super::service::Arrival;
use super::zuko::Logins;
use super::{agentstack, mcp};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 512;
const HEADER_BYTES: usize = 64 << 10;
/// Time limit for the next request's head. hyper counts idle time too, so this exceeds the idle time of clients
/// (reqwest: 90 s), which should be the ones to close.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit for a connection's first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the system has no free file descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The sites and the address they are served on.
pub(super) struct Front {
    /// The listening address.
    pub address: SocketAddr,
    /// The sites.
    pub sites: Vec<Site>,
}

/// What is served at a path.
pub(super) enum Site {
    /// A service's MCP endpoint.
    Mcp(Arc<mcp::Server>),
    /// AgentStack's REST calls.
    AgentStack(agentstack::Server),
    /// Zuko's authorization server.
    Logins(Logins),
    /// The live board.
    Board(Board),
}

impl Site {
    /// Returns the part of a path below the site's place; `None` for another site's path.
    fn place_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self {
            Self::Mcp(server) => server.service().place_in(path),
            Self::AgentStack(server) => server.service().place_in(path),
            Self::Logins(logins) => logins.is_at(path).then_some(""),
            Self::Board(_) => Board::is_at(path).then_some(""),
        }
    }

    /// Says whether it has everything below a path.
    fn has_subtree(&self) -> bool {
        matches!(self, Self::AgentStack(_))
    }

    async fn answer(&self, request: Request<Incoming>, arrival: Arrival) -> Reply {
        match self {
            Self::Mcp(server) => server.answer(request, arrival).await,
            Self::AgentStack(server) => server.answer(request, &arrival.place).await,
            Self::Logins(logins) => logins.answer(request, arrival).await,
            Self::Board(board) => board.answer(&request),
        }
    }
}

/// Serves until `quit` is set or its sender is dropped; then closes the open connections and returns.
pub(super) async fn serve(listener: TcpListener, front: Arc<Front>, mut quit: watch::Receiver<bool>) {
    let places = Arc::new(Connections::new(CONNECTIONS, FIRST_REQUEST_TIMEOUT));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = quit.wait_for(|quit| *quit) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        let Some(stream) = accepted else { continue };
        // Outside the select above, which could drop an accepted connection.
        let admitted = tokio::select! {
            _ = quit.wait_for(|quit| *quit) => break,
            admitted = places.admit() => admitted,
        };
        let Some(admitted) = admitted else { break };
        connections.spawn(converse(stream, front.clone(), admitted, quit.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(_) => {
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

async fn converse(stream: TcpStream, front: Arc<Front>, admitted: Admitted, mut quit: watch::Receiver<bool>) {
    // Small responses would wait for an acknowledgement; an error here does no harm.
    let _ = stream.set_nodelay(true);
    let admitted = &admitted;
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move {
            let _asking = admitted.asks();
            reply::unless_cut(front.answer(request).await)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut ended = tokio::select! {
        ended = Pin::new(&mut connection) => Some(ended),
        () = admitted.must_leave() => return,
        _ = quit.wait_for(|quit| *quit) => None,
    };
    if ended.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        ended = Some(Pin::new(&mut connection).await);
    }
    if let Some(Err(error)) = ended
        && error.is_user()
    {
        // The reply is cut: the client sees a reset.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

impl Front {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        if let Err(status) = self.let_in(request.uri(), request.headers()) {
            return reply::outside(status, "this sandbox answers programs on its own machine only");
        }
        let path = request.uri().path();
        let found = self.sites.iter().filter_map(|site| Some((site, site.place_in(path)?.to_owned())));
        // A site at this very path goes before one that has everything below another.
        match found.min_by_key(|(site, _)| site.has_subtree()) {
            Some((site, place)) => {
                let arrival = Arrival { base: self.base(request.headers()), place };
                site.answer(request, arrival).await
            }
            None => reply::outside(StatusCode::NOT_FOUND, "there is nothing at this path"),
        }
    }

    fn let_in(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), StatusCode> {
        if let Some(origin) = single(headers, header::ORIGIN, StatusCode::FORBIDDEN)?
            && !self.is_our_origin(origin)
        {
            return Err(StatusCode::FORBIDDEN);
        }
        let named = single(headers, header::HOST, StatusCode::BAD_REQUEST)?;
        let named = named.ok_or(StatusCode::BAD_REQUEST)?;
        let ours = |authority: &Authority| self.is_our_host(authority.host());
        let host_is_ours = named.parse().is_ok_and(|authority| !named.contains('@') && ours(&authority));
        if host_is_ours && uri.authority().is_none_or(ours) {
            Ok(())
        } else {
            Err(StatusCode::MISDIRECTED_REQUEST)
        }
    }

    /// Returns the base URL that the client used: that of its `Host` if this has the listening port.
    fn base(&self, headers: &HeaderMap) -> String {
        let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_exact = |host: &&str| {
            host.parse::<Authority>().is_ok_and(|host| host.port_u16().unwrap_or(80) == self.address.port())
        };
        match named.filter(is_exact) {
            Some(host) => format!("http://{}", host.to_ascii_lowercase()),
            None => format!("http://{}", super::reached(self.address)),
        }
    }

    fn is_our_origin(&self, origin: &str) -> bool {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let authority =
            rest.filter(|rest| !rest.contains('@')).and_then(|rest| rest.parse::<Authority>().ok());
        authority.is_some_and(|authority| self.is_our_host(authority.host()))
    }

    /// Accepts loopback names and the listening address; if that is the wildcard address, any IP address: DNS
    /// rebinding needs a name.
    fn is_our_host(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
            return false;
        };
        address == Ipv4Addr::LOCALHOST
            || address == Ipv6Addr::LOCALHOST
            || address == self.address.ip()
            || self.address.ip().is_unspecified()
    }
}

/// Returns the value of a header; refuses two values, or one that is not text.
fn single(headers: &HeaderMap, name: HeaderName, status: StatusCode) -> Result<Option<&str>, StatusCode> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| status),
        _ => Err(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Front {
        Front { address: SocketAddr::new(address.parse().unwrap(), 7700), sites: Vec::new() }
    }

    #[test]
    fn loopback_is_ours_under_each_of_its_names_and_nothing_else_is() {
        let front = at("127.0.0.1");
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
            assert!(front.is_our_host(host), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]"]
        {
            assert!(!front.is_our_host(host), "{host}");
        }
    }

    #[test]
    fn the_base_url_is_the_one_that_the_client_used_at_this_port() {
        let base = |address: &str, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            at(address).base(&headers)
        };
        assert_eq!(base("127.0.0.1", "LOCALHOST:7700"), "http://localhost:7700");
        assert_eq!(base("127.0.0.1", "[::1]:7700"), "http://[::1]:7700");
        assert_eq!(base("127.0.0.1", "localhost:7701"), "http://127.0.0.1:7700");
        assert_eq!(base("0.0.0.0", "localhost"), "http://127.0.0.1:7700");
    }

    #[test]
    fn another_address_is_ours_only_where_it_is_listened_on() {
        assert!(at("192.168.1.5").is_our_host("192.168.1.5"));
        assert!(!at("192.168.1.5").is_our_host("192.168.1.6"));
        assert!(at("0.0.0.0").is_our_host("192.168.1.6"));
        assert!(!at("0.0.0.0").is_our_host("evil.example"));
    }

    #[test]
    fn an_origin_is_read_whole() {
        let front = at("127.0.0.1");
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:80"] {
            assert!(front.is_our_origin(origin), "{origin}");
        }
        for origin in
            ["null", "", "localhost", "http://", "http://evil.example", "http://localhost@evil.example"]
        {
            assert!(!front.is_our_origin(origin), "{origin}");
        }
        for origin in
            ["http://localhost/", "http://localhost.evil.example", "file://localhost", "http://x@localhost"]
        {
            assert!(!front.is_our_origin(origin), "{origin}");
        }
    }
}
