//! Owns how a task is shown: by the API, by `--json` and in the events of a run.

use chrono::{DateTime, Utc};
use poem_openapi::Object;

use super::run::Counters;
use crate::db::run_tasks::LedgerTask;
use crate::domain::counters;

/// A durable piece of a run's work.
#[derive(Debug, Object)]
pub(crate) struct Task {
    /// Its name within the run.
    pub(crate) key: String,
    /// `plan_run`, `fetch_page`, `parse_csv_chunk`, `parse_small_chunks`, `normalize_batch` or `snapshot_schema`.
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
    /// When the attempt began that completed it, or the last one that ended before it.
    #[oai(nullable)]
    pub(crate) begun_at: Option<DateTime<Utc>>,
    /// When it is tried again.
    #[oai(nullable)]
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// When it completed.
    #[oai(nullable)]
    pub(crate) done_at: Option<DateTime<Utc>>,
    /// The last failure.
    #[oai(nullable)]
    pub(crate) error: Option<String>,
    /// What kind of failure that is, in a word, such as `unauthorized`, `timed_out` or `invalid_response`. More may come.
    #[oai(nullable)]
    pub(crate) error_kind: Option<String>,
    pub(crate) counters: Counters,
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
            begun_at: task.begun_at,
            next_attempt_at: task.next_attempt_at,
            done_at: task.done_at,
            error: task.error,
            error_kind: task.error_kind,
            counters: counters.into(),
        }
    }
}
