//! Owns what happens to every delivery, whatever its task: guard, ledger, gather, one transaction
//! with fence, store, follow-ups and settlement; and what happens when that fails.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sqlx::PgPool;

use super::chunks_at_hand::ChunksAtHand;
use super::dry_run::DryRun;
use super::error::{TaskError, panic_text};
use super::fault_point::{Place, reach};
use super::fetch_page::FetchPage;
use super::normalize_batch::NormalizeBatch;
use super::parse_csv_chunk::ParseCsvChunk;
use super::plan_run::PlanRun;
use super::settle::{Settling, note_try, settle};
use super::snapshot_schema::SnapshotSchema;
use super::troubles::Troubles;
use super::{Effects, SourcesInUse, Task, TaskContext};
use crate::db::Transaction;
use crate::db::run_tasks::{self, EndedTry, OpenTask, TaskState};
use crate::db::runs;
use crate::domain::failure::{FailureClass, chain};
use crate::domain::run::RunId;
use crate::domain::task::{TaskKind, TaskPayload};
use crate::queue::{Delivery, Handler, Message};
use crate::sources::{Access, Reach, Source};
use crate::telemetry::NOTED;

/// How failed tasks are tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The most tries of a task, crashes of its workers included. Requests have their own number,
    /// `retry.max_attempts` of the job file.
    pub max_attempts: i32,
    /// The delay before the second try is up to this; it doubles with each further one …
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
/// same time. After so many lost tries each waits for a time of its own, so that they part.
const LOST_IN_A_ROW: i32 = 2;
/// Between two attempts to book a failure: this, doubled each time …
const FIRST_BOOKING_DELAY: Duration = Duration::from_millis(200);
/// … up to this.
const LONGEST_BOOKING_DELAY: Duration = Duration::from_secs(5);
/// How often a task that gathers for long asks whether its run was cancelled.
const LOOK_FOR_CANCELLATION: Duration = Duration::from_secs(1);

/// How often a task of a paused source is looked at. Resuming does not wait for it.
const WHILE_PAUSED: Duration = Duration::from_secs(15);

/// Performs deliveries.
#[derive(Clone)]
pub struct Performer {
    pool: PgPool,
    sources: SourcesInUse,
    retry: RetryPolicy,
    chunks: Arc<ChunksAtHand>,
    troubles: Arc<Troubles>,
}

impl Handler for Performer {
    async fn handle(&self, delivery: Delivery) {
        let message = match &delivery.message {
            Ok(message) => message.clone(),
            Err(text) => return self.unreadable(&delivery, text).await,
        };
        let performing = AssertUnwindSafe(self.perform(&delivery, &message)).catch_unwind();
        let result = match tokio::time::timeout(self.retry.time_limit, performing).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(TaskError::Panicked(panic_text(&*panic))),
            Err(_) => Err(TaskError::TimedOut(self.retry.time_limit)),
        };
        match result {
            Ok(()) => self.troubles.are_over(&message),
            Err(error) => self.book_failure(&delivery, &message, &error).await,
        }
    }
}

impl Performer {
    /// A performer that opens sources as it meets them; `computing` tasks are read or normalized
    /// at once.
    pub fn new(pool: PgPool, retry: RetryPolicy, computing: usize, reach: Reach) -> Self {
        let chunks = ChunksAtHand::new(computing.max(2));
        Self { pool, sources: SourcesInUse::new(reach), retry, chunks, troubles: Arc::default() }
    }

