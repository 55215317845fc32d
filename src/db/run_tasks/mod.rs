//! Owns `run_tasks`, the ledger: which tasks a run has, what became of each, what it did.

mod attempts;
mod lanes;
mod list;
mod slices;

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::db::stored_hash;
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::counters::Counters;
use crate::domain::hash::StoredHash;
use crate::domain::run::{Mode, RunId, RunStatus};
use crate::domain::slice::SliceId;
use crate::domain::string_enum::string_enum;
use crate::domain::task::{TaskKind, TaskPayload, TaskRole};
pub use attempts::{FailedAttempt, TaskAttempt, failed_attempts, note_failed, note_lost};
pub use lanes::{LaneMark, broken_lanes, is_any_lane_of_several, lane_marks};
pub use list::{LedgerTask, changed_between, list, unfinished};
pub use slices::{
    ReadSlice, any_unread, equal_rows, equal_rows_are_seen, file_notes, files_of_slices, gaps,
    is_any_missing, kept_out, missing_before, missing_in_slices, next_batch, read_slices,
    repeated_keys, repeats_are_seen, result, results_of_slices, set_aside, sizes_of_slices,
    watermarks,
};

string_enum! {
    /// What became of a task.
    TaskState ("task state") {
        /// Not completed.
        Open = "open",
        /// Its effects are committed.
        Done = "done",
        /// Given up; its error says why.
        Failed = "failed",
        /// Its run was cancelled before it started.
        Cancelled = "cancelled",
    }
}

/// What a worker needs to know before it starts a task.
#[derive(Debug)]
pub struct OpenTask {
    /// Its kind.
    pub kind: TaskKind,
    /// What it does for its run.
    pub role: TaskRole,
    /// The slice that it reads, or the first that it normalizes.
    pub slice: Option<i64>,
    /// The task's input, as stored: a later version may store what this one cannot read.
    pub payload: Value,
    /// Whether it has completed already: then there is nothing to do.
    pub state: TaskState,
    /// The last attempt that was recorded; a worker that was killed records none.
    pub attempt: i32,
    /// Attempts that were spent on slices in front of the one that it reads.
    pub attempts_before: i32,
    /// Whether it waits because its source is paused.
    pub paused: bool,
    /// Where its run stands.
    pub run_status: RunStatus,
    /// Name of the source.
    pub source: String,
    /// The run's definition.
    pub config_hash: StoredHash,
    /// Where API pages come from.
    pub access: String,
    /// How much the run reads.
    pub mode: Mode,
    /// Whether the run only shows what it would do.
    pub dry_run: bool,
    /// Whether the source had no record when the run was planned.
    pub from_empty: bool,
    /// In which order the run's slices must be applied.
    pub slice_order: SliceOrder,
}

/// Adds tasks to the ledger; returns the keys of those that were not in it. Only these are to be
/// enqueued: that is what makes a follow-up that is asked for twice happen once.
///
/// # Errors
/// Database errors.
pub async fn insert(
    connection: &mut PgConnection,
    run: RunId,
    tasks: &[TaskPayload],
) -> Result<Vec<(String, TaskKind)>, sqlx::Error> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = Vec::with_capacity(tasks.len());
    let mut kinds = Vec::with_capacity(tasks.len());
    let mut roles = Vec::with_capacity(tasks.len());
    let mut firsts = Vec::with_capacity(tasks.len());
    let mut lasts = Vec::with_capacity(tasks.len());
    let mut payloads = Vec::with_capacity(tasks.len());
    for task in tasks {
        keys.push(task.key());
        kinds.push(task.kind().as_str().to_owned());
        roles.push(task.kind().role().as_str().to_owned());
        firsts.push(task.slice());
        lasts.push(task.last_slice());
        payloads.push(serde_json::to_value(task).map_err(|e| sqlx::Error::Encode(e.into()))?);
    }
    let rows = sqlx::query!(
        "insert into run_tasks (run_id, task_key, kind, role, first_slice, last_slice, payload)
         select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                                  $7::jsonb[])
         on conflict (run_id, task_key) do nothing
         returning task_key, kind",
        run.0,
        &keys,
        &kinds,
        &roles,
        &firsts as &[Option<i64>],
        &lasts as &[Option<i64>],
        &payloads,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.task_key, parse(&row.kind)?))).collect()
}

