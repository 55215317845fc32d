//! Owns runs and their tasks: starting (the details are in `start_runs`), listing, reading.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::ApiState;
use super::body::JsonBody;
use super::document::Tag;
use super::page::{self, Limit, Page};
use super::problem::{Declares, Kind, Problem, Refusal};
use super::start_runs::{self, StartAnswer, StartRuns, StartRunsOperation};
use crate::db::run_tasks::{self, LedgerTask};
use crate::db::runs::{self, RunFilter};
use crate::domain::counters;
use crate::domain::run::{Mode, RunId, RunStatus, Trigger};
use crate::domain::source_name::SourceName;

/// One execution of a source.
#[derive(Debug, Object)]
#[oai(example)]
pub(crate) struct Run {
    /// Its id; later runs have larger ones.
    pub(crate) id: i64,
    /// Name of the source.
    pub(crate) source: String,
    pub(crate) status: RunStatus,
    pub(crate) mode: Mode,
    pub(crate) trigger: Trigger,
    /// Where API pages come from: `network`, `record` or `offline`.
    pub(crate) access: String,
    /// When it was asked for.
    pub(crate) created_at: DateTime<Utc>,
    /// When its first task began.
    #[oai(nullable)]
    pub(crate) started_at: Option<DateTime<Utc>>,
    /// When its last task completed.
    #[oai(nullable)]
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// Tasks that have not completed.
    pub(crate) open_tasks: i32,
    /// Tasks that were given up.
    pub(crate) failed_tasks: i32,
    pub(crate) counters: Counters,
    /// The first failure.
    #[oai(nullable)]
    pub(crate) error: Option<String>,
    /// Why it ended as it did, when that is no failure, and the most frequent reasons of rows that were
    /// quarantined. A success may have one.
    #[oai(nullable)]
    pub(crate) stop_reason: Option<String>,
    /// Runs with the same value had the same job file.
    pub(crate) config_hash: String,
    /// Whether it only shows what it would do; its counters are those of a run that would.
    pub(crate) dry_run: bool,
    /// The first run whose rows a replay normalizes again.
    #[oai(nullable)]
    pub(crate) replay_from: Option<i64>,
    /// The last.
    #[oai(nullable)]
    pub(crate) replay_to: Option<i64>,
    /// Tasks known so far.
    pub(crate) tasks: i32,
    /// Those that have completed: all but the open ones.
    pub(crate) completed_tasks: i32,
    /// When a task of it completed or an attempt of one ended last, or the run began, was retried or resumed.
    pub(crate) last_progress_at: DateTime<Utc>,
    /// Whether there was no progress for 2 minutes though there could be: the source is not paused and a
    /// task is due.
    pub(crate) stalled: bool,
}

/// What was done, in numbers: rows_read = inserted + updated + unchanged + quarantined.
#[derive(Debug, Object)]
pub(crate) struct Counters {
    /// API pages or CSV chunks read.
    pub(crate) slices: i64,
    /// Bytes read from the source.
    pub(crate) bytes: i64,
    /// Rows the source held, good or bad.
    pub(crate) rows_read: i64,
    /// Rows whose key was new.
    pub(crate) inserted: i64,
    /// Rows whose key was known with other content.
    pub(crate) updated: i64,
    /// Rows whose key was known with the same content.
    pub(crate) unchanged: i64,
    /// The same as `unchanged`, under its earlier name.
    pub(crate) duplicates: i64,
    /// Rows set aside with a reason.
    pub(crate) quarantined: i64,
}

