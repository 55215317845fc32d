//! Floor 4: the work. One file a task; [`perform`] is written once and owns what every task has
//! in common: the guard, the ledger, the fence, the one transaction, retries.
//!
//! Must not know: HTTP handlers, the command line, which process it runs in.

pub mod accept_deletions;
pub mod after;
pub mod cancel_run;
pub mod dry_run;
pub mod error;
mod failpoint;
pub mod in_memory;
pub mod pause_source;
pub mod perform;
pub mod redrive;
pub mod retry_run;
pub mod start_run;
pub mod tokens;

mod batches;
mod chains;
mod chunk_cache;
mod complete_task;
mod content_keys;
mod deletions;
mod emptied;
mod evaluated_rows;
mod fetch_page;
mod finish_run;
mod guard;
mod key_change;
mod known_pages;
mod mapper;
mod memory;
mod met_twice;
mod normalize_batch;
mod parse_csv_chunk;
mod plan_replay;
mod plan_run;
mod planned;
mod position;
mod read_slice;
mod repeated;
mod run_parents;
mod snapshot_schema;
mod sources_in_use;
mod stored_bytes;
mod task_failure;
mod time_limit;
mod troubles;
mod unchanged_pages;
mod unique;

use std::future::Future;
use std::sync::Arc;

use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::domain::bloom_filter::SliceOrder;
use crate::domain::counters::Counters;
use crate::domain::hash::StoredHash;
use crate::domain::run::{Mode, RunId};
use crate::domain::task::TaskPayload;
use crate::sources::{Access, SignsOfLife, TokenStore};
use chunk_cache::ChunkCache;
pub use error::TaskError;
use memory::Memory;
pub use sources_in_use::{SourceInUse, SourcesInUse};

/// What a task works with.
#[derive(Clone)]
struct TaskContext {
    pool: PgPool,
    run: RunId,
    source_name: String,
    source: Arc<SourceInUse>,
    mode: Mode,
    access: Access,
    /// The run's definition.
    config_hash: StoredHash,
    tokens: Arc<dyn TokenStore>,
    from_empty: bool,
    slice_order: SliceOrder,
    chunks: Arc<ChunkCache>,
    memory: Arc<Memory>,
    signs: SignsOfLife,
}

/// What a task leaves in the transaction besides the rows it wrote itself.
#[derive(Debug, Default)]
struct Effects {
    /// What it did.
    counters: Counters,
    /// What later tasks of the run need to know.
    result: Option<Value>,
    /// Tasks to enqueue; those that the ledger knows already are not enqueued again.
    follow_ups: Vec<TaskPayload>,
    /// Slices that it has stored besides its own: tasks that are done.
    read: Vec<StoredSlice>,
    /// How many slices, from 0 on, need not be read: earlier runs have read them.
    read_already: i64,
    /// Whether nothing may be normalized as long as there is more to read.
    hold: bool,
    /// Where a task that reads several slices goes on, and with which slice: what it has read so far is
    /// committed, and the task stays open.
    continues_at: Option<(i64, Value)>,
}

/// A slice that was stored by a task of another name.
#[derive(Debug)]
struct StoredSlice {
    /// The task that reads this slice alone.
    task: TaskPayload,
    counters: Counters,
    result: Option<Value>,
}

/// A unit of work: first everything slow, then everything written. One that says that it continues is
/// asked again.
trait Task: Send {
    /// What [`Task::gather`] hands to [`Task::store`].
    type Gathered: Send;

    /// Reads and computes. Writes nothing and holds no transaction: it may run twice, or for nothing.
    fn gather(
        &mut self,
        context: &TaskContext,
    ) -> impl Future<Output = Result<Self::Gathered, TaskError>> + Send;

    /// Writes, in the transaction that also completes the task.
    fn store(
        &mut self,
        context: &TaskContext,
        transaction: &mut PgConnection,
        gathered: Self::Gathered,
    ) -> impl Future<Output = Result<Effects, TaskError>> + Send;
}

/// Runs CPU-bound or blocking work off the async threads, so that heartbeats go on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(TaskError::Panicked(match error.try_into_panic() {
            Ok(panic) => error::panic_text(&*panic),
            Err(error) => error.to_string(),
        })),
    }
}
