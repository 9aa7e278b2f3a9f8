//! AgentStack's actions, with every argument, limit and refusal.

use super::*;

pub const BASE: &str = "/agentstack/mcp";
pub const CREATE: &str = "projects.create_project";
pub const ANONYMOUS: &str = "projects.create_project_anonymous";
const ATTACH: &str = "projects.attach_to_user";
pub const CONVERT: &str = "auth.convert_anonymous_user";
pub const LIST: &str = "projects.get_projects";
pub const ADD: &str = "projects.add_user";
pub const REMOVE: &str = "projects.remove_user";

/// The sandbox with the three keys that its start made.
pub struct Stack {
    pub sandbox: Sandbox,
    pub free: String,
    pub professional: String,
    pub demo: String,
}

impl Stack {
    pub async fn of(sandbox: Sandbox) -> Self {
        let endpoint = sandbox.endpoints().iter().find(|endpoint| endpoint.service == "agentstack").unwrap();
        let more = |name: &str| {
            endpoint.more_keys.iter().find(|(field, _)| *field == name).map(|(_, key)| key.clone()).unwrap()
        };
        let (free, professional, demo) = (endpoint.key.clone(), more("professional_key"), more("demo_key"));
        Self { sandbox, free, professional, demo }
    }

    pub async fn new() -> Self {
        Self::of(memory().await).await
    }

    /// A request with this key, or none.
    pub fn ask<'a>(&'a self, method: &'a str, path: &'a str, key: &str) -> Sent<'a> {
        let sent = Sent::new(&self.sandbox, method).at(path).without("authorization");
        if key.is_empty() { sent } else { sent.with("authorization", &format!("Bearer {key}")) }
    }

    pub fn post<'a>(&'a self, path: &'a str, key: &str, body: &Value) -> Sent<'a> {
        let mut sent = self.ask("POST", path, key).with("content-type", "application/json");
        sent.body = body.to_string().into();
        sent
    }

    pub async fn call(&self, key: &str, tool: &str, params: Value) -> Got {
        let path = format!("{BASE}/tools/{tool}");
        let got = self.post(&path, key, &json!({"tool": tool, "params": params})).go().await;
        assert_eq!(got.json()["trace_id"], got.header("x-trace-id"), "{got:?}");
        got
    }

    /// Calls an action that must succeed, and returns its data.
    pub async fn gives(&self, key: &str, tool: &str, params: Value) -> Value {
        let got = self.call(key, tool, params).await;
        assert_eq!((got.status, &got.json()["success"]), (200, &json!(true)), "{got:?}");
        got.json()["data"].clone()
    }

    /// Calls an action that must fail, and returns its text, which begins with the status.
    pub async fn refuses(&self, key: &str, tool: &str, params: Value) -> String {
        let got = self.call(key, tool, params).await;
        let body = got.json();
        assert_eq!((&body["success"], body.as_object().unwrap().len()), (&json!(false), 3), "{got:?}");
        let text = body["error"].as_str().unwrap().to_owned();
        assert!(text.starts_with(&format!("HTTP {}: ", got.status)) && got.status < 500, "{got:?}");
        text
    }

    pub async fn ids(&self, key: &str, params: Value) -> Vec<i64> {
        let data = self.gives(key, LIST, params).await;
        data["projects"].as_array().unwrap().iter().map(|project| project["id"].as_i64().unwrap()).collect()
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn an_anonymous_project_has_keys_a_user_and_the_limits_of_its_tier() {
    let stack = Stack::new().await;
    let made =
        stack.gives("", ANONYMOUS, json!({"name": "Test Project", "description": "By an agent"})).await;
    assert_eq!((&made["project_id"], &made["project"]["id"]), (&json!(1025), &json!(1025)));
    assert_eq!(made["user_id"], made["project"]["user_id"]);
    assert!(text(&made["user_api_key"]).starts_with("anon_ask_"));
    assert!(text(&made["project_api_key"]).starts_with("ask_"));
    assert_eq!((&made["api_key"], &made["auth_key"]), (&made["project_api_key"], &made["project_api_key"]));
    let project = &made["project"];
    assert_eq!((&project["name"], &project["description"]), (&json!("Test Project"), &json!("By an agent")));
    assert_eq!((&project["is_anonymous"], &project["tier"]), (&json!(true), &json!("ANONYMOUS")));
    let limits = json!({
        "projects": 1, "api_keys": 1, "logic_engine_calls_per_month": 1000, "json_storage_mb": 20, "triggers": 20,
        "payments": false
    });
    assert_eq!(project["limits"], limits);
    let usage = json!({"logic_engine_calls": 0, "json_storage_bytes": 6, "triggers": 0});
    assert_eq!(project["usage"], usage);
    for key in ["user_api_key", "project_api_key", "session_token"] {
        assert_eq!(stack.ids(text(&made[key]), json!({})).await, [1025], "{key}");
    }
    let second = stack.refuses(text(&made["user_api_key"]), CREATE, json!({"name": "Two"})).await;
    assert!(second.starts_with("HTTP 403: the ANONYMOUS tier has 1 project"), "{second}");
    stack.refuses(text(&made["project_api_key"]), CREATE, json!({"name": "Two"})).await;
    let other = stack.gives("", ANONYMOUS, json!({"name": "Other"})).await;
    assert_ne!((&other["user_id"], &other["project_id"]), (&made["user_id"], &made["project_id"]));
}

#[tokio::test]
async fn a_created_project_keeps_what_it_was_given() {
    let stack = Stack::new().await;
    let given = json!({
        "name": "Größe '; DROP TABLE agentstack_project; --", "description": "<b>\n", "config": {"a": [1, 2.50]},
        "data": {"x": null}, "preset_id": "p", "settings": {"s": true}
    });
    let made = stack.gives(&stack.free, CREATE, given.clone()).await;
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&made["project"][name], value);
    }
    assert_eq!(made["project"]["usage"]["json_storage_bytes"], 13 + 10 + 10);
    let limits = json!({
        "projects": null, "api_keys": null, "logic_engine_calls_per_month": 10_000, "json_storage_mb": 100,
        "triggers": 50, "payments": true
    });
    assert_eq!((&made["project"]["tier"], &made["project"]["limits"]), (&json!("FREE"), &limits));
    let data = stack.gives(&stack.free, LIST, json!({})).await;
    assert_eq!(data, json!({"projects": [made["project"]], "total": 1}));
}

