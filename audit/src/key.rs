//! The key of the chain, and how it is unwrapped where the key-encryption key
//! is at hand.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{Mac, Row, SYSTEM_WORKSPACE, record::WrappedKey};

const NONCE_LEN: usize = 12;

/// The audit's key. Whoever has it can verify, and could forge.
#[derive(Clone)]
pub struct Key {
    id: Uuid,
    key: hmac::Key,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A key from its 32 bytes.
    #[must_use]
    pub fn new(id: Uuid, secret: &[u8; 32]) -> Self {
        Self {
            id,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// Its id, which a writer's first row names.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The MAC of a row that stands behind one with the MAC `previous`.
    #[must_use]
    pub fn sign(&self, previous: &Mac, row: &Row<'_>) -> Mac {
        self.mac(&row.canonical(previous))
    }

    /// Whether `mac` is the MAC of a row in this place.
    #[must_use]
    pub fn is_signed(&self, previous: &Mac, row: &Row<'_>, mac: &[u8]) -> bool {
        self.is_mac(&row.canonical(previous), mac)
    }

    pub(crate) fn mac(&self, bytes: &[u8]) -> Mac {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.key, bytes).as_ref());
        mac
    }

    pub(crate) fn is_mac(&self, bytes: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.key, bytes, mac).is_ok()
    }
}

/// What a wrapped audit key is bound to: it is a data key of the system's own
/// workspace, and bound like every other data key.
#[must_use]
pub fn wrapping_context(key_id: Uuid) -> Vec<u8> {
    let parts: [&[u8]; 4] = [
        &[1],
        b"data_keys",
        SYSTEM_WORKSPACE.as_bytes(),
        key_id.as_bytes(),
    ];
    let mut bytes = Vec::new();
    for part in parts {
        // The parts are a few bytes long.
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A key-encryption key: 32 bytes.
pub struct Kek(Zeroizing<[u8; 32]>);

/// Why an audit key was not unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit key {0} does not unwrap under the key-encryption keys that were given")]
pub struct NotUnwrapped(pub Uuid);

/// Which key-encryption key it is, as a wrapped key names it: a keyed hash, of
/// which only this key's holder can make another.
#[must_use]
pub fn kek_id(kek: &[u8; 32]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, kek);
    let tag = hmac::sign(&key, b"dromos key-encryption key id");
    let bytes = tag.as_ref()[..8].iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

impl Kek {
    /// Reads a key from its base64 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return None;
        }
        key.copy_from_slice(&bytes);
        Some(Self(key))
    }

    /// Unwraps an audit key with whichever of these keys wrapped it.
    ///
    /// # Errors
    /// None did, or the wrapped key was changed.
    pub fn unwrap(keks: &[Self], wrapped: &WrappedKey) -> Result<Key, NotUnwrapped> {
        let unwrapped = keks
            .iter()
            .filter(|kek| kek_id(&kek.0) == wrapped.kek_id)
            .find_map(|kek| kek.open(wrapped));
        unwrapped.ok_or(NotUnwrapped(wrapped.key_id))
    }

    fn open(&self, wrapped: &WrappedKey) -> Option<Key> {
        let (nonce, ciphertext) = wrapped.wrapped.split_first_chunk::<NONCE_LEN>()?;
        let payload = Payload {
            msg: ciphertext,
            aad: &wrapping_context(wrapped.key_id),
        };
        let aes = Aes256Gcm::new((&*self.0).into());
        let opened = Zeroizing::new(aes.decrypt(&(*nonce).into(), payload).ok()?);
        let secret: &[u8; 32] = opened.as_slice().try_into().ok()?;
        Some(Key::new(wrapped.key_id, secret))
    }
}
