//! Which eras a service speaks, as its answers show (PROBE, section 2.6).
//!
//! Refuses to ask: the client's own opening is the question wherever it can be.

use crate::error::{Error, Kind};
use crate::protocol::http::ErrorFields;
use crate::protocol::message::Message;
use crate::protocol::revision::FIRST_MODERN;

/// What an answer to `server/discover` says about the stateless era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service speaks it.
    Modern,
    /// It does not.
    Legacy,
    /// It does not look so; nothing to remember.
    Unclear,
    /// Nothing: the answer is about something else.
    Nothing,
}

/// The codes by which a service of the stateless era refuses headers, capabilities and versions (T-2).
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

/// Judges a response.
pub fn of_response(answer: &Message) -> Verdict {
    if let Some(result) = answer.result_text() {
        let result: serde_json::Value = serde_json::from_str(result).unwrap_or_default();
        return match versions(&result["supportedVersions"]) {
            Some(Versions::SomeModern) => Verdict::Modern,
            Some(Versions::NoneModern) => Verdict::Legacy,
            None => Verdict::Unclear,
        };
    }
    let Some(error) = ErrorFields::of(answer) else { return Verdict::Unclear };
    match (error.code, versions(&error.data["supported"])) {
        (_, Some(Versions::SomeModern)) => Verdict::Modern,
        (UNSUPPORTED_VERSION, Some(Versions::NoneModern)) => Verdict::Legacy,
        (UNSUPPORTED_VERSION..=HEADER_MISMATCH, _) => Verdict::Modern,
        _ => Verdict::Legacy,
    }
}

/// Judges a failure without a response.
pub fn of_failure(error: &Error) -> Verdict {
    match error.details().http_status {
        Some(401 | 403 | 408 | 425 | 429) => Verdict::Nothing,
        Some(400..=499) => Verdict::Legacy,
        _ if error.kind() == Kind::ProtocolViolation => Verdict::Unclear,
        _ => Verdict::Nothing,
    }
}

enum Versions {
    SomeModern,
    NoneModern,
}

/// Reads a list of dated versions; dates sort like the versions.
fn versions(list: &serde_json::Value) -> Option<Versions> {
    let mut dates = list.as_array()?.iter().map(|date| date.as_str().unwrap_or_default());
    Some(if dates.any(|date| date >= FIRST_MODERN) { Versions::SomeModern } else { Versions::NoneModern })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_discover_tells_the_era() {
        for (answer, verdict) in [
            (r#""result":{"supportedVersions":["2025-11-25","2026-07-28"]}"#, Verdict::Modern),
            (r#""result":{"supportedVersions":["2025-11-25"]}"#, Verdict::Legacy),
            (r#""result":{}"#, Verdict::Unclear),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}"#, Verdict::Modern),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2027-01-01"]}}"#, Verdict::Modern),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2025-06-18"]}}"#, Verdict::Legacy),
            (r#""error":{"code":-32004,"message":"","data":{"supported":["2026-07-28"]}}"#, Verdict::Modern),
            (r#""error":{"code":-32020,"message":""}"#, Verdict::Modern),
            (r#""error":{"code":-32021,"message":""}"#, Verdict::Modern),
            (r#""error":{"code":-32601,"message":""}"#, Verdict::Legacy),
            (r#""error":{"code":-32000,"message":""}"#, Verdict::Legacy),
        ] {
            let message = Message::read(format!(r#"{{"id":1,{answer}}}"#)).unwrap();
            assert_eq!(of_response(&message), verdict, "{answer}");
        }
        let failed = |kind, status| of_failure(&Error::new(kind, "x").http_status(status));
        for status in [401, 403, 408, 425, 429, 500, 503] {
            assert_eq!(failed(Kind::UpstreamHttp, status), Verdict::Nothing, "{status}");
        }
        for status in [400, 404, 405, 406, 415] {
            assert_eq!(failed(Kind::UpstreamHttp, status), Verdict::Legacy, "{status}");
        }
        assert_eq!(failed(Kind::ProtocolViolation, 200), Verdict::Unclear);
        assert_eq!(of_failure(&Error::new(Kind::Timeout, "x")), Verdict::Nothing);
    }
}
