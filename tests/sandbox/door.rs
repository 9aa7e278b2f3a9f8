//! Who is let in: Host, Origin, paths, methods, bodies.

use super::*;

#[tokio::test]
async fn a_foreign_origin_or_host_is_turned_away_on_every_method() {
    let sandbox = memory().await;
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        for origin in ["https://evil.example", "null", "garbage", "http://127.0.0.1.evil.example"] {
            let got = Sent::new(&sandbox, method).with("origin", origin).go().await;
            assert_eq!(got.status, 403, "{method} {origin}");
            assert!(got.headers.get("access-control-allow-origin").is_none());
        }
        for host in ["evil.example", "evil.example:80", "10.0.0.1", "localhost.evil.example", "x@localhost"] {
            assert_eq!(
                Sent::new(&sandbox, method).with("host", host).go().await.status,
                421,
                "{method} {host}"
            );
        }
    }
    let ping = || Sent::post(&sandbox, &request(1, "ping", json!({})));
    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80"] {
        assert_eq!(ping().with("host", host).go().await.status, 200, "{host}");
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]"] {
        assert_eq!(ping().with("origin", origin).go().await.status, 200, "{origin}");
    }
    assert_eq!(ping().without("host").go().await.status, 400);
}

#[tokio::test]
async fn other_paths_are_404_json_and_other_methods_405() {
    let sandbox = memory().await;
    for path in ["/api/mcp/", "/api/mcp/client/", "/api/mcp/CLIENT", "/favicon.ico"] {
        let got = Sent::post(&sandbox, &request(1, "ping", json!({}))).at(path).go().await;
        assert_eq!((got.status, got.header("content-type")), (404, "application/json"), "{path}");
        assert!(got.json()["error"].is_string());
    }
    let query = Sent::post(&sandbox, &request(1, "ping", json!({}))).at("/api/mcp/client?x=1").go().await;
    assert_eq!(query.status, 200);
    for method in ["PUT", "PATCH", "OPTIONS", "HEAD"] {
        let got = Sent::new(&sandbox, method).go().await;
        assert_eq!((got.status, got.header("allow")), (405, "POST, GET, DELETE"), "{method}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_said_to_be_json_is_415() {
    let sandbox = memory().await;
    let ping = || Sent::post(&sandbox, &request(1, "ping", json!({})));
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        assert_eq!(ping().with("content-type", kind).go().await.error(), (415, -32600, json!(1)));
    }
    assert_eq!(ping().without("content-type").go().await.status, 415);
    assert_eq!(ping().with("content-type", "Application/JSON; charset=utf-8").go().await.status, 200);
}

#[tokio::test]
async fn a_body_over_16_mib_is_413_and_one_below_is_read() {
    let sandbox = memory().await;
    let large = |size: usize| {
        let empty = request(1, "ping", json!({"x": ""})).to_string().len();
        request(1, "ping", json!({"x": "y".repeat(size - empty)}))
    };
    assert_eq!(Sent::post(&sandbox, &large(16 << 20)).go().await.status, 200);
    assert_eq!(Sent::post(&sandbox, &large((16 << 20) + 1)).go().await.error().0, 413);
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = vec![0; 12];
    soon(stream.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 413", "refused before any of it is read");
}

#[cfg(unix)]
#[tokio::test]
async fn connections_that_ask_nothing_lock_nobody_out() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Both ends of each connection are in this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let sandbox = memory().await;
    let mut half_open = Vec::new();
    for _ in 0..540 {
        half_open.push(TcpStream::connect(sandbox.address()).await.unwrap());
    }
    let got = soon(Sent::post(&sandbox, &request(1, "ping", json!({}))).go()).await;
    assert_eq!(got.status, 200);
    drop(half_open);
}
