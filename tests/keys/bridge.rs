//! A bridge that runs while its keys change.

use super::{Accepted, NEW, OLD, key_of};
use crate::support::home::Home;
use crate::support::service::{Gate, Service, mcp};

const REVISION: &str = "2025-06-18";

fn home_with(service: &Service, key: &str) -> Home {
    let home = Home::new();
    let add = ["keys", "add", "-p", "asistry", "--url", &service.url(), "--no-verify", "--stdin"];
    home.told(&add, key).succeeds();
    home
}

fn rotate(home: &Home, service: &Service) {
    let rotate = ["keys", "rotate", "-p", "asistry", "--url", &service.url(), "--no-verify", "--stdin"];
    home.told(&rotate, NEW).succeeds();
}

fn done(answer: &serde_json::Value) -> bool {
    answer["result"]["content"][0]["text"] == "done"
}

#[test]
fn a_rotated_key_is_picked_up_after_a_401_with_one_repetition() {
    let accepted = Accepted::only(&[OLD, NEW]);
    let service = accepted.service();
    let home = home_with(&service, OLD);
    let mut bridge = home.start(&["bridge", "-p", "asistry", "--url", &service.url()]).spawn();
    bridge.open(REVISION);
    bridge.call(1, "before");
    assert!(done(&bridge.answer(1)));
    rotate(&home, &service);
    // Until the service minds, the old key is as good.
    bridge.call(2, "between");
    assert!(done(&bridge.answer(2)));
    assert_eq!(key_of(&service.awaits_call("between")).as_deref(), Some(OLD));
    accepted.become_only(&[NEW]);
    bridge.call(3, "after");
    assert!(done(&bridge.answer(3)));
    bridge.call(4, "later");
    assert!(done(&bridge.answer(4)));
    let keys = |tool: &str| -> Vec<Option<String>> {
        service.received().iter().filter(|received| received.tool() == tool).map(key_of).collect()
    };
    assert_eq!(keys("after"), [Some(OLD.to_owned()), Some(NEW.to_owned())]);
    assert_eq!(keys("later"), [Some(NEW.to_owned())]);
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn of_two_calls_with_the_old_key_the_one_that_is_refused_later_is_repeated_too() {
    let accepted = Accepted::only(&[OLD, NEW]);
    let late = Gate::default();
    let (takes, holds) = (accepted.clone(), late.clone());
    let service = Service::start(move |received| {
        let refusal = takes.refusal(received)?;
        Some(if received.tool() == "late" { refusal.after(&holds) } else { refusal })
    });
    let home = home_with(&service, OLD);
    let mut bridge = home.start(&["bridge", "-p", "asistry", "--url", &service.url()]).spawn();
    bridge.open(REVISION);
    rotate(&home, &service);
    accepted.become_only(&[NEW]);
    bridge.call(1, "late");
    service.awaits_call("late");
    bridge.call(2, "early");
    assert!(done(&bridge.answer(2)));
    late.open();
    let answer = bridge.answer(1);
    assert!(done(&answer), "{answer}");
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn a_key_that_stays_rejected_is_repeated_no_further() {
    let accepted = Accepted::only(&[OLD]);
    let service = accepted.service();
    let home = home_with(&service, OLD);
    let mut bridge = home.start(&["bridge", "-p", "asistry", "--url", &service.url()]).spawn();
    bridge.open(REVISION);
    accepted.become_only(&[]);
    for id in [1, 2] {
        bridge.call(id, &format!("call{id}"));
        let answer = bridge.answer(id)["error"].clone();
        assert_eq!(
            (&answer["code"], &answer["data"]["kind"]),
            (&(-32001).into(), &"auth_denied".into()),
            "{answer}"
        );
        assert_eq!(service.received().iter().filter(|r| r.tool() == format!("call{id}")).count(), 1);
    }
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

/// The error of a call with a rejected key, while the encrypted file is as `change` leaves it.
fn refused_while(change: impl Fn(&std::path::Path), options: &[&str]) -> serde_json::Value {
    let accepted = Accepted::only(&[OLD]);
    let service = accepted.service();
    let home = home_with(&service, OLD);
    let url = service.url();
    let arguments = [&["bridge", "-p", "asistry", "--url", &url], options].concat();
    let mut bridge = home.start(&arguments).spawn();
    // The passphrase may take longer than --max-time at first.
    while bridge.open(REVISION)["result"].is_null() {}
    accepted.become_only(&[]);
    change(&home.file("data/keys.enc"));
    bridge.call(1, "x");
    let error = bridge.answer(1)["error"].clone();
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    error
}

#[test]
fn why_a_rejected_key_cannot_be_looked_up_again_is_reported() {
    let error = refused_while(|file| std::fs::write(file, "damaged").unwrap(), &[]);
    assert_eq!(error["data"]["kind"], "auth_denied", "{error}");
    assert_eq!(error["data"]["mayHaveExecuted"], false, "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("does not accept the key (HTTP 401)"), "{message}");
    assert!(message.contains("; looking for another key failed: the key file "), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn max_time_holds_while_a_rejected_key_is_looked_up_again() {
    let blocks = |file: &std::path::Path| {
        std::fs::remove_file(file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
    };
    // Less than the 3 s that a key store has, and enough for the key to be read and the call to be refused before.
    let error = refused_while(blocks, &["--max-time", "2500ms"]);
    assert_eq!(error["data"]["kind"], "timeout", "{error}");
    assert_eq!(error["data"]["mayHaveExecuted"], false, "{error}");
}

#[test]
fn a_key_that_is_added_while_it_runs_is_used_at_once() {
    let service = Accepted::only(&[NEW]).service();
    let home = Home::new();
    for profile in [&["-p", "asistry"][..], &[]] {
        let url = service.url();
        let target = [profile, &["--url", &url]].concat();
        let mut bridge = home.start(&[&["bridge"], &target[..]].concat()).spawn();
        bridge.say(crate::support::bridge::request("1", "tools/list", "{}"));
        let answer = bridge.answer(1);
        assert_eq!(answer["error"]["code"], -32001, "{answer}");
        home.told(&[&["keys", "add"], &target[..], &["--stdin"]].concat(), NEW)
            .succeeds()
            .says(&["it works"]);
        bridge.open(REVISION);
        bridge.call(2, "now");
        let answer = bridge.answer(2);
        assert!(done(&answer), "{answer}");
        bridge.close();
        assert_eq!(bridge.exit_code(), 0);
    }
}

#[test]
fn a_removed_key_is_used_until_the_service_minds_and_then_no_more() {
    let accepted = Accepted::only(&[OLD]);
    let service = accepted.service();
    let home = home_with(&service, OLD);
    let mut bridge = home.start(&["bridge", "-p", "asistry", "--url", &service.url()]).spawn();
    bridge.open(REVISION);
    home.run(&["keys", "remove", "-p", "asistry", "--yes"]).succeeds();
    accepted.become_only(&[]);
    bridge.call(1, "x");
    let answer = bridge.answer(1);
    assert_eq!(answer["error"]["data"]["kind"], "auth_denied", "{answer}");
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn after_an_optional_key_was_removed_a_401_says_that_a_key_is_required() {
    let accepted = Accepted::only(&[OLD]);
    let service = accepted.service();
    let (home, url) = (Home::new(), service.url());
    home.told(&["keys", "add", "--url", &url, "--no-verify", "--stdin"], OLD).succeeds();
    let mut bridge = home.start(&["bridge", "--url", &url]).spawn();
    bridge.open(REVISION);
    home.run(&["keys", "remove", "--url", &url, "--yes"]).succeeds();
    accepted.become_only(&[]);
    for id in [1, 2] {
        bridge.call(id, "x");
        let error = bridge.answer(id)["error"].clone();
        assert_eq!(error["data"]["kind"], "auth_required", "{error}");
        assert!(error["message"].as_str().unwrap().contains("requires a key"), "{error}");
    }
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
}

#[test]
fn for_fifty_calls_the_store_is_read_once() {
    let service = Service::start(|received| Some(mcp(received)));
    let home = home_with(&service, OLD);
    let log = home.file("log").to_str().unwrap().to_owned();
    let arguments = ["bridge", "-p", "asistry", "--url", &service.url(), "-vv", "--log-file", &log];
    let mut bridge = home.start(&arguments).spawn();
    bridge.open(REVISION);
    for id in 1..=50 {
        bridge.call(id, "x");
    }
    for id in 1..=50 {
        assert!(done(&bridge.answer(id)));
    }
    bridge.close();
    assert_eq!(bridge.exit_code(), 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("reading the key store").count(), 1, "{log}");
}
