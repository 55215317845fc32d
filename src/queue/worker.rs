//! Owns the workers: one apalis worker per queue, restarted when its connection fails.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use ulid::Ulid;

use super::heartbeat::Heartbeat;
use super::news::Newsroom;
use super::{Delivery, Lease, Message};
use crate::domain::task::TaskKind;

/// A worker looks for dead ones this often, …
const LOOK_FOR_THE_DEAD: Duration = Duration::from_secs(4);
/// … and who has said nothing for so many times as long, 12 s, is one. See [`Heartbeat`].
const SILENT: usize = 3;
/// Whoever stops does not wait for a database that is gone.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// A worker that was replaced is also taken for dead in time.
const RELEASE_TRIES: usize = 10;
const RELEASE_AGAIN: Duration = Duration::from_secs(1);
/// New items wake a worker at once; items whose time comes are found by looking this often.
const POLL: Duration = Duration::from_secs(1);

/// What is done with a delivery. It must end the lease one way or another.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Does the work. Must not panic: a panic strands the worker's other deliveries.
    fn handle(&self, delivery: Delivery) -> impl Future<Output = ()> + Send;
}

/// How many deliveries of each queue a process works on at once.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency {
    /// For tasks that compute: parsing and normalizing.
    pub computing: usize,
    /// For tasks that wait: planning, requests, snapshots.
    pub waiting: usize,
}

/// The workers stopped for a reason other than the signal.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// apalis gave up.
    #[error("the queue workers stopped")]
    Stopped(#[source] MonitorError),
    /// The system refuses a thread.
    #[error("the queue workers cannot start")]
    Thread(#[from] std::io::Error),
}

impl Concurrency {
    fn of(self, kind: TaskKind) -> usize {
        match kind {
            TaskKind::ParseCsvChunk | TaskKind::NormalizeBatch => self.computing,
            TaskKind::PlanRun | TaskKind::FetchPage | TaskKind::SnapshotSchema => self.waiting,
        }
        .max(1)
    }
}

/// Works on all queues until `stop` resolves, then lets deliveries under way finish for up to
/// `grace`. `process` names this process in the ledger.
///
/// # Errors
/// When the workers cannot go on.
pub async fn work<H: Handler>(
    pool: &PgPool,
    process: &str,
    concurrency: Concurrency,
    handler: H,
    grace: Duration,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), WorkError> {
    let newsroom = Arc::new(Newsroom::new());
    let heartbeat = Arc::new(Heartbeat::start(pool)?);
    let listening = {
        let (newsroom, pool) = (newsroom.clone(), pool.clone());
        tokio::spawn(async move { newsroom.listen(&pool).await })
    };
    // Whoever stops waiting for the workers stops listening.
    let _listening = AbortOnDropHandle::new(listening);
    let mut monitor = Monitor::new();
    for kind in TaskKind::ALL.iter().copied() {
        let (pool, handler) = (pool.clone(), handler.clone());
        let (process, newsroom) = (process.to_owned(), newsroom.clone());
        let heartbeat = heartbeat.clone();
        monitor = monitor.register(move |_restarts| {
            // A name that was used before keeps its dead namesake's items locked for ever.
            let name = format!("{process}/{kind}/{}", Ulid::generate());
            if let Some(former) = heartbeat.of(kind, name.clone()) {
                tokio::spawn(release_former(pool.clone(), former));
            }
            let config = Config::default()
                .queue(kind.as_str())
                // Items fetched ahead of a free slot would wait while other workers are idle.
                .batch_size(1)
                .heartbeat_interval(LOOK_FOR_THE_DEAD)
                .missed_heartbeats(SILENT)
                .lock_tasks(false)
                .persist_results(false);
            let backend = PostgresStorage::<Content>::new(&pool)
                .with_config(config)
                .poll_with_strategy(newsroom.of(kind))
                .poll_with_interval(POLL)
                .with_codec(AnyBytes);
            WorkerBuilder::new(name)
                .backend(backend)
                .concurrency(concurrency.of(kind))
                .data(handler.clone())
                .build(deliver::<H>)
        });
    }
    let worked = monitor
        .should_restart(|_, error| {
            tracing::warn!(error = %error, "a queue worker stopped and is started again");
            true
        })
        .shutdown_timeout(grace)
        .run_with_signal(async {
            stop.await;
            Ok(())
        })
        .await;
    if let Err(error) = release(pool, &heartbeat.workers()).await {
        tracing::debug!(%error, "what is left is taken over by others");
    }
    worked.map_err(WorkError::Stopped)
}

/// Puts back what workers that have stopped still hold: items that were fetched just before the end
/// and came to nobody, and what was under way. Nobody needs to wait until they are taken for dead.
async fn release(pool: &PgPool, workers: &[String]) -> Result<(), sqlx::Error> {
    let releasing = async {
        let mut connection = pool.acquire().await?;
        sqlx::query!(
            "update apalis.jobs set status = 'Pending', lock_by = null, lock_at = null
             where lock_by = any($1) and status in ('Queued', 'Running')",
            workers,
        )
        .execute(&mut *connection)
        .await
    };
    timeout(RELEASED_WITHIN, releasing).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(())
}

/// The same of a worker that another has replaced. Its database may be what it died of.
async fn release_former(pool: PgPool, worker: String) {
    let workers = [worker];
    for _ in 0..RELEASE_TRIES {
        match release(&pool, &workers).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "a dead worker's items are not released yet"),
        }
        sleep(RELEASE_AGAIN).await;
    }
}

/// What an item says, or why it cannot be read.
type Content = Result<Message, String>;

/// Reads any bytes. With apalis's own codec an item that cannot be read stops its worker, and the
/// next one, and so on for ever.
#[derive(Debug, Clone, Copy)]
struct AnyBytes;

impl Codec<Content> for AnyBytes {
    type Error = serde_json::Error;
    type Compact = Vec<u8>;

    fn encode(&self, content: &Content) -> Result<Vec<u8>, Self::Error> {
        match content {
            Ok(message) => serde_json::to_vec(message),
            Err(text) => serde_json::to_vec(text),
        }
    }

    fn decode(&self, bytes: &Vec<u8>) -> Result<Content, Self::Error> {
        Ok(serde_json::from_slice(bytes).map_err(|error| error.to_string()))
    }
}

async fn deliver<H: Handler>(
    message: Content,
    job: TaskId,
    attempt: Attempt,
    worker: WorkerContext,
    handler: Data<H>,
) -> Result<(), BoxDynError> {
    let attempt = i32::try_from(attempt.current()).unwrap_or(i32::MAX);
    let delivery = Delivery {
        lease: Lease::new(job.to_string(), worker.name().to_owned(), attempt - 1),
        message,
        attempt,
    };
    handler.handle(delivery).await;
    Ok(())
}
