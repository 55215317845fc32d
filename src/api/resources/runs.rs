//! Owns the operations on runs and their tasks: starting (the details are in `start_runs`), listing,
//! reading. How they are shown is in `run` and `task`.

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;

use super::run::{MOST_CHAINS, Run};
use super::start_runs::{self, StartAnswer, StartRuns, StartRunsOperation};
use super::task::Task;
use crate::api::http::json_body::JsonBody;
use crate::api::http::pagination::{self, Limit, Page};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::runs::{self, RunFilter};
use crate::db::{run_chains, run_tasks};
use crate::domain::run::{RunId, RunStatus};
use crate::domain::source_name::SourceName;

/// `GET /runs`
struct ListRuns;
impl Declares for ListRuns {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter];
}

/// `GET /runs/{id}` and what lies beneath it.
struct GetRun;
impl Declares for GetRun {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownRun];
}

/// The operations on runs.
pub(crate) struct RunsApi;

#[OpenApi(tag = "Tag::Runs")]
impl RunsApi {
    /// Start runs
    ///
    /// Names exactly one of `source`, `sources` and `all`. A source has one active run at a time.
    #[oai(path = "/runs", method = "post", operation_id = "start_runs")]
    async fn start(
        &self,
        state: Data<&ApiState>,
        /// Requests with the same key start a source's run once; later ones answer that run.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<Option<String>>,
        body: JsonBody<StartRuns>,
    ) -> Result<StartAnswer, Refusal<StartRunsOperation>> {
        Ok(start_runs::start(&state, body.0, idempotency_key.0.as_deref()).await?)
    }

    /// List runs
    ///
    /// Newest first.
    #[oai(path = "/runs", method = "get", operation_id = "list_runs")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        /// Only runs of this source.
        source: Query<Option<SourceName>>,
        /// Only runs with this status.
        status: Query<Option<RunStatus>>,
        /// The most runs to answer.
        #[oai(default)]
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Run>>, Refusal<ListRuns>> {
        let before =
            cursor.0.map(|cursor| pagination::decode_number("runs", &cursor)).transpose()?;
        let filter = RunFilter {
            source: source.0.map(String::from),
            status: status.0,
            before: before.map(RunId),
            ..RunFilter::default()
        };
        let rows = runs::list(&mut *state.connection().await?, &filter, limit.rows()).await?;
        Ok(Json(Page::new(rows, limit.0, "runs", |run| [run.id.to_string()])))
    }

    /// Show a run
    #[oai(path = "/runs/:id", method = "get", operation_id = "get_run")]
    async fn get(
        &self,
        state: Data<&ApiState>,
        /// The run's id.
        id: Path<i64>,
    ) -> Result<Json<Run>, Refusal<GetRun>> {
        let mut connection = state.connection().await?;
        let run = runs::get(&mut *connection, RunId(id.0)).await?;
        let run: Run = run.ok_or_else(|| Problem::unknown_run(id.0))?.into();
        let chains = run_chains::list(&mut *connection, RunId(id.0), MOST_CHAINS).await?;
        Ok(Json(run.with_chains(chains)))
    }

    /// List the tasks of a run
    ///
    /// In the order of their keys.
    #[oai(path = "/runs/:id/tasks", method = "get", operation_id = "list_run_tasks")]
    async fn tasks(
        &self,
        state: Data<&ApiState>,
        /// The run's id.
        id: Path<i64>,
        /// The most tasks to answer.
        #[oai(default)]
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Task>>, Refusal<GetRun>> {
        let after = cursor.0.map(|cursor| pagination::decode("tasks", &cursor)).transpose()?;
        let after = after.as_ref().map(|[key]: &[String; 1]| key.as_str());
        let mut connection = state.connection().await?;
        let run = runs::get(&mut *connection, RunId(id.0)).await?;
        let run = run.ok_or_else(|| Problem::unknown_run(id.0))?;
        let rows = run_tasks::list(&mut *connection, run.id, after, limit.rows()).await?;
        Ok(Json(Page::new(rows, limit.0, "tasks", |task| [task.task_key.clone()])))
    }
}
