//! Owns how times look to people: in UTC, which their headers say.

use chrono::{DateTime, TimeDelta, Utc};

/// A time to the minute.
pub(super) fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

/// A time to the second.
pub(super) fn second(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long something took, to two or three digits.
pub(super) fn span(time: TimeDelta) -> String {
    let seconds = time.as_seconds_f64().max(0.0);
    let whole = seconds.round() as i64;
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_digits_that_matter() {
        let shown = |milliseconds| span(TimeDelta::milliseconds(milliseconds));
        assert_eq!(shown(90), "0.09 s");
        assert_eq!(shown(12_340), "12.3 s");
        assert_eq!(shown(125_000), "2 min 05 s");
        assert_eq!(shown(3_720_000), "1 h 02 min");
        assert_eq!(shown(-5), "0.00 s");
    }
}
