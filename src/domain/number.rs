//! Owns how a number that somebody types is read, the message when it is none, and how a number is shown.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

/// A number as people read it: `1234567` is `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A whole number within bounds.
///
/// # Errors
/// What was expected, with an example.
pub fn whole<T>(text: &str, bounds: impl RangeBounds<T>, example: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = text.trim().parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| {
        let from = match bounds.start_bound() {
            Bound::Included(least) => format!(" from {least}"),
            Bound::Excluded(below) => format!(" above {below}"),
            Bound::Unbounded => String::new(),
        };
        let to = match bounds.end_bound() {
            Bound::Included(most) => format!(" to {most}"),
            Bound::Excluded(above) => format!(" below {above}"),
            Bound::Unbounded if from.is_empty() => String::new(),
            Bound::Unbounded => " on".to_owned(),
        };
        format!("expected a whole number{from}{to}, such as {example}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_told_what_was_expected() {
        assert_eq!(whole(" 7", 1.., 8_usize), Ok(7));
        let on = Err("expected a whole number from 1 on, such as 8".to_owned());
        for bad in ["", "x", "-1", "0", "1.5", "99999999999999999999999"] {
            assert_eq!(whole(bad, 1.., 8_usize), on, "{bad:?}");
        }
        let to = Err("expected a whole number from 0 to 65535, such as 8".to_owned());
        assert_eq!(whole("65536", 0..=u16::MAX, 8), to);
    }
}
