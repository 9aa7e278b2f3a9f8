//! Every script in `tests/conversations/`, on both stages.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asistry::protocol::retry::RetryPolicy;
use asistry::protocol::revision::Era;
use asistry::protocol::secrets::NewKeys;
use asistry::protocol::settings::{Protocol, Settings, WireChoice};
use asistry::protocol::tool_rules::ToolRules;
use asistry::protocol::wire::WireKind;
use asistry::service::{Service, ServiceWire};

use crate::support::conversation::process::Process;
use crate::support::conversation::pure::Pure;
use crate::support::conversation::{Stage, Told, play, read};

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    scripts.sort();
    assert!(scripts.len() > 20, "where are the scripts?");
    scripts
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn every_conversation_passes_between_pure_values() {
    all_pass(1, |path| {
        let (options, lines) = read(path);
        play(&format!("{} (pure)", name_of(path)), &lines, &mut Pure::new(settings(&options)));
    });
}

#[test]
fn every_conversation_passes_through_the_real_binary() {
    all_pass(4, through_the_binary);
}

/// Plays every script, some at a time, and fails when any has.
fn all_pass(at_a_time: usize, play: fn(&Path)) {
    let scripts = Mutex::new(scripts());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some(path) = { scripts.lock().expect("no panic").pop() } {
                    if std::panic::catch_unwind(|| play(&path)).is_err() {
                        failed.lock().expect("no panic").push(name_of(&path));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "conversations that failed: {failed:?}");
}

fn through_the_binary(path: &Path) {
    let name = format!("{} (binary)", name_of(path));
    let (options, lines) = read(path);
    let mut stage = Process::start(&options);
    play(&name, &lines, &mut stage);
    let status = stage.finish();
    assert!(status.success(), "{name}: ended with {status}");
}

/// What the scripts' options mean without a command line.
pub fn settings(options: &[String]) -> Settings {
    let mut settings = Settings {
        sign_in: asistry::protocol::settings::SignIn::None,
        login_at_opening: asistry::protocol::driver::Prompt::Allowed,
        endpoint: Arc::new("http://127.0.0.1:1/mcp".parse().expect("a URL")),
        place: "http://127.0.0.1:1/mcp".into(),
        service: ("service".into(), "Service".into()),
        protocol: Protocol::Mcp,
        secrets: Arc::default(),
        new_keys: NewKeys::default(),
        hints: Vec::new(),
        wire: WireChoice::Auto,
        remembered: None,
        no_sessions: false,
        era: None,
        max_time: None,
        until: None,
        pushes: true,
        keeps_lists: false,
        retry: RetryPolicy::waiting(Duration::from_secs(60)).into(),
        call_silence: Duration::from_secs(600),
        silence: Duration::from_secs(60),
        tools: ToolRules::default(),
        client_filters: false,
        known_tools: None,
        max_result: None,
        seed: [0; 16],
        client_info: r#"{"name":"asistry","version":"0"}"#.into(),
        advise: asistry::commands::advise(None, Some("http://127.0.0.1:1/mcp")),
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || options.next().expect("a value").clone();
        match option.as_str() {
            "-p" => {
                let service = Service::built_in(&value()).expect("a built-in service");
                assert_eq!(service.wire, ServiceWire::AgentStack, "the other services' scripts name none");
                settings.protocol = Protocol::AgentStack;
                settings.secrets = Arc::new(service.secrets.clone());
                settings.hints = service.hints.iter().map(|hint| (hint.status, hint.text.clone())).collect();
                settings.tools.safe_names = service.safe_tool_names;
                settings.tools.runner = service.action_runner;
                let retry = Arc::make_mut(&mut settings.retry);
                (retry.unhinted_pauses, retry.busy) = (service.unhinted_429_pauses, service.busy);
            }
            "--max-time" => settings.max_time = Some(seconds(&value())),
            "--era" => {
                settings.era = Some(if value() == "modern" { Era::Modern } else { Era::Legacy });
            }
            "--max-wait" => Arc::make_mut(&mut settings.retry).max_wait = seconds(&value()),
            "--timeout" => {
                settings.silence = seconds(&value());
                settings.call_silence = settings.silence;
            }
            "--deny-tool" => settings.tools.deny.push(value()),
            "--allow-tool" => settings.tools.allow.push(value()),
            "--read-only" => settings.tools.read_only = true,
            "--transport" => {
                let kind = if value() == "sse" { WireKind::HttpSse } else { WireKind::StreamableHttp };
                settings.wire = WireChoice::Only(kind);
            }
            "--tool-names" => settings.tools.safe_names = value() == "safe",
            other => panic!("no script may ask for {other} without a word here"),
        }
    }
    settings
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().expect("seconds"))
}

