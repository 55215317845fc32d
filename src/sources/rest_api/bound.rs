//! Owns how a bound becomes a time that a request can say: formats leave out what is finer than their last item, and
//! local times are there twice when clocks are put back.
//!
//! Whoever reads what was sent, and whichever of its two meanings he takes: a start is never later than the bound,
//! and an end never earlier.

use chrono::{DateTime, Datelike, Days, LocalResult, Months, NaiveDateTime, NaiveTime, TimeDelta};
use chrono::{Offset, TimeZone, Utc};
use chrono_tz::Tz;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What a time in a request bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Nothing: it is cut to what the format says.
    Neither,
    /// From there on.
    Start,
    /// What is behind it: an API that leaves out what equals its start is asked for one unit less.
    Behind,
    /// Up to there.
    End,
}

/// The finest that a format can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many microseconds, an hour at most.
    Micros(i64),
    Day,
    Month,
    Year,
}

impl Unit {
    /// The unit of a format.
    pub fn of(format: &str) -> Self {
        let has = |any: &[&str]| any.iter().any(|item| format.contains(item));
        match () {
            () if has(&["6f", "9f", "%f", "%.f", "%+"]) => Self::Micros(1),
            () if has(&["3f", "%Q"]) => Self::Micros(1_000),
            () if has(&["%S", "%s", "%T", "%X", "%r", "%c"]) => Self::Micros(SECOND),
            () if has(&["%M", "%R"]) => Self::Micros(MINUTE),
            () if has(&["%H", "%I", "%k", "%l"]) => Self::Micros(HOUR),
            () if has(&["%d", "%e", "%j", "%F", "%D", "%x", "%v", "%u", "%w", "%a", "%A"]) => {
                Self::Day
            }
            () if has(&["%m", "%b", "%B", "%h", "%U", "%W", "%V"]) => Self::Month,
            () => Self::Year,
        }
    }

    /// Where the unit begins that a local time is in.
    fn floor(self, local: NaiveDateTime) -> NaiveDateTime {
        let date = local.date();
        let midnight = |date: Option<chrono::NaiveDate>| {
            date.unwrap_or_else(|| local.date()).and_time(NaiveTime::MIN)
        };
        match self {
            Self::Micros(unit) => {
                let over = local.and_utc().timestamp_micros().rem_euclid(unit);
                local.checked_sub_signed(TimeDelta::microseconds(over)).unwrap_or(local)
            }
            Self::Day => midnight(Some(date)),
            Self::Month => midnight(date.with_day(1)),
            Self::Year => midnight(date.with_ordinal(1)),
        }
    }

    /// Where the next unit begins; a local time at which one begins is that itself.
    fn ceil(self, local: NaiveDateTime) -> NaiveDateTime {
        let floor = self.floor(local);
        if floor == local {
            return local;
        }
        let next = match self {
            Self::Micros(unit) => floor.checked_add_signed(TimeDelta::microseconds(unit)),
            Self::Day => floor.checked_add_days(Days::new(1)),
            Self::Month => floor.checked_add_months(Months::new(1)),
            Self::Year => floor.checked_add_months(Months::new(12)),
        };
        next.unwrap_or(local)
    }
}

/// The local time that a format is to write for a bound.
pub(super) fn local(time: DateTime<Utc>, zone: Tz, format: &str, side: Side) -> DateTime<Tz> {
    match (side, Unit::of(format)) {
        (Side::Neither, _) => time.with_timezone(&zone),
        // The text says how far from UTC it is: it means one time only.
        (_, Unit::Micros(unit)) if says_offset(format) => {
            moved(time, unit, side).with_timezone(&zone)
        }
        (Side::Start, unit) => {
            let start = unit.floor(time.with_timezone(&zone).naive_local());
            lower(start, zone, |latest| latest <= time)
        }
        (Side::Behind, unit) => {
            let start = unit.floor(time.with_timezone(&zone).naive_local());
            let below = start.checked_sub_signed(TimeDelta::microseconds(1)).unwrap_or(start);
            // The unit before may be one that clocks skip, which is written as that of the bound.
            let (earliest, latest) = readings(start, zone);
            let begins = if latest <= time { latest } else { earliest };
            lower(unit.floor(below), zone, |latest| latest < begins)
        }
        (Side::End, unit) => upper(unit, time.with_timezone(&zone).naive_local(), time, zone),
    }
}

/// A time by so many microseconds, where these mean the same everywhere.
pub(super) fn moved(time: DateTime<Utc>, unit: i64, side: Side) -> DateTime<Utc> {
    let more = match side {
        Side::Neither | Side::Start => 0,
        Side::Behind => -unit,
        Side::End => unit - 1,
    };
    time.checked_add_signed(TimeDelta::microseconds(more)).unwrap_or(time)
}

