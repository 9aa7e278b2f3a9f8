//! Sessions: created by `initialize`, bound to the key, ended by DELETE, by idleness or with the server.
//!
//! A session is not an identity: another key's session is unknown. A session has at most one open GET stream, and
//! remembers its last events so that a client can resume a broken POST stream with `Last-Event-ID`.

use super::revision::Revision;
use crate::error::Result;
use crate::sandbox::keys;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Maximum number of sessions; a new one ends the one that was idle longest.
const MOST: usize = 1024;
/// Lifetime of an idle session.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);
/// Number of events that a session remembers.
const EVENTS: usize = 64;
const EVENT_BYTES: usize = 4 << 20;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub id: String,
    pub revision: &'static Revision,
    key: String,
    used: Mutex<Instant>,
    listening: AtomicBool,
    ended: watch::Sender<bool>,
    log: Mutex<VecDeque<Event>>,
}

/// One sent event: stream, id, text.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub stream: u64,
    pub id: String,
    pub text: Bytes,
}

/// All sessions of one service.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    /// Creates a session for the key; its id is 256 random bits in hexadecimal.
    pub fn mint(&self, key: &str, revision: &'static Revision, now: Instant) -> Result<Arc<Session>> {
        let session = Arc::new(Session {
            id: keys::hex(&keys::random::<32>()?),
            revision,
            key: key.to_owned(),
            used: Mutex::new(now),
            listening: AtomicBool::new(false),
            ended: watch::Sender::new(false),
            log: Mutex::default(),
        });
        let mut all = lock(&self.0);
        if all.len() >= MOST {
            make_room(&mut all, now);
        }
        all.insert(session.id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Finds an open session of the key, and marks it as used.
    pub fn find(&self, id: &str, key: &str, now: Instant) -> Option<Arc<Session>> {
        let mut all = lock(&self.0);
        let session = all.get(id).filter(|session| session.key == key)?;
        if session.idle(now) >= IDLE {
            if let Some(session) = all.remove(id) {
                session.end();
            }
            return None;
        }
        *lock(&session.used) = now;
        Some(Arc::clone(session))
    }

    /// Ends a session and its stream.
    pub fn end(&self, session: &Session) {
        lock(&self.0).remove(&session.id);
        session.end();
    }
}

fn make_room(all: &mut HashMap<String, Arc<Session>>, now: Instant) {
    let longest = all.values().max_by_key(|session| session.idle(now)).map(|session| session.id.clone());
    if let Some(session) = longest.and_then(|id| all.remove(&id)) {
        session.end();
    }
}

impl Session {
    fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*lock(&self.used))
    }

    fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Remembers sent events, dropping the oldest.
    pub fn remember(&self, events: &[Event]) {
        let mut log = lock(&self.log);
        log.extend(events.iter().cloned());
        while log.len() > EVENTS || log.iter().map(|event| event.text.len()).sum::<usize>() > EVENT_BYTES {
            log.pop_front();
        }
    }

    /// Returns the remembered events of the stream after this one.
    pub fn after(&self, id: &str) -> Vec<Bytes> {
        let log = lock(&self.log);
        let Some(at) = log.iter().position(|event| event.id == id) else { return Vec::new() };
        let stream = log[at].stream;
        log.iter()
            .skip(at + 1)
            .filter(|event| event.stream == stream)
            .map(|event| event.text.clone())
            .collect()
    }

    /// Opens the session's stream, which sends only a comment every `every`; `None` if it is already open.
    ///
    /// It ends with the session, with `quit`, or when the reader is gone.
    pub fn listen(
        self: &Arc<Self>,
        every: Duration,
        mut quit: watch::Receiver<bool>,
    ) -> Option<mpsc::Receiver<Bytes>> {
        if self.listening.swap(true, Ordering::AcqRel) {
            return None;
        }
        let session = Arc::clone(self);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut ended = session.ended.subscribe();
            tokio::select! {
                _ = ended.wait_for(|ended| *ended) => {}
                _ = quit.wait_for(|quit| *quit) => {}
                () = sender.closed() => {}
                () = keep_alive(&sender, every) => {}
            }
            session.listening.store(false, Ordering::Release);
        });
        Some(receiver)
    }
}

