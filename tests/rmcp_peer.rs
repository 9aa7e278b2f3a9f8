//! rmcp, which shares no code with us, as client, as server, and on both ends.
#![expect(deprecated, reason = "sampling is deprecated in rmcp, and spoken all the same")]

use std::sync::Arc;

use rmcp::handler::server::ServerHandler;
use rmcp::model::*;
use rmcp::service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService, ServiceExt};
use rmcp::transport::TokioChildProcess;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ClientHandler, ErrorData, RoleClient, RoleServer};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::support::DEADLINE;
use crate::support::bridge::{asistry, request};
use crate::support::service::{Reply, Service};

// ---- rmcp as server

type Said = mpsc::UnboundedSender<String>;

/// A server whose tools do one thing each.
#[derive(Clone)]
struct Server {
    said: Said,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities).with_instructions("instructions of the server")
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name: &'static str| Tool::new(name, "one thing", JsonObject::new());
        let second = page.and_then(|page| page.cursor).is_some();
        let names: &[&'static str] =
            if second { &["ask", "elicit", "change", "touch"] } else { &["echo", "count", "hang"] };
        let mut result = ListToolsResult::with_all_items(names.iter().copied().map(tool).collect());
        result.next_cursor = (!second).then(|| "second".to_owned());
        Ok(result)
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let failed = |e: rmcp::ServiceError| ErrorData::internal_error(e.to_string(), None);
        let peer = &context.peer;
        let text = match &*call.name {
            "echo" => Value::from(call.arguments.unwrap_or_default()).to_string(),
            "count" => {
                let token = context.meta.get_progress_token().expect("a progress token");
                for step in 1..=3 {
                    let progress = ProgressNotificationParam::new(token.clone(), f64::from(step));
                    peer.notify_progress(progress.with_total(3.0)).await.map_err(failed)?;
                }
                "counted".into()
            }
            "hang" => {
                let _ = self.said.send("hanging".into());
                context.ct.cancelled().await;
                let _ = self.said.send("cancelled".into());
                "never seen".into()
            }
            "ask" => {
                let question = SamplingMessage::user_text("how many?");
                let answer = peer.create_message(CreateMessageRequestParams::new(vec![question], 64)).await;
                format!("the model {} answered", answer.map_err(failed)?.model)
            }
            "elicit" => {
                let params = ElicitRequestParams::FormElicitationParams {
                    meta: None,
                    message: "your name?".into(),
                    requested_schema: ElicitationSchema::builder()
                        .required_property("name", PrimitiveSchemaDefinition::String(StringSchema::new()))
                        .build()
                        .unwrap(),
                };
                let answer = peer.create_elicitation(params).await.map_err(failed)?;
                answer.content.unwrap_or_default()["name"].to_string()
            }
            "change" => {
                peer.notify_tool_list_changed().await.map_err(failed)?;
                "changed".into()
            }
            "touch" => {
                let update = ResourceUpdatedNotificationParam::new("test://one");
                peer.notify_resource_updated(update).await.map_err(failed)?;
                "touched".into()
            }
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new("test://one", "one")]))
    }

    async fn read_resource(
        &self,
        read: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match read.uri.as_str() {
            "test://one" => {
                Ok(ReadResourceResult::new(vec![ResourceContents::text("är\u{2028}läsbar", read.uri)]).into())
            }
            _ => Err(ErrorData::resource_not_found("no such resource", None)),
        }
    }

    async fn subscribe(
        &self,
        params: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let _ = self.said.send(format!("subscribed {}", params.uri));
        Ok(())
    }
}

/// An rmcp server on a loopback listener, and what reached it.
struct Peer {
    url: String,
    said: mpsc::UnboundedReceiver<String>,
    verbs: watch::Receiver<Vec<String>>,
}

impl Peer {
    async fn serve(config: StreamableHttpServerConfig) -> Self {
        let (to_test, said) = mpsc::unbounded_channel();
        let (verb, verbs) = watch::channel(Vec::new());
        let verb = Arc::new(verb);
        let make = move || Ok(Server { said: to_test.clone() });
        let service = StreamableHttpService::new(make, Arc::<LocalSessionManager>::default(), config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, verb) = (service.clone(), verb.clone());
                let serve =
                    hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        let (service, verb) = (service.clone(), verb.clone());
                        async move {
                            let method = request.method().to_string();
                            let response = service.handle(request).await;
                            // Told when the head of the answer is ready: then the stream stands.
                            verb.send_modify(|all| {
                                all.push(format!("{method} {}", response.status().as_u16()))
                            });
                            Ok::<_, std::convert::Infallible>(response)
                        }
                    });
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, serve));
            }
        });
        Self { url, said, verbs }
    }

    async fn stateful() -> Self {
        Self::serve(StreamableHttpServerConfig::default()).await
    }

    async fn answered(&mut self, what: &str) {
        let found = self.verbs.wait_for(|all| all.iter().any(|one| one == what));
        let found = tokio::time::timeout(DEADLINE, found).await.is_ok();
        assert!(found, "no {what}; there came {:?}", *self.verbs.borrow());
    }
}

