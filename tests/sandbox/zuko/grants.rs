//! Codes, refresh tokens, revocation.

use super::*;

fn error(got: &Got) -> (u16, String) {
    (got.status, got.json()["error"].as_str().unwrap_or_default().to_owned())
}

fn bad(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

#[tokio::test]
async fn a_token_response_is_complete_and_its_token_a_jwt_of_the_key_set() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let code = code(&sandbox, &client).await;
    let got = post_form(&sandbox, TOKEN, &exchange(&sandbox, &client, &code)).await;
    assert_eq!(
        (got.status, got.header("cache-control"), got.header("pragma")),
        (200, "no-store", "no-cache")
    );
    let issued = got.json();
    assert_eq!(
        (&issued["token_type"], &issued["expires_in"], &issued["scope"]),
        (&json!("Bearer"), &json!(3600), &json!(SCOPES.join(" ")))
    );
    let token = issued["access_token"].as_str().unwrap();
    let part = |at: usize| -> Value {
        let text = token.split('.').nth(at).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    let keys = get(&sandbox, "/auth/jwks").await.json();
    let key = &keys["keys"][0];
    assert_eq!(part(0), json!({"alg": "ES256", "typ": "at+jwt", "kid": key["kid"]}));
    let claims = part(1);
    for (name, value) in [
        ("iss", json!(format!("{}/auth", base(&sandbox)))),
        ("aud", json!(resource(&sandbox))),
        ("sub", json!(DANA)),
        ("client_id", json!(client)),
        ("scope", json!(SCOPES.join(" "))),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    let mut point = vec![4];
    for name in ["x", "y"] {
        point.extend(URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap());
    }
    let (signed, signature) = token.rsplit_once('.').unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
}

#[tokio::test]
async fn a_code_is_bound_to_all_that_it_was_issued_for_and_spent_by_the_first_attempt() {
    let sandbox = memory().await;
    let (client, other) = (registered(&sandbox).await, registered(&sandbox).await);
    let wrong = "another-verifier-of-forty-three-characters-or-more";
    for (name, value, code_of_error, spends) in [
        ("client_id", Some(other.as_str()), "invalid_grant", true),
        ("redirect_uri", Some("http://127.0.0.1:4001/callback"), "invalid_grant", true),
        ("code_verifier", Some(wrong), "invalid_grant", true),
        ("code_verifier", Some("short"), "invalid_grant", true),
        ("resource", Some("https://other.example/api/mcp"), "invalid_target", true),
        ("redirect_uri", None, "invalid_request", false),
        ("code_verifier", None, "invalid_request", false),
        ("resource", None, "invalid_target", false),
        ("code", None, "invalid_request", false),
        ("code", Some("zuko_code_unknown"), "invalid_grant", false),
    ] {
        let code = code(&sandbox, &client).await;
        let good = exchange(&sandbox, &client, &code);
        let got = post_form(&sandbox, TOKEN, &but(&good, name, value)).await;
        assert_eq!(error(&got), bad(code_of_error), "{name} {value:?}");
        let again = post_form(&sandbox, TOKEN, &good).await;
        assert_eq!(again.status, if spends { 400 } else { 200 }, "{name} {value:?}: {again:?}");
    }
}

#[tokio::test]
async fn a_replayed_code_ends_what_came_of_it() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let code = code(&sandbox, &client).await;
    let fields = exchange(&sandbox, &client, &code);
    let issued = post_form(&sandbox, TOKEN, &fields).await.json();
    assert_eq!(error(&post_form(&sandbox, TOKEN, &fields).await), bad("invalid_grant"));
    let got = post_form(&sandbox, TOKEN, &refresh(&client, &issued["refresh_token"])).await;
    assert_eq!(error(&got), bad("invalid_grant"));
}

#[tokio::test]
async fn a_refresh_token_is_replaced_by_each_use_and_a_replay_ends_the_family() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let mut chain = vec![tokens(&sandbox, (&client, DANA), &SCOPES).await["refresh_token"].clone()];
    for _ in 0..3 {
        let got = post_form(&sandbox, TOKEN, &refresh(&client, chain.last().unwrap())).await;
        assert_eq!(got.status, 200, "{got:?}");
        let next = got.json()["refresh_token"].clone();
        assert!(!chain.contains(&next));
        chain.push(next);
    }
    let bystander = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    let replayed = post_form(&sandbox, TOKEN, &refresh(&client, &chain[1])).await;
    assert_eq!(error(&replayed), bad("invalid_grant"));
    for token in &chain {
        let got = post_form(&sandbox, TOKEN, &refresh(&client, token)).await;
        assert_eq!(error(&got), bad("invalid_grant"));
    }
    let got = post_form(&sandbox, TOKEN, &refresh(&client, &bystander["refresh_token"])).await;
    assert_eq!(got.status, 200, "another login goes on");
}

#[tokio::test]
async fn of_refreshes_at_once_one_succeeds() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let client = registered(&sandbox).await;
    let issued = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    let fields = refresh(&client, &issued["refresh_token"]);
    let sent = (0..8).map(|_| post_form(&sandbox, TOKEN, &fields));
    let all = futures_util::future::join_all(sent).await;
    assert_eq!(all.iter().filter(|got| got.status == 200).count(), 1);
}

