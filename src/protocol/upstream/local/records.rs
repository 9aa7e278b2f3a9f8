//! The records of a stream: progress on the way, the last one is the result.
//!
//! Refuses progress that falls, and to take a record for the end that does not say so.

use bytes::Bytes;

use crate::protocol::http::Data;
use crate::protocol::message::Message;
use crate::protocol::object::{fields, object, string, value};

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
        let record = fields(std::str::from_utf8(text).unwrap_or_default());
        let trace = value(&record, "trace_id").and_then(string);
        let status = value(&record, "status").and_then(string).unwrap_or_default();
        // A call that was refused because the service is busy begins again.
        if self.trace_id.is_none() || (status == "started" && trace.is_some()) {
            self.trace_id = trace.map(std::borrow::Cow::into_owned);
        }
        let said = |name| value(&record, name).filter(|raw| *raw != "null");
        let has_failed = matches!(&*status, "error" | "failed") || said("error").is_some();
        if !has_failed && !matches!(&*status, "completed" | "done") && said("success").is_none() {
            return self.progressed(&status, &record);
        }
        Came::End(Data {
            status: 200,
            etag: None,
            trace_id: self.trace_id.clone(),
            body: ending(&record, has_failed),
        })
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

/// Writes the last record as the reply that the action would have had without a stream.
fn ending(record: &[(std::borrow::Cow<'_, str>, &serde_json::value::RawValue)], has_failed: bool) -> Bytes {
    let success = ("success", if has_failed { "false" } else { "true" });
    let kept = record.iter().filter_map(|(name, raw)| match &**name {
        "result" if value(record, "data").is_none() => Some(("data", raw.get())),
        "status" | "progress" | "success" => None,
        name => Some((name, raw.get())),
    });
    Bytes::from(object([success].into_iter().chain(kept)))
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
        for record in [r#"{"status":"error","error":"no"}"#, r#"{"status":"failed","message":"no"}"#] {
            let Came::End(data) = take(&mut Records::default(), record) else { panic!("{record}") };
            let result = of_action(&data, &[]);
            assert!(result.contains(r#""text":"no""#) && result.contains(r#""isError":true"#), "{result}");
        }
    }
}
