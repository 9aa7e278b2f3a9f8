//! Nothing rots: what passes through both translations comes back as it went in, apart from what the pair table names.
//!
//! Two bridges are chained, one of them in front of a client of the one era, the other in front of a service of the same
//! era; what passes between them is of the other era.

use std::collections::BTreeMap;

use asistry::protocol::message::quote;
use asistry::protocol::object::{fields, object, value};
use proptest::prelude::*;

use crate::conversations::settings;
use crate::support::conversation::pure::Pure;
use crate::support::conversation::{Piece, Received, Stage};

const ENVELOPE: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"x/y":{"z":1.0}}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}"#;
const CAPABILITIES: &str = r#"{"tools":{"listChanged":false},"extensions":{"x/y":{"z":1.50}},"x":{"n":1e2}}"#;

/// Words of both eras: below the first level they mean nothing.
const WORDS: [&str; 12] = [
    "resultType",
    "ttlMs",
    "cacheScope",
    "_meta",
    "task",
    "execution",
    "requestState",
    "inputResponses",
    "params",
    "io.modelcontextprotocol/serverInfo",
    "io.modelcontextprotocol/protocolVersion",
    "é\"\\",
];
const METHODS: [&str; 9] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/list",
    "completion/complete",
    "skills/list",
    "skills/get",
    "ui/open",
    "x/custom",
];

/// JSON texts, with numbers and strings that another writer would write otherwise.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "1.50",
            "1e2",
            "-0",
            "123456789012345678901234567890",
            r#""\u0041\/""#,
            r#""""#,
            r#""::error::""#,
            "[]",
            "{}",
        ])
        .prop_map(str::to_owned),
        "[ -~é\u{200b}]{0,8}".prop_map(|text| quote(&text)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::btree_map(prop::sample::select(WORDS.to_vec()), inner, 0..4).prop_map(object),
        ]
    })
}

/// Fields that no revision knows, and `_meta` with keys of somebody else.
fn content() -> impl Strategy<Value = String> {
    let unknown = prop::collection::btree_map("z[a-z]{1,3}", json(), 0..4);
    let meta = prop::collection::btree_map("(x/[a-z]{1,3}|traceparent|progressToken)", json(), 0..3);
    (unknown, meta).prop_map(|(unknown, meta)| {
        let meta = (!meta.is_empty()).then(|| ("_meta".to_owned(), object(meta)));
        object(unknown.into_iter().chain(meta))
    })
}

/// What must come back: each field with its text, without what the table names.
fn kept(text: &str) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (name, raw) in fields(text) {
        match &*name {
            "resultType" | "ttlMs" | "cacheScope" => {}
            "_meta" => {
                for (name, raw) in fields(raw.get()) {
                    let is_envelope = ["protocolVersion", "clientCapabilities", "clientInfo", "serverInfo"];
                    if !name
                        .strip_prefix("io.modelcontextprotocol/")
                        .is_some_and(|n| is_envelope.contains(&n))
                    {
                        kept.insert(format!("_meta {name}"), raw.get().to_owned());
                    }
                }
            }
            name => {
                kept.insert(name.to_owned(), raw.get().to_owned());
            }
        }
    }
    kept
}

fn part(message: &str, name: &str) -> String {
    value(&fields(message), name).unwrap_or("{}").to_owned()
}

fn bridge(era: &str) -> Pure {
    Pure::new(settings(&["--era".to_owned(), era.to_owned()]))
}

fn receives(stage: &mut Pure, method: &str) -> Received {
    let wanted = format!("\"method\":{}", quote(method));
    let got = stage.service_receives(method, &|got| got.body.contains(&wanted));
    got.unwrap_or_else(|| panic!("no {method} came; left over: {:?}", stage.left_over()))
}

fn replies(stage: &mut Pure, method: &str, status: u16, body: &str) {
    stage.service_replies(
        method,
        Piece::Head(status, vec![("content-type".into(), "application/json".into())]),
    );
    let piece = if body.is_empty() { Piece::End } else { Piece::Body(body.as_bytes().to_vec()) };
    stage.service_replies(method, piece);
}

fn hears(stage: &mut Pure) -> String {
    stage.client_receives(&|_| true).expect("an answer")
}

/// A client, two bridges, a service.
struct Chain {
    near: Pure,
    far: Pure,
}

impl Chain {
    /// Hands one request on to the service, and its answer back to the client.
    fn passes(&mut self, request: &str, methods: [&str; 3], result: &str) -> (String, String) {
        let [asked, between, at_service] = methods;
        assert!(request.contains(&quote(asked)), "{request}");
        self.near.client_says(request);
        let crossing = receives(&mut self.near, between);
        self.far.client_says(&crossing.body);
        let arrived = receives(&mut self.far, at_service).body;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, part(&arrived, "id"));
        replies(&mut self.far, at_service, 200, &answer);
        if at_service == "initialize" {
            receives(&mut self.far, "notifications/initialized");
            replies(&mut self.far, "notifications/initialized", 202, "");
        }
        let back = hears(&mut self.far);
        replies(&mut self.near, between, 200, &back);
        if between == "initialize" {
            let word = receives(&mut self.near, "notifications/initialized");
            self.far.client_says(&word.body);
            replies(&mut self.near, "notifications/initialized", 202, "");
        }
        (arrived, hears(&mut self.near))
    }
}

