//! One driver, alone in virtual time: rules that no conversation can show.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use asistry::error::{Executed, Kind};
use asistry::protocol::Moment;
use asistry::protocol::driver::{Answers, Driver, Next, Outcome, Purpose, Standing, Terms};
use asistry::protocol::http::HttpCall;
use asistry::protocol::request::{Promise, Repeat};
use asistry::protocol::retry::{Admission, RetryPolicy};
use bytes::Bytes;

fn at(now: Instant) -> Moment {
    Moment { now, wall: SystemTime::now(), random: 0.0 }
}

/// The driver of a `tools/call`, which may wait for a minute.
fn driver(promise: Promise) -> Driver {
    let url = Arc::new(url::Url::parse("http://h/mcp").unwrap());
    let call = HttpCall { method: http::Method::POST, url, headers: Default::default(), body: Bytes::new() };
    let retry =
        RetryPolicy { max_wait: Duration::from_secs(60), unhinted_is_final: false, repeats_503: false };
    let terms = Terms {
        retry,
        standing: Standing::InSession,
        answers: Answers::Here,
        repeat: Repeat::Never,
        silence: Duration::from_secs(60),
        place: "http://h/mcp".into(),
    };
    let id = asistry::protocol::message::Message::read(r#"{"id":1,"method":"tools/call"}"#).unwrap();
    Driver::new(call, Purpose::Request(id.id().unwrap().clone()), terms, promise)
}

#[test]
fn a_deadline_met_while_a_rate_limit_is_waited_for_is_a_rate_limit() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let mut driver = driver(Promise::new(now, Some(2 * second)));
    assert!(matches!(driver.admitted(Admission::Wait(second), at(now)), Next::Rest));
    // The machine was asleep, or busy, when the wait was over.
    let Some(Next::Over(Outcome::Failed(failure))) = driver.tick(at(now + 3 * second)) else { panic!() };
    assert_eq!((failure.error.kind(), failure.executed), (Kind::RateLimited, Executed::No));
}

#[test]
fn a_wait_for_a_rate_limit_is_reported_each_15_seconds_however_often_the_gate_is_asked() {
    let (mut now, poll) = (Instant::now(), Duration::from_millis(250));
    let mut driver = driver(Promise::new(now, None));
    let mut reports = 0;
    for _ in 0..160 {
        assert!(matches!(driver.admitted(Admission::Wait(poll), at(now)), Next::Rest));
        reports += usize::from(driver.take_waiting().is_some());
        now += poll;
        assert!(matches!(driver.tick(at(now)), Some(Next::Admit)));
    }
    assert_eq!(reports, 3, "in 40 s");
}
