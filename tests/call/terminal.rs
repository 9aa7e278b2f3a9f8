//! A person at a real terminal (a pty): bars, forms, Ctrl-C, control characters of strangers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Shell, answer};
use crate::support::service::{Gate, Received, Reply};
use crate::support::terminal::Terminal;

/// A service whose `echo` asks a question, and answers when it has its answer or the gate is open.
fn asking_until(question: Value, gate: &Gate) -> Shell {
    saying_until(vec![asked("q", question)], gate)
}

fn asked(id: &str, question: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": question})
}

/// A service whose `echo` says this, and answers when "q" is answered or the gate is open.
fn saying_until(said: Vec<Value>, gate: &Gate) -> Shell {
    let gate = gate.clone();
    Shell::with(move |received: &Received| match received.method.as_str() {
        "tools/call" => {
            let id: Value = serde_json::from_str(&received.id).expect("an id");
            let result = json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "done"}]}});
            Some(Reply::events(&said).then(&gate, result))
        }
        _ => {
            if received.id == "\"q\"" {
                gate.open();
            }
            answer(received)
        }
    })
}

/// A service whose `echo` asks a question before it answers.
fn asking(question: Value) -> Shell {
    asking_until(question, &Gate::default())
}

fn seated(shell: &Shell, arguments: &[&str]) -> Terminal {
    let mut command = shell.asistry(arguments);
    command.env("TERM", "xterm");
    Terminal::start_piped(command)
}

/// What the service heard in answer to its question.
fn heard(shell: &Shell) -> Value {
    shell.service.awaits("an answer", |received| received.id == "\"q\"").message()["result"].clone()
}

fn form() -> Value {
    json!({"message": "Who are you?", "requestedSchema": {"type": "object", "required": ["name", "age"], "properties": {
        "name": {"type": "string", "title": "Your name"},
        "age": {"type": "integer", "minimum": 1},
        "news": {"type": "boolean", "default": false},
        "note": {"type": "string"},
    }}})
}

#[test]
fn a_question_of_the_service_is_a_form() {
    let shell = asking(form());
    let mut seated = seated(&shell, &["call", "echo", "title=x"]);
    seated.answers("Answer it? [yes/decline]", "yes");
    seated.answers("Your name (string):", "");
    seated.awaits("Your name is required");
    seated.answers("Your name (string):", "Ada");
    seated.answers("age (integer):", "old");
    seated.awaits("age must be integer");
    seated.answers("age (integer):", "36");
    seated.answers("news (boolean) [false]:", "");
    seated.answers("note (string) [none]:", "");
    seated.answers("Send it? [yes/edit/decline]", "");
    seated.answers("Send it? [yes/edit/decline]", "yes");
    let left = seated.leaves();
    assert_eq!((left.code, left.printed.as_str()), (0, "done\n"), "{}", left.said);
    assert_eq!(
        heard(&shell),
        json!({"action": "accept", "content": {"name": "Ada", "age": 36, "news": false}})
    );
    let opened = shell.service.awaits("a handshake", |received| received.method == "initialize");
    assert!(opened.message()["params"]["capabilities"]["elicitation"].is_object());
}

#[test]
fn a_form_shows_the_names_of_its_choices_and_checks_formats() {
    let shell = asking(
        json!({"message": "Who are you?", "requestedSchema": {"type": "object", "required": ["mail"], "properties": {
            "color": {"type": "string", "enum": ["r", "g"], "enumNames": ["Red", "Green"]},
            "mail": {"type": "string", "format": "email"},
        }}}),
    );
    let mut seated = seated(&shell, &["call", "echo", "title=x"]);
    seated.answers("Answer it? [yes/decline]", "yes");
    seated.answers("color (\"r\" (Red) | \"g\" (Green)) [none]:", "g");
    seated.answers("mail (string):", "ada");
    seated.awaits("mail must be an email address such as ada@example.com");
    seated.answers("mail (string):", "ada@example.com");
    seated.answers("Send it? [yes/edit/decline]", "yes");
    assert_eq!(seated.leaves().code, 0);
    assert_eq!(
        heard(&shell),
        json!({"action": "accept", "content": {"color": "g", "mail": "ada@example.com"}})
    );
}

