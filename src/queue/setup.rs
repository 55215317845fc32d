//! Owns making apalis's tables and functions ready.

use std::time::Duration;

use apalis_postgres::PostgresStorage;
use sqlx::PgPool;

/// The schema of apalis's tables.
pub const SCHEMA: &str = "apalis";

/// How an item is taken from a queue: what [`setup`] puts in the place of apalis's own function.
pub const GET_JOBS: &str = include_str!("get_jobs.sql");

/// Creates and fixes apalis's own tables and functions. Concurrent callers wait for each other.
///
/// # Errors
/// When a migration of apalis fails, for example for want of the extensions pgcrypto and hstore.
pub async fn setup(pool: &PgPool) -> Result<(), apalis_postgres::Error> {
    PostgresStorage::<()>::setup(pool).await?;
    let known = sqlx::query!(
        r#"select prosrc, coalesce(cardinality(proconfig), 0) as "settings!" from pg_proc
         where oid = 'apalis.get_jobs(text, text, integer)'::regprocedure"#
    )
    .fetch_one(pool)
    .await?;
    let ours = GET_JOBS.split("$function$").nth(1);
    // A replacement that changes nothing costs a flush of the WAL all the same.
    if ours != Some(&known.prosrc) || known.settings != 3 {
        retry_concurrent_alter(pool, GET_JOBS).await?;
    }
    Ok(())
}

/// Two processes that alter the same function at once: one of them gets "tuple concurrently
/// updated", although both want the same.
async fn retry_concurrent_alter(pool: &PgPool, statement: &str) -> Result<(), sqlx::Error> {
    for _ in 0..20 {
        match sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(pool).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("XX000") => {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            other => return other.map(|_| ()),
        }
    }
    Ok(())
}
