//! Owns what happens to every delivery, whatever its task: guard, ledger, gather, one transaction
//! with fence, store, follow-ups and completion. What happens when that fails is in `task_failure`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sqlx::PgPool;

use super::chunk_cache::ChunkCache;
use super::complete_task::{Completion, complete_slice, complete_task};
use super::dry_run::DryRun;
use super::error::{TaskError, panic_text};
use super::failpoint::{Failpoint, failpoint};
use super::fetch_page::FetchPage;
use super::memory::Memory;
use super::normalize_batch::NormalizeBatch;
use super::parse_csv_chunk::{ParseCsvChunk, ParseSmallChunks};
use super::plan_run::PlanRun;
use super::snapshot_schema::SnapshotSchema;
use super::time_limit;
use super::tokens::{ProcessTokens, Sealing};
use super::troubles::Troubles;
use super::{SourcesInUse, Task, TaskContext};
use crate::db::Transaction;
use crate::db::run_tasks::{self, OpenTask, TaskState};
use crate::db::runs;
use crate::domain::run::RunId;
use crate::domain::task::{PlannedChunk, TaskPayload, TaskRole};
use crate::queue::{Delivery, Handler, Message};
use crate::sources::{Access, SignsOfLife};

/// How failed tasks are tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The most attempts of a task, crashes of its workers included. Requests have their own number,
    /// `retry.max_attempts` of the job file.
    pub max_attempts: i32,
    /// The delay before the second attempt is up to this; it doubles with each further one …
    pub first_delay: Duration,
    /// … up to this.
    pub longest_delay: Duration,
    /// A task that takes longer has failed.
    pub time_limit: Duration,
    /// A task that is still told to come later after so long has failed. Pauses do not count.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(300),
            time_limit: Duration::from_secs(900),
            longest_wait: Duration::from_secs(24 * 3600),
        }
    }
}

/// A task that kills its process kills what is under way beside it, and all of them come back at the
/// same time. After this many lost attempts each waits for a random time of its own, so that they separate.
const LOST_IN_A_ROW: i32 = 2;
/// How often a task that gathers for long asks whether its run was cancelled.
const LOOK_FOR_CANCELLATION: Duration = Duration::from_secs(1);

/// How often a task of a paused source is looked at. Resuming does not wait for it.
const WHILE_PAUSED: Duration = Duration::from_secs(15);

/// Performs deliveries.
#[derive(Clone)]
pub struct Performer {
    pub(super) pool: PgPool,
    pub(super) sources: SourcesInUse,
    pub(super) retry: RetryPolicy,
    chunks: Arc<ChunkCache>,
    memory: Arc<Memory>,
    tokens: ProcessTokens,
    pub(super) troubles: Arc<Troubles>,
}

impl Handler for Performer {
    async fn handle(&self, mut delivery: Delivery) {
        let message = match &delivery.message {
            Ok(message) => message.clone(),
            Err(text) => return self.unreadable(&delivery, text).await,
        };
        let performing = AssertUnwindSafe(self.perform(&mut delivery, &message)).catch_unwind();
        let result = match performing.await {
            Ok(result) => result,
            Err(panic) => Err(TaskError::Panicked(panic_text(&*panic))),
        };
        match result {
            Ok(()) => self.troubles.are_over(&message),
            Err(error) => self.record_failure(&delivery, &message, &error).await,
        }
    }
}

impl Performer {
    /// A performer of tasks of these sources; `computing` tasks are read or normalized at once.
    pub fn new(pool: PgPool, retry: RetryPolicy, computing: usize, sources: SourcesInUse) -> Self {
        let computing = computing.max(2);
        let (chunks, memory) = (ChunkCache::new(computing), Arc::new(Memory::new(computing)));
        let tokens = ProcessTokens::new(pool.clone(), None);
        Self { pool, sources, retry, chunks, memory, tokens, troubles: Arc::default() }
    }

    /// Stores the tokens of login servers, sealed like this.
    #[must_use]
    pub fn with_sealing(self, sealing: Sealing) -> Self {
        Self { tokens: ProcessTokens::new(self.pool.clone(), Some(sealing)), ..self }
    }

