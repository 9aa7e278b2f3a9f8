//! What a service says is read in bounded time and space, and what is odd in it hides nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Shell, answer, text};
use crate::support::service::Reply;

/// Longer than any of these takes on a busy machine; without the bounds they take minutes.
const LONG: Duration = Duration::from_secs(30);

fn listing(tools: String) -> Shell {
    Shell::with(move |received| match received.method.as_str() {
        "tools/list" => Some(Reply::result(received, &tools)),
        "tools/call" if received.tool() == "deep" => {
            let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
            Some(Reply::result(received, format!(r#"{{"structuredContent":{{"x":{deep}}}}}"#)))
        }
        _ => answer(received),
    })
}

#[test]
fn a_schema_that_describes_exponentially_many_ends_at_once() {
    let several = vec![json!({"$ref": "#"}); 6];
    let schema = json!({"allOf": several});
    let shell = listing(json!({"tools": [{"name": "evil", "inputSchema": schema}]}).to_string());
    let begun = Instant::now();
    assert!(shell.prints(&["tools", "show", "evil"]).starts_with("evil\n"));
    assert!(shell.prints(&["call", "evil", "--help"]).starts_with("evil\n"));
    // Past the bound the service decides.
    shell.prints(&["call", "evil", "a=1"]);
    shell.service.awaits_call("evil");
    let url = shell.service.url();
    let mut tab = std::process::Command::new(env!("CARGO_BIN_EXE_asistry"));
    tab.args(["__complete", "zsh", "5", "asistry", "--url", &url, "call", "evil", ""]);
    let tab = tab.env_clear().env("HOME", shell.home.path()).output().expect("the binary");
    assert_eq!(tab.status.code(), Some(0), "{}", text(&tab.stderr));
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[test]
fn a_tool_that_is_nested_deeply_and_one_that_is_none_hide_no_other() {
    let nested = format!(r#"{}{{"type":"string"}}{}"#, r#"{"items":"#.repeat(200), "}".repeat(200));
    let shell = listing(format!(
        r#"{{"tools":[{{"name":"deep","inputSchema":{nested}}},{{"x":1}},5,{{"name":"odd","description":5}},{{"name":"echo"}}]}}"#
    ));
    assert_eq!(shell.prints(&["tools", "-o", "tsv"]), "deep\t\t\nodd\t\t\necho\t\t\n");
    assert!(shell.prints(&["tools", "--json"]).contains(&nested));
    assert!(shell.prints(&["tools", "show", "deep"]).starts_with("deep\n"));
    assert!(shell.prints(&["tools", "show", "deep", "--json"]).contains(&nested));
    assert_eq!(shell.prints(&["call", "echo", "title=x", "--jq", ".title"]), "x\n");
}

#[test]
fn a_result_that_is_nested_deeply_is_printed_whole() {
    let shell = listing(json!({"tools": [{"name": "deep"}]}).to_string());
    let value = format!(r#"{{"x":{}1{}}}"#, "[".repeat(300), "]".repeat(300));
    for options in [&[][..], &["--json"], &["-o", "table"], &["-o", "jsonl"], &["--jq", "."]] {
        let words: Vec<&str> = ["call", "deep"].iter().chain(options).copied().collect();
        assert_eq!(shell.prints(&words), format!("{value}\n"), "{options:?}");
    }
    assert_eq!(shell.prints(&["call", "deep", "--full"]), format!("{{\"structuredContent\":{value}}}\n"));
    let batch = shell.home.path().join("batch");
    std::fs::write(&batch, r#"{"tool":"deep"}"#).expect("a file");
    let output = shell.prints(&["call", "--batch", batch.to_str().expect("UTF-8"), "-q"]);
    assert!(output.ends_with(&format!("\"result\":{value}}}\n")), "{output}");
    // A later run takes it for what it is: done.
    let earlier = shell.home.path().join("output");
    std::fs::write(&earlier, &output).expect("a file");
    let (batch, earlier) = (batch.to_str().expect("UTF-8"), earlier.to_str().expect("UTF-8"));
    assert_eq!(shell.prints(&["call", "--batch", batch, "--resume", earlier, "-q"]), "");
}

#[test]
fn a_rate_limit_that_outlasts_max_time_says_so_also_where_the_list_took_a_part_of_it() {
    let listed = AtomicBool::new(false);
    let shell = Shell::with(move |received| match received.method.as_str() {
        "tools/list" if !listed.swap(true, Ordering::Relaxed) => {
            Some(Reply::empty(429).header("retry-after", "1"))
        }
        "tools/call" => Some(Reply::empty(429).header("retry-after", "2")),
        _ => answer(received),
    });
    let begun = Instant::now();
    let output = shell.run(&["call", "echo", "title=x", "--max-time", "2.6s", "--json"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"]["kind"], "rate_limited", "{error}");
    assert_eq!(error["error"]["mayHaveExecuted"], false, "{error}");
    assert!(begun.elapsed() < Duration::from_millis(2600), "it waited in vain: {:?}", begun.elapsed());
}

#[test]
fn a_call_that_was_not_made_is_not_in_doubt() {
    for hangs in ["initialize", "tools/list"] {
        let shell = Shell::with(move |received| match received.method.as_str() {
            method if method == hangs => Some(Reply::never()),
            _ => answer(received),
        });
        let output =
            shell.run(&["call", "echo", "title=x", "--timeout", "500ms", "--max-time", "1s", "--json"]);
        assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(error["error"]["mayHaveExecuted"], false, "{hangs}: {error}");
    }
}

#[test]
fn a_call_that_max_time_ends_is_cancelled() {
    let shell = Shell::with(|received| match received.method.as_str() {
        "tools/call" => Some(Reply::never()),
        _ => answer(received),
    });
    let said = shell.fails(&["call", "echo", "title=x", "--max-time", "1s"], 6);
    shell.service.awaits("its cancellation", |received| received.method == "notifications/cancelled");
    assert!(!said.contains("did not reach"), "{said}");
}

#[test]
fn a_list_without_an_end_ends() {
    let (pages, slow) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let is_slow = slow.clone();
    let shell = Shell::with(move |received| {
        if is_slow.load(Ordering::Relaxed) {
            #[expect(
                clippy::disallowed_methods,
                reason = "no wait for an event: this service takes its time"
            )]
            std::thread::sleep(Duration::from_millis(5));
        }
        let field = match received.method.as_str() {
            "tools/list" => "tools",
            "resources/list" => "resources",
            "prompts/list" => "prompts",
            _ => return answer(received),
        };
        let page = pages.fetch_add(1, Ordering::Relaxed);
        let entries: Vec<Value> = Vec::new();
        Some(Reply::result(received, json!({field: entries, "nextCursor": format!("page {page}")})))
    });
    let begun = Instant::now();
    for words in [&["tools"][..], &["resources", "list"], &["prompts", "list"], &["call", "echo", "title=x"]]
    {
        let told = shell.fails(words, 7);
        assert!(told.contains("has no end"), "{told}");
    }
    slow.store(true, Ordering::Relaxed);
    let hurried = shell.fails(&["tools", "--max-time", "300ms"], 6);
    assert!(hurried.contains("--max-time"), "{hurried}");
    assert!(begun.elapsed() < 4 * LONG, "{:?}", begun.elapsed());
}

#[test]
fn an_expression_without_an_end_is_ended_and_the_result_kept() {
    let shell = Shell::new();
    for expression in ["def f: 1 + f; f", "def f: f; f"] {
        let told = shell.fails(&["call", "echo", "title=kept", "--json", "--jq", expression], 1);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((&told["error"]["kind"], &told["result"]), (&json!("output"), &json!({"title": "kept"})));
    }
}

#[test]
fn an_expression_does_not_see_the_key() {
    let shell = Shell::new();
    let mut command =
        shell.asistry(&["call", "echo", "title=x", "--jq", "[$ENV.ASISTRY_API_KEY, $ENV.OTHER]"]);
    let output =
        command.env("ASISTRY_API_KEY", "ask_0123").env("OTHER", "seen").output().expect("the binary");
    assert_eq!(text(&output.stdout), "[null,\"seen\"]\n", "{}", text(&output.stderr));
}

#[test]
fn a_filter_without_an_end_ends_with_max_time() {
    let shell = Shell::new();
    let begun = Instant::now();
    let said =
        shell.fails(&["call", "echo", "title=x", "--jq", "def f: f; f", "--max-time", "1s", "--json"], 6);
    // Its own bound is 10 s of CPU time.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    let error = &serde_json::from_str::<Value>(&said).expect("JSON")["error"];
    assert_eq!(error["message"], "the answer came, but printing it did not end within 1 s", "{said}");
    assert_eq!(error["hint"], "simplify --jq, or allow more time with --max-time", "{said}");
    assert_eq!(error["mayHaveExecuted"], true, "{said}");
    shell.service.awaits_call("echo");
    let said = shell.fails(&["tools", "--jq", "def f: f; f", "--max-time", "1s"], 6);
    assert!(said.contains("printing it did not end within 1 s") && !said.contains("may have run"), "{said}");
}
