//! One driver, or one bridge, alone in virtual time: rules that no conversation can show.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use asistry::error::{Executed, Kind};
use asistry::protocol::Moment;
use asistry::protocol::bridge::Bridge;
use asistry::protocol::driver::{
    Answers, Driver, Item, Next, Outcome, Prompt, Purpose, Rests, Standing, Terms,
};
use asistry::protocol::effect::Effect;
use asistry::protocol::http::{Head, HttpCall};
use asistry::protocol::message::Message;
use asistry::protocol::request::{Promise, Repeat};
use asistry::protocol::retry::{Admission, Busy, RetryPolicy};
use bytes::Bytes;

use crate::conversations::settings;

fn at(now: Instant) -> Moment {
    Moment { now, wall: SystemTime::now(), random: 0.0 }
}

/// The driver of a `tools/call`, which may wait for a minute.
fn driver(promise: Promise) -> Driver {
    driver_with(RetryPolicy::waiting(Duration::from_secs(60)), promise)
}

fn driver_with(retry: RetryPolicy, promise: Promise) -> Driver {
    let url = Arc::new(url::Url::parse("http://h/mcp").unwrap());
    let (method, headers) = (http::Method::POST, Default::default());
    let call = HttpCall { method, url, headers, body: Bytes::new(), signing: Default::default() };
    let terms = Terms {
        retry: retry.into(),
        standing: Standing::InSession,
        answers: Answers::Here,
        repeat: Repeat::Never,
        silence: Duration::from_secs(60),
        rests: Rests::Never,
        login: Prompt::Allowed,
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
fn a_turn_that_comes_too_late_names_the_limit_that_decides() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let refused = |driver: &mut Driver, wait| {
        let Next::Over(Outcome::Failed(failure)) = driver.admitted(Admission::Wait(wait), at(now)) else {
            panic!()
        };
        let error = failure.error.with_hint_text(&settings(&[]).advise);
        assert_eq!((error.kind(), error.details().executed), (Kind::RateLimited, Some(Executed::No)));
        assert!(error.message().contains("would have its turn in"), "{}", error.message());
        error.advice().unwrap_or_default().to_owned()
    };
    let mut bound_by_time = driver(Promise::new(now, Some(2 * second)));
    assert_eq!(refused(&mut bound_by_time, 30 * second), "add --max-time 1m to allow more time");
    let mut bound_by_wait = driver(Promise::new(now, None));
    assert!(matches!(bound_by_wait.admitted(Admission::Wait(50 * second), at(now)), Next::Rest));
    assert!(refused(&mut bound_by_wait, 30 * second).contains("--max-wait 81s"), "what it waited counts too");
}

/// Refuses every attempt in this way, and returns how many were made and what the error advises.
fn refused_each_time(status: u16, hint: Option<&'static str>) -> (u32, String) {
    let mut now = Instant::now();
    let busy = Busy { statuses: vec![503], ..Busy::default() };
    let retry = RetryPolicy { busy, ..RetryPolicy::waiting(Duration::from_secs(100_000)) };
    let mut driver = driver_with(retry, Promise::new(now, None));
    for attempts in 1.. {
        assert!(matches!(driver.admitted(Admission::Go, at(now)), Next::Exchange(_)));
        let headers = hint.map(|hint| ("retry-after".parse().unwrap(), hint.parse().unwrap()));
        driver.head(Head { status, headers: headers.into_iter().collect() }, now);
        match driver.body(Bytes::new(), at(now)) {
            Next::Over(Outcome::Failed(failure)) => {
                let error = failure.error.with_hint_text(&settings(&[]).advise);
                assert_eq!(error.kind(), Kind::RateLimited);
                return (attempts, error.advice().unwrap_or_default().to_owned());
            }
            Next::Admit => now += Duration::from_secs(31),
            next => panic!("{next:?}"),
        }
    }
    unreachable!("it gives up")
}

#[test]
fn a_longer_wait_is_not_advised_where_the_attempts_are_used_up() {
    for (status, hint, most) in [(503, Some("0"), 10), (429, Some("0"), 10), (429, None, 9)] {
        let (attempts, advice) = refused_each_time(status, hint);
        assert_eq!(attempts, most);
        assert!(!advice.is_empty() && !advice.contains("--max-wait"), "{status} {hint:?}: {advice}");
    }
    let (attempts, advice) = refused_each_time(503, Some("200000"));
    assert!(attempts == 1 && advice.contains("--max-wait"), "{advice}");
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

#[test]
fn only_a_request_that_waits_for_the_session_needs_an_alarm() {
    let now = Instant::now();
    let options = ["--max-time".to_owned(), "2s".to_owned()];
    let mut bridge = Bridge::new(settings(&options), at(now));
    let mut alarms = |line: &str| {
        bridge.from_client(Bytes::from(line.to_owned()), at(now));
        let effects = std::iter::from_fn(|| bridge.next_effect());
        effects.filter(|effect| matches!(effect, Effect::Alarm(_))).count()
    };
    let initialize = r#"{"id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    assert_eq!(alarms(initialize), 0, "its driver knows the deadline");
    assert_eq!(alarms(r#"{"id":2,"method":"tools/list"}"#), 1);
}

/// A bridge with as many requests under way as may be.
fn full(now: Instant) -> Bridge {
    let options = ["--max-time".to_owned(), "2s".to_owned()];
    let mut bridge = Bridge::new(settings(&options), at(now));
    for id in 0..16_384 {
        says(&mut bridge, &format!(r#"{{"id":{id},"method":"a/b"}}"#), now);
    }
    bridge
}

fn says(bridge: &mut Bridge, line: &str, now: Instant) -> Vec<Effect> {
    bridge.from_client(Bytes::from(line.to_owned()), at(now));
    std::iter::from_fn(|| bridge.next_effect()).collect()
}

#[test]
fn a_reused_id_is_refused_at_once_while_further_requests_wait_for_room() {
    let now = Instant::now();
    let mut bridge = full(now);
    let waiting = r#"{"id":20000,"method":"a/b"}"#;
    assert!(says(&mut bridge, waiting, now).is_empty(), "it waits");
    for reused in [r#"{"id":5,"method":"c/d"}"#, waiting, r#"{"id":20000,"method":"ping"}"#] {
        let [Effect::Deliver(refusal)] = &says(&mut bridge, reused, now)[..] else { panic!("{reused}") };
        assert!(refusal.text.windows(6).any(|part| part == b"-32600"), "{refusal:?}");
    }
    let cancels = r#"{"method":"notifications/cancelled","params":{"requestId":20000}}"#;
    assert!(says(&mut bridge, cancels, now).is_empty());
    assert!(says(&mut bridge, waiting, now).is_empty(), "the id is free again");
}

#[test]
fn an_answer_that_crosses_the_withdrawal_of_its_question_is_dropped_in_silence() {
    let now = Instant::now();
    let mut bridge = Bridge::new(settings(&[]), at(now));
    let effects = says(&mut bridge, r#"{"id":1,"method":"a/b"}"#, now);
    let tag = effects.iter().find_map(|effect| match effect {
        Effect::Run(tag, _) => Some(*tag),
        _ => None,
    });
    for message in [
        r#"{"id":7,"method":"roots/list"}"#,
        r#"{"method":"notifications/cancelled","params":{"requestId":7}}"#,
    ] {
        bridge.item(tag.unwrap(), Item::Message(Message::read(message).unwrap(), 200), at(now));
        let told = std::iter::from_fn(|| bridge.next_effect()).collect::<Vec<_>>();
        assert!(matches!(told[..], [Effect::Deliver(_)]), "{message}: {told:?}");
    }
    let answer = r#"{"id":7,"result":{}}"#;
    assert!(says(&mut bridge, answer, now).is_empty());
    assert!(matches!(says(&mut bridge, answer, now)[..], [Effect::Note(_)]), "a second answer");
}

#[test]
fn max_time_of_a_request_that_waits_for_room_begins_when_it_arrives() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let mut bridge = full(now);
    assert!(says(&mut bridge, r#"{"id":20000,"method":"a/b"}"#, now).is_empty(), "it waits");
    let cancels = r#"{"method":"notifications/cancelled","params":{"requestId":7}}"#;
    let effects = says(&mut bridge, cancels, now + second);
    let left = effects.iter().find_map(|effect| match effect {
        Effect::Alarm(left) => Some(*left),
        _ => None,
    });
    assert_eq!(left, Some(second), "of two seconds");
}
