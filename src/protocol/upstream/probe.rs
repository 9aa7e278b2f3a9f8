//! Which eras a service speaks, as its answers show (PROBE, section 2.6).
//!
//! Refuses to ask: the client's own opening is the question wherever it can be.

use crate::error::{Error, Kind};
use crate::protocol::envelope::PREFIX;
use crate::protocol::http::ErrorFields;
use crate::protocol::message::{HEADER_MISMATCH, METHOD_NOT_FOUND, Message, UNSUPPORTED_VERSION};
use crate::protocol::revision::{self, FIRST_MODERN};

/// What came of a `server/discover`.
#[derive(Clone, Debug)]
pub enum Probed {
    /// The service speaks it.
    Modern,
    /// It does not, as far as can be seen.
    Legacy,
    /// Nothing about the era.
    Nothing(Error),
}

/// Judges a response, with the status that carried it.
pub fn of_response(answer: &Message, status: u16) -> Probed {
    if let Some(result) = answer.result_text() {
        let result: serde_json::Value = serde_json::from_str(result).unwrap_or_default();
        return match versions(&result["supportedVersions"]) {
            Some(Versions::SomeModern) => Probed::Modern,
            Some(Versions::NoneModern) | None => Probed::Legacy,
        };
    }
    let Some(error) = ErrorFields::of(answer) else { return Probed::Legacy };
    match (error.code, versions(&error.data["supported"])) {
        (_, Some(Versions::SomeModern)) => Probed::Modern,
        (UNSUPPORTED_VERSION, Some(Versions::NoneModern)) => Probed::Legacy,
        (UNSUPPORTED_VERSION..=HEADER_MISMATCH, _) => Probed::Modern,
        _ if matches!(status, 401 | 403 | 408 | 425 | 429 | 500..) => {
            let why = format!("the service refused server/discover (HTTP {status}): {}", error.message);
            Probed::Nothing(Error::new(Kind::ServiceError, why).http_status(status).hint("try again later"))
        }
        _ => Probed::Legacy,
    }
}

/// Says whether an answer to `initialize` comes from a service of the stateless era that opens no sessions.
pub fn refuses_sessions(answer: &Message, status: u16) -> bool {
    if let Some(result) = answer.result_text() {
        // T-28: a handshake cannot agree on such a version.
        let result: serde_json::Value = serde_json::from_str(result).unwrap_or_default();
        return result["protocolVersion"].as_str().is_some_and(|version| version >= FIRST_MODERN);
    }
    let Some(error) = ErrorFields::of(answer) else { return false };
    let supported = error.data["supported"].as_array();
    let legacy = supported.into_iter().flatten().filter_map(serde_json::Value::as_str);
    match error.code {
        UNSUPPORTED_VERSION..=HEADER_MISMATCH => revision::newest_of(legacy).is_none(),
        METHOD_NOT_FOUND => status == 404,
        _ => false,
    }
}

/// Says whether a refusal names a version as supported that the request was in (MOD-11).
pub fn refuses_what_it_supports(request: &Message, answer: &Message) -> bool {
    let Some(error) = ErrorFields::of(answer).filter(|error| error.code == UNSUPPORTED_VERSION) else {
        return false;
    };
    let params: serde_json::Value =
        serde_json::from_str(request.params().unwrap_or_default()).unwrap_or_default();
    let asked = &params["_meta"][format!("{PREFIX}protocolVersion")];
    error.data["supported"].as_array().is_some_and(|supported| supported.contains(asked))
}

/// Judges a failure without a response.
pub fn of_failure(error: &Error) -> Probed {
    match error.details().http_status {
        Some(401 | 403 | 408 | 425 | 429) => Probed::Nothing(error.clone()),
        Some(400..=499) => Probed::Legacy,
        _ if error.kind() == Kind::ProtocolViolation => Probed::Legacy,
        _ => Probed::Nothing(error.clone()),
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

    fn name(came: &Probed) -> &'static str {
        match came {
            Probed::Modern => "modern",
            Probed::Legacy => "legacy",
            Probed::Nothing(_) => "nothing",
        }
    }

    #[test]
    fn an_answer_to_discover_tells_the_era() {
        for (answer, verdict) in [
            (r#""result":{"supportedVersions":["2025-11-25","2026-07-28"]}"#, "modern"),
            (r#""result":{"supportedVersions":["2025-11-25"]}"#, "legacy"),
            (r#""result":{}"#, "legacy"),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}"#, "modern"),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2027-01-01"]}}"#, "modern"),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2025-06-18"]}}"#, "legacy"),
            (r#""error":{"code":-32004,"message":"","data":{"supported":["2026-07-28"]}}"#, "modern"),
            (r#""error":{"code":-32020,"message":""}"#, "modern"),
            (r#""error":{"code":-32021,"message":""}"#, "modern"),
            (r#""error":{"code":-32601,"message":""}"#, "legacy"),
            (r#""error":{"code":-32000,"message":""}"#, "legacy"),
        ] {
            let message = Message::read(format!(r#"{{"id":1,{answer}}}"#)).unwrap();
            assert_eq!(name(&of_response(&message, 200)), verdict, "{answer}");
        }
        let refused = Message::read(r#"{"id":1,"error":{"code":-32001,"message":""}}"#).unwrap();
        assert!([401, 429, 500, 503].iter().all(|status| name(&of_response(&refused, *status)) == "nothing"));
        let failed = |kind, status| name(&of_failure(&Error::new(kind, "x").http_status(status)));
        for status in [401, 403, 408, 425, 429, 500, 503] {
            assert_eq!(failed(Kind::UpstreamHttp, status), "nothing", "{status}");
        }
        for status in [400, 404, 405, 406, 415] {
            assert_eq!(failed(Kind::UpstreamHttp, status), "legacy", "{status}");
        }
        assert_eq!(failed(Kind::ProtocolViolation, 200), "legacy");
        assert_eq!(name(&of_failure(&Error::new(Kind::Timeout, "x"))), "nothing");
    }
}
