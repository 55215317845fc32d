//! Owns what the console's buttons do: what the API does, answered by a page.

use poem::web::{Data, Form, Path};
use poem::{Response, handler};
use serde::Deserialize;

use super::done::Done;
use super::html::part;
use super::shell::see;
use crate::api::http::problem::{Kind, Problem};
use crate::api::resources::catalog::Catalog;
use crate::api::resources::pauses::{paused, reason, resumed};
use crate::api::resources::run_controls::{cancelled, retried};
use crate::api::resources::start_runs::{begin, begun};
use crate::api::state::ApiState;
use crate::domain::actor::Actor;
use crate::domain::run::{Mode, RunId, Trigger};
use crate::domain::source_name::SourceName;
use crate::tasks::start_run::{RawRange, RunRequest, Started};

/// `POST /ui/runs/{id}/cancel`
#[handler]
pub(crate) async fn cancel(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = run_id(&id)?;
    cancelled(&state, &actor, id).await?;
    Ok(see(&Done::Cancelled(id).at(&format!("/ui/runs/{id}"))))
}

/// `POST /ui/runs/{id}/retry`
#[handler]
pub(crate) async fn retry(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(id): Path<String>,
) -> poem::Result<Response> {
    let id = run_id(&id)?;
    retried(&state, &actor, id).await?;
    Ok(see(&Done::Retried(id).at(&format!("/ui/runs/{id}"))))
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
    run_page(&name, start(&state, &catalog, &name, mode, form.dry_run).await?)
}

/// Starts a run that shows what normalizing again would do, from a run on, and leads to it.
///
/// # Errors
/// As of [`start`], and when it cannot begin.
pub(crate) async fn dry_replay(state: &ApiState, name: &str, from: i64) -> poem::Result<Response> {
    let catalog = Catalog::load(&state.jobs).await?;
    let raw = RawRange { from: Some(RunId(from)), to: None };
    run_page(name, start_of(state, &catalog, name, (Mode::Replay, raw), true).await?)
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
    Ok(begin(state, definition, &request).await?)
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
    let catalog = Catalog::load(&state.jobs).await?;
    paused(&state, &catalog, &name, &actor, &reason(&form.reason)?).await?;
    Ok(see(&Done::Paused(1).at(&source_page(&name))))
}

/// `POST /ui/sources/{name}/resume`
#[handler]
pub(crate) async fn resume_one(
    state: Data<&ApiState>,
    actor: Data<&Actor>,
    Path(name): Path<String>,
) -> poem::Result<Response> {
    let name: SourceName = name.parse().map_err(|error| {
        Problem::new(Kind::InvalidParameter, format!("parameter `name`: {error}"))
    })?;
    let name = name.as_str();
    resumed(&state, name, &actor, None).await?;
    Ok(see(&Done::Resumed(1).at(&source_page(name))))
}

/// The page of a run that was begun, or why it was not.
fn run_page(source: &str, started: Started) -> poem::Result<Response> {
    let id = begun(source, started)?;
    Ok(see(&Done::Started(id.0).at(&format!("/ui/runs/{id}"))))
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
