//! What AgentStack's plans and its demo key allow.

use super::agentstack::{ADD, ANONYMOUS, CONVERT, CREATE, LIST, REMOVE, Stack, text};
use super::*;

const PLAN: &str = "HTTP 403: Professional subscription required for adding/removing project users. Please upgrade your subscription.";

#[tokio::test]
async fn users_are_added_and_removed_with_a_professional_plan_only() {
    let stack = Stack::new().await;
    let anonymous = stack.gives("", ANONYMOUS, json!({"name": "Anonymous"})).await;
    let id = stack.gives(&stack.professional, CREATE, json!({"name": "Team"})).await["project_id"].clone();
    let add = |more: Value| {
        let mut params = json!({"project_id": id});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    for key in [&stack.free, text(&anonymous["user_api_key"])] {
        assert_eq!(stack.refuses(key, ADD, add(json!({"email": "user@example.com"}))).await, PLAN);
        assert_eq!(stack.refuses(key, REMOVE, add(json!({"user_id": 123}))).await, PLAN);
    }
    let key = &stack.professional;
    let got = stack.gives(key, ADD, add(json!({"email": "user@example.com", "role": "member"}))).await;
    let user = got["user_id"].clone();
    let message = format!("User {user} added to project {id}");
    assert_eq!(
        got,
        json!({"success": true, "project_id": id, "user_id": user, "email": "user@example.com", "role": "member", "message": message})
    );
    for (params, said) in [
        (
            add(json!({"email": "USER@example.com"})),
            format!("HTTP 409: user {user} is in project {id} already"),
        ),
        (add(json!({"user_id": 124})), format!("HTTP 409: user 124 is in project {id} already")),
        (add(json!({"user_id": 9999})), "HTTP 404: there is no user 9999".into()),
        (
            add(json!({"email": "a b@c.de"})),
            "HTTP 422: `email` must be an e-mail address of at most 254 bytes".into(),
        ),
        (add(json!({})), "HTTP 422: give either `user_id` or `email`".into()),
        (add(json!({"user_id": 123, "email": "a@b.c"})), "HTTP 422: give either `user_id` or `email`".into()),
        (
            add(json!({"user_id": 123, "role": "owner"})),
            "HTTP 422: `role` must be one of admin, member, viewer, not \"owner\"".into(),
        ),
        (json!({"project_id": 1024, "user_id": 123}), "HTTP 403: Insufficient permissions".into()),
        (json!({"project_id": 9, "user_id": 123}), "HTTP 404: there is no project 9".into()),
        (json!({"user_id": 123}), "HTTP 422: `project_id` is required: a positive integer".into()),
    ] {
        assert_eq!(stack.refuses(key, ADD, params.clone()).await, said, "{params}");
    }
    for role in ["admin", "viewer"] {
        let got = stack.gives(key, ADD, add(json!({"user_id": 123, "role": role}))).await;
        assert_eq!((&got["role"], &got["email"]), (&json!(role), &json!("free@sandbox.example")));
        assert_eq!(stack.ids(&stack.free, json!({})).await, [id.as_i64().unwrap()]);
        let got = stack.gives(key, REMOVE, add(json!({"user_id": 123}))).await;
        assert_eq!(got["message"], format!("User 123 removed from project {id}"));
        assert_eq!(stack.ids(&stack.free, json!({})).await, [0_i64; 0]);
    }
    assert_eq!(stack.gives(key, ADD, add(json!({"user_id": 123}))).await["role"], "member");
    for (params, said) in [
        (add(json!({"user_id": 124})), "HTTP 409: the owner of a project cannot be removed".to_owned()),
        (add(json!({"user_id": 9999})), format!("HTTP 404: user 9999 is not in project {id}")),
        (add(json!({})), "HTTP 422: `user_id` is required: a positive integer".into()),
    ] {
        assert_eq!(stack.refuses(key, REMOVE, params.clone()).await, said, "{params}");
    }
}

#[tokio::test]
async fn the_free_tier_stores_a_hundred_megabytes_of_json() {
    let stack = Stack::new().await;
    let config = json!({"x": "y".repeat(15 << 20)});
    for n in 0..6 {
        stack.gives(&stack.free, CREATE, json!({"name": format!("{n}"), "config": config})).await;
    }
    let said = stack.refuses(&stack.free, CREATE, json!({"name": "6", "config": config})).await;
    assert_eq!(said, "HTTP 403: the FREE tier stores at most 100 MB of JSON");
    stack.gives(&stack.free, CREATE, json!({"name": "small"})).await;
    stack.gives(&stack.professional, CREATE, json!({"name": "large", "config": config})).await;
}

#[tokio::test]
async fn the_demo_key_reads_and_writes_nothing() {
    let stack = Stack::new().await;
    for (tool, params) in [
        (CREATE, json!({"name": "x"})),
        (ANONYMOUS, json!({"name": "x"})),
        (ADD, json!({"project_id": 1024, "user_id": 123})),
        (REMOVE, json!({"project_id": 1024, "user_id": 1})),
        (CONVERT, json!({"email": "a@b.c"})),
    ] {
        let said = stack.refuses(&stack.demo, tool, params.clone()).await;
        assert_eq!(said, format!("HTTP 403: the demo key only reads, and {tool} writes"));
        let said =
            stack.refuses(&stack.demo, "agentstack.execute", json!({"action": tool, "params": params})).await;
        assert_eq!(said, format!("HTTP 403: the demo key only reads, and {tool} writes"));
    }
    let run = stack.gives(&stack.demo, "agentstack.execute", json!({"action": LIST})).await;
    assert_eq!(run, stack.gives(&stack.demo, LIST, json!({})).await);
}
