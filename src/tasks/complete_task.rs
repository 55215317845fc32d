//! Owns the end of a task: its ledger row, its follow-ups, its figures on the run, and the end of
//! the run when it was the last. All in the task's own transaction.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::PgConnection;

use super::batches::{in_any_order, next_in_order};
use super::finish_run::finish_run;
use super::{Effects, SourceInUse, StoredSlice, TaskError};
use crate::db::run_tasks::{self, EndedAttempt, ReadBy, ReadTask, TaskAttempt, TaskEnd, TaskState};
use crate::db::runs;
use crate::db::runs::progress::{self, ProgressChange, RunProgress};
use crate::domain::bloom_filter::SliceOrder;
use crate::domain::counters::Counters;
use crate::domain::run::{RunId, RunStatus};
use crate::domain::slice::SliceId;
use crate::domain::task::{TaskKind, TaskPayload, TaskRole};
use crate::queue;
use crate::sources::Source;

/// A task that ends.
pub(super) struct Completion<'a> {
    pub run: RunId,
    pub task_key: &'a str,
    pub kind: TaskKind,
    /// The slice that a reading task read.
    pub slice: Option<i64>,
    pub state: TaskState,
    pub attempt: i32,
    /// The last attempt that is on record: those between were lost with their workers.
    pub recorded: i32,
    /// When the attempt began.
    pub begun: Instant,
    pub worker: &'a str,
    pub error: Option<&'a str>,
    /// The word of its kind.
    pub error_kind: Option<&'a str>,
    /// `None` when the definition itself is what cannot be used.
    pub source: Option<&'a SourceInUse>,
}

impl Completion<'_> {
    fn read_by(&self) -> ReadBy<'_> {
        ReadBy { attempt: self.attempt, worker: self.worker, took: self.begun.elapsed() }
    }
}

/// Keeps the last attempt of a task that was given up.
async fn note_failure(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
) -> Result<(), TaskError> {
    if let (TaskState::Failed, Some(error)) = (completion.state, completion.error) {
        let failed = TaskAttempt {
            attempt: completion.attempt,
            worker: completion.worker,
            took: completion.begun.elapsed(),
            error_kind: completion.error_kind.unwrap_or("unknown"),
            error,
        };
        run_tasks::note_failed(transaction, completion.run, completion.task_key, &failed).await?;
    }
    Ok(())
}

/// Ends a task. The caller holds the fence and commits.
pub(super) async fn complete_task(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
    mut effects: Effects,
) -> Result<(), TaskError> {
    let before = runs::lock(transaction, completion.run).await?;
    if !before.status.is_active() {
        return Err(TaskError::AlreadyCompleted);
    }
    let mut progress = progress::latest(transaction, completion.run).await?;
    let inserted_before = effects.counters.count_known_as_inserted(progress.inserted_before);
    effects.counters.take_back_at_most(progress.counters.updated);
    let counters = store_read(transaction, completion, &mut effects, &mut progress).await?;
    let end = TaskEnd {
        state: completion.state,
        attempt: completion.attempt,
        took: completion.begun.elapsed(),
        worker: completion.worker,
        error: completion.error,
        error_kind: completion.error_kind,
        result: effects.result.take(),
        counters: effects.counters,
        sequence: progress.sequence + 1,
        slice: completion.slice,
    };
    if completion.attempt > completion.recorded + 1 {
        let (key, attempt) = (completion.task_key, completion.attempt);
        run_tasks::note_lost(transaction, completion.run, key, attempt).await?;
    }
    if !run_tasks::complete(transaction, completion.run, completion.task_key, end).await? {
        return Err(TaskError::AlreadyCompleted);
    }
    note_failure(transaction, completion).await?;
    let role = completion.kind.role();
    let reads = |task: &TaskPayload| task.kind().role().reads();
    let opened_reading = effects.follow_ups.iter().filter(|task| reads(task)).count() as i32;
    let remaining_reading = progress.open_reading - i32::from(role.reads()) + opened_reading;
    effects.hold &= remaining_reading > 0;
    let last = (remaining_reading == 0 && role == TaskRole::Read)
        .then_some(TaskPayload::SnapshotSchema {});
    let opened = open_next(transaction, completion, &effects, before.slice_order, last).await?;
    progress.complete(&ProgressChange {
        opened: opened.len() as i32,
        opened_reading: opened.iter().filter(|(_, kind)| kind.role().reads()).count() as i32,
        taken_over: effects.read_already as i32 + effects.read.len() as i32,
        reading: role.reads(),
        failed: completion.state == TaskState::Failed,
        counters,
        inserted_before,
    });
    if before.status == RunStatus::Queued {
        runs::mark_started(&mut *transaction, completion.run).await?;
    }
    if let Some(error) = completion.error {
        let error = format!("{}: {error}", completion.task_key);
        runs::note_error(&mut *transaction, completion.run, &error).await?;
    }
    if progress.open == 0 {
        return finish_run(transaction, completion.run, progress, completion.source).await;
    }
    Ok(progress::record(transaction, completion.run, &before, &progress).await?)
}

