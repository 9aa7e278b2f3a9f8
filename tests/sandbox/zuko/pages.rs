//! What a person's browser meets: refusals, sign-in, consent.

use super::*;

#[tokio::test]
async fn a_client_that_is_not_known_is_told_on_a_page_and_never_redirected_to() {
    let sandbox = memory().await;
    let good = wanted(&sandbox, &registered(&sandbox).await);
    for (name, value) in [
        ("client_id", None),
        ("client_id", Some("unknown")),
        ("client_id", Some("' OR 1=1 --")),
        ("redirect_uri", None),
        ("redirect_uri", Some("https://evil.example/cb")),
        ("redirect_uri", Some("http://127.0.0.1:4000/callback/more")),
        ("redirect_uri", Some("http://127.0.0.1:4000/callback?x=1")),
        ("redirect_uri", Some("http://127.0.0.1:4000@evil.example/callback")),
    ] {
        let got = get(&sandbox, &format!("{AUTHORIZE}?{}", encoded(&but(&good, name, value)))).await;
        assert_eq!((got.status, got.header("location")), (400, ""), "{name} {value:?}");
        assert!(got.header("content-type").starts_with("text/html"), "{got:?}");
    }
    let repeated = format!("{AUTHORIZE}?{}&state=2", encoded(&good));
    assert_eq!(get(&sandbox, &repeated).await.status, 400);
    let elsewhere = but(&good, "redirect_uri", Some("http://127.0.0.1:50123/callback"));
    let got = get(&sandbox, &format!("{AUTHORIZE}?{}", encoded(&elsewhere))).await;
    assert_eq!(got.status, 200, "the port of a loopback address may differ");
}

