//! Owns what a CSV cell looks like, evaluated by its text alone. A guess for schema snapshots, never
//! a conversion: identifiers such as `007` stay text, and a column's type is that of most of its
//! cells.

use crate::domain::shape::FieldType;

/// The type that `cell` looks like; surrounding spaces do not count.
pub(super) fn classify(cell: &str) -> FieldType {
    let text = cell.trim_ascii();
    let Some(first) = text.as_bytes().first() else { return FieldType::String };
    match first {
        b'0'..=b'9' => number(text).or_else(|| calendar(text)).unwrap_or(FieldType::String),
        b'-' | b'+' | b'.' | b',' => number(text).unwrap_or(FieldType::String),
        b't' | b'T' if text.eq_ignore_ascii_case("true") => FieldType::Boolean,
        b'f' | b'F' if text.eq_ignore_ascii_case("false") => FieldType::Boolean,
        _ => FieldType::String,
    }
}

/// Digits with at most one separator, a point or a comma, and an exponent. A leading zero makes a
/// text: it carries meaning that a number would lose.
fn number(text: &str) -> Option<FieldType> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let fraction_digits = fraction.unwrap_or_default();
    let exponent_digits = exponent.map(|e| e.strip_prefix(['-', '+']).unwrap_or(e));
    let valid = digits(whole)
        && digits(fraction_digits)
        && !(whole.is_empty() && fraction_digits.is_empty())
        && !(whole.len() > 1 && whole.starts_with('0'))
        && exponent_digits.is_none_or(|e| !e.is_empty() && digits(e));
    let integer = fraction.is_none() && exponent.is_none();
    valid.then_some(if integer { FieldType::Integer } else { FieldType::Number })
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// A date, or a date and a time behind a `T` or spaces.
fn calendar(text: &str) -> Option<FieldType> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim_ascii_start())),
        None => (text, None),
    };
    if !is_date(date) {
        return None;
    }
    match time {
        None => Some(FieldType::Date),
        Some(time) => is_time(time).then_some(FieldType::Timestamp),
    }
}

/// Year first or year last, with `-`, `/` or `.` between; day and month in either order.
fn is_date(text: &str) -> bool {
    let Some(separator) = text.chars().find(|c| !c.is_ascii_digit()) else { return false };
    if !matches!(separator, '-' | '/' | '.') {
        return false;
    }
    let mut parts = text.split(separator);
    let (Some(a), Some(b), Some(c), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (year, x, y) = if a.len() == 4 { (a, b, c) } else { (c, a, b) };
    let (Some(x), Some(y)) = (small(x), small(y)) else { return false };
    let day_and_month = (1..=12).contains(&x.min(y)) && (1..=31).contains(&x.max(y));
    year.len() == 4 && digits(year) && day_and_month
}

/// `HH:MM`, seconds, a fraction and an offset being optional.
fn is_time(text: &str) -> bool {
    let clock = text.trim_end_matches(['Z', 'z']);
    let (clock, offset) = match clock.rfind(['+', '-']) {
        Some(at) => (clock[..at].trim_ascii_end(), &clock[at + 1..]),
        None => (clock, ""),
    };
    let mut parts = clock.splitn(3, ':');
    let in_range = |part: Option<&str>, max| part.and_then(small).is_some_and(|n| n <= max);
    if !in_range(parts.next(), 23) || !in_range(parts.next(), 59) {
        return false;
    }
    let seconds = parts.next().is_none_or(|text| {
        let (seconds, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
        in_range(Some(seconds), 60) && digits(fraction)
    });
    seconds && offset.bytes().all(|b| b.is_ascii_digit() || b == b':')
}

/// A number of one or two digits.
fn small(text: &str) -> Option<u8> {
    if text.len() > 2 || !digits(text) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_what_its_text_looks_like() {
        for (kind, cells) in [
            (FieldType::Integer, &["0", "42", "-7", "+1", " 12 ", "99999999999999999999"][..]),
            (FieldType::Number, &["1.5", "1,5", "-.5", "8.397908418131883e-07", "1e5", "0.0"]),
            (FieldType::Boolean, &["true", "FALSE", " True "]),
            (FieldType::Date, &["2024-02-29", "31.12.2024", "12/31/2024", "1/2/2024"]),
            (
                FieldType::Timestamp,
                &["2024-02-29T10:00:00Z", "2024-02-29 10:00", "2024-02-29 10:00:00.123+02:00"],
            ),
            (
                FieldType::String,
                &[
                    "",
                    " ",
                    "007",
                    "08123",
                    "$5",
                    "1.2.3",
                    "1-2",
                    "2024-13-40",
                    "t",
                    "e5",
                    "-",
                    "1e",
                    "truth",
                    "12:30",
                    "2024-01-01 tea",
                    "ä",
                    "1ä",
                    "2024-01-01 1ä",
                ],
            ),
        ] {
            for cell in cells {
                assert_eq!(classify(cell), kind, "{cell:?}");
            }
        }
    }
}
