//! Owns why a text is no date or time.

use super::epoch_unit::Unit;

/// Why a text is no date or time, as the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not in the expected format.
    #[error("is not in the expected format")]
    Format,
    /// In the format, but no such day or time exists.
    #[error("is not a date and time of the calendar")]
    NotInCalendar,
    /// Beyond the years that are read: most likely not meant so.
    #[error(
        "is in the year {0}, and the years 1 to 9999 are read (others in ISO 8601, with a sign: +12025-01-02)"
    )]
    Year(i64),
    /// Two digits where four are meant.
    #[error(
        "has a year of fewer than four digits, which is no %Y; if it is meant so, %y in date_format reads two digits"
    )]
    ShortYear,
    /// Beyond what PostgreSQL can hold.
    #[error("is beyond the years that PostgreSQL can hold")]
    OutOfRange,
    /// A count since 1970 of another unit.
    #[error("looks like {} since 1970, which date_format = \"{}\" reads", .0.as_str(), .0.format())]
    LooksLike(Unit),
    /// The clock was put back over it.
    #[error("came twice in its time zone, when the clock was put back")]
    Ambiguous,
    /// The clock was put forward over it.
    #[error("never came in its time zone, where the clock was put forward over it")]
    Skipped,
}
