//! The stored form: `version ‖ data key id ‖ nonce ‖ ciphertext+tag`.

use uuid::Uuid;

use crate::domain::{id::DataKeyId, sealed::Sealed};

/// AES-256-GCM under the workspace's data key.
pub(super) const VERSION: u8 = 1;
/// 96 bits (NIST SP 800-38D §8.2.2, random).
pub(super) const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + 16 + NONCE_LEN;

/// A ciphertext's parts.
pub(super) struct Envelope<'a> {
    pub data_key_id: DataKeyId,
    pub nonce: [u8; NONCE_LEN],
    pub ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub(super) fn to_sealed(&self) -> Sealed {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.ciphertext.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(self.data_key_id.0.as_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(self.ciphertext);
        Sealed(bytes)
    }

    pub(super) fn parse(sealed: &'a Sealed) -> Option<Self> {
        let (header, ciphertext) = sealed.0.split_at_checked(HEADER_LEN)?;
        let (&version, header) = header.split_first()?;
        let (id, nonce) = header.split_at_checked(16)?;
        if version != VERSION || ciphertext.len() < TAG_LEN {
            return None;
        }
        Some(Self {
            data_key_id: DataKeyId(Uuid::from_slice(id).ok()?),
            nonce: nonce.try_into().ok()?,
            ciphertext,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let sealed = Sealed(bytes);
            if let Some(envelope) = Envelope::parse(&sealed) {
                prop_assert_eq!(envelope.to_sealed(), sealed.clone());
            }
        }
    }

    #[test]
    fn fuzz_any_bytes_are_no_ciphertext_or_come_back_as_they_were() {
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(2))
            .for_each(|input: &[u8]| {
                // With a version that gets past the first look, half the time.
                let mut bytes = input.to_vec();
                if let Some(first) = bytes.first_mut().filter(|first| **first % 2 == 0) {
                    *first = VERSION;
                }
                let sealed = Sealed(bytes);
                if let Some(envelope) = Envelope::parse(&sealed) {
                    assert!(envelope.to_sealed() == sealed);
                    assert!(envelope.ciphertext.len() >= TAG_LEN);
                }
            });
    }
}
