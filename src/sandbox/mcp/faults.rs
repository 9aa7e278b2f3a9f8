//! Faults on purpose in MCP requests: after the key, the session and the body were checked, before anything runs.
//!
//! A refused request counts neither in the service's rate limit nor changes data. The content of a dropped stream is
//! kept for resumption in a session only.

use super::reading::{Message, Post};
use super::refusal::Refusal;
use super::session::Event;
use super::{Content, Head, Server, head};
use crate::sandbox::faults::{Asked, Kind};
use crate::sandbox::reply::{self, Reply};
use crate::sandbox::service::{KeyHeader, Manner};
use bytes::Bytes;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use std::sync::PoisonError;

impl Server {
    /// Proceeds with a request, or does to it what its turn brings.
    pub(super) async fn fare(&self, head: Head, parts: &Parts, content: Content) -> Result<Reply, Refusal> {
        let fate = self.faults.fate(&self.asks(&head, &content));
        let came = match fate.kind {
            Some(kind) => self.suffer(kind, head, (parts, content)).await,
            None => self.proceed(&head, parts, content).await,
        };
        if !fate.wait.is_zero() {
            tokio::time::sleep(fate.wait).await;
        }
        came
    }

    fn asks<'a>(&self, head: &Head, content: &'a Content) -> Asked<'a> {
        let messages = match content {
            Content::Post(Post::One(message)) => std::slice::from_ref(message),
            Content::Post(Post::Batch(messages)) => messages,
            Content::Unread | Content::NoJson => &[],
        };
        let mut asked = Asked {
            service: self.service.name,
            in_session: head.session.is_some(),
            takes_events: self.service.manner == Manner::Sessions && head.accepts.events,
            has_key: true,
            ..Asked::default()
        };
        for message in messages {
            let Message::Request(request) = message else { continue };
            match request.method.as_str() {
                "tools/call" => asked.tools.extend(request.params.get("name").and_then(|name| name.as_str())),
                method => asked.methods.push(method),
            }
        }
        asked
    }

    async fn suffer(
        &self,
        kind: Kind,
        mut head: Head,
        (parts, content): (&Parts, Content),
    ) -> Result<Reply, Refusal> {
        if let (true, Some(rate)) = (kind.refuses(), &self.rate) {
            rate.lock().unwrap_or_else(PoisonError::into_inner).forget_last(&head.caller.key);
        }
        match kind {
            Kind::TooMany(wait) => Err(Refusal::too_many(wait)),
            Kind::Internal => Err(Refusal::broken()),
            Kind::BadGateway => Ok(reply::bad_gateway()),
            Kind::Unavailable(wait) => Err(Refusal::unavailable(wait)),
            Kind::Reset => Ok(reply::cut()),
            Kind::Lost => {
                // Whatever it came to, the client does not hear of it.
                let _ = self.proceed(&head, parts, content).await;
                Ok(reply::cut())
            }
            Kind::Session => {
                if let Some(session) = &head.session {
                    self.sessions.end(session);
                }
                Err(Refusal::no_session())
            }
            Kind::Drop => {
                head.accepts.json = false;
                head.drops = true;
                self.proceed(&head, parts, content).await
            }
            Kind::Expired => {
                if let (KeyHeader::Token(_), Ok(token)) =
                    (self.service.key_header, head::key(&parts.headers, self.service, &head.base))
                {
                    let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
                    expired.insert(Sha256::digest(token).into());
                }
                Err(Refusal::wrong_key(self.service, &head.base))
            }
            Kind::Slow(_) => self.proceed(&head, parts, content).await,
        }
    }

    /// Says whether a fault has made this token expire.
    pub(super) fn has_expired(&self, token: &str) -> bool {
        let expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        !expired.is_empty() && expired.contains(&<[u8; 32]>::from(Sha256::digest(token)))
    }
}

/// Sends the events before the answer; in a session, an event id lets the client resume the stream.
///
/// The opening event is that of 2025-11-25 ("Sending Messages to the Server", 6). Clients of earlier revisions would read
/// its empty data as a message, and get the id alone.
pub(super) fn dropped(head: &Head, stream: u64, (events, until_answer): (Vec<Event>, usize)) -> Reply {
    let id = format!("{stream}-open");
    let text = match &head.session {
        None => ":\n\n".to_owned(),
        Some(session) if session.revision.opens_streams => format!("id: {id}\ndata: \n\n"),
        Some(_) => format!("id: {id}\n\n"),
    };
    let mut all = vec![Event { stream, id, text: text.into() }];
    all.extend(events);
    if let Some(session) = &head.session {
        session.remember(&all);
    }
    let sent: Vec<Bytes> = all.into_iter().take(1 + until_answer).map(|event| event.text).collect();
    reply::all_events(sent)
}
