//! Owns what the console's buttons do: what the API does, answered by a page.

use poem::web::{Data, Form, Path};
use poem::{Response, handler};
use serde::Deserialize;

use super::done::Done;
use super::html::part;
use super::shell::see;
use crate::api::http::problem::{Kind, Problem};
use crate::api::resources::catalog::Catalog;
use crate::api::state::ApiState;
use crate::domain::actor::Actor;
use crate::domain::pause::PauseReason;
use crate::domain::run::{Mode, RunId, Trigger};
use crate::tasks::cancel_run::{CancelOutcome, cancel_run};
use crate::tasks::pause_source::{pause_source, resume_source};
use crate::tasks::retry_run::{RetryOutcome, retry_run};
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};

/// `POST /ui/runs/{id}/cancel`
#[handler]
pub(crate) async fn cancel(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = run_id(&id)?;
    let mut transaction = state.begin().await.map_err(Problem::from)?;
    let outcome = cancel_run(&mut transaction, RunId(id), &actor).await.map_err(Problem::from)?;
    transaction.commit().await.map_err(Problem::from)?;
    match outcome {
        CancelOutcome::Cancelled(_) => Ok(see(&Done::Cancelled(id).at(&format!("/ui/runs/{id}")))),
        CancelOutcome::Ended(run) => {
            let detail = format!("run {id} has ended: {}", run.status);
            Err(Problem::new(Kind::RunEnded, detail).into())
        }
        CancelOutcome::Unknown => Err(Problem::unknown_run(id).into()),
    }
}

/// `POST /ui/runs/{id}/retry`
#[handler]
pub(crate) async fn retry(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = run_id(&id)?;
    let mut transaction = state.begin().await.map_err(Problem::from)?;
    let outcome = retry_run(&mut transaction, RunId(id), &actor).await.map_err(Problem::from)?;
    transaction.commit().await.map_err(Problem::from)?;
    let refused = |detail| Err(Problem::new(Kind::NothingToRetry, detail).into());
    match outcome {
        RetryOutcome::Retried(_) => Ok(see(&Done::Retried(id).at(&format!("/ui/runs/{id}")))),
        RetryOutcome::NothingFailed(run) => {
            refused(format!("run {id} has no failed task: it is {}", run.status))
        }
        RetryOutcome::Superseded(later) => {
            refused(format!("run {later} of the source is later than run {id}"))
        }
        RetryOutcome::Paused(pause) => Err(Problem::source_paused(&pause).into()),
        RetryOutcome::Unknown => Err(Problem::unknown_run(id).into()),
    }
}

/// Why sources are paused that were paused together.
pub(crate) const PAUSED_BY_LIST: &str = "paused in the console, together with others";

/// What kind of run a button starts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunForm {
    mode: String,
    dry_run: bool,
}

/// `POST /ui/sources/{name}/run`
#[handler]
pub(crate) async fn run_source(
    state: Data<&ApiState>,
    Path(name): Path<String>,
    form: Option<Form<RunForm>>,
) -> poem::Result<Response> {
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let mode = match form.mode.as_str() {
        "" => Mode::Incremental,
        word => word.parse().map_err(|error| {
            Problem::new(Kind::InvalidParameter, format!("parameter `mode`: {error}"))
        })?,
    };
    let catalog = Catalog::load(&state.jobs).await?;
    begun(&name, start(&state, &catalog, &name, mode, form.dry_run).await?)
}

/// Starts a run that shows what normalizing again would do, from a run on, and leads to it.
///
/// # Errors
/// As of [`start`], and when it cannot begin.
pub(crate) async fn dry_replay(state: &ApiState, name: &str, from: i64) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let raw = RawRange { from: Some(RunId(from)), to: None };
    begun(name, start_of(state, &catalog, name, (Mode::Replay, raw), true).await?)
}

