//! Owns marks: values of a cursor, compared as what they are, and how they are written in requests.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::bound::{self, Side};
use super::template::{Moment, Supplied, formatted};
use crate::values::time_error::TimeError;
use crate::values::timestamp::TimeFormat;

/// The years of marks: what is outside was read in the wrong unit.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;
const SECOND: i64 = 1_000_000;

/// What a cursor is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A point in time, as ISO 8601 or in `format`.
    #[default]
    Timestamp,
    /// Seconds since 1970.
    Epoch,
    /// Milliseconds since 1970.
    EpochMs,
    /// A whole number that grows, such as an id.
    Integer,
    /// A day.
    Date,
    /// A text that grows in the order of its bytes, such as a ULID.
    Text,
}

impl MarkKind {
    /// Whether it is a point in time.
    pub fn is_time(self) -> bool {
        match self {
            Self::Timestamp | Self::Epoch | Self::EpochMs | Self::Date => true,
            Self::Integer | Self::Text => false,
        }
    }
}

impl fmt::Display for MarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timestamp => "timestamp",
            Self::Epoch => "epoch",
            Self::EpochMs => "epoch_ms",
            Self::Integer => "integer",
            Self::Date => "date",
            Self::Text => "text",
        })
    }
}

/// How far to look back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a duration such as \"10m\" or a whole number")]
pub enum Lookback {
    /// So many numbers.
    Number(u32),
    /// So long.
    Time(
        #[serde(with = "crate::job_file::duration")]
        #[schemars(with = "String")]
        Duration,
    ),
}

/// A value of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// Microseconds since 1970.
    Time(i64),
    /// A number.
    Integer(i128),
    /// A text.
    Text(String),
}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Mark {
    /// Marks of one job file are of one kind; those of two are told apart before.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Time(one), Self::Time(other)) => one.cmp(other),
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            (Self::Text(one), Self::Text(other)) => one.as_bytes().cmp(other.as_bytes()),
            (one, other) => one.rank().cmp(&other.rank()),
        }
    }
}

impl Mark {
    fn rank(&self) -> u8 {
        match self {
            Self::Time(_) => 0,
            Self::Integer(_) => 1,
            Self::Text(_) => 2,
        }
    }

    /// The time.
    pub fn of_time(time: DateTime<Utc>) -> Self {
        Self::Time(time.timestamp_micros().clamp(FIRST, LAST))
    }

    /// This mark less so much; itself where that is nothing.
    pub fn less(&self, lookback: Lookback) -> Self {
        match (self, lookback) {
            (Self::Time(micros), Lookback::Time(time)) => {
                let less = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
                Self::Time(micros.saturating_sub(less).max(FIRST))
            }
            (Self::Integer(number), Lookback::Number(less)) => {
                Self::Integer(number.saturating_sub(i128::from(less)))
            }
            (other, _) => other.clone(),
        }
    }

    /// This mark and so long.
    pub fn later(self, time: Duration) -> Self {
        match self {
            Self::Time(micros) => {
                let more = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
                Self::Time(micros.saturating_add(more).min(LAST))
            }
            Self::Integer(_) | Self::Text(_) => self,
        }
    }

    /// This mark, or a time if that is lower.
    pub fn min_time(self, time: DateTime<Utc>) -> Self {
        match self {
            Self::Time(_) => self.min(Self::of_time(time)),
            Self::Integer(_) | Self::Text(_) => self,
        }
    }
}

/// Reads and writes marks.
#[derive(Debug, Clone)]
pub(super) struct Clockwork {
    kind: MarkKind,
    format: Option<String>,
    zone: Tz,
    iso: TimeFormat,
    own: Option<TimeFormat>,
    /// The same, of times whose zone is not known.
    own_local: Option<TimeFormat>,
}

impl Clockwork {
    /// Compiles what the job file says.
    pub fn new(
        kind: MarkKind,
        format: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let zone: Tz = match zone {
            None => Tz::UTC,
            Some(name) => name.parse().map_err(|_| {
                (
                    "time_zone",
                    format!("`{name}` is no time zone; expected a name such as `Europe/Berlin`"),
                )
            })?,
        };
        // A format may be good for writing only: then cursors are ISO 8601.
        let read = |zone| format.and_then(|format| TimeFormat::new(Some(format), zone).ok());
        let (own, own_local) = (read(Some(zone)), read(None));
        let format = format.map(str::to_owned);
        Ok(Self { kind, format, zone, iso: TimeFormat::iso(Some(zone)), own, own_local })
    }

