//! The way that a credential takes: to the endpoint, perhaps through a proxy.
//!
//! Refuses plain `http` beyond this machine, unless that is allowed.

use url::{Host, Url};

use crate::error::{Error, Kind, Remedy, Result};
use crate::protocol::http::origin_and_path;

/// Where a credential is sent.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The endpoint.
    pub endpoint: &'a Url,
    /// The proxy in between.
    pub proxy: Option<&'a Url>,
    /// Whether plain `http` is allowed beyond this machine.
    pub allow_http: bool,
}

impl Way<'_> {
    /// Checks that nobody beyond this machine can read along.
    ///
    /// # Errors
    /// [`Kind::Config`] with the option that allows it.
    pub(super) fn check(&self) -> Result<()> {
        check_cleartext(self.endpoint, self.allow_http)?;
        self.proxy.map_or(Ok(()), |proxy| check_proxy(self.endpoint, proxy, self.allow_http))
    }
}

#[cfg(test)]
impl<'a> Way<'a> {
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
    let why = format!("a key would travel in the clear to {shown}");
    Err(Error::new(Kind::Config, why).remedy(Remedy::AllowHttp))
}

/// A proxy beyond this machine reads what is plain `http`, even on its way to this machine.
fn check_proxy(endpoint: &Url, proxy: &Url, allow_http: bool) -> Result<()> {
    if endpoint.scheme() != "http" || allow_http || is_loopback(proxy) {
        return Ok(());
    }
    let why = format!("a key would travel in the clear by way of {}", proxy.host_str().unwrap_or_default());
    Err(Error::new(Kind::Config, why).remedy(Remedy::AllowHttp))
}

/// Says whether a URL stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            // The address of a socks proxy is read as a name.
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
