//! Moments and durations, as people write and read them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the command line's one clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A protobuf timestamp as a moment, if it is one.
pub fn moment(timestamp: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(timestamp.seconds, timestamp.nanos.try_into().ok()?)
}

/// A moment as a protobuf timestamp.
pub fn timestamp(moment: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: moment.timestamp(),
        // A leap second counts on beyond a thousand million.
        nanos: (moment.timestamp_subsec_nanos() % 1_000_000_000).cast_signed(),
    }
}

/// `2026-01-31 12:00:00 UTC (in 3 d)`; a dash where there is no moment.
pub fn full(timestamp: Option<&Timestamp>, now: DateTime<Utc>) -> String {
    match timestamp.and_then(moment) {
        Some(moment) => format!(
            "{} ({})",
            moment.format("%Y-%m-%d %H:%M:%S UTC"),
            from_now(moment, now)
        ),
        None => "–".to_owned(),
    }
}

/// `3 min ago`, `in 3 d`; a dash where there is no moment.
pub fn relative(timestamp: Option<&Timestamp>, now: DateTime<Utc>) -> String {
    match timestamp.and_then(moment) {
        Some(moment) => from_now(moment, now),
        None => "–".to_owned(),
    }
}

fn from_now(moment: DateTime<Utc>, now: DateTime<Utc>) -> String {
    // Rounded up, or fifteen minutes would be fourteen by the time they are told.
    let seconds = (moment - now).as_seconds_f64().ceil();
    let span = span(seconds.abs() as u64);
    match seconds {
        0.0 => "now".to_owned(),
        1.0.. => format!("in {span}"),
        _ => format!("{span} ago"),
    }
}

/// A span in its largest whole unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `340 ms` or `1.2 s`.
pub fn elapsed(time: Duration) -> String {
    match time.as_millis() {
        milliseconds @ 0..1_000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// Reads a duration: a whole number and one of `s`, `m`, `h`, `d`, `w`, for
/// instance `90s`, `12h` or `30d`.
///
/// # Errors
///
/// What is expected, for a text that is none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and a unit, for instance 90s, 45m, 12h, 30d or 4w";
    let unit = text.chars().last().ok_or_else(expected)?;
    let number = &text[..text.len() - unit.len_utf8()];
    let unit: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(expected().to_owned()),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected().to_owned());
    }
    let number: u64 = number.parse().map_err(|_| expected())?;
    // A hundred years: beyond that lie slips of the hand, and then overflows.
    match number.checked_mul(unit) {
        Some(0) => Err("it must be more than nothing".to_owned()),
        Some(seconds) if seconds <= 36_525 * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err("it must be at most a hundred years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("45m", 2_700),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("4w", 2_419_200),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "d",
            "30",
            "-1d",
            "+1d",
            "1.5h",
            "30 d",
            "1y",
            "30d4h",
            "3é",
            "0s",
            "99999d",
            "18446744073709551615w",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_moment_is_told_from_now_in_its_largest_unit() {
        let now = at(1_000_000);
        for (seconds, told) in [
            (0, "now"),
            (-1, "1 s ago"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (-7_200, "2 h ago"),
            (3_599, "in 59 min"),
            (172_799, "in 47 h"),
            (172_800, "in 2 d"),
        ] {
            let moment = timestamp(at(1_000_000 + seconds));
            assert_eq!(relative(Some(&moment), now), told);
        }
        assert_eq!(relative(None, now), "–");
    }

    #[test]
    fn a_full_moment_is_in_utc() {
        let moment = timestamp(at(86_400));
        assert_eq!(
            full(Some(&moment), at(0)),
            "1970-01-02 00:00:00 UTC (in 24 h)"
        );
        let broken = Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(full(Some(&broken), at(0)), "–");
    }

    #[test]
    fn short_times_are_told_in_milliseconds() {
        assert_eq!(elapsed(Duration::from_millis(999)), "999 ms");
        assert_eq!(elapsed(Duration::from_millis(1_250)), "1.2 s");
    }
}
