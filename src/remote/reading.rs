//! Reads responses: events as they come, or a whole body, within the memory that all responses share.
//!
//! Refuses to interpret them: the driver does.

use std::pin::pin;
use std::sync::PoisonError;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use tokio::time::sleep_until;

use super::budget::Lease;
use super::events::Events;
use super::{Flight, LONGEST_REFUSAL, MOST_ITEMS, RENEWAL, Remote, moment, wake_of};
use crate::net;
use crate::protocol::MAX_MESSAGE;
use crate::protocol::driver::{Driver, Next, Purpose, Reach};

impl Remote {
    /// Reads a stream of events to its end, or until the driver wants something else.
    pub(super) async fn read_events(&self, flight: &mut Flight<'_>, mut reply: reqwest::Response) -> Next {
        let mut events = Events::new();
        let mut lease = Lease::new(&self.budget);
        loop {
            if flight.driver.items() > 0
                && let Err(next) = self.report_items(flight).await
            {
                return next;
            }
            match flight.until_wake(pin!(lease.part(pin!(reply.chunk())))).await {
                Ok(Ok(Some(chunk))) => {
                    events.push(&chunk);
                    self.note_heard(&mut flight.driver);
                }
                Ok(ended) => {
                    self.trace_end(flight.tag, if ended.is_ok() { "end" } else { "reset" });
                    return flight.driver.stream_ended(moment());
                }
                Err(next) => return next,
            }
            loop {
                let mut event = match events.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(_) => return flight.driver.too_long(),
                };
                event.data = self.authorizer.sealed(event.data);
                self.trace_event(flight.tag, &event);
                event.data = lease.take(event.data);
                flight.driver.event(event, Instant::now());
                flight.tell_gate();
                if flight.driver.items() >= MOST_ITEMS {
                    if let Err(next) = self.report_items(flight).await {
                        return next;
                    }
                    // A flood gives way to what is waited for: the end of stdin, timers, other streams.
                    tokio::task::yield_now().await;
                }
            }
            if let Err(next) = self.until_free(flight, lease.grow(events.held())).await {
                return next;
            }
        }
    }

    /// Reports items while the response goes on.
    async fn report_items(&self, flight: &mut Flight<'_>) -> std::result::Result<(), Next> {
        let reports = flight.reports;
        if let Ok(room) = self.until_free(flight, reports.reserve()).await? {
            room.send(flight.next_report(None));
        }
        Ok(())
    }

    /// Waits for the client or for our memory, during which the service is not silent: it is not read.
    async fn until_free<T>(
        &self,
        flight: &mut Flight<'_>,
        part: impl Future<Output = T>,
    ) -> std::result::Result<T, Next> {
        let mut part = pin!(part);
        // Mostly there is room, and no timer is set.
        let polled = std::future::poll_fn(|context| Poll::Ready(part.as_mut().poll(context))).await;
        if let Poll::Ready(value) = polled {
            return Ok(value);
        }
        loop {
            let renewal = tokio::time::Instant::now() + RENEWAL;
            tokio::select! {
                biased;
                value = &mut part => return Ok(value),
                () = sleep_until(wake_of(&flight.driver).min(renewal)) => {}
            }
            self.note_heard(&mut flight.driver);
            if let Some(next) = flight.driver.tick(moment()) {
                return Err(next);
            }
        }
    }

    fn note_heard(&self, driver: &mut Driver) {
        let now = Instant::now();
        driver.heard(now);
        if *driver.purpose() == Purpose::Stream {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    /// Reads a whole body.
    pub(super) async fn read_whole(&self, flight: &mut Flight<'_>, mut reply: reqwest::Response) -> Next {
        let failing = !reply.status().is_success();
        let limit = if failing { LONGEST_REFUSAL } else { MAX_MESSAGE };
        let expected = reply.content_length().unwrap_or(0).min(limit as u64) as usize;
        let mut lease = Lease::new(&self.budget);
        if let Err(next) = self.until_free(flight, lease.begin(expected)).await {
            return next;
        }
        let mut body: Vec<u8> = Vec::new();
        let whole = loop {
            match flight.until_wake(pin!(lease.part(pin!(reply.chunk())))).await {
                Ok(Ok(Some(chunk))) if body.is_empty() && chunk.len() >= expected && expected > 0 => {
                    break chunk;
                }
                Ok(Ok(Some(chunk))) => {
                    if body.is_empty() {
                        body.reserve(expected);
                    }
                    push_on_one_line(&mut body, &chunk);
                    flight.driver.heard(Instant::now());
                }
                Ok(Ok(None)) => break Bytes::new(),
                Ok(Err(_)) if failing => {
                    self.trace_end(flight.tag, "reset");
                    return flight.driver.cut_off(moment());
                }
                Ok(Err(error)) => {
                    self.trace_end(flight.tag, "reset");
                    return flight.driver.no_reply(&net::cause(&error), Reach::Connected, moment());
                }
                Err(next) => return next,
            }
            if body.len() > limit {
                if failing {
                    return flight.driver.cut_off(moment());
                }
                return flight.driver.too_long();
            }
            if let Err(next) = self.until_free(flight, lease.grow(body.len().max(expected))).await {
                return next;
            }
        };
        let body = if body.is_empty() { whole } else { lease.take(Bytes::from(body)) };
        // Text that is not a message may be quoted in an error.
        let quoted = failing || !matches!(body.first(), Some(b'{' | b'['));
        let body = if quoted { self.authorizer.without_secrets(body) } else { self.authorizer.sealed(body) };
        self.trace_body(flight.tag, &body);
        flight.driver.body(body, moment())
    }
}

/// Appends a chunk; line breaks, which JSON allows only between tokens, become spaces.
fn push_on_one_line(body: &mut Vec<u8>, chunk: &[u8]) {
    let start = body.len();
    body.extend_from_slice(chunk);
    for byte in &mut body[start..] {
        // Writes every byte unconditionally, so that the loop is vectorized.
        *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
}
