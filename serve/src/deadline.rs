//! Deadlines: `grpc-timeout` in, a moment that every layer may ask for out.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// The header that carries the time a caller is willing to wait.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The deadlines of calls that answer with one message.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Where the caller names none.
    pub default: Duration,
    /// The most that a caller may ask for.
    pub max: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            default: Duration::from_secs(30),
            max: Duration::from_secs(60),
        }
    }
}

/// When the call must have been answered; in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// The time that is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// The deadline of a call that begins now. A server stream has one only where
/// the caller asks for it; a malformed header counts as none.
pub(crate) fn deadline(
    headers: &HeaderMap,
    streams: bool,
    deadlines: Deadlines,
) -> Option<Deadline> {
    let asked = headers.get(GRPC_TIMEOUT).and_then(parse_timeout);
    let granted = match (asked, streams) {
        (Some(asked), false) => asked.min(deadlines.max),
        (None, false) => deadlines.default,
        (asked, true) => asked?,
    };
    Instant::now().checked_add(granted).map(Deadline)
}

/// Parses `grpc-timeout`: at most eight digits and one of the units H, M, S,
/// m, u, n.
pub fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Formats a duration as `grpc-timeout`, rounded down to a unit that fits
/// eight digits.
pub fn format_timeout(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let units = [(timeout.as_micros(), 'u'), (timeout.as_millis(), 'm')];
    let fitting = units.into_iter().find(|(amount, _)| *amount <= MOST);
    let (amount, unit) = fitting.unwrap_or((u128::from(timeout.as_secs()).min(MOST), 'S'));
    HeaderValue::try_from(format!("{amount}{unit}"))
        .expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(timeout: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(GRPC_TIMEOUT, HeaderValue::from_static(timeout))])
    }

    #[test]
    fn every_unit_of_grpc_timeout_is_understood_and_nothing_else() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("123456789S", None),
            ("1.5S", None),
        ] {
            assert_eq!(
                parse_timeout(&HeaderValue::from_static(text)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_formatted_timeout_parses_to_the_same_or_a_little_less() {
        for timeout in [0, 1, 99_999_999, 100_000_000, 123_456_789_000].map(Duration::from_micros) {
            let parsed = parse_timeout(&format_timeout(timeout)).unwrap();
            assert!(
                parsed <= timeout && timeout - parsed < Duration::from_secs(1),
                "{timeout:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_unary_call_always_has_a_deadline_and_a_stream_only_on_request() {
        let of = |headers: HeaderMap, streams| {
            deadline(&headers, streams, Deadlines::default()).map(Deadline::remaining)
        };
        assert_eq!(of(HeaderMap::new(), false), Some(Duration::from_secs(30)));
        assert_eq!(of(headers("5S"), false), Some(Duration::from_secs(5)));
        assert_eq!(of(headers("2H"), false), Some(Duration::from_secs(60)));
        assert_eq!(of(HeaderMap::new(), true), None);
        assert_eq!(of(headers("2H"), true), Some(Duration::from_secs(7200)));
    }
}
