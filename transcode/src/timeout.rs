//! Deadlines: `grpc-timeout`, and `x-request-timeout` in decimal seconds.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::status::Failure;

const GRPC_TIMEOUT: &str = "grpc-timeout";
const REQUEST_TIMEOUT: &str = "x-request-timeout";
/// `grpc-timeout` holds at most eight digits.
const MAX_VALUE: u128 = 99_999_999;

/// The `grpc-timeout` for the inner call: the shorter of what the two headers
/// ask for.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
    let read = |name: &'static str, parse: fn(&str) -> Option<Duration>, problem: &'static str| {
        headers
            .get(name)
            .map(|value| {
                value
                    .to_str()
                    .ok()
                    .and_then(parse)
                    .ok_or_else(|| Failure::invalid_field(name, problem))
            })
            .transpose()
    };
    let grpc = read(GRPC_TIMEOUT, parse_grpc, "malformed")?;
    let seconds = read(REQUEST_TIMEOUT, parse_seconds, "expected decimal seconds")?;
    Ok([grpc, seconds].into_iter().flatten().min().map(format))
}

/// At most eight digits and a unit, as the gRPC protocol has it.
fn parse_grpc(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    let value = digits_of(digits, 8)?;
    Some(match unit {
        'H' => Duration::from_secs(value * 3600),
        'M' => Duration::from_secs(value * 60),
        'S' => Duration::from_secs(value),
        'm' => Duration::from_millis(value),
        'u' => Duration::from_micros(value),
        'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Seconds with up to nine decimals: `30`, `1.5`.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let nanos = match fraction {
        Some(digits) => {
            let scale = 10_u64.pow(u32::try_from(9_usize.checked_sub(digits.len())?).ok()?);
            digits_of(digits, 9)? * scale
        }
        None => 0,
    };
    Some(Duration::from_secs(digits_of(whole, 8)?) + Duration::from_nanos(nanos))
}

fn digits_of(text: &str, most: usize) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Writes the finest unit that fits, rounding up.
fn format(timeout: Duration) -> HeaderValue {
    let nanos = timeout.as_nanos();
    let units = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (3_600_000_000_000, 'H'),
    ];
    let text = units
        .into_iter()
        .map(|(unit, name)| (nanos.div_ceil(unit), name))
        .find(|(value, _)| *value <= MAX_VALUE)
        .map_or_else(
            || format!("{MAX_VALUE}H"),
            |(value, name)| format!("{value}{name}"),
        );
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(headers: &[(&'static str, &str)]) -> Result<Option<String>, ()> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        grpc_timeout(&headers)
            .map(|value| value.map(|v| v.to_str().unwrap().to_owned()))
            .map_err(|_| ())
    }

    #[test]
    fn decimal_seconds_become_a_grpc_timeout() {
        for (seconds, expected) in [
            ("1.5", "1500000u"),
            ("0", "0n"),
            ("0.000000001", "1n"),
            ("30", "30000000u"),
            ("3600", "3600000m"),
            ("99999999", "99999999S"),
            ("99999999.5", "27778H"),
        ] {
            let value = timeout(&[("x-request-timeout", seconds)]);
            assert_eq!(value, Ok(Some(expected.to_owned())), "{seconds}");
        }
    }

    #[test]
    fn malformed_timeouts_are_refused() {
        for bad in [
            "",
            "-1",
            "1e3",
            "1.",
            ".5",
            "1,5",
            "123456789",
            "1.0000000000",
            " 1",
        ] {
            assert_eq!(timeout(&[("x-request-timeout", bad)]), Err(()), "{bad}");
        }
        for bad in ["", "1", "S", "123456789S", "1d", "-1S"] {
            assert_eq!(timeout(&[("grpc-timeout", bad)]), Err(()), "{bad}");
        }
    }

    #[test]
    fn the_shorter_of_both_counts() {
        let both = [("grpc-timeout", "2S"), ("x-request-timeout", "3")];
        assert_eq!(timeout(&both), Ok(Some("2000000u".to_owned())));
        assert_eq!(timeout(&[]), Ok(None));
        for (unit, expected) in [("1H", "3600000m"), ("1M", "60000000u"), ("9m", "9000000n")] {
            assert_eq!(
                timeout(&[("grpc-timeout", unit)]),
                Ok(Some(expected.to_owned()))
            );
        }
    }
}
