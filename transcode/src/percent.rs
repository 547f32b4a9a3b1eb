//! Percent-decoding of URL components, strict where the usual decoders guess.

use std::borrow::Cow;

/// Which characters a decoder leaves alone or turns into others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A whole path segment: every escape is decoded.
    Segment,
    /// Part of a multi-segment variable: `%2F` stays as it is written.
    Segments,
    /// A query component: every escape is decoded, `+` is a space.
    Query,
}

/// Decodes `text`; `None` for a broken escape or bytes that are not UTF-8.
pub(crate) fn decode(text: &str, mode: Mode) -> Option<Cow<'_, str>> {
    let special = |b: u8| b == b'%' || (b == b'+' && mode == Mode::Query);
    let Some(first) = text.bytes().position(special) else {
        return Some(Cow::Borrowed(text));
    };
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut at = first;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let escape = bytes.get(at..at + 3)?;
                let value = hex(escape[1])? << 4 | hex(escape[2])?;
                if value == b'/' && mode == Mode::Segments {
                    out.extend_from_slice(escape);
                } else {
                    out.push(value);
                }
                at += 3;
            }
            b'+' if mode == Mode::Query => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Decodes the grpc-message header: broken escapes are kept, as gRPC asks.
pub(crate) fn decode_lossy(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?));
        match escape {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_decodes_every_escape() {
        assert_eq!(decode("a%2Fb%3ac", Mode::Segment).as_deref(), Some("a/b:c"));
        assert_eq!(decode("a+b", Mode::Segment).as_deref(), Some("a+b"));
    }

    #[test]
    fn an_escaped_slash_survives_in_a_multi_segment_variable() {
        assert_eq!(
            decode("a%2Fb%2f%20", Mode::Segments).as_deref(),
            Some("a%2Fb%2f ")
        );
    }

    #[test]
    fn plus_is_a_space_in_a_query_only() {
        assert_eq!(decode("a+b%2B", Mode::Query).as_deref(), Some("a b+"));
    }

    #[test]
    fn broken_escapes_and_bad_utf8_are_refused() {
        for bad in ["%", "%2", "%zz", "%+1", "%ff", "a%C3"] {
            assert_eq!(decode(bad, Mode::Segment), None, "{bad}");
        }
    }

    #[test]
    fn a_grpc_message_keeps_broken_escapes() {
        assert_eq!(decode_lossy(b"caf%C3%A9 100% %zz"), "caf\u{e9} 100% %zz");
    }
}
