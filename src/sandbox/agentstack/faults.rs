//! Faults on purpose in AgentStack's calls: after the credential and the body were checked, before anything runs.
//!
//! Spares the catalogue and jobs: rules are about tools.

use super::NAME;
use super::actions::Action;
use super::fault::Fault;
use crate::sandbox::faults::{Asked, Kind};
use crate::sandbox::reply::{self, Reply};
use serde_json::{Map, Value};

/// Returns the tools that a call names: an action, and those that it or a batch runs.
pub(super) fn asked<'a>(action: Option<&'static Action>, body: &'a Map<String, Value>) -> Asked<'a> {
    let params = body.get("params").and_then(Value::as_object);
    let inner = if action.is_some() { params } else { Some(body) };
    let steps = inner.and_then(|inner| inner.get("steps")).and_then(Value::as_array).into_iter().flatten();
    let named = |fields: &'a Value| fields.get("action").and_then(Value::as_str);
    let direct = inner.and_then(|inner| inner.get("action")).and_then(Value::as_str);
    let own = action.map(|action| action.name);
    let tools = own.into_iter().chain(direct).chain(steps.filter_map(named)).collect();
    Asked { service: NAME, tools, ..Asked::default() }
}

/// Returns what a call gets that does not run.
pub(super) fn instead(kind: Kind) -> Option<Result<Reply, Fault>> {
    Some(match kind {
        Kind::TooMany(wait) => Err(Fault::too_many(wait)),
        Kind::Internal => Err(Fault::broken()),
        Kind::BadGateway => Ok(reply::bad_gateway()),
        Kind::Unavailable(wait) => Err(Fault::busy(wait)),
        Kind::Reset => Ok(reply::cut()),
        Kind::Expired => Err(Fault::expired_key()),
        Kind::Lost | Kind::Slow(_) | Kind::Session | Kind::Drop => return None,
    })
}
