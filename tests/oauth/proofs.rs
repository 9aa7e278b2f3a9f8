//! What a strict server checks of signed tokens: the assertions of clients, and proofs that a token is bound to a key.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::service::{Received, Reply};

/// Makes a client's key: the private one in PEM, and the public one.
pub fn key_pair() -> (String, Vec<u8>) {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&made));
    (pem, pair.public_key().as_ref().to_vec())
}

/// An identity token for an audience; only its claims matter here.
pub fn identity(audience: &str, mark: &str) -> String {
    let claims = format!(r#"{{"aud":"{audience}","sub":"repo:x/y","mark":"{mark}"}}"#);
    format!("e30.{}.{mark}", URL_SAFE_NO_PAD.encode(claims))
}

/// A signed token.
struct Signed {
    header: Value,
    claims: Value,
    text: String,
    signature: Vec<u8>,
}

impl Signed {
    fn read(token: &str) -> Option<Self> {
        let (text, signature) = token.rsplit_once('.')?;
        let (header, claims) = text.split_once('.')?;
        let decoded = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { header: decoded(header)?, claims: decoded(claims)?, text: text.to_owned(), signature })
    }

    fn is_signed_by(&self, point: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        self.header["alg"] == "ES256" && key.verify(self.text.as_bytes(), &self.signature).is_ok()
    }

    fn is_recent(&self, claim: &str, seconds: u64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.claims[claim].as_u64().is_some_and(|at| at.abs_diff(now) <= seconds)
    }
}

/// Tokens that were seen, and what they were bound to.
#[derive(Default)]
pub struct Ledger {
    ids: HashSet<String>,
    /// The thumbprint of the key of each access token.
    pub keys: HashMap<String, String>,
    /// How many proofs lacked the nonce.
    pub lacking: usize,
    /// The last proof did, and nothing else was wrong.
    pub is_lacking: bool,
}

impl Ledger {
    /// Checks the assertion of a client (RFC 7523 section 3); says what is wrong.
    pub fn assertion(&mut self, received: &Received, issuer: &str, point: &[u8]) -> Result<(), &'static str> {
        let token = received.field("client_assertion").ok_or("no assertion")?;
        let token = Signed::read(&token).ok_or("unreadable")?;
        let kind = received.field("client_assertion_type").unwrap_or_default();
        let claims = &token.claims;
        match () {
            () if !kind.ends_with(":jwt-bearer") => Err("the type"),
            () if !token.is_signed_by(point) || token.header["kid"] != "k1" => Err("the signature"),
            () if claims["aud"] != issuer => Err("the audience"),
            () if claims["iss"] != "robot" || claims["sub"] != "robot" => Err("the client"),
            () if !token.is_recent("exp", 300) => Err("the time"),
            () if !self.ids.insert(claims["jti"].to_string()) => Err("used twice"),
            () => Ok(()),
        }
    }

    /// Checks the proof of a request (RFC 9449 section 4.3); returns the key's thumbprint, or the refusal. Without a nonce
    /// each proof lacks another one.
    pub fn proof(&mut self, received: &Received, nonce: &str, access: Option<&str>) -> Result<String, Reply> {
        self.is_lacking = false;
        let refused = |why: &str| {
            let body = format!(r#"{{"error":"invalid_dpop_proof","error_description":"{why}"}}"#);
            Reply::status(400, "application/json", body)
        };
        let mut proofs = received.headers.get_all("dpop").iter();
        let (Some(proof), None) = (proofs.next(), proofs.next()) else {
            return Err(refused("not one proof"));
        };
        let proof = Signed::read(proof.to_str().unwrap()).ok_or_else(|| refused("unreadable"))?;
        let jwk = &proof.header["jwk"];
        let mut point = vec![4];
        for name in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap_or_default()).unwrap());
        }
        let place = format!("http://{}{}", received.header("host").unwrap_or_default(), received.path);
        let claims = &proof.claims;
        let hash = access.map(|access| URL_SAFE_NO_PAD.encode(Sha256::digest(access)));
        match () {
            () if proof.header["typ"] != "dpop+jwt" || jwk.get("d").is_some() => Err(refused("the header")),
            () if !proof.is_signed_by(&point) => Err(refused("the signature")),
            () if claims["htm"] != received.verb.as_str() || claims["htu"] != place => {
                Err(refused("the place"))
            }
            () if !proof.is_recent("iat", 60) => Err(refused("the time")),
            () if claims.get("ath").and_then(Value::as_str) != hash.as_deref() => Err(refused("the token")),
            () if !self.ids.insert(claims["jti"].to_string()) => Err(refused("used twice")),
            () if claims.get("nonce").and_then(Value::as_str) != Some(nonce) => {
                (self.lacking, self.is_lacking) = (self.lacking + 1, true);
                Err(Reply::status(400, "application/json", r#"{"error":"use_dpop_nonce"}"#)
                    .header("dpop-nonce", if nonce.is_empty() { "another" } else { nonce }))
            }
            () => {
                let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
                Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint)))
            }
        }
    }
}
