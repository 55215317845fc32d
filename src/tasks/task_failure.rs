//! Owns what happens to a delivery whose task has failed: what its error means, another attempt later or the
//! end of the task, and that this is recorded whatever the database does meanwhile.

use std::time::{Duration, Instant};

use super::complete_task::{Completion, complete_task, note_attempt};
use super::error::{Patience, TaskError};
use super::perform::Performer;
use super::read_slice::{behind_a_failure, beside_failed_parents, task_of};
use super::{Effects, guard};
use crate::db::run_tasks::{self, EndedAttempt, TaskState};
use crate::db::{Transaction, in_time, parents};
use crate::domain::failure::{FailureClass, chain};
use crate::domain::slice::SliceId;
use crate::queue::{Delivery, Message};
use crate::sources::{FailedParents, SourceErrorKind};
use crate::telemetry::NOTED;

/// Between two attempts to record a failure: this, doubled each time …
const FIRST_RECORDING_DELAY: Duration = Duration::from_millis(200);
/// … up to this.
const LONGEST_RECORDING_DELAY: Duration = Duration::from_secs(5);
/// A recording that takes longer is given up and tried again: a server that has vanished says
/// nothing, and the item would stay with a living worker.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(60);

impl Performer {
    /// Records a failure: another attempt later, or the end of the task. The database may be what
    /// failed; without this record the item would stay with a live worker for ever, so it is
    /// tried until it succeeds.
    pub(super) async fn record_failure(
        &self,
        delivery: &Delivery,
        message: &Message,
        error: &TaskError,
    ) {
        let failed = Instant::now();
        let verdict = self.verdict(delivery.attempt, message, error);
        let mut delay = FIRST_RECORDING_DELAY;
        loop {
            let verdict = match verdict {
                // What it waits for has been waited for already, if the database was away.
                Verdict::Wait { delay } => {
                    Verdict::Wait { delay: delay.saturating_sub(failed.elapsed()) }
                }
                verdict => verdict,
            };
            let recorded = in_time(
                RECORDING_TIMEOUT,
                self.try_record_failure(delivery, message, error, verdict),
            )
            .await;
            let Err(refused) = recorded else { return };
            if matches!(refused, TaskError::AlreadyCompleted) {
                // The next look at the ledger sees it.
                continue;
            }
            if refused.class() == FailureClass::Cancelled {
                return;
            }
            if let Some(left_out) =
                self.troubles.say(&format!("recording {}", refused.for_ledger()))
            {
                tracing::warn!(
                    run_id = message.run.0,
                    task = message.task,
                    error = chain(&refused),
                    left_out,
                    "a failed task could not be recorded; trying again"
                );
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_RECORDING_DELAY);
        }
    }