#[test]
fn a_line_typed_ahead_does_not_send_a_form() {
    let shell = asking(form());
    let mut seated = seated(&shell, &["call", "echo", "title=x"]);
    seated.answers("Answer it? [yes/decline]", "yes");
    seated.answers("Your name (string):", "Ada");
    seated.answers("age (integer):", "36");
    seated.answers("news (boolean) [false]:", "");
    seated.answers("note (string) [none]:", "\nyes");
    seated.answers("Send it? [yes/edit/decline]", "decline");
    assert_eq!(seated.leaves().code, 0);
    assert_eq!(heard(&shell), json!({"action": "decline"}));
}

#[test]
fn a_question_can_be_declined_and_nobody_is_asked_without_input() {
    let shell = asking(form());
    let mut declining = seated(&shell, &["call", "echo", "title=x"]);
    for stray in ["", "x"] {
        declining.answers("Answer it? [yes/decline]", stray);
    }
    declining.answers("Answer it? [yes/decline]", "decline");
    assert_eq!(declining.leaves().code, 0);
    assert_eq!(heard(&shell), json!({"action": "decline"}));
    for no in ["n", "No"] {
        let shell = asking(form());
        let mut declining = seated(&shell, &["call", "echo", "title=x"]);
        declining.answers("Answer it? [yes/decline]", no);
        assert_eq!(declining.leaves().code, 0);
        assert_eq!(heard(&shell), json!({"action": "decline"}));
    }

    let shell = asking(form());
    let left = seated(&shell, &["call", "echo", "title=x", "--no-input"]).leaves();
    assert!(left.code == 0 && !left.said.contains("Who are you"), "{}", left.said);
    let refused = shell.service.awaits("a refusal", |received| received.id == "\"q\"").message();
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
}

#[test]
fn ctrl_c_in_a_form_cancels_at_once() {
    for answers in [&[][..], &["yes", "Ada"]] {
        let shell = asking(form());
        let mut leaving = seated(&shell, &["call", "echo", "title=x"]);
        for (question, answer) in ["Answer it? [yes/decline]", "Your name (string):"].into_iter().zip(answers)
        {
            leaving.answers(question, answer);
        }
        leaving.awaits(["Answer it? [yes/decline]", "age (integer):"][answers.len() / 2]);
        leaving.types("\u{3}");
        let left = leaving.leaves();
        assert_eq!((left.code, left.printed.as_str()), (130, ""), "{}", left.said);
        assert_eq!(heard(&shell), json!({"action": "cancel"}));
    }
}

#[test]
fn of_two_questions_both_are_cancelled_when_their_call_ends() {
    let gate = Gate::default();
    let shell = saying_until(vec![asked("p", form()), asked("r", form())], &gate);
    let mut asks = seated(&shell, &["call", "echo", "title=x"]);
    asks.awaits("Answer it? [yes/decline]");
    gate.open();
    let left = asks.leaves();
    assert_eq!((left.code, left.printed.as_str()), (0, "done\n"), "{}", left.said);
    for id in ["\"p\"", "\"r\""] {
        let answer = shell.service.awaits("an answer", |received| received.id == id).message();
        assert_eq!(answer["result"], json!({"action": "cancel"}), "{id}: {answer}");
    }
}

#[test]
fn a_question_that_the_service_withdraws_is_closed_without_an_answer() {
    let gate = Gate::default();
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "p"}});
    let shell = saying_until(vec![asked("p", form()), cancelled], &gate);
    let mut asks = seated(&shell, &["call", "echo", "title=x"]);
    asks.awaits("the question is closed");
    gate.open();
    let left = asks.leaves();
    assert_eq!((left.code, left.printed.as_str()), (0, "done\n"), "{}", left.said);
    assert!(!left.said.contains("dropped"), "{}", left.said);
}

