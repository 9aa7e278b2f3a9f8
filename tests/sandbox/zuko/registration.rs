//! Discovery and registration.

use super::*;

#[tokio::test]
async fn a_client_finds_everything_from_the_first_401() {
    let sandbox = memory().await;
    let got =
        Sent::post(&sandbox, &request(1, "ping", json!({}))).at(MCP).without("authorization").go().await;
    let metadata = format!("{}/.well-known/oauth-protected-resource/api/mcp", base(&sandbox));
    let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"{}\"", SCOPES.join(" "));
    assert_eq!((got.error(), got.header("www-authenticate")), ((401, -32001, json!(1)), challenge.as_str()));
    let issuer = format!("{}/auth", base(&sandbox));
    let described = get(&sandbox, "/.well-known/oauth-protected-resource/api/mcp").await.json();
    assert_eq!(
        (&described["resource"], &described["authorization_servers"], &described["scopes_supported"]),
        (&json!(resource(&sandbox)), &json!([issuer]), &json!(SCOPES))
    );
    let server = get(&sandbox, "/.well-known/oauth-authorization-server/auth").await.json();
    assert_eq!((&server["issuer"], &server["jwks_uri"]), (&json!(issuer), &json!(format!("{issuer}/jwks"))));
    for (name, path) in [
        ("authorization_endpoint", AUTHORIZE),
        ("token_endpoint", TOKEN),
        ("registration_endpoint", REGISTER),
        ("revocation_endpoint", REVOKE),
    ] {
        assert_eq!(server[name], format!("{}{path}", base(&sandbox)));
    }
    for (name, value) in [
        ("scopes_supported", json!(SCOPES)),
        ("response_types_supported", json!(["code"])),
        ("grant_types_supported", json!(["authorization_code", "refresh_token"])),
        ("token_endpoint_auth_methods_supported", json!(["none"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
    ] {
        assert_eq!(server[name], value, "{name}");
    }
    let keys = get(&sandbox, "/auth/jwks").await.json();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    assert!(key.get("d").is_none() && key["kid"].is_string(), "{key}");
}

#[tokio::test]
async fn the_documents_name_the_host_that_the_client_used() {
    let sandbox = memory().await;
    let port = sandbox.address().port();
    for (host, base) in [
        (format!("localhost:{port}"), format!("http://localhost:{port}")),
        ("localhost".to_owned(), base(&sandbox)),
        ("localhost:1".to_owned(), base(&sandbox)),
    ] {
        for (path, name, end) in [
            ("/.well-known/oauth-protected-resource/api/mcp", "resource", "/api/mcp"),
            ("/.well-known/oauth-authorization-server/auth", "issuer", "/auth"),
        ] {
            let got = Sent::new(&sandbox, "GET").at(path).with("host", &host).go().await;
            assert_eq!(got.json()[name], format!("{base}{end}"), "{host}");
        }
    }
    let foreign = Sent::new(&sandbox, "GET").at("/auth/jwks").with("host", "evil.example").go().await;
    assert_eq!(foreign.status, 421);
}

#[tokio::test]
async fn only_the_documented_paths_and_methods_are_there() {
    let sandbox = memory().await;
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/auth/.well-known/oauth-authorization-server",
        "/auth",
        "/auth/jwks/",
        "/auth/oauth2",
    ] {
        assert_eq!(get(&sandbox, path).await.status, 404, "{path}");
    }
    for (path, method) in [
        ("/.well-known/oauth-protected-resource/api/mcp", "GET"),
        ("/auth/jwks", "GET"),
        (AUTHORIZE, "GET"),
        (SIGN_IN, "POST"),
        (CONSENT, "POST"),
        (TOKEN, "POST"),
        (REGISTER, "POST"),
        (REVOKE, "POST"),
    ] {
        for other in ["GET", "POST", "DELETE", "PUT", "OPTIONS"] {
            if other != method {
                let got = Sent::new(&sandbox, other).at(path).go().await;
                assert_eq!((got.status, got.header("allow")), (405, method), "{other} {path}");
            }
        }
    }
    for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"] {
        let got = Sent::new(&sandbox, method).at(MCP).without("authorization").go().await;
        assert_eq!((got.status, got.header("allow")), (405, "POST"), "{method}");
    }
}

