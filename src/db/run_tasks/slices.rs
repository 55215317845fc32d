//! Owns what the ledger says of slices: which are read, which are next to normalize, and what tasks left
//! for those that follow.

use futures::{Stream, TryStreamExt};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::db::source_files::EvaluatedFile;
use crate::domain::file_note::FileNote;
use crate::domain::presence::Gaps;
use crate::domain::reason_tally::ReasonTally;
use crate::domain::repeated_keys::RepeatedKeys;
use crate::domain::run::RunId;
use crate::domain::task::TaskPayload;

/// The slices that can be normalized next, first and last; `None` when one is being normalized or
/// the next is not read yet. Slices whose reading task failed are skipped.
///
/// To be asked under [`crate::db::runs::lock`]. At most `most` are handed out at once, and at least
/// `fewest` as long as others are being read. Several have `bytes` at most, as the source sent them.
///
/// # Errors
/// Database errors.
pub async fn next_batch(
    connection: &mut PgConnection,
    run: RunId,
    most: i64,
    fewest: i64,
    bytes: i64,
) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let row = sqlx::query_file!("src/db/run_tasks/next_batch.sql", run.0, most, fewest, bytes,)
        .fetch_one(connection)
        .await?;
    Ok(row.first_slice.zip(row.last_slice))
}

/// A completed reading task: what it was told and what it left for the normalizing task.
#[derive(Debug)]
pub struct ReadSlice {
    /// Its number.
    pub slice: i64,
    /// What the reading task was told.
    pub payload: TaskPayload,
    /// Bytes read.
    pub bytes: i64,
    /// What it left.
    pub result: Value,
}

/// The read slices of a range, in order; slices whose reading task failed are not among them.
///
/// # Errors
/// Database errors.
pub async fn read_slices(
    executor: impl PgExecutor<'_>,
    run: RunId,
    first: i64,
    last: i64,
) -> Result<Vec<ReadSlice>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select first_slice as "slice!", payload, bytes, result as "result!"
         from run_tasks
         where run_id = $1 and role = 'read'
           and first_slice between $2 and $3 and state = 'done' and result is not null
         order by first_slice"#,
        run.0,
        first,
        last,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let payload =
                serde_json::from_value(row.payload).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok(ReadSlice { slice: row.slice, payload, bytes: row.bytes, result: row.result })
        })
        .collect()
}

/// The slices of a run that are read, in order: their numbers and their bytes.
///
/// # Errors
/// Database errors.
pub async fn sizes_of_slices(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select first_slice as "slice!", bytes from run_tasks
         where run_id = $1 and role = 'read' and state = 'done' and result is not null
         order by first_slice"#,
        run.0,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| (row.slice, row.bytes)).collect())
}

/// What the reading tasks of a run left, in the order of their slices. One is held at a time: each may
/// have megabytes, and a run has thousands.
pub fn results_of_slices<'e>(
    executor: impl PgExecutor<'e> + 'e,
    run: RunId,
) -> impl Stream<Item = Result<Value, sqlx::Error>> + 'e {
    sqlx::query_scalar!(
        r#"select result as "result!" from run_tasks
         where run_id = $1 and role = 'read' and state = 'done'
           and result is not null and first_slice is not null
         order by first_slice"#,
        run.0,
    )
    .fetch(executor)
}

