//! Owns `run_progress`, the progress of a run under way: what its tasks add up to after each attempt that
//! ended. Rows are appended only, so that reading the latest costs the same whatever snapshots keep.
//!
//! To change the progress, hold [`super::lock`] while reading it.

use sqlx::PgConnection;

use super::lock::Locked;
use crate::domain::counters::Counters;
use crate::domain::run::RunId;

/// What a run adds up to after an attempt of one of its tasks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunProgress {
    /// Number of the row within the run: tasks completed and attempts ended so far.
    pub sequence: i64,
    /// Tasks known so far, completed ones included.
    pub tasks: i32,
    /// Tasks that have not completed.
    pub open: i32,
    /// Of those, the ones that read the source.
    pub open_reading: i32,
    /// Tasks that failed.
    pub failed: i32,
    /// What the completed ones did.
    pub counters: Counters,
    /// Rows that a retry applies again and that the run had inserted before.
    pub inserted_before: i64,
}

/// What a completing task changes about its run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgressChange {
    /// Tasks enqueued in the same transaction.
    pub opened: i32,
    /// How many of those read the source.
    pub opened_reading: i32,
    /// Tasks that came into the ledger as completed ones.
    pub taken_over: i32,
    /// Whether the completed task read the source.
    pub reading: bool,
    /// Whether it failed.
    pub failed: bool,
    /// What it did.
    pub counters: Counters,
    /// How many of the rows that it inserted the run had inserted before: see
    /// [`RunProgress::inserted_before`].
    pub inserted_before: i64,
}

impl RunProgress {
    /// Those of a run whose planning task is all that there is.
    pub fn begun() -> Self {
        Self {
            sequence: 0,
            tasks: 1,
            open: 1,
            open_reading: 1,
            failed: 0,
            counters: Counters::default(),
            inserted_before: 0,
        }
    }

    /// Adds a completed task.
    pub fn complete(&mut self, change: &ProgressChange) {
        self.sequence += 1;
        self.tasks += change.opened + change.taken_over;
        self.open += change.opened - 1;
        self.open_reading += change.opened_reading - i32::from(change.reading);
        self.failed += i32::from(change.failed);
        self.counters += change.counters;
        self.inserted_before -= change.inserted_before;
    }
}

/// The latest progress of a run under way.
///
/// # Errors
/// Database errors; `RowNotFound` when the run has ended.
pub async fn latest(connection: &mut PgConnection, run: RunId) -> Result<RunProgress, sqlx::Error> {
    let row = sqlx::query!(
        r#"select sequence as "sequence!", tasks as "tasks!", open_tasks as "open_tasks!",
                open_reading_tasks as "open_reading_tasks!", failed_tasks as "failed_tasks!",
                slices as "slices!", bytes as "bytes!", rows_read as "rows_read!",
                inserted as "inserted!", updated as "updated!", unchanged as "unchanged!",
                quarantined as "quarantined!", inserted_before as "inserted_before!"
         from latest_run_progress($1)"#,
        run.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(RunProgress {
        sequence: row.sequence,
        tasks: row.tasks,
        open: row.open_tasks,
        open_reading: row.open_reading_tasks,
        failed: row.failed_tasks,
        counters: Counters {
            slices: row.slices,
            bytes: row.bytes,
            rows_read: row.rows_read,
            inserted: row.inserted,
            updated: row.updated,
            unchanged: row.unchanged,
            quarantined: row.quarantined,
        },
        inserted_before: row.inserted_before,
    })
}

/// Appends the next row of the progress. The run's row follows about once a second, for
/// readers of `etl_runs` alone.
///
/// # Errors
/// Database errors; a violated key when another connection has appended that row.
pub async fn record(
    connection: &mut PgConnection,
    run: RunId,
    before: &Locked,
    progress: &RunProgress,
) -> Result<(), sqlx::Error> {
    append(connection, run, progress).await?;
    if before.outdated {
        copy_to_run(connection, run, progress).await?;
    }
    Ok(())
}

/// Appends the next row of the progress.
///
/// # Errors
/// Database errors; a violated key when another connection has appended that row.
pub async fn append(
    connection: &mut PgConnection,
    run: RunId,
    progress: &RunProgress,
) -> Result<(), sqlx::Error> {
    let counters = &progress.counters;
    sqlx::query!(
        "insert into run_progress (run_id, sequence, tasks, open_tasks, open_reading_tasks, failed_tasks,
                                slices, bytes, rows_read, inserted, updated, unchanged, quarantined,
                                inserted_before)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        run.0,
        progress.sequence,
        progress.tasks,
        progress.open,
        progress.open_reading,
        progress.failed,
        counters.slices,
        counters.bytes,
        counters.rows_read,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.quarantined,
        progress.inserted_before,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the progress to the run's row in `etl_runs`.
///
/// # Errors
/// Database errors.
pub async fn copy_to_run(
    connection: &mut PgConnection,
    run: RunId,
    progress: &RunProgress,
) -> Result<(), sqlx::Error> {
    let counters = &progress.counters;
    sqlx::query!(
        "update etl_runs set
            sequence = $2, last_progress_at = clock_timestamp(), tasks = $3, open_tasks = $4, failed_tasks = $5,
            slices = $6, bytes = $7, rows_read = $8, inserted = $9, updated = $10, unchanged = $11,
            quarantined = $12
         where id = $1",
        run.0,
        progress.sequence,
        progress.tasks,
        progress.open,
        progress.failed,
        counters.slices,
        counters.bytes,
        counters.rows_read,
        counters.inserted,
        counters.updated,
        counters.unchanged,
        counters.quarantined,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the progress of a run that ends: from now on its row in `etl_runs` has the totals. What a
/// retry would have applied again, and did not get to, counts as inserted.
///
/// # Errors
/// Database errors.
pub async fn finish(
    connection: &mut PgConnection,
    run: RunId,
    mut progress: RunProgress,
) -> Result<(), sqlx::Error> {
    progress.counters.inserted += progress.inserted_before;
    copy_to_run(connection, run, &progress).await?;
    sqlx::query!("delete from run_progress where run_id = $1", run.0).execute(connection).await?;
    Ok(())
}
