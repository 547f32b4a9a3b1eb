//! `google.protobuf.Timestamp` and `google.protobuf.Duration` as text.

use std::fmt::Write as _;

const SECONDS_PER_DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const MAX_DURATION: i64 = 315_576_000_000;

/// Reads RFC 3339 into seconds and nanoseconds since the epoch.
pub(crate) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let mut scan = Scan(text.as_bytes());
    let year = scan.digits(4)?;
    scan.byte(b'-')?;
    let month = scan.digits(2)?;
    scan.byte(b'-')?;
    let day = scan.digits(2)?;
    scan.byte(b'T')?;
    let hour = scan.digits(2)?;
    scan.byte(b':')?;
    let minute = scan.digits(2)?;
    scan.byte(b':')?;
    let second = scan.digits(2)?;
    let nanos = scan.fraction()?;
    let offset = match scan.next()? {
        b'Z' => 0,
        sign @ (b'+' | b'-') => {
            let hours = scan.digits(2)?;
            scan.byte(b':')?;
            let minutes = scan.digits(2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range || !scan.0.is_empty() {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos))
}

/// Writes RFC 3339 with 0, 3, 6 or 9 fractional digits; `None` out of range.
pub(crate) fn format_timestamp(seconds: i64, nanos: i32) -> Option<String> {
    if !TIMESTAMPS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let mut out = String::with_capacity(30);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
    .ok()?;
    push_fraction(&mut out, nanos)?;
    out.push('Z');
    Some(out)
}

/// Reads `1.5s` into seconds and nanoseconds of the same sign.
pub(crate) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let rest = rest.strip_suffix('s')?;
    let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
    let mut scan = Scan(rest.as_bytes());
    // Twelve digits hold the largest duration.
    let seconds = scan.digits(if whole <= 12 { whole } else { return None })?;
    let nanos = scan.fraction()?;
    if whole == 0 || !scan.0.is_empty() || seconds > MAX_DURATION {
        return None;
    }
    Some(if negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    })
}

/// Writes a duration; `None` when it is out of range or its signs differ.
pub(crate) fn format_duration(seconds: i64, nanos: i32) -> Option<String> {
    let signs_agree = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    let in_range = seconds.unsigned_abs() <= MAX_DURATION.unsigned_abs()
        && nanos.unsigned_abs() < 1_000_000_000;
    if !signs_agree || !in_range {
        return None;
    }
    let mut out = String::with_capacity(24);
    if seconds < 0 || nanos < 0 {
        out.push('-');
    }
    write!(out, "{}", seconds.unsigned_abs()).ok()?;
    push_fraction(&mut out, nanos.abs())?;
    out.push('s');
    Some(out)
}

fn push_fraction(out: &mut String, nanos: i32) -> Option<()> {
    match nanos {
        0 => Ok(()),
        n if n % 1_000_000 == 0 => write!(out, ".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => write!(out, ".{:06}", n / 1_000),
        n => write!(out, ".{n:09}"),
    }
    .ok()
}

struct Scan<'t>(&'t [u8]);

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        (0..count).try_fold(0, |number, _| {
            let digit = self.next()?;
            digit
                .is_ascii_digit()
                .then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    /// An optional fraction of at most nine digits, in nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.next()?;
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let digits = self.digits(count)?;
        let scale = 10_i64.pow(u32::try_from(9 - count).ok()?);
        i32::try_from(digits * scale).ok()
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years are
/// counted from March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_are_rfc_3339() {
        for (text, parsed) in [
            ("1970-01-01T00:00:00Z", (0, 0)),
            ("0001-01-01T00:00:00Z", (-62_135_596_800, 0)),
            (
                "9999-12-31T23:59:59.999999999Z",
                (253_402_300_799, 999_999_999),
            ),
            ("2000-02-29T12:30:00.500Z", (951_827_400, 500_000_000)),
            ("1969-12-31T23:59:59.000001Z", (-1, 1_000)),
        ] {
            assert_eq!(parse_timestamp(text), Some(parsed), "{text}");
            assert_eq!(format_timestamp(parsed.0, parsed.1).as_deref(), Some(text));
        }
        assert_eq!(
            parse_timestamp("1970-01-01T02:00:00+01:30"),
            Some((1800, 0))
        );
    }

    #[test]
    fn what_is_not_a_timestamp_is_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00ZZ",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "0001-01-01T00:00:00+00:01",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn durations_carry_one_sign() {
        for (text, parsed) in [
            ("0s", (0, 0)),
            ("1.500s", (1, 500_000_000)),
            ("-0.000000001s", (0, -1)),
            ("-3.000001s", (-3, -1_000)),
            ("315576000000s", (315_576_000_000, 0)),
        ] {
            assert_eq!(parse_duration(text), Some(parsed), "{text}");
            assert_eq!(format_duration(parsed.0, parsed.1).as_deref(), Some(text));
        }
        for text in [
            "",
            "s",
            "1",
            "1.s",
            ".5s",
            "--1s",
            "315576000001s",
            "1e3s",
            "9999999999999s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(format_duration(1, -1), None);
    }

    proptest! {
        #[test]
        fn timestamps_survive_the_way_there_and_back(
            seconds in TIMESTAMPS, nanos in 0..1_000_000_000_i32
        ) {
            let text = format_timestamp(seconds, nanos).unwrap();
            prop_assert_eq!(parse_timestamp(&text), Some((seconds, nanos)));
        }
    }
}
