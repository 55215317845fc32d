//! Owns decimal numbers as digits: read in a source's notation, kept exactly, never through `f64`.
//!
//! The canonical form is `-?digits[.digits]` without exponent, without a leading `+` and without
//! superfluous leading zeros; trailing zeros stay, because `1.50` says more than `1.5`.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most digits of a number once it is written out, whole part and fraction together. A
/// floating-point number of 64 bits, with the 17 digits that programs write, has 341 at most. PostgreSQL's
/// `numeric` holds 131,072, but then eight bytes of a source, `1e131000`, would become 131 KB wherever the
/// number goes.
pub const MAX_DIGITS: i64 = 1_000;
/// Exponents beyond this are as good as this.
const MAX_EXPONENT: i64 = 1 << 40;

/// Why a text is no decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a number in the expected notation.
    #[error("not a decimal number")]
    Invalid,
    /// A number with more than [`MAX_DIGITS`].
    #[error("more than 1,000 digits when it is written out")]
    OutOfRange,
}

/// How a source writes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecimalNotation {
    /// Between the whole part and the fraction: `.` or `,`.
    pub decimal_separator: u8,
    /// Between groups of digits of the whole part, when the source writes one.
    pub group_separator: Option<u8>,
    /// How many digits are in a group.
    pub grouping: Grouping,
}

/// How many digits are in the groups of a whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Three in each: `1,234,567`.
    #[default]
    Thousands,
    /// Three in the last and two in the others: `12,34,567`.
    Indian,
}

impl DecimalNotation {
    /// JSON's notation, and that of most files: `1234.5`.
    pub const PLAIN: Self =
        Self { decimal_separator: b'.', group_separator: None, grouping: Grouping::Thousands };
}

/// Appends the canonical form of `text` to `out`.
///
/// Accepts an optional sign, digits with an optional fraction (at least one digit in all), grouped
/// digits when the notation has a group separator, and an optional exponent (`8.4e-07`).
///
/// # Errors
/// [`DecimalError`]; `out` is then as it was.
pub fn write_canonical(
    text: &str,
    notation: DecimalNotation,
    out: &mut String,
) -> Result<(), DecimalError> {
    write_shifted(text, notation, 0, out)
}

/// The same with the decimal point shifted by so many digits, to the right when it is positive: 1999 by -2 is
/// 19.99, exactly.
///
/// # Errors
/// As of [`write_canonical`].
pub fn write_shifted(
    text: &str,
    notation: DecimalNotation,
    shift: i64,
    out: &mut String,
) -> Result<(), DecimalError> {
    let start = out.len();
    let result = append_canonical(text.as_bytes(), notation, shift, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn append_canonical(
    text: &[u8],
    notation: DecimalNotation,
    shift: i64,
    out: &mut String,
) -> Result<(), DecimalError> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = split_exponent(unsigned)?;
    let (whole, fraction) = match memchr::memchr(notation.decimal_separator, mantissa) {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let start = out.len();
    if negative {
        out.push('-');
    }
    let digits = out.len();
    push_whole(whole, notation, out)?;
    let whole_digits = out.len() - digits;
    push_digits(fraction, out)?;
    if out.len() == digits {
        return Err(DecimalError::Invalid);
    }
    place_point(out, digits, whole_digits as i64 + exponent + shift)?;
    if negative && out[digits..].bytes().all(|b| b == b'0' || b == b'.') {
        out.remove(start);
    }
    Ok(())
}

fn split_exponent(text: &[u8]) -> Result<(&[u8], i64), DecimalError> {
    let Some(at) = memchr::memchr2(b'e', b'E', text) else {
        return Ok((text, 0));
    };
    let exponent = std::str::from_utf8(&text[at + 1..]).map_err(|_| DecimalError::Invalid)?;
    let (negative, digits) = match exponent.as_bytes() {
        [b'-', ..] => (true, &exponent[1..]),
        [b'+', ..] => (false, &exponent[1..]),
        _ => (false, exponent),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DecimalError::Invalid);
    }
    // More digits than an i64 holds are out of any range.
    let value: i64 = digits.parse().map_err(|_| DecimalError::OutOfRange)?;
    let value = value.min(MAX_EXPONENT);
    Ok((&text[..at], if negative { -value } else { value }))
}

fn push_digits(digits: &[u8], out: &mut String) -> Result<(), DecimalError> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::Invalid);
    }
    out.push_str(std::str::from_utf8(digits).map_err(|_| DecimalError::Invalid)?);
    Ok(())
}

