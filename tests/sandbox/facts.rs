//! The stand-ins against a table of what the services' own pages say: `facts.toml`.
//!
//! Works both ways: a stand-in has all that the page says, and choices, defaults and bounds that the page does not
//! have are listed as invented.

use super::*;
use asistry::sandbox::Endpoint;
use std::collections::BTreeSet;

fn facts() -> Value {
    toml::from_str(include_str!("facts.toml")).unwrap()
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A service with the facts about it.
struct Checked<'a> {
    sandbox: &'a Sandbox,
    endpoint: &'a Endpoint,
    path: String,
    credential: String,
    facts: Value,
}

impl<'a> Checked<'a> {
    async fn all(sandbox: &'a Sandbox) -> Vec<Self> {
        let mut all = Vec::new();
        for endpoint in sandbox.endpoints() {
            let path = endpoint.url.split_once(&sandbox.address().to_string()).unwrap().1.to_owned();
            let credential = sandbox.credential(endpoint).await.unwrap();
            let facts = facts()[endpoint.service].clone();
            assert!(facts.is_object(), "{} has facts", endpoint.service);
            all.push(Self { sandbox, endpoint, path, credential, facts });
        }
        assert_eq!(all.len(), facts().as_object().unwrap().len());
        all
    }

    fn sent<'s>(&'s self, method: &'s str, path: &'s str) -> Sent<'s> {
        let header = self.facts["header"].as_str().unwrap();
        let value = match header {
            "authorization" => format!("Bearer {}", self.credential),
            _ => self.credential.clone(),
        };
        Sent::to(self.sandbox.address(), method).at(path).with(header, &value)
    }

    /// Returns the listed tools with their schemas.
    async fn tools(&self) -> Vec<(String, Value)> {
        let got = match self.endpoint.service {
            "agentstack" => self.sent("GET", &format!("{}/tools", self.path)).go().await.json(),
            _ => self.sent("POST", &self.path).json(&request(1, "tools/list", json!({}))).go().await.json(),
        };
        let tools = [&got["tools"], &got["result"]["tools"]].into_iter().find_map(Value::as_array).unwrap();
        let schema = |tool: &Value| {
            [&tool["inputSchema"], &tool["parameters"]].into_iter().find(|s| s.is_object()).cloned()
        };
        tools.iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), schema(tool).unwrap())).collect()
    }
}

/// Compares one argument with its line; returns what is wrong.
fn differences(line: &str, schema: &Value, is_invented: bool) -> Vec<String> {
    let mut words = line.split(' ');
    let (name, is_optional) = match words.next().unwrap() {
        word if word.ends_with('?') => (word.trim_end_matches('?'), true),
        word => (word, false),
    };
    let property = &schema["properties"][name];
    if !property.is_object() {
        return vec![format!("{name} is missing")];
    }
    let mut said = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut expect = |key: &'static str, value: Value| {
        if property[key] != value {
            wrong.push(format!("{name}: {key} is {}, not {value}", property[key]));
        }
        said.insert(key);
    };
    for word in words {
        if let Some(default) = word.strip_prefix('=') {
            expect("default", serde_json::from_str(default).unwrap_or_else(|_| default.into()));
        } else if let Some((least, most)) = word.split_once("..") {
            let bounds =
                [("minimum", least), ("maximum", most)].into_iter().filter(|(_, bound)| !bound.is_empty());
            bounds.for_each(|(key, bound)| expect(key, bound.parse::<i64>().unwrap().into()));
        } else if word.contains('|') {
            expect("enum", word.split('|').collect());
        } else {
            match word {
                "uuid" => expect("format", "uuid".into()),
                "day" => expect("format", "date".into()),
                "date" | "time" => {
                    let sample = if word == "date" { "(T" } else { "[0-5]" };
                    expect("type", "string".into());
                    assert!(property["pattern"].as_str().unwrap().contains(sample), "{name}: {property}");
                }
                "strings" => expect("items", json!({"type": "string"})),
                "any" => expect("type", Value::Null),
                kind => expect("type", kind.into()),
            }
        }
    }
    // A bound that the page names on one side only has the other one invented.
    let has_bound = said.contains("minimum") || said.contains("maximum");
    let excused = |key: &str| is_invented || has_bound && key == "minimum";
    for key in ["enum", "default", "minimum", "maximum"] {
        if !property[key].is_null() && !said.contains(key) && !excused(key) {
            wrong.push(format!("{name}: {key} {} is invented, and not listed", property[key]));
        }
    }
    let required = schema["required"].as_array().is_some_and(|required| required.contains(&name.into()));
    if required == is_optional {
        wrong.push(format!("{name}: required is {required}"));
    }
    wrong
}

