//! Owns trying the failed tasks of a failed run again. What is done stays done, except for slices that
//! were applied behind a failed one and must come after it: these are applied once more, in order.

use sqlx::PgConnection;

use super::batches::next_in_order;
use crate::db::run_controls::{self, Reopened};
use crate::db::runs::{self, Run};
use crate::db::source_pauses::{self, SourcePause};
use crate::db::{run_tasks, totals};
use crate::domain::actor::Actor;
use crate::domain::run::{RunId, RunStatus};
use crate::queue;

/// What came of it.
#[derive(Debug, Clone)]
pub enum RetryOutcome {
    /// The run goes on.
    Retried(Run),
    /// The run has no failed task, or none that the ledger still knows.
    NothingFailed(Run),
    /// This later run of the source has read what the source was then: going on with the earlier
    /// one could put older values over newer ones.
    Superseded(RunId),
    /// The source is paused.
    Paused(SourcePause),
    /// There is no such run.
    Unknown,
}

/// Opens the failed tasks of a run again, in the caller's transaction. The run goes on with the job
/// file that it began with.
///
/// # Errors
/// Database errors.
pub async fn retry_run(
    transaction: &mut PgConnection,
    id: RunId,
    actor: &Actor,
) -> Result<RetryOutcome, sqlx::Error> {
    let Some(run) = run_controls::lock(transaction, id).await? else {
        return Ok(RetryOutcome::Unknown);
    };
    if run.status != RunStatus::Failed {
        return Ok(RetryOutcome::NothingFailed(run));
    }
    if let Some(pause) = source_pauses::in_force(&mut *transaction, &run.source).await? {
        return Ok(RetryOutcome::Paused(pause));
    }
    // A later run that begins just now waits for our entry in the index of active runs.
    if let Some(later) = run_controls::later(transaction, &run).await? {
        return Ok(RetryOutcome::Superseded(later));
    }
    let order = runs::lock(transaction, id).await?.slice_order;
    let reopened = run_controls::reopen(transaction, id, order).await?;
    let Reopened { opened, withdrawn, .. } = &reopened;
    if opened.is_empty() && withdrawn.is_empty() {
        // The janitor has removed the ledger.
        return Ok(RetryOutcome::NothingFailed(run));
    }
    if !run.dry_run {
        totals::take_off_run(transaction, &run.source, run.status, &run.counters).await?;
    }
    let anew: Vec<_> = opened.iter().chain(withdrawn).cloned().collect();
    queue::remove_ended(transaction, id, &anew).await?;
    queue::enqueue(transaction, id, opened).await?;
    // Nothing asks for a batch when no slice is left to read.
    let batch = next_in_order(transaction, id, order, None).await?;
    let planned = run_tasks::insert(transaction, id, batch.as_slice()).await?;
    queue::enqueue(transaction, id, &planned).await?;
    run_controls::reopen_run(transaction, &run, &reopened, planned.len() as i32).await?;
    tracing::info!(run_id = id.0, source = run.source, %actor, tasks = opened.len(), "run retried");
    match runs::get(transaction, id).await? {
        Some(run) => Ok(RetryOutcome::Retried(run)),
        None => Ok(RetryOutcome::Unknown),
    }
}