async fn next(said: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(DEADLINE, said.recv()).await.expect("in time").expect("an event")
}

// ---- rmcp as client

#[derive(Clone)]
struct Client {
    said: Said,
}

impl Client {
    fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (to_test, said) = mpsc::unbounded_channel();
        (Self { said: to_test }, said)
    }

    /// Starts asistry as its server, in front of `url`.
    async fn through_us(self, url: &str) -> RunningService<RoleClient, Self> {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_asistry"));
        command.args(["bridge", "--url", url]).env_clear().env("HOME", "/nonexistent");
        let transport = TokioChildProcess::new(command).unwrap();
        tokio::time::timeout(DEADLINE, self.serve(transport)).await.expect("in time").expect("the handshake")
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_sampling().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("rmcp-test", "1"))
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let _ = self.said.send(format!("asked for {} tokens", params.max_tokens));
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text("three"), "of-the-test".into()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({"name": "Zoë"})))
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.said.send(format!("progress {}", params.progress));
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        let _ = self.said.send("the list has changed".into());
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let _ = self.said.send(format!("updated {}", params.uri));
    }
}

async fn call(client: &RunningService<RoleClient, Client>, tool: &'static str) -> String {
    let result = tokio::time::timeout(DEADLINE, client.call_tool(CallToolRequestParams::new(tool)));
    text_of(&result.await.expect("in time").unwrap())
}

