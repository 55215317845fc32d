//! Owns how sources have been doing lately, from `etl_runs` by its indexes: nothing here reads more of it than it shows.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::run_tasks::parse;
use crate::domain::run::RunStatus;

/// How a source is doing.
#[derive(Debug, Clone)]
pub struct SourceHealth {
    /// Name of the source.
    pub source: String,
    /// Its last run that ended and decides how it is doing: no dry run, no replay, none that was cancelled.
    pub last_id: Option<i64>,
    /// How it ended.
    pub last_status: Option<String>,
    /// Its first failure, or why it ended as it did.
    pub last_note: Option<String>,
    /// When it ended.
    pub last_ended_at: Option<DateTime<Utc>>,
    /// When the last run ended that loaded something, whole or not.
    pub loaded_at: Option<DateTime<Utc>>,
    /// How many runs failed since one did not, 100 at most.
    pub failures_in_a_row: i64,
    /// When the first of them was asked for.
    pub failing_since: Option<DateTime<Utc>>,
}

/// How these sources are doing.
///
/// # Errors
/// Database errors.
pub async fn of(
    executor: impl PgExecutor<'_>,
    sources: &[String],
) -> Result<Vec<SourceHealth>, sqlx::Error> {
    sqlx::query_as!(
        SourceHealth,
        r#"select s.source as "source!", loaded.finished_at as "loaded_at?",
                last.id as "last_id?", last.status as "last_status?", last.finished_at as "last_ended_at?",
                shown_error(coalesce(last.error, last.stop_reason)) as last_note,
                failed.runs as "failures_in_a_row!", failed.since as "failing_since?"
         from unnest($1::text[]) as s (source)
         left join lateral (
            select id, finished_at from etl_runs as r
            where r.source = s.source and not r.dry_run and r.mode <> 'replay'
              and r.status in ('success', 'success_with_duplicates', 'degraded')
            order by r.id desc limit 1
         ) as loaded on true
         left join lateral (
            select id, status, error, stop_reason, finished_at from etl_runs as r
            where r.source = s.source and not r.dry_run and r.mode <> 'replay'
              and r.status in ('success', 'success_with_duplicates', 'degraded', 'failed')
            order by r.id desc limit 1
         ) as last on true
         cross join lateral (
            select count(*) as runs, min(created_at) as since from (
                select created_at from etl_runs as r
                where r.source = s.source and r.id > coalesce(loaded.id, 0) and r.status = 'failed'
                  and not r.dry_run and r.mode <> 'replay'
                order by r.id desc limit 100
            ) as last
         ) as failed"#,
        sources,
    )
    .fetch_all(executor)
    .await
}

/// A run as a bar.
#[derive(Debug, Clone)]
pub struct RunBar {
    /// Name of the source.
    pub source: String,
    /// Its id.
    pub id: i64,
    /// Where it stands.
    pub status: RunStatus,
    /// Rows read.
    pub rows_read: i64,
    /// Rows set aside.
    pub quarantined: i64,
    /// How long it took, in seconds; `None` while it has not ended.
    pub seconds: Option<f64>,
}

/// The last runs of each of these sources, oldest first; dry ones are left out.
///
/// # Errors
/// Database errors.
pub async fn history(
    executor: impl PgExecutor<'_>,
    sources: &[String],
    runs: i64,
) -> Result<Vec<RunBar>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select s.source as "source!", r.id, r.status, r.rows_read, r.quarantined,
                extract(epoch from r.finished_at - coalesce(r.started_at, r.created_at))::double precision
                    as seconds
         from unnest($1::text[]) as s (source)
         cross join lateral (
            select * from etl_runs
            where etl_runs.source = s.source and not dry_run
            order by id desc limit $2
         ) as r
         order by s.source, r.id"#,
        sources,
        runs,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(RunBar {
                source: row.source,
                id: row.id,
                status: parse(&row.status)?,
                rows_read: row.rows_read,
                quarantined: row.quarantined,
                seconds: row.seconds,
            })
        })
        .collect()
}
