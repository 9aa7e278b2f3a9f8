//! The live board: one page that shows Asistry's tasks by column, and the recent calls that changed them.
//!
//! `view` reads a snapshot, `live` sends it to the open pages when it changes; the page is plain HTML, CSS and
//! JavaScript beside this file. It only reads and takes no key, so `asistry sandbox` serves it, on loopback addresses
//! only, and the embedded sandbox doesn't; the front checks `Host` and `Origin`. Decisions where nothing is documented:
//! - It is at `/`. It shows one board at a time, since Asistry's calls put every new task on the first one.
//! - An event is a whole snapshot, at most four in a second. A page needs no history, and cannot miss a change.
//! - A column shows its newest 100 tasks and counts the others; long texts are cut.
//! - Calls are named by tool, key name, time and task. A call that changes nothing is not among them.

mod live;
mod view;

use self::live::Live;
use super::reply::{self, Reply};
use super::store::Store;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Where the page is.
pub(super) const PATH: &str = "/";
const EVENTS: &str = "/board/events";

/// The files, as path, type and content.
const FILES: &[(&str, &str, &str)] = &[
    (PATH, "text/html; charset=utf-8", include_str!("board.html")),
    ("/board.css", "text/css; charset=utf-8", include_str!("board.css")),
    ("/board.js", "text/javascript; charset=utf-8", include_str!("board.js")),
    ("/board.svg", "image/svg+xml", include_str!("board.svg")),
];

/// What every reply says: nothing from elsewhere, nothing inline, in no frame, kept in no cache.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// The board's site.
pub(super) struct Board {
    live: Arc<Live>,
}

impl Board {
    /// Creates the site; `quit` ends its open streams.
    pub fn new(store: Store, quit: watch::Receiver<bool>) -> Self {
        Self { live: Arc::new(Live::new(store, quit)) }
    }

    /// Says whether a path is the board's.
    pub fn is_at(path: &str) -> bool {
        path == EVENTS || FILES.iter().any(|(known, ..)| *known == path)
    }

    /// Answers one request at one of the paths.
    pub fn answer(&self, request: &Request<Incoming>) -> Reply {
        let found = FILES.iter().find(|(path, ..)| *path == request.uri().path());
        let reply = match (request.method(), found) {
            (&Method::GET | &Method::HEAD, Some((_, kind, text))) => file(kind, text),
            (&Method::GET, None) => reply::events(self.live.follow()),
            // A stream that has ended: its head is all that is asked for.
            (&Method::HEAD, None) => reply::events(mpsc::channel(1).1),
            _ => {
                let refused = reply::outside(StatusCode::METHOD_NOT_ALLOWED, "the board takes GET");
                reply::with(refused, "allow", "GET, HEAD")
            }
        };
        HEADERS.iter().fold(reply, |reply, (name, value)| reply::with(reply, name, value))
    }
}

fn file(kind: &str, text: &'static str) -> Reply {
    let mut reply = reply::empty(StatusCode::OK);
    *reply.body_mut() = reply::Body::Whole(text.into());
    reply::with(reply, "content-type", kind)
}
