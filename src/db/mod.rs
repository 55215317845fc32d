//! Floor 3: all SQL on kasparro's own tables, a module a table. Functions take the connection or
//! transaction they run in: the caller owns the transaction.
//!
//! Must not know: the queue's tables, HTTP, how sources are read.

pub mod api_tokens;
pub mod backfill_checkpoints;
pub mod checkpoints;
pub mod clock;
mod connect;
pub mod console_sessions;
pub mod console_topics;
pub mod definitions;
pub mod due_runs;
pub mod exported_rows;
pub mod field_presence;
pub mod lineage;
mod migrate;
pub mod missing_records;
pub mod oauth_tokens;
mod open_error;
pub mod page_validators;
pub mod parent_keys;
pub mod parents;
pub mod pgcopy;
pub mod quarantine_pages;
pub mod quarantine_totals;
pub mod quarantined_rows;
pub mod rate_limits;
pub mod raw_api_data;
pub mod raw_csv_blocks;
pub mod replay;
pub mod retention;
pub mod rights;
pub mod run_chains;
pub mod run_controls;
pub mod run_pages;
pub mod run_repeated_keys;
pub mod run_tasks;
pub mod runs;
pub mod schedule_ticks;
pub mod schema_drift;
pub mod schemas;
pub mod source_files;
pub mod source_health;
pub mod source_pauses;
pub mod source_views;
mod sqlstate;
pub mod storage;
pub mod streamed_files;
mod target;
pub mod totals;
mod transaction;
pub mod typed_columns;
pub mod unchanged_pages;
pub mod unified_records;
pub mod unique_values;
pub mod unreadable_files;
pub mod waits;
pub mod watched_sources;

use std::future::Future;
use std::io;
use std::time::Duration;

use crate::domain::failure::FailureClass;
use crate::domain::hash::StoredHash;
pub use connect::{Reached, check, connect, reach};
pub use migrate::{MIGRATIONS, check_version, has_tables, migrate};
pub use open_error::OpenError;
pub use target::{Target, UrlError};
pub use transaction::Transaction;

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
