//! Owns when a source is due: a cron expression in a time zone.
//!
//! Must not know what time it is, nor what happens when a source is due.

use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::domain::suggest;
use crate::domain::text;

/// The most bytes of a cron expression.
pub const MAX_BYTES: usize = 200;

/// In place of a cron expression: whenever the files of the source have changed.
pub const ON_CHANGE: &str = "on_change";

/// Whether a source is read whenever its files have changed.
pub(super) fn is_on_change(expression: &str) -> bool {
    expression.trim() == ON_CHANGE
}

/// When a source is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    expression: String,
    cron: Cron,
    time_zone: Tz,
}

/// A cron expression that no schedule can follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{expression:?} is no schedule: {reason}; write minute, hour, day of month, month and day of \
     week, for example \"*/10 * * * *\" (every ten minutes) or \"30 6 * * MON-FRI\"; or, for files, \"on_change\""
)]
pub struct InvalidSchedule {
    expression: String,
    reason: String,
}

impl Schedule {
    /// Reads a cron expression of five fields, or a nickname such as `@daily`.
    ///
    /// # Errors
    /// When it is none, or never comes.
    pub fn parse(expression: &str, time_zone: Tz) -> Result<Self, InvalidSchedule> {
        let invalid = |reason: &str| InvalidSchedule {
            expression: expression.to_owned(),
            reason: reason.trim_end_matches('.').to_owned(),
        };
        if expression.len() > MAX_BYTES {
            let shown = text::cut(expression, text::MAX_QUOTED).into_owned();
            let reason = format!("it has more than {MAX_BYTES} bytes");
            return Err(InvalidSchedule { expression: shown, reason });
        }
        let fields = expression.split_whitespace().count();
        if fields != 5 && !expression.trim_start().starts_with('@') {
            return Err(invalid(&format!("it has {fields} fields instead of five")));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| invalid(&error.to_string()))?;
        let schedule = Self { expression: expression.trim().to_owned(), cron, time_zone };
        // Any instant will do: croner looks ahead for thousands of years, leap days included.
        match schedule.next_after(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(invalid("there is no such day")),
        }
    }

    /// The first tick after `instant`; `None` when there is none in any foreseeable future.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = self.time_zone.from_utc_datetime(&instant.naive_utc());
        let tick = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(tick.with_timezone(&Utc))
    }

    /// The latest tick that is not after `instant`.
    pub fn last_due(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = self.time_zone.from_utc_datetime(&instant.naive_utc());
        let tick = self.cron.find_previous_occurrence(&local, true).ok()?;
        Some(tick.with_timezone(&Utc))
    }

    /// The longest time between two ticks of the next ones; a year of days off is not looked through.
    pub fn longest_gap(&self) -> Option<Duration> {
        const TICKS: usize = 400;
        let mut longest = None;
        let mut before = self.next_after(DateTime::UNIX_EPOCH)?;
        for _ in 0..TICKS {
            let Some(next) = self.next_after(before) else { break };
            longest = longest.max((next - before).to_std().ok());
            before = next;
        }
        longest
    }

    /// The expression as written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The time zone that the expression is meant in.
    pub fn time_zone(&self) -> Tz {
        self.time_zone
    }
}

/// Reads the name of a time zone.
///
/// # Errors
/// A sentence for people, with the name that was perhaps meant.
pub(super) fn parse_time_zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        let names = chrono_tz::TZ_VARIANTS.iter().map(|tz| tz.name());
        let hint = match suggest::nearest(name, names) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => "; write one such as \"UTC\" or \"Europe/Berlin\"".into(),
        };
        format!("\"{name}\" is no time zone{hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn ticks_are_found_forwards_and_backwards() {
        let schedule = Schedule::parse("*/10 * * * *", Tz::UTC).unwrap();
        assert_eq!(
            schedule.next_after(at("2025-01-02T03:10:00Z")),
            Some(at("2025-01-02T03:20:00Z"))
        );
        assert_eq!(schedule.last_due(at("2025-01-02T03:10:00Z")), Some(at("2025-01-02T03:10:00Z")));
        assert_eq!(
            schedule.last_due(at("2025-01-02T03:19:59.5Z")),
            Some(at("2025-01-02T03:10:00Z"))
        );
        assert_eq!(
            schedule.next_after(at("2025-01-02T03:10:00.25Z")),
            Some(at("2025-01-02T03:20:00Z"))
        );
    }

    #[test]
    fn an_hour_is_that_of_the_time_zone() {
        let schedule = Schedule::parse("30 6 * * *", Tz::Europe__Berlin).unwrap();
        assert_eq!(
            schedule.next_after(at("2025-01-02T00:00:00Z")),
            Some(at("2025-01-02T05:30:00Z"))
        );
        assert_eq!(
            schedule.next_after(at("2025-07-02T00:00:00Z")),
            Some(at("2025-07-02T04:30:00Z"))
        );
    }

    #[test]
    fn nicknames_are_schedules_too() {
        let schedule = Schedule::parse("@daily", Tz::UTC).unwrap();
        assert_eq!(
            schedule.next_after(at("2025-01-02T03:00:00Z")),
            Some(at("2025-01-03T00:00:00Z"))
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        for bad in [
            "",
            "* * *",
            "* * * * * *",
            "61 * * * *",
            "x * * * *",
            "0 0 30 2 *",
            "@never",
            "é * * * *",
        ] {
            let error = Schedule::parse(bad, Tz::UTC).unwrap_err().to_string();
            assert!(error.contains("for example \"*/10 * * * *\""), "{error}");
        }
    }

    #[test]
    fn a_mistyped_time_zone_is_offered_its_name() {
        let error = parse_time_zone("Europe/Berln").unwrap_err();
        assert_eq!(error, "\"Europe/Berln\" is no time zone; did you mean \"Europe/Berlin\"?");
    }

    proptest::proptest! {
        #[test]
        fn no_expression_panics(text in "([0-9*/,LW#?+A-Z-]{1,4} ){4}[0-9*/,LW#?+A-Z-]{1,4}") {
            let _ = Schedule::parse(&text, Tz::UTC);
        }
    }
}
