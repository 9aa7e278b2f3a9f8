//! Access tokens that expire before their time.

use super::*;
use crate::sandbox::faults::failing;

#[tokio::test]
async fn an_expired_access_token_stays_refused_and_is_refreshed() {
    let sandbox = failing("expired@zuko/*:1/2").await;
    let client = registered(&sandbox).await;
    let issued = tokens(&sandbox, (&client, DANA), &SCOPES).await;
    let calls = async |issued: &Value| {
        let token = issued["access_token"].as_str().unwrap();
        with_token(&sandbox, token, &tools_call("list_tasks", json!({}))).go().await
    };
    assert_eq!(calls(&issued).await.status, 200);
    let got = calls(&issued).await;
    assert_eq!(got.status, 401);
    assert!(got.header("www-authenticate").contains("error=\"invalid_token\""), "{got:?}");
    assert!(got.header("www-authenticate").contains("resource_metadata="), "{got:?}");
    for _ in 0..3 {
        assert_eq!(calls(&issued).await.status, 401, "not only when its turn comes");
    }
    let issued = post_form(&sandbox, TOKEN, &refresh(&client, &issued["refresh_token"])).await.json();
    assert_eq!(calls(&issued).await.status, 200);
}