fn text_of(result: &impl serde::Serialize) -> String {
    let result = serde_json::to_value(result).unwrap();
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

/// rmcp hands each notification to a task of its own: all come, in any order.
async fn has_counted(said: &mut mpsc::UnboundedReceiver<String>) {
    let mut heard = [next(said).await, next(said).await, next(said).await];
    heard.sort();
    assert_eq!(heard, ["progress 1", "progress 2", "progress 3"]);
}

async fn leave(client: RunningService<RoleClient, Client>) {
    let end = tokio::time::timeout(DEADLINE, client.cancel()).await;
    end.expect("in time").expect("a clean end");
}

// ---- the tests

#[tokio::test(flavor = "multi_thread")]
async fn an_rmcp_client_lists_calls_hears_progress_and_cancels_in_front_of_a_service() {
    let service = Service::start(|received| match received.tool().as_str() {
        "count" => {
            let token = received.message()["params"]["_meta"]["progressToken"].clone();
            let progress = |n: u32| {
                json!({"jsonrpc": "2.0", "method": "notifications/progress",
                       "params": {"progressToken": token, "progress": n, "total": 3}})
            };
            let id: Value = serde_json::from_str(&received.id).unwrap();
            let result = json!({"content": [{"type": "text", "text": "counted"}]});
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
            Some(Reply::events([progress(1), progress(2), progress(3), answer]))
        }
        "hang" => Some(Reply::never()),
        _ if received.method == "tools/list" => {
            let second = received.message()["params"]["cursor"] == "2";
            let tool = json!({"name": if second { "b.b" } else { "a" }, "inputSchema": {"type": "object"}});
            let mut result = json!({"tools": [tool]});
            if !second {
                result["nextCursor"] = "2".into();
            }
            Some(Reply::result(received, result))
        }
        _ => None,
    });
    let (client, mut said) = Client::new();
    let client = client.through_us(&service.url()).await;
    let names: Vec<_> = client.list_all_tools().await.unwrap().into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["a", "b.b"]);
    assert_eq!(call(&client, "echo").await, "done");
    assert_eq!(call(&client, "count").await, "counted");
    has_counted(&mut said).await;
    let hanging = ClientRequest::CallToolRequest(Request::new(CallToolRequestParams::new("hang")));
    let hanging = client.send_cancellable_request(hanging, PeerRequestOptions::no_options()).await.unwrap();
    let id = service.awaits_call("hang").id;
    hanging.cancel(Some("enough".into())).await.unwrap();
    let cancelled = service.awaits("the cancellation", |r| r.method == "notifications/cancelled");
    assert_eq!(cancelled.message()["params"]["requestId"].to_string(), id);
    leave(client).await;
    service.awaits("DELETE", |r| r.verb == "DELETE");
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_rmcp_ends_tools_and_resources_pass() {
    let mut peer = Peer::stateful().await;
    let (client, mut said) = Client::new();
    let client = client.through_us(&peer.url).await;
    let info = serde_json::to_value(&*client.peer_info().unwrap()).unwrap();
    assert_eq!(info["instructions"], "instructions of the server");
    assert_eq!(client.list_all_tools().await.unwrap().len(), 7);
    let arguments = json!({"deep": {"é": [1, 2.5, null]}});
    let echo = CallToolRequestParams::new("echo").with_arguments(arguments.as_object().unwrap().clone());
    assert_eq!(text_of(&client.call_tool(echo).await.unwrap()), arguments.to_string());
    let unknown = client.call_tool(CallToolRequestParams::new("unknown")).await.unwrap_err();
    assert!(unknown.to_string().contains("no tool unknown"), "{unknown}");
    assert_eq!(client.list_all_resources().await.unwrap()[0].uri, "test://one");
    let read = client.read_resource(ReadResourceRequestParams::new("test://one")).await.unwrap();
    let read = serde_json::to_value(&read).unwrap();
    assert_eq!(read["contents"][0]["text"], "är\u{2028}läsbar");
    // What the server says of its own accord needs the standalone stream.
    peer.answered("GET 200").await;
    client.subscribe(SubscribeRequestParams::new("test://one")).await.unwrap();
    assert_eq!(next(&mut peer.said).await, "subscribed test://one");
    assert_eq!(call(&client, "touch").await, "touched");
    assert_eq!(next(&mut said).await, "updated test://one");
    assert_eq!(call(&client, "change").await, "changed");
    assert_eq!(next(&mut said).await, "the list has changed");
    leave(client).await;
    // rmcp answers 202 to the end of a session.
    peer.answered("DELETE 202").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_rmcp_ends_progress_and_cancellation_pass() {
    let mut peer = Peer::stateful().await;
    let (client, mut said) = Client::new();
    let client = client.through_us(&peer.url).await;
    assert_eq!(call(&client, "count").await, "counted");
    has_counted(&mut said).await;
    let hanging = ClientRequest::CallToolRequest(Request::new(CallToolRequestParams::new("hang")));
    let hanging = client.send_cancellable_request(hanging, PeerRequestOptions::no_options()).await.unwrap();
    assert_eq!(next(&mut peer.said).await, "hanging");
    hanging.cancel(None).await.unwrap();
    assert_eq!(next(&mut peer.said).await, "cancelled");
    assert_eq!(call(&client, "echo").await, "{}");
    leave(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_rmcp_ends_the_server_asks_and_the_client_answers() {
    let peer = Peer::stateful().await;
    let (client, mut said) = Client::new();
    let client = client.through_us(&peer.url).await;
    assert_eq!(call(&client, "ask").await, "the model of-the-test answered");
    assert_eq!(next(&mut said).await, "asked for 64 tokens");
    assert_eq!(call(&client, "elicit").await, "\"Zoë\"");
    leave(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateless_rmcp_server_serves_through_us_with_events_and_with_json() {
    for json_response in [false, true] {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(json_response);
        let mut peer = Peer::serve(config).await;
        let (client, mut said) = Client::new();
        let client = client.through_us(&peer.url).await;
        assert_eq!(client.list_all_tools().await.unwrap().len(), 7);
        assert_eq!(call(&client, "echo").await, "{}");
        assert_eq!(call(&client, "count").await, "counted");
        has_counted(&mut said).await;
        // It has no stream of its own and no session; neither disturbs anything.
        peer.answered("GET 405").await;
        assert_eq!(call(&client, "echo").await, "{}");
        leave(client).await;
        assert!(!peer.verbs.borrow().iter().any(|one| one.starts_with("DELETE")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_lines_speaks_with_a_stateful_rmcp_server() {
    let peer = Peer::stateful().await;
    let url = peer.url.clone();
    let talk = tokio::task::spawn_blocking(move || {
        let mut bridge = asistry(["bridge", "--url", &url]).spawn();
        let params = r#"{"protocolVersion":"2025-06-18","capabilities":{"sampling":{}},"clientInfo":{"name":"lines","version":"1"}}"#;
        bridge.say(request("0", "initialize", params));
        assert_eq!(bridge.answer(0)["result"]["protocolVersion"], "2025-06-18");
        bridge.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        bridge.call("\"0\"", "ask");
        let question = bridge.hear();
        assert_eq!(question["method"], "sampling/createMessage");
        let answer = json!({"role": "assistant", "content": {"type": "text", "text": "3"}, "model": "lines"});
        bridge.say(json!({"jsonrpc": "2.0", "id": question["id"], "result": answer}));
        let told = bridge.answer("0");
        assert_eq!(told["result"]["content"][0]["text"], "the model lines answered", "{told}");
        // The order is the server's.
        bridge.say(request("1", "tools/call", r#"{"name":"count","_meta":{"progressToken":"t"}}"#));
        for step in 1..=3 {
            let progress = &bridge.hear()["params"];
            assert_eq!(
                (&progress["progressToken"], &progress["progress"]),
                (&json!("t"), &json!(f64::from(step)))
            );
        }
        assert_eq!(bridge.hear()["result"]["content"][0]["text"], "counted");
        // An unknown session id would be a new session: the same one serves all calls.
        bridge.call("9007199254740993", "echo");
        let line = String::from_utf8(bridge.line().unwrap()).unwrap();
        assert!(line.contains("\"id\":9007199254740993"), "{line}");
        bridge.close();
        assert_eq!(bridge.exit_code(), 0);
    });
    talk.await.unwrap();
    assert_eq!(peer.verbs.borrow().iter().filter(|one| one.starts_with("DELETE")).count(), 1);
}
