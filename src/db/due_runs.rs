//! Owns `due_runs`: runs that must follow one that has ended, and could not start with its end.

use sqlx::{PgConnection, PgExecutor};

use crate::domain::run::RunId;

/// A run that must follow another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRun {
    /// Whose run it is; [`EVERY`] where the job files could not be read.
    pub source: String,
    /// The source whose run has ended.
    pub after: String,
    /// That run.
    pub run: RunId,
}

/// Stands for every source whose job file names the one that has ended. It is no name of a source.
pub const EVERY: &str = "*";

/// Notes that a run is due.
///
/// # Errors
/// Database errors.
pub async fn note(connection: &mut PgConnection, due: &DueRun) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into due_runs (source, after, run_id) values ($1, $2, $3)
         on conflict (source, after) do update
         set run_id = greatest(due_runs.run_id, excluded.run_id)",
        due.source,
        due.after,
        due.run.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes what is due of a source, the latest first: whoever takes it starts the run, or notes it again.
///
/// # Errors
/// Database errors.
pub async fn take(connection: &mut PgConnection, source: &str) -> Result<Vec<DueRun>, sqlx::Error> {
    let rows = sqlx::query!(
        "delete from due_runs where source = $1 returning source, after, run_id",
        source,
    )
    .fetch_all(connection)
    .await?;
    let due = |source, after, run| DueRun { source, after, run: RunId(run) };
    let mut taken: Vec<_> =
        rows.into_iter().map(|row| due(row.source, row.after, row.run_id)).collect();
    taken.sort_by_key(|due| std::cmp::Reverse(due.run));
    Ok(taken)
}

/// The sources that runs are due of.
///
/// # Errors
/// Database errors.
pub async fn sources(executor: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("select distinct source from due_runs order by source")
        .fetch_all(executor)
        .await
}
