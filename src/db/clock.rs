//! Owns the current time: what is compared with times in the database uses the database's clock,
//! since the processes' own may differ.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgExecutor, PgPool};

/// Clocks that differ by more are worth a word: what people read in logs does not fit the tables.
const NOTICEABLE: TimeDelta = TimeDelta::seconds(5);

/// The database's clock.
#[derive(Debug, Default)]
pub struct Clock {
    has_warned: AtomicBool,
}

impl Clock {
    /// The database's time. Warns, once, when this machine's is noticeably another.
    ///
    /// # Errors
    /// Database errors.
    pub async fn now(&self, pool: &PgPool) -> Result<DateTime<Utc>, sqlx::Error> {
        let before = Utc::now();
        let now = now(pool).await?;
        if let Some((seconds, way)) = difference(before, now, Utc::now())
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "this machine's clock is {seconds} s {way} the database's; kasparro goes by the \
                 database's"
            );
        }
        Ok(now)
    }
}

/// The database's time.
///
/// # Errors
/// Database errors.
pub async fn now(executor: impl PgExecutor<'_>) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(executor).await
}

/// By how much the clock of this machine, read before and after, differs noticeably.
fn difference(
    before: DateTime<Utc>,
    database: DateTime<Utc>,
    after: DateTime<Utc>,
) -> Option<(i64, &'static str)> {
    if before - database > NOTICEABLE {
        Some(((before - database).num_seconds(), "ahead of"))
    } else if database - after > NOTICEABLE {
        Some(((database - after).num_seconds(), "behind"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_when_no_moment_of_the_question_is_near_the_answer() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        assert_eq!(difference(at(100), at(100), at(100)), None);
        assert_eq!(difference(at(100), at(96), at(110)), None);
        assert_eq!(difference(at(100), at(130), at(128)), None, "a slow answer");
        assert_eq!(difference(at(100), at(90), at(101)), Some((10, "ahead of")));
        assert_eq!(difference(at(100), at(161), at(101)), Some((60, "behind")));
    }
}