/// The files that the slices of a run are of.
///
/// # Errors
/// Database errors.
pub async fn files_of_slices(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Vec<EvaluatedFile>, sqlx::Error> {
    sqlx::query_as!(
        EvaluatedFile,
        r#"select distinct (payload ->> 'file_id')::bigint as "id!", 0::bigint as "behind!",
            0::bigint as "rows!"
         from run_tasks
         where run_id = $1 and role = 'read' and payload ? 'file_id'"#,
        run.0,
    )
    .fetch_all(executor)
    .await
}

/// The keys whose rows overwrote each other, all batches of a run together.
///
/// # Errors
/// Database errors.
pub async fn repeated_keys(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<RepeatedKeys, sqlx::Error> {
    let mut of_batches = sqlx::query_scalar!(
        r#"select result -> 'repeated' as "repeated!" from run_tasks
         where run_id = $1 and role = 'normalize' and state = 'done' and result ? 'repeated'
         order by first_slice, task_key"#,
        run.0,
    )
    .fetch(connection);
    let mut merged = RepeatedKeys::default();
    while let Some(keys) = of_batches.try_next().await? {
        merged.merge(serde_json::from_value(keys).map_err(|e| sqlx::Error::Decode(e.into()))?);
    }
    Ok(merged)
}

/// The rows that say what one in front of them says, all batches of a run together.
///
/// # Errors
/// Database errors.
pub async fn equal_rows(executor: impl PgExecutor<'_>, run: RunId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum((result ->> 'equal')::bigint), 0)::bigint as "rows!" from run_tasks
         where run_id = $1 and role = 'normalize' and state = 'done' and result ? 'equal'"#,
        run.0,
    )
    .fetch_one(executor)
    .await
}

/// Whether the batches of a run have seen every key whose rows overwrote each other: where the source
/// had no record and is one file, or all rows whose keys come back were in one batch. Else a first row
/// may have said what the table held, and a batch with the second one knows nothing of it.
///
/// # Errors
/// Database errors.
pub async fn repeats_are_seen(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) filter (
                where t.role = 'normalize' and t.payload ->> 'rows' <> 'single'
            ) <= 1
            or bool_and(r.from_empty and r.key_order <> 'ordered') and count(distinct t.payload ->> 'file_id') <= 1 as "seen!"
         from run_tasks as t inner join etl_runs as r on r.id = t.run_id
         where t.run_id = $1 and t.role in ('normalize', 'read')"#,
        run.0,
    )
    .fetch_one(executor)
    .await
}

/// The same of the rows that say what one in front of them says: also that no file was read only from where it had
/// ended before, since what stands there is not known.
///
/// # Errors
/// Database errors.
pub async fn equal_rows_are_seen(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with files as (
            select payload ->> 'file_id' as id, min((payload -> 'chunk' ->> 'first_row')::bigint) as first_row
            from run_tasks where run_id = $1 and role = 'read' and payload ? 'file_id'
            group by 1
         )
         select not exists (select 1 from files where first_row > 1) and (
            (select count(*) <= 1 from run_tasks
             where run_id = $1 and role = 'normalize' and payload ->> 'rows' <> 'single')
            or exists (select 1 from etl_runs where id = $1 and from_empty) and (select count(*) <= 1 from files)
         ) as "seen!""#,
        run.0,
    )
    .fetch_one(executor)
    .await
}

/// Whether a part of the source could not be read.
///
/// # Errors
/// Database errors.
pub async fn any_unread(executor: impl PgExecutor<'_>, run: RunId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select 1 from run_tasks
            where run_id = $1 and role = 'read' and state <> 'done'
         ) as "unread!""#,
        run.0,
    )
    .fetch_one(executor)
    .await
}

/// What a completed task left behind.
///
/// # Errors
/// Database errors.
pub async fn result(
    executor: impl PgExecutor<'_>,
    run: RunId,
    key: &str,
) -> Result<Option<Value>, sqlx::Error> {
    let row = sqlx::query_scalar!(
        "select result from run_tasks where run_id = $1 and task_key = $2 and state = 'done'",
        run.0,
        key,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.flatten())
}

/// The guarded fields that were missing when the last of the slices in front of this one was read, of those that are;
/// `None` when none is.
///
/// # Errors
/// Database errors.
pub async fn missing_before(
    executor: impl PgExecutor<'_>,
    run: RunId,
    slice: i64,
) -> Result<Option<Value>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select jsonb_strip_nulls(jsonb_build_object(
                'gone', result -> 'gone', 'gone_paths', result -> 'gone_paths',
                'gone_from', result -> 'gone_from', 'gone_of', result -> 'gone_of'
            )) as "missing!" from run_tasks
         where run_id = $1 and role = 'read' and first_slice < $2 and state = 'done'
           and result is not null
         order by first_slice desc limit 1"#,
        run.0,
        slice,
    )
    .fetch_optional(executor)
    .await
}

