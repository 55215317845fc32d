//! Owns removing what a source has kept long enough, a batch at a time, from `run_tasks`,
//! `raw_api_data` and `raw_csv_blocks`. Runs, records, quarantined rows and schema versions stay.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// Removes up to `most` tasks of runs that ended before a time.
///
/// # Errors
/// Database errors.
pub async fn remove_tasks(
    executor: impl PgExecutor<'_>,
    source: &str,
    before: DateTime<Utc>,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from run_tasks where (run_id, task_key) in (
            select t.run_id, t.task_key from run_tasks as t
            join etl_runs as r on r.id = t.run_id
            where r.source = $1 and r.finished_at < $2
            limit $3 for update of t skip locked
         )",
        source,
        before,
        most,
    )
    .execute(executor)
    .await?;
    Ok(removed.rows_affected())
}

/// Removes up to `most` pages that no run has read since. While a run of the source is active none is
/// removed: it may have read one again that was there.
///
/// # Errors
/// Database errors.
pub async fn remove_pages(
    executor: impl PgExecutor<'_>,
    source: &str,
    before: DateTime<Utc>,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query_scalar!(
        // The statement sees the pages that it removes.
        r#"with gone as (
            delete from raw_api_pages where (source, page_hash) in (
                select p.source, p.page_hash from raw_api_pages as p
                where p.source = $1 and p.fetched_at < $2
                  and not exists (
                    select 1 from etl_runs where source = $1 and status in ('queued', 'running')
                  )
                  and not exists (
                    select 1 from etl_runs as r join run_tasks as t on t.run_id = r.id
                    where r.source = $1 and r.finished_at >= $2 and t.role = 'read'
                      and t.result ->> 'raw' = 'page/' || encode(p.page_hash, 'hex')
                  )
                limit $3 for update of p skip locked
            )
            returning page_hash, body_hash
         ), bodies as (
            delete from raw_api_data as d where source = $1
              and d.body_hash in (select body_hash from gone)
              and not exists (
                select 1 from raw_api_pages as p
                where p.source = $1 and p.body_hash = d.body_hash
                  and p.page_hash not in (select page_hash from gone)
              )
         )
         select count(*) as "gone!" from gone"#,
        source,
        before,
        most,
    )
    .fetch_one(executor)
    .await?;
    Ok(removed.unsigned_abs())
}

/// Removes up to `most` blocks of versions of files that were last used before a time. The newest
/// version of each file stays; not so a file that was made for one run, which nobody finds again.
///
/// # Errors
/// Database errors.
pub async fn remove_blocks(
    executor: impl PgExecutor<'_>,
    source: &str,
    before: DateTime<Utc>,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from raw_csv_blocks where (file_id, chunk, block) in (
            select b.file_id, b.chunk, b.block from source_files as f
            join raw_csv_blocks as b on b.file_id = f.id
            where f.source = $1 and f.updated_at < $2
              and (f.streamed_from is not null and f.listed is null or exists (
                select 1 from source_files as newer
                where newer.source = f.source and newer.url = f.url
                  and newer.member is not distinct from f.member and newer.id > f.id
              ))
              and not exists (
                select 1 from etl_runs where source = $1 and status in ('queued', 'running')
              )
            limit $3 for update of b skip locked
         )",
        source,
        before,
        most,
    )
    .execute(executor)
    .await?;
    Ok(removed.rows_affected())
}