#[tokio::test]
async fn a_refresh_narrows_the_token_but_not_the_grant() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let issued = tokens(&sandbox, (&client, DANA), &SCOPES[..2]).await;
    let fields = refresh(&client, &issued["refresh_token"]);
    let other = registered(&sandbox).await;
    for (name, value, code) in [
        ("scope", "tasks:write", "invalid_scope"),
        ("scope", "tasks:read tasks:write", "invalid_scope"),
        ("resource", "https://other.example/api/mcp", "invalid_target"),
        ("client_id", other.as_str(), "invalid_grant"),
    ] {
        let got = post_form(&sandbox, TOKEN, &but(&fields, name, Some(value))).await;
        assert_eq!(error(&got), bad(code), "{name} {value}");
    }
    let narrow = but(&but(&fields, "scope", Some("tasks:read")), "resource", Some(&resource(&sandbox)));
    let narrow = post_form(&sandbox, TOKEN, &narrow).await.json();
    assert_eq!(narrow["scope"], "tasks:read", "the refusals have not spent it");
    let wide = post_form(&sandbox, TOKEN, &refresh(&client, &narrow["refresh_token"])).await.json();
    assert_eq!(wide["scope"], SCOPES[..2].join(" "));
}

#[tokio::test]
async fn a_client_without_the_grant_type_gets_no_refresh_token() {
    let sandbox = memory().await;
    let document = json!({"application_type": "native", "redirect_uris": [REDIRECT]});
    let client = register(&sandbox, &document).await.json()["client_id"].as_str().unwrap().to_owned();
    let issued = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    assert!(issued.get("refresh_token").is_none(), "{issued}");
    let got = post_form(&sandbox, TOKEN, &refresh(&client, &json!("x"))).await;
    assert_eq!(error(&got), bad("unauthorized_client"));
}

#[tokio::test]
async fn a_revoked_refresh_token_ends_its_family_and_revocation_names_no_secrets() {
    let sandbox = memory().await;
    let (client, other) = (registered(&sandbox).await, registered(&sandbox).await);
    let first = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    let second = post_form(&sandbox, TOKEN, &refresh(&client, &first["refresh_token"])).await.json();
    let revoke = async |client: &str, token: &Value| {
        let fields = [("client_id", client), ("token", token.as_str().unwrap_or_default())];
        post_form(&sandbox, REVOKE, &fields).await
    };
    assert_eq!(error(&revoke(&other, &second["refresh_token"]).await), bad("invalid_grant"));
    assert_eq!(error(&revoke(&client, &second["access_token"]).await), bad("unsupported_token_type"));
    assert_eq!(error(&revoke(&client, &json!(null)).await), bad("invalid_request"));
    assert_eq!(revoke(&client, &json!("unknown")).await.status, 200);
    let mut refreshed = post_form(&sandbox, TOKEN, &refresh(&client, &second["refresh_token"])).await.json();
    assert!(refreshed["refresh_token"].is_string(), "nothing was revoked so far: {refreshed}");
    assert_eq!(revoke(&client, &refreshed["refresh_token"]).await.status, 200);
    let token = refreshed["refresh_token"].take();
    assert_eq!(error(&post_form(&sandbox, TOKEN, &refresh(&client, &token)).await), bad("invalid_grant"));
    assert_eq!(revoke(&client, &token).await.status, 200, "again is no error");
}

#[tokio::test]
async fn requests_of_the_wrong_form_are_refused_and_never_500() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let code = code(&sandbox, &client).await;
    let good = exchange(&sandbox, &client, &code);
    for (name, value, expected) in [
        ("grant_type", None, bad("invalid_request")),
        ("grant_type", Some("client_credentials"), bad("unsupported_grant_type")),
        ("client_id", None, bad("invalid_request")),
        ("client_id", Some("unknown"), (401, "invalid_client".to_owned())),
        ("client_secret", Some("x"), (401, "invalid_client".to_owned())),
    ] {
        let got = post_form(&sandbox, TOKEN, &but(&good, name, value)).await;
        assert_eq!(error(&got), expected, "{name} {value:?}");
    }
    let body = encoded(&good);
    let send = |text: &str, kind: &str| {
        Sent::text(&sandbox, text).without("authorization").at(TOKEN).with("content-type", kind)
    };
    let kind = "application/x-www-form-urlencoded";
    let basic = send(&body, kind).with("authorization", "Basic eDp5").go().await;
    assert_eq!(
        (error(&basic), basic.header("www-authenticate")),
        ((401, "invalid_client".into()), "Basic realm=\"zuko\"")
    );
    assert_eq!(error(&send(&body, "application/json").go().await), bad("invalid_request"));
    assert_eq!(error(&send(&format!("{body}&code=x"), kind).go().await), bad("invalid_request"));
    for path in [TOKEN, REVOKE, REGISTER, SIGN_IN, CONSENT] {
        let long = format!("client_id={}", "x".repeat(1 << 20));
        for text in ["", "%", "%ff%fe", "a=1&a=2", "client_id='%20OR%201=1--&token=x&query=x&csrf=x", &long] {
            let got = Sent::text(&sandbox, text).at(path).with("content-type", kind).go().await;
            assert!((400..500).contains(&got.status), "{path} {text:.30}: {got:?}");
        }
        let mut sent = Sent::text(&sandbox, "").at(path).with("content-type", kind);
        sent.body = vec![0xff; 100].into();
        assert_eq!(sent.go().await.status / 100, 4, "{path}");
    }
    assert_eq!(post_form(&sandbox, TOKEN, &good).await.status, 200, "none of it has spent the code");
}
