//! Private keys that sign JSON Web Tokens (RFC 7515, RFC 7518): a client's own, and those that tokens are bound to.
//!
//! Refuses keys other than P-256 and RSA, and never writes one into an error.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The algorithms, as JSON Web Tokens and TLS name them.
const ALGORITHMS: [(&str, SignatureScheme); 2] =
    [(ES256, SignatureScheme::ECDSA_NISTP256_SHA256), ("RS256", SignatureScheme::RSA_PKCS1_SHA256)];
/// ECDSA on P-256 with SHA-256, the only algorithm of DPoP here.
pub const ES256: &str = "ES256";
/// Bytes of a coordinate on P-256.
const COORDINATE: usize = 32;

/// A private key.
#[derive(Clone)]
pub struct SigningKey {
    /// The name of its algorithm.
    pub algorithm: &'static str,
    scheme: SignatureScheme,
    key: Arc<dyn rustls::sign::SigningKey>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm)
    }
}

impl SigningKey {
    /// Reads a key in PEM: PKCS#8, SEC 1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// Why it cannot be used, without a word of it.
    pub fn of_pem(text: &Secret) -> Result<Self, &'static str> {
        let mut pem = Zeroizing::new(text.expose().trim().to_owned());
        if !pem.contains('\n') {
            // Variables often hold it on one line.
            pem = Zeroizing::new(pem.replace("\\n", "\n"));
        }
        if pem.contains("ENCRYPTED") {
            return Err("is encrypted; decrypt it first: openssl pkey -in FILE -out FILE");
        }
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "is not a private key in PEM (-----BEGIN PRIVATE KEY-----)")?;
        Self::of_der(&der).ok_or("is neither a P-256 nor an RSA key of 2048 to 4096 bits")
    }

    fn of_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let key = any_supported_type(der).ok()?;
        let fitting = |(_, scheme): &&(&str, SignatureScheme)| key.choose_scheme(&[*scheme]).is_some();
        let (algorithm, scheme) = *ALGORITHMS.iter().find(fitting)?;
        Some(Self { algorithm, scheme, key })
    }

    /// Makes a key on P-256, and returns it as it is stored: PKCS#8 in base64url.
    pub fn generate() -> (Self, Secret) {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        // Panics rather than continue without secure random numbers.
        let made = made.expect("the system gives random bytes");
        let stored = Secret::new(URL_SAFE_NO_PAD.encode(made.as_ref()));
        (Self::stored(&stored).expect("a key that was just made"), stored)
    }

    /// Reads a key that [`Self::generate`] made; `None` if it is damaged.
    pub fn stored(text: &Secret) -> Option<Self> {
        let der = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.expose()).ok()?);
        Self::of_der(&PrivatePkcs8KeyDer::from(der.as_slice()).into()).filter(|key| key.algorithm == ES256)
    }

    /// Returns a signed token in the compact form (RFC 7515 section 7.1).
    pub fn token(&self, mut header: Value, claims: &Value) -> Secret {
        header["alg"] = self.algorithm.into();
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(claims));
        let signer =
            self.key.choose_scheme(&[self.scheme]).expect("the scheme fits, it was chosen for this key");
        // Fails only where the system gives no random bytes.
        let signature = signer.sign(signed.as_bytes()).expect("the key signs");
        let signature = if self.algorithm == ES256 { fixed(&signature) } else { signature };
        Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Returns the public key of a P-256 key as a JSON Web Key, members in the order of RFC 7638 section 3.
    pub fn public_jwk(&self) -> Value {
        let public = self.key.public_key();
        let info = public.as_ref().map(AsRef::as_ref).unwrap_or_default();
        // It ends with both coordinates (RFC 5480 section 2.2).
        let (rest, y) = info.split_at(info.len().saturating_sub(COORDINATE));
        let x = &rest[rest.len().saturating_sub(COORDINATE)..];
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    }

    /// Returns the thumbprint of the public key (RFC 7638).
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.public_jwk().to_string()))
    }
}

/// Turns an ECDSA signature of TLS (two ASN.1 integers) into that of JSON Web Tokens (RFC 7518 section 3.4).
fn fixed(signature: &[u8]) -> Vec<u8> {
    let mut fixed = vec![0; 2 * COORDINATE];
    // A sequence of at most 72 bytes: tag, length, then the integers.
    let mut rest = signature.get(2..).unwrap_or_default();
    for half in fixed.chunks_mut(COORDINATE) {
        let [_, length, after @ ..] = rest else { break };
        let (integer, after) = after.split_at(usize::from(*length).min(after.len()));
        let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
        half[COORDINATE - digits.len().min(COORDINATE)..].copy_from_slice(digits);
        rest = after;
    }
    fixed
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn signatures_have_the_form_of_json_web_tokens() {
        let (key, stored) = SigningKey::generate();
        assert!(SigningKey::stored(&stored).is_some_and(|again| again.thumbprint() == key.thumbprint()));
        let jwk = key.public_jwk();
        let mut point = vec![4];
        for name in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap());
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        // One in 256 integers is shorter than the others.
        for count in 0..2000 {
            let token = key.token(json!({"typ": "x"}), &json!({ "count": count }));
            let (signed, signature) = token.expose().rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert_eq!(public.verify(signed.as_bytes(), &signature), Ok(()), "{count}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_word_of_it() {
        for (text, why) in [
            ("secret", "not a private key"),
            ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----", "neither"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----",
                "encrypted",
            ),
            ("-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----", "not a private key"),
        ] {
            let error = SigningKey::of_pem(&Secret::new(text.to_owned())).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }
}
