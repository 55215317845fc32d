//! Floor 3: all SQL on kasparro's own tables, a module a table. Functions take the connection or
//! transaction they run in: the caller owns the transaction.
//!
//! Must not know: the queue's tables, HTTP, how sources are read.

pub mod api_tokens;
pub mod checkpoints;
pub mod definitions;
pub mod pgcopy;
pub mod quarantined_rows;
pub mod rate_limits;
pub mod raw_api_data;
pub mod raw_csv_blocks;
pub mod replay;
pub mod retention;
pub mod run_controls;
pub mod run_repeated_keys;
pub mod run_tasks;
pub mod runs;
pub mod schedule_ticks;
pub mod schemas;
pub mod settled_pages;
pub mod source_files;
pub mod source_pauses;
pub mod totals;
mod transaction;
pub mod unified_records;

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

use crate::domain::failure::FailureClass;
pub use transaction::Transaction;

/// kasparro's own migrations; the queue brings its own.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A frozen process, or one whose machine has vanished, holds its locks until the server gives it
/// up; nobody can take its tasks over before. On a Unix socket nobody vanishes.
const LET_GO_OF_THE_LOST: &str = "set idle_in_transaction_session_timeout = '30s';
    set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 3; set tcp_keepalives_count = 2";

/// Why the database could not be opened. Texts are for the person who starts kasparro.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one.
    #[error("the database URL cannot be read; expected postgresql://user:password@host:5432/name")]
    Url(#[source] sqlx::Error),
    /// Nobody answered in time.
    #[error("the database did not answer within {} s; check DATABASE_URL and that the server runs", .waited.as_secs())]
    Unreachable {
        /// How long was waited.
        waited: Duration,
        /// The last answer.
        #[source]
        source: sqlx::Error,
    },
    /// The server answered, but not to us.
    #[error(
        "the database refused the connection; check user, password and database name in DATABASE_URL"
    )]
    Refused(#[source] sqlx::Error),
    /// The database was migrated by a later kasparro.
    #[error(
        "the database's schema (migration {found}) is newer than this kasparro knows ({known}); \
         start the newer version"
    )]
    Newer {
        /// Latest migration of the database.
        found: i64,
        /// Latest migration of this binary.
        known: i64,
    },
    /// The database has not been migrated to what this binary needs.
    #[error("the database's schema is older than this kasparro needs; run `kasparro migrate`")]
    Older,
    /// A migration failed.
    #[error("the database could not be migrated")]
    Migrate(#[source] MigrateError),
    /// Any other answer.
    #[error("the database answered with an error")]
    Database(#[source] sqlx::Error),
}

/// Opens a pool, waiting for a server that is still starting. `waiting` is called once, with the
/// first failure, when there is something to wait for.
///
/// # Errors
/// [`OpenError::Unreachable`] after `patience`, [`OpenError::Refused`] at once when the server
/// does not accept the credentials or has no such database.
pub async fn connect(
    url: &str,
    max_connections: u32,
    patience: Duration,
    waiting: impl FnOnce(&sqlx::Error),
) -> Result<PgPool, OpenError> {
    let options: PgConnectOptions = url.parse().map_err(OpenError::Url)?;
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(LET_GO_OF_THE_LOST).await.map(drop) })
        })
        .connect_lazy_with(options.clone().application_name("kasparro"));
    let deadline = tokio::time::Instant::now() + patience;
    let mut waiting = Some(waiting);
    loop {
        let Err(error) = probe(&options).await else { return Ok(pool) };
        if is_refusal(&error) {
            return Err(OpenError::Refused(error));
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(OpenError::Unreachable { waited: patience, source: error });
        }
        if let Some(waiting) = waiting.take() {
            waiting(&error);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// One connection of its own, so that a pool's time-out does not hide the reason.
async fn probe(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    use sqlx::{ConnectOptions, Connection};
    let connecting = tokio::time::timeout(Duration::from_secs(5), options.connect());
    let mut connection = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    connection.ping().await?;
    connection.close().await
}

/// Authentication failures and unknown databases do not go away by waiting.
fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|code| code.starts_with("28") || code == "3D000")
}

/// Brings kasparro's own tables up to date. Concurrent callers wait for each other.
///
/// # Errors
/// [`OpenError::Newer`] when the database is ahead of this binary, [`OpenError::Migrate`] else.
pub async fn migrate(pool: &PgPool) -> Result<(), OpenError> {
    refuse_newer(pool).await?;
    MIGRATIONS.run(pool).await.map_err(OpenError::Migrate)
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
    // The table is sqlx's; before the first migration there is none.
    let exists: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(pool)
        .await
        .map_err(OpenError::Database)?;
    if !exists {
        return Ok(0);
    }
    sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations where success")
        .fetch_one(pool)
        .await
        .map_err(OpenError::Database)
}

/// What a database error means for the task that met it.
pub fn failure_class(error: &sqlx::Error) -> FailureClass {
    match error {
        sqlx::Error::Database(database) => match database.code() {
            // Connection, transaction rollback, resources, object state, operator, system.
            Some(code)
                if ["08", "25", "40", "53", "55", "57", "58"]
                    .iter()
                    .any(|c| code.starts_with(c)) =>
            {
                FailureClass::Transient
            }
            _ => FailureClass::Permanent,
        },
        sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::RowNotFound
        | sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_) => FailureClass::Permanent,
        // Io, Tls, Protocol, pool and whatever a later sqlx adds: the connection, not the statement.
        _ => FailureClass::Transient,
    }
}