    async fn perform(&self, delivery: &Delivery, message: &Message) -> Result<(), TaskError> {
        let Some(task) = run_tasks::open(&self.pool, message.run, &message.task).await? else {
            // The ledger was cleaned up: nobody waits for this task.
            let mut transaction = Transaction::begin(&self.pool).await?;
            delivery.lease.bury(&mut transaction).await?;
            return Ok(transaction.commit().await?);
        };
        if task.state != TaskState::Open || !task.run_status.is_active() {
            return self.complete(delivery).await;
        }
        if task.paused {
            let mut transaction = Transaction::begin(&self.pool).await?;
            delivery.lease.release(&mut transaction, WHILE_PAUSED, false).await?;
            return Ok(transaction.commit().await?);
        }
        let context = self.context(message, &task).await?;
        let max_attempts = self.max_attempts(&context, task.kind);
        if delivery.attempt > max_attempts {
            return Err(TaskError::Abandoned { max_attempts });
        }
        if delivery.attempt > LOST_IN_A_ROW && delivery.attempt > task.attempt + 1 {
            let delay = self.backoff(delivery.attempt - LOST_IN_A_ROW);
            return Err(TaskError::LastTryLost { delay });
        }
        let payload = serde_json::from_value(task.payload.clone()).map_err(|error| {
            TaskError::Inconsistent(format!("the task cannot be read: {error}"))
        })?;
        match payload {
            TaskPayload::PlanRun {} if task.dry_run => {
                self.mark_started(message.run).await?;
                self.execute(&DryRun, &context, delivery, message, &task).await
            }
            TaskPayload::PlanRun {} => {
                self.mark_started(message.run).await?;
                self.execute(&PlanRun, &context, delivery, message, &task).await
            }
            TaskPayload::FetchPage { slice, position } => {
                self.execute(&FetchPage { slice, position }, &context, delivery, message, &task)
                    .await
            }
            TaskPayload::ParseCsvChunk { file_id, stamp, chunk, .. } => {
                let chunk = ParseCsvChunk { file_id, stamp, chunk };
                self.execute(&chunk, &context, delivery, message, &task).await
            }
            TaskPayload::NormalizeBatch { first_slice, last_slice, rows } => {
                let batch = NormalizeBatch { first_slice, last_slice, rows };
                self.execute(&batch, &context, delivery, message, &task).await
            }
            TaskPayload::SnapshotSchema {} => {
                self.execute(&SnapshotSchema, &context, delivery, message, &task).await
            }
        }
    }

