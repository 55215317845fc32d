//! Owns finding what earlier runs of a source have read, in `run_slices`, and taking it over into
//! the ledger of a replay, which normalizes it again.
//!
//! Of a payload that several runs have read only the last reading counts: what a key ends as is
//! decided by the last slice that holds it. What fields are gone is said by all slices of the run that read them, and so
//! it is told to each of them.

use sqlx::{PgConnection, PgExecutor};

use super::run_tasks::ReadSlice;
use crate::domain::counters::Counters;
use crate::domain::run::{RunId, RunRange};

/// A run that has read something, and whether the ledger still knows all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingRun {
    /// The run.
    pub id: RunId,
    /// Whether the janitor has left its ledger alone.
    pub known: bool,
}

/// The ended runs of a source that have read something, oldest first.
///
/// # Errors
/// Database errors.
pub async fn reading_runs(
    executor: impl PgExecutor<'_>,
    source: &str,
    from: Option<RunId>,
    to: Option<RunId>,
) -> Result<Vec<ReadingRun>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.id, r.slices <= count(s.slice) as "known!"
         from etl_runs as r left join run_slices as s on s.run_id = r.id
         where r.source = $1 and r.mode <> 'replay' and not r.dry_run
           and r.finished_at is not null and r.slices > 0
           and r.id >= coalesce($2, r.id) and r.id <= coalesce($3, r.id)
         group by r.id order by r.id"#,
        source,
        from.map(|id| id.0),
        to.map(|id| id.0),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| ReadingRun { id: RunId(row.id), known: row.known }).collect())
}

/// A slice that a replay should normalize, but whose rows are not kept any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRaw {
    /// The run that read it.
    pub run: RunId,
    /// Where its rows were.
    pub raw_ref: String,
}

/// The first slice of the range whose rows are gone.
///
/// # Errors
/// Database errors.
pub async fn missing_raw(
    executor: impl PgExecutor<'_>,
    source: &str,
    range: RunRange,
) -> Result<Option<MissingRaw>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select s.run_id as "run_id!", s.raw_ref as "raw_ref!"
         from run_slices as s
         where s.source = $1 and s.run_id between $2 and $3
           and case when s.raw_ref like 'page/%'
                then not exists (
                    select 1 from raw_api_pages as p join raw_api_data as d using (source, body_hash)
                    where p.source = s.source
                      and p.page_hash = decode(substring(s.raw_ref from 6), 'hex')
                )
                else s.rows_read > 0 and not exists (
                    select 1 from raw_csv_blocks as b
                    where b.file_id = substring(s.raw_ref from 6)::bigint and b.chunk = s.chunk
                )
           end
         order by s.run_id, s.slice
         limit 1"#,
        source,
        range.from.0,
        range.to.0,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| MissingRaw { run: RunId(row.run_id), raw_ref: row.raw_ref }))
}

/// The slices of a range in the order in which their rows count, numbered from 0.
///
/// # Errors
/// Database errors.
pub async fn slices(
    executor: impl PgExecutor<'_>,
    source: &str,
    range: RunRange,
) -> Result<Vec<ReadSlice>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with lost as (
            select run_id, jsonb_object_agg(what, names) as gone from (
                select run_id, what, jsonb_agg(name order by name) as names from (
                    select s.run_id, w.what, n.name, count(*) as slices,
                        coalesce(max((s.result -> 'gone_from' ->> n.name)::bigint), 0) as fewest
                    from run_slices as s
                    cross join (values ('gone'), ('gone_paths')) as w (what)
                    cross join jsonb_array_elements_text(s.result -> w.what) as n (name)
                    where s.source = $1 and s.run_id between $2 and $3
                    group by s.run_id, w.what, n.name
                ) as missing
                where (slices, true) = (
                    select count(*), coalesce(sum((a.result ->> 'gone_of')::bigint), 0) >= fewest
                    from run_slices as a where a.run_id = missing.run_id
                )
                group by run_id, what
            ) as of_runs
            group by run_id
         )
         select payload as "payload!", bytes as "bytes!",
            result - '{gone,gone_paths,gone_from,gone_of}'::text[] || coalesce((select gone from lost where lost.run_id = read.run_id), '{}')
                || jsonb_build_object('read_by', run_id) as "result!"
         from (
            select *, max(run_id) over (partition by raw_ref, chunk) as last_run_id
            from run_slices where source = $1 and run_id between $2 and $3
         ) as read
         where run_id = last_run_id
         order by run_id, slice"#,
        source,
        range.from.0,
        range.to.0,
    )
    .fetch_all(executor)
    .await?;
    (0..)
        .zip(rows)
        .map(|(slice, row)| {
            let payload =
                serde_json::from_value(row.payload).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok(ReadSlice { slice, payload, bytes: row.bytes, result: row.result })
        })
        .collect()
}