#[test]
fn a_form_ends_with_its_call() {
    let gate = Gate::default();
    let shell = asking_until(form(), &gate);
    let mut seated_ = seated(&shell, &["call", "echo", "title=x"]);
    seated_.answers("Answer it? [yes/decline]", "yes");
    seated_.awaits("Your name (string):");
    gate.open();
    let left = seated_.leaves();
    assert_eq!((left.code, left.printed.as_str()), (0, "done\n"), "{}", left.said);
    assert!(left.said.contains("the question is closed: the call ended"), "{}", left.said);
    assert_eq!(heard(&shell), json!({"action": "cancel"}));

    for option in ["--max-time", "--timeout"] {
        let shell = asking_until(form(), &Gate::default());
        let mut late = seated(&shell, &["call", "echo", "title=x", option, "500ms"]);
        late.awaits("Answer it? [yes/decline]");
        let left = late.leaves();
        assert_eq!(left.code, 6, "{}", left.said);
        assert!(left.said.contains("within 0.5 s"), "{}", left.said);
    }
}

#[test]
fn an_address_is_shown_and_never_opened() {
    let shell = asking(
        json!({"mode": "url", "url": "https://pay.example/1", "message": "Pay", "elicitationId": "1"}),
    );
    let mut seated = seated(&shell, &["call", "echo", "title=x"]);
    seated.awaits("https://pay.example/1");
    seated.answers("Have you done what is asked there? [yes/decline]", "yes");
    assert_eq!(seated.leaves().code, 0);
    assert_eq!(heard(&shell), json!({"action": "accept", "content": {}}));
}

#[test]
fn a_list_of_objects_is_a_table_on_a_terminal() {
    let shell = Shell::new();
    let result = "result:={\"structuredContent\":[{\"id\":1,\"title\":\"tea\"}]}";
    let left = Terminal::start(shell.asistry(&["call", "say", result])).leaves();
    assert_eq!(left.code, 0, "{}", left.said);
    assert!(left.said.contains("ID  TITLE") && left.said.contains("1   tea"), "{:?}", left.said);
}

#[test]
fn fields_that_were_asked_for_are_shown_however_narrow_the_terminal_is() {
    let shell = Shell::new();
    let url = "https://tasks.example/workspaces/w-17/tasks/1";
    let result = format!(
        "result:={}",
        json!({"structuredContent": [{"id": 1, "title": "tea", "url": url, "none": null}]})
    );
    let words = ["call", "say", &result, "--fields", "title,url,none"];
    let screen = |said: &str| said.replace('\r', "").trim_end_matches("(end)").to_owned();
    let left = Terminal::start_at(40, shell.asistry(&words)).leaves();
    assert_eq!(left.code, 0, "{}", left.said);
    assert_eq!(screen(&left.said), format!("title  tea\nurl    {url}\nnone\n"));
    let left = Terminal::start_at(80, shell.asistry(&words)).leaves();
    assert_eq!(screen(&left.said), format!("TITLE  URL{}NONE\ntea    {url}\n", " ".repeat(url.len() - 1)));
}

#[test]
fn progress_and_log_messages_stand_on_the_terminal_and_the_result_in_the_pipe() {
    let shell = Shell::with(|received| match received.method.as_str() {
        "tools/call" => {
            let message = received.message();
            let token = &message["params"]["_meta"]["progressToken"];
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params":
                {"progressToken": token, "progress": 1, "total": 2, "message": "half \u{1b}[31mdone"}});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params":
                {"level": "warning", "data": "careful \u{1b}]0;title\u{7}"}});
            let result = json!({"jsonrpc": "2.0", "id": message["id"], "result":
                {"content": [{"type": "text", "text": "done"}]}});
            Some(Reply::events([progress, log, result]))
        }
        _ => answer(received),
    });
    let left = seated(&shell, &["call", "echo", "title=x"]).leaves();
    assert_eq!((left.code, left.printed.as_str()), (0, "done\n"));
    assert!(left.said.contains("warning: careful"), "{:?}", left.said);
    for escape in ["\u{1b}[31m", "\u{1b}]0;"] {
        assert!(!left.said.contains(escape), "{:?}", left.said);
    }
}

#[test]
fn a_wait_for_a_rate_limit_is_counted_down() {
    let refused = AtomicBool::new(false);
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/call" if !refused.swap(true, Ordering::Relaxed) => {
            Some(Reply::empty(429).header("retry-after", "2"))
        }
        _ => answer(received),
    });
    let left = seated(&shell, &["call", "echo", "title=x"]).leaves();
    assert_eq!((left.code, left.printed.contains("title")), (0, true), "{}", left.said);
    for seconds in ["again in 2 s", "again in 1 s"] {
        assert!(left.said.contains(seconds), "{:?}", left.said);
    }
}