/// A service that loses each session is given time between two of them.
#[test]
fn sessions_that_are_lost_in_a_row_are_opened_after_a_pause() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let (_, lines) = read(&folder.join("a_service_that_loses_every_session.txt"));
    let mut stage = Pure::new(settings(&[]));
    play("a pause", &lines, &mut stage);
    let took = stage.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(5), "{took:?}");
}

/// Plays a script between pure values; returns how long it takes there.
fn lasts(script: &str) -> Duration {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let (options, lines) = read(&folder.join(script));
    let mut stage = Pure::new(settings(&options));
    play(script, &lines, &mut stage);
    stage.elapsed()
}

/// LEG-5: not after the first list, as for a client that has not subscribed.
#[test]
fn a_subscription_opens_the_standalone_stream_at_once_in_each_session() {
    let lasts = lasts("stateless_client_subscribes_and_the_session_is_lost.txt");
    assert!(lasts < Duration::from_millis(500), "{lasts:?}");
}

#[test]
fn a_followed_task_is_looked_at_when_the_service_last_said() {
    let lasts = lasts("support/a_task_reports_its_state.script");
    assert!(lasts > Duration::from_secs(20), "{lasts:?}");
}

/// Section 6.5: eight pauses of half a second to 30 s, each shortened by jitter to three quarters.
#[test]
fn a_subscription_that_drops_is_opened_again_after_ever_longer_pauses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations/support");
    let (_, lines) = read(&folder.join("a_subscription_that_always_drops.script"));
    let mut stage = Pure::new(settings(&[]));
    play("drops", &lines, &mut stage);
    let took = stage.elapsed().as_secs_f64();
    let pauses = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0];
    let wanted: f64 = pauses.iter().map(|pause| pause * 0.75).sum();
    assert!((took - wanted).abs() < 1.0, "{took} s, and not {wanted}");
}

/// LEG-10: nothing runs in a session that was lost before the call was sent. In virtual time only: the moment between two
/// attempts is short.
#[test]
fn a_call_that_was_sent_after_its_session_was_lost_goes_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations/support");
    let (_, lines) = read(&folder.join("sent_after_its_session_was_lost.script"));
    play("sent after", &lines, &mut Pure::new(settings(&[])));
}

/// PROBE 4: a call that waited for the list of tools still does when what was remembered of its service is wrong.
#[test]
fn a_rule_holds_where_it_was_wrongly_remembered_that_no_sessions_are_opened() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations/support");
    let (_, lines) = read(&folder.join("a_rule_where_no_sessions_were_remembered.script"));
    let settings = Settings { no_sessions: true, ..settings(&["--read-only".to_owned()]) };
    play("a rule", &lines, &mut Pure::new(settings));
}

/// LEG-8, LEG-12: a session that the client has left is ended after the cancellation in it was taken.
#[test]
fn a_retired_session_is_left_after_the_cancellation_in_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let (_, lines) = read(&folder.join("a_second_initialize_while_a_call_runs.txt"));
    let until = lines.iter().position(|line| line.starts_with("service replies 1 404")).expect("the 404");
    let mut stage = Pure::new(settings(&[]));
    let mut told = Told::default();
    let mut tell = |line: &str, stage: &mut Pure| told.play("a retired session", line, None, stage);
    lines[..until].iter().for_each(|line| tell(line, &mut stage));
    let cancelled = |id: u32| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
    };
    for id in [1, 2] {
        tell(&format!("client says {}", cancelled(id)), &mut stage);
        tell(&format!("service receives c{id} POST {}", cancelled(id)), &mut stage);
    }
    assert!(stage.left_over().1.is_empty(), "{:?}", stage.left_over());
    tell("service replies c1 202", &mut stage);
    assert!(stage.left_over().1.is_empty(), "{:?}", stage.left_over());
    tell("service replies c2 202", &mut stage);
    tell("service receives farewell DELETE - with mcp-session-id: s1", &mut stage);
}

