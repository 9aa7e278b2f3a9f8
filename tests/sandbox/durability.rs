//! What two processes acknowledge while they write into one directory at once is there after one is killed.
#![cfg(unix)]

use super::*;
use futures_util::future::join_all;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Writers of each process. Each has a key of its own: a key makes 100 requests a minute, and an account has ten keys.
const WRITERS: usize = 10;

/// Starts `asistry sandbox` on a directory; returns its address and a key.
async fn serve(data: &Path) -> (Child, SocketAddr, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asistry"));
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--json", "--data"]).arg(data).env_clear();
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(printed.next_line()).await.unwrap().unwrap();
    let asistry = serde_json::from_str::<Value>(&line).unwrap()["services"]["asistry"].clone();
    let url = asistry["url"].as_str().unwrap();
    (child, url.split('/').nth(2).unwrap().parse().unwrap(), asistry["key"].as_str().unwrap().to_owned())
}

/// Creates tasks one after the other; returns the acknowledged ones, as they were shown. Ends early only where the
/// process is being killed.
async fn write(address: SocketAddr, key: &str, titles: &[String], dies: &Dies) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    for title in titles {
        let sent = Sent::to(address, "POST").with("authorization", &format!("Bearer {key}"));
        let sent = sent.json(&tools_call("create_task", json!({"title": title})));
        let Ok(got) = sent.try_go().await else {
            assert!(dies.was_killed.load(Ordering::SeqCst), "{title}: no answer of a process that lives");
            break;
        };
        assert_eq!(got.status, 200, "{got:?}");
        let text = got.json()["result"]["content"][0]["text"].as_str().unwrap().to_owned();
        acknowledged.push(serde_json::from_str(&text).unwrap());
        if dies.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            dies.was_killed.store(true, Ordering::SeqCst);
            // The signal, from outside: nothing of the process runs any more.
            let pid = rustix::process::Pid::from_raw(dies.pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    acknowledged
}

/// When a process is killed: after so many acknowledged tasks.
struct Dies {
    pid: i32,
    left: AtomicUsize,
    was_killed: AtomicBool,
}

impl Dies {
    fn after(left: usize, child: &Child) -> Self {
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        Self { pid, left: AtomicUsize::new(left), was_killed: AtomicBool::new(false) }
    }
}

async fn outlast(tasks: usize) {
    let home = tempfile::tempdir().unwrap();
    let ((mut one, first, key), (mut two, second, other)) =
        (serve(home.path()).await, serve(home.path()).await);
    let mut keys = vec![key, other];
    while keys.len() < WRITERS {
        let sandbox = directory(home.path()).await;
        keys.push(super::key(&sandbox));
        sandbox.stop().await;
    }
    let (dies, lives) = (Dies::after(tasks / 2, &one), Dies::after(usize::MAX, &two));
    let titles = |process: &str| -> Vec<String> { (0..tasks).map(|n| format!("{process} {n}")).collect() };
    let (of_one, of_two) = (titles("killed"), titles("alive"));
    let writes = keys.iter().enumerate().flat_map(|(n, key)| {
        let part = n * tasks / WRITERS..(n + 1) * tasks / WRITERS;
        [write(first, key, &of_one[part.clone()], &dies), write(second, key, &of_two[part], &lives)]
    });
    let acknowledged: Vec<Value> = join_all(writes).await.into_iter().flatten().collect();
    assert!(dies.was_killed.load(Ordering::SeqCst) && one.wait().await.unwrap().code().is_none());
    let count = |start: &str| {
        acknowledged.iter().filter(|task| task["title"].as_str().unwrap().starts_with(start)).count()
    };
    assert_eq!(count("alive"), tasks, "the other process is not disturbed");
    assert!((tasks / 2..tasks).contains(&count("killed")), "{}", count("killed"));
    two.kill().await.unwrap();
    hold(home.path(), &acknowledged).await;
}

/// Checks that a directory has these tasks, and at most one more for each writer of the killed process.
async fn hold(home: &Path, acknowledged: &[Value]) {
    let sandbox = start(Data::Directory(home.to_owned()), true).await;
    let database = rusqlite::Connection::open(home.join("sandbox.db")).unwrap();
    let text = |sql: &str| -> String { database.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    database.execute("INSERT INTO asistry_search (asistry_search) VALUES ('integrity-check')", []).unwrap();
    let mut rows = database.prepare("SELECT id, title, created_at FROM asistry_task").unwrap();
    let rows = rows.query_map([], |row| <(String, String, String)>::try_from(row)).unwrap();
    let stored: std::collections::HashSet<_> = rows.map(Result::unwrap).collect();
    for task in acknowledged {
        let field = |name: &str| task[name].as_str().unwrap().to_owned();
        assert!(stored.contains(&(field("id"), field("title"), field("created_at"))), "lost: {task}");
    }
    assert!(stored.len() <= acknowledged.len() + WRITERS, "{} of {}", stored.len(), acknowledged.len());
    let (first, last) = (&acknowledged[0], acknowledged.last().unwrap());
    for task in [first, last] {
        assert_eq!(call(&sandbox, "get_task", json!({"id": task["id"]})).await, *task);
        let query = json!({"query": task["title"], "limit": 100});
        assert!(
            titles(&sandbox, "search_tasks", query).await.contains(&task["title"].as_str().unwrap().into())
        );
    }
}

#[tokio::test]
async fn no_acknowledged_task_is_lost_when_one_of_two_processes_is_killed() {
    // As many as the ten keys of an account allow in a minute.
    outlast(1_000).await;
}