/// Puts the slices that a task has stored besides its own into the ledger, each as a task that is done, and
/// answers what it has done with them.
async fn store_read(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
    effects: &mut Effects,
    progress: &mut RunProgress,
) -> Result<Counters, TaskError> {
    let mut counters = effects.counters;
    let mut slices = Vec::with_capacity(effects.read.len());
    for slice in &mut effects.read {
        counters += slice.counters;
        progress.sequence += 1;
        slices.push(ReadTask {
            key: slice.task.key(),
            task: &slice.task,
            result: slice.result.take(),
            counters: slice.counters,
            sequence: progress.sequence,
        });
    }
    run_tasks::insert_read(transaction, completion.run, completion.read_by(), &slices).await?;
    Ok(counters)
}

/// Ends one of several slices that a task reads: it stands in the ledger as a task of its own, done, and
/// the task is told to go on with the next slice. The caller holds the fence and commits.
pub(super) async fn complete_slice(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
    mut effects: Effects,
    (next, position): (i64, Value),
) -> Result<(), TaskError> {
    let before = runs::lock(transaction, completion.run).await?;
    if !before.status.is_active() {
        return Err(TaskError::AlreadyCompleted);
    }
    let mut progress = progress::latest(transaction, completion.run).await?;
    let task = run_tasks::payload(transaction, completion.run, completion.task_key).await?;
    if task.as_ref().is_none_or(|task| task.slice() != completion.slice) {
        return Err(TaskError::Overtaken);
    }
    let next_payload = task.as_ref().and_then(|task| task.continued(next, position));
    let (Some(task), Some(next_payload)) = (task, next_payload) else {
        let text = format!("a {} task reads one slice and goes on all the same", completion.kind);
        return Err(TaskError::Inconsistent(text));
    };
    let counters = store_read(transaction, completion, &mut effects, &mut progress).await?;
    let mut parts = effects.read.len() as i32;
    // What was stored under another name does not stand there twice.
    if let Some(result) = effects.result.take() {
        let read = ReadTask {
            key: run_tasks::key_of_part(completion.task_key, SliceId::of_ledger(next)),
            task: &task,
            result: Some(result),
            counters: effects.counters,
            sequence: progress.sequence + 1,
        };
        run_tasks::insert_read(transaction, completion.run, completion.read_by(), &[read]).await?;
        parts += 1;
    }
    let (run, key, spent) = (completion.run, completion.task_key, completion.attempt - 1);
    if !run_tasks::go_on(transaction, run, key, &next_payload, spent).await? {
        return Err(TaskError::AlreadyCompleted);
    }
    let opened = open_next(transaction, completion, &effects, before.slice_order, None).await?;
    progress.sequence += 1;
    progress.tasks += opened.len() as i32 + parts;
    progress.open += opened.len() as i32;
    progress.open_reading += opened.iter().filter(|(_, kind)| kind.role().reads()).count() as i32;
    progress.counters += counters;
    Ok(progress::record(transaction, completion.run, &before, &progress).await?)
}

