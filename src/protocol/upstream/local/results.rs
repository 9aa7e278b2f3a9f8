//! Replies of a service without MCP, as results of tools.
//!
//! Refuses to rewrite what the service says: numbers, unknown fields and error texts stay as they came.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::http::{Data, STATUS, TRACE, excerpt};
use crate::protocol::message::quote;
use crate::protocol::object::{fields, object, string, value};
use crate::protocol::wire::AgentStack;

type Fields<'a> = [(Cow<'a, str>, &'a RawValue)];

/// The fields of a reply that need not be shown with its data.
const KNOWN: [&str; 4] = ["success", "data", "trace_id", "error"];

/// Status words of a job that goes on.
const PENDING: [&str; 7] =
    ["queued", "pending", "accepted", "started", "processing", "running", "in_progress"];

/// What to add to a refusal of each HTTP status.
type Hints = [(u16, String)];

/// Returns why a reply is not the service's JSON; `None` if it is.
pub fn misread(reply: &Data) -> Option<String> {
    let is_json = serde_json::from_slice::<&RawValue>(&reply.body).is_ok();
    let said = (!reply.body.is_empty()).then(|| format!(": “{}”", excerpt(&reply.body)));
    (reply.status < 400 && !is_json)
        .then(|| format!("answered with something other than JSON{}", said.unwrap_or_default()))
}

/// Returns the result of a `tools/call` for the reply to one action.
pub fn of_action(reply: &Data, hints: &Hints) -> String {
    let body = std::str::from_utf8(&reply.body).unwrap_or_default().trim();
    let came = fields(body);
    let trace = trace_of(&came, reply);
    if has_failed(&came, reply.status) {
        let why = said(&came, body);
        let hint = hint_of(status_in(&why).unwrap_or(reply.status), hints);
        return failed(&why, hint.as_deref(), (trace.as_deref(), reply.status));
    }
    let is_whole = came.iter().all(|(name, _)| KNOWN.contains(&&**name));
    let data = value(&came, "data").filter(|_| is_whole).unwrap_or(body);
    succeeded(data, trace.as_deref())
}

/// Returns the result of a `tools/call` for the reply to several steps.
pub fn of_batch(reply: &Data, hints: &Hints) -> String {
    let body = std::str::from_utf8(&reply.body).unwrap_or_default().trim();
    let came = fields(body);
    let trace = trace_of(&came, reply);
    let steps = value(&came, "steps").or_else(|| value(&came, "results")).unwrap_or("[]");
    let steps: Vec<&RawValue> = serde_json::from_str(steps).unwrap_or_default();
    let failed_steps: Vec<String> = steps.iter().enumerate().filter_map(failed_step).collect();
    let none_is_named = matches!(value(&came, "failed_step_ids"), None | Some("[]" | "null"));
    if failed_steps.is_empty() && none_is_named && !has_failed(&came, reply.status) {
        return succeeded(body, trace.as_deref());
    }
    let why = if failed_steps.is_empty() { said(&came, body) } else { failed_steps.join("\n") };
    let hint = hint_of(reply.status, hints);
    let more = if steps.is_empty() { hint.as_deref() } else { Some(body) };
    failed(&why, more, (trace.as_deref(), reply.status))
}

/// Says whether a reply to an action says that it failed.
pub fn is_failure(reply: &Data) -> bool {
    has_failed(&fields(std::str::from_utf8(&reply.body).unwrap_or_default().trim()), reply.status)
}

/// Appends a note.
pub fn with_note(result: &str, note: &str) -> String {
    let parts = fields(result);
    let with = |raw: &str| format!("{},{}]", raw.trim_end_matches(']'), block(note));
    object(parts.iter().map(|(name, raw)| match &**name {
        "content" => (&**name, Cow::Owned(with(raw.get()))),
        _ => (&**name, Cow::Borrowed(raw.get())),
    }))
}

/// Turns the reply to a poll of a job into a failure, with a note.
pub fn failed_look(result: &str, note: &str) -> String {
    let with_note = with_note(result, note);
    let parts = fields(&with_note);
    let parts = parts.iter().filter(|(name, _)| name != "isError" && name != "structuredContent");
    object(parts.map(|(name, raw)| (&**name, raw.get())).chain([("isError", "true")]))
}

/// Says whether this is the state of a job, which has a status, a result or an error.
pub fn is_state(state: &Bytes) -> bool {
    let state = fields(std::str::from_utf8(state).unwrap_or_default());
    ["status", "result", "error"].iter().any(|name| value(&state, name).is_some())
}