/// Starts a run of a source.
///
/// # Errors
/// A problem when there is no such job file, when it cannot be used, or when the database does not answer.
pub(crate) async fn start(
    state: &ApiState,
    catalog: &Catalog,
    name: &str,
    mode: Mode,
    dry_run: bool,
) -> Result<Started, Problem> {
    start_of(state, catalog, name, (mode, RawRange::default()), dry_run).await
}

async fn start_of(
    state: &ApiState,
    catalog: &Catalog,
    name: &str,
    (mode, raw): (Mode, RawRange),
    dry_run: bool,
) -> Result<Started, Problem> {
    let definition = catalog.require(name)?;
    let request = RunRequest {
        mode,
        trigger: Trigger::Api,
        access: state.access,
        idempotency_key: None,
        raw,
        dry_run,
        range: None,
    };
    let mut transaction = state.begin().await?;
    let started = start_run(&mut transaction, definition, &request).await?;
    transaction.commit().await?;
    Ok(started)
}

/// What the form of a pause sends.
#[derive(Debug, Deserialize)]
pub(crate) struct PauseForm {
    reason: String,
}

/// `POST /ui/sources/{name}/pause`
#[handler]
pub(crate) async fn pause_one(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(name): Path<String>,
    Form(form): Form<PauseForm>,
) -> poem::Result<Response> {
    let reason: PauseReason = form
        .reason
        .parse()
        .map_err(|error| Problem::new(Kind::InvalidRequest, format!("reason: {error}")))?;
    let catalog = Catalog::load(&state.jobs).await?;
    if !catalog.has(&name) {
        return Err(catalog.unknown(&name).into());
    }
    let mut transaction = state.begin().await.map_err(Problem::from)?;
    pause_source(&mut transaction, &name, &actor, &reason).await.map_err(Problem::from)?;
    transaction.commit().await.map_err(Problem::from)?;
    Ok(see(&Done::Paused(1).at(&source_page(&name))))
}

/// `POST /ui/sources/{name}/resume`
#[handler]
pub(crate) async fn resume_one(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(name): Path<String>,
) -> poem::Result<Response> {
    let mut transaction = state.begin().await.map_err(Problem::from)?;
    let ended =
        resume_source(&mut transaction, &name, &actor, None).await.map_err(Problem::from)?;
    transaction.commit().await.map_err(Problem::from)?;
    match ended {
        Some(_) => Ok(see(&Done::Resumed(1).at(&source_page(&name)))),
        None => {
            let detail = format!("source {name:?} is not paused");
            Err(Problem::new(Kind::SourceNotPaused, detail).into())
        }
    }
}

/// The page of a run that was begun, or why it was not.
fn begun(source: &str, started: Started) -> poem::Result<Response> {
    let id = begun_run(source, started)?;
    Ok(see(&Done::Started(id).at(&format!("/ui/runs/{id}"))))
}

/// The run that was begun.
///
/// # Errors
/// Why none was.
pub(crate) fn begun_run(source: &str, started: Started) -> Result<i64, Problem> {
    let problem = match started {
        Started::New(id) | Started::Same(id) => return Ok(id.0),
        Started::Busy(id) => Problem::run_active(source, id.0),
        Started::Paused(pause) => Problem::source_paused(&pause),
        Started::NothingToReplay(nothing) => {
            Problem::new(Kind::NothingToReplay, nothing.to_string())
        }
        Started::NoRange(why) => Problem::new(Kind::InvalidRequest, why),
        Started::Invalid(problem) => Problem::new(Kind::InvalidJobFile, problem),
    };
    Err(problem)
}

/// The page of a source.
fn source_page(name: &str) -> String {
    format!("/ui/sources/{}", part(name))
}

/// The number of a run in an address.
///
/// # Errors
/// A problem when it is none.
pub(crate) fn run_id(text: &str) -> Result<i64, Problem> {
    let unknown = || Problem::new(Kind::UnknownRun, format!("there is no run {text}"));
    text.parse().ok().filter(|id| *id > 0).ok_or_else(unknown)
}