    /// The mark in a cursor of a record.
    pub fn of_json(&self, json: &str) -> Option<Mark> {
        let value: Value = serde_json::from_str(json).ok()?;
        match (&value, self.kind) {
            (Value::String(text), _) => self.read(text),
            (Value::Number(_), MarkKind::Timestamp | MarkKind::Date | MarkKind::Text) => None,
            (Value::Number(number), _) => self.read(&number.to_string()),
            _ => None,
        }
    }

    /// The mark in a text: that of a cursor, of the job file, or as it is stored.
    pub fn read(&self, text: &str) -> Option<Mark> {
        self.mark(text, |text| self.time(text).or_else(|| self.ambiguous(text)))
    }

    /// The same; a local time that is there twice or not at all is none.
    pub fn read_exactly(&self, text: &str) -> Option<Mark> {
        self.mark(text, |text| self.time(text))
    }

    /// Where a range is to begin, or to end (`ends`): days are read whole, so that a time within one is its beginning,
    /// or that of the next.
    pub fn read_range_bound(&self, text: &str, ends: bool) -> Option<Mark> {
        if self.kind != MarkKind::Date {
            return self.read_exactly(text);
        }
        // A day is there also where its midnight is not.
        let day = match NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d") {
            Ok(day) => day,
            Err(_) => {
                let time = DateTime::from_timestamp_micros(self.time(text.trim())?)?;
                let local = time.with_timezone(&self.zone).naive_local();
                let is_within = ends && local.time() != NaiveTime::MIN;
                if is_within { local.date().succ_opt()? } else { local.date() }
            }
        };
        let micros = day.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
        (FIRST..=LAST).contains(&micros).then_some(Mark::Time(micros))
    }

    /// Why a local time is not one point in time, if that is what is wrong with it.
    pub fn doubt(&self, text: &str) -> Option<String> {
        let formats = std::iter::once(&self.iso).chain(&self.own);
        let why = formats.filter_map(|format| format.instant(text.trim()).err());
        let mut what = why.filter_map(|error| match error {
            TimeError::Skipped => Some("does not exist"),
            TimeError::Ambiguous => Some("exists twice"),
            _ => None,
        });
        let what = what.find(|_| self.kind.is_time())?;
        let zone = self.zone.name();
        Some(format!(
            "is a local time that {what} in {zone}, since clocks are changed then: write a time with its offset, \
             such as `2026-01-01T12:00:00+01:00`"
        ))
    }

    fn mark(&self, text: &str, time: impl Fn(&str) -> Option<i64>) -> Option<Mark> {
        let text = text.trim();
        let micros = match self.kind {
            MarkKind::Integer => return integer(text).map(Mark::Integer),
            MarkKind::Text => return Some(Mark::Text(text.to_owned())),
            MarkKind::Timestamp => time(text)?,
            MarkKind::Date => {
                let day = DateTime::from_timestamp_micros(time(text)?)?.with_timezone(&self.zone);
                day.date_naive().and_time(NaiveTime::MIN).and_utc().timestamp_micros()
            }
            MarkKind::Epoch => epoch(text, 6).or_else(|| time(text))?,
            MarkKind::EpochMs => epoch(text, 3).or_else(|| time(text))?,
        };
        (FIRST..=LAST).contains(&micros).then_some(Mark::Time(micros))
    }

    fn time(&self, text: &str) -> Option<i64> {
        let own = || self.own.as_ref().and_then(|own| own.instant(text).ok());
        self.iso.instant(text).ok().or_else(own)
    }

    /// A local time that is there twice or not at all, when clocks change: the earlier of what it may be, so that
    /// nothing between the two is missed.
    fn ambiguous(&self, text: &str) -> Option<i64> {
        let local = TimeFormat::iso(None).instant(text).ok();
        let own = || self.own_local.as_ref().and_then(|own| own.instant(text).ok());
        let local = DateTime::from_timestamp_micros(local.or_else(own)?)?.naive_utc();
        Some(bound::earliest(local, self.zone).timestamp_micros())
    }

    /// As it is stored.
    pub fn stored(&self, mark: &Mark) -> String {
        match mark {
            Mark::Time(micros) => {
                let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
                match self.kind {
                    MarkKind::Date => time.format("%Y-%m-%d").to_string(),
                    _ => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
                }
            }
            Mark::Integer(number) => number.to_string(),
            Mark::Text(text) => text.clone(),
        }
    }

    /// The inverse of [`Clockwork::stored`].
    pub fn of_stored(&self, text: &str) -> Option<Mark> {
        match self.kind {
            MarkKind::Integer => integer(text).map(Mark::Integer),
            MarkKind::Text => Some(Mark::Text(text.to_owned())),
            MarkKind::Timestamp | MarkKind::Epoch | MarkKind::EpochMs | MarkKind::Date => {
                TimeFormat::iso(None).instant(text).ok().map(Mark::Time)
            }
        }
    }

    /// How a mark is written in a request that it bounds on this side: what `${incremental.start}` stands for.
    pub fn supplied(&self, mark: &Mark, side: Side) -> Supplied {
        match (mark, side) {
            (Mark::Time(micros), side) => {
                let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
                // A day has no zone: it is the same day everywhere.
                let zone = if self.kind == MarkKind::Date { Tz::UTC } else { self.zone };
                let value = self.written(time, zone, side);
                Supplied::Time(Moment { time, zone, side }, value)
            }
            (Mark::Integer(number), side) => {
                let number = match side {
                    Side::Behind => number.saturating_sub(1),
                    Side::Neither | Side::Start | Side::End => *number,
                };
                match i64::try_from(number) {
                    Ok(number) => Supplied::Value(number.into()),
                    Err(_) => Supplied::Value(number.to_string().into()),
                }
            }
            (Mark::Text(text), _) => Supplied::Value(text.as_str().into()),
        }
    }

    fn written(&self, time: DateTime<Utc>, zone: Tz, side: Side) -> Value {
        let by = |format| formatted(Moment { time, zone, side }, format);
        match (&self.format, self.kind) {
            (Some(format), _) => by(format),
            (None, MarkKind::Epoch) => by("%s"),
            (None, MarkKind::EpochMs) => by("%Q"),
            (None, MarkKind::Date) => by("%Y-%m-%d"),
            (None, _) => {
                let time = bound::moved(time, SECOND, side);
                let seconds = match side {
                    // Rounded up: some APIs read no fractions.
                    Side::End => SecondsFormat::Secs,
                    Side::Neither | Side::Start | Side::Behind => SecondsFormat::AutoSi,
                };
                time.to_rfc3339_opts(seconds, true).into()
            }
        }
    }
}

