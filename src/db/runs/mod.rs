//! Owns `etl_runs`: beginning a run, holding it, its end.

mod lock;
pub mod progress;
mod read;

use sqlx::{PgConnection, PgExecutor};

use crate::domain::hash::ContentHash;
use crate::domain::run::{Mode, ReadRange, RunId, RunRange, RunStatus, Trigger};
pub use lock::{Locked, lock};
use progress::RunProgress;
pub use read::{
    Run, RunFilter, get, last_reading, last_with_rows, latest_per_source, list, stalled, under_way,
};

/// A run to begin.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// How much to read.
    pub mode: Mode,
    /// Who asked.
    pub trigger: Trigger,
    /// Where API pages come from: `network`, `record` or `offline`.
    pub access: &'a str,
    /// Equal keys of one source are one run.
    pub idempotency_key: Option<&'a str>,
    /// The definition's hash.
    pub config_hash: ContentHash,
    /// What a replay normalizes again; `None` for other modes.
    pub replay: Option<RunRange>,
    /// Whether it only shows what it would do.
    pub dry_run: bool,
    /// What a backfill reads; `None` for other runs.
    pub range: Option<ReadRange>,
}

/// Inserts a run, with its planning task as the one that is open, unless the source has an active one
/// or the idempotency key is used.
///
/// `None`: one of the two is in the way; ask [`by_idempotency_key`] and [`active`] which.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    run: &NewRun<'_>,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "insert into etl_runs (source, mode, trigger, access, idempotency_key, config_hash,
                               replay_from, replay_to, dry_run, read_from, read_to,
                               schema_version, open_tasks)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                 (select max(version) from schema_snapshots where source = $1), 1)
         on conflict do nothing
         returning id",
        run.source,
        run.mode.as_str(),
        run.trigger.as_str(),
        run.access,
        run.idempotency_key,
        run.config_hash.as_bytes(),
        run.replay.map(|range| range.from.0),
        run.replay.map(|range| range.to.0),
        run.dry_run,
        run.range.as_ref().map(|range| range.from.as_str()),
        run.range.as_ref().and_then(|range| range.to.as_deref()),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(id) = id.map(RunId) else { return Ok(None) };
    progress::append(connection, id, &RunProgress::begun()).await?;
    Ok(Some(id))
}

/// The run that used an idempotency key.
///
/// # Errors
/// Database errors.
pub async fn by_idempotency_key(
    executor: impl PgExecutor<'_>,
    source: &str,
    key: &str,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select id from etl_runs where source = $1 and idempotency_key = $2",
        source,
        key,
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.map(RunId))
}

/// The active run of a source.
///
/// # Errors
/// Database errors.
pub async fn active(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select id from etl_runs where source = $1 and status in ('queued', 'running')",
        source,
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.map(RunId))
}

/// What a run reads, if it is a backfill.
///
/// # Errors
/// Database errors.
pub async fn range(
    executor: impl PgExecutor<'_>,
    id: RunId,
) -> Result<Option<ReadRange>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select read_from as "from!", read_to as "to" from etl_runs where id = $1 and read_from is not null"#,
        id.0,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| ReadRange { from: row.from, to: row.to }))
}

/// Marks that a run's first task has begun. Its own small transaction: people see it at once.
///
/// # Errors
/// Database errors.
pub async fn mark_started(executor: impl PgExecutor<'_>, id: RunId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set status = 'running', started_at = now(), last_progress_at = now()
         where id = $1 and status = 'queued'",
        id.0,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Notes what a task of a run died of; the first counts.
///
/// # Errors
/// Database errors.
pub async fn note_error(
    executor: impl PgExecutor<'_>,
    id: RunId,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update etl_runs set error = $2 where id = $1 and error is null", id.0, error)
        .execute(executor)
        .await?;
    Ok(())
}

/// Whether tasks of a run may still commit anything.
///
/// # Errors
/// Database errors.
pub async fn is_active(executor: impl PgExecutor<'_>, id: RunId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select 1 from etl_runs where id = $1 and status in ('queued', 'running')
         ) as "active!""#,
        id.0,
    )
    .fetch_one(executor)
    .await
}

/// The newest run of the source that has changed records and was not finished: of a key that occurs
/// twice it may have applied the first row and not the last.
///
/// # Errors
/// Database errors.
pub async fn last_broken_off(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<RunId>, sqlx::Error> {
    let run = sqlx::query_scalar!(
        "select max(id) from etl_runs
         where source = $1 and status in ('failed', 'cancelled') and inserted + updated > 0
           and not dry_run",
        source,
    )
    .fetch_one(executor)
    .await?;
    Ok(run.map(RunId))
}

/// Adds to the note of a run that has ended.
///
/// # Errors
/// Database errors.
pub async fn add_to_note(
    connection: &mut PgConnection,
    id: RunId,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set stop_reason = concat_ws('; ', stop_reason, $2::text) where id = $1",
        id.0,
        note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a run.
///
/// # Errors
/// Database errors.
pub async fn finish(
    connection: &mut PgConnection,
    id: RunId,
    status: RunStatus,
    stop_reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update etl_runs set status = $2, stop_reason = $3, finished_at = clock_timestamp()
         where id = $1",
        id.0,
        status.as_str(),
        stop_reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}