#[test]
fn control_characters_of_a_result_do_not_reach_the_terminal() {
    let shell = Shell::new();
    let result = json!({"content": [{"type": "text", "text": "a\u{1b}[2Jb\u{9b}31m"}]});
    let argument = format!("result:={result}");
    for options in [&[][..], &["--json"], &["--json", "--full"], &["--jq", "."]] {
        let arguments: Vec<&str> = ["call", "say", &argument].iter().chain(options).copied().collect();
        let left = Terminal::start(shell.asistry(&arguments)).leaves();
        assert_eq!(left.code, 0, "{}", left.said);
        let said = left.said;
        assert!(said.contains('a') && said.contains('b'), "{said:?}");
        assert!(!said.contains("\u{1b}[2J") && !said.contains('\u{9b}'), "{options:?}: {said:?}");
    }
}

#[test]
fn ctrl_c_cancels_a_call_that_shows_a_spinner() {
    let gate = Gate::default();
    let held = gate.clone();
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/call" => Some(Reply::empty(200).after(&held)),
        _ => answer(received),
    });
    let mut seated = seated(&shell, &["call", "echo", "title=x"]);
    seated.awaits("echo 0s");
    // As a person types it: the terminal shows ^C behind the spinner.
    seated.types("\u{3}");
    let left = seated.leaves();
    assert_eq!(left.code, 130, "{}", left.said);
    let (before, _) = left.said.split_once("asistry: interrupted").expect(&left.said);
    let line = before.rsplit(['\r', '\n']).next().unwrap_or_default();
    assert!(line.ends_with("\u{1b}[2K") || !line.contains("echo"), "{:?}", left.said);
    gate.open();
}

#[test]
fn a_batch_has_a_bar_a_countdown_and_its_failures_above_it() {
    let (refused, gate) = (AtomicBool::new(false), Gate::default());
    let held = gate.clone();
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/call" if received.message()["params"]["arguments"]["title"] == "no" => {
            let result =
                json!({"content": [{"type": "text", "text": "not \u{1b}[31mtoday"}], "isError": true});
            Some(Reply::result(received, result))
        }
        "tools/call" if !refused.swap(true, Ordering::Relaxed) => {
            Some(Reply::empty(429).header("retry-after", "1"))
        }
        "tools/call" if received.message()["params"]["arguments"]["title"] == "c" => {
            answer(received).map(|reply| reply.after(&held))
        }
        _ => answer(received),
    });
    let line = |title: &str| format!("{}\n", json!({"tool": "echo", "arguments": {"title": title}}));
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, [line("a"), line("no"), line("c")].concat()).expect("a file");
    let batch = batch.to_str().expect("a path");
    let mut seated = seated(&shell, &["call", "--batch", batch, "--jobs", "2"]);
    seated.awaits("] 2/3 calls, 1 failed");
    gate.open();
    let left = seated.leaves();
    assert_eq!((left.code, left.printed.lines().count()), (1, 3), "{}", left.said);
    for said in ["again in 1 s", "line 2: echo: not ", "1 of 3 calls failed (line 2)"] {
        assert!(left.said.contains(said), "{said}: {:?}", left.said);
    }
    assert!(!left.said.contains("\u{1b}[31m"), "{:?}", left.said);
    // Where both are the same terminal, each line stands alone.
    let left = Terminal::start(shell.asistry(&["call", "--batch", batch])).leaves();
    let whole = left
        .said
        .lines()
        .filter(|line| line.trim_end().ends_with("}") && line.contains("{\"line\":"))
        .count();
    assert_eq!(whole, 3, "{:?}", left.said);
}

/// A batch of two calls, the second of which is refused once for a second.
fn batch_with_a_wait() -> (Shell, std::path::PathBuf) {
    let called = std::sync::atomic::AtomicUsize::new(0);
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/call" if called.fetch_add(1, Ordering::Relaxed) == 1 => {
            Some(Reply::empty(429).header("retry-after", "1"))
        }
        _ => answer(received),
    });
    let line = |title: &str| format!("{}\n", json!({"tool": "echo", "arguments": {"title": title}}));
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, [line("a"), line("b")].concat()).expect("a file");
    (shell, batch)
}