#[tokio::test]
async fn other_mistakes_are_told_to_the_client_with_state_and_issuer() {
    let sandbox = memory().await;
    let good = wanted(&sandbox, &registered(&sandbox).await);
    for (name, value, code) in [
        ("response_type", None, "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_mode", Some("fragment"), "invalid_request"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some("short"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("resource", None, "invalid_target"),
        ("resource", Some("https://other.example/api/mcp"), "invalid_target"),
        ("resource", Some(&format!("{}/", resource(&sandbox))), "invalid_target"),
        ("scope", Some("tasks:read admin"), "invalid_scope"),
        ("scope", Some("offline_access"), "invalid_scope"),
    ] {
        let got = get(&sandbox, &format!("{AUTHORIZE}?{}", encoded(&but(&good, name, value)))).await;
        let url = got.header("location");
        assert!(got.status == 303 && url.starts_with(&format!("{REDIRECT}?")), "{name}: {got:?}");
        assert_eq!(query_of(url, "error").as_deref(), Some(code), "{name} {value:?}");
        assert_eq!(query_of(url, "state").as_deref(), Some("a state&more"));
        assert_eq!(query_of(url, "iss"), Some(format!("{}/auth", base(&sandbox))));
    }
    let mut narrow = metadata();
    narrow["scope"] = "tasks:read".into();
    let client = register(&sandbox, &narrow).await.json()["client_id"].as_str().unwrap().to_owned();
    let more = but(&wanted(&sandbox, &client), "scope", Some("tasks:write"));
    let got = get(&sandbox, &format!("{AUTHORIZE}?{}", encoded(&more))).await;
    assert_eq!(query_of(got.header("location"), "error").as_deref(), Some("invalid_scope"));
}

#[tokio::test]
async fn pages_run_no_script_fit_no_frame_and_escape_the_clients_name() {
    let sandbox = memory().await;
    let query = encoded(&wanted(&sandbox, &registered(&sandbox).await));
    let mut browsing = Browsing::new(&sandbox);
    let sign_in = browsing.opens(&format!("{AUTHORIZE}?{query}")).await;
    let cookie = sign_in.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && cookie.contains("; Path=/auth;"), "{cookie}");
    let got = browsing.submits(SIGN_IN, &sign_in.body, &[("account", DANA)]).await;
    assert_ne!(got.header("set-cookie").split(';').next(), cookie.split(';').next(), "a new cookie");
    let consent = browsing.opens(got.header("location")).await;
    for (page, target) in [(&sign_in, ""), (&consent, " http://127.0.0.1:4000")] {
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        let rest = format!("; form-action 'self'{target}; frame-ancestors 'none'; base-uri 'none'");
        assert!(policy.ends_with(&rest) && !policy.contains("script-src"), "{policy}");
        let style = page.body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
        assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
        assert_eq!((page.header("x-frame-options"), page.header("cache-control")), ("DENY", "no-store"));
        assert_eq!(page.header("referrer-policy"), "same-origin", "no-referrer makes Origin null");
        assert!(
            page.body.contains("A &lt;b&gt;client&lt;/b&gt;") && !page.body.contains("<b>"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("<script") && page.body.contains("autofocus"));
        assert!(page.body.contains("<html lang=\"en\">"));
    }
    for account in ["dana@zuko.example", "Acme, Globex", "sam@zuko.example"] {
        assert!(sign_in.body.contains(account), "{}", sign_in.body);
    }
    for scope in SCOPES {
        assert!(
            consent.body.contains(&format!("name=\"{scope}\" value=\"yes\" checked")),
            "{}",
            consent.body
        );
    }
}

#[tokio::test]
async fn a_form_that_this_browser_was_not_given_is_refused() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let fields = wanted(&sandbox, &client);
    let (mut one, mut other) = (Browsing::new(&sandbox), Browsing::new(&sandbox));
    let page = one.opens(&format!("{AUTHORIZE}?{}", encoded(&fields))).await.body;
    other.opens(&format!("{AUTHORIZE}?{}", encoded(&fields))).await;
    let account = [("account", DANA)];
    assert_eq!(other.submits(SIGN_IN, &page, &account).await.status, 400, "another browser's form");
    assert_eq!(Browsing::new(&sandbox).submits(SIGN_IN, &page, &account).await.status, 400, "no cookie");
    let query = hidden(&page, "query");
    let changed = page.replace("tasks", "x").replace(&hidden(&page, "csrf"), &"0".repeat(64));
    assert_eq!(one.submits(SIGN_IN, &changed, &account).await.status, 400, "no token of ours");
    let longer = format!("{query}&scope=tasks:read");
    let moved = page.replace(&query.replace('&', "&amp;"), &longer.replace('&', "&amp;"));
    assert_eq!(one.submits(SIGN_IN, &moved, &account).await.status, 400, "another request");
    for account in ["13", "", "x", "' OR 1=1"] {
        assert_eq!(one.submits(SIGN_IN, &page, &[("account", account)]).await.status, 400, "{account}");
    }
    let consent = one.signs_in(&fields, DANA).await.body;
    let allow = [("decision", "allow"), ("tasks:read", "yes")];
    let theirs = other.signs_in(&fields, SAM).await.body;
    assert_eq!(one.submits(CONSENT, &theirs, &allow).await.status, 400, "another browser's consent");
    assert_eq!(one.submits(CONSENT, &page, &allow).await.status, 400, "the form of the sign-in page");
    assert_eq!(one.submits(CONSENT, &consent, &[("decision", "maybe")]).await.status, 400);
    let sent = Sent::text(&sandbox, &encoded(&allow)).at(CONSENT).with("origin", "https://evil.example");
    assert_eq!(sent.go().await.status, 403, "a foreign page");
    assert_eq!(one.submits(CONSENT, &consent, &allow).await.status, 303);
}

#[tokio::test]
async fn a_person_can_deny_grant_less_and_change_accounts() {
    let sandbox = memory().await;
    let client = registered(&sandbox).await;
    let fields = wanted(&sandbox, &client);
    let mut browsing = Browsing::new(&sandbox);
    let consent = browsing.signs_in(&fields, DANA).await.body;
    for answer in [&[("decision", "deny"), ("tasks:read", "yes")][..], &[("decision", "allow")]] {
        let got = browsing.submits(CONSENT, &consent, answer).await;
        let url = got.header("location");
        assert_eq!(query_of(url, "error").as_deref(), Some("access_denied"), "{url}");
        assert!(query_of(url, "code").is_none() && query_of(url, "state").is_some());
    }
    let got = browsing.submits(CONSENT, &consent, &[("decision", "switch")]).await;
    let page = browsing.opens(got.header("location")).await;
    assert!(page.body.contains("Sign in to Zuko"), "{}", page.body);
    let got = browsing.submits(CONSENT, &consent, &[("decision", "allow"), ("tasks:read", "yes")]).await;
    assert!(got.header("location").starts_with(AUTHORIZE), "signed out: {got:?}");
    let less = but(&fields, "scope", Some("tasks:read organizations:read"));
    let consent = browsing.signs_in(&less, SAM).await;
    assert!(consent.body.contains("sam@zuko.example") && !consent.body.contains("tasks:write"));
    let all = [("decision", "allow"), ("tasks:read", "yes"), ("tasks:write", "yes")];
    let got = browsing.submits(CONSENT, &consent.body, &all).await;
    let code = query_of(got.header("location"), "code").unwrap();
    let issued = post_form(&sandbox, TOKEN, &exchange(&sandbox, &client, &code)).await.json();
    assert_eq!(issued["scope"], "tasks:read", "no more than was asked for and ticked");
    let again = browsing.opens(&format!("{AUTHORIZE}?{}", encoded(&fields))).await;
    assert!(again.body.contains("Allow A"), "signed in, and asked for consent again: {}", again.body);
}