/// Opens the tasks that follow, and answers them: those that the task names, the batches that can start now,
/// and the `last` one of a run that has nothing left to read.
async fn open_next(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
    effects: &Effects,
    order: SliceOrder,
    last: Option<TaskPayload>,
) -> Result<Vec<(String, TaskKind)>, TaskError> {
    // The slices that it names may come in front of others that are read already: they are to be known
    // before it is asked which are next.
    let mut opened = run_tasks::insert(transaction, completion.run, &effects.follow_ups).await?;
    let mut next = Vec::new();
    if !effects.hold {
        next.extend(batches(transaction, completion, effects, order).await?);
    }
    next.extend(last);
    opened.extend(run_tasks::insert(transaction, completion.run, &next).await?);
    queue::enqueue(transaction, completion.run, &opened).await?;
    Ok(opened)
}

/// Records an attempt that ended before its task did. The caller holds the fence and commits.
pub(super) async fn note_attempt(
    transaction: &mut PgConnection,
    run: RunId,
    task_key: &str,
    ended: &EndedAttempt<'_>,
) -> Result<(), TaskError> {
    // The run comes first, as everywhere: who cancels it holds that and waits for its tasks.
    let before = runs::lock(transaction, run).await?;
    if !before.status.is_active() {
        return Ok(());
    }
    let mut progress = progress::latest(transaction, run).await?;
    progress.sequence += 1;
    if ended.failed {
        // One that is told of a lost attempt is the next.
        let attempt = ended.attempt + i32::from(ended.took.is_none());
        run_tasks::note_lost(transaction, run, task_key, attempt).await?;
    }
    if run_tasks::note_attempt(transaction, run, task_key, ended, progress.sequence).await? {
        if ended.failed
            && let Some(took) = ended.took
        {
            note_failed_attempt(transaction, run, task_key, ended, took).await?;
        }
        progress::record(transaction, run, &before, &progress).await?;
    }
    Ok(())
}

async fn note_failed_attempt(
    transaction: &mut PgConnection,
    run: RunId,
    task_key: &str,
    ended: &EndedAttempt<'_>,
    took: Duration,
) -> Result<(), TaskError> {
    let failed = TaskAttempt {
        attempt: ended.attempt,
        worker: ended.worker,
        took,
        error_kind: ended.error_kind,
        error: ended.error,
    };
    Ok(run_tasks::note_failed(transaction, run, task_key, &failed).await?)
}

/// The slices whose rows are kept since this task, in order, and their bytes.
async fn slices_read(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
    effects: &Effects,
) -> Result<Vec<(i64, i64)>, TaskError> {
    let stored = |slice: &StoredSlice| slice.task.slice().map(|at| (at, slice.counters.bytes));
    Ok(match (completion.state, completion.kind.role(), completion.slice) {
        (TaskState::Done, TaskRole::Plan, _) if effects.read_already > 0 => {
            run_tasks::sizes_of_slices(transaction, completion.run).await?
        }
        (TaskState::Done, TaskRole::Read, own) => {
            let own = own.filter(|_| effects.counters.slices > 0);
            let own = own.map(|slice| (slice, effects.counters.bytes));
            own.into_iter().chain(effects.read.iter().filter_map(stored)).collect()
        }
        _ => Vec::new(),
    })
}

/// The normalizing tasks that can start now: asked after each task that reads or normalizes.
async fn batches(
    transaction: &mut PgConnection,
    completion: &Completion<'_>,
    effects: &Effects,
    order: SliceOrder,
) -> Result<Vec<TaskPayload>, TaskError> {
    let role = completion.kind.role();
    let read = slices_read(transaction, completion, effects).await?;
    let nothing_new = role == TaskRole::Plan && read.is_empty();
    if nothing_new || role == TaskRole::Snapshot {
        return Ok(Vec::new());
    }
    let source = completion.source.map(|source| &*source.source);
    let mut batches = in_any_order(read, order, source.map(Source::profile).as_ref());
    batches.extend(next_in_order(transaction, completion.run, order, source).await?);
    Ok(batches)
}
