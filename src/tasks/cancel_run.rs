//! Owns ending a run on request. What its tasks have committed stays; nothing else of it will be.

use sqlx::PgConnection;

use crate::db::runs::{self, Run, progress};
use crate::db::{missing_records, run_controls, run_tasks, totals};
use crate::domain::actor::Actor;
use crate::domain::run::{RunId, RunStatus};
use crate::queue;

/// What came of it.
#[derive(Debug, Clone)]
pub enum CancelOutcome {
    /// The run is cancelled, now or since earlier.
    Cancelled(Run),
    /// The run had ended otherwise.
    Ended(Run),
    /// There is no such run.
    Unknown,
}

/// Cancels a run, in the caller's transaction. Whether it or the run's last task comes first is
/// decided by the lock on the run's row.
///
/// # Errors
/// Database errors.
pub async fn cancel_run(
    transaction: &mut PgConnection,
    id: RunId,
    actor: &Actor,
) -> Result<CancelOutcome, sqlx::Error> {
    let Some(run) = run_controls::lock(transaction, id).await? else {
        return Ok(CancelOutcome::Unknown);
    };
    match run.status {
        RunStatus::Cancelled => return Ok(CancelOutcome::Cancelled(run)),
        status if !status.is_active() => return Ok(CancelOutcome::Ended(run)),
        _ => {}
    }
    let mut progress = progress::latest(transaction, id).await?;
    let tasks = run_controls::cancel_open_tasks(transaction, id, progress.sequence).await?;
    queue::end_waiting(transaction, id, &tasks).await?;
    progress.sequence += tasks.len() as i64;
    (progress.open, progress.open_reading) = (0, 0);
    progress::finish(transaction, id, progress).await?;
    let counters = runs::get(&mut *transaction, id).await?.map_or(run.counters, |run| run.counters);
    if !run.dry_run {
        totals::add_run(transaction, &run.source, RunStatus::Cancelled, &counters).await?;
    }
    let mut reason = format!("cancelled by {actor}");
    if counters.quarantined > 0 {
        let set_aside = run_tasks::set_aside(transaction, id).await?;
        reason += &format!("; {}: {set_aside}", counters.quarantined_of_all());
    }
    missing_records::forget_seen(transaction, &run.source).await?;
    runs::finish(transaction, id, RunStatus::Cancelled, Some(&reason)).await?;
    tracing::info!(run_id = id.0, source = run.source, %actor, "run cancelled");
    Ok(match runs::get(transaction, id).await? {
        Some(run) => CancelOutcome::Cancelled(run),
        None => CancelOutcome::Unknown,
    })
}
