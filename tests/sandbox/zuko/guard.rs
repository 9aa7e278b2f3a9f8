//! Which tokens the endpoint takes, what scopes allow, and what lasts.

use super::*;

fn invalid(sandbox: &Sandbox) -> String {
    format!(
        "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/api/mcp\", scope=\"{}\", \
         error=\"invalid_token\", error_description=\"the access token is invalid or expired\"",
        base(sandbox),
        SCOPES.join(" ")
    )
}

#[tokio::test]
async fn tokens_of_another_issuer_audience_or_kind_are_invalid() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let (ping, client) = (request("p", "ping", json!({})), registered(&sandbox).await);
    let issued = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    let good = issued["access_token"].as_str().unwrap();
    assert_eq!(with_token(&sandbox, good, &ping).go().await.status, 200);
    let foreign = memory().await;
    let of_foreign = User::new(&foreign, DANA).await.token;
    // The same keys, but another port: another issuer and audience.
    let neighbour = directory(home.path()).await;
    let of_neighbour = User::new(&neighbour, DANA).await.token;
    let changed = good.replace('.', "x.");
    for wrong in [
        of_foreign.as_str(),
        &of_neighbour,
        &changed,
        &key(&sandbox),
        issued["refresh_token"].as_str().unwrap(),
        "",
        "a.b.c",
        "' OR 1=1 --",
    ] {
        let got = with_token(&sandbox, wrong, &ping).go().await;
        assert_eq!(got.error(), (401, -32001, json!("p")), "{wrong}");
        assert_eq!(got.header("www-authenticate"), invalid(&sandbox), "{wrong}");
    }
    let port = sandbox.address().port();
    let by_name = with_token(&sandbox, good, &ping).with("host", &format!("localhost:{port}")).go().await;
    assert_eq!(by_name.status, 401, "http://localhost is another resource");
    let mut two = with_token(&sandbox, good, &ping);
    two.headers.push(("authorization".into(), format!("Bearer {good}")));
    assert_eq!(two.go().await.status, 401);
    let basic = with_token(&sandbox, good, &ping).with("authorization", "Basic eDp5").go().await;
    assert_eq!(basic.status, 401);
    let in_query = Sent::post(&sandbox, &ping).without("authorization");
    let path = format!("{MCP}?access_token={good}");
    assert_eq!(in_query.at(&path).go().await.status, 401);
    let at_asistry = Sent::post(&sandbox, &ping).with("authorization", &format!("Bearer {good}")).go().await;
    assert_eq!(at_asistry.status, 401, "no token opens another service");
}

#[tokio::test]
async fn a_login_by_name_works_at_that_name() {
    let sandbox = memory().await;
    let port = sandbox.address().port();
    let (host, client) = (format!("localhost:{port}"), registered(&sandbox).await);
    let fields = but(&wanted(&sandbox, &client), "resource", Some(&format!("http://{host}{MCP}")));
    let path = format!("{AUTHORIZE}?{}", encoded(&fields));
    let got = Sent::new(&sandbox, "GET").at(&path).with("host", &host).go().await;
    assert_eq!(got.status, 200, "{got:?}");
    let elsewhere = get(&sandbox, &path).await;
    assert_eq!(query_of(elsewhere.header("location"), "error").as_deref(), Some("invalid_target"));
}

