//! Owns the version of kasparro's own tables.

use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::open_error::OpenError;

/// kasparro's own migrations; the queue brings its own.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Brings kasparro's own tables up to date. Concurrent callers wait for each other.
///
/// # Errors
/// [`OpenError::Newer`] when the database is ahead of this binary, [`OpenError::Migrate`] else.
pub async fn migrate(pool: &PgPool) -> Result<(), OpenError> {
    refuse_newer(pool).await?;
    MIGRATIONS.run(pool).await.map_err(OpenError::Migrate)
}

/// Whether kasparro's tables are there, of whichever version. Waits for no lock.
///
/// # Errors
/// Database errors.
pub async fn has_tables(pool: &PgPool) -> Result<bool, sqlx::Error> {
    // The table is sqlx's; before the first migration there is none.
    sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(pool).await
}

/// Checks that the database's schema is the one this binary was built for.
///
/// # Errors
/// [`OpenError::Newer`] or [`OpenError::Older`].
pub async fn check_version(pool: &PgPool) -> Result<(), OpenError> {
    refuse_newer(pool).await?;
    if latest_applied(pool).await? < latest_known() { Err(OpenError::Older) } else { Ok(()) }
}

async fn refuse_newer(pool: &PgPool) -> Result<(), OpenError> {
    let (found, known) = (latest_applied(pool).await?, latest_known());
    if found > known { Err(OpenError::Newer { found, known }) } else { Ok(()) }
}

fn latest_known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn latest_applied(pool: &PgPool) -> Result<i64, OpenError> {
    if !has_tables(pool).await.map_err(OpenError::Database)? {
        return Ok(0);
    }
    sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations where success")
        .fetch_one(pool)
        .await
        .map_err(OpenError::Database)
}