/// A whole number, written as one.
fn integer(text: &str) -> Option<i128> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    whole.parse().ok()
}

/// Microseconds of a number whose unit has so many digits below a microsecond's place.
fn epoch(text: &str, digits: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10_i64.pow(digits);
    let kept: String = fraction.chars().chain("000000".chars()).take(digits as usize).collect();
    let fraction: i64 = kept.parse().ok()?;
    let micros = seconds.checked_mul(scale)?;
    micros.checked_add(if whole.starts_with('-') { -fraction } else { fraction })
}

/// A time so long before another, or the first there is.
pub(super) fn earlier(time: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    time.checked_sub_signed(by).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// A duration as one of chrono.
pub(super) fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clockwork(kind: MarkKind, format: Option<&str>, zone: Option<&str>) -> Clockwork {
        Clockwork::new(kind, format, zone).unwrap()
    }

    fn text(supplied: Supplied) -> String {
        match supplied {
            Supplied::Time(_, value) | Supplied::Value(value) => value.to_string(),
            Supplied::Itself => panic!("no value"),
        }
    }

    #[test]
    fn marks_are_compared_as_what_they_are() {
        for (kind, low, high) in [
            (MarkKind::Integer, "9", "10"),
            (MarkKind::Integer, "\"9\"", "\"10\""),
            (MarkKind::Integer, "9.0", "99999999999999999999"),
            (MarkKind::Epoch, "999999999", "1000000000.5"),
            (MarkKind::EpochMs, "\"999999999999\"", "1000000000000"),
            (MarkKind::Timestamp, "\"2026-11-27T23:30:00-02:00\"", "\"2026-11-28T01:30:01Z\""),
            (
                MarkKind::Timestamp,
                "\"2026-11-27T10:00:00.000+0100\"",
                "\"2026-11-27T09:00:00.001Z\"",
            ),
            (MarkKind::Date, "\"2026-09-30\"", "\"2026-10-01\""),
            (MarkKind::Text, "\"01B\"", "\"01a\""),
        ] {
            let clockwork = clockwork(kind, None, None);
            let mark = |json: &str| clockwork.of_json(json).unwrap_or_else(|| panic!("{json}"));
            assert!(mark(low) < mark(high), "{kind}: {low} {high}");
            for json in [low, high] {
                let stored = clockwork.stored(&mark(json));
                assert_eq!(clockwork.of_stored(&stored), Some(mark(json)), "{stored}");
            }
        }
    }

    #[test]
    fn what_is_no_cursor_of_the_kind_is_none() {
        for (kind, json) in [
            (MarkKind::Timestamp, "1700000000"),
            (MarkKind::Timestamp, "\"soon\""),
            (MarkKind::Timestamp, "null"),
            (MarkKind::Epoch, "1700000000000"),
            (MarkKind::Epoch, "true"),
            (MarkKind::Integer, "1.5"),
            (MarkKind::Integer, "\"x\""),
            (MarkKind::Text, "7"),
            (MarkKind::Text, "{}"),
        ] {
            assert_eq!(clockwork(kind, None, None).of_json(json), None, "{kind} {json}");
        }
    }

    #[test]
    fn a_start_is_cut_to_what_the_request_can_say_and_an_end_never_loses_anything() {
        let time = "2026-11-27T05:58:12.345678Z";
        for (kind, format, zone, start, end) in [
            (
                MarkKind::Timestamp,
                None,
                None,
                "\"2026-11-27T05:58:12.345678Z\"",
                "\"2026-11-27T05:58:13Z\"",
            ),
            (
                MarkKind::Timestamp,
                Some("%Y-%m-%d %H:%M"),
                Some("Europe/Berlin"),
                "\"2026-11-27 06:58\"",
                "\"2026-11-27 06:59\"",
            ),
            (MarkKind::Timestamp, Some("%Q"), None, "1795759092345", "1795759092346"),
            (MarkKind::Epoch, None, None, "1795759092", "1795759093"),
            (MarkKind::EpochMs, None, None, "1795759092345", "1795759092346"),
            (MarkKind::Date, None, None, "\"2026-11-27\"", "\"2026-11-27\""),
            (MarkKind::Timestamp, Some("%d.%m.%Y"), None, "\"27.11.2026\"", "\"28.11.2026\""),
        ] {
            let clockwork = clockwork(kind, format, zone);
            let whole = clockwork.read("2026-11-27T05:58:12Z").unwrap();
            if format.is_none() && kind == MarkKind::Timestamp {
                let asked = text(clockwork.supplied(&whole, Side::End));
                assert_eq!(asked, "\"2026-11-27T05:58:12Z\"");
            }
            let mark = clockwork.read(time).unwrap();
            for (side, asked) in [(Side::Start, start), (Side::End, end)] {
                assert_eq!(text(clockwork.supplied(&mark, side)), asked, "{kind} {format:?}");
            }
        }
    }

    #[test]
    fn an_api_that_leaves_out_the_start_is_asked_for_one_unit_less() {
        for (kind, format, from, asked) in [
            (MarkKind::Timestamp, None, "2026-11-27T05:58:12Z", "\"2026-11-27T05:58:11Z\""),
            (
                MarkKind::Timestamp,
                Some("%Y-%m-%d %H:%M"),
                "2026-11-27T05:58:12Z",
                "\"2026-11-27 05:57\"",
            ),
            (MarkKind::EpochMs, None, "1700000000000", "1699999999999"),
            (MarkKind::Integer, None, "7", "6"),
            (MarkKind::Date, None, "2026-03-01", "\"2026-02-28\""),
        ] {
            let clockwork = clockwork(kind, format, None);
            let mark = clockwork.read(from).unwrap();
            assert_eq!(text(clockwork.supplied(&mark, Side::Behind)), asked, "{kind}");
        }
    }

    #[test]
    fn a_local_time_that_is_there_twice_is_its_first_one_and_one_that_is_not_there_the_earlier() {
        let berlin = Some("Europe/Berlin");
        for (format, text, time) in [
            (None, "2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
            (None, "2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z"),
            (None, "2026-03-29 02:30:00", "2026-03-29T00:30:00Z"),
            (Some("%d.%m.%Y %H:%M"), "25.10.2026 02:30", "2026-10-25T00:30:00Z"),
            (Some("%d.%m.%Y %H:%M"), "25.10.2026 03:00", "2026-10-25T02:00:00Z"),
        ] {
            let clockwork = clockwork(MarkKind::Timestamp, format, berlin);
            let stored = clockwork.stored(&clockwork.read(text).unwrap());
            assert_eq!(stored, time, "{text}");
            let is_exact = text.contains('+') || text.ends_with("03:00");
            assert_eq!(clockwork.read_exactly(text).is_some(), is_exact, "{text}");
        }
    }

    #[test]
    fn a_range_of_days_begins_and_ends_with_whole_days() {
        let days = clockwork(MarkKind::Date, None, Some("America/Sao_Paulo"));
        for (text, from, to) in [
            ("2026-03-03", "2026-03-03", "2026-03-03"),
            ("2026-03-03T00:00:00", "2026-03-03", "2026-03-03"),
            ("2026-03-03T12:00:00", "2026-03-03", "2026-03-04"),
            ("2026-02-28T23:59:59.5", "2026-02-28", "2026-03-01"),
            ("2026-03-03T02:00:00Z", "2026-03-02", "2026-03-03"),
            ("2026-03-03T03:00:00Z", "2026-03-03", "2026-03-03"),
            // A day without a midnight.
            ("2018-11-04", "2018-11-04", "2018-11-04"),
        ] {
            for (ends, day) in [(false, from), (true, to)] {
                let mark = days.read_range_bound(text, ends).unwrap_or_else(|| panic!("{text}"));
                assert_eq!(days.stored(&mark), day, "{text} {ends}");
            }
        }
        assert_eq!(days.read_range_bound("2026-13-01", true), None);
        let times = clockwork(MarkKind::Timestamp, None, None);
        let mark = times.read_range_bound("2026-03-03T12:00:00", true).unwrap();
        assert_eq!(times.stored(&mark), "2026-03-03T12:00:00Z");
    }

    #[test]
    fn a_local_time_that_is_not_one_point_in_time_is_told_from_what_is_no_time() {
        let berlin = clockwork(MarkKind::Timestamp, None, Some("Europe/Berlin"));
        for (text, says) in [
            ("2026-03-29T02:30:00", Some("does not exist in Europe/Berlin")),
            ("2026-10-25 02:30:00", Some("exists twice in Europe/Berlin")),
            ("2026-10-25T02:30:00+01:00", None),
            ("soon", None),
        ] {
            let doubt = berlin.doubt(text);
            assert_eq!(doubt.is_some(), says.is_some(), "{text}: {doubt:?}");
            assert!(says.is_none_or(|says| doubt.unwrap().contains(says)), "{text}");
        }
    }

    #[test]
    fn looking_back_over_a_change_of_clocks_asks_from_before_the_first_of_two_equal_times() {
        let clockwork =
            clockwork(MarkKind::Timestamp, Some("%Y-%m-%d %H:%M"), Some("Europe/Berlin"));
        for (watermark, minutes, asked) in [
            ("2026-10-25T02:10:00Z", 30, "\"2026-10-25 02:40\""),
            ("2026-10-25T02:10:00Z", 90, "\"2026-10-25 01:40\""),
            ("2026-10-25T02:10:00Z", 24 * 60, "\"2026-10-24 04:10\""),
            ("2026-03-29T01:10:00Z", 30, "\"2026-03-29 01:40\""),
        ] {
            let lookback = Lookback::Time(Duration::from_secs(minutes * 60));
            let start = clockwork.read(watermark).unwrap().less(lookback);
            assert_eq!(
                text(clockwork.supplied(&start, Side::Start)),
                asked,
                "{watermark} {minutes}"
            );
        }
    }
}
