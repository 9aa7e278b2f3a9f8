//! Sessions and their streams.

use super::*;

#[tokio::test]
async fn a_session_ends_with_delete_and_is_unknown_then() {
    let sandbox = memory().await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let ping = || Sent::post(&sandbox, &request(5, "ping", json!({}))).with("mcp-session-id", &id);
    assert_eq!(ping().go().await.status, 200);
    let again = Sent::post(&sandbox, &request(6, "initialize", json!({"protocolVersion": "2025-11-25"})));
    assert_eq!(again.with("mcp-session-id", &id).go().await.error(), (400, -32600, json!(6)));
    let delete = || Sent::new(&sandbox, "DELETE").with("mcp-session-id", &id);
    assert_eq!(delete().go().await.status, 204);
    assert_eq!(ping().go().await.error(), (404, -32600, json!(5)));
    assert_eq!(delete().go().await.status, 404);
    assert_eq!(Sent::new(&sandbox, "DELETE").go().await.error().0, 400);
}

#[tokio::test]
async fn a_session_belongs_to_the_key_that_opened_it() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let other = directory(home.path()).await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let sent = Sent::post(&sandbox, &request(1, "ping", json!({}))).with("mcp-session-id", &id);
    let got = sent.with("authorization", &format!("Bearer {}", key(&other))).go().await;
    assert_eq!(got.error(), (404, -32600, json!(1)));
}

#[tokio::test]
async fn get_opens_one_stream_for_a_session_and_it_ends_with_the_session() {
    let sandbox = memory().await;
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let get = || Sent::new(&sandbox, "GET").with("accept", "text/event-stream").with("mcp-session-id", &id);
    let mut stream = get().open().await;
    assert_eq!(
        (stream.status().as_u16(), &stream.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    assert_eq!(stream.headers()["cache-control"], "no-cache");
    let first = soon(stream.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b":") && first.ends_with(b"\n\n"), "a comment: {first:?}");
    assert_eq!(get().go().await.error().0, 409);
    assert_eq!(Sent::new(&sandbox, "DELETE").with("mcp-session-id", &id).go().await.status, 204);
    assert!(soon(stream.frame()).await.is_none(), "the stream has ended");
}

#[tokio::test]
async fn get_without_a_session_is_405_and_without_accept_406() {
    let sandbox = memory().await;
    let got = Sent::new(&sandbox, "GET").with("accept", "text/event-stream").go().await;
    assert_eq!((got.error().0, got.header("allow")), (405, "POST, DELETE"));
    let (id, _) = session(&sandbox, "2025-11-25").await;
    let json_only = Sent::new(&sandbox, "GET").with("accept", "application/json").with("mcp-session-id", &id);
    assert_eq!(json_only.go().await.error().0, 406);
}

#[tokio::test]
async fn an_unknown_protocol_version_header_is_400() {
    let sandbox = memory().await;
    for version in ["2026-07-28", "1", "2025-06-18, 2025-03-26"] {
        let ping = Sent::post(&sandbox, &request(1, "ping", json!({}))).with("mcp-protocol-version", version);
        assert_eq!(ping.go().await.error(), (400, -32600, json!(1)));
    }
    let (id, _) = session(&sandbox, "2025-06-18").await;
    let known = Sent::post(&sandbox, &request(1, "ping", json!({}))).with("mcp-session-id", &id);
    assert_eq!(known.with("mcp-protocol-version", "2025-06-18").go().await.status, 200);
}
