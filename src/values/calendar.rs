//! Owns the arithmetic of the proleptic Gregorian calendar, and how dates and instants are written.

/// Microseconds in a second.
pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
/// Seconds in a day; leap seconds are not counted.
pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
pub(crate) const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_of`] (`civil_from_days`).
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Appends a date as ISO 8601: `2025-01-02`.
pub(crate) fn write_date(days: i64, out: &mut String) {
    let (year, month, day) = date_of(days);
    match year {
        0..=9999 => push_digits(year, 4, out),
        // ISO 8601 wants a sign before years that four digits cannot hold.
        _ => {
            out.push(if year < 0 { '-' } else { '+' });
            push_digits(year.abs(), (year.abs().ilog10() + 1).max(5), out);
        }
    }
    out.push('-');
    push_digits(month, 2, out);
    out.push('-');
    push_digits(day, 2, out);
}

/// Appends an instant as RFC 3339 in UTC: `2025-01-02T03:04:05Z`, with six digits of a fraction if
/// there is any.
pub(crate) fn write_instant(micros: i64, out: &mut String) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let fraction = micros.rem_euclid(MICROS_PER_SECOND);
    write_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    out.push('T');
    push_digits(second_of_day / 3600, 2, out);
    out.push(':');
    push_digits(second_of_day / 60 % 60, 2, out);
    out.push(':');
    push_digits(second_of_day % 60, 2, out);
    if fraction > 0 {
        out.push('.');
        push_digits(fraction, 6, out);
    }
    out.push('Z');
}

fn push_digits(value: i64, width: u32, out: &mut String) {
    for power in (0..width).rev() {
        let digit = value / 10_i64.pow(power) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    /// Days from 0001-01-01, counted as day 1, to 1970-01-01.
    const DAYS_TO_1970: i64 = 719_163;

    proptest! {
        #[test]
        fn every_date_agrees_with_chrono(days in -2_000_000_i64..100_000_000) {
            let (year, month, day) = date_of(days);
            prop_assert_eq!(days_of(year, month, day), days);
            if let Some(date) = NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32) {
                prop_assert_eq!(i64::from(date.num_days_from_ce()) - DAYS_TO_1970, days);
            }
        }
    }
}
