//! Owns looking for the next item of a queue: when a NOTIFY says that there is one, and once a second.
//!
//! apalis-postgres 1.0.0 does this in hand-written poll functions, which fall asleep: of a look that
//! takes longer than the interval and than what is left until the next heartbeat, and finds nothing,
//! no timer is left that anybody waits for. A look that fails ends its worker, and with it the items
//! under way. So apalis is given the items as a stream; behind it is a task of plain async code, which
//! goes on whatever the worker is busy with.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::prelude::{Task, TaskBuilder, TaskId};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::ask;
use super::delivery::Delivery;
use super::faults::{Faults, Pauses};
use super::lease::Lease;
use super::presence::register;
use super::pulse::Pulse;
use crate::domain::task::TaskKind;

/// New items wake a worker at once; items whose time comes are found by looking this often.
const EVERY: Duration = Duration::from_secs(1);
/// A worker that is not registered may lock nothing.
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// The items of a queue, one whenever a slot waits for the next.
pub(super) type Items = BoxStream<'static, Result<Option<Task<Delivery>>, JoinError>>;

/// Looks for the items of one queue, for one worker.
#[derive(Clone)]
pub(super) struct Poller {
    pub pool: PgPool,
    pub queue: TaskKind,
    /// A look that takes longer is given up, and its connection with it.
    pub within: Duration,
    pub pulse: Arc<Pulse>,
    pub inserted: watch::Receiver<()>,
    pub faults: Arc<Faults>,
    /// No more is asked for once this is cancelled.
    pub stop: CancellationToken,
    /// The looks under way.
    pub looks: TaskTracker,
}

impl Poller {
    /// The queue's items.
    pub(super) fn items(&self) -> Items {
        let items = stream::unfold(self.clone(), |look| async move {
            let found = look.looks.spawn(look.clone().until_found()).await;
            let task = match found {
                Ok(Some(delivery)) => Ok(Some(task(delivery))),
                // The worker stops, and waits for no more.
                Ok(None) => pending().await,
                Err(panic) => Err(panic),
            };
            Some((task, look))
        });
        items.boxed()
    }

    /// The next item; `None` when no more is asked for.
    async fn until_found(mut self) -> Option<Delivery> {
        let mut pauses = Pauses::new();
        while !self.stop.is_cancelled() {
            self.inserted.mark_unchanged();
            self.pulse.asked();
            let looked = self.poll().await;
            self.pulse.asked();
            let pause = match looked {
                Ok(Some(delivery)) => return self.take(delivery).await,
                Ok(None) => {
                    pauses = Pauses::new();
                    EVERY
                }
                Err(error) => {
                    self.faults.meet("the queue cannot be read", &error);
                    pauses.next()
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                // With an error nobody listens any more: the process ends.
                Ok(()) = self.inserted.changed() => {}
                () = sleep(pause) => {}
            }
        }
        None
    }

    async fn poll(&self) -> Result<Option<Delivery>, sqlx::Error> {
        match ask(&self.pool, self.within, async |connection| self.poll_once(connection).await)
            .await
        {
            // The worker's name was removed: the database was restored, or the process
            // slept for days. It is looked again when it is known.
            Err(error) if is_unregistered(&error) => {
                ask(&self.pool, self.within, async |connection| {
                    register(connection, self.pulse.worker(), self.queue).await
                })
                .await?;
                Ok(None)
            }
            looked => looked,
        }
    }

    async fn poll_once(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Delivery>, sqlx::Error> {
        let found = sqlx::query!(
            r#"select id as "id!", job as "job!", attempts as "attempts!"
             from apalis.get_jobs($1, $2, 1)"#,
            self.pulse.worker(),
            self.queue.as_str(),
        )
        .fetch_all(connection)
        .await?;
        Ok(found.into_iter().next().map(|item| Delivery {
            lease: Lease::new(item.id, self.pulse.worker().to_owned(), item.attempts),
            message: serde_json::from_slice(&item.job).map_err(|error| error.to_string()),
            attempt: item.attempts.saturating_add(1),
            begun: Instant::now(),
        }))
    }

    /// Gives an item to the worker, or puts it back when that has stopped meanwhile.
    async fn take(&self, delivery: Delivery) -> Option<Delivery> {
        if !self.stop.is_cancelled() {
            self.pulse.found(&delivery.lease);
            return Some(delivery);
        }
        let put_back = ask(&self.pool, self.within, async |connection| {
            delivery.lease.release(connection, Duration::ZERO, false).await
        });
        if let Err(error) = put_back.await {
            tracing::debug!(%error, "what was found last is taken over by others");
        }
        None
    }
}

fn is_unregistered(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some(FOREIGN_KEY_VIOLATION)
}

fn task(delivery: Delivery) -> Task<Delivery> {
    let id = TaskId::from_string(delivery.lease.job.clone());
    TaskBuilder::new(delivery).task_id(id).build()
}
