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

/// Why a text cannot be used as a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is encrypted.
    Encrypted,
    /// It has the form of OpenSSH.
    OpenSsh,
    /// It is a key of another kind.
    Kind,
    /// It is something else.
    NoKey,
}

impl Unusable {
    /// Returns the predicate of a sentence, which contains nothing of the text.
    pub fn why(self) -> &'static str {
        match self {
            Self::Encrypted => "is encrypted",
            Self::OpenSsh => "is a key in the form of OpenSSH, which is not PKCS#8",
            Self::Kind => "is neither a P-256 key nor an RSA key of 2048 to 4096 bits",
            Self::NoKey => "is not a private key in PEM (-----BEGIN PRIVATE KEY-----)",
        }
    }
}

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
    /// [`Unusable`].
    pub fn of_pem(text: &Secret) -> Result<Self, Unusable> {
        let pem = plain_pem(text.expose());
        if pem.contains("BEGIN ENCRYPTED") || pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(Unusable::Encrypted);
        }
        if pem.contains("OPENSSH PRIVATE KEY") {
            return Err(Unusable::OpenSsh);
        }
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Unusable::NoKey)?;
        Self::of_der(&der).ok_or(Unusable::Kind)
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

/// Undoes what happens to PEM on its way through variables and YAML: quotes, indents, escaped or lost line breaks.
fn plain_pem(text: &str) -> Zeroizing<String> {
    let text = text.trim_start_matches('\u{feff}').trim().trim_matches(['"', '\'']);
    let text = Zeroizing::new(text.replace("\\r", "").replace("\\n", "\n"));
    let is_one_line = text.lines().count() == 1;
    let parts = text.split("-----").map(str::trim).map(|part| match is_one_line {
        // Only the body of the key has spaces for line breaks; its labels have spaces of their own.
        true if !part.starts_with("BEGIN") && !part.starts_with("END") => part.replace(' ', "\n"),
        _ => part.lines().map(str::trim).collect::<Vec<_>>().join("\n"),
    });
    let mut plain = Zeroizing::new(String::with_capacity(text.len() + 8));
    for (at, part) in parts.enumerate() {
        // The text is: nothing, BEGIN label, body, END label, nothing.
        match at % 4 {
            1 | 3 => plain.extend(["-----", part.as_str(), "-----\n"]),
            _ => plain.extend([part.as_str(), if part.is_empty() { "" } else { "\n" }]),
        }
    }
    plain
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
    use base64::engine::general_purpose::STANDARD;
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
    fn a_key_is_read_in_the_forms_that_variables_give_it() {
        let (_, stored) = SigningKey::generate();
        let body = STANDARD.encode(URL_SAFE_NO_PAD.decode(stored.expose()).unwrap());
        let (first, second) = body.split_at(64);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{first}\n{second}\n-----END PRIVATE KEY-----\n");
        for text in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\\r\\n"),
            pem.trim().replace('\n', " "),
            pem.replace('\n', "\n  "),
            format!("\u{feff}{pem}"),
            format!("\"{}\"", pem.trim()),
            format!("Bag Attributes\n    friendlyName: NOT-ENCRYPTED\n{pem}"),
        ] {
            assert!(SigningKey::of_pem(&Secret::new(text.clone())).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\nc2VjcmV0\n-----END {kind}-----");
        for (text, why) in [
            ("secret".to_owned(), Unusable::NoKey),
            (pem("PRIVATE KEY"), Unusable::Kind),
            (pem("ENCRYPTED PRIVATE KEY"), Unusable::Encrypted),
            (pem("OPENSSH PRIVATE KEY"), Unusable::OpenSsh),
            (pem("CERTIFICATE"), Unusable::NoKey),
        ] {
            assert_eq!(SigningKey::of_pem(&Secret::new(text)).unwrap_err(), why);
        }
    }
}
