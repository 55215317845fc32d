//! Owns which formats of numbers show dates, and which date or time a number is.

use chrono::{Days, NaiveDate};

/// What a number means under its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// A number.
    Number,
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// A date and a time.
    DateTime,
    /// Hours that may be more than a day has.
    Duration,
}

/// What the formats show that every workbook has without saying so.
pub(super) fn of_builtin(id: u32) -> Shows {
    match id {
        14..=17 | 27..=31 | 34..=36 | 50..=54 | 57 | 58 => Shows::Date,
        18..=21 | 32 | 33 | 45 | 47 | 55 | 56 => Shows::Time,
        22 => Shows::DateTime,
        46 => Shows::Duration,
        _ => Shows::Number,
    }
}

/// What a format shows by its code, such as `dd/mm/yyyy hh:mm` or `#,##0.00`.
pub(super) fn of_code(code: &str) -> Shows {
    let (mut date, mut time, mut months, mut duration) = (false, false, false, false);
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c.to_ascii_lowercase() {
            // Behind it is what negative numbers look like.
            ';' => break,
            '"' => while chars.next().is_some_and(|c| c != '"') {},
            '\\' | '_' | '*' => drop(chars.next()),
            '[' => {
                let inner: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let inner = inner.to_ascii_lowercase();
                let is_of = |unit| !inner.is_empty() && inner.chars().all(|c| c == unit);
                duration |= ['h', 'm', 's'].into_iter().any(is_of);
            }
            // General, which is no date.
            'g' if code.to_ascii_lowercase().starts_with("general") => return Shows::Number,
            // An exponent, or the year of an era.
            'e' => date |= !matches!(chars.peek(), Some('+' | '-')),
            'y' | 'd' | 'g' | 'b' => date = true,
            'h' | 's' => time = true,
            'm' => months = true,
            'a' => {
                let rest: String = chars.clone().take(4).collect();
                time |= rest.to_ascii_lowercase().starts_with("m/pm") || rest.starts_with('/');
            }
            _ => {}
        }
    }
    // Minutes beside hours, otherwise months.
    date |= months && !time && !duration;
    match (duration, date, time) {
        (true, ..) => Shows::Duration,
        (_, true, true) => Shows::DateTime,
        (_, true, false) => Shows::Date,
        (_, false, true) => Shows::Time,
        _ => Shows::Number,
    }
}

/// The last day that is shown as a date: 9999-12-31.
const LAST: f64 = 2_958_466.0;
const DAY_MS: f64 = 86_400_000.0;

/// The date or time of a number, as ISO 8601 writes it; `None` where it is none, and stays a number.
pub(super) fn shown(number: f64, shows: Shows, since_1904: bool) -> Option<String> {
    if shows == Shows::Number || !number.is_finite() || !(0.0..LAST).contains(&number) {
        return None;
    }
    let all = (number * DAY_MS).round() as u64;
    let (days, ms) = (all / 86_400_000, all % 86_400_000);
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:03}") };
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if shows == Shows::Duration {
        return Some(format!("{}:{minutes:02}:{seconds:02}{fraction}", hours + 24 * days));
    }
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}{fraction}");
    let has_day = days > 0 || since_1904 && shows != Shows::Time;
    match shows {
        Shows::Time if !has_day => Some(time),
        _ if !has_day => None,
        Shows::Date if ms == 0 => date(days, since_1904),
        _ => Some(format!("{}T{time}", date(days, since_1904)?)),
    }
}

fn date(days: u64, since_1904: bool) -> Option<String> {
    let (first, days) = match (since_1904, days) {
        (true, days) => ((1904, 1, 1), days),
        // A day that never was: Lotus 1-2-3 took 1900 for a leap year, and its number is kept free. No date is made of it.
        (false, 60) => return Some("1900-02-29".to_owned()),
        (false, 0..60) => ((1899, 12, 31), days),
        (false, _) => ((1899, 12, 30), days),
    };
    let (year, month, day) = first;
    let date = NaiveDate::from_ymd_opt(year, month, day)?.checked_add_days(Days::new(days))?;
    Some(date.format("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_says_whether_a_number_is_a_date() {
        for (code, shows) in [
            ("General", Shows::Number),
            ("#,##0.00 \"days\"", Shows::Number),
            ("0.00E+00", Shows::Number),
            ("[Red]-0.00;[Blue]0", Shows::Number),
            ("_-* #,##0.00\\ [$€-407]_-", Shows::Number),
            ("0.0\\d", Shows::Number),
            ("@", Shows::Number),
            ("dd/mm/yyyy", Shows::Date),
            ("[$-409]mmm\\-yy;@", Shows::Date),
            ("yyyy\"年\"m\"月\"", Shows::Date),
            ("mmmm", Shows::Date),
            ("h:mm AM/PM", Shows::Time),
            ("mm:ss.0", Shows::Time),
            ("yyyy-mm-dd hh:mm:ss", Shows::DateTime),
            ("[h]:mm:ss", Shows::Duration),
            ("[mm]:ss", Shows::Duration),
        ] {
            assert_eq!(of_code(code), shows, "{code}");
        }
        assert_eq!(
            [of_builtin(14), of_builtin(22), of_builtin(2)],
            [Shows::Date, Shows::DateTime, Shows::Number]
        );
    }

    #[test]
    fn a_date_is_counted_from_1900_or_1904() {
        let at = |number, shows| shown(number, shows, false);
        for (number, shows, text) in [
            (1.0, Shows::Date, "1900-01-01"),
            (59.0, Shows::Date, "1900-02-28"),
            (60.0, Shows::Date, "1900-02-29"),
            (61.0, Shows::Date, "1900-03-01"),
            (46_354.0, Shows::Date, "2026-11-28"),
            (46_354.5, Shows::Date, "2026-11-28T12:00:00"),
            (46_354.0, Shows::DateTime, "2026-11-28T00:00:00"),
            (46_354.999_999_999, Shows::DateTime, "2026-11-29T00:00:00"),
            (0.25, Shows::Time, "06:00:00"),
            (0.000_005_787, Shows::Time, "00:00:00.500"),
            (1.5, Shows::Duration, "36:00:00"),
        ] {
            assert_eq!(at(number, shows).as_deref(), Some(text), "{number}");
        }
        assert_eq!(shown(0.0, Shows::Date, true).as_deref(), Some("1904-01-01"));
        assert_eq!(shown(44_892.0, Shows::Date, true).as_deref(), Some("2026-11-28"));
        for number in [-1.0, 3e6, f64::NAN, 0.5] {
            assert_eq!(at(number, Shows::Date), None, "{number}");
        }
    }
}