/// Returns the id of the job that a reply says has begun.
pub fn job_in(reply: &Data) -> Option<String> {
    let body = std::str::from_utf8(&reply.body).unwrap_or_default().trim();
    let came = fields(body);
    let inner = fields(value(&came, "data").unwrap_or_default());
    let has_ended = |of: &Fields<'_>| value(of, "result").is_some() || value(of, "steps").is_some();
    if has_failed(&came, reply.status) || has_ended(&came) || has_ended(&inner) {
        return None;
    }
    // An action may also return the id of a job that it has made.
    let status = value(&inner, "status").or_else(|| value(&came, "status")).and_then(string);
    let is_pending = |word: &str| PENDING.contains(&word);
    if reply.status != 202 && !status.as_deref().is_none_or(is_pending) {
        return None;
    }
    let id = value(&inner, "job_id").or_else(|| value(&came, "job_id"))?;
    let id = string(id).map_or_else(|| id.to_owned(), Cow::into_owned);
    AgentStack::is_action(&id).then_some(id)
}

/// Returns the text of a job's state, without what it is wrapped in.
pub fn state_of_job(body: &Bytes) -> Bytes {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    let came = fields(text);
    let inner = value(&came, "data").filter(|data| value(&fields(data), "status").is_some());
    let state = fields(inner.unwrap_or(text));
    let kept = state.iter().filter(|(name, _)| name != "success").map(|(name, raw)| (&**name, raw.get()));
    let trace = value(&came, "trace_id").filter(|_| inner.is_some()).map(|raw| ("trace_id", raw));
    Bytes::from(object(kept.chain(trace)))
}

/// Returns the service's own words about a failed reply.
pub fn sentence_of(reply: &Data) -> String {
    let body = std::str::from_utf8(&reply.body).unwrap_or_default().trim();
    said(&fields(body), body)
}

fn failed_step((at, step): (usize, &&RawValue)) -> Option<String> {
    let step = fields(step.get());
    let error = value(&step, "error").filter(|raw| *raw != "null");
    let is_false = |name| value(&step, name) == Some("false");
    let status = value(&step, "status").and_then(string);
    let has_failed = error.is_some()
        || is_false("ok")
        || is_false("success")
        || matches!(status.as_deref(), Some("error" | "failed"));
    let name = value(&step, "id").and_then(string).unwrap_or_else(|| (at + 1).to_string().into());
    let why = error.map_or_else(|| "failed".into(), sentence);
    has_failed.then(|| format!("step {name}: {why}"))
}

fn has_failed(came: &Fields<'_>, status: u16) -> bool {
    match value(came, "success") {
        Some(success) => success != "true",
        None => status >= 400 || value(came, "error").is_some_and(|raw| raw != "null"),
    }
}

/// The service puts the status of what it has called itself before its text: `HTTP 403: …`.
fn status_in(why: &str) -> Option<u16> {
    why.strip_prefix("HTTP ")?.split(':').next()?.parse().ok()
}

fn hint_of(status: u16, hints: &Hints) -> Option<String> {
    let hint = hints.iter().find(|(of, _)| *of == status);
    hint.map(|(_, text)| format!("asistry: {text}"))
}

fn trace_of<'a>(came: &Fields<'a>, reply: &'a Data) -> Option<Cow<'a, str>> {
    value(came, "trace_id").and_then(string).or_else(|| reply.trace_id.as_deref().map(Cow::Borrowed))
}

/// Returns the service's own words about a failure.
fn said(came: &Fields<'_>, body: &str) -> String {
    let field = ["error", "detail", "message"].iter().find_map(|name| value(came, name));
    sentence(field.filter(|raw| *raw != "null").unwrap_or(body)).into_owned()
}

/// An error is a string, or an object whose text says it.
fn sentence(raw: &str) -> Cow<'_, str> {
    string(raw).unwrap_or(Cow::Borrowed(raw))
}

fn succeeded(data: &str, trace: Option<&str>) -> String {
    let block = block(&sentence(data));
    let structured = data.starts_with('{').then_some(("structuredContent", data));
    let content = format!("[{block}]");
    finished(std::iter::once(("content", &*content)).chain(structured).collect(), trace, None)
}

/// The text repeats the trace id: a model sees nothing else.
fn failed(why: &str, more: Option<&str>, (trace, status): (Option<&str>, u16)) -> String {
    let named = trace.filter(|trace| !why.contains(trace)).map(|trace| format!("\ntrace id: {trace}"));
    let first = block(&format!("{why}{}", named.unwrap_or_default()));
    let blocks: Vec<String> = std::iter::once(first).chain(more.map(block)).collect();
    let content = format!("[{}]", blocks.join(","));
    let status = status_in(why).unwrap_or(status);
    let parts = vec![("content", &*content), ("isError", "true")];
    finished(parts, trace, Some(status).filter(|status| *status >= 400))
}