    async fn perform(&self, delivery: &mut Delivery, message: &Message) -> Result<(), TaskError> {
        let Some((context, task)) =
            self.in_time(&SignsOfLife::default(), self.prepare(delivery, message)).await?
        else {
            return Ok(());
        };
        let payload = serde_json::from_value(task.payload.clone()).map_err(|error| {
            TaskError::Inconsistent(format!("the task cannot be read: {error}"))
        })?;
        // The only place that knows all kinds of tasks.
        match payload {
            TaskPayload::PlanRun {} if task.dry_run => {
                self.execute(DryRun, &context, delivery, message, &task).await
            }
            TaskPayload::PlanRun {} => {
                self.execute(PlanRun, &context, delivery, message, &task).await
            }
            TaskPayload::FetchPage { slice, position } => {
                let last = delivery.attempt >= self.max_attempts(&context, task.role);
                let page = FetchPage::new(slice, position, last);
                self.execute(page, &context, delivery, message, &task).await
            }
            TaskPayload::ParseCsvChunk { slice, file_id, stamp, chunk } => {
                let chunk = ParseCsvChunk::new(slice, PlannedChunk { file_id, stamp, chunk });
                self.execute(chunk, &context, delivery, message, &task).await
            }
            TaskPayload::ParseSmallChunks { first_slice, chunks } => {
                let chunks = ParseSmallChunks::new(first_slice, chunks, delivery.attempt);
                self.execute(chunks, &context, delivery, message, &task).await
            }
            TaskPayload::NormalizeBatch { first_slice, last_slice, rows } => {
                let batch = NormalizeBatch { first_slice, last_slice, rows };
                self.execute(batch, &context, delivery, message, &task).await
            }
            TaskPayload::SnapshotSchema {} => {
                self.execute(SnapshotSchema, &context, delivery, message, &task).await
            }
        }
    }

    /// What there is to do; `None` when that was nothing.
    async fn prepare(
        &self,
        delivery: &mut Delivery,
        message: &Message,
    ) -> Result<Option<(TaskContext, OpenTask)>, TaskError> {
        let Some(task) = run_tasks::open(&self.pool, message.run, &message.task).await? else {
            // The ledger was cleaned up: the task is not needed any more.
            let mut transaction = Transaction::begin(&self.pool).await?;
            delivery.lease.fail(&mut transaction).await?;
            transaction.commit().await?;
            return Ok(None);
        };
        if task.state != TaskState::Open || !task.run_status.is_active() {
            self.complete(delivery).await?;
            return Ok(None);
        }
        if task.paused {
            let mut transaction = Transaction::begin(&self.pool).await?;
            delivery.lease.release(&mut transaction, WHILE_PAUSED, false).await?;
            transaction.commit().await?;
            return Ok(None);
        }
        delivery.attempt -= task.attempts_before;
        let context = self.context(message, &task).await?;
        let max_attempts = self.max_attempts(&context, task.role);
        if delivery.attempt > max_attempts {
            return Err(TaskError::Abandoned { max_attempts });
        }
        if delivery.attempt > LOST_IN_A_ROW && delivery.attempt > task.attempt + 1 {
            let delay = self.backoff(delivery.attempt - LOST_IN_A_ROW);
            return Err(TaskError::WorkerLost { delay });
        }
        if task.role == TaskRole::Plan {
            self.mark_started(message.run).await?;
        }
        Ok(Some((context, task)))
    }

    /// Work that must not take longer than an attempt may.
    async fn in_time<T>(
        &self,
        signs: &SignsOfLife,
        work: impl Future<Output = Result<T, TaskError>>,
    ) -> Result<T, TaskError> {
        let limit = self.retry.time_limit;
        time_limit::within(limit, signs, work).await.ok_or(TaskError::TimedOut(limit))?
    }

