//! Owns a worker's claim on an item, and what ends it: done, failed, or put back for another attempt. Each is
//! an update of the item's row inside the transaction of the work.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::notify::notify;
use crate::domain::run::RunId;

/// What a queue item says: which task, nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The run.
    pub run: RunId,
    /// The task's key in the ledger.
    pub task: String,
}

/// A worker's claim on a queue item. It may be lost: the item is then someone else's, or the same
/// worker's again after it was considered dead, which the number of attempts shows.
#[derive(Debug, Clone)]
pub struct Lease {
    pub(super) job: String,
    worker: String,
    pub(super) attempts_before: i32,
}

// `is not distinct from` keeps the planner off the index of `lock_by`: it knows nothing yet of a worker
// that has just begun, takes it to hold nothing, and each look would pass over all that it has done.
impl Lease {
    /// The claim of `worker` on the item `job`, which was tried so often before.
    pub fn new(job: String, worker: String, attempts_before: i32) -> Self {
        Self { job, worker, attempts_before }
    }

    /// The worker that holds the claim.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// The task that the item's key names, for items whose content cannot be read.
    ///
    /// # Errors
    /// Database errors.
    pub async fn task_by_key(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Message>, sqlx::Error> {
        let key =
            sqlx::query_scalar!("select idempotency_key from apalis.jobs where id = $1", self.job,)
                .fetch_optional(connection)
                .await?
                .flatten();
        Ok(key.and_then(|key| {
            let (run, task) = key.split_once(':')?;
            Some(Message { run: RunId(run.parse().ok()?), task: task.to_owned() })
        }))
    }

    /// Locks the item's row until the transaction ends. `false`: the claim is lost, and with it
    /// the right to write anything.
    ///
    /// # Errors
    /// Database errors.
    pub async fn fence(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let held = sqlx::query_scalar!(
            r#"select 1 as "one!" from apalis.jobs
             where id = $1 and lock_by is not distinct from $2 and attempts = $3
               and status in ('Queued', 'Running')
             for update"#,
            self.job,
            self.worker,
            self.attempts_before,
        )
        .fetch_optional(connection)
        .await?;
        Ok(held.is_some())
    }

    /// Ends the item: its task is completed.
    ///
    /// # Errors
    /// Database errors.
    pub async fn complete(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.end(connection, "Done").await
    }

    /// Ends the item: its task has failed.
    ///
    /// # Errors
    /// Database errors.
    pub async fn fail(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.end(connection, "Killed").await
    }

    async fn end(&self, connection: &mut PgConnection, status: &str) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "update apalis.jobs set status = $4, done_at = now()
             where id = $1 and lock_by is not distinct from $2 and attempts = $3
               and status in ('Queued', 'Running')",
            self.job,
            self.worker,
            self.attempts_before,
            status,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Puts the item back, to be delivered again after `delay`. `spent`: the attempt counts.
    ///
    /// # Errors
    /// Database errors.
    pub async fn release(
        &self,
        connection: &mut PgConnection,
        delay: Duration,
        spent: bool,
    ) -> Result<(), sqlx::Error> {
        let queue = sqlx::query_scalar!(
            "update apalis.jobs set
                status = 'Pending', lock_by = null, lock_at = now(),
                attempts = attempts + $5, run_at = now() + make_interval(secs => $4)
             where id = $1 and lock_by is not distinct from $2 and attempts = $3
               and status in ('Queued', 'Running')
             returning job_type",
            self.job,
            self.worker,
            self.attempts_before,
            delay.as_secs_f64(),
            i32::from(spent),
        )
        .fetch_all(&mut *connection)
        .await?;
        if delay.is_zero() { notify(connection, &queue).await } else { Ok(()) }
    }
}
