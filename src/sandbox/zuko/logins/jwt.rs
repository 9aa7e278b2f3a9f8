//! Access tokens as JWTs (RFC 9068), signed with ES256, and the keys that sign them.
//!
//! Refuses every other algorithm and type. The keys are read from the database each time: after a reset, earlier
//! tokens are invalid even in a running sandbox.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "ES256";
const TYPE: &str = "at+jwt";
/// Longer tokens are not parsed.
const LONGEST: usize = 8 << 10;

/// What a token must be for.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    /// Unix seconds.
    pub now: i64,
}

/// Returns the set of public keys (RFC 7517).
pub(super) fn key_set(connection: &Connection) -> rusqlite::Result<Value> {
    make_key(connection)?;
    let mut statement =
        connection.prepare_cached("SELECT kid, public FROM zuko_signing_key ORDER BY rowid")?;
    let keys = statement.query_map([], |row| {
        let (kid, public): (String, Vec<u8>) = row.try_into()?;
        let mut key = public_jwk(&public);
        key["kid"] = kid.into();
        key["alg"] = ALGORITHM.into();
        key["use"] = "sig".into();
        Ok(key)
    })?;
    Ok(json!({"keys": keys.collect::<rusqlite::Result<Vec<_>>>()?}))
}

/// Signs claims with the newest key.
pub(super) fn sign(connection: &Connection, claims: &Value) -> rusqlite::Result<String> {
    make_key(connection)?;
    let (kid, document): (String, Vec<u8>) = connection
        .prepare_cached("SELECT kid, pkcs8 FROM zuko_signing_key ORDER BY rowid DESC LIMIT 1")?
        .query_row([], |row| row.try_into())?;
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &random)
        .map_err(|_| failed("the signing key is damaged"))?;
    let header = json!({"alg": ALGORITHM, "typ": TYPE, "kid": kid});
    let signed = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = pair.sign(&random, signed.as_bytes()).map_err(|_| failed("no random bytes"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Returns the claims of a valid token.
pub(super) fn verify(
    connection: &Connection,
    token: &str,
    expected: &Expected<'_>,
) -> rusqlite::Result<Option<Value>> {
    let Some((signed, header, claims, signature)) = taken_apart(token) else { return Ok(None) };
    let Some(kid) = header["kid"].as_str().filter(|_| has_right_form(&header)) else { return Ok(None) };
    let public: Option<Vec<u8>> = connection
        .prepare_cached("SELECT public FROM zuko_signing_key WHERE kid = ?1")?
        .query_row([kid], |row| row.get(0))
        .optional()?;
    let Some(public) = public else { return Ok(None) };
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public);
    let is_signed = key.verify(signed.as_bytes(), &signature).is_ok();
    let is_now = claims["exp"].as_i64().is_some_and(|expiry| expiry > expected.now)
        && claims.get("nbf").is_none_or(|begin| begin.as_i64().is_some_and(|begin| begin <= expected.now));
    let is_ours = claims["iss"] == expected.issuer && claims["aud"] == expected.audience;
    let is_complete = claims["sub"].is_string() && claims["scope"].is_string();
    Ok((is_signed && is_now && is_ours && is_complete).then_some(claims))
}

fn has_right_form(header: &Value) -> bool {
    let has_type = header["typ"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(TYPE));
    header["alg"] == ALGORITHM && has_type && header.get("crit").is_none()
}

/// Returns the signed part, header, claims and signature.
fn taken_apart(token: &str) -> Option<(&str, Value, Value, Vec<u8>)> {
    let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
    let (header, claims) = signed.split_once('.')?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let value = |part| serde_json::from_slice::<Value>(&bytes(part)?).ok().filter(Value::is_object);
    Some((signed, value(header)?, value(claims)?, bytes(signature)?))
}

/// Creates the first key; of several processes one succeeds.
fn make_key(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM zuko_signing_key")?;
    if statement.exists([])? {
        return Ok(());
    }
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| failed("no random bytes"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
        .map_err(|_| failed("a new key is damaged"))?;
    let public = pair.public_key().as_ref();
    // RFC 7638: members in lexicographic order.
    let jwk = public_jwk(public);
    let members = ["crv", "kty", "x", "y"].map(|name| format!("\"{name}\":{}", jwk[name])).join(",");
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{{{members}}}")));
    connection.execute(
        "INSERT INTO zuko_signing_key (kid, pkcs8, public)
         SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM zuko_signing_key)",
        params![kid, document.as_ref(), public],
    )?;
    Ok(())
}

/// Returns the JWK of an uncompressed point on P-256: 0x04 and two coordinates.
fn public_jwk(public: &[u8]) -> Value {
    let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(public.get(from..from + 32).unwrap_or_default());
    json!({"kty": "EC", "crv": "P-256", "x": coordinate(1), "y": coordinate(33)})
}

fn failed(why: &str) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{SERVICES, store};

    const EXPECTED: Expected<'_> =
        Expected { issuer: "http://a/auth", audience: "http://a/api/mcp", now: 1000 };

    fn claims() -> Value {
        json!({"iss": EXPECTED.issuer, "aud": EXPECTED.audience, "sub": "11", "scope": "", "exp": 1001})
    }

    fn is_valid(connection: &Connection, token: &str) -> bool {
        verify(connection, token, &EXPECTED).unwrap().is_some()
    }

    #[test]
    fn a_token_is_valid_until_it_expires_for_its_issuer_and_audience_only() {
        let connection = store::open_in_memory(SERVICES).unwrap();
        assert!(is_valid(&connection, &sign(&connection, &claims()).unwrap()));
        for (name, wrong) in [
            ("exp", json!(1000)),
            ("exp", json!("1001")),
            ("nbf", json!(1001)),
            ("iss", json!("http://b/auth")),
            ("aud", json!("http://a/api/mcp/")),
            ("aud", json!([EXPECTED.audience])),
            ("sub", json!(11)),
            ("scope", json!(null)),
        ] {
            let mut claims = claims();
            claims[name] = wrong;
            let token = sign(&connection, &claims).unwrap();
            assert!(!is_valid(&connection, &token), "{claims}");
        }
    }

    #[test]
    fn a_forged_token_is_refused() {
        let (connection, other) =
            (store::open_in_memory(SERVICES).unwrap(), store::open_in_memory(SERVICES).unwrap());
        let good = sign(&connection, &claims()).unwrap();
        let parts: Vec<_> = good.split('.').collect();
        assert!(!is_valid(&connection, &sign(&other, &claims()).unwrap()), "another server's key");
        let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        for (name, wrong) in [("alg", json!("none")), ("alg", json!("HS256")), ("typ", json!("JWT"))] {
            let mut header = header.clone();
            header[name] = wrong;
            for signature in [parts[2], ""] {
                let token = format!("{}.{}.{signature}", encoded(header.clone()), parts[1]);
                assert!(!is_valid(&connection, &token), "{header}");
            }
        }
        let mut more = claims();
        more["scope"] = "tasks:write".into();
        assert!(!is_valid(&connection, &format!("{}.{}.{}", parts[0], encoded(more), parts[2])));
        for text in ["", "..", "a.b.c", &format!("{good}."), &format!("{good}A"), &good[..good.len() - 2]] {
            assert!(!is_valid(&connection, text), "{text}");
        }
    }

    #[test]
    fn the_key_set_has_public_members_only_and_one_key() {
        let connection = store::open_in_memory(SERVICES).unwrap();
        let set = key_set(&connection).unwrap();
        assert_eq!(key_set(&connection).unwrap(), set);
        let keys = set["keys"].as_array().unwrap();
        let names: Vec<_> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((keys.len(), names.join(" ")), (1, "kty crv x y kid alg use".to_owned()));
    }
}