fn push_whole(
    whole: &[u8],
    notation: DecimalNotation,
    out: &mut String,
) -> Result<(), DecimalError> {
    let Some(group) = notation.group_separator.filter(|g| whole.contains(g)) else {
        return push_digits(whole, out);
    };
    let parts = whole.split(|b| *b == group);
    let last = parts.clone().count() - 1;
    for (i, part) in parts.enumerate() {
        let full = match notation.grouping {
            Grouping::Indian if i < last => 2,
            Grouping::Indian | Grouping::Thousands => 3,
        };
        let least = if i == 0 { 1 } else { full };
        if !(least..=full).contains(&part.len()) {
            return Err(DecimalError::Invalid);
        }
        push_digits(part, out)?;
    }
    Ok(())
}

/// Turns the digits from `digits` on into a number whose point stands after `whole` of them.
fn place_point(out: &mut String, digits: usize, whole: i64) -> Result<(), DecimalError> {
    let count = (out.len() - digits) as i64;
    let leading = out[digits..].bytes().take_while(|b| *b == b'0').count() as i64;
    let written = (whole - leading).max(0) + (count - whole).max(0);
    if written > MAX_DIGITS {
        if leading < count {
            return Err(DecimalError::OutOfRange);
        }
        out.replace_range(digits.., "0");
        return Ok(());
    }
    if whole <= 0 {
        let zeros = usize::try_from(-whole).map_err(|_| DecimalError::OutOfRange)?;
        out.insert_str(digits, &format!("0.{}", "0".repeat(zeros)));
        return Ok(());
    }
    if whole >= count {
        out.push_str(&"0".repeat((whole - count) as usize));
    } else {
        out.insert(digits + whole as usize, '.');
    }
    let leading = out[digits..].bytes().take_while(|b| *b == b'0').count();
    let superfluous = leading.min(whole as usize - 1);
    out.replace_range(digits..digits + superfluous, "");
    Ok(())
}