/// What there is to know of a task before it starts; `None` when the ledger does not have it.
///
/// # Errors
/// Database errors.
pub async fn open(
    executor: impl PgExecutor<'_>,
    run: RunId,
    key: &str,
) -> Result<Option<OpenTask>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select t.kind, t.role, t.first_slice, t.payload, t.state, t.attempt,
                t.attempts_before, r.status, r.source, r.config_hash,
                r.access, r.mode, r.dry_run, r.from_empty, r.key_order,
                exists (
                    select 1 from source_pauses as p
                    where p.source = r.source and p.resumed_at is null
                ) as "paused!"
         from run_tasks t join etl_runs r on r.id = t.run_id
         where t.run_id = $1 and t.task_key = $2"#,
        run.0,
        key,
    )
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(OpenTask {
        kind: parse(&row.kind)?,
        role: parse(&row.role)?,
        slice: row.first_slice,
        payload: row.payload,
        state: parse(&row.state)?,
        attempt: row.attempt,
        attempts_before: row.attempts_before,
        paused: row.paused,
        run_status: parse(&row.status)?,
        source: row.source,
        config_hash: stored_hash(&row.config_hash)?,
        access: row.access,
        mode: parse(&row.mode)?,
        dry_run: row.dry_run,
        from_empty: row.from_empty,
        slice_order: parse(&row.key_order)?,
    }))
}

/// How a task ended.
#[derive(Debug, Clone)]
pub struct TaskEnd<'a> {
    /// Done, failed or cancelled.
    pub state: TaskState,
    /// Attempts it took.
    pub attempt: i32,
    /// How long the last of them took.
    pub took: Duration,
    /// The worker that completed it.
    pub worker: &'a str,
    /// What went wrong, when it died, …
    pub error: Option<&'a str>,
    /// … and the word of its kind.
    pub error_kind: Option<&'a str>,
    /// What later tasks of the run need to know.
    pub result: Option<Value>,
    /// What it did.
    pub counters: Counters,
    /// The run's sequence number of this change.
    pub sequence: i64,
    /// The slice that it read, or the first that it normalized.
    pub slice: Option<i64>,
}

/// Completes a task. Returns whether it was open and stood at that slice: a task is completed once, and what
/// another delivery of it has read meanwhile is not counted as this one's.
///
/// # Errors
/// Database errors.
pub async fn complete(
    connection: &mut PgConnection,
    run: RunId,
    key: &str,
    end: TaskEnd<'_>,
) -> Result<bool, sqlx::Error> {
    let counters = end.counters;
    let completed = sqlx::query!(
        "update run_tasks set
            state = $3, attempt = $4, worker = $5, error = $6, result = $7, done_at = now(),
            next_attempt_at = null, slices = $8, bytes = $9, rows_read = $10, inserted = $11,
            updated = $12, unchanged = $13, quarantined = $14, last_sequence = $15, error_kind = $17,
            begun_at = clock_timestamp() - make_interval(secs => $18)
         where run_id = $1 and task_key = $2 and state = 'open'
           and first_slice is not distinct from $16",
        run.0,
        key,
        end.state.as_str(),
        end.attempt,
        end.worker,
        end.error,
        end.result,
        counters.slices,
        counters.bytes,
        counters.rows_read,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.quarantined,
        end.sequence,
        end.slice,
        end.error_kind,
        end.took.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(completed.rows_affected() == 1)
}

/// What an open task is told; `None` when it is not open.
///
/// # Errors
/// Database errors.
pub async fn payload(
    connection: &mut PgConnection,
    run: RunId,
    key: &str,
) -> Result<Option<TaskPayload>, sqlx::Error> {
    let payload = sqlx::query_scalar!(
        "select payload from run_tasks where run_id = $1 and task_key = $2 and state = 'open'",
        run.0,
        key,
    )
    .fetch_optional(connection)
    .await?;
    let parse = |payload| serde_json::from_value(payload);
    payload.map(parse).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The key of a slice that a task has read in front of the slice `next`.
pub fn key_of_part(task_key: &str, next: SliceId) -> String {
    format!("{task_key}..{}", next.to_ledger())
}

/// A slice that was read, as a task that is done.
#[derive(Debug)]
pub struct ReadTask<'a> {
    /// Its key.
    pub key: String,
    /// What it was told.
    pub task: &'a TaskPayload,
    /// What later tasks of the run need to know.
    pub result: Option<Value>,
    /// What it did.
    pub counters: Counters,
    /// The run's sequence number of this change.
    pub sequence: i64,
}

/// The attempt that read slices.
#[derive(Debug, Clone, Copy)]
pub struct ReadBy<'a> {
    /// Which attempt.
    pub attempt: i32,
    /// The worker.
    pub worker: &'a str,
    /// How long it took.
    pub took: Duration,
}