#[tokio::test]
async fn tools_and_arguments_are_those_of_the_pages() {
    let sandbox = memory().await;
    let mut wrong = Vec::new();
    for service in Checked::all(&sandbox).await {
        let (facts, name) = (&service.facts, service.endpoint.service);
        let tools = service.tools().await;
        let listed: BTreeSet<&str> = tools.iter().map(|(tool, _)| tool.as_str()).collect();
        assert_eq!(listed, names(&facts["tools"]), "{name}");
        let (open, invented) = (texts(&facts["open"]), texts(&facts["invented"]));
        let mut unused = invented.clone();
        for (tool, schema) in &tools {
            let lines = texts(&facts["tools"][tool]);
            let of = |line: &&str| line.split([' ', '?']).next().unwrap().to_owned();
            let known: BTreeSet<String> = lines.iter().map(of).collect();
            let extra: Vec<&str> = names(&schema["properties"])
                .into_iter()
                .filter(|argument| !known.contains(*argument))
                .collect();
            if !extra.is_empty() && !open.contains(tool.as_str()) {
                wrong.push(format!("{name} {tool}: {extra:?} are not on the page"));
            }
            for line in
                lines.iter().copied().chain(extra.iter().copied().filter(|_| open.contains(tool.as_str())))
            {
                let argument = of(&line);
                let keys = [argument.clone(), format!("{tool}.{argument}")];
                let is_invented = keys.iter().any(|key| invented.contains(key.as_str()));
                unused.retain(|key| !keys.iter().any(|known| known == key));
                let is_extra = extra.contains(&line);
                let found = differences(line, schema, is_invented).into_iter();
                let found = found.filter(|text| !(is_extra && text.contains(": required is")));
                wrong.extend(found.map(|text| format!("{name} {tool}: {text}")));
            }
        }
        wrong.extend(
            unused.iter().map(|unused| format!("{name}: {unused} is listed as invented, and is nowhere")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn paths_keys_and_methods_are_those_of_the_pages() {
    let sandbox = memory().await;
    for service in Checked::all(&sandbox).await {
        let (facts, name) = (&service.facts, service.endpoint.service);
        assert!(service.endpoint.key.starts_with(facts["prefix"].as_str().unwrap()), "{name}");
        let ping = request(1, "ping", json!({}));
        for path in texts(&facts["paths"]) {
            let mut path = path.to_owned();
            if let Some((before, _)) = path.split_once("{workspace}") {
                assert!(
                    service.path.starts_with(before) && !service.path[before.len()..].contains('/'),
                    "{name}"
                );
                path.clone_from(&service.path);
            }
            let (path, body) = match name {
                "agentstack" => (
                    format!("{path}/tools/projects.get_projects"),
                    json!({"tool": "projects.get_projects", "params": {}}),
                ),
                _ => (path, ping.clone()),
            };
            let got = service.sent("POST", &path).json(&body).go().await;
            assert_eq!(got.status, 200, "{name} {path}: {got:?}");
            let got =
                service.sent("POST", &path).json(&body).without(facts["header"].as_str().unwrap()).go().await;
            assert_eq!(got.status, 401, "{name} {path}: {got:?}");
        }
        let (id, _) = session(&sandbox, "2025-06-18").await;
        for method in ["GET", "DELETE", "PUT"] {
            let has = texts(&facts["methods"]).contains(method);
            let path = if name == "agentstack" { "/agentstack/mcp/actions" } else { &service.path };
            // A GET may be answered with a stream that does not end.
            let got =
                service.sent(method, path).with("mcp-session-id", &id).with(BOTH.0, BOTH.1).open().await;
            assert_eq!(got.status() != 405, has, "{name} {method}: {got:?}");
        }
    }
}

#[tokio::test]
async fn limits_are_those_of_the_pages() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = directory(home.path()).await;
    let asistry = Checked::all(&sandbox).await.remove(0);
    let number = |name: &str| asistry.facts[name].as_u64().unwrap();
    let ping = request(1, "ping", json!({}));
    let send = async || asistry.sent("POST", &asistry.path).json(&ping).go().await;
    for n in 0..number("requests") {
        assert_eq!(send().await.status, 200, "request {n}");
    }
    let limited = send().await;
    let errors = &asistry.facts["errors"];
    assert_eq!((limited.status, &limited.json()["error"]["code"]), (429, &errors["429"]));
    assert!((1..=number("seconds")).contains(&limited.header("retry-after").parse().unwrap()));
    for _ in 0..number("keys") {
        assert_eq!(send().await.status, 429, "the key is active");
        directory(home.path()).await.stop().await;
    }
    let revoked = send().await;
    assert_eq!((revoked.status, &revoked.json()["error"]["code"]), (401, &errors["401"]));
    let agentstack = Checked::all(&sandbox).await.pop().unwrap();
    let tool = "projects.create_project_anonymous";
    let path = format!("{}/tools/{tool}", agentstack.path);
    let body = json!({"tool": tool, "params": {"name": "x"}});
    let made = Sent::to(sandbox.address(), "POST").at(&path).json(&body).go().await.json();
    assert_eq!(made["data"]["project"]["limits"], agentstack.facts["limits"]);
}