async fn keep_alive(sender: &mpsc::Sender<Bytes>, every: Duration) {
    let mut clock = tokio::time::interval(every);
    loop {
        clock.tick().await;
        if sender.send(Bytes::from_static(b": keepalive\n\n")).await.is_err() {
            return;
        }
    }
}

/// Locks, ignoring poison: every change is a single call, so the data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::revision;
    use super::*;

    fn mint(sessions: &Sessions, now: Instant) -> Arc<Session> {
        sessions.mint("key", &revision::ALL[3], now).unwrap()
    }

    #[test]
    fn a_session_is_found_by_its_own_key_only() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let session = mint(&sessions, now);
        assert!(session.id.len() * 4 >= 128 && session.id.bytes().all(|b| b.is_ascii_graphic()));
        assert!(sessions.find(&session.id, "key", now).is_some());
        assert!(sessions.find(&session.id, "another", now).is_none());
        sessions.end(&session);
        assert!(sessions.find(&session.id, "key", now).is_none());
    }

    #[test]
    fn an_idle_day_ends_a_session_and_a_request_begins_the_day_anew() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let session = mint(&sessions, now);
        let almost = IDLE - Duration::from_secs(1);
        assert!(sessions.find(&session.id, "key", now + almost).is_some());
        assert!(sessions.find(&session.id, "key", now + almost * 2).is_some());
        assert!(sessions.find(&session.id, "key", now + almost * 2 + IDLE).is_none());
        assert!(*session.ended.borrow());
    }

    #[test]
    fn one_session_too_many_ends_the_one_that_was_idle_longest() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = mint(&sessions, now);
        let second = mint(&sessions, now);
        let later = now + Duration::from_secs(1);
        for _ in 2..MOST {
            mint(&sessions, later);
        }
        assert!(sessions.find(&first.id, "key", later).is_some());
        mint(&sessions, later);
        assert!(sessions.find(&first.id, "key", later).is_some());
        assert!(sessions.find(&second.id, "key", later).is_none());
    }

    #[test]
    fn a_broken_stream_is_continued_with_its_own_events_only() {
        let session = mint(&Sessions::default(), Instant::now());
        let event = |stream, id: &str| Event { stream, id: id.into(), text: Bytes::from(id.to_owned()) };
        session.remember(&[event(1, "a"), event(2, "b"), event(1, "c")]);
        assert_eq!(session.after("a"), ["c"]);
        assert!(session.after("c").is_empty() && session.after("unknown").is_empty());
        for n in 0..EVENTS {
            session.remember(&[event(3, &n.to_string())]);
        }
        assert!(session.after("a").is_empty(), "the oldest are forgotten");
        assert_eq!(session.after("0").len(), EVENTS - 1);
    }

    #[tokio::test]
    async fn the_stream_is_one_and_keeps_alive_until_the_session_ends() {
        let sessions = Sessions::default();
        let session = mint(&sessions, Instant::now());
        let (_quit, quitting) = watch::channel(false);
        let mut stream = session.listen(Duration::from_millis(1), quitting.clone()).unwrap();
        for _ in 0..3 {
            assert_eq!(stream.recv().await.unwrap(), ": keepalive\n\n");
        }
        assert!(session.listen(Duration::from_millis(1), quitting).is_none());
        sessions.end(&session);
        let rest = async { while stream.recv().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(5), rest).await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_sandbox_ends_the_stream() {
        let session = mint(&Sessions::default(), Instant::now());
        let (quit, quitting) = watch::channel(false);
        let mut stream = session.listen(Duration::from_secs(3600), quitting).unwrap();
        assert!(stream.recv().await.is_some());
        quit.send_replace(true);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), stream.recv()).await, Ok(None));
    }

    #[tokio::test]
    async fn a_reader_that_goes_leaves_the_place_to_the_next() {
        let session = mint(&Sessions::default(), Instant::now());
        let (_quit, quitting) = watch::channel(false);
        drop(session.listen(Duration::from_secs(3600), quitting.clone()).unwrap());
        let next = async {
            while session.listen(Duration::from_secs(3600), quitting.clone()).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), next).await.unwrap();
    }
}
