//! Owns `schedule_ticks`: which cron ticks were acted upon. Inserting a tick decides who acts.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::domain::run::RunId;

/// Claims a tick; `false` when another scheduler has it.
///
/// # Errors
/// Database errors.
pub async fn claim(
    connection: &mut PgConnection,
    source: &str,
    tick: DateTime<Utc>,
    outcome: &str,
    run: Option<RunId>,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into schedule_ticks (source, tick, outcome, run_id) values ($1, $2, $3, $4)
         on conflict (source, tick) do nothing",
        source,
        tick,
        outcome,
        run.map(|id| id.0),
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Completes a claimed tick with what came of it.
///
/// # Errors
/// Database errors.
pub async fn conclude(
    connection: &mut PgConnection,
    source: &str,
    tick: DateTime<Utc>,
    outcome: &str,
    run: Option<RunId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update schedule_ticks set outcome = $3, run_id = $4 where source = $1 and tick = $2",
        source,
        tick,
        outcome,
        run.map(|id| id.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The ticks of a source that were acted upon.
#[derive(Debug, Clone, Copy)]
pub struct ActedUpon {
    /// The newest of those that count.
    pub latest: Option<DateTime<Utc>>,
    /// The newest of those that do not: they lie too far ahead.
    pub too_far_ahead: Option<DateTime<Utc>>,
}

/// The newest tick of a source that was acted upon, up to `until`, and the newest behind that.
///
/// # Errors
/// Database errors.
pub async fn acted_upon(
    executor: impl PgExecutor<'_>,
    source: &str,
    until: DateTime<Utc>,
) -> Result<ActedUpon, sqlx::Error> {
    sqlx::query_as!(
        ActedUpon,
        "select max(tick) filter (where tick <= $2) as latest,
            max(tick) filter (where tick > $2) as too_far_ahead
         from schedule_ticks where source = $1",
        source,
        until,
    )
    .fetch_one(executor)
    .await
}
