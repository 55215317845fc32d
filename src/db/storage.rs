//! Owns what the database says of itself: how large its tables are, and how old the oldest transaction is.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// A table and what belongs to it.
#[derive(Debug, Clone)]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// Bytes of rows, indexes and what is stored beside.
    pub bytes: i64,
    /// Rows that no transaction sees any more, as the statistics have it.
    pub dead_rows: i64,
}

/// The largest of kasparro's own tables and of those in the schema `queue`: others may have theirs in the same database.
///
/// # Errors
/// Database errors.
pub async fn largest_tables(
    executor: impl PgExecutor<'_>,
    queue: &str,
    limit: i64,
) -> Result<Vec<TableSize>, sqlx::Error> {
    sqlx::query_as!(
        TableSize,
        r#"select relname::text as "name!", pg_total_relation_size(relid) as "bytes!",
                coalesce(n_dead_tup, 0) as "dead_rows!"
         from pg_stat_user_tables
         where schemaname in (current_schema(), $2)
         order by 2 desc limit $1"#,
        limit,
        queue,
    )
    .fetch_all(executor)
    .await
}

/// Since when the oldest transaction of the database is open that holds rows back from being removed.
///
/// # Errors
/// Database errors.
pub async fn oldest_transaction(
    executor: impl PgExecutor<'_>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "select min(xact_start) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()"
    )
    .fetch_one(executor)
    .await
}
