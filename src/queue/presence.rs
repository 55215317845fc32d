//! Owns who works: which workers live, and which tasks of a run they hold.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::items::names;
use crate::domain::run::RunId;
use crate::domain::task::TaskKind;

/// A task that a worker has begun.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its key within the run.
    pub task: String,
    /// The worker.
    pub worker: String,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
}

/// Whether any worker, of any process, has lately said that it lives.
///
/// # Errors
/// Database errors.
pub async fn anybody_works(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    // Longer than the silence after which a worker is considered dead.
    sqlx::query_scalar!(
        r#"select exists (
            select from apalis.workers where last_seen > now() - interval '15 seconds'
         ) as "any!""#
    )
    .fetch_one(executor)
    .await
}

/// Who holds which of these tasks of a run.
///
/// # Errors
/// Database errors.
pub async fn holders(
    executor: impl PgExecutor<'_>,
    run: RunId,
    tasks: &[(String, TaskKind)],
) -> Result<Vec<Held>, sqlx::Error> {
    let (queues, keys) = names(run, tasks);
    let tasks: Vec<String> = tasks.iter().map(|(task, _)| task.clone()).collect();
    sqlx::query_as!(
        Held,
        r#"select t.task as "task!", j.lock_by as "worker!", j.lock_at as since
         from unnest($1::text[], $2::text[], $3::text[]) as t (queue, key, task)
         join apalis.jobs as j on j.job_type = t.queue and j.idempotency_key = t.key
         where j.status in ('Queued', 'Running') and j.lock_by is not null"#,
        &queues,
        &keys,
        &tasks,
    )
    .fetch_all(executor)
    .await
}

/// Makes a worker known: only such may lock items.
pub(super) async fn register(
    connection: &mut PgConnection,
    worker: &str,
    queue: TaskKind,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into apalis.workers (id, worker_type, storage_name, last_seen)
         values ($1, $2, 'kasparro', now())
         on conflict (id) do update set last_seen = now()",
        worker,
        queue.as_str(),
    )
    .execute(connection)
    .await
    .map(drop)
}
