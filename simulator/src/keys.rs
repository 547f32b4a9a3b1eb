//! Signing keys, the JWKS and id_tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::ambient::{random_token, randomness};

/// One P-256 key for ES256 (RFC 7518 §3.4).
pub(crate) struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    pub(crate) fn generate() -> Self {
        let random = randomness();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document =
            EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a P-256 key can be generated");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .expect("ring reads the key it wrote");
        Self {
            kid: random_token("key"),
            pair,
        }
    }

    fn jwk(&self) -> Value {
        // An uncompressed point: 0x04, then x and y, 32 bytes each (SEC 1 §2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    fn sign(&self, kid: &str, claims: &Value) -> String {
        let signed = signing_input(&json!({ "alg": "ES256", "typ": "JWT", "kid": kid }), claims);
        let signature = self
            .pair
            .sign(&randomness(), signed.as_bytes())
            .expect("ES256 signs any message");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// The key that signs, and the one before it, which stays published for tokens still under way.
pub(crate) struct KeyRing {
    current: SigningKey,
    previous: Option<SigningKey>,
}

impl KeyRing {
    pub(crate) fn new() -> Self {
        Self {
            current: SigningKey::generate(),
            previous: None,
        }
    }

    pub(crate) fn rotate(&mut self) {
        let retired = std::mem::replace(&mut self.current, SigningKey::generate());
        self.previous = Some(retired);
    }

    /// The JWK set (RFC 7517 §5).
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = std::iter::once(&self.current)
            .chain(&self.previous)
            .map(SigningKey::jwk)
            .collect();
        json!({ "keys": keys })
    }

    /// A JWT signed by the current key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.current.sign(&self.current.kid, claims)
    }

    /// A JWT that names the current key but is signed by one that nobody published.
    pub(crate) fn sign_with_unknown_key(&self, claims: &Value) -> String {
        SigningKey::generate().sign(&self.current.kid, claims)
    }
}

/// A JWT without a signature (RFC 7519 §6).
pub(crate) fn unsecured(claims: &Value) -> String {
    format!(
        "{}.",
        signing_input(&json!({ "alg": "none", "typ": "JWT" }), claims)
    )
}

/// `code_challenge` of a `code_verifier` by S256 (RFC 7636 §4.2).
pub(crate) fn s256(code_verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, code_verifier.as_bytes()))
}

fn signing_input(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}
