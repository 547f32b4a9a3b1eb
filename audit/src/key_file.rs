//! Audit keys as a file: for whoever verifies where the key-encryption key is
//! in a key management service, or is nobody's but the broker's. A line a key:
//! its id, a space, its 32 bytes in base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Key;

/// A key as its line, with the line's end.
#[must_use]
pub fn key_line(id: Uuid, secret: &[u8; 32]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(secret));
    Zeroizing::new(format!("{id} {}\n", *encoded))
}

/// Reads a file of keys; none where a line is no key, or there is no line.
#[must_use]
pub fn read_keys(text: &str) -> Option<Vec<Key>> {
    let keys: Option<Vec<Key>> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(read_key)
        .collect();
    keys.filter(|keys| !keys.is_empty())
}

fn read_key(line: &str) -> Option<Key> {
    let (id, encoded) = line.trim().split_once(' ')?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let secret: &[u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(Key::new(id.parse().ok()?, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let text = format!("{}\n{}", *key_line(one, &[1; 32]), *key_line(two, &[2; 32]));
        let keys = read_keys(&text).expect("two keys");
        let ids: Vec<Uuid> = keys.iter().map(Key::id).collect();
        assert_eq!(ids, [one, two]);
        assert_eq!(keys[1].mac(b"row"), Key::new(two, &[2; 32]).mac(b"row"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let short = format!("{} AAAA", Uuid::nil());
        for text in [
            "",
            "\n",
            "AAAA",
            &short,
            "no-uuid AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert!(read_keys(text).is_none(), "{text:?}");
        }
    }
}
