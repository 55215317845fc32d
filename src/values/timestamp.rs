//! Owns reading dates and times in a field's format and time zone. Instants are microseconds since
//! 1970 UTC, dates are days since 1970: what PostgreSQL stores, give or take its epoch.

use std::fmt::Write as _;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calendar::{MICROS_PER_SECOND, SECONDS_PER_DAY, days_of};
use super::epoch::{self, Epoch};
use super::iso::Iso;
use super::time_error::TimeError;

/// The years that PostgreSQL's timestamps hold (documentation, "Date/Time Types": 4713 BC to
/// 294276 AD), less the last 29: counted from 1970 instead of 2000, those overflow 64 bits.
const YEARS: std::ops::Range<i64> = -4_712..294_247;
/// The same as seconds since 1970.
const SECONDS: std::ops::Range<i64> =
    days_of(YEARS.start, 1, 1) * SECONDS_PER_DAY..days_of(YEARS.end, 1, 1) * SECONDS_PER_DAY;

/// The years that are read without a sign in front of them.
const SANE_YEARS: std::ops::RangeInclusive<i64> = 1..=9_999;

/// What is wrong with a format that counts hours to 12 and does not say which half of the day it is.
pub const HALF_A_DAY: &str = "counts hours to 12 (`%I`) and does not say which half of the day it is: write `%H`, or add `%p`";

/// Whether a strftime format counts hours to 12 and does not say which half of the day it is.
pub fn halves_day(format: &str) -> bool {
    use chrono::format::{Fixed, Numeric};
    let any = |is: fn(&Item<'_>) -> bool| StrftimeItems::new(format).any(|item| is(&item));
    let of_12 = any(|item| matches!(item, Item::Numeric(Numeric::Hour12, _)));
    let tells = any(|item| {
        matches!(
            item,
            Item::Numeric(Numeric::Hour | Numeric::Timestamp, _)
                | Item::Fixed(Fixed::LowerAmPm | Fixed::UpperAmPm)
        )
    });
    of_12 && !tells
}

/// Which instant a local time means that came twice, when the clock was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepeatedHour {
    /// The one before the clock was put back.
    First,
    /// The one after.
    Second,
}

/// How a field's dates and times are read; compiled once.
#[derive(Debug, Clone, Default)]
pub struct TimeFormat {
    /// The `strftime` format as declared, for messages.
    format: Option<String>,
    /// Compiled `strftime` format; RFC 3339 and ISO 8601 when absent.
    items: Option<Vec<Item<'static>>>,
    /// A count since 1970 in place of it.
    epoch: Option<Epoch>,
    /// Zone of times that carry none; UTC when absent.
    zone: Option<Tz>,
    /// What is meant by a local time that came twice.
    repeated_hour: Option<RepeatedHour>,
    /// The first year that two digits can mean; as chrono has it, 1970, when absent.
    two_digit_years_from: Option<u16>,
}

impl TimeFormat {
    /// RFC 3339 and ISO 8601.
    pub fn iso(zone: Option<Tz>) -> Self {
        Self { zone, ..Self::default() }
    }

