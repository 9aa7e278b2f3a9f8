//! Keys, their files, and the rate limit.

use super::*;

#[tokio::test]
async fn a_missing_wrong_or_revoked_key_is_401_with_the_requests_id() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let post = || Sent::post(&sandbox, &request("mine", "ping", json!({})));
    let good = key(&sandbox);
    for wrong in
        ["Bearer ask_wrong", "Bearer ", &format!("Basic {good}"), good.as_str(), &format!("Bearer {good}x")]
    {
        let got = post().with("authorization", wrong).go().await;
        assert_eq!(got.error(), (401, -32001, json!("mine")), "{wrong}");
        assert!(got.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(post().without("authorization").go().await.error(), (401, -32001, json!("mine")));
    let get = Sent::new(&sandbox, "GET").without("authorization").go().await;
    assert_eq!(get.error(), (401, -32001, json!(null)));
    assert_eq!(post().with("authorization", &format!("bearer  {good}")).go().await.status, 200);
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    database.execute("UPDATE api_key SET revoked_at = '2026-01-01'", []).unwrap();
    assert_eq!(post().go().await.error(), (401, -32001, json!("mine")));
}

#[tokio::test]
async fn the_hundred_and_first_request_in_a_minute_is_429_with_retry_after() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let other = key(&directory(home.path()).await);
    let begun = Instant::now();
    for n in 0..100 {
        let sent = match n % 4 {
            0 => Sent::new(&sandbox, "GET"),
            1 => Sent::text(&sandbox, "{"),
            2 => Sent::post(&sandbox, &request(1, "unknown", json!({}))),
            _ => Sent::post(&sandbox, &request(1, "ping", json!({}))).at("/api/mcp/public"),
        };
        assert_ne!(sent.go().await.status, 429, "request {n}");
    }
    let got = Sent::post(&sandbox, &tools_call("list_tasks", json!({}))).go().await;
    assert!(begun.elapsed() < Duration::from_secs(50), "this machine is too slow for this test");
    assert_eq!(got.error(), (429, -32029, json!(1)));
    let wait: u64 = got.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let anothers = Sent::post(&sandbox, &request(1, "ping", json!({})));
    assert_eq!(anothers.with("authorization", &format!("Bearer {other}")).go().await.status, 200);
    let nobodys = Sent::post(&sandbox, &request(1, "ping", json!({}))).without("authorization");
    assert_eq!(nobodys.go().await.status, 401);
}

#[tokio::test]
async fn a_failing_database_is_500_and_says_nothing_of_it() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    database.execute_batch("ALTER TABLE asistry_task RENAME TO gone").unwrap();
    let got = Sent::post(&sandbox, &tools_call("list_tasks", json!({}))).with(BOTH.0, BOTH.1).go().await;
    assert_eq!(got.error(), (500, -32603, json!(1)));
    assert_eq!(got.json()["error"]["message"], "internal error");
}

#[tokio::test]
async fn keys_are_stored_only_as_hashes() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let made = key(&sandbox);
    sandbox.stop().await;
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(12).any(|part| part == &made.as_bytes()[4..16]), "{}", path.display());
    }
    let database = rusqlite::Connection::open(home.path().join("sandbox.db")).unwrap();
    let hash: String = database.query_row("SELECT hash FROM api_key", [], |row| row.get(0)).unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_directory_is_0700_and_every_file_in_it_0600() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("new/data");
    let _sandbox = start(Data::Directory(data.clone()), true).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(
        names,
        [
            "agentstack.embedded.key",
            "asistry.embedded.key",
            "bob-studio.embedded.key",
            "sandbox.db",
            "sandbox.db-shm",
            "sandbox.db-wal",
            "server.secret",
            "task-tracking.embedded.key"
        ]
    );
}

#[tokio::test]
async fn the_eleventh_start_revokes_the_first_ones_key_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let embedded = start(Data::Directory(home.path().into()), true).await;
    let mut keys = vec![key(&embedded)];
    for _ in 0..11 {
        let sandbox = directory(home.path()).await;
        keys.push(key(&sandbox));
        sandbox.stop().await;
    }
    let mut statuses = Vec::new();
    for key in &keys {
        let ping = Sent::post(&embedded, &request(1, "ping", json!({})));
        statuses.push(ping.with("authorization", &format!("Bearer {key}")).go().await.status);
    }
    assert_eq!(statuses, [200, 401, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]);
}
