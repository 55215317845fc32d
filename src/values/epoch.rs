//! Owns times that are counted since 1970-01-01 UTC: seconds, milliseconds, microseconds or nanoseconds, with
//! whatever stands around the number. Exact, never through `f64`.

use super::calendar::MICROS_PER_SECOND;
use super::epoch_unit::Unit;
use super::time_error::TimeError;
use crate::domain::decimal::{self, DecimalNotation};

/// A format that is a count since 1970, and nothing but text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Epoch {
    unit: Unit,
    /// What stands in front of the number.
    before: String,
    /// What stands behind it.
    behind: String,
}

impl Epoch {
    /// The format of a job file; `None` when it is one of strftime.
    pub(super) fn of(format: &str) -> Option<Self> {
        let words = [
            ("epoch", Unit::Seconds),
            ("epoch_ms", Unit::Millis),
            ("epoch_us", Unit::Micros),
            ("epoch_ns", Unit::Nanos),
        ];
        let plain = |unit| Self { unit, before: String::new(), behind: String::new() };
        if let Some((_, unit)) = words.into_iter().find(|(word, _)| *word == format) {
            return Some(plain(unit));
        }
        let (before, behind) = format.split_once('%')?;
        let unit = match behind.as_bytes().first() {
            Some(b's') => Unit::Seconds,
            Some(b'Q') => Unit::Millis,
            _ => return None,
        };
        let behind = &behind[1..];
        let is_plain = !behind.contains('%');
        is_plain.then(|| Self { unit, before: before.to_owned(), behind: behind.to_owned() })
    }

    /// Reads a count as microseconds since 1970; digits beyond them are cut off.
    pub(super) fn micros(&self, text: &str) -> Result<i64, TimeError> {
        let number = text.strip_prefix(self.before.as_str());
        let number = number.and_then(|text| text.strip_suffix(self.behind.as_str()));
        let number = number.ok_or(TimeError::Format)?.trim();
        let micros = count(number, self.unit.shift())?;
        if SANE.contains(&micros) {
            return i64::try_from(micros).map_err(|_| TimeError::OutOfRange);
        }
        // A larger unit was meant, by which it is a time of our days.
        let meant = Unit::ALL.into_iter().find(|unit| {
            unit.shift() < self.unit.shift()
                && count(number, unit.shift()).is_ok_and(|micros| OUR_DAYS.contains(&micros))
        });
        Err(match meant {
            Some(unit) => TimeError::LooksLike(unit),
            None => TimeError::Year(year(micros)),
        })
    }
}

const SECONDS: i128 = MICROS_PER_SECOND as i128;
/// The years 1 to 9999.
const SANE: std::ops::Range<i128> = -62_135_596_800 * SECONDS..253_402_300_800 * SECONDS;
/// The years 1971 to 2199.
const OUR_DAYS: std::ops::Range<i128> = 31_536_000 * SECONDS..7_258_118_400 * SECONDS;

/// A number with its point shifted, without what is behind it.
fn count(number: &str, shift: i64) -> Result<i128, TimeError> {
    let mut digits = String::new();
    decimal::write_shifted(number, DecimalNotation::PLAIN, shift, &mut digits)
        .map_err(|_| TimeError::Format)?;
    let whole = digits.split_once('.').map_or(digits.as_str(), |(whole, _)| whole);
    // What has more digits than that is beyond all years.
    whole.parse().map_err(|_| TimeError::OutOfRange)
}

/// The year of an instant, roughly for those that nobody lives in.
fn year(micros: i128) -> i64 {
    const YEAR: i128 = 31_556_952;
    let years = (micros / SECONDS).div_euclid(YEAR) + 1970;
    years.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// The unit of a number that looks like a count since 1970, when it is a time of our days: for whoever has
/// not declared one.
pub(super) fn looks_like(text: &str) -> Option<Unit> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let is_long = whole.len() >= 9 && whole.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |unit: &Unit| count(text, unit.shift()).is_ok_and(|m| OUR_DAYS.contains(&m));
    Unit::ALL.into_iter().find(fits).filter(|_| is_long)
}