    /// Compiles a `strftime` format, if there is one.
    ///
    /// # Errors
    /// When it is none, or does not hold a whole date: the sentence says which.
    pub fn new(format: Option<&str>, zone: Option<Tz>) -> Result<Self, &'static str> {
        let Some(format) = format else {
            return Ok(Self::iso(zone));
        };
        if let Some(epoch) = Epoch::of(format) {
            let (format, epoch) = (Some(format.to_owned()), Some(epoch));
            return Ok(Self { format, epoch, zone, ..Self::default() });
        }
        let items = StrftimeItems::new(format)
            .parse_to_owned()
            .map_err(|_| "is no strftime format; write one such as \"%d.%m.%Y %H:%M\"")?;
        if halves_day(format) {
            return Err(HALF_A_DAY);
        }
        let format = Some(format.to_owned());
        let compiled = Self { format, items: Some(items), zone, ..Self::default() };
        // A format is good for reading when what it writes can be read back.
        let mut sample = String::new();
        let written = DateTime::UNIX_EPOCH.format_with_items(compiled.items.iter().flatten());
        let readable = write!(sample, "{written}").is_ok() && compiled.parsed(&sample).is_ok();
        if readable && compiled.date(&sample).is_ok() {
            Ok(compiled)
        } else {
            Err("does not hold a whole date: it needs day, month and year, as in \"%d.%m.%Y\"")
        }
    }

    /// The same, for whoever says what times mean that could mean two.
    #[must_use]
    pub fn with_clock(
        self,
        repeated_hour: Option<RepeatedHour>,
        two_digit_years_from: Option<u16>,
    ) -> Self {
        Self { repeated_hour, two_digit_years_from, ..self }
    }

    /// The declared format, if any.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// Reads a point in time; a date alone is its midnight.
    ///
    /// # Errors
    /// [`TimeError`].
    pub fn instant(&self, text: &str) -> Result<i64, TimeError> {
        let text = text.trim();
        if let Some(epoch) = &self.epoch {
            return epoch.micros(text);
        }
        let (seconds, micros, offset) = match self.items {
            None => {
                let iso = iso(text)?;
                (iso.local_seconds()?, iso.micros, iso.offset)
            }
            Some(_) => {
                let (local, offset) = self.parsed(text)?;
                in_sane_year(local.year().into())?;
                let utc = local.and_utc();
                let (seconds, micros) = (utc.timestamp(), i64::from(utc.timestamp_subsec_micros()));
                // A leap second whose next minute is of the year 10000, as of ISO times.
                if seconds == LAST_SECOND && micros >= MICROS_PER_SECOND {
                    return Err(TimeError::NotInCalendar);
                }
                (seconds, micros, offset)
            }
        };
        let seconds = match offset {
            Some(offset) => seconds - offset,
            None => self.to_utc(seconds)?,
        };
        in_range(seconds)?;
        Ok(seconds * MICROS_PER_SECOND + micros)
    }

    /// Reads a calendar date, as days since 1970. A text with a time of day is none.
    ///
    /// # Errors
    /// [`TimeError`].
    pub fn date(&self, text: &str) -> Result<i64, TimeError> {
        let text = text.trim();
        if let Some(epoch) = &self.epoch {
            return Ok(epoch.micros(text)?.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY));
        }
        let days = match self.items {
            None => {
                let iso = iso(text)?;
                if iso.timed {
                    return Err(TimeError::Format);
                }
                iso.local_seconds()? / SECONDS_PER_DAY
            }
            Some(_) => {
                let (local, _) = self.parsed(text)?;
                in_sane_year(local.year().into())?;
                i64::from(local.num_days_from_ce()) - DAYS_TO_1970
            }
        };
        in_range(days * SECONDS_PER_DAY)?;
        Ok(days)
    }

    /// The instant at which a date begins.
    ///
    /// # Errors
    /// When the clock was put forward or back at that midnight.
    pub fn midnight(&self, days: i64) -> Result<i64, TimeError> {
        let seconds = self.to_utc(days * SECONDS_PER_DAY)?;
        in_range(seconds)?;
        Ok(seconds * MICROS_PER_SECOND)
    }

    /// Local seconds to those of UTC, in the declared zone.
    fn to_utc(&self, seconds: i64) -> Result<i64, TimeError> {
        let Some(zone) = self.zone else {
            return Ok(seconds);
        };
        let local = DateTime::<Utc>::from_timestamp(seconds, 0).ok_or(TimeError::OutOfRange)?;
        match zone.offset_from_local_datetime(&local.naive_utc()) {
            chrono::LocalResult::Single(offset) => {
                Ok(seconds - i64::from(offset.fix().local_minus_utc()))
            }
            chrono::LocalResult::Ambiguous(one, other) => {
                let instants =
                    [one, other].map(|offset| seconds - i64::from(offset.fix().local_minus_utc()));
                match self.repeated_hour {
                    None => Err(TimeError::Ambiguous),
                    Some(RepeatedHour::First) => Ok(instants[0].min(instants[1])),
                    Some(RepeatedHour::Second) => Ok(instants[0].max(instants[1])),
                }
            }
            chrono::LocalResult::None => Err(TimeError::Skipped),
        }
    }

    /// Reads by the declared format: the local time, and the offset when the text carries one.
    fn parsed(&self, text: &str) -> Result<(NaiveDateTime, Option<i64>), TimeError> {
        use chrono::format::ParseErrorKind::{Impossible, OutOfRange};
        let explain = |error: chrono::ParseError| match error.kind() {
            Impossible | OutOfRange => TimeError::NotInCalendar,
            _ => TimeError::Format,
        };
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, self.items.iter().flatten()).map_err(explain)?;
        // chrono takes any number of digits for a year.
        if let Some(year @ 0..1000) = parsed.year().or(parsed.isoyear())
            && !text.contains(&format!("{year:04}"))
        {
            return Err(TimeError::ShortYear);
        }
        if parsed.timestamp().is_some() {
            let instant = parsed.to_naive_datetime_with_offset(0).map_err(explain)?;
            return Ok((instant, Some(0)));
        }
        if let (Some(first), Some(digits), None, None) =
            (self.two_digit_years_from, parsed.year_mod_100(), parsed.year_div_100(), parsed.year())
        {
            // The only year of the hundred from the first on that ends in these digits.
            let first = i64::from(first);
            let year = first + (i64::from(digits) - first).rem_euclid(100);
            parsed.set_year(year).map_err(explain)?;
        }
        let date = parsed.to_naive_date().map_err(explain)?;
        let timed = parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_some();
        let time = if timed { parsed.to_naive_time().map_err(explain)? } else { NaiveTime::MIN };
        Ok((date.and_time(time), parsed.offset().map(i64::from)))
    }
}

