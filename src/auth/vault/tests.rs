//! What the vault finds, and what it leaves alone.

use std::time::{Duration, Instant};

use super::*;

fn vault() -> Vault {
    Vault::new(&Service::built_in("agentstack").unwrap(), "https://h")
}

fn sealed(vault: &Vault, text: &str) -> String {
    let sealed = vault.sealed(Bytes::copy_from_slice(text.as_bytes()));
    String::from_utf8(sealed.to_vec()).unwrap()
}

#[test]
fn a_secret_is_masked_in_its_field_and_wherever_it_recurs() {
    let secret = "anon_ask_S3cret+x/9";
    let vault = vault();
    let masked = vault.masked(secret);
    let nested = serde_json::json!({"text": format!(r#"{{"a":1,"session_token": "{secret}"}}"#)}).to_string();
    for (text, wanted) in [
        (
            format!(r#"{{"user_api_key":"{secret}","n":1.50}}"#),
            format!(r#"{{"user_api_key":"{masked}","n":1.50}}"#),
        ),
        (format!(r#"{{"m":"it is {secret}, {secret}"}}"#), format!(r#"{{"m":"it is {masked}, {masked}"}}"#)),
        (format!(r#"{{"apiKey" : ["{secret}","x"]}}"#), format!(r#"{{"apiKey" : ["{masked}","x"]}}"#)),
        (r#"{"auth_key":"anon_ask_S3cret\u002bx\/9"}"#.to_owned(), format!(r#"{{"auth_key":"{masked}"}}"#)),
        (
            r#"{"auth\u005fkey":"anon_ask_S3cret+x/9"}"#.to_owned(),
            format!(r#"{{"auth\u005fkey":"{masked}"}}"#),
        ),
        (
            nested,
            serde_json::json!({"text": format!(r#"{{"a":1,"session_token": "{masked}"}}"#)}).to_string(),
        ),
        (r#"{"q":"anon_ask_S3cret%2Bx%2F9"}"#.to_owned(), format!(r#"{{"q":"{masked}"}}"#)),
    ] {
        assert_eq!(sealed(&vault, &text), wanted, "{text}");
    }
    assert_eq!(vault.unsealed(format!(r#"["{masked}"]"#).into()), format!(r#"["{secret}"]"#));
}

#[test]
fn a_word_is_masked_in_its_field_and_nowhere_else() {
    let vault = vault();
    let masked = vault.masked("completed");
    let told = sealed(&vault, r#"{"status":"completed","auth_key":"completed"}"#);
    assert_eq!(told, format!(r#"{{"status":"completed","auth_key":"{masked}"}}"#));
    let inside = serde_json::json!({"t": r#"{"auth_key":"completed"}"#}).to_string();
    assert!(!sealed(&vault, &inside).contains("completed"));
    assert_eq!(sealed(&vault, r#"{"status":"completed"}"#), r#"{"status":"completed"}"#);
    assert_eq!(vault.unsealed(format!(r#"["{masked}"]"#).into()), r#"["completed"]"#);
}

#[test]
fn each_is_found_in_a_text_of_its_own() {
    let secret = "tok-8f2e61";
    let inside = serde_json::json!({"t": format!(r#"[{{"session_token":"{secret}"}}]"#)}).to_string();
    for text in [
        format!(r#"{{"session_token":"{secret}""#),
        format!(r#"{}{{"auth_key":"{secret}"}}"#, "[".repeat(5000)),
        inside,
    ] {
        assert!(!sealed(&vault(), &text).contains(secret), "{text}");
    }
    // A key in prose, at the beginning of a word and with a digit.
    assert!(!sealed(&vault(), "use anon_ask_abcdef12 now").contains("abcdef12"));
    for text in [
        "task_list_12345678",
        "ask_for_a_project_name",
        r#"{"key":"value","api_key":null,"x":"y"}"#,
        r#"{"api_key":{"name":"main"}}"#,
    ] {
        assert_eq!(sealed(&vault(), text), text);
    }
}

#[test]
fn it_is_found_however_it_is_written() {
    let secret = "tok-zQ7MARK9";
    let json = serde_json::json!({"session_token": secret}).to_string();
    let nested =
        |times: usize| (0..times).fold(json.clone(), |inner, _| serde_json::json!({"t": inner}).to_string());
    for text in [
        nested(1),
        nested(3),
        nested(6),
        serde_json::json!({"error": format!("HTTP 500: {json}")}).to_string(),
        serde_json::json!({"error": format!("KeyError: {{'session_token': '{secret}', 'x': 1}}")})
            .to_string(),
        format!("<html>session_token: {secret}</html>"),
        format!(r#"{{"url":"https://x/?session_token={secret}&x"}}"#),
        format!(r#"{{"session_token":{{"value":"{secret}"}}}}"#),
        format!(r#"{{"session_token":[null,["{secret}"]]}}"#),
        format!(r#"{{"sessionTokens":["{secret}"]}}"#),
        format!(r#"{{"session_token":"\ud800{secret}"}}"#),
        serde_json::json!({"t": format!(r#"{{"session_token":"\ud800{secret}"}}"#)}).to_string(),
        format!("{{\"session_token\"\r\n:\r\n\"{secret}\"}}"),
        format!(r#"{{"session_token":"MASKED_0123456789ab","session_token":"{secret}"}}"#),
    ] {
        assert!(!sealed(&vault(), &text).contains("zQ7MARK"), "{text}");
    }
    for key in ["anon_ask_zQ7MARK9x", "ask_abc.def1.zQ7MARK9", "ask_abcdefghijklzQQMARK"] {
        for text in [format!("Your key:\n{key}."), format!("key {key}")] {
            let text = serde_json::json!({"m": text}).to_string();
            let told = sealed(&vault(), &text);
            assert!(!told.contains("MARK9") && !told.contains("QQMARK"), "{told}");
        }
    }
    let told = sealed(&vault(), r#"{"message":"key anon\u005fask_zQ7MARK9x"}"#);
    assert!(!told.contains("zQ7MARK"), "{told}");
}

#[test]
fn a_pair_of_name_and_value_holds_a_secret() {
    let secret = "tok-zQ7MARK9";
    for text in [
        format!(r#"{{"name":"session_token","value":"{secret}"}}"#),
        format!(r#"[{{"value" : "{secret}", "type":"text", "key":"authKey"}}]"#),
        format!(r#"{{"field":"auth\u005fkey","n":[1,2],"value":"{secret}"}}"#),
        format!(r#"{{"name":"session_token","value":{{"text":"{secret}"}}}}"#),
        serde_json::json!({"t": format!(r#"[{{"name":"session_token","value":"{secret}"}}]"#)}).to_string(),
    ] {
        let told = sealed(&vault(), &text);
        assert!(!told.contains("MARK9") && told.contains("MASKED_"), "{told}");
    }
    for text in [
        r#"[{"name":"limit","value":"tok-zQ7MARK9"},{"name":"auth_key"}]"#,
        r#"{"name":"auth_key","value":"the key of a project, 32 letters"}"#,
        r#"{"name":"auth_key","type":"string","value":"required"}"#,
        r#"{"name":"auth_key","id":"task-00000001"}"#,
    ] {
        assert_eq!(sealed(&vault(), text), text);
    }
}

#[test]
fn a_percent_encoded_name_hides_no_secret() {
    let secret = "tok-zQ7MARK9";
    for text in [
        format!("https://h/?session%5Ftoken={secret}&x=1"),
        format!("https://h/?q=%7B%22session_token%22%3A%22{secret}%22%7D"),
        "https://h/?auth%5fkey=tok%2DzQ7%4dARK9+MARK9".to_owned(),
        "https://h/?k=anon%5Fask_zQ7MARK9x".to_owned(),
    ] {
        for text in [
            text.clone(),
            serde_json::json!({ "u": text }).to_string(),
            serde_json::json!({"t": serde_json::json!({ "u": text }).to_string()}).to_string(),
        ] {
            let told = sealed(&vault(), &text);
            assert!(!told.contains("ARK9") && told.contains("https://h/?"), "{told}");
        }
    }
    for text in ["100%25 of session%5Ftoken is 12345678", "%", "%5", "%zz session%5", "a%FF%5Fb=12345678"] {
        assert_eq!(sealed(&vault(), text), text);
    }
}

#[test]
fn a_schema_and_a_sentence_stay_as_they_are() {
    for text in [
        r#"{"properties":{"auth_key":{"type":"string","description":"The key of the project, 32 letters"}},"required":["auth_key"]}"#,
        r#"{"error":"session_token: authentication is needed"}"#,
    ] {
        assert_eq!(sealed(&vault(), text), text);
    }
}

#[test]
fn more_secrets_than_are_remembered_are_masked_all_the_same() {
    let list = |name: &str| {
        let keys: Vec<String> = (0..70).map(|n| format!(r#"{{"api_key":"{name}-{n:03}-MARK1"}}"#)).collect();
        format!("[{}]", keys.join(","))
    };
    let again: String = (0..70).map(|n| format!(" rr-{n:03}-MARK1")).collect();
    let inside = serde_json::json!({"a": list("aa"), "b": list("bb")}).to_string();
    for text in [format!(r#"{{"l":{},"m":"{again}"}}"#, list("rr")), inside] {
        let told = sealed(&vault(), &text);
        assert!(!told.contains("MARK"), "{told}");
    }
}

#[test]
fn what_is_masked_is_not_masked_again() {
    let vault = vault();
    let once = sealed(&vault, r#"{"auth_key":"abcdefgh1"}"#);
    assert_eq!(sealed(&vault, &once), once);
}

#[test]
fn very_many_secrets_take_linear_time_and_are_all_masked() {
    let one = |n: usize| format!(r#"{{"api_key":"secret-{n:08}"}}"#);
    let many = (0..100_000).map(one).collect::<Vec<_>>().join(",");
    let inside = serde_json::Value::from(format!("[{many}]")).to_string();
    let begun = Instant::now();
    let encoded = (0..100_000).map(|n| format!("?api%5Fkey=secret-{n:08} ")).collect();
    for text in [format!("[{many}]"), inside, encoded] {
        assert!(!sealed(&vault(), &text).contains("secret-"));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
