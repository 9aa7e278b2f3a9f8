//! Where a redirect may lead: the same origin, with method and body kept (307, 308; HTTP-8).
//!
//! Refuses everything else: the message would be lost, or the credential would travel to another origin.

use url::Url;

use crate::error::{Error, Kind, Remedy};
use crate::protocol::http::{Head, origin_and_path};

/// Returns where a reply redirects to, `None` where it is no redirect.
///
/// # Errors
/// A redirect that would change the method, leave the origin, or go nowhere.
pub fn redirect(head: &Head, from: &Url) -> Option<Result<Url, Error>> {
    if !matches!(head.status, 301..=303 | 307 | 308) {
        return None;
    }
    let refuse_as = |kind: Kind, why: String, remedy: Remedy| {
        Some(Err(Error::new(kind, why).remedy(remedy).http_status(head.status)))
    };
    let refuse = |why: String, remedy: Remedy| refuse_as(Kind::UpstreamHttp, why, remedy);
    let Some(target) = head.header("location").and_then(|to| from.join(to).ok()) else {
        return refuse(
            format!("the service redirects (HTTP {}) without saying where", head.status),
            Remedy::CheckUrl,
        );
    };
    let shown = origin_and_path(&target);
    if target.origin() != from.origin() {
        let (own, other) = (from.origin().ascii_serialization(), target.origin().ascii_serialization());
        return refuse_as(
            Kind::OriginMismatch,
            format!("the service redirects from {own} to {other}, where the credential may not go"),
            Remedy::Moved { url: shown, origin: other },
        );
    }
    if head.status != 307 && head.status != 308 {
        return refuse(
            format!("the service redirects with HTTP {}, which would lose the message", head.status),
            Remedy::UseUrl(shown),
        );
    }
    Some(Ok(target))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderMap;

    use super::*;

    fn head(status: u16, location: &str) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert("location", location.parse().unwrap());
        Head { status, headers }
    }

    #[test]
    fn a_redirect_stays_on_its_origin_and_keeps_the_method() {
        let from = Url::parse("https://a.example/mcp").unwrap();
        let to = |status, location| redirect(&head(status, location), &from).unwrap();
        assert_eq!(to(308, "/mcp/").unwrap().as_str(), "https://a.example/mcp/");
        assert!(to(307, "https://b.example/mcp").is_err());
        assert!(to(307, "http://a.example/mcp").is_err());
        assert!(to(302, "/mcp/").is_err());
        assert!(redirect(&head(304, "/"), &from).is_none());
    }
}
