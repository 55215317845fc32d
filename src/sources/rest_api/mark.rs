//! Owns marks: values of a cursor, compared as what they are, and how they are written in requests.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::template::{Supplied, formatted};
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
        #[serde(with = "humantime_serde")]
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
        let own = format.and_then(|format| TimeFormat::new(Some(format), Some(zone)).ok());
        let format = format.map(str::to_owned);
        Ok(Self { kind, format, zone, iso: TimeFormat::iso(Some(zone)), own })
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
        let text = text.trim();
        let time = || {
            let of = |format: &TimeFormat| format.instant(text).ok();
            of(&self.iso)
                .or_else(|| self.own.as_ref().and_then(of))
                .or_else(|| self.ambiguous(text))
        };
        let micros = match self.kind {
            MarkKind::Integer => return integer(text).map(Mark::Integer),
            MarkKind::Text => return Some(Mark::Text(text.to_owned())),
            MarkKind::Timestamp => time()?,
            MarkKind::Date => {
                let day = DateTime::from_timestamp_micros(time()?)?.with_timezone(&self.zone);
                day.date_naive().and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()
            }
            MarkKind::Epoch => epoch(text, 6).or_else(time)?,
            MarkKind::EpochMs => epoch(text, 3).or_else(time)?,
        };
        (FIRST..=LAST).contains(&micros).then_some(Mark::Time(micros))
    }

    /// A local time that is there twice or not at all, when clocks change: the earlier of what it may be.
    fn ambiguous(&self, text: &str) -> Option<i64> {
        let in_utc = TimeFormat::iso(None).instant(text).ok()?;
        // No zone is further ahead of UTC than 14 hours; an hour more is what clocks change by.
        Some(in_utc - 15 * 3600 * SECOND).filter(|_| self.zone != Tz::UTC)
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

    /// A unit less, which an API is asked for that leaves out what equals the start.
    pub fn unit_less(&self, mark: &Mark) -> Mark {
        match mark {
            Mark::Time(micros) => Mark::Time(micros.saturating_sub(self.unit()).max(FIRST)),
            Mark::Integer(number) => Mark::Integer(number.saturating_sub(1)),
            Mark::Text(text) => Mark::Text(text.clone()),
        }
    }

    /// The lowest mark not below this one that a request can name: one that is cut off would leave out
    /// what is behind it.
    pub fn rounded_up(&self, mark: &Mark) -> Mark {
        match mark {
            Mark::Time(micros) => {
                let up = micros.saturating_add(self.unit() - 1);
                Mark::Time(up.min(LAST))
            }
            other => other.clone(),
        }
    }

    /// How a mark is written in a request: what `${incremental.start}` stands for.
    pub fn supplied(&self, mark: &Mark) -> Supplied {
        match mark {
            Mark::Time(micros) => {
                let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
                // A day has no zone: it is the same day everywhere.
                let zone = if self.kind == MarkKind::Date { Tz::UTC } else { self.zone };
                Supplied::Time(time, zone, self.written(time, zone))
            }
            Mark::Integer(number) => match i64::try_from(*number) {
                Ok(number) => Supplied::Value(number.into()),
                Err(_) => Supplied::Value(number.to_string().into()),
            },
            Mark::Text(text) => Supplied::Value(text.as_str().into()),
        }
    }

    fn written(&self, time: DateTime<Utc>, zone: Tz) -> Value {
        match (&self.format, self.kind) {
            (Some(format), _) => formatted(time, zone, format),
            (None, MarkKind::Epoch) => formatted(time, zone, "%s"),
            (None, MarkKind::EpochMs) => formatted(time, zone, "%Q"),
            (None, MarkKind::Date) => formatted(time, zone, "%Y-%m-%d"),
            (None, _) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
        }
    }

    /// The finest that a request can say, in microseconds.
    fn unit(&self) -> i64 {
        const MINUTE: i64 = 60 * SECOND;
        const DAY: i64 = 24 * 60 * MINUTE;
        let Some(format) = &self.format else {
            return match self.kind {
                MarkKind::EpochMs => 1_000,
                MarkKind::Date => DAY,
                _ => SECOND,
            };
        };
        let has = |any: &[&str]| any.iter().any(|item| format.contains(item));
        match () {
            () if has(&["6f", "9f", "%f", "%.f"]) => 1,
            () if has(&["3f", "%Q"]) => 1_000,
            () if has(&["%S", "%s", "%T", "%X", "%r", "%c", "%+"]) => SECOND,
            () if has(&["%M", "%R"]) => MINUTE,
            () if has(&["%H", "%I", "%k", "%l"]) => 60 * MINUTE,
            () if has(&["%d", "%e", "%j", "%F", "%D", "%x", "%v"]) => DAY,
            () if has(&["%m", "%b", "%B", "%h", "%U", "%W", "%V"]) => 31 * DAY,
            () => 366 * DAY,
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
            Supplied::Time(_, _, value) | Supplied::Value(value) => value.to_string(),
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
                "\"2026-11-27T05:58:13.345677Z\"",
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
            let mark = clockwork.read(time).unwrap();
            assert_eq!(text(clockwork.supplied(&mark)), start, "{kind} {format:?}");
            assert_eq!(
                text(clockwork.supplied(&clockwork.rounded_up(&mark))),
                end,
                "{kind} {format:?}"
            );
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
            let less = clockwork.unit_less(&clockwork.read(from).unwrap());
            assert_eq!(text(clockwork.supplied(&less)), asked, "{kind}");
        }
    }
}
