//! Owns `watched_sources`: which state of the files of a source runs were started for. Noting one decides who acts.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::domain::hash::ContentHash;
use crate::domain::run::RunId;

/// Notes what a source has now; `false` when it was noted already. Another process that wants to note something of the
/// source waits for the end of the transaction.
///
/// # Errors
/// Database errors.
pub async fn claim(
    connection: &mut PgConnection,
    source: &str,
    listing: ContentHash,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "insert into watched_sources as w (source, listing_hash) values ($1, $2)
         on conflict (source) do update
            set listing_hash = excluded.listing_hash, run_id = null, noted_at = now()
            where w.listing_hash <> excluded.listing_hash",
        source,
        listing.as_bytes(),
    )
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes which run reads it.
///
/// # Errors
/// Database errors.
pub async fn conclude(
    connection: &mut PgConnection,
    source: &str,
    run: RunId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update watched_sources set run_id = $2 where source = $1", source, run.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// The last run that began behind a moment, read what was there, and ended well.
///
/// # Errors
/// Database errors.
pub async fn read_since(
    executor: impl PgExecutor<'_>,
    source: &str,
    since: DateTime<Utc>,
) -> Result<Option<RunId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select id from etl_runs
         where source = $1 and created_at > $2 and not dry_run and mode <> 'replay' and read_from is null
           and status in ('success', 'success_with_duplicates', 'degraded')
         order by id desc limit 1",
        source,
        since,
    )
    .fetch_optional(executor)
    .await?;
    Ok(id.map(RunId))
}
