//! The real bridge in front of a sandbox that fails.
#![cfg(unix)]

use super::*;
use crate::support::bridge::Bridge;
use crate::support::home::Home;

/// A sandbox with faults, whose data the test can read.
struct Trial {
    data: tempfile::TempDir,
    sandbox: Sandbox,
    runtime: tokio::runtime::Runtime,
}

impl Trial {
    fn new(spec: &str) -> Self {
        let (data, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let sandbox = runtime.block_on(failing_in(Data::Directory(data.path().to_owned()), spec));
        Self { data, sandbox, runtime }
    }

    /// A bridge with a key of its own, and so with a rate limit of its own.
    fn bridge(&self, more: &str) -> Bridge {
        let home = Home::new();
        let url = &self.sandbox.endpoints()[0].url;
        home.write(
            "config/config.toml",
            format!("[profiles.trial]\nservice = 'mcp'\nurl = '{url}'\n{more}\n"),
        );
        let key = key(&self.runtime.block_on(directory(self.data.path())));
        let mut bridge = home.start(&["bridge", "-p", "trial"]).env("ASISTRY_API_KEY", &key).spawn();
        bridge.open("2025-11-25");
        bridge
    }

    /// How often a task with this title was made.
    fn made(&self, title: &str) -> u32 {
        let database = rusqlite::Connection::open(self.data.path().join("sandbox.db")).unwrap();
        let count = "SELECT count(*) FROM asistry_task WHERE title = ?1";
        database.query_row(count, [title], |row| row.get(0)).unwrap()
    }
}

/// Makes ten calls, two at a time, and returns their answers; each must be answered once.
fn answers(mut bridge: Bridge, first: u64) -> Vec<Value> {
    let mut answers = Vec::new();
    for n in (first..first + 10).step_by(2) {
        for n in [n, n + 1] {
            bridge.say(create_as(n, &format!("task {n}")));
        }
        answers.extend([n, n + 1].map(|n| bridge.answer(n)));
    }
    bridge.close();
    let rest = bridge.rest();
    assert!(!rest.iter().any(|message| message.get("id").is_some()), "answered twice: {rest:?}");
    answers
}

#[test]
fn sixty_calls_under_faults_are_each_answered_once_and_run_at_most_once() {
    let trial = Trial::new("429=1s:20%,503=1s:10%,lost:5%,session:5%,drop:10%,seed=1");
    // Several bridges, because each of them slows down for a service that limits it.
    let bridges: Vec<_> = (0..6).map(|_| trial.bridge("retry_503 = true")).collect();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let begin = |(bridge, first)| scope.spawn(move || answers(bridge, first));
        let threads: Vec<_> = bridges.into_iter().zip((100..160).step_by(10)).map(begin).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut in_doubt = 0;
    for (n, answer) in (100..160).zip(&answers) {
        let made = trial.made(&format!("task {n}"));
        assert!(made <= 1, "{made} of {answer}");
        match answer.get("error") {
            None => assert_eq!((made, &answer["result"]["isError"]), (1, &json!(false)), "{answer}"),
            // The service's own refusal: the session was forgotten twice in a row.
            Some(error) if error.get("data").is_none() => {
                assert_eq!((made, &error["code"]), (0, &json!(-32600)))
            }
            Some(error) => {
                assert_eq!(error["data"]["mayHaveExecuted"], made == 1, "{answer}");
                in_doubt += made;
            }
        }
    }
    assert_eq!(answers.len(), 60);
    assert!((1..10).contains(&in_doubt), "{in_doubt} answers were lost");
}

#[test]
fn what_may_have_run_is_not_repeated_and_is_reported_so() {
    for (spec, made) in [("reset", 0), ("502", 0), ("lost", 1)] {
        let trial = Trial::new(spec);
        let mut bridge = trial.bridge("");
        bridge.say(create_as(1, "once"));
        let answer = bridge.answer(1);
        assert_eq!(answer["error"]["data"]["mayHaveExecuted"], true, "{spec}: {answer}");
        assert_eq!(trial.made("once"), made, "{spec}");
    }
}

fn create_as(id: u64, title: &str) -> Value {
    request(id, "tools/call", json!({"name": "create_task", "arguments": {"title": title}}))
}
