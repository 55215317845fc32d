//! Owns how dates, times and spans of time are written, whatever they are counted in: with the digits of a fraction that
//! are not zero, so that the same instant is the same text in each unit.

use std::fmt::Write as _;

use crate::values::calendar::{SECONDS_PER_DAY, write_date};

/// Nanoseconds in a second.
pub(super) const NANOS: i64 = 1_000_000_000;

/// `2026-03-01`.
pub(super) fn date(days: i64, out: &mut String) {
    write_date(days, out);
}

/// `2026-03-01T12:00:00.5`, with `Z` if it is known to be UTC.
pub(super) fn instant(seconds: i64, nanos: i64, is_utc: bool, out: &mut String) {
    write_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    out.push('T');
    time(seconds.rem_euclid(SECONDS_PER_DAY), nanos, out);
    if is_utc {
        out.push('Z');
    }
}

/// `12:00:00.5`.
pub(super) fn time(seconds: i64, nanos: i64, out: &mut String) {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Writing to a string does not fail.
    let _ = write!(out, "{hours:02}:{minutes:02}:{seconds:02}");
    fraction(nanos, out);
}

/// `PT1.5S`, behind so many months and days: `P14M3DT0.25S`.
pub(super) fn span(months: i64, days: i64, seconds: i64, nanos: i64, out: &mut String) {
    let is_negative = seconds < 0;
    // The fraction of a negative number counts down.
    let (seconds, nanos) = match is_negative && nanos > 0 {
        true => (seconds + 1, NANOS - nanos),
        false => (seconds, nanos),
    };
    out.push('P');
    for (number, unit) in [(months, 'M'), (days, 'D')] {
        if number != 0 {
            let _ = write!(out, "{number}{unit}");
        }
    }
    if seconds != 0 || nanos != 0 || out.ends_with('P') {
        out.push_str(if is_negative { "T-" } else { "T" });
        let _ = write!(out, "{}", seconds.unsigned_abs());
        fraction(nanos, out);
        out.push('S');
    }
}

fn fraction(nanos: i64, out: &mut String) {
    if nanos != 0 {
        let digits = format!("{nanos:09}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parquet_times_are_written_with_the_digits_that_they_have() {
        let of = |write: &dyn Fn(&mut String)| {
            let mut out = String::new();
            write(&mut out);
            out
        };
        assert_eq!(of(&|out| instant(0, 0, true, out)), "1970-01-01T00:00:00Z");
        assert_eq!(
            of(&|out| instant(-1, 999_999_999, false, out)),
            "1969-12-31T23:59:59.999999999"
        );
        assert_eq!(
            of(&|out| instant(253_402_300_800, 500, true, out)),
            "+10000-01-01T00:00:00.0000005Z"
        );
        assert_eq!(of(&|out| date(i64::from(i32::MAX), out)), "+5881580-07-11");
        assert_eq!(of(&|out| date(-719_529, out)), "-00001-12-31");
        assert_eq!(of(&|out| span(0, 0, 0, 0, out)), "PT0S");
        assert_eq!(of(&|out| span(14, 3, 0, 250_000_000, out)), "P14M3DT0.25S");
        assert_eq!(of(&|out| span(0, 0, -2, 500_000_000, out)), "PT-1.5S");
        assert_eq!(of(&|out| span(0, 0, -1, 500_000_000, out)), "PT-0.5S");
        assert_eq!(of(&|out| span(0, 3, 0, 0, out)), "P3D");
    }
}
