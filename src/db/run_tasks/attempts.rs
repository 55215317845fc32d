//! Owns `task_attempts`: attempts that failed, each with its reason.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::domain::run::RunId;

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct TaskAttempt<'a> {
    /// Which attempt.
    pub attempt: i32,
    /// The worker that tried.
    pub worker: &'a str,
    /// How long it took.
    pub took: Duration,
    /// The word of its kind.
    pub error_kind: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

/// Keeps an attempt that failed.
///
/// # Errors
/// Database errors.
pub async fn note_failed(
    connection: &mut PgConnection,
    run: RunId,
    key: &str,
    failed: &TaskAttempt<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into task_attempts (run_id, task_key, attempt, worker, begun_at, ended_at, error_kind, error)
         values ($1, $2, $3, $4, clock_timestamp() - make_interval(secs => $5), clock_timestamp(), $6, $7)",
        run.0,
        key,
        failed.attempt,
        failed.worker,
        failed.took.as_secs_f64(),
        failed.error_kind,
        failed.error,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps the attempts in front of this one that nobody has noted: their workers were lost. To be asked before the
/// task says which attempt it is at.
///
/// # Errors
/// Database errors.
pub async fn note_lost(
    connection: &mut PgConnection,
    run: RunId,
    key: &str,
    attempt: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into task_attempts (run_id, task_key, attempt, error_kind, error)
         select run_id, task_key, lost, 'worker_lost', 'its worker was lost'
         from run_tasks as t, generate_series(t.attempt + 1, $3::integer - 1) as lost
         where run_id = $1 and task_key = $2 and state = 'open'",
        run.0,
        key,
        attempt,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An attempt that failed, as it is kept.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// Its task.
    pub task_key: String,
    /// Which attempt.
    pub attempt: i32,
    /// The worker that tried; `None` when it was lost.
    pub worker: Option<String>,
    /// When it began; `None` when its worker was lost.
    pub begun_at: Option<DateTime<Utc>>,
    /// When it ended; of one whose worker was lost, when that was noted.
    pub ended_at: DateTime<Utc>,
    /// The word of its kind.
    pub error_kind: String,
    /// What went wrong.
    pub error: String,
}

/// The attempts of a run that failed, oldest first.
///
/// # Errors
/// Database errors.
pub async fn failed_attempts(
    executor: impl PgExecutor<'_>,
    run: RunId,
    limit: i64,
) -> Result<Vec<FailedAttempt>, sqlx::Error> {
    sqlx::query_as!(
        FailedAttempt,
        r#"select task_key, attempt, worker, begun_at, ended_at, error_kind, shown_error(error) as "error!"
         from task_attempts where run_id = $1 order by id limit $2"#,
        run.0,
        limit,
    )
    .fetch_all(executor)
    .await
}