/// Whether guarded fields are missing from each slice of a run that was read, some from each.
///
/// # Errors
/// Database errors.
pub async fn is_any_missing(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select not exists (
            select 1 from run_tasks
            where run_id = $1 and role = 'read' and state = 'done' and result is not null
              and not result ?| array['gone', 'gone_paths']
         ) as "any!""#,
        run.0,
    )
    .fetch_one(executor)
    .await
}

/// How many rows the batches of a run have kept out since they lack guarded fields.
///
/// # Errors
/// Database errors.
pub async fn kept_out(executor: impl PgExecutor<'_>, run: RunId) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"select coalesce(sum((result ->> 'kept_out')::bigint), 0)::bigint as "rows!" from run_tasks
         where run_id = $1 and role = 'normalize' and state = 'done' and result ? 'kept_out'"#,
        run.0,
    )
    .fetch_one(executor)
    .await?;
    Ok(rows.unsigned_abs())
}

/// The guarded fields that were missing when each slice of a run was read.
///
/// # Errors
/// Database errors.
pub async fn missing_in_slices(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Vec<Value>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select jsonb_strip_nulls(jsonb_build_object(
                'gone', result -> 'gone', 'gone_paths', result -> 'gone_paths',
                'gone_from', result -> 'gone_from', 'gone_of', result -> 'gone_of'
            )) as "missing!" from run_tasks
         where run_id = $1 and role = 'read' and state = 'done' and result is not null"#,
        run.0,
    )
    .fetch_all(executor)
    .await
}

/// How far the slices of a run have read the source, in their order; of those that say so.
///
/// # Errors
/// Database errors.
pub async fn watermarks(
    executor: impl PgExecutor<'_>,
    run: RunId,
) -> Result<Vec<Value>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select result -> 'watermark' as "watermark!" from run_tasks
         where run_id = $1 and role = 'read' and state = 'done' and result ? 'watermark'
         order by first_slice"#,
        run.0,
    )
    .fetch_all(executor)
    .await
}

/// What there is to say of the files that a run has read as streams, or has not.
///
/// # Errors
/// Database errors.
pub async fn file_notes(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<Vec<FileNote>, sqlx::Error> {
    let mut of_slices = sqlx::query_scalar!(
        r#"select result -> 'files' as "files!" from run_tasks
         where run_id = $1 and role = 'read' and state = 'done' and result ? 'files'
         order by first_slice"#,
        run.0,
    )
    .fetch(connection);
    let mut notes: Vec<FileNote> = Vec::new();
    while let Some(files) = of_slices.try_next().await? {
        let files = serde_json::from_value::<Vec<_>>(files);
        notes.extend(files.map_err(|e| sqlx::Error::Decode(e.into()))?);
    }
    Ok(notes)
}

/// Why rows of a run were set aside, all its tasks together.
///
/// # Errors
/// Database errors.
pub async fn set_aside(
    connection: &mut PgConnection,
    run: RunId,
) -> Result<ReasonTally, sqlx::Error> {
    let mut tallies = sqlx::query_scalar!(
        "select result -> 'set_aside' from run_tasks
         where run_id = $1 and state = 'done' and quarantined > 0
         order by first_slice, task_key",
        run.0,
    )
    .fetch(connection);
    let mut merged = ReasonTally::default();
    while let Some(tally) = tallies.try_next().await? {
        let tally = match tally {
            Some(tally) => {
                serde_json::from_value(tally).map_err(|e| sqlx::Error::Decode(e.into()))?
            }
            // An earlier version normalized these rows.
            None => ReasonTally::unknown(),
        };
        merged.merge(tally);
    }
    Ok(merged)
}

/// What the records of a run lack, as far as its tasks have said so.
///
/// # Errors
/// Database errors.
pub async fn gaps(connection: &mut PgConnection, run: RunId) -> Result<Gaps, sqlx::Error> {
    let mut parts = sqlx::query_scalar!(
        r#"select result -> 'gaps' as "gaps!" from run_tasks
         where run_id = $1 and role = 'normalize' and state = 'done' and result ? 'gaps'"#,
        run.0,
    )
    .fetch(connection);
    let mut merged = Gaps::default();
    while let Some(part) = parts.try_next().await? {
        let part = serde_json::from_value(part).map_err(|e| sqlx::Error::Decode(e.into()))?;
        merged.merge(&part);
    }
    Ok(merged)
}
