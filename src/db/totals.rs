//! Owns `source_totals` and `run_totals`: what finished runs add up to, so that `/stats` never
//! counts a big table.

use sqlx::{PgConnection, PgExecutor};

use crate::domain::counters::Counters;
use crate::domain::run::RunStatus;

/// What a source adds up to; runs under way are included.
#[derive(Debug, Clone)]
pub struct SourceTotals {
    /// Name of the source.
    pub source: String,
    /// Records in the table.
    pub records: i64,
    /// Those of them that are marked as deleted.
    pub deleted: i64,
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
}

/// Adds a finished run.
///
/// # Errors
/// Database errors.
pub async fn add_run(
    connection: &mut PgConnection,
    source: &str,
    status: RunStatus,
    counters: &Counters,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into run_totals (source, status, runs) values ($1, $2, 1)
         on conflict (source, status) do update set runs = run_totals.runs + 1",
        source,
        status.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into source_totals as t (source, records, slices, bytes, rows_read, inserted,
                                         updated, unchanged, quarantined)
         values ($1, $4, $2, $3, $7, $4, $5, $6, $8)
         on conflict (source) do update set
            records = t.records + excluded.records,
            slices = t.slices + excluded.slices,
            bytes = t.bytes + excluded.bytes,
            rows_read = t.rows_read + excluded.rows_read,
            inserted = t.inserted + excluded.inserted,
            updated = t.updated + excluded.updated,
            unchanged = t.unchanged + excluded.unchanged,
            quarantined = t.quarantined + excluded.quarantined",
        source,
        counters.slices,
        counters.bytes,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.rows_read,
        counters.quarantined,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a finished run off that goes on.
///
/// # Errors
/// Database errors.
pub async fn take_off_run(
    connection: &mut PgConnection,
    source: &str,
    status: RunStatus,
    counters: &Counters,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update run_totals set runs = runs - 1 where source = $1 and status = $2",
        source,
        status.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from run_totals where source = $1 and runs = 0", source)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "update source_totals set
            records = records - $4, slices = slices - $2, bytes = bytes - $3,
            rows_read = rows_read - $7, inserted = inserted - $4, updated = updated - $5,
            unchanged = unchanged - $6, quarantined = quarantined - $8
         where source = $1",
        source,
        counters.slices,
        counters.bytes,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.rows_read,
        counters.quarantined,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records of a source as finished runs left them.
///
/// # Errors
/// Database errors.
pub async fn records(executor: impl PgExecutor<'_>, source: &str) -> Result<i64, sqlx::Error> {
    let records =
        sqlx::query_scalar!("select records from source_totals where source = $1", source)
            .fetch_optional(executor)
            .await?;
    Ok(records.unwrap_or(0))
}

/// Totals per source, runs under way included.
///
/// # Errors
/// Database errors.
pub async fn per_source(executor: impl PgExecutor<'_>) -> Result<Vec<SourceTotals>, sqlx::Error> {
    sqlx::query_as!(
        SourceTotals,
        r#"select source as "source!", sum(records)::bigint as "records!",
                sum(rows_read)::bigint as "rows_read!", sum(inserted)::bigint as "inserted!",
                sum(updated)::bigint as "updated!", sum(unchanged)::bigint as "unchanged!",
                sum(quarantined)::bigint as "quarantined!",
                (
                    select count(*) from unified_records as r
                    where r.source = parts.source and r.deleted_at is not null
                ) as "deleted!"
         from (
            select source, records, rows_read, inserted, updated, unchanged, quarantined
            from source_totals
            union all
            select source, inserted + inserted_before, rows_read, inserted, updated, unchanged,
                   quarantined
            from runs_live where status in ('queued', 'running')
         ) as parts
         group by source order by source"#,
    )
    .fetch_all(executor)
    .await
}

/// Number of runs per status, runs under way included.
///
/// # Errors
/// Database errors.
pub async fn runs_by_status(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<(RunStatus, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select status as "status!", sum(runs)::bigint as "runs!"
         from (
            select status, runs from run_totals
            union all
            select status, 1 from etl_runs where status in ('queued', 'running')
         ) as parts
         group by status"#,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status =
                row.status.parse().map_err(|e: crate::domain::string_enum::UnknownVariant| {
                    sqlx::Error::Decode(e.into())
                })?;
            Ok((status, row.runs))
        })
        .collect()
}

/// Tasks that have not completed, over all runs.
///
/// # Errors
/// Database errors.
pub async fn open_tasks(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(open_tasks), 0)::bigint as "open!" from runs_live
         where status in ('queued', 'running')"#,
    )
    .fetch_one(executor)
    .await
}

/// Active runs without progress.
///
/// # Errors
/// Database errors.
pub async fn stalled_runs(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "stalled!" from runs_live
         where status in ('queued', 'running') and stalled"#,
    )
    .fetch_one(executor)
    .await
}
