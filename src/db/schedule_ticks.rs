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

/// The newest tick of a source that was acted upon.
///
/// # Errors
/// Database errors.
pub async fn latest(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("select max(tick) from schedule_ticks where source = $1", source)
        .fetch_one(executor)
        .await
}
