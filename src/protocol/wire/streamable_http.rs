//! Streamable HTTP: `Mcp-Session-Id`, `MCP-Protocol-Version`, the GET stream, DELETE (LEG-1…5, LEG-12).
//!
//! Refuses to carry either header on the opening message (LEG-2).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::protocol::http::{Head, HttpCall, Signing};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The wire of 2025-03-26 and later.
#[derive(Clone, Debug)]
pub struct StreamableHttp {
    url: Arc<Url>,
    /// Shared by all calls of a session.
    post: Arc<HeaderMap>,
}

impl StreamableHttp {
    /// Speaks to this endpoint.
    pub fn new(url: Arc<Url>) -> Self {
        let mut post = HeaderMap::with_capacity(8);
        post.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        post.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Self { url, post: Arc::new(post) }
    }

    pub(super) fn post(&self, body: Bytes) -> HttpCall {
        HttpCall {
            method: http::Method::POST,
            url: self.url.clone(),
            headers: self.post.clone(),
            body,
            signing: Signing::default(),
        }
    }

    pub(super) fn open(&self, body: Bytes) -> HttpCall {
        let mut call = self.post(body);
        let headers = Arc::make_mut(&mut call.headers);
        headers.remove(SESSION);
        headers.remove(VERSION);
        call
    }

    pub(super) fn listen(&self) -> HttpCall {
        let mut headers = HeaderMap::clone(&self.post);
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        HttpCall {
            method: http::Method::GET,
            url: self.url.clone(),
            headers: headers.into(),
            body: Bytes::new(),
            signing: Signing::default(),
        }
    }

    pub(super) fn farewell(&self) -> Option<HttpCall> {
        self.has_session().then(|| {
            let mut headers = HeaderMap::clone(&self.post);
            headers.remove(CONTENT_TYPE);
            HttpCall {
                method: http::Method::DELETE,
                url: self.url.clone(),
                headers: headers.into(),
                body: Bytes::new(),
                signing: Signing::default(),
            }
        })
    }

    /// Adopts session id and version; returns a warning about an id that cannot be used (LEG-1).
    pub(super) fn opened(&mut self, head: Option<&Head>, version: Option<&str>) -> Option<String> {
        self.forget_session();
        if let Some(version) = version.and_then(|version| HeaderValue::from_str(version).ok()) {
            Arc::make_mut(&mut self.post).insert(VERSION, version);
        }
        let id = head?.headers.get(SESSION)?;
        if id.is_empty() || !id.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte)) {
            return Some(
                "the service sent a session id with characters that are not allowed; ignored".into(),
            );
        }
        let mut id = id.clone();
        id.set_sensitive(true);
        Arc::make_mut(&mut self.post).insert(SESSION, id);
        None
    }

    pub(super) fn forget_session(&mut self) {
        let headers = Arc::make_mut(&mut self.post);
        headers.remove(SESSION);
        headers.remove(VERSION);
    }

    pub(super) fn has_session(&self) -> bool {
        self.post.contains_key(SESSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: &str) -> StreamableHttp {
        let mut wire = StreamableHttp::new(Arc::new(Url::parse("http://h/mcp").unwrap()));
        let mut headers = HeaderMap::new();
        headers.insert(SESSION, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        let warned = wire.opened(Some(&Head { status: 200, headers }), Some("2025-06-18"));
        assert_eq!(warned.is_some(), !wire.has_session());
        wire
    }

    #[test]
    fn the_session_goes_along_with_everything_but_the_opening() {
        let wire = opened("s-1");
        assert_eq!(wire.post(Bytes::new()).headers[SESSION], "s-1");
        assert_eq!(wire.listen().headers[VERSION], "2025-06-18");
        assert_eq!(wire.farewell().unwrap().headers[SESSION], "s-1");
        let opening = wire.open(Bytes::new()).headers;
        assert!(!opening.contains_key(SESSION) && !opening.contains_key(VERSION));
    }

    #[test]
    fn a_session_id_outside_visible_ascii_is_ignored() {
        assert!(opened("a b").farewell().is_none());
        assert!(opened("é").farewell().is_none());
    }
}
