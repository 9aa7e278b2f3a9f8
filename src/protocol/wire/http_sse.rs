//! HTTP+SSE of 2024-11-05: one GET stream for all that the service says, POSTs to the endpoint that
//! its first event names (SSE-2…SSE-4).
//!
//! Refuses an endpoint of another origin, which would send the credential there.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::error::{Error, Kind};
use crate::protocol::http::{HttpCall, Signing};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The wire of 2024-11-05.
#[derive(Clone, Debug)]
pub struct HttpSse {
    stream: Arc<Url>,
    endpoint: Option<Arc<Url>>,
    version: Option<HeaderValue>,
}

impl HttpSse {
    /// Opens its stream at this URL.
    pub fn new(stream: Arc<Url>) -> Self {
        Self { stream, endpoint: None, version: None }
    }

    pub(super) fn endpoint(&mut self, text: &str) -> Result<(), Error> {
        let refuse = |why: String| {
            Error::new(Kind::ProtocolViolation, why).hint("ask the operator of the service for the URL")
        };
        let url = self
            .stream
            .join(text.trim())
            .map_err(|e| refuse(format!("the service names no endpoint: {e}")))?;
        if url.origin() != self.stream.origin() {
            // The other origin is not shown: a service could repeat the key in it.
            return Err(refuse("the service names an endpoint of another origin; refused".into()));
        }
        self.endpoint = Some(Arc::new(url));
        Ok(())
    }

    pub(super) fn awaits_endpoint(&self) -> bool {
        self.endpoint.is_none()
    }

    pub(super) fn post(&self, body: Bytes) -> HttpCall {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(version) = &self.version {
            headers.insert(VERSION, version.clone());
        }
        let url = self.endpoint.clone().unwrap_or_else(|| self.stream.clone());
        HttpCall {
            method: http::Method::POST,
            url,
            headers: headers.into(),
            body,
            signing: Signing::default(),
        }
    }

    pub(super) fn stream(&self) -> HttpCall {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        HttpCall {
            method: http::Method::GET,
            url: self.stream.clone(),
            headers: headers.into(),
            body: Bytes::new(),
            signing: Signing::default(),
        }
    }

    pub(super) fn opened(&mut self, version: Option<&str>) {
        self.version = version.and_then(|version| HeaderValue::from_str(version).ok());
    }

    pub(super) fn forget_session(&mut self) {
        self.endpoint = None;
        self.version = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_resolved_and_stays_on_its_origin() {
        let mut wire = HttpSse::new(Arc::new(Url::parse("https://h.example/a/sse").unwrap()));
        wire.endpoint("messages?id=1").unwrap();
        assert_eq!(wire.post(Bytes::new()).url.as_str(), "https://h.example/a/messages?id=1");
        assert!(wire.endpoint("https://evil.example/messages").is_err());
        assert!(wire.endpoint("//evil.example/messages").is_err());
    }
}
