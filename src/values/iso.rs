//! Owns reading dates and times as RFC 3339 and ISO 8601 write them, by hand: most sources write
//! them so, and every row has one. Tested with [`super::timestamp`].

use super::calendar::{SECONDS_PER_DAY, days_in_month, days_of};
use super::time_error::TimeError;

/// A date, perhaps with a time, perhaps with an offset, as ISO 8601 writes it.
pub(super) struct Iso {
    pub(super) year: i64,
    month: i64,
    day: i64,
    /// Whether there is a time of day.
    pub(super) timed: bool,
    hour: i64,
    minute: i64,
    second: i64,
    /// Digits beyond the sixth are cut off, as PostgreSQL has no place for them.
    pub(super) micros: i64,
    /// Seconds east of Greenwich.
    pub(super) offset: Option<i64>,
}

impl Iso {
    /// `None` when the text is not in this format.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let (year, text) = read_year(text)?;
        let (month, text) = two_digits(text.strip_prefix(b"-")?)?;
        let (day, text) = two_digits(text.strip_prefix(b"-")?)?;
        let date = Self {
            year,
            month,
            day,
            timed: false,
            hour: 0,
            minute: 0,
            second: 0,
            micros: 0,
            offset: None,
        };
        match text {
            [] => Some(date),
            [b'T' | b't' | b' ', time @ ..] => date.with_time(time),
            _ => None,
        }
    }

    fn with_time(mut self, text: &[u8]) -> Option<Self> {
        let (hour, text) = two_digits(text)?;
        let (minute, mut text) = two_digits(text.strip_prefix(b":")?)?;
        if let Some(seconds) = text.strip_prefix(b":") {
            (self.second, text) = two_digits(seconds)?;
            if let [b'.' | b',', fraction @ ..] = text {
                (self.micros, text) = read_micros(fraction)?;
            }
        }
        (self.timed, self.hour, self.minute) = (true, hour, minute);
        self.offset = read_offset(text)?;
        Some(self)
    }

    /// Seconds since 1970 as the clocks there counted them.
    pub(super) fn local_seconds(&self) -> Result<i64, TimeError> {
        // A leap second is a time of the calendar; like PostgreSQL we count it to the next minute.
        let valid = (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
            && !self.ends_the_years();
        if !valid {
            return Err(TimeError::NotInCalendar);
        }
        let days = days_of(self.year, self.month, self.day);
        Ok(days * SECONDS_PER_DAY + self.hour * 3600 + self.minute * 60 + self.second)
    }
}

impl Iso {
    /// Whether it is a leap second at the end of the years of four digits: the next minute is of none of them.
    fn ends_the_years(&self) -> bool {
        let date = (self.year, self.month, self.day);
        date == (9999, 12, 31) && (self.hour, self.minute, self.second) == (23, 59, 60)
    }
}

/// Four digits, or a sign and up to six.
fn read_year(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (0, rest),
    };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let fits = if sign == 0 { length == 4 } else { (4..=6).contains(&length) };
    // Added up only if they fit: a number of any length may stand here.
    let digits = fits.then_some(digits)?;
    let value = digits[..length].iter().fold(0, |year, b| year * 10 + i64::from(b - b'0'));
    Some((if sign < 0 { -value } else { value }, &digits[length..]))
}

fn two_digits(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => {
            Some((i64::from(a - b'0') * 10 + i64::from(b - b'0'), rest))
        }
        _ => None,
    }
}

fn read_micros(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let digit = |i: usize| if i < length { i64::from(text[i] - b'0') } else { 0 };
    let micros = (0..6).fold(0, |micros, i| micros * 10 + digit(i));
    (length > 0).then(|| (micros, &text[length..]))
}

/// `Z`, `+hh`, `+hhmm`, `+hh:mm`, perhaps behind a space, where it may be `UTC` as well; or nothing.
fn read_offset(text: &[u8]) -> Option<Option<i64>> {
    let (spaced, text) = match text {
        [] => return Some(None),
        [b' ', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (sign, text) = match text {
        [b'Z' | b'z'] => return Some(Some(0)),
        utc if spaced && utc.eq_ignore_ascii_case(b"UTC") => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = two_digits(text)?;
    let (minutes, rest) = match rest {
        [] => (0, rest),
        _ => two_digits(rest.strip_prefix(b":").unwrap_or(rest))?,
    };
    (rest.is_empty() && hours < 24 && minutes < 60)
        .then_some(Some(sign * (hours * 3600 + minutes * 60)))
}