fn same(method: &str) -> [&str; 3] {
    [method; 3]
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":{},"params":{params}}}"#, quote(method))
}

/// Adds the envelope to parameters.
fn enveloped(params: &str) -> String {
    let params = fields(params);
    let meta = value(&params, "_meta").unwrap_or("{}");
    let meta =
        fields(meta).iter().map(|(name, raw)| format!(",{}:{}", quote(name), raw.get())).collect::<String>();
    let meta = format!("{{{ENVELOPE}{meta}}}");
    let rest = params.iter().filter(|(name, _)| name != "_meta").map(|(name, raw)| (&**name, raw.get()));
    object(rest.chain([("_meta", &*meta)]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A client with a handshake, the stateless era between, a service with sessions.
    #[test]
    fn a_conversation_with_a_handshake_comes_back_as_it_went_in(
        method in prop::sample::select(METHODS.to_vec()), params in content(), result in content(),
    ) {
        let mut chain = Chain { near: bridge("modern"), far: bridge("legacy") };
        let opening = r#"{"protocolVersion":"2025-11-25","capabilities":{"extensions":{"x/y":{"z":1.0}}},"clientInfo":{"name":"c","version":"1.0"}}"#;
        let described = format!(
            r#"{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"serverInfo":{{"name":"s","version":"1.0"}},"instructions":"é"}}"#
        );
        let methods = ["initialize", "server/discover", "initialize"];
        let (arrived, heard) = chain.passes(&request("initialize", opening), methods, &described);
        prop_assert_eq!(kept(&part(&arrived, "params")), kept(opening));
        prop_assert_eq!(kept(&part(&heard, "result")), kept(&described));
        chain.near.client_says(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        // A call of a tool that was not listed would ask for the list first.
        chain.passes(&request("tools/list", "{}"), same("tools/list"), r#"{"tools":[{"name":"t"}]}"#);
        let params = match method {
            "tools/call" => object([("name", r#""t""#)].into_iter().chain(
                fields(&params).iter().map(|(name, raw)| (&**name, raw.get())))),
            _ => params,
        };
        let (arrived, heard) = chain.passes(&request(method, &params), same(method), &result);
        prop_assert_eq!(kept(&part(&arrived, "params")), kept(&params));
        prop_assert_eq!(kept(&part(&heard, "result")), kept(&result));
    }

    /// A stateless client, sessions between, a stateless service.
    #[test]
    fn a_stateless_conversation_comes_back_as_it_went_in(
        method in prop::sample::select(METHODS.to_vec()), params in content(), result in content(),
    ) {
        let mut chain = Chain { near: bridge("legacy"), far: bridge("modern") };
        let described = format!(
            r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{CAPABILITIES},"instructions":"é","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"s","version":"1.0"}}}}}}"#
        );
        let methods = ["server/discover", "initialize", "server/discover"];
        let (arrived, heard) = chain.passes(&request("server/discover", &enveloped("{}")), methods, &described);
        let meta = |text: &str| part(&part(text, "params"), "_meta");
        prop_assert_eq!(meta(&arrived), format!("{{{ENVELOPE}}}"));
        prop_assert_eq!(kept(&part(&heard, "result")), kept(&described));
        chain.passes(&request("tools/list", &enveloped("{}")), same("tools/list"), r#"{"resultType":"complete","tools":[{"name":"t"}]}"#);
        let params = match method {
            "tools/call" => object([("name", r#""t""#)].into_iter().chain(
                fields(&params).iter().map(|(name, raw)| (&**name, raw.get())))),
            _ => params,
        };
        let (arrived, heard) = chain.passes(&request(method, &enveloped(&params)), same(method), &result);
        prop_assert_eq!(kept(&part(&arrived, "params")), kept(&params));
        // A call says that it may be run as a task (section 3.7).
        let with_tasks = r#""x/y":{"z":1.0},"io.modelcontextprotocol/tasks":{}"#;
        let envelope = match method {
            "tools/call" => ENVELOPE.replace(r#""x/y":{"z":1.0}"#, with_tasks),
            _ => ENVELOPE.to_owned(),
        };
        prop_assert!(meta(&arrived).starts_with(&format!("{{{envelope}")), "{}", arrived);
        prop_assert_eq!(kept(&part(&heard, "result")), kept(&result));
        prop_assert_eq!(part(&part(&heard, "result"), "resultType"), r#""complete""#);
    }
}
