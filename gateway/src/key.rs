//! The caller's API key, as far as the gateway looks at it: its form.

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// Whether `key` is 16 to 512 visible ASCII characters.
pub(crate) fn is_well_formed(key: &[u8]) -> bool {
    (16..=512).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// The key of `Authorization: Bearer <key>` (RFC 6750 §2.1), marked sensitive;
/// `None` where there is none, more than one, or a malformed one. Whether it
/// is valid is for the broker to say.
pub(crate) fn of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (given.next()?, given.next()) else {
        return None;
    };
    let (scheme, key) = only.as_bytes().split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") || !is_well_formed(key) {
        return None;
    }
    let mut key = HeaderValue::from_bytes(key).ok()?;
    key.set_sensitive(true);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(values: &[&'static str]) -> Option<String> {
        let pairs = values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        of(&headers).map(|key| key.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_bearer_key_is_taken_whatever_the_schemes_case() {
        assert_eq!(
            key_of(&["Bearer 0123456789abcdef"]).as_deref(),
            Some("0123456789abcdef")
        );
        assert_eq!(
            key_of(&["bEARER 0123456789abcdef"]).as_deref(),
            Some("0123456789abcdef")
        );
    }

    #[test]
    fn what_is_no_single_well_formed_bearer_key_is_none() {
        let long: &'static str = format!("Bearer {}", "k".repeat(513)).leak();
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer 0123456789abcde"],
            &["Bearer 0123456789 abcdef"],
            &["Bearer  0123456789abcdef"],
            &["Basic 0123456789abcdef"],
            &["0123456789abcdef0123456789"],
            &[long],
            &["Bearer 0123456789abcdef", "Bearer fedcba9876543210"],
        ] {
            assert_eq!(key_of(values), None, "{values:?}");
        }
    }
}