/// Adds slices that were read to the ledger, as tasks that are done.
///
/// # Errors
/// Database errors; a violated key when one is there already.
pub async fn insert_read(
    connection: &mut PgConnection,
    run: RunId,
    by: ReadBy<'_>,
    read: &[ReadTask<'_>],
) -> Result<(), sqlx::Error> {
    if read.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = read.iter().map(|read| read.key.as_str()).collect();
    let kinds: Vec<_> = read.iter().map(|read| read.task.kind().as_str()).collect();
    let roles: Vec<_> = read.iter().map(|read| read.task.kind().role().as_str()).collect();
    let slices: Vec<_> = read.iter().map(|read| read.task.slice()).collect();
    let payloads = read.iter().map(|read| serde_json::to_value(read.task));
    let payloads: Vec<_> =
        payloads.collect::<Result<_, _>>().map_err(|e| sqlx::Error::Encode(e.into()))?;
    let results: Vec<_> = read.iter().map(|read| read.result.clone()).collect();
    let counted: Vec<_> = read.iter().map(|read| read.counters.slices).collect();
    let bytes: Vec<_> = read.iter().map(|read| read.counters.bytes).collect();
    let rows: Vec<_> = read.iter().map(|read| read.counters.rows_read).collect();
    let sequences: Vec<_> = read.iter().map(|read| read.sequence).collect();
    sqlx::query!(
        "insert into run_tasks (run_id, state, attempt, worker, done_at, begun_at, task_key, kind, role,
                                first_slice, last_slice, payload, result, slices, bytes, rows_read, last_sequence)
         select $1, 'done', $2, $3, now(), clock_timestamp() - make_interval(secs => $14), key, kind, role, slice, slice, payload, result, slices, bytes,
            rows_read, last_sequence
         from unnest($4::text[], $5::text[], $6::text[], $7::bigint[], $8::jsonb[], $9::jsonb[],
                     $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
            as read (key, kind, role, slice, payload, result, slices, bytes, rows_read, last_sequence)",
        run.0,
        by.attempt,
        by.worker,
        &keys as &[&str],
        &kinds as &[&str],
        &roles as &[&str],
        &slices as &[Option<i64>],
        &payloads,
        &results as &[Option<Value>],
        &counted,
        &bytes,
        &rows,
        &sequences,
        by.took.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells an open task to go on with another slice, for which it has all its attempts again: `spent` were
/// spent on the one before, besides the first. Returns whether it is open.
///
/// # Errors
/// Database errors.
pub async fn go_on(
    connection: &mut PgConnection,
    run: RunId,
    key: &str,
    task: &TaskPayload,
    spent: i32,
) -> Result<bool, sqlx::Error> {
    let payload = serde_json::to_value(task).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let told = sqlx::query!(
        "update run_tasks set payload = $3, first_slice = $4, last_slice = $4, attempt = 0,
                attempts_before = attempts_before + $5, times_told_to_wait = 0, told_to_wait_seconds = 0
         where run_id = $1 and task_key = $2 and state = 'open'",
        run.0,
        key,
        payload,
        task.slice(),
        spent,
    )
    .execute(connection)
    .await?;
    Ok(told.rows_affected() == 1)
}

/// An attempt that ended before its task did.
#[derive(Debug, Clone)]
pub struct EndedAttempt<'a> {
    /// Which attempt.
    pub attempt: i32,
    /// How long it took; `None` when its worker was lost.
    pub took: Option<Duration>,
    /// The worker that tried.
    pub worker: &'a str,
    /// What went wrong, or what it waits for, …
    pub error: &'a str,
    /// … and the word of its kind.
    pub error_kind: &'a str,
    /// It is tried again after this time.
    pub delay: Duration,
    /// Whether an API asked for that.
    pub told_to_wait: bool,
    /// Whether the attempt has failed, or only found that it is not the time yet.
    pub failed: bool,
}

/// Notes a failed attempt, or that it is not the time yet. The run's sequence number of that counts only if
/// the task is open: returns whether it is.
///
/// # Errors
/// Database errors.
pub async fn note_attempt(
    connection: &mut PgConnection,
    run: RunId,
    key: &str,
    ended: &EndedAttempt<'_>,
    sequence: i64,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "update run_tasks set
            attempt = $3, worker = $4, error = $5,
            next_attempt_at = now() + make_interval(secs => $6), last_sequence = $7,
            times_told_to_wait = times_told_to_wait + case when $8 then 1 else 0 end,
            told_to_wait_seconds = told_to_wait_seconds + case when $8 then $6 else 0 end,
            error_kind = $9,
            begun_at = coalesce(clock_timestamp() - make_interval(secs => $10), begun_at)
         where run_id = $1 and task_key = $2 and state = 'open'",
        run.0,
        key,
        ended.attempt,
        ended.worker,
        ended.error,
        ended.delay.as_secs_f64(),
        sequence,
        ended.told_to_wait,
        ended.error_kind,
        ended.took.map(|took| took.as_secs_f64()),
    )
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// How often an API told a task to come later, and how long it was to wait in all; `None` when it is not open.
///
/// # Errors
/// Database errors.
pub async fn told_to_wait(
    executor: impl PgExecutor<'_>,
    run: RunId,
    key: &str,
) -> Result<Option<(i32, Duration)>, sqlx::Error> {
    let row = sqlx::query!(
        "select times_told_to_wait, told_to_wait_seconds
         from run_tasks where run_id = $1 and task_key = $2 and state = 'open'",
        run.0,
        key,
    )
    .fetch_optional(executor)
    .await?;
    let told = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(row.map(|row| (row.times_told_to_wait, told(row.told_to_wait_seconds))))
}

/// For how long a task has been open, pauses taken off; `None` when it is not.
///
/// # Errors
/// Database errors.
pub async fn open_for(
    executor: impl PgExecutor<'_>,
    run: RunId,
    key: &str,
) -> Result<Option<Duration>, sqlx::Error> {
    let seconds = sqlx::query_scalar!(
        r#"select extract(epoch from now() - opened_at)::double precision as "seconds!"
         from run_tasks where run_id = $1 and task_key = $2 and state = 'open'"#,
        run.0,
        key,
    )
    .fetch_optional(executor)
    .await?;
    // A clock that stepped back has opened it at a time to come.
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

pub(super) fn parse<T: std::str::FromStr<Err = crate::domain::string_enum::UnknownVariant>>(
    text: &str,
) -> Result<T, sqlx::Error> {
    text.parse()
        .map_err(|e: crate::domain::string_enum::UnknownVariant| sqlx::Error::Decode(e.into()))
}