/// What `--trace` writes is a script: it passes again, between pure values.
#[test]
fn a_trace_can_be_replayed() {
    for name in
        ["answer_as_events", "polling_and_resumption", "session_lost_under_ten_calls", "http_sse_is_found"]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
        let home = tempfile::tempdir().expect("a directory");
        let trace = home.path().join("trace.txt");
        let (mut options, lines) = read(&folder.join(format!("{name}.txt")));
        options.extend(["--trace".to_owned(), trace.display().to_string()]);
        let mut stage = Process::start(&options);
        play(name, &lines, &mut stage);
        assert!(stage.finish().success());
        let (_, traced) = read(&trace);
        assert!(traced.len() > lines.len() / 2, "{name}: the trace is short: {traced:#?}");
        let last = r#"{"jsonrpc":"2.0","id":"last ping""#;
        let traced: Vec<String> = traced.into_iter().filter(|line| !line.contains(last)).collect();
        play(&format!("the trace of {name}"), &traced, &mut Pure::new(settings(&[])));
    }
}

/// SSE-5: the wire of an endpoint is found out once, not at each start; and again when it was upgraded.
#[test]
fn the_wire_of_an_endpoint_is_remembered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let (_, first) = read(&folder.join("http_sse_is_found.txt"));
    let mut stage = Process::start(&[]);
    play("first", &first, &mut stage);

    let refused: Vec<String> = first
        .iter()
        .filter(|line| !line.starts_with("service receives 1 ") && *line != "service replies 1 405")
        .cloned()
        .collect();
    let mut stage = stage.again(&[]);
    play("second", &refused, &mut stage);

    let (_, upgraded) = read(&folder.join("support/upgraded_meanwhile.script"));
    let mut stage = stage.again(&[]);
    play("third", &upgraded, &mut stage);

    let mut stage = stage.again(&[]);
    let straight: Vec<String> = upgraded.iter().filter(|line| !line.contains(" stream ")).cloned().collect();
    play("fourth", &straight, &mut stage);
}

/// PROBE: what is remembered to speak HTTP+SSE is not asked for the stateless era.
#[test]
fn an_endpoint_remembered_as_http_sse_is_not_asked_for_the_stateless_era() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let (_, found) = read(&folder.join("http_sse_is_found.txt"));
    let mut stage = Process::start(&[]);
    play("first", &found, &mut stage);
    let (_, refused) = read(&folder.join("http_sse_has_no_stateless_era.txt"));
    let mut stage = stage.again(&[]);
    play("second", &refused, &mut stage);
    assert!(stage.finish().success());
}

/// PROBE 1: that an endpoint opens no sessions is found out once, not at each start; and again when that has changed.
#[test]
fn that_an_endpoint_opens_no_sessions_is_remembered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let (_, first) = read(&folder.join("legacy_client_at_a_modern_service_version.txt"));
    let mut stage = Process::start(&[]);
    play("first", &first, &mut stage);

    let is_refusal =
        |line: &String| line.starts_with("service receives i ") || line.starts_with("service replies i ");
    let straight: Vec<String> = first.iter().filter(|line| !is_refusal(line)).cloned().collect();
    let mut stage = stage.again(&[]);
    play("second", &straight, &mut stage);

    let (_, changed) = read(&folder.join("support/sessions_after_all.script"));
    let mut stage = stage.again(&[]);
    play("third", &changed, &mut stage);

    let asked =
        |line: &String| line.starts_with("service receives d ") || line.starts_with("service replies d ");
    let opened: Vec<String> = changed.iter().filter(|line| !asked(line)).cloned().collect();
    let mut stage = stage.again(&[]);
    play("fourth", &opened, &mut stage);
}