/// The last second of the year 9999, since 1970.
const LAST_SECOND: i64 = 253_402_300_799;

/// Days from 0001-01-01, counted as day 1, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_163;

/// A date or a time in ISO 8601.
fn iso(text: &str) -> Result<Iso, TimeError> {
    let not_iso = || epoch::looks_like(text).map_or(TimeError::Format, TimeError::LooksLike);
    let iso = Iso::read(text.as_bytes()).ok_or_else(not_iso)?;
    // Whoever writes a sign means the year that it says.
    if !text.starts_with(['+', '-']) {
        in_sane_year(iso.year)?;
    }
    Ok(iso)
}

/// Refuses what is a time by its format, and hardly meant as one: a number of another unit, digits that are
/// out of place.
fn in_sane_year(year: i64) -> Result<(), TimeError> {
    if SANE_YEARS.contains(&year) { Ok(()) } else { Err(TimeError::Year(year)) }
}

fn in_range(seconds: i64) -> Result<(), TimeError> {
    if SECONDS.contains(&seconds) { Ok(()) } else { Err(TimeError::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::super::calendar::write_instant;
    use super::super::epoch_unit::Unit;
    use super::*;
    use proptest::prelude::*;

    fn instant(text: &str) -> Result<String, TimeError> {
        TimeFormat::default().instant(text).map(shown)
    }

    fn shown(micros: i64) -> String {
        let mut out = String::new();
        write_instant(micros, &mut out);
        out
    }

    #[test]
    fn iso_8601_is_read_in_its_usual_spellings() {
        for (text, expected) in [
            ("2025-01-02T03:04:05Z", "2025-01-02T03:04:05Z"),
            (" 2025-01-02t03:04:05z ", "2025-01-02T03:04:05Z"),
            ("2025-01-02 03:04:05", "2025-01-02T03:04:05Z"),
            ("2025-01-02 03:04", "2025-01-02T03:04:00Z"),
            ("2025-01-02", "2025-01-02T00:00:00Z"),
            ("2025-01-02T03:04:05.5+02:00", "2025-01-02T01:04:05.500000Z"),
            ("2025-01-02T03:04:05,123456789-0130", "2025-01-02T04:34:05.123456Z"),
            ("2025-01-02T03:04:05+05", "2025-01-01T22:04:05Z"),
            ("2026-10-01 08:15:00 +0200", "2026-10-01T06:15:00Z"),
            ("2026-10-01T08:15 -03:30", "2026-10-01T11:45:00Z"),
            ("2026-10-01 08:15:00.25 Z", "2026-10-01T08:15:00.250000Z"),
            ("2026-10-01 08:15:00 UTC", "2026-10-01T08:15:00Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("0001-01-01", "0001-01-01T00:00:00Z"),
            ("+12025-01-02", "+12025-01-02T00:00:00Z"),
            ("-0044-03-15", "-00044-03-15T00:00:00Z"),
        ] {
            assert_eq!(instant(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2025",
            "2025-1-2",
            "2025-01-02T",
            "2025-01-02T03",
            "20250102",
            "2025-01-02T03:04:05.",
            "2025-01-02T03:04:05+2",
            "2025-01-02T03:04:05+02:0",
            "2025-01-02X03:04:05",
            "2025-01-02 03:04:05  +02:00",
            "2025-01-02 03:04:05 + 02:00",
            "2025-01-02 03:04:05UTC",
            "2025-01-02 03:04:05 CET",
            "2025-01-02 +02:00",
            "2025-01-02 UTC",
            "02.01.2025",
            "2025-01-02T03:04:05ZZ",
            "２０２５-01-02",
        ] {
            assert_eq!(instant(text), Err(TimeError::Format), "{text}");
        }
        assert_eq!(instant("1735787045"), Err(TimeError::LooksLike(Unit::Seconds)));
        for text in ["0000-01-01", "0000-12-31T00:00:00Z"] {
            assert_eq!(instant(text), Err(TimeError::Year(0)), "{text}");
        }
        for text in [
            "2025-02-29",
            "2025-13-01",
            "2025-00-10",
            "2025-04-31",
            "2025-01-02T24:00",
            "2025-01-02T03:60",
            // The next minute is of the year 10000.
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:60.5+02:00",
        ] {
            assert_eq!(instant(text), Err(TimeError::NotInCalendar), "{text}");
        }
    }

    #[test]
    fn years_beyond_those_of_postgres_are_refused() {
        assert_eq!(instant("+294247-01-01"), Err(TimeError::OutOfRange));
        assert!(instant("+294246-12-31").is_ok());
        assert!(instant("-4712-01-01").is_ok());
        assert_eq!(instant("-4713-12-31"), Err(TimeError::OutOfRange));
    }

    #[test]
    fn a_local_time_is_that_of_its_zone() {
        let berlin = TimeFormat::new(None, Some(Tz::Europe__Berlin)).unwrap();
        let read = |text: &str| berlin.instant(text).map(shown);
        assert_eq!(read("2025-07-01 12:00").as_deref(), Ok("2025-07-01T10:00:00Z"));
        assert_eq!(read("2025-01-01").as_deref(), Ok("2024-12-31T23:00:00Z"));
        assert_eq!(read("2025-07-01T12:00Z").as_deref(), Ok("2025-07-01T12:00:00Z"));
        assert_eq!(read("2025-10-26 02:30"), Err(TimeError::Ambiguous));
        assert_eq!(read("2025-03-30 02:30"), Err(TimeError::Skipped));
        assert_eq!(berlin.midnight(0), Ok(-3_600_000_000));
    }

    #[test]
    fn a_time_that_came_twice_is_the_one_that_is_declared() {
        let read = |repeated| {
            let berlin = TimeFormat::iso(Some(Tz::Europe__Berlin)).with_clock(repeated, None);
            berlin.instant("2026-10-25T02:30:00").map(shown)
        };
        assert_eq!(read(None), Err(TimeError::Ambiguous));
        assert_eq!(read(Some(RepeatedHour::First)).as_deref(), Ok("2026-10-25T00:30:00Z"));
        assert_eq!(read(Some(RepeatedHour::Second)).as_deref(), Ok("2026-10-25T01:30:00Z"));
        let berlin = TimeFormat::iso(Some(Tz::Europe__Berlin));
        let skipped = berlin.with_clock(Some(RepeatedHour::First), None);
        assert_eq!(skipped.instant("2026-03-29T02:30:00"), Err(TimeError::Skipped));
    }

    #[test]
    fn two_digits_are_the_year_within_the_hundred_that_begins_as_declared() {
        let read = |from, text: &str| {
            let format = TimeFormat::new(Some("%d.%m.%y"), None).unwrap().with_clock(None, from);
            format.instant(text).map(|micros| shown(micros)[..10].to_owned())
        };
        for (from, text, expected) in [
            (None, "31.12.69", "2069-12-31"),
            (None, "01.01.70", "1970-01-01"),
            (Some(1930), "31.12.29", "2029-12-31"),
            (Some(1930), "01.01.30", "1930-01-01"),
            (Some(2000), "05.06.99", "2099-06-05"),
            (Some(1900), "29.02.00", ""),
        ] {
            match expected {
                "" => assert_eq!(read(from, text), Err(TimeError::NotInCalendar), "{text}"),
                _ => assert_eq!(read(from, text).as_deref(), Ok(expected), "{from:?} {text}"),
            }
        }
    }

    #[test]
    fn a_format_that_halves_the_day_is_refused_and_one_that_says_which_half_is_not() {
        for format in ["%d.%m.%Y %I:%M", "%d.%m.%Y %l:%M", "%Y-%m-%d %-I"] {
            assert_eq!(TimeFormat::new(Some(format), None).unwrap_err(), HALF_A_DAY, "{format}");
        }
        for format in
            ["%d.%m.%Y %I:%M %p", "%d.%m.%Y %I:%M%P", "%d.%m.%Y %r", "%d.%m.%Y %H", "%d.%m.%Y %%I"]
        {
            assert!(!halves_day(format), "{format}");
        }
    }

    #[test]
    fn a_declared_format_is_read_by_chrono() {
        let read = |format: &str, text: &str| {
            TimeFormat::new(Some(format), None).unwrap().instant(text).map(shown)
        };
        assert_eq!(read("%d.%m.%Y", "02.01.2025").as_deref(), Ok("2025-01-02T00:00:00Z"));
        assert_eq!(
            read("%m/%d/%Y %I:%M %p", "1/2/2025 3:04 PM").as_deref(),
            Ok("2025-01-02T15:04:00Z")
        );
        assert_eq!(
            read("%d.%m.%Y %H:%M %z", "02.01.2025 03:04 +0200").as_deref(),
            Ok("2025-01-02T01:04:00Z")
        );
        assert_eq!(read("%s", "1735787045").as_deref(), Ok("2025-01-02T03:04:05Z"));
        assert_eq!(read("%s", "1735787045000"), Err(TimeError::LooksLike(Unit::Millis)));
        assert_eq!(read("%Q", "1735787045000").as_deref(), Ok("2025-01-02T03:04:05Z"));
        assert_eq!(read("%d.%m.%Y", "02.01.0000"), Err(TimeError::Year(0)));
        assert_eq!(read("%d.%m.%Y", "31.02.2025"), Err(TimeError::NotInCalendar));
        for (format, text) in [
            ("%d.%m.%Y", "01.02.26"),
            ("%d.%m.%Y", "1.2.202"),
            ("%m/%d/%Y", "1/2/26"),
            ("%Y-%m-%d", "26-01-02"),
            ("%F", "26-01-02"),
            ("%d.%m.%Y", "01.02.0"),
        ] {
            assert_eq!(read(format, text), Err(TimeError::ShortYear), "{format} {text}");
        }
        assert_eq!(read("%d.%m.%Y", "01.02.0026").as_deref(), Ok("0026-02-01T00:00:00Z"));
        assert_eq!(read("%d.%m.%y", "01.02.26").as_deref(), Ok("2026-02-01T00:00:00Z"));
        let leap = |year: &str| read("%d.%m.%Y %H:%M:%S", &format!("31.12.{year} 23:59:60"));
        assert_eq!(leap("9999"), Err(TimeError::NotInCalendar));
        assert!(leap("2016").is_ok());
        assert_eq!(read("%d.%m.%Y", "2025-01-02"), Err(TimeError::Format));
        let dates = TimeFormat::new(Some("%d.%m.%Y"), None).unwrap();
        assert_eq!(dates.date("02.01.1970"), Ok(1));
    }

    #[test]
    fn a_format_without_a_whole_date_is_refused() {
        assert!(TimeFormat::new(Some("%H:%M"), None).is_err());
        assert!(TimeFormat::new(Some("%d.%m."), None).is_err());
        assert!(TimeFormat::new(Some(""), None).is_err());
    }

    #[test]
    fn a_date_carries_no_time() {
        assert_eq!(TimeFormat::default().date("1970-01-02"), Ok(1));
        assert_eq!(TimeFormat::default().date("1969-12-31"), Ok(-1));
        assert_eq!(TimeFormat::default().date("1970-01-02T00:00:00Z"), Err(TimeError::Format));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            prop_assert_eq!(TimeFormat::default().instant(&shown(micros)), Ok(micros));
        }

        /// However its offset is written, a time is the instant that chrono reads.
        #[test]
        fn offsets_mean_what_they_mean_to_chrono(
            seconds in -62_135_000_000_i64..253_402_000_000,
            offset in -1439_i32..=1439,
            separator in "[Tt ]",
            space in " ?",
            style in 0..4_usize,
        ) {
            let east = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let at = DateTime::from_timestamp(seconds, 0).unwrap().with_timezone(&east);
            let local = at.format(&format!("%Y-%m-%d{separator}%H:%M:%S")).to_string();
            let zone = match style {
                0 => at.format("%z").to_string(),
                1 => at.format("%:z").to_string(),
                2 => "Z".to_owned(),
                _ => "UTC".to_owned(),
            };
            // chrono reads no other year without a format.
            prop_assume!(local.len() == 19);
            let text = format!("{local}{space}{zone}");
            let with_offset = format!("%Y-%m-%d{separator}%H:%M:%S{space}%z");
            let expected = match style {
                0 | 1 => DateTime::parse_from_str(&text, &with_offset).unwrap().timestamp(),
                _ => NaiveDateTime::parse_from_str(&local, &format!("%Y-%m-%d{separator}%H:%M:%S"))
                    .unwrap()
                    .and_utc()
                    .timestamp(),
            };
            let read = TimeFormat::default().instant(&text);
            match style == 3 && space.is_empty() {
                true => prop_assert_eq!(read, Err(TimeError::Format), "{}", text),
                false => prop_assert_eq!(read, Ok(expected * MICROS_PER_SECOND), "{}", text),
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}|[-+]?[0-9]{0,60}([-+:TZ., ][0-9]{0,60}){0,8}") {
            let berlin = Some(Tz::Europe__Berlin);
            let formats = ["%d.%m.%Y %H:%M", "%Y-%m-%d", "%s", "epoch_ms", "epoch_ns"];
            let declared = formats.map(|format| TimeFormat::new(Some(format), berlin).unwrap());
            for format in declared.iter().chain([&TimeFormat::default(), &TimeFormat::iso(berlin)]) {
                let _ = format.instant(&text);
                let _ = format.date(&text);
            }
        }
    }
}