#[tokio::test]
async fn a_registration_returns_what_was_registered() {
    let sandbox = memory().await;
    let got = register(&sandbox, &metadata()).await;
    assert_eq!((got.status, got.header("cache-control")), (201, "no-store"));
    let registered = got.json();
    for (name, value) in metadata().as_object().unwrap() {
        assert_eq!(&registered[name], value, "{name}");
    }
    assert_eq!(registered["scope"], SCOPES.join(" "));
    assert!(registered["client_id_issued_at"].is_i64() && registered.get("client_secret").is_none());
    let web =
        register(&sandbox, &json!({"redirect_uris": ["https://app.example/cb"], "software_id": 7})).await;
    let web = web.json();
    assert_eq!(
        (
            &web["application_type"],
            &web["grant_types"],
            &web["response_types"],
            &web["token_endpoint_auth_method"]
        ),
        (&json!("web"), &json!(["authorization_code"]), &json!(["code"]), &json!("none"))
    );
    assert!(web.get("software_id").is_none());
}

#[tokio::test]
async fn metadata_that_does_not_fit_is_refused() {
    let sandbox = memory().await;
    let (meta, uri) = ("invalid_client_metadata", "invalid_redirect_uri");
    for (name, value, code) in [
        ("application_type", json!("web"), uri),
        ("application_type", json!("desktop"), meta),
        ("application_type", json!(null), meta),
        ("redirect_uris", json!(null), uri),
        ("redirect_uris", json!([]), uri),
        ("redirect_uris", json!(REDIRECT), uri),
        ("redirect_uris", json!([1]), uri),
        ("redirect_uris", json!(vec![REDIRECT; 11]), uri),
        ("redirect_uris", json!(["http://evil.example/cb"]), uri),
        ("redirect_uris", json!([REDIRECT, "javascript:alert(1)"]), uri),
        ("redirect_uris", json!([format!("{REDIRECT}#x")]), uri),
        ("redirect_uris", json!(["/callback"]), uri),
        ("token_endpoint_auth_method", json!("client_secret_basic"), meta),
        ("grant_types", json!(["refresh_token"]), meta),
        ("grant_types", json!(["authorization_code", "implicit"]), meta),
        ("grant_types", json!([]), meta),
        ("response_types", json!(["token"]), meta),
        ("response_types", json!("code"), meta),
        ("scope", json!("tasks:read admin"), meta),
        ("scope", json!(""), meta),
        ("client_name", json!("x".repeat(201)), meta),
        ("client_name", json!({}), meta),
    ] {
        let mut document = metadata();
        document[name] = value;
        let got = register(&sandbox, &document).await;
        assert_eq!((got.status, got.json()["error"].as_str().unwrap()), (400, code), "{document}");
        assert!(!got.json()["error_description"].as_str().unwrap().is_empty());
    }
    let mut without = metadata();
    without.as_object_mut().unwrap().remove("application_type");
    assert_eq!(register(&sandbox, &without).await.json()["error"], uri, "the default is web");
    for body in ["", "[]", "{", "null", &format!("{{\"client_name\": \"{}\"}}", "x".repeat(70_000))] {
        let got = Sent::text(&sandbox, body).at(REGISTER).go().await;
        assert_eq!((got.status, &got.json()["error"]), (400, &json!(meta)), "{body:.20}");
    }
    let sent = Sent::post(&sandbox, &metadata()).at(REGISTER).with("content-type", "text/plain");
    assert_eq!(sent.go().await.status, 400);
}
