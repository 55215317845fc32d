//! Owns marking records as deleted that a run has held back because they were too many.

use sqlx::PgConnection;

use super::deletions;
use crate::db::runs::{self, Run};
use crate::db::{missing_records, run_controls};
use crate::domain::actor::Actor;
use crate::domain::run::RunId;

/// What came of it.
#[derive(Debug, Clone)]
pub enum AcceptOutcome {
    /// So many records are marked as deleted.
    Accepted(Run, usize),
    /// The run has held nothing back, or that was accepted already.
    NothingHeldBack(Run),
    /// This later run of the source has begun, and may have seen the records again.
    Superseded(RunId),
    /// There is no such run.
    Unknown,
}

/// Marks the records as deleted that a run has held back, in the caller's transaction.
///
/// # Errors
/// Database errors.
pub async fn accept_deletions(
    transaction: &mut PgConnection,
    id: RunId,
    actor: &Actor,
) -> Result<AcceptOutcome, sqlx::Error> {
    let Some(run) = run_controls::lock(transaction, id).await? else {
        return Ok(AcceptOutcome::Unknown);
    };
    if run.status.is_active() || run.dry_run {
        return Ok(AcceptOutcome::NothingHeldBack(run));
    }
    if let Some(later) = run_controls::later(transaction, &run).await? {
        return Ok(AcceptOutcome::Superseded(later));
    }
    if missing_records::release(transaction, &run.source, id).await? == 0 {
        return Ok(AcceptOutcome::NothingHeldBack(run));
    }
    let marked = deletions::mark(transaction, &run.source, id, i32::MAX).await?;
    let note = format!("{marked} records marked as deleted, accepted by {actor}");
    runs::add_to_note(transaction, id, &note).await?;
    tracing::info!(run_id = id.0, source = run.source, %actor, records = marked, "deletions accepted");
    match runs::get(transaction, id).await? {
        Some(run) => Ok(AcceptOutcome::Accepted(run, marked)),
        None => Ok(AcceptOutcome::Unknown),
    }
}
