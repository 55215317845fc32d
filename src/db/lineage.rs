//! Owns finding, in `run_tasks`, by which tasks a run read a row and made a record of it.
//!
//! Nothing is found of a run whose ledger the janitor has removed. Nothing here looks at more tasks of a run than
//! [`LOOKED_AT`].

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::domain::run::RunId;

/// The most tasks of a run that are looked through for the one that read a payload.
pub const LOOKED_AT: i64 = 20_000;

/// A task on the way from a row to a record.
#[derive(Debug, Clone)]
pub struct LineageTask {
    /// Its run.
    pub run_id: i64,
    /// Its key within the run.
    pub task_key: String,
    /// What it did for the run.
    pub role: String,
    /// What became of it.
    pub state: String,
    /// Attempts so far.
    pub attempt: i32,
    /// The worker that completed it, or tried last.
    pub worker: Option<String>,
    /// When its last attempt began that has ended.
    pub begun_at: Option<DateTime<Utc>>,
    /// When it completed.
    pub done_at: Option<DateTime<Utc>>,
    /// The slice that it read, or the first that it normalized.
    pub slice: Option<i64>,
    /// Of a replay, the run that has read what it took over.
    pub read_by: Option<i64>,
    /// Whether the row has a key that another row of the run has, too.
    pub is_repeated: bool,
}

/// The task by which a run read a row of a file, or took it over.
///
/// # Errors
/// Database errors.
pub async fn reading_file(
    executor: impl PgExecutor<'_>,
    run: RunId,
    file_id: i64,
    row: i64,
) -> Result<Option<LineageTask>, sqlx::Error> {
    sqlx::query_as!(
        LineageTask,
        r#"select run_id, task_key, role, state, attempt, worker, begun_at, done_at, first_slice as slice,
                (result ->> 'read_by')::bigint as read_by,
                coalesce(result -> 'repeated' @> to_jsonb($3::bigint), false) as "is_repeated!"
         from (
            select * from run_tasks where run_id = $1 and role = 'read' order by first_slice limit $4
         ) as task
         where (payload ->> 'file_id')::bigint = $2 and (payload -> 'chunk' ->> 'first_row')::bigint <= $3
           -- The last of those that are looked at may end in front of the row. A task that took rows over counts none.
           and (rows_read = 0 or (payload -> 'chunk' ->> 'first_row')::bigint + rows_read > $3)
         order by (payload -> 'chunk' ->> 'first_row')::bigint desc
         limit 1"#,
        run.0,
        file_id,
        row,
        LOOKED_AT,
    )
    .fetch_optional(executor)
    .await
}

/// The task by which a run read a page, or took it over; `near` is the slice that it was when it was read first.
///
/// # Errors
/// Database errors.
pub async fn reading_page(
    executor: impl PgExecutor<'_>,
    run: RunId,
    raw_ref: &str,
    near: i64,
) -> Result<Option<LineageTask>, sqlx::Error> {
    sqlx::query_as!(
        LineageTask,
        r#"select run_id, task_key, role, state, attempt, worker, begun_at, done_at, first_slice as slice,
                (result ->> 'read_by')::bigint as read_by, false as "is_repeated!"
         from run_tasks
         where run_id = $1 and role = 'read' and first_slice = coalesce(
            -- Mostly it is where it was.
            (select first_slice from run_tasks
             where run_id = $1 and role = 'read' and first_slice = $3 and result ->> 'raw' = $2 limit 1),
            (select first_slice from (
                select first_slice, result from run_tasks
                where run_id = $1 and role = 'read' order by first_slice limit $4
             ) as task where result ->> 'raw' = $2 order by first_slice limit 1)
         ) and result ->> 'raw' = $2
         limit 1"#,
        run.0,
        raw_ref,
        near,
        LOOKED_AT,
    )
    .fetch_optional(executor)
    .await
}

/// The task by which a run normalized a slice; `keys` are those of the tasks that may have, besides the one whose slices
/// begin at this one or last before it.
///
/// # Errors
/// Database errors.
pub async fn normalizing(
    executor: impl PgExecutor<'_>,
    run: RunId,
    slice: i64,
    keys: &[String],
    is_repeated: bool,
) -> Result<Option<LineageTask>, sqlx::Error> {
    sqlx::query_as!(
        LineageTask,
        r#"select run_id, task_key, role, state, attempt, worker, begun_at, done_at, first_slice as slice,
                null::bigint as read_by, false as "is_repeated!"
         from run_tasks
         where run_id = $1 and role = 'normalize' and task_key = any($3 || array(
                select task_key from run_tasks
                where run_id = $1 and role = 'normalize' and payload ->> 'rows' <> 'single' and first_slice <= $2
                order by first_slice desc limit 1
            )) and first_slice <= $2 and last_slice >= $2
           and (payload ->> 'rows' = 'all' or (payload ->> 'rows' = 'repeated') = $4)
         limit 1"#,
        run.0,
        slice,
        keys,
        is_repeated,
    )
    .fetch_optional(executor)
    .await
}

/// The version of a schema that the rows of a run were measured by.
#[derive(Debug, Clone)]
pub struct MeasuredBy {
    /// The version.
    pub version: i32,
    /// The run that saw it first.
    pub run_id: i64,
    /// When that was noted.
    pub first_seen_at: DateTime<Utc>,
}

/// The version of the schema that the rows of a run were measured by; `None` where there was none yet.
///
/// # Errors
/// Database errors.
pub async fn measured_by(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Option<MeasuredBy>, sqlx::Error> {
    sqlx::query_as!(
        MeasuredBy,
        "select s.version, s.run_id, s.first_seen_at
         from etl_runs as r
         join schema_snapshots as s on s.source = r.source and s.version = r.schema_version
         where r.id = $1",
        run.0,
    )
    .fetch_optional(executor)
    .await
}
