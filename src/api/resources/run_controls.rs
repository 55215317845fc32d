//! Owns what is done to a run that was started: cancelling it, trying its failed tasks again.

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;

use super::run::Run;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::runs;
use crate::domain::actor::Actor;
use crate::domain::run::RunId;
use crate::tasks::accept_deletions::{AcceptOutcome, accept_deletions};
use crate::tasks::cancel_run::{CancelOutcome, cancel_run};
use crate::tasks::retry_run::{RetryOutcome, retry_run};

/// `POST /runs/{id}/cancel`
struct CancelRun;
impl Declares for CancelRun {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownRun, Kind::RunEnded];
}

/// `POST /runs/{id}/retry`
struct RetryRun;
impl Declares for RetryRun {
    const KINDS: &'static [Kind] =
        &[Kind::InvalidParameter, Kind::UnknownRun, Kind::NothingToRetry, Kind::SourcePaused];
}

/// `POST /runs/{id}/accept-deletions`
struct AcceptDeletions;
impl Declares for AcceptDeletions {
    const KINDS: &'static [Kind] =
        &[Kind::InvalidParameter, Kind::UnknownRun, Kind::NothingHeldBack];
}

/// The operations on runs that were started.
pub(crate) struct RunControlsApi;

#[OpenApi(tag = "Tag::Runs")]
impl RunControlsApi {
    /// Cancel a run
    ///
    /// Tasks that have not begun never do, those under way stop without a trace. What was committed
    /// stays; the next run reads again what this one did not finish. Again is harmless.
    #[oai(path = "/runs/:id/cancel", method = "post", operation_id = "cancel_run")]
    async fn cancel(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// The run's id.
        id: Path<i64>,
    ) -> Result<Json<Run>, Refusal<CancelRun>> {
        Ok(Json(cancelled(&state, &actor, id.0).await?.into()))
    }

    /// Retry a failed run
    ///
    /// Its failed tasks are tried again, with the job file that the run began with; what was done is not
    /// done again. Refused when a later run of the source has begun: that one has read what the source
    /// was then.
    #[oai(path = "/runs/:id/retry", method = "post", operation_id = "retry_run")]
    async fn retry(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// The run's id.
        id: Path<i64>,
    ) -> Result<Json<Run>, Refusal<RetryRun>> {
        Ok(Json(retried(&state, &actor, id.0).await?.into()))
    }

    /// Accept the deletions of a run
    ///
    /// Marks the records as deleted that the run did not see and held back, because they were more than
    /// `[missing]` of the job file allows. Refused when a later run of the source has begun: it may have seen
    /// them.
    #[oai(path = "/runs/:id/accept-deletions", method = "post", operation_id = "accept_deletions")]
    async fn accept_deletions(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// The run's id.
        id: Path<i64>,
    ) -> Result<Json<Run>, Refusal<AcceptDeletions>> {
        let mut transaction = state.begin().await?;
        let outcome = accept_deletions(&mut transaction, RunId(id.0), &actor).await?;
        transaction.commit().await?;
        let refused = |detail| Err(Problem::new(Kind::NothingHeldBack, detail).into());
        match outcome {
            AcceptOutcome::Accepted(run, _) => Ok(Json(run.into())),
            AcceptOutcome::NothingHeldBack(_) => {
                refused(format!("run {} holds no deletions back", id.0))
            }
            AcceptOutcome::Superseded(later) => {
                refused(format!("run {later} of the source is later than run {}", id.0))
            }
            AcceptOutcome::Unknown => Err(Problem::unknown_run(id.0).into()),
        }
    }
}

/// Cancels a run.
///
/// # Errors
/// A problem when it has ended, when there is no such run, or when the database does not answer.
pub(crate) async fn cancelled(
    state: &ApiState,
    actor: &Actor,
    id: i64,
) -> Result<runs::Run, Problem> {
    let mut transaction = state.begin().await?;
    let outcome = cancel_run(&mut transaction, RunId(id), actor).await?;
    transaction.commit().await?;
    match outcome {
        CancelOutcome::Cancelled(run) => Ok(run),
        CancelOutcome::Ended(run) => {
            let detail = format!("run {id} has ended: {}", run.status);
            Err(Problem::new(Kind::RunEnded, detail))
        }
        CancelOutcome::Unknown => Err(Problem::unknown_run(id)),
    }
}

/// Has the failed tasks of a run tried again.
///
/// # Errors
/// A problem when none failed, when a later run has begun or the source is paused, when there is no such run, or when
/// the database does not answer.
pub(crate) async fn retried(
    state: &ApiState,
    actor: &Actor,
    id: i64,
) -> Result<runs::Run, Problem> {
    let mut transaction = state.begin().await?;
    let outcome = retry_run(&mut transaction, RunId(id), actor).await?;
    transaction.commit().await?;
    let refused = |detail| Err(Problem::new(Kind::NothingToRetry, detail));
    match outcome {
        RetryOutcome::Retried(run) => Ok(run),
        RetryOutcome::NothingFailed(run) => {
            refused(format!("run {id} has no failed task: it is {}", run.status))
        }
        RetryOutcome::Superseded(later) => {
            refused(format!("run {later} of the source is later than run {id}"))
        }
        RetryOutcome::Paused(pause) => Err(Problem::source_paused(&pause)),
        RetryOutcome::Unknown => Err(Problem::unknown_run(id)),
    }
}