#[tokio::test]
async fn each_tool_needs_its_scope_and_403_says_which() {
    let sandbox = memory().await;
    for (tool, arguments, scope) in [
        ("list_organizations", json!({}), "organizations:read"),
        ("list_tasks", json!({}), "tasks:read"),
        ("get_task", json!({"taskId": 1}), "tasks:read"),
        ("create_task", json!({"title": "x", "organizationId": 1}), "tasks:write"),
        ("update_task", json!({"taskId": 1, "title": "x"}), "tasks:write"),
    ] {
        let others: Vec<_> = SCOPES.into_iter().filter(|known| *known != scope).collect();
        let user = User::with(&sandbox, DANA, &others).await;
        let got = user.sends(&tools_call(tool, arguments.clone())).await;
        assert_eq!(got.error(), (403, -32001, json!(1)), "{tool}");
        let challenge = format!(
            "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/api/mcp\", scope=\"{}\", \
             error=\"insufficient_scope\", error_description=\"the access token lacks the scope {scope}\"",
            base(&sandbox),
            SCOPES.join(" ")
        );
        assert_eq!(got.header("www-authenticate"), challenge);
        let listed = user.sends(&request(2, "tools/list", json!({}))).await.json();
        assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 5, "listed all the same");
        let batch = json!([request(1, "ping", json!({})), tools_call(tool, arguments.clone())]);
        assert_eq!(user.sends(&batch).await.status, 403, "refused whole");
        let only = User::with(&sandbox, DANA, &[scope]).await;
        assert_eq!(only.sends(&tools_call(tool, arguments)).await.status, 200, "{tool}");
    }
    let reader = User::with(&sandbox, DANA, &["tasks:read"]).await;
    let got = reader.sends(&tools_call("create_task", json!({}))).await;
    assert!(got.header("www-authenticate").contains("scope=\"tasks:read tasks:write\""), "{got:?}");
    let unknown = reader.sends(&tools_call("drop_table", json!({}))).await;
    assert_eq!(unknown.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn it_is_stateless_and_negotiates_the_revision() {
    let sandbox = memory().await;
    let dana = User::new(&sandbox, DANA).await;
    for (asked, answered) in
        [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2031-01-01", "2025-11-25")]
    {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let sent = with_token(&sandbox, &dana.token, &request(1, "initialize", params)).with(BOTH.0, BOTH.1);
        let got = sent.go().await;
        assert_eq!(got.json()["result"]["protocolVersion"], answered);
        assert_eq!((got.header("mcp-session-id"), got.header("content-type")), ("", "application/json"));
    }
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(dana.sends(&ready).await.status, 202);
    let sent = with_token(&sandbox, &dana.token, &request(1, "ping", json!({})));
    assert_eq!(sent.with("mcp-session-id", "any").go().await.status, 200, "sessions are ignored");
}

#[tokio::test]
async fn logins_outlast_the_process_and_end_with_a_reset() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let (address, client) = (sandbox.address(), registered(&sandbox).await);
    let issued = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    let pending = code(&sandbox, &client).await;
    sandbox.stop().await;
    let options = Options {
        data: Data::Directory(home.path().into()),
        listen: address,
        embedded: false,
        faults: Faults::default(),
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let user = User { sandbox: &sandbox, token: issued["access_token"].as_str().unwrap().to_owned() };
    user.calls("list_organizations", json!({})).await;
    assert_eq!(post_form(&sandbox, TOKEN, &exchange(&sandbox, &client, &pending)).await.status, 200);
    assert_eq!(post_form(&sandbox, TOKEN, &refresh(&client, &issued["refresh_token"])).await.status, 200);
    reset(home.path()).unwrap();
    assert_eq!(user.sends(&request(1, "ping", json!({}))).await.status, 401, "the keys are new");
    let got = post_form(&sandbox, TOKEN, &refresh(&client, &issued["refresh_token"])).await;
    assert_eq!(got.status, 401, "the client is forgotten");
}

#[tokio::test]
async fn codes_refresh_tokens_and_sessions_are_stored_as_hashes() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let client = registered(&sandbox).await;
    let mut browsing = Browsing::new(&sandbox);
    let url = browsing.allows(&wanted(&sandbox, &client), (DANA, &SCOPES)).await;
    let code = query_of(&url, "code").unwrap();
    let issued = post_form(&sandbox, TOKEN, &exchange(&sandbox, &client, &code)).await.json();
    let cookie = browsing.cookie.split_once('=').unwrap().1.to_owned();
    let refresh = issued["refresh_token"].as_str().unwrap().strip_prefix("zuko_refresh_").unwrap();
    let secrets = [
        code.strip_prefix("zuko_code_").unwrap(),
        refresh,
        &cookie,
        issued["access_token"].as_str().unwrap(),
    ];
    sandbox.stop().await;
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for secret in secrets {
            let found = bytes.windows(16).any(|part| part == &secret.as_bytes()[..16]);
            assert!(!found, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn the_embedded_service_logs_in_by_itself() {
    let home = tempfile::tempdir().unwrap();
    for data in [Data::Directory(home.path().into()), Data::Memory] {
        let sandbox = start(data, true).await;
        let endpoint = sandbox.endpoints().iter().find(|endpoint| endpoint.service == "zuko").unwrap();
        assert_eq!((endpoint.url.as_str(), endpoint.key.as_str()), (resource(&sandbox).as_str(), ""));
        let user = User { sandbox: &sandbox, token: sandbox.credential(endpoint).await.unwrap() };
        assert_eq!(user.calls("list_organizations", json!({})).await.as_array().unwrap().len(), 2);
        let claims = URL_SAFE_NO_PAD.decode(user.token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let days = (claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()) / 86400;
        assert_eq!(days, 365, "a bridge may run for long");
    }
}
