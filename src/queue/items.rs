//! Owns the items of queues: putting tasks there, ending or hurrying those that nobody has begun, and removing
//! what has ended.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use ulid::Ulid;

use super::lease::Message;
use super::notify::notify;
use crate::domain::run::RunId;
use crate::domain::task::TaskKind;

/// Attempts are counted and capped by us; apalis only must not stop earlier.
const APALIS_MAX_ATTEMPTS: i32 = 1_000_000;

/// Puts tasks into their queues, in the caller's transaction. Workers are woken when it commits.
/// They are due in their order, a microsecond apart, so that a poll can begin at one of them.
///
/// # Errors
/// Database errors.
pub async fn enqueue(
    connection: &mut PgConnection,
    run: RunId,
    tasks: &[(String, TaskKind)],
) -> Result<(), sqlx::Error> {
    let mut ids = Vec::with_capacity(tasks.len());
    let mut messages = Vec::with_capacity(tasks.len());
    let (queues, keys) = names(run, tasks);
    for (task, _) in tasks {
        let message = Message { run, task: task.clone() };
        ids.push(Ulid::generate().to_string());
        messages.push(serde_json::to_vec(&message).map_err(|e| sqlx::Error::Encode(e.into()))?);
    }
    sqlx::query!(
        "insert into apalis.jobs
            (id, job_type, job, status, attempts, max_attempts, run_at, lock_at, priority,
             idempotency_key)
         select id, queue, message, 'Pending', 0, $5,
            now() - make_interval(secs => (cardinality($1) - n) * 1e-6), now(), 0, key
         from unnest($1::text[], $2::text[], $3::bytea[], $4::text[])
            with ordinality as t (id, queue, message, key, n)
         on conflict (job_type, idempotency_key) do nothing",
        &ids,
        &queues,
        &messages,
        &keys,
        APALIS_MAX_ATTEMPTS,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes up to `most` ended items: those whose task was done before the one time, or died before
/// the other; and, after a day of silence, the names of workers that hold nothing.
///
/// # Errors
/// Database errors.
pub async fn remove_old(
    pool: &PgPool,
    done_before: DateTime<Utc>,
    failed_before: DateTime<Utc>,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from apalis.jobs where id in (
            select id from apalis.jobs
            where (status = 'Done' and done_at < $1) or (status = 'Killed' and done_at < $2)
            limit $3 for update skip locked
         )",
        done_before,
        failed_before,
        most,
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "delete from apalis.workers as w where last_seen < now() - interval '1 day'
           and not exists (select from apalis.jobs as j where j.lock_by = w.id)",
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected())
}

/// Removes the items of tasks that have ended and are to be enqueued again, in the caller's
/// transaction: an item's key is there once.
///
/// # Errors
/// Database errors.
pub async fn remove_ended(
    connection: &mut PgConnection,
    run: RunId,
    tasks: &[(String, TaskKind)],
) -> Result<(), sqlx::Error> {
    let (queues, keys) = names(run, tasks);
    sqlx::query!(
        "delete from apalis.jobs as j using unnest($1::text[], $2::text[]) as t (queue, key)
         where j.job_type = t.queue and j.idempotency_key = t.key
           and j.status in ('Done', 'Killed')",
        &queues,
        &keys,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the items of tasks that have not begun, in the caller's transaction. A worker that has
/// one of the others ends its item.
///
/// # Errors
/// Database errors.
pub async fn end_waiting(
    connection: &mut PgConnection,
    run: RunId,
    tasks: &[(String, TaskKind)],
) -> Result<(), sqlx::Error> {
    let (queues, keys) = names(run, tasks);
    // An item that is locked has just been begun; its worker may wait for a lock of ours.
    sqlx::query!(
        "update apalis.jobs set status = 'Killed', done_at = now()
         where id in (
            select j.id
            from apalis.jobs as j
            join unnest($1::text[], $2::text[]) as t (queue, key)
              on j.job_type = t.queue and j.idempotency_key = t.key
            where j.status = 'Pending'
            for update of j skip locked
         )",
        &queues,
        &keys,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the items of tasks that have not begun be delivered at once, or when the task itself is
/// due, in the caller's transaction.
///
/// # Errors
/// Database errors.
pub async fn reschedule(
    connection: &mut PgConnection,
    run: RunId,
    tasks: &[(String, TaskKind, Option<DateTime<Utc>>)],
) -> Result<(), sqlx::Error> {
    let named: Vec<_> = tasks.iter().map(|(task, kind, _)| (task.clone(), *kind)).collect();
    let (queues, keys) = names(run, &named);
    // Locked ones are skipped as in `end_waiting`.
    let due: Vec<_> = tasks.iter().map(|(_, _, due)| *due).collect();
    let rescheduled = sqlx::query!(
        r#"with waiting as (
            select j.id, greatest(now(), t.due) as due
            from apalis.jobs as j
            join unnest($1::text[], $2::text[], $3::timestamptz[]) as t (queue, key, due)
              on j.job_type = t.queue and j.idempotency_key = t.key
            where j.status = 'Pending' and j.run_at > greatest(now(), t.due)
            for update of j skip locked
         )
         -- A time to come may have been written by a clock that was ahead: that shows by `lock_at`, see
         -- `upkeep::pull_back`.
         update apalis.jobs as j set
            run_at = waiting.due,
            lock_at = case when waiting.due > now() then j.lock_at else now() end
         from waiting where j.id = waiting.id
         returning j.job_type, j.run_at <= now() as "is_due!""#,
        &queues,
        &keys,
        &due as &[Option<DateTime<Utc>>],
    )
    .fetch_all(&mut *connection)
    .await?;
    let due = rescheduled.into_iter().filter(|item| item.is_due).map(|item| item.job_type);
    notify(connection, &due.collect::<Vec<_>>()).await
}

/// The queues of tasks, and the keys of their items there.
pub(super) fn names(run: RunId, tasks: &[(String, TaskKind)]) -> (Vec<String>, Vec<String>) {
    tasks.iter().map(|(task, kind)| (kind.as_str().to_owned(), format!("{run}:{task}"))).unzip()
}
