//! Owns pausing and resuming a source. While it is paused no run of it starts, and the tasks of an
//! active run wait; what is under way is finished.

use sqlx::PgConnection;

use crate::db::source_pauses::{self, SourcePause};
use crate::db::{run_controls, runs};
use crate::domain::actor::Actor;
use crate::domain::pause::PauseReason;
use crate::queue;

/// Pauses a source, in the caller's transaction; returns the pause in force, which may be an earlier
/// one.
///
/// # Errors
/// Database errors.
pub async fn pause_source(
    transaction: &mut PgConnection,
    source: &str,
    actor: &Actor,
    reason: &PauseReason,
) -> Result<SourcePause, sqlx::Error> {
    let pause = source_pauses::pause(transaction, source, actor, reason).await?;
    tracing::info!(source, %actor, "source paused");
    Ok(pause)
}

/// Resumes a source, in the caller's transaction; returns the pause that ended, if there was one.
/// The tasks that waited go on at once, but for those that have their own reason to wait.
///
/// # Errors
/// Database errors.
pub async fn resume_source(
    transaction: &mut PgConnection,
    source: &str,
    actor: &Actor,
    reason: Option<&PauseReason>,
) -> Result<Option<SourcePause>, sqlx::Error> {
    let Some(pause) = source_pauses::resume(transaction, source, actor, reason).await? else {
        return Ok(None);
    };
    if let Some(run) = runs::active(&mut *transaction, source).await? {
        let waiting = run_controls::take_off_pause(transaction, run, pause.paused_at).await?;
        queue::reschedule(transaction, run, &waiting).await?;
    }
    tracing::info!(source, %actor, "source resumed");
    Ok(Some(pause))
}
