//! The records of a stream: progress on the way, the last one is the result.
//!
//! Refuses progress that falls, and to take a record for the end that does not say so.

use bytes::Bytes;

use crate::protocol::http::Data;
use crate::protocol::message::Message;
use crate::protocol::object::{fields, object, string, value};

/// Words for an end, as they were seen and as other services say them; any other status goes on.
const COMPLETED: [&str; 4] = ["completed", "done", "succeeded", "finished"];
const FAILED: [&str; 4] = ["error", "failed", "cancelled", "canceled"];
/// The fields of a last record that need not be shown with its result.
const KNOWN: [&str; 7] = ["status", "progress", "success", "result", "data", "trace_id", "job_id"];

/// What was seen of the stream of one call.
#[derive(Debug, Default)]
pub struct Records {
    /// JSON text of the token under which the client wants progress.
    token: Option<String>,
    /// The last progress that was passed on.
    progress: Option<f64>,
    /// The service's own name for the exchange, from the first record that has it.
    pub trace_id: Option<String>,
}

/// What a record is.
#[derive(Debug)]
pub enum Came {
    /// Nothing to pass on.
    Nothing,
    /// A notification for the client.
    Progress(Message),
    /// The reply.
    End(Data),
}

impl Records {
    /// Begins for a client that wants progress under this token, if it does.
    pub fn of(token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..Self::default() }
    }

    /// Says whether the client wants progress.
    pub fn are_wanted(&self) -> bool {
        self.token.is_some()
    }

    /// Takes the text of one record.
    pub fn take(&mut self, text: &Bytes) -> Came {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let record = fields(text);
        let trace = value(&record, "trace_id").and_then(string);
        let status = value(&record, "status").and_then(string).unwrap_or_default();
        // A call that was refused because the service is busy begins again.
        if self.trace_id.is_none() || (status == "started" && trace.is_some()) {
            self.trace_id = trace.map(std::borrow::Cow::into_owned);
        }
        let said = |name| value(&record, name).filter(|raw| *raw != "null");
        let has_failed =
            FAILED.contains(&&*status) || said("error").is_some() || said("success") == Some("false");
        // Without a status it is the reply that the action has without a stream.
        let is_reply = status.is_empty() && said("success").is_some();
        if !has_failed && !is_reply && !COMPLETED.contains(&&*status) {
            return self.progressed(&status, &record);
        }
        let body = if has_failed { failing(&record) } else { ending(text, &record) };
        Came::End(Data { status: 200, etag: None, trace_id: self.trace_id.clone(), body })
    }

    fn progressed(
        &mut self,
        status: &str,
        record: &[(std::borrow::Cow<'_, str>, &serde_json::value::RawValue)],
    ) -> Came {
        let Some(token) = &self.token else { return Came::Nothing };
        let Some(raw) = value(record, "progress") else { return Came::Nothing };
        let Ok(progress) = raw.parse::<f64>() else { return Came::Nothing };
        if self.progress.is_some_and(|before| progress <= before) {
            return Came::Nothing;
        }
        self.progress = Some(progress);
        let message = value(record, "message").filter(|raw| raw.starts_with('"')).map(str::to_owned);
        let message = message.unwrap_or_else(|| crate::protocol::message::quote(status));
        let params = object([("progressToken", &**token), ("progress", raw), ("message", &*message)]);
        Came::Progress(Message::notification("notifications/progress", Some(&params)))
    }
}

/// Writes the last record as the reply that the action would have had without a stream. A result beside which other
/// fields stand is the record itself, as it came.
fn ending(text: &str, record: &[(std::borrow::Cow<'_, str>, &serde_json::value::RawValue)]) -> Bytes {
    let is_known = |(name, _): &(std::borrow::Cow<'_, str>, _)| KNOWN.contains(&&**name);
    let result = value(record, "data").or_else(|| value(record, "result"));
    let result = result.filter(|_| record.iter().all(is_known)).unwrap_or(text);
    let trace = value(record, "trace_id").map(|raw| ("trace_id", raw));
    Bytes::from(object([("success", "true"), ("data", result)].into_iter().chain(trace)))
}

/// Writes the record of a failure as the reply that the action would have had without a stream.
fn failing(record: &[(std::borrow::Cow<'_, str>, &serde_json::value::RawValue)]) -> Bytes {
    let kept = record.iter().filter(|(name, _)| !matches!(&**name, "status" | "progress" | "success"));
    let kept = kept.map(|(name, raw)| (&**name, raw.get()));
    Bytes::from(object([("success", "false")].into_iter().chain(kept)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::upstream::local::results::of_action;

    fn take(records: &mut Records, text: &'static str) -> Came {
        records.take(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn progress_only_rises_and_the_last_record_is_the_result() {
        let mut records = Records::of(Some("7"));
        assert!(matches!(take(&mut records, r#"{"status":"started","trace_id":"t"}"#), Came::Nothing));
        for (record, told) in [
            (r#"{"status":"processing","progress":50}"#, Some(r#""progress":50,"message":"processing""#)),
            (r#"{"status":"processing","progress":40}"#, None),
            (
                r#"{"status":"progress","progress":60.5,"message":"m"}"#,
                Some(r#""progress":60.5,"message":"m""#),
            ),
        ] {
            match (take(&mut records, record), told) {
                (Came::Progress(message), Some(told)) => {
                    assert!(message.params().unwrap().contains(told), "{record}");
                }
                (Came::Nothing, None) => {}
                (came, _) => panic!("{record}: {came:?}"),
            }
        }
        let Came::End(data) = take(&mut records, r#"{"status":"completed","result":{"n":1.0}}"#) else {
            panic!("no end");
        };
        let result = of_action(&data, &[]);
        assert!(
            result.contains(r#""structuredContent":{"n":1.0},"_meta":{"asistry/traceId":"t"}"#),
            "{result}"
        );
    }

    #[test]
    fn a_record_of_an_error_is_the_end() {
        for record in [
            r#"{"status":"error","error":"no"}"#,
            r#"{"status":"failed","message":"no"}"#,
            r#"{"status":"completed","success":false,"message":"no"}"#,
            r#"{"success":false,"error":"no"}"#,
            r#"{"status":"canceled","message":"no"}"#,
        ] {
            let Came::End(data) = take(&mut Records::default(), record) else { panic!("{record}") };
            let result = of_action(&data, &[]);
            assert!(result.contains(r#""text":"no""#) && result.contains(r#""isError":true"#), "{result}");
        }
    }

    #[test]
    fn fields_beside_a_result_are_shown_as_they_came() {
        for (record, shown) in [
            (r#"{"status":"completed","job_id":"j","result":{"n":1.0}}"#, r#"{"n":1.0}"#),
            (
                r#"{"status":"completed","result":1,"ms":2.50}"#,
                r#"{"status":"completed","result":1,"ms":2.50}"#,
            ),
            (r#"{"status":"completed","message":"m"}"#, r#"{"status":"completed","message":"m"}"#),
        ] {
            let Came::End(data) = take(&mut Records::default(), record) else { panic!("{record}") };
            let result = of_action(&data, &[]);
            assert!(result.contains(&format!(r#""structuredContent":{shown}"#)), "{result}");
        }
        let going_on =
            take(&mut Records::of(Some("7")), r#"{"success":true,"status":"processing","progress":1}"#);
        assert!(matches!(going_on, Came::Progress(_)), "{going_on:?}");
    }
}