fn says_offset(format: &str) -> bool {
    ["%z", "%:z", "%::z", "%:::z", "%#z", "%+", "%s", "%Q"].iter().any(|item| format.contains(item))
}

/// A local time, at this one or before it, that is early enough whatever it is taken for.
fn lower(local: NaiveDateTime, zone: Tz, is_early: impl Fn(DateTime<Utc>) -> bool) -> DateTime<Tz> {
    let (_, latest) = readings(local, zone);
    match is_early(latest) {
        true => shown(local, zone),
        // What is as far before it as clocks are put back, or on, is there once.
        false => shown(local - twice(local, zone), zone),
    }
}

/// A local time, at this one or behind it, at which a unit begins and that nobody can take for one before `bound`.
fn upper(unit: Unit, local: NaiveDateTime, bound: DateTime<Utc>, zone: Tz) -> DateTime<Tz> {
    let local = unit.ceil(local);
    let (earliest, _) = readings(local, zone);
    match earliest < bound {
        true => shown(unit.ceil(local + twice(local, zone)), zone),
        false => shown(local, zone),
    }
}

/// The earliest time that a local one may mean.
pub(super) fn earliest(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    readings(local, zone).0
}

/// The earliest and the latest time that a local one may mean. One that clocks skip may mean either, too.
fn readings(local: NaiveDateTime, zone: Tz) -> (DateTime<Utc>, DateTime<Utc>) {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) => (time.to_utc(), time.to_utc()),
        LocalResult::Ambiguous(one, other) => {
            let (one, other) = (one.to_utc(), other.to_utc());
            (one.min(other), one.max(other))
        }
        LocalResult::None => {
            let [one, other] = around(local, zone).map(|offset| (local - offset).and_utc());
            (one.min(other), one.max(other))
        }
    }
}

/// How far apart the two meanings of a local time are.
fn twice(local: NaiveDateTime, zone: Tz) -> TimeDelta {
    let (earliest, latest) = readings(local, zone);
    latest - earliest
}

/// How far ahead of UTC the clocks are a day before and a day behind.
fn around(local: NaiveDateTime, zone: Tz) -> [TimeDelta; 2] {
    [-DAY, DAY].map(|away| {
        let near = local.checked_add_signed(TimeDelta::microseconds(away)).unwrap_or(local);
        let offset = zone.offset_from_utc_datetime(&near).fix().local_minus_utc();
        TimeDelta::seconds(i64::from(offset))
    })
}

