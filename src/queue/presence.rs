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

/// A worker that has lately said that it lives.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name: process, kind of task, and what tells it from others.
    pub name: String,
    /// The queue that it takes tasks from.
    pub queue: String,
    /// When it said so last.
    pub last_seen: DateTime<Utc>,
    /// Tasks that it has begun and not ended.
    pub busy: i64,
}

/// The workers that live, of all processes.
///
/// # Errors
/// Database errors.
pub async fn workers(
    executor: impl PgExecutor<'_>,
    limit: i64,
) -> Result<Vec<Worker>, sqlx::Error> {
    sqlx::query_as!(
        Worker,
        r#"select w.id as name, w.worker_type as queue, w.last_seen, (
                select count(*) from apalis.jobs as j
                where j.lock_by = w.id and j.status in ('Queued', 'Running')
            ) as "busy!"
         from apalis.workers as w where w.last_seen > now() - interval '15 seconds'
         order by w.worker_type, w.id limit $1"#,
        limit,
    )
    .fetch_all(executor)
    .await
}

/// What waits in a queue.
#[derive(Debug, Clone)]
pub struct Depth {
    /// The queue.
    pub queue: String,
    /// Items that could be begun now.
    pub due: i64,
    /// Items put off to a time to come.
    pub delayed: i64,
    /// Items under way.
    pub running: i64,
    /// Since when the oldest one that is due could have been begun.
    pub oldest_due: Option<DateTime<Utc>>,
}

/// What waits in each queue that has anything.
///
/// # Errors
/// Database errors.
pub async fn depths(executor: impl PgExecutor<'_>) -> Result<Vec<Depth>, sqlx::Error> {
    sqlx::query_as!(
        Depth,
        r#"select job_type as queue,
                count(*) filter (where lock_by is null and run_at <= now()) as "due!",
                count(*) filter (where lock_by is null and run_at > now()) as "delayed!",
                count(*) filter (where lock_by is not null) as "running!",
                min(run_at) filter (where lock_by is null and run_at <= now()) as oldest_due
         from apalis.jobs
         where status in ('Pending', 'Queued', 'Running') or (status = 'Failed' and attempts < max_attempts)
         group by job_type order by job_type"#
    )
    .fetch_all(executor)
    .await
}
