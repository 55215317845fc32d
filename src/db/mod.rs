//! Floor 3: all SQL on kasparro's own tables, a module a table. Functions take the connection or
//! transaction they run in: the caller owns the transaction.
//!
//! Must not know: the queue's tables, HTTP, how sources are read.

pub mod api_tokens;
pub mod checkpoints;
pub mod clock;
mod connect;
pub mod definitions;
pub mod field_presence;
pub mod pgcopy;
pub mod quarantined_rows;
pub mod rate_limits;
pub mod raw_api_data;
pub mod raw_csv_blocks;
pub mod replay;
pub mod retention;
pub mod rights;
pub mod run_controls;
pub mod run_repeated_keys;
pub mod run_tasks;
pub mod runs;
pub mod schedule_ticks;
pub mod schemas;
pub mod source_files;
pub mod source_pauses;
mod sqlstate;
mod target;
pub mod totals;
mod transaction;
pub mod unchanged_pages;
pub mod unified_records;
pub mod waits;

use std::future::Future;
use std::io;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::domain::failure::FailureClass;
use crate::domain::hash::StoredHash;
pub use connect::{Reached, check, connect, reach};
pub use target::{Target, UrlError};
pub use transaction::Transaction;

/// kasparro's own migrations; the queue brings its own.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A frozen process, or one whose machine has vanished, holds its locks until the server gives it
/// up; its tasks cannot be taken over before. On a Unix socket no server vanishes.
///
/// A statement whose asker has given up, and closed the connection, ends soon: else it would hold its
/// locks, and one of the server's connections, for as long as it takes. Not every system can tell.
///
/// Statements outside of a [`Transaction`] are written for the level that is PostgreSQL's own default,
/// whatever the database's or the user's may be.
const SESSION: &str = "set idle_in_transaction_session_timeout = '30s';
    set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 3; set tcp_keepalives_count = 2;
    set default_transaction_isolation = 'read committed';
    do $$ begin
        perform set_config('client_connection_check_interval', '5s', false);
    exception when others then
        null;
    end $$";

/// Why the database could not be opened. Texts are for the person who starts kasparro.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one.
    #[error("the database URL cannot be read")]
    Url(#[source] UrlError),
    /// No server answered in time.
    #[error(
        "the database did not answer within {} s; check DATABASE_URL (it leads to {target}) and that the \
         server runs", .waited.as_secs()
    )]
    Unreachable {
        /// Who was asked.
        target: Box<Target>,
        /// How long was waited.
        waited: Duration,
        /// The last answer.
        #[source]
        source: sqlx::Error,
    },
    /// The server answered, but not to us.
    #[error("the database refused the connection ({target}); {advice}")]
    Refused {
        /// Who was asked.
        target: Box<Target>,
        /// What helps.
        advice: String,
        /// The answer.
        #[source]
        source: sqlx::Error,
    },
    /// Connections are lent for a transaction at a time.
    #[error(
        "between kasparro and the database ({target}) is a pooler that lends its connections for one \
         transaction at a time, as PgBouncer does with pool_mode=transaction: kasparro listens, locks and \
         prepares statements on connections of its own. Let DATABASE_URL lead to the server itself, or to \
         a pool with pool_mode=session"
    )]
    SharedConnections {
        /// Who was asked.
        target: Box<Target>,
    },
    /// The database cannot hold every text.
    #[error(
        "the database ({target}) has the encoding {encoding}, which cannot hold every text; kasparro needs \
         UTF8. Name another one in DATABASE_URL, or move this one away and make it again: create database \
         {name} encoding 'UTF8' template template0"
    )]
    Encoding {
        /// Who was asked.
        target: Box<Target>,
        /// The database's name as SQL takes it.
        name: String,
        /// What it has.
        encoding: String,
    },
    /// Where tables are looked for none can be.
    #[error(
        "kasparro's tables have no place in the database ({target}): its search_path is {path:?}, and the \
         first schema of it that is there has to be one for tables. Take it out of DATABASE_URL and \
         PGOPTIONS if it is set there, or say in the database: alter role {user} in database {database} set \
         search_path = \"$user\", public;"
    )]
    SearchPath {
        /// Who was asked.
        target: Box<Target>,
        /// The user's name as SQL takes it.
        user: String,
        /// The database's name as SQL takes it.
        database: String,
        /// What it is.
        path: String,
    },
    /// Nothing can be written.
    #[error("nothing can be written to the database ({target}): {advice}")]
    ReadOnly {
        /// Who was asked.
        target: Box<Target>,
        /// Why, and what ends it.
        advice: String,
    },
    /// The server lacks what kasparro uses.
    #[error("the server ({target}) is PostgreSQL {version}; kasparro needs 14 or later")]
    TooOld {
        /// Who was asked.
        target: Box<Target>,
        /// What it is.
        version: String,
    },
    /// The user may not do what kasparro needs.
    #[error(
        "the database user `{user}` lacks rights; a user who may grant them (who owns the database or \
         the tables, else a superuser) says in this database:{lacking}"
    )]
    Rights {
        /// The user.
        user: String,
        /// What gives them.
        lacking: rights::Lacking,
    },
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
    /// The database has not been migrated, and this user may not do so.
    #[error(
        "the database's schema is older than this kasparro needs, or is not there yet, and the user `{user}` \
         may not change that: run `kasparro migrate` with the DATABASE_URL of the role that owns the \
         database and the tables. If `{user}` is to do it, a user who may grant rights runs in this \
         database:{lacking}"
    )]
    OlderAndNotOurs {
        /// The user.
        user: String,
        /// What would let it migrate.
        lacking: rights::Lacking,
    },
    /// A migration failed.
    #[error("the database could not be migrated")]
    Migrate(#[source] MigrateError),
    /// Any other answer.
    #[error("the database answered with an error")]
    Database(#[source] sqlx::Error),
}

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

/// A hash out of a column.
fn stored_hash(bytes: &[u8]) -> Result<StoredHash, sqlx::Error> {
    StoredHash::from_bytes(bytes).ok_or_else(|| {
        let text =
            format!("a hash of {} bytes: this kasparro knows those of 16 and 32", bytes.len());
        sqlx::Error::Decode(text.into())
    })
}

/// What the database answers within a time. A server that has vanished never does, and the
/// system does not report it: everything that runs for ever queries like this.
///
/// # Errors
/// Those of the question, and [`sqlx::Error::Io`] when there is no answer in time.
pub async fn in_time<T, E: From<sqlx::Error>>(
    within: Duration,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(within, asking).await.unwrap_or_else(|_elapsed| {
        let text = format!("no answer within {} s", within.as_secs());
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)).into())
    })
}

/// What a database error means for the task that met it.
pub fn failure_class(error: &sqlx::Error) -> FailureClass {
    match error {
        sqlx::Error::Database(database) => {
            database.code().map_or(FailureClass::Permanent, |code| sqlstate::class(&code))
        }
        sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::RowNotFound
        | sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_) => FailureClass::Permanent,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => FailureClass::Infrastructure,
        // Protocol and whatever a later sqlx adds: the connection, not the statement.
        _ => FailureClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_cannot_be_had_is_no_fault_of_the_task() {
        assert_eq!(failure_class(&sqlx::Error::PoolTimedOut), FailureClass::Infrastructure);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_not_waited_for() {
        let silent = std::future::pending::<Result<(), sqlx::Error>>();
        let error = in_time(Duration::from_secs(60), silent).await.expect_err("no answer");
        assert_eq!(failure_class(&error), FailureClass::Infrastructure);
        assert!(error.to_string().contains("no answer within 60 s"), "{error}");
    }
}