/// Whether a run of the range read the source with another job file than the replay has.
///
/// # Errors
/// Database errors.
pub async fn read_otherwise(
    executor: impl PgExecutor<'_>,
    source: &str,
    range: RunRange,
    replay: RunId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select 1 from etl_runs
            where source = $1 and id between $2 and $3 and slices > 0
              and config_hash <> (select config_hash from etl_runs where id = $4)
         ) as "exists!""#,
        source,
        range.from.0,
        range.to.0,
        replay.0,
    )
    .fetch_one(executor)
    .await
}

/// What a replay took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenOver {
    /// How many slices: they are numbered from 0.
    pub slices: i64,
    /// What reading them had counted.
    pub counters: Counters,
}

/// Puts the slices of the replay's range into its own ledger, as read. The order in which they must
/// be applied is that of the replayed run if it is one, and else, or with `in_order`, that of the slices.
///
/// # Errors
/// Database errors.
pub async fn take_over(
    connection: &mut PgConnection,
    source: &str,
    replay: RunId,
    range: RunRange,
    in_order: bool,
) -> Result<TakenOver, sqlx::Error> {
    let row = sqlx::query!(
        r#"with read as (
            select *, max(run_id) over (partition by raw_ref, chunk) as last_run_id
            from run_slices where source = $2 and run_id between $3 and $4
         ), numbered as (
            select *, row_number() over (order by run_id, slice) - 1 as number
            from read where run_id = last_run_id
         ), lost as (
            select run_id, jsonb_object_agg(what, names) as gone from (
                select run_id, what, jsonb_agg(name order by name) as names from (
                    select s.run_id, w.what, n.name, count(*) as slices,
                        coalesce(max((s.result -> 'gone_from' ->> n.name)::bigint), 0) as fewest
                    from run_slices as s
                    cross join (values ('gone'), ('gone_paths')) as w (what)
                    cross join jsonb_array_elements_text(s.result -> w.what) as n (name)
                    where s.source = $2 and s.run_id between $3 and $4
                    group by s.run_id, w.what, n.name
                ) as missing
                where (slices, true) = (
                    select count(*), coalesce(sum((a.result ->> 'gone_of')::bigint), 0) >= fewest
                    from run_slices as a where a.run_id = missing.run_id
                )
                group by run_id, what
            ) as of_runs
            group by run_id
         ), taken as (
            insert into run_tasks (run_id, task_key, kind, role, state, first_slice, last_slice,
                                   payload, result, bytes, done_at)
            select $1, kind || ':' || number, kind, role, 'done', number, number,
                   jsonb_set(payload, '{slice}', to_jsonb(number)),
                   result - '{gone,gone_paths,gone_from,gone_of}'::text[] || coalesce((select gone from lost where lost.run_id = numbered.run_id), '{}')
                       || jsonb_build_object('read_by', run_id), bytes, now()
            from numbered
         )
         select count(*) as "slices!", coalesce(sum(bytes), 0)::bigint as "bytes!",
                coalesce(sum(rows_read), 0)::bigint as "rows_read!"
         from numbered"#,
        replay.0,
        source,
        range.from.0,
        range.to.0,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "update etl_runs as replay set
            key_order = case when $5 then 'ordered' else coalesce(original.key_order, replay.key_order) end,
            from_empty = not $5 and coalesce(original.key_order, 'ordered') <> 'ordered'
                and not exists (select 1 from unified_records where source = $2)
         from (values ($3::bigint, $4::bigint)) as range (first, last)
         left join etl_runs as original on original.id = range.first and range.first = range.last
         where replay.id = $1",
        replay.0,
        source,
        range.from.0,
        range.to.0,
        in_order,
    )
    .execute(connection)
    .await?;
    Ok(TakenOver {
        slices: row.slices,
        counters: Counters {
            slices: row.slices,
            bytes: row.bytes,
            rows_read: row.rows_read,
            ..Counters::default()
        },
    })
}

/// The range of a replay.
///
/// # Errors
/// Database errors; `RowNotFound` when the run is none.
pub async fn range(executor: impl PgExecutor<'_>, replay: RunId) -> Result<RunRange, sqlx::Error> {
    let row = sqlx::query!(
        r#"select replay_from as "from!", replay_to as "to!" from etl_runs
         where id = $1 and mode = 'replay'"#,
        replay.0,
    )
    .fetch_one(executor)
    .await?;
    Ok(RunRange { from: RunId(row.from), to: RunId(row.to) })
}
