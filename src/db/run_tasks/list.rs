//! Owns showing the ledger to people.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

use crate::domain::run::RunId;

/// A task of the ledger, for people.
#[derive(Debug, Clone)]
pub struct LedgerTask {
    /// Its key within the run.
    pub task_key: String,
    /// Its kind.
    pub kind: String,
    /// What became of it.
    pub state: String,
    /// Attempts so far.
    pub attempt: i32,
    /// The worker that completed it, or tried last.
    pub worker: Option<String>,
    /// When it was planned.
    pub created_at: DateTime<Utc>,
    /// When its last attempt began that has ended.
    pub begun_at: Option<DateTime<Utc>>,
    /// When it is tried again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it completed.
    pub done_at: Option<DateTime<Utc>>,
    /// The last failure.
    pub error: Option<String>,
    /// The word of its kind.
    pub error_kind: Option<String>,
    /// What it was told.
    pub payload: Value,
    /// API pages or chunks read.
    pub slices: i64,
    /// Bytes read.
    pub bytes: i64,
    /// Rows read.
    pub rows_read: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows unchanged.
    pub unchanged: i64,
    /// Rows quarantined.
    pub quarantined: i64,
    /// The run's sequence number at which the task changed last.
    pub last_sequence: Option<i64>,
}

/// The tasks of a run in the order in which they were planned, behind the one with key `after`.
///
/// # Errors
/// Database errors.
pub async fn list(
    executor: impl PgExecutor<'_>,
    run: RunId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<LedgerTask>, sqlx::Error> {
    sqlx::query_as!(
        LedgerTask,
        "select task_key, kind, state, attempt, worker, created_at, begun_at, next_attempt_at, done_at,
                shown_error(error) as error, error_kind, payload, slices, bytes, rows_read, inserted, updated,
                unchanged, quarantined, last_sequence
         from run_tasks
         where run_id = $1
           and ($2::text is null or (created_at, coalesce(first_slice, -1), task_key) > (
                select created_at, coalesce(first_slice, -1), task_key
                from run_tasks where run_id = $1 and task_key = $2))
         order by created_at, coalesce(first_slice, -1), task_key
         limit $3",
        run.0,
        after,
        limit,
    )
    .fetch_all(executor)
    .await
}

/// The tasks of a run that have failed or are open, the failed ones first.
///
/// # Errors
/// Database errors.
pub async fn unfinished(
    executor: impl PgExecutor<'_>,
    run: RunId,
    limit: i64,
) -> Result<Vec<LedgerTask>, sqlx::Error> {
    sqlx::query_as!(
        LedgerTask,
        "select task_key, kind, state, attempt, worker, created_at, begun_at, next_attempt_at, done_at,
                shown_error(error) as error, error_kind, payload, slices, bytes, rows_read, inserted, updated,
                unchanged, quarantined, last_sequence
         from run_tasks
         where run_id = $1 and state in ('open', 'failed')
         order by state, created_at, coalesce(first_slice, -1), task_key
         limit $2",
        run.0,
        limit,
    )
    .fetch_all(executor)
    .await
}

/// The tasks that changed last after the first of two sequence numbers and not after the second, in the
/// order of these numbers.
///
/// # Errors
/// Database errors.
pub async fn changed_between(
    executor: impl PgExecutor<'_>,
    run: RunId,
    (after, to): (i64, i64),
    limit: i64,
) -> Result<Vec<LedgerTask>, sqlx::Error> {
    sqlx::query_as!(
        LedgerTask,
        "select task_key, kind, state, attempt, worker, created_at, begun_at, next_attempt_at, done_at,
                shown_error(error) as error, error_kind, payload, slices, bytes, rows_read, inserted, updated,
                unchanged, quarantined, last_sequence
         from run_tasks
         where run_id = $1 and last_sequence > $2 and last_sequence <= $3
         order by last_sequence
         limit $4",
        run.0,
        after,
        to,
        limit,
    )
    .fetch_all(executor)
    .await
}