    async fn mark_started(&self, run: RunId) -> Result<(), TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        runs::mark_started(&mut *transaction, run).await?;
        Ok(transaction.commit().await?)
    }

    /// Ends an item that has no task to do.
    pub(super) async fn complete(&self, delivery: &Delivery) -> Result<(), TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        delivery.lease.complete(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Reading tasks of some sources have their own number of attempts, that of the job file.
    fn max_attempts(&self, context: &TaskContext, role: TaskRole) -> i32 {
        let of_source = context.source.source.profile().max_attempts;
        match of_source.filter(|_| role == TaskRole::Read) {
            Some(max) => i32::try_from(max).unwrap_or(i32::MAX),
            None => self.retry.max_attempts,
        }
    }

    async fn context(&self, message: &Message, task: &OpenTask) -> Result<TaskContext, TaskError> {
        Ok(TaskContext {
            pool: self.pool.clone(),
            run: message.run,
            source_name: task.source.clone(),
            source: self.sources.get(&self.pool, task.config_hash).await?,
            mode: task.mode,
            access: Access::from_word(&task.access),
            config_hash: task.config_hash,
            tokens: self.tokens.of(&task.source),
            from_empty: task.from_empty,
            slice_order: task.slice_order,
            chunks: self.chunks.clone(),
            memory: self.memory.clone(),
            signs: SignsOfLife::default(),
        })
    }

    async fn execute<T: Task>(
        &self,
        mut work: T,
        context: &TaskContext,
        delivery: &mut Delivery,
        message: &Message,
        task: &OpenTask,
    ) -> Result<(), TaskError> {
        let (mut slice, mut recorded) = (task.slice, task.attempt);
        // The time limit is that of a part: each is committed, so nothing of it is done in vain.
        // On the heap: the future of some tasks is large, and each of its callers would hold it.
        while let Some(next) = self
            .in_time(
                &context.signs,
                Box::pin(self.part(&mut work, context, delivery, message, task, (slice, recorded))),
            )
            .await?
        {
            slice = Some(next);
            delivery.attempt = 1;
            delivery.begun = Instant::now();
            recorded = 0;
        }
        Ok(())
    }

    /// Does a part of a task, mostly all of it, and commits that. Answers the slice that the next part
    /// reads, when there is one.
    async fn part<T: Task>(
        &self,
        work: &mut T,
        context: &TaskContext,
        delivery: &Delivery,
        message: &Message,
        task: &OpenTask,
        (slice, recorded): (Option<i64>, i32),
    ) -> Result<Option<i64>, TaskError> {
        failpoint(task.kind, Failpoint::Begun).await;
        let gathered = tokio::select! {
            gathered = work.gather(context) => gathered?,
            () = self.run_ended(message.run) => return Err(TaskError::AlreadyCompleted),
        };
        failpoint(task.kind, Failpoint::Gathered).await;
        let mut transaction = Transaction::begin(&self.pool).await?;
        if !delivery.lease.fence(&mut transaction).await? {
            return Err(TaskError::LeaseLost);
        }
        let mut effects = work.store(context, &mut transaction, gathered).await?;
        let continues_at = effects.continues_at.take();
        let completion = Completion {
            run: message.run,
            task_key: &message.task,
            kind: task.kind,
            slice,
            state: TaskState::Done,
            attempt: delivery.attempt,
            recorded,
            begun: delivery.begun,
            worker: delivery.lease.worker(),
            error: None,
            error_kind: None,
            source: Some(&context.source),
        };
        let next = continues_at.as_ref().map(|(slice, _)| *slice);
        match continues_at {
            Some(position) => {
                complete_slice(&mut transaction, &completion, effects, position).await?
            }
            None => {
                complete_task(&mut transaction, &completion, effects).await?;
                delivery.lease.complete(&mut transaction).await?;
            }
        }
        failpoint(task.kind, Failpoint::Stored).await;
        transaction.commit().await?;
        failpoint(task.kind, Failpoint::Committed).await;
        Ok(next)
    }

    /// Resolves when the run has ended while one of its tasks is still open: it was cancelled.
    async fn run_ended(&self, run: RunId) {
        loop {
            tokio::time::sleep(LOOK_FOR_CANCELLATION).await;
            // A database that does not answer is met by the task itself.
            if let Ok(false) = runs::is_active(&self.pool, run).await {
                return;
            }
        }
    }
}
