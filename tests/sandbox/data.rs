//! What several sandboxes, restarts and resets make of the data, and how a sandbox ends.

use super::*;

#[tokio::test]
async fn the_embedded_key_lasts_and_others_are_fresh_at_each_start() {
    let home = tempfile::tempdir().unwrap();
    let embedded = || start(Data::Directory(home.path().into()), true);
    let (first, second) = (embedded().await, embedded().await);
    assert_eq!(key(&first), key(&second));
    let fresh = directory(home.path()).await;
    assert_ne!(key(&fresh), key(&first));
    call(&second, "list_tasks", json!({})).await;
    assert_ne!(key(&start(Data::Memory, true).await), key(&first));
}

/// Run by itself this starts eight processes of itself at the same moment; each is told by the environment.
#[tokio::test]
async fn processes_that_start_at_once_end_up_with_the_same_working_key() {
    const HOME: &str = "ASISTRY_TEST_SANDBOX_HOME";
    if let Some(home) = std::env::var_os(HOME) {
        let sandbox = start(Data::Directory(Path::new(&home).join("data")), true).await;
        call(&sandbox, "create_task", json!({"title": "from a process"})).await;
        let name = format!("key.{}", std::process::id());
        std::fs::write(Path::new(&home).join(name), key(&sandbox)).unwrap();
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let name = "sandbox::data::processes_that_start_at_once_end_up_with_the_same_working_key";
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", name]).env(HOME, home.path()).kill_on_drop(true);
            child.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(soon(child.wait()).await.unwrap().success());
    }
    let keys: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(keys.len(), 8);
    assert!(keys.iter().all(|key| *key == keys[0]));
    let sandbox = start(Data::Directory(home.path().join("data")), true).await;
    assert_eq!(key(&sandbox), keys[0]);
    assert_eq!(titles(&sandbox, "list_tasks", json!({})).await.len(), 8);
}

#[tokio::test]
async fn two_processes_worth_of_sandboxes_share_one_database() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (directory(home.path()).await, start(Data::Directory(home.path().into()), true).await);
    let task = call(&one, "create_task", json!({"title": "shared"})).await;
    assert_eq!(call(&two, "get_task", json!({"id": task["id"]})).await, task);
    let sent = Sent::post(&two, &request(1, "ping", json!({})));
    let got = sent.with("authorization", &format!("Bearer {}", key(&one))).go().await;
    assert_eq!(got.status, 200, "a key is the database's, not the process's");
    let writes = (0..20).flat_map(|n| {
        let write = |sandbox| call(sandbox, "create_task", json!({"title": format!("task {n}")}));
        [write(&one), write(&two)]
    });
    futures_util::future::join_all(writes).await;
    assert_eq!(titles(&one, "list_tasks", json!({"limit": 100})).await.len(), 41);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_gone_after_a_reset() {
    let home = tempfile::tempdir().unwrap();
    let data = || Data::Directory(home.path().into());
    let sandbox = start(data(), true).await;
    let (task, old) = (call(&sandbox, "create_task", json!({"title": "kept"})).await, key(&sandbox));
    sandbox.stop().await;
    let sandbox = start(data(), true).await;
    assert_eq!(call(&sandbox, "get_task", json!({"id": task["id"]})).await, task);
    let secret = || std::fs::read_to_string(home.path().join("server.secret")).unwrap();
    let before = secret();
    reset(home.path()).unwrap();
    let after = Sent::post(&sandbox, &request(1, "ping", json!({}))).go().await;
    assert_eq!(after.status, 401, "a running sandbox's key is forgotten too");
    sandbox.stop().await;
    let sandbox = start(data(), true).await;
    assert_ne!(key(&sandbox), old);
    assert_ne!(secret(), before);
    let summary = call(&sandbox, "get_workspace_info", json!({})).await;
    assert_eq!((&summary["workspace_name"], &summary["board_count"]), (&json!("My Workspace"), &json!(3)));
    assert_eq!(summary["total_tasks"], 0);
    reset(&home.path().join("never/there")).unwrap();
}

#[tokio::test]
async fn stop_is_quick_with_open_streams_and_half_sent_requests() {
    let sandbox = memory().await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let get = Sent::new(&sandbox, "GET").with("accept", "text/event-stream").with("mcp-session-id", &id);
    let mut stream = get.open().await;
    let mut half = TcpStream::connect(sandbox.address()).await.unwrap();
    half.write_all(b"POST /api/mcp/client HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        .await
        .unwrap();
    soon(stream.frame()).await.unwrap().unwrap();
    let (address, begun) = (sandbox.address(), Instant::now());
    sandbox.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "bounded to 500 ms: {:?}", begun.elapsed());
    while let Some(Ok(_)) = soon(stream.frame()).await {}
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn stop_does_not_wait_for_idle_connections() {
    let sandbox = memory().await;
    let stream = Sent::new(&sandbox, "GET").open().await;
    let begun = Instant::now();
    sandbox.stop().await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    drop(stream);
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let sandbox = memory().await;
    let body = request(1, "ping", json!({})).to_string();
    let (key, length) = (key(&sandbox), body.len());
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    soon(stream.read_exact(&mut go_on)).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "the request has begun to be read");
    let finish = async {
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut said = String::new();
        soon(stream.read_to_string(&mut said)).await.unwrap();
        said
    };
    let ((), said) = tokio::join!(sandbox.stop(), finish);
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn a_dropped_sandbox_ends_too() {
    let sandbox = memory().await;
    let address = sandbox.address();
    drop(sandbox);
    soon(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_a_way_out() {
    let sandbox = memory().await;
    let options =
        Options { data: Data::Memory, listen: sandbox.address(), embedded: false, faults: Faults::default() };
    let error = Sandbox::start(options).await.unwrap_err();
    assert!(error.message().contains(&sandbox.address().to_string()), "{error}");
    assert_eq!(error.advice(), Some("asistry sandbox --listen 127.0.0.1:0"));
}
