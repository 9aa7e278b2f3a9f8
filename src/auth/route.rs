//! Checks the route of a credential: the endpoint and an optional proxy.
//!
//! Refuses plain `http` beyond this machine unless it is allowed.

use url::{Host, Url};

use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::http::origin_and_path;

/// Where a credential is sent.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The endpoint.
    pub endpoint: &'a Url,
    /// The proxy, if any.
    pub proxy: Option<&'a Url>,
    /// Whether plain `http` is allowed beyond this machine.
    pub allow_http: bool,
}

impl Route<'_> {
    /// Checks that the credential is encrypted on every hop beyond this machine.
    ///
    /// # Errors
    /// [`Kind::Config`] with the option that allows plain `http`.
    pub(super) fn check(&self) -> Result<()> {
        check_cleartext(self.endpoint, self.allow_http)?;
        self.proxy.map_or(Ok(()), |proxy| check_proxy(self.endpoint, proxy, self.allow_http))
    }
}

#[cfg(test)]
impl<'a> Route<'a> {
    pub(super) fn straight(endpoint: &'a Url) -> Self {
        Self { endpoint, proxy: None, allow_http: false }
    }
}

/// Refuses a credential over plain `http` beyond this machine.
fn check_cleartext(endpoint: &Url, allow_http: bool) -> Result<()> {
    if endpoint.scheme() != "http" || allow_http || is_loopback(endpoint) {
        return Ok(());
    }
    let shown = origin_and_path(endpoint);
    let why = format!("refusing to send a key over plain http to {shown}");
    Err(Error::new(Kind::Config, why).remedy(Remedy::AllowHttp))
}

/// Refuses a remote proxy for plain `http`: it reads the key even if the endpoint is on this machine.
fn check_proxy(endpoint: &Url, proxy: &Url, allow_http: bool) -> Result<()> {
    if endpoint.scheme() != "http" || allow_http || is_loopback(proxy) {
        return Ok(());
    }
    let why = format!(
        "refusing to send a key over plain http through the proxy {}",
        proxy.host_str().unwrap_or_default()
    );
    Err(Error::new(Kind::Config, why).remedy(Remedy::AllowHttp))
}

/// Returns whether a URL's host is a loopback address or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            // url parses the address of a socks proxy as a domain.
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|a| a.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_travel_in_the_clear() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(check_cleartext(&url("http://h.example/mcp"), false).is_err());
        assert!(check_cleartext(&url("http://h.example/mcp"), true).is_ok());
        for near in ["http://127.0.0.2/", "http://[::1]:9/", "http://localhost/", "https://h.example/"] {
            assert!(check_cleartext(&url(near), false).is_ok(), "{near}");
        }
        // Other names below localhost may be looked up in DNS.
        for far in ["http://localhost.example/", "http://a.localhost/", "http://[::ffff:127.0.0.1]/"] {
            assert!(check_cleartext(&url(far), false).is_err(), "{far}");
        }
    }
}