#[cfg(test)]
mod tests {
    use super::super::calendar::write_instant;
    use super::*;

    fn read(format: &str, text: &str) -> Result<String, String> {
        let micros = Epoch::of(format).expect("a count").micros(text);
        let mut out = String::new();
        micros.map(|micros| write_instant(micros, &mut out)).map_err(|error| error.to_string())?;
        Ok(out)
    }

    #[test]
    fn counts_of_each_unit_are_read_to_the_microsecond_whatever_their_sign() {
        for (format, text, expected) in [
            ("%s", "1700000000", "2023-11-14T22:13:20Z"),
            ("%s", "1700000000.123", "2023-11-14T22:13:20.123000Z"),
            ("%s", "1700000000.1234569", "2023-11-14T22:13:20.123456Z"),
            ("%s", "-1.5", "1969-12-31T23:59:58.500000Z"),
            ("%s", "1.7e9", "2023-11-14T22:13:20Z"),
            ("%s", "0", "1970-01-01T00:00:00Z"),
            ("epoch", "-86400", "1969-12-31T00:00:00Z"),
            ("%Q", "1700000000123", "2023-11-14T22:13:20.123000Z"),
            ("%Q", "1700000000123.4567", "2023-11-14T22:13:20.123456Z"),
            ("%Q", "1.700000000123E12", "2023-11-14T22:13:20.123000Z"),
            ("%Q", "-1", "1969-12-31T23:59:59.999000Z"),
            ("epoch_ms", "1700000000000", "2023-11-14T22:13:20Z"),
            ("epoch_us", "1700000000123456", "2023-11-14T22:13:20.123456Z"),
            ("epoch_ns", "1700000000123456789", "2023-11-14T22:13:20.123456Z"),
            ("/Date(%Q)/", "/Date(1700000000123)/", "2023-11-14T22:13:20.123000Z"),
        ] {
            assert_eq!(read(format, text).as_deref(), Ok(expected), "{format} {text}");
        }
    }

    #[test]
    fn a_count_of_another_unit_is_refused_with_the_format_that_reads_it() {
        for (format, text, says) in [
            (
                "%s",
                "1700000000000",
                "looks like milliseconds since 1970, which date_format = \"%Q\"",
            ),
            (
                "%s",
                "1700000000000000",
                "looks like microseconds since 1970, which date_format = \"epoch_us\"",
            ),
            ("%Q", "1700000000000000", "looks like microseconds"),
            ("%s", "1700000000000000000", "looks like nanoseconds"),
            ("%s", "999999999999", "looks like milliseconds"),
            ("%s", "-1700000000000", "is in the year -51901"),
            ("%s", "1e40", "beyond the years"),
        ] {
            let error = read(format, text).unwrap_err();
            assert!(error.contains(says), "{format} {text}: {error}");
        }
        for text in ["", "1,5", "0x10", "12:00", "1 2", "NaN", "1e", "--1"] {
            assert_eq!(read("%s", text), Err("is not in the expected format".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_format_is_guessed_only_when_it_is_of_our_days() {
        for (text, unit) in [
            ("1735787045", Some(Unit::Seconds)),
            ("1735787045.5", Some(Unit::Seconds)),
            ("1735787045000", Some(Unit::Millis)),
            ("1735787045000000", Some(Unit::Micros)),
            ("1735787045000000000", Some(Unit::Nanos)),
            ("20250102", None),
            ("2025-01-02", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(looks_like(text), unit, "{text}");
        }
    }

    #[test]
    fn a_format_with_more_in_it_is_one_of_strftime() {
        for format in ["%d.%m.%Y", "%s%.f", "%Y", "", "s", "100%"] {
            assert_eq!(Epoch::of(format), None, "{format}");
        }
    }
}