fn finished(parts: Vec<(&str, &str)>, trace: Option<&str>, status: Option<u16>) -> String {
    let trace = trace.map(|trace| (TRACE, quote(trace)));
    let status = status.map(|status| (STATUS, status.to_string()));
    let meta: Vec<(&str, String)> = trace.into_iter().chain(status).collect();
    let meta = (!meta.is_empty()).then(|| object(meta));
    let meta = meta.as_deref().map(|meta| ("_meta", meta));
    object([("resultType", r#""complete""#)].into_iter().chain(parts).chain(meta))
}

fn block(text: &str) -> String {
    object([("type", r#""text""#), ("text", &*quote(text))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(reply: &Data) -> String {
        of_action(reply, &[(403, "see the plan".to_owned())])
    }

    fn batch(reply: &Data) -> String {
        of_batch(reply, &[])
    }

    fn reply(status: u16, body: &'static str) -> Data {
        Data { status, etag: None, trace_id: Some("head".to_owned()), body: body.into() }
    }

    #[test]
    fn data_stays_as_it_came() {
        let result = action(&reply(200, r#"{"success":true,"data":{"id":1.50,"x":[1e2]},"trace_id":"t"}"#));
        assert_eq!(
            result,
            r#"{"resultType":"complete","content":[{"type":"text","text":"{\"id\":1.50,\"x\":[1e2]}"}],"structuredContent":{"id":1.50,"x":[1e2]},"_meta":{"asistry/traceId":"t"}}"#
        );
        // What is not known is shown.
        let result = action(&reply(200, r#"{"success":true,"data":1,"warnings":["w"]}"#));
        assert!(
            result.contains(r#""structuredContent":{"success":true,"data":1,"warnings":["w"]}"#),
            "{result}"
        );
        assert!(result.contains(r#""asistry/traceId":"head""#));
    }

    #[test]
    fn a_failure_is_the_services_own_text_with_its_trace() {
        for (status, body, text) in [
            (200, r#"{"success":false,"error":"no","trace_id":"t"}"#, r#""text":"no\ntrace id: t""#),
            (
                403,
                r#"{"success":false,"error":"HTTP 403: plan"}"#,
                r#""text":"HTTP 403: plan\ntrace id: head""#,
            ),
            (
                400,
                r#"{"success":false,"error":{"code":"x"}}"#,
                r#""text":"{\"code\":\"x\"}\ntrace id: head""#,
            ),
            (422, r#"{"detail":"wrong"}"#, r#""text":"wrong\ntrace id: head""#),
            (200, r#"{"error":"late"}"#, r#""text":"late\ntrace id: head""#),
        ] {
            let result = action(&reply(status, body));
            assert!(result.contains(text) && result.contains(r#""isError":true"#), "{result}");
        }
    }

    #[test]
    fn both_replies_to_steps_name_the_one_that_failed() {
        for body in [
            r#"{"success":false,"steps":[{"status":"completed","result":1},{"status":"error","error":"no"}]}"#,
            r#"{"results":[{"id":"1","ok":true,"result":1},{"id":"2","ok":false,"error":"no"}],"partial_success":true}"#,
        ] {
            let result = batch(&reply(200, body));
            assert!(result.contains(r#""text":"step 2: no\ntrace id: head""#), "{result}");
            assert!(result.contains(&*quote(body)) && result.contains(r#""isError":true"#), "{result}");
        }
        let good = batch(&reply(200, r#"{"success":true,"steps":[{"status":"completed","result":1}]}"#));
        assert!(!good.contains("isError"), "{good}");
    }

    #[test]
    fn a_refusal_has_the_hint_of_its_status() {
        for (status, error, hinted) in
            [(403, "no", true), (200, "HTTP 403: no", true), (400, "no", false), (403, "HTTP 402: no", false)]
        {
            let body = format!(r#"{{"success":false,"error":"{error}"}}"#);
            let result = action(&Data { status, etag: None, trace_id: None, body: body.into() });
            assert_eq!(
                result.contains(r#"{"type":"text","text":"asistry: see the plan"}"#),
                hinted,
                "{result}"
            );
        }
    }

    #[test]
    fn a_note_is_one_more_block() {
        let result = with_note(&action(&reply(200, r#"{"success":true,"data":{"a":[1.0]}}"#)), "n]");
        let wanted = r#"{"resultType":"complete","content":[{"type":"text","text":"{\"a\":[1.0]}"},{"type":"text","text":"n]"}],"structuredContent":{"a":[1.0]},"_meta":{"asistry/traceId":"head"}}"#;
        assert_eq!(result, wanted);
    }
}