#[test]
fn a_batch_that_waits_still_says_how_far_it_is() {
    let (shell, batch) = batch_with_a_wait();
    let words = ["call", "--batch", batch.to_str().expect("a path")];
    let left = seated(&shell, &words).leaves();
    assert_eq!(left.code, 0, "{}", left.said);
    assert!(left.said.contains("1/2 calls; the service limits the rate; again in 1 s"), "{:?}", left.said);
}

#[test]
fn log_lines_stand_above_the_bar_and_a_narrow_terminal_does_not_wrap_it() {
    let (shell, batch) = batch_with_a_wait();
    let words = ["call", "--batch", batch.to_str().expect("a path")];
    let left = seated(&shell, &[&words[..], &["-v"]].concat()).leaves();
    assert!(left.said.contains(" INFO "), "{:?}", left.said);
    for (at, _) in left.said.match_indices(" INFO ") {
        let before = left.said[..at].trim_end_matches("\u{1b}[2K");
        assert!(before.is_empty() || before.ends_with(['\n', '\r']), "{:?}", left.said);
    }

    let mut command = shell.asistry(&words);
    command.env("TERM", "xterm");
    let left = Terminal::start_at(40, command).leaves();
    let moving = left.said.split(['\r', '\n']).filter(|part| part.contains("calls"));
    let widths: Vec<usize> = moving.map(|part| console::measure_text_width(part.trim_end())).collect();
    assert!(widths.len() > 1 && widths.iter().all(|width| *width <= 40), "{widths:?} {:?}", left.said);
}

#[test]
fn color_is_switched_off_in_help_and_usage_errors_too() {
    let asistry = |words: &[&str], variable: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(words).env_clear().env("TERM", "xterm").env(variable, "1");
        command
    };
    let screen = |words: &[&str], variable: &str| Terminal::start(asistry(words, variable)).leaves().said;
    for words in [&["--help"][..], &["help", "call"], &["tools", "--nonsense"]] {
        assert!(screen(words, "X").contains("\u{1b}["), "{words:?}");
        let never = [&["--color", "never"], words].concat();
        for said in [screen(&never, "X"), screen(words, "NO_COLOR")] {
            assert!(!said.contains("\u{1b}["), "{words:?}: {said:?}");
        }
        let always = asistry(&[words, &["--color=always"]].concat(), "X").output().expect("the binary");
        assert!([always.stdout, always.stderr].concat().contains(&0x1b), "{words:?}");
    }
}

#[test]
fn quiet_means_that_nothing_moves() {
    let gate = Gate::default();
    let held = gate.clone();
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/call" => answer(received).map(|reply| reply.after(&held)),
        _ => answer(received),
    });
    let quiet = seated(&shell, &["call", "echo", "title=x", "-q"]);
    shell.service.awaits_call("echo");
    shell.service.awaits_quiet(Duration::from_millis(300));
    gate.open();
    let left = quiet.leaves();
    assert_eq!((left.code, left.said.contains("echo")), (0, false), "{:?}", left.said);
}

#[test]
fn a_spinner_shows_for_how_long_it_turns() {
    let gate = Gate::default();
    let held = gate.clone();
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/call" => answer(received).map(|reply| reply.after(&held)),
        _ => answer(received),
    });
    let mut seated = seated(&shell, &["call", "echo", "title=x"]);
    seated.awaits("echo 0s");
    seated.awaits("echo 1s");
    gate.open();
    assert_eq!(seated.leaves().code, 0);
}

#[test]
fn an_interrupted_batch_ends_though_nobody_reads_its_output() {
    let shell = Shell::new();
    let line = json!({"tool": "echo", "arguments": {"title": "x".repeat(300_000)}});
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, line.to_string()).expect("a file");
    let mut seated = seated(&shell, &["call", "--batch", batch.to_str().expect("a path")]);
    shell.service.awaits_call("echo");
    shell.service.awaits_quiet(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(seated.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    seated.awaits("asistry: interrupted");
    assert_eq!(seated.leaves().code, 130);
}
