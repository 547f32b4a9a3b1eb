//! The state of a consent (RFC 6749 §10.12), the handle of its page, and the
//! cookie that ties both to one browser. All are random or keyed: none tells
//! anything about the consent.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};

use super::ambient::Ambient;

const SECRET_LEN: usize = 32;
const TAG_LEN: usize = 32;

/// Signs states, and cookies.
pub struct StateKey(hmac::Key);

impl StateKey {
    /// From 32 secret bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A new state: random, and signed, so that a forged one costs no look-up.
    #[must_use]
    pub fn mint(&self, ambient: &Ambient) -> SecretString {
        let secret: [u8; SECRET_LEN] = ambient.bytes();
        let tag = self.tag(b"state", &secret);
        URL_SAFE_NO_PAD
            .encode([&secret[..], tag.as_ref()].concat())
            .into()
    }

    /// Whether this key signed the state.
    #[must_use]
    pub fn is_ours(&self, state: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(state) else {
            return false;
        };
        if bytes.len() != SECRET_LEN + TAG_LEN {
            return false;
        }
        let (secret, tag) = bytes.split_at(SECRET_LEN);
        hmac::verify(&self.0, &labelled(b"state", secret), tag).is_ok()
    }

    /// The value of the cookie that a callback with this state must carry.
    #[must_use]
    pub fn cookie(&self, state_hash: &[u8; 32]) -> SecretString {
        URL_SAFE_NO_PAD
            .encode(self.tag(b"cookie", state_hash))
            .into()
    }

    /// Whether a cookie's value belongs to the state; takes the same time
    /// whatever the value.
    #[must_use]
    pub fn is_cookie_of(&self, state_hash: &[u8; 32], value: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(value)
            .is_ok_and(|tag| hmac::verify(&self.0, &labelled(b"cookie", state_hash), &tag).is_ok())
    }

    fn tag(&self, label: &[u8], data: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &labelled(label, data))
    }
}

fn labelled(label: &[u8], data: &[u8]) -> Vec<u8> {
    [label, &[0], data].concat()
}

/// A random text of 256 bits: a handle, a PKCE verifier, a nonce, an API key.
#[must_use]
pub fn random_text(ambient: &Ambient) -> SecretString {
    let bytes: [u8; SECRET_LEN] = ambient.bytes();
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// What is stored of a state or a handle.
#[must_use]
pub fn hash(secret: &SecretString) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret.expose_secret().as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The name of a consent's cookie; two consents in one browser don't meet.
#[must_use]
pub fn cookie_name(state_hash: &[u8; 32], https: bool) -> String {
    let prefix = if https { "__Host-" } else { "" };
    format!(
        "{prefix}dromos-{}",
        URL_SAFE_NO_PAD.encode(&state_hash[..9])
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hardening_04_a_state_is_signed_and_reveals_nothing() {
        let (key, other) = (StateKey::new(&[1; 32]), StateKey::new(&[2; 32]));
        let state = key.mint(&Ambient::system());
        assert!(key.is_ours(state.expose_secret()));
        assert!(!other.is_ours(state.expose_secret()));
        assert_eq!(
            URL_SAFE_NO_PAD
                .decode(state.expose_secret())
                .map(|bytes| bytes.len()),
            Ok(64)
        );
    }

    #[test]
    fn hardening_28_a_cookie_belongs_to_one_state() {
        let key = StateKey::new(&[1; 32]);
        let cookie = key.cookie(&[7; 32]);
        assert!(key.is_cookie_of(&[7; 32], cookie.expose_secret()));
        assert!(!key.is_cookie_of(&[8; 32], cookie.expose_secret()));
        assert!(!key.is_cookie_of(&[7; 32], ""));
    }

    proptest! {
        #[test]
        fn no_text_passes_for_a_state_or_makes_the_parser_panic(text in "\\PC*") {
            prop_assert!(!StateKey::new(&[1; 32]).is_ours(&text));
        }
    }

    #[test]
    fn fuzz_nothing_that_is_made_of_a_state_passes_but_the_state() {
        let key = StateKey::new(&[1; 32]);
        let minted = key.mint(&Ambient::system());
        let minted = minted.expose_secret().as_bytes();
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(2))
            .for_each(|input: &[u8]| {
                // A true state with some of its bytes changed, and what follows.
                let mut text = minted.to_vec();
                for change in input.chunks_exact(2) {
                    let at = usize::from(change[0]) % text.len();
                    text[at] ^= change[1] & 0x7f;
                }
                text.extend(input.chunks_exact(2).remainder());
                let Ok(text) = std::str::from_utf8(&text) else {
                    return;
                };
                assert_eq!(key.is_ours(text), text.as_bytes() == minted);
                assert!(!key.is_cookie_of(&[7; 32], text));
            });
    }
}
