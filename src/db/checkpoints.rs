//! Owns `ingestion_checkpoints`: the position each source has reached.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::run::RunId;

/// The most records whose ids make the marker; beyond that the marker is their number.
const MARKER_IDS: i64 = 16;

/// The machine's part of a checkpoint and the number of records of the source.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Records of the source.
    pub records: i64,
    /// What the next run begins with: each kind of source has its own words.
    pub state: Value,
    /// The run that it is of.
    pub run: RunId,
}

/// The checkpoint of a source, if a run of it ever succeeded.
///
/// # Errors
/// Database errors.
pub async fn get(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let row = sqlx::query!(
        "select records, state, run_id from ingestion_checkpoints where source = $1",
        source,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| Checkpoint { records: row.records, state: row.state, run: RunId(row.run_id) }))
}

/// How far a source was read, for people.
///
/// # Errors
/// Database errors.
pub async fn marker(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<String>, sqlx::Error> {
    let marker = sqlx::query_scalar!(
        "select last_processed_marker from ingestion_checkpoints where source = $1",
        source,
    )
    .fetch_optional(executor)
    .await?;
    Ok(marker)
}

/// Moves a source's checkpoint. `records` is the number of records the source has now; up to 16 of
/// them the marker lists their ids, shorter ids first, then by text: `1,2,4`.
///
/// # Errors
/// Database errors.
pub async fn advance(
    connection: &mut PgConnection,
    source: &str,
    records: i64,
    state: &Value,
    run: RunId,
) -> Result<(), sqlx::Error> {
    let marker = if records <= MARKER_IDS {
        sqlx::query_scalar!(
            r#"select coalesce(string_agg(external_id, ',' order by length(external_id), external_id), '') as "marker!"
             from (select external_id from unified_records where source = $1 limit $2) as ids"#,
            source,
            MARKER_IDS,
        )
        .fetch_one(&mut *connection)
        .await?
    } else {
        records.to_string()
    };
    sqlx::query!(
        "insert into ingestion_checkpoints (source, last_processed_marker, records, state, run_id)
         values ($1, $2, $3, $4, $5)
         on conflict (source) do update set
            last_processed_marker = excluded.last_processed_marker,
            records = excluded.records,
            state = excluded.state,
            run_id = excluded.run_id,
            updated_at = now()",
        source,
        marker,
        records,
        state,
        run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}
