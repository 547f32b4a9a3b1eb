//! Wrapping with key-encryption keys that this process holds: what `env` and
//! `file` have in common.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretBox;
use zeroize::{Zeroize, Zeroizing};

use super::{KeyProvider, WrapContext, Wrapped};
use crate::domain::{
    ambient::Ambient,
    error::{Error, Result},
};

const NONCE_LEN: usize = 12;

/// A key-encryption key: 32 bytes.
pub(super) type Kek = Zeroizing<[u8; 32]>;

/// Reads a key from its base64 text.
pub(super) fn parse(text: &str) -> Option<Kek> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    let mut key = Kek::default();
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

/// Which key it is, without telling anything about it: a keyed hash, of which
/// only this key's holder can make another.
fn id_of(key: &Kek) -> String {
    let tag = ring::hmac::sign(
        &ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key[..]),
        b"dromos key-encryption key id",
    );
    tag.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Key-encryption keys in memory: the first wraps, all unwrap.
pub(super) struct LocalKeys {
    keys: Vec<(String, Aes256Gcm)>,
    ambient: Ambient,
}

impl LocalKeys {
    pub(super) fn new(current: &Kek, previous: &[Kek], ambient: &Ambient) -> Self {
        let keys = std::iter::once(current)
            .chain(previous)
            .map(|key| (id_of(key), Aes256Gcm::new((&**key).into())))
            .collect();
        Self {
            keys,
            ambient: ambient.clone(),
        }
    }
}

#[async_trait]
impl KeyProvider for LocalKeys {
    async fn wrap(&self, data_key: &[u8; 32], context: &WrapContext) -> Result<Wrapped> {
        let (kek_id, key) = self
            .keys
            .first()
            .ok_or_else(|| Error::internal("no key-encryption key"))?;
        let nonce: [u8; NONCE_LEN] = self.ambient.bytes();
        let payload = Payload {
            msg: &data_key[..],
            aad: &context.aad(),
        };
        let ciphertext = key
            .encrypt(&nonce.into(), payload)
            .map_err(|_| Error::internal("a data key was not wrapped"))?;
        Ok(Wrapped {
            kek_id: kek_id.clone(),
            bytes: [&nonce[..], &ciphertext].concat(),
        })
    }

    async fn unwrap(
        &self,
        kek_id: &str,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<SecretBox<[u8; 32]>> {
        let (_, key) = self
            .keys
            .iter()
            .find(|key| key.0 == kek_id)
            .ok_or_else(|| {
                Error::internal("the database was encrypted under another key-encryption key")
            })?;
        let (nonce, ciphertext) = wrapped
            .split_first_chunk::<NONCE_LEN>()
            .ok_or_else(|| Error::internal("a wrapped data key is cut short"))?;
        let mut opened = key
            .decrypt(
                &(*nonce).into(),
                Payload {
                    msg: ciphertext,
                    aad: &context.aad(),
                },
            )
            .map_err(|_| Error::internal("a data key does not unwrap in its context"))?;
        let mut data_key = Box::new([0; 32]);
        if opened.len() == data_key.len() {
            data_key.copy_from_slice(&opened);
        }
        let fits = opened.len() == data_key.len();
        opened.zeroize();
        if fits {
            Ok(SecretBox::new(data_key))
        } else {
            Err(Error::internal("a data key has another length"))
        }
    }

    async fn current_kek_id(&self) -> Result<String> {
        self.keys
            .first()
            .map(|key| key.0.clone())
            .ok_or_else(|| Error::internal("no key-encryption key"))
    }
}
