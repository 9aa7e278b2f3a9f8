//! AgentStack over HTTP: paths, bodies, replies with their trace ids, event streams.
//!
//! Refuses everything with `success: false`. Work that has begun goes on when its reader is gone.

use super::actions::{self, Action};
use super::batch::{self, Batch};
use super::desk::{Asker, Order, needs_key};
use super::fault::Fault;
use super::{NAME, catalogue, faults, head, jobs};
use crate::sandbox::faults::{Asked, Kind, Turns};
use crate::sandbox::keys::{Caller, Keys};
use crate::sandbox::mcp::Shared;
use crate::sandbox::reply::{self, Reply};
use crate::sandbox::service::Service;
use crate::sandbox::store::Store;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Deepest body, in levels. serde_json reads 128, and an answer that is stored has some around it.
const DEEPEST: usize = 100;

/// The server.
#[derive(Clone)]
pub(in crate::sandbox) struct Server {
    service: &'static Service,
    store: Store,
    keys: Keys,
    faults: Arc<Turns>,
}

/// A call whose body was read.
struct Work {
    /// The action; `None` for a batch.
    action: Option<&'static Action>,
    body: Map<String, Value>,
    asker: Asker,
    ending: Ending,
}

/// How a call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Json,
    Events,
    /// With events, but without the last one.
    Dropped,
}

/// A path below the service's own.
enum Route<'a> {
    Actions,
    Tools,
    Tool(&'a str),
    Stream(&'a str),
    Job(&'a str),
    Batch,
}

impl<'a> Route<'a> {
    fn read(place: &'a str) -> Option<Self> {
        let parts: Vec<&str> = place.split('/').skip(1).collect();
        Some(match parts[..] {
            [] => Self::Batch,
            ["actions"] => Self::Actions,
            ["tools"] => Self::Tools,
            ["tools", tool] if !tool.is_empty() => Self::Tool(tool),
            ["tools", tool, "stream"] if !tool.is_empty() => Self::Stream(tool),
            ["jobs", id] if !id.is_empty() => Self::Job(id),
            _ => return None,
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Actions | Self::Tools | Self::Job(_) => Method::GET,
            Self::Tool(_) | Self::Stream(_) | Self::Batch => Method::POST,
        }
    }
}

impl Server {
    /// Creates the server of the service.
    pub fn new(service: &'static Service, shared: Shared) -> Self {
        let Shared { store, keys, faults, .. } = shared;
        Self { service, store, keys, faults }
    }

    /// Returns the service.
    pub fn service(&self) -> &'static Service {
        self.service
    }

    /// Answers one HTTP request; `place` is its path below the service's.
    pub async fn answer(&self, request: Request<Incoming>, place: &str) -> Reply {
        let trace = uuid::Uuid::new_v4().to_string();
        let came = self.proceed(request, place, &trace).await;
        reply::with(came.unwrap_or_else(|fault| fault.draw(&trace)), "x-trace-id", &trace)
    }

    async fn proceed(&self, request: Request<Incoming>, place: &str, trace: &str) -> Result<Reply, Fault> {
        let (parts, body) = request.into_parts();
        let route = Route::read(place).ok_or_else(|| Fault::not_found("there is nothing at this path"))?;
        let method = route.method();
        if parts.method != method {
            let why = format!("this path takes {method}");
            return Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, why).with("allow", method.as_str()));
        }
        let key = head::key(&parts.headers)?;
        let project = head::project(&parts.headers)?;
        let action = match route {
            Route::Actions => return Ok(catalogue::actions(&parts.headers, trace)),
            Route::Tools => return Ok(catalogue::tools(trace)),
            Route::Tool(tool) | Route::Stream(tool) => {
                Some(actions::find(tool).ok_or_else(|| batch::unknown(tool))?)
            }
            Route::Job(_) | Route::Batch => None,
        };
        let asker = Asker { caller: self.caller(key).await?, project };
        if asker.caller.is_none() && action.is_none_or(|action| action.needs != actions::Needs::Nothing) {
            return Err(needs_key());
        }
        if let Route::Job(id) = route {
            return self.job(id.to_owned(), asker, trace).await;
        }
        let body = read(&parts.headers, body).await?;
        let ending = if let Route::Stream(_) = route { Ending::Events } else { Ending::Json };
        self.fare(Work { action, body, asker, ending }, trace).await
    }

    /// Does a call, or does to it what its turn brings.
    async fn fare(&self, mut work: Work, trace: &str) -> Result<Reply, Fault> {
        let asked = Asked {
            takes_events: work.ending == Ending::Events,
            has_key: work.asker.caller.is_some(),
            ..faults::asked(work.action, &work.body)
        };
        let fate = self.faults.fate(&asked);
        let came = match (fate.kind.and_then(faults::instead), fate.kind) {
            (Some(came), _) => came,
            (None, Some(Kind::Lost)) => {
                // Whatever it came to, the client does not hear of it.
                work.ending = Ending::Json;
                let _ = self.act(work, trace).await;
                Ok(reply::cut())
            }
            (None, kind) => {
                if kind == Some(Kind::Drop) {
                    work.ending = Ending::Dropped;
                }
                self.act(work, trace).await
            }
        };
        if !fate.wait.is_zero() {
            tokio::time::sleep(fate.wait).await;
        }
        came
    }

    async fn act(&self, work: Work, trace: &str) -> Result<Reply, Fault> {
        let Work { action, body, asker, ending } = work;
        let Some(action) = action else { return self.batch(body, asker, trace).await };
        let order = order(action, body, &asker)?;
        if ending != Ending::Json {
            return Ok(self.stream(order, asker, (trace, ending)));
        }
        let data = self.run(move |connection, keys| order.alone(connection, keys, &asker)).await?;
        Ok(success(StatusCode::OK, &data, trace))
    }

    /// Looks a key up.
    async fn caller(&self, key: Option<String>) -> Result<Option<Caller>, Fault> {
        let Some(key) = key else { return Ok(None) };
        let found = self.run(move |connection, keys| Ok(keys.find(connection, NAME, &key)?)).await?;
        found.map(Some).ok_or_else(|| Fault::no_key("the API key is invalid or revoked"))
    }

    async fn job(&self, id: String, asker: Asker, trace: &str) -> Result<Reply, Fault> {
        let state = self.run(move |connection, _| jobs::look(connection, &id, &asker)).await?;
        Ok(success(StatusCode::OK, &state, trace))
    }

    async fn batch(&self, body: Map<String, Value>, asker: Asker, trace: &str) -> Result<Reply, Fault> {
        let batch = Arc::new(Batch::read(body)?);
        if !batch.is_async {
            let mut answer = self.run(move |connection, keys| batch.alone(connection, keys, &asker)).await?;
            answer["trace_id"] = trace.into();
            return Ok(reply::json(StatusCode::OK, &answer));
        }
        let (queued, by) = (Arc::clone(&batch), asker.clone());
        let (state, new) =
            self.run(move |connection, keys| jobs::queue(connection, keys, &queued, &by)).await?;
        if let Some(id) = new {
            let server = self.clone();
            tokio::spawn(async move {
                let work = move |connection: &mut Connection, keys: &Keys| {
                    jobs::work(connection, keys, (&id, &batch), &asker)
                };
                // Its failure is logged; the job stays queued, and counts as failed after a minute.
                let _ = server.run(work).await;
            });
        }
        Ok(success(StatusCode::ACCEPTED, &state, trace))
    }

    /// Runs an action and reports on it as events.
    fn stream(&self, order: Order, asker: Asker, (trace, ending): (&str, Ending)) -> Reply {
        let (sender, receiver) = mpsc::channel(3);
        let (server, trace) = (self.clone(), trace.to_owned());
        tokio::spawn(async move {
            // A reader that is gone does not stop the action.
            let _ = sender.send(event(&json!({"status": "started", "trace_id": trace}))).await;
            let _ = sender.send(event(&json!({"status": "processing", "progress": 50}))).await;
            let came = server.run(move |connection, keys| order.alone(connection, keys, &asker)).await;
            let last = match came {
                Ok(result) => json!({"status": "completed", "result": result}),
                Err(fault) => fault.record(&trace),
            };
            if ending != Ending::Dropped {
                let _ = sender.send(event(&last)).await;
            }
        });
        reply::events(receiver)
    }

    /// Does one piece of work with the database.
    async fn run<T, W>(&self, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection, &Keys) -> Result<T, Fault> + Send + 'static,
    {
        let keys = self.keys.clone();
        self.store.run(move |connection| Ok(work(connection, &keys))).await?
    }
}