    async fn mark_started(&self, run: RunId) -> Result<(), TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        runs::mark_started(&mut *transaction, run).await?;
        Ok(transaction.commit().await?)
    }

    /// Ends an item that has no task to do.
    async fn complete(&self, delivery: &Delivery) -> Result<(), TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        delivery.lease.complete(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Requests have their own number of tries, that of the job file.
    fn max_attempts(&self, context: &TaskContext, kind: TaskKind) -> i32 {
        match (&context.source.source, kind) {
            (Source::Pages(pages), TaskKind::FetchPage) => {
                i32::try_from(pages.max_attempts()).unwrap_or(i32::MAX)
            }
            _ => self.retry.max_attempts,
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
            from_empty: task.from_empty,
            slice_order: task.slice_order,
            chunks: self.chunks.clone(),
        })
    }

    async fn execute<T: Task>(
        &self,
        work: &T,
        context: &TaskContext,
        delivery: &Delivery,
        message: &Message,
        task: &OpenTask,
    ) -> Result<(), TaskError> {
        reach(task.kind, Place::Begun).await;
        let gathered = tokio::select! {
            gathered = work.gather(context) => gathered?,
            () = self.run_ended(message.run) => return Err(TaskError::AlreadySettled),
        };
        reach(task.kind, Place::Gathered).await;
        let mut transaction = Transaction::begin(&self.pool).await?;
        if !delivery.lease.fence(&mut transaction).await? {
            return Err(TaskError::LeaseLost);
        }
        let effects = work.store(context, &mut transaction, gathered).await?;
        let settling = Settling {
            run: message.run,
            task_key: &message.task,
            kind: task.kind,
            slice: task.slice,
            state: TaskState::Done,
            attempt: delivery.attempt,
            worker: delivery.lease.worker(),
            error: None,
            source: Some(&context.source),
        };
        settle(&mut transaction, &settling, effects).await?;
        delivery.lease.complete(&mut transaction).await?;
        reach(task.kind, Place::Stored).await;
        transaction.commit().await?;
        reach(task.kind, Place::Committed).await;
        Ok(())
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

    /// Books a failure: another try later, or the end of the task. The database may be what
    /// failed; without this booking the item would stay with a live worker for ever, so it is
    /// tried until it succeeds.
    async fn book_failure(&self, delivery: &Delivery, message: &Message, error: &TaskError) {
        let failed = Instant::now();
        let verdict = self.verdict(delivery.attempt, message, error);
        let mut delay = FIRST_BOOKING_DELAY;
        loop {
            let booked = match verdict {
                // What it waits for has been waited for already, if the database was away.
                Verdict::Wait { delay } => {
                    let delay = delay.saturating_sub(failed.elapsed());
                    self.try_book_failure(delivery, message, error, Verdict::Wait { delay }).await
                }
                verdict => self.try_book_failure(delivery, message, error, verdict).await,
            };
            let Err(booking) = booked else { return };
            if matches!(booking, TaskError::AlreadySettled) {
                // The next look at the ledger sees it.
                continue;
            }
            if booking.class() == FailureClass::Cancelled {
                return;
            }
            if let Some(left_out) = self.troubles.say(&format!("booking {}", booking.for_ledger()))
            {
                tracing::warn!(
                    run_id = message.run.0,
                    task = message.task,
                    error = chain(&booking),
                    left_out,
                    "a failed task could not be booked; trying again"
                );
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_BOOKING_DELAY);
        }
    }

    async fn try_book_failure(
        &self,
        delivery: &Delivery,
        message: &Message,
        error: &TaskError,
        verdict: Verdict,
    ) -> Result<(), TaskError> {
        let text = chain(error);
        match verdict {
            Verdict::Drop => {
                tracing::warn!(run_id = message.run.0, task = message.task, "{text}");
                Ok(())
            }
            Verdict::Over => {
                tracing::debug!(run_id = message.run.0, task = message.task, "{text}");
                // Left alone, the item would stay with this worker as long as it lives.
                self.complete(delivery).await
            }
            Verdict::Again { spent: false, .. } | Verdict::Wait { .. }
                if let Some(waited) = self.overdue(message).await? =>
            {
                let overdue = TaskError::Overdue { waited, reason: text };
                self.give_up(delivery, message, &overdue, &chain(&overdue)).await
            }
            Verdict::Again { delay, spent } => {
                tracing::warn!(
                    run_id = message.run.0,
                    task = message.task,
                    attempt = delivery.attempt,
                    again_in_ms = delay.as_millis() as u64,
                    "{text}"
                );
                self.try_again(delivery, message, error, delay, spent).await
            }
            Verdict::Wait { delay } => {
                if let Some(left_out) = self.troubles.say(&error.for_ledger()) {
                    tracing::warn!(
                        run_id = message.run.0,
                        task = message.task,
                        again_in_ms = delay.as_millis() as u64,
                        left_out,
                        "{text}; the task waits, and no try of it is spent"
                    );
                }
                self.try_again(delivery, message, error, delay, false).await
            }
            Verdict::Dead => self.give_up(delivery, message, error, &text).await,
        }
    }

    fn verdict(&self, attempt: i32, message: &Message, error: &TaskError) -> Verdict {
        let max = match error {
            TaskError::Request { max_attempts, .. } => *max_attempts,
            _ => self.retry.max_attempts,
        };
        if matches!(error, TaskError::AlreadySettled) {
            return Verdict::Over;
        }
        match error.class() {
            FailureClass::Cancelled => Verdict::Drop,
            FailureClass::NotYet(delay) => Verdict::Again { delay, spent: false },
            FailureClass::Infrastructure => Verdict::Wait { delay: self.troubles.wait(message) },
            FailureClass::Transient if attempt < max => {
                Verdict::Again { delay: self.backoff(attempt), spent: true }
            }
            FailureClass::Transient | FailureClass::Permanent => Verdict::Dead,
        }
    }

    /// How long the task has waited, when that is too long.
    async fn overdue(&self, message: &Message) -> Result<Option<Duration>, TaskError> {
        let waited = run_tasks::open_for(&self.pool, message.run, &message.task).await?;
        Ok(waited.filter(|waited| *waited > self.retry.longest_wait))
    }

    /// Exponential with full jitter.
    /// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    fn backoff(&self, attempt: i32) -> Duration {
        let doublings = attempt.saturating_sub(1).clamp(0, 20) as u32;
        let ceiling = self.retry.first_delay.saturating_mul(1 << doublings);
        ceiling.min(self.retry.longest_delay).mul_f64(rand::random::<f64>())
    }

    async fn try_again(
        &self,
        delivery: &Delivery,
        message: &Message,
        error: &TaskError,
        delay: Duration,
        spent: bool,
    ) -> Result<(), TaskError> {
        let attempt = match error {
            TaskError::LastTryLost { .. } => delivery.attempt - 1,
            _ => delivery.attempt,
        };
        let mut transaction = Transaction::begin(&self.pool).await?;
        if delivery.lease.fence(&mut transaction).await? {
            let ended = EndedTry {
                attempt,
                worker: delivery.lease.worker(),
                error: &error.for_ledger(),
                delay,
            };
            note_try(&mut transaction, message.run, &message.task, &ended).await?;
            delivery.lease.release(&mut transaction, delay, spent).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn give_up(
        &self,
        delivery: &Delivery,
        message: &Message,
        error: &TaskError,
        text: &str,
    ) -> Result<(), TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        if !delivery.lease.fence(&mut transaction).await? {
            return Ok(transaction.rollback().await?);
        }
        let task = run_tasks::open(&mut *transaction, message.run, &message.task).await?;
        if let Some(task) = task.filter(|task| task.state == TaskState::Open) {
            tracing::error!(
                target: NOTED,
                run_id = message.run.0,
                task = message.task,
                attempt = delivery.attempt,
                "{text}"
            );
            let source = self.sources.get(&self.pool, task.config_hash).await.ok();
            let settling = Settling {
                run: message.run,
                task_key: &message.task,
                kind: task.kind,
                slice: task.slice,
                state: TaskState::Dead,
                attempt: delivery.attempt,
                worker: delivery.lease.worker(),
                error: Some(&error.for_ledger()),
                source: source.as_deref(),
            };
            settle(&mut transaction, &settling, Effects::default()).await?;
        }
        delivery.lease.bury(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// An item whose content cannot be read names its task a second time, by its key.
    async fn unreadable(&self, delivery: &Delivery, text: &str) {
        let error = TaskError::Inconsistent(format!("its queue item cannot be read: {text}"));
        let worker = delivery.lease.worker();
        let mut delay = FIRST_BOOKING_DELAY;
        loop {
            match self.named_by_key(delivery).await {
                Ok(Some(message)) => return self.book_failure(delivery, &message, &error).await,
                Ok(None) => return tracing::error!(worker, "{error}; it names no task either"),
                Err(booking) => {
                    if let Some(left_out) = self.troubles.say(&booking.for_ledger()) {
                        tracing::warn!(worker, left_out, error = chain(&booking), "{error}");
                    }
                }
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_BOOKING_DELAY);
        }
    }

    async fn named_by_key(&self, delivery: &Delivery) -> Result<Option<Message>, TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        let named = delivery.lease.task_by_key(&mut transaction).await?;
        if named.is_none() {
            delivery.lease.bury(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(named)
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    /// The item is someone else's.
    Drop,
    /// The item has no task to do any more.
    Over,
    /// Later again.
    Again { delay: Duration, spent: bool },
    /// When the database is itself again: later, for as long as it takes.
    Wait { delay: Duration },
    /// Never again.
    Dead,
}
