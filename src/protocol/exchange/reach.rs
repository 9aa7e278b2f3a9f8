//! Exchanges without a reply: how far they got, and the remedy.
//!
//! Refuses to decide whether it is made again: the driver does.

use url::{Host, Url};

use crate::error::{Error, Kind, Remedy};

/// How far a call came that got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No connection was made: nothing was sent.
    NotConnected,
    /// As before, because this machine has no descriptor left for a connection.
    NoDescriptor,
    /// The peer's certificate is not trusted: nothing was sent.
    UntrustedPeer,
    /// The peer shows the certificate of an authority as its own: nothing was sent.
    AuthorityAsPeer,
    /// Perhaps the service.
    Connected,
}

/// Returns the error of a call for which there was no connection.
pub fn unreachable(place: &str, why: &str, reach: Reach, url: &Url) -> Error {
    let remedy = match reach {
        Reach::UntrustedPeer => Remedy::TrustAuthority,
        Reach::AuthorityAsPeer => Remedy::Advice(command_for_a_certificate(url).into()),
        Reach::NoDescriptor => Remedy::advice("ulimit -n allows more open files"),
        Reach::NotConnected | Reach::Connected => {
            Remedy::advice("check the network and the URL, then try again")
        }
    };
    Error::new(Kind::Unreachable, format!("{place} cannot be reached: {why}")).remedy(remedy)
}

/// Returns the command that makes a certificate that a service may show as its own.
fn command_for_a_certificate(url: &Url) -> String {
    let host = url.host_str().unwrap_or("localhost").trim_matches(['[', ']']);
    let kind = if matches!(url.host(), Some(Host::Domain(_))) { "DNS" } else { "IP" };
    format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -keyout key.pem -out cert.pem -subj /CN=service \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName={kind}:{host} makes one without it"
    )
}