/// A durable piece of a run's work.
#[derive(Debug, Object)]
pub(crate) struct Task {
    /// Its name within the run.
    pub(crate) key: String,
    /// `plan_run`, `fetch_page`, `parse_csv_chunk`, `normalize_batch` or `snapshot_schema`.
    pub(crate) kind: String,
    /// `open`, `done`, `failed` or `cancelled`.
    pub(crate) state: String,
    /// Attempts so far.
    pub(crate) attempt: i32,
    /// The worker that completed it, or tried last.
    #[oai(nullable)]
    pub(crate) worker: Option<String>,
    /// When it was planned.
    pub(crate) created_at: DateTime<Utc>,
    /// When it is tried again.
    #[oai(nullable)]
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// When it completed.
    #[oai(nullable)]
    pub(crate) done_at: Option<DateTime<Utc>>,
    /// The last failure.
    #[oai(nullable)]
    pub(crate) error: Option<String>,
    pub(crate) counters: Counters,
}

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
pub(super) struct RunsApi;

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
        let before = cursor.0.map(|cursor| page::decode_number("runs", &cursor)).transpose()?;
        let filter = RunFilter {
            source: source.0.map(String::from),
            status: status.0,
            before: before.map(RunId),
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
        let run = runs::get(&mut *state.connection().await?, RunId(id.0)).await?;
        Ok(Json(run.ok_or_else(|| Problem::unknown_run(id.0))?.into()))
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
        let after = cursor.0.map(|cursor| page::decode("tasks", &cursor)).transpose()?;
        let after = after.as_ref().map(|[key]: &[String; 1]| key.as_str());
        let mut connection = state.connection().await?;
        let run = runs::get(&mut *connection, RunId(id.0)).await?;
        let run = run.ok_or_else(|| Problem::unknown_run(id.0))?;
        let rows = run_tasks::list(&mut *connection, run.id, after, limit.rows()).await?;
        Ok(Json(Page::new(rows, limit.0, "tasks", |task| [task.task_key.clone()])))
    }
}

impl From<runs::Run> for Run {
    fn from(run: runs::Run) -> Self {
        let completed_tasks = run.completed_tasks();
        Self {
            id: run.id.0,
            source: run.source,
            status: run.status,
            mode: run.mode,
            trigger: run.trigger,
            access: run.access,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            open_tasks: run.open_tasks,
            failed_tasks: run.failed_tasks,
            counters: run.counters.into(),
            error: run.error,
            stop_reason: run.stop_reason,
            config_hash: run.config_hash.to_string(),
            dry_run: run.dry_run,
            replay_from: run.replay.map(|range| range.from.0),
            replay_to: run.replay.map(|range| range.to.0),
            tasks: run.tasks,
            completed_tasks,
            last_progress_at: run.last_progress_at,
            stalled: run.stalled,
        }
    }
}

impl From<counters::Counters> for Counters {
    fn from(counters: counters::Counters) -> Self {
        Self {
            slices: counters.slices,
            bytes: counters.bytes,
            rows_read: counters.rows_read,
            inserted: counters.inserted,
            updated: counters.updated,
            unchanged: counters.unchanged,
            duplicates: counters.unchanged,
            quarantined: counters.quarantined,
        }
    }
}

impl From<LedgerTask> for Task {
    fn from(task: LedgerTask) -> Self {
        let counters = counters::Counters {
            slices: task.slices,
            bytes: task.bytes,
            rows_read: task.rows_read,
            inserted: task.inserted,
            updated: task.updated,
            unchanged: task.unchanged,
            quarantined: task.quarantined,
        };
        Self {
            key: task.task_key,
            kind: task.kind,
            state: task.state,
            attempt: task.attempt,
            worker: task.worker,
            created_at: task.created_at,
            next_attempt_at: task.next_attempt_at,
            done_at: task.done_at,
            error: task.error,
            counters: counters.into(),
        }
    }
}

impl Example for Run {
    fn example() -> Self {
        let at =
            |second: i64| DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap_or_default();
        let counters = counters::Counters {
            slices: 1,
            bytes: 512,
            rows_read: 4,
            inserted: 3,
            quarantined: 1,
            ..counters::Counters::default()
        };
        Self {
            id: 42,
            source: "products_csv".to_owned(),
            status: RunStatus::Success,
            mode: Mode::Incremental,
            trigger: Trigger::Api,
            access: "network".to_owned(),
            created_at: at(0),
            started_at: Some(at(1)),
            finished_at: Some(at(2)),
            open_tasks: 0,
            failed_tasks: 0,
            counters: counters.into(),
            error: None,
            stop_reason: None,
            config_hash: "5f1d7a84db00d2fce00b31a7fc73224f9c3be08a4d6712f5b8e0c1d2a3f49576"
                .to_owned(),
            dry_run: false,
            replay_from: None,
            replay_to: None,
            tasks: 4,
            completed_tasks: 4,
            last_progress_at: at(2),
            stalled: false,
        }
    }
}