/// Reads a body: one JSON object.
async fn read(headers: &HeaderMap, body: Incoming) -> Result<Map<String, Value>, Fault> {
    let text = reply::read(body).await.map_err(|status| {
        Fault::new(
            status,
            match status {
                StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than 16 MiB",
                StatusCode::REQUEST_TIMEOUT => "the body did not arrive",
                _ => "the body could not be read",
            },
        )
    })?;
    head::is_json(headers)?;
    match serde_json::from_slice(&text) {
        Ok(body) if !is_within(&body, DEEPEST) => {
            Err(Fault::invalid(format!("the body is nested deeper than {DEEPEST} levels")))
        }
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Fault::invalid("the body must be an object")),
        Err(_) => Err(Fault::new(StatusCode::BAD_REQUEST, "the body is no JSON")),
    }
}

/// Says whether a value has at most so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    let inner = |value| levels > 0 && is_within(value, levels - 1);
    match value {
        Value::Array(items) => items.iter().all(inner),
        Value::Object(fields) => fields.values().all(inner),
        _ => true,
    }
}

/// Reads the body of an action: exactly `tool` and `params`.
fn order(action: &'static Action, mut body: Map<String, Value>, asker: &Asker) -> Result<Order, Fault> {
    let (tool, params) = (body.remove("tool"), body.remove("params"));
    match (tool, params) {
        (Some(tool), Some(Value::Object(params))) if tool == action.name && body.is_empty() => {
            Order::new(action, params, asker.project)
        }
        _ => Err(Fault::invalid(format!(
            "the body must be {{\"tool\": \"{}\", \"params\": {{…}}}}",
            action.name
        ))),
    }
}

fn success(status: StatusCode, data: &Value, trace: &str) -> Reply {
    reply::json(status, &json!({"success": true, "data": data, "trace_id": trace}))
}

fn event(record: &Value) -> Bytes {
    Bytes::from(format!("data: {record}\n\n"))
}