    async fn try_record_failure(
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
            Verdict::Look { again, within } => {
                let waited = run_tasks::open_for(&self.pool, message.run, &message.task).await?;
                let Some(waited) = waited.filter(|waited| *waited >= within) else {
                    let left = within.saturating_sub(waited.unwrap_or_default());
                    tracing::info!(run_id = message.run.0, task = message.task, "{text}");
                    return self.try_again(delivery, message, error, again.min(left), false).await;
                };
                let never = TaskError::NeverReady { waited, reason: error.for_ledger() };
                self.give_up(delivery, message, &never, &chain(&never)).await
            }
            Verdict::Again { spent: false, .. } | Verdict::Wait { .. }
                if let Some(waited) = self.overdue(message).await? =>
            {
                let overdue = TaskError::Overdue { waited, reason: text };
                self.give_up(delivery, message, &overdue, &chain(&overdue)).await
            }
            Verdict::Again { delay, spent: false }
                if let Some(enough) = self.told_to_wait(message, error, delay).await? =>
            {
                self.give_up(delivery, message, &enough, &chain(&enough)).await
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
                        "{text}; the task waits without losing an attempt"
                    );
                }
                self.try_again(delivery, message, error, delay, false).await
            }
            Verdict::Fail => self.give_up(delivery, message, error, &text).await,
        }
    }

    fn verdict(&self, attempt: i32, message: &Message, error: &TaskError) -> Verdict {
        let max = match error {
            TaskError::Request { max_attempts, .. } => *max_attempts,
            _ => self.retry.max_attempts,
        };
        if matches!(error, TaskError::AlreadyCompleted) {
            return Verdict::Over;
        }
        if let TaskError::Source(error) = error
            && let SourceErrorKind::NotReady { again_ms, within_ms } = error.kind
        {
            let [again, within] = [again_ms, within_ms].map(|ms| Duration::from_millis(ms.into()));
            return Verdict::Look { again, within };
        }
        match error.class() {
            FailureClass::Cancelled => Verdict::Drop,
            FailureClass::NotYet(delay) => Verdict::Again { delay, spent: false },
            FailureClass::Infrastructure => Verdict::Wait { delay: self.troubles.wait(message) },
            FailureClass::Transient if attempt < max => {
                Verdict::Again { delay: self.backoff(attempt), spent: true }
            }
            FailureClass::Transient | FailureClass::Permanent => Verdict::Fail,
        }
    }

    /// How long the task has waited, when that is too long.
    async fn overdue(&self, message: &Message) -> Result<Option<Duration>, TaskError> {
        let waited = run_tasks::open_for(&self.pool, message.run, &message.task).await?;
        Ok(waited.filter(|waited| *waited > self.retry.longest_wait))
    }

    /// The end of a task that an API told to come later too often, or for too long.
    async fn told_to_wait(
        &self,
        message: &Message,
        error: &TaskError,
        delay: Duration,
    ) -> Result<Option<TaskError>, TaskError> {
        let TaskError::Request { patience: Some(patience), .. } = error else { return Ok(None) };
        let told = run_tasks::told_to_wait(&self.pool, message.run, &message.task).await?;
        let Some((before, waited)) = told else { return Ok(None) };
        let (times, waited) = (before.saturating_add(1), waited.saturating_add(delay));
        let Patience { max_waits, max_wait } = *patience;
        if times <= max_waits && waited <= max_wait {
            return Ok(None);
        }
        let reason = error.for_ledger();
        Ok(Some(TaskError::ToldToWait { times, max_times: max_waits, waited, max_wait, reason }))
    }

    /// Exponential with full jitter.
    /// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    pub(super) fn backoff(&self, attempt: i32) -> Duration {
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
        let is_lost = matches!(error, TaskError::WorkerLost { .. });
        let attempt = delivery.attempt - i32::from(is_lost);
        let mut transaction = Transaction::begin(&self.pool).await?;
        if delivery.lease.fence(&mut transaction).await? {
            let ended = EndedAttempt {
                attempt,
                took: (!is_lost).then(|| delivery.begun.elapsed()),
                worker: delivery.lease.worker(),
                error: &error.for_ledger(),
                error_kind: error.kind(),
                delay,
                told_to_wait: !spent && matches!(error, TaskError::Request { .. }),
                failed: spent || is_lost,
            };
            note_attempt(&mut transaction, message.run, &message.task, &ended).await?;
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
            let mut follow_ups = match &source {
                Some(source) => behind_a_failure(source, &task.payload, error),
                None => Vec::new(),
            };
            if let (Some(source), Some(slice)) = (&source, task.slice) {
                let (name, slice) = (&task.source, SliceId::of_ledger(slice));
                let (run, why) = (message.run, error.for_ledger());
                let failed = beside_failed_parents(source, &task.payload, error);
                let alone = matches!(failed, FailedParents::Alone(_));
                if failed != FailedParents::NotAtFault {
                    let of = (name.as_str(), run);
                    parents::note_failed(&mut transaction, of, slice, &why, alone).await?;
                }
                if let FailedParents::Alone(next) = failed {
                    let last = parents::last_lane(&mut *transaction, run).await?;
                    let is_there = last.is_some_and(|last| next.slice.lane() <= last);
                    follow_ups.extend(is_there.then(|| task_of(next)));
                }
            }
            let hold = match &source {
                Some(source) => guard::waits(&mut *transaction, message.run, source).await?,
                None => false,
            };
            let effects = Effects { follow_ups, hold, ..Effects::default() };
            let completion = Completion {
                run: message.run,
                task_key: &message.task,
                kind: task.kind,
                slice: task.slice,
                state: TaskState::Failed,
                attempt: delivery.attempt,
                recorded: task.attempt,
                begun: delivery.begun,
                worker: delivery.lease.worker(),
                error: Some(&error.for_ledger()),
                error_kind: Some(error.kind()),
                source: source.as_deref(),
            };
            complete_task(&mut transaction, &completion, effects).await?;
        }
        delivery.lease.fail(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// An item whose content cannot be read names its task a second time, by its key.
    pub(super) async fn unreadable(&self, delivery: &Delivery, text: &str) {
        let error = TaskError::Inconsistent(format!("its queue item cannot be read: {text}"));
        let worker = delivery.lease.worker();
        let mut delay = FIRST_RECORDING_DELAY;
        loop {
            match in_time(RECORDING_TIMEOUT, self.named_by_key(delivery)).await {
                Ok(Some(message)) => return self.record_failure(delivery, &message, &error).await,
                Ok(None) => return tracing::error!(worker, "{error}; it names no task either"),
                Err(refused) => {
                    if let Some(left_out) = self.troubles.say(&refused.for_ledger()) {
                        tracing::warn!(worker, left_out, error = chain(&refused), "{error}");
                    }
                }
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_RECORDING_DELAY);
        }
    }

    async fn named_by_key(&self, delivery: &Delivery) -> Result<Option<Message>, TaskError> {
        let mut transaction = Transaction::begin(&self.pool).await?;
        let named = delivery.lease.task_by_key(&mut transaction).await?;
        if named.is_none() {
            delivery.lease.fail(&mut transaction).await?;
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
    /// Later again, unless it has waited for so long.
    Look { again: Duration, within: Duration },
    /// Later again.
    Again { delay: Duration, spent: bool },
    /// When the database is itself again: later, for as long as it takes.
    Wait { delay: Duration },
    /// Never again.
    Fail,
}
