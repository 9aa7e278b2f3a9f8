//! The HTTP client: TLS, proxies, connection pool.
//!
//! Follows no redirects (`protocol/exchange` decides about them), and does not load the system's certificates for a
//! plain `http` endpoint: that takes 3 ms, most of the start-up time.

pub mod descriptors;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;
use tokio::sync::OnceCell;
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::protocol::driver::Reach;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Node closes idle connections after 5 s; a request sent at that moment may or may not have run.
const PLAIN_POOL_IDLE: Duration = Duration::from_secs(4);
/// Load balancers close idle connections after 60 s.
const TLS_POOL_IDLE: Duration = Duration::from_secs(50);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// TLS beyond the system's trust store.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// `--ca-file`: additional root certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// `--client-cert`: certificate and private key in one PEM file.
    pub client_cert: Option<PathBuf>,
    /// `--insecure`: certificates are not verified.
    pub insecure: bool,
}

/// Which proxy to use.
#[derive(Clone)]
pub enum Proxies {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// None; the variables are ignored.
    None,
    /// This one; its URL may contain a password.
    One(Url),
}

impl Proxies {
    fn one(&self) -> Option<&Url> {
        match self {
            Self::One(url) => Some(url),
            Self::Environment | Self::None => None,
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::None => f.write_str("None"),
            Self::One(url) => f.debug_tuple("One").field(&url.host_str()).finish(),
        }
    }
}

/// An HTTP client that is built once, on first use.
#[derive(Clone, Debug)]
pub struct Net {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Url,
    tls: TlsOptions,
    proxies: Proxies,
    client: OnceCell<reqwest::Client>,
}

impl Net {
    /// Configures a client for this endpoint; opens and reads nothing yet.
    pub fn new(endpoint: Url, tls: TlsOptions, proxies: Proxies) -> Self {
        Self { inner: Arc::new(Inner { endpoint, tls, proxies, client: OnceCell::new() }) }
    }

    /// Builds a client only to check the configuration.
    ///
    /// # Errors
    /// [`Kind::Config`] for certificates that cannot be read.
    pub fn check(&self) -> Result<()> {
        build(&self.inner).map(drop)
    }

    /// Returns the client. The first call builds it, on another thread if certificates must be loaded.
    ///
    /// # Errors
    /// [`Kind::Config`] for certificates that cannot be read.
    pub async fn client(&self) -> Result<reqwest::Client> {
        let build = || async {
            if self.inner.endpoint.scheme() == "http" && self.inner.proxies.one().is_none() {
                return build(&self.inner);
            }
            let inner = self.inner.clone();
            tokio::task::spawn_blocking(move || build(&inner)).await.map_err(|e| {
                Error::new(Kind::Bug, format!("the HTTP client was not built: {e}")).caused_by(e)
            })?
        };
        self.inner.client.get_or_try_init(build).await.cloned()
    }
}

fn build(inner: &Inner) -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let over_tls = |url: &Url| url.scheme() == "https";
    let plain = !over_tls(&inner.endpoint) && !inner.proxies.one().is_some_and(over_tls);
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("asistry/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .pool_idle_timeout(if plain { PLAIN_POOL_IDLE } else { TLS_POOL_IDLE });
    // Only `protocol` decides whether a request may be sent again; reqwest would repeat it after GOAWAY.
    builder = builder.retry(reqwest::retry::never().max_retries_per_request(0));
    if plain {
        builder = builder.tls_certs_only(std::iter::empty());
    } else if let Some(path) = &inner.tls.ca_file {
        let pem = read(path, "the CA file")?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| unreadable(path, &cause(&e)))?;
        if roots.is_empty() {
            return Err(unreadable(path, "it contains no certificate"));
        }
        builder = builder.tls_certs_merge(roots);
    }
    if let Some(path) = &inner.tls.client_cert {
        let pem = read(path, "the client certificate")?;
        builder =
            builder.identity(reqwest::Identity::from_pem(&pem).map_err(|e| unreadable(path, &cause(&e)))?);
    }
    if inner.tls.insecure {
        builder = builder.danger_accept_invalid_certs(true);
    }
    builder = match &inner.proxies {
        Proxies::Environment => builder,
        Proxies::None => builder.no_proxy(),
        Proxies::One(url) => {
            let unusable = |e: reqwest::Error| {
                Error::new(Kind::Config, format!("the profile's proxy cannot be used: {}", cause(&e)))
            };
            builder.proxy(reqwest::Proxy::all(url.clone()).map_err(unusable)?)
        }
    };
    builder
        .build()
        .map_err(|e| Error::new(Kind::Config, format!("the HTTP client cannot be set up: {}", cause(&e))))
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::new(Kind::Config, format!("{what} {} cannot be read: {e}", path.display()))
            .caused_by(e)
            .hint("check the path")
    })
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(Kind::Config, format!("{} contains no usable PEM: {why}", path.display()))
        .hint("name a file of PEM text, which begins with -----BEGIN")
}

/// Returns how far a failed request came.
pub fn reach(error: &reqwest::Error) -> Reach {
    match error.is_connect() {
        false => Reach::Connected,
        true if shows_an_authority(error) => Reach::AuthorityAsPeer,
        true if rejected_certificate(error).is_some() => Reach::UntrustedPeer,
        true if find::<io::Error>(error).is_some_and(descriptors::are_used_up) => Reach::NoDescriptor,
        true => Reach::NotConnected,
    }
}

/// Returns why the service's certificate was rejected.
fn rejected_certificate(error: &reqwest::Error) -> Option<&CertificateError> {
    match find(error) {
        Some(rustls::Error::InvalidCertificate(why)) => Some(why),
        _ => None,
    }
}

/// Returns whether the service presents a CA certificate (CA:TRUE) as its own.
fn shows_an_authority(error: &reqwest::Error) -> bool {
    let Some(CertificateError::Other(why)) = rejected_certificate(error) else { return false };
    matches!(why.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Returns the innermost cause, the most specific one; it never contains a URL.
pub fn cause(error: &reqwest::Error) -> String {
    if shows_an_authority(error) {
        return "its certificate is that of an authority (CA:TRUE), which no service may show as its own"
            .into();
    }
    match causes(error).last() {
        Some(last) if !last.is::<reqwest::Error>() => last.to_string(),
        _ if error.is_timeout() => "timed out".into(),
        _ => "the connection failed".into(),
    }
}

/// Returns the outermost cause of type `T`.
fn find<T: StdError + 'static>(error: &reqwest::Error) -> Option<&T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Iterates over an error and its causes, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |error| cause_of(*error))
}

/// Returns the cause of an error, including one wrapped in an IO error.
fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