/// A local time as one that a format can write: whichever of the two it means, it is written alike.
fn shown(local: NaiveDateTime, zone: Tz) -> DateTime<Tz> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time,
        // One that is not there is written as the next one that is: midnight, mostly, of which the day is written.
        LocalResult::None => {
            let [before, _] = around(local, zone);
            zone.from_utc_datetime(&(local - before))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Africa/Cairo",
        "Asia/Kathmandu",
        "America/St_Johns",
    ];
    const FORMATS: [&str; 9] = [
        "%Y-%m-%dT%H:%M:%S%.6f",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H",
        "%Y-%m-%d",
        "%d.%m.%Y",
        "%Y-%m",
        "%Y",
        "%Y-%m-%dT%H:%M:%S%z",
    ];

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn written(time: &str, zone: &str, format: &str, side: Side) -> String {
        let zone: Tz = zone.parse().unwrap();
        local(instant(time), zone, format, side).format(format).to_string()
    }

    /// The times that a text may mean to whoever reads it.
    fn meanings(text: &str, zone: Tz, format: &str) -> (DateTime<Utc>, DateTime<Utc>) {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return (time.to_utc(), time.to_utc());
        }
        let whole = match format {
            "%Y" => format!("{text}-01-01 00:00:00"),
            "%Y-%m" => format!("{text}-01 00:00:00"),
            "%Y-%m-%d" => format!("{text} 00:00:00"),
            "%d.%m.%Y" => {
                let (day, month, year) = (&text[..2], &text[3..5], &text[6..]);
                format!("{year}-{month}-{day} 00:00:00")
            }
            "%Y-%m-%d %H" => format!("{text}:00:00"),
            "%Y-%m-%d %H:%M" => format!("{text}:00"),
            _ => text.replace('T', " "),
        };
        readings(NaiveDateTime::parse_from_str(&whole, "%Y-%m-%d %H:%M:%S%.f").unwrap(), zone)
    }

    #[test]
    fn a_time_that_is_there_twice_is_asked_for_from_before_its_first_one_and_to_behind_its_second()
    {
        let minutes = "%Y-%m-%d %H:%M";
        for (time, start, end) in [
            // In Berlin clocks are put back from 3 to 2 at 01:00 UTC.
            ("2026-10-24T23:59:00Z", "2026-10-25 01:59", "2026-10-25 01:59"),
            ("2026-10-25T00:30:00Z", "2026-10-25 01:30", "2026-10-25 02:30"),
            ("2026-10-25T01:30:00Z", "2026-10-25 02:30", "2026-10-25 03:30"),
            ("2026-10-25T02:00:00Z", "2026-10-25 03:00", "2026-10-25 03:00"),
            ("2026-10-25T02:00:01Z", "2026-10-25 03:00", "2026-10-25 03:01"),
        ] {
            let written = |side| written(time, "Europe/Berlin", minutes, side);
            assert_eq!((written(Side::Start).as_str(), written(Side::End).as_str()), (start, end));
        }
        // What says its offset is there once.
        let written = written("2026-10-25T00:30:00Z", "Europe/Berlin", "%H:%M%z", Side::Start);
        assert_eq!(written, "02:30+0200");
    }

    #[test]
    fn an_end_is_rounded_up_to_what_its_format_says_also_on_a_day_of_25_hours() {
        for (time, format, side, text) in [
            ("2026-10-24T22:30:00Z", "%Y-%m-%d", Side::End, "2026-10-26"),
            ("2026-10-25T22:30:00Z", "%Y-%m-%d", Side::End, "2026-10-26"),
            ("2026-10-25T23:00:00Z", "%Y-%m-%d", Side::End, "2026-10-26"),
            ("2026-01-30T12:00:00Z", "%Y-%m", Side::End, "2026-02"),
            ("2026-03-31T12:00:00Z", "%Y-%m", Side::Behind, "2026-02"),
            ("2026-12-31T22:59:59Z", "%Y", Side::End, "2027"),
            ("2026-12-31T23:00:00Z", "%Y", Side::End, "2027"),
        ] {
            assert_eq!(written(time, "Europe/Berlin", format, side), text, "{time} {format}");
        }
    }

    /// Where clocks are put on at midnight, the last unit of the day before is behind a bound of the first hour.
    #[test]
    fn what_is_behind_a_bound_is_never_a_time_that_clocks_skip() {
        for (time, zone) in [
            ("2018-11-04T03:00:00Z", "America/Sao_Paulo"),
            ("2026-04-23T22:00:00Z", "Africa/Cairo"),
        ] {
            let day = &time[..8];
            for (format, ends) in [("%Y-%m-%d %H", " 23"), ("%Y-%m-%d %H:%M", " 23:59")] {
                let text = written(time, zone, format, Side::Behind);
                assert!(text.starts_with(day) && text.ends_with(ends), "{time} {format}: {text}");
            }
        }
    }

    /// An API that leaves out what equals its start would leave out the hour of the bound.
    #[test]
    fn what_is_behind_a_bound_is_not_written_as_the_unit_of_the_bound_behind_a_skipped_hour() {
        for (time, zone, text) in [
            ("2026-03-29T01:30:00Z", "Europe/Berlin", "2026-03-29 01"),
            ("2026-03-29T01:00:00Z", "Europe/Berlin", "2026-03-29 01"),
            ("2018-11-04T03:30:00Z", "America/Sao_Paulo", "2018-11-03 23"),
        ] {
            assert_eq!(written(time, zone, "%Y-%m-%d %H", Side::Behind), text, "{time}");
        }
    }

    proptest! {
        /// Around the nights in which clocks change, and at any other time.
        #[test]
        fn a_start_is_never_later_and_an_end_never_earlier_than_the_bound(
            zone in prop::sample::select(&ZONES[..]),
            format in prop::sample::select(&FORMATS[..]),
            day in 0..3_653_i64,
            near in prop::sample::select(vec![None, Some("2026-10-25"), Some("2026-03-29"), Some("2026-11-01"),
                Some("2026-04-05"), Some("2018-11-04"), Some("2026-04-24"), Some("2026-10-30")]),
            micros in 0..2 * DAY,
            whole in any::<bool>(),
        ) {
            let zone: Tz = zone.parse().unwrap();
            let day = match near {
                Some(day) => instant(&format!("{day}T00:00:00Z")) - TimeDelta::hours(12),
                None => instant("2017-01-01T00:00:00Z") + TimeDelta::days(day),
            };
            let micros = if whole { micros / (30 * MINUTE) * (30 * MINUTE) } else { micros };
            let time = day + TimeDelta::microseconds(micros);
            let meant = |side| {
                let text = local(time, zone, format, side).format(format).to_string();
                let (earliest, latest) = meanings(&text, zone, format);
                (earliest, latest, text)
            };
            let (_, latest, text) = meant(Side::Start);
            prop_assert!(latest <= time, "start {text} of {time}");
            let (_, latest, text) = meant(Side::Behind);
            prop_assert!(latest < time, "behind {text} of {time}");
            let (_, _, own) = meant(Side::Neither);
            prop_assert_ne!(text, own, "behind {}", time);
            let (earliest, _, text) = meant(Side::End);
            prop_assert!(earliest >= time, "end {text} of {time}");
        }
    }
}