/// Compares two numbers in canonical form.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (a.strip_prefix('-'), b.strip_prefix('-')) {
        (None, None) => compare_unsigned(a, b),
        (Some(a), Some(b)) => compare_unsigned(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

fn compare_unsigned(a: &str, b: &str) -> Ordering {
    let (a_whole, a_fraction) = a.split_once('.').unwrap_or((a, ""));
    let (b_whole, b_fraction) = b.split_once('.').unwrap_or((b, ""));
    let fractions = || a_fraction.trim_end_matches('0').cmp(b_fraction.trim_end_matches('0'));
    (a_whole.len(), a_whole).cmp(&(b_whole.len(), b_whole)).then_with(fractions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, DecimalError> {
        let mut out = String::new();
        write_canonical(text, DecimalNotation::PLAIN, &mut out).map(|()| out)
    }

    #[test]
    fn the_point_is_shifted_exactly() {
        for (text, shift, expected) in [
            ("1999", -2, "19.99"),
            ("1990", -2, "19.90"),
            ("5", -2, "0.05"),
            ("-5", -2, "-0.05"),
            ("0", -2, "0.00"),
            ("1.5", -2, "0.015"),
            ("1.5", 3, "1500"),
            ("12345678901234567890123", -18, "12345.678901234567890123"),
            ("1e3", -2, "10"),
        ] {
            let mut out = String::new();
            write_shifted(text, DecimalNotation::PLAIN, shift, &mut out).unwrap();
            assert_eq!(out, expected, "{text} by {shift}");
        }
    }

    #[test]
    fn digits_survive_exactly() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.00", "0.00"),
            ("007", "7"),
            ("+1.50", "1.50"),
            (".5", "0.5"),
            ("5.", "5"),
            ("8.397908418131883e-07", "0.0000008397908418131883"),
            ("1.25E3", "1250"),
            ("1e-3", "0.001"),
            ("12.345e1", "123.45"),
            ("0.000e5", "0"),
            ("0001234.5600", "1234.5600"),
            (
                "123456789012345678901234567890.123456789",
                "123456789012345678901234567890.123456789",
            ),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_and_leaves_nothing() {
        for text in
            ["", "-", ".", "1,5", "1.2.3", "abc", "1e", "e5", "0x10", "NaN", "∞", "1 000", "--1"]
        {
            let mut out = String::from("kept");
            let result = write_canonical(text, DecimalNotation::PLAIN, &mut out);
            assert_eq!(result, Err(DecimalError::Invalid), "{text}");
            assert_eq!(out, "kept");
        }
    }

    #[test]
    fn a_few_bytes_never_become_many_digits() {
        let most = MAX_DIGITS as usize;
        for text in [
            "1e1000".to_owned(),
            "1e-1001".to_owned(),
            "1e131000".to_owned(),
            "-12.5e-16000".to_owned(),
            format!("1e{}", i64::MAX),
            format!("1e-{}", i64::MAX),
            "1e99999999999999999999".to_owned(),
            "9".repeat(most + 1),
            format!("1.{}", "0".repeat(most)),
        ] {
            let mut out = String::from("kept");
            let result = write_canonical(&text, DecimalNotation::PLAIN, &mut out);
            assert_eq!((result, out.as_str()), (Err(DecimalError::OutOfRange), "kept"), "{text}");
        }
        for text in ["1e999", "1.7976931348623157e308", "4.9406564584124654e-324", "1e-1000"] {
            let digits = canonical(text).unwrap().bytes().filter(u8::is_ascii_digit).count();
            assert!((300..=most + 1).contains(&digits), "{text} {digits}");
        }
        assert_eq!(canonical(&"9".repeat(most)).unwrap().len(), most);
        assert_eq!(canonical(&format!("{}7", "0".repeat(5 * most))).as_deref(), Ok("7"));
        assert_eq!(canonical(&format!("0e{}", i64::MAX)).as_deref(), Ok("0"));
        assert_eq!(canonical(&format!("0e-{}", i64::MAX)).as_deref(), Ok("0"));
    }

    #[test]
    fn a_decimal_comma_and_grouped_digits_are_read_where_declared() {
        let german = DecimalNotation {
            decimal_separator: b',',
            group_separator: Some(b'.'),
            grouping: Grouping::Thousands,
        };
        let read = |text: &str| {
            let mut out = String::new();
            write_canonical(text, german, &mut out).map(|()| out)
        };
        assert_eq!(read("1.234.567,89").as_deref(), Ok("1234567.89"));
        assert_eq!(read("12,50").as_deref(), Ok("12.50"));
        assert_eq!(read("1.23,5"), Err(DecimalError::Invalid));
        assert_eq!(read("1234.567,5"), Err(DecimalError::Invalid));
    }

    #[test]
    fn indian_groups_are_of_two_digits_and_the_last_of_three() {
        let indian = DecimalNotation {
            group_separator: Some(b','),
            grouping: Grouping::Indian,
            ..DecimalNotation::PLAIN
        };
        let read = |text: &str| {
            let mut out = String::new();
            write_canonical(text, indian, &mut out).map(|()| out)
        };
        for (text, expected) in [
            ("12,34,567.50", "1234567.50"),
            ("1,00,00,000", "10000000"),
            ("1,234", "1234"),
            ("-99,999", "-99999"),
            ("123", "123"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["1,234,567", "123,456", "12,34", "1,2,345", ",123", "1,,234"] {
            assert_eq!(read(text), Err(DecimalError::Invalid), "{text}");
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        for (a, b, expected) in [
            ("1", "2", Ordering::Less),
            ("10", "9", Ordering::Greater),
            ("1.50", "1.5", Ordering::Equal),
            ("-1", "1", Ordering::Less),
            ("-2", "-1", Ordering::Less),
            ("0.05", "0.5", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
    }
}
