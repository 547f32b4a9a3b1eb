//! What goes through Redis proves where it comes from. Whoever can write there
//! could otherwise plant a `token_endpoint`, a key set, or a notice.

use ring::{hkdf, hmac};

use super::Entry;
use crate::domain::Timestamp;

const VERSION: u8 = 1;
const TAG_LEN: usize = 32;
const HEAD_LEN: usize = 1 + 8;

/// Keys of what is shared, derived from STATE_KEY (HKDF, RFC 5869); the same
/// in all brokers of a deployment.
pub struct Proofs {
    names: hmac::Key,
    entries: hmac::Key,
    notices: hmac::Key,
}

impl Proofs {
    /// Derives the keys.
    #[must_use]
    pub fn new(state_key: &[u8; 32]) -> Self {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"dromos").extract(state_key);
        let derive = |purpose: &[u8]| -> hmac::Key {
            let info = [purpose];
            let derived = extracted.expand(&info, hmac::HMAC_SHA256);
            derived.expect("HKDF yields a key of one hash").into()
        };
        Self {
            names: derive(b"shared names"),
            entries: derive(b"shared cache entries"),
            notices: derive(b"shared notices"),
        }
    }

    /// The name of something in Redis: tells nothing of what it names, and is
    /// another one in another deployment.
    #[must_use]
    pub fn name(&self, kind: &str, name: &str) -> String {
        let tag = hmac::sign(&self.names, &labelled(&[kind.as_bytes(), name.as_bytes()]));
        let mut text = format!("dromos:{kind}:");
        for byte in &tag.as_ref()[..16] {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    /// `version ‖ expiry ‖ value ‖ MAC over name, expiry and value`.
    #[must_use]
    pub fn seal_entry(&self, name: &str, entry: &Entry) -> Vec<u8> {
        let until = entry.until.timestamp_micros().to_be_bytes();
        let tag = hmac::sign(&self.entries, &entry_text(name, &until, &entry.value));
        [&[VERSION], &until[..], &entry.value, tag.as_ref()].concat()
    }

    /// The entry, if this deployment sealed it under this name.
    #[must_use]
    pub fn open_entry(&self, name: &str, sealed: &[u8]) -> Option<Entry> {
        let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_LEN)?)?;
        let (head, value) = body.split_at_checked(HEAD_LEN)?;
        let (version, until) = head.split_first()?;
        if *version != VERSION {
            return None;
        }
        hmac::verify(&self.entries, &entry_text(name, until, value), tag).ok()?;
        let until = Timestamp::from_timestamp_micros(i64::from_be_bytes(until.try_into().ok()?))?;
        Some(Entry {
            value: value.to_vec(),
            until,
        })
    }

    /// `message ‖ MAC`.
    #[must_use]
    pub fn seal_notice(&self, message: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&self.notices, message);
        [message, tag.as_ref()].concat()
    }

    /// The message, if this deployment sealed it.
    #[must_use]
    pub fn open_notice<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (message, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_LEN)?)?;
        hmac::verify(&self.notices, message, tag).ok()?;
        Some(message)
    }
}

fn entry_text(name: &str, until: &[u8], value: &[u8]) -> Vec<u8> {
    labelled(&[&[VERSION], name.as_bytes(), until, value])
}

/// Parts that can't run into each other: each after its length.
fn labelled(parts: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(value: &[u8]) -> Entry {
        Entry {
            value: value.to_vec(),
            until: Timestamp::from_timestamp_micros(1_800_000_000_000_000).expect("a time"),
        }
    }

    #[test]
    fn an_entry_opens_under_its_own_name_and_key_only() {
        let (ours, theirs) = (Proofs::new(&[1; 32]), Proofs::new(&[2; 32]));
        let sealed = ours.seal_entry("jwks:a", &entry(b"keys"));
        assert_eq!(ours.open_entry("jwks:a", &sealed), Some(entry(b"keys")));
        assert_eq!(ours.open_entry("jwks:b", &sealed), None);
        assert_eq!(theirs.open_entry("jwks:a", &sealed), None);
        assert_ne!(ours.name("cache", "jwks:a"), theirs.name("cache", "jwks:a"));
    }

    #[test]
    fn a_notice_is_no_entry() {
        let proofs = Proofs::new(&[1; 32]);
        let sealed = proofs.seal_notice(b"message");
        assert_eq!(proofs.open_notice(&sealed), Some(&b"message"[..]));
        assert_eq!(proofs.open_entry("message", &sealed), None);
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unseen(
            value in proptest::collection::vec(any::<u8>(), 0..64),
            place in any::<prop::sample::Index>(),
            flip in 1..=255u8,
        ) {
            let proofs = Proofs::new(&[1; 32]);
            let mut sealed = proofs.seal_entry("name", &entry(&value));
            let place = place.index(sealed.len());
            sealed[place] ^= flip;
            prop_assert_eq!(proofs.open_entry("name", &sealed), None);
        }

        #[test]
        fn anything_at_all_is_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let proofs = Proofs::new(&[1; 32]);
            prop_assert_eq!(proofs.open_entry("name", &bytes), None);
            prop_assert_eq!(proofs.open_notice(&bytes), None);
        }
    }
}