#[tokio::test]
async fn projects_are_listed_newest_first_in_pages_to_those_who_have_them() {
    let stack = Stack::new().await;
    assert_eq!(stack.ids(&stack.free, json!({})).await, [0_i64; 0]);
    for n in 0..55 {
        stack.gives(&stack.free, CREATE, json!({"name": format!("Project {n}")})).await;
    }
    let all = stack.ids(&stack.free, json!({})).await;
    assert_eq!((all.len(), all[0], all[49]), (50, 1079, 1030));
    assert_eq!(stack.ids(&stack.free, json!({"limit": 100})).await.len(), 55);
    assert_eq!(stack.ids(&stack.free, json!({"limit": 2, "offset": 1})).await, [1078, 1077]);
    assert_eq!(stack.ids(&stack.free, json!({"is_active": true, "limit": 10})).await.len(), 10);
    assert_eq!(stack.gives(&stack.free, LIST, json!({"is_active": false})).await["total"], 0);
    assert_eq!(stack.ids(&stack.professional, json!({})).await, [0_i64; 0]);
    assert_eq!(stack.ids(&stack.demo, json!({})).await, [1024]);
}

#[tokio::test]
async fn a_project_is_attached_once_to_the_caller_and_its_old_keys_are_removed() {
    let stack = Stack::new().await;
    let made = stack.gives("", ANONYMOUS, json!({"name": "Mine"})).await;
    let auth_key = &made["auth_key"];
    let attach = |more: Value| {
        let mut params = json!({"project_id": 1025, "auth_key": auth_key});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    for (key, params, said) in [
        (&*stack.free, attach(json!({"user_id": 124})), "HTTP 403: Insufficient permissions"),
        (&stack.free, attach(json!({"user_id": 999})), "HTTP 403: Insufficient permissions"),
        (&stack.free, attach(json!({"email": "other@example.com"})), "HTTP 403: Insufficient permissions"),
        (
            &stack.free,
            attach(json!({"auth_key": "ask_wrong"})),
            "HTTP 403: the auth_key is not the one of project 1025",
        ),
        (
            &stack.free,
            attach(json!({"auth_key": stack.free})),
            "HTTP 403: the auth_key is not the one of project 1025",
        ),
        (
            &stack.free,
            attach(json!({"auth_key": made["user_api_key"]})),
            "HTTP 403: the auth_key is not the one of project 1025",
        ),
        (
            &stack.free,
            attach(json!({"project_id": 1024})),
            "HTTP 403: the auth_key is not the one of project 1024",
        ),
        (&stack.free, attach(json!({"project_id": 9})), "HTTP 404: there is no project 9"),
        (
            &stack.demo,
            attach(json!({})),
            "HTTP 403: the demo key only reads, and projects.attach_to_user writes",
        ),
        (
            text(&made["user_api_key"]),
            attach(json!({})),
            "HTTP 403: an anonymous user cannot own another project: call with the new owner's key",
        ),
    ] {
        assert_eq!(stack.refuses(key, ATTACH, params.clone()).await, said, "{params}");
    }
    let own = json!({"user_id": 123, "email": "FREE@sandbox.example"});
    let got = stack.gives(&stack.free, ATTACH, attach(own)).await;
    let message = "Project 1025 successfully attached to user 123";
    let new = text(&got["new_api_key"]);
    assert_eq!(got, json!({"success": true, "project_id": 1025, "new_api_key": new, "message": message}));
    for name in ["user_api_key", "project_api_key", "session_token"] {
        let said = stack.refuses(text(&made[name]), LIST, json!({})).await;
        assert_eq!(said, "HTTP 401: the API key is invalid or revoked", "{name}");
    }
    let project = &stack.gives(new, LIST, json!({})).await["projects"][0];
    assert_eq!((&project["user_id"], &project["tier"]), (&json!(123), &json!("FREE")));
    let again = stack.refuses(&stack.free, ATTACH, attach(json!({}))).await;
    assert!(again.starts_with("HTTP 403"), "its auth_key is removed: {again}");
}

#[tokio::test]
async fn an_anonymous_user_becomes_a_free_one_with_a_new_key() {
    let stack = Stack::new().await;
    let made = stack.gives("", ANONYMOUS, json!({"name": "Mine"})).await;
    let other = stack.gives("", ANONYMOUS, json!({"name": "Other"})).await;
    let anonymous = text(&made["user_api_key"]);
    for (key, params, said) in [
        (
            anonymous,
            json!({"email": "nobody"}),
            "HTTP 422: `email` must be an e-mail address of at most 254 bytes",
        ),
        (
            anonymous,
            json!({"email": "a@b@c.de"}),
            "HTTP 422: `email` must be an e-mail address of at most 254 bytes",
        ),
        (
            anonymous,
            json!({"email": format!("{}@b.c", "a".repeat(300))}),
            "HTTP 422: `email` must be an e-mail address of at most 254 bytes",
        ),
        (
            anonymous,
            json!({"email": "Free@Sandbox.example"}),
            "HTTP 409: another user has this e-mail address",
        ),
        (
            anonymous,
            json!({"email": "a@b.c", "session_token": other["session_token"]}),
            "HTTP 403: the session_token is not this user's",
        ),
        (
            text(&made["auth_key"]),
            json!({"email": "a@b.c"}),
            "HTTP 403: a project's key cannot convert the user; call with user_api_key",
        ),
        (&stack.free, json!({"email": "a@b.c"}), "HTTP 409: user 123 is not anonymous"),
    ] {
        assert_eq!(stack.refuses(key, CONVERT, params.clone()).await, said, "{params}");
    }
    let params = json!({
        "email": "ada@example.com", "password": "a password", "display_name": "Ada", "session_token": made["session_token"]
    });
    let got = stack.gives(anonymous, CONVERT, params).await;
    let new = text(&got["user_api_key"]);
    assert!(new.starts_with("ask_") && got["tier"] == "FREE" && got["user_id"] == made["user_id"], "{got}");
    for name in ["user_api_key", "session_token"] {
        assert!(stack.refuses(text(&made[name]), LIST, json!({})).await.starts_with("HTTP 401"), "{name}");
    }
    let project = &stack.gives(text(&made["project_api_key"]), LIST, json!({})).await["projects"][0];
    assert_eq!((&project["tier"], &project["limits"]["json_storage_mb"]), (&json!("FREE"), &json!(100)));
    stack.gives(new, CREATE, json!({"name": "Two"})).await;
    assert!(stack.refuses(new, CONVERT, json!({"email": "a@b.c"})).await.starts_with("HTTP 409"));
    let attach = json!({"project_id": 1025, "auth_key": made["auth_key"]});
    let said = stack.refuses(&stack.free, ATTACH, attach).await;
    assert_eq!(said, "HTTP 409: project 1025 has an owner already");
}

#[tokio::test]
async fn bad_arguments_are_refused_by_name_and_change_nothing() {
    let stack = Stack::new().await;
    let long = "x".repeat(1 << 20);
    for (tool, params, said) in [
        (CREATE, json!({}), "HTTP 422: `name` is required: a string that is not blank"),
        (CREATE, json!({"name": " "}), "HTTP 422: `name` must be a string that is not blank, not \" \""),
        (CREATE, json!({"name": 7}), "HTTP 422: `name` must be a string that is not blank, not 7"),
        (CREATE, json!({"name": long}), "HTTP 422: `name` has more than 255 characters"),
        (
            CREATE,
            json!({"name": "x", "description": long}),
            "HTTP 422: `description` has more than 10000 characters",
        ),
        (CREATE, json!({"name": "x", "description": 1}), "HTTP 422: `description` must be a string, not 1"),
        (CREATE, json!({"name": "x", "config": []}), "HTTP 422: `config` must be an object, not []"),
        (CREATE, json!({"name": "x", "data": "{}"}), "HTTP 422: `data` must be an object, not \"{}\""),
        (CREATE, json!({"name": "x", "settings": null}), "HTTP 422: `settings` must be an object, not null"),
        (CREATE, json!({"name": "x", "preset_id": 1}), "HTTP 422: `preset_id` must be a string, not 1"),
        (
            CREATE,
            json!({"name": "x", "id": 1}),
            "HTTP 422: \"id\" is not an argument of projects.create_project, which takes name, description, config, data, preset_id, settings",
        ),
        (LIST, json!({"limit": 0}), "HTTP 422: `limit` must be an integer from 1 to 100, not 0"),
        (LIST, json!({"limit": 101}), "HTTP 422: `limit` must be an integer from 1 to 100, not 101"),
        (
            LIST,
            json!({"limit": "1; DROP TABLE agentstack_project"}),
            "HTTP 422: `limit` must be an integer from 1 to 100, not \"1; DROP TABLE agentstack_project\"",
        ),
        (LIST, json!({"offset": -1}), "HTTP 422: `offset` must be an integer from 0 to 1000000000, not -1"),
        (LIST, json!({"is_active": "yes"}), "HTTP 422: `is_active` must be true or false, not \"yes\""),
        (
            ATTACH,
            json!({"project_id": "1025", "auth_key": "a"}),
            "HTTP 422: `project_id` must be a positive integer, not \"1025\"",
        ),
        (
            ATTACH,
            json!({"project_id": 0, "auth_key": "a"}),
            "HTTP 422: `project_id` must be a positive integer, not 0",
        ),
        (
            ATTACH,
            json!({"project_id": 1.5, "auth_key": "a"}),
            "HTTP 422: `project_id` must be a positive integer, not 1.5",
        ),
        (ATTACH, json!({"project_id": 1}), "HTTP 422: `auth_key` is required: a string that is not blank"),
        (
            ATTACH,
            json!({"project_id": 1024, "auth_key": "' OR 1=1 --"}),
            "HTTP 403: the auth_key is not the one of project 1024",
        ),
        (CONVERT, json!({}), "HTTP 422: `email` is required: a string that is not blank"),
        (
            ADD,
            json!({"project_id": 1e300, "user_id": 1}),
            "HTTP 422: `project_id` must be a positive integer, not 1e300",
        ),
        ("agentstack.execute", json!({}), "HTTP 422: give either `action` or `steps`"),
    ] {
        let got = stack.refuses(&stack.free, tool, params).await;
        assert_eq!(got.replace("1e+300", "1e300"), said);
    }
    stack.refuses("", ANONYMOUS, json!({"name": long})).await;
    assert_eq!(stack.ids(&stack.free, json!({})).await, [0_i64; 0]);
    let first = stack.gives("", ANONYMOUS, json!({"name": "First"})).await;
    assert_eq!(first["project_id"], 1025, "no refused creation took an id");
}
