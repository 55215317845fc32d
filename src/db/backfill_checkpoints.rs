//! Owns `backfill_checkpoints`: how far the last backfill of each source has come.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::run::{ReadRange, RunId};

/// How far a backfill of this range has come, if the last one of the source was of it: its state, and its run.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    source: &str,
    range: &ReadRange,
) -> Result<Option<(Value, RunId)>, sqlx::Error> {
    let row = sqlx::query!(
        "select state, run_id from backfill_checkpoints
         where source = $1 and read_from = $2 and read_to is not distinct from $3",
        source,
        range.from,
        range.to,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| (row.state, RunId(row.run_id))))
}

/// Notes how far a backfill has come.
///
/// # Errors
/// Database errors.
pub async fn put(
    connection: &mut PgConnection,
    source: &str,
    range: &ReadRange,
    state: &Value,
    run: RunId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into backfill_checkpoints (source, read_from, read_to, state, run_id)
         values ($1, $2, $3, $4, $5)
         on conflict (source) do update set
            read_from = excluded.read_from,
            read_to = excluded.read_to,
            state = excluded.state,
            run_id = excluded.run_id,
            updated_at = now()",
        source,
        range.from,
        range.to,
        state,
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}
