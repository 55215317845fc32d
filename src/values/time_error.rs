//! Owns why a text is no date or time.

/// Why a text is no date or time, as the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not in the expected format.
    #[error("is not in the expected format")]
    Format,
    /// In the format, but no such day or time exists.
    #[error("is not a date and time of the calendar")]
    NotInCalendar,
    /// Beyond what PostgreSQL can hold.
    #[error("is beyond the years that PostgreSQL can hold")]
    OutOfRange,
    /// The clock was put back over it.
    #[error("came twice in its time zone, when the clock was put back")]
    Ambiguous,
    /// The clock was put forward over it.
    #[error("never came in its time zone, where the clock was put forward over it")]
    Skipped,
}
